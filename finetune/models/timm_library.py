"""timm's networks and their published weights."""

from __future__ import annotations

import dataclasses
import functools
import sys
from typing import Any, final

import timm
import timm.models
from torch import Tensor, nn

from ..errors import WeightsError
from ..types import ImageSpec
from . import hub
from .library import Choice, Library, spec_from_words, stated_license
from .weights import fits, read_state


@final
class Timm(Library):
    """Every network of `timm.list_models()`."""

    def names(self) -> list[str]:
        """Architectures, and ARCHITECTURE.TAG for each published set of weights."""
        return sorted({*timm.list_models(), *timm.list_models(pretrained=True)})

    def find(self, name: str) -> tuple[str, str] | None:
        """Splits NAME[.TAG]; None for an unknown architecture or tag."""
        architecture, _, tag = name.partition(".")
        if not timm.is_model(architecture):
            return None
        try:
            if tag and timm.models.get_pretrained_cfg(name, allow_unregistered=False) is None:
                return None
        except RuntimeError:
            return None
        return architecture, tag

    def spec(self, architecture: str, tag: str, *, published: bool, in_chans: int | None) -> ImageSpec:
        """From timm's `pretrained_cfg`, the same for a bare file."""
        cfg = self._cfg(architecture, tag)
        return spec_from_words(dataclasses.asdict(cfg) if cfg else {})

    def published_tag(self, architecture: str) -> str:
        """The tag of the weights that timm takes when none is named; empty where it has none."""
        cfg = self._cfg(architecture, "")
        return (cfg.tag or "") if cfg and cfg.has_weights else ""

    def license(self, architecture: str, tag: str) -> str | None:
        """From timm's `pretrained_cfg`."""
        cfg = self._cfg(architecture, tag)
        return stated_license(cfg.license) if cfg is not None and cfg.has_weights else None

    def construct(self, choice: Choice, num_outputs: int) -> nn.Module:
        """Builds with random weights."""
        return self._create(choice, pretrained=False, num_classes=num_outputs)

    def pretrained(self, choice: Choice, num_outputs: int) -> nn.Module:
        """Builds with the published weights, through timm's own conversions, strictly."""
        cfg = self._cfg(choice.origin.architecture, choice.tag)
        if cfg is None or not cfg.has_weights:
            raise WeightsError(
                f"timm has no pretrained weights for {choice.origin.id}. Choose a backbone that has, give a file with "
                "--weights FILE, or --weights none to start from random numbers."
            )
        path = self._fetch(cfg, choice.origin.id)
        # Weights in another framework's format are read by the network's own method; all others by ours, which
        # unpickles no code whatever the version of timm.
        source = {"file": str(path)} if cfg.custom_load else {"state_dict": read_state(path)}
        overlay = {**source, "custom_load": cfg.custom_load}
        try:
            module = self._create(choice, pretrained=True, pretrained_cfg_overlay=overlay)
        except RuntimeError as error:
            raise WeightsError(
                f"The published weights in {path} do not fit {choice.origin.id} as it was asked for: {error}\n"
                "Leave out backbone arguments that change the shape of layers, or delete the file if it is damaged."
            ) from error
        module.pretrained_cfg.pop("state_dict", None)  # type: ignore[union-attr, operator]  # all weights once more
        if isinstance(_layer(module, self.classifiers(module)), nn.Identity):  # published without a classifier
            module.reset_classifier(num_outputs)  # type: ignore[operator]
        return module

    def classifiers(self, module: nn.Module) -> tuple[str, ...]:
        """From the network's `pretrained_cfg`; encoders of other models name one that they do not have."""
        named: Any = module.pretrained_cfg.get("classifier")  # type: ignore[union-attr, operator]
        layers = dict(module.named_modules())
        return tuple(name for name in ([named] if isinstance(named, str) else named or ()) if name in layers)

    def without_classifiers(self, module: nn.Module) -> nn.Module:
        """Through timm's `reset_classifier`."""
        if self.classifiers(module):
            module.reset_classifier(0)  # type: ignore[operator]
        return module

    def input_layers(self, module: nn.Module) -> tuple[str, ...]:
        """From the network's `pretrained_cfg`."""
        named: Any = module.pretrained_cfg.get("first_conv")  # type: ignore[union-attr, operator]
        return (named,) if isinstance(named, str) else tuple(named or ())

    def dropped(self, choice: Choice) -> tuple[str, ...]:
        """Inception v3's second classifier, which torchvision's weights, ported to timm, still hold."""
        return ("AuxLogits",) if choice.origin.architecture == "inception_v3" else ()

    def translate(self, state: dict[str, Tensor], module: nn.Module, choice: Choice) -> dict[str, Tensor]:
        """Through the `checkpoint_filter_fn` that timm keeps beside most networks with foreign ancestors."""
        home = sys.modules[timm.models.model_entrypoint(choice.origin.architecture).__module__]
        translate = getattr(home, "checkpoint_filter_fn", None)
        if translate is None:
            return state
        try:
            translated: dict[str, Tensor] = translate(dict(state), module)
        except Exception:  # it trips over keys of another architecture, which the strict load will then list
            return state
        return translated if fits(module, translated, self.classifiers(module), self.dropped(choice)) else state

    def _create(self, choice: Choice, **options: Any) -> nn.Module:
        origin, spec = choice.origin, choice.spec
        cfg = self._cfg(origin.architecture, choice.tag)
        fixed = cfg is not None and cfg.fixed_input_size and not origin.args.get("dynamic_img_size")
        if choice.resized and fixed:
            options["img_size"] = spec.size
        if spec.in_chans != 3:
            options["in_chans"] = spec.in_chans
        name = f"{origin.architecture}.{choice.tag}" if choice.tag else origin.architecture
        module: nn.Module = timm.create_model(name, **{**options, **origin.args})
        return module

    def _fetch(self, cfg: Any, what: str) -> Any:
        if cfg.hf_hub_id:
            name = cfg.hf_hub_filename or "pytorch_model.bin"
            safe = {"pytorch_model.bin": "model.safetensors"}.get(name, name.removesuffix(".bin") + ".safetensors")
            names = (safe, name) if name.endswith(".bin") else (name,)
            return hub.from_hugging_face(cfg.hf_hub_id, names, what=what)
        address, name = cfg.url if isinstance(cfg.url, (tuple, list)) else (cfg.url, None)
        return hub.from_address(address, what=what, file_name=name)

    @staticmethod
    @functools.cache
    def _cfg(architecture: str, tag: str) -> Any:
        return timm.models.get_pretrained_cfg(f"{architecture}.{tag}" if tag else architecture)


def _layer(module: nn.Module, names: tuple[str, ...]) -> nn.Module | None:
    return module.get_submodule(names[0]) if len(names) == 1 else None
