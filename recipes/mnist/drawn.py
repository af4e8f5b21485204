"""What recipes of digits share: how they learn, and scikit-learn's digits where MNIST is not at hand."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
from PIL import Image
from sklearn.datasets import load_digits

import finetune as ft

MAGIC = {1: 2049, 3: 2051}


def learned_anew(source: str, backbone: str, phase: ft.Phase, batch_size: int) -> ft.Recipe:
    """A network that learns MNIST's digits from random weights in one phase."""
    return ft.Recipe(
        data=ft.Data(source=source, copies="exact"),
        model=ft.Backbone(backbone, weights="none"),
        task=ft.Classify(),
        plan=ft.Plan(phases=(phase,), batch_size=batch_size),
    )


def write_idx(file: Path, array: np.ndarray) -> None:
    """Writes uint8 (N,) labels or (N, H, W) pictures as MNIST does: big-endian, with 2049 or 2051 in front."""
    header = struct.pack(f">{1 + array.ndim}I", MAGIC[array.ndim], *array.shape)
    file.write_bytes(header + array.astype(np.uint8).tobytes())


def draw_digits(folder: Path, seed: int, *, train: int = 1200, test: int = 500) -> None:
    """Writes scikit-learn's digits of 8 x 8 pixels, enlarged to 20 and put into 28 as MNIST's are.

    Args:
        folder: Where to; one digit is also there as a picture.
        seed: Decides which are for testing.
        train: How many to learn from.
        test: How many to test on; both together 1,797 at most.
    """
    digits = load_digits()
    rows = np.random.default_rng(seed).permutation(len(digits.images))[: train + test]
    large = [np.pad(Image.fromarray((one * 15.9).astype(np.uint8)).resize((20, 20), Image.Resampling.BICUBIC), 4)
             for one in digits.images[rows]]  # fmt: skip
    for part, some in (("train", slice(None, train)), ("t10k", slice(train, None))):
        write_idx(folder / f"{part}-images-idx3-ubyte", np.stack(large[some]))
        write_idx(folder / f"{part}-labels-idx1-ubyte", digits.target[rows][some])
    Image.fromarray(np.asarray(large[0])).save(folder / "digit.png")
