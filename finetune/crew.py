"""Who takes part in a pass over pictures: this process, or several, each with a run of whole batches of its own.

A batch is the same whoever computes it, so what comes out does not depend on how many take part.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, Protocol, TypeVar

import torch

T_co = TypeVar("T_co", covariant=True)
T = TypeVar("T")

Progress = Callable[[int], None]
"""Is called with how many pictures have just been done."""


class Share(NamedTuple):
    """Which part of a pass a rank does.

    rank: From 0.
    ranks: How many take part.
    """

    rank: int
    ranks: int

    def span(self, count: int, batch_size: int) -> range:
        """The places in 0..count of this share: a run of whole batches, of which the last one of all may be short."""
        batches = -(-count // batch_size)
        first, last = (batches * at // self.ranks for at in (self.rank, self.rank + 1))
        return range(min(count, first * batch_size), min(count, last * batch_size))


class Job(Protocol[T_co]):
    """A share of a pass, as it can be handed to another process: a value that pickles.

    It raises OSError where it does not see the files of the pass; whoever leads then does that share.
    """

    def __call__(self, share: Share, device: torch.device, progress: Progress | None) -> T_co:
        """Does the share, and says what the leader has to know."""
        ...


class Crew(Protocol):
    """Processes that share passes."""

    def work(self, job: Job[T], device: torch.device, progress: Progress | None = None) -> list[T]:
        """Has every rank do its share, this process as rank 0 with `device`, and returns what they say, by rank.

        Args:
            job: What is to be done.
            device: Where this process computes; the others know theirs.
            progress: Is told what this process has done.

        Raises:
            Exception: What a share raised first, except an OSError of another process: this one then does that share.
        """
        ...


class Alone:
    """This process does it all."""

    def work(self, job: Job[T], device: torch.device, progress: Progress | None = None) -> list[T]:
        """The whole pass as one share."""
        return [job(Share(0, 1), device, progress)]
