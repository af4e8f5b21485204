"""What every source of networks answers: which names it has, how one is built, what it wants to see."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor, nn

from ..errors import ConfigError
from ..types import CropMode, ImageSpec
from .network import Origin
from .weights import fits

CROPS_OF_TIMM: dict[str, CropMode] = {"center": "crop", "border": "pad", "squash": "squish"}
"""timm's words for crop modes, and ours."""


@dataclass(frozen=True, kw_only=True)
class Choice:
    """One network of one library, with everything that decides its shape save the number of outputs.

    Args:
        origin: Library, architecture and arguments.
        tag: Which of several published sets of weights; empty for the library's own choice.
        spec: What it will be shown: size and channels shape the network.
        resized: Whether the size differs from the weights' own, so that a fixed-size network must be told.
    """

    origin: Origin
    tag: str
    spec: ImageSpec
    resized: bool = False


class Library(ABC):
    """A source of networks."""

    @abstractmethod
    def names(self) -> list[str]:
        """Every name, and NAME.TAG where weights are published under tags."""

    @abstractmethod
    def find(self, name: str) -> tuple[str, str] | None:
        """Splits NAME[.TAG] into architecture and tag; None where there is no such network."""

    @abstractmethod
    def spec(self, architecture: str, tag: str, *, published: bool, in_chans: int | None) -> ImageSpec:
        """What the weights of that tag want to see, for the channels that they were made for.

        Args:
            architecture: As from `find`.
            tag: Likewise.
            published: False for weights from a bare file.
            in_chans: The channels that the network will be built with, where they are not its own.
        """

    @abstractmethod
    def license(self, architecture: str, tag: str) -> str | None:
        """The licence that is stated for the published weights of that tag; None where none is, or no weights are."""

    @abstractmethod
    def construct(self, choice: Choice, num_outputs: int) -> nn.Module:
        """Builds the native network with random weights.

        Raises:
            TypeError, ValueError, AssertionError, RuntimeError: Arguments that the constructor does not take.
        """

    @abstractmethod
    def pretrained(self, choice: Choice, num_outputs: int) -> nn.Module:
        """Builds the native network with its published weights; its classifier may have any size.

        Raises:
            WeightsError: There are none, or they cannot be had.
        """

    @abstractmethod
    def classifiers(self, module: nn.Module) -> tuple[str, ...]:
        """The dotted names of the layers that give the answer, one for nearly every network."""

    @abstractmethod
    def without_classifiers(self, module: nn.Module) -> nn.Module:
        """Takes several classifiers out of a network, so that `forward_head(pre_logits=True)` gives its features."""

    @abstractmethod
    def input_layers(self, module: nn.Module) -> tuple[str, ...]:
        """The dotted names of the layers that see the channels of the picture."""

    def dropped(self, choice: Choice) -> tuple[str, ...]:
        """Layers that published weights may hold and that are left out on purpose: auxiliary heads."""
        return ()

    def translate(self, state: dict[str, Tensor], module: nn.Module, choice: Choice) -> dict[str, Tensor]:
        """Brings weights of an older or foreign layout into the network's own; unknown ones come back as they are."""
        return state

    def fit_state(
        self, state: dict[str, Tensor], module: nn.Module, choice: Choice, fresh: Sequence[str]
    ) -> dict[str, Tensor]:
        """Weights as `load` wants them: translated where they need it, and their filters adapted to the channels."""
        dropped = self.dropped(choice)
        state = adapt_channels(state, module, self.input_layers(module))
        return state if fits(module, state, fresh, dropped) else self.translate(state, module, choice)


def adapt_channels(state: dict[str, Tensor], module: nn.Module, layers: Sequence[str]) -> dict[str, Tensor]:
    """Keeps pretrained filters for another number of channels: summed for one, repeated and rescaled for more.

    The rule is timm's. With the mean over channels as the grey value, a grey picture then gets the answer that it would
    get as a colour picture.
    """
    state = dict(state)
    for layer in layers:
        name = f"{layer}.weight"
        own = module.get_parameter(name)
        if name in state and state[name].ndim == 4 and state[name].shape[1] == 3 != own.shape[1]:
            from timm.models import adapt_input_conv  # seconds of import, for those who have such pictures

            state[name] = adapt_input_conv(own.shape[1], state[name])
    return state


def adapt_spec(
    spec: ImageSpec, *, in_chans: int | None, mean: float | Sequence[float] | None,
    std: float | Sequence[float] | None, size: int | None, crop: CropMode | None = None,
) -> ImageSpec:  # fmt: skip
    """The same for other channels, or with what the user overrides.

    Args:
        spec: What the weights want to see.
        in_chans: Channels; None for the weights' own. One channel gets the average of the colours' normalisation.
        mean: One number, or one a channel.
        std: Likewise.
        size: Side of the input in pixels.
        crop: What becomes of pictures that are not square.
    """
    channels = in_chans or spec.in_chans
    return replace(
        spec,
        size=(size, size) if size else spec.size,
        mean=_per_channel("mean", mean, channels, spec.mean),
        std=_per_channel("std", std, channels, spec.std),
        crop_mode=crop or spec.crop_mode,
    )


def _per_channel(
    what: str, given: float | Sequence[float] | None, channels: int, own: Sequence[float]
) -> tuple[float, ...]:
    if given is None:
        if channels == len(own):
            return tuple(own)
        return (math.fsum(own) / len(own),) if channels == 1 else tuple(own[i % len(own)] for i in range(channels))
    values = (given,) if isinstance(given, (int, float)) else tuple(given)
    if len(values) not in (1, channels):
        raise ConfigError(f"{what} takes one number, or one for each of the {channels} channels. Got {values}.")
    return tuple(float(v) for v in (values if len(values) == channels else values * channels))


def spec_from_words(words: Mapping[str, Any]) -> ImageSpec:
    """Reads timm's words for preprocessing: input_size, mean, std, interpolation, crop_pct, crop_mode."""
    _, height, width = words.get("input_size") or (3, 224, 224)
    return ImageSpec(
        size=(int(height), int(width)),
        mean=tuple(words.get("mean") or (0.485, 0.456, 0.406)),
        std=tuple(words.get("std") or (0.229, 0.224, 0.225)),
        # A few weights name other kernels; bicubic is the nearest of the two that every engine here has.
        interpolation="bilinear" if words.get("interpolation") == "bilinear" else "bicubic",
        crop_pct=min(float(words.get("crop_pct") or 0.875), 1.0),
        crop_mode=CROPS_OF_TIMM.get(words.get("crop_mode") or "center", "crop"),
    )


def stated_license(license: object) -> str | None:
    """A licence as a publisher writes it, in small letters; None for words that say nothing."""
    text = license.strip() if isinstance(license, str) else ""
    if text.lower() in ("", "unknown", "other", "none"):
        return None
    return text if "/" in text else text.lower()
