"""The base class of the writers of parameter files."""

from __future__ import annotations

from abc import abstractmethod
from pathlib import Path
from typing import Final

from typing_extensions import override

from mp2flame.data import FlameParams, Float32, Frame, HeadLike
from mp2flame.errors import InputError
from mp2flame.sinks.base import FileSink

FILE_VECTORS: Final = ("jaw_pose", "neck_pose", "global_orient", "leye_pose", "reye_pose", "translation")
"""The fields of three numbers, in their order in files."""


class ParamsSink(FileSink):
    """Writes FLAME parameters. A sink of single frames, which also takes many frames at once (`append`).

    A class that is registered as an entry point of `mp2flame.formats` under its suffix may also have
    `read(path, *, frame_rate) -> FlameParams`, which `load_params` then uses.

    Args:
        path: the final name.
        head: the head that the parameters are for, where the format depends on it.
    """

    def __init__(self, path: str | Path, *, head: HeadLike | None = None) -> None:  # noqa: ARG002 - not every format
        super().__init__(path)
        self._n_expression: int | None = None

    def append(self, params: FlameParams, scores: Float32 | None = None) -> None:
        """Add N frames in rising time.

        Args:
            params: the parameters.
            scores: (N, 52) the blendshape scores that they came from, for formats that keep them.

        Raises:
            SinkError: the file cannot be written, or is closed already; nothing is left behind.
            InputError: the number of expression coefficients changed.
        """
        with self._adding(len(params)):
            self._add(params, scores)

    @override
    def _write(self, frame: Frame) -> None:
        self._add(frame.params, frame.observation.scores)

    def _add(self, params: FlameParams, scores: Float32 | None) -> None:
        expected = self._n_expression or params.n_expression
        if params.n_expression != expected:
            raise InputError(f"expected {expected} expression coefficients; got {params.n_expression}")
        self._append(params, scores)
        self._n_expression = expected

    @abstractmethod
    def _append(self, params: FlameParams, scores: Float32 | None) -> None: ...
