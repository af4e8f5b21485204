"""One `Trainer.fit` a phase.

Stages are never unfrozen inside a fit: DDP registers what learns when it wraps the network, and ranks drift apart
without a word when more learns later (measured with Lightning 2.6.6, open upstream as Lightning-AI/pytorch-lightning
#20340). So a phase freezes, fits, and hands its best weights on.
"""

from __future__ import annotations

import contextlib
import copy
import json
import logging
import sys
import tempfile
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import Checkpoint, EarlyStopping
from safetensors.torch import load_file
from torch import nn

from ..errors import TrainingError
from ..types import Stage
from .averaging import Average
from .bar import PhaseBar
from .callbacks import KeepBest, KeepNorms, PoliteStop, QuietRanks, SameEverywhere, Table
from .freeze import freeze_except, learning_stages
from .machine import Machine, seed_all
from .offers import Candidate, Surroundings
from .plan import Phase, Plan
from .rates import module_stages


def fit_phase(
    module: L.LightningModule,
    stages: Sequence[Stage],
    phase: Phase,
    plan: Plan,
    around: Surroundings,
    *,
    index: int,
    monitor: str | None,
    higher: bool,
    data: Mapping[str, Any],
    epochs: int | None = None,
    prefix: str = "",
) -> tuple[Candidate, bool]:
    """Freezes, fits, and loads the best weights back into `module`.

    Args:
        module: What is trained.
        stages: Its stages from input to head; names of parameters are those of `module`.
        phase: What learns, and for how long.
        plan: Accumulation and clipping.
        around: Folder, devices and the user's own callbacks.
        index: The phase's number, from 0.
        monitor: The logged metric that chooses the epoch; None keeps the last.
        higher: Whether more of it is better.
        data: `train_dataloaders` and `val_dataloaders`, or `datamodule`, as `Trainer.fit` takes them.
        epochs: Stops after this many of the phase's epochs.
        prefix: Before the checkpoint's file name.

    Returns:
        The best weights, and whether the user asked to stop.
    """
    freeze_except(module, learning_stages(stages, phase.learns))
    state = around.folder / "checkpoints" / f"{prefix}{index}-{phase.name}.safetensors"
    state.unlink(missing_ok=True)
    stop = PoliteStop()
    trainer = dict(around.trainer)
    own = [*around.callbacks, *trainer.pop("callbacks", ())]
    callbacks = [
        KeepNorms(phase.norms),
        *([Average(phase)] if phase.ema else []),  # before those that keep weights
        KeepBest(state, monitor, higher),
        Table(around.folder / "metrics.csv", prefix + phase.name),
        QuietRanks(),
        SameEverywhere(),
        stop,
        *([PhaseBar(prefix + phase.name, monitor)] if around.progress else []),
        # Those that count epochs or remember a best value start anew in each phase.
        *(copy.deepcopy(c) if isinstance(c, Checkpoint | EarlyStopping) else c for c in own),
    ]
    words = _trainer_words(around, plan, epochs or phase.epochs, callbacks) | trainer
    with quiet_lightning():
        try:
            _fit(L.Trainer(**words), module, data, phase)
        except KeyboardInterrupt:
            stop.asked = True
    if not state.exists() and stop.asked:
        raise KeyboardInterrupt
    if not state.exists():
        raise TrainingError(
            f'No epoch of phase "{phase.name}" had a finite {monitor} on validation, so there are no weights to keep. '
            "Expected validation examples of more than one class; see --monitor for another metric."
        )
    facts = json.loads(state.with_suffix(".json").read_text())
    module.float().load_state_dict(load_file(state))  # a precision such as bf16-true has converted the module in place
    return Candidate(phase=phase.name, epoch=facts["epoch"], score=facts["score"], state=state), stop.asked


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
    """
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
        for index, phase in enumerate(plan.build(pretrained=True)):
            epochs = phase.epochs or plan.head_epochs
            _, asked = fit_phase(
                module, _own_stages(module), phase, plan, around, index=index, monitor=monitor,
                higher=bool(higher), data=data, epochs=epochs,
            )  # fmt: skip
            if asked:
                break
    return module


def _trainer_words(around: Surroundings, plan: Plan, epochs: int, callbacks: Sequence[Any]) -> dict[str, Any]:
    """The keywords of Lightning's Trainer for a phase."""
    return {
        **around.machine.trainer_words(),
        "max_epochs": epochs,
        "accumulate_grad_batches": plan.accumulate,
        "gradient_clip_val": plan.gradient_clip or None,
        "callbacks": callbacks,
        "logger": around.logger,
        "enable_checkpointing": any(isinstance(c, Checkpoint) for c in callbacks),
        "enable_progress_bar": around.progress,
        "enable_model_summary": False,
        "use_distributed_sampler": False,  # our sampler knows the ranks, and counts no validation picture twice
        "num_sanity_val_steps": 0,
        "log_every_n_steps": 1,
        "default_root_dir": str(around.folder),
        # One seed, one result. CPUs give that by themselves; elsewhere an operation without such a form only warns.
        "deterministic": None if around.machine.accelerator == "cpu" else "warn",
    }


def _own_stages(module: L.LightningModule) -> tuple[Stage, ...]:
    """The stages of a module that only its owner knows."""
    inner: nn.Module = module
    prefix = ""
    while len(children := [(n, c) for n, c in inner.named_children() if list(c.parameters())]) == 1:
        prefix += children[0][0] + "."
        inner = children[0][1]
    return tuple(Stage(s.name, tuple(prefix + name for name in s.parameters)) for s in module_stages(inner))


def _fit(trainer: L.Trainer, module: L.LightningModule, data: Mapping[str, Any], phase: Phase) -> None:
    try:
        trainer.fit(module, **data)
    except SystemExit:
        # Lightning's answer to a second Ctrl-C.
        raise KeyboardInterrupt from None
    except Exception as error:
        raised = _from_rank(error)
        if raised is not None:
            raise raised from None
        raise


def _from_rank(error: Exception) -> TrainingError | None:
    """The message for the user in what a spawned rank raised, which reaches us as the text of a traceback."""
    lines = str(error).splitlines()
    name = f"{TrainingError.__module__}.{TrainingError.__qualname__}: "
    found = [line.removeprefix(name) for line in lines if line.startswith(name)]
    return TrainingError(found[-1]) if found else None


@contextlib.contextmanager
def quiet_lightning() -> Iterator[None]:
    """Without Lightning's advice on loaders and devices, and with torch's switches afterwards as they were before."""
    loggers = [logging.getLogger(name) for name in ("lightning.pytorch", "lightning.fabric")]
    levels = [logger.level for logger in loggers]
    exact, only_warned = (
        torch.are_deterministic_algorithms_enabled(),
        torch.is_deterministic_algorithms_warn_only_enabled(),
    )
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module="lightning")
            warnings.filterwarnings("ignore", message=".*deterministic.*")
            yield
    finally:
        torch.use_deterministic_algorithms(exact, warn_only=only_warned)
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
        sys.stdout.flush()
