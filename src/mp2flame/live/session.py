"""A live session: one corridor that runs until it is stopped, and a page that exchanges what is in it."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mp2flame.data import Frame, Observation
from mp2flame.errors import InputError, Mp2FlameError
from mp2flame.head import load_head
from mp2flame.live.access import only_this_machine
from mp2flame.live.desk import Desk, Side
from mp2flame.live.figures import DETECTION, ROAD, end_recording, show_figures, show_progress
from mp2flame.live.neutral import data_folder, load_neutral, neutral_file, take_neutral
from mp2flame.live.page import Page
from mp2flame.live.playback import Playback
from mp2flame.live.recorder import Recorder
from mp2flame.live.settings import LiveSettings
from mp2flame.live.takes import FORMATS
from mp2flame.live.viewer_sink import PictureSink, ViewerSink
from mp2flame.pipeline import Pipeline, Report
from mp2flame.sinks import open_sink

__all__ = ["LiveSession"]

_TICK = 0.1
_TICKS_A_FIGURE = 5


class LiveSession:
    """Call `run` in the main thread, `stop` from anywhere. It is the director of its page.

    Args:
        settings: what to begin with.

    Raises:
        Mp2FlameError: the head, a mapping, the source or an address cannot be opened.
    """

    def __init__(self, settings: LiveSettings) -> None:
        self._settings = settings
        self._data = settings.data or data_folder()
        self._stopped = threading.Event()
        self._face: bool | None = None
        self._ended = False
        self._head = load_head(settings.head)
        self._desk = Desk(
            self._head,
            settings.mappings[0],
            head_pose=settings.head_pose,
            allow_head_mismatch=settings.allow_head_mismatch,
            show_second=lambda vertices: self.page.show_head(vertices, 1),
            person=settings.person,
        )
        self._playback = Playback(
            settings.landmarker,
            mirror=settings.mirror,
            note_detection=lambda seconds: self.pipeline.stopwatch.add(DETECTION, seconds),
            on_end=self._source_ended,
        )
        self._playback.open(settings.source)
        self._outgoing = [open_sink(address, head=self._head) for address in settings.send]
        try:
            self.page = self._open_page()
        except BaseException:
            self._playback.close()
            for sink in self._outgoing:
                sink.close()
            raise
        self.pipeline = Pipeline(
            self._playback.stage,
            self._desk.mapping(),
            self._head,
            # The viewer comes last: it has the most to do, and the network is in more of a hurry.
            [*self._outgoing, ViewerSink(self.page, self._on_head), PictureSink(self.page)],
            # The desk has checked it, and checks every other that follows.
            allow_head_mismatch=True,
            on_frame=self._on_frame,
        )
        self._recorder = Recorder(self._data / "recordings", self._head, self.pipeline)
        self._desk.attach(self.pipeline)

    def _open_page(self) -> Page:
        settings = self._settings
        compare = () if settings.compare is None else (settings.compare,)
        return Page(
            self._head,
            self,
            host=settings.host,
            port=settings.port,
            sources=self._playback.names,
            source=self._playback.name,
            # Whoever is on the network may look, but not open this machine's files.
            free_source=only_this_machine(settings.host),
            mappings=self._desk.offer(*settings.mappings, *compare),
            formats=FORMATS,
            n_expression=self._head.n_expression,
            mirror=settings.mirror,
        )

    def run(self) -> Report:
        """Run until `stop`, or Ctrl-C; a source that ends leaves the session waiting for another.

        Raises:
            InputError: the mapping reads what the source does not give.
        """
        ticker = threading.Thread(target=self._tick, name="mp2flame-figures", daemon=True)
        try:
            self._find_neutral()
            if self._settings.compare is not None:
                self.set_mapping("B", *self._desk.offer(self._settings.compare))
            ticker.start()
            return self.pipeline.run()
        finally:
            self._stopped.set()
            self._playback.close()
            if ticker.is_alive():
                ticker.join()
            self.page.close()

    def stop(self) -> None:
        """End `run`; may be called from any thread."""
        self._stopped.set()
        self.pipeline.stop()
        self._playback.close()

    # What the page asks for.

    def open_source(self, spec: str) -> None:
        """Take frames from another source."""
        self._playback.open(spec)
        self.page.hide_picture()
        self._face, self._ended = None, False
        self._desk.set_by_hand(on=False)
        self.page.controls.show_camera(on=True)
        self.page.controls.show_sources(self._playback.names, self._playback.name)
        self._find_neutral()

    def set_mirror(self, on: bool) -> None:
        """The camera's picture is mirrored, or not."""
        self._playback.set_mirror(on=on)

    def set_camera(self, on: bool) -> None:
        """Take frames from the source, or from the sliders."""
        if on:
            self.open_source(self._playback.spec)
            return
        try:
            self._desk.set_by_hand(on=True)
        except InputError:
            self.page.controls.show_camera(on=True)
            raise
        self._playback.use_sliders()
        self.page.hide_picture()
        self.page.controls.show_camera(on=False)
        self.page.show_sign("camera off: the sliders pose the head", missing=False)
        self.pose_by_weights(self.page.controls.sliders.weights())

    def set_playing(self, on: bool) -> None:
        """Play or pause a file."""
        transport = self._playback.transport
        if transport is not None:
            (transport.play if on else transport.pause)()

    def set_loop(self, on: bool) -> None:
        """Begin a file again at its end, or stop there."""
        self._playback.set_loop(on=on)

    def seek(self, seconds: float) -> None:
        """Go to a moment of a file."""
        transport = self._playback.transport
        if transport is not None:
            transport.seek(seconds)

    def take_neutral(self) -> None:
        """Take the person's rest in the next seconds; returns when that is done."""
        if self._playback.by_hand:
            raise InputError("the camera is off: switch it on to take a neutral")
        controls = self.page.controls
        path = neutral_file(self._data, self._playback.spec)
        try:
            rest, warning = take_neutral(
                self.pipeline,
                path,
                self._head,
                lambda part: controls.show_neutral("Look straight, face relaxed…", progress=part),
            )
        except Mp2FlameError:
            self._find_neutral()
            raise
        self._desk.set_rest(rest)
        controls.show_neutral(f"Yours. {warning}", taken=True)

    def forget_neutral(self) -> None:
        """Go back to an average person's rest."""
        neutral_file(self._data, self._playback.spec).unlink(missing_ok=True)
        self._find_neutral()

    def set_smoothing(self, amount: float) -> None:
        """0 is off, 1 the default."""
        self._desk.set_smoothing(amount)

    def set_gains(self, expression: float, jaw: float) -> None:
        """Factors of the whole expression and of the jaw."""
        self._desk.set_gains(expression, jaw)
        self._playback.nudge()

    def set_mapping(self, side: Side, name: str | None) -> None:
        """Use another mapping; None on side B shows one head only."""
        try:
            self._desk.set_mapping(side, name)
        finally:
            self.page.show_second(*self._desk.names())
        self._playback.nudge()

    def pose_by_weights(self, weights: NDArray[np.float32]) -> None:
        """Show what the mapping does with these weights (52,) in ARKit's order."""
        if self._playback.by_hand:
            params = self._desk.pose_by_weights(weights)
            self._playback.set_weights(weights)
            self.page.controls.sliders.show(params)

    def pose_by_coefficient(self, name: str, index: int, value: float) -> None:
        """Set one number of the pose by hand."""
        if self._playback.by_hand:
            self._desk.pose_by_coefficient(name, index, value)
            self._playback.nudge()

    def start_recording(self) -> None:
        """Record from now on."""
        self._recorder.start()
        self.page.controls.show_recording("recording", running=True, ready=False)

    def stop_recording(self) -> None:
        """Stop; what was recorded can be downloaded."""
        end_recording(self.page, self._recorder)

    def export(self, kind: str) -> Path:
        """The last recording as a file of this format."""
        take = self._recorder.take
        total = take.n_frames if take is not None else 0

        def progress(done: int) -> None:
            if done == total or done % 15 == 0:
                text = f"writing {kind}: {done} of {total} frames"
                self.page.controls.show_recording(text, running=self._recorder.running, ready=True)

        path = self._recorder.export(kind, progress)
        self.page.controls.show_recording(f"kept in `{path}`", running=self._recorder.running, ready=True)
        return path

    # What the corridor tells.

    def _on_head(self, observation: Observation) -> None:
        seconds = self._playback.clock.since(float(observation.time[0]))
        if seconds is not None:
            self.pipeline.stopwatch.add(ROAD, seconds)

    def _on_frame(self, frame: Frame) -> None:
        found = bool(frame.observation.found[0])
        # The last frames of a source may come through after its end was told.
        if found != self._face and not self._playback.by_hand and not self._ended:
            self._face = found
            self.page.show_sign("face seen" if found else "**No face seen**: look into the camera", missing=not found)

    def _source_ended(self, error: Exception | None) -> None:
        self._ended = True
        why = str(error) if error is not None else "it is over"
        self.page.show_sign(f"**The source has ended**: {why}. Choose it again, or another.", missing=False)

    def _find_neutral(self) -> None:
        """Take the neutral that was kept for this source, where there is one."""
        path = neutral_file(self._data, self._playback.spec)
        text, rest = "An average person's. Look straight and press *Neutral* for your own.", None
        try:
            if self._settings.person is None:
                rest = load_neutral(path)
            else:
                text = "That of the file given with `--rest`."
            self._desk.set_rest(rest)
        except Mp2FlameError as error:
            text, rest = f"The one that was kept cannot be used: {error}", None
            self._desk.set_rest(None)
        self.page.controls.show_neutral("Yours, from last time." if rest is not None else text, taken=rest is not None)

    def _tick(self) -> None:
        """Bring the page's figures up to date until the session ends."""
        count = 0
        while not self._stopped.wait(_TICK):
            count += 1
            show_progress(self.page, self._playback, self._recorder)
            if count % _TICKS_A_FIGURE == 0:
                show_figures(self.page, self._playback, self.pipeline)
