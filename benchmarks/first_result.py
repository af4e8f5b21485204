"""How long it takes until hymenoptera's validation part is answered right at 94 %: `fit` as it comes, and fastai.

Run: OMP_NUM_THREADS=1 FINETUNE_SHARED=../shared FINETUNE_PEERS=FOLDER python benchmarks/first_result.py [--rounds 3]
         [--epochs 1 2 4 8 16] [--accuracy 0.94]

Both start from MobileNet v2 of torchvision with the same weights and mean = std = 0.5. Ours is `ft.fit` with no word on
how; its clock stops when `metrics.csv` has a row at the accuracy, and once more at its end, when the folder is whole.
fastai's `vision_learner(...).fine_tune(N)` runs with each N of --epochs, the lowest first, since N is to be said
before; its clock stops at the first epoch at the accuracy, and runs that did not get there are told but not counted.
Our clock runs from `ft.fit` on and fastai's from its data loaders on, each with torch imported. Seconds are processor
time of the process and of those that it started; each run has a process of its own, with a seed a round.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import warnings
from pathlib import Path
from typing import Any

import peers
from clock import processor_seconds
from quality_methods import BATCH, SIDE, mobilenet, weights
from quality_sets import root

Reached = list[tuple[float, float]]
"""Seconds since the start, and the accuracy that was known then."""


def ours(seed: int) -> dict[str, Any]:
    import finetune as ft

    known: Reached = []
    with tempfile.TemporaryDirectory() as folder:
        out, ended = Path(folder) / "run", threading.Event()
        start = processor_seconds()
        watcher = threading.Thread(target=follow, args=(out / "metrics.csv", start, ended, known))
        watcher.start()
        ft.fit(
            str(root() / "data" / "hymenoptera"), backbone="torchvision/mobilenet_v2", weights=str(weights()), mean=0.5,
            std=0.5, seed=seed, accelerator="cpu", out=str(out), verbose=False,
        )  # fmt: skip
        whole = processor_seconds() - start
        ended.set()
        watcher.join()
        metrics = json.loads((out / "metrics.json").read_text())
    return {"known": known, "whole": whole, "accuracy": metrics["validation"]["accuracy"]["value"]}


def follow(path: Path, start: float, ended: threading.Event, known: Reached) -> None:
    """Notes each new row of a table of epochs, and when it was there."""
    while not ended.wait(0.2):
        if path.exists():
            with path.open(newline="") as stream:
                rows = [row for row in csv.DictReader(stream) if row.get("validation_accuracy")]
            now = processor_seconds() - start
            known += [(now, float(row["validation_accuracy"])) for row in rows[len(known) :]]


def fastai(seed: int, epochs: int) -> dict[str, Any]:
    peers.admit()
    from fastai.vision import all as fv
    from torch import device, nn

    fv.set_seed(seed)
    known: Reached = []
    start = processor_seconds()
    loaders = fv.ImageDataLoaders.from_folder(
        root() / "data" / "hymenoptera", train="train", valid="val", bs=BATCH, num_workers=0, device=device("cpu"),
        item_tfms=fv.Resize(460),
        batch_tfms=[*fv.aug_transforms(size=SIDE), fv.Normalize.from_stats((0.5,) * 3, (0.5,) * 3, cuda=False)],
    )  # fmt: skip

    class Noted(fv.Callback):  # type: ignore[misc]
        order = 60  # after the one that works the measures out

        def after_epoch(self) -> None:
            known.append((processor_seconds() - start, float(self.recorder.log[3])))

    def body(**_: Any) -> nn.Module:
        return nn.Sequential(mobilenet(None).features, nn.AdaptiveAvgPool2d(1))  # it cuts at the last pooling layer

    learner = fv.vision_learner(loaders, body, normalize=False, metrics=fv.accuracy, cbs=Noted())
    with learner.no_bar(), learner.no_logging():
        learner.fine_tune(epochs)
    return {"known": known, "whole": processor_seconds() - start, "accuracy": known[-1][1]}


def once(way: str, seed: int) -> dict[str, Any]:
    """One run in a process of its own: "ours", or fastai's with a number of epochs."""
    path = os.pathsep.join(filter(None, [str(Path(__file__).parent.parent), os.environ.get("PYTHONPATH")]))
    done = subprocess.run(
        [sys.executable, __file__, "--one", way, str(seed)], env=os.environ | {"PYTHONPATH": path},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode:
        raise SystemExit(done.stderr.strip()[-2000:])
    answer: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return answer


def sentence(told: dict[str, Any], reached: float | None) -> str:
    first = f"there after {reached:.1f} s" if reached is not None else "never there"
    best = max(accuracy for _, accuracy in told["known"])
    return f"{first}, best {best:.3f}; whole {told['whole']:.1f} s, at its end {told['accuracy']:.3f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3, help="each with a seed of its own, from 0")
    parser.add_argument("--epochs", type=int, nargs="+", default=[1, 2, 4, 8, 16])
    parser.add_argument("--accuracy", type=float, default=0.94)
    parser.add_argument("--one", nargs=2, metavar=("WAY", "SEED"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    warnings.filterwarnings("ignore")
    if options.one:
        way, seed = options.one[0], int(options.one[1])
        print(json.dumps(ours(seed) if way == "ours" else fastai(seed, int(way))))
        return
    taken: dict[str, list[float]] = {"ours": [], "ours, whole": [], "fastai": []}
    for seed in range(options.rounds):
        for way in ("ours", *map(str, options.epochs)):
            told = once(way, seed)
            reached = next((after for after, accuracy in told["known"] if accuracy >= options.accuracy), None)
            name = way if way == "ours" else f"fastai, fine_tune({way})"
            print(f"seed {seed}, {name}: {sentence(told, reached)}", flush=True)
            if way == "ours":
                taken["ours, whole"].append(told["whole"])
            if reached is not None:
                taken["ours" if way == "ours" else "fastai"].append(reached)
                if way != "ours":
                    break  # the fewest epochs that get there
    for name, seconds in taken.items():
        if seconds:
            span = f"{min(seconds):.1f} to {max(seconds):.1f}"
            print(f"{name}: {statistics.median(seconds):.1f} s ({span}, {len(seconds)} of {options.rounds})")


if __name__ == "__main__":
    main()
