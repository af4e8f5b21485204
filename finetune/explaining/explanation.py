"""What is asked of an explanation, what one is, and the files made of many."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import ConfigError, RunFolderError, nearest
from ..files import prove_writable, told_unwritable, whole_folder
from ..report.explained import draw_explanation

RECORD, MAPS = "explain.json", "maps.npz"

METHODS = ("grad-cam", "grad-cam++", "occlusion", "integrated-gradients", "deconvnet", "roll-out")
OF_A_LAYER = ("grad-cam", "grad-cam++")


@dataclass(frozen=True, kw_only=True)
class Asking:
    """What is to be explained, and how; checks itself.

    Args:
        method: One of `METHODS`.
        answer: The class, label or target column that is asked about; each picture's own answer if None.
        layer: The layer of grad-cam and grad-cam++, by its name in the backbone; found if None.
        window: Side of occlusion's square in pixels; a fifth of the picture if None.
        stride: From one place of the square to the next; a third of the window if None.
        steps: Points of integrated-gradients.
        batch_size: Pictures at a time.
    """

    method: str = "grad-cam"
    answer: str | None = None
    layer: str | None = None
    window: int | None = None
    stride: int | None = None
    steps: int = 50
    batch_size: int = 8

    @classmethod
    def of(cls, words: Mapping[str, Any]) -> Asking:
        """From keywords.

        Raises:
            ConfigError: One that is none of these.
        """
        known = [one.name for one in fields(cls)]
        wrong = [f'Unknown option "{name}".{nearest(name, known)}' for name in words if name not in known]
        if wrong:
            raise ConfigError("\n".join([*wrong, f"Expected some of {', '.join(known)}."]))
        return cls(**words)

    def faults(self) -> list[str]:
        """A line for each thing that is wrong whatever the network is."""
        wrong = []
        if self.method not in METHODS:
            wrong.append(
                f'Unknown method "{self.method}". Expected one of {", ".join(METHODS)}.{nearest(self.method, METHODS)}'
            )
        if self.layer is not None and self.method not in OF_A_LAYER:
            wrong.append(f"{self.method} looks at no layer. Expected layer with {' or '.join(OF_A_LAYER)} alone.")
        if self.answer is not None and self.method == "roll-out":
            wrong.append("roll-out is the same for every answer. Expected no answer with it.")
        for name in ("window", "stride"):
            if getattr(self, name) is not None and self.method != "occlusion":
                wrong.append(f"{name} is of occlusion's square. Expected it with the method occlusion alone.")
        for name in ("steps", "batch_size"):
            if getattr(self, name) < 1:
                wrong.append(f"{name} must be 1 or more. Got {getattr(self, name)}.")
        return wrong

    def square(self, side: int) -> tuple[int, int]:
        """The window and stride of occlusion on pictures of this shorter side."""
        window = max(1, side // 5) if self.window is None else self.window
        return window, max(1, window // 3) if self.stride is None else self.stride


@dataclass(frozen=True, kw_only=True)
class Explanation:
    """Where in a picture an answer comes from.

    Args:
        path: The picture.
        label: What the model answers, as `predict` says it; None where the picture could not be read.
        answer: What was asked about: a class, a label, or the name of a number; None for roll-out.
        value: The calibrated probability of it, or the number; for roll-out that of the label.
        method: How the map was made.
        layer: The layer that grad-cam and grad-cam++ weigh.
        map: (h, w) float32 on the places of the method; of deconvnet (C, H, W).
        picture: (H, W, 3) uint8, the picture as the network sees it, on which the map lies.
        gap: Of integrated-gradients what the map's sum lacks of f(picture) - f(mean colour).
        error: Why the picture could not be read.
    """

    path: str
    method: str
    label: str | float | None = None
    answer: str | None = None
    value: float = float("nan")
    layer: str | None = None
    map: Any = None
    picture: Any = None
    gap: float | None = None
    error: str = ""

    @property
    def told(self) -> str:
        """What was answered and what was asked, in a line."""
        if isinstance(self.label, float):
            return f"{self.answer or 'answer'}: {self.label:.4g}"
        label = self.label if self.label is not None and len(self.label) <= 40 else f"{str(self.label)[:39]}…"
        if self.answer is None or self.answer == self.label:
            return f"{label}: {self.value:.1%}"
        return f"{self.answer}: {self.value:.1%} (answered: {label or 'no label'})"

    @property
    def empty(self) -> bool:
        """Whether the map shows nothing: no place speaks for the answer, or no signal comes as far as the pixels."""
        return self.map is not None and not np.any(self.map)

    def draw(self, file: str | Path) -> Path:
        """Draws the picture, the map over it, and the map by itself.

        Args:
            file: Where to; `.png`.

        Raises:
            ConfigError: The picture could not be read, so that there is nothing to draw.
            FinetuneError: The file cannot be written.
        """
        if self.error:
            raise ConfigError(f"There is nothing to draw of {self.path}: {self.error}")
        short = self.path if len(self.path) <= 90 else f"…{self.path[-89:]}"
        note = " · ".join([self.method, *([f"layer {self.layer}"] if self.layer else []), short,
                           *(["the map is empty"] if self.empty else [])])  # fmt: skip
        return draw_explanation(Path(file), self.picture, self.map, method=self.method, title=self.told, note=note)

    def to_dict(self) -> dict[str, Any]:
        """All but the map and the picture as plain JSON values."""
        names = ("path", "label", "answer", "method", "layer", "gap", "error")
        own = {name: getattr(self, name) for name in names}
        value = None if np.isnan(self.value) else self.value
        return own | {"value": value, "shape": None if self.map is None else list(self.map.shape)}


def check_out(out: str | Path) -> Path:
    """The folder for explanations, which must be new, before anything is computed for it.

    Raises:
        RunFolderError: It holds something, or is no folder.
    """
    folder = Path(out).absolute()
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise RunFolderError(f"--out {out} exists and is not empty. Expected a new folder; choose another --out.")
    with told_unwritable(str(out)):
        prove_writable(folder, folder=True)
    return folder


def write_explanations(out: str | Path, found: Sequence[Explanation]) -> Path:
    """Writes a picture of each explanation, explain.json and maps.npz into a new folder, whole or not at all.

    explain.json is a list with an entry each: the fields of `Explanation.to_dict`, and "file" and "map", the name of
    its picture and the key of its array in maps.npz, null where the picture could not be read.

    Args:
        out: The folder; it does not exist, or is empty.
        found: The explanations.

    Raises:
        RunFolderError: The folder holds something, or cannot be written.
    """
    place = check_out(out)
    with told_unwritable(str(out)), whole_folder(place) as folder:
        _fill(folder, found)
    return place


def _fill(folder: Path, found: Sequence[Explanation]) -> None:
    records = []
    for number, one in enumerate(found):
        file = None if one.error else f"{number:04d}-{_stem(one.path)}.png"
        if file is not None:
            one.draw(folder / file)
        records.append(one.to_dict() | {"file": file, "map": None if one.error else str(number)})
    maps: dict[str, Any] = {str(n): one.map for n, one in enumerate(found) if not one.error}
    np.savez_compressed(folder / MAPS, **maps)
    (folder / RECORD).write_text(json.dumps(records, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def _stem(path: str) -> str:
    """A picture's name as part of the name of a file, from whatever address."""
    return re.sub(r"[^\w.-]+", "_", Path(path.partition("?")[0]).stem).strip("_.")[:60] or "picture"
