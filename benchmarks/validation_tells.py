"""Where a validation part could tell at all that moving a backbone is better than a probe.

Run: FINETUNE_SHARED=../shared python benchmarks/validation_tells.py [--sets cats_dogs:250 digits:300 ...] [--draws 5]

A set is NAME:GIVEN, so many pictures, of which a run holds 15 % out as validation. The pictures to learn from are drawn
again and again, each class by its share and units apart. "sure" is by how many of its standard errors such a validation
part would be answered better than by the probe if nothing were lost any more, as `training/room.py` estimates it from
those pictures: a run that leans to the probe needs 2 to leave it. MobileNet v2 at the size that such a run decides.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from head_views import drawn_apart, examples_of, pool
from quality_methods import weights
from quality_sets import Row

import finetune as ft
from finetune.data.labels import Labels
from finetune.features import features
from finetune.running.resolution import larger_side
from finetune.training.probe import fit_head, plain_head
from finetune.training.room import standard_errors

VALIDATION = 0.15
DEFAULT = ["hymenoptera:243", "cats_dogs:250", "cats_dogs:600", "chest_xray:140", "objects:139", "digits:300"]


def told(values: np.ndarray, rows: Sequence[Row], given: int, seed: int) -> tuple[float, float]:
    """What a probe gets right of the pictures that its folds held out, and how sure validation could be."""
    held = round(VALIDATION * given)
    train, _ = drawn_apart(rows, given - held, seed)
    names = tuple(sorted({row.label for row in rows}))
    target = np.array([names.index(rows[i].label) for i in train])
    task = ft.Classify().build(Labels(kind="class", names=names), [])
    head = plain_head(values.shape[1], len(names))
    answered = fit_head(head, values[train], target, task, groups=[rows[i].unit for i in train], seed=seed).held_out
    return float((answered.argmax(1) == target).mean()), standard_errors(task, answered, target, count=held)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sets", nargs="+", default=DEFAULT)
    parser.add_argument("--draws", type=int, default=5)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    print("| pictures, given | validation | the probe knows | sure |\n| --- | --: | --- | --- |")
    for one in asked.sets:
        name, _, given = one.partition(":")
        rows = pool(name)
        with tempfile.TemporaryDirectory() as scratch:
            examples = examples_of(rows, Path(scratch))
            network = ft.Backbone("torchvision/mobilenet_v2", weights=str(weights()), mean=0.5, std=0.5).build(2).eval()
            side, _ = larger_side(network, examples.take(range(min(500, len(rows)))))
            network.spec = replace(network.spec, size=(side or 224,) * 2)
            values = features(network, examples, cache=Path(scratch)).values
        knows, sure = np.array([told(values, rows, int(given), seed) for seed in range(asked.draws)]).T
        cells = (f"{of.mean():.{n}f} ({of.min():.{n}f} to {of.max():.{n}f})" for of, n in ((knows, 3), (sure, 1)))
        print(f"| {name}, {given} | {round(VALIDATION * int(given))} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
