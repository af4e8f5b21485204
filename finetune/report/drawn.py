"""Curves, confusion and reliability as SVG that is part of a page: it takes the page's colours, in light and dark.

matplotlib draws in stand-in colours, which are then named by the page's variables.
"""

from __future__ import annotations

import io
import re
from collections.abc import Mapping, Sequence
from html import escape
from itertools import pairwise
from typing import Any

INK, SOFT, LINE, FIRST, SECOND, BAND = "#010203", "#020304", "#030405", "#040506", "#050607", "#060708"
NAMES = {INK: "ink", SOFT: "soft", LINE: "line", FIRST: "first", SECOND: "second", BAND: "band"}
MOST_CELLS = 30
"""Classes beyond which numbers in the cells of a confusion matrix cannot be read."""


def curves(
    lines: Mapping[str, Sequence[tuple[float, float]]], phases: Sequence[tuple[str, float, float]], *,
    title: str, y: str, alt: str, shade: bool = False, chosen: float | None = None,
) -> str:  # fmt: skip
    """Curves over epochs.

    Args:
        lines: Name to points (epoch, value); a line of one point is drawn as a dot.
        phases: Name, first and last epoch of each; marked along the top.
        title: Above the frame.
        y: What runs upwards.
        alt: What is to be seen, in words.
        shade: Whether the gap between the first two lines is filled.
        chosen: The epoch whose weights were kept.
    """
    figure, axes = _figure(4.6, 3.0)
    styles = ((FIRST, "-", "o"), (SECOND, "--", "s"))
    for number, (name, points) in enumerate(lines.items()):
        colour, style, marker = styles[number % 2]
        axes.plot(*zip(*points, strict=True), style, color=colour, marker=marker, markersize=4, label=name)
    if shade and len(lines) == 2:
        one, other = (dict(points) for points in lines.values())
        both = sorted(one.keys() & other.keys())
        if len(both) > 1:
            axes.fill_between(both, [one[x] for x in both], [other[x] for x in both], color=BAND, linewidth=0)
    for (_, _, end), (_, start, _) in pairwise(phases):
        axes.axvline((end + start) / 2, color=LINE, linewidth=1)
    for name, start, end in phases:
        axes.text((start + end) / 2, 1.01, name, transform=axes.get_xaxis_transform(), ha="center", va="bottom",
                  fontsize=8, color=SOFT)  # fmt: skip
    if chosen is not None:
        axes.axvline(chosen, color=SOFT, linewidth=1, linestyle=":", label="kept")
    whole = [x for points in lines.values() for x, _ in points]
    axes.set_xlim(min(whole) - 0.5, max(whole) + 0.5)
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.set_xlabel("epoch (0: the fitted head)" if min(whole) == 0 else "epoch")
    axes.set_ylabel(y)
    axes.set_title(title, fontsize=10, color=INK, pad=16, loc="left")
    axes.legend(frameon=False, labelcolor=INK, fontsize=8)
    return _svg(figure, title, alt)


def confusion(labels: Sequence[str], counts: Sequence[Sequence[int]], *, title: str, alt: str) -> str:
    """How often each class (a row) was taken for each (a column), shaded by the share of the row."""
    n = len(labels)
    side = min(6.4, max(3.2, 1.6 + 0.42 * n))
    figure, axes = _figure(side, side)
    for row, line in enumerate(counts):
        for column, count in enumerate(line):
            share = count / max(1, sum(line))
            axes.add_patch(_square(column, row, FIRST if row == column else SECOND, share))
            if n <= MOST_CELLS and count:
                axes.text(column, row, str(count), ha="center", va="center", fontsize=10 if n <= 10 else 7, color=INK)
    axes.set(xlim=(-0.5, n - 0.5), ylim=(n - 0.5, -0.5), xlabel="answered", ylabel="true", aspect="equal")
    size = 9 if n <= 12 else max(4, 110 / n)
    short = [name if len(name) <= 18 else f"{name[:17]}…" for name in labels]
    axes.set_xticks(range(n), short, rotation=90 if n > 4 else 0, fontsize=size)
    axes.set_yticks(range(n), short, fontsize=size)
    axes.set_title(title, fontsize=10, color=INK, loc="left")
    return _svg(figure, title, alt)


def reliability(bins: Sequence[Mapping[str, float]], *, title: str, alt: str) -> str:
    """How often an answer was right (upwards) against how sure it was (to the right); dots grow with their count."""
    figure, axes = _figure(3.6, 3.6)
    axes.plot((0, 1), (0, 1), ":", color=SOFT, linewidth=1, label="as sure as right")
    filled = [one for one in bins if one["count"]]
    most = max((one["count"] for one in filled), default=1)
    x, height = [one["confidence"] for one in filled], [one["accuracy"] for one in filled]
    axes.plot(x, height, "-", color=FIRST, linewidth=1.5, label="this model")
    axes.scatter(x, height, s=[14 + 90 * one["count"] / most for one in filled], color=FIRST)
    axes.set(xlim=(0, 1.02), ylim=(0, 1.02), xlabel="confidence", ylabel="share that was right", aspect="equal")
    axes.set_title(title, fontsize=10, color=INK, loc="left")
    axes.legend(frameon=False, labelcolor=INK, fontsize=8, loc="upper left")
    return _svg(figure, title, alt)


def _square(column: int, row: int, colour: str, share: float) -> Any:
    from matplotlib.patches import Rectangle

    return Rectangle((column - 0.5, row - 0.5), 1, 1, facecolor=colour, alpha=0.75 * share, edgecolor=LINE, linewidth=1)


def _figure(width: float, height: float) -> tuple[Any, Any]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    axes = figure.add_subplot()
    figure.patch.set_alpha(0)
    axes.patch.set_alpha(0)
    axes.tick_params(colors=SOFT, labelcolor=INK, labelsize=9)
    axes.xaxis.label.set_color(SOFT)
    axes.yaxis.label.set_color(SOFT)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(LINE)
    return figure, axes


def _svg(figure: Any, title: str, alt: str) -> str:
    """The drawing as an element of a page, with a name and a description; its ids are its own on the page."""
    import matplotlib as mpl

    file = io.StringIO()
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": title, "font.family": "sans-serif"}):
        figure.savefig(file, format="svg", metadata={"Date": None, "Creator": None})
    text = file.getvalue()
    size = re.search(r'viewBox="([^"]+)"', text)
    body = text[text.index(">", text.index("<svg")) + 1 : text.rindex("</svg>")]
    body = re.sub(r"<metadata>.*?</metadata>|<style.*?</style>|<!--.*?-->", "", body, flags=re.DOTALL)
    body = body.replace("xlink:href", "href")
    own = re.sub(r"[^a-z0-9]+", "-", title.lower())
    body = re.sub(r'\bid="', f'id="{own}-', body)
    body = body.replace("url(#", f"url(#{own}-").replace('href="#', f'href="#{own}-')
    body = re.sub(r"font: [^;\"]*?(\d+(?:\.\d+)?)px[^;\"]*", r"font: \1px system-ui, sans-serif", body)
    for colour, name in NAMES.items():
        body = body.replace(colour, f"var(--{name})")
    box = size[1] if size is not None else "0 0 100 100"
    wide = float(box.split()[2]) * 4 / 3
    return (
        f'<svg viewBox="{box}" style="max-width: {wide:.0f}px" role="img" aria-labelledby="{own}-name {own}-words">'
        f'<title id="{own}-name">{escape(title)}</title><desc id="{own}-words">{escape(alt)}</desc>{body}</svg>'
    )
