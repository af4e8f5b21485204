"""How many planted wrong labels the label audit finds, and how many of those it names are planted.

Run: python benchmarks/labels.py DATA WEIGHTS [--share 0.05] [--seeds 3] [--draw FILE.png]

DATA holds `hymenoptera` (folders) and `cats_dogs` (labels in file names), WEIGHTS is a file for torchvision's
mobilenet_v2 that was trained with mean = std = 0.5. Of each class the same share of labels is exchanged for another
one. What is named and was not planted counts as wrong, though some of it may truly be: `--draw` shows what is named
where nothing was planted. Where cleanlab is installed, its filter judges the same held-out answers.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

import finetune as ft
from finetune.data.examples import Examples, read_examples
from finetune.data.labels import Labels
from finetune.data.options import Data
from finetune.data.readers import read_image
from finetune.data.suspects import Suspect, find_suspects, unlikely
from finetune.features import features
from finetune.training.audit import held_out_answers

SETS = {"hymenoptera": {}, "cats_dogs": {"label_from": "^(cat|dog)"}}


def planted(given: np.ndarray, share: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """The labels with the same share of each class exchanged, and which those are."""
    rng = np.random.default_rng(seed)
    classes = np.unique(given)
    rows = np.concatenate(
        [rng.choice(np.flatnonzero(given == k), round(share * int((given == k).sum())), replace=False) for k in classes]
    )
    out, wrong = given.copy(), np.zeros(len(given), bool)
    out[rows] = [rng.choice(classes[classes != given[row]]) for row in rows]
    wrong[rows] = True
    return out, wrong


def audit(values: np.ndarray, labels: Labels, given: np.ndarray) -> tuple[list[Suspect], np.ndarray]:
    task = ft.Classify().build(labels, [])
    answer = held_out_answers(values, given, task, unlikely=lambda answer: unlikely("class", answer, given))
    if answer is None:
        raise SystemExit("There are too few examples.")
    return find_suspects("class", labels.names, answer, given), answer


def peers(answer: np.ndarray, given: np.ndarray) -> np.ndarray | None:
    try:
        from cleanlab.filter import find_label_issues
    except ImportError:
        return None
    return np.asarray(find_label_issues(given, answer, filter_by="confident_learning", n_jobs=1))


def ahead(answer: np.ndarray, given: np.ndarray) -> np.ndarray:
    """All examples, those first whose given label trails the likeliest other one most."""
    rows = np.arange(len(given))
    other = answer.copy()
    other[rows, given] = -1
    return np.argsort(answer[rows, given] - other.max(axis=1), kind="stable")


def draw(examples: Examples, suspects: list[Suspect], path: Path) -> None:
    side = 224
    sheet = Image.new("RGB", (side * max(1, len(suspects)), side + 40), "white")
    for place, suspect in enumerate(suspects):
        picture = Image.fromarray(read_image(examples.take([suspect.row]).pictures()[0]))
        picture.thumbnail((side, side))
        sheet.paste(picture, (place * side, 40))
        text = f"{examples.table['id'].iloc[suspect.row][-30:]}\n{suspect.given}, or {suspect.suggested}?"
        ImageDraw.Draw(sheet).text((place * side + 4, 4), text, "black")
    sheet.save(path)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("data", type=Path)
    parser.add_argument("weights")
    parser.add_argument("--share", type=float, default=0.05)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--draw", type=Path)
    options = parser.parse_args()
    network = ft.Backbone("torchvision/mobilenet_v2", weights=options.weights, mean=0.5, std=0.5).build(2)
    for name, words in SETS.items():
        examples = read_examples(Data(source=options.data / name, **words))
        labels = Labels.from_targets("class", examples.targets)
        values, true = np.asarray(features(network, examples).values), labels.encode(examples.targets)
        figures = []
        for seed in range(options.seeds):
            given, wrong = planted(true, options.share, seed)
            found, answer = audit(values, labels, given)
            named = np.zeros(len(given), bool)
            named[[suspect.row for suspect in found]] = True
            first = ahead(answer, given)[: wrong.sum()]
            figures.append(
                (named.sum(), wrong[named].mean(), named[wrong].mean(), wrong[first].mean(), wrong[first[:10]].mean())
            )
            theirs = peers(answer, given)
            told = "" if theirs is None else f"; cleanlab {theirs.sum()}, {(theirs & named).sum()} of them the same"
            print(
                f"{name} seed {seed}: {wrong.sum()} planted, {named.sum()} named, precision {figures[-1][1]:.3f}, "
                f"recall {figures[-1][2]:.3f}, precision at {wrong.sum()} {figures[-1][3]:.3f}, at 10 "
                f"{figures[-1][4]:.3f}{told}"
            )
        for what, column in zip(
            ("named", "precision", "recall", "at planted", "at 10"), np.transpose(figures), strict=True
        ):
            print(f"{name} {what}: mean {np.mean(column):.3f} ({min(column):.3f} to {max(column):.3f})")
        found, _ = audit(values, labels, true)
        print(f"{name} as it is: {[(examples.table['id'].iloc[s.row], s.given, s.suggested) for s in found]}")
        if options.draw is not None:
            draw(examples, found[:8], options.draw.with_name(f"{options.draw.stem}-{name}{options.draw.suffix}"))


if __name__ == "__main__":
    main()
