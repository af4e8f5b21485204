"""Activations that are computed twice instead of being kept: less memory, more time."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any, cast

import torch
from torch import nn
from torch.nn.modules.batchnorm import _NormBase
from torch.utils.checkpoint import checkpoint

from ..errors import ConfigError
from .network import Network


@contextlib.contextmanager
def recomputed(network: Network, on: bool = True) -> Iterator[None]:
    """Gradient checkpointing (Chen et al. 2016, arXiv 1604.06174) for a while; gradients are the same.

    timm's networks do it by themselves where they can. Not where they hold running statistics, which would take in
    each batch twice: there, and in other networks, each stage is computed again as a whole, with its statistics held.

    Args:
        network: Is changed for the while; copies made in between do as it does.
        on: Whether to do anything.
    """
    if not on:
        yield
        return
    theirs = _timm_does(network, True)
    ours = [] if theirs else _stage_modules(network)
    for module in ours:
        module.forward = _Recomputed(module)
    try:
        yield
    finally:
        if theirs:
            _timm_does(network, False)
        for module in ours:
            del module.forward


def check_recomputable(network: Network) -> None:
    """Refuses a network that has nothing to compute again.

    Raises:
        ConfigError: None of its stages is a module of its own.
    """
    if _timm_does(network, True):
        _timm_does(network, False)
    elif not _stage_modules(network):
        raise ConfigError(
            f"grad_checkpointing computes a network's stages again, and no stage of {network.id} is a module of its "
            "own. Leave it out; a smaller batch_size with effective_batch saves memory too."
        )


def _timm_does(network: Network, on: bool) -> bool:
    """Switches timm's own checkpointing; False where this network has none that would do."""
    if network.origin.library != "timm" or any(_counts(layer) for layer in network.body.modules()):
        return False
    try:
        cast(Any, network.body).set_grad_checkpointing(on)
    except AssertionError:  # "gradient checkpointing not supported"
        return False
    return True


def _stage_modules(network: Network) -> list[nn.Module]:
    """The modules of the stages below the head, of those that are one; the stem keeps what it computes."""
    names = dict(network.body.named_modules())
    found: list[nn.Module] = []
    for stage in network.stages[:-1]:
        module = names.get(stage.name) if stage.name else None
        if isinstance(module, nn.ModuleList):  # is never called itself
            found += list(module)
        elif module is not None:
            found.append(module)
    return found


def _counts(layer: nn.Module) -> bool:
    return isinstance(layer, _NormBase) and layer.running_mean is not None


class _Recomputed:
    """The forward of a module that keeps nothing but its inputs. Copies of the module get one of their own."""

    def __init__(self, module: nn.Module) -> None:
        self.module = module

    def __call__(self, *inputs: Any, **words: Any) -> Any:
        forward = type(self.module).forward
        if not torch.is_grad_enabled():
            return forward(self.module, *inputs, **words)
        moving = any(_counts(layer) and layer.training for layer in self.module.modules())
        contexts: dict[str, Any] = (
            {"context_fn": lambda: (contextlib.nullcontext(), _still(self.module))} if moving else {}
        )
        return checkpoint(forward, self.module, *inputs, use_reentrant=False, **contexts, **words)


@contextlib.contextmanager
def _still(module: nn.Module) -> Iterator[None]:
    """Running statistics take in a batch once, and not again when it is computed again."""
    layers = [layer for layer in module.modules() if isinstance(layer, _NormBase) and _counts(layer) and layer.training]
    before = [(layer.momentum, layer.num_batches_tracked) for layer in layers]
    counts = [None if count is None else count.clone() for _, count in before]
    for layer in layers:
        layer.momentum = 0.0
    try:
        yield
    finally:
        for layer, (momentum, _), count in zip(layers, before, counts, strict=True):
            layer.momentum = momentum
            if count is not None and layer.num_batches_tracked is not None:
                layer.num_batches_tracked.copy_(count)
