"""The verdict on a run in plain words: how good it is, beside what, and what to worry about."""

from __future__ import annotations

from collections.abc import Mapping

from .limits import retrieval_limits
from .over import least_over
from .points import Point, between, number
from .run_facts import RunFacts
from .trusted import calibrated, decided

FEW = 50
"""Examples below which a part says little."""

WIDE = 0.1
"""An interval of a share is wide from here on."""

RARE = 10
"""One class to another: from here on plain accuracy misleads."""

HALF = 0.5
"""A recall below it misses more than it finds."""

GAP = 0.1
"""Log loss between training and validation from which over-fitting is named."""

SHARES = {"accuracy", "balanced_accuracy", "auroc", "f1", "auprc", "top_5", "recall_at_1", "recall_at_10", "map_at_r"}


def verdict(facts: RunFacts) -> list[Point]:
    """How good, beside what, and what to worry about; the first is how good."""
    found = [_good(facts), *_naive(facts), *_gain(facts), *_story(facts), *_split(facts), *_sizes(facts)]
    found += [*_balance(facts), *_missed(facts), *overfitting(facts), *calibrated(facts), *decided(facts)]
    found += [*_slice(facts), *_retrieval(facts)]
    if all(point.severity == "fine" for point in found):
        found.append(Point("fine", "Nothing that was looked at asks for a second look."))
    return found


def _good(facts: RunFacts) -> Point:
    primary, part = str(facts.story["primary"]), facts.part
    if part is None:
        return Point("look", "Nothing was measured: there was no part that the model had not learned from.")
    figure = facts.parts[part][primary]
    said = f"{primary.replace('_', ' ')} is {between(figure)} on {figure['n']} {part} examples"
    beside = [
        f"{between(figures[primary])} for {'the frozen probe' if name == 'probe' else name.replace('-', ' ')}"
        for name, figures in (facts.of("baselines") or {}).items()
        if primary in figures
    ]
    sentence = said[0].upper() + said[1:] + (f"; beside it {', '.join(beside)}." if beside else ".")
    return Point("fine" if not beside or _beats(facts, primary) else "look", sentence)


def _naive(facts: RunFacts) -> list[Point]:
    """Whether it is sure that anything was learned."""
    primary = str(facts.story["primary"])
    least = None if facts.part is None else least_over(facts.metrics, facts.part, primary)
    if least is None or least.sure:
        return []
    name, metric = least.name.replace("-", " "), primary.replace("_", " ")
    return [Point("look", f"That {metric} is better than {name} is not sure: the difference is "
                          f"{between(least.figure)}.")]  # fmt: skip


def _beats(facts: RunFacts, primary: str) -> bool:
    """Whether it is surely better than every naive answer: paired where it was, else by its interval."""
    if (least := least_over(facts.metrics, facts.part or "", primary)) is not None:
        return least.sure
    figure = facts.parts[facts.part or ""][primary]
    naive = [f[primary]["value"] for name, f in facts.of("baselines").items() if name != "probe" and primary in f]
    if figure["low"] is None or any(value is None for value in naive):
        return False
    if primary in ("log_loss", "rmse", "mae", "brier"):
        return all(figure["high"] < value for value in naive)
    return all(figure["low"] > value for value in naive)


def _gain(facts: RunFacts) -> list[Point]:
    found = facts.metrics.get("gain")
    primary = str(facts.story["primary"])
    if not found:
        kept = "probe was kept" in str(facts.story.get("chosen", ""))
        return [Point("fine", "Moving the backbone gained nothing over the probe, which was kept.")] if kept else []
    figure = found["figures"].get(primary)
    if not figure or figure["value"] is None or figure["low"] is None:
        return []
    against = found.get("over", "the frozen probe")
    sure = figure["low"] > 0 or figure["high"] < 0
    better = (figure["value"] > 0) == (primary not in ("log_loss", "rmse", "mae"))
    told = f"Fine-tuning changed {primary.replace('_', ' ')} by {figure['value']:+.4f} against {against}"
    ends = f" (95 % interval {figure['low']:+.4f} to {figure['high']:+.4f}, {found['on']})"
    if sure:
        return [Point("fine" if better else "look", f"{told}{ends}.")]
    return [Point("fine", f"{told}{ends}: no more than chance explains.")]


def _story(facts: RunFacts) -> list[Point]:
    found = []
    if facts.story.get("leaks"):
        found.append(Point("look", str(facts.story["leaks"])))
    if facts.story.get("stopped"):
        found.append(Point("look", "The run was stopped by its user before its end."))
    if facts.metrics.get("generated"):
        found.append(Point("look", "The examples were made by a program: the figures say nothing of real ones."))
    return found


def _split(facts: RunFacts) -> list[Point]:
    if facts.part != "validation":
        return []
    return [Point("look", "There was no test part: validation also chose the weights, so the figure is a little "
                          "too good.")]  # fmt: skip


def _retrieval(facts: RunFacts) -> list[Point]:
    """Whether figures of points say anything of classes that are new."""
    counts = facts.of("retrieval")
    return [Point("look", line) for line in retrieval_limits({facts.part or "": counts})] if counts else []


def _sizes(facts: RunFacts) -> list[Point]:
    found, primary = [], str(facts.story["primary"])
    if facts.part is None:
        return []
    figure = facts.parts[facts.part][primary]
    if figure["n"] < FEW:
        found.append(Point("look", f"The {facts.part} part has {figure['n']} examples: one more right or wrong moves "
                                   "every figure visibly."))  # fmt: skip
    if primary in SHARES and figure["low"] is not None and figure["high"] - figure["low"] > WIDE:
        width = figure["high"] - figure["low"]
        found.append(Point("look", f"The interval is {width:.2f} wide: more held-out examples would narrow it."))
    validation = facts.parts.get("validation")
    if validation and facts.part == "test" and (n := validation[primary]["n"]) < FEW:
        found.append(Point("look", f"Validation has {n} examples: what it chose was partly chance."))
    return found


def _balance(facts: RunFacts) -> list[Point]:
    counts = {name: sum(line.values()) for name, line in facts.counts().items()} if facts.kind == "class" else {}
    if len(counts) < 2 or facts.of("retrieval") or max(counts.values()) < RARE * min(counts.values()):
        return []
    often, rare = max(counts, key=lambda name: counts[name]), min(counts, key=lambda name: counts[name])
    return [Point("look", f'Classes are uneven: "{often}" has {counts[often]} examples, "{rare}" {counts[rare]}. Read '
                          "balanced accuracy and the table of classes rather than accuracy.")]  # fmt: skip


def _missed(facts: RunFacts) -> list[Point]:
    """Classes of which most are taken for others, surely."""
    found = [
        (one["recall"]["value"], name, one)
        for name, one in (facts.of("classes") or {}).items()
        if one["recall"]["high"] is not None and one["recall"]["high"] < HALF
    ]
    if not found:
        return []
    _, name, one = min(found, key=lambda item: item[0])
    more = f", and so of {len(found) - 1} more of {len(facts.of('classes'))}" if len(found) > 1 else ""
    return [Point("look", f'Most of "{name}" is not recognised: recall {between(one["recall"])} of '
                          f'{one["support"]} examples{more}. A threshold for it (--operate) or class weights would '
                          "change that.")]  # fmt: skip


def losses(facts: RunFacts) -> tuple[float, float, float] | None:
    """Epoch, training loss and validation loss at the kept epoch, or the last; None where they cannot be compared."""
    train, held = dict(facts.curve("train_loss")), dict(facts.curve("validation_log_loss"))
    both = sorted(train.keys() & held.keys())
    if not both:
        return None
    kept = facts.kept()
    at = kept if kept in both else both[-1]
    return at, train[at], held[at]


def overfitting(facts: RunFacts) -> list[Point]:
    """What the gap between the curves of training and of validation says."""
    found = losses(facts)
    if found is None:
        return []
    _, train, held = found
    gap = held - train
    told = f"Log loss is {number(train)} in training and {number(held)} on validation, a gap of {gap:+.4f}"
    if gap < GAP:
        return [Point("fine", f"{told}, below {GAP:g}: hardly any over-fitting.")]
    return [Point("look", f"{told}: the model knows its training pictures better than new ones (over-fitting).")]


def against(facts: RunFacts) -> list[str]:
    """What was done against over-fitting in the weights that were kept, a phrase each, from the plan."""
    found = []
    chosen = facts.model.get("chosen")
    kept = chosen.get("phase") if isinstance(chosen, Mapping) else None
    phases = [row.get("phase", "") for row in facts.story["plan"]]
    for row in facts.story["plan"][: phases.index(kept) + 1 if kept in phases else None]:
        phase = row.get("phase", "")
        if not row.get("augment", "none").startswith("none"):
            found.append(f"{phase}: pictures varied ({row['augment']})")
        if not row.get("mixing", "none").startswith("none"):
            found.append(f"{phase}: {row['mixing']}")
        if "weights averaged" in row.get("rate", ""):
            found.append(f"{phase}: weights averaged over the last steps")
        if "L2 penalty" in row.get("rate", ""):
            found.append(f"{phase}: L2 penalty chosen by cross-validation")
    if isinstance(chosen, Mapping) and chosen.get("score") is not None:
        found.append("the weights were chosen by validation, not by training")
    return found


def _slice(facts: RunFacts) -> list[Point]:
    worst = facts.metrics.get("worst_slice")
    if not worst:
        return []
    metric = str(worst["metric"]).replace("_", " ")
    where = f"{worst['by']} {worst['value']} on {worst['part']}"
    told = f"{metric} {between(worst['figure'])}, {worst['n']} examples"
    return [Point("look", f"The worst slice is {where}: {told}.")]
