"""What the runs of `quality.py` say: a table a series, and which differences are more than chance."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

DRAWS = 2000
Run = Mapping[str, Any]


def error(run: Run, counts: np.ndarray) -> np.ndarray:
    """The error of a run under counts of its test pictures: of (d, n) counts (d,) errors.

    That is the share of wrong answers; where the metric is AUC, 1 - AUC, the share of pairs in the wrong order.
    """
    probability, target = np.asarray(run["probability"]), np.asarray(run["target"])
    if run["metric"] == "accuracy":
        wrong = (probability.argmax(1) != target).astype(float)
        return counts @ wrong / counts.sum(1)
    score = probability[:, 1]
    up, down = counts[:, target == 1], counts[:, target == 0]
    gap = score[target == 1][:, None] - score[target == 0][None, :]
    pairs = (gap < 0) + 0.5 * (gap == 0)
    with np.errstate(invalid="ignore"):  # a draw without one of the classes has no error
        return np.einsum("dp,pn,dn->d", up, pairs, down, optimize=True) / (up.sum(1) * down.sum(1))


def log_loss(run: Run, counts: np.ndarray) -> np.ndarray:
    """The log loss of a run under counts of its test pictures, likewise: what its probabilities are worth.

    Nothing is held to be less likely than 1e-6, which is what is left of answers in six decimals.
    """
    probability = np.clip(run["probability"], 1e-6, None)
    probability /= probability.sum(1, keepdims=True)
    lost = -np.log(np.take_along_axis(probability, np.asarray(run["target"])[:, None], 1)[:, 0])
    return counts @ lost / counts.sum(1)


Measure = Callable[[Run, np.ndarray], np.ndarray]


def mean(runs: Sequence[Run], measure: Measure = error) -> float:
    return float(np.mean([measure(run, np.ones((1, len(run["target"]))))[0] for run in runs]))


def difference(ours: Sequence[Run], peer: Sequence[Run], measure: Measure = error) -> tuple[float, float]:
    """The 95 % interval of the difference of means by a paired bootstrap; above 0 where ours is worse.

    Units (persons, else pictures) are drawn and not answers: a picture that several seeds tested counts as one.
    """
    units = sorted({unit for run in ours for unit in run["unit"]})
    place = {unit: i for i, unit in enumerate(units)}
    draws = np.random.default_rng(0).multinomial(len(units), np.full(len(units), 1 / len(units)), size=DRAWS)
    total = np.zeros(DRAWS)
    for mine, other in zip(ours, peer, strict=True):
        if mine["test"] != other["test"]:
            raise SystemExit(f"{mine['set']}, seed {mine['seed']}: the methods were tested on different pictures.")
        counts = draws[:, [place[unit] for unit in mine["unit"]]]
        total += measure(mine, counts) - measure(other, counts)
    low, high = np.nanquantile(total / len(ours), (0.025, 0.975))
    return float(low), float(high)


def report(runs: Sequence[Run], *, ours: str = "default") -> str:
    """Markdown: a table for each series of one size and length."""
    series: dict[tuple[Any, ...], list[Run]] = defaultdict(list)
    failed = [f"{r['set']}, seed {r['seed']}, {r['method']} failed: {r['failed']}" for r in runs if "failed" in r]
    for run in runs:
        if "probability" in run:
            series[run["epochs"], run["most"], run["test_most"]].append(run)
    parts = [_series(key, of, ours) for key, of in series.items()]
    return "\n\n".join([*parts, *failed]) if parts else "There are no runs."


def _series(key: tuple[Any, ...], runs: Sequence[Run], ours: str) -> str:
    epochs, most, test_most = key
    methods = list(dict.fromkeys(run["method"] for run in runs))
    peers = [method for method in methods if method != ours and method.partition(":")[0] not in ("ours", "alone")]
    by: dict[tuple[str, str], dict[int, Run]] = defaultdict(dict)
    for run in runs:
        by[run["set"], run["method"]][run["seed"]] = run
    lines = [
        f"{epochs} epochs, at most {most or 'all'} training and {test_most or 'all'} test pictures, threads "
        f"{_of(runs, 'threads')}, versions {_of(runs, 'version')}, load {min(r['load'] for r in runs)} to "
        f"{max(r['load'] for r in runs)}",
        "",
        f"| set | train, test, seeds | {' | '.join(methods)} | {ours} worse or better than | by log loss |",
        f"| --- | --- | {' | '.join('--:' for _ in methods)} | --- | --- |",
    ]
    errors: dict[str, dict[str, float]] = {}
    for name in dict.fromkeys(run["set"] for run in runs):
        whole = set.intersection(*(set(by[name, method]) for method in methods if by[name, method]))
        of = {m: [by[name, m][seed] for seed in sorted(whole)] for m in methods if by[name, m]}
        if not whole:
            continue
        errors[name] = {method: mean(same) for method, same in of.items()}
        some = next(iter(of.values()))
        cells = [_cell(of[method]) if method in of else "" for method in methods]
        size = f"{_of(some, 'train')}, {_of([{'n': len(r['test'])} for r in some], 'n')}, {len(whole)}"
        verdicts = _verdict(of, ours, peers, error, "{:+.1%}"), _verdict(of, ours, peers, log_loss, "{:+.3f}")
        lines.append(f"| {name} | {size} | {' | '.join([*cells, *verdicts])} |")
    return "\n".join([*lines, "", _CELL, *_overall(errors, methods, ours, peers)])


_CELL = (
    "A cell is the mean error over seeds in % (of isic_lesions 1 - AUC), the lowest and highest, the mean log loss, "
    "and the mean processor seconds of training."
)


def _cell(runs: Sequence[Run]) -> str:
    values = [100 * mean([run]) for run in runs]
    cpu = np.mean([run["cpu"] for run in runs])
    return f"{np.mean(values):.1f} ({min(values):.1f} to {max(values):.1f}), {mean(runs, log_loss):.3f}, {cpu:.0f} s"


def _verdict(
    of: Mapping[str, Sequence[Run]], ours: str, peers: Sequence[str], measure: Measure, form: str
) -> str:  # fmt: skip
    """Which peers ours can be told from; nothing is said of the others."""
    told = []
    for peer in peers:
        if ours in of and peer in of:
            low, high = difference(of[ours], of[peer], measure)
            if low > 0 or high < 0:
                told.append(f"{'WORSE' if low > 0 else 'better'}: {peer} ({form.format(low)} to {form.format(high)})")
    return "; ".join(told) or "none can be told apart"


def _overall(
    errors: Mapping[str, Mapping[str, float]], methods: Sequence[str], ours: str, peers: Sequence[str]
) -> list[str]:
    """Means over the sets that every method has answered, and ours as a share of the best peer's."""
    whole = [name for name, of in errors.items() if all(method in of for method in methods)]
    if not whole or ours not in methods or not peers:
        return []
    means = {method: float(np.mean([errors[name][method] for name in whole])) for method in methods}
    best = min(peers, key=lambda peer: means[peer])
    told = ", ".join(f"{method} {100 * value:.2f} %" for method, value in means.items())
    return [
        "",
        f"Mean error over {len(whole)} sets ({', '.join(whole)}): {told}. {ours} / {best}, the best peer: "
        f"{means[ours] / means[best]:.3f}.",
    ]


def _of(runs: Sequence[Run], name: str) -> str:
    return "/".join(str(value) for value in dict.fromkeys(run[name] for run in runs))
