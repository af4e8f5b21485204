"""The frozen forward pass as people run it, ours, and every other way that torch offers; beside the machine's own rate.

Run: OMP_NUM_THREADS=1 python benchmarks/forward.py [NAME ...] [--rounds 5] [--batch 32] [--grid] [--compile]
     NAME is a classifier of torchvision: resnet18, resnet50 and mobilenet_v2 if none is given.

Weights are random (statistics of norms are not: one pass in training mode sets them), since neither time nor rounding
depends on them. All run in this process in turn; a figure is the median of the rounds by processor time, which other
processes on the machine disturb least. The ways:

  as commonly run   gradients off, norms left in training mode, contiguous maps: what a loop with a frozen backbone does
  ours              what `features`, `predict` and `evaluate` do (finetune/models/fast.py), from the same pictures
  with --grid       {as it is, folded, fused} x {contiguous, channels last} x {fp32, bf16}, whole batches and four
                    pictures at a time, and the blocked layout of torch.utils.mkldnn; with --compile also torch.compile
                    with frozen weights, which takes minutes and a compiler

"sgemm" is torch's product of two 2048x2048 matrices, "oneDNN" the same product by the library that convolves.
"""

from __future__ import annotations

import argparse
import contextlib
import copy
import statistics
import warnings
from collections.abc import Callable
from typing import Any

import torch
from clock import processor_seconds
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode
from torch.utils.mkldnn import to_mkldnn

import finetune as ft
from finetune.models.fast import ENOUGH, fast
from finetune.models.folding import folded
from finetune.models.network import Network

NAMES = ("resnet18", "resnet50", "mobilenet_v2")
SIDE = 2048
Work = Callable[[], Any]


def cpu_seconds(work: Work) -> float:
    start = processor_seconds()
    work()
    return processor_seconds() - start


def in_turn(works: dict[str, Work], rounds: int) -> dict[str, float]:
    """The median processor time of each; the first round, which sets things up, is not counted."""
    seconds: dict[str, list[float]] = {name: [] for name in works}
    for turn in range(rounds + 1):
        for name, work in works.items():
            taken = cpu_seconds(work)
            if turn:
                seconds[name].append(taken)
    return {name: statistics.median(values) for name, values in seconds.items()}


def rates() -> dict[str, Work]:
    """The machine's own rate, by two libraries."""
    a, b = torch.rand(SIDE, SIDE), torch.rand(SIDE, SIDE)
    works: dict[str, Work] = {"sgemm": lambda: a @ b}
    if torch.backends.mkldnn.is_available():
        packed = torch.ops.mkldnn._reorder_linear_weight(b, SIDE)
        works["oneDNN"] = lambda: torch.ops.mkldnn._linear_pointwise(a, packed, None, "none", [], "")
    return works


def grid(network: Network, x: Tensor, *, compiled: bool) -> dict[str, Work]:
    """Each way of the same arithmetic, on pictures that are normalised already."""
    last = x.contiguous(memory_format=torch.channels_last)
    graph, _ = folded(network)
    bodies = {"as it is": network.body, "folded": graph}
    works: dict[str, Work] = {}
    for name, body in bodies.items():
        for layout, pictures in (("contiguous", x), ("channels last", last)):
            kind = torch.contiguous_format if layout == "contiguous" else torch.channels_last
            own: Any = copy.deepcopy(body).to(memory_format=kind)
            works[f"{name}, {layout}"] = lambda own=own, pictures=pictures: own(pictures)

    def autocast() -> None:
        with torch.autocast("cpu", torch.bfloat16):
            graph(last)

    works["folded, channels last, bf16"] = autocast
    fused = fast(network, x, count=ENOUGH, ways=("fused",))
    works["fused"] = lambda: fused.body(last)
    works["fused, 4 at a time"] = lambda: [fused.body(part) for part in last.split(4)]
    works["folded, 4 at a time"] = lambda: [graph(part) for part in last.split(4)]
    with contextlib.suppress(NotImplementedError):  # ReLU6, for one, is not known to that layout
        blocked = to_mkldnn(copy.deepcopy(graph))
        blocked(x.to_mkldnn())
        works["folded, torch.utils.mkldnn"] = lambda: blocked(x.to_mkldnn()).to_dense()
    if compiled:
        from torch._inductor import config

        config.freezing = True
        made = torch.compile(copy.deepcopy(network.body).to(memory_format=torch.channels_last))
        works["compiled, weights frozen"] = lambda: made(last)
    return works


def measure(name: str, *, batch: int, rounds: int, all_ways: bool, compiled: bool) -> None:
    torch.manual_seed(0)
    network = ft.Backbone(f"torchvision/{name}", weights="none").build(10).requires_grad_(False)
    pictures = torch.randint(0, 256, (batch, 3, *network.spec.size), dtype=torch.uint8)
    x = network.normalised(pictures)
    for norm in network.modules():
        if isinstance(norm, torch.nn.BatchNorm2d):
            norm.momentum = None  # the mean over what it has seen: after one pass, that of the pictures
    network.train()(pictures)
    common = copy.deepcopy(network)
    network.eval()
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network.body(x[:1])
    work = counter.get_total_flops() * batch
    ours = fast(network, pictures, count=ENOUGH)
    with torch.inference_mode():
        works: dict[str, Work] = {
            "as commonly run": lambda: common.features(pictures),
            "ours": lambda: ours.features(pictures),
        }
        works |= (grid(network, x, compiled=compiled) if all_ways else {}) | rates()
        seconds = in_turn(works, rounds)
        expected, found = network.features(pictures), ours.features(pictures)
    apart = float((found - expected).abs().max() / expected.abs().max())
    own = {kind: 2 * SIDE**3 / seconds.pop(kind) for kind in ("sgemm", "oneDNN") if kind in seconds}
    said = ", ".join(f"{kind} {rate / 1e9:.1f} GFLOP/s" for kind, rate in own.items())
    threads = torch.get_num_threads()
    print(f"\n{name}: {work / batch / 1e9:.2f} GFLOP a picture, batches of {batch}, {threads} threads; {said}")
    print(f"ours took the way {ours.way!r}; largest difference from the plain features {apart:.1e} of the largest one")
    for kind, taken in seconds.items():
        share = ", ".join(f"{100 * work / taken / rate:3.0f} % of {name}" for name, rate in own.items())
        print(
            f"{kind:28s} {1e3 * taken / batch:7.2f} ms a picture, x {seconds['as commonly run'] / taken:.2f}, {share}"
        )
    others = [taken for kind, taken in seconds.items() if kind not in ("as commonly run", "ours")]
    if others:
        print(f"ours, normalising included, over the best of the grid: {seconds['ours'] / min(others):.3f}")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("names", nargs="*", default=NAMES)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--grid", action="store_true")
    parser.add_argument("--compile", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    warnings.simplefilter("ignore")
    for name in options.names:
        measure(
            name,
            batch=options.batch,
            rounds=options.rounds,
            all_ways=options.grid or options.compile,
            compiled=options.compile,
        )


if __name__ == "__main__":
    main()
