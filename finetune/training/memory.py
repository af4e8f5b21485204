"""What a run asks of a device's memory: the largest batch that it holds, and words where it runs out."""

from __future__ import annotations

import contextlib
import copy
import gc
import resource
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader

from ..data.sampling import unfit_batch
from ..errors import TrainingError
from ..models.network import Network
from ..tasks.base import Task
from ..types import Batch
from .freeze import learning_stages
from .offers import Surroundings
from .phase import Phase
from .plan import Plan

LARGEST, ON_CPU = 256, 32
FILLED = 0.9  # share of a device's memory beyond which a batch does not fit: later phases keep averages too


@contextlib.contextmanager
def memory_told(phase: str, batch_size: int) -> Iterator[None]:
    """Says in words that a device's memory ran out.

    Raises:
        TrainingError: It did.
    """
    try:
        yield
    except torch.OutOfMemoryError as error:
        half = max(1, batch_size // 2)
        raise TrainingError(
            f'The memory of the device ran out in phase "{phase}", at {batch_size} pictures a step. Expected a '
            f"smaller --batch-size: --batch-size {half} --effective-batch {2 * half} takes the same steps, and auto "
            "looks for the largest that fits. Or --grad-checkpointing, or --precision bf16-mixed."
        ) from error


def largest_batch(try_step: Callable[[int], None], sizes: Sequence[int]) -> int:
    """The first of some sizes of a batch that memory holds.

    Args:
        try_step: Takes a training step with so many pictures.
        sizes: From the largest down.

    Raises:
        TrainingError: It holds none of them.
    """
    for size in sizes:
        try:
            try_step(size)
        except torch.OutOfMemoryError:
            continue  # what the step held is let go of with the error, at the end of this clause
        finally:
            _release()
        return size
    raise TrainingError(
        f"The memory of the device does not hold a training step with {sizes[-1]} pictures. Expected a smaller "
        "network or --input-size, --grad-checkpointing, --precision bf16-mixed, or --accelerator cpu."
    )


def sizes_to_try(plan: Plan, *, accelerator: str, world_size: int, examples: int) -> list[int]:
    """The sizes of a batch that "auto" may be, from the largest down: powers of 2.

    Args:
        plan: Its `effective_batch` must be a multiple of the batches of all devices.
        accelerator: On a CPU memory bounds nothing, and larger batches are no faster.
        world_size: Devices.
        examples: A batch is never larger than these.
    """
    top = min(ON_CPU if accelerator == "cpu" else LARGEST, max(2, examples))
    sizes = [1 << power for power in range(top.bit_length()) if 1 << power <= top]
    together = plan.effective_batch
    fitting = [
        size for size in sizes
        if (together is None or together % (size * world_size) == 0) and unfit_batch(plan.sampler, size) is None
    ]  # fmt: skip
    return fitting[::-1] or [1]


def decide_batch(
    network: Network, task: Task, targets: np.ndarray, phases: Sequence[Phase], plan: Plan, around: Surroundings
) -> int:
    """What `batch_size="auto"` is here.

    Args:
        network: As it was loaded; is not changed.
        task: For the loss.
        targets: (N, ...) encoded; the first stands for all, the number bounds the batch.
        phases: Each of those on pictures must fit.
        plan: For precision, optimizer and the rest.
        around: The devices.
    """
    machine = around.machine
    sizes = sizes_to_try(plan, accelerator=machine.accelerator, world_size=machine.world_size, examples=len(targets))
    on_pictures = [phase for phase in phases if phase.on == "pictures"]
    if machine.accelerator == "cpu" or not on_pictures:
        return sizes[0] if machine.accelerator == "cpu" else min(ON_CPU, sizes[0])

    def try_step(size: int) -> None:
        for phase in on_pictures:
            step_of(network, task, targets, phase, plan, around, size)
            if machine.accelerator == "cuda":
                _, whole = torch.cuda.mem_get_info()
                if torch.cuda.max_memory_reserved() > FILLED * whole:
                    raise torch.OutOfMemoryError

    return largest_batch(try_step, sizes)


def step_of(
    network: Network, task: Task, targets: np.ndarray, phase: Phase, plan: Plan, around: Surroundings, size: int
) -> None:
    """Takes two steps of a phase on made-up pictures; at the second, an optimizer holds all that it will.

    Raises:
        torch.OutOfMemoryError: The device does not hold them.
    """
    from ..models.adapters import add_lora
    from .trial import Trial

    added: tuple[str, ...] = ()
    if phase.learns == "adapters":
        network = copy.deepcopy(network)
        added = add_lora(network, rank=plan.lora_rank, alpha=plan.lora_alpha, seed=plan.seed)
    side = (phase.size, phase.size) if phase.size else network.spec.size
    batch = Batch(
        torch.zeros(size, network.spec.in_chans, *side, dtype=torch.uint8),
        torch.from_numpy(np.repeat(targets[:1], size, axis=0)), torch.arange(size),
    )  # fmt: skip
    lr: Any = 1e-6 if phase.lr == "auto" else phase.lr
    Trial(
        network=network, task=task, phase=replace(phase, lr=lr, teacher=0.0), plan=replace(plan, compile=False),
        around=around, learning=learning_stages(network, network.stages, phase.learns, added), seed=plan.seed,
    ).run(DataLoader([batch, batch], batch_size=None), steps=2)  # type: ignore[arg-type]  # fmt: skip


def peak_bytes(accelerator: str) -> int:
    """Bytes at the height so far: allocated on an accelerator, of the whole process on a CPU.

    Args:
        accelerator: "cpu", "cuda", ...
    """
    if accelerator == "cuda":
        return torch.cuda.max_memory_allocated()
    # Not getrusage where there is better: what it says counts the process from which this one was started.
    status = Path("/proc/self/status")
    if status.exists():
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return 1024 * int(line.split()[1])
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def _release() -> None:
    """Gives back what a step has left: the next one is to find the memory empty."""
    if torch.cuda.is_available():
        gc.collect()
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
