"""Residual blocks that change nothing at first."""

from __future__ import annotations

from torch import nn

from ..errors import ConfigError
from .network import Network

LAST = {"BasicBlock": "bn2", "Bottleneck": "bn3"}
"""The last normalisation of a residual block, as timm and torchvision both call it."""
MODULES = ("timm.models.resnet", "torchvision.models.resnet")


def zero_gammas(network: Network) -> int:
    """Sets the scale of the last normalisation of every residual block to 0, so that each passes on what it is given.

    Goyal et al. 2017 (arXiv 1706.02677, section 5.1), for networks that start from random numbers: in weights that have
    learned, the scales are part of what was learned.

    Args:
        network: With fresh weights.

    Returns:
        How many blocks it has.

    Raises:
        ConfigError: It has none of a known kind.
    """
    blocks = [
        block for block in network.body.modules() if type(block).__module__ in MODULES and type(block).__name__ in LAST
    ]
    for block in blocks:
        nn.init.zeros_(block.get_submodule(LAST[type(block).__name__]).weight)  # type: ignore[arg-type]
    if not blocks:
        raise ConfigError(
            f"zero_gamma is for the residual blocks of timm's and torchvision's ResNets, and {network.id} has none. "
            "Leave it out."
        )
    return len(blocks)
