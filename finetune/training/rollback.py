"""What becomes of a phase whose loss breaks: it stops, or goes back to where it was sound and on at a lower rate."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TypeVar

from torch import nn

from ..errors import NotFiniteError
from .ledger import count_rows, keep_rows
from .phase import Phase
from .resuming import Standing

T = TypeVar("T")
TIMES = 3
LOWER = 0.5


def rolled_back(
    fit: Callable[[Phase, Standing], T], phase: Phase, standing: Standing, module: nn.Module, *,
    say: Callable[[str], None], note: Callable[[Phase], None],
) -> T:  # fmt: skip
    """Fits a phase; where its loss breaks, again from the last checkpoint at half the rate, up to three times.

    Args:
        fit: Fits the phase that it is given, from the checkpoint that it is given.
        phase: With its rate as a number.
        standing: Where its checkpoints are, and the one to begin with.
        module: Gets back the weights that it has now where there is no checkpoint yet.
        say: Is told of each return, with the step and the files.
        note: Is told the phase with its new rate, before it is fitted.

    Raises:
        NotFiniteError: It broke once more.
    """
    start = {name: tensor.detach().cpu().clone() for name, tensor in module.state_dict().items()}
    rows = count_rows(standing.table)
    for _ in range(TIMES):
        try:
            return fit(phase, standing)
        except NotFiniteError as error:
            after = standing.checkpoints.last(say)
            phase = replace(phase, lr=float(phase.lr) * LOWER)
            where = f"step {after.facts['step']}" if after is not None else "its start"
            say(f"  {error}")
            say(f'  phase "{phase.name}" goes back to {where}, and on at a rate of {phase.lr:g}')
            note(phase)
            standing = replace(standing, after=after)
            keep_rows(standing.table, after.facts["rows"] if after is not None else rows)
            module.load_state_dict(start)
    return fit(phase, standing)
