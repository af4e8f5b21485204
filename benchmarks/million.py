"""How long a table of examples takes to be read, divided and sampled, and how much memory: from 1e4 to 1e6 rows.

    python benchmarks/million.py [--parquet] [--fit] [ROWS ...]

Each number of rows runs in a process of its own, whose height of memory counts the program itself: torch, which
samplers need, and pandas; with --fit all that `finetune fit` has loaded when it reads, but no network. Rows are names
of a thousand files, of a hundred classes and in groups of five; no picture is opened. Each row counts as a picture
without copies, as after the search for them. "grows" is the time beside that of the number of rows before, by how many
times more rows there are: 1 is linear.
"""

from __future__ import annotations

import argparse
import csv
import importlib
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
from clock import processor_seconds

from finetune.data.examples import read_examples
from finetune.data.labels import Labels
from finetune.data.options import Data
from finetune.data.samplers import make_sampler
from finetune.data.splits import split_examples, write_splits
from finetune.training.memory import peak_bytes

STEPS = ("read", "encode", "by class", "by group", "write", "shuffle", "balance")


def write_table(path: Path, rows: int) -> None:
    """A CSV table of so many rows; their pictures are a thousand empty files under many names of their folder."""
    (path.parent / "all").mkdir()
    for number in range(1000):
        (path.parent / "all" / f"{number}.jpg").touch()
    for folder in range(-(-rows // 1000)):
        (path.parent / f"d{folder}").symlink_to("all", target_is_directory=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(("image", "target", "patient"))
        writer.writerows((f"d{n // 1000}/{n % 1000}.jpg", f"class {n // 5 % 100}", f"p{n // 5}") for n in range(rows))


def measure(table: Path, *, fit: bool) -> None:
    """Prints the seconds of each step, and the height of memory before and after all."""
    if fit:
        importlib.import_module("finetune.running.run")
    program, seconds = peak_bytes("cpu"), []

    def timed(what):
        began = processor_seconds()
        found = what()
        seconds.append(processor_seconds() - began)
        return found

    words = {"source": str(table), "image": "image", "target": "target"}
    examples = timed(lambda: read_examples(Data(**words)))
    targets = timed(lambda: Labels.from_targets(examples.kind, examples.targets).encode(examples.targets))
    splits = timed(lambda: split_examples(examples, clusters=np.arange(len(examples))))
    del examples, splits
    examples = read_examples(Data(**words, group="patient"))
    splits = timed(lambda: split_examples(examples, clusters=np.arange(len(examples))))
    timed(lambda: write_splits(table.with_name("splits.csv"), examples, splits))
    train = splits.indices("train")
    for name in ("shuffle", "balanced"):
        made = make_sampler(train, targets, sampler=name, train=True, batch_size=32, seed=0)
        timed(lambda made=made: sum(1 for _ in made))
    print(*seconds, program, peak_bytes("cpu"))


def run_one(rows: int, *, parquet: bool, fit: bool) -> list[float]:
    """The numbers that `measure` prints, of a process of its own that has made nothing."""
    with tempfile.TemporaryDirectory() as folder:
        table = Path(folder, "table.csv")
        write_table(table, rows)
        if parquet:
            pd.read_csv(table).to_parquet(table.with_suffix(".parquet"))
            table = table.with_suffix(".parquet")
        words = [sys.executable, __file__, "--one", str(table), *(["--fit"] if fit else [])]
        done = subprocess.run(words, capture_output=True, text=True, check=True)
    return [float(word) for word in done.stdout.split()]


def main() -> None:
    """Prints a line a number of rows."""
    parser = argparse.ArgumentParser()
    parser.add_argument("rows", nargs="*", type=float, default=[1e4, 1e5, 1e6])
    parser.add_argument("--parquet", action="store_true")
    parser.add_argument("--fit", action="store_true")
    parser.add_argument("--one", type=Path)
    asked = parser.parse_args()
    if asked.one:
        measure(asked.one, fit=asked.fit)
        return
    before: tuple[int, list[float]] | None = None
    print("processor seconds:", ", ".join(STEPS))
    for rows in map(int, asked.rows):
        *seconds, program, height = run_one(rows, parquet=asked.parquet, fit=asked.fit)
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
