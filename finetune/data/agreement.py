"""What is wrong with answers: classes, groups, parts, copies, labels and shortcuts; one finding a check."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..types import Kind
from .examples import Examples
from .findings import Finding, Item, answer_key, counted
from .labels import natural_key
from .leaks import Leak, PairLike
from .shortcuts import Shortcut
from .suspects import Suspect

FEW = 20
"""Examples of a class below which neither learning it nor measuring that is worth much."""

UNEVEN = 10
"""How many times larger the largest class may be than the smallest one before it is told."""

MOSTLY = 0.5
"""The share of examples with one and the same number above which it is told."""


def refused(reason: str | None) -> Finding:
    """What a fit would stop at before it reads a picture."""
    if reason is None:
        return Finding(what="usable", severity="fine", sentence="A fit would accept the examples as they are listed.")
    return Finding(what="usable", severity="must decide", sentence=reason, todo="A fit stops at this.")


def targets(examples: Examples) -> list[Finding]:
    """How often each answer occurs."""
    if examples.kind == "number":
        return [_numbers(examples)]
    names = [
        name for target in examples.targets
        for name in ((target,) if examples.kind == "class" else target or ("(none)",))
    ]  # fmt: skip
    counts = Counter(names)
    listed = sorted(counts.items(), key=lambda item: (-item[1], natural_key(item[0])))
    word = "class" if examples.kind == "class" else "label"
    told = ", ".join(f"{name} {count}" for name, count in listed[:8]) + (
        f" and {len(listed) - 8} more" if len(listed) > 8 else ""
    )
    (top, most), (bottom, least) = listed[0], listed[-1]
    many = f"{counted(len(listed), word, f'{word}es' if word == 'class' else None)}: {told}."
    uneven = Finding(what="balance", severity="fine", sentence=many)
    if most > UNEVEN * least:
        uneven = Finding(
            what="balance", severity="look",
            sentence=f'"{top}" is {most / least:.0f} times as frequent as "{bottom}". {many}',
            todo="Accuracy is then easily high: quote balanced_accuracy or auroc, and try --class-weight balanced.",
        )  # fmt: skip
    scarce = [(name, count) for name, count in reversed(listed) if count < FEW and name != "(none)"]
    few = Finding(what="few", severity="fine", sentence=f"Every {word} has {FEW} examples or more.")
    if scarce:
        few = Finding(
            what="few", severity="look",
            sentence=f"{len(scarce)} of {counted(len(listed), word, f'{word}es' if word == 'class' else None)} "
                     f"{'has' if len(scarce) == 1 else 'have'} fewer than {FEW} examples.",
            todo="Collect more of them, join them to others, or leave them out.",
            items=tuple(Item(rows=(), text=f"{name}: {count}") for name, count in scarce),
        )  # fmt: skip
    return [uneven, few]


def _numbers(examples: Examples) -> Finding:
    values = np.asarray(examples.targets, np.float64)
    (usual, count), span = Counter(values.tolist()).most_common(1)[0], f"{values.min():g} to {values.max():g}"
    told = f"Numbers from {span}, median {np.median(values):g}."
    if count <= MOSTLY * len(values):
        return Finding(what="balance", severity="fine", sentence=told)
    return Finding(
        what="balance", severity="look", sentence=f"{count / len(values):.0%} of the numbers are {usual:g}. {told}",
        todo=f"A model that always says {usual:g} then looks good: compare with it, and look at mae and rmse together.",
    )  # fmt: skip


def groups(examples: Examples) -> Finding:
    """How many groups there are, and those whose examples are answered differently."""
    members: defaultdict[str, list[int]] = defaultdict(list)
    for row, group in enumerate(examples.table["group"]):
        if group is not None:
            members[str(group)].append(row)
    if not members:
        return Finding(
            what="groups", severity="fine",
            sentence="No groups are named. Where several pictures show one patient, product or place, --group keeps "
                     "them on one side.",
        )  # fmt: skip
    largest = max(members, key=lambda group: len(members[group]))
    told = f"{counted(len(members), 'group')}, the largest ({largest}) of {counted(len(members[largest]), 'example')}."
    if len(members) == len(examples):
        told += " Each example is alone in its group, so that grouping changes nothing."
    if examples.kind == "number":
        return Finding(what="groups", severity="fine", sentence=told)
    values = examples.targets
    mixed = {g: rows for g, rows in members.items() if len({answer_key(values[row]) for row in rows}) > 1}
    if not mixed:
        return Finding(what="groups", severity="fine", sentence=f"{told} In each, all have one answer.")
    items = [
        Item(rows=tuple(rows), text=f"group {group}")
        for group, rows in sorted(mixed.items(), key=lambda item: natural_key(item[0]))
    ]
    return Finding(
        what="groups", severity="look",
        sentence=f"{told} In {len(mixed)} of them the examples have different answers.",
        todo="Right where the answer belongs to the picture; a mistake where it belongs to the patient or product.",
        items=tuple(items),
    )  # fmt: skip


def copies(examples: Examples, pairs: Sequence[PairLike]) -> list[Finding]:
    """Pictures that are there more than once: with different answers, exactly, or nearly."""
    values = examples.targets
    # Of a number, a picture a little different may have a value a little different: the next frame of a drive.
    sure = [pair for pair in pairs if pair.kind == "exact" or examples.kind != "number"]
    odd = [pair for pair in sure if answer_key(values[pair.first]) != answer_key(values[pair.second])]
    exact = [pair for pair in pairs if pair.kind == "exact"]
    near = [pair for pair in pairs if pair.kind != "exact"]
    conflict = Finding(what="conflicts", severity="fine", sentence="No picture carries two different answers.")
    if odd:
        conflict = Finding(
            what="conflicts", severity="must decide",
            sentence=f"{counted(len(odd), 'pair')} of copies with different answers.",
            todo="One of the two answers is wrong, or the picture is worth none: mend the label or remove both.",
            items=tuple(_pair(p, f"{_said(values[p.first])} and {_said(values[p.second])}: {_how(p)}") for p in odd),
        )  # fmt: skip
    return [
        conflict,
        _copies("copies", exact, "exact copies",
                "A fit keeps copies on one side; --write-clean leaves the later ones out."),
        _copies("near copies", near, "near copies (resized, recompressed, cropped, mirrored)",
                "A fit keeps them on one side; leave one of each out where they count double."),
    ]  # fmt: skip


def _copies(what: str, pairs: Sequence[PairLike], words: str, todo: str) -> Finding:
    if not pairs:
        return Finding(what=what, severity="fine", sentence=f"No {words} were found.")
    rows = {row for pair in pairs for row in (pair.first, pair.second)}
    return Finding(
        what=what, severity="look", todo=todo,
        sentence=f"{counted(len(rows), 'picture')} in {counted(len(pairs), 'pair')} of {words}.",
        items=tuple(_pair(pair, _how(pair)) for pair in pairs),
    )  # fmt: skip


def _pair(pair: PairLike, text: str) -> Item:
    return Item(rows=(pair.first, pair.second), text=text)


def _how(pair: PairLike) -> str:
    if pair.kind == "exact":
        return "exact copy"
    return f"{pair.how or 'the same picture'}, correlation {pair.correlation:.3f}"


def _said(target: Any) -> str:
    if isinstance(target, tuple):
        return "|".join(target) or "(none)"
    return f"{target:g}" if isinstance(target, float) else str(target)


def leaks(examples: Examples, found: Sequence[Leak]) -> Finding:
    """Pictures of one group, or copies, on two sides of the given parts."""
    if all(split is None for split in examples.table["split"]):
        return Finding(what="leaks", severity="fine", sentence="No parts are given; a fit divides without leaks.")
    if not found:
        return Finding(what="leaks", severity="fine", sentence="The given parts share no group and no copy.")
    return Finding(
        what="leaks", severity="must decide",
        sentence=f"{counted(len(found), 'pair')} of pictures on two sides of the given parts, so that figures of "
                 "the one part flatter.",
        todo="Move or remove one of each; or give no parts, and a fit divides without leaks.",
        items=tuple(Item(rows=leak.rows, text=f"{' and '.join(leak.parts)}: {leak.why}") for leak in found),
    )  # fmt: skip


def labels(kind: Kind, suspects: Sequence[Suspect] | None, why_not: str = "", audited: int = 0) -> Finding:
    """Examples whose answer the others contradict."""
    if suspects is None:
        return Finding(what="label suspects", severity="not checked", sentence=why_not)
    if not suspects:
        return Finding(
            what="label suspects", severity="fine", sentence=f"Of {audited} answers none is contradicted by the others."
        )
    word = "number" if kind == "number" else "label"
    return Finding(
        what="label suspects", severity="look",
        sentence=f"{counted(len(suspects), word)} of {audited} may be wrong: a model fitted without the picture "
                 "says otherwise.",
        todo="Look at them, the surest first. A model may be wrong too: mend only what you see to be wrong.",
        items=tuple(Item(rows=(s.row,), text=_suspect(s)) for s in suspects),
    )  # fmt: skip


def _suspect(suspect: Suspect) -> str:
    if suspect.probability is None:
        return f"given {suspect.given}, suggested {suspect.suggested}; {-suspect.score:.1f} robust deviations apart"
    share = f"{suspect.probability:.1%}" if suspect.probability >= 0.001 else "below 0.1%"
    return f"given {suspect.given} ({share}), suggested {suspect.suggested}"


def shortcuts(kind: Kind, found: Sequence[Shortcut], why_not: str = "") -> Finding:
    """Facts beside the content from which the answer can be told."""
    if why_not:
        return Finding(what="shortcuts", severity="not checked", sentence=why_not)
    telling = [shortcut for shortcut in found if shortcut.suspicious]
    if not telling:
        names = ", ".join(shortcut.fact for shortcut in found)
        return Finding(
            what="shortcuts", severity="fine",
            sentence=f"The answer cannot be told from what should not matter{f' ({names})' if names else ''}.",
        )  # fmt: skip
    strong = any(shortcut.strong for shortcut in telling)
    return Finding(
        what="shortcuts", severity="must decide" if strong else "look",
        sentence=f"The answer can be told, in part, from {', '.join(shortcut.fact for shortcut in telling)}.",
        todo="A model may learn that in place of the content. Make the classes alike in it (shrink, recompress, crop, "
             "collect anew), or measure on pictures of another source.",
        items=tuple(Item(rows=(), text=_shortcut(kind, shortcut)) for shortcut in telling),
    )  # fmt: skip


def _shortcut(kind: Kind, one: Shortcut) -> str:
    seen = " It may be content, too." if one.content else ""
    if not one.seen:
        seen = " A network does not see it, but it tells of different sources."
    if kind == "number":
        figure = f"R² {one.score:.2f} ({one.low:.2f} to {one.high:.2f}), where guessing has 0"
    else:
        figure = (
            f"balanced accuracy {one.score:.0%} ({one.low:.0%} to {one.high:.0%}), where guessing has {one.chance:.0%}"
        )
    return f"From the {one.fact} alone: {figure}, {one.n} examples. Most telling is {one.example}.{seen}"
