"""A page of training pictures as a policy varies them, for a person to say whether the label is still to be seen."""

from __future__ import annotations

import io
import unicodedata
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from ..errors import DataError, UnreadableError
from ..files import replacing
from ..types import ImageSpec
from .examples import Examples
from .policies import ENGINES
from .readers import read_image
from .transforms import Varied, eval_transform, shrink_to, train_transform

LARGEST_CELL = 160
"""Side of a picture on the page, in pixels; smaller where the file would grow beyond `MOST_BYTES`."""

MOST_BYTES = 2_000_000
MARGIN, LINE, TEXT = 6, 15, 11


def augmentation_sheet(
    examples: Examples, spec: ImageSpec, policy: str, *, path: str | Path, rows: int = 6, count: int = 7,
    seed: int = 0, engine: str = ENGINES[0], negate: bool = False,
) -> Path:  # fmt: skip
    """Draws examples as evaluation sees them and, beside each, as training does; file name and target underneath.

    Args:
        examples: The table; `seed` chooses among its rows, and unreadable pictures are passed over.
        spec: What the network wants to see.
        policy: How pictures are varied, a key of `policies.POLICIES`.
        path: Where the PNG goes, 2 MB at most.
        rows: How many examples; fewer where there are fewer.
        count: How many variations of each.
        seed: One seed, one page.
        engine: The library that varies them, one of `ENGINES`.
        negate: Whether the target of a mirrored picture changes its sign; each variation then tells its own.

    Returns:
        The path.

    Raises:
        ConfigError: There is no such policy or engine.
        DataError: No picture could be read, or there is nothing to show.
    """
    if min(rows, count) < 1 or not len(examples):
        raise DataError(f"There is nothing to show: {len(examples)} examples, {rows} rows of {count} variations.")
    transform, whole = train_transform(spec, policy, engine=engine), eval_transform(spec)
    pictures, targets, least = examples.pictures(), examples.targets, shrink_to(spec, policy)
    lines: list[tuple[str, list[tuple[np.ndarray, str]]]] = []
    wrong = ""
    for row in np.random.default_rng(seed).permutation(len(examples)).tolist():
        if len(lines) == rows:
            break
        try:
            plain = read_image(pictures[row], in_chans=spec.in_chans)
            picture = read_image(pictures[row], in_chans=spec.in_chans, shrink_to=least)
        except UnreadableError as error:
            wrong = str(error)
            continue
        target = targets[row]
        seeds = np.random.SeedSequence((seed, row)).generate_state(count)
        varied = [transform.vary(picture, int(own)) for own in seeds]
        cells = [(whole(plain), "as evaluated"), *((one.picture, _told(one, target, negate)) for one in varied)]
        lines.append((f"{examples.table['id'].iloc[row]}   {_words(target)}", cells))
    if not lines:
        raise DataError(f"None of the {len(examples)} pictures could be read, the last one because: {wrong}")
    with replacing(Path(path)) as temporary:
        temporary.write_bytes(_png(lines, f"{policy}, by {engine}: {transform.policy.about}"))
    return Path(path)


def _told(varied: Varied, target: Any, negate: bool) -> str:
    sign = -1 if negate and varied.mirrored else 1
    return ", ".join((["mirrored"] if varied.mirrored else []) + ([f"{sign * target:g}"] if negate else []))


def _words(target: Any) -> str:
    if isinstance(target, float):
        return f"{target:g}"
    return ", ".join(map(str, target)) if isinstance(target, tuple) else str(target)


def _png(lines: list[tuple[str, list[tuple[np.ndarray, str]]]], title: str) -> bytes:
    side = LARGEST_CELL
    while True:
        data = io.BytesIO()
        _page(lines, title, side).save(data, "PNG", optimize=True)
        if data.tell() <= MOST_BYTES or side < 16:
            return data.getvalue()
        side = side * 4 // 5


def _page(lines: list[tuple[str, list[tuple[np.ndarray, str]]]], title: str, side: int) -> Image.Image:
    """Rows of cells, each `side` pixels at its longer side."""
    height, width = lines[0][1][0][0].shape[:2]
    cell = max(round(side * width / max(height, width)), 1), max(round(side * height / max(height, width)), 1)
    step = cell[0] + MARGIN, cell[1] + 2 * LINE + MARGIN
    across = max(len(cells) for _, cells in lines)
    page = Image.new("RGB", (across * step[0] + MARGIN, len(lines) * step[1] + LINE + 2 * MARGIN), "white")
    brush, font = ImageDraw.Draw(page), ImageFont.load_default(TEXT)
    brush.text((MARGIN, MARGIN // 2), _cut(title, font, page.width - MARGIN), "black", font)
    for down, (name, cells) in enumerate(lines):
        top = LINE + MARGIN + down * step[1]
        for place, (picture, told) in enumerate(cells):
            left = MARGIN + place * step[0]
            page.paste(_shown(picture, cell), (left, top))
            brush.text((left, top + cell[1] + 1), _cut(told, font, cell[0]), "dimgrey", font)
        brush.text((MARGIN, top + cell[1] + LINE), _cut(name, font, page.width - MARGIN), "black", font)
    return page


def _shown(picture: np.ndarray, size: tuple[int, int]) -> Image.Image:
    """In RGB: the first three channels, or the first as grey."""
    array = picture if picture.dtype == np.uint8 else np.round(picture * 255).astype(np.uint8)
    image = Image.fromarray(np.ascontiguousarray(array[..., :3] if array.shape[2] >= 3 else array[..., 0]))
    # Few pixels are shown as they are; many are averaged.
    kernel = Image.Resampling.NEAREST if size[0] > image.width else Image.Resampling.LANCZOS
    return image.convert("RGB").resize(size, kernel)


def _cut(text: str, font: Any, width: int) -> str:
    """As much of a line as fits, in letters that the font has."""
    plain = unicodedata.normalize("NFKD", text)
    text = "".join(c for c in plain if not unicodedata.combining(c)).encode("ascii", "replace").decode()
    if font.getlength(text) <= width:
        return text
    while text and font.getlength(f"{text}...") > width:
        text = text[:-1]
    return f"{text}..."
