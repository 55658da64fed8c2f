"""Where the marks of a skin went from one picture to another, how surely, and how exactly such places can be told.

Letters: P places; h, w rows and columns of a picture.

Light and shade stay where they are when a head turns, and would take the flow along; so both pictures are looked at
without them. Flow is dense inverse search (Kroeger et al. 2016, "Fast optical flow using dense inverse search"). It is
believed where the picture that it leads to looks like the first, by normalised cross-correlation: neither where a hand
is in the way, nor inside an open mouth, nor where skin is bare of marks.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from mp2flame.tracking.album import Glimpse

__all__ = ["Look", "read_field"]

Float64 = NDArray[np.float64]
Float32 = NDArray[np.float32]

_ALIKE: Final = (0.3, 0.7)
"""Correlations with the chart from which on a point begins to be believed, and is believed in full."""
_PATCH: Final = 11
"""Pixels across, of what is compared."""
_NOISE: Final = 2.0
"""Variance of grey values, of 255, that is noise."""
_SHADE: Final = 2.0
"""Pixels, standard deviation: what is smoother is light and shade, and not on the skin."""
_CONTRAST: Final = 8.0
"""Of marks, as they are searched."""
_GREY_SIGMA: Final = 3.0
"""Of 255, by how much marks look otherwise in another light, standard deviation."""
_FLOW_SIGMA: Final = 0.15
"""Pixels of the glimpse, standard deviation of a flow's error along each axis where marks are clear."""
_SMOOTH: Final = 10.0
"""Weight of the flow's smoothness: of twice as much, less of what a head that is wrong leaves is found."""


class Look:
    """A picture that others are compared with."""

    def __init__(self, picture: NDArray[np.uint8]) -> None:
        self.marks = _marks(picture)
        """(h, w) what is finer than light and shade."""
        self._searched = _searchable(self.marks)
        self._variance = _mean(self.marks * self.marks)

    def compare(
        self, glimpse: Glimpse, where: Float32, grid_of_pixels: tuple[Float32, Float32], *, fine: bool
    ) -> tuple[Float32, Float32, Float32]:
        """Flow (h, w, 2), likeness (h, w, 1) of what it leads to, and where in the frame each pixel is (h, w, 2).

        Args:
            glimpse: of the frame.
            where: (rows, columns, 2) places in the frame of a grid's nodes.
            grid_of_pixels: two (h, w), where on the grid each pixel is.
            fine: search the whole picture and not just one of half its size, in twice the time.
        """
        import cv2

        map_ = cv2.remap(where, *grid_of_pixels, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        laid = _read_picture(glimpse.grey, glimpse.places(map_))
        search = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
        # What is left to find is small, and half the work finds it as well.
        search.setGradientDescentIterations(12)
        search.setPatchStride(6 if fine else 4)
        search.setVariationalRefinementAlpha(_SMOOTH)
        if fine:
            search.setFinestScale(0)
            search.setVariationalRefinementIterations(3)
        flow = search.calc(self._searched, _searchable(_marks(laid)), None)
        height, width = self.marks.shape
        x, y = np.meshgrid(np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32))
        again = _marks(_read_picture(laid, flow + np.stack([x, y], axis=-1)))
        alike = _mean(self.marks * again) / np.sqrt((self._variance + _NOISE) * (_mean(again * again) + _NOISE))
        rising = np.clip((alike - _ALIKE[0]) / (_ALIKE[1] - _ALIKE[0]), 0.0, 1.0)
        return flow, rising[..., None].astype(np.float32), map_

    def information(self, places: Float32, blur: Float64) -> Float64:
        """(P, 2, 2) inverse covariance of where a patch about each place (P, 2) is found, inverse square pixels.

        Where a flow's error is blurred by (P,) pixels, standard deviation, nothing is told more exactly. Else that of
        Lucas and Kanade's method (1981, "An iterative image registration technique"): along an edge nothing can be
        told, and nothing at all where skin is bare.
        """
        import cv2

        across, down = (cv2.Sobel(self.marks, cv2.CV_32F, 1 - i, i, scale=1 / 8) for i in (0, 1))
        products = np.stack([across * across, across * down, down * down], axis=-1)
        xx, xy, yy = read_field(_PATCH**2 * _mean(products), places).T.astype(np.float64)
        squares = np.stack([np.stack([xx, xy], axis=-1), np.stack([xy, yy], axis=-1)], axis=-2)
        # What is known of a flow's error is known of a field, not of one pixel: better than this no flow is.
        least = (_FLOW_SIGMA**2 + blur**2)[:, None, None] * np.eye(2)
        result: Float64 = np.linalg.inv(least + _GREY_SIGMA**2 * np.linalg.inv(squares + 1e-3 * np.eye(2)))
        return result


def _mean(picture: Float32) -> Float32:
    import cv2

    result: Float32 = cv2.boxFilter(picture, cv2.CV_32F, (_PATCH, _PATCH))
    return result


def _marks(picture: NDArray[np.uint8]) -> Float32:
    """(h, w) a picture less its light and shade."""
    import cv2

    plain = picture.astype(np.float32)
    result: Float32 = plain - cv2.GaussianBlur(plain, (0, 0), _SHADE)
    return result


def _searchable(marks: Float32) -> NDArray[np.uint8]:
    """Marks as the flow search takes them: the light of a room stays where it is when a head turns, and misleads it."""
    result: NDArray[np.uint8] = np.clip(128 + _CONTRAST * marks, 0, 255).astype(np.uint8)
    return result


def _read_picture(picture: NDArray[np.uint8], places: Float32) -> NDArray[np.uint8]:
    import cv2

    read: NDArray[np.uint8] = cv2.remap(picture, places, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return read


def read_field(field: Float32, places: Float32) -> Float32:
    """(P, channels) of a field (h, w, channels) at places (P, 2)."""
    import cv2

    if not len(places):
        return np.zeros((0, field.shape[2]), dtype=np.float32)
    read = cv2.remap(field, places[:, None].astype(np.float32), None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    result: Float32 = read.reshape(len(places), -1)
    return result
