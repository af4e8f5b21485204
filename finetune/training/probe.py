"""The head of a frozen backbone, fitted to convergence on features."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from ..errors import TrainingError
from ..files import write_tensors
from ..tasks.base import Task

PENALTIES = tuple(10.0**power for power in (-4, -3.5, -3, -2.5, -2, -1.5, -1, -0.5, 0, 0.5, 1))
DEFAULT_PENALTY = 1e-2
FOLDS = 5
RISES = 2
"""How often the held-out loss may rise from its lowest before no further penalty is looked at."""


@dataclass(frozen=True)
class Views:
    """Features of varied versions of the training pictures.

    Args:
        values: (m, ...) float32.
        of: (m,) which of the n training examples each is a version of.
    """

    values: np.ndarray
    of: np.ndarray


@dataclass(frozen=True)
class HeadFit:
    """What fitting a head gave.

    Args:
        penalty: The L2 penalty that was chosen.
        decay: The same penalty as a weight decay of the head's weights, on features as they come; None for a head of
            several layers, where no single number is.
        folds: How many parts of the training examples chose it; 0 where they were too few.
        held_out: (n, K) logits of each training example from a head that was fitted without it; None without folds.
        loss: The training loss at the end.
        views: How many varied versions of each picture it learned from beside the picture itself.
    """

    penalty: float
    decay: float | None
    folds: int
    held_out: np.ndarray | None
    loss: float
    views: int = 0

    def write(self, path: Path) -> dict[str, Any]:
        """Writes what was held out to a file, and gives the rest as JSON values."""
        if self.held_out is not None:
            write_tensors(path, {"held_out": torch.from_numpy(np.ascontiguousarray(self.held_out))})
        found = {"penalty": self.penalty, "decay": self.decay, "folds": self.folds, "loss": self.loss}
        return found | {"views": self.views}

    @classmethod
    def read(cls, path: Path, values: Mapping[str, Any]) -> HeadFit:
        """The inverse of `write`."""
        held_out = load_file(path)["held_out"].numpy() if path.exists() else None
        return cls(**values, held_out=held_out)


def fit_head(
    head: nn.Module,
    features: np.ndarray,
    target: np.ndarray,
    task: Task,
    *,
    groups: Sequence[Any] | None = None,
    views: Views | None = None,
    seed: int = 0,
) -> HeadFit:
    """Fits `head` in place by L-BFGS on all examples, under the L2 penalty that held-out examples prefer.

    The mean loss plus `penalty / 2` times the squared weights of the standardised problem is minimised; the penalty is
    the one with the lowest loss over held-out folds of the training examples themselves, so that no validation
    picture is spent on it. Dropout is off: on a linear head it is a penalty of the same kind (Wager et al. 2013,
    arXiv 1307.1493).

    Args:
        head: Features to logits; its first layer with weights is Linear or Conv2d.
        features: (n, ...) float32.
        target: Encoded targets of the same examples.
        task: Says what the loss is.
        groups: What must not sit on two sides of a fold.
        views: Fitted on beside the examples; an example is held out with its own, and only examples are answered.
        seed: Seeds the folds.

    Raises:
        TrainingError: Features that are not finite.
    """
    n = len(target)
    # An example comes first, its views after all examples.
    of = np.concatenate([np.arange(n), views.of]) if views is not None else np.arange(n)
    stacked = np.concatenate([features, views.values]) if views is not None else features
    x = torch.from_numpy(np.array(stacked, dtype=np.float32))
    y = torch.from_numpy(np.asarray(target)[of])
    if not torch.isfinite(x).all():
        raise TrainingError(
            "The features of the frozen backbone are not finite, so no head can be fitted on them. "
            "Expected weights of this architecture and the preprocessing they were trained with; see --mean and --std."
        )
    shift, scale = _standard(x)
    x.sub_(shift).div_(scale)
    start = copy.deepcopy(head).eval().requires_grad_(True)
    folds = list(stratified_folds(target, groups, seed))
    penalty, held_out = DEFAULT_PENALTY, None
    if folds:
        folds = [(np.flatnonzero(np.isin(of, fit)), held) for fit, held in folds]
        penalty, held_out = _choose(start, x, y, task, folds, n)
    loss = _minimise(start, x, y, task, penalty)
    _unstandardise(start, shift, scale)
    head.load_state_dict(start.state_dict())
    # The penalised weights are those of features divided by `scale`: scale times the head's own.
    decay = penalty * float(scale.square().mean()) if _is_single(head) else None
    return HeadFit(penalty, decay, len(folds), held_out, loss)


def plain_head(width: int, num_outputs: int) -> nn.Linear:
    """A linear head that answers 0 to everything: where a fit begins that depends on no seed."""
    head = nn.Linear(width, num_outputs)
    nn.init.zeros_(head.weight)
    nn.init.zeros_(head.bias)
    return head


def _choose(
    head: nn.Module, x: Tensor, y: Tensor, task: Task, folds: list[tuple[np.ndarray, np.ndarray]], n: int
) -> tuple[float, np.ndarray]:
    """The penalty with the lowest held-out loss over the first n rows, and their held-out logits under it.

    The loss falls towards the best penalty and rises beyond it; where it has risen twice, the rest is not looked at:
    the weakest penalties are the slowest to fit.
    """
    models = [copy.deepcopy(head) for _ in folds]
    best, lowest, logits, risen = DEFAULT_PENALTY, float("inf"), x.new_zeros(0), 0
    # From the strongest penalty down, each fit starts where the last one ended: a few steps instead of many. Two
    # layers go the other way: a strong penalty can bring both to 0, where neither gives the other a gradient.
    for penalty in sorted(PENALTIES, reverse=_is_single(head)):
        answered = []
        for model, (fit, held) in zip(models, folds, strict=True):
            _minimise(model, x[fit], y[fit], task, penalty)
            with torch.no_grad():
                answered.append(model(x[held]))
        out = answered[0].new_zeros(n, answered[0].shape[1])
        for (_, held), answer in zip(folds, answered, strict=True):
            out[held] = answer
        loss = float(task.loss(out, y[:n]))
        if loss < lowest:
            best, lowest, logits, risen = penalty, loss, out, 0
        else:
            risen += 1
        if risen == RISES:
            break
    return best, logits.numpy()


def _is_single(head: nn.Module) -> bool:
    return sum(p.ndim > 1 for p in head.parameters()) == 1


def _minimise(head: nn.Module, x: Tensor, y: Tensor, task: Task, penalty: float) -> float:
    """Runs L-BFGS until the gradient is small; returns the loss without the penalty."""
    parameters = list(head.parameters())
    weights = [p for p in parameters if p.ndim > 1]
    optimizer = torch.optim.LBFGS(
        parameters, max_iter=300, history_size=20, tolerance_grad=1e-5, tolerance_change=1e-9,
        line_search_fn="strong_wolfe",
    )  # fmt: skip
    last = torch.zeros(())

    def closure() -> Tensor:
        nonlocal last
        optimizer.zero_grad()
        last = task.loss(head(x), y)
        total = last + penalty / 2 * torch.stack([w.square().sum() for w in weights]).sum()
        total.backward()  # type: ignore[no-untyped-call]  # torch leaves this one method without hints
        return total

    optimizer.step(closure)  # type: ignore[no-untyped-call]
    return float(last.detach())


def stratified_folds(
    target: np.ndarray, groups: Sequence[Any] | None, seed: int, *, parts: int = FOLDS
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """At most so many folds of the training examples: by class where there are classes, never through a group."""
    from sklearn.model_selection import GroupKFold, KFold, StratifiedGroupKFold, StratifiedKFold

    n = len(target)
    kinds = np.unique(target) if target.ndim == 1 and target.dtype.kind == "i" else None
    units = None
    if groups is not None and any(g is not None for g in groups):
        units = np.array([f"{g}" if g is not None else f"\0{i}" for i, g in enumerate(groups)])
    members = n if units is None else len(np.unique(units))
    if kinds is not None:
        # A class must be seen on both sides of every fold.
        members = min((target == k).sum() if units is None else len(np.unique(units[target == k])) for k in kinds)
    count = int(min(parts, members))
    if count < 2:
        return
    splitter: Any
    if units is None:
        splitter = (StratifiedKFold if kinds is not None else KFold)(count, shuffle=True, random_state=seed)
    elif kinds is not None:
        splitter = StratifiedGroupKFold(count, shuffle=True, random_state=seed)
    else:
        splitter = GroupKFold(count)
    yield from splitter.split(np.zeros(n), target if kinds is not None else None, units)


def _standard(x: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and spread a feature; one that hardly varies here counts as if it varied a tenth as much as most.

    A feature that is silent on a few training pictures and loud on the next one must not decide alone.
    """
    over = (0, *range(2, x.ndim))
    shift = x.mean(dim=over, keepdim=True)
    spread = (x - shift).square().mean(dim=over, keepdim=True).sqrt()
    usual = spread.square().mean().sqrt()
    return shift, spread.clamp_min(0.1 * usual) if usual > 0 else torch.ones_like(spread)


def _unstandardise(head: nn.Module, shift: Tensor, scale: Tensor) -> None:
    """Folds the standardisation into the head's first layer, so that it takes the features as they come."""
    layer = next(m for m in head.modules() if isinstance(m, nn.Linear | nn.Conv2d))
    assert layer.bias is not None  # noqa: S101  # every head of ours is built with one
    with torch.no_grad():
        # Shift and scale are (1, C) or (1, C, 1, 1), as the weights are (K, C) or (K, C, 1, 1).
        layer.weight.div_(scale)
        moved = layer.weight.flatten(1) @ shift.flatten()
        layer.bias.sub_(moved)
