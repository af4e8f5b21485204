"""Where the numbers of a layer lie on a picture, in a CNN, in a transformer and in Swin alike."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

from torch import Tensor, nn

from ..errors import ConfigError, nearest

MOST_EXTRA = 8
"""Tokens beside those of the grid that a transformer may have: class, distillation, registers."""


class Places(NamedTuple):
    """How the output of a layer lies on a picture.

    form: "maps" (N, C, H, W), "last" (N, H, W, C) or "tokens" (N, T, C).
    height: Places downwards.
    width: Places across.
    extra: Tokens before those of the grid.
    """

    form: str
    height: int
    width: int
    extra: int = 0

    def maps(self, values: Tensor) -> Tensor:
        """An output of the layer as (N, C, H, W)."""
        if self.form == "maps":
            return values
        if self.form == "last":
            return values.permute(0, 3, 1, 2)
        grid = values[:, self.extra :].transpose(1, 2)
        return grid.reshape(len(values), -1, self.height, self.width)


def places_of(shape: tuple[int, ...], aspect: float) -> Places | None:
    """How an output of this shape lies on pictures of this height / width; None where it has no places.

    One place alone shows nothing and counts as none.
    """
    if len(shape) == 4:
        _, a, b, c = shape
        first, last = b * c > 1 and _fits(b, c, aspect), a * b > 1 and _fits(a, b, aspect)
        # Where both could be meant, the one that lies closer to the picture's proportions is.
        if first and not (last and abs(a - b * aspect) / a < abs(b - c * aspect) / b):
            return Places("maps", b, c)
        return Places("last", a, b) if last else None
    if len(shape) == 3:
        for extra in range(min(MOST_EXTRA, shape[1] - 1) + 1):
            count = shape[1] - extra
            height = round(math.sqrt(count * aspect))
            if count > 1 and height and count % height == 0 and _fits(height, count // height, aspect):
                return Places("tokens", height, count // height, extra)
    return None


def _fits(height: int, width: int, aspect: float) -> bool:
    """Whether a grid has the proportions of the picture, as far as whole places can."""
    return abs(height - width * aspect) < 1


def layer_of(network: nn.Module, name: str) -> nn.Module:
    """The layer of a dotted name.

    Raises:
        ConfigError: There is none.
    """
    known: dict[str, nn.Module] = {one: module for one, module in network.named_modules() if one}
    if name not in known:
        raise ConfigError(
            f'There is no layer "{name}". Expected one of {_some(list(known))}.{nearest(name, known)}'
        )  # fmt: skip
    return known[name]


def _some(names: list[str], most: int = 24) -> str:
    """Names of layers, those of the outer ones first."""
    outer = sorted(names, key=lambda name: name.count("."))[:most]
    return ", ".join(name for name in names if name in outer) + (", ..." if len(names) > most else "")


@contextmanager
def listening(network: nn.Module, name: str, heard: list[Tensor]) -> Iterator[None]:
    """Takes down what the layer of this name answers, for a while.

    Raises:
        ConfigError: There is no such layer.
    """

    def keep(module: nn.Module, inputs: object, output: object) -> None:
        if isinstance(output, Tensor):
            # A copy: a ReLU that works in place would change what was heard.
            heard.append(output.clone())

    handle = layer_of(network, name).register_forward_hook(keep)
    try:
        yield
    finally:
        handle.remove()
