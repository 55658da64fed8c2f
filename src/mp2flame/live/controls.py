"""The panel on the right: everything that steers the session, each under a name that people know."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from mp2flame.errors import Mp2FlameError
from mp2flame.live.director import Director
from mp2flame.live.head_view import HeadView, Look
from mp2flame.live.slider_widgets import SliderPanel

__all__ = ["Controls"]

_NONE = "no second head"
_SHOT_HEIGHT = 1080


class Controls:
    """Builds the panel and tells the director what was asked for.

    Args:
        server: viser's server.
        director: does what is asked for.
        heads: the views of side A and B.
        sources: names to choose a source from.
        source: the one that is open.
        free_source: any other source may be typed in.
        mappings: names to choose mappings from; the first is in use on side A.
        formats: what a recording can be downloaded as.
        n_expression: how many expression sliders there are.
        has_colors: the head brings vertex colours.
        mirror: whether the mirror box is ticked at first.
    """

    def __init__(
        self,
        server: Any,
        director: Director,
        heads: Sequence[HeadView],
        *,
        sources: Sequence[str],
        source: str,
        free_source: bool,
        mappings: Sequence[str],
        formats: Sequence[str],
        n_expression: int,
        has_colors: bool,
        mirror: bool,
    ) -> None:
        self._server = server
        self._gui = server.gui
        self._director = director
        self._heads = heads
        tabs = self._gui.add_tab_group()
        with tabs.add_tab("Live"):
            with self._gui.add_folder("Source"):
                self._add_source(sources, source, free_source=free_source, mirror=mirror)
            with self._gui.add_folder("Neutral"):
                self._add_neutral()
            with self._gui.add_folder("Motion"):
                self._add_motion()
            with self._gui.add_folder("Mapping"):
                self._add_mapping(mappings)
            with self._gui.add_folder("Record"):
                self._add_record(formats)
            with self._gui.add_folder("Look"):
                self._add_look(has_colors=has_colors)
        with tabs.add_tab("Sliders"):
            self._slider_hint = self._gui.add_markdown("")
            self.sliders = SliderPanel(
                self._gui,
                n_expression=n_expression,
                on_weights=self._guarded_weights,
                on_coefficient=lambda *what: self._try(lambda: director.pose_by_coefficient(*what)),
            )
        self.show_camera(on=True)

    def _add_source(self, sources: Sequence[str], source: str, *, free_source: bool, mirror: bool) -> None:
        director = self._director
        self._camera = self._gui.add_checkbox(
            "Camera on", initial_value=True, hint="Off: the sliders of the other tab pose the head"
        )
        self._on_change(self._camera, director.set_camera)
        self._source = self._gui.add_dropdown("Source", options=tuple(sources), initial_value=source)
        self._on_change(self._source, director.open_source)
        if free_source:
            typed = self._gui.add_text(
                "Other", initial_value="", hint="A file, a camera's number, or a stream's address"
            )
            opened = self._gui.add_button("Open")
            opened.on_click(lambda _: self._try(lambda: director.open_source(typed.value.strip())))
        self._mirror = self._gui.add_checkbox(
            "Mirror", initial_value=mirror, hint="The camera's picture is mirrored: turn it back"
        )
        self._on_change(self._mirror, director.set_mirror)

    def _add_neutral(self) -> None:
        button = self._gui.add_button("Neutral", hint="Look straight, with a relaxed face, for three seconds")
        self._neutral_bar = self._gui.add_progress_bar(0.0, visible=False)
        self._neutral_text = self._gui.add_markdown("")
        self._forget = self._gui.add_button("Forget", hint="Use an average person's neutral again", visible=False)
        button.on_click(lambda _: self._try(self._director.take_neutral))
        self._forget.on_click(lambda _: self._try(self._director.forget_neutral))

    def _add_motion(self) -> None:
        smoothing = self._gui.add_slider("Smoothing", min=0.0, max=4.0, step=0.1, initial_value=1.0, hint="0 is off")
        expression = self._gui.add_slider("Expression gain", min=0.0, max=2.0, step=0.05, initial_value=1.0)
        jaw = self._gui.add_slider("Jaw gain", min=0.0, max=2.0, step=0.05, initial_value=1.0)
        self._on_change(smoothing, self._director.set_smoothing)
        for slider in (expression, jaw):
            self._on_change(slider, lambda _: self._director.set_gains(expression.value, jaw.value))

    def _add_mapping(self, mappings: Sequence[str]) -> None:
        first = self._gui.add_dropdown("A", options=tuple(mappings), hint="The mapping in use, and recorded")
        second = self._gui.add_dropdown("B", options=(_NONE, *mappings), hint="A second mapping, beside the first")
        self._on_change(first, lambda name: self._director.set_mapping("A", name))
        self._on_change(second, lambda name: self._director.set_mapping("B", None if name == _NONE else name))
        self._second = second

    def _add_record(self, formats: Sequence[str]) -> None:
        self._record = self._gui.add_button("Record", color="red")
        self._stop = self._gui.add_button("Stop", visible=False)
        self._record_text = self._gui.add_markdown("")
        self._format = self._gui.add_dropdown("Format", options=tuple(formats), visible=False)
        self._download = self._gui.add_button("Download", visible=False)
        self._record.on_click(lambda _: self._try(self._director.start_recording))
        self._stop.on_click(lambda _: self._try(self._director.stop_recording))
        self._download.on_click(lambda event: self._try(lambda: self._send_recording(event.client)))

    def _send_recording(self, client: Any) -> None:
        self._download.disabled = True
        try:
            path = self._director.export(self._format.value)
            client.send_file_download(path.name, path.read_bytes(), save_immediately=True)
        finally:
            self._download.disabled = False

    def _add_look(self, *, has_colors: bool) -> None:
        looks = ("colours", "clay") if has_colors else ("clay",)
        look = self._gui.add_dropdown("Material", options=looks)
        wireframe = self._gui.add_checkbox("Wireframe", initial_value=False)
        shot = self._gui.add_button("Screenshot")
        self._on_change(look, self._set_look)
        self._on_change(wireframe, self._set_wireframe)
        shot.on_click(lambda event: self._try(lambda: _send_screenshot(event.client)))

    def _set_look(self, look: Look) -> None:
        for head in self._heads:
            head.set_look(look)

    def _set_wireframe(self, on: bool) -> None:
        for head in self._heads:
            head.set_wireframe(on)

    def show_camera(self, *, on: bool) -> None:
        """Say whether the sliders or the source pose the head."""
        self._camera.value = on
        self.sliders.enable(not on)
        self._slider_hint.content = (
            "Switch **Camera on** off (tab *Live*) to pose the head with these." if on else "The camera is off."
        )

    def show_sources(self, names: Sequence[str], name: str) -> None:
        """What can be chosen, and what is open."""
        if tuple(self._source.options) != tuple(names):
            self._source.options = tuple(names)
        self._source.value = name

    def show_neutral(self, text: str, *, progress: float | None = None, taken: bool = False) -> None:
        """What is known of the person's neutral; with a progress 0..1, a bar."""
        self._neutral_text.content = text
        self._neutral_bar.visible = progress is not None
        if progress is not None:
            self._neutral_bar.value = 100.0 * progress
        self._forget.visible = taken

    def show_second(self, name: str | None) -> None:
        """Which mapping stands on side B."""
        self._second.value = _NONE if name is None else name

    def show_recording(self, text: str, *, running: bool, ready: bool) -> None:
        """What the recording does; `ready` once there is one to download."""
        self._record_text.content = text
        self._record.visible = not running
        self._stop.visible = running
        self._format.visible = self._download.visible = ready

    def _guarded_weights(self, weights: NDArray[np.float32]) -> None:
        self._try(lambda: self._director.pose_by_weights(weights))

    def _on_change(self, handle: Any, act: Callable[[Any], object]) -> None:
        """Act on what a person changed; what the program changed itself has no client."""

        def changed(event: Any) -> None:
            # viser takes whatever a browser says: only what is on the list may be chosen.
            options = getattr(handle, "options", None)
            if event.client_id is not None and (options is None or handle.value in options):
                self._try(lambda: act(handle.value))

        handle.on_update(changed)

    def _try(self, act: Callable[[], object]) -> None:
        try:
            act()
        except (Mp2FlameError, OSError) as error:
            self.notify("That did not work", str(error), color="red")

    def notify(self, title: str, body: str, *, color: Literal["red", "blue", "yellow"] = "blue") -> None:
        """Say something to everyone who looks at the page."""
        for client in self._server.get_clients().values():
            client.add_notification(title, body, color=color, auto_close_seconds=12.0)


def _send_screenshot(client: Any) -> None:
    """What this browser shows of the scene, as a PNG download."""
    import imageio.v3 as iio

    aspect = client.camera.aspect
    picture = client.get_render(_SHOT_HEIGHT, round(_SHOT_HEIGHT * aspect), transport_format="jpeg", timeout=60.0)
    file = io.BytesIO()
    iio.imwrite(file, picture, extension=".png")
    client.send_file_download("mp2flame.png", file.getvalue(), save_immediately=True)
