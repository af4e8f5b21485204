"""torchvision's classification networks and their published weights."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, final

import torchvision.models
from torch import Tensor, nn
from torchvision.models.vision_transformer import VisionTransformer, interpolate_embeddings

from ..errors import WeightsError
from ..types import ImageSpec
from . import hub
from .library import Choice, Library, stated_license
from .weights import load, read_state

# Their second and third classifiers only help to train from random numbers; published weights hold them all the same.
_AUXILIARY = {"inception_v3": ("AuxLogits",), "googlenet": ("aux1", "aux2")}
# The names of DenseNet's layers before torch 0.4, which its published weights still carry.
_OLD_DENSENET = re.compile(r"^(.*denselayer\d+\.(?:norm|relu|conv))\.([12]\.)")


@final
class Torchvision(Library):
    """Every network of `torchvision.models` that classifies."""

    def names(self) -> list[str]:
        """Architectures."""
        names: list[str] = torchvision.models.list_models(module=torchvision.models)
        return names

    def find(self, name: str) -> tuple[str, str] | None:
        """Splits NAME[.TAG], `resnet50.IMAGENET1K_V1` say; None for an unknown architecture or tag."""
        architecture, _, tag = name.partition(".")
        if architecture not in self.names():
            return None
        known = torchvision.models.get_model_weights(architecture).__members__
        return (architecture, tag) if not tag or tag in known else None

    def spec(self, architecture: str, tag: str, *, published: bool, in_chans: int | None) -> ImageSpec:
        """From the weights' own transforms; those of the first published ones for a bare file."""
        preset = _weights(architecture, tag or ("" if published else "IMAGENET1K_V1")).transforms()
        crop, resize = preset.crop_size[0], preset.resize_size[0]
        mean, std = tuple(preset.mean), tuple(preset.std)
        if architecture in _AUXILIARY and in_chans not in (None, 3):
            mean, std = (0.5,) * 3, (0.5,) * 3  # see `constructor_args`: the conversion inside, done outside
        return ImageSpec(
            size=(crop, crop),
            mean=mean,
            std=std,
            interpolation="bicubic" if preset.interpolation.value == "bicubic" else "bilinear",
            crop_pct=min(crop / resize, 1.0),
        )

    def license(self, architecture: str, tag: str) -> str | None:
        """From the weights' own metadata, which names one for a few: the code's BSD licence is not theirs."""
        return stated_license(_weights(architecture, tag).meta.get("license"))

    def construct(self, choice: Choice, num_outputs: int) -> nn.Module:
        """Builds with random weights and without auxiliary heads."""
        origin = choice.origin
        options = {**constructor_args(origin.architecture, origin.args, choice.spec, resized=choice.resized)}
        if origin.architecture in _AUXILIARY:
            options.setdefault("init_weights", False)  # its truncated normal is slow, and BatchNorm makes up for it
        module: nn.Module = torchvision.models.get_model(
            origin.architecture, num_classes=num_outputs, weights=None, **options
        )
        if choice.spec.in_chans != 3:
            _replace_input(module, self.input_layers(module)[0], choice.spec.in_chans)
        return module

    def pretrained(self, choice: Choice, num_outputs: int) -> nn.Module:
        """Builds with the published weights."""
        architecture, what = choice.origin.architecture, choice.origin.id
        path = hub.from_address(_weights(architecture, choice.tag).url, what=what)
        module = self.construct(choice, num_outputs)
        fresh = self.classifiers(module)
        state = self.fit_state(read_state(path), module, choice, fresh)
        try:
            load(module, state, what=what, fresh=fresh, dropped=self.dropped(choice))
        except WeightsError as error:
            raise WeightsError(f"{error}\nThey are the published ones, read from {path}.") from error
        return module

    def classifiers(self, module: nn.Module) -> tuple[str, ...]:
        """The last linear layer; SqueezeNet's is a convolution."""
        if isinstance(module, torchvision.models.SqueezeNet):
            return ("classifier.1",)
        return ([name for name, layer in module.named_modules() if isinstance(layer, nn.Linear)][-1],)

    def without_classifiers(self, module: nn.Module) -> nn.Module:
        """No network here has several once the auxiliary ones are off."""
        return module

    def input_layers(self, module: nn.Module) -> tuple[str, ...]:
        """The first convolution."""
        return (next(name for name, layer in module.named_modules() if isinstance(layer, nn.Conv2d)),)

    def dropped(self, choice: Choice) -> tuple[str, ...]:
        """The auxiliary heads of Inception v3 and GoogLeNet."""
        return _AUXILIARY.get(choice.origin.architecture, ())

    def translate(self, state: dict[str, Tensor], module: nn.Module, choice: Choice) -> dict[str, Tensor]:
        """DenseNet's old names, and position embeddings for another input size."""
        if isinstance(module, torchvision.models.DenseNet):
            return {_OLD_DENSENET.sub(r"\1\2", name): tensor for name, tensor in state.items()}
        if isinstance(module, VisionTransformer) and "encoder.pos_embedding" in state:
            resized: dict[str, Tensor] = interpolate_embeddings(module.image_size, module.patch_size, dict(state))
            return resized
        return state


def constructor_args(architecture: str, args: Mapping[str, Any], spec: ImageSpec, *, resized: bool) -> dict[str, Any]:
    """What torchvision's constructor is given beside the number of classes.

    Args:
        architecture: The constructor's name.
        args: What the user passes through.
        spec: What the network will be shown.
        resized: Whether its size is not the weights' own.
    """
    options: dict[str, Any] = {}
    if architecture in _AUXILIARY:
        # The published weights were trained on [-1, 1] and convert from ImageNet's normalisation inside, which only
        # three channels can be.
        options = {"aux_logits": False, "transform_input": spec.in_chans == 3}
    if resized and architecture.startswith("vit_"):
        options["image_size"] = spec.size[0]
    if resized and architecture.startswith("maxvit"):
        options["input_size"] = spec.size
    return {**options, **args}


def _weights(architecture: str, tag: str) -> Any:
    return torchvision.models.get_model_weights(architecture)[tag or "DEFAULT"]


def _replace_input(module: nn.Module, name: str, in_chans: int) -> None:
    old = module.get_submodule(name)
    if not isinstance(old, nn.Conv2d) or old.groups != 1:
        raise ValueError(f"its first layer cannot be made for {in_chans} channels")
    new = nn.Conv2d(
        in_chans, old.out_channels, old.kernel_size, old.stride, old.padding, old.dilation,  # type: ignore[arg-type]
        bias=old.bias is not None, padding_mode=old.padding_mode,
    )  # fmt: skip
    module.set_submodule(name, new)
