"""Which of several processes this is, where torchrun or SLURM has started them."""

from __future__ import annotations

import os
from dataclasses import dataclass

from ..errors import ConfigError


@dataclass(frozen=True)
class Place:
    """Which of several processes this is.

    Args:
        rank: From 0; that one leads.
        world_size: How many there are.
        local_size: How many of them this machine has.
        slurm: Whether SLURM started them, else torchrun or anything that sets the same variables.
    """

    rank: int
    world_size: int
    local_size: int
    slurm: bool

    @property
    def num_nodes(self) -> int:
        """How many machines."""
        return self.world_size // self.local_size


def place() -> Place | None:
    """Where this process stands among those that a launcher has started; None where nobody has.

    Raises:
        ConfigError: Machines with different numbers of processes.
    """
    env = os.environ
    if {"RANK", "WORLD_SIZE", "MASTER_ADDR", "LOCAL_RANK"} <= env.keys():
        world, local = int(env["WORLD_SIZE"]), int(env.get("LOCAL_WORLD_SIZE", env["WORLD_SIZE"]))
        found = Place(int(env["RANK"]), world, local, False)
    elif int(env.get("SLURM_NTASKS", "1")) > 1 and "SLURM_PROCID" in env and env.get("SLURM_JOB_NAME") != "bash":
        world = int(env["SLURM_NTASKS"])
        found = Place(int(env["SLURM_PROCID"]), world, world // int(env.get("SLURM_NNODES", "1")), True)
    else:
        return None
    if found.world_size % found.local_size:
        raise ConfigError(
            f"{found.world_size} processes on machines with {found.local_size} each: expected as many on every machine."
        )
    return found if found.world_size > 1 else None


def follows() -> bool:
    """Whether this is a process that waits to be handed fits."""
    found = place()
    return found is not None and found.rank > 0
