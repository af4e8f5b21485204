"""report.html: a run on one page, the verdict first, that needs nothing else and reaches for nothing."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping, Sequence
from html import escape
from typing import Any

from . import drawn
from .levels import COLUMNS, levels_rows
from .markup import badge, document, image, table
from .page import BUDGET
from .points import number
from .printed import cells, folds_rows
from .run_facts import Mistake, RunFacts
from .verdict import against, losses, verdict

MOST_CLASSES = 60
"""Classes in a table or a drawing of the page; metrics.json has all of them."""

FIGURES = ("precision", "recall", "f1", "auroc", "auprc")


def run_page(facts: RunFacts) -> str:
    """The page as HTML. What there is nothing to say of is left out."""
    points = verdict(facts)
    said = "\n".join(f"<li>{badge(point.severity)} {escape(point.sentence)}</li>" for point in points[1:])
    header = (
        f'<p class="verdict">{escape(points[0].sentence)}</p>\n<ul class="verdict-list">{said}</ul>'
        f"<p>{escape(str(facts.story.get('chosen', '')))}</p>"
    )
    sections = [
        ("Figures", _figures(facts)),
        ("Levels of the taxonomy", _levels(facts)),
        ("Training and validation", _curves(facts)),
        ("What was taken for what", _confusion(facts)),
        ("Is it as sure as it is right?", _reliability(facts)),
        ("Each class", _classes(facts)),
        ("The worst errors", _mistakes(facts)),
        ("Slices", _slices(facts)),
        ("Data", _data(facts)),
        ("Plan", _plan(facts)),
        ("How to repeat", _repeat(facts)),
    ]
    kept = [(title, body) for title, body in sections if body]
    links = "".join(f'<li><a href="#part-{n}">{escape(title)}</a></li>' for n, (title, _) in enumerate(kept))
    body = "\n".join(
        f'<section id="part-{n}" aria-labelledby="part-{n}-title">\n<h2 id="part-{n}-title">{escape(title)}</h2>\n'
        f"{content}\n</section>"
        for n, (title, content) in enumerate(kept)
    )
    nav = f'<nav aria-label="On this page"><ul class="links">{links}</ul></nav>'
    return document(str(facts.story["title"]), header + nav, body, skip=("part-0", "To the figures"), style=STYLE)


def _figures(facts: RunFacts) -> str:
    # A phone shows one column: that of the part which is quoted.
    parts = dict(sorted(facts.parts.items(), key=lambda item: item[0] != facts.part))
    if not parts:
        return ""
    rows = [
        (metric.replace("_", " "), *(_long_cell(found[metric]) if metric in found else "" for found in parts.values()))
        for metric in dict.fromkeys(metric for found in parts.values() for metric in found)
    ]
    head = ("metric", *(f"{part}, n\u00a0{next(iter(found.values()))['n']}" for part, found in parts.items()))
    text = table(head, rows, named="Every metric of every part")
    primary = str(facts.story["primary"])
    beside = [(name, *cells(found[primary])) for name, found in (facts.of("baselines") or {}).items()
              if primary in found]  # fmt: skip
    if beside:
        text += f"<h3>Beside it, {escape(primary)} on {facts.part}</h3>"
        text += table(("answered by", "value", "95 % interval", "n"), beside, named="Naive answers and the probe")
    if folds := facts.metrics.get("folds"):
        text += "<h3>Fold by fold</h3>" + table(
            ("metric", "mean of the folds", "standard deviation", "each fold"), folds_rows(folds), named="Folds"
        )
    return text + _small(
        "Intervals are of 95 %: so many of them hold the figure of all such pictures. Groups are drawn whole."
    )


def _levels(facts: RunFacts) -> str:
    rows = levels_rows(facts.metrics)
    if not rows:
        return ""
    said = "Level 1 lies right below the root. The probability of a node is the sum over the classes below it."
    return table(COLUMNS, rows, named="Every level of every part") + _small(said)


def _curves(facts: RunFacts) -> str:
    phases, kept = facts.phases(), facts.kept()
    drawings = []
    train, held = facts.curve("train_loss"), facts.curve("validation_log_loss")
    lines = {name: points for name, points in (("training", train), ("validation", held)) if points}
    if any(len(points) > 1 for points in lines.values()):  # one epoch makes no curve
        said = "; ".join(f"{name} from {number(p[0][1])} to {number(p[-1][1])}" for name, p in lines.items())
        drawings.append(drawn.curves(lines, phases, title="Loss", y="loss", alt=f"Loss over epochs: {said}.",
                                     shade=len(lines) == 2, chosen=kept))  # fmt: skip
    primary = str(facts.story["primary"])
    points = facts.curve(f"validation_{primary}")
    if len(points) > 1:
        said = f"from {number(points[0][1])} to {number(points[-1][1])}, highest {number(max(y for _, y in points))}"
        name = primary.replace("_", " ")
        drawings.append(drawn.curves({"validation": points}, phases, title=f"Validation {name}", y=name,
                                     alt=f"{name} on validation over epochs: {said}.", chosen=kept))  # fmt: skip
    text = f'<div class="drawings">{"".join(f"<figure>{one}</figure>" for one in drawings)}</div>' if drawings else ""
    if found := losses(facts):
        at, one, other = found
        text += (
            "<p>Over-fitting is the gap between training and validation: what the model knows of the pictures that it "
            f"learned from and does not know of others. At epoch {at:g} it is {other - one:+.4f} ({number(one)} in "
            f"training, {number(other)} on validation).</p>"
        )
        if text and any(not row.get("mixing", "none").startswith("none") for row in facts.story["plan"]):
            text += _small("Where pictures are mixed the training loss is that of mixed ones, which nobody can answer "
                           "surely: it lies above the loss on the pictures themselves.")  # fmt: skip
    if text and (done := against(facts)):
        text += f"<p>What was done against it:</p><ul>{''.join(f'<li>{escape(one)}</li>' for one in done)}</ul>"
    return text


def _confusion(facts: RunFacts) -> str:
    found = facts.of("confusion")
    if not found or len(found["labels"]) > MOST_CLASSES:
        return ""
    labels, counts = found["labels"], found["counts"]
    wrong = sorted(
        ((count, labels[i], labels[j]) for i, row in enumerate(counts) for j, count in enumerate(row)
         if i != j and count), reverse=True,
    )  # fmt: skip
    often = "; ".join(f"{true} taken for {given}: {count}" for count, true, given in wrong[:5])
    text = drawn.confusion(labels, counts, title=f"Confusion on {facts.part}", alt=f"Most often {often or 'nothing'}.")
    return f"<figure>{text}</figure><p>{escape(often)}</p>" + _small("A row is the truth, a column the answer.")


def _reliability(facts: RunFacts) -> str:
    found = facts.of("calibration")
    if not found or not found.get("bins"):
        return ""
    before, after = (_cell(found[f"ece_{name}"]) for name in ("before", "after"))
    scaled = f"before and {after} after temperature scaling (temperature {number(found.get('temperature'))})"
    # A temperature of 1 changes nothing: none helped examples that it was not fitted on.
    said = f"Expected calibration error {before}{'' if found.get('temperature') == 1 else f' {scaled}'}."
    text = drawn.reliability(found["bins"], title=f"Reliability on {facts.part}", alt=said)
    rows = [(number(one["confidence"]), number(one["accuracy"]), str(one["count"])) for one in found["bins"]]
    return (
        f'<div class="drawings"><figure>{text}</figure><div>'
        f"{table(('confidence', 'was right', 'answers'), rows, named='Reliability, bin by bin')}</div></div>"
        f"<p>{escape(said)}</p>" + _decisions(facts)
    )


def _decisions(facts: RunFacts) -> str:
    """Thresholds and sets, as far as metrics.json has them."""
    rows = [(f"{kind} {name}".strip(), text) for kind in ("operating", "answered", "conformal")
            for name, text in _flat(facts.of(kind) or {})]  # fmt: skip
    return "<h3>Decisions</h3>" + table(("what", "figure"), rows, named="Thresholds and sets") if rows else ""


def _flat(found: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    for name, value in found.items():
        if isinstance(value, Mapping) and {"value", "low", "high"} <= value.keys():
            yield f"{prefix}{name}", _cell(value)
        elif isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{name}: ")
        else:
            yield f"{prefix}{name}", number(value) if isinstance(value, float) else str(value)


def _classes(facts: RunFacts) -> str:
    found = facts.of("classes")
    if not found:
        return ""
    ordered = sorted(found.items(), key=lambda item: -item[1]["support"])
    rows = [(name, str(one["support"]), *(_cell(one[key]) for key in FIGURES)) for name, one in ordered[:MOST_CLASSES]]
    text = table(("class", "support", *FIGURES), rows, named=f"Figures of each class on {facts.part}")
    more = len(found) - len(rows)
    return text + (_small(f"{more} rarer classes are in metrics.json.") if more > 0 else "")


def _mistakes(facts: RunFacts) -> str:
    if not facts.mistakes:
        return ""
    budget, cards = [BUDGET // 2], []
    for one in facts.mistakes:
        pictures = [image(one.shown.jpeg, f"The picture {one.shown.name}", budget)] if one.shown.jpeg else []
        if one.map:
            pictures.append(image(one.map, f"Where the answer to {one.shown.name} was seen", budget))
        lines = "".join(f"<span>{escape(line)}</span>" for line in one.shown.lines)
        cards.append(
            f'<li><div class="pair">{"".join(pictures)}</div><p class="name">{escape(one.shown.name)}</p>'
            f'<p class="said">{lines}</p>{_near(one, budget)}</li>'
        )
    text = f'<ul class="mistakes">{"".join(cards)}</ul>'
    if any(one.map for one in facts.mistakes):
        text += _small("Beside each picture, Grad-CAM (Selvaraju et al. 2017): the places that spoke for the wrong "
                       "answer are bright. It shows where, not why.")  # fmt: skip
    if any(one.near for one in facts.mistakes):
        text += _small("Below each, the training pictures whose features lie nearest, by the cosine between them: what "
                       "the model may take it for.")  # fmt: skip
    return text


def _near(one: Mistake, budget: list[int]) -> str:
    """The training pictures that are most like an error."""
    if not one.near:
        return ""
    items = []
    for near in one.near:
        picture = image(near.jpeg, f"The training picture {near.name}", budget) if near.jpeg else ""
        lines = "".join(f"<span>{escape(line)}</span>" for line in near.lines)
        items.append(f'<li>{picture}<p class="said">{lines}</p></li>')
    return f'<p class="name">Nearest in training</p><ul class="near">{"".join(items)}</ul>'


def _slices(facts: RunFacts) -> str:
    found = facts.of("slices")
    if not found:
        return ""
    primary = str(facts.story["primary"])
    rows = [
        (str(one["by"]), str(one["value"]), str(one["n"]), _cell(one["metrics"][primary]))
        for one in found
        if primary in one["metrics"]
    ]
    return table(("by", "value", "n", primary), rows, named=f"Slices of {facts.part}") if rows else ""


def _data(facts: RunFacts) -> str:
    parts = [part for part in ("train", "validation", "test", "") if any(row["split"] == part for row in facts.split)]
    counts = sorted(facts.counts().items(), key=lambda item: -sum(item[1].values()))
    rows = [(name, *(str(line.get(part, 0)) for part in parts)) for name, line in counts[:MOST_CLASSES]]
    text = table(("class", *(part or "left out" for part in parts)), rows, named="Examples by class") if rows else ""
    if groups := facts.groups():
        text += f"<p>{groups} groups, each on one side of the split.</p>"
    notes = "".join(f"<li>{escape(str(note))}</li>" for note in facts.story.get("notes", ()))
    return text + (f"<ul>{notes}</ul>" if notes else "")


def _plan(facts: RunFacts) -> str:
    rows: Sequence[Mapping[str, str]] = facts.story["plan"]
    if not rows:
        return ""
    names = list(rows[0])
    turned = [(name, *(row[name] for row in rows)) for name in names[1:]]
    return table((names[0], *(row[names[0]] for row in rows)), turned, named="The plan, a column a phase", words=True)


def _repeat(facts: RunFacts) -> str:
    versions = ", ".join(f"{name} {version}" for name, version in facts.model.get("versions", {}).items())
    return (
        f"<pre><code>{escape(shlex.join(facts.story['repeat']))}</code></pre><p>{escape(versions)}</p>"
        + _small("Every number of this page is in metrics.json, metrics.csv or splits.csv beside it; "
                 "finetune report makes it anew from them.")
    )  # fmt: skip


def _cell(figure: Any, form: str = ".3f") -> str:
    """A figure and its ends, which a narrow screen has below it: they break nowhere else."""
    if not isinstance(figure, Mapping):
        return number(figure)
    if figure["value"] is None or figure["low"] is None:
        return number(figure["value"])
    value, low, high = (format(figure[end], form) for end in ("value", "low", "high"))
    return f"{value} ({low}\u00a0to\u00a0{high})"


def _long_cell(figure: Any) -> str:
    """The same of a metric of any size: four digits."""
    return _cell(figure, ".4g")


def _small(text: str) -> str:
    return f'<p class="small">{escape(text)}</p>'


STYLE = """
:root { --first: #1f5fa8; --second: #b8432b; --band: rgba(184, 67, 43, .16); }
@media (prefers-color-scheme: dark) { :root { --first: #7db5ee; --second: #f0937c; --band: rgba(240, 147, 124, .18); } }
h3 { font-size: 1rem; margin: 1.5rem 0 .25rem; }
.verdict-list { list-style: none; padding: 0; }
.verdict-list li { margin: .35rem 0; }
.links { list-style: none; padding: 0; display: flex; flex-wrap: wrap; gap: .25rem 1rem; margin: 1rem 0 0; }
.small, .said { color: var(--soft); font-size: .9rem; }
.drawings { display: flex; flex-wrap: wrap; gap: 1rem 2rem; align-items: flex-start; }
.drawings > * { flex: 1 1 18rem; min-width: 0; }
svg { display: block; width: 100%; height: auto; }
.figures { width: auto; min-width: min(100%, 24rem); }
.figures th, .figures td { padding-right: 1.25rem; font-variant-numeric: tabular-nums; overflow-wrap: normal; }
.mistakes { list-style: none; padding: 0; margin: 0; display: grid; gap: 1rem;
  grid-template-columns: repeat(auto-fill, minmax(min(100%, 20rem), 1fr)); }
.mistakes li { background: var(--card); border: 1px solid var(--line); border-radius: .5rem; padding: .75rem; }
.mistakes p { margin: .35rem 0 0; font-size: .85rem; }
.near { list-style: none; padding: 0; margin: .25rem 0 0; display: grid; grid-template-columns: repeat(3, 1fr);
  gap: .5rem; }
.mistakes .near li { background: none; border: 0; padding: 0; }
.near img { width: 100%; aspect-ratio: 1; object-fit: contain; }
.pair { display: grid; grid-template-columns: 1fr 1fr; gap: .5rem; }
.pair img { width: 100%; aspect-ratio: 1; object-fit: contain; }
.said span { display: block; }
pre { overflow-x: auto; background: var(--card); border: 1px solid var(--line); border-radius: .5rem;
  padding: .75rem; white-space: pre-wrap; }
@media (max-width: 40rem) {
  .figures thead { position: static; }
  .figures tr { display: table-row; }
  .figures td { white-space: normal; overflow-wrap: normal; }
  .figures { font-size: .9rem; }
  .words td { white-space: normal; min-width: 9rem; }
  .figures tr > * { border-bottom: 1px solid var(--line); padding: .35rem .6rem .35rem 0; }
}
"""
