"""A video as MediaPipe detects it: landmarks, shots, face crops, and the frames of the neutral face.

Letters: N frames, K landmarks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from mp2flame import rotations
from mp2flame.data import Observation, concatenate
from mp2flame.errors import InputError
from mp2flame.mapping.neutral import NEUTRAL_SECONDS, find_neutral_frames, neutral_candidates, select_neutral
from mp2flame.sources import open_source
from mp2flame.sources.base import Source
from mp2flame.sources.detection import DetectedSource
from mp2flame.sources.images import mirror_image, to_rgb

Float64 = NDArray[np.float64]

_CROP_HEIGHT_PX: Final = 240.0
"""From forehead to chin, at most: a larger face is made smaller."""
_CROP_MARGIN: Final = 0.25
"""On every side, as a fraction of the face's size: jaws open, and landmarks are off."""
_JPEG_QUALITY: Final = 95
_THUMBNAIL_PX: Final = 24
_CUT_CHANGE: Final = 24.0
"""Least mean change of the thumbnail's gray values, of 255, at a cut."""
_CUT_RATIO: Final = 6.0
"""And so many times the median change of the frames around it."""
_CUT_NEIGHBORS: Final = 15
_FACE_JUMP: Final = 0.5
"""A face that moves by this fraction of its width from one frame to the next is another one."""


@dataclass(frozen=True, eq=False)
class FaceCrop:
    """A gray image of the face and its surroundings in one frame, compressed to some 10 kB."""

    jpeg: NDArray[np.uint8]
    corner: Float64
    """(2,) where the center of its first pixel is in the frame, pixels right and down."""
    scale: Float64
    """(2,) its pixels for each pixel of the frame, across and down."""

    @classmethod
    def encode(cls, gray: NDArray[np.uint8], corner: Float64, scale: Float64) -> FaceCrop:
        """The crop of a gray image (h, w)."""
        import cv2

        jpeg = cv2.imencode(".jpg", gray, [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])[1]
        return cls(np.asarray(jpeg, dtype=np.uint8), corner, scale)

    @classmethod
    def of(cls, image: NDArray[np.uint8], landmarks: NDArray[np.floating]) -> FaceCrop | None:
        """The crop of an RGB image (H, W, 3) with normalized landmarks (K, 3); None for a face outside the image."""
        import cv2

        height, width = image.shape[:2]
        positions = landmarks[:, :2] * (width, height)
        low, high = positions.min(axis=0), positions.max(axis=0)
        size = float((high - low).max())
        left, top = np.maximum(np.floor(low - _CROP_MARGIN * size), 0).astype(int)
        right, bottom = np.minimum(np.ceil(high + _CROP_MARGIN * size), (width, height)).astype(int)
        if right - left < 2 or bottom - top < 2:
            return None
        gray = cv2.cvtColor(np.ascontiguousarray(image[top:bottom, left:right]), cv2.COLOR_RGB2GRAY)
        whole = np.array(gray.shape[::-1])
        # A face that is near the camera and cut off has a scale as if it were whole.
        if size > _CROP_HEIGHT_PX:
            smaller = np.maximum(1, (whole * (_CROP_HEIGHT_PX / size)).round().astype(int))
            gray = cv2.resize(gray, smaller.tolist(), interpolation=cv2.INTER_AREA)
        scale = np.array(gray.shape[::-1]) / whole
        return cls.encode(np.asarray(gray, dtype=np.uint8), np.array([left, top]) + 0.5 / scale, scale)

    @property
    def gray(self) -> NDArray[np.uint8]:
        """(h, w), decoded at every use."""
        import cv2

        return np.asarray(cv2.imdecode(self.jpeg, cv2.IMREAD_GRAYSCALE), dtype=np.uint8)

    def from_frame(self, positions: NDArray[np.number]) -> NDArray[np.float32]:
        """(..., 2) positions in the crop, of positions in the frame, pixels right and down."""
        # Fields of positions are large, and as exact in single precision.
        exact = np.result_type(positions, np.float32)
        return np.asarray((positions - self.corner.astype(exact)) * self.scale.astype(exact), dtype=np.float32)

    def in_frame(self, positions: NDArray[np.floating]) -> Float64:
        """The inverse of `from_frame`."""
        return np.asarray(positions / self.scale + self.corner, dtype=np.float64)


@dataclass(frozen=True, eq=False)
class VideoDetections:
    """What was detected in the N frames of a video."""

    observation: Observation
    """N frames without images."""
    shot: NDArray[np.int64]
    """(N,) the number of the shot that each frame belongs to; a new shot begins at a cut."""
    warnings: tuple[str, ...]
    """Of the source."""
    crops: Sequence[FaceCrop | None] = ()
    """N, None where there is no face; empty where no images were kept."""

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of the images, pixels."""
        assert self.observation.image_size is not None
        return int(self.observation.image_size[0]), int(self.observation.image_size[1])

    def at(self, frames: NDArray[np.intp], which: slice | NDArray[np.integer]) -> tuple[NDArray[np.floating], Float64]:
        """Normalised landmarks (M, K, 3), some of MediaPipe's, and its rotations of the head (M, 3, 3), in frames."""
        assert self.observation.landmarks is not None
        assert self.observation.head_transform is not None
        transforms = self.observation.head_transform[frames, :3, :3]
        return self.observation.landmarks[frames][:, which], rotations.nearest_rotation(transforms)


def detect_file(
    path: str | Path, landmarker: Path, *, mirror: bool = False, on_frame: Callable[[], None] | None = None
) -> VideoDetections:
    """Detect the face in all frames of a video, of an image or of a folder of images.

    Raises:
        InputError: it shows no face, or is live.
        MissingFileError: it does not exist.
    """
    with open_source(path, landmarker=landmarker, mirror=mirror) as source:
        if source.live or not hasattr(source, "detector"):
            raise InputError(f"expected a video or images to track; got {path}: drive a head with it instead")
        try:
            return detect_video(source, on_frame=on_frame)
        except InputError as error:
            raise InputError(f"{path}: {error}") from error


def detect_video(source: Source, *, on_frame: Callable[[], None] | None = None) -> VideoDetections:
    """Detect the face in all frames of a source of images.

    Raises:
        InputError: there is no frame, or no face in any.
        SourceError: it cannot be read.
    """
    import cv2

    source.keep_image = True
    frames: list[Observation] = []
    thumbnails: list[NDArray[np.float32]] = []
    crops: list[FaceCrop | None] = []
    for observation in source:
        image, found = observation.picture, observation.landmarks if observation.found[0] else None
        assert image is not None
        frames.append(observation.without_picture())
        small = cv2.resize(image, (_THUMBNAIL_PX, _THUMBNAIL_PX), interpolation=cv2.INTER_AREA)
        thumbnails.append(np.asarray(small.mean(axis=2), dtype=np.float32))
        crops.append(None if found is None else FaceCrop.of(image, found[0]))
        if on_frame is not None:
            on_frame()
    if not frames:
        raise InputError("expected a video with frames; this one has none")
    if not any(frame.found[0] for frame in frames):
        raise InputError(f"expected a face; MediaPipe finds none in any of the {len(frames)} frames")
    joined = concatenate(frames)
    return VideoDetections(joined, _shots(joined, np.stack(thumbnails)), source.warnings, crops)


def _shots(observation: Observation, thumbnails: NDArray[np.float32]) -> NDArray[np.int64]:
    """(N,) numbers of shots: a cut is a sudden change of the image, or a jump of the face."""
    n = len(observation)
    change = np.zeros(n)
    change[1:] = np.abs(np.diff(thumbnails, axis=0)).mean(axis=(1, 2))
    cut = np.zeros(n, dtype=np.bool_)
    for i in np.flatnonzero(change > _CUT_CHANGE):
        around = np.delete(change[max(1, i - _CUT_NEIGHBORS) : i + _CUT_NEIGHBORS], min(i - 1, _CUT_NEIGHBORS))
        cut[i] = not len(around) or change[i] > _CUT_RATIO * np.median(around)
    if observation.landmarks is not None:
        both = np.flatnonzero(observation.found[1:] & observation.found[:-1]) + 1
        positions = observation.landmarks[..., :2]
        jump = np.linalg.norm(positions[both] - positions[both - 1], axis=2).mean(axis=1)
        cut[both] |= jump > _FACE_JUMP * np.ptp(positions[both, :, 0], axis=1)
    return np.cumsum(cut)


def find_neutral(video: VideoDetections) -> NDArray[np.intp] | None:
    """The frames of a neutral second: the first second if that is neutral, else the earliest that is as good as any.

    Returns:
        Their numbers, or None where no second of one shot is neutral.
    """
    frames = np.flatnonzero(video.observation.found)
    if not len(frames):
        return None

    def in_one_shot(some: NDArray[np.intp]) -> bool:
        return len(np.unique(video.shot[some])) == 1

    time = video.observation.time[frames]
    first = frames[time < time[0] + NEUTRAL_SECONDS]
    neutral = find_neutral_frames(video.observation[first])
    if neutral is not None and in_one_shot(first):
        return np.asarray(first[neutral])
    seconds = [x for x in neutral_candidates(video.observation[frames]) if in_one_shot(frames[x.rows])]
    return np.asarray(frames[select_neutral(seconds).rows]) if seconds else None


@dataclass(frozen=True, eq=False)
class PersonVideo:
    """One of a person's videos: the frames with a face, the neutral ones among them, and the person's shot."""

    number: int
    """Of the video among the person's."""
    detections: VideoDetections
    frames: NDArray[np.intp]
    """(N,) the frames with a face; only these are solved."""
    main_shot: int
    """The number of the shot that shows the person: that of the neutral frames, else the one with most faces."""
    neutral: NDArray[np.intp] | None
    """The neutral frames; None where there are none."""
    keyframes: NDArray[np.intp]
    """Where there are no neutral frames: those that are nearest to one, from which the identity is estimated."""
    neutral_rejected: bool = False
    """There was a motionless second, but it does not show the neutral face."""

    @classmethod
    def of(cls, number: int, detections: VideoDetections) -> PersonVideo:
        """Prepare a video.

        Raises:
            InputError: it has no face.
        """
        found = detections.observation.found
        if detections.observation.landmarks is None or not found.any():
            raise InputError("expected videos with a face; MediaPipe finds none in one of them")
        neutral = find_neutral(detections)
        shots = detections.shot[found if neutral is None else neutral]
        return cls(
            number, detections, np.flatnonzero(found), int(np.bincount(shots).argmax()), neutral, np.zeros(0, np.intp)
        )

    @property
    def time(self) -> Float64:
        """(N,) seconds."""
        return self.detections.observation.time[self.frames]

    @property
    def shot(self) -> NDArray[np.int64]:
        """(N,) numbers of the shots."""
        return self.detections.shot[self.frames]

    def neutral_view(self, which: NDArray[np.integer]) -> tuple[NDArray[np.floating], Float64]:
        """Median landmarks (1, K, 3) and the middle head rotation (1, 3, 3) of the neutral frames."""
        assert self.neutral is not None
        landmarks, head_rotations = self.detections.at(self.neutral, which)
        return np.median(landmarks, axis=0)[None], head_rotations[len(self.neutral) // 2][None]

    def crop(self, i: int) -> FaceCrop | None:
        """The face crop of the i-th frame with a face; None where no images were kept."""
        return self.detections.crops[int(self.frames[i])] if self.detections.crops else None


def read_images(path: Path, landmarker: Path, *, mirror: bool = False) -> Iterator[NDArray[np.uint8] | None]:
    """The images of a video once more, as they were detected in; None for one that cannot be read."""
    with open_source(path, landmarker=landmarker, mirror=mirror) as source:
        assert isinstance(source, DetectedSource)
        for _, image in source.reader:
            rgb = None if image is None else to_rgb(image)
            yield mirror_image(rgb) if mirror and rgb is not None else rgb
