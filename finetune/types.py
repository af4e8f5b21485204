"""The few shapes that cross rooms."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

if TYPE_CHECKING:
    from torch import Tensor

Part = Literal["train", "validation", "test"]
PARTS: tuple[Part, ...] = ("train", "validation", "test")

Kind = Literal["class", "labels", "number"]
"""What a target is: one class, several labels at once, or a number."""

CropMode = Literal["crop", "pad", "squish"]
CROP_MODES: tuple[CropMode, ...] = ("crop", "pad", "squish")
"""How a picture of any proportions becomes one of the network's."""


@dataclass(frozen=True, kw_only=True)
class ImageSpec:
    """What a network wants to see: the one source of size, crop and normalisation for training and for use.

    Args:
        size: Height and width in pixels of the network's input.
        mean: What is subtracted from a channel whose values lie in [0, 1]; one value a channel.
        std: What it is then divided by; one value a channel.
        interpolation: The kernel of the (antialiased) resize.
        crop_pct: The side of the central crop as a share of the resized side, in (0, 1].
        crop_mode: What becomes of a picture of other proportions: "crop" loses what is over, "pad" surrounds it with
            the mean colour, "squish" gives up its proportions.
    """

    size: tuple[int, int]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    interpolation: Literal["bilinear", "bicubic"] = "bicubic"
    crop_pct: float = 0.875
    crop_mode: CropMode = "crop"

    @property
    def in_chans(self) -> int:
        """The number of channels of the network's input."""
        return len(self.mean)

    @property
    def resized(self) -> tuple[int, int]:
        """Height and width in pixels before the central crop, of a picture of the input's proportions."""
        # The small addend keeps 224 / (224 / 232) from falling to 231.
        height, width = (math.floor(side / self.crop_pct + 1e-6) for side in self.size)
        return height, width

    @property
    def resize(self) -> int:
        """The length in pixels of the shorter side of a square input's picture before the central crop."""
        return min(self.resized)

    def to_dict(self) -> dict[str, Any]:
        """The same as plain JSON values."""
        return {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(self).items()}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> ImageSpec:
        """The inverse of `to_dict`."""
        frozen: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in values.items()}
        return cls(**frozen)


class Batch(NamedTuple):
    """Some examples, ready for a network.

    inputs: (N, C, H, W), uint8 in 0..255 or float32 in 0..1, not yet normalised: the network does that. From
        `activations` what a layer has made of them, (N, *).
    target: (N,) int64 for a class, (N, K) float32 for labels, (N,) float32 for a number.
    row: (N,) int64, the row of each example in the table of examples.
    """

    inputs: Tensor
    target: Tensor
    row: Tensor


@dataclass(frozen=True)
class Stage:
    """A run of layers that is frozen, or given a rate, as one.

    Args:
        name: How it is shown to people, `layer3` say.
        parameters: The names, in the network's `named_parameters()`, of all that it holds.
    """

    name: str
    parameters: tuple[str, ...]
