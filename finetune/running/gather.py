"""What a run learns from and with: the examples, the network, and every picture read once."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np

from ..crew import Alone
from ..data.columns import check_columns
from ..data.copies import Pair, clusters, exact_copies, known_copies
from ..data.examples import Examples, read_examples
from ..data.labels import Labels
from ..data.leaks import PairLike
from ..data.looks import Looks, Onlooker, scan_by
from ..data.options import Data
from ..data.order import beyond_gap, moments
from ..data.readers import without_unreadable
from ..features import Values, device_for, features
from ..folder import RECIPE, write_json
from ..model import Model, load
from ..models.network import Network
from ..models.options import Backbone
from ..models.recompute import check_recomputable
from ..models.residual import zero_gammas
from ..models.weights import read_config
from ..recipe import Recipe, TaskOptions, task_for
from ..report.printed import Talk
from ..saved import versions
from ..tasks.base import Task
from ..tasks.options import Embed
from ..tasks.taxonomy import labels_for, told_merged
from ..training.crew import crew_of, waiting_crew
from ..training.freeze import learning_stages
from ..training.loggers import chosen
from ..training.machine import Machine, accumulation, seed_all
from ..training.memory import decide_batch
from ..training.offers import Surroundings
from ..training.phase import Phase
from ..training.plan import Plan
from ..training.teaching import Teacher
from .planned import decided, phases_of
from .resolution import suit

LARGE = 8_192  # pictures a step up to which linear scaling held (Goyal et al. 2017)


@dataclass(frozen=True, kw_only=True)
class Material:
    """What a run learns from and with, before anybody decides which examples are learned from.

    Args:
        recipe: With all that the examples and the machine decided.
        asked: As it is recorded, with what the machine decided alone.
        machine: The devices.
        examples: Those whose pictures can be read.
        names: The classes or labels of all of them.
        network: As it was loaded, with a fresh head.
        phases: What will happen to it.
        features: Of all examples under this network, where a phase needs them.
        notes: What was inferred and left out.
        pairs: Rows of `examples` that show one picture.
        clusters: (N,) int64, equal for examples that pairs connect; None where nobody looked.
        reasons: What the data decided of the plan, and why, a line each.
        teacher: Whose answers count beside the targets.
        looks: What the pictures look like, an entry an example; None where nobody looked.
    """

    recipe: Recipe
    asked: Recipe
    machine: Machine
    examples: Examples
    names: Labels
    network: Network
    phases: tuple[Phase, ...]
    features: Values | None
    notes: tuple[str, ...]
    pairs: tuple[PairLike, ...] = ()
    clusters: np.ndarray | None = None
    reasons: tuple[str, ...] = ()
    teacher: Teacher | None = None
    looks: Looks | None = None

    @property
    def options(self) -> TaskOptions:
        """What is said of the task; its kind is known since the targets are."""
        assert self.recipe.task is not None  # noqa: S101
        return self.recipe.task


def gather(recipe: Recipe, machine: Machine, folder: Path, talk: Talk) -> Material:
    """The examples, the network, and each picture read once; recipe.json is written on the way."""
    chosen(recipe.plan.log)
    taught_by = _load_teacher(recipe.plan.teacher)
    # Before anything slow, so that a run which is killed can go on; with the task, once that is known, again.
    write_recipe(folder, replace(recipe, plan=machine.recorded(recipe.plan)), machine)
    # The examples, as a table; no picture is opened yet.
    examples = read_examples(recipe.data, new_classes=isinstance(recipe.task, Embed))
    check_columns(examples, recipe.data.by)
    options = task_for(recipe.task, examples.kind)
    asked = replace(recipe, task=options, plan=machine.recorded(recipe.plan))
    write_recipe(folder, asked, machine)
    # What the data decides is not recorded: with another method it would be decided otherwise.
    plan, reasons = decided(asked, examples)
    recipe = replace(asked, plan=plan)
    names = labels_for(options, examples.kind, examples.targets)
    task = options.build(names, examples.targets)
    task.check_monitor(recipe.plan.monitor)
    if recipe.data.order is not None:
        moments(examples, recipe.data.order)

    # The network, with a fresh head as wide as the labels.
    seed_all(recipe.plan.seed)
    network = recipe.model.build(task.head_outputs)
    if plan.zero_gamma:
        zero_gammas(network)
    phases, deep = phases_of(asked, plan, network, examples)
    for phase in phases:
        learning_stages(network, network.stages, phase.learns)
    teacher = Teacher(taught_by.network, taught_by.task.labels, names) if taught_by is not None else None
    side, why = suit(network, recipe.model, phases, examples)
    if side is not None:
        # Recorded: what is kept of this run sees pictures of this size, whatever is asked of it later.
        recipe, asked = (replace(r, model=replace(r.model, input_size=side)) for r in (recipe, asked))
        write_recipe(folder, asked, machine)
    plan, measured = _fitted(network, task, names.encode(examples.targets), phases, plan, folder, machine)
    recipe = replace(recipe, plan=plan)
    if asked.plan.batch_size != plan.batch_size:
        asked = replace(asked, plan=replace(asked.plan, batch_size=plan.batch_size))
        write_recipe(folder, asked, machine)

    # Every picture is read once: for its features where a phase needs them, else to know that it can be read.
    examples, known, looks, skipped = _read_all(examples, network, recipe, phases, machine, talk)

    # Copies of one picture give each other away.
    values = None if known is None else known.values.reshape(len(known.values), -1)
    pairs = find_pairs(examples, looks, recipe.data, features=values, in_chans=network.spec.in_chans, talk=talk)
    notes = (*_of_weights(recipe.model), *examples.notes, *told_merged(names, examples.targets), *skipped)
    return Material(
        recipe=recipe, asked=asked, machine=machine, examples=examples, names=names, network=network, phases=phases,
        features=known, notes=(*notes, *told_pairs(pairs)), pairs=tuple(pairs),
        clusters=joined(examples, pairs, recipe.data), reasons=(*reasons, *deep, *why, *measured), teacher=teacher,
        looks=looks,
    )  # fmt: skip


def again(material: Material, recipe: Recipe) -> Material:
    """The same examples and the same network as it was loaded, for another task or plan; nothing is read again.

    Args:
        material: Gathered before; its network has not been trained.
        recipe: With the same data and the same model.
    """
    machine, examples, network = material.machine, material.examples, copy.deepcopy(material.network)
    asked = replace(recipe, model=material.asked.model, task=task_for(recipe.task, examples.kind),
                    plan=machine.recorded(recipe.plan))  # fmt: skip
    plan, reasons = decided(asked, examples)
    phases, deep = phases_of(asked, plan, network, examples)
    known, taught_by = material.features, _load_teacher(plan.teacher)
    if known is None and any(phase.on == "features" for phase in phases):
        known = features(network, examples, batch_size=plan.batch, device=device_for(machine.accelerator),
                         crew=crew_of(machine))  # fmt: skip
    teacher = Teacher(taught_by.network, taught_by.task.labels, material.names) if taught_by is not None else None
    return replace(
        material, recipe=replace(asked, plan=plan), asked=asked, network=network, phases=phases, features=known,
        reasons=(*reasons, *deep), teacher=teacher,
    )  # fmt: skip


def _fitted(
    network: Network, task: Task, targets: np.ndarray, phases: tuple[Phase, ...], plan: Plan, folder: Path,
    machine: Machine,
) -> tuple[Plan, tuple[str, ...]]:  # fmt: skip
    """The plan as this network and this machine can carry it out, and a line for each thing that follows from them.

    Raises:
        ConfigError: Activations cannot be computed again.
    """
    told = []
    if machine.num_nodes > 1 and plan.cache in ("auto", "ram") and plan.moves:
        plan = replace(plan, cache="off")
        told.append("pictures are read anew in each epoch: other machines do not see what this one keeps in memory")
    if plan.grad_checkpointing and plan.moves:
        check_recomputable(network)
    if plan.compile and plan.moves:
        from ..training.compiling import why_not

        if wanting := why_not(machine.accelerator):
            plan = replace(plan, compile=False)
            told.append(f"nothing is compiled, since that cannot be had here: {wanting}")
    if plan.moves and (line := chosen(plan.log)[1]) is not None:
        told.append(line)
    if plan.batch_size == "auto":
        around = Surroundings(folder=folder, machine=machine)
        size = decide_batch(network, task, targets, phases, plan, around)
        plan = replace(plan, batch_size=size)
        accumulation(plan, machine.world_size)
        told.append(f"batch size {size}: " + ("usual on a CPU" if machine.accelerator == "cpu" else "as memory allows"))
    pictures = plan.batch * accumulation(plan, machine.world_size) * machine.world_size
    if pictures > LARGE and plan.moves and plan.optimizer not in ("lars", "lamb"):
        told.append(
            f"{pictures:,} pictures a step: beyond {LARGE:,} others report to need a rate for each layer, as "
            "--optimizer lars and lamb have"
        )
    return plan, tuple(told)


def held_out(data: Data, options: TaskOptions) -> Literal["pictures", "classes", "classes if enough"]:
    """What the parts that are not learned from are made of, as `split_examples` takes it."""
    if data.hold_out != "auto":
        return data.hold_out
    return "classes if enough" if isinstance(options, Embed) and data.order is None else "pictures"


def _load_teacher(folder: str | None) -> Model | None:
    """The run that a plan names as its teacher.

    Raises:
        RunFolderError: There is none.
    """
    return load(folder) if folder is not None else None


def write_recipe(folder: Path, recipe: Recipe, machine: Machine) -> None:
    """Writes recipe.json: what was asked for, and what the machine decided."""
    write_json(folder / RECIPE, {"format": 1, "recipe": recipe.to_dict(), "world_size": machine.world_size,
                                 "strategy": machine.strategy, "versions": versions()})  # fmt: skip


def _read_all(
    examples: Examples, network: Network, recipe: Recipe, phases: tuple[Phase, ...], machine: Machine, talk: Talk
) -> tuple[Examples, Values | None, Looks | None, tuple[str, ...]]:
    """Features or a plain reading of all pictures; those that cannot be read stop the run or are left out."""
    known = None
    onlooker = Onlooker(examples, in_chans=network.spec.in_chans) if recipe.data.copies != "ignore" else None
    with talk.bar("reading pictures", len(examples)) as moved:
        if any(phase.on == "features" for phase in phases) or isinstance(recipe.task, Embed):
            # Of an embedding they are what the frozen backbone makes of it, beside which it is judged.
            known = features(network, examples, batch_size=recipe.plan.batch, progress=moved,
                             device=device_for(machine.accelerator), also=onlooker, crew=crew_of(machine))  # fmt: skip
            errors = known.errors
        else:
            errors = scan_by(waiting_crew(machine) or Alone(), device_for(machine.accelerator), examples,
                             in_chans=network.spec.in_chans, progress=moved, also=onlooker)  # fmt: skip
    looks = onlooker.looks(errors=errors) if onlooker is not None else None
    if not errors:
        return examples, known, looks, ()
    if looks is not None:
        looks = looks.take([row for row in range(len(examples)) if row not in errors])
    examples, note = without_unreadable(examples, errors, recipe.data.on_corrupt)
    if known is not None:
        known = Values(known.values, np.arange(len(examples)), {})
    return examples, known, looks, (note,) if note else ()


def find_pairs(
    examples: Examples,
    looks: Looks | None,
    data: Data,
    *,
    features: np.ndarray | None = None,
    in_chans: int,
    talk: Talk,
) -> list[Pair]:
    """Which pictures are copies of each other, as far as `data` asks for it.

    Args:
        examples: N examples that can be read.
        looks: What their pictures look like; None where nobody looked.
        data: Says what counts as a copy.
        features: (N, D) of a backbone, which propose pairs too.
        in_chans: Channels of the pictures.
        talk: Shows how far it is.
    """
    if looks is None:
        return []
    if data.copies == "exact":
        return exact_copies(looks)
    # Twice as many: a picture is made ready, and then laid over others.
    with talk.bar("looking for copies", 2 * len(examples)) as moved:
        return known_copies(examples, looks, features=features, in_chans=in_chans, progress=moved)


def _of_weights(backbone: Backbone) -> tuple[str, ...]:
    """What must be known of where the weights come from."""
    if backbone.module is not None or backbone.weights == "default":
        return ()
    if backbone.weights == "none":
        return ("The backbone starts from random numbers, as weights=none asks.",)
    if read_config(backbone.weights) is not None or None not in (backbone.mean, backbone.std):
        return ()
    return (
        f"{Path(backbone.weights).name} does not say how its pictures were prepared: mean and std are those usual for "
        f"{backbone.name}. Others, which many files need, are given with --mean and --std.",
    )


def joined(examples: Examples, pairs: Sequence[Pair], data: Data) -> np.ndarray:
    """(N,) int64, equal for examples that pairs keep together; in a sequence only those that are far apart do."""
    kept = pairs
    if data.stretches is not None and data.order is not None:
        kept = beyond_gap(examples, pairs, order=data.order, gap=data.gap)
    return clusters(kept, len(examples))


def told_pairs(pairs: Sequence[Pair]) -> tuple[str, ...]:
    """What a person is told of copies."""
    if not pairs:
        return ()
    exact = sum(pair.kind == "exact" for pair in pairs)
    return (
        f"{len(pairs)} pairs of pictures are copies of each other ({exact} to the pixel); what this run divides keeps "
        "each on one side. `finetune check` shows them.",
    )
