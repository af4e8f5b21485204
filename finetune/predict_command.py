"""`finetune predict`: what a run says of pictures."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager

from .stdout import heard, print_json, tell


def predict_command(
    run: str, inputs: Sequence[str], *, out: str | None, prior: Mapping[str, float], level: int | None,
    batch_size: int, accelerator: str, as_json: bool, recipe: str | None,
    bar: Callable[[int], AbstractContextManager[Callable[[int], None]]],
) -> int:  # fmt: skip
    """Prints or writes the answers.

    Args:
        run: The run folder.
        inputs: Files, folders and globs.
        out: The CSV file; None prints the table.
        prior: How frequent classes are there.
        level: Of a taxonomy.
        batch_size: Pictures at a time.
        accelerator: Where to compute.
        as_json: Prints rows as JSON.
        recipe: The file that made the model, where its network is of that file.
        bar: Shows how far it is, of so many pictures.

    Returns:
        1 where a picture could not be read, else 0.
    """
    from .model import load
    from .predict import as_examples, as_records, write_table

    model, examples = load(run, recipe=recipe), as_examples(list(inputs))
    with bar(len(examples)) as moved:
        table = model.predict(examples, prior=prior, level=level, batch_size=batch_size, accelerator=accelerator,
                              progress=moved)  # fmt: skip
    if as_json:
        print_json(as_records(table))
    if out is not None or not as_json:
        with heard():
            write_table(table, out)
    failed = int((table["error"] != "").sum())
    if failed:
        tell(f"finetune: {failed} of {len(table)} pictures could not be read; see the column error.")
    return 1 if failed else 0
