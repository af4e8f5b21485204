"""What this machine is asked to do: the choices that "auto" leaves open, made once and recorded."""

from __future__ import annotations

import random
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from ..data.loaders import cpu_count
from ..errors import ConfigError, nearest
from ..features import device_for
from .place import Place, place
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
        """Decides what the plan leaves to the machine.

        Raises:
            ConfigError: Devices, nodes or a strategy that cannot be had here.
        """
        accelerator = device_for(plan.accelerator).type
        launched = place()
        plan = plan if launched is None else _as_launched(plan, launched, accelerator)
        devices = _devices(plan.devices, accelerator)
        count = devices if isinstance(devices, int) else len(devices)
        world_size = count * plan.num_nodes
        _check(plan, accelerator, count)
        if plan.batch_size != "auto":
            accumulation(plan, world_size)
        precision = plan.precision
        if precision == "auto":
            bf16 = accelerator == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
            # On CPUs bf16 is no gain that a flag could promise: measured 0.8 times fp32 on one that lists it.
            precision = "bf16-mixed" if bf16 else "32-true"
        workers = plan.workers
        if workers is None:
            workers = suitable_workers(cpu_count() // count, accelerator)
        return cls(
            accelerator=accelerator, devices=devices, num_nodes=plan.num_nodes, world_size=world_size,
            strategy=_strategy(plan.strategy, world_size, launched=launched is not None), precision=precision,
            workers=workers,
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
            **({"plugins": [_by_itself()]} if self.world_size == 1 and place() is not None else {}),
        }

    def recorded(self, plan: Plan) -> Plan:
        """The plan with nothing left open, so that a run from the record makes the same choices."""
        return replace(
            plan, accelerator=self.accelerator, devices=self.devices, precision=self.precision, workers=self.workers
        )


def accumulation(plan: Plan, world_size: int) -> int:
    """Over how many batches gradients are added, so that a step sees `plan.effective_batch` pictures.

    Raises:
        ConfigError: No whole number of batches gives it.
    """
    if plan.effective_batch is None:
        return plan.accumulate
    together = plan.batch * world_size
    if plan.effective_batch % together:
        raise ConfigError(
            f"effective_batch must be a multiple of {together}, the pictures that {world_size} devices see at once. "
            f"Got {plan.effective_batch}."
        )
    return plan.effective_batch // together


def batches_an_epoch(plan: Plan, world_size: int, examples: int) -> int:
    """How many batches each device has in an epoch.

    Args:
        plan: Its batch.
        world_size: Devices.
        examples: To train on, in all.
    """
    share, size = -(-examples // world_size), plan.batch
    batches = -(-share // size)
    # The loader leaves out a last batch of one.
    return batches - 1 if batches > 1 and share % size == 1 and size > 1 else batches


def scaling(plan: Plan, world_size: int) -> float:
    """What rates are multiplied by: k n / reference of Goyal et al. 2017, arXiv 1706.02677, where the plan scales them.

    Args:
        plan: Its batch n, and how many of them are added up.
        world_size: Processes, each with batches of its own; with what is added up these are the k.
    """
    pictures = plan.batch * accumulation(plan, world_size) * world_size
    return pictures / plan.reference_batch if plan.scale_lr else 1.0


def suitable_workers(cores: int, accelerator: str) -> int:
    """How many processes read pictures for a rank.

    Args:
        cores: The rank's share of the machine's processors.
        accelerator: Where it computes.
    """
    if accelerator == "cpu" and cores <= 2:
        return 0  # they would only take time from the computing
    # One core is left to the rank itself. Eight read thousands of pictures a second, more than networks learn from; and
    # an accelerator waits less for one reader than for itself, also where there is but one core.
    return min(8, max(1, cores - 1))


def seed_all(seed: int) -> None:
    """Seeds Python, NumPy and torch."""
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)


def _check(plan: Plan, accelerator: str, count: int) -> None:
    """Refuses what would go wrong later, before any file is read."""
    wrong = []
    have = count if accelerator == "cpu" else torch.accelerator.device_count()
    devices = _devices(plan.devices, accelerator)
    if not isinstance(devices, int) and accelerator == "cpu":
        wrong.append(f"On a CPU --devices is a number of processes. Got {plan.devices!r}.")
    elif not isinstance(devices, int) and (not devices or len(set(devices)) < count or max(devices) >= have):
        wrong.append(f"--devices names what this machine does not have: it has 0 to {have - 1}. Got {plan.devices!r}.")
    elif count > have:
        wrong.append(f"{count} devices were asked for, and this machine has {have}. Say --devices {have}, or auto.")
    if plan.num_nodes > 1 and place() is None:
        wrong.append(
            f"{plan.num_nodes} nodes were asked for, and nobody has started processes on them. Start the same command "
            "on each with torchrun or srun, as docs/cluster shows; on one machine --devices N starts them by itself."
        )
    if plan.strategy != "auto":
        from lightning.pytorch.strategies import StrategyRegistry

        known = StrategyRegistry.available_strategies()
        if plan.strategy not in known:
            wrong.append(f'Unknown strategy "{plan.strategy}".{nearest(plan.strategy, known)}')
    if wrong:
        raise ConfigError("\n".join(wrong))


def _by_itself() -> Any:
    """What tells Lightning that a fit of one process is none of those that a launcher has started."""
    from lightning.fabric.plugins.environments.lightning import LightningEnvironment

    return LightningEnvironment()


def _as_launched(plan: Plan, launched: Place, accelerator: str) -> Plan:
    """The plan with as many devices and nodes as the launcher has started processes for.

    Raises:
        ConfigError: Others were asked for.
    """
    asked = _devices(plan.devices, accelerator) if plan.devices != "auto" else launched.local_size
    count = asked if isinstance(asked, int) else len(asked)
    if count != launched.local_size or plan.num_nodes not in (1, launched.num_nodes):
        raise ConfigError(
            f"{launched.local_size} processes were started on each of {launched.num_nodes} machines, one a device. "
            f"Got devices={plan.devices!r} and num_nodes={plan.num_nodes}: leave them out, or say the same."
        )
    return replace(plan, devices=launched.local_size, num_nodes=launched.num_nodes)


def _devices(devices: int | str | tuple[int, ...], accelerator: str) -> int | tuple[int, ...]:
    if isinstance(devices, str):
        if devices != "auto":
            return tuple(int(d) for d in devices.split(",") if d.strip()) if "," in devices else int(devices)
        return 1 if accelerator == "cpu" else max(1, torch.accelerator.device_count())
    return devices


def _strategy(strategy: str, world_size: int, *, launched: bool) -> str:
    """One process a device, started by Lightning from this one.

    Lightning's own "ddp" starts its ranks by running the whole command again, once a device: every one of them would
    read, check and split the data anew. Spawned ranks run the fit and nothing else.
    """
    if world_size == 1:
        return "auto" if strategy.startswith("ddp") else strategy
    if launched:  # the ranks are there already
        return "ddp" if strategy == "auto" else strategy.replace("ddp_spawn", "ddp", 1)
    if strategy == "auto":
        return "ddp_spawn"
    plain = strategy == "ddp" or strategy.startswith("ddp_find_unused")
    return strategy.replace("ddp", "ddp_spawn", 1) if plain else strategy
