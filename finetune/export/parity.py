"""An exported graph run on real pictures beside the model it was made of."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..data.examples import Examples
from ..data.readers import read_image
from ..embedded import points_table
from ..errors import DataError, FinetuneError, UnreadableError, listing
from ..models.network import Network
from ..predict import answers, as_decided
from ..tasks.base import Task
from ..tasks.decisions import Decisions
from ..tasks.embed import EmbedTask
from .graph import INPUT

Run = Callable[[np.ndarray], Mapping[str, np.ndarray]]
"""Answers (N, H, W, C) uint8 pictures with each of `Told.outputs`."""

WITHIN = 1e-3
"""How far a probability, or a number in standard deviations of the training targets, may be from the model's own.

Kernels of other runtimes add in another order: 1e-6 to 1e-5 is usual. Another resize or another mean shows as 1e-2.
"""


@dataclass(frozen=True, kw_only=True)
class Parity:
    """What a graph and its model said of the same pictures.

    Args:
        pictures: How many.
        largest: The largest difference of any number; of numbers that are a target, in its standard deviations.
        differing: The pictures of which something was told in other words: another class, another set.
        left_out: Why pictures were not compared, by their path.
    """

    pictures: int
    largest: float
    differing: tuple[str, ...]
    left_out: Mapping[str, str]

    def to_dict(self) -> dict[str, Any]:
        """The same as plain JSON values."""
        return {"pictures": self.pictures, "largest_difference": self.largest, "differing": list(self.differing),
                "left_out": dict(self.left_out)}  # fmt: skip


def runner(file: Path, outputs: Mapping[str, str]) -> Run:
    """Runs a written graph on the CPU; onnxruntime, or torch itself."""
    if file.suffix == ".onnx":
        import onnxruntime

        session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
        return lambda pictures: dict(zip(outputs, session.run(list(outputs), {INPUT: pictures}), strict=True))
    graph = torch.export.load(file).module()

    def run(pictures: np.ndarray) -> Mapping[str, np.ndarray]:
        with torch.inference_mode():
            return {name: values.numpy() for name, values in graph(torch.from_numpy(pictures.copy())).items()}

    return run


def compared(
    run: Run, network: Network, task: Task, decisions: Decisions, examples: Examples, *,
    prior: Mapping[str, float] | None = None,
) -> Parity:  # fmt: skip
    """What the graph says of each picture beside what `predict` says of it.

    Args:
        run: The graph.
        network: The network it was made of.
        task: What the answers mean.
        decisions: Those of the model.
        examples: The pictures; those of more than 8 bits, which graphs do not take, are left out.
        prior: How frequent some classes are where the graph will be used.

    Raises:
        DataError: None of the pictures can be compared.
    """
    rows, pictures, left_out = [], [], {}
    for row, picture in enumerate(examples.pictures()):
        source = str(examples.table["source"].iloc[row])
        try:
            array = read_image(picture, in_chans=network.spec.in_chans)
        except UnreadableError as error:
            left_out[source] = str(error)
            continue
        if array.dtype != np.uint8:
            left_out[source] = "it has more than 8 bits a channel, and exported graphs take 8"
            continue
        rows.append(row)
        pictures.append(array)
    if not rows:
        path, why = next(iter(left_out.items()))
        raise DataError(
            f"None of {len(examples)} pictures can be compared: {path}: {why}. Expected pictures of 8 bits a channel."
        )
    asked = examples.take(rows)
    answered = answers(network, task, asked)
    if isinstance(task, EmbedTask):
        table = points_table(asked, answered.answer, answered.rows, answered.errors)
    else:
        table = as_decided(task, asked, answered, decisions, prior=prior)
    largest, differing = 0.0, []
    for row, picture in enumerate(pictures):
        numbers, words = said(task, run(picture[None]))
        ours = table.iloc[row]
        # Between path and error lie label, one a class, and what decisions add; or the numbers of a point.
        columns = [name for name in table.columns[1:-1] if name not in words]
        known = np.array([ours[name] for name in columns], np.float64)
        other = known != numbers  # ends of an interval may be infinite
        gap = np.abs(known[other] - numbers[other]).max(initial=0.0)
        largest = max(largest, float(gap) / (task.labels.scale if task.labels.kind == "number" else 1.0))
        if any(ours[name] != word for name, word in words.items()):
            differing.append(str(asked.table["source"].iloc[row]))
    return Parity(pictures=len(rows), largest=largest, differing=tuple(differing), left_out=left_out)


def checked(parity: Parity, network: Network) -> Parity:
    """Refuses a graph that does not say what the model says.

    Raises:
        FinetuneError: A number is further away than `WITHIN`, or something is told in other words.
    """
    if parity.largest <= WITHIN and not parity.differing:
        return parity
    words = f", and {len(parity.differing)} are answered otherwise: {listing(parity.differing)}"
    raise FinetuneError(
        f"The exported graph of {network.id} does not say what the model says: over {parity.pictures} pictures numbers "
        f"differ by up to {parity.largest:.2g} (expected {WITHIN:g} or less){words if parity.differing else ''}. "
        "Nothing was written. Another --format may hold; please report this network."
    )


def said(task: Task, told: Mapping[str, np.ndarray]) -> tuple[np.ndarray, dict[str, Any]]:
    """Of one picture the numbers in the order of the columns of `predict`, and what is told in words."""
    if "embedding" in told:
        return told["embedding"][0], {}
    if task.labels.kind == "number":
        return np.array([float(told[name][0]) for name in ("value", "low", "high") if name in told]), {}
    names = np.array(task.labels.names, dtype=object)
    words: dict[str, Any] = {}
    if "label" in told:
        words["label"] = names[told["label"][0]]
    else:
        words["label"] = "|".join(names[told["labels"][0]])
    if "set" in told:
        words["set"] = "|".join(names[told["set"][0]])
    if "abstained" in told:
        words["abstained"] = bool(told["abstained"][0])
    parts = [told["probabilities"][0], *([told["nodes"][0]] if "nodes" in told else [])]
    return np.concatenate(parts), words
