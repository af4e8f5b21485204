"""The runs of layers of a network, from input to answer, that are frozen or given a rate as one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import nn

from ..types import Stage

# Containers of layers that follow each other without being a stage themselves, in torchvision's networks.
_SEQUENCES = ("features", "trunk_output", "blocks", "layers", "classifier", "encoder", "encoder.layers")


def stages_of(body: nn.Module, head: nn.Module) -> tuple[Stage, ...]:
    """Divides a network into stages.

    Args:
        body: The backbone, without a classifier.
        head: The head, the last stage.

    Returns:
        The stages from input to answer; together they hold every parameter of both exactly once, under the names
        `body.*` and `head.*`.
    """
    names = [name for name, _ in body.named_parameters()]
    groups = _timm_groups(body, names) if callable(getattr(body, "group_matcher", None)) else _tree_groups(names)
    groups = _join_norms(body, groups)
    stages = [
        Stage(name, tuple(f"body.{p}" for p in group)) for name, group in zip(_names(groups), groups, strict=True)
    ]
    return (*stages, Stage("head", tuple(f"head.{name}" for name, _ in head.named_parameters())))


def _timm_groups(body: Any, names: Sequence[str]) -> list[list[str]]:
    """The stages that timm itself uses for layer-wise rates."""
    from timm.models import group_parameters

    try:
        matcher = body.group_matcher(coarse=True)
    except AssertionError:  # a few networks only know their blocks
        matcher = body.group_matcher(coarse=False)
    groups: dict[int, list[str]] = group_parameters(body, matcher)
    ordered = [groups[i] for i in sorted(groups) if groups[i]]
    # A matcher that forgets a parameter would leave it without rate and never frozen.
    forgotten = sorted(set(names) - {name for group in ordered for name in group})
    return [*ordered, forgotten] if forgotten else ordered


def _tree_groups(names: Sequence[str]) -> list[list[str]]:
    """One stage a layer or block, in the order in which the network registers them."""
    groups: dict[str, list[str]] = {}
    bare: list[str] = []
    for name in names:
        parts = name.split(".")[:-1]
        depth = 1
        while depth <= len(parts) and ".".join(parts[:depth]) in _SEQUENCES:
            depth += 1
        if depth > len(parts):  # a class token or a position embedding: part of no layer
            bare.append(name)
        else:
            groups.setdefault(".".join(parts[:depth]), []).append(name)
    ordered = list(groups.values())
    if bare and ordered:
        return [bare + ordered[0], *ordered[1:]]
    return [bare, *ordered] if bare else ordered


def _join_norms(body: nn.Module, groups: Sequence[list[str]]) -> list[list[str]]:
    """Puts normalisation layers that stand alone into the stage whose output they normalise."""
    joined: list[list[str]] = []
    for group in groups:
        layers = [body.get_submodule(name.rpartition(".")[0]) for name in group]
        if joined and all("Norm" in type(layer).__name__ for layer in layers):
            joined[-1] = joined[-1] + group
        else:
            joined.append(list(group))
    return joined


def _names(groups: Sequence[list[str]]) -> list[str]:
    """Names each stage by the shortest path that is its own; the first is the stem where it has no path of its own."""
    names: list[str] = []
    for index, group in enumerate(groups):
        others = [name for i, other in enumerate(groups) if i != index for name in other]
        own = [name.rpartition(".")[0] or name for name in group]
        tops = {path.partition(".")[0] for path in own}
        name = "stem" if index == 0 and len(tops) > 1 else _own_path(own[0], names, others)
        while name in names:
            name += "_"
        names.append(name)
    return names


def _own_path(path: str, taken: Sequence[str], others: Sequence[str]) -> str:
    """The shortest beginning of a layer's path that no other stage lies under."""
    parts = path.split(".")
    for depth in range(1, len(parts) + 1):
        name = ".".join(parts[:depth])
        if name not in taken and not any(other.startswith(f"{name}.") for other in others):
            return name
    return path
