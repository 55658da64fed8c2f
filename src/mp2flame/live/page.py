"""The page: the head in the middle, the driving picture and the figures on the left, the controls on the right."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable, Coroutine, Mapping, Sequence
from html import escape
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from mp2flame.data import HeadLike
from mp2flame.live.color_patches import Painting
from mp2flame.live.controls import Controls
from mp2flame.live.director import Director
from mp2flame.live.head_view import HeadView, Look
from mp2flame.live.server import open_server

__all__ = ["Duration", "Page"]

_PICTURE_HEIGHT = 360
_PICTURE_QUALITY = 70
_APART = 0.12
_BACK = 0.55
"""Metres by which each of two heads stands aside, and both stand back so that they fit."""


class Duration(Protocol):
    """What the table of durations shows of a room: milliseconds."""

    @property
    def p50(self) -> float:
        """Median."""

    @property
    def p95(self) -> float:
        """95th percentile."""


class Page:
    """The browser page. Every method may be called from any thread.

    Args:
        surface: the head that is driven.
        director: does what the page asks for.
        host: the address to listen on.
        port: the first port to try; 0 lets the system choose.
        controls: what the controls offer, see `Controls`.

    Raises:
        MissingExtraError: viser is not installed.
        SinkError: it cannot listen there.
    """

    def __init__(
        self, surface: HeadLike, director: Director, *, host: str = "127.0.0.1", port: int = 8080, **controls: Any
    ) -> None:
        neutral = surface.neutral_vertices
        self._server = open_server(host, port, neutral)
        self._host = host
        self._director = director
        paintings: dict[Look, Painting] = {}
        first, second = (HeadView(self._server, name, surface, paintings) for name in ("/a", "/b"))
        self.heads = (first, second)
        self.heads[1].place(0.0, visible=False)
        self._missing = self._server.scene.add_label(
            "/missing",
            "no face",
            position=(
                0.0,
                float(surface.neutral_vertices[:, 1].min()) - 0.02,
                float(surface.neutral_vertices[:, 2].max()),
            ),
            anchor="top-center",
            visible=False,
        )
        self._build_left()
        self.controls = Controls(
            self._server, director, self.heads, has_colors=surface.vertex_colors is not None, **controls
        )

    def _build_left(self) -> None:
        gui = self._server.gui
        panel = gui.add_panel()
        with panel.add_tab("Camera"):
            self._picture = gui.add_image(
                np.full((240, 320, 3), 222, dtype=np.uint8),
                jpeg_quality=_PICTURE_QUALITY,
                format="jpeg",
                visible=False,
            )
            self._sign = gui.add_markdown("waiting for the first frame")
            self._playing = gui.add_checkbox("Playing", initial_value=True, visible=False)
            self._loop = gui.add_checkbox("Loop", initial_value=True, visible=False)
            self._position = gui.add_slider(
                "Position (s)", min=0.0, max=1.0, step=0.01, initial_value=0.0, visible=False
            )
            self._figures = gui.add_html("")
        director = self._director
        self._playing.on_update(_by_a_person(director.set_playing))
        self._loop.on_update(_by_a_person(director.set_loop))
        self._position.on_update(_by_a_person(director.seek))
        panel.dock_left()
        panel.set_width(330)
        gui.main_panel.dock_right()
        gui.main_panel.set_width(430)

    @property
    def address(self) -> str:
        """Where a browser on this machine finds the page."""
        host = self._server.get_host()
        wild = host in ("0.0.0.0", "::")  # noqa: S104 - compared, not listened on
        named = "localhost" if wild else f"[{host}]" if ":" in host else host
        return f"http://{named}:{self._server.get_port()}"

    @property
    def watched(self) -> bool:
        """Whether any browser is there."""
        return bool(self._server.get_clients())

    def show_head(self, vertices: NDArray[np.float32], side: int = 0) -> None:
        """New vertices (V, 3) for head A (0) or B (1), sent at once; nothing is made for nobody."""
        if self.watched:
            self.heads[side].show(vertices)
            self._server.flush()

    def show_picture(self, picture: NDArray[np.uint8]) -> None:
        """The driving picture (H, W, 3), shrunk by leaving out rows and columns."""
        if self.watched:
            step = -(-picture.shape[0] // _PICTURE_HEIGHT)
            self._picture.visible = True
            self._picture.image = np.ascontiguousarray(picture[::step, ::step])
            self._server.flush()

    def hide_picture(self) -> None:
        """There is no picture, until there is one again."""
        self._picture.visible = False

    def show_sign(self, text: str, *, missing: bool) -> None:
        """One line below the picture; `missing` puts "no face" into the scene too."""
        self._sign.content = text
        self._missing.visible = missing

    def show_second(self, first: str, second: str | None) -> None:
        """Two heads side by side with their mappings' names, or, with None, the first alone."""
        if second is None:
            self.heads[0].place(0.0)
            self.heads[1].place(0.0, visible=False)
        else:
            self.heads[0].place(-_APART, -_BACK, caption=f"A: {first}")
            self.heads[1].place(_APART, -_BACK, caption=f"B: {second}")
        self.controls.show_second(second)

    def show_transport(self, position: float, duration: float | None, *, playing: bool, visible: bool) -> None:
        """Where a file is; not visible for cameras and streams."""
        for handle in (self._playing, self._loop, self._position):
            handle.visible = visible
        if visible:
            self._playing.value = playing
            if duration is not None and abs(self._position.max - duration) > 0.01:
                self._position.max = max(round(duration, 2), 0.1)
            self._position.value = round(min(position, self._position.max), 2)

    def show_figures(self, rate: float, rooms: Mapping[str, Duration], notes: Sequence[str]) -> None:
        """Frame rate, and a table of milliseconds by room."""
        rows = "".join(
            f"<tr><td>{escape(name)}</td><td>{time.p50:.1f}</td><td>{time.p95:.1f}</td></tr>"
            for name, time in rooms.items()
        )
        lines = "".join(f"<div>{escape(note)}</div>" for note in notes)
        self._figures.content = (
            "<style>.figures td,.figures th{padding:1px 10px 1px 0;text-align:right}"
            ".figures td:first-child,.figures th:first-child{text-align:left}</style>"
            f'<div style="padding:4px 12px;font-size:13px"><b>{rate:.1f} frames a second</b>'
            f'<table class="figures"><tr><th>milliseconds</th><th>p50</th><th>p95</th></tr>{rows}</table>{lines}</div>'
        )

    def close(self) -> None:
        """Send browsers away and free the port."""
        with contextlib.redirect_stdout(io.StringIO()):
            self._server.stop()


def _by_a_person(act: Callable[[Any], None]) -> Callable[[Any], Coroutine[Any, Any, None]]:
    """Act at once on the value that a person chose; what the program changed itself has no client.

    Asynchronous callbacks are called where the browser's message is read. Others wait for a thread, while the film that
    plays moves the slider on. What is done must not wait for anything.
    """

    async def changed(event: Any) -> None:
        if event.client_id is not None:
            act(event.target.value)

    return changed
