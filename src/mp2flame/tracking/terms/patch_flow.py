"""Optical flow of the skin's texture between two face crops, with its reliability and its accuracy.

Letters: P positions; h, w rows and columns of a crop.

Shading stays where it is when a head turns and would take the flow along, so both crops are high-pass filtered. The
flow is dense inverse search (Kroeger et al. 2016, "Fast optical flow using dense inverse search"). It is reliable where
the patch that it leads to looks like the reference, by normalized cross-correlation (NCC): neither where a hand is in
the way, nor inside an open mouth, nor on skin without texture.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mp2flame.tracking.config import FlowConfig
from mp2flame.tracking.video import FaceCrop

Float64 = NDArray[np.float64]
Float32 = NDArray[np.float32]


class PatchFlow:
    """Flow from one reference crop (h, w) to others that are warped onto it."""

    def __init__(self, reference: NDArray[np.uint8], config: FlowConfig) -> None:
        self._config = config
        self.texture = self._high_pass(reference)
        """(h, w) the reference without shading."""
        self._search_image = self._contrasted(self.texture)
        self._variance = self._patch_mean(self.texture * self.texture)

    def compare(self, crop: FaceCrop, map_: Float32, *, fine: bool) -> tuple[Float32, Float32]:
        """The flow (h, w, 2) that is left after a crop is warped by `map_`, and its reliability (h, w, 1), 0 to 1.

        Args:
            crop: of another frame.
            map_: (h, w, 2) the frame's pixel at each of the reference's.
            fine: search at full resolution and not at half of it, in twice the time.
        """
        import cv2

        config = self._config
        warped = _warp(crop.gray, crop.from_frame(map_))
        search = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
        search.setGradientDescentIterations(config.iterations)
        search.setPatchStride(6 if fine else 4)
        search.setVariationalRefinementAlpha(config.smoothness)
        if fine:
            search.setFinestScale(0)
            search.setVariationalRefinementIterations(3)
        flow = search.calc(self._search_image, self._contrasted(self._high_pass(warped)), None)
        height, width = self.texture.shape
        x, y = np.meshgrid(np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32))
        aligned = self._high_pass(_warp(warped, flow + np.stack([x, y], axis=-1)))
        variances = (self._variance + config.gray_noise_variance) * (
            self._patch_mean(aligned * aligned) + config.gray_noise_variance
        )
        low, high = config.ncc_range
        ncc = self._patch_mean(self.texture * aligned) / np.sqrt(variances)
        return flow, np.clip((ncc - low) / (high - low), 0.0, 1.0)[..., None].astype(np.float32)

    def information(self, positions: Float32, blur_px: Float64) -> Float64:
        """(P, 2, 2) inverse covariance of the flow at each position (P, 2), inverse square pixels of the crop.

        By the structure tensor (Lucas and Kanade 1981, "An iterative image registration technique"): nothing is known
        along an edge, and nothing at all where there is no texture.

        Args:
            positions: (P, 2) pixels right and down.
            blur_px: (P,) standard deviation of a further error along each axis.
        """
        import cv2

        config = self._config
        dx, dy = (cv2.Sobel(self.texture, cv2.CV_32F, 1 - i, i, scale=1 / 8) for i in (0, 1))
        products = self._patch_mean(np.stack([dx * dx, dx * dy, dy * dy], axis=-1))
        xx, xy, yy = bilinear_sample(config.patch_px**2 * products, positions).T.astype(np.float64)
        tensor = np.stack([np.stack([xx, xy], axis=-1), np.stack([xy, yy], axis=-1)], axis=-2)
        # The error of the flow is that of a field, not of a pixel: more texture does not make it smaller than this.
        least = (config.flow_std_px**2 + blur_px**2)[:, None, None] * np.eye(2)
        by_texture = config.gray_change_std**2 * np.linalg.inv(tensor + 1e-3 * np.eye(2))
        return np.asarray(np.linalg.inv(least + by_texture), dtype=np.float64)

    def _patch_mean(self, image: Float32) -> Float32:
        import cv2

        side = self._config.patch_px
        return np.asarray(cv2.boxFilter(image, cv2.CV_32F, (side, side)), dtype=np.float32)

    def _high_pass(self, image: NDArray[np.uint8]) -> Float32:
        import cv2

        gray = image.astype(np.float32)
        return np.asarray(gray - cv2.GaussianBlur(gray, (0, 0), self._config.high_pass_px), dtype=np.float32)

    def _contrasted(self, texture: Float32) -> NDArray[np.uint8]:
        return np.asarray(np.clip(128 + self._config.contrast * texture, 0, 255).astype(np.uint8))


def _warp(image: NDArray[np.uint8], positions: Float32) -> NDArray[np.uint8]:
    """(h, w) an image read at positions (h, w, 2)."""
    import cv2

    warped = cv2.remap(image, positions, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(warped, dtype=np.uint8)


def bilinear_sample(field: Float32, positions: Float32) -> Float32:
    """(P, channels) of a field (h, w, channels) at positions (P, 2), pixels right and down."""
    import cv2

    if not len(positions):
        return np.zeros((0, field.shape[2]), dtype=np.float32)
    places = positions[:, None].astype(np.float32)
    sampled = cv2.remap(field, places, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(sampled, dtype=np.float32).reshape(len(positions), -1)
