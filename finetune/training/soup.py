"""The mean of several epochs' weights, as long as validation agrees."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

import torch
from safetensors.torch import load_file
from torch import Tensor

from ..features import device_for, run_over
from ..models.network import Network
from ..tasks.base import Task
from ..tasks.metric_names import HIGHER_IS_BETTER
from .crew import waiting_crew
from .offers import Candidate, Surroundings, write_state

if TYPE_CHECKING:
    from .transfer import Lesson


def mean_with(mean: Mapping[str, Tensor], count: int, more: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The mean of `count + 1` weights from that of `count` and one more; what is no floating point stays."""
    return {
        name: torch.lerp(tensor.float(), more[name].float(), 1 / (count + 1)).to(tensor.dtype)
        if tensor.is_floating_point()
        else tensor
        for name, tensor in mean.items()
    }


def greedy_soup(
    network: Network, task: Task, lesson: Lesson, kept: list[Candidate], metric: str, around: Surroundings
) -> Candidate:
    """Adds one epoch's weights after the other, the best first, and leaves out each that makes validation worse.

    The greedy soup of Wortsman et al. 2022 (arXiv 2203.05482) over epochs of one phase. The network then holds it.

    Args:
        network: To measure with.
        task: Says how.
        lesson: Its validation part decides.
        kept: The epochs, the best first.
        metric: What is measured.
        around: Where to compute.

    Returns:
        The first epoch with the weights of the soup in its file; unchanged where no other was taken in.
    """
    sign = 1.0 if HIGHER_IS_BETTER[metric] else -1.0
    pictures, target = lesson.examples.take(lesson.validation), lesson.target[lesson.validation]

    def load(state: Mapping[str, Tensor]) -> None:
        network.load_state_dict({name.removeprefix("network."): tensor for name, tensor in state.items()})

    def score(state: Mapping[str, Tensor]) -> float:
        load(state)
        logits = run_over(
            network, pictures, device=device_for(around.machine.accelerator), crew=waiting_crew(around.machine)
        ).values
        return task.measure(task.answer(torch.from_numpy(logits)), target)[metric]

    soup: dict[str, Tensor] = load_file(kept[0].state)
    best, count = score(soup), 1
    for candidate in kept[1:]:
        tried = mean_with(soup, count, load_file(candidate.state))
        reached = score(tried)
        if sign * reached >= sign * best:
            soup, best, count = tried, reached, count + 1
        candidate.state.unlink(missing_ok=True)
        candidate.state.with_suffix(".json").unlink(missing_ok=True)
    load(soup)
    if count > 1:
        write_state(kept[0].state, soup)
    return replace(kept[0], score=best)
