"""What this machine is asked to do: the choices that "auto" leaves open, made once and recorded."""

from __future__ import annotations

import os
import random
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
import torch.distributed as dist

from .plan import Plan


@dataclass(frozen=True, kw_only=True)
class Machine:
    """The devices of a run; what Lightning's Trainer is given, and what recipe.json records.

    Args:
        accelerator: "cpu", "cuda", "mps", ...
        devices: How many a node, or which.
        num_nodes: Nodes.
        world_size: Processes in all.
        strategy: Lightning's strategy.
        precision: Lightning's precision.
        workers: Processes a rank that read pictures while training.
    """

    accelerator: str
    devices: int | tuple[int, ...]
    num_nodes: int
    world_size: int
    strategy: str
    precision: str
    workers: int

    @classmethod
    def of(cls, plan: Plan) -> Machine:
        """Decides what the plan leaves to the machine."""
        found = torch.accelerator.current_accelerator(check_available=True)
        accelerator = plan.accelerator
        if accelerator in ("auto", "gpu"):
            accelerator = found.type if found is not None else "cpu"
        devices = _devices(plan.devices, accelerator)
        count = devices if isinstance(devices, int) else len(devices)
        world_size = count * plan.num_nodes
        precision = plan.precision
        if precision == "auto":
            bf16 = accelerator == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
            # On CPUs bf16 is no gain that a flag could promise: measured 0.8 times fp32 on one that lists it.
            precision = "bf16-mixed" if bf16 else "32-true"
        workers = plan.workers
        if workers is None:
            cores = os.cpu_count() or 1
            # With one or two cores the readers would only take time from the computing.
            workers = 0 if cores <= 2 else min(8, max(1, cores // count - 1))
        return cls(
            accelerator=accelerator, devices=devices, num_nodes=plan.num_nodes, world_size=world_size,
            strategy=_strategy(plan.strategy, world_size), precision=precision, workers=workers,
        )  # fmt: skip

    def trainer_words(self) -> dict[str, Any]:
        """The machine as keywords of Lightning's Trainer."""
        devices = self.devices if isinstance(self.devices, int) else list(self.devices)
        return {
            "accelerator": self.accelerator,
            "devices": devices,
            "num_nodes": self.num_nodes,
            "strategy": self.strategy,
            "precision": self.precision,
        }

    def recorded(self, plan: Plan) -> Plan:
        """The plan with nothing left open, so that a run from the record makes the same choices."""
        return replace(
            plan, accelerator=self.accelerator, devices=self.devices, precision=self.precision, workers=self.workers
        )


def seed_all(seed: int) -> None:
    """Seeds Python, NumPy and torch."""
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)


def launched() -> bool:
    """Whether torchrun, SLURM or the like started this process as one of several."""
    return int(os.environ.get("WORLD_SIZE", os.environ.get("SLURM_NTASKS", "1"))) > 1 or dist.is_initialized()


def _devices(devices: int | str | tuple[int, ...], accelerator: str) -> int | tuple[int, ...]:
    if isinstance(devices, str):
        if devices != "auto":
            return tuple(int(d) for d in devices.split(",") if d.strip()) if "," in devices else int(devices)
        return 1 if accelerator == "cpu" else max(1, torch.accelerator.device_count())
    return devices


def _strategy(strategy: str, world_size: int) -> str:
    """One process a device, started by Lightning from this one; where a launcher started us, it has done so already.

    Lightning's own "ddp" starts its ranks by running the whole command again, once a device: every one of them would
    read, check and split the data anew. Spawned ranks run the fit and nothing else.
    """
    if world_size == 1:
        return "auto" if strategy.startswith("ddp") else strategy
    if launched():
        return "ddp" if strategy == "auto" else strategy
    if strategy == "auto":
        return "ddp_spawn"
    plain = strategy == "ddp" or strategy.startswith("ddp_find_unused")
    return strategy.replace("ddp", "ddp_spawn", 1) if plain else strategy
