"""What a model that answers with points is judged by, and what is told of its answers."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from .data.addresses import printable
from .data.examples import Examples
from .data.looks import Looks
from .errors import ConfigError
from .report.intervals import Measured
from .report.limits import ENOUGH_PRODUCTS, retrieval_limits
from .report.retrieval import retrieval_figures
from .tasks.base import Task
from .tasks.embed import EmbedTask
from .tasks.retrieval import BLOCK, retrieval_scores

if TYPE_CHECKING:
    import pandas as pd

UNITS = ("product", "group", "picture")
"""What the intervals of retrieval may draw whole."""


@dataclass(frozen=True, kw_only=True)
class Points:
    """The pictures of a part, as points of length 1.

    Args:
        examples: n pictures, whose targets are classes.
        answer: (n, D) where the model puts them.
        frozen: (n, F) where the backbone put them before anything was learned; None where nobody knows.
        looks: What they look like, an entry a picture; None where nobody looked.
    """

    examples: Examples
    answer: np.ndarray
    frozen: np.ndarray | None = None
    looks: Looks | None = None

    @property
    def classes(self) -> np.ndarray:
        """(n,) the name of the class of each."""
        return np.array([str(target) for target in self.examples.targets], dtype=object)

    @property
    def groups(self) -> list[Any] | None:
        """(n,) what belongs together, None for a picture that stands alone; None where nothing does."""
        groups = [group if isinstance(group, str) else None for group in self.examples.table["group"]]
        return groups if any(group is not None for group in groups) else None

    @property
    def identity(self) -> np.ndarray:
        """(n,) equal for pictures that are one to the pixel, as far as somebody looked."""
        if self.looks is None:
            return np.arange(len(self.examples))
        return np.unique(self.looks.digest, axis=0, return_inverse=True)[1].ravel()

    @property
    def beside(self) -> dict[str, np.ndarray]:
        """Other points of the same pictures, that those of the model are worth something beside."""
        found = {} if self.frozen is None else {"frozen": self.frozen}
        return found if self.looks is None else found | {"pixels": grey_points(self.looks)}


def grey_points(looks: Looks) -> np.ndarray:
    """(n, 1024) points of length 1 from grey thumbnails, without their brightness and contrast."""
    plain = looks.thumbnail.reshape(len(looks.thumbnail), -1).astype(np.float32)
    plain -= plain.mean(axis=1, keepdims=True)
    return np.asarray(plain / np.maximum(np.linalg.norm(plain, axis=1, keepdims=True), 1e-6))


def unit_of(classes: np.ndarray, groups: Sequence[Any] | None) -> str:
    """What intervals draw whole where nobody says: groups where there are any, else 20 products or more, else pictures.

    Args:
        classes: (n,) of each picture.
        groups: (n,) what belongs together, None for a picture that stands alone; None where nothing does.
    """
    if groups is not None:
        return "group"
    return "product" if len(set(classes.tolist())) >= ENOUGH_PRODUCTS else "picture"


def figures_of(
    scores: dict[str, np.ndarray], classes: np.ndarray, groups: Sequence[Any] | None, *, drawn: str | None = None,
    shares: bool = True, seed: int = 0,
) -> Measured:  # fmt: skip
    """The means of scores with intervals.

    Args:
        scores: As from `retrieval_scores`, or differences of two such.
        classes: (n,) of each picture.
        groups: As for `unit_of`.
        drawn: What is drawn whole, one of `UNITS`; as `unit_of` says if None.
        shares: As for `retrieval_figures`.
        seed: Seeds the drawing.
    """
    units = {"product": classes.tolist(), "group": groups, "picture": None}[drawn or unit_of(classes, groups)]
    return retrieval_figures(scores, units, shares=shares, seed=seed)


def judge_points(
    parts: Mapping[str, Points], *, learned: Collection[str], seed: int = 0
) -> tuple[dict[str, Any], pd.DataFrame]:
    """How often the pictures of each part find one of their own class, and the table of what each finds.

    Args:
        parts: What is measured.
        learned: The classes that the model has learned from.
        seed: Seeds the intervals.

    Returns:
        What metrics.json holds: of each part recall_at_1, recall_at_10 and map_at_r; "baselines", the same of the
        frozen backbone and of grey pixels; "gain", the difference from the frozen backbone; "retrieval", how many
        classes there are and how many of them were learned from. And predictions.csv: a row a picture, with the
        nearest other.
    """
    import pandas as pd

    metrics: dict[str, Any] = {}
    baselines, counts, tables = {}, {}, []
    for part, points in parts.items():
        classes, groups, identity = points.classes, points.groups, points.identity
        scores = retrieval_scores(points.answer, classes, identity)
        metrics[part] = figures_of(scores, classes, groups, seed=seed)
        beside = {name: retrieval_scores(at, classes, identity) for name, at in points.beside.items()}
        baselines[part] = {name: figures_of(found, classes, groups, seed=seed) for name, found in beside.items()}
        if "frozen" in beside and (part == "test" or "test" not in parts):
            gained = {name: scores[name] - beside["frozen"][name] for name in scores}
            metrics["gain"] = {"on": part, "over": "the frozen backbone",
                               "figures": figures_of(gained, classes, groups, shares=False, seed=seed)}  # fmt: skip
        names = set(classes.tolist())
        counts[part] = {"classes": len(names), "learned_from": len(names & set(learned))}
        tables.append(_table(part, points, scores))
    metrics |= {"baselines": baselines} if any(baselines.values()) else {}
    return metrics | {"retrieval": counts}, pd.concat(tables, ignore_index=True) if tables else pd.DataFrame()


def told_points(metrics: Mapping[str, Any], primary: str) -> list[str]:
    """What is to be said of such figures, a sentence each.

    Args:
        metrics: As from `judge_points`.
        primary: The metric to quote.
    """
    lines = retrieval_limits(metrics["retrieval"])
    if gain := metrics.get("gain"):
        figure = gain["figures"][primary]
        if figure["value"] is not None and figure["low"] is not None:
            lines.append(
                f"Learning changed {primary} by {figure['value']:+.4f} (95 % interval {figure['low']:+.4f} to "
                f"{figure['high']:+.4f}, {figure['n']} pictures of {gain['on']}) against {gain['over']}."
            )
    return lines


def points_table(examples: Examples, answer: np.ndarray, rows: np.ndarray, errors: Mapping[int, str]) -> pd.DataFrame:
    """What `predict` tells: the columns path, embedding_0 and so on, error; a row a picture in the order asked.

    Args:
        examples: The pictures.
        answer: (n, D) the points of those that could be read.
        rows: (n,) their rows among the examples.
        errors: Row to reason for the others.
    """
    import pandas as pd

    numbers = np.full((len(examples), answer.shape[1]), np.nan)
    numbers[rows] = answer
    columns = [f"embedding_{k}" for k in range(answer.shape[1])]
    table = pd.DataFrame(numbers, columns=columns)
    table.insert(0, "path", [printable(source) for source in examples.table["source"]])
    table["error"] = [errors.get(row, "") for row in range(len(examples))]
    return table


def refuse_points(task: Task, what: str) -> None:
    """Refuses what needs answers that are right or wrong.

    Args:
        task: What the model's answers mean.
        what: What was asked for.

    Raises:
        ConfigError: The model answers with points.
    """
    if isinstance(task, EmbedTask):
        raise ConfigError(
            f"{what} needs answers that say a class, labels or a number, and this model answers with points. Expected "
            "finetune neighbours, which shows what lies near; ft.retrieval measures it."
        )


def _table(part: str, points: Points, scores: Mapping[str, np.ndarray]) -> pd.DataFrame:
    import pandas as pd

    table = points.examples.table
    paths, classes = [printable(source) for source in table["source"]], points.classes
    nearest, cosine = _nearest(points.answer, points.identity)
    there = np.isfinite(cosine)
    return pd.DataFrame({
        "part": part, "path": paths, "target": classes,
        "nearest": [paths[at] if known else None for at, known in zip(nearest, there, strict=True)],
        "nearest_target": np.where(there, classes[nearest], None),
        "cosine": np.where(there, cosine, np.nan), **scores, "group": list(table["group"]),
    })  # fmt: skip


def _nearest(points: np.ndarray, identity: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(n,) the row of the nearest picture that is not the same one, and its cosine; -inf where there is none."""
    n = len(points)
    at, cosine, step = np.zeros(n, np.int64), np.full(n, -np.inf), max(1, BLOCK // max(n, 1))
    for start in range(0, n, step):
        rows = np.arange(start, min(n, start + step))
        found = points[rows] @ points.T
        found[identity[rows, None] == identity[None]] = -np.inf
        at[rows] = found.argmax(axis=1)
        cosine[rows] = found[np.arange(len(rows)), at[rows]]
    return at, cosine
