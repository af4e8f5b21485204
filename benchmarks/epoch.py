"""An epoch of full fine-tuning beside a plain torch loop, Lightning, transformers' Trainer and fastai, in turn.

Run: OMP_NUM_THREADS=1 python benchmarks/epoch.py FOLDER [--pictures 96] [--rounds 5] [--network resnet18] [--only ...]

FOLDER holds a folder a class. All train torchvision's network from random weights (which costs what pretrained ones
do) on the same pictures, files as they are, in batches of --batch: RandomResizedCrop to 224 and mirror, SGD with
momentum, normalisation in training mode, no clipping, no validation, no workers. Each has a process of its own and is
told when to go on: one epoch each in turn. The first is not counted; a figure is the median of the others by processor
time of the process. Pictures are counted where they enter the network, since fastai drops a last batch that is
not full.

"finetune" is a phase as `fit` runs it, its cache of pictures included, and so from the second epoch on; "bare loop" the
same loader, network, optimizer and memory format in a loop of ten lines, which shows what the layers between cost;
"finetune, clipping" clips gradients, as `fit` does by default; "finetune, lowest frozen" leaves the lowest stages as
they are, as `fit` does for up to 5,000 examples. "sgemm" is the rate of the machine's own matrix product in the same
turns: what share of it an epoch reaches says how much could still be won by other kernels.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
WAYS = (
    "plain loop",
    "Lightning",
    "transformers",
    "fastai",
    "finetune",
    "finetune, clipping",
    "finetune, lowest frozen",
    "bare loop",
    "sgemm",
)
SIDE = 224


class Way:
    """A process that runs one epoch at a time."""

    def __init__(self, name: str, options: Any, folder: Path, scratch: Path) -> None:
        self.name = name
        self.laps: list[dict[str, float]] = []
        self.absent: str | None = None
        scratch.mkdir()
        environment = os.environ | {
            "OMP_NUM_THREADS": str(options.threads), "FINETUNE_CACHE": str(scratch / "cache"), "HF_HUB_OFFLINE": "1",
            "PYTHONPATH": os.pathsep.join(filter(None, [str(HERE.parent), os.environ.get("PYTHONPATH")])),
        }  # fmt: skip
        words = [str(folder), str(scratch), options.network, name, str(options.batch)]
        self._log = (scratch / "log").open("w+")
        self._process = subprocess.Popen(
            [sys.executable, str(HERE / "epoch_ways.py"), *words], env=environment, text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._log,
        )  # fmt: skip
        self._line()

    def lap(self) -> None:
        """Lets it run one epoch."""
        if self.absent is None:
            assert self._process.stdin is not None  # noqa: S101  # a pipe was asked for
            with contextlib.suppress(BrokenPipeError):  # it has ended; the next line says why
                print("go", file=self._process.stdin, flush=True)
            line = self._line()
            self.absent = line.get("absent")
            if self.absent is None:
                self.laps.append(line)

    def close(self) -> None:
        """Ends it, wherever it is."""
        self._process.kill()
        self._process.wait()

    def _line(self) -> dict[str, Any]:
        assert self._process.stdout is not None  # noqa: S101  # likewise
        line = self._process.stdout.readline()
        if not line:
            self._log.seek(0)
            return {"absent": "it failed: " + (self._log.read().strip().splitlines() or ["nothing was said"])[-1]}
        told: dict[str, Any] = json.loads(line)
        return told


def chosen(folder: Path, count: int, root: Path) -> Path:
    """A folder with copies of as many pictures, each class by turns."""
    by_class = [sorted(path.iterdir()) for path in sorted(folder.iterdir()) if path.is_dir()]
    longest = max(map(len, by_class))
    turns = [files[i] for i in range(longest) for files in by_class if i < len(files)][:count]
    if len(turns) < count:
        raise SystemExit(f"{folder} holds {len(turns)} pictures. Expected {count} or more.")
    for path in turns:
        place = root / path.parent.name / path.name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(path.read_bytes())
    return root


def operations(name: str) -> float:
    """Additions and multiplications of a forward and backward pass of one picture, as torch counts them."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode
    from torchvision import models

    network = getattr(models, name)(num_classes=2)
    with FlopCounterMode(display=False) as counter:
        network(torch.rand(2, 3, SIDE, SIDE)).sum().backward()
    return counter.get_total_flops() / 2


def table(ways: list[Way], share: float) -> list[str]:
    """Markdown: what an epoch takes, beside the plain loop, and as a share of the machine's own rate."""
    rates = {way.name: [lap["pictures"] / lap["cpu"] for lap in way.laps[1:]] for way in ways if way.laps[1:]}
    machine = [lap["operations"] / lap["cpu"] for way in ways for lap in way.laps[1:] if "operations" in lap]
    rates.pop("sgemm", None)
    base = statistics.median(rates["plain loop"]) if "plain loop" in rates else float("nan")
    lines = [
        "| epoch | pictures | pictures a second of processor time | beside the plain loop | share of sgemm |",
        "| --- | --: | --: | --: | --: |",
    ]
    for way in ways:
        if way.absent is not None:
            lines.append(f"| {way.name} | | left out: {way.absent} | | |")
        elif way.name in rates:
            middle = statistics.median(rates[way.name])
            part = f"{middle * share / statistics.median(machine):.0%}" if machine else ""
            lines.append(
                f"| {way.name} | {way.laps[-1]['pictures']} | {middle:.2f} ({min(rates[way.name]):.2f} to "
                f"{max(rates[way.name]):.2f}) | {middle / base:.2f} | {part} |"
            )
    if machine:
        lines += ["", f"sgemm: {statistics.median(machine) / 1e9:.1f} GFLOP/s ({min(machine) / 1e9:.1f} to "
                      f"{max(machine) / 1e9:.1f}), {share / 1e9:.2f} GFLOP a picture."]  # fmt: skip
    if "bare loop" in rates and "finetune" in rates:
        pairs = zip(rates["bare loop"], rates["finetune"], strict=True)
        ratios = [bare / mine for bare, mine in pairs]
        lines += ["", f"finetune takes {statistics.median(ratios):.3f} times the processor time of the bare loop "
                      f"(turn by turn: {', '.join(f'{ratio:.3f}' for ratio in ratios)})."]  # fmt: skip
    return lines


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--pictures", type=int, default=96)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--network", default="resnet18", help="of torchvision")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--only", nargs="+", choices=WAYS, default=WAYS)
    options = parser.parse_args()
    ways: list[Way] = []
    with tempfile.TemporaryDirectory() as root:
        try:
            folder = chosen(options.folder, options.pictures, Path(root) / "pictures")
            for number, name in enumerate(options.only):
                ways.append(Way(name, options, folder, Path(root) / str(number)))
            share = operations(options.network)
            loads = []
            for _ in range(options.rounds + 1):  # the first is not counted
                for way in ways:
                    way.lap()
                loads.append(os.getloadavg()[0])
        finally:
            for way in ways:
                way.close()
    print(
        f"{options.network} from random weights, {options.pictures} pictures in batches of {options.batch}, "
        f"{options.rounds} rounds in turn, {options.threads} thread, load {min(loads):.0f} to {max(loads):.0f}\n"
    )
    print("\n".join(table(ways, share)))


if __name__ == "__main__":
    main()
