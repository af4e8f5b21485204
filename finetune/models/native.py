"""A network as the folder that timm's hub layout describes, and back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from torch import Tensor

from ..errors import WeightsError
from ..types import ImageSpec
from .backbones import LIBRARIES, REFUSED, assemble, construct, library
from .library import CROPS_OF_TIMM, Choice
from .network import Network, Origin
from .options import Backbone
from .weights import load


def config(network: Network, names: Sequence[str]) -> dict[str, Any]:
    """What `config.json` says beside a `model.safetensors` that holds `network.native_state()`.

    For a timm network it is timm's own layout, so that `timm.create_model("local-dir:FOLDER", pretrained=True)` gives
    the same logits. For torchvision's, `torchvision.models.get_model(architecture, num_classes=num_classes, **args)`
    takes the state strictly, where the pictures have three channels.

    Args:
        network: What is saved.
        names: The names of the outputs, in order; empty for a number.
    """
    origin, spec = network.origin, network.spec
    num_classes = len(network.head.weight) if network.head_path is not None else 0  # type: ignore[arg-type]
    result: dict[str, Any] = {
        "architecture": origin.architecture,
        "num_classes": num_classes,
        "num_features": _num_features(network),
        "pretrained_cfg": _preprocessing(network, num_classes),
        "library": origin.library,
        "id": origin.id,
    }
    if names:
        result["label_names"] = list(names)
    if origin.library == "timm":
        traits = getattr(network.body, "pretrained_cfg", {})
        fixed = bool(traits.get("fixed_input_size")) and not origin.args.get("dynamic_img_size")
        size = {"img_size": list(spec.size)} if fixed else {}
        channels = {"in_chans": spec.in_chans} if spec.in_chans != 3 else {}
        result["model_args"] = {**size, **channels, **origin.args}
        result["pretrained_cfg"]["fixed_input_size"] = fixed
    else:
        result["model_args"] = dict(origin.args)
    if origin.library == "torchvision":
        from .torchvision_library import constructor_args  # seconds of import, which no other library needs

        result["args"] = constructor_args(origin.architecture, origin.args, spec, resized=True)
    return result


def from_saved(
    config: Mapping[str, Any], backbone: Backbone, spec: ImageSpec, num_outputs: int, state: Mapping[str, Tensor],
    head_state: Mapping[str, Tensor] | None = None,
) -> Network:  # fmt: skip
    """Builds a network from what `config`, `native_state` and `head_state` gave; no hub is asked.

    Args:
        config: As from `config`.
        backbone: The options it was made with: the arguments and the head, and a network of one's own, are taken.
        spec: What it wants to see.
        num_outputs: K, the number of outputs; 0 for an embedding, whose proxies are not kept.
        state: As from `Network.native_state`.
        head_state: As from `Network.head_state`.

    Raises:
        WeightsError: The parts do not fit each other, a network of one's own is missing, or an argument or a name
            would have the library read files or ask a hub.
    """
    network = _bare(config, backbone, spec, num_outputs)
    body, head = dict(state), dict(head_state or {})
    if network.head_path is not None:
        prefix = f"{network.head_path}."
        head = {name.removeprefix(prefix): body.pop(name) for name in list(body) if name.startswith(prefix)}
        own = network.head.weight
        if "weight" in head and head["weight"].numel() == own.numel():  # type: ignore[operator]
            head["weight"] = head["weight"].reshape(own.shape)  # type: ignore[arg-type]
    load(network.body, body, what=network.id)
    load(network.head, head, what=f"the head of {network.id}")
    return network


def _bare(config: Mapping[str, Any], backbone: Backbone, spec: ImageSpec, num_outputs: int) -> Network:
    """The network with random weights."""
    if config["library"] not in LIBRARIES:
        if backbone.module is None:
            raise WeightsError(
                f"This model was made from a network of one's own, {config['architecture']}, which no library can "
                "build. Give that network as module=, or the file of the recipe that made it as recipe=, --recipe FILE."
            )
        own = replace(
            backbone, in_chans=spec.in_chans, mean=spec.mean, std=spec.std, input_size=spec.size[0],
            crop=spec.crop_mode,
            args={**config["model_args"]},
        )  # fmt: skip
        return own.build(num_outputs)
    # `config` writes in_chans for timm's sake, and nothing else of these.
    refused = sorted(REFUSED & {*backbone.args} | (REFUSED - {"in_chans"}) & {*config["model_args"]})
    if refused:
        raise WeightsError(
            f"The saved model {config['id']} has the argument {refused[0]}, which no model is saved with: was it "
            "edited? Get the folder again from whoever made it."
        )
    origin = Origin(
        id=config["id"], library=config["library"], architecture=config["architecture"], args=dict(backbone.args)
    )
    source = library(config["library"])
    if source.find(origin.architecture) is None:  # timm would take hf-hub:NAME and local-dir:FOLDER too
        raise WeightsError(
            f"The saved model names the architecture {origin.architecture}, which {origin.library} does not have: was "
            "it edited, or made with another version of that library?"
        )
    # The tag only chooses defaults that the size and the arguments override; a library may forget one.
    found = source.find(origin.id.partition("/")[2])
    choice = Choice(origin=origin, tag=found[1] if found else "", spec=spec, resized=True)
    return assemble(source, construct(source, choice, max(1, num_outputs)), choice, backbone.head, num_outputs)


def _preprocessing(network: Network, num_classes: int) -> dict[str, Any]:
    spec = network.spec
    traits: Mapping[str, Any] = getattr(network.body, "pretrained_cfg", {})
    return {
        "custom_load": False,
        "input_size": [spec.in_chans, *spec.size],
        "interpolation": spec.interpolation,
        "crop_pct": spec.crop_pct,
        "crop_mode": next(theirs for theirs, ours in CROPS_OF_TIMM.items() if ours == spec.crop_mode),
        "mean": list(spec.mean),
        "std": list(spec.std),
        "num_classes": num_classes,
        "pool_size": None,
        # Older timm adapts the first layer whenever the channels are not three, though these weights are adapted.
        "first_conv": traits.get("first_conv") if spec.in_chans == 3 else None,
        "classifier": network.head_path if network.head_path is not None else traits.get("classifier"),
    }


def _num_features(network: Network) -> int | None:
    head = network.head
    first = next((part for name, part in head.named_children() if name in ("hidden", "projection")), head)
    width = getattr(first, "weight", None)
    return int(width.shape[1]) if width is not None else None
