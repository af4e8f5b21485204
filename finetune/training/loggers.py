"""Where the figures of a run's steps and epochs go, beside its own tables."""

from __future__ import annotations

import hashlib
import importlib.util
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..errors import ConfigError

PACKAGES = {"tensorboard": ("tensorboard", "tensorboardX"), "wandb": ("wandb",), "mlflow": ("mlflow",)}
"""What each needs one of."""


def chosen(log: Sequence[str]) -> tuple[tuple[str, ...], str | None]:
    """The places that are meant, and what to tell of them.

    Args:
        log: Names; "auto" is a table, and TensorBoard where it is installed.

    Raises:
        ConfigError: One that is not installed; its message names the extra.
    """
    told = None
    names = [name for name in log if name not in ("auto", "none")]
    if "auto" in log:
        names += ["csv"]
        if _has("tensorboard"):
            names += ["tensorboard"]
        else:
            told = "figures of steps are in steps.csv; for TensorBoard as well: pip install 'finetune[tensorboard]'"
    missing = [name for name in names if name != "csv" and not _has(name)]
    if missing:
        extras = ",".join(missing)
        raise ConfigError(f"Logging to {' and '.join(missing)} needs more packages: pip install 'finetune[{extras}]'")
    return tuple(dict.fromkeys(names)), told


def opened(names: Sequence[str], folder: Path) -> list[Any]:
    """Lightning's loggers for a run; to be made on rank 0 alone, for they write and call at once.

    Args:
        names: As from `chosen`; of a table Lightning need not know.
        folder: The run folder; all that stays here is in `logs/`.
    """
    place = folder / "logs"
    made: list[Any] = []
    if "tensorboard" in names:
        from lightning.pytorch.loggers import TensorBoardLogger

        made.append(TensorBoardLogger(str(place), name="", version="tensorboard"))
    if "wandb" in names:
        from lightning.pytorch.loggers import WandbLogger

        place.mkdir(parents=True, exist_ok=True)
        # One run on their side for all phases of one here, whichever process they run in.
        told = hashlib.sha256(os.fsencode(folder.absolute())).hexdigest()[:16]
        project = os.environ.get("WANDB_PROJECT", "finetune")
        made.append(WandbLogger(name=folder.name, save_dir=str(place), id=told, project=project, resume="allow"))
    if "mlflow" in names:
        from lightning.pytorch.loggers import MLFlowLogger

        place.mkdir(parents=True, exist_ok=True)
        # A folder of files is what MLflow itself refuses since its third version.
        own = f"sqlite:///{(place / 'mlflow.db').absolute().as_posix()}"
        uri = os.environ.get("MLFLOW_TRACKING_URI")
        at = None if uri else (place / "artifacts").absolute().as_uri()
        made.append(MLFlowLogger(experiment_name="finetune", run_name=folder.name, tracking_uri=uri or own,
                                 artifact_location=at))  # fmt: skip
    return made


def _has(name: str) -> bool:
    return any(importlib.util.find_spec(package) is not None for package in PACKAGES[name])
