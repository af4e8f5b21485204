"""The operations of a policy by albumentations, which computes on numpy arrays with OpenCV."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import cv2
import numpy as np

from .draws import Matrix, Operation
from .elastic import field


@contextmanager
def _without_asking_for_a_newer_version() -> Any:
    variable = "NO_ALBUMENTATIONS_UPDATE"
    before = os.environ.get(variable)
    os.environ[variable] = "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ[variable]
        else:
            os.environ[variable] = before


with _without_asking_for_a_newer_version():
    from albumentations.augmentations.blur.functional import create_gaussian_kernel_1d
    from albumentations.augmentations.geometric.functional import hflip, vflip, warp_affine
    from albumentations.augmentations.pixel import functional as pixel

BORDERS = {"edge": cv2.BORDER_REPLICATE, "reflect": cv2.BORDER_REFLECT_101, "mean": cv2.BORDER_CONSTANT}


def _white(picture: np.ndarray) -> int:
    return 255 if picture.dtype == np.uint8 else 1


def _contrast(picture: np.ndarray, mean: Any, factor: float) -> np.ndarray:
    if picture.shape[2] == 3:
        return pixel.adjust_contrast_torchvision(picture, factor)  # type: ignore[no-any-return]
    return _linear(picture, factor, (1 - factor) * float(picture.mean()))


def _light(picture: np.ndarray, mean: Any, gain: float, offset: float) -> np.ndarray:
    return _linear(picture, gain, offset * _white(picture))


def _linear(picture: np.ndarray, gain: float, offset: float) -> np.ndarray:
    return pixel.multiply_add(picture, gain, offset, inplace=False)  # type: ignore[no-any-return]


def _warp(picture: np.ndarray, mean: Sequence[float], matrix: Matrix, border: str) -> np.ndarray:
    whole = np.array([matrix[:3], matrix[3:], (0, 0, 1)], np.float64)
    fill, size = [value * _white(picture) for value in mean], picture.shape[:2]
    warped = [  # OpenCV takes colours of four channels at most
        _three(
            warp_affine(picture[..., at : at + 4], whole, cv2.INTER_LINEAR, fill[at : at + 4], BORDERS[border], size)
        )
        for at in range(0, picture.shape[2], 4)
    ]
    return warped[0] if len(warped) == 1 else np.concatenate(warped, axis=2)


def _elastic(picture: np.ndarray, mean: Any, seed: int, alpha: float, sigma: float) -> np.ndarray:
    size = picture.shape[:2]
    down, right = field(seed, size, alpha, sigma)
    rows, columns = np.indices(size, np.float32)
    # In floating point: on 8 bits OpenCV takes places at multiples of 1/32.
    bent = cv2.remap(
        picture.astype(np.float32), columns + right, rows + down, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    )
    return np.round(bent).astype(np.uint8) if picture.dtype == np.uint8 else np.asarray(bent, np.float32)


def _blur(picture: np.ndarray, mean: Any, sigma: float) -> np.ndarray:
    return pixel.separable_convolve(picture, create_gaussian_kernel_1d(sigma))  # type: ignore[no-any-return]


def _erase(picture: np.ndarray, mean: Sequence[float], top: int, left: int, height: int, width: int) -> np.ndarray:
    erased = picture.copy()
    fill = np.array(mean) * _white(picture)
    erased[top : top + height, left : left + width] = np.round(fill) if picture.dtype == np.uint8 else fill
    return erased


def _sharpness(picture: np.ndarray, mean: Any, factor: float) -> np.ndarray:
    kernel = np.array([[1, 1, 1], [1, 5, 1], [1, 1, 1]], np.float32) / 13
    smooth = picture.copy()
    smooth[1:-1, 1:-1] = _three(cv2.filter2D(picture, -1, kernel))[1:-1, 1:-1]
    return _three(cv2.addWeighted(picture, factor, smooth, 1 - factor, 0))


def _each_channel(function: Callable[[np.ndarray], np.ndarray]) -> Callable[..., np.ndarray]:
    def each(picture: np.ndarray, mean: Any) -> np.ndarray:
        # Copies, since tables are looked up in place.
        planes = [function(picture[..., c].copy()) for c in range(picture.shape[2])]
        return np.stack(planes, axis=-1)

    return each


def _three(picture: np.ndarray) -> np.ndarray:
    """OpenCV drops the axis of a single channel."""
    return picture if picture.ndim == 3 else picture[..., None]


OPERATIONS: Mapping[str, Callable[..., np.ndarray]] = {
    "mirror": lambda picture, mean: hflip(picture),
    "flip": lambda picture, mean: vflip(picture),
    "brightness": lambda picture, mean, factor: pixel.adjust_brightness_torchvision(picture, factor),
    "contrast": _contrast,
    "saturation": lambda picture, mean, factor: pixel.adjust_saturation_torchvision(picture, factor),
    "hue": lambda picture, mean, turn: pixel.adjust_hue_torchvision(picture, turn),
    "light": _light,
    "warp": _warp,
    "elastic": _elastic,
    "blur": _blur,
    "erase": _erase,
    "sharpness": _sharpness,
    "posterize": lambda picture, mean, bits: pixel.posterize(picture, bits),
    "solarize": lambda picture, mean, threshold: pixel.solarize(picture, threshold),
    "autocontrast": _each_channel(lambda plane: pixel.auto_contrast(plane, 0, None, "pil")),
    "equalize": _each_channel(lambda plane: pixel.equalize(plane, mode="pil")),
}


def apply(picture: np.ndarray, operations: Sequence[Operation], mean: Sequence[float]) -> np.ndarray:
    """Does the operations, one after the other.

    Args:
        picture: (H, W, C) uint8, or float32 in 0..1; it stays as it is.
        operations: With names of `OPERATIONS`.
        mean: The colour of what is left empty, one value in [0, 1] a channel.

    Returns:
        (H, W, C) of the same type.
    """
    for name, values in operations:
        picture = _three(OPERATIONS[name](np.ascontiguousarray(picture), mean, *values))
    return picture if picture.dtype == np.uint8 else np.clip(picture, 0, 1)
