"""What a run on many devices will be, before there are any: batches, rates and steps, memory and traffic."""

from __future__ import annotations

import math
import tempfile
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from ..data.examples import read_examples
from ..data.splits import split_examples
from ..errors import ConfigError
from ..models.residual import zero_gammas
from ..recipe import Recipe, task_for
from ..tasks.options import Embed
from ..tasks.taxonomy import labels_for
from ..training.dry import Taken, dry_steps
from ..training.machine import Machine, accumulation, batches_an_epoch, scaling, seed_all
from ..training.offers import Surroundings
from ..training.on_pictures import in_epochs
from ..training.phase import Phase
from ..training.shown import plan_rows
from ..training.traffic import Efficiency, efficiency, link_speed, ring_bytes
from .gather import held_out
from .planned import decided, phases_of
from .resolution import suit


@dataclass(frozen=True, kw_only=True)
class Foreseen:
    """One phase of a run on many devices.

    Args:
        row: As the plan of a run shows it.
        batch: Pictures a step in all; 0 for a head on features, which takes no steps.
        steps: Of the whole phase; 0 where the clock decides, or on features.
        rate: Of the head at its height, scaled where the plan scales; None where it is looked for, or on features.
        batches: Whose gradients are added up in a step.
        taken: What a batch takes on one device here; None on features.
        traffic: Bytes that each device sends in a step.
        efficiency: Beside one device; None without the speed of a link.
    """

    row: dict[str, str]
    batch: int = 0
    steps: int = 0
    rate: float | None = None
    batches: int = 1
    taken: Taken | None = None
    traffic: float = 0.0
    efficiency: Efficiency | None = None

    def to_dict(self) -> dict[str, Any]:
        """The same as plain JSON values."""
        return asdict(self)


@dataclass(frozen=True, kw_only=True)
class Forecast:
    """A run on many devices.

    Args:
        world: Devices in all.
        num_nodes: Machines.
        accelerator: What a step was measured on.
        examples: Pictures to train on.
        phases: One after the other.
        reasons: What the data decided, and why.
    """

    world: int
    num_nodes: int
    accelerator: str
    examples: int
    phases: tuple[Foreseen, ...]
    reasons: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """The same as plain JSON values."""
        return asdict(self)


def foresee(recipe: Recipe, *, link: str | None = None) -> Forecast:
    """Reads the examples' table and takes a few steps on made-up pictures; trains nothing, decodes no picture.

    Args:
        recipe: Its plan says for how many devices and nodes; they need not be here.
        link: The speed of the slowest link between two of them, "10Gb" say; None foresees no efficiency.

    Raises:
        FinetuneError: Anything the user can mend.
    """
    recipe.check()
    speed = None if link is None else link_speed(link)
    here = Machine.of(replace(recipe.plan, devices=1, num_nodes=1, batch_size=recipe.plan.batch, effective_batch=None))
    there = _there(recipe, here)
    examples = read_examples(recipe.data, new_classes=isinstance(recipe.task, Embed))
    options = task_for(recipe.task, examples.kind)
    plan, reasons = decided(replace(recipe, task=options), examples)
    plan = replace(plan, batch_size=plan.batch, precision=here.precision)
    names = labels_for(options, examples.kind, examples.targets)
    seed_all(plan.seed)
    task = options.build(names, examples.targets)
    network = recipe.model.build(task.head_outputs)
    if plan.zero_gamma:
        zero_gammas(network)
    phases, deep = phases_of(recipe, plan, network, examples)
    _, why = suit(network, recipe.model, phases, examples)
    splits = split_examples(
        examples, validation=recipe.data.validation, test=recipe.data.test, seed=plan.seed,
        carve=any(phase.on == "pictures" for phase in phases), order=recipe.data.order,
        stretches=recipe.data.stretches, gap=recipe.data.gap, hold_out=held_out(recipe.data, options),
    )  # fmt: skip
    count, targets = len(splits.indices("train")), names.encode(examples.targets)
    rows = plan_rows(network, phases, plan, there, count)
    with tempfile.TemporaryDirectory(prefix="finetune-") as folder:
        around = Surroundings(folder=Path(folder), machine=here)
        found = []
        for phase, row in zip(phases, rows, strict=True):
            if phase.on == "features":
                found.append(Foreseen(row=row))
                continue
            taken = dry_steps(network, task, targets, phase, plan, around)
            found.append(_foreseen(row, phase, replace(recipe, plan=plan), there, count, taken, speed))
    return Forecast(
        world=there.world_size, num_nodes=there.num_nodes, accelerator=here.accelerator, examples=count,
        phases=tuple(found), reasons=(*reasons, *deep, *why),
    )  # fmt: skip


def _there(recipe: Recipe, here: Machine) -> Machine:
    """The machines that are asked for, though they are not here.

    Raises:
        ConfigError: Nobody said how many devices a machine has, and they are not here to be counted.
    """
    devices = recipe.plan.devices
    if isinstance(devices, str):
        if devices == "auto" and recipe.plan.num_nodes > 1:
            raise ConfigError(
                "How many devices each of several nodes has cannot be seen from here. Expected --devices."
            )
        devices = Machine.of(replace(recipe.plan, num_nodes=1, effective_batch=None)).devices
    count = devices if isinstance(devices, int) else len(devices)
    world = count * recipe.plan.num_nodes
    accumulation(recipe.plan, world)
    return replace(here, devices=count, num_nodes=recipe.plan.num_nodes, world_size=world)


def _foreseen(
    row: dict[str, str], phase: Phase, recipe: Recipe, there: Machine, count: int, taken: Taken, speed: float | None
) -> Foreseen:
    plan, world = recipe.plan, there.world_size
    batches = accumulation(plan, world)
    batch = plan.batch * batches * world
    loaded = batches_an_epoch(plan, world, count)
    ran, limit = in_epochs(phase, loaded, accumulate=batches)
    steps = ran.epochs * math.ceil((limit or loaded) / batches)
    traffic = ring_bytes(taken.gradients, world)
    lost = None if speed is None else efficiency(batches * taken.seconds, traffic / speed)
    return Foreseen(
        row=row, batch=batch, steps=0 if plan.time is not None else steps, batches=batches, taken=taken,
        rate=None if phase.lr == "auto" else scaling(plan, world) * phase.lr, traffic=traffic, efficiency=lost,
    )  # fmt: skip
