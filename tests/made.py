"""Made-up pictures that a tiny network can tell apart, and the words that make a run of them cheap."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

KINDS = ("checks", "rings", "stripes")
QUICK: dict[str, Any] = {
    "backbone": "finetune/lenet5", "weights": "none", "method": "probe", "accelerator": "cpu", "workers": 0,
    "verbose": False,
}  # fmt: skip
"""Keywords of `ft.fit` for a run of a second."""

QUICK_WORDS = [
    *("--backbone", "finetune/lenet5", "--weights", "none", "--method", "probe"),
    *("--accelerator", "cpu", "--workers", "0"),
]
"""The same on the command line."""


def texture(kind: str, rng: np.random.Generator, *, level: float = 128, side: int = 32) -> np.ndarray:
    """A picture (side, side, 3) uint8 of one kind at a random phase; `level` is its mean brightness."""
    y, x = np.mgrid[:side, :side]
    phase = rng.uniform(0, 2 * np.pi)
    wave = {
        "stripes": np.sin(x / 1.6 + phase),
        "rings": np.sin(np.hypot(x - side / 2, y - side / 2) / 1.4 + phase),
        "checks": np.sign(np.sin(x / 2.5 + phase) * np.sin(y / 2.5 + phase)),
    }[kind]
    noisy = level + (60 * wave)[..., None] + rng.normal(0, 15, (side, side, 3))
    return np.clip(noisy, 0, 255).astype(np.uint8)


def class_folders(root: Path, *, count: int = 12, kinds: Sequence[str] = KINDS, seed: int = 0) -> Path:
    """Writes `count` PNG files of each kind into a folder of its name."""
    rng = np.random.default_rng(seed)
    for kind in kinds:
        (root / kind).mkdir(parents=True, exist_ok=True)
        for number in range(count):
            Image.fromarray(texture(kind, rng)).save(root / kind / f"{number}.png")
    return root


def table(path: Path, header: Sequence[str], rows: Sequence[Sequence[Any]]) -> Path:
    """Writes a CSV file."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(header)
        writer.writerows(rows)
    return path


def contents(folder: Path) -> dict[str, bytes]:
    """Every file under a folder, hidden ones too, and its bytes."""
    return {str(file.relative_to(folder)): file.read_bytes() for file in sorted(folder.rglob("*")) if file.is_file()}


def parts_of(metrics: dict[str, Any]) -> list[str]:
    """The parts that were measured; what else metrics.json holds is about them."""
    return [key for key in metrics if key in ("train", "validation", "test")]
