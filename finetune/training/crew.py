"""The processes that share a pass over pictures: those of a launcher, or some that are started for it."""

from __future__ import annotations

import pickle
from concurrent.futures import Future, ProcessPoolExecutor
from multiprocessing import get_context
from typing import Any

import torch

from ..crew import Crew, Job, Progress, Share, T
from .launched import Group, group
from .machine import Machine


def crew_of(machine: Machine) -> Crew | None:
    """Who shares the passes of a run; None where this process does them alone.

    Processes that a launcher has started are there anyway. Others are started only where each has an accelerator of
    its own: on a CPU one process computes on all processors already.
    """
    waiting = waiting_crew(machine)
    if waiting is not None:
        return waiting
    return Spawned(devices_of(machine)) if machine.world_size > 1 and machine.accelerator != "cpu" else None


def waiting_crew(machine: Machine) -> Crew | None:
    """Those of a launcher, who would only wait; None where there are none.

    For passes over a part, several one after the other: processes that are started for each cost more than they save.
    """
    together = group() if machine.world_size > 1 else None
    return Launched(together, machine) if together is not None else None


def devices_of(machine: Machine) -> list[torch.device]:
    """The device of each rank of a node."""
    if machine.accelerator == "cpu":
        return [torch.device("cpu")] * machine.world_size
    numbers = range(machine.devices) if isinstance(machine.devices, int) else machine.devices
    return [torch.device(machine.accelerator, number) for number in numbers]


class Launched:
    """Those that torchrun or SLURM has started.

    Args:
        together: They.
        machine: The devices of each of their nodes.
    """

    def __init__(self, together: Group, machine: Machine) -> None:
        self._together, self._devices = together, devices_of(machine)

    def work(self, job: Job[T], device: torch.device, progress: Progress | None = None) -> list[T]:
        """As `Crew.work` says."""
        ranks, local = self._together.place.world_size, self._together.place.local_size
        shares = [Share(rank, ranks) for rank in range(ranks)]
        self._together.hand([(job, share, self._devices[share.rank % local]) for share in shares])
        mine = job(shares[0], device, progress)
        return [mine, *(_or_here(given, job, share, device)
                        for given, share in zip(self._together.given(), shares[1:], strict=True))]  # fmt: skip


class Spawned:
    """Processes that are started for a pass and end with it; what one of them leaves undone this one does.

    Args:
        devices: Of each, the first of this one.
    """

    def __init__(self, devices: list[torch.device]) -> None:
        self._devices = devices

    def work(self, job: Job[T], device: torch.device, progress: Progress | None = None) -> list[T]:
        """As `Crew.work` says."""
        shares = [Share(rank, len(self._devices)) for rank in range(len(self._devices))]
        # Packed, by value, before the work begins here: a pool packs in a thread of its own, which would take weights
        # that are on their way to a device by then, or move them to shared memory while they are computed with.
        packed = pickle.dumps(job)
        with ProcessPoolExecutor(len(shares) - 1, mp_context=get_context("spawn")) as pool:
            others = [pool.submit(_unpacked, packed, share, self._devices[share.rank]) for share in shares[1:]]
            mine = job(shares[0], device, progress)
            return [mine, *(_or_here(_outcome(other), job, share, device)
                            for other, share in zip(others, shares[1:], strict=True))]  # fmt: skip


def _unpacked(packed: bytes, share: Share, device: torch.device) -> Any:
    """The same job in another process."""
    return pickle.loads(packed)(share, device, None)


def _outcome(other: Future[Any]) -> Any:
    try:
        return other.result()
    # A broken pool says that the process has died, which a picture may do to it; anything else is told as it is.
    except Exception as error:
        return error


def _or_here(given: Any, job: Job[T], share: Share, device: torch.device) -> T:
    """What another process said; its share done here where it could not, for its machine sees other disks say.

    Raises:
        Exception: What its share raised.
    """
    if isinstance(given, OSError | RuntimeError) and not isinstance(given, torch.OutOfMemoryError):
        return job(share, device, None)
    if isinstance(given, Exception):
        raise given
    answer: T = given
    return answer
