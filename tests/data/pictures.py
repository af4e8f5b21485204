"""Small pictures on disk, for the tests of this folder."""

from pathlib import Path

import numpy as np
from PIL import Image


def save(path: Path, size: tuple[int, int] = (24, 20), seed: int = 0, mode: str = "RGB") -> Path:
    """Writes a smooth random picture; `size` is height and width."""
    path.parent.mkdir(parents=True, exist_ok=True)
    small = np.random.default_rng(seed).integers(0, 256, (4, 4, 3), np.uint8)
    image = Image.fromarray(small).resize(size[::-1], Image.Resampling.BICUBIC).convert(mode)
    image.save(path, format={".jpe": "JPEG", ".jfif": "JPEG"}.get(path.suffix.lower()))
    return path


def tree(root: Path, names: list[str]) -> Path:
    for number, name in enumerate(names):
        save(root / name, seed=number)
    return root
