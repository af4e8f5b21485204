"""`finetune check`: the check, its files, and what is said of them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.console import Console

from ..check import check
from ..checkup import check_clean, check_folder
from ..report.listed import findings_table
from ..stdout import print_json, print_text, talking


def check_command(
    source: str,
    words: Mapping[str, Any],
    *,
    labelled: bool,
    batch_size: int,
    accelerator: str,
    out: str,
    overwrite: bool,
    write_clean: str | None,
    augment: str | None,
    as_json: bool,
) -> int:
    """Checks a source, writes the page and prints what matters.

    Args:
        source: A folder or a table.
        words: Options of the source and the backbone that were given.
        labelled: Whether there are answers.
        batch_size: Pictures at a time.
        accelerator: "auto", "cpu", "gpu", ...
        out: Folder for the results.
        overwrite: Whether earlier results may be replaced.
        write_clean: Where a cleaned-up table goes; None for none.
        augment: A policy of which a sheet is drawn; None for none.
        as_json: Prints JSON and nothing else on standard output.

    Returns:
        0 where nothing must be decided, else 1.
    """
    # Where the results go is settled before the work is done.
    check_folder(Path(out), overwrite=overwrite)
    if write_clean is not None:
        check_clean(Path(write_clean), overwrite=overwrite)
    found = check(source, augment=augment, labelled=labelled, batch_size=batch_size, accelerator=accelerator,
                  verbose=talking(stderr=True), **{k: v for k, v in words.items() if v is not None})  # fmt: skip
    page = found.write(out, overwrite=overwrite)
    mix = [f.sentence for f in found.findings if f.what in ("balance", "groups") and f.severity == "fine"]
    lines = [*mix, found.fine, found.verdict, f"The page is {page}."]
    if write_clean is not None:
        lines.append(f"To fit on the cleaned-up table: {found.write_clean(write_clean, overwrite=overwrite)}")
    if as_json:
        print_json(found.to_dict())
        return 1 if found.to_decide else 0
    console = Console()
    told = [(f.what, f.severity, f.sentence) for f in found.findings if f.severity != "fine"]
    with console.capture() as shown:  # rich would leave with 1 where nobody reads on
        if told:
            console.print(findings_table(told))
        for line in filter(None, lines):
            console.print(line, markup=False, highlight=False, soft_wrap=True)
    print_text(shown.get(), end="")
    return 1 if found.to_decide else 0
