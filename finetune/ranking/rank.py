"""Which backbone suits some examples, in the order in which it happens."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from math import isfinite
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from ..data.addresses import printable
from ..data.examples import Examples
from ..errors import DataError, FinetuneError, WeightsError
from ..features import Values, device_for, features, kept_features, pooled, run_over
from ..files import prove_writable, told_unwritable
from ..models.network import Network
from ..models.options import Backbone
from ..report.intervals import difference, measure
from ..report.logme import logme
from ..report.printed import Talk
from ..report.ranked import shown
from ..training.machine import seed_all
from ..training.probe import fit_head, plain_head
from .candidates import Candidate, settle_ranking
from .ranking import Ranked, Ranking, ordered
from .training_part import TrainingPart, training_part

if TYPE_CHECKING:
    from rich.console import Console

SAMPLE = 48
"""Pictures of the short pass that measures the pace where features are known."""


@dataclass
class _Clock:
    """When each batch was done."""

    marks: list[tuple[float, int]] = field(default_factory=list)

    def __call__(self, count: int) -> None:
        self.marks.append((perf_counter(), count))

    def rate(self, start: float) -> float:
        """Pictures a second; the first batch, which pays for what is set up once, counts only where it is the one."""
        (first, count), *later = self.marks
        if not later:
            return count / (first - start)
        return sum(count for _, count in later) / (later[-1][0] - first)


def rank(
    source: Any,
    *,
    backbones: str | Backbone | Sequence[str | Backbone] | None = None,
    license: str | None = None,
    most: int = 2000,
    batch_size: int = 32,
    accelerator: str = "auto",
    seed: int = 0,
    out: str | Path | None = None,
    verbose: bool | Console = False,
    **options: Any,
) -> Ranking:
    """Orders backbones by how well they suit examples: by held-out answers of linear heads, and by LogME.

    The examples are those that `fit` would learn from: of given parts the training part alone, of others all but the
    test part that `fit` would take with the same seed and options. Features are averaged over places, computed once and
    kept; nothing of a backbone is trained.

    Args:
        source: As for `fit`.
        backbones: Names, several in one text with commas; NAME=FILE:mean=0.5:std=0.5 for weights of one's own and how
            pictures were prepared for them; `Backbone` values. None tries eleven well-known ones.
        license: "permissive", or licences by name with commas: leaves out backbones whose weights are published under
            another one, or under none that is stated.
        most: At most about so many examples are ranked on, drawn by class with groups whole.
        batch_size: Pictures at a time.
        accelerator: "auto", "cpu", "gpu", ...
        seed: Seeds the division, the folds, the intervals, and weights that are random.
        out: A .json or .csv file for the ranking; one that is there is replaced.
        verbose: Prints progress; a rich Console says where.
        options: Those of `fit` that say how to read and divide the source (image, target, group, test, ...), what the
            target is (task), and by which metric to order (monitor).

    Returns:
        The backbones, best first; those whose weights cannot be had come last, with the reason.

    Raises:
        ConfigError: All that is wrong with the options, before any file is read.
        DataError: Examples that cannot be used.
        WeightsError: None of the backbones could be had.
        RunFolderError: `out` cannot be written.
    """
    from rich.console import Console

    # Options first, all of them; then one network that can be had, or there is nothing to read pictures for.
    words = {**options, "seed": seed}
    recipe, candidates, left_out = settle_ranking(
        source, words, backbones, license=license, most=most, accelerator=accelerator, out=out
    )
    if out is not None:
        with told_unwritable(str(out)):
            prove_writable(Path(out))
    device = device_for(accelerator)
    talk = Talk(Console() if verbose is True else verbose or None)
    failed, network, spent = _first(candidates, seed, talk)

    # What they are tried on: the training examples, in folds that tear no group and no copies apart.
    part = training_part(recipe, most=most, in_chans=network.spec.in_chans, talk=talk)
    talk.say(f"{len(part.examples)} examples to rank on")

    # One backbone after the other: features, held-out answers, LogME.
    rows, answers, folds = list(failed), {}, 0
    for place, candidate in enumerate(candidates[len(failed) :]):
        start = perf_counter()
        try:
            network, spent = (_built(candidate, seed), 0.0) if place else (network, spent)
            row, answer, folds = _tried(candidate, network, part, batch_size=batch_size, device=device,
                                        seed=seed, talk=talk)  # fmt: skip
            rows.append(replace(row, seconds=spent + perf_counter() - start))
            answers[row.name] = answer
        except (FinetuneError, torch.OutOfMemoryError) as error:
            rows.append(_failed(candidate, error, spent + perf_counter() - start))
        except KeyboardInterrupt as stop:
            stop.add_note("Features that were computed are kept: the same command goes on from there.")
            raise
        talk.say(_told(rows[-1], part.metric))
    if not answers:
        raise WeightsError(_none_left(rows))

    # In order, and how far each lies behind the first.
    rows = ordered(rows, part.metric)
    best = answers[rows[0].name]
    for place, row in enumerate(rows):
        if place and row.error is None:
            apart = difference(part.task, answers[row.name], best, part.target, groups=part.units, seed=seed)
            rows[place] = replace(row, behind=apart[part.metric])
    name = printable(str(source)) if isinstance(source, str | Path) else f"a {type(source).__name__} in memory"
    ranking = Ranking(source=name, metric=part.metric, examples=len(part.examples), folds=folds, rows=tuple(rows),
                      notes=(*left_out, *part.notes))  # fmt: skip
    if out is not None:
        ranking.write(out)
    return ranking


def _first(candidates: Sequence[Candidate], seed: int, talk: Talk) -> tuple[list[Ranked], Network, float]:
    """The first network that can be had, what that took, and the rows of those before it.

    Raises:
        WeightsError: There is none.
    """
    failed: list[Ranked] = []
    for candidate in candidates:
        start = perf_counter()
        try:
            network = _built(candidate, seed)
        except FinetuneError as error:
            failed.append(_failed(candidate, error, perf_counter() - start))
            talk.say(f"{candidate.name}: {failed[-1].error}")
        else:
            return failed, network, perf_counter() - start
    raise WeightsError(_none_left(failed))


def _built(candidate: Candidate, seed: int) -> Network:
    """The network; where it has random weights, one seed gives one network."""
    seed_all(seed)
    return candidate.backbone.build(1)


def _none_left(rows: Sequence[Ranked]) -> str:
    reasons = "\n".join(f"  {row.name}: {row.error}" for row in rows)
    return (
        f"None of the backbones could be tried:\n{reasons}\nName others with --backbones, or their files: "
        "--backbones torchvision/mobilenet_v2=FILE."
    )


def _failed(candidate: Candidate, error: Exception, seconds: float) -> Ranked:
    # The first line says what is wrong, the others how to mend it for a single network.
    reason = str(error).partition("\n")[0]
    return Ranked(name=candidate.name, backbone=candidate.backbone, license=candidate.license, error=reason,
                  seconds=seconds)  # fmt: skip


def _told(row: Ranked, metric: str) -> str:
    if row.error is not None or row.metrics is None:
        return f"{row.name}: {row.error}"
    said = shown(row.metrics[metric]["value"])
    return f"{row.name}: {metric} {said}, LogME {shown(row.logme)}, {row.seconds:.1f} s"


def _tried(
    candidate: Candidate, network: Network, part: TrainingPart, *, batch_size: int, device: torch.device, seed: int,
    talk: Talk,
) -> tuple[Ranked, np.ndarray, int]:  # fmt: skip
    """One backbone's row, its held-out answers (n, K), and in how many folds they were held out."""
    task = part.task
    with talk.bar(candidate.name, len(part.examples)) as moved:
        known, pace = _timed(network, part.examples, batch_size, device, moved)
    if known.errors:
        at, reason = next(iter(known.errors.items()))
        source = printable(part.examples.table["source"][at])
        raise DataError(f"{source} could be read a moment ago, and no longer can: {reason}.")
    values = pooled(known.values)
    head = plain_head(values.shape[1], task.labels.num_outputs)
    fit = fit_head(head, values, part.target, task, groups=part.units, seed=seed)
    assert fit.held_out is not None  # noqa: S101  # `_tellable` saw to it that some can be held out
    answer = task.answer(torch.from_numpy(fit.held_out))
    score = logme(values, part.target)
    row = Ranked(
        name=candidate.name, backbone=candidate.backbone, license=candidate.license,
        metrics=measure(task, answer, part.target, groups=part.units, seed=seed),
        logme=score if isfinite(score) else None, penalty=fit.penalty, width=values.shape[1],
        parameters=sum(p.numel() for p in network.body.parameters()), **pace,
    )  # fmt: skip
    return row, answer, fit.folds


def _timed(
    network: Network, examples: Examples, batch_size: int, device: torch.device, moved: Callable[[int], None]
) -> tuple[Values, dict[str, Any]]:
    """The features, and how fast they come: the words of `Ranked` for it."""
    clock, start = _Clock(), perf_counter()

    def progress(count: int) -> None:
        clock(count)
        moved(count)

    known = kept_features(network, examples)
    if known is None:
        known = features(network, examples, batch_size=batch_size, device=device, progress=progress)
        return known, {"rate": clock.rate(start), "timed_on": len(examples), "cached": False}
    moved(len(examples))  # the cache answered, and told nothing of the pace
    sample = examples.take(range(min(SAMPLE, len(examples))))
    clock, start = _Clock(), perf_counter()
    run_over(network, sample, what="features", batch_size=min(batch_size, SAMPLE // 3), device=device, progress=clock)
    return known, {"rate": clock.rate(start), "timed_on": len(sample), "cached": True}
