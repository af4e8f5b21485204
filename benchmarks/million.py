"""How long a table of examples takes to be read, divided and sampled, and how much memory: from 1e4 to 1e6 rows.

    python benchmarks/million.py [ROWS ...]

Each number of rows runs in a process of its own, whose height of memory counts the program itself. Rows are names
of a thousand files, of a hundred classes and in groups of five; no picture is opened. "grows" is the time beside that
of the number of rows before, by how many times more rows there are: 1 is linear.
"""

from __future__ import annotations

import csv
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from finetune.data.examples import read_examples
from finetune.data.labels import Labels
from finetune.data.options import Data
from finetune.data.samplers import make_sampler
from finetune.data.splits import split_examples
from finetune.training.memory import peak_bytes

STEPS = ("read", "encode", "by class", "by group", "shuffle", "balance")


def write_table(path: Path, rows: int) -> None:
    """A table of so many rows; their pictures are a thousand empty files under many names of their folder."""
    (path.parent / "all").mkdir()
    for number in range(1000):
        (path.parent / "all" / f"{number}.jpg").touch()
    for folder in range(-(-rows // 1000)):
        (path.parent / f"d{folder}").symlink_to("all", target_is_directory=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(("image", "target", "patient"))
        writer.writerows((f"d{n // 1000}/{n % 1000}.jpg", f"class {n // 5 % 100}", f"p{n // 5}") for n in range(rows))


def measure(rows: int) -> None:
    """Prints the seconds of each step, and the height of memory before and after all."""
    with tempfile.TemporaryDirectory() as folder:
        table = Path(folder, "table.csv")
        write_table(table, rows)
        program, seconds = peak_bytes("cpu"), []

        def timed(what):
            began = time.process_time()
            found = what()
            seconds.append(time.process_time() - began)
            return found

        words = {"source": str(table), "image": "image", "target": "target"}
        examples = timed(lambda: read_examples(Data(**words)))
        targets = timed(lambda: Labels.from_targets(examples.kind, examples.targets).encode(examples.targets))
        splits = timed(lambda: split_examples(examples))
        train = splits.indices("train")
        del examples, splits
        examples = read_examples(Data(**words, group="patient"))
        timed(lambda: split_examples(examples))
        for name in ("shuffle", "balanced"):
            made = make_sampler(train, targets, sampler=name, train=True, batch_size=32, seed=0)
            timed(lambda made=made: sum(1 for _ in made))
        print(*seconds, program, peak_bytes("cpu"))


def main() -> None:
    """Prints a line a number of rows."""
    if sys.argv[1:2] == ["--one"]:
        measure(int(sys.argv[2]))
        return
    before: tuple[int, list[float]] | None = None
    print("processor seconds:", ", ".join(STEPS))
    for rows in [int(float(word)) for word in sys.argv[1:]] or [10**4, 10**5, 10**6]:
        done = subprocess.run(
            [sys.executable, __file__, "--one", str(rows)], capture_output=True, text=True, check=True
        )
        *seconds, program, height = [float(word) for word in done.stdout.split()]
        grows = ""
        if before is not None:
            more = rows / before[0]
            grows = f"; in all it grows by {sum(seconds) / sum(before[1]) / more:.2f}"
        print(
            f"{rows:,} rows: {', '.join(f'{value:.2f}' for value in seconds)}; {sum(seconds):.1f} s in all{grows}; "
            f"{height / 2**30:.2f} GiB at the height, {program / 2**30:.2f} of them the program",
            flush=True,
        )
        before = rows, seconds


if __name__ == "__main__":
    main()
