"""Whether two pictures show the same thing pixel by pixel, however one was turned, cut or scaled.

Something that looks alike is only a suspicion. Here one picture is laid over the other, and what counts is how their
pixels correlate where both are.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from .sights import LEAST_SOLID, SIDE, Sight
from .ways import ways

FINE, COARSE = 2.0, 12.0
"""The band of detail, as sigmas of Gaussians in pixels, on which pictures must agree: finer is noise of compression,
coarser is light and the build of a scene, in which other pictures of its kind agree too."""

GRAIN = 0.8
"""Nothing finer counts than this many pixels of the picture that has fewer."""

LEAST_OVERLAP = 0.35
"""The share of the smaller picture that must lie on the other one."""

HALF = np.array([[0.5, 0, -0.25], [0, 0.5, -0.25], [0, 0, 1]])
"""From places to places on half as many pixels a side; a pixel's centre is at a whole number."""

PROMISING = 0.4
"""The correlation from which it is worth while to move one picture by parts of a pixel."""

WHOLE = 0.92
"""The share of the larger picture that the smaller one covers, above which nothing was cut off."""


@dataclass(frozen=True, kw_only=True)
class Alignment:
    """How one picture lies over another.

    Args:
        correlation: Of the detail of both where both are, -1..1.
        overlap: How much of the smaller one is there, 0..1.
        how: What tells the two apart, in words: mirrored, turned, cut; empty where nothing of these does.
        matrix: (2, 3) float32, from places in the first (x, y in pixels of its `Sight`) to places in the second.
    """

    correlation: float
    overlap: float
    how: str
    matrix: np.ndarray


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """Keeps OpenCV to the thread that calls it, for who has threads already, and gives it back as it was."""
    import cv2

    before = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        yield
    finally:
        cv2.setNumThreads(before)


def align(first: Sight, second: Sight, *, enough: float = 0.97) -> Alignment | None:
    """Lays the second picture over the first, in the way in which they agree best.

    Args:
        first: A picture.
        second: Another one.
        enough: A correlation at which no other way is tried.

    Returns:
        The best way found, or None where there is none worth measuring.
    """
    found: list[Alignment] = []
    for matrix in ways(first, second):
        if (laid := _measured(first, second, matrix)) is not None:
            found.append(laid)
            if laid.correlation >= enough:
                return laid
    found.sort(key=lambda laid: -laid.correlation)
    nearer = [_nearer(first, second, laid.matrix) for laid in found[:2] if laid.correlation >= PROMISING]
    moved = [_measured(first, second, matrix) for matrix in nearer if matrix is not None]
    return max((*found, *(laid for laid in moved if laid)), key=lambda laid: laid.correlation, default=None)


def _details(pictures: Sequence[np.ndarray], seen: np.ndarray, fine: float) -> list[np.ndarray]:
    """What lies in the band, made from the pixels that are seen alone: all pictures then end at the same edge."""
    bands = [np.zeros_like(picture) for picture in pictures]
    for sigma, sign in ((fine, 1), (max(COARSE, 3 * fine), -1)):
        weight = np.maximum(_blurred(seen, sigma), 1e-3)
        for band, picture in zip(bands, pictures, strict=True):
            band += sign * _blurred(picture * seen, sigma) / weight
    return bands


def _blurred(picture: np.ndarray, sigma: float) -> np.ndarray:
    """With a Gaussian; a wide one is made on a quarter of the pixels, where it is narrow."""
    import cv2

    height, width = picture.shape
    shrink = 4 if sigma >= COARSE else 1
    size = (-(-width // shrink), -(-height // shrink))
    small = cv2.resize(picture, size, interpolation=cv2.INTER_AREA) if shrink > 1 else picture
    blurred = cv2.GaussianBlur(small, (0, 0), sigma / shrink)
    found: np.ndarray = cv2.resize(blurred, (width, height)) if shrink > 1 else blurred
    return found


def _nearer(first: Sight, second: Sight, matrix: np.ndarray) -> np.ndarray | None:
    """Moves the matrix to where the pixels agree best nearby (ECC, Evangelidis and Psarakis 2008)."""
    import cv2

    stop = (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, 30, 1e-4)
    one, other, solid = (cv2.resize(page, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
                         for page in (first.grey, second.grey, first.solid))  # fmt: skip
    start = (HALF @ np.vstack([matrix, [0, 0, 1]]) @ np.linalg.inv(HALF))[:2].astype(np.float32)
    with contextlib.suppress(cv2.error):  # it does not converge
        moved = cv2.findTransformECC(one, other, start, cv2.MOTION_AFFINE, stop, solid, 5)[1]
        found: np.ndarray = (np.linalg.inv(HALF) @ np.vstack([moved, [0, 0, 1]]) @ HALF)[:2].astype(np.float32)
        # Not by more than a few pixels: what needs more was not there.
        height, width = first.grey.shape
        corners = np.array([[0, 0, 1], [width, 0, 1], [0, height, 1], [width, height, 1]], np.float32)
        if np.abs(corners @ (found - matrix).T).max() <= SIDE / 10:
            return found
    return None


def _measured(first: Sight, second: Sight, matrix: np.ndarray) -> Alignment | None:
    """The correlation of both where both are."""
    import cv2

    (h1, w1), (h2, w2) = first.grey.shape, second.grey.shape
    scale = abs(float(np.linalg.det(matrix[:, :2])))
    if not 1 / 16 <= scale <= 16:
        return None
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    there = cv2.warpAffine(np.full((h2, w2), 255, np.uint8), matrix, (w1, h1), flags=flags) > 254
    overlap = float(there.sum()) / min(h1 * w1, h2 * w2 / scale)
    if overlap < LEAST_OVERLAP:
        return None
    solid = there & (first.solid > 0) & (cv2.warpAffine(second.solid, matrix, (w1, h1), flags=flags) > 254)
    if solid.sum() < LEAST_SOLID * there.sum():
        solid = there
    other = cv2.warpAffine(second.grey, matrix, (w1, h1), flags=flags, borderMode=cv2.BORDER_REPLICATE)
    # The second's own pixels, as wide as they lie on the first.
    fine = max(FINE, GRAIN * first.grain, GRAIN * second.grain / scale**0.5)
    seen = solid.astype(np.float32)
    a, b = (detail[solid] for detail in _details([first.grey, other], seen, fine))
    a, b = a - a.mean(), b - b.mean()
    correlation = float(a @ b / max(float(np.linalg.norm(a) * np.linalg.norm(b)), 1e-6))
    # Of what is solid: the corners that were filled up are no part that the other one lacks.
    share = float(solid.sum()) / max(float((first.solid > 0).sum()), float((second.solid > 0).sum()) / scale)
    return Alignment(
        correlation=correlation, overlap=min(1.0, overlap), how=_in_words(matrix, share < WHOLE), matrix=matrix
    )


def _in_words(matrix: np.ndarray, part: bool) -> str:
    mirrored = float(np.linalg.det(matrix[:, :2])) < 0
    # Of a mirrored picture what is left when it is mirrored back.
    across = matrix[:, 0] * (-1 if mirrored else 1)
    angle = abs(round(float(np.degrees(np.arctan2(across[1], across[0])))))
    words = ["mirrored"] * mirrored + [f"turned by {angle}°"] * (angle >= 2) + ["cut"] * part
    return ", ".join(words)
