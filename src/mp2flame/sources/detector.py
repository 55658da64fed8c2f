"""MediaPipe's Face Landmarker behind one method; no other module imports mediapipe.

With `num_faces=1`, the fast and smoothed way, MediaPipe follows whichever face its detector is surest of. So the
whole picture is searched for faces now and then (`faces.FaceSelector` says when); if the face that is followed is not
the one to follow, a fresh landmarker first sees the picture with everything but that face painted over, and keeps to
it from there on.
"""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from itertools import chain
from math import isfinite
from operator import attrgetter
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from mp2flame.blendshapes import MEDIAPIPE
from mp2flame.data import N_LANDMARKS, N_SCORES, Observation
from mp2flame.errors import FormatError, MissingFileError, SourceError
from mp2flame.sources.base import Image
from mp2flame.sources.face_selection import Box, FaceSelector
from mp2flame.sources.images import to_rgb
from mp2flame.sources.optional import importing
from mp2flame.sources.stderr_filter import filter_stderr, filter_stderr_while_detecting

with importing("mediapipe", "see faces in pictures"):
    import mediapipe
    from mediapipe.tasks.python import BaseOptions, vision


_POSITION: Final = attrgetter("x", "y", "z")
_SCORE: Final = attrgetter("score")


class Face:
    """The first face of a result.

    Args:
        result: with at least one face, and of a landmarker that passed `check_result`.
        width: of the picture, pixels.
        height: of the picture, pixels.
    """

    def __init__(self, result: Any, width: int, height: int) -> None:
        positions = chain.from_iterable(map(_POSITION, result.face_landmarks[0]))
        self.landmarks = np.fromiter(positions, np.float32, 3 * N_LANDMARKS).reshape(N_LANDMARKS, 3)
        self.scores = np.fromiter(map(_SCORE, result.face_blendshapes[0]), np.float32, N_SCORES)
        self.transform = np.asarray(result.facial_transformation_matrixes[0], dtype=np.float32)
        left, top, _ = self.landmarks.min(axis=0).tolist()
        right, bottom, _ = self.landmarks.max(axis=0).tolist()
        self.box = Box(width * left, height * top, width * right, height * bottom)

    @property
    def is_finite(self) -> bool:
        """Whether all of it are numbers."""
        # The sum of a few hundred numbers of ordinary size is finite if, and only if, each of them is.
        return isfinite(self.landmarks.sum() + self.scores.sum() + self.transform.sum())


def check_result(result: Any, path: Path) -> None:
    """Refuse what a bundle gives that is not MediaPipe's face landmarker.

    Args:
        result: with at least one face.
        path: the bundle.

    Raises:
        FormatError: its blendshapes or landmarks are others.
    """
    names = tuple(category.category_name for category in result.face_blendshapes[0])
    if names != MEDIAPIPE:
        first = next((pair for pair in zip(names, MEDIAPIPE, strict=False) if pair[0] != pair[1]), ("nothing", "more"))
        raise FormatError(
            f"expected the {len(MEDIAPIPE)} blendshapes of MediaPipe's face landmarker in their order; {path} gives "
            f"{len(names)}, with {first[0]} in the place of {first[1]}: `mp2flame fetch landmarker` gets the right one"
        )
    if len(result.face_landmarks[0]) != N_LANDMARKS:
        raise FormatError(f"expected {N_LANDMARKS} landmarks; {path} gives {len(result.face_landmarks[0])}")


_PURPOSE: Final = "see faces in pictures"

_DETECTOR: Final = "face_detector.tflite"
_PAINT: Final = 127
Mode = Literal["video", "image", "portrait"]
# MediaPipe waits forever when Python's search for cycles finds a task that is still open; here it does not find one.
_OPEN: Final[set[Any]] = set()
# What MediaPipe raises from its C++ side: a status as one of these.
_FAILURES: Final = (RuntimeError, ValueError, OSError, NotImplementedError, IndexError)


class FaceDetector:
    """Pictures to observations.

    MediaPipe is started by the first picture. In `video` mode pictures follow each other and a face is tracked; in
    `image` mode each stands alone, and the largest of its faces is taken; in `portrait` mode too, but each is known to
    show one face at most, so that MediaPipe need not look for others first.

    Args:
        landmarker: MediaPipe's `face_landmarker.task`.
        mode: `video`, `image` or `portrait`.

    Raises:
        MissingFileError: there is no such file.
        FormatError: the file is not a face landmarker bundle.
    """

    def __init__(self, landmarker: Path, *, mode: Mode = "video") -> None:
        self._landmarker = landmarker
        self._mode = mode
        self._finder_model = _finder_model(landmarker)
        self._tracker: _Landmarker | None = None
        self._finder: _Finder | None = None
        self._choice = FaceSelector()
        self._stamp = -1

    def detect(self, picture: NDArray[Any], time: float, *, keep_image: bool = False) -> Observation:
        """What is seen in one picture.

        Args:
            picture: (H, W, 3) uint8 RGB; grey, RGBA and 16 bits are converted.
            time: seconds; in video mode later than the picture before (equal or earlier times are taken as just later).
            keep_image: put the picture into the observation.

        Raises:
            InputError: the array is no picture.
            SourceError: MediaPipe failed.
            FormatError: the bundle's blendshapes are not the 52 of MediaPipe's face landmarker.
        """
        rgb = to_rgb(picture)
        self._stamp = max(self._stamp + 1, round(time * 1000))
        face = self._follow(rgb, time) if self._mode == "video" else self._largest(rgb)
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
        """Forget everything seen so far and free MediaPipe; the next picture starts it afresh."""
        for part in (self._tracker, self._finder):
            if part is not None:
                part.close()
        self._tracker = self._finder = None
        self._choice = FaceSelector()
        self._stamp = -1

    close = reset

    def _follow(self, rgb: Image, time: float) -> Face | None:
        """The followed face in the next picture of a video."""
        if self._tracker is None:
            self._tracker = _Landmarker(self._landmarker, self._mode)
        face = self._tracker.detect(rgb, self._stamp)
        tracked = None if face is None else face.box
        if self._choice.needs_search(tracked, time):
            face = self._look(rgb, face, time)
        self._choice.follow(None if face is None else face.box, time)
        return face

    def _look(self, rgb: Image, face: Face | None, time: float) -> Face | None:
        """Search the whole picture and go over to the face to follow, if that is another than `face`."""
        faces = self._find(rgb)
        if face is not None and not any(box.is_same_face(face.box) for box in faces):
            faces.append(face.box)
        chosen = self._choice.choose(faces, time)
        if chosen is None:
            return None
        if face is not None and chosen.is_same_face(face.box):
            return face
        fresh = _Landmarker(self._landmarker, self._mode)
        try:
            found = fresh.detect(_alone(rgb, chosen, faces), self._stamp)
        except BaseException:
            fresh.close()
            raise
        if found is None:
            # The finder saw a face in something that the landmarker does not.
            fresh.close()
            return face
        assert self._tracker is not None
        self._tracker.close()
        self._tracker = fresh
        return found

    def _largest(self, rgb: Image) -> Face | None:
        """The largest face in a picture that stands alone."""
        if self._tracker is None:
            self._tracker = _Landmarker(self._landmarker, self._mode)
        if self._mode == "portrait":
            return self._tracker.detect(rgb, self._stamp)
        faces = sorted(self._find(rgb), key=lambda box: box.size, reverse=True)
        if len(faces) < 2:
            return self._tracker.detect(rgb, self._stamp)
        seen = (self._tracker.detect(_alone(rgb, box, faces), self._stamp) for box in faces)
        return next((face for face in seen if face is not None), None)

    def _find(self, rgb: Image) -> list[Box]:
        if self._finder is None:
            self._finder = _Finder(self._finder_model)
        return self._finder.find(rgb)


class _Landmarker:
    """MediaPipe's landmarker for one face; its first picture checks what the bundle gives."""

    def __init__(self, path: Path, mode: Mode) -> None:
        self._video = mode == "video"
        self._path = path
        self._checked = False
        self._started = False
        options = vision.FaceLandmarkerOptions(
            base_options=BaseOptions(model_asset_path=str(path)),
            running_mode=vision.RunningMode.VIDEO if self._video else vision.RunningMode.IMAGE,
            num_faces=1,
            output_face_blendshapes=True,
            output_facial_transformation_matrixes=True,
        )
        try:
            with filter_stderr():
                self._task = vision.FaceLandmarker.create_from_options(options)
            _OPEN.add(self._task)
        except _FAILURES as error:
            if type(error) is OSError:
                # Only now did MediaPipe load its library, with all that this needs of the system.
                with importing("mediapipe", _PURPOSE):
                    raise
            raise FormatError(
                f"expected MediaPipe's face landmarker bundle (face_landmarker.task); MediaPipe refuses {path}: "
                f"{_first_line(error)}. `mp2flame fetch landmarker` gets the right one"
            ) from error

    def detect(self, rgb: Image, stamp: int) -> Face | None:
        """The face in a picture; `stamp` is in milliseconds and rises."""
        image = mediapipe.Image(mediapipe.ImageFormat.SRGB, rgb)
        try:
            with filter_stderr_while_detecting(started=self._started):
                result = self._task.detect_for_video(image, stamp) if self._video else self._task.detect(image)
        except _FAILURES as error:
            raise SourceError(f"MediaPipe failed on a picture of shape {rgb.shape}: {_first_line(error)}") from error
        self._started = True
        if not result.face_landmarks:
            return None
        if not self._checked:
            check_result(result, self._path)
            self._checked = True
        face = Face(result, rgb.shape[1], rgb.shape[0])
        return face if face.is_finite else None

    def close(self) -> None:
        self._task.close()
        _OPEN.discard(self._task)


class _Finder:
    """The detector inside the bundle: where all faces in a picture are."""

    def __init__(self, model: bytes) -> None:
        with filter_stderr():
            self._task = vision.FaceDetector.create_from_options(
                vision.FaceDetectorOptions(base_options=BaseOptions(model_asset_buffer=model))
            )
        _OPEN.add(self._task)
        self._started = False

    def find(self, rgb: Image) -> list[Box]:
        with filter_stderr_while_detecting(started=self._started):
            result = self._task.detect(mediapipe.Image(mediapipe.ImageFormat.SRGB, rgb))
        self._started = True
        boxes = [detection.bounding_box for detection in result.detections]
        return [Box(box.origin_x, box.origin_y, box.origin_x + box.width, box.origin_y + box.height) for box in boxes]

    def close(self) -> None:
        with filter_stderr():
            self._task.close()
        _OPEN.discard(self._task)


def _finder_model(landmarker: Path) -> bytes:
    """The face detector out of the landmarker bundle, which is a zip archive of models."""
    if not landmarker.is_file():
        raise MissingFileError(f"no landmarker file {landmarker}: `mp2flame fetch landmarker` gets it")
    try:
        with zipfile.ZipFile(landmarker) as bundle:
            return bundle.read(_DETECTOR)
    except (zipfile.BadZipFile, KeyError, EOFError, NotImplementedError) as error:
        raise FormatError(
            f"expected MediaPipe's face landmarker bundle, a zip archive with {_DETECTOR}; {landmarker} is not "
            f"({_first_line(error)}): it may be cut off. `mp2flame fetch landmarker` gets the right one"
        ) from error


def _alone(rgb: Image, face: Box, faces: Sequence[Box]) -> Image:
    """The picture with everything painted over but the surroundings of one face."""
    alone = np.full_like(rgb, _PAINT)
    alone[_pixels(face.grown(0.5), rgb)] = rgb[_pixels(face.grown(0.5), rgb)]
    for other in faces:
        if not other.is_same_face(face):
            alone[_pixels(other.grown(0.1), rgb)] = _PAINT
    alone[_pixels(face, rgb)] = rgb[_pixels(face, rgb)]
    return alone


def _pixels(box: Box, rgb: Image) -> tuple[slice, slice]:
    height, width = rgb.shape[:2]
    top, bottom = np.clip((np.floor(box.top), np.ceil(box.bottom)), 0, height).astype(int)
    left, right = np.clip((np.floor(box.left), np.ceil(box.right)), 0, width).astype(int)
    return slice(top, bottom), slice(left, right)


def _first_line(error: BaseException) -> str:
    return str(error).strip().partition("\n")[0] or type(error).__name__
