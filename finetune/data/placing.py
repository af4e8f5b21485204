"""Where in a picture of any size the input of a network lies.

In whole numbers alone: an exported graph does the same arithmetic on sizes that it learns when it is run.
"""

from __future__ import annotations

from typing import NamedTuple, cast

import torch

from ..types import ImageSpec


class Place(NamedTuple):
    """The input as a window on the resized picture.

    resized: Height and width that the whole picture is resized to.
    start: Row and column of the resized picture at which the input begins; below 0 where it is surrounded.
    """

    resized: tuple[int, int]
    start: tuple[int, int]


def place(spec: ImageSpec, height: int, width: int) -> Place:
    """The place of the input in a picture, as timm and torchvision have it for each crop mode.

    Args:
        spec: What the network wants to see.
        height: Of the picture in pixels; torch's symbol for one in a graph that is being traced.
        width: Likewise.
    """
    high, wide = spec.resized
    if spec.crop_mode == "squish":
        new = spec.resized
    elif spec.crop_mode == "crop" and high == wide:
        # Rounded down for the longer side and to the nearest for the crop, as torchvision does: half a pixel is seen
        # in the features.
        short = _least(height, width)
        new = (high * height // short, wide * width // short)
    else:
        # Each side as the other one asks for it: the larger covers the input, the smaller lies inside it.
        bound = _least if spec.crop_mode == "pad" else _most
        new = (
            _most(bound(high, _nearest(height * wide, width)), 1),
            _most(bound(wide, _nearest(width * high, height)), 1),
        )
    rows, columns = (_start(own, asked) for own, asked in zip(new, spec.size, strict=True))
    return Place(new, (rows, columns))


def _start(own: int, asked: int) -> int:
    """Where a side of the input begins on a side of the resized picture, on a canvas that holds both."""
    canvas = _most(own, asked)
    return _nearest(canvas - asked, 2) - (canvas - own) // 2


def _nearest(a: int, b: int) -> int:
    """The whole number nearest to a / b, and of two the even one, as `round` has it; a is 0 or more, b is positive."""
    quotient, rest = (2 * a + b) // (2 * b), (2 * a + b) % (2 * b)
    tie = 1 - _least(rest, 1)
    return quotient - tie * (quotient % 2)


def _least(a: int, b: int) -> int:
    # In a graph sizes are symbols, which torch's own words compare without settling which one is smaller.
    return cast(int, torch.sym_min(a, b))


def _most(a: int, b: int) -> int:
    return cast(int, torch.sym_max(a, b))
