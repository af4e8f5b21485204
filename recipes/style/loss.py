"""A frozen network as a loss: what a picture shows, and in which manner (Gatys et al. 2016, Johnson et al. 2016)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

import finetune as ft


@dataclass(frozen=True, kw_only=True)
class Layers:
    """Where a network is listened to: dotted names of its layers.

    Args:
        content: One or more deep layers, which know what is shown and not of which colour a pixel is.
        style: Layers from the first to a deep one, whose channels' correlations are the manner.
    """

    content: tuple[str, ...]
    style: tuple[str, ...]


def _features(*numbers: int) -> tuple[str, ...]:
    return tuple(f"features.{number}" for number in numbers)


# timm and torchvision number the layers of these alike. The VGGs: Gatys listens to conv1_1, 2_1, ..., 5_1 and for
# content to conv4_2, Johnson to relu1_2, 2_2, 3_3, 4_3 and for content to relu2_2. SqueezeNet's are ours, chosen by
# looking: its fire modules give maps that were rectified and joined.
KNOWN = {
    "vgg19": Layers(content=_features(21), style=_features(0, 5, 10, 19, 28)),
    "vgg16": Layers(content=_features(8), style=_features(3, 8, 15, 22)),
    "squeezenet1_0": Layers(content=_features(7), style=_features(1, 3, 5, 8, 10)),
    "squeezenet1_1": Layers(content=_features(6), style=_features(1, 3, 4, 7, 9)),
}


def layers_of(backbone: ft.Backbone, content: str | None, style: str | None) -> Layers:
    """The layers that a person named, with commas, or those that are known for the network.

    Args:
        backbone: The network.
        content: Dotted names, with commas; None takes the known ones.
        style: Likewise.

    Raises:
        ConfigError: A network without known layers, of which some were not named.
    """
    known = KNOWN.get(backbone.name.rpartition("/")[2].partition(".")[0])
    if known is None and not (content and style):
        raise ft.ConfigError(
            f"Which layers of {backbone.name} know content and style is not known. Expected --content-layers and "
            f"--style-layers with dotted names of its layers, or one of {', '.join(KNOWN)}."
        )
    return Layers(
        content=tuple(content.split(",")) if content else known.content,  # type: ignore[union-attr]
        style=tuple(style.split(",")) if style else known.style,  # type: ignore[union-attr]
    )


class _Enough(Exception):
    """The last layer that is listened to has spoken: what lies behind need not be computed."""


class Listener(nn.Module):
    """A frozen network that tells what some of its layers answer.

    Args:
        backbone: Its network, weights, and how they want pictures normalised.
        layers: Dotted names.

    Raises:
        ConfigError: The network has no such layer, or does not come past it.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, backbone: ft.Backbone, layers: Sequence[str]) -> None:
        super().__init__()
        network = backbone.build(1)
        self.body = network.body.eval().requires_grad_(False)
        self.layers = tuple(dict.fromkeys(layers))
        self.register_buffer("mean", network.mean.clone())
        self.register_buffer("std", network.std.clone())
        known = dict(self.body.named_modules())
        if strange := [name for name in self.layers if name not in known or not name]:
            raise ft.ConfigError(
                f"{backbone.name} has no layer {', '.join(map(repr, strange))}. Expected some of "
                f"{', '.join([name for name in known if name][:40])}."
            )
        with torch.no_grad():
            silent = set(self.layers) - self(torch.zeros(1, len(network.spec.mean), *network.spec.size)).keys()
        if silent:
            raise ft.ConfigError(f"{backbone.name} does not come past {', '.join(sorted(silent))} on its way.")

    def train(self, mode: bool = True) -> Listener:
        """Stays as in evaluation: dropout and running statistics would make the loss another one in each step."""
        return super().train(False)

    def forward(self, pictures: Tensor) -> dict[str, Tensor]:
        """What the layers answer.

        Args:
            pictures: (N, 3, H, W) in 0..1.

        Returns:
            Name to (N, C, H', W').
        """
        heard: dict[str, Tensor] = {}
        with _listening(self.body, self.layers, heard), suppress(_Enough):
            self.body((pictures - self.mean) / self.std)
        return heard


@contextmanager
def _listening(body: nn.Module, layers: Sequence[str], heard: dict[str, Tensor]) -> Iterator[None]:
    known = dict(body.named_modules())

    def hook(name: str) -> Callable[..., None]:
        def listen(module: nn.Module, inputs: object, output: Tensor) -> None:
            # A copy: the ReLU behind a convolution of VGG works in place, and would be heard instead of it.
            heard[name] = output.clone()
            if len(heard) == len(layers):
                raise _Enough

        return listen

    handles = [known[name].register_forward_hook(hook(name)) for name in layers]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def gram(maps: Tensor) -> Tensor:
    """How the channels of a map go together, wherever in the picture they do.

    Args:
        maps: (N, C, H, W).

    Returns:
        (N, C, C), a mean over places.
    """
    flat = maps.flatten(2)
    return flat @ flat.transpose(1, 2) / flat.shape[2]


def variation(pictures: Tensor) -> Tensor:
    """Total variation: the mean squared step from a pixel to its neighbours; of (N, 3, H, W), one number."""
    down = (pictures[..., 1:, :] - pictures[..., :-1, :]).square().mean()
    return down + (pictures[..., 1:] - pictures[..., :-1]).square().mean()


class StyleLoss(nn.Module):
    """How far pictures are from what they should show, and from the manner in which they should show it.

    By default each layer's distance is relative to what it is a distance from: the squared norm of the content's
    activations, and of the style's Gram matrix. Then weights mean the same for every network and every layer, which the
    papers' do not: those hold for Caffe's VGG on pictures of 0..255. `paper=True` gives Gatys' own sums, means of
    squares with 1/C^2 a layer.

    Args:
        listener: The network.
        layers: What of it is content and style.
        style: (1, 3, H, W) in 0..1, the painting.
        style_weight: Of the style against the content, which has 1.
        variation_weight: Of the total variation, which smooths.
        paper: Gatys' own weights of layers.
    """

    def __init__(
        self, listener: Listener, layers: Layers, style: Tensor, *, style_weight: float, variation_weight: float = 0.0,
        paper: bool = False,
    ) -> None:  # fmt: skip
        super().__init__()
        self.listener, self.layers, self.paper = listener, layers, paper
        self.style_weight, self.variation_weight = style_weight, variation_weight
        with torch.no_grad():
            heard = listener(style)
            for number, name in enumerate(layers.style):
                self.register_buffer(f"gram{number}", gram(heard[name]))

    def content_of(self, pictures: Tensor) -> dict[str, Tensor]:
        """What pictures (N, 3, H, W) show: name of a layer to its activations."""
        with torch.no_grad():
            heard = self.listener(pictures)
        return {name: heard[name] for name in self.layers.content}

    def towards(self, content: Mapping[str, Tensor]) -> Callable[[Tensor], dict[str, Tensor]]:
        """The loss of pictures alone, where what they should show is settled."""
        return lambda pictures: self(pictures, content)

    def forward(self, pictures: Tensor, content: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The loss and its parts.

        Args:
            pictures: (N, 3, H, W) in 0..1.
            content: As from `content_of`.

        Returns:
            "loss", "content", "style" and "variation", each a number; only "loss" is weighted.
        """
        heard = self.listener(pictures)
        shown = sum(self._distance(heard[name], wanted, wanted) for name, wanted in content.items()) / len(content)
        manner = torch.zeros((), device=pictures.device)
        for number, name in enumerate(self.layers.style):
            wanted = getattr(self, f"gram{number}")
            own = gram(heard[name])
            weight = 1 / wanted.shape[1] ** 2 if self.paper else 1.0
            manner = manner + weight * self._distance(own, wanted.expand_as(own), wanted)
        manner = manner if self.paper else manner / len(self.layers.style)
        rough = variation(pictures)
        loss = shown + self.style_weight * manner + self.variation_weight * rough
        return {"loss": loss, "content": shown, "style": manner, "variation": rough}

    def _distance(self, own: Tensor, wanted: Tensor, scale: Tensor) -> Tensor:
        apart = F.mse_loss(own, wanted)
        return apart if self.paper else apart / scale.square().mean().clamp_min(1e-12)
