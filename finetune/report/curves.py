"""The curves of range tests, as pictures and as the few numbers that decide."""

from __future__ import annotations

import csv
import math
import re
from collections.abc import Sequence
from html import escape
from pathlib import Path

from ..files import replacing

WIDTH, HEIGHT, RIM = 640, 320, 48


def write_curves(folder: Path) -> list[str]:
    """Draws each `rates-*.csv` of a run folder beside it as SVG.

    Args:
        folder: The run folder.

    Returns:
        Lines of Markdown that show the pictures and tell what decided; none where no rate was looked for.
    """
    lines: list[str] = []
    for path in sorted(folder.glob("rates-*.csv")):
        with path.open(newline="", encoding="utf-8") as file:
            rows = [{name: float(value) for name, value in row.items()} for row in csv.DictReader(file)]
        phase = path.stem.removeprefix("rates-")
        picture = path.with_suffix(".svg")
        with replacing(picture) as temporary:
            temporary.write_text(drawn(rows, phase), encoding="utf-8")
        lowest = min(rows, key=lambda row: row["smoothed"])
        nearest = min(rows, key=lambda row: abs(math.log(row["rate"] / row["chosen"])))
        link = re.sub(r"[^\w.-]", lambda found: f"%{ord(found[0]):02X}", picture.name, flags=re.ASCII)
        lines += [f"![The loss of phase {phase} over rising rates]({link})", ""]
        lines += [f'| phase "{phase}" | rate | loss |', "| --- | --: | --: |"]
        points = (("first", rows[0]), ("chosen", nearest | {"rate": rows[0]["chosen"]}), ("lowest loss", lowest),
                  ("last", rows[-1]))  # fmt: skip
        lines += [f"| {name} | {row['rate']:.2g} | {row['smoothed']:.4g} |" for name, row in points]
        lines.append("")
    return lines[:-1]


def drawn(rows: Sequence[dict[str, float]], phase: str) -> str:
    """A curve as SVG: each step's loss as a dot, the smoothed loss as a line, the chosen rate upright.

    Args:
        rows: With `rate` (rising), `loss`, `smoothed` and `chosen`.
        phase: For the title.
    """
    left, right = math.log10(rows[0]["rate"]), math.log10(rows[-1]["rate"])
    low, start = min(row["smoothed"] for row in rows), rows[0]["smoothed"]
    # Above twice the height of the fall there is nothing but divergence, which would flatten the rest.
    high = min(max(row["smoothed"] for row in rows), start + 2 * (start - low) + 1e-9)

    def at(rate: float, loss: float) -> tuple[float, float]:
        across = (math.log10(rate) - left) / max(right - left, 1e-9)
        up = min(1.0, max(0.0, (loss - low) / max(high - low, 1e-9)))
        return RIM + across * (WIDTH - 2 * RIM), HEIGHT - RIM - up * (HEIGHT - 2 * RIM)

    dots = "".join('<circle cx="{:.1f}" cy="{:.1f}" r="2"/>'.format(*at(row["rate"], row["loss"])) for row in rows)
    line = " ".join("{:.1f},{:.1f}".format(*at(row["rate"], row["smoothed"])) for row in rows)
    chosen = rows[0]["chosen"]
    x, _ = at(chosen, low)
    ticks = "".join(
        f'<text x="{at(10.0**power, low)[0]:.1f}" y="{HEIGHT - RIM + 20}" text-anchor="middle">1e{power}</text>'
        for power in range(math.ceil(left), math.floor(right) + 1)
    )
    title = f'Range test of phase "{phase}": {chosen:g} was chosen'
    bottom, top = HEIGHT - RIM, RIM
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" font-family="sans-serif" '
        f'font-size="12"><title>{escape(title)}</title><rect width="100%" height="100%" fill="#ffffff"/>'
        f'<text x="{RIM}" y="24" font-size="14">{escape(title)}</text>'
        f'<g fill="#a8b0b8">{dots}</g><polyline points="{line}" fill="none" stroke="#0b57a4" stroke-width="2"/>'
        f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{top}" y2="{bottom}" stroke="#a11d1d" stroke-dasharray="4 3"/>'
        f'<line x1="{RIM}" x2="{WIDTH - RIM}" y1="{bottom}" y2="{bottom}" stroke="#5b6066"/>{ticks}'
        f'<text x="{RIM - 6}" y="{top + 4}" text-anchor="end">{high:.3g}</text>'
        f'<text x="{RIM - 6}" y="{bottom}" text-anchor="end">{low:.3g}</text>'
        f'<text x="{WIDTH / 2}" y="{HEIGHT - 8}" text-anchor="middle">rate of the head</text></svg>\n'
    )
