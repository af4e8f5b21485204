"""Whether left and right have a meaning in real pictures, as a run asks before it mirrors any.

Run: FINETUNE_SHARED=../shared python benchmarks/left_and_right.py [--sets digits road hymenoptera ...] [--draws 5]

Of each set 250 pictures at most are drawn, each class by its share, and asked as a run asks the pictures that it learns
from. Beside the log losses of held-out pictures, as they are and mirrored, stand how many standard errors lie between
them, by how much of the loss they differ, and in how many draws a run would mirror nothing: means over the draws, and
the extremes. `road` are the moments of a drive that turn to the left or to the right; the others are those of
`quality_sets.py`. MobileNet v2 at 224 pixels.
"""

from __future__ import annotations

import argparse
import csv
import tempfile
from pathlib import Path

import numpy as np
import torch
from head_views import examples_of
from quality_methods import weights
from quality_sets import SETS, Row, drawn, root

import finetune as ft
from finetune.data.labels import Labels
from finetune.features import run_over
from finetune.models.network import Network
from finetune.training.mirrored import PLAIN, SURE, losses_as_they_are_and_mirrored, some_of_each
from finetune.training.transfer import Lesson

MOST, STRAIGHT = 250, 0.05
DEFAULT = ["digits", "road", "hymenoptera", "cats_dogs", "chest_xray", "isic_lesions", "cifar10", "objects"]


def pictures(name: str) -> list[Row]:
    if name != "road":
        train, test, _ = SETS[name](root() / "data", 0)
        return [*train, *test]
    folder, rows = root() / "data" / "driving", []
    with (folder / "driving_log.csv").open(newline="", encoding="utf-8") as file:
        for centre, _, _, steering, *_ in csv.reader(file):
            path, turn = next(folder.rglob(Path(centre.strip()).name)), float(steering)
            if abs(turn) > STRAIGHT:
                rows.append(Row(str(path), "left" if turn < 0 else "right", str(path)))
    return rows


def asked(network: Network, rows: list[Row], seed: int) -> tuple[float, float, float]:
    """Both losses, and the standard errors between them."""
    with tempfile.TemporaryDirectory() as folder:
        examples = examples_of(rows, Path(folder))
        labels = Labels.from_targets("class", examples.targets)
        task = ft.Classify().build(labels, list(examples.targets))
        everything = np.arange(len(examples))
        lesson = Lesson(
            examples=examples, target=labels.encode(examples.targets), train=everything, validation=everything[:0],
            features=run_over(network, examples, what="features"),
        )  # fmt: skip
        some = some_of_each(lesson.target, everything, seed=seed)
        found = losses_as_they_are_and_mirrored(network, task, lesson, some, seed=seed, device=torch.device("cpu"))
    if found is None:
        raise SystemExit("Some class has a single picture.")
    worse = found[1] - found[0]
    return float(found[0].mean()), float(found[1].mean()), float(worse.mean() / worse.std() * np.sqrt(len(worse)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sets", nargs="+", default=DEFAULT)
    parser.add_argument("--draws", type=int, default=5)
    options = parser.parse_args()
    torch.set_num_threads(1)
    print("| pictures | log loss as they are | mirrored | standard errors between | share of the loss "
          "| mirrors nothing |\n| --- | --: | --: | --: | --: | --: |")  # fmt: skip
    for name in options.sets:
        pool = pictures(name)
        classes = len({row.label for row in pool})
        network = ft.Backbone("torchvision/mobilenet_v2", weights=str(weights()), mean=0.5, std=0.5).build(classes)
        found = np.array([asked(network.eval(), drawn(pool, MOST, seed), seed) for seed in range(options.draws)])
        plain, mirrored, errors = found.T
        share = mirrored / plain - 1
        kept = int(((errors > SURE) & (share > PLAIN)).sum())
        print(f"| {name}, {len(drawn(pool, MOST, 0))} of {len(pool)} | {plain.mean():.3f} | {mirrored.mean():.3f} "
              f"| {errors.mean():.1f} ({errors.min():.1f} to {errors.max():.1f}) "
              f"| {share.mean():+.2f} ({share.min():+.2f} to {share.max():+.2f}) | {kept} of {options.draws} |",
              flush=True)  # fmt: skip


if __name__ == "__main__":
    main()
