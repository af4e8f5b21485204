"""Digits bent elastically, 784-800-10 (Simard et al. 2003; Cireşan et al. 2010)

Lecture:
    Elastic distortions (Simard, Ciresan)
Run:
    finetune run elastic_mnist data/mnist --out runs/elastic
    finetune run elastic_mnist data/mnist --backbone finetune/mlp2500 --epochs 200 --out runs/ciresan
Data:
    MNIST (http://yann.lecun.com/exdb/mnist, 11 MB zipped; no licence comes with the files). Expected in a folder,
    zipped by gzip or not:
        train-images-idx3-ubyte  train-labels-idx1-ubyte  t10k-images-idx3-ubyte  t10k-labels-idx1-ubyte
    or one of the two parts alone, which is then divided. --sample takes scikit-learn's digits, enlarged.
Expect:
    Real data: MNIST's t10k part alone, 7,000 digits to learn from (--epochs 20): accuracy 0.973, 0.964 to 0.981,
    n = 1,500; without distortions, the baseline, 0.962, 0.951 to 0.971: one seed, and the intervals touch.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import finetune as ft

from .drawn import draw_digits, learned_anew


def elastic_mnist(
    source: str,
    *,
    backbone: str = "finetune/mlp800",
    variation: Literal["elastic", "digits", "none"] = "elastic",
    epochs: int = 40,
    batch_size: int = 64,
    lr: float = 1e-3,
) -> ft.Recipe:
    """Each digit is bent, turned and scaled anew in every epoch, as hands differ.

    The fields have Simard's numbers, alpha 34 and sigma 4, by which a pixel moves by 1.38 pixels (root mean square)
    either way. Those of torchvision's ElasticTransform mean half of that.

    Args:
        source: The folder with MNIST's files.
        backbone: Simard's mlp800, Cireşan's mlp2500, or lenet5.
        variation: "elastic"; "digits" turns and scales alone; "none" is what to compare with.
        epochs: Passes over the training pictures.
        batch_size: Pictures a step.
        lr: The rate at its height.
    """
    phase = ft.Phase(name="train", epochs=epochs, optimizer="adamw", lr=lr, norms="train", augment=variation)
    return learned_anew(source, backbone, phase, batch_size)


def sample(folder: Path, seed: int) -> None:
    """Writes scikit-learn's digits in MNIST's files."""
    draw_digits(folder, seed)
