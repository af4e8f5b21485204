"""Pictures that nobody took: drawn so that something can be tried where data is not at hand, and marked as such."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

MARK = "GENERATED.txt"
NOTE = (
    "The examples are generated, not collected: figures on them say that everything runs, and nothing about real ones."
)


def mark(folder: Path, recipe: str) -> None:
    """Leaves a file in a folder of generated examples by which every reader of the folder knows them.

    Args:
        folder: Is made where it does not exist.
        recipe: What made them.
    """
    folder.mkdir(parents=True, exist_ok=True)
    text = f"{NOTE}\nThey were made by `finetune run {recipe} --sample`.\n"
    (folder / MARK).write_text(text, encoding="utf-8")


def is_generated(source: Any) -> bool:
    """Says whether a source, a folder or a file in one, is marked as generated."""
    if not isinstance(source, str | Path):
        return False
    path = Path(source)
    return (path / MARK).is_file() or (path.parent / MARK).is_file()


def generated_picture(kind: int, *, seed: int = 0, side: int = 48) -> np.ndarray:
    """A picture of a texture that can be told from those of other kinds by its waves and its colour.

    Args:
        kind: Which texture, 0 or more; the same kind has the same direction, width and colour of waves.
        seed: Decides what differs between two pictures of a kind: a little turn, phase, light and shade, and noise.
        side: Height and width in pixels.

    Returns:
        (side, side, 3) uint8.
    """
    own, rng = np.random.default_rng([kind, 7]), np.random.default_rng([kind, seed])
    y, x = np.mgrid[:side, :side] * 48 / side
    angle, period = np.pi * ((kind * 0.382) % 1) + rng.normal(0, 0.1), 4 + 2.5 * (kind % 4)
    phase = rng.uniform(0, 2 * np.pi)
    along = np.cos(angle) * x + np.sin(angle) * y
    wave = np.sin(2 * np.pi * along / period + phase)
    if kind % 3 == 1:
        across, down = rng.uniform(-10, 58, 2)
        wave = np.sin(2 * np.pi * np.hypot(x - across, y - down) / period + phase)
    elif kind % 3 == 2:
        wave = np.sign(wave * np.sin(2 * np.pi * (np.cos(angle) * y - np.sin(angle) * x) / period + phase))
    colour = own.uniform(0.4, 1, 3)
    # Without light and shade of its own, one wave laid over another would pass for a copy of it.
    level = np.full((side, side), rng.uniform(105, 150))
    for _ in range(3):
        turn, shift = rng.uniform(0, 2 * np.pi, 2)
        level += 22 * np.sin((np.cos(turn) * x + np.sin(turn) * y) * rng.uniform(0.08, 0.2) + shift)
    noisy = level[..., None] + 50 * wave[..., None] * colour + rng.normal(0, 12, (side, side, 3))
    picture: np.ndarray = np.clip(noisy, 0, 255).astype(np.uint8)
    return picture
