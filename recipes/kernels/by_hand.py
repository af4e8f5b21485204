"""What a kernel does to a picture, by hand: windows, products, sums."""

from __future__ import annotations

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

IDENTITY = np.array([[0.0, 0, 0], [0, 1, 0], [0, 0, 0]])
EDGE = np.array([[-1.0, -1, -1], [-1, 8, -1], [-1, -1, -1]])
_BELL = np.array([1.0, 4, 6, 4, 1]) / 16
KERNELS = {
    "box blur": np.full((5, 5), 1 / 25),
    "Gaussian blur": np.outer(_BELL, _BELL),
    "edge": EDGE,
    "sharpen": IDENTITY + EDGE,
    "left to right": np.array([[-1.0, 0, 1], [-2, 0, 2], [-1, 0, 1]]),
    "top to bottom": np.array([[-1.0, -2, -1], [0, 0, 0], [1, 2, 1]]),
}
# Numbers of ours that give what the lecture's example gives: -63 as networks compute it, +63 with the kernel turned.
PATCH = np.array([[40.0, 36, 30], [50, 41, 30], [45, 38, 32]])


def correlate(picture: np.ndarray, kernel: np.ndarray) -> np.ndarray:
    """Lays a kernel over every place of a picture and adds up the products: what networks call a convolution.

    Args:
        picture: (H, W); the result is (H - h + 1, W - w + 1).
        kernel: (h, w).
    """
    windows = sliding_window_view(picture, kernel.shape)
    return np.einsum("ijhw,hw->ij", windows, kernel)


def convolve(picture: np.ndarray, kernel: np.ndarray) -> np.ndarray:
    """The convolution of mathematics: the kernel is turned by 180 degrees first. Shapes as for `correlate`."""
    return correlate(picture, kernel[::-1, ::-1])


def subsample(picture: np.ndarray, side: int, by: str) -> np.ndarray:
    """One number for each square of a picture.

    Args:
        picture: (H, W); what is over at the rims is left out.
        side: Of a square, in pixels.
        by: "mean" or "max".

    Returns:
        (H // side, W // side).
    """
    high, wide = (length // side for length in picture.shape)
    squares = picture[: high * side, : wide * side].reshape(high, side, wide, side)
    taken: np.ndarray = squares.mean((1, 3)) if by == "mean" else squares.max((1, 3))
    return taken


def in_place(grey: np.ndarray, valid: np.ndarray) -> np.ndarray:
    """A valid result (h, w) in the middle of a picture (H, W), whose rim stays as it was."""
    rim = (grey.shape[0] - valid.shape[0]) // 2
    whole = grey.copy()
    whole[rim : rim + valid.shape[0], rim : rim + valid.shape[1]] = valid
    return whole
