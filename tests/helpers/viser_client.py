"""A browser tab without a window: knows what the page shows and changes its controls, by viser's protocol alone."""

from __future__ import annotations

import re
import threading
from collections import Counter
from html import unescape
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray
from websockets.exceptions import ConnectionClosed

from benchmarks import viser_client
from tests.helpers.live import wait_for

__all__ = ["Tab"]


class Tab:
    """What a browser shows of the page on a port. Elements are named by their labels, scene nodes by their paths."""

    def __init__(self, port: int, **options: Any) -> None:
        self.socket = viser_client.connected(port, **options)
        self.vertices: dict[str, NDArray[np.float32]] = {}
        """The latest vertices of each mesh."""
        self.received: Counter[str] = Counter()
        """How often vertices of each mesh came."""
        self.kinds: Counter[str] = Counter()
        """How often each kind of message came."""
        self.notifications: list[str] = []
        self.downloads: list[str] = []
        self._elements: dict[str, dict[str, Any]] = {}
        self._nodes: dict[str, dict[str, Any]] = {}
        self._reader = threading.Thread(target=self._read, name="tests-tab")
        self._ready = threading.Event()
        self._reader.start()
        assert self._ready.wait(60), "the page never finished sending what it consists of"

    def __enter__(self) -> Tab:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.socket.close()
        self._reader.join(60)

    def _read(self) -> None:
        try:
            while True:
                for message, buffers in viser_client.messages(self.socket.recv()):
                    self._take(message, buffers)
        except ConnectionClosed:
            self._ready.set()

    def _take(self, message: dict[str, Any], buffers: list[bytes]) -> None:
        kind = message["type"]
        self.kinds[kind] += 1
        if kind == "ReplayDoneMessage":
            self._ready.set()
        elif kind == "NotificationShowMessage":
            self.notifications.append(f"{message['props']['title']}: {message['props']['body']}")
        elif kind == "FileTransferStartDownload":
            self.downloads.append(message["filename"])
        elif kind == "SetSceneNodeVisibilityMessage":
            self._nodes.setdefault(message["name"], {})["visible"] = message["visible"]
        elif "uuid" in message:
            element = self._elements.setdefault(message["uuid"], {})
            element.update(message.get("props") or {}, **message.get("updates") or {})
            if "value" in message:
                element["value"] = message["value"]
        elif "name" in message:
            updates = {**(message.get("props") or {}), **(message.get("updates") or {})}
            self._nodes.setdefault(message["name"], {}).update(updates)
            place = updates.get("vertices")
            if isinstance(place, dict):
                points = np.frombuffer(buffers[place["__binary_index"]], dtype=np.float32).reshape(-1, 3)
                self.vertices[message["name"]] = points
                self.received[message["name"]] += 1

    def node(self, name: str, key: str) -> Any:
        """A property of a scene node."""
        return self._nodes.get(name, {}).get(key)

    def control(self, label: str, index: int = 0) -> dict[str, Any]:
        """The properties of the control with this label; the first of several, or another."""
        return self._named(label, index)[1]

    def _named(self, label: str, index: int) -> tuple[str, dict[str, Any]]:
        named = [
            (uuid, element)
            for uuid, element in list(self._elements.items())
            if element.get("label") == label and "disabled" in element
        ]
        return named[index]

    def labels(self) -> set[str]:
        """The labels of all controls."""
        return {element["label"] for element in list(self._elements.values()) if element.get("label")}

    def shows_an_image(self) -> bool:
        """Whether an image is visible."""
        return any(element.get("visible") for element in list(self._elements.values()) if "_data" in element)

    def html(self) -> str:
        """The source of every HTML and Markdown element."""
        return "\n".join(
            element["content"] for element in list(self._elements.values()) if element.get("content") is not None
        )

    def text(self) -> str:
        """What a person reads in those elements."""
        return unescape(re.sub(r"<style>.*?</style>|<[^>]*>", " ", self.html()))

    def set(self, label: str, value: object, index: int = 0) -> None:
        """Change a control as a person does."""
        self.send({"type": "GuiUpdateMessage", "uuid": self._named(label, index)[0], "updates": {"value": value}})

    def update(self, label: str, updates: dict[str, Any]) -> None:
        """Send any change of a control, also one that no person can make."""
        self.send({"type": "GuiUpdateMessage", "uuid": self._named(label, 0)[0], "updates": updates})

    def click(self, label: str) -> None:
        """Press a button."""
        wait_for(lambda: self.control(label)["visible"] and not self.control(label)["disabled"])
        self.set(label, True)

    def send(self, message: dict[str, Any]) -> None:
        """Send one message."""
        viser_client.send(self.socket, message)
