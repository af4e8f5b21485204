"""Work that is done once, however many processes a launcher started."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import torch
import torch.distributed as dist

from .machine import launched

T = TypeVar("T")


def is_first() -> bool:
    """Whether this process is the one that writes, prints and decides."""
    return not launched() or _rank() == 0


def once(work: Callable[[], T]) -> T:
    """Does `work` on rank 0 and gives its result to all; an error of rank 0 is raised on all.

    Args:
        work: Its result must be picklable. Without a launcher it is simply called.
    """
    if not launched():
        return work()
    box: list[Any] = [None]
    if _rank() == 0:
        try:
            box = [(work(), None)]
        except Exception as failure:
            box = [(None, failure)]
    dist.broadcast_object_list(box, src=0)
    result, error = box[0]
    if error is not None:
        raise error
    return result  # type: ignore[no-any-return]


def _rank() -> int:
    if not dist.is_initialized():
        # Before Lightning does it, since reading and splitting come before training; it then uses this group.
        dist.init_process_group("cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo")
    return dist.get_rank()
