"""The main job on real handwritten digits, from nothing, in under two minutes.

What was learned on one task must help on another, and only because it was learned: so the frozen backbone with a new
head is put beside the same network from scratch, and beside a backbone pretrained on the same pictures under shuffled
labels, which has seen as much and understood nothing.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from .errors import RunFolderError, listing
from .fit import fit
from .folder import read_json, write_json

PRETRAINING_EPOCHS = 15
SHOTS = 2
# From 20 pictures an epoch is a single step: this many is where the scratch network's loss has long been flat.
SCRATCH_EPOCHS = 100
ARMS = {
    "transfer": "frozen backbone pretrained on other digits, new head",
    "scratch": "the same network from random weights, all of it trained",
    "shuffled": "frozen backbone pretrained under shuffled labels, new head",
}
MARK = "demo.json"
OURS = {MARK, "report.md", "pictures", "pretrained-source", "pretrained-shuffled", *ARMS, ".DS_Store"}


def run_demo(out: str | Path, *, seed: int = 0, as_json: bool = False, say: Callable[[str], None] | None = None) -> int:
    """Writes the pictures, pretrains, transfers, compares.

    Args:
        out: The folder; an earlier demo in it is replaced.
        seed: Chooses the pictures of each part, and seeds the training.
        as_json: Prints the three accuracies as JSON and nothing else on standard output.
        say: Is told of the progress; standard error by default.

    Returns:
        0 where transfer wins with intervals apart, else 1.

    Raises:
        RunFolderError: `out` holds something that is no demo.
    """
    tell = say or (lambda line: print(line, file=sys.stderr, flush=True))  # noqa: T201  # the demo's own progress
    folder = Path(out).absolute()
    _claim(folder)
    tell(f"Writing real handwritten digits (scikit-learn's) as PNG files to {folder / 'pictures'}")
    write_pictures(folder / "pictures", seed)

    words: dict[str, Any] = {"backbone": "finetune/lenet5", "seed": seed, "verbose": False, "overwrite": True,
                             "augment": "none", "accelerator": "cpu"}  # fmt: skip
    pretraining = {**words, "weights": "none", "method": "full", "epochs": PRETRAINING_EPOCHS, "lr": 3e-3}
    backbones = {}
    for name, labels in (("source", "their own labels"), ("shuffled", "shuffled labels")):
        tell(f"Pretraining a small backbone on 900 of them under {labels}")
        model = fit(folder / "pictures" / name, out=folder / f"pretrained-{name}", **pretraining)
        backbones[name] = str(model.folder / "model")

    target = folder / "pictures" / "target"
    tell(f"Fitting three networks to {SHOTS} pictures a class of another task, whose labels have other names")
    arms = {
        "transfer": fit(target, out=folder / "transfer", weights=backbones["source"], method="probe", **words),
        "scratch": fit(target, out=folder / "scratch", weights="none", method="full", epochs=SCRATCH_EPOCHS, **words),
        "shuffled": fit(target, out=folder / "shuffled", weights=backbones["shuffled"], method="probe", **words),
    }
    figures = {name: model.metrics["test"]["accuracy"] for name, model in arms.items()}
    return _judge(folder, figures, as_json, tell)


def write_pictures(folder: Path, seed: int) -> None:
    """Writes class folders of 32 x 32 PNG files.

    `source/` has 900 digits under their names; `shuffled/` the same files under labels drawn from a hat; `target/` the
    others, in `train/` 2 a class and the rest in `test/`, under letters that stand for the digits in a random order.
    """
    from PIL import Image
    from sklearn.datasets import load_digits

    digits = load_digits()
    ink = np.rint(255 - digits.images * (255 / 16)).astype(np.uint8)  # dark on light, as on paper
    order = np.random.default_rng(seed).permutation(len(ink))
    source, target = order[:900], order[900:]
    hat = np.random.default_rng(seed + 1).permutation(digits.target[source])
    letters = np.random.default_rng(seed + 2).permutation(list("abcdefghij"))

    def write(number: int, place: Path) -> None:
        place.mkdir(parents=True, exist_ok=True)
        picture = Image.fromarray(ink[number]).resize((32, 32), Image.Resampling.BICUBIC)
        picture.save(place / f"digit-{number:04d}.png")

    for number, drawn in zip(source, hat, strict=True):
        write(number, folder / "source" / str(digits.target[number]))
        write(number, folder / "shuffled" / str(drawn))
    taken = dict.fromkeys(range(10), 0)
    for number in target:
        digit = int(digits.target[number])
        part = "train" if taken[digit] < SHOTS else "test"
        taken[digit] += 1
        write(number, folder / "target" / part / letters[digit])


def _claim(folder: Path) -> None:
    """Empties the folder of an earlier demo; anything else in the way is refused."""
    import shutil

    found = {entry.name for entry in folder.iterdir()} if folder.is_dir() else set()
    if folder.is_file() or (found and not _is_demo(folder / MARK)):
        raise RunFolderError(f"{folder} exists and is no earlier demo. Expected a new folder; choose another --out.")
    if found - OURS:
        raise RunFolderError(
            f"{folder} is an earlier demo and more: it holds {listing(sorted(found - OURS))}. "
            "Nothing was touched; choose another --out, or take away what is not the demo's."
        )
    shutil.rmtree(folder, ignore_errors=True)
    write_json(folder / MARK, {"finished": False})


def _is_demo(mark: Path) -> bool:
    """Whether a file is what a demo leaves, and not somebody else's of the same name."""
    try:
        said = read_json(mark)
    except RunFolderError:
        return False
    return isinstance(said, dict) and "finished" in said


def _judge(folder: Path, figures: dict[str, Any], as_json: bool, tell: Callable[[str], None]) -> int:
    """Writes the report, prints the three accuracies and says whether transfer won."""
    others = max(figures["scratch"]["high"], figures["shuffled"]["high"])
    won = bool(figures["transfer"]["low"] > others)
    verdict = (
        "Transfer wins, with intervals apart: what was learned on one task helps on another."
        if won
        else "Transfer does not win with intervals apart: something is wrong with this installation; please report it."
    )
    lines = ["# What a pretrained backbone is worth", "", verdict, ""]
    lines += ["| network | accuracy | 95 % interval | n | run |", "| --- | --: | --- | --: | --- |"]
    for name, what in ARMS.items():
        f = figures[name]
        lines.append(
            f"| {what} | {f['value']:.3f} | {f['low']:.3f} to {f['high']:.3f} | {f['n']} | [{name}]({name}/report.md) |"
        )
    lines += [
        "",
        f"Each was fitted to {SHOTS} pictures a class and measured on all others. The pictures are in `pictures/`.",
        "",
    ]
    report = folder / "report.md"
    report.write_text("\n".join(lines), encoding="utf-8")
    result = {**figures, "won": won, "report": str(report)}
    write_json(folder / MARK, {"finished": True, **result})
    if as_json:
        print(json.dumps(result, indent=2))  # noqa: T201
    else:
        for name, what in ARMS.items():
            f = figures[name]
            print(f"{f['value']:.3f}  ({f['low']:.3f} to {f['high']:.3f})  {what}")  # noqa: T201
        print(f"{verdict}\nThe report is {report}")  # noqa: T201
    return 0 if won else 1
