"""Lightning's Trainer as all that trains here uses it: its keywords, its silence, and the errors that it hides."""

from __future__ import annotations

import contextlib
import logging
import sys
import warnings
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import Checkpoint

from ..errors import DataError, NotFiniteError, StoppedError, TrainingError, UnreadableError
from .machine import accumulation
from .offers import Surroundings
from .place import Place
from .plan import Plan


def trainer_of(words: Mapping[str, Any], place: Place) -> L.Trainer:
    """A Trainer among processes that a launcher has started."""
    from lightning.fabric.plugins.environments.slurm import SLURMEnvironment
    from lightning.fabric.plugins.environments.torchelastic import TorchElasticEnvironment

    own = SLURMEnvironment(auto_requeue=False) if place.slurm else TorchElasticEnvironment()
    return L.Trainer(**{**words, "plugins": [*words.get("plugins", ()), own]})


def trainer_words(around: Surroundings, plan: Plan, epochs: int, callbacks: Sequence[Any]) -> dict[str, Any]:
    """The keywords of Lightning's Trainer for a phase."""
    return {
        **around.machine.trainer_words(),
        "max_epochs": epochs,
        "accumulate_grad_batches": accumulation(plan, around.machine.world_size),
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


def fit_trainer(trainer: L.Trainer, module: L.LightningModule, data: Mapping[str, Any]) -> None:
    """Fits, and raises what the user is to read as itself, whichever process it comes from.

    Raises:
        KeyboardInterrupt: For a second Ctrl-C too.
        TrainingError: A rank's, and so the next two.
        DataError: Readers that die.
        UnreadableError: A picture that kills its reader.
        torch.OutOfMemoryError: Likewise.
    """
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


def _from_rank(error: Exception) -> Exception | None:
    """What a spawned rank raised for the user, or for want of memory; it reaches us as the text of a traceback."""
    kinds = (NotFiniteError, StoppedError, TrainingError, DataError, UnreadableError, torch.OutOfMemoryError)
    for kind in kinds:
        name = f"{kind.__module__}.{kind.__qualname__}: "
        found = [line.removeprefix(name) for line in str(error).splitlines() if line.startswith(name)]
        if found:
            return kind(found[-1])
    return None


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
