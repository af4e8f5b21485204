"""What is wrong with files and pictures: one finding a check, also where there is nothing to find."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path, PurePosixPath

import numpy as np

from .addresses import parse_address
from .examples import Examples
from .findings import Finding, Item, Severity, counted
from .folders import walk
from .headers import Header, promised
from .looks import Looks

TINY, HUGE = 32, 50_000_000
"""Pixels of the shorter side below which little is to be seen; pixels of the whole above which reading is slow."""

LONG = 4.0
"""How many times longer than high (or the other way round) a picture may be before a square crop loses most of it."""

DARK, BRIGHT, FLAT = 0.04, 0.97, 0.01
"""Mean grey, 0..1, and its standard deviation, beyond which any picture is told, whatever the others are like."""

DIM, PALE = 0.2, 0.85
"""Mean grey beyond which a picture is told if it is also unlike the others."""

UNLIKE = 3.5
"""Robust standard deviations from the median: the rule of Iglewicz and Hoaglin, "How to detect and handle outliers",
1993."""

SOFT = 0.002
"""Variance of the Laplacian below which a picture is told as blurred if it is also unlike the others."""


def _finding(
    what: str, items: Sequence[Item], found: str, nothing: str, todo: str, severity: Severity = "look"
) -> Finding:
    """The finding of a check: `found` where there are items, else `nothing`."""
    if not items:
        return Finding(what=what, severity="fine", sentence=nothing)
    return Finding(what=what, severity=severity, sentence=found, todo=todo, items=tuple(items))


def unreadable(examples: Examples, looks: Looks) -> Finding:
    """Files that are corrupt, cut off or empty, or that are no pictures."""
    items = [Item(rows=(row,), text=looks.errors[row]) for row in sorted(looks.errors)]
    return _finding(
        "unreadable", items, f"{len(items)} of {counted(len(examples), 'picture')} cannot be read.",
        f"All {counted(len(examples), 'picture')} can be read to the end.",
        "Mend or remove them; --on-corrupt skip leaves them out of a fit, and --write-clean out of the table.",
        "must decide",
    )  # fmt: skip


def left_out(root: str | Path, examples: Examples) -> list[Finding]:
    """Links and pictures of a folder that are no examples: nobody would miss them before it is too late."""
    outside: list[str] = []
    listed = {parse_address(source).file for source in examples.table["source"]}
    beside = [path for path in walk(Path(root).absolute(), outside) if path not in listed]
    return [
        _finding("links", [Item(rows=(), text=path) for path in outside],
                 f"{counted(len(outside), 'link')} out of the folder {_was(outside)} not followed.",
                 "No link leads out of the folder.",
                 "Give the folder they lead to as the source, or copy the pictures in."),
        _finding("left out", [Item(rows=(), text=path) for path in beside],
                 f"{counted(len(beside), 'picture')} in the folder {_was(beside)} no part of any class or part.",
                 "Every picture in the folder is an example.",
                 "Move them into a folder of a class, or away."),
    ]  # fmt: skip


def _was(items: Sequence[object]) -> str:
    return "was" if len(items) == 1 else "were"


def extensions(examples: Examples, headers: Sequence[Header]) -> Finding:
    """Files whose name promises another format than their content is."""
    items = []
    for row, (source, header) in enumerate(zip(examples.table["source"], headers, strict=True)):
        named = promised(source)
        if header.format is not None and named is not None and named != header.format:
            items.append(Item(rows=(row,), text=f"named {PurePosixPath(source).suffix}, is {header.format}"))
    return _finding(
        "extension", items,
        f"{counted(len(items), 'file')} {'is' if len(items) == 1 else 'are'} of another format than the name says.",
        "Every file is of the format that its name says.",
        "They are read by their content here; other programs may refuse them. Rename them.",
    )  # fmt: skip


def rotation(headers: Sequence[Header]) -> Finding:
    """Pictures that are stored lying, with a note in their header to turn them."""
    items = [
        Item(rows=(r,), text=f"EXIF orientation {h.orientation}") for r, h in enumerate(headers) if h.orientation != 1
    ]
    return _finding(
        "rotation", items, f"{counted(len(items), 'picture')} {'is' if len(items) == 1 else 'are'} stored turned or "
        "mirrored, and turned upright by the EXIF header.",
        "No picture relies on its EXIF header to be upright.",
        "They are turned upright here; check that whatever reads pictures in use does so too.",
    )  # fmt: skip


def sizes(looks: Looks) -> Finding:
    """Pictures too small to show much, or so large that reading them is most of the work."""
    short, whole = np.minimum(looks.height, looks.width), looks.height.astype(np.int64) * looks.width
    small, large = looks.read & (short < TINY), looks.read & (whole > HUGE)
    items = _items(looks, np.flatnonzero(small | large), short)
    said = " and ".join(
        text for many, text in ((small.sum(), f"{small.sum()} below {TINY} pixels"),
                                (large.sum(), f"{large.sum()} above {HUGE // 10**6} million pixels")) if many
    )  # fmt: skip
    return _finding(
        "size", items, f"Of {int(looks.read.sum())} pictures {said}; the usual size is {_usual(looks)}.",
        f"The pictures are of a usual size: {_usual(looks)}.",
        "Tiny ones are often previews that were saved in place of the picture; huge ones read faster when shrunk once.",
    )  # fmt: skip


def proportions(looks: Looks) -> Finding:
    """Pictures of which a central square shows little."""
    long, short = np.maximum(looks.height, looks.width), np.minimum(looks.height, looks.width)
    ratio = long / np.maximum(short, 1)
    items = _items(looks, np.flatnonzero(looks.read & (ratio > LONG)), -ratio)
    return _finding(
        "proportions", items, f"{counted(len(items), 'picture')} {'is' if len(items) == 1 else 'are'} more than "
        f"{LONG:g} times longer than wide.",
        "No picture is extremely long or high.",
        "A central crop shows a small part of them: cut them into pieces, or pad them.",
    )  # fmt: skip


def _items(looks: Looks, rows: np.ndarray, key: np.ndarray) -> list[Item]:
    ordered = sorted(rows.tolist(), key=lambda row: (float(key[row]), row))
    return [Item(rows=(row,), text=f"{looks.width[row]}x{looks.height[row]}") for row in ordered]


def _usual(looks: Looks) -> str:
    width, height = looks.width[looks.read], looks.height[looks.read]
    if not len(width):
        return "unknown"
    return f"{np.median(width):.0f}x{np.median(height):.0f}"


def light(looks: Looks) -> list[Finding]:
    """Pictures that are black, white, of one colour, or blurred: by bounds for any picture, and beside the others."""
    grey, spread = looks.brightness, looks.contrast
    flat = looks.read & (spread < FLAT)
    shade = _distance(grey, looks.read)
    dark = looks.read & ~flat & ((grey < DARK) | ((shade < -UNLIKE) & (grey < DIM)))
    bright = looks.read & ~flat & ((grey > BRIGHT) | ((shade > UNLIKE) & (grey > PALE)))
    # A picture of little contrast has little to be sharp: the edges count in units of its own contrast.
    edge = np.log(looks.sharpness / np.maximum(spread, FLAT) ** 2 + 1e-6)
    # A tiny picture is soft at any larger size, and is told as tiny.
    large = looks.read & ~flat & (np.minimum(looks.height, looks.width) >= TINY)
    soft = large & (_distance(edge, large) < -UNLIKE) & (looks.sharpness < SOFT)
    again = "Look at them: a lens cap, a failed scan or a wrong exposure teaches nothing."
    return [
        _finding("one colour", _grey_items(flat, spread, "contrast", looks.contrast),
                 f"{counted(int(flat.sum()), 'picture')} of a single colour.", "No picture is of a single colour.",
                 "Nothing can be learned from them: remove them, unless empty is an answer."),
        _finding("dark", _grey_items(dark, grey, "mean grey", grey),
                 f"{counted(int(dark.sum()), 'picture')} nearly black, or far darker than the others.",
                 "No picture is nearly black, or far darker than the others.", again),
        _finding("bright", _grey_items(bright, -grey, "mean grey", grey),
                 f"{counted(int(bright.sum()), 'picture')} nearly white, or far brighter than the others.",
                 "No picture is nearly white, or far brighter than the others.", again),
        _finding("blurred", _grey_items(soft, edge, "variance of the Laplacian", looks.sharpness),
                 f"{counted(int(soft.sum()), 'picture')} far less sharp than the others.",
                 "No picture is far less sharp than the others.",
                 "Look at them: out of focus, or enlarged from a preview."),
    ]  # fmt: skip


def _grey_items(which: np.ndarray, key: np.ndarray, name: str, value: np.ndarray) -> list[Item]:
    rows = sorted(np.flatnonzero(which).tolist(), key=lambda row: (float(key[row]), row))
    return [Item(rows=(row,), text=f"{name} {float(value[row]):.4f}") for row in rows]


def _distance(values: np.ndarray, among: np.ndarray) -> np.ndarray:
    """Robust standard deviations from the median of `among`; 0 for all where half of them are alike."""
    if among.sum() < 10:
        return np.zeros(len(values))
    middle = float(np.median(values[among]))
    unit = 1.4826 * float(np.median(np.abs(values[among] - middle)))
    return np.zeros(len(values)) if unit < 1e-9 else np.asarray((values - middle) / unit, np.float64)


def of_files(examples: Examples, headers: Sequence[Header], looks: Looks, root: str | Path | None) -> Iterable[Finding]:
    """All checks of this file.

    Args:
        examples: The table.
        headers: What the files say of themselves.
        looks: What the pictures look like.
        root: The folder that is the source; None where a table or something in memory is.
    """
    yield unreadable(examples, looks)
    if root is not None:
        yield from left_out(root, examples)
    yield extensions(examples, headers)
    yield rotation(headers)
    yield sizes(looks)
    yield proportions(looks)
    yield from light(looks)
