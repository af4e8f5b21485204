"""From a backbone's name and what is changed about it to a network with a fresh head."""

from __future__ import annotations

import copy
import fnmatch
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal, cast

import torch
from torch import nn

from ..errors import ConfigError, WeightsError, listing, nearest
from ..types import ImageSpec
from .heads import build_head
from .library import Choice, Library, adapt_spec, spec_from_words
from .network import Network, Origin
from .options import Backbone, Head, LinearHead
from .weights import load, read_config, read_state

LibraryName = Literal["timm", "torchvision", "finetune"]
LIBRARIES: tuple[LibraryName, ...] = ("timm", "torchvision", "finetune")
"""In the order in which a bare name is looked for."""

# Options of ours that constructors take too: given twice, one of them would be believed silently.
_OURS = {"num_classes": "the labels", "in_chans": "in_chans", "pretrained": "weights", "weights": "weights"}

# Arguments that make a constructor read a file, ask a network or give something else than a network that classifies.
# A saved model's config could come from anywhere, and timm opens whatever `checkpoint_path` names.
REFUSED = frozenset(_OURS) | {
    *("checkpoint_path", "cache_dir", "pretrained_cfg", "pretrained_cfg_overlay", "pretrained_strict"),
    *("pretrained_filter_fn", "pretrained_model_args", "model_name", "model_cfg", "weights_backbone", "progress"),
    *("features_only", "feature_cfg", "feature_cls", "out_indices", "scriptable", "exportable", "no_jit"),
}


@dataclass(frozen=True, kw_only=True)
class Resolved:
    """A backbone's name, understood.

    Args:
        id: `timm/resnet50.a1_in1k`: with the tag where the weights are the library's own.
        library: Whose it is; "module" for a person's own.
        architecture: The constructor's name.
        tag: Which published weights were named; empty for the library's own choice.
    """

    id: str
    library: Literal["timm", "torchvision", "finetune", "module"]
    architecture: str
    tag: str = ""


@cache
def library(name: LibraryName) -> Library:
    """One source of networks, imported when first asked for."""
    if name == "timm":
        from .timm_library import Timm

        return Timm()
    if name == "torchvision":
        from .torchvision_library import Torchvision

        return Torchvision()
    from .small import Small

    return Small()


def list_backbones(pattern: str = "*", *, license: str | None = None) -> list[str]:
    """Every backbone that can be named.

    Args:
        pattern: Shell wildcards for the whole id, or for the part behind the library's name.
        license: "permissive", or licences by name with commas: leaves out those whose published weights have another
            one, or none that is stated.

    Returns:
        Ids, timm's first, each library's in alphabetical order.
    """
    if license is not None:
        from .licenses import licensed_backbones

        return list(licensed_backbones(pattern, license))
    ids = [f"{name}/{known}" for name in LIBRARIES for known in library(name).names()]
    return [i for i in ids if fnmatch.fnmatch(i, pattern) or fnmatch.fnmatch(i.partition("/")[2], pattern)]


def resolve(backbone: Backbone) -> Resolved:
    """Understands a backbone's name; nothing is built, read or downloaded.

    Raises:
        ConfigError: No such backbone, with the nearest names; or arguments that are given another way.
    """
    if backbone.module is not None:
        return Resolved(id=backbone.name, library="module", architecture=type(backbone.module).__name__)
    for name, instead in _OURS.items():
        if name in backbone.args:
            raise ConfigError(f"The backbone argument {name} is set by {instead}; leave it out.")
    refused = sorted(REFUSED & set(backbone.args))
    if refused:
        raise ConfigError(
            f"The backbone argument {refused[0]} is not passed through; leave it out. Weights of your own come with "
            "--weights FILE."
        )
    prefix, slash, rest = backbone.name.partition("/")
    if slash and prefix not in LIBRARIES:
        raise ConfigError(
            f'Unknown library "{prefix}" in the backbone "{backbone.name}". Expected one of {", ".join(LIBRARIES)}, as '
            "in timm/resnet50."
        )
    for name in (cast(LibraryName, prefix),) if slash else LIBRARIES:
        found = library(name).find(rest if slash else backbone.name)
        if found:
            return _resolved(name, *found, published=backbone.weights == "default")
    raise ConfigError(_unknown(backbone.name))


def build(backbone: Backbone, num_outputs: int) -> Network:
    """Builds the network, loads its weights and gives it a fresh head.

    Args:
        backbone: What the user said.
        num_outputs: K, the number of outputs; of an embedding that of its proxies, where 0 is possible.

    Raises:
        ConfigError: No such backbone, or arguments, channels or an input size that it cannot be built with.
        WeightsError: Weights that cannot be had or do not fit.
    """
    resolved = resolve(backbone)
    if resolved.library == "module":
        return _own(backbone, resolved, num_outputs)
    source = library(resolved.library)
    config = read_config(backbone.weights) if backbone.weights not in ("default", "none") else None
    choice = _choose(backbone, resolved, source, config or {})
    if backbone.weights == "default":
        try:
            module = source.pretrained(choice, max(1, num_outputs))
        except (TypeError, ValueError, AssertionError, AttributeError) as error:
            raise _wrong_arguments(choice, error) from error
    else:
        module = construct(source, choice, max(1, num_outputs))
    if backbone.weights not in ("default", "none"):
        fresh = source.classifiers(module)
        state = source.fit_state(read_state(backbone.weights), module, choice, fresh)
        load(module, state, what=choice.origin.id, fresh=fresh, dropped=source.dropped(choice))
    network = assemble(source, module, choice, backbone.head, num_outputs)
    if backbone.args or backbone.input_size or network.pre_logits:
        check_forward(network)
    return network


def construct(source: Library, choice: Choice, num_outputs: int) -> nn.Module:
    """Builds the library's network with random weights.

    Raises:
        ConfigError: Arguments that its constructor does not take.
    """
    try:
        return source.construct(choice, num_outputs)
    except (TypeError, ValueError, AssertionError, AttributeError, RuntimeError) as error:
        raise _wrong_arguments(choice, error) from error


def assemble(source: Library, module: nn.Module, choice: Choice, head: Head, num_outputs: int) -> Network:
    """Takes a library's network apart into body and head, the head fresh."""
    paths = source.classifiers(module)
    if len(paths) == 1:
        return _split(module, paths[0], choice.origin, choice.spec, head, num_outputs)
    # Two or more classifiers (distilled networks, CrossViT, VOLO), of which a saved model could not keep one; or none.
    # The head is ours, on what the network hands to its own.
    body = source.without_classifiers(module)
    width = _width(body, choice.spec, choice.origin.id, pre_logits=True)
    return Network(
        body, build_head(head, width, num_outputs), origin=choice.origin, spec=choice.spec, head_path=None,
        pre_logits=True,
    )  # fmt: skip


def check_forward(network: Network) -> None:
    """Runs one black picture through: the one sure way to know that a size or an argument is possible.

    Raises:
        ConfigError: It is not.
    """
    training = network.training
    height, width = network.spec.size
    try:
        with torch.inference_mode():
            network.eval()(torch.zeros(1, network.spec.in_chans, height, width))
    except (RuntimeError, ValueError, AssertionError, IndexError, TypeError) as error:
        raise ConfigError(
            f"{network.id} cannot look at pictures of {height} x {width} pixels and {network.spec.in_chans} channels "
            f"as it was asked for: {_first_line(error)}. Leave out input_size and the backbone arguments, or give "
            "others."
        ) from error
    network.train(training)


def _resolved(name: LibraryName, architecture: str, tag: str, *, published: bool) -> Resolved:
    shown = tag
    if name == "timm" and published and not tag:
        from .timm_library import Timm

        shown = Timm().published_tag(architecture)
    return Resolved(
        id=f"{name}/{architecture}.{shown}" if shown else f"{name}/{architecture}",
        library=name, architecture=architecture, tag=tag,
    )  # fmt: skip


def _unknown(name: str) -> str:
    prefix, slash, rest = name.partition("/")
    known = list_backbones(f"{prefix}/*" if slash else "*")
    bare = {i.partition("/")[2] for i in known}
    architecture, dot, tag = (rest if slash else name).partition(".")
    tags = sorted(b.partition(".")[2] for b in bare if b.startswith(f"{architecture}."))
    if dot and architecture in bare:
        expected = f" It has {listing(tags, 5)}." if tags else " It has no tags."
        return f'The backbone {architecture} has no weights tagged "{tag}".{expected}'
    close = nearest(architecture.lower(), {b.partition(".")[0] for b in bare})
    return f'There is no backbone "{name}".{close} `finetune backbones PATTERN` lists them.'


def _choose(backbone: Backbone, resolved: Resolved, source: Library, config: Mapping[str, Any]) -> Choice:
    """Settles what the network is built with: the user's words, then the weights' own, then the library's."""
    made_for = config.get("architecture", resolved.architecture)
    if made_for != resolved.architecture:
        raise WeightsError(
            f"The folder {Path(backbone.weights)} holds weights of {made_for}, not of {resolved.architecture}. Name "
            f"{made_for} as the backbone."
        )
    kept = {k: v for k, v in config.get("model_args", {}).items() if k not in REFUSED | {"img_size"}}
    args = {**kept, **backbone.args}
    own = source.spec(
        resolved.architecture, resolved.tag, published=backbone.weights == "default", in_chans=backbone.in_chans
    )
    spec = spec_from_words(config["pretrained_cfg"]) if isinstance(config.get("pretrained_cfg"), dict) else own
    side = backbone.input_size or args.get("img_size")
    spec = adapt_spec(
        spec, in_chans=backbone.in_chans, mean=backbone.mean, std=backbone.std,
        size=side if isinstance(side, int) else None, crop=backbone.crop,
    )  # fmt: skip
    origin = Origin(id=resolved.id, library=resolved.library, architecture=resolved.architecture, args=args)
    return Choice(origin=origin, tag=resolved.tag, spec=spec, resized=spec.size != own.size)


def _split(module: nn.Module, path: str, origin: Origin, spec: ImageSpec, head: Head, num_outputs: int) -> Network:
    """Replaces one classifier by `Identity` and puts a fresh head behind."""
    layer = module.get_submodule(path)
    if isinstance(layer, nn.Linear):
        width = layer.in_features
    elif isinstance(layer, nn.Conv2d) and layer.kernel_size == (1, 1):
        width = layer.in_channels
    else:
        module.set_submodule(path, nn.Identity())
        width = _width(module, spec, origin.id, pre_logits=False)
        return Network(module, build_head(head, width, num_outputs), origin=origin, spec=spec, head_path=None)
    module.set_submodule(path, nn.Identity())
    # A classifier without bias has no place for our head, which has one.
    native = isinstance(head, LinearHead) and layer.bias is not None
    on_map = native and origin.library == "torchvision" and origin.architecture.startswith("squeezenet")
    if on_map:
        module = _before_map_head(module)
    built = build_head(head, width, num_outputs, on_map=on_map)
    return Network(
        module, built, origin=origin, spec=spec, head_path=path if native else None,
        head_shape=tuple(layer.weight.shape) if native else None,
    )  # fmt: skip


def _before_map_head(module: nn.Module) -> nn.Module:
    """SqueezeNet up to the map that its classifier sees, under the same names."""
    # The ReLU between its convolution and the pooling belongs to the head. Its own forward flattens the map, a plain
    # sequence does not.
    features, dropout = module.get_submodule("features"), module.get_submodule("classifier.0")
    return nn.Sequential(OrderedDict(features=features, classifier=nn.Sequential(dropout)))


def _own(backbone: Backbone, resolved: Resolved, num_outputs: int) -> Network:
    """A person's own module: copied, since a second fit would find its classifier gone."""
    module, path = copy.deepcopy(backbone.module), str(backbone.args["head"])
    layers = dict(module.named_modules())
    if not path or path not in layers:
        raise ConfigError(f'{resolved.architecture} has no layer "{path}" to replace.{nearest(path, layers)}')
    spec = adapt_spec(
        ImageSpec(size=(1, 1), mean=(0.5,) * 3, std=(0.5,) * 3, crop_pct=1.0), in_chans=backbone.in_chans,
        mean=backbone.mean, std=backbone.std, size=backbone.input_size, crop=backbone.crop,
    )  # fmt: skip
    origin = Origin(id=resolved.id, library="module", architecture=resolved.architecture, args=dict(backbone.args))
    network = _split(module, path, origin, spec, backbone.head, num_outputs)
    check_forward(network)
    return network


def _width(body: nn.Module, spec: ImageSpec, what: str, *, pre_logits: bool) -> int:
    """The number of features, found with one black picture."""
    probe = Network(
        body, nn.Identity(), origin=Origin(id=what, library="module", architecture="", args={}), spec=spec,
        head_path=None, pre_logits=pre_logits,
    )  # fmt: skip
    training = body.training
    try:
        with torch.inference_mode():
            features = probe.eval().features(torch.zeros(1, spec.in_chans, *spec.size))
    except (RuntimeError, ValueError, AssertionError, IndexError, TypeError, AttributeError) as error:
        raise ConfigError(f"{what} gives no features to put a head on: {_first_line(error)}.") from error
    body.train(training)
    return features.shape[1]


def _wrong_arguments(choice: Choice, error: Exception) -> ConfigError:
    given = ", ".join(f"{k}={v}" for k, v in choice.origin.args.items()) or "none"
    return ConfigError(
        f"{choice.origin.id} cannot be built for {choice.spec.in_chans} channels and {choice.spec.size[0]} pixels with "
        f"these arguments of its own: {given}. Its constructor says: {_first_line(error)}."
    )


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0].rstrip(".") or type(error).__name__
