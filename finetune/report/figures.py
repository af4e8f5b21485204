"""Pictures for a person: sheets with titles, and plots, as one would put on a slide."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import ConfigError, FinetuneError
from ..files import replacing

WIDTH = 1200
"""Pixels across; at this width titles are read from the last row of a lecture room."""

_DPI = 100
_COLOURS = ("#1f5fa8", "#c8442b", "#2f8f4e", "#8a5aa8", "#b8860b", "#4d4d4d", "#17a2b8", "#d6618f")


@dataclass(frozen=True, kw_only=True)
class Panel:
    """A picture of a sheet.

    Args:
        picture: (H, W, 3) uint8; or (H, W) numbers, which are shown in grey.
        title: Above it.
        low: The number that is black; the lowest by default.
        high: The number that is white; the highest by default.
        colours: matplotlib's name for the colours of an (H, W) picture.
        smooth: Blends pixels where the picture is enlarged; pixels stay squares otherwise.
        write: How each number of an (H, W) picture is written into its pixel, ".0f" say; "" writes none.
    """

    picture: Any
    title: str = ""
    low: float | None = None
    high: float | None = None
    colours: str = "gray"
    smooth: bool = True
    write: str = ""


@dataclass(frozen=True, kw_only=True)
class Plot:
    """Curves in one frame.

    Args:
        curves: Name to (x, y), sequences of equal length; or to (x, y, low, high), whose band is drawn.
        title: Above it.
        x: What runs to the right.
        y: What runs upwards.
        log: The axes that are logarithmic: "", "x", "y" or "xy".
        marks: The curves that are points without a line.
    """

    curves: Mapping[str, tuple[Any, ...]]
    title: str = ""
    x: str = ""
    y: str = ""
    log: str = ""
    marks: Sequence[str] = field(default=())


def draw_sheet(
    file: str | Path, rows: Sequence[Sequence[Panel]], *, title: str = "", note: str = "", width: int = WIDTH
) -> Path:
    """Draws pictures in rows and columns, each with its title.

    Args:
        file: Where to; `.png`, or `.jpg`, which is smaller for photographs.
        rows: Rows of equal or different lengths; those that are shorter leave places free.
        title: Above all.
        note: Below all, small: where the pictures are from, and what they show.
        width: Pixels across.

    Returns:
        The file.

    Raises:
        ConfigError: Nothing to draw.
        FinetuneError: The file cannot be written.
    """
    columns = max((len(row) for row in rows), default=0)
    if not columns:
        raise ConfigError(f"There is nothing to draw for {file}. Expected one picture at least.")
    cell = width / columns
    # As high as the highest picture of the row at this width, and its title, by the number of its lines.
    lines = [max((panel.title.count("\n") + 1 if panel.title else 0 for panel in row), default=0) for row in rows]
    ratio = [max((np.shape(panel.picture)[0] / np.shape(panel.picture)[1] for panel in row), default=0) for row in rows]
    size = 11 if columns <= 6 else 9
    above = 1.75 * size * _DPI / 72
    room = [cell * 0.96 * share + above * count + 8 for share, count in zip(ratio, lines, strict=True)]
    top, bottom = (46 if title else 6), (30 + 16 * note.count("\n") if note else 6)
    height = top + bottom + sum(room)
    figure = _figure(width, height)
    down = float(top)
    for row, high, count in zip(rows, room, lines, strict=True):
        for column, panel in enumerate(row):
            left, picture = column * cell + 0.02 * cell, high - above * count - 8
            axes = figure.add_axes(
                (left / width, 1 - (down + above * count + picture) / height, 0.96 * cell / width, picture / height)
            )
            _show(axes, panel)
            axes.set_title(_writable(panel.title), fontsize=size, pad=4)
        down += high
    _frame(figure, title, note, height)
    return _saved(figure, file)


def draw_plots(
    file: str | Path, plots: Sequence[Plot], *, title: str = "", note: str = "", columns: int = 2, width: int = WIDTH
) -> Path:
    """Draws plots side by side.

    Args:
        file: Where to; `.png` or `.svg`.
        plots: One or more.
        title: Above all.
        note: Below all, small.
        columns: How many in a row.
        width: Pixels across.

    Returns:
        The file.

    Raises:
        ConfigError: Nothing to draw.
        FinetuneError: The file cannot be written.
    """
    if not plots:
        raise ConfigError(f"There is nothing to draw for {file}. Expected one plot at least.")
    columns = min(columns, len(plots))
    count = -(-len(plots) // columns)
    top, bottom = (50 if title else 10), (34 if note else 8)
    each = 0.62 * width / columns if columns > 1 else 0.5 * width
    height = top + bottom + count * each
    figure = _figure(width, height)
    for number, plot in enumerate(plots):
        row, column = divmod(number, columns)
        left, up = (column + 0.13) / columns, 1 - (top + row * each + 0.8 * each) / height
        axes = figure.add_axes((left, up, 0.83 / columns, 0.68 * each / height))
        _curves(axes, plot)
    _frame(figure, title, note, height)
    return _saved(figure, file)


def _show(axes: Any, panel: Panel) -> None:
    picture = np.asarray(panel.picture)
    axes.imshow(
        picture, cmap=panel.colours, vmin=panel.low, vmax=panel.high,
        interpolation="antialiased" if panel.smooth else "nearest",
    )  # fmt: skip
    axes.set_axis_off()
    axes.set_anchor("N")  # titles of a row in one line, also where pictures are of different heights
    if panel.write:
        low = np.nanmin(picture) if panel.low is None else panel.low
        high = np.nanmax(picture) if panel.high is None else panel.high
        middle = (low + high) / 2
        for (row, column), number in np.ndenumerate(picture):
            axes.text(column, row, format(number, panel.write), ha="center", va="center", fontsize=12,
                      color="black" if number > middle else "white")  # fmt: skip


def _curves(axes: Any, plot: Plot) -> None:
    for number, (name, curve) in enumerate(plot.curves.items()):
        colour = _COLOURS[number % len(_COLOURS)]
        x, y = curve[:2]
        style = {"linestyle": "", "marker": "o"} if name in plot.marks else {"linewidth": 2.0}
        axes.plot(x, y, label=name, color=colour, **style)
        if len(curve) == 4:
            axes.fill_between(x, curve[2], curve[3], color=colour, alpha=0.15, linewidth=0)
    axes.set_title(plot.title, fontsize=12)
    axes.set_xlabel(plot.x, fontsize=11)
    axes.set_ylabel(plot.y, fontsize=11)
    if "x" in plot.log:
        axes.set_xscale("log")
    if "y" in plot.log:
        axes.set_yscale("log")
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    if not plot.log and all(isinstance(at, int) for curve in plot.curves.values() for at in curve[0]):
        axes.xaxis.get_major_locator().set_params(integer=True)  # half a step is none
    if any(plot.curves):
        axes.legend(fontsize=10, frameon=False)


def _figure(width: float, height: float) -> Any:
    """A figure of so many pixels; pyplot is left alone, for it would keep every figure and ask for a display."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width / _DPI, height / _DPI), dpi=_DPI, facecolor="white")
    FigureCanvasAgg(figure)
    return figure


def _frame(figure: Any, title: str, note: str, height: float) -> None:
    if title:
        figure.text(0.5, 1 - 10 / height, _writable(title), ha="center", va="top", fontsize=17)
    if note:
        figure.text(0.5, 8 / height, _writable(note), ha="center", va="bottom", fontsize=9.5, color="#555555")


def _writable(text: str) -> str:
    """A text in the letters that the font has, without the sign by which matplotlib begins a formula."""
    from matplotlib.font_manager import FontProperties, findfont, get_font

    font = get_font(findfont(FontProperties()))
    has = {letter for letter in set(text) if letter == "\n" or font.get_char_index(ord(letter))}
    return "".join(letter if letter in has else "?" for letter in text).replace("$", r"\$")


def _saved(figure: Any, file: str | Path) -> Path:
    path = Path(file)
    try:
        with replacing(path) as temporary:
            kind = path.suffix.lower().removeprefix(".")
            extra = {"pil_kwargs": {"quality": 88, "optimize": True}} if kind in ("jpg", "jpeg") else {}
            # Without dates and versions one seed gives one file.
            metadata = {"metadata": {"Software": None}} if kind == "png" else {}
            figure.savefig(temporary, format=kind, **extra, **metadata)
    except (OSError, ValueError) as error:
        raise FinetuneError(f"{path} cannot be drawn: {error}. Expected a name that ends in .png or .jpg.") from error
    return path
