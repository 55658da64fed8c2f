"""MediaPipe's Face Landmarker behind one method; no other module imports mediapipe.

With `num_faces=1`, the fast and smoothed mode, MediaPipe tracks whichever face its detector scores highest. Therefore
the whole image is searched for faces from time to time (`FaceSelector.needs_search`). If the tracked face is not the
selected one, a new landmarker first gets the image with everything but the selected face painted over, and tracks that
face from there on.
"""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Sequence
from itertools import chain
from math import isfinite
from operator import attrgetter
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from mp2flame.blendshapes import MEDIAPIPE
from mp2flame.data import N_LANDMARKS, N_SCORES, Observation
from mp2flame.errors import FormatError, MissingFileError, SourceError, plain
from mp2flame.files import check_regular
from mp2flame.sources.base import Image, require
from mp2flame.sources.face_selection import Box, FaceSelector
from mp2flame.sources.images import to_rgb
from mp2flame.sources.stderr_filter import mediapipe_stderr

_PURPOSE: Final = "detect faces"

with require("mediapipe", "detect faces"):
    import mediapipe
    from mediapipe.tasks.python import BaseOptions, vision

Mode = Literal["video", "image", "portrait"]

_DETECTOR: Final = "face_detector.tflite"
_MAX_MODEL_BYTES: Final = 1 << 26
_REMEDY: Final = "`mp2flame fetch landmarker` downloads the right one"
_GREY: Final = 127
_POSITION: Final = attrgetter("x", "y", "z")
_SCORE: Final = attrgetter("score")
# MediaPipe waits forever when Python's garbage collector frees a task that is still open; from here it does not.
_OPEN: Final[set[Any]] = set()
# What MediaPipe raises from its C++ side: a status as one of these.
_FAILURES: Final = (RuntimeError, ValueError, OSError, NotImplementedError, IndexError)


class FaceDetector:
    """Converts images to observations.

    MediaPipe is started by the first image. In `video` mode images follow each other and a face is tracked. In `image`
    mode each is independent, and its largest face is used. `portrait` mode is the same for images that are known to
    show one face at most, so that no search for others is needed.

    Args:
        landmarker: MediaPipe's `face_landmarker.task`.
        mode: `video`, `image` or `portrait`.

    Raises:
        MissingFileError: there is no such file.
        FormatError: the file is not a face landmarker bundle.
    """

    def __init__(self, landmarker: Path, *, mode: Mode = "video") -> None:
        self._path = landmarker
        self._mode = mode
        self._search_model = _read_search_model(landmarker)
        self._tracker: _Landmarker | None = None
        self._search: _FaceSearch | None = None
        self._selector = FaceSelector()
        self._milliseconds = -1

    def detect(self, image: NDArray[Any], time: float, *, keep_image: bool = False) -> Observation:
        """The face in one image.

        Args:
            image: (H, W, 3) uint8 RGB; grey, RGBA and 16 bits are converted.
            time: seconds; in video mode later than the image before (equal or earlier times count as just later).
            keep_image: put the image into the observation.

        Raises:
            InputError: the array is no image.
            SourceError: MediaPipe failed.
            FormatError: the bundle's blendshapes are not the 52 of MediaPipe's face landmarker.
        """
        rgb = to_rgb(image)
        self._milliseconds = max(self._milliseconds + 1, round(time * 1000))
        face = self._track(rgb, time) if self._mode == "video" else self._largest(rgb)
        size = np.array([rgb.shape[1], rgb.shape[0]])
        kept = rgb if keep_image else None
        if face is None:
            return Observation.missing(time, image_size=size, picture=kept)
        return Observation(
            time=np.array([time]),
            found=np.array([True]),
            scores=face.scores[None],
            landmarks=face.landmarks[None],
            head_transform=face.transform[None],
            image_size=size,
            picture=kept,
        )

    def reset(self) -> None:
        """Forget all previous images and free MediaPipe; the next image starts it again."""
        for task in (self._tracker, self._search):
            if task is not None:
                task.close()
        self._tracker = self._search = None
        self._selector = FaceSelector()
        self._milliseconds = -1

    close = reset

    def _started_tracker(self) -> _Landmarker:
        if self._tracker is None:
            self._tracker = _Landmarker(self._path, video=self._mode == "video")
        return self._tracker

    def _track(self, rgb: Image, time: float) -> _Face | None:
        """The followed face in the next image of a video."""
        face = self._started_tracker().detect(rgb, self._milliseconds)
        if self._selector.needs_search(None if face is None else face.box, time):
            face = self._search_and_select(rgb, face, time)
        self._selector.follow(None if face is None else face.box, time)
        return face

    def _search_and_select(self, rgb: Image, face: _Face | None, time: float) -> _Face | None:
        """Search the whole image, and track the selected face if that is another than `face`."""
        boxes = self._find_all(rgb)
        if face is not None and not any(box.is_same_face(face.box) for box in boxes):
            boxes.append(face.box)
        selected = self._selector.select(boxes, time)
        if selected is None:
            return None
        if face is not None and selected.is_same_face(face.box):
            return face
        tracker = _Landmarker(self._path, video=True)
        try:
            found = tracker.detect(_isolate(rgb, selected, boxes), self._milliseconds)
        except BaseException:
            tracker.close()
            raise
        if found is None:
            # The search took for a face what the landmarker does not.
            tracker.close()
            return face
        self._started_tracker().close()
        self._tracker = tracker
        return found

    def _largest(self, rgb: Image) -> _Face | None:
        """The largest face in an independent image."""
        tracker = self._started_tracker()
        boxes = [] if self._mode == "portrait" else sorted(self._find_all(rgb), key=lambda box: box.size, reverse=True)
        images = [rgb] if len(boxes) < 2 else (_isolate(rgb, box, boxes) for box in boxes)
        faces = (tracker.detect(image, self._milliseconds) for image in images)
        return next((face for face in faces if face is not None), None)

    def _find_all(self, rgb: Image) -> list[Box]:
        if self._search is None:
            self._search = _FaceSearch(self._search_model)
        return self._search.find(rgb)


class _Face:
    """The first face of a result that has at least one, as arrays."""

    def __init__(self, result: Any, width: int, height: int) -> None:
        positions = chain.from_iterable(map(_POSITION, result.face_landmarks[0]))
        self.landmarks = np.fromiter(positions, np.float32, 3 * N_LANDMARKS).reshape(N_LANDMARKS, 3)
        self.scores = np.fromiter(map(_SCORE, result.face_blendshapes[0]), np.float32, N_SCORES)
        self.transform = np.asarray(result.facial_transformation_matrixes[0], dtype=np.float32)
        left, top, _ = self.landmarks.min(axis=0).tolist()
        right, bottom, _ = self.landmarks.max(axis=0).tolist()
        self.box = Box(width * left, height * top, width * right, height * bottom)

    def is_finite(self) -> bool:
        # The sum of a few hundred numbers of ordinary size is finite if, and only if, each of them is.
        return isfinite(self.landmarks.sum() + self.scores.sum() + self.transform.sum())


class _Task:
    """A task of MediaPipe, whose log lines are held back."""

    def __init__(self, create: Callable[[Any], Any], options: Any) -> None:
        with mediapipe_stderr.hold():
            self._task = create(options)
        _OPEN.add(self._task)
        self._started = False

    def _run(self, method: Callable[..., Any], rgb: Image, *arguments: int) -> Any:
        with mediapipe_stderr.while_detecting(started=self._started):
            result = method(mediapipe.Image(mediapipe.ImageFormat.SRGB, rgb), *arguments)
        self._started = True
        return result

    def close(self) -> None:
        with mediapipe_stderr.hold():
            self._task.close()
        _OPEN.discard(self._task)


class _Landmarker(_Task):
    """MediaPipe's landmarker for one face; checks the bundle's output on the first face."""

    def __init__(self, path: Path, *, video: bool) -> None:
        self._video = video
        self._path = path
        self._checked = False
        options = vision.FaceLandmarkerOptions(
            base_options=BaseOptions(model_asset_path=str(path)),
            running_mode=vision.RunningMode.VIDEO if video else vision.RunningMode.IMAGE,
            num_faces=1,
            output_face_blendshapes=True,
            output_facial_transformation_matrixes=True,
        )
        try:
            super().__init__(vision.FaceLandmarker.create_from_options, options)
        except _FAILURES as error:
            if type(error) is OSError:
                # MediaPipe loads its library, and the libraries of the system that this needs, only here.
                with require("mediapipe", _PURPOSE):
                    raise
            raise FormatError(
                f"expected MediaPipe's face landmarker bundle (face_landmarker.task); MediaPipe refuses {plain(path)}: "
                f"{_first_line(error)}. {_REMEDY}"
            ) from error

    def detect(self, rgb: Image, milliseconds: int) -> _Face | None:
        """The face in an image; `milliseconds` must rise."""
        try:
            if self._video:
                result = self._run(self._task.detect_for_video, rgb, milliseconds)
            else:
                result = self._run(self._task.detect, rgb)
        except _FAILURES as error:
            raise SourceError(f"MediaPipe failed on an image of shape {rgb.shape}: {_first_line(error)}") from error
        if not result.face_landmarks:
            return None
        if not self._checked:
            _check_result(result, self._path)
            self._checked = True
        face = _Face(result, rgb.shape[1], rgb.shape[0])
        return face if face.is_finite() else None


class _FaceSearch(_Task):
    """The face detector inside the bundle, which finds all faces in an image."""

    def __init__(self, model: bytes) -> None:
        options = vision.FaceDetectorOptions(base_options=BaseOptions(model_asset_buffer=model))
        super().__init__(vision.FaceDetector.create_from_options, options)

    def find(self, rgb: Image) -> list[Box]:
        boxes = [detection.bounding_box for detection in self._run(self._task.detect, rgb).detections]
        return [Box(box.origin_x, box.origin_y, box.origin_x + box.width, box.origin_y + box.height) for box in boxes]


def _check_result(result: Any, path: Path) -> None:
    """Refuse a bundle whose blendshapes or landmarks are not those of MediaPipe's face landmarker."""
    names = tuple(category.category_name for category in result.face_blendshapes[0])
    if names != MEDIAPIPE:
        first = next((pair for pair in zip(names, MEDIAPIPE, strict=False) if pair[0] != pair[1]), ("nothing", "more"))
        raise FormatError(
            f"expected the {len(MEDIAPIPE)} blendshapes of MediaPipe's face landmarker in their order; {plain(path)} "
            f"has {len(names)}, with {plain(first[0], 40)} in the place of {first[1]}. {_REMEDY}"
        )
    if len(result.face_landmarks[0]) != N_LANDMARKS:
        raise FormatError(f"expected {N_LANDMARKS} landmarks; {plain(path)} has {len(result.face_landmarks[0])}")


def _read_search_model(landmarker: Path) -> bytes:
    """The face detector out of the landmarker bundle, which is a zip archive of models."""
    try:
        check_regular(landmarker, "face landmarker bundle", limit=8 * _MAX_MODEL_BYTES)
    except MissingFileError as error:
        raise MissingFileError(
            f"no landmarker file {plain(landmarker)}: `mp2flame fetch landmarker` gets it"
        ) from error
    try:
        with zipfile.ZipFile(landmarker) as bundle, bundle.open(_DETECTOR) as model:
            return model.read(_MAX_MODEL_BYTES)
    except Exception as error:  # zipfile raises a dozen kinds of errors for damaged archives.
        raise FormatError(
            f"expected MediaPipe's face landmarker bundle, a zip archive with {_DETECTOR}; {plain(landmarker)} is not "
            f"({_first_line(error)}): it may be cut off. {_REMEDY}"
        ) from error


def _isolate(rgb: Image, face: Box, faces: Sequence[Box]) -> Image:
    """The image with everything painted over but the surroundings of one face."""
    isolated = np.full_like(rgb, _GREY)
    isolated[_pixels(face.expanded(0.5), rgb)] = rgb[_pixels(face.expanded(0.5), rgb)]
    for other in faces:
        if not other.is_same_face(face):
            isolated[_pixels(other.expanded(0.1), rgb)] = _GREY
    isolated[_pixels(face, rgb)] = rgb[_pixels(face, rgb)]
    return isolated


def _pixels(box: Box, rgb: Image) -> tuple[slice, slice]:
    height, width = rgb.shape[:2]
    top, bottom = np.clip((np.floor(box.top), np.ceil(box.bottom)), 0, height).astype(int)
    left, right = np.clip((np.floor(box.left), np.ceil(box.right)), 0, width).astype(int)
    return slice(top, bottom), slice(left, right)


def _first_line(error: BaseException) -> str:
    return plain(str(error).strip().partition("\n")[0] or type(error).__name__)
