"""How much of a real face's motion a driven head shows, judged by MediaPipe, which looks at both.

No true parameters are needed: MediaPipe detects the face in the video and the face in renders of the head that the
video drives. Thirteen measures of both faces, turned to the front and in units of the distance between the outer eye
corners, are compared over time. A constant difference, which is the person's identity, does not count.

It is MediaPipe that judges what MediaPipe saw: what it cannot see is not in the figures. `mp2flame.evaluation.metrics`
measures against known parameters.

Letters: N frames, 13 measures.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray
from typing_extensions import override

from mp2flame.data import FlameParams, Frame, Observation
from mp2flame.downloads import landmarker_path
from mp2flame.errors import InputError
from mp2flame.head import FlameHead, load_head
from mp2flame.pipeline import drive
from mp2flame.rotations import nearest_rotation
from mp2flame.sinks.base import Sink

if TYPE_CHECKING:
    from mp2flame.mapping import BlendshapeMapping, Person
    from mp2flame.sources import Source

Float64 = NDArray[np.float64]

FACE_MEASURES: Final = (
    "mouth open",
    "mouth width",
    "corner lift",
    "mouth sideways",
    "upper lip",
    "chin",
    "right lid",
    "left lid",
    "right brow",
    "left brow",
    "inner brow",
    "gaze x",
    "gaze y",
)
"""Names of the measures, in order."""

_SMALLEST_VARIANCE: Final = 1e-12
_FRONT: Final = 55
"""Percentile of the vertices' depth from which on they belong to the front of the head."""


def face_measures(observation: Observation) -> Float64:
    """(N, 13) the measures in eye distances; NaN where there is no face.

    Args:
        observation: frames with landmarks and head transforms.

    Raises:
        InputError: there are no landmarks, no head transforms or no image size.
    """
    if observation.landmarks is None or observation.head_transform is None or observation.image_size is None:
        raise InputError("face measures need landmarks, head transforms and the image size; got an observation without")
    found = observation.found
    measures = np.full((len(observation), len(FACE_MEASURES)), np.nan)
    width, height = observation.image_size.tolist()
    pixels = observation.landmarks[found] * np.array([width, -height, -width], dtype=np.float64)
    points = pixels @ nearest_rotation(observation.head_transform[found, :3, :3].astype(np.float64))
    points = points / np.linalg.norm(points[:, 33] - points[:, 263], axis=1)[:, None, None]

    def distance(first: int, second: int) -> Float64:
        result: Float64 = np.linalg.norm(points[:, first] - points[:, second], axis=1)
        return result

    def x(*landmarks: int) -> Float64:
        result: Float64 = points[:, landmarks, 0].mean(axis=1)
        return result

    def y(*landmarks: int) -> Float64:
        result: Float64 = points[:, landmarks, 1].mean(axis=1)
        return result

    columns = (
        distance(13, 14),
        distance(61, 291),
        y(61, 291) - y(0, 17),
        x(13, 14) - x(1, 168),
        y(0) - y(1),
        y(152) - y(1),
        distance(159, 145),
        distance(386, 374),
        y(105, 66, 107) - y(33, 133),
        y(334, 296, 336) - y(263, 362),
        y(107, 336) - y(133, 362),
        (x(468) - x(33, 133) + x(473) - x(263, 362)) / 2,
        (y(468) - y(33, 133) + y(473) - y(263, 362)) / 2,
    )
    measures[found] = np.stack(columns, axis=1)
    return measures


@dataclass(frozen=True, kw_only=True, eq=False)
class MotionFigures:
    """How two motions agree, for each measure (13,)."""

    deviation: Float64
    """Standard deviation of the real face's measure, eye distances."""
    correlation: Float64
    """Pearson correlation of driven and real measure."""
    gain: Float64
    """Slope of the driven measure on the real one; 1 is right, less is too small a motion."""
    explained: Float64
    """1 - var(driven - real) / var(real): 1 is the same motion, 0 as good as none."""


def compare_motion(real: Float64, driven: Float64) -> MotionFigures:
    """Compare measures (N, 13) of the same frames; each one's mean is taken out.

    Raises:
        InputError: fewer than two frames have both faces.
    """
    both = np.isfinite(real).all(axis=1) & np.isfinite(driven).all(axis=1)
    if both.sum() < 2:
        raise InputError(f"expected at least two frames in which both faces are found; got {both.sum()}")
    a, b = (values[both] - values[both].mean(axis=0) for values in (real, driven))
    square, cross = (a * a).sum(axis=0) + _SMALLEST_VARIANCE, (a * b).sum(axis=0)
    return MotionFigures(
        deviation=a.std(axis=0),
        correlation=cross / np.sqrt(square * (b * b).sum(axis=0) + _SMALLEST_VARIANCE),
        gain=cross / square,
        explained=1 - ((b - a) ** 2).sum(axis=0) / square,
    )


def pool(figures: Sequence[MotionFigures]) -> MotionFigures:
    """Figures over several videos: gain and explained weighted by the variance of the real motion.

    A measure that hardly moves in a video hardly counts there. Correlations are averaged.

    Raises:
        InputError: there are no figures.
    """
    if not figures:
        raise InputError("expected the figures of at least one video; got none")
    variance = np.array([one.deviation**2 for one in figures])
    weights = variance / variance.sum(axis=0)
    return MotionFigures(
        deviation=np.sqrt(variance.mean(axis=0)),
        correlation=np.mean([one.correlation for one in figures], axis=0),
        gain=(weights * np.array([one.gain for one in figures])).sum(axis=0),
        explained=(weights * np.array([one.explained for one in figures])).sum(axis=0),
    )


@dataclass(frozen=True, kw_only=True, eq=False)
class ClosedLoop:
    """A video and the head that it drives, as MediaPipe sees both."""

    time: Float64
    """(N,) seconds."""
    real: Float64
    """(N, 13) measures of the face in the video; NaN where there is none."""
    driven: Float64
    """(N, 13) the same of the rendered head."""
    figures: MotionFigures
    neutral_mm: float | None
    """Mean distance of the driven face from the neutral one in the named frame, mm; None where none is named."""
    images: tuple[tuple[bytes, bytes], ...]
    """For each frame the image and the render as JPEG files; empty where they were not asked for."""
    warnings: tuple[str, ...]

    def worst_frames(self, count: int) -> list[int]:
        """The frames with the largest differences, worst first and at least half a second apart.

        Differences are in units of the measures' deviation in the video.
        """
        real, driven = (values - np.nanmean(values, axis=0) for values in (self.real, self.driven))
        difference = np.abs(driven - real) / np.maximum(self.figures.deviation, 1e-6)
        error = np.nan_to_num(np.sqrt((np.minimum(difference, 5.0) ** 2).mean(axis=1)), nan=-1.0)
        chosen: list[int] = []
        for number in np.argsort(-error, kind="stable").tolist():
            if error[number] < 0 or len(chosen) == count:
                break
            if all(abs(self.time[number] - self.time[other]) >= 0.5 for other in chosen):
                chosen.append(number)
        return chosen


def closed_loop(
    video: str | Path | Source,
    *,
    head: str | Path | FlameHead = "builtin",
    mapping: str | Path | BlendshapeMapping = "builtin",
    neutral: str | Path | Person | Observation | None = "auto",
    neutral_frame: int | None = None,
    landmarker: str | Path | None = None,
    keep_images: bool = False,
    on_frame: Callable[[], None] = lambda: None,
) -> ClosedLoop:
    """Drive a head from a video and compare the motion of both faces.

    Args:
        video: what `open_source` takes, or a source of images.
        head: as of `mp2flame.drive`.
        mapping: as of `mp2flame.drive`.
        neutral: as of `mp2flame.drive`.
        neutral_frame: the number of a frame in which the person is neutral; the driven face should be, too.
        landmarker: MediaPipe's face_landmarker.task; by default it is found or downloaded.
        keep_images: keep small images of every frame for a report.
        on_frame: called after each frame, for progress.

    Raises:
        InputError: fewer than two frames show a face in both, or there is no frame `neutral_frame`.
        SourceError, FormatError: the video cannot be read.
        MissingExtraError: PyVista or MediaPipe is not installed.
    """
    loaded = load_head(head) if isinstance(head, str | Path) else head
    probe = _RenderedFace(loaded, landmarker, keep_images)
    report = drive(
        video,
        head=loaded,
        mapping=mapping,
        neutral=neutral,
        landmarker=landmarker,
        sinks=[probe],
        on_frame=lambda _: on_frame(),
    )
    if not probe.real:
        raise InputError("expected a video with frames; got none")
    if neutral_frame is not None and not 0 <= neutral_frame < len(probe.params):
        raise InputError(f"expected a neutral frame in 0..{len(probe.params) - 1}; got {neutral_frame}")
    real, driven = (np.concatenate([_measures_or_nan(one) for one in seen]) for seen in (probe.real, probe.driven))
    return ClosedLoop(
        time=np.array([float(one.time[0]) for one in probe.real]),
        real=real,
        driven=driven,
        figures=compare_motion(real, driven),
        neutral_mm=None if neutral_frame is None else _from_neutral_mm(loaded, probe.params[neutral_frame]),
        images=tuple(probe.images),
        warnings=report.warnings,
    )


def _measures_or_nan(observation: Observation) -> Float64:
    return face_measures(observation) if observation.found[0] else np.full((1, len(FACE_MEASURES)), np.nan)


def _from_neutral_mm(head: FlameHead, params: FlameParams) -> float:
    """Mean distance over the front of the head of expression and jaw from the neutral face, mm."""
    neutral = head.neutral_vertices
    face = FlameParams(
        time=params.time, found=np.ones(1, np.bool_), expression=params.expression, jaw_pose=params.jaw_pose
    )
    front = neutral[:, 2] > np.percentile(neutral[:, 2], _FRONT)
    return 1e3 * float(np.linalg.norm(head(face)[0] - neutral, axis=1)[front].mean())


class _RenderedFace(Sink):
    """Renders every frame's head as the videos of `mp2flame drive` show it, and detects its face."""

    name = "rendered face"
    needs_vertices = True

    def __init__(self, head: FlameHead, landmarker: str | Path | None, keep_images: bool) -> None:
        # Missing packages are reported now, and not after the first frame.
        from mp2flame.sinks.video import HeadView
        from mp2flame.sources.detector import FaceDetector

        self.needs_image = keep_images
        self.real: list[Observation] = []
        self.driven: list[Observation] = []
        self.params: list[FlameParams] = []
        self.images: list[tuple[bytes, bytes]] = []
        self._head = head
        self._landmarker = landmarker
        self._detector_class, self._view_class = FaceDetector, HeadView
        # Made by the first frame, when the video is known to be there.
        self._detector: FaceDetector | None = None
        self._view: HeadView | None = None
        self._vertices = head.neutral_vertices

    @override
    def write(self, frame: Frame) -> None:
        assert frame.vertices is not None
        if self._view is None or self._detector is None:
            self._view = self._view_class(self._head, _SIZE)
            landmarker = self._landmarker
            self._detector = self._detector_class(landmarker_path(None if landmarker is None else Path(landmarker)))
        if np.isfinite(frame.vertices).all():
            self._vertices = frame.vertices
        image = self._view.render(self._vertices)
        self.driven.append(self._detector.detect(image, float(frame.observation.time[0])))
        self.real.append(frame.observation.without_picture())
        self.params.append(frame.params)
        if frame.observation.picture is not None:
            self.images.append((_jpeg(frame.observation.picture), _jpeg(image)))

    @override
    def close(self) -> None:
        if self._detector is not None:
            self._detector.reset()
        if self._view is not None:
            self._view.close()
            self._view = None


_SIZE: Final = 512
"""Pixels of the rendered head's image."""
_REPORT_HEIGHT: Final = 256


def _jpeg(image: NDArray[np.uint8]) -> bytes:
    """A small JPEG file of an image."""
    import io

    from PIL import Image

    picture = Image.fromarray(image)
    picture.thumbnail((2 * _REPORT_HEIGHT, _REPORT_HEIGHT))
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=85)
    return buffer.getvalue()
