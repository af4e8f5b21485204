"""Processor seconds of a process and of those that it started and waited for, such as the readers of pictures."""

from __future__ import annotations

import resource


def processor_seconds() -> float:
    """User and system time so far; that of processes still running is not in it."""
    # To the microsecond, where os.times counts hundredths of a second.
    own, children = (resource.getrusage(whose) for whose in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return own.ru_utime + own.ru_stime + children.ru_utime + children.ru_stime
