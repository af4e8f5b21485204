"""Ways in which one picture may lie over another: guesses, to be measured."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from .sights import SIDE, Points, Sight, posed

ALIKE = 0.7
"""The correlation of thumbnails from which all of one picture is laid on all of the other."""

FEW_POINTS = 150
"""A picture with fewer corners than that is smooth: it is also slid over the other one."""

LEAST_POINTS = 8
"""Corners that must agree on a matrix."""

RATIO = 0.8
"""How far the corner that looks most alike may be, of the distance of the next one."""

SLIDING = 0.8
"""The correlation of small pictures from which a place found by sliding is a way."""


def ways(first: Sight, second: Sight) -> Iterator[np.ndarray]:
    """Matrices that may lay one picture over another, the cheap ones first.

    Args:
        first: A picture.
        second: Another one.

    Yields:
        (2, 3) float32, from places in the first (x, y in pixels of its `Sight`) to places in the second.
    """
    alike = [float((posed(first.thumbnail, pose) * second.thumbnail).sum()) for pose in range(8)]
    for pose in sorted(range(8), key=lambda p: -alike[p])[:2]:
        if alike[pose] >= ALIKE:
            yield _whole(first, second, pose)
    if (matrix := _matched(first.points, second.points)) is not None:
        yield matrix
    if (matrix := _matched(first.mirrored_points, second.points)) is not None:
        yield _after(matrix, np.array([[-1, 0, first.grey.shape[1] - 1], [0, 1, 0]], np.float32))
    if min(len(first.points.places), len(second.points.places)) < FEW_POINTS:
        yield from _slid(first, second)


def _whole(first: Sight, second: Sight, pose: int) -> np.ndarray:
    """The matrix that lays all of the first, in a pose, on all of the second."""
    import cv2

    (h1, w1), (h2, w2) = first.grey.shape, second.grey.shape
    # Where three corners of the first picture, at the centres of its pixels, are after mirroring and turning.
    corners = np.array([[0, 0], [w1 - 1, 0], [0, h1 - 1]], np.float32)
    unit = corners / np.array([max(w1 - 1, 1), max(h1 - 1, 1)], np.float32)
    x, y = unit[:, 0], unit[:, 1]
    if pose >= 4:
        x = 1 - x
    for _ in range(pose % 4):
        x, y = y, 1 - x
    placed = np.stack([x, y], axis=1) * np.array([w2 - 1, h2 - 1], np.float32)
    matrix: np.ndarray = cv2.getAffineTransform(corners, placed.astype(np.float32)).astype(np.float32)
    return matrix


def _matched(first: Points, second: Points) -> np.ndarray | None:
    """The turn, scale and shift on which most of the corners that look alike agree (Lowe 2004, RANSAC)."""
    import cv2

    if min(len(first.places), len(second.places)) < LEAST_POINTS:
        return None
    likeness = _unit(first.descriptors) @ _unit(second.descriptors).T
    rows = np.arange(len(likeness))
    nearest = likeness.argmax(axis=1)
    best = likeness[rows, nearest]
    likeness[rows, nearest] = -1
    # The squared distance of two vectors of length 1 is 2 - 2 * likeness; the nearest must be clearly the nearest.
    good = 1 - best < RATIO**2 * (1 - likeness.max(axis=1))
    if good.sum() < LEAST_POINTS:
        return None
    matrix, inliers = cv2.estimateAffinePartial2D(
        first.places[good], second.places[nearest[good]], method=cv2.RANSAC, ransacReprojThreshold=3, maxIters=1000
    )
    if matrix is None or int(inliers.sum()) < LEAST_POINTS:
        return None
    found: np.ndarray = matrix.astype(np.float32)
    return found


def _unit(descriptors: np.ndarray) -> np.ndarray:
    numbers = descriptors.astype(np.float32)
    found: np.ndarray = numbers / np.maximum(np.linalg.norm(numbers, axis=1, keepdims=True), 1e-6)
    return found


def _slid(first: Sight, second: Sight) -> Iterator[np.ndarray]:
    """Slides each picture, smaller and in eight poses, over the other one; the best two places of all."""
    import cv2

    side = SIDE // 4
    found: list[tuple[float, np.ndarray]] = []
    for pose in range(8):
        turned = Sight(grey=np.ascontiguousarray(posed(first.grey, pose)), solid=first.solid, grain=first.grain)
        to_turned = _whole(first, turned, pose)
        for inside in (False, True):
            large, small = (turned.grey, second.grey) if inside else (second.grey, turned.grey)
            large = _at(large, side)
            for share in np.linspace(1, 0.5, 9):
                template = _at(small, round(side * share))
                if template.shape[0] > large.shape[0] or template.shape[1] > large.shape[1]:
                    continue
                score, place = cv2.minMaxLoc(cv2.matchTemplate(large, template, cv2.TM_CCOEFF_NORMED))[1::2]
                matrix = np.array([[share, 0, 4 * place[0]], [0, share, 4 * place[1]]], np.float32)
                if inside:
                    matrix = cv2.invertAffineTransform(matrix).astype(np.float32)
                found.append((score, _after(matrix, to_turned)))
    for score, matrix in sorted(found, key=lambda item: -item[0])[:2]:
        if score >= SLIDING:
            yield matrix


def _at(grey: np.ndarray, side: int) -> np.ndarray:
    import cv2

    scale = side / max(grey.shape)
    size = (max(1, round(grey.shape[1] * scale)), max(1, round(grey.shape[0] * scale)))
    found: np.ndarray = cv2.resize(grey, size, interpolation=cv2.INTER_AREA)
    return found


def _after(second: np.ndarray, first: np.ndarray) -> np.ndarray:
    """The matrix of one map after another."""
    found: np.ndarray = (second @ np.vstack([first, [0, 0, 1]])).astype(np.float32)
    return found
