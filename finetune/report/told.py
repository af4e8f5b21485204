"""What metrics.json says beside the plain figures, as tables and sentences for a terminal and a report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich import box
from rich.table import Table
from rich.text import Text

from ..errors import listing
from .levels import levels_lines
from .over import least_over
from .printed import cells, measured_parts

MOST_SHOWN = 30
"""Classes that a table in the terminal has; metrics.json has them all."""

CLASS_FIGURES = ("precision", "recall", "f1", "auroc", "auprc")


def classes_table(classes: Mapping[str, Mapping[str, Any]], part: str) -> Table:
    """The figures of each class with their intervals, the rarest last."""
    title = f"Each class against the rest, on {part}"
    table = Table(title=title, box=box.SIMPLE_HEAD, title_justify="left", title_style="bold")
    table.add_column("class", overflow="fold")
    for name in ("support", *CLASS_FIGURES):
        table.add_column(name, justify="right", no_wrap=True)
    ordered = sorted(classes.items(), key=lambda item: -item[1]["support"])
    for name, figures in ordered[:MOST_SHOWN]:
        table.add_row(Text(name), str(figures["support"]), *(_with_ends(figures[key]) for key in CLASS_FIGURES))
    return table


def slices_table(found: Sequence[Mapping[str, Any]], metric: str, part: str) -> Table:
    """One metric of each slice with its interval."""
    table = Table(title=f"{metric} on {part}", box=box.SIMPLE_HEAD, title_justify="left", title_style="bold")
    for name in ("by", "value", metric, "95 % interval", "n"):
        table.add_column(name, justify="right" if name in (metric, "n") else "left", overflow="fold")
    for one in found:
        table.add_row(Text(one["by"]), Text(one["value"]), *cells(one["metrics"][metric]))
    return table


def told_lines(metrics: Mapping[str, Any], primary: str) -> list[str]:
    """What there is to say beside the figures, a sentence each.

    Args:
        metrics: As metrics.json holds them.
        primary: The metric to quote.
    """
    lines = []
    for part, figures in measured_parts(metrics).items():
        if (again := metrics.get("learned_from", {}).get(part, 0)) and part != "train":
            lines.append(
                f"{again} of {figures[primary]['n']} examples of {part} are files that the model learned from: these "
                "figures say little of new pictures. What it had not seen when it was made is in its report.md."
            )
        lines += _of_baselines(metrics, part, primary) + _of_undefined(metrics, part)
        lines += [*levels_lines(metrics.get("levels", {}).get(part, []), part), *_of_decisions(metrics, part)]
    if (worst := metrics.get("worst_slice")) is not None:
        whole = metrics[worst["part"]][worst["metric"]]
        lines.append(
            f"The worst slice of {worst['part']} is {worst['by']} {worst['value']}: {worst['metric']} "
            f"{quoted(worst['figure'])} of {worst['n']} examples, {quoted(whole)} over all."
        )
    return lines


def quoted(figure: Mapping[str, Any]) -> str:
    """A figure in a sentence: its value, and in brackets the ends of its interval."""
    if figure["value"] is None:
        return "undefined"
    ends = "" if figure["low"] is None else f" ({figure['low']:.4g} to {figure['high']:.4g})"
    return f"{figure['value']:.4g}{ends}"


def _with_ends(figure: Mapping[str, Any]) -> str:
    if figure["value"] is None:
        return "-"
    ends = "" if figure["low"] is None else f"\n{figure['low']:.2f}-{figure['high']:.2f}"
    return f"{figure['value']:.3f}{ends}"


def _of_baselines(metrics: Mapping[str, Any], part: str, primary: str) -> list[str]:
    found = metrics.get("baselines", {}).get(part, {})
    if not found:
        return []
    beside = ", ".join(f"{quoted(figures[primary])} for {name}" for name, figures in found.items())
    lines = [f"Beside {primary} {quoted(metrics[part][primary])} on {part}: {beside}."]
    if (least := least_over(metrics, part, primary)) is not None and not least.sure:
        lines.append(
            f"That {primary} is better than {least.name} is not sure: the difference is {quoted(least.figure)}."
        )
    return lines


def _of_undefined(metrics: Mapping[str, Any], part: str) -> list[str]:
    names = metrics.get("undefined", {}).get(part, [])
    if not names:
        return []
    whole = len(metrics["classes"][part])
    return [
        f"On {part} auroc and auprc are means over {whole - len(names)} of {whole} classes: of {listing(names, 10)} it "
        "holds one value only."
    ]


def _of_decisions(metrics: Mapping[str, Any], part: str) -> list[str]:
    """What calibration, thresholds and sets give on a part."""
    lines = []
    found = metrics.get("calibration", {}).get(part)
    if found is not None:
        error, heat = quoted(found["ece_before"]), found["temperature"]
        how = error if heat == 1 else f"{error}; a temperature of {heat:.3g} makes it {quoted(found['ece_after'])}"
        lines.append(
            f"Expected calibration error on {part}: {how}; were each probability true, it would be "
            f"{quoted(found['ece_if_calibrated'])}."
        )
    for name, at in metrics.get("operating", {}).get(part, {}).items():
        rates = ", ".join(f"{rate} {quoted(at[rate])}" for rate in ("sensitivity", "specificity", "precision"))
        lines.append(f"{at['asked']}, {name} from {at['threshold']:.4g} on: {rates} on {part}.")
    if (sure := metrics.get("answered", {}).get(part)) is not None:
        lines.append(
            f"{sure['asked']}, answered from {sure['threshold']:.4g} on: {quoted(sure['coverage'])} of {part}, of "
            f"which {quoted(sure['precision'])} are right."
        )
    sets = metrics.get("conformal", {}).get(part)
    if sets is not None and "size" in sets:
        right = sets["accuracy"]
        others = "" if right["value"] is None else f", of the others {quoted(right)} are right"
        lines.append(
            f"Sets for {sets['asked']:.0%}: they hold the class in {quoted(sets['coverage'])} of {part}, have "
            f"{quoted(sets['size'])} classes; {quoted(sets['abstained'])} are abstained from{others}."
        )
    elif sets is not None:
        width = "no bound" if sets["width"] is None else f"a width of {sets['width']:.4g}"
        lines.append(f"Intervals for {sets['asked']:.0%} hold {quoted(sets['coverage'])} of {part}, with {width}.")
    return lines
