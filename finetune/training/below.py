"""Where a phase moves upper stages alone: what the stages below make of each picture, computed once."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ..activations import Activations, activations
from ..data.workers import PictureLoader
from ..features import device_for
from ..models.cut import Cut, cut, made_up
from ..models.network import Network
from ..types import Stage
from .crew import crew_of
from .offers import Surroundings
from .phase import Phase
from .plan import Plan

if TYPE_CHECKING:
    from .on_pictures import Turn
    from .transfer import Lesson, Say

LARGEST = 8
"""How many times the bytes of a picture its activations may take: first layers give more, and there is little below."""


@dataclass(frozen=True, kw_only=True)
class Below:
    """What a phase trains on instead of pictures.

    Args:
        divided: Where the network is cut.
        train: Batches of activations to learn from.
        validation: To choose by; None where the part is empty.
    """

    divided: Cut
    train: PictureLoader
    validation: PictureLoader | None


def views_of(plan: Plan, phase: Phase) -> int:
    """Through how many versions of each picture the epochs of a phase go round; 0 where each epoch needs the pictures.

    Without variation that is one, and training sees what it would have seen. Mixing and a teacher are about pictures.
    """
    mixes = bool(plan.mixup or plan.cutmix or phase.teacher or phase.size)
    short = phase.on != "pictures" or (phase.epochs < 2 and not phase.steps)
    # "ram" keeps pictures in memory: whoever says so wants no file on the disk.
    if mixes or short or plan.cache in ("off", "ram") or phase.learns in ("all", "adapters", "bias-norm"):
        return 0
    return 1 if phase.augment == "none" else phase.views


@contextlib.contextmanager
def computed_once(
    network: Network, lesson: Lesson, learning: Sequence[Stage], plan: Plan, phase: Phase, around: Surroundings,
    turn: Turn, say: Say,
) -> Iterator[Below | None]:  # fmt: skip
    """Activations at the deepest frozen stage for a phase that may train on them; None where it may not."""
    views = views_of(plan, phase)
    divided = _divided(network, learning) if views else None
    if divided is None:
        yield None
        return
    seed = plan.seed + turn.index
    rows = {"train": lesson.train, "validation": lesson.validation}
    if phase.augment == "none":  # both parts are pictures as in evaluation, for which one file does
        both = np.sort(np.concatenate([lesson.train, lesson.validation]))
        rows = {"train": both, "validation": both}
    with contextlib.ExitStack() as stack:
        kept: list[Activations | None] = []
        for part in ("train",) if phase.augment == "none" or not len(lesson.validation) else ("train", "validation"):
            varied = {"policy": phase.augment, "views": views} if part == "train" else {}
            made = activations(
                divided, lesson.examples, rows[part], say=say, engine=plan.augment_engine, seed=seed,
                batch_size=plan.batch, workers=around.machine.workers,
                device=device_for(around.machine.accelerator), **varied, crew=crew_of(around.machine),  # type: ignore[arg-type]
            )  # fmt: skip
            kept.append(stack.enter_context(made) if made is not None else None)
        if kept[0] is None or kept[-1] is None:
            yield None
            return
        words: dict[str, Any] = {"batch_size": plan.batch, "sampler": plan.sampler, "seed": seed}
        validation = None
        if len(lesson.validation):
            validation = kept[-1].loader(
                lesson.examples, lesson.target, train=False, indices=lesson.validation, **words)  # fmt: skip
        train = kept[0].loader(lesson.examples, lesson.target, train=True, indices=lesson.train, **words)
        yield Below(divided=divided, train=train, validation=validation)


def _divided(network: Network, learning: Sequence[Stage]) -> Cut | None:
    pictures = made_up(network)
    found = cut(network, learning, pictures)
    small = found is not None and 2 * math.prod(found.shape) <= LARGEST * math.prod(pictures.shape[1:])
    return found if small else None
