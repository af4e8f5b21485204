"""Examples given from Python: (path, label) pairs, paths and targets, or pictures as arrays and targets."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from ..errors import ConfigError, DataError
from .listings import Listing
from .options import Data
from .paths import locate
from .tables import as_cell

EXPECTED = (
    "Expected a folder, a table, a DataFrame, a list of (path, label) pairs, or a pair (pictures, targets) whose "
    "pictures are paths or arrays of height x width (x channels)"
)


def list_memory(source: Any, data: Data, root: Path | str | None) -> Listing:
    """Reads examples that are Python values.

    Args:
        source: A list of (path, label) pairs, or a pair (pictures, targets).
        data: The other options; those that name columns do not fit.
        root: What relative paths are relative to; the working folder when None.

    Raises:
        ConfigError: Options that name columns, or a source of another form.
        DataError: No examples, or as many pictures as there are not targets.
    """
    columns = [name for name in ("image", "target", "group", "split") if getattr(data, name)]
    if columns:
        raise ConfigError(
            f"{' and '.join(columns)} name columns, but the source has none. Give a DataFrame to name columns."
        )
    inputs, targets = _two_lists(source)
    if len(inputs) != len(targets):
        raise DataError(f"There are {len(inputs)} pictures but {len(targets)} targets. Expected one target a picture.")
    if len(inputs) == 0:
        raise DataError(f"The source holds no examples. {EXPECTED}.")
    cells = [as_cell(target) for target in targets]
    none = [None] * len(cells)
    if all(isinstance(item, (str, Path)) for item in inputs):
        found = locate([str(item) for item in inputs], root, "The list")
        return Listing(
            ids=found.ids, sources=found.sources, cells=cells, groups=[*none], splits=[*none], notes=found.notes
        )
    for row, item in enumerate(inputs):
        if not isinstance(item, np.ndarray) or item.ndim not in (2, 3):
            got = f"shape {item.shape}" if isinstance(item, np.ndarray) else type(item).__name__
            raise DataError(f"Picture {row} is no array of height x width (x channels). Got {got}.")
    ids = [str(row) for row in range(len(inputs))]
    sources = [f"array:{row}" for row in range(len(inputs))]
    return Listing(ids=ids, sources=sources, cells=cells, groups=[*none], splits=[*none], arrays=inputs)


def _two_lists(source: Any) -> tuple[Any, Any]:
    """Pictures and targets. A tuple of two is a pair of lists; two examples come as a list."""
    if isinstance(source, tuple) and len(source) == 2 and not isinstance(source[0], (str, Path)):
        inputs, targets = source
        # A DataFrame's column or an estimator's y may come with an index of its own, where [0] is not the first.
        return inputs if isinstance(inputs, np.ndarray) else list(inputs), list(targets)
    if isinstance(source, (list, tuple)) and all(isinstance(item, (list, tuple)) and len(item) == 2 for item in source):
        return [item[0] for item in source], [item[1] for item in source]
    raise ConfigError(f"A source of type {type(source).__name__} cannot be read. {EXPECTED}.")
