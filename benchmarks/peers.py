"""Other libraries that benchmarks compare with, which live in folders of their own beside this environment."""

from __future__ import annotations

import os
import sys


def admit() -> None:
    """Lets this process import what lies in the folders of $FINETUNE_PEERS; what is installed here goes first."""
    folders = filter(None, os.environ.get("FINETUNE_PEERS", "").split(os.pathsep))
    sys.path += [folder for folder in folders if folder not in sys.path]


def absent(error: ImportError) -> str:
    """What is said of a library that cannot be imported."""
    return f"{error}; install it in a folder of its own and name that in FINETUNE_PEERS"
