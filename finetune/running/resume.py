"""Going on with a run that was interrupted."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import ConfigError, RunFolderError, StoppedError
from ..folder import RECIPE

if TYPE_CHECKING:
    from ..model import Model
    from ..report.printed import Talk

RESTARTS = ("TORCHELASTIC_RESTART_COUNT", "SLURM_RESTART_COUNT")
"""How often torchrun has started its processes anew, and SLURM a job that it took back."""


def refuse_beside_resume(words: Mapping[str, Any], *, recipe: Any, out: Any, overwrite: bool) -> None:
    """Refuses what would make another run of it.

    Raises:
        ConfigError: Options of `fit` beside the run folder.
    """
    given = [name for name, value in words.items() if value is not None]
    given += [name for name, value in (("recipe", recipe), ("out", out), ("overwrite", overwrite or None)) if value]
    if given:
        raise ConfigError(
            f"resume goes on with a run as it was begun, and takes no other options. Got {', '.join(given)} too. "
            "Expected the run folder alone; another run from the same recipe is --recipe RUN."
        )


def check_resumable(folder: Path) -> None:
    """Refuses a folder in which no run was begun.

    Raises:
        RunFolderError: It is none, or its run was killed before it had written what it is to do.
    """
    if not folder.is_dir():
        raise RunFolderError(f"There is no run folder {folder} to resume. Expected one that `fit` has made.")
    if not (folder / RECIPE).exists():
        raise RunFolderError(
            f"There is nothing to resume in {folder}: it has no {RECIPE}, so the run was killed before it began, or "
            "this is no run folder. Begin it anew."
        )


def finished(folder: Path) -> bool:
    """Whether the run has nothing left to do.

    Raises:
        RunFolderError: What it says of itself cannot be read.
    """
    from ..training.ledger import read_progress

    return bool(read_progress(folder).get("finished", False))


def restarted_in(out: Path) -> bool:
    """Whether a cluster has started this process again, and `out` holds what its predecessor began."""
    again = any(os.environ.get(name, "0") not in ("", "0") for name in RESTARTS)
    return again and (out / RECIPE).exists()


@contextlib.contextmanager
def requeued() -> Iterator[None]:
    """Puts a job of SLURM back into its queue where it was warned by SIGUSR1 that its time is up."""
    try:
        yield
    except StoppedError as error:
        job = os.environ.get("SLURM_JOB_ID")
        if job and error.signal == getattr(signal, "SIGUSR1", None):
            told = subprocess.run(["scontrol", "requeue", job], capture_output=True, text=True, check=False)
            failed = f"could not be put back: {told.stderr.strip()}"
            error.add_note(f"SLURM's job {job} {'is in the queue again.' if told.returncode == 0 else failed}")
        raise


def told_again(folder: Path, talk: Talk) -> Model:
    """The model of a run that had ended, and its figures."""
    from ..model import load
    from ..report.printed import metrics_table

    model = load(folder)
    talk.say(f"The run in {folder} is finished: there is nothing to resume.")
    talk.show(metrics_table(dict(model.metrics)))
    return model
