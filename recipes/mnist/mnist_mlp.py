"""Digits with one hidden layer, 784-800-10, by plain gradient descent

Lecture:
    MNIST, 784-800-10
Run:
    finetune run mnist_mlp data/mnist --out runs/mlp
    finetune run mnist_mlp data/mnist --side-by-side --out runs/three
Data:
    MNIST (http://yann.lecun.com/exdb/mnist, 11 MB zipped; no licence comes with the files). Expected in a folder,
    zipped by gzip or not:
        train-images-idx3-ubyte  train-labels-idx1-ubyte  t10k-images-idx3-ubyte  t10k-labels-idx1-ubyte
    or one of the two parts alone, which is then divided. --sample takes scikit-learn's digits, enlarged.
Expect:
    Real data: MNIST's t10k part alone, 7,000 digits to learn from, by --side-by-side: all at once, 100 steps, accuracy
    0.801, 0.780 to 0.821, n = 1,500; the most frequent digit, the baseline, is 0.11 of them.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

import finetune as ft

from .drawn import draw_digits


def mnist_mlp(
    source: str,
    *,
    side_by_side: bool = False,
    backbone: str = "finetune/mlp800",
    epochs: int = 100,
    batch_size: int = 200,
    lr: float = 0.01,
) -> ft.Recipe | ft.Study:
    """The lecture's first network: batches of 200, a rate of 0.01, the last fifth of train for validation.

    The slide has 800 under "input layer"; it is the hidden one, behind 784 pixels.

    Args:
        source: The folder with MNIST's files.
        side_by_side: A study of three ways to go downhill: by all examples at once, by one at a time, by small batches.
        backbone: mlp800 of 636,010 parameters, or another network.
        epochs: Passes over the training pictures; one at a time passes once.
        batch_size: Pictures a step.
        lr: The rate, the same in every step.
    """

    def recipe(passes: int, batch: int) -> ft.Recipe:
        # Not drawn from a hat: Keras takes the last fifth as it lies in the file.
        data = ft.Data(source=source, order="row", validation=0.2, copies="exact")
        phase = ft.Phase(name="train", epochs=passes, optimizer="plain-sgd", lr=lr, schedule="constant", norms="train",
                         augment="none")  # fmt: skip
        plan = ft.Plan(phases=(phase,), batch_size=batch, warmup=0, gradient_clip=0, weight_decay=0)
        return ft.Recipe(data=data, model=ft.Backbone(backbone, weights="none"), task=ft.Classify(), plan=plan)

    if not side_by_side:
        return recipe(epochs, batch_size)
    ways = {"full": (epochs, 100_000), "online": (1, 1), "mini": (epochs, batch_size)}
    return ft.Study(recipes={name: recipe(*way) for name, way in ways.items()}, compare=compare)


def compare(studied: ft.Studied) -> dict[str, Any]:
    """The accuracy of each, and the validation loss over epochs of those that have several."""
    curves = {}
    for name, model in studied.models.items():
        table = pd.read_csv(model.folder / "metrics.csv")
        curves[name] = (table["epoch"].tolist(), table["validation_log_loss"].tolist())
    ft.draw_plots(studied.figures / "ways.png", [ft.Plot(curves=curves, x="epoch", y="validation log loss", log="y")],
                  title="All at once, one at a time, in small batches",
                  note="An epoch is one step for all, or one a batch: equal epochs are not equal work.")  # fmt: skip
    return {name: model.metrics["test"]["accuracy"] for name, model in studied.models.items()}


def sample(folder: Path, seed: int) -> None:
    """Writes scikit-learn's digits in MNIST's files."""
    draw_digits(folder, seed)
