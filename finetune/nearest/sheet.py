"""Pictures and their neighbours on one sheet, as one would put it on a slide."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from ..data.readers import read_image
from ..errors import UnreadableError
from ..report.figures import Panel, draw_sheet

if TYPE_CHECKING:
    from .nearby import Neighbour, Query
    from .neighbours import Neighbours

SIDE = 320
"""Pixels of a picture's longer side, which is more than a sheet of 1200 shows."""

ACROSS, BESIDE, MOST = 5, 5, 6
"""Pictures in a row of a sheet of one query; neighbours beside each of several queries, and how many queries."""


def draw_neighbours(found: Neighbours, file: Path) -> Path:
    """Draws pictures with their nearest neighbours, label and cosine above each.

    One query has all its neighbours in rows of five; of several the first six stand below each other, each with its
    five nearest.

    Args:
        found: At least one query has neighbours.
        file: Where to; `.png` or `.jpg`.

    Returns:
        The file.
    """
    queries = [query for query in found.queries if query.neighbours]
    asked, known = found.asked.pictures(), found.known.pictures()
    rows = []
    for query in queries[:MOST]:
        first = Panel(picture=_shown(asked[query.row], found.in_chans), title=f"asked about\n{_name(query)}")
        panels = [Panel(picture=_shown(known[one.row], found.in_chans), title=_title(one)) for one in query.neighbours]
        if len(queries) == 1:
            every = [first, *panels]
            rows += [every[start : start + ACROSS] for start in range(0, len(every), ACROSS)]
        else:
            rows.append([first, *panels[:BESIDE]])
    note = f"{found.pictures} pictures of {_cut(found.among, 60)}; the cosine between features of {found.network}"
    if len(queries) > MOST:
        note += f"\nthe first {MOST} of {len(queries)} pictures that were asked about"
    return draw_sheet(file, rows, title="Nearest pictures", note=note)


def _title(one: Neighbour) -> str:
    return f"{_cut(one.label, 18) or _cut(Path(one.file).name, 18)}\n{one.similarity:.2f}"


def _name(query: Query) -> str:
    return _cut(Path(query.file).name, 18)


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[: most - 1]}…"


def _shown(picture: Any, in_chans: int) -> np.ndarray:
    """A picture on a white square, so that all of a sheet are of one size; grey where it cannot be read any more."""
    side = Image.new("RGB", (SIDE, SIDE), "white")
    try:
        pixels = read_image(picture, in_chans=3 if in_chans == 1 else in_chans)
    except UnreadableError:
        return np.full((SIDE, SIDE, 3), 200, np.uint8)
    eight = pixels if pixels.dtype == np.uint8 else np.round(pixels * 255).clip(0, 255).astype(np.uint8)
    image = Image.fromarray(np.ascontiguousarray(eight[..., :3] if eight.shape[2] >= 3 else eight[..., 0]))
    share = SIDE / max(image.size)
    size = (max(1, round(image.width * share)), max(1, round(image.height * share)))
    kernel = Image.Resampling.NEAREST if share > 1 else Image.Resampling.LANCZOS
    side.paste(image.convert("RGB").resize(size, kernel), ((SIDE - size[0]) // 2, (SIDE - size[1]) // 2))
    return np.asarray(side)
