"""One `Trainer.fit` a phase.

Stages are never unfrozen inside a fit: DDP registers what learns when it wraps the network, and ranks drift apart
without a word when more learns later (measured with Lightning 2.6.6, open upstream as Lightning-AI/pytorch-lightning
#20340). So a phase freezes, fits, and hands its best weights on.
"""

from __future__ import annotations

import contextlib
import copy
import json
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import Checkpoint, EarlyStopping
from safetensors.torch import load_file
from torch import nn

from ..errors import ConfigError, TrainingError
from ..types import Stage
from .averaging import Average
from .bar import PhaseBar
from .callbacks import KeepBest, KeepNorms, SameEverywhere, SpawnedRanks, Table
from .clock import seconds
from .freeze import freeze_except, learning_stages
from .launched import group
from .machine import Machine, seed_all
from .offers import Candidate, Surroundings
from .phase import Phase
from .plan import Plan
from .pull import PullToStart
from .rates import module_stages
from .resuming import KeepPlace, Standing, forwarded, start_at
from .stopping import PoliteStop, fit_in_ranks
from .trainer import fit_trainer, quiet_lightning, trainer_words
from .watch import Watch, raise_if_hung


def fit_phase(
    module: L.LightningModule,
    learning: Sequence[Stage],
    phase: Phase,
    plan: Plan,
    around: Surroundings,
    *,
    index: int,
    monitor: str | None,
    higher: bool,
    data: Mapping[str, Any],
    epochs: int | None = None,
    batches: int | None = None,
    prefix: str = "",
    watchers: Sequence[L.Callback] = (),
    standing: Standing | None = None,
    last: bool = False,
) -> tuple[list[Candidate], bool]:
    """Freezes, fits, and loads the best weights back into `module`.

    Args:
        module: What is trained.
        learning: What learns, by the names of the parameters of `module`.
        phase: What learns, and for how long.
        plan: Accumulation and clipping.
        around: Folder, devices and the user's own callbacks.
        index: The phase's number, from 0.
        monitor: The logged metric that chooses the epoch; None keeps the last.
        higher: Whether more of it is better.
        data: `train_dataloaders` and `val_dataloaders`, or `datamodule`, as `Trainer.fit` takes them.
        epochs: Stops after this many of the phase's epochs.
        batches: Ends each epoch after so many.
        prefix: Before the checkpoint's file name.
        watchers: Further callbacks of ours.
        standing: Where it is written down how far the phase is, and the checkpoint that it goes on from.
        last: Whether the weights of the last epoch are the ones, and the metric is only looked at.

    Returns:
        The best weights, behind them the next best as far as `plan.soup` asks for them, and whether the user asked to
        stop.
    """
    freeze_except(module, learning)
    state = around.folder / "checkpoints" / f"{prefix}{index}-{phase.name}.safetensors"
    keep = KeepBest(state, monitor, higher, also=plan.soup - 1, last=last)
    place = None if standing is None else KeepPlace(standing, keep.existing, phase.name)
    data = _from_where(standing, keep, data)
    notes = around.folder / "checkpoints" / ".ranks"
    stop, trainer = PoliteStop(notes), dict(around.trainer)
    own = [*around.callbacks, *trainer.pop("callbacks", ())]
    several = place is not None and around.machine.world_size > 1
    callbacks = [
        *beside(phase, plan, monitor, higher),
        keep,
        *([place] if place is not None else []),
        *([_early_stop(plan, monitor, higher)] if plan.patience and monitor is not None else []),
        Table(around.folder / "metrics.csv", prefix + phase.name),
        SpawnedRanks(),
        SameEverywhere(),
        stop,
        *watchers,
        *([PhaseBar(prefix + phase.name, monitor)] if around.progress else []),
        # Those that count epochs or remember a best value start anew in each phase.
        *(copy.deepcopy(c) if isinstance(c, Checkpoint | EarlyStopping) else c for c in own),
        *([Watch(notes, seconds(plan.rank_timeout), phase.name)] if several else []),
    ]
    words = trainer_words(around, plan, epochs or phase.epochs, callbacks)
    words |= ({"limit_train_batches": batches} if batches is not None else {}) | trainer
    try:
        _fit(words, module, data, around.machine, stop, watched=several)
    except KeyboardInterrupt:
        stop.asked = True
    if stop.asked and not state.exists():
        raise KeyboardInterrupt
    return _offers(module, phase, monitor, keep), stop.asked


def _from_where(standing: Standing | None, keep: KeepBest, data: Mapping[str, Any]) -> Mapping[str, Any]:
    """What the Trainer is given to go on from a checkpoint, or to begin without anything that was there before."""
    if standing is not None and standing.after is not None:
        standing.after.put_back(keep.files())
        start_at(data["train_dataloaders"], standing.after)
        return {**data, "ckpt_path": str(standing.after.state), "weights_only": True}
    # What an attempt before has left must not be taken for this one's.
    for file in keep.files():
        file.unlink(missing_ok=True)
    return data


def _fit(
    words: Mapping[str, Any], module: L.LightningModule, data: Mapping[str, Any], machine: Machine, stop: PoliteStop, *,
    watched: bool,
) -> None:  # fmt: skip
    """Fits in this process, in ranks that it starts, or together with those that a launcher has started.

    Args:
        words: The keywords of Lightning's Trainer.
        module: What is trained.
        data: As `Trainer.fit` takes it.
        machine: The devices.
        stop: Of these words; knows afterwards whether the user asked to stop.
        watched: Whether the ranks note how far they are.
    """
    together = group() if machine.world_size > 1 else None
    spawning = together is None and "spawn" in str(words["strategy"])
    with quiet_lightning(), forwarded(watched and together is None):
        try:
            if together is not None:
                together.fit(words, module, data)
            elif spawning:
                fit_in_ranks(L.Trainer(**words), module, data, stop)
            else:
                fit_trainer(L.Trainer(**words), module, data)
        except Exception as error:
            if watched:
                raise_if_hung(stop.notes, error)
            raise
        finally:
            if watched or spawning:
                shutil.rmtree(stop.notes, ignore_errors=True)


def _offers(module: L.LightningModule, phase: Phase, monitor: str | None, keep: KeepBest) -> list[Candidate]:
    """The weights that a phase has kept, the best first; those are loaded.

    Raises:
        TrainingError: It has kept none.
    """
    if not keep.path.exists():
        raise TrainingError(
            f'No epoch of phase "{phase.name}" had a finite {monitor} on validation, so there are no weights to keep. '
            "Expected validation examples of more than one class; see --monitor for another metric."
        )
    # A precision such as bf16-true has converted the module in place.
    module.float().load_state_dict(load_file(keep.path))
    kept = [path for path in (keep.path, *keep.others()) if path.exists()]
    facts = [json.loads(path.with_suffix(".json").read_text()) for path in kept]
    return [Candidate(phase=phase.name, epoch=f["epoch"], score=f["score"], state=path)
            for path, f in zip(kept, facts, strict=True)]  # fmt: skip


def beside(phase: Phase, plan: Plan, monitor: str | None = None, higher: bool = True) -> list[L.Callback]:
    """What a phase needs beside its steps: statistics that stay, the average of the weights, the pull to the start."""
    decay = 0.1 if plan.weight_decay is None else plan.weight_decay
    return [  # what moves weights before what averages them, and both before what keeps them
        KeepNorms(phase.norms),
        *([PullToStart(decay)] if phase.decay_to == "start" else []),
        *([Average(phase, monitor, higher)] if phase.ema else []),
    ]


def _early_stop(plan: Plan, monitor: str, higher: bool) -> EarlyStopping:
    return EarlyStopping(monitor, patience=plan.patience, mode="max" if higher else "min", check_finite=False)


def run_phases(
    module: L.LightningModule,
    datamodule: Any,
    plan: Plan,
    *,
    out: str | Path | None = None,
    higher: bool | None = None,
    callbacks: Sequence[Any] = (),
    logger: Any = False,
    trainer: Mapping[str, Any] | None = None,
) -> L.LightningModule:
    """Runs a LightningModule of one's own through the phases of a plan: freeze, fit, hand the best weights on.

    Stages are the module's children in order (those of its `network` or `model`, where it has that child alone);
    the last one is the head. Frozen parameters do not require a gradient, frozen normalisation keeps its statistics.
    A phase that would run on cached features trains its stages on pictures for `plan.head_epochs` instead, since only
    the module itself knows what its features are.

    Args:
        module: Its `configure_optimizers` is called anew in each phase; `param_groups` gives it layer-wise rates.
        datamodule: A LightningDataModule, or a pair of loaders (training, validation or None).
        plan: `plan.monitor` names the logged metric that chooses the epoch; without it the last epoch counts.
        out: Folder for checkpoints and metrics.csv; by default a temporary one that is removed at the end.
        higher: Whether more of the metric is better; by default all but losses and errors.
        callbacks: As Lightning's Trainer takes them.
        logger: Likewise.
        trainer: Further keywords of Lightning's Trainer.

    Returns:
        The module, with the best weights of the last phase.

    Raises:
        ConfigError: No plan, or one with a phase that needs what only a network of ours has.
    """
    if not isinstance(plan, Plan):
        raise ConfigError(f"plan takes a Plan, ft.Plan(method='full', epochs=3) say. Got {plan!r}.")
    monitor = plan.monitor
    if higher is None and monitor is not None:
        higher = not any(word in monitor for word in ("loss", "error", "rmse", "mae", "mse"))
    if isinstance(datamodule, tuple | list):
        train, validation = datamodule
        data = {"train_dataloaders": train, "val_dataloaders": validation}
    else:
        data = {"datamodule": datamodule}
    with contextlib.ExitStack() as stack:
        folder = Path(out if out is not None else stack.enter_context(tempfile.TemporaryDirectory(prefix="finetune-")))
        around = Surroundings(
            folder=folder, machine=Machine.of(plan), callbacks=callbacks, logger=logger, trainer=trainer or {}
        )
        seed_all(plan.seed)
        stages = _own_stages(module)
        for index, phase in enumerate(plan.build(pretrained=True, stages=[stage.name for stage in stages])):
            _refuse_ours(phase, plan.scale_lr)
            limit = {"max_steps": phase.steps} if phase.steps else {}
            _, asked = fit_phase(
                module, learning_stages(module, stages, phase.learns), phase, plan,
                replace(around, trainer={**limit, **around.trainer}), index=index, monitor=monitor,
                higher=bool(higher), data=data, epochs=-1 if phase.steps else phase.epochs or plan.head_epochs,
            )  # fmt: skip
            if asked:
                break
    return module


def _refuse_ours(phase: Phase, scaled: bool) -> None:
    """What only a network of ours can do.

    Raises:
        ConfigError: Adapters, a teacher, a rate to look for, smaller pictures, or decay towards the start.
    """
    wrong = {"adapters": phase.learns == "adapters", "a teacher": phase.teacher, 'lr="auto"': phase.lr == "auto",
             "rates that scale with the batch": scaled,
             "pictures of another size": phase.size, 'decay_to="start"': phase.decay_to == "start"}  # fmt: skip
    named = [what for what, true in wrong.items() if true]
    if named:
        raise ConfigError(
            f'The phase "{phase.name}" asks for {" and ".join(named)}, which a LightningModule of one\'s own has to do '
            "itself. Expected a method without, lp-ft say; or ft.fit with Backbone.from_module(...)."
        )


def _own_stages(module: L.LightningModule) -> tuple[Stage, ...]:
    """The stages of a module that only its owner knows."""
    inner: nn.Module = module
    prefix = ""
    while len(children := [(n, c) for n, c in inner.named_children() if list(c.parameters())]) == 1:
        prefix += children[0][0] + "."
        inner = children[0][1]
    return tuple(Stage(s.name, tuple(prefix + name for name in s.parameters)) for s in module_stages(inner))
