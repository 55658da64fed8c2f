"""Where the mapping in use comes from: two sides, a person's rest, gains, smoothing, and a pose made by hand."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from mp2flame.blendshapes import ARKIT
from mp2flame.data import FlameParams, Observation
from mp2flame.errors import InputError
from mp2flame.filters import Filter
from mp2flame.head import FlameHead
from mp2flame.live.beside import BesideSink
from mp2flame.live.motion import smoothing_filters
from mp2flame.live.sliders import observe_weights
from mp2flame.mapping import (
    BlendshapeMapping,
    ConstantPose,
    HeadPoseTarget,
    Person,
    WithGains,
    check_compatible,
    load_mapping,
    with_zero_neutral,
)
from mp2flame.pipeline import Pipeline

__all__ = ["Desk", "Side"]

Side: TypeAlias = Literal["A", "B"]


class Desk:
    """Puts together what the corridor and the second head run on; methods may be called from any thread.

    Args:
        head: is driven.
        mapping: the name of side A's mapping.
        head_pose: the joint that turns with the head, or "none".
        allow_head_mismatch: use mappings that were made for other heads.
        show_second: is given side B's vertices.
        person: refines every mapping; a rest that is set later takes the place of this one's.

    Raises:
        InputError: the mapping reads landmarks and the person's rest has none.
        HeadMismatchError: the mapping was made for another head.
        MissingFileError: there is no such mapping.
        FormatError: it is none.
    """

    def __init__(
        self,
        head: FlameHead,
        mapping: str,
        *,
        head_pose: HeadPoseTarget,
        allow_head_mismatch: bool,
        show_second: Callable[[NDArray[np.float32]], None],
        person: Person | None = None,
    ) -> None:
        self._head = head
        self._head_pose: HeadPoseTarget = head_pose
        self._allow_head_mismatch = allow_head_mismatch
        self._show_second = show_second
        self._person = person
        self._lock = threading.RLock()
        self._specs: dict[str, str] = {}
        self._names: dict[Side, str | None] = {"A": self.offer(mapping)[0], "B": None}
        self._mappings: dict[Side, BlendshapeMapping] = {"A": self._load(mapping)}
        self._rest: Observation | None = None
        self._gains = (1.0, 1.0)
        self._smoothing = 1.0
        self._by_hand = False
        self._weights = np.zeros(len(ARKIT), dtype=np.float32)
        self._pose: FlameParams | None = None
        self._beside: BesideSink | None = None
        self._pipeline: Pipeline | None = None
        self._personal(self._mappings["A"])

    def offer(self, *specs: str) -> tuple[str, ...]:
        """Names fit for a list, under which `set_mapping` finds these mappings."""
        for spec in specs:
            name = Path(spec).name if Path(spec).exists() else spec
            if self._specs.setdefault(name, spec) != spec:
                self._specs[spec] = spec
        return tuple(next(name for name, known in self._specs.items() if known == spec) for spec in specs)

    def names(self) -> tuple[str, str | None]:
        """What is in use on side A, and on side B if there is a second head."""
        first = self._names["A"]
        assert first is not None
        return first, self._names["B"]

    def attach(self, pipeline: Pipeline) -> None:
        """From now on, keep this corridor's mapping and filters up to date."""
        with self._lock:
            self._pipeline = pipeline
            self._apply()
            self._renew_filters()

    def mapping(self) -> BlendshapeMapping:
        """What side A makes of an observation."""
        with self._lock:
            if self._by_hand and self._pose is not None:
                return ConstantPose(self._pose)
            return self._motion("A")

    def filters(self) -> Filter:
        """New filters of the chosen smoothing; none of it while the sliders pose, whose moves show at once."""
        return smoothing_filters(0.0 if self._by_hand else self._smoothing)

    def set_mapping(self, side: Side, name: str | None) -> None:
        """Use another mapping on one side; None closes side B.

        Args:
            side: A is what is recorded and sent, B stands beside it.
            name: as `offer` gave it, or what `load_mapping` understands.

        Raises:
            InputError: as for the first mapping.
        """
        mapping = None if name is None else self._load(self._specs.get(name, name))
        with self._lock:
            if mapping is not None:
                # One that asks for more than the source gives is refused while the old one still stands.
                if self._by_hand:
                    with_zero_neutral(mapping)(observe_weights(self._weights))
                else:
                    self._personal(mapping)
                self._mappings[side] = mapping
                self._apply()
            self._names[side] = name
        if side == "B":
            self._set_beside(on=mapping is not None)

    def set_rest(self, rest: Observation | None) -> None:
        """The person's frames at rest, or None for an average person.

        Raises:
            InputError: they have no face, or lack what a mapping reads.
        """
        with self._lock:
            if rest is not None:
                for mapping in self._mappings.values():
                    mapping.for_person(rest)
            self._rest = rest
            self._apply()

    def set_gains(self, expression: float, jaw: float) -> None:
        """Factors of every expression coefficient and of the jaw's rotation."""
        with self._lock:
            self._gains = (expression, jaw)
            self._apply()

    def set_smoothing(self, amount: float) -> None:
        """0 is off, 1 the default."""
        with self._lock:
            self._smoothing = amount
            self._renew_filters()

    def set_by_hand(self, *, on: bool) -> None:
        """Whether sliders pose the head.

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
            self._apply()
            self._renew_filters()

    def pose_by_weights(self, weights: NDArray[np.float32]) -> FlameParams:
        """Take on these weights (52,), in ARKit's order; what the mapping makes of them."""
        with self._lock:
            self._weights, self._pose = weights, None
            self._apply()
            return self._motion("A")(observe_weights(weights))

    def pose_by_coefficient(self, name: str, index: int, value: float) -> None:
        """Set one number of the pose, and leave the others as they are."""
        with self._lock:
            pose = self._pose or self._motion("A")(observe_weights(self._weights))
            row = getattr(pose, name).copy()
            row[0, index] = value
            self._pose = replace(pose, **{name: row})
            self._apply()

    def _load(self, name: str) -> BlendshapeMapping:
        mapping = load_mapping(name, head_pose=self._head_pose)
        check_compatible(mapping, self._head, allow_mismatch=self._allow_head_mismatch)
        return mapping

    def _personal(self, mapping: BlendshapeMapping) -> BlendshapeMapping:
        if self._person is not None:
            mapping = mapping.for_person(self._person)
        return mapping if self._rest is None else mapping.for_person(self._rest)

    def _motion(self, side: Side) -> WithGains:
        mapping = self._mappings[side]
        mapping = with_zero_neutral(mapping) if self._by_hand else self._personal(mapping)
        expression, jaw = self._gains
        return WithGains(mapping, expression, jaw, self._head.n_expression)

    def _apply(self) -> None:
        if self._pipeline is not None:
            self._pipeline.mapping = self.mapping()
        if self._beside is not None:
            self._beside.mapping = self._motion("B")

    def _renew_filters(self) -> None:
        if self._pipeline is not None:
            self._pipeline.filters = self.filters()
        if self._beside is not None:
            self._beside.filters = self.filters()

    def _set_beside(self, *, on: bool) -> None:
        with self._lock:
            pipeline, beside = self._pipeline, self._beside
            if pipeline is None or on == (beside is not None):
                return
            self._beside = BesideSink(self._motion("B"), self.filters(), self._head, self._show_second) if on else None
            if self._beside is not None:
                pipeline.add_sink(self._beside)
        # Without the lock: the sink's thread may be in a callback that wants it.
        if beside is not None:
            pipeline.remove_sink(beside)
