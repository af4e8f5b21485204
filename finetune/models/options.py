"""What a user says about the network: values only, nothing is built or downloaded here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ..errors import ConfigError, nearest
from ..types import CROP_MODES, CropMode

if TYPE_CHECKING:
    from .network import Network


@dataclass(frozen=True, kw_only=True)
class LinearHead:
    """One linear layer on the backbone's features.

    Args:
        dropout: Share of the features that are zeroed while training, in [0, 1).
    """

    dropout: float = 0.0

    def __post_init__(self) -> None:
        _check_dropout(self.dropout)


@dataclass(frozen=True, kw_only=True)
class MLPHead:
    """A hidden layer with ReLU between the features and the answer.

    Args:
        hidden: Width of the hidden layer.
        dropout: Share of the features, and of the hidden units, that are zeroed while training, in [0, 1).
    """

    hidden: int = 512
    dropout: float = 0.25

    def __post_init__(self) -> None:
        _check_dropout(self.dropout)
        if self.hidden < 1:
            raise ConfigError(f"hidden must be 1 or more. Got {self.hidden}.")


@dataclass(frozen=True, kw_only=True)
class EmbeddingHead:
    """One linear layer whose answer is given length 1: a point by which pictures are compared.

    Args:
        size: How many numbers a point has.
    """

    size: int = 512

    def __post_init__(self) -> None:
        if self.size < 2:
            raise ConfigError(f"The size of an embedding must be 2 or more. Got {self.size}.")


Head = LinearHead | MLPHead | EmbeddingHead


def _check_dropout(dropout: float) -> None:
    if not 0 <= dropout < 1:
        raise ConfigError(f"dropout must be a share from 0 to below 1. Got {dropout}.")


@dataclass(frozen=True)
class Backbone:
    """A pretrained network, by name, and what is changed about it.

    Args:
        name: `timm/NAME[.TAG]`, `torchvision/NAME`, `finetune/lenet5`; a bare name means timm, and torchvision where
            timm has none.
        weights: "default" for the library's own download, "none" for random numbers, or the path of a
            `.safetensors`, `.pth` or `.pt` file or of a saved model's folder.
        args: Arguments passed through to the network's constructor, `{"pad_type": "same"}` say.
        in_chans: Channels of the pictures; None for the network's own, which is 3, and 1 for the lecture's grey nets.
        mean: Overrides the weights' own normalisation: one number, or one a channel.
        std: Likewise.
        input_size: Overrides the side in pixels of the network's input.
        crop: Overrides what becomes of pictures that are not square: "crop" resizes the shorter side and loses what is
            over, "pad" resizes the longer side and adds the mean colour, "squish" gives up their proportions.
        head: What replaces the classifier.
        module: A network of one's own instead of a name: see `from_module`.
    """

    name: str
    weights: str = field(default="default", kw_only=True)
    args: Mapping[str, Any] = field(default_factory=dict, kw_only=True)
    in_chans: int | None = field(default=None, kw_only=True)
    mean: float | tuple[float, ...] | None = field(default=None, kw_only=True)
    std: float | tuple[float, ...] | None = field(default=None, kw_only=True)
    input_size: int | None = field(default=None, kw_only=True)
    crop: CropMode | None = field(default=None, kw_only=True)
    head: Head = field(default=LinearHead(), kw_only=True)
    module: Any = field(default=None, kw_only=True, repr=False)

    def __post_init__(self) -> None:
        wrong = []
        if not self.name:
            wrong.append("The backbone has no name. Expected one of `finetune backbones`, resnet50 say.")
        if self.in_chans is not None and self.in_chans < 1:
            wrong.append(f"in_chans must be 1 or more. Got {self.in_chans}.")
        for name in ("mean", "std"):
            value = getattr(self, name)
            channels = self.in_chans or 3
            if isinstance(value, tuple) and len(value) not in (1, channels):
                wrong.append(f"{name} takes one number, or one for each of the {channels} channels. Got {value}.")
        if self.std is not None and min(self.std if isinstance(self.std, tuple) else (self.std,)) <= 0:
            wrong.append(f"std must be above 0. Got {self.std}.")
        if self.input_size is not None and self.input_size < 1:
            wrong.append(f"input_size must be 1 pixel or more. Got {self.input_size}.")
        if self.crop not in (None, *CROP_MODES):
            known = ", ".join(CROP_MODES)
            wrong.append(f'Unknown crop "{self.crop}". Expected one of {known}.{nearest(str(self.crop), CROP_MODES)}')
        if wrong:
            raise ConfigError("\n".join(wrong))

    @classmethod
    def from_module(
        cls, module: Any, *, head: str, input_size: int, in_chans: int = 3, mean: Any = 0.5, std: Any = 0.5,
        crop: CropMode = "crop",
    ) -> Backbone:  # fmt: skip
        """A network of one's own.

        Args:
            module: A `torch.nn.Module` that takes (N, C, H, W) pictures. It is copied as it is, its weights included.
            head: The dotted name of the layer inside it that gives the answer, `fc` say: it is replaced.
            input_size: Side in pixels of its input.
            in_chans: Channels of its input.
            mean: What its pictures, in [0, 1], are normalised with.
            std: Likewise.
            crop: What becomes of pictures that are not square.
        """
        return cls(
            f"module/{type(module).__name__}", weights="none", args={"head": head}, mean=mean, std=std,
            in_chans=in_chans, input_size=input_size, crop=crop, module=module,
        )  # fmt: skip

    def check(self) -> None:
        """Refuses a name that nothing answers to, before any data is read.

        Raises:
            ConfigError: With the nearest names.
        """
        from .backbones import resolve

        resolve(self)

    def build(self, num_outputs: int) -> Network:
        """Builds the network, loads its weights and gives it a fresh head of `num_outputs` outputs.

        Raises:
            ConfigError: No such backbone, or arguments that its constructor does not take.
            WeightsError: Weights that cannot be had or do not fit.
        """
        from .backbones import build

        return build(self, num_outputs)
