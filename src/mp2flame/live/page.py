"""The page: the head in the middle, the camera's image and figures on the left, the controls on the right."""

from __future__ import annotations

import io
import logging
import math
import threading
import time
from collections.abc import Callable
from html import escape
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mp2flame.data import Frame, HeadLike
from mp2flame.errors import Mp2FlameError, SinkError, plain
from mp2flame.live.color_patches import ColorPatches
from mp2flame.live.controls import Controls, show_text
from mp2flame.live.head_view import HeadView, Material
from mp2flame.live.server import open_server
from mp2flame.live.sinks import FunctionSink
from mp2flame.live.state import SessionState, Stats
from mp2flame.streams.base import is_loopback

_LOGGER = logging.getLogger("mp2flame")
_IMAGE_HEIGHT: Final = 360
_IMAGE_QUALITY: Final = 70
_ASIDE: Final = 0.12
_BACK: Final = 0.55
"""Meters by which each of two heads is moved aside and back, so that both fit."""
_HEAD_INTERVAL: Final = 1 / 70
_IMAGE_INTERVAL: Final = 1 / 35
"""Seconds: screens show sixty images per second and cameras give thirty; more would only delay the detector."""
_HEAD_SENDING_SECONDS: Final = 0.004
"""How long the server's thread needs to pack a head and hand it to the browsers' sockets."""
_SCREENSHOT_HEIGHT: Final = 1080
_SCREENSHOT_SECONDS: Final = 10.0


class _Action:
    """Calls a function in a daemon thread, one call at a time; of requests that come meanwhile, the last is kept.

    viser's own callbacks run in threads for which Python waits at its end, in no certain order.
    """

    def __init__(self, function: Callable[[Any], None]) -> None:
        self._function = function
        self._requests: list[Any] = []
        self._running = False
        self._lock = threading.Lock()

    def request(self, value: Any) -> None:
        """Call the function with this value soon."""
        with self._lock:
            self._requests = [value]
            if not self._running:
                self._running = True
                threading.Thread(target=self._run, name="mp2flame-page", daemon=True).start()

    def _run(self) -> None:
        while True:
            with self._lock:
                if not self._requests:
                    self._running = False
                    return
                value = self._requests.pop()
            self._function(value)


class Page:
    """The browser page. Every method may be called from any thread.

    It listens as `open_server` does. A page that is open to the network does not open any file of this machine.
    """

    def __init__(self, head: HeadLike, state: SessionState, *, host: str = "127.0.0.1", port: int = 8080) -> None:
        neutral = head.neutral_vertices
        self._server, self._close_server = open_server(host, port, neutral)
        self._lock = threading.Lock()
        self.after_action: Callable[[], None] = lambda: None
        """Called whenever something that a user asked for is done, or has failed."""
        patches: dict[Material, ColorPatches] = {}
        self._heads = [HeadView(self._server, name, head, patches) for name in ("/a", "/b")]
        self._placed: tuple[str, str | None] | None = None
        self._shown_at: dict[str, float] = {}
        self._no_face = self._server.scene.add_label(
            "/missing",
            "no face",
            position=(0.0, float(neutral[:, 1].min()) - 0.02, float(neutral[:, 2].max())),
            anchor="top-center",
            visible=False,
        )
        gui = self._server.gui
        panel = gui.add_panel()
        with panel.add_tab("Camera"):
            placeholder = np.full((240, 320, 3), 222, dtype=np.uint8)
            self._image = gui.add_image(placeholder, jpeg_quality=_IMAGE_QUALITY, format="jpeg", visible=False)
            self._notice = gui.add_html("")
            self.playing = gui.add_checkbox("Playing", initial_value=True, visible=False)
            self.loop = gui.add_checkbox("Loop", initial_value=True, visible=False)
            self.position = gui.add_slider(
                "Position (s)", min=0.0, max=1.0, step=0.01, initial_value=0.0, visible=False
            )
            self._stats = gui.add_html("")
        panel.dock_left()
        panel.set_width(330)
        gui.main_panel.dock_right()
        gui.main_panel.set_width(430)
        self.controls = Controls(gui, head, state, any_source=is_loopback(host))
        for view in self._heads:
            self.bind(self.controls.material, view.set_material)
            self.bind(self.controls.wireframe, view.set_wireframe)
        self.bind(self.controls.screenshot, self._send_screenshot)
        self.show(state)

    @property
    def address(self) -> str:
        """Where a browser on this machine finds the page."""
        host = self._server.get_host()
        host = "localhost" if host in ("0.0.0.0", "::", "") else f"[{host}]" if ":" in host else host  # noqa: S104
        return f"http://{host}:{self._server.get_port()}"

    @property
    def watched(self) -> bool:
        """Whether any browser is connected."""
        return bool(self._server.get_clients())

    def bind(self, control: Any, act: Callable[[Any], object]) -> None:
        """Call a function, in a thread of its own, with each value that a user gives a control.

        If the control is a button, the function is called with the browser (viser's client) in which it was pressed.
        """
        is_button = hasattr(control, "on_click")
        action = _Action(lambda argument: self._attempt(act, argument))

        async def changed(event: Any) -> None:
            # A change made by the program has no client. The value is read here, where the browser's message is
            # handled, since a file that plays moves its slider on.
            if event.client_id is not None:
                action.request(event.client if is_button else event.target.value)

        (control.on_click if is_button else control.on_update)(changed)

    def _attempt(self, act: Callable[[Any], object], argument: Any) -> None:
        try:
            act(argument)
        except (Mp2FlameError, OSError) as error:
            self.notify("Action failed", str(error))
        except Exception as error:
            _LOGGER.exception("an action of the page failed")
            self.notify("Action failed", f"{type(error).__name__}: {error}")
        finally:
            self.after_action()

    def notify(self, title: str, text: str) -> None:
        """Show a warning in every browser, as plain text."""
        for client in self._server.get_clients().values():
            client.add_notification(title, plain(text, limit=400), color="red", auto_close_seconds=12.0)

    def show(self, state: SessionState) -> None:
        """Bring everything but the head and the image up to date; only what has changed is sent."""
        with self._lock:
            show_text(self._notice, state.notice)
            self._no_face.visible = state.face is False
            if state.mappings != self._placed:
                self._placed = first, second = state.mappings
                aside, back = (0.0, 0.0) if second is None else (_ASIDE, -_BACK)
                self._heads[0].place(-aside, back, caption=f"A: {plain(first)}" if second else "")
                self._heads[1].place(aside, back, caption=f"B: {plain(second or '')}", visible=second is not None)
            for control in (self.playing, self.loop, self.position):
                control.visible = state.position is not None
            if state.position is not None:
                self.playing.value = state.playing
                # As long as the duration is not known, there are at least ten seconds.
                length = math.ceil(state.position / 10) * 10 or 10 if state.duration is None else state.duration
                self.position.max = max(round(length, 2), 0.1)
                self.position.value = round(min(state.position, self.position.max), 2)
            self._stats.content = _stats_table(state.stats)
            self.controls.show(state)

    def sinks(self, on_head: Callable[[float], None] = lambda _: None) -> tuple[FunctionSink, FunctionSink]:
        """Sinks that show the newest head, and the newest image of the camera.

        Args:
            on_head: is called with the seconds since the frame left its source, once its head is on its way.
        """

        def write_head(frame: Frame) -> None:
            if frame.vertices is not None and self._is_due("head", _HEAD_INTERVAL):
                self.show_head(frame.vertices)
                on_head(time.perf_counter() - frame.arrival)

        def write_image(frame: Frame) -> None:
            image = frame.observation.picture
            if image is None:
                self.show_image(None)
            elif self._is_due("image", _IMAGE_INTERVAL):
                # Encoding an image would take the processor from the head that is just being sent.
                time.sleep(_HEAD_SENDING_SECONDS)
                self.show_image(image)

        head = FunctionSink("viewer", write_head, needs_vertices=True, instant=True)
        return head, FunctionSink("image", write_image, needs_image=True)

    def _is_due(self, what: str, interval: float) -> bool:
        now = time.monotonic()
        due = now - self._shown_at.get(what, 0.0) >= interval
        if due:
            self._shown_at[what] = now
        return due

    def show_head(self, vertices: NDArray[np.float32], side: int = 0) -> None:
        """Send new vertices (V, 3) of head A (0) or B (1) at once; without a browser nothing is computed."""
        if self.watched:
            self._heads[side].show(vertices)
            self._server.flush()

    def show_image(self, image: NDArray[np.uint8] | None) -> None:
        """Show the camera's image (H, W, 3), reduced by leaving out rows and columns; None hides the last one."""
        if image is None:
            self._image.visible = False
        elif self.watched:
            step = -(-image.shape[0] // _IMAGE_HEIGHT)
            self._image.visible = True
            self._image.image = np.ascontiguousarray(image[::step, ::step])
            self._server.flush()

    def _send_screenshot(self, client: Any) -> None:
        """Send this browser's view of the scene to it as a PNG file."""
        width = round(_SCREENSHOT_HEIGHT * float(np.clip(client.camera.aspect, 0.2, 5.0)))
        try:
            view = client.get_render(_SCREENSHOT_HEIGHT, width, transport_format="png", timeout=_SCREENSHOT_SECONDS)
        except (TimeoutError, RuntimeError) as error:
            raise SinkError(
                f"the browser sent no image within {_SCREENSHOT_SECONDS:.0f} seconds: bring its tab to the front"
            ) from error
        file = io.BytesIO()
        Image.fromarray(view).save(file, "PNG")
        client.send_file_download("mp2flame.png", file.getvalue(), save_immediately=True)

    def close(self) -> None:
        """Disconnect the browsers and free the port."""
        self._close_server()


def _stats_table(stats: Stats) -> str:
    rows = "".join(
        f"<tr><td>{escape(plain(stage))}</td><td>{timing.p50:.1f}</td><td>{timing.p95:.1f}</td></tr>"
        for stage, timing in stats.timings.items()
    )
    lines = "".join(f"<div>{escape(plain(loss))}</div>" for loss in stats.losses)
    return (
        "<style>.stats td,.stats th{padding:1px 10px 1px 0;text-align:right}"
        ".stats td:first-child,.stats th:first-child{text-align:left}</style>"
        f'<div style="padding:4px 12px;font-size:13px"><b>{stats.frame_rate:.1f} frames per second</b>'
        f'<table class="stats"><tr><th>milliseconds</th><th>p50</th><th>p95</th></tr>{rows}</table>{lines}</div>'
    )
