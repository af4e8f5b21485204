"""What a user is told when something cannot be done.

Every message says what is wrong, what was expected, what came, and what to do next. The command line prints it on
its own, without a traceback, and exits with 2.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from difflib import get_close_matches


class FinetuneError(Exception):
    """Anything a user can mend; the parent of all errors that this library raises on purpose."""


class ConfigError(FinetuneError):
    """Options that cannot be right, found before any file is read."""


class DataError(FinetuneError):
    """Examples that cannot be used as they are."""


class UnreadableError(DataError):
    """One example that cannot be read; the reason names no file, so that a list can name each file once."""


class WeightsError(FinetuneError):
    """Weights that cannot be had, or that do not fit the network."""


class TrainingError(FinetuneError):
    """A run that went wrong: the message says when."""


class NotFiniteError(TrainingError):
    """A loss, a gradient or a picture that is no number; the weights have not moved by it."""


class StoppedError(TrainingError):
    """A run that a signal ended, with all that is needed to go on.

    Args:
        message: What happened, and how to go on.
        signal: The number of the signal.
    """

    def __init__(self, message: str, signal: int = 15) -> None:
        super().__init__(message)
        self.signal = signal

    @property
    def exit_code(self) -> int:
        """As shells say it of a process that a signal ended."""
        return 128 + self.signal


class RunFolderError(FinetuneError):
    """A run folder that is missing, incomplete, or in the way."""


def nearest(name: str, known: Iterable[str]) -> str:
    """Says which known names look like `name`.

    Args:
        name: What the user wrote.
        known: What there is.

    Returns:
        A clause such as ` Did you mean "resnet50" or "resnet50d"?`, with its leading space, or an empty string.
    """
    close = get_close_matches(name, sorted(known), n=3, cutoff=0.5)
    names = " or ".join(f'"{c}"' for c in close)
    return f" Did you mean {names}?" if close else ""


def listing(items: Sequence[object], most: int = 3) -> str:
    """Joins the first items of a list and counts the rest: `a, b, c and 4 more`."""
    shown = ", ".join(str(item) for item in items[:most])
    return shown if len(items) <= most else f"{shown} and {len(items) - most} more"
