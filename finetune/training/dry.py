"""Steps of a phase in a process of their own: how long one takes, and how much memory, before a run begins."""

from __future__ import annotations

import multiprocessing
import time
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection
from statistics import median
from typing import Any

import lightning as L
import numpy as np
import torch
from torch.utils.data import DataLoader

from ..errors import TrainingError
from ..models.network import Network
from ..tasks.base import Task
from ..types import Batch, Stage
from .freeze import learning_stages
from .memory import peak_bytes
from .offers import Surroundings
from .phase import Phase
from .plan import Plan
from .trial import Trial

WARM, TIMED = 2, 5  # steps that are taken before, and those that are timed


@dataclass(frozen=True, kw_only=True)
class Taken:
    """What steps of one device take, of made-up pictures that lie in memory.

    Args:
        seconds: A batch, the median of `TIMED`.
        memory: Bytes at the height: allocated on an accelerator, of the whole process on a CPU.
        program: Bytes of those that the process had before the first step; 0 on an accelerator.
        gradients: Bytes of the gradients of all that learns.
    """

    seconds: float
    memory: int
    program: int
    gradients: int


def dry_steps(
    network: Network, task: Task, targets: np.ndarray, phase: Phase, plan: Plan, around: Surroundings
) -> Taken:
    """Takes a few steps of a phase on made-up pictures, in a new process that leaves nothing behind.

    Args:
        network: As it was loaded; is not changed.
        task: For the loss.
        targets: (N, ...) encoded; the first stands for all.
        phase: On pictures.
        plan: Its batch, precision, optimizer.
        around: The devices; one of them is used.

    Raises:
        TrainingError: The device's memory does not hold a step, or the process ended without a word.
    """
    # A new one and not a copy of this: what this process has taken would count, and CUDA cannot be forked.
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe(duplex=False)
    around = replace(around, callbacks=(), logger=False, trainer={}, budget=None)
    process = context.Process(target=_told, args=(there, network, task, targets[:1], phase, plan, around), daemon=True)
    process.start()
    there.close()
    try:
        found: Any = here.recv()
    except EOFError:
        found = "its process ended without a word, most often for want of memory"
    finally:
        process.join()
        here.close()
    if isinstance(found, Taken):
        return found
    raise TrainingError(
        f'A step of phase "{phase.name}" with {plan.batch} pictures cannot be taken here: {found}. Expected a smaller '
        "--batch-size, --grad-checkpointing, or another --accelerator."
    )


def take_steps(
    network: Network, task: Task, targets: np.ndarray, phase: Phase, plan: Plan, around: Surroundings
) -> Taken:
    """The same in this process, whose memory must not have been higher before.

    Args:
        network: As for `dry_steps`, and so are the others.
        task: Likewise.
        targets: Likewise.
        phase: Likewise.
        plan: Likewise.
        around: Likewise.
    """
    from ..models.adapters import add_lora

    added: tuple[str, ...] = ()
    if phase.learns == "adapters":
        added = add_lora(network, rank=plan.lora_rank, alpha=plan.lora_alpha, seed=plan.seed)
    learning = learning_stages(network, network.stages, phase.learns, added)
    side = (phase.size, phase.size) if phase.size else network.spec.size
    batch = Batch(
        torch.zeros(plan.batch, network.spec.in_chans, *side, dtype=torch.uint8),
        torch.from_numpy(np.repeat(targets[:1], plan.batch, axis=0)), torch.arange(plan.batch),
    )  # fmt: skip
    clock, program = _Clock(), peak_bytes(around.machine.accelerator)
    rate: Any = 1e-6 if phase.lr == "auto" else phase.lr
    trial = Trial(
        network=network, task=task, phase=replace(phase, lr=rate, teacher=0.0), plan=replace(plan, compile=False),
        around=around, learning=learning, seed=plan.seed,
    )  # fmt: skip
    steps = WARM + TIMED
    loader: Any = DataLoader([batch] * steps, batch_size=None)  # type: ignore[arg-type]
    trial.run(loader, steps=steps, callbacks=[clock])
    on_cpu = around.machine.accelerator == "cpu"
    height = peak_bytes(around.machine.accelerator)
    return Taken(
        seconds=median(np.diff(clock.times)[WARM - 1 :]), memory=height, program=program if on_cpu else 0,
        gradients=gradient_bytes(network, learning, plan),
    )  # fmt: skip


def gradient_bytes(network: Network, learning: tuple[Stage, ...], plan: Plan) -> int:
    """Bytes of the gradients of some stages: in 32 bits, unless weights themselves are of other numbers."""
    sizes = {name: parameter.numel() for name, parameter in network.named_parameters()}
    bits = int(plan.precision.partition("-")[0].removeprefix("bf")) if plan.precision.endswith("-true") else 32
    return bits // 8 * sum(sizes[name] for stage in learning for name in stage.parameters)


class _Clock(L.Callback):
    """When each step was done."""

    def __init__(self) -> None:
        self.times: list[float] = []

    def on_train_batch_end(self, trainer: Any, module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        if module.device.type != "cpu":
            torch.accelerator.synchronize()
        self.times.append(time.perf_counter())


def _told(there: Connection, *what: Any) -> None:
    try:
        found: Any = take_steps(*what)
    except Exception as error:  # whatever it is, it is told by the process that asked
        found = str(error).partition("\n")[0] or type(error).__name__
    there.send(found)
    there.close()
