"""Pictures as vectors of length 1 in the space of a network's features, searched by cosine, and kept beside a run."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..crew import Progress
from ..data.addresses import printable
from ..data.examples import Examples
from ..features import Values, features, key, pooled
from ..files import replacing, sha256, write_tensors
from ..models.heads import Embedding
from ..models.network import Network
from ..models.weights import fingerprint

FORMAT = 1

AT_ONCE = 4096
"""Features that a head makes points of at a time."""

ALIKE = 0.9999
"""The cosine from which two pictures may be one: their pixels are compared. The same pixels in another batch, or by
another way of computing, differ in the sixth digit."""

Same = Callable[[int, int | None], bool]
"""Is asked whether a row of an index is the picture that was asked about, or (given a second row) another one of it."""


@dataclass(frozen=True, kw_only=True)
class Index:
    """Pictures that are searched among.

    Args:
        examples: n pictures, each of which could be read.
        vectors: (n, D) float32, each of length 1.
        errors: What could not be read, and why.
    """

    examples: Examples
    vectors: np.ndarray
    errors: dict[str, str]


def vectors_of(values: np.ndarray) -> np.ndarray:
    """(n, D) float32 vectors of length 1 from features (n, D), or from maps (n, D, H, W), averaged over places."""
    flat = pooled(values).astype(np.float32, copy=False)
    length = np.linalg.norm(flat, axis=1, keepdims=True)
    return np.asarray(flat / np.where(length > 0, length, 1))


def compared(network: Network, values: np.ndarray) -> np.ndarray:
    """What pictures are compared by: (n, D) float32 of length 1, from the features of a network.

    They are the features themselves, or the points that a head makes of them which has learned to.

    Args:
        network: Whose they are.
        values: (n, ...) features.
    """
    if not isinstance(network.head, Embedding):
        return vectors_of(values)
    weight, found = network.head.projection.weight, []
    with torch.no_grad():
        for start in range(0, len(values), AT_ONCE):
            some = torch.tensor(values[start : start + AT_ONCE]).to(weight)  # a copy: kept features cannot be written
            found.append(network.head(some.flatten(1)).float().cpu().numpy())
    return np.concatenate(found) if found else np.zeros((0, len(weight)), np.float32)


def index_of(
    network: Network, examples: Examples, *, beside: Path | None = None, known: Values | None = None,
    batch_size: int = 32, device: torch.device | None = None, progress: Progress | None = None,
) -> Index:  # fmt: skip
    """The vectors of pictures: from the index that is kept, else from the cache of features, else computed.

    Args:
        network: Whose features they are.
        examples: The pictures.
        beside: Where the index is kept, without the ending: `.safetensors` holds the vectors and `.json` the files and
            what they depend on. One of another model, or of pictures that have changed, is made anew.
        known: The features, where somebody has them.
        batch_size: Pictures at a time.
        device: Where to compute.
        progress: Is told of each batch, or of everything at once.
    """
    learned = [fingerprint(network.head.kept_state())] if isinstance(network.head, Embedding) else []
    name = key(network, examples, *learned) if beside is not None else None
    if beside is not None and name is not None and (kept := _read(beside, name)) is not None:
        if progress is not None:
            progress(len(examples))
        return _index(examples, *kept)
    values = known or features(network, examples, batch_size=batch_size, device=device, progress=progress)
    found = compared(network, values.values) if len(values.rows) else np.zeros((0, 0), np.float32)
    if beside is not None and name is not None:
        with contextlib.suppress(OSError):  # a folder that cannot be written costs time the next time
            _write(beside, name, examples, found, values)
    return _index(examples, found, values.rows, values.errors)


def search(
    index: Index, vector: np.ndarray, *, k: int, same: Same | None = None
) -> tuple[list[tuple[int, float]], int]:
    """The nearest pictures to one, by the cosine of the angle between their vectors.

    Every vector is looked at: a product with all of 100,000 takes some milliseconds, and nothing is missed.

    Args:
        index: What is searched.
        vector: (D,) of length 1.
        k: How many at most.
        same: Leaves out the picture itself, and shows one that is there several times once; it is asked of
            pictures that are `ALIKE` alone.

    Returns:
        (row, cosine), nearest first, and in the order of the table where two are as near; and how many pictures were
        left out.
    """
    cosine = index.vectors @ vector
    found: list[tuple[int, float]] = []
    left = 0
    for row in np.argsort(-cosine, kind="stable"):
        if len(found) == k:
            break
        if same is not None:
            others: list[int | None] = [None] if cosine[row] >= ALIKE else []
            others += [at for at, _ in found if index.vectors[at] @ index.vectors[row] >= ALIKE]
            if any(same(int(row), other) for other in others):
                left += 1
                continue
        found.append((int(row), float(np.clip(cosine[row], -1, 1))))
    return found, left


def _index(examples: Examples, vectors: np.ndarray, rows: np.ndarray, errors: dict[int, str]) -> Index:
    sources = list(examples.table["source"])
    told = {printable(sources[row]): reason for row, reason in errors.items()}
    return Index(examples=examples.take(rows), vectors=vectors, errors=told)


def _write(beside: Path, name: str, examples: Examples, vectors: np.ndarray, values: Values) -> None:
    # The vectors first: a reader believes them only where the other file names their SHA-256.
    tensors, facts = beside.with_suffix(".safetensors"), beside.with_suffix(".json")
    write_tensors(tensors, {"vectors": torch.from_numpy(vectors)})
    table = examples.table.iloc[values.rows]
    said: dict[str, Any] = {
        "format": FORMAT, "key": name, "sha256": sha256(tensors), "width": int(vectors.shape[1]),
        "rows": values.rows.tolist(), "errors": {str(row): reason for row, reason in values.errors.items()},
        "files": [printable(source) for source in table["source"]],
        "labels": [told(target) for target in table["target"]],
    }  # fmt: skip
    with replacing(facts) as temporary:
        temporary.write_text(json.dumps(said, ensure_ascii=False), encoding="utf-8")


def _read(beside: Path, name: str) -> tuple[np.ndarray, np.ndarray, dict[int, str]] | None:
    """Vectors, rows and errors; None where they are of something else, or not as they were written."""
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        said = json.loads(beside.with_suffix(".json").read_text(encoding="utf-8"))
        tensors = beside.with_suffix(".safetensors")
        if (said["format"], said["key"], said["sha256"]) != (FORMAT, name, sha256(tensors)):
            return None
        rows = np.array(said["rows"], np.int64)
        vectors: np.ndarray = load_file(tensors)["vectors"]
        errors = {int(row): str(reason) for row, reason in said["errors"].items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError, SafetensorError):
        return None
    return (vectors, rows, errors) if vectors.shape == (len(rows), said["width"]) else None


def told(target: Any) -> str:
    """A target in words: several labels joined by "|", nothing where there is none."""
    if isinstance(target, tuple):
        return "|".join(target)
    return f"{target:g}" if isinstance(target, float) else "" if target is None else str(target)
