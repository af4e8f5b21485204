"""A picture made ready to be laid over others."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

SIDE = 256
"""Pixels of the longer side at which pictures are compared."""

LUMA = np.array([0.299, 0.587, 0.114], np.float32)
THUMBNAIL = 32
LEAST_SIDE = 16
LEAST_SOLID = 0.15
"""The share of a picture that must be left when its plain corners are left out; with less, they stay."""


def posed(picture: np.ndarray, pose: int) -> np.ndarray:
    """A picture (H, W, ...) in one of its eight poses: mirrored for 4 to 7, then turned counterclockwise."""
    return np.rot90(picture[:, ::-1] if pose >= 4 else picture, pose % 4)


@dataclass(frozen=True, kw_only=True)
class Points:
    """Corners of a picture, (n, 2) as x and y, and what is around each, (n, 128) uint8."""

    places: np.ndarray
    descriptors: np.ndarray


NO_POINTS = Points(places=np.zeros((0, 2), np.float32), descriptors=np.zeros((0, 128), np.uint8))


@dataclass(frozen=True, kw_only=True)
class Sight:
    """A picture made ready to be laid over others.

    Args:
        grey: (H, W) float32, the longer side `SIDE` pixels, of mean 0 and spread 1 where it is solid.
        solid: (H, W) uint8, 255 where the picture is not the plain filling of a corner.
        grain: How many of these pixels one of the picture's own is wide.
    """

    grey: np.ndarray
    solid: np.ndarray
    grain: float

    @cached_property
    def thumbnail(self) -> np.ndarray:
        """(32, 32) float32 without regard to proportions, of mean 0 and length 1."""
        import cv2

        small = cv2.resize(self.grey, (THUMBNAIL, THUMBNAIL), interpolation=cv2.INTER_AREA)
        small -= small.mean()
        found: np.ndarray = small / max(float(np.linalg.norm(small)), 1e-6)
        return found

    @cached_property
    def points(self) -> Points:
        """Its corners."""
        return _points(self.grey)

    @cached_property
    def mirrored_points(self) -> Points:
        """The corners of its mirror image, without looking for them again.

        A descriptor is 4 x 4 histograms of 8 directions, about the direction of its corner: in the mirror the
        first axis runs backwards, and so do the directions.
        """
        places = self.points.places * np.array([-1, 1], np.float32) + np.array([self.grey.shape[1] - 1, 0], np.float32)
        cells = self.points.descriptors.reshape(-1, 4, 4, 8)[:, ::-1]
        return Points(places=places, descriptors=cells[..., (0, 7, 6, 5, 4, 3, 2, 1)].reshape(-1, 128))


def sight_of(picture: np.ndarray) -> Sight:
    """Makes a picture ready.

    Args:
        picture: (H, W, C), uint8 or float32.
    """
    import cv2

    channels = picture.shape[2]
    weights = LUMA if channels == 3 else np.full(channels, 1 / channels, np.float32)
    grey = picture.astype(np.float32) @ weights
    if picture.dtype != np.uint8:
        grey = grey * 255
    height, width = grey.shape
    scale = SIDE / max(height, width)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    grey = cv2.resize(grey, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC)
    solid = _solid(grey)
    inside = grey[solid > 0]
    return Sight(grey=(grey - inside.mean()) / max(float(inside.std()), 0.5), solid=solid, grain=scale)


def _solid(grey: np.ndarray) -> np.ndarray:
    """Leaves out the plain corners that a turned picture is filled up with, and the frame of a scanned one."""
    import cv2

    height, width = grey.shape
    mask = np.zeros((height + 2, width + 2), np.uint8)
    levels = np.clip(grey, 0, 255).astype(np.uint8)
    for x, y in ((0, 0), (width - 1, 0), (0, height - 1), (width - 1, height - 1)):
        if not mask[y + 1, x + 1]:
            cv2.floodFill(levels, mask, (x, y), 0, 3, 3, 4 | cv2.FLOODFILL_FIXED_RANGE | cv2.FLOODFILL_MASK_ONLY)
    filled = cv2.dilate(mask[1:-1, 1:-1], np.ones((5, 5), np.uint8)) > 0
    if filled.mean() > 1 - LEAST_SOLID:
        filled[:] = False
    return np.where(filled, 0, 255).astype(np.uint8)


def _points(grey: np.ndarray) -> Points:
    import cv2

    if min(grey.shape) < LEAST_SIDE:
        return NO_POINTS
    levels = np.clip(grey * 48 + 128, 0, 255).astype(np.uint8)
    # Fewer demands on contrast than usual, for X-rays and skin.
    places, descriptors = cv2.SIFT.create(nfeatures=500, contrastThreshold=0.015).detectAndCompute(levels, None)
    if descriptors is None:
        return NO_POINTS
    return Points(places=np.array([point.pt for point in places], np.float32), descriptors=descriptors.astype(np.uint8))
