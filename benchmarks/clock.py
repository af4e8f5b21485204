"""Processor seconds of a process and of those that it started and waited for, such as the readers of pictures."""

from __future__ import annotations

import os


def processor_seconds() -> float:
    """User and system time so far; that of processes still running is not in it."""
    now = os.times()
    return now.user + now.system + now.children_user + now.children_system
