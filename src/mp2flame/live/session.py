"""A live session: one pipeline that runs until it is stopped, and a page that exchanges what is in it."""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Callable
from contextlib import ExitStack, suppress
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mp2flame.data import Frame, Observation
from mp2flame.errors import InputError, Mp2FlameError
from mp2flame.head import load_head
from mp2flame.live.controls import NO_SECOND_HEAD
from mp2flame.live.mapping_control import MappingController, Side
from mp2flame.live.neutral import NeutralController, data_folder
from mp2flame.live.page import Page
from mp2flame.live.recorder import Recorder
from mp2flame.live.source_control import SourceController
from mp2flame.live.state import DETECTION, END_TO_END, LiveSettings, SessionState, Stats, collect_stats
from mp2flame.pipeline import Pipeline, Report
from mp2flame.sinks import open_sink

_TICK = 0.1
_M_ARENA_MAX = -8
_TICKS_PER_STATS = 5


def _limit_arenas() -> None:
    """Let glibc keep two pools of memory, not one per thread, each of which would keep what large images needed."""
    with suppress(AttributeError, OSError, TypeError):
        ctypes.CDLL(None).mallopt(_M_ARENA_MAX, 2)


class LiveSession:
    """Call `run` in the main thread; every other method may be called from any thread.

    Raises:
        Mp2FlameError: the head, a mapping, the source or an address cannot be opened.
    """

    def __init__(self, settings: LiveSettings) -> None:
        _limit_arenas()
        self._stopped = threading.Event()
        self._face: bool | None = None
        self._notice = "Waiting for the first frame."
        self._stats = Stats()
        self._settings = settings
        head = load_head(settings.head)
        data = settings.data or data_folder()
        self._neutral = NeutralController(data / "neutral", head, settings.neutral)
        self.mappings = MappingController(head, settings, lambda vertices: self.page.show_head(vertices, 1))
        self.source = SourceController(settings, self._source_ended)
        with ExitStack() as stack:
            stack.callback(self.source.close)
            self.source.open(settings.source)
            outgoing = [stack.enter_context(open_sink(address, head=head)) for address in settings.send]
            # The controller checks this mapping and all that follow it.
            self.pipeline = Pipeline(
                self.source, self.mappings.mapping(), head, allow_head_mismatch=True, on_frame=self._on_frame
            )
            self.mappings.connect(self.pipeline)
            self.recorder = Recorder(data / "recordings", head, self.pipeline)
            self.page = Page(head, self.state, host=settings.host, port=settings.port)
            stack.pop_all()
        # The network comes before the viewer, which has more to do.
        for sink in (*outgoing, *self.page.sinks(self._head_shown)):
            self.pipeline.add_sink(sink)
        self._bind_controls()

    def _bind_controls(self) -> None:
        page, source, recorder, controls = self.page, self.source, self.recorder, self.page.controls
        sliders = controls.sliders

        def gains(_: float) -> None:
            self.set_gains(controls.expression_gain.value, controls.jaw_gain.value)

        def weights(_: float) -> None:
            self.pose_by_weights(sliders.read_weights())

        def zero(_: Any) -> None:
            sliders.set_zero()
            self.pose_by_weights(sliders.read_weights())

        controls_and_acts: list[tuple[Any, Callable[[Any], object]]] = [
            (page.playing, source.set_playing),
            (page.loop, source.set_loop),
            (page.position, source.seek),
            (controls.camera, self.set_camera),
            (controls.source, self.open_source),
            (controls.mirror, source.set_mirror),
            (controls.neutral, lambda _: self.take_neutral()),
            (controls.forget, lambda _: self.forget_neutral()),
            (controls.smoothing, self.mappings.set_smoothing),
            (controls.expression_gain, gains),
            (controls.jaw_gain, gains),
            (controls.first, partial(self.set_mapping, "A")),
            (controls.second, lambda name: self.set_mapping("B", None if name == NO_SECOND_HEAD else name)),
            (controls.record, lambda _: recorder.start()),
            (controls.stop, lambda _: recorder.stop()),
            (controls.download, self._send_recording),
            (sliders.zero, zero),
            *((slider, weights) for slider in sliders.weights.values()),
            *(
                (slider, partial(self._pose_by_slider, name, index, unit))
                for (name, index), (slider, unit) in sliders.coefficients.items()
            ),
        ]
        if controls.other is not None:
            controls_and_acts.append((controls.open, lambda _: self.open_source(controls.other.value)))
        for control, act in controls_and_acts:
            page.bind(control, act)
        page.after_action = self._refresh

    @property
    def state(self) -> SessionState:
        """What the session is doing now."""
        source, player, recorder = self.source, self.source.player, self.recorder
        return SessionState(
            source=source.name,
            sources=tuple(source.specs),
            mirrored=self._settings.mirror,
            camera_on=source.sliders is None,
            face=self._face,
            notice=self._notice,
            position=None if player is None else player.position,
            duration=None if player is None else player.duration,
            playing=player is not None and player.playing,
            mapping_names=tuple(self.mappings.specs),
            mappings=(self.mappings.names["A"] or "", self.mappings.names["B"]),
            neutral=self._neutral.text,
            neutral_progress=self._neutral.progress,
            has_own_neutral=self._neutral.is_own,
            pose=self.mappings.weighted_pose,
            recording=recorder.text,
            is_recording=recorder.running,
            can_download=recorder.can_download,
            recording_path=recorder.path,
            n_recorded=0 if recorder.recording is None else recorder.recording.n_frames,
            stats=self._stats,
        )

    def run(self) -> Report:
        """Run until `stop` or Ctrl-C. A source that ends leaves the session waiting for another.

        Raises:
            InputError: the mapping reads what the source does not provide.
        """
        ticker = threading.Thread(target=self._tick, name="mp2flame-state", daemon=True)
        try:
            self._find_neutral()
            if self._settings.compare is not None:
                self.set_mapping("B", self._settings.compare)
            ticker.start()
            return self.pipeline.run()
        finally:
            self.stop()
            if ticker.is_alive():
                ticker.join()
            self.page.close()

    def stop(self) -> None:
        """End `run`."""
        self._stopped.set()
        self.pipeline.stop()
        self.source.close()

    def open_source(self, spec: str) -> None:
        """Take frames from another source, by its name or as `open_source` understands it."""
        self.source.open(spec)
        self._face, self._notice = None, "Waiting for the first frame."
        self.mappings.set_by_hand(on=False)
        self.page.show_image(None)
        self._find_neutral()

    def set_camera(self, on: bool) -> None:
        """Take frames from the source, or from the sliders."""
        if on:
            self.open_source(self.source.spec)
            return
        self.mappings.set_by_hand(on=True)
        self.source.use_sliders()
        self._face, self._notice = None, "Camera off: the sliders pose the head."
        self.page.show_image(None)
        self.pose_by_weights(self.page.controls.sliders.read_weights())

    def take_neutral(self) -> None:
        """Take the person's neutral in the next three seconds; returns when that is done."""
        if self.source.sliders is not None:
            raise InputError("the camera is off: switch it on to take a neutral")
        try:
            neutral, warning = self._neutral.take(self.pipeline, self.source.spec)
            self.mappings.set_neutral(neutral)
        except Mp2FlameError:
            self._find_neutral()
            raise
        self._neutral.use(f"Using your neutral. {warning}".strip())

    def forget_neutral(self) -> None:
        """Delete the person's neutral and use the average one."""
        self._neutral.path(self.source.spec).unlink(missing_ok=True)
        self._find_neutral()

    def set_gains(self, expression: float, jaw: float) -> None:
        """Set the factors of the whole expression and of the jaw."""
        self.mappings.set_gains(expression, jaw)
        self.source.refresh()

    def set_mapping(self, side: Side, name: str | None) -> None:
        """Use another mapping; None on side B shows one head only."""
        self.mappings.set_mapping(side, name)
        self._refresh()
        self.source.refresh()

    def pose_by_weights(self, weights: NDArray[np.float32]) -> None:
        """While the camera is off, pose the head by weights (52,) in ARKit's order."""
        sliders = self.source.sliders
        if sliders is not None:
            self.mappings.pose_by_weights(weights)
            sliders.refresh(weights)

    def pose_by_coefficient(self, name: str, index: int, value: float) -> None:
        """While the camera is off, set one number of the pose, by its field of `FlameParams`."""
        if self.source.sliders is not None:
            self.mappings.pose_by_coefficient(name, index, value)
            self.source.refresh()

    def _send_recording(self, client: Any) -> None:
        button = self.page.controls.download
        button.disabled = True
        try:
            path = self.recorder.export(self.page.controls.format.value)
            client.send_file_download(path.name, path.read_bytes(), save_immediately=True)
        finally:
            button.disabled = False

    def _pose_by_slider(self, name: str, index: int, unit: float, value: float) -> None:
        self.pose_by_coefficient(name, index, value * unit)

    def _head_shown(self, seconds: float) -> None:
        if self.source.detection_seconds:
            self.pipeline.stopwatch.add(DETECTION, self.source.detection_seconds)
        self.pipeline.stopwatch.add(END_TO_END, self.source.detection_seconds + seconds)

    def _on_frame(self, frame: Frame) -> None:
        found = bool(frame.observation.found[0])
        # The last frames of a source may arrive after its end.
        if found != self._face and self.source.current is not None and self.source.sliders is None:
            self._face = found
            self._notice = "Face detected." if found else "No face detected. Look into the camera."

    def _source_ended(self, error: Exception | None) -> None:
        self._face = None
        self._notice = f"The source stopped: {error}. Select a source." if error else "End of file. Select a source."

    def _find_neutral(self) -> None:
        """Use the neutral that was kept for this source, if there is one."""
        neutral: Observation | None = self._neutral.find(self.source.spec)
        try:
            self.mappings.set_neutral(neutral)
        except Mp2FlameError as error:
            self._neutral.use(f"The saved neutral cannot be used: {error}", own=False)
            self.mappings.set_neutral(None)

    def _refresh(self) -> None:
        self.page.show(self.state)

    def _tick(self) -> None:
        """Bring the page up to date until the session ends."""
        count = 0
        while not self._stopped.wait(_TICK):
            count += 1
            self.recorder.check()
            if count % _TICKS_PER_STATS == 0:
                skipped = 0 if self.source.player is None else self.source.player.skipped
                self._stats = collect_stats(self.pipeline, self.source.frame_rate, skipped)
            self._refresh()
