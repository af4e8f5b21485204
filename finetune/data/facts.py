"""What is known of an example beside its content: the size and packing of its picture, its maker, and its name."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import PurePosixPath
from typing import Any

import numpy as np

from .examples import Examples
from .headers import Header
from .listings import PART_WORDS

WORDS = 8
"""So many of the most frequent words of a fact are columns of their own."""

FEWEST = 5
"""A word that fewer examples share is none."""

Columns = dict[str, np.ndarray]


@dataclass(frozen=True, kw_only=True)
class Fact:
    """Something that is known of every example and should not matter.

    Args:
        name: What it is called.
        columns: (N,) numbers each; a word is a column of 0 and 1.
        seen: Whether a network may see it in the pixels.
        content: Whether what is meant to be learned may show in it too: a dark bird is a dark picture.
    """

    name: str
    columns: Columns
    seen: bool = True
    content: bool = False


def facts_of(
    examples: Examples,
    headers: Sequence[Header],
    light: Mapping[str, np.ndarray] | None = None,
    *,
    label_from: str | None = None,
) -> list[Fact]:
    """The facts of a table of examples; those that are the same for all are left out.

    Args:
        examples: N examples.
        headers: Of their files.
        light: (N,) numbers by name: brightness, contrast, sharpness.
        label_from: The pattern that takes the label from the file name: what it matches is no fact beside the label.
    """
    both = zip(examples.table["id"], examples.targets, strict=True)
    names = [_without_label(id, target, label_from) for id, target in both]
    facts = [
        Fact(name="picture size", columns=_sizes(headers)),
        Fact(name="compression", columns=_compression(headers)),
        Fact(name="camera", columns=_camera(headers)),
        Fact(name="file size", columns=_weights(headers), content=True),
        Fact(name="light", columns=dict(light or {}), content=True),
        Fact(name="file name", columns=_names(names, list(examples.table["id"])), seen=False),
        Fact(name="folder", columns=_words("folder", ["/".join(n.parts[:-1]) for n in names]), seen=False),
    ]
    kept = [replace(fact, columns={n: c for n, c in fact.columns.items() if np.ptp(c) > 0}) for fact in facts]
    return [fact for fact in kept if fact.columns]


def _without_label(id: str, target: Any, label_from: str | None) -> PurePosixPath:
    """An example's path without its part, its class, and whatever in its name says the class."""
    path = PurePosixPath(id)
    said = [str(name).casefold() for name in (target if isinstance(target, tuple) else (target,)) if name]
    folders = [part for part in path.parts[:-1] if part.casefold() not in said and part.lower() not in PART_WORDS]
    name = re.sub(label_from, "", path.name, count=1) if label_from else path.name
    for word in said:
        if len(word) > 1:
            name = re.sub(re.escape(word), "", name, flags=re.IGNORECASE)
    return PurePosixPath(*folders, name.replace("/", "") or "_")


def _sizes(headers: Sequence[Header]) -> Columns:
    width, height = np.array([(h.width, h.height) for h in headers], np.float64).reshape(-1, 2).T
    return {"width": width, "height": height, "proportion": width / np.maximum(height, 1), "pixels": width * height}


def _weights(headers: Sequence[Header]) -> Columns:
    bytes = np.array([h.bytes for h in headers], np.float64)
    pixels = np.array([max(h.width * h.height, 1) for h in headers], np.float64)
    return {"bytes": bytes, "bytes a pixel": bytes / pixels}


def _compression(headers: Sequence[Header]) -> Columns:
    return {
        "quantisation": np.array([h.quantisation for h in headers], np.float64),
        **_words("format", [h.format or "" for h in headers]),
        **_words("mode", [h.mode or "" for h in headers]),
    }


def _camera(headers: Sequence[Header]) -> Columns:
    return {
        "time": np.array([_time(h.taken) for h in headers]),
        "orientation": np.array([h.orientation for h in headers], np.float64),
        **_words("camera", [h.camera or "" for h in headers]),
    }


def _names(names: Sequence[PurePosixPath], ids: Sequence[str]) -> Columns:
    stems = [name.stem for name in names]
    digits = [re.findall(r"\d+", stem) for stem in stems]
    heads = [re.match(r"[^\W\d_]*", stem) for stem in stems]
    return {
        "length": np.array([len(stem) for stem in stems], float),
        "digits": np.array([sum(map(len, runs)) for runs in digits], float),
        # Its size and not its value: of long numbers the last digits say nothing.
        "number": np.array([np.log1p(float(runs[0][:15])) if runs else -1.0 for runs in digits]),
        "separators": np.array([len(re.findall(r"[^\w]|_", stem)) for stem in stems], float),
        **_words("prefix", [head.group().lower() if head else "" for head in heads]),
        **_words("ending", [PurePosixPath(id).suffix for id in ids]),
    }


def _time(taken: str | None) -> float:
    """Days, about, of a date as EXIF writes it; -1 for none."""
    found = re.match(r"(\d{4})\D(\d\d)\D(\d\d)", taken or "")
    return int(found[1]) * 372 + int(found[2]) * 31 + int(found[3]) if found else -1.0


def _words(what: str, words: list[str]) -> Columns:
    common = [word for word, count in Counter(words).most_common(WORDS) if count >= FEWEST]
    return {
        f'{what} "{word}"' if word else f"no {what}": np.array([w == word for w in words], float) for word in common
    }
