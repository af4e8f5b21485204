"""By what figures may be told apart: a column of the source, or what a picture looks like."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..errors import DataError, nearest
from .examples import Examples
from .looks import Looks

LOOKED_AT = ("size", "brightness")
"""What every picture has: its shorter side in pixels, and the mean of its grey version, 0 to 1."""


def check_columns(examples: Examples, names: Sequence[str]) -> None:
    """Refuses a name that is neither a column of the source nor in `LOOKED_AT`, before any picture is read.

    Raises:
        DataError: There is such a name.
    """
    known = [str(name) for name in examples.table.columns if name not in ("id", "source", "target")]
    for name in names:
        if name not in known and name not in LOOKED_AT:
            raise DataError(
                f'There is no column "{name}" to tell figures apart by. Expected some of '
                f"{', '.join([*known, *LOOKED_AT])}.{nearest(name, [*known, *LOOKED_AT])}"
            )


def columns_of(examples: Examples, looks: Looks | None, names: Sequence[str]) -> dict[str, list[Any]]:
    """The values of each name for all examples; what nobody looked at is left out.

    Args:
        examples: The table.
        looks: What their pictures look like; None where nobody looked.
        names: As `check_columns` lets pass.
    """
    found: dict[str, list[Any]] = {}
    for name in names:
        if name in examples.table:
            found[name] = list(examples.table[name])
        elif looks is not None:
            sides = np.minimum(looks.height, looks.width).tolist()
            found[name] = sides if name == "size" else looks.brightness.astype(np.float64).tolist()
    return found
