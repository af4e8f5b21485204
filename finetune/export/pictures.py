"""Pictures of any size -> what a network sees, in a graph: the pixels that PIL makes, to the bit.

A resize is two matrix products, one a side. PIL's own arithmetic is in whole numbers (weights in units of 2^-22, each
side rounded to 8 bits), and products in float32 are exact as long as sums stay below 2^24: so each weight goes in two
pieces of 11 bits. Any runtime that multiplies matrices gives these pixels; an operator for antialiased resizing is
missing in many of them and differs in others (onnxruntime's: by up to 14 of 255 levels at the right edge).
"""

from __future__ import annotations

from typing import Any, final

import torch
from torch import Tensor, nn

from ..data.placing import place
from ..types import ImageSpec

UNITS = 22
"""PIL's weights are multiples of 2 to the power of minus this."""

PIECE = 11
"""Bits of the lower piece of a weight."""


@final
class Seen(nn.Module):
    """What `eval_transform` makes of a picture.

    Args:
        spec: What the network wants to see.
    """

    colour: Tensor

    def __init__(self, spec: ImageSpec) -> None:
        super().__init__()
        self.spec = spec
        self.register_buffer("colour", torch.round(255 * torch.tensor(spec.mean, dtype=torch.float64)).float())

    def forward(self, pictures: Tensor) -> Tensor:
        """(N, H, W, C) uint8 -> (N, C, h, w) uint8."""
        height, width = pictures.shape[1:3]
        (high, wide), (top, left) = place(self.spec, height, width)
        planes = pictures.permute(0, 3, 1, 2).float()
        across, within = self._weights(self.spec.size[1], left, wide, width)
        planes = _rounded(*(planes @ piece.T for piece in across))
        down, inside = self._weights(self.spec.size[0], top, high, height)
        planes = _rounded(*(piece @ planes for piece in down))
        if self.spec.crop_mode == "pad":
            planes = torch.where(inside[:, None] & within, planes, self.colour.view(1, -1, 1, 1))
        return planes.to(torch.uint8)

    def _weights(self, count: int, start: int, new: int, old: int) -> tuple[tuple[Tensor, Tensor], Tensor]:
        """The share of each old pixel in each of `count` new ones from `start` on, of a side that gets `new` of them.

        Returns:
            The upper and the lower pieces, (count, old) float32 each, and (count,) whether there is such a pixel.
        """
        places = torch.arange(count, device=self.colour.device) + start
        known = torch.arange(old, device=self.colour.device)
        # From the middle of one to the middle of the other, in widths of the kernel.
        apart = ((2 * known + 1) * new)[None] - ((2 * places + 1) * old)[:, None]
        width: Any = 2 * torch.sym_max(old, new)
        share = _kernel(self.spec.interpolation, apart.abs().double() / width)
        # What lies outside of the picture has no share in anything, and is not divided by it.
        share = share / share.sum(dim=1, keepdim=True).clamp(min=2.0**-UNITS)
        units = torch.floor(share.abs() * 2**UNITS + 0.5) * share.sign()
        upper = torch.round(units / 2**PIECE)
        lower = units - upper * 2**PIECE
        return (upper.float(), lower.float()), (places >= 0) & (places < new)


def _rounded(upper: Tensor, lower: Tensor) -> Tensor:
    """Sums of both pieces as levels of 0 to 255; a half goes up."""
    units = upper.double() * 2**PIECE + lower
    return torch.floor((units + 2 ** (UNITS - 1)) / 2**UNITS).clamp(0, 255).float()


def _kernel(name: str, apart: Tensor) -> Tensor:
    """The weight at a distance of 0 or more: a tent, or the cubic of Keys 1981 with a = -1/2."""
    if name == "bilinear":
        return (1 - apart).clamp(min=0)
    near = ((1.5 * apart - 2.5) * apart) * apart + 1
    far = (((apart - 5) * apart + 8) * apart - 4) * -0.5
    return torch.where(apart < 1, near, torch.where(apart < 2, far, torch.zeros_like(apart)))
