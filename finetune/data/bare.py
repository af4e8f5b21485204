"""The pictures of a folder that carry no answers."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from .examples import Examples
from .folders import list_pictures


def bare_pictures(folder: str | Path) -> Examples:
    """All pictures under a folder, with no target, group or part.

    Args:
        folder: Is searched through, in natural order.

    Raises:
        DataError: It holds no pictures.
    """
    root = Path(folder).absolute()
    sources = list_pictures([root])
    ids = [Path(source).relative_to(root).as_posix() for source in sources]
    nothing = pd.Series([None] * len(ids), dtype="object")
    table = pd.DataFrame({"id": ids, "source": sources, "target": nothing, "group": nothing, "split": nothing})
    return Examples(table=table, kind="class")
