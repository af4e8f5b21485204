"""Which stages learn, and what stays exactly as it was."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence

from torch import nn
from torch.nn.modules.batchnorm import _NormBase

from ..errors import ConfigError, nearest
from ..types import Stage


def learning_stages(
    module: nn.Module, stages: Sequence[Stage], learns: str | tuple[str, ...], added: Sequence[str] = ()
) -> tuple[Stage, ...]:
    """What a phase moves, as stages that hold nothing else; the last stage is the head.

    Args:
        module: Whose parameters the stages name.
        stages: From input to head.
        learns: As in `Phase`.
        added: The parameters of adapters.

    Raises:
        ConfigError: A stage that the network does not have.
    """
    if learns == "all":
        return tuple(stages)
    if learns == "head":
        return (stages[-1],)
    if learns in ("adapters", "bias-norm"):
        slight = {name for name, parameter in module.named_parameters() if parameter.ndim <= 1}
        slight = slight if learns == "bias-norm" else set(added)
        kept = (Stage(s.name, tuple(name for name in s.parameters if name in slight)) for s in stages[:-1])
        return (*(stage for stage in kept if stage.parameters), stages[-1])
    names = [stage.name for stage in stages]
    wanted = (learns,) if isinstance(learns, str) else learns
    for name in wanted:
        if name not in names:
            raise ConfigError(
                f'The network has no stage "{name}" to train. Its stages are {", ".join(names)}.' + nearest(name, names)
            )
    return tuple(stage for stage in stages if stage.name in wanted)


def freeze_except(module: nn.Module, learning: Sequence[Stage]) -> None:
    """Lets the parameters of these stages of `module` learn, and no others."""
    learns = {name for stage in learning for name in stage.parameters}
    for name, parameter in module.named_parameters():
        parameter.requires_grad_(name in learns)


def frozen_norms(module: nn.Module, norms: str) -> list[nn.Module]:
    """The normalisation layers whose running statistics must not move.

    Args:
        module: A network of which some parameters are frozen already.
        norms: "frozen" for all of them; "train" for those alone of whose layer nothing learns.
    """
    layers = [m for m in module.modules() if isinstance(m, _NormBase) and m.running_mean is not None]
    if norms == "frozen":
        return list(layers)
    some_frozen = not all(p.requires_grad for p in module.parameters())
    kept: list[nn.Module] = []
    for layer in layers:
        own = list(layer.parameters(recurse=False))
        # A layer without parameters of its own cannot say whether it learns: where anything is frozen, so is it.
        if some_frozen if not own else not any(p.requires_grad for p in own):
            kept.append(layer)
    return kept


def frozen_drops(module: nn.Module) -> list[nn.Module]:
    """The layers that drop something by chance inside of frozen blocks, where there is nothing to make harder.

    Such a layer has no parameters: it belongs to the nearest layer around it that has. Frozen blocks then always
    give the same, so that what they give can be computed once. Where that layer holds all that is frozen, dropout in it
    may be meant for the head above, and stays.

    Args:
        module: A network of which some parameters are frozen already.
    """
    named = dict(module.named_modules())
    all_frozen = sum(not p.requires_grad for p in module.parameters())
    found = []
    for name, layer in named.items():
        if not any(word in type(layer).__name__ for word in ("Drop", "StochasticDepth")):
            continue
        around = name
        while around and not list(named[around].parameters()):
            around = around.rpartition(".")[0]
        flags = [p.requires_grad for p in named[around].parameters()]
        if not any(flags) and len(flags) < all_frozen:
            found.append(layer)
    return found


@contextlib.contextmanager
def frozen(module: nn.Module) -> Iterator[nn.Module]:
    """Freezes a module for a while: no gradient, no moving statistics; afterwards it is as it was before.

    >>> import finetune as ft, torch
    >>> network = torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.BatchNorm1d(3), torch.nn.Linear(3, 2))
    >>> with ft.frozen(network[:2]):
    ...     network(torch.ones(5, 4)).sum().backward()
    >>> [name for name, parameter in network.named_parameters() if parameter.grad is not None]
    ['2.weight', '2.bias']
    >>> network[1].training, float(network[1].running_mean.sum())
    (True, 0.0)

    Args:
        module: Any network or part of one, `network.body` say. It is put in evaluation mode, so that dropout and
            batch statistics are off too.
    """
    learned = [p.requires_grad for p in module.parameters()]
    trained = [(m, m.training) for m in module.modules()]
    module.requires_grad_(False).eval()
    try:
        yield module
    finally:
        for parameter, flag in zip(module.parameters(), learned, strict=True):
            parameter.requires_grad_(flag)
        for part, flag in trained:
            part.training = flag
