"""What commands print: results for a reader who may have seen enough, and messages beside them."""

from __future__ import annotations

import contextlib
import json
import os
import sys
from collections.abc import Iterator
from typing import Any


def print_json(values: Any) -> None:
    """Prints values as JSON."""
    print_text(json.dumps(values, indent=2, ensure_ascii=False))


def print_text(text: str, end: str = "\n") -> None:
    """Prints a text."""
    with heard():
        print(text, end=end)  # noqa: T201


def tell(text: str) -> None:
    """Says something to the person, on standard error: it is no result."""
    print(text, file=sys.stderr)  # noqa: T201


@contextlib.contextmanager
def heard() -> Iterator[None]:
    """Whoever reads may have seen enough, as `head` has: what is left to print goes nowhere, and all is well."""
    try:
        yield
        sys.stdout.flush()
    except BrokenPipeError:
        # Else Python would try once more at exit, and complain.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
