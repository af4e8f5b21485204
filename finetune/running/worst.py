"""The worst errors of a run as small pictures, each with the places that spoke for the wrong answer."""

from __future__ import annotations

import io
import shutil
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from ..data.examples import Examples
from ..data.loaders import stream
from ..files import replacing
from ..folder import ERRORS, write_json
from ..models.network import Network
from ..nearest.answers import TaughtBy, near_rows
from ..nearest.index import told as in_words
from ..report.explained import overlaid
from ..report.gradcam import grad_cam
from ..tasks.base import Task
from ..tasks.embed import EmbedTask

MOST, SIDE = 12, 192
"""So many errors, of so many pixels a side."""

NEAR, NEAR_SIDE = 3, 112
"""So many of the nearest training pictures beside each, of so many pixels a side."""


def write_worst(
    folder: Path, network: Network, task: Task, examples: Examples, told: Mapping[str, tuple[np.ndarray, np.ndarray]],
    *, maps: bool = True, taught: TaughtBy | None = None,
) -> None:  # fmt: skip
    """Writes the worst errors of the test part, else of validation, into `errors/` of a run folder.

    Args:
        folder: The run folder.
        network: The model, in evaluation mode.
        task: What its answers mean.
        examples: All examples.
        told: Of each part the rows of its examples and the (n, K) answers to them.
        maps: Whether to look where the answer was seen; a network that averages several is not asked.
        taught: What the model learned from, of which the nearest are shown beside each error as long as that costs
            little; None shows none.
    """
    rows, answer = told.get("test") or told.get("validation") or (np.zeros(0, np.int64), np.zeros((0, 1)))
    place = folder / ERRORS
    shutil.rmtree(place, ignore_errors=True)
    if not len(rows) or isinstance(task, EmbedTask):  # of a point nothing is wrong
        return
    target = np.asarray(task.labels.encode([examples.targets[row] for row in rows]))
    wrong, asked = _worst(task, np.asarray(answer), target)
    read: list[tuple[int, torch.Tensor]] = []
    for known, inputs, _ in stream(examples, network.spec, batch_size=MOST, indices=rows[wrong]):
        read += list(zip(known.tolist(), inputs, strict=True))
    if not read:
        return
    by_row = {int(row): k for k, row in enumerate(rows[wrong])}
    outputs = torch.tensor([int(asked[by_row[row]]) for row, _ in read])
    found = _maps(network, torch.stack([picture for _, picture in read]), outputs) if maps else None
    near = _near(network, examples, np.array([row for row, _ in read]), taught)
    entries = []
    words = task.name(np.asarray(answer)[wrong])
    for number, (row, picture) in enumerate(read):
        k = by_row[row]
        pixels = _pixels(picture)
        if pixels is None:
            continue
        _write(place / f"{number}.jpg", pixels)
        if found is not None:
            _write(place / f"{number}-map.jpg", overlaid(pixels, found[number]))
        entries.append({
            "name": str(examples.table["id"].iloc[row]), "picture": f"{number}.jpg",
            "map": f"{number}-map.jpg" if found is not None else None,
            "lines": _lines(task, words[k], np.asarray(answer)[wrong][k], examples.targets[row], int(asked[k])),
            "near": [_beside(place, f"{number}-near-{rank}.jpg", examples, *one)
                     for rank, one in enumerate(near.get(row, ()), start=1)],
        })  # fmt: skip
    write_json(place / "errors.json", entries)


def _near(
    network: Network, examples: Examples, rows: np.ndarray, taught: TaughtBy | None
) -> dict[int, list[tuple[int, float, np.ndarray]]]:
    """For each row its nearest training pictures: row, cosine, pixels."""
    if taught is None or not taught.affordable or not len(taught.rows):
        return {}
    device = next(iter(network.parameters())).device
    found = near_rows(network, examples, rows, taught, k=NEAR, device=device)
    wanted = sorted({row for near in found.values() for row, _ in near})
    pixels: dict[int, np.ndarray] = {}
    for known, inputs, _ in stream(examples, network.spec, batch_size=MOST, indices=wanted):
        for row, picture in zip(known.tolist(), inputs, strict=True):
            if (shown := _pixels(picture, NEAR_SIDE)) is not None:
                pixels[row] = shown
    return {asked: [(row, cosine, pixels[row]) for row, cosine in near if row in pixels]
            for asked, near in found.items()}  # fmt: skip


def _beside(
    place: Path, name: str, examples: Examples, row: int, cosine: float, pixels: np.ndarray
) -> dict[str, object]:
    """Writes the picture of a neighbour; what errors.json holds of it."""
    _write(place / name, pixels)
    return {"name": str(examples.table["id"].iloc[row]), "picture": name,
            "lines": [in_words(examples.targets[row]) or "none", f"cosine {cosine:.2f}"]}  # fmt: skip


def _worst(task: Task, answer: np.ndarray, target: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The places of the worst errors, the worst first, and the output that each is wrong about."""
    if task.labels.kind == "class":
        given = answer.argmax(axis=1)
        badness = np.where(given == target, -np.inf, answer.max(axis=1) - answer[np.arange(len(target)), target])
        about = given
    elif task.labels.kind == "labels":
        off = np.where((answer >= 0.5) == (target >= 0.5), -np.inf, np.abs(answer - target))
        badness, about = off.max(axis=1), off.argmax(axis=1)
    else:
        badness, about = np.abs(answer[:, 0] - target), np.zeros(len(target), np.int64)
        badness = np.where(badness > 0, badness, -np.inf)
    order = np.argsort(-badness, kind="stable")[:MOST]
    order = order[np.isfinite(badness[order])]
    return order, about[order]


def _lines(task: Task, word: object, answer: np.ndarray, target: object, about: int) -> list[str]:
    if task.labels.kind == "number":
        return [f"answered {float(answer[0]):.4g}", f"true: {float(target):.4g}"]  # type: ignore[arg-type]
    name = task.labels.names[about]
    if task.labels.kind == "labels":
        return [f"{name}: {answer[about]:.0%} sure", f"true: {', '.join(target) or 'none'}"]  # type: ignore[arg-type]
    return [f"answered {word}, {answer[about]:.0%} sure", f"true: {target}"]


def _maps(network: Network, inputs: torch.Tensor, outputs: torch.Tensor) -> np.ndarray | None:
    """(N, h, w) in 0..1; None where the network has no places to show."""
    was_training, asked = network.training, [parameter.requires_grad for parameter in network.parameters()]
    home = next(iter(network.parameters())).device
    network.eval().requires_grad_(False)
    try:
        return grad_cam(network, inputs.to(home), outputs)
    except (ValueError, NotImplementedError):
        return None
    finally:
        network.train(was_training)
        for parameter, learns in zip(network.parameters(), asked, strict=True):
            parameter.requires_grad_(learns)


def _pixels(picture: torch.Tensor, side: int = SIDE) -> np.ndarray | None:
    """(H, W, 3) uint8 of a network's input; None where its channels are no colours."""
    array = picture.permute(1, 2, 0).numpy()
    eight = array if array.dtype == np.uint8 else np.round(array * 255).clip(0, 255).astype(np.uint8)
    if eight.shape[2] not in (1, 3):
        return None
    image = Image.fromarray(np.repeat(eight, 3, axis=2) if eight.shape[2] == 1 else eight)
    image.thumbnail((side, side), Image.Resampling.LANCZOS)
    return np.asarray(image)


def _write(file: Path, pixels: np.ndarray) -> None:
    content = io.BytesIO()
    Image.fromarray(pixels).save(content, "JPEG", quality=80, optimize=True)
    with replacing(file) as temporary:
        temporary.write_bytes(content.getvalue())
