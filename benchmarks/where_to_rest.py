"""What the rule that ends a run between a probe and what moved is worth, on real pictures that chose nothing.

Run: FINETUNE_SHARED=../shared python benchmarks/where_to_rest.py [--sets cifar10:100:250 ...] [--draws 30] [--lr 0.03]

A set is NAME:TRAIN:HELD, pictures to learn from and pictures held out, both of the training part of `quality_sets.py`,
units apart. One run of `lp-ft` a set; then of the held-out pictures as many as a fifth of those to learn from (20 at
least) choose where the run comes to rest, and the others judge; that is drawn again and again. Beside it the probe,
the end of the run, and half way. Errors are shares of wrong answers, of isic_lesions 1 - AUROC.
"""

from __future__ import annotations

import argparse
import tempfile
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from quality_methods import weights
from quality_sets import SETS, grouped, root
from sklearn.metrics import roc_auc_score

import finetune as ft
import finetune.training.transfer as steps
from finetune.training.room import HALF_WAY
from finetune.training.settle import SHARES, settle

DEFAULT = [
    "cifar10:100:250", "cifar10:250:250", "isic_lesions:250:300", "hymenoptera:100:140", "cats_dogs:160:250",
    "chest_xray:70:70",
]  # fmt: skip


def table(name: str, train: int, held: int, seed: int) -> pd.DataFrame:
    """Whole units in random order, each class by its share: first those to learn from, then those held out."""
    rows, _, _ = SETS[name](root() / "data", seed)
    rng = np.random.default_rng(77 + seed)  # another order than that of the sets' own division
    lines = []
    for label, of in sorted(grouped(rows, lambda row: row.label).items()):
        units = grouped(of, lambda row: row.unit)
        share, taken = len(of) / len(rows), 0
        names = sorted(units)
        rng.shuffle(names)
        for unit in names:
            if taken >= round(train * share) + round(held * share):
                break
            part = "train" if taken < round(train * share) else "validation"
            lines += [{"image": row.path, "target": label, "split": part} for row in units[unit]]
            taken += len(units[unit])
    return pd.DataFrame(lines)


def logits_of(
    rows: pd.DataFrame, lr: float, seed: int, **more: Any
) -> tuple[dict[float, np.ndarray], np.ndarray, Any, float]:
    """What one run answers of its validation part at each share, the targets, the task, and where the run leans."""
    found: dict[str, Any] = {}

    def noted(logits_at: Callable[[float], np.ndarray], target: np.ndarray, task: Any, **words: Any) -> Any:
        found.update(logits={share: logits_at(share) for share in SHARES}, target=target, task=task, lean=words["lean"])
        return settle(logits_at, target, task, **words)

    steps.settle = noted
    with tempfile.TemporaryDirectory() as folder:
        ft.fit(
            rows, image="image", target="target", split="split", backbone="torchvision/mobilenet_v2", mean=0.5, std=0.5,
            weights=str(weights()), method="lp-ft", epochs=5, lr=lr, seed=seed, accelerator="cpu", verbose=False,
            allow_leaks=True, out=str(Path(folder) / "run"), **more,
        )  # fmt: skip
    return found["logits"], found["target"], found["task"], found["lean"]


def error(logits: np.ndarray, target: np.ndarray, auc: bool) -> float:
    if auc:
        return 1 - float(roc_auc_score(target, logits[:, 1] - logits[:, 0]))
    return float((logits.argmax(1) != target).mean())


def at(logits: Mapping[float, np.ndarray], share: float) -> np.ndarray:
    """Between two shares that were answered, between their logits."""
    low, high = max(s for s in SHARES if s <= share), min(s for s in SHARES if s >= share)
    return logits[low] if low == high else logits[low] + (logits[high] - logits[low]) * (share - low) / (high - low)


def judged(
    logits: Mapping[float, np.ndarray],
    target: np.ndarray,
    task: Any,
    lean: float,
    *,
    choose: int,
    auc: bool,
    draws: int,
) -> dict[str, float]:
    """Mean errors of the places, on pictures that did not choose."""
    errors: dict[str, list[float]] = {"probe": [], "end": [], "half way": [], "rule": []}
    for draw in range(draws):
        rng = np.random.default_rng(draw)
        few = np.concatenate([
            rng.permutation(np.flatnonzero(target == k))[: max(2, round(choose * float(np.mean(target == k))))]
            for k in np.unique(target)
        ])  # fmt: skip
        rest = np.setdiff1d(np.arange(len(target)), few)
        seen = {share: answered[few] for share, answered in logits.items()}
        rule = settle(seen.__getitem__, target[few], task, metric=task.metrics[0], seed=draw, lean=lean).share
        for name, share in (("probe", 0.0), ("end", 1.0), ("half way", HALF_WAY), ("rule", rule)):
            errors[name].append(error(at(logits, share)[rest], target[rest], auc))
    return {name: float(np.mean(values)) for name, values in errors.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sets", nargs="+", default=DEFAULT)
    parser.add_argument("--draws", type=int, default=30)
    parser.add_argument("--lr", type=float, default=0.03)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    warnings.filterwarnings("ignore")
    for one in options.sets:
        name, train, held = one.split(":")
        rows = table(name, int(train), int(held), options.seed)
        logits, target, task, lean = logits_of(rows, options.lr, options.seed)
        means = judged(logits, target, task, lean, choose=max(20, int(train) // 5), auc=name == "isic_lesions",
                       draws=options.draws)  # fmt: skip
        told = ", ".join(f"{place} {100 * value:.2f}" for place, value in means.items())
        print(f"{name}, {train} to learn from, {len(target)} held out, leans to {lean:g}: {told} %", flush=True)


if __name__ == "__main__":
    main()
