"""What a probe costs beside one bare forward pass of its backbone over the same decoded pictures.

Run: python benchmarks/probe_cost.py FOLDER [--backbone torchvision/mobilenet_v2] [--weights FILE] [--rounds 5]

All are timed in turn in one process, and the ratios of the medians are printed. "plain" is the loop that people write:
batches of 32, evaluation mode, no gradient, pictures decoded beforehand. "features" reads and decodes the files too.
"fit" is all of `ft.fit`: that, the folds that choose the penalty, the intervals and the saved model. The cache of
features is empty in every round.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from clock import processor_seconds

import finetune as ft
from finetune.data.examples import read_examples
from finetune.data.loaders import stream
from finetune.data.options import Data
from finetune.features import features


def timed(work: Callable[[], Any]) -> tuple[float, float]:
    """Wall and processor seconds."""
    wall, cpu = time.perf_counter(), processor_seconds()
    work()
    return time.perf_counter() - wall, processor_seconds() - cpu


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("folder")
    parser.add_argument("--backbone", default="torchvision/mobilenet_v2")
    parser.add_argument("--weights", default="none")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    options = parser.parse_args()
    torch.set_num_threads(options.threads)

    examples = read_examples(Data(source=options.folder))
    network = ft.Backbone(options.backbone, weights=options.weights).build(2).eval()
    # As `torch.stack` lays pictures out; ours come channels last, in which most networks are faster.
    decoded = torch.cat([inputs for _, inputs, _ in stream(examples, network.spec)]).contiguous()

    def plain() -> None:
        with torch.no_grad():
            for start in range(0, len(decoded), 32):
                network.features(decoded[start : start + 32])

    def computed() -> None:
        with tempfile.TemporaryDirectory() as cache:
            features(network, examples, cache=Path(cache))

    def fitted() -> None:
        with tempfile.TemporaryDirectory() as folder, torch.random.fork_rng():
            patch = Path(folder)
            os.environ["FINETUNE_CACHE"] = str(patch / "cache")
            ft.fit(options.folder, backbone=options.backbone, weights=options.weights, method="probe",
                   accelerator="cpu", verbose=False, out=patch / "run")  # fmt: skip

    works = {"plain": plain, "features": computed, "fit": fitted}
    for work in works.values():
        work()
    seconds: dict[str, list[tuple[float, float]]] = {name: [] for name in works}
    for _ in range(options.rounds):
        for name, work in works.items():
            seconds[name].append(timed(work))
    print(f"{len(examples)} pictures, {options.backbone}, {options.threads} threads, {options.rounds} rounds in turn")
    base = [statistics.median(column) for column in zip(*seconds["plain"], strict=True)]
    for name, values in seconds.items():
        wall, cpu = (np.array(column) for column in zip(*values, strict=True))
        print(
            f"{name:9s} wall {np.median(wall):6.2f} s ({wall.min():.2f} to {wall.max():.2f}), "
            f"{np.median(wall) / base[0]:.2f} x plain; "
            f"processor {np.median(cpu):6.2f} s, {np.median(cpu) / base[1]:.2f} x"
        )


if __name__ == "__main__":
    main()
