"""The operations of a policy by torchvision's transforms v2, which compute on tensors."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
import torchvision.transforms.v2.functional as F
from torch import Tensor
from torch.nn.functional import grid_sample

from .draws import Matrix, Operation
from .elastic import field


def _white(picture: Tensor) -> float:
    return 255.0 if picture.dtype == torch.uint8 else 1.0


def _contrast(picture: Tensor, mean: Any, factor: float) -> Tensor:
    if len(picture) in (1, 3):
        return F.adjust_contrast(picture, factor)  # type: ignore[no-any-return]
    return _linear(picture, factor, (1 - factor) * float(picture.float().mean()))


def _light(picture: Tensor, mean: Any, gain: float, offset: float) -> Tensor:
    return _linear(picture, gain, offset * _white(picture))


def _linear(picture: Tensor, gain: float, offset: float) -> Tensor:
    changed = picture.float().mul_(gain).add_(offset).clamp_(0, _white(picture))
    return changed.round_().to(picture.dtype) if picture.dtype == torch.uint8 else changed


def _warp(picture: Tensor, mean: Sequence[float], matrix: Matrix, border: str) -> Tensor:
    height, width = picture.shape[1:]
    back = _inverse(matrix)
    # torchvision fills with black, and its own fill in a colour darkens the seam: the colour is made black meanwhile.
    colour = torch.tensor(mean)[:, None, None] * _white(picture)
    moved, margin = picture.float() - colour, 0
    if border != "mean":
        # What comes in from outside is put around the picture first.
        margin = _reach(back, height, width)
        moved = F.pad(moved, [margin] * 4, padding_mode=border)
    a, b, c, d, e, f = back
    # From the place in the result to that in the picture; pixels have their centres at .5 here and at 0 in `Matrix`.
    off = margin + 0.5
    coefficients = [a, b, c + off - (a + b) * off, d, e, f + off - (d + e) * off, 0.0, 0.0]
    warped: Tensor = F.perspective(moved, None, None, coefficients=coefficients)
    warped = warped[:, margin : margin + height, margin : margin + width].add(colour).clamp_(0, _white(picture))
    return warped.round_().to(picture.dtype) if picture.dtype == torch.uint8 else warped


def _inverse(matrix: Matrix) -> Matrix:
    a, b, c, d, e, f = matrix
    over = a * e - b * d
    return e / over, -b / over, (b * f - c * e) / over, -d / over, a / over, (c * d - a * f) / over


def _reach(back: Matrix, height: int, width: int) -> int:
    """How many pixels outside of the picture are looked at."""
    a, b, c, d, e, f = back
    corners = [(x, y) for x in (0, width - 1) for y in (0, height - 1)]
    across = [a * x + b * y + c for x, y in corners]
    down = [d * x + e * y + f for x, y in corners]
    outside = max(-min(across), max(across) - width, -min(down), max(down) - height, 0)
    return min(math.ceil(outside) + 1, height - 1, width - 1)


def _elastic(picture: Tensor, mean: Any, seed: int, alpha: float, sigma: float) -> Tensor:
    height, width = picture.shape[1:]
    down, right = torch.from_numpy(field(seed, (height, width), alpha, sigma))
    rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    # From -1 at the left edge of the first pixel to 1 at the right edge of the last one.
    grid = torch.stack([(2 * (columns + right) + 1) / width - 1, (2 * (rows + down) + 1) / height - 1], dim=-1)
    bent = grid_sample(picture[None].float(), grid[None], padding_mode="border", align_corners=False)[0]
    return bent.round_().to(picture.dtype) if picture.dtype == torch.uint8 else bent


def _blur(picture: Tensor, mean: Any, sigma: float) -> Tensor:
    # As PIL: 3.5 widths to either side. A mirrored edge cannot be wider than the picture.
    size = min(int(sigma * 3.5) * 2 + 1, *(2 * side - 1 for side in picture.shape[1:]))
    return F.gaussian_blur(picture, [size, size], [sigma, sigma])  # type: ignore[no-any-return]


def _erase(picture: Tensor, mean: Sequence[float], top: int, left: int, height: int, width: int) -> Tensor:
    fill = torch.tensor(mean).mul(_white(picture))
    colour = (fill.round() if picture.dtype == torch.uint8 else fill).to(picture.dtype)[:, None, None]
    return F.erase(picture, top, left, height, width, colour)  # type: ignore[no-any-return]


def _each_channel(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
    def each(picture: Tensor, mean: Any, *values: Any) -> Tensor:
        return torch.cat([function(plane[None], *values) for plane in picture])

    return each


OPERATIONS: Mapping[str, Callable[..., Tensor]] = {
    "mirror": lambda picture, mean: F.horizontal_flip(picture),
    "flip": lambda picture, mean: F.vertical_flip(picture),
    "brightness": lambda picture, mean, factor: _linear(picture, factor, 0.0),
    "contrast": _contrast,
    "saturation": lambda picture, mean, factor: F.adjust_saturation(picture, factor),
    "hue": lambda picture, mean, turn: F.adjust_hue(picture, turn),
    "light": _light,
    "warp": _warp,
    "elastic": _elastic,
    "blur": _blur,
    "erase": _erase,
    "sharpness": _each_channel(F.adjust_sharpness),
    "posterize": lambda picture, mean, bits: F.posterize(picture, bits) if bits < 8 else picture,
    "solarize": lambda picture, mean, threshold: F.solarize(picture, threshold * _white(picture)),
    "autocontrast": _each_channel(F.autocontrast),
    "equalize": _each_channel(F.equalize),
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
    tensor = torch.from_numpy(np.array(picture.transpose(2, 0, 1), order="C"))
    for name, values in operations:
        tensor = OPERATIONS[name](tensor, mean, *values)
    done: np.ndarray = tensor.numpy().transpose(1, 2, 0)
    return np.ascontiguousarray(done if done.dtype == np.uint8 else np.clip(done, 0, 1))
