"""The panel on the right: the controls of a session, without what they do."""

from __future__ import annotations

import html
from typing import Any, Final

from mp2flame.data import HeadLike
from mp2flame.errors import plain
from mp2flame.live.recorder import FORMATS
from mp2flame.live.sliders import SliderPanel
from mp2flame.live.state import SessionState

NO_SECOND_HEAD: Final = "no second head"


def show_text(element: Any, text: str) -> None:
    """Show a text in an HTML element, character by character: it may come from a file or a stream of somebody else."""
    element.content = f'<div style="padding:2px 12px 8px;font-size:13px">{html.escape(plain(text, limit=400))}</div>'


class Controls:
    """The controls, as attributes that a session binds its methods to.

    With `any_source`, another source than those listed may be typed in.
    """

    def __init__(self, gui: Any, head: HeadLike, state: SessionState, *, any_source: bool) -> None:
        tabs = gui.add_tab_group()
        with tabs.add_tab("Live"):
            with gui.add_folder("Source"):
                hint = "Off: the sliders of the other tab pose the head"
                self.camera = gui.add_checkbox("Camera on", initial_value=True, hint=hint)
                self.source = gui.add_dropdown("Source", options=state.sources, initial_value=state.source)
                self.other: Any = None
                if any_source:
                    hint = "A file, a camera's number, or a stream's address"
                    self.other = gui.add_text("Other", initial_value="", hint=hint)
                    self.open = gui.add_button("Open")
                hint = "The camera's image is mirrored; undo it before detection"
                self.mirror = gui.add_checkbox("Mirror", initial_value=state.mirrored, hint=hint)
            with gui.add_folder("Neutral"):
                self.neutral = gui.add_button("Neutral", hint="Look straight ahead, relaxed, for three seconds")
                self._neutral_bar = gui.add_progress_bar(0.0, visible=False)
                self._neutral_text = gui.add_html("")
                self.forget = gui.add_button("Forget", hint="Use the average neutral again", visible=False)
            with gui.add_folder("Motion"):
                self.smoothing = gui.add_slider(
                    "Smoothing", min=0.0, max=4.0, step=0.1, initial_value=1.0, hint="0 is off"
                )
                self.expression_gain, self.jaw_gain = (
                    gui.add_slider(f"{name} gain", min=0.0, max=2.0, step=0.05, initial_value=1.0)
                    for name in ("Expression", "Jaw")
                )
            with gui.add_folder("Mapping"):
                names = state.mapping_names
                self.first = gui.add_dropdown("A", options=names, hint="The mapping whose result is recorded and sent")
                hint = "A second mapping, shown beside the first"
                self.second = gui.add_dropdown("B", options=(NO_SECOND_HEAD, *names), hint=hint)
            with gui.add_folder("Record"):
                self.record = gui.add_button("Record", color="red")
                self.stop = gui.add_button("Stop", visible=False)
                self._record_text = gui.add_html("")
                self.format = gui.add_dropdown("Format", options=FORMATS, visible=False)
                self.download = gui.add_button("Download", visible=False)
            with gui.add_folder("View"):
                materials = ("clay",) if head.vertex_colors is None else ("colors", "clay")
                self.material = gui.add_dropdown("Material", options=materials)
                self.wireframe = gui.add_checkbox("Wireframe", initial_value=False)
                self.screenshot = gui.add_button("Screenshot")
        with tabs.add_tab("Sliders"):
            self._slider_hint = gui.add_html("")
            self.sliders = SliderPanel(gui, head.n_expression)

    def show(self, state: SessionState) -> None:
        """Bring every control up to date; viser sends only what has changed."""
        self.camera.value = state.camera_on
        if tuple(self.source.options) != state.sources:
            self.source.options = state.sources
        self.source.value = state.source
        show_text(self._neutral_text, state.neutral)
        self._neutral_bar.visible = state.neutral_progress is not None
        self._neutral_bar.value = 100.0 * (state.neutral_progress or 0.0)
        self.forget.visible = state.has_own_neutral
        first, second = state.mappings
        self.first.value = first
        self.second.value = second or NO_SECOND_HEAD
        show_text(self._record_text, state.recording)
        self.record.visible = not state.is_recording
        self.stop.visible = state.is_recording
        self.format.visible = self.download.visible = state.can_download
        hint = (
            "Switch Camera on off (tab Live) to pose the head with these." if state.camera_on else "The camera is off."
        )
        show_text(self._slider_hint, hint)
        self.sliders.show(state.pose, enabled=not state.camera_on)
