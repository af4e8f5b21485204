"""The processes that torchrun or SLURM has started: the first one runs, the others help it fit."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING

from ..errors import ConfigError, TrainingError
from ..training.place import place

if TYPE_CHECKING:
    from ..model import Model


@contextlib.contextmanager
def leading() -> Iterator[list[str]]:
    """Lets the others go when the run is over, however it ends; where nobody else was started, nothing happens.

    Yields:
        A list for the run folder, whose model the others may read.
    """
    told: list[str] = []
    try:
        yield told
    finally:
        if place() is not None:
            from ..training.launched import group

            together = group()
            if together is not None:
                together.end(told[0] if told else None)


def followed() -> Model:
    """Takes part in the fits of the first process, and reads the model that it made.

    Raises:
        TrainingError: It made none.
    """
    from ..model import load
    from ..training.launched import group

    together = group()
    folder = together.follow() if together is not None else None
    if folder is None:
        raise TrainingError("The first process ended without a model; what it said tells why.")
    return load(folder)


def alone(what: str) -> None:
    """Refuses what one process does, where a launcher has started several.

    Raises:
        ConfigError: It has.
    """
    found = place()
    if found is not None:
        raise ConfigError(
            f"{what} is the work of one process, which makes fits of its own, and {found.world_size} were started. "
            "Expected no torchrun or srun around it: --devices N gives each fit all devices of this machine."
        )
