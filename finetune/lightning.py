"""A recipe as ordinary Lightning objects, for a person's own Trainer."""

from __future__ import annotations

import contextlib
import copy
import tempfile
import weakref
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np

from .data.cache import PictureCache
from .data.loaders import make_loader
from .data.splits import Splits
from .errors import ConfigError
from .recipe import Recipe
from .report.printed import Talk
from .running.gather import Material, gather
from .running.run import divide, lesson_of
from .tasks.base import Task
from .tasks.options import Embed
from .training.alone import LoneLearner
from .training.freeze import learning_stages
from .training.machine import Machine
from .training.offers import Surroundings
from .training.on_features import fit_on_features
from .training.phase import Phase
from .training.plan import Plan
from .training.transfer import Lesson


class PictureData(L.LightningDataModule):
    """The loaders of a recipe: the same pictures, split and variation as `ft.fit` would use. Made by `ft.datamodule`.

    Args:
        prepared: What the recipe came to.
    """

    def __init__(self, prepared: _Prepared) -> None:
        super().__init__()
        self.prepared = prepared
        self._open = contextlib.ExitStack()
        weakref.finalize(self, self._open.close)

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of the classes in the order of the outputs; empty for a number."""
        return self.prepared.task.labels.names

    def rows(self, part: str) -> np.ndarray:
        """The rows of the examples in "train", "validation" or "test", (n,) int64."""
        return self.prepared.splits.indices(part)  # type: ignore[arg-type]

    def train_dataloader(self) -> Any:
        """Varied pictures, each once an epoch."""
        return self._loader("train")

    def val_dataloader(self) -> Any:
        """The validation part; no loader where there is none."""
        return self._loader("validation")

    def test_dataloader(self) -> Any:
        """The test part; no loader where there is none."""
        return self._loader("test")

    def teardown(self, stage: str) -> None:
        """Lets go of the pictures that were kept decoded."""
        self._open.close()

    def _loader(self, part: str) -> Any:
        made, rows, train = self.prepared, self.rows(part), part == "train"
        if not len(rows):
            return []
        plan, phase, lesson, spec = made.plan, made.phase, made.lesson, made.material.network.spec
        if train and phase.size:
            spec = replace(spec, size=(phase.size, phase.size))
        most = self.trainer.max_epochs if self.trainer is not None else None
        epochs = most if most not in (None, -1) else phase.epochs
        cache = self._open.enter_context(PictureCache(plan.cache, lesson.examples, spec, say=lambda line: None))
        return make_loader(
            lesson.examples, lesson.target, spec, indices=rows, batch_size=plan.batch, train=train,
            policy=phase.augment, engine=plan.augment_engine, negate=plan.mirror_target == "negate",
            sampler=plan.sampler, seed=plan.seed + made.index, workers=made.material.machine.workers,
            kept=cache.kept(phase.augment if train else "none", rows, epochs=int(epochs or 1)),
            skip=made.recipe.data.on_corrupt == "skip", loaders=2 * made.material.machine.world_size,
        )  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class _Prepared:
    """What a recipe came to: examples read, divided and encoded, and the one phase that is left."""

    recipe: Recipe
    material: Material
    splits: Splits
    lesson: Lesson
    task: Task
    plan: Plan
    probe: Phase | None
    phase: Phase
    index: int


def datamodule(recipe: Recipe) -> PictureData:
    """The loaders of a recipe for a person's own Trainer, or for any loop.

    Examples are read, checked, searched for copies and divided as `ft.fit` does it: groups and copies on one side. The
    loaders give `Batch(inputs, target, row)`: pictures (N, C, H, W) as the network of `ft.lightning_module` takes them.
    On several devices they share pictures out among ranks by themselves: say `Trainer(use_distributed_sampler=False)`.
    Where train and test are given and no validation part, one is carved from train, and nothing fits on both together.

    Args:
        recipe: As for `lightning_module`.

    Raises:
        ConfigError: A method that is not one phase on pictures, or what `ft.fit` refuses too.
        DataError: Examples that cannot be used as they are.
    """
    return PictureData(_prepare(recipe))


def lightning_module(recipe: Recipe, data: PictureData | None = None) -> LoneLearner:
    """The network of a recipe as an ordinary LightningModule, for a person's own Trainer.

    ```python
    recipe = ft.Recipe(data=ft.Data(source="pets/"), model=ft.Backbone("resnet50"), plan=ft.Plan(method="lp-ft"))
    data = ft.datamodule(recipe)
    module = ft.lightning_module(recipe, data)
    best = ModelCheckpoint(monitor="validation_accuracy", mode="max")
    L.Trainer(max_epochs=10, callbacks=[best]).fit(module, datamodule=data)
    ```

    A Trainer fits once, so one phase on pictures is what there may be: "full"; and "lp-ft", "l2-sp", "surgical",
    "bias-norm" and "distill", whose probe is fitted here already, so that the module starts from its head. "auto" is
    "lp-ft", or "full" for random weights and for the task embed. What does not learn is frozen, normalisation keeps its
    statistics, and where the recipe averages weights (`ema`), the average is validated and is in place at the end: the
    module names the callbacks for it itself. Devices, precision and length are the Trainer's; rates run over its
    length. It has no further parts of `ft.fit`: no choice among epochs (that is a ModelCheckpoint's), and no settling
    between the probe and what moved.

    Args:
        recipe: The examples, the network, the task and the plan.
        data: What `ft.datamodule` made of the same recipe, so that nothing is read twice.

    Returns:
        The module; `module.network` is the network, and `train_loss`, `validation_...` and `test_...` are logged.

    Raises:
        ConfigError: A method that is not one phase on pictures, with `ft.fit` or `ft.run_phases` as the way; or data
            of another recipe.
        DataError: Examples that cannot be used as they are.
        WeightsError: Weights that cannot be had or do not fit.
    """
    if data is not None and data.prepared.recipe.to_dict() != recipe.to_dict():
        raise ConfigError("The data are of another recipe. Expected what ft.datamodule made of this one.")
    made = data.prepared if data is not None else _prepare(recipe)
    network, decay = copy.deepcopy(made.material.network), None
    if made.probe is not None:
        around = Surroundings(folder=Path(), machine=made.material.machine)
        fitted = fit_on_features(network, made.task, made.lesson, made.plan, made.probe, around, lambda line: None)
        decay = fitted.decay
    return LoneLearner(
        network, made.task, made.phase, made.plan, seed=made.plan.seed + made.index, head_decay=decay,
        learning=learning_stages(network, network.stages, made.phase.learns),
        teacher=made.material.teacher if made.phase.teacher else None,
    )  # fmt: skip


def _prepare(recipe: Recipe) -> _Prepared:
    """Reads and divides the examples; all that can be refused before is."""
    plan, pretrained = recipe.plan, recipe.model.weights != "none" or recipe.model.module is not None
    if plan.method == "auto" and not plan.phases and not plan.stage and not plan.teacher:
        probes = pretrained and not isinstance(recipe.task, Embed)
        plan = replace(plan, method="lp-ft" if probes else "full")
    if recipe.data.folds is not None:
        raise ConfigError("folds are several runs, and a Trainer fits once. Expected ft.fit, or no folds.")
    # Stages are known with the network; that there are two below the head is enough to count phases.
    recipe.check()
    unread = replace(plan, freeze_to=None)
    _only(plan, unread.build(pretrained=pretrained, stages=("lower", plan.stage or "upper", "head")))
    # The Trainer says where the steps are taken; what is done here is done once.
    machine = Machine.of(replace(plan, devices=1, num_nodes=1, strategy="auto"))
    with tempfile.TemporaryDirectory(prefix="finetune-") as folder:
        material = gather(replace(recipe, plan=plan), machine, Path(folder), Talk(None))
        splits = divide(material, Path(folder), None)
    lesson, task = lesson_of(material, splits)
    index = _only(material.recipe.plan, material.phases)
    return _Prepared(
        recipe=recipe, material=material, splits=splits, lesson=lesson, task=task, plan=material.recipe.plan,
        probe=material.phases[0] if index else None, phase=material.phases[index], index=index,
    )  # fmt: skip


def _only(plan: Plan, phases: Sequence[Phase]) -> int:
    """Which of the phases is the one on pictures.

    Raises:
        ConfigError: There is none or there are several, or it needs what only `ft.fit` does around it.
    """
    on_pictures = [number for number, phase in enumerate(phases) if phase.on == "pictures"]
    named, wrong = plan.method if not plan.phases else "of these phases", []
    if not on_pictures:
        wrong.append(
            f'The method "{named}" fits the head on features to convergence, and leaves a Trainer nothing to do.'
        )
    elif len(on_pictures) > 1:
        names = ", ".join(f'"{phases[number].name}"' for number in on_pictures)
        wrong.append(
            f'The method "{named}" takes steps on pictures in {len(on_pictures)} phases ({names}), and a Trainer fits '
            "once: what is unfrozen within a fit lets ranks drift apart, and rates would run on as if nothing were."
        )
    else:
        phase = phases[on_pictures[0]]
        if phase.learns == "adapters":
            wrong.append("Adapters are merged into the weights at the end of a phase, which a Trainer does not do.")
        if phase.lr == "auto":
            wrong.append('lr="auto" looks for the rate before the phase begins.')
    if plan.time is not None:
        wrong.append("time is turned into a number of steps by a trial; a Trainer has max_time.")
    if wrong:
        raise ConfigError(
            "\n".join(wrong) + '\nExpected a method with one phase on pictures, "full" or "lp-ft" say; or ft.fit, or '
            "ft.run_phases for a LightningModule of your own."
        )
    return on_pictures[0]
