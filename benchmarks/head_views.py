"""What varied versions of pictures are worth to a head on frozen features, where it knows little and where much.

Run: FINETUNE_SHARED=../shared python benchmarks/head_views.py [--sets cats_dogs:250 digits:100 ...] [--draws 8]

A set is NAME:TRAIN, so many pictures to learn from, drawn again and again, each class by its share and units apart; the
others judge. Heads are fitted by `fit_head`, which lets folds of the pictures to learn from choose the penalty: on the
pictures as they are; with 4 light versions of each; and on one of both, as held-out answers prefer. "knows" is what the
first head gets right of the pictures held out by those folds, which is what a run sees before it plans. Beside errors
stand the log losses, and the difference of the second from the first with its standard error over the draws.

MobileNet v2, 224 pixels, and 288 where half of the pictures have that many.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from quality_methods import weights
from quality_sets import SETS, Row, drawn, grouped, root
from torch.nn import functional

import finetune as ft
from finetune.data.examples import Examples, read_examples
from finetune.data.labels import Labels
from finetune.data.options import Data
from finetune.features import features
from finetune.running.resolution import larger_side
from finetune.training.probe import Views, fit_head, plain_head
from finetune.views import view_features

VIEWS, MOST = 4, 1500
DEFAULT = [
    "cats_dogs:100", "cats_dogs:250", "hymenoptera:140", "chest_xray:70", "chest_xray:140", "objects:60", "objects:120",
    "digits:100", "isic_lesions:250", "cifar10:100", "cifar10:400",
]  # fmt: skip


def pool(name: str) -> list[Row]:
    """The pictures that a set is drawn from; of a set with a test part of its own, none of that."""
    train, test, _ = SETS[name](root() / "data", 0)
    undivided = name in ("chest_xray", "isic_lesions", "objects")
    return drawn([*train, *test] if undivided else train, MOST, 0)


def examples_of(rows: Sequence[Row], folder: Path) -> Examples:
    table = folder / "pictures.csv"
    pd.DataFrame([{"image": row.path, "target": row.label} for row in rows]).to_csv(table, index=False)
    return read_examples(Data(source=str(table), image="image", target="target"))


def drawn_apart(rows: Sequence[Row], count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Indices to learn from and the others: of each class its share, in whole units of a random order."""
    rng, chosen = np.random.default_rng([seed, 5]), []
    for _, of in sorted(grouped(range(len(rows)), lambda i: rows[i].label).items()):
        units = grouped(of, lambda i: rows[i].unit)
        wanted, taken = round(count * len(of) / len(rows)), 0
        for unit in rng.permutation(sorted(units)):
            if taken >= wanted:
                break
            chosen += units[str(unit)]
            taken += len(units[str(unit)])
    return np.sort(chosen), np.setdiff1d(np.arange(len(rows)), chosen)


def judged(
    values: np.ndarray, varied: np.ndarray, rows: Sequence[Row], count: int, seed: int
) -> tuple[list[float], float]:
    """Error and log loss of the head without, with, and as folds prefer; and what the first knows."""
    train, test = drawn_apart(rows, count, seed)
    names = tuple(sorted({row.label for row in rows}))
    target = np.array([names.index(row.label) for row in rows])
    task = ft.Classify().build(Labels(kind="class", names=names), [])
    views = Views(varied[:, train].reshape(-1, values.shape[1]), np.tile(np.arange(len(train)), len(varied)))
    found, folds, knows = [], [], []
    for more in (None, views):
        head = plain_head(values.shape[1], len(names))
        groups = [rows[i].unit for i in train]
        fitted = fit_head(head, values[train], target[train], task, groups=groups, views=more, seed=seed)
        held_out, truth = torch.from_numpy(fitted.held_out), torch.from_numpy(target)
        with torch.no_grad():
            answer = head(torch.from_numpy(values[test]))
        wrong = float((answer.argmax(1) != truth[test]).float().mean())
        found.append([wrong, float(functional.cross_entropy(answer, truth[test]))])
        folds.append(float(functional.cross_entropy(held_out, truth[train])))
        knows.append(float((held_out.argmax(1) == truth[train]).float().mean()))
    return [*found[0], *found[1], *found[int(np.argmin(folds))]], knows[0]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sets", nargs="+", default=DEFAULT)
    parser.add_argument("--draws", type=int, default=8)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    print("| pictures, of them to learn from, side | knows | as they are | with versions | folds prefer "
          "| versions add to the error | to the loss |\n| --- | --: | --- | --- | --- | --: | --: |")  # fmt: skip
    for name, sizes in grouped(asked.sets, lambda of: of.partition(":")[0]).items():
        with tempfile.TemporaryDirectory() as scratch:
            folder = Path(scratch)
            rows = pool(str(name))
            examples = examples_of(rows, folder)
            network = ft.Backbone("torchvision/mobilenet_v2", weights=str(weights()), mean=0.5, std=0.5).build(2).eval()
            side, _ = larger_side(network, examples.take(range(min(500, len(rows)))))
            network.spec = replace(network.spec, size=(side or 224,) * 2)
            values = features(network, examples, cache=folder).values
            varied = view_features(network, examples, policy="light", views=VIEWS, cache=folder)
        varied = varied.reshape(VIEWS, len(rows), -1)
        for count in (int(size.partition(":")[2]) for size in sizes):
            results, knows = zip(
                *(judged(values, varied, rows, count, seed) for seed in range(asked.draws)), strict=True
            )
            table = np.array(results)
            more = table[:, 2:4] - table[:, :2]
            (wrong, lost), (off, off_loss) = more.mean(axis=0), more.std(axis=0, ddof=1) / np.sqrt(len(more))
            cells = [f"{100 * error:.1f} %, {loss:.3f}" for error, loss in table.mean(axis=0).reshape(3, 2)]
            print(f"| {name}, {len(rows)}, {count}, {side or 224} | {np.mean(knows):.3f} | {' | '.join(cells)} "
                  f"| {100 * wrong:+.1f} ± {100 * off:.1f} | {lost:+.3f} ± {off_loss:.3f} |", flush=True)  # fmt: skip


if __name__ == "__main__":
    main()
