"""Where a phase moves upper stages alone but sees other pictures in each epoch: the stages below, as fast as they go.

What is frozen needs no gradient, and computes as in evaluation: its norms fold into its convolutions, and few pictures
at a time go through it, whose maps then stay in the processor's cache. Where pictures come again as they were, below.py
keeps what the stages make of them instead.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from torch import Tensor

from ..models.cut import Cut, cut, made_up
from ..models.fast import ENOUGH, fast_lower
from ..models.network import Network
from ..types import Stage
from .phase import Phase


@dataclass(frozen=True)
class FrozenPart:
    """The way to a network's features, of which the frozen part below a cut is computed by a way of its own.

    Args:
        divided: Where the frozen part ends.
        lower: What crosses the cut.
    """

    divided: Cut
    lower: Callable[[Tensor], Tensor]

    def __call__(self, inputs: Tensor) -> Tensor:
        """As `Network.features`, with gradients for what learns."""
        features: Tensor = self.divided.upper(self.lower(inputs))
        return features


def frozen_part(network: Network, learning: Sequence[Stage], phase: Phase, *, looks: int) -> FrozenPart | None:
    """The frozen part of a network in a phase on pictures, where it can be computed faster than by the network itself.

    Args:
        network: On the device and in the precision in which it learns.
        learning: What the phase moves.
        phase: How it does.
        looks: How many pictures the phase will look at.

    Returns:
        None where nothing is frozen below, or no faster way is worth building: on accelerators there is none.
    """
    # A cut is for pictures of one size, and the phase validates at the network's own.
    if phase.learns in ("all", "adapters", "bias-norm") or phase.size or looks < ENOUGH or network.mean.is_cuda:
        return None
    pictures = made_up(network)
    divided = cut(network, learning, pictures)
    lower = fast_lower(divided, pictures, count=looks) if divided is not None else None
    return FrozenPart(divided, lower) if divided is not None and lower is not None else None
