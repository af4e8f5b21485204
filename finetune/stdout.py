"""What commands print: results for a reader who may have seen enough, and messages beside them."""

from __future__ import annotations

import contextlib
import json
import os
import sys
from collections.abc import Iterator
from typing import IO, TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console


def print_json(values: Any) -> None:
    """Prints values as JSON."""
    print_text(json.dumps(values, indent=2, ensure_ascii=False))


def print_text(text: str, end: str = "\n") -> None:
    """Prints a text."""
    with heard():
        print(text, end=end)  # noqa: T201


def tell(text: str) -> None:
    """Says something to the person, on standard error: it is no result."""
    with heard(sys.stderr):
        print(text, file=sys.stderr)  # noqa: T201


def talking(*, stderr: bool = False) -> Console:
    """A console for work that goes on where whoever reads has seen enough: rich's own would end it, weights and all.

    Args:
        stderr: Whether it is no result.
    """
    from rich.console import Console

    class Talking(Console):
        def on_broken_pipe(self) -> None:
            _to_nowhere(self.file)

    return Talking(stderr=stderr)


@contextlib.contextmanager
def heard(stream: IO[str] | None = None) -> Iterator[None]:
    """Whoever reads may have seen enough, as `head` has: what is left to print goes nowhere, and all is well.

    Args:
        stream: Where it goes to, standard output if None.
    """
    stream = stream or sys.stdout
    try:
        yield
        stream.flush()
    except BrokenPipeError:
        _to_nowhere(stream)


def _to_nowhere(stream: IO[str]) -> None:
    # Else Python would try once more at exit, and complain.
    os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
