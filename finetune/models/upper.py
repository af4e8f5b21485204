"""A network's own forward pass, entered in the middle."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any, final

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves, tree_map

from .network import Network


@final
class Upper(nn.Module):
    """What a network does from a layer's output on: its own forward pass, entered in the middle.

    The whole forward pass runs in each call, so that all that it decides anew (dropout, depth dropped by chance, norms
    in training mode) it decides here too; a graph that was traced once would have it fixed. Below the entrance
    it runs on tensors without memory (PyTorch's "meta"), and layers there answer with the shape they are known to
    give; so nothing is computed. The layers and parameters are the network's: what learns here, learns there.

    Args:
        network: The whole network.
        at: The name in `network.named_modules()` of the last layer below.
        inputs: The shape of an input of the network without the batch, (C, H, W).
        skipped: Layers below by name, and the shape of their output; how often a batch fits into its first dimension
            is its first number.
    """

    def __init__(
        self, network: Network, *, at: str, inputs: tuple[int, ...], skipped: Mapping[str, tuple[int, ...]]
    ) -> None:
        super().__init__()
        self.network = network
        self.at = at
        self._inputs = inputs
        self._skipped = dict(skipped)

    def forward(self, activations: Tensor) -> Tensor:
        """The features that `Network.features` gives for the pictures whose activations these are.

        Args:
            activations: (N, *) floating point of any width, on the network's device; left as they are.

        Returns:
            As `Network.features`.
        """
        # A copy, since the layer above may write into its input.
        entering = activations.to(self.network.mean.dtype, copy=True)
        ghosts = _Ghosts()

        def enter(*_: Any, **__: Any) -> Tensor:
            ghosts.entered = True
            return entering

        n = len(activations)
        forwards: dict[str, Callable[..., Tensor]] = {name: _ghost(n, s) for name, s in self._skipped.items()}
        with _replaced(self.network, forwards | {self.at: enter}), ghosts:
            return self.network.features(torch.empty((n, *self._inputs), dtype=torch.uint8, device="meta"))


class _Ghosts(TorchFunctionMode):
    """Until the entrance, what has a tensor without memory among its arguments takes all of them as such."""

    entered = False

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if not self.entered and any(isinstance(a, Tensor) and a.is_meta for a in tree_leaves((args, kwargs))):
            args, kwargs = tree_map(_as_ghost, (args, kwargs))
        return func(*args, **kwargs)


def _as_ghost(value: Any) -> Any:
    return value.detach().to("meta") if isinstance(value, Tensor) and not value.is_meta else value


def _ghost(n: int, shape: tuple[int, ...]) -> Callable[..., Tensor]:
    """A forward pass that gives a shape and nothing in it."""

    def forward(*_: Any, **__: Any) -> Tensor:
        return torch.empty((n * shape[0], *shape[1:]), device="meta")

    return forward


@contextlib.contextmanager
def _replaced(network: nn.Module, forwards: Mapping[str, Callable[..., Tensor]]) -> Iterator[None]:
    """Other forward passes for some layers, for a while."""
    layers = [(vars(network.get_submodule(name)), forward) for name, forward in forwards.items()]
    own = [attributes.get("forward") for attributes, _ in layers]
    for attributes, forward in layers:
        attributes["forward"] = forward
    try:
        yield
    finally:
        for (attributes, _), before in zip(layers, own, strict=True):
            if before is None:
                del attributes["forward"]
            else:
                attributes["forward"] = before
