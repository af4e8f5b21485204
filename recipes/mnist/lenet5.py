"""Digits with LeNet-5

Lecture:
    LeNet-5
Run:
    finetune run lenet5 data/mnist --out runs/lenet
Data:
    MNIST (http://yann.lecun.com/exdb/mnist, 11 MB zipped; no licence comes with the files). Expected in a folder,
    zipped by gzip or not:
        train-images-idx3-ubyte  train-labels-idx1-ubyte  t10k-images-idx3-ubyte  t10k-labels-idx1-ubyte
    or one of the two parts alone, which is then divided. --sample takes scikit-learn's digits, enlarged.
Expect:
    Real data: MNIST's t10k part alone, 7,000 digits to learn from (--epochs 12): accuracy 0.985, 0.977 to 0.991,
    n = 1,500; the most frequent digit, the baseline, is 0.113 of them.
"""

from __future__ import annotations

from pathlib import Path

import finetune as ft

from .drawn import draw_digits, learned_anew


def lenet5(
    source: str, *, backbone: str = "finetune/lenet5", epochs: int = 20, batch_size: int = 64, lr: float = 2e-3
) -> ft.Recipe:
    """LeNet-5 of 1998, with today's activation and optimizer; 61,706 parameters.

    The lecture cites the paper of 1989 on zip codes, whose network is smaller.

    Args:
        source: The folder with MNIST's files.
        backbone: lenet5 as the library has it, or another network, mlp800 say.
        epochs: Passes over the training pictures.
        batch_size: Pictures a step.
        lr: The rate at its height.
    """
    phase = ft.Phase(name="train", epochs=epochs, optimizer="adamw", lr=lr, norms="train", augment="none")
    return learned_anew(source, backbone, phase, batch_size)


def sample(folder: Path, seed: int) -> None:
    """Writes scikit-learn's digits in MNIST's files."""
    draw_digits(folder, seed)
