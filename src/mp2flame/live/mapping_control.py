"""The mappings in use: two to compare, a person's neutral, gains, smoothing, and a pose set by hand."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from mp2flame.blendshapes import ARKIT
from mp2flame.data import FlameParams, Frame, Observation
from mp2flame.errors import InputError
from mp2flame.filters import Chain, Filter, Hold, Limits, default_filters
from mp2flame.head import FlameHead
from mp2flame.live.sinks import FunctionSink
from mp2flame.live.sliders import observe_weights
from mp2flame.live.state import LiveSettings
from mp2flame.mapping import (
    BlendshapeMapping,
    ConstantPose,
    Person,
    WithGains,
    check_compatible,
    load_mapping,
    with_zero_neutral,
)
from mp2flame.pipeline import Pipeline

Side: TypeAlias = Literal["A", "B"]
"""A is what is recorded and sent; B is shown beside it."""


class MappingController:
    """Assembles what the pipeline and the second head run on. Methods may be called from any thread.

    A person in the settings counts until a neutral is set. `show_second` is called with side B's vertices (V, 3).

    Raises:
        InputError: the mapping reads landmarks and the person's neutral has none.
        HeadMismatchError: the mapping was made for another head.
        MissingFileError: there is no such mapping.
        FormatError: the file is not a mapping.
    """

    def __init__(
        self, head: FlameHead, settings: LiveSettings, show_second: Callable[[NDArray[np.float32]], None]
    ) -> None:
        self.weighted_pose: FlameParams | None = None
        """The pose of the blendshape sliders, N = 1, since the camera was switched off."""
        self._head = head
        self._settings = settings
        self._show_second = show_second
        self._lock = threading.RLock()
        self.specs: dict[str, str] = {}
        """The mappings to choose from, by names for a list."""
        for spec in dict.fromkeys(filter(None, (*settings.mappings, settings.compare))):
            name = Path(spec).name if Path(spec).exists() else spec
            self.specs[spec if name in self.specs else name] = spec
        self._mappings: dict[Side, BlendshapeMapping] = {"A": self._load(settings.mappings[0])}
        self.names: dict[Side, str | None] = {"A": next(iter(self.specs)), "B": None}
        """The mapping in use on each side; none on side B if there is one head."""
        self._neutral: Observation | None = None
        self._gains = (1.0, 1.0)
        self._smoothing = 1.0
        self._by_hand = False
        self._weights = np.zeros(len(ARKIT), dtype=np.float32)
        self._pose: FlameParams | None = None
        self._second: tuple[BlendshapeMapping, Filter] | None = None
        self._comparison: FunctionSink | None = None
        self._pipeline: Pipeline | None = None
        self._personalized(self._mappings["A"])

    def connect(self, pipeline: Pipeline) -> None:
        """Keep this pipeline's mapping and filters up to date from now on."""
        with self._lock:
            self._pipeline = pipeline
            self._apply(filters=True)

    def mapping(self) -> BlendshapeMapping:
        """The mapping of side A with everything that is set, or the pose set by hand."""
        with self._lock:
            return ConstantPose(self._pose) if self._by_hand and self._pose is not None else self._adjusted("A")

    def filters(self) -> Filter:
        """New filters of the smoothing that is set; slider moves are not smoothed and show at once."""
        smoothing = 0.0 if self._by_hand else self._smoothing
        return default_filters(smoothing=smoothing) if smoothing > 0 else Chain(Hold(), Limits())

    def set_mapping(self, side: Side, name: str | None) -> None:
        """Use another mapping, by its name or as `load_mapping` understands it; None closes side B.

        On an error, what was in use stays.
        """
        mapping = None if name is None else self._load(self.specs.get(name, name))
        with self._lock:
            if mapping is not None:
                # One that reads more than the source provides is refused while the old one is still in use.
                if self._by_hand:
                    with_zero_neutral(mapping)(observe_weights(self._weights))
                else:
                    self._personalized(mapping)
                self._mappings[side] = mapping
                self._apply()
            self.names[side] = next((known for known, spec in self.specs.items() if spec == name), name)
        if side == "B":
            self._compare(on=mapping is not None)

    def set_neutral(self, neutral: Observation | None) -> None:
        """Use a person's neutral frames; with None the first person's, or the average neutral.

        Raises:
            InputError: the frames have no face, or lack what a mapping reads.
        """
        with self._lock:
            if neutral is not None:
                for mapping in self._mappings.values():
                    mapping.for_person(neutral)
            self._neutral = neutral
            self._apply()

    def set_gains(self, expression: float, jaw: float) -> None:
        """Set the factors of every expression coefficient and of the jaw's rotation."""
        with self._lock:
            self._gains = (expression, jaw)
            self._apply()

    def set_smoothing(self, amount: float) -> None:
        """Set the smoothing: 0 is off, 1 the default, 2 smooths twice as much."""
        with self._lock:
            self._smoothing = amount
            self._apply(filters=True)

    def set_by_hand(self, on: bool) -> None:
        """Let sliders pose the head, or the source.

        Raises:
            InputError: the mapping in use reads more than scores.
        """
        with self._lock:
            if on:
                try:
                    with_zero_neutral(self._mappings["A"])(observe_weights(self._weights))
                except InputError as error:
                    raise InputError(f"this mapping cannot be driven by sliders: {error}") from error
            self._by_hand, self._pose = on, None
            self._apply(filters=True)

    def pose_by_weights(self, weights: NDArray[np.float32]) -> None:
        """Pose the head by blendshape weights (52,) in ARKit's order."""
        with self._lock:
            self._weights, self._pose = weights, None
            self._apply()
            self.weighted_pose = self._adjusted("A")(observe_weights(weights))

    def pose_by_coefficient(self, name: str, index: int, value: float) -> None:
        """Set one number of the pose, by its field of `FlameParams`, and keep the others."""
        with self._lock:
            pose = self._pose or self._adjusted("A")(observe_weights(self._weights))
            row = getattr(pose, name).copy()
            row[0, index] = value
            self._pose = replace(pose, **{name: row})
            self._apply()

    def _load(self, name: str) -> BlendshapeMapping:
        mapping = load_mapping(name, head_pose=self._settings.head_pose)
        check_compatible(mapping, self._head, allow_mismatch=self._settings.allow_head_mismatch)
        return mapping

    def _personalized(self, mapping: BlendshapeMapping) -> BlendshapeMapping:
        start = self._settings.neutral
        person = self._neutral or (start if isinstance(start, Person) else None)
        return mapping if person is None else mapping.for_person(person)

    def _adjusted(self, side: Side) -> BlendshapeMapping:
        mapping = self._mappings[side]
        mapping = with_zero_neutral(mapping) if self._by_hand else self._personalized(mapping)
        return WithGains(mapping, *self._gains, n_expression=self._head.n_expression)

    def _apply(self, *, filters: bool = False) -> None:
        if self._pipeline is not None:
            self._pipeline.mapping = self.mapping()
            if filters:
                self._pipeline.filters = self.filters()
        if self._second is not None:
            self._second = self._adjusted("B"), self.filters() if filters else self._second[1]

    def _write_second(self, frame: Frame) -> None:
        """Map, filter, pose and show the latest observation by side B, in a thread of its own."""
        second = self._second
        if second is not None:
            mapping, filters = second
            self._show_second(self._head(filters(mapping(frame.observation)))[0])

    def _compare(self, *, on: bool) -> None:
        with self._lock:
            pipeline, comparison = self._pipeline, self._comparison
            if pipeline is None or on == (comparison is not None):
                return
            self._second = (self._adjusted("B"), self.filters()) if on else None
            self._comparison = FunctionSink("second head", self._write_second) if on else None
            if self._comparison is not None:
                pipeline.add_sink(self._comparison)
        # Without the lock: the sink's thread may be in a callback that needs it.
        if comparison is not None:
            pipeline.remove_sink(comparison)
