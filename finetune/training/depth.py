"""How deep a run goes: the lowest stages, which a few pictures have nothing to teach."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from ..models.network import Network

FEW = 5_000
"""Examples up to which the lowest stages stay as they are; of more nothing was measured."""

LITTLE = 0.015
"""Share of a backbone's weights up to which its lowest stages do.

Edges and colours are those of all photographs (Yosinski et al. 2014, arXiv 1411.1792). Few weights hold them, and their
maps are the largest, so that gradients through them take most of the time; docs/methods.md has what it costs and saves.
"""


def lowest_to_move(network: Network) -> str:
    """The first stage above the lowest ones, which together hold at most `LITTLE` of the weights of the backbone."""
    sizes = {name: parameter.numel() for name, parameter in network.named_parameters()}
    held = {stage.name: sum(sizes[name] for name in stage.parameters) for stage in network.stages[:-1]}
    # Of AlexNet's and VGG's weights most lie in layers that a head follows, which say nothing of how deep stages are.
    whole = sum(size for (name, size), stage in zip(held.items(), network.stages, strict=False)
                if not _is_linear(network, stage.parameters))  # fmt: skip
    below = 0
    for name, size in held.items():
        below += size
        if below > LITTLE * whole:
            return name
    return network.stages[0].name


def _is_linear(network: Network, parameters: Sequence[str]) -> bool:
    layers = {name.rpartition(".")[0] for name in parameters}
    return all(isinstance(network.get_submodule(layer), nn.Linear) for layer in layers)
