"""`finetune report`: the page of a run, made anew from its files."""

from __future__ import annotations

from pathlib import Path

from ..stdout import print_text
from .words import RunFolder


def report_command(run: RunFolder) -> int:
    """Writes report.html and model/README.md of a run folder and prints where the page is."""
    from ..run_report import write_pages

    print_text(str(write_pages(Path(run))))
    return 0
