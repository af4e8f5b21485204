"""Is what `finetune plan` foresees of several ranks what they then do? CPU ranks of this machine stand in for GPUs.

    OMP_NUM_THREADS=1 python benchmarks/scaling.py [BACKBONE] [--batch 2] [--size 64] [--ranks 1,2,4] [--rounds 3]

Each rank takes steps on made-up pictures with DDP over gloo, as in a run; beside that, gradients as large as the
network's are exchanged with nothing else going on. The speed of the link follows from the latter by the formula of
docs/scaling.md, and with it the bracket for the steps. Where there are more ranks than processors, a rank gets its
share of one, and the table says so.
Ratios are of one run, and rounds take turns; of each round the fastest tenth of its steps counts.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from pathlib import Path

import torch
import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel

import finetune as ft
from finetune.data.loaders import cpu_count
from finetune.training.optimizers import make_optimizer
from finetune.training.traffic import efficiency, ring_bytes

WARM, TIMED = 3, 40


def steps_of_a_rank(rank: int, world: int, words: argparse.Namespace, folder: str) -> None:
    """Takes steps, then exchanges gradients alone; writes the seconds of both."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    network = ft.Backbone(words.backbone, weights="none", input_size=words.size).build(10).train()
    pictures = torch.zeros(words.batch, 3, words.size, words.size, dtype=torch.uint8)
    target = torch.arange(words.batch) % 10
    model: torch.nn.Module = network
    if world > 1:
        dist.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=world)
        model = DistributedDataParallel(network)
    groups = ft.param_groups(network, lr=1e-4)
    optimizer = make_optimizer("sgd", groups, lr=1e-4)

    def step() -> None:
        torch.nn.functional.cross_entropy(model(pictures), target).backward()
        optimizer.step()
        optimizer.zero_grad()

    seconds = timed(step, world)
    numbers = sum(p.numel() for p in network.parameters())
    gradients = torch.zeros(numbers)
    exchange = timed(lambda: dist.all_reduce(gradients), world) if world > 1 else 0.0
    Path(folder, f"{rank}.txt").write_text(f"{seconds} {exchange} {4 * numbers}")
    if world > 1:
        dist.destroy_process_group()


def timed(what, world: int) -> float:
    """The fastest tenth of some calls, after a few that do not count: the others wait for strangers."""
    taken = []
    for number in range(WARM + TIMED):
        if world > 1:
            dist.barrier()
        began = time.perf_counter()
        what()
        if number >= WARM:
            taken.append(time.perf_counter() - began)
    return statistics.quantiles(taken, n=10)[0]


def measured(world: int, words: argparse.Namespace) -> tuple[float, float, int]:
    """Seconds of a step and of an exchange on the slowest rank, and the bytes of the gradients."""
    with tempfile.TemporaryDirectory() as folder:
        torch.multiprocessing.spawn(steps_of_a_rank, (world, words, folder), nprocs=world)
        found = [[float(word) for word in file.read_text().split()] for file in Path(folder).glob("*.txt")]
    return max(row[0] for row in found), max(row[1] for row in found), int(found[0][2])


def main() -> None:
    """Prints a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("backbone", nargs="?", default="timm/mobilenetv2_100")
    parser.add_argument("--batch", type=int, default=2)
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--ranks", default="1,2,4")
    parser.add_argument("--rounds", type=int, default=3)
    words = parser.parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    worlds = [int(word) for word in words.ranks.split(",")]
    rounds: dict[int, list[tuple[float, float, int]]] = {world: [] for world in worlds}
    for _ in range(words.rounds):
        for world in worlds:
            rounds[world].append(measured(world, words))
    cores = cpu_count()
    alone = statistics.median(row[0] for row in rounds[worlds[0]])
    print(
        f"{words.backbone}, {words.batch} pictures of {words.size} pixels a rank, one thread each, {cores} processors"
    )
    print(f"one rank: {1000 * alone:.0f} ms a step")
    for world in worlds[1:]:
        step, exchange, gradients = (statistics.median(row[n] for row in rounds[world]) for n in range(3))
        crowd = max(1.0, world / cores)
        speed = ring_bytes(int(gradients), world) / exchange
        found = efficiency(crowd * alone, exchange)
        reached = crowd * alone / step
        spread = [f"{crowd * alone / row[0]:.0%}" for row in rounds[world]]
        shared = f", {crowd:g} ranks a processor, which is counted" if crowd > 1 else ""
        print(
            f"{world} ranks: gradients of {gradients / 1e6:.1f} MB in {1000 * exchange:.0f} ms, so a link of "
            f"{8 * speed / 1e9:.2f} Gb; foreseen {found.least:.0%} to {found.most:.0%}, reached {reached:.0%} "
            f"({', '.join(spread)}){shared}"
        )


if __name__ == "__main__":
    main()
