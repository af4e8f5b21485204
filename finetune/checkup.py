"""What a check found, to be read on a page, as JSON, and as a table cleaned up."""

from __future__ import annotations

import io
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image

from .data.clean import clean_table, is_clean, write_clean
from .data.examples import Examples
from .data.findings import Finding, Item, counted
from .data.leaks import Leak, PairLike
from .data.looks import Looks
from .data.readers import read_image
from .data.shortcuts import Shortcut
from .data.suspects import Suspect
from .errors import ConfigError, RunFolderError, UnreadableError
from .files import prove_writable, replacing, told_unwritable
from .folder import write_json
from .report.page import Card, Section, Shown, page
from .saved import versions

PAGE, FACTS = "check.html", "check.json"
ANOTHER = "Choose another name."
SHOWN, PICTURES, SIDE = 24, 12, 176
"""So many cases of a check are on the page, with so many pictures each, of so many pixels."""


@dataclass(frozen=True, kw_only=True)
class Checkup:
    """What was found in somebody's data.

    Args:
        source: What was checked, in words.
        findings: One a check, those that must be decided first.
        examples: The table that the rows of the findings count in.
        pairs: Copies of one picture.
        leaks: Pictures on two sides of the given parts that give each other away.
        suspects: Answers that the others contradict, the surest first.
        shortcuts: How well each fact beside the content gives the answer away.
        looks: What each picture looks like.
        notes: What was inferred while reading.
        sheet: Pictures as training would vary them, as a JPEG; None where that was not asked.
        seed: Seeded the folds.
    """

    source: str
    findings: tuple[Finding, ...]
    examples: Examples = field(repr=False)
    pairs: tuple[PairLike, ...] = field(default=(), repr=False)
    leaks: tuple[Leak, ...] = field(default=(), repr=False)
    suspects: tuple[Suspect, ...] = field(default=(), repr=False)
    shortcuts: tuple[Shortcut, ...] = field(default=(), repr=False)
    looks: Looks = field(repr=False)
    notes: tuple[str, ...] = ()
    sheet: bytes | None = field(default=None, repr=False)
    seed: int = 0

    @property
    def to_decide(self) -> tuple[Finding, ...]:
        """What somebody must decide before training."""
        return tuple(finding for finding in self.findings if finding.severity == "must decide")

    @property
    def verdict(self) -> str:
        """One sentence: what must be decided, or that nothing must."""
        worth = counted(sum(f.severity == "look" for f in self.findings), "check")
        if not self.to_decide:
            return f"Nothing must be decided; {worth} found something worth a look."
        return f"To be decided: {', '.join(finding.what for finding in self.to_decide)}; {worth} worth a look."

    @property
    def fine(self) -> str:
        """One sentence: which checks found nothing."""
        names = [finding.what for finding in self.findings if finding.severity == "fine"]
        return f"Nothing found: {', '.join(names)}." if names else ""

    def to_dict(self) -> dict[str, Any]:
        """All of it as plain JSON values, as check.json holds it."""
        ids = list(self.examples.table["id"])
        named = [
            {
                **finding.to_dict(),
                "items": [{**vars(item), "ids": [ids[row] for row in item.rows]} for item in finding.items],
            }
            for finding in self.findings
        ]
        return {
            "format": 1, "source": self.source, "verdict": self.verdict, "examples": len(self.examples),
            "kind": None if unlabelled(self.examples) else self.examples.kind, "findings": named,
            "suspects": [{**vars(suspect), "id": ids[suspect.row]} for suspect in self.suspects],
            "shortcuts": [{**vars(shortcut), "suspicious": shortcut.suspicious} for shortcut in self.shortcuts],
            "notes": list(self.notes), "versions": versions(),
        }  # fmt: skip

    def clean_table(self) -> pd.DataFrame:
        """The examples as they might be cleaned up: source, target, group, split, drop, reason, suggested_target.

        It proposes to drop what cannot be read and all but one of exact copies, and marks what a person must decide.
        """
        return clean_table(
            self.examples, errors=self.looks.errors, pairs=self.pairs, leaks=self.leaks, suspects=self.suspects,
            seed=self.seed,
        )  # fmt: skip

    def write_clean(self, path: str | Path, *, overwrite: bool = False) -> str:
        """Writes `clean_table` as a CSV file that `fit` takes, and what it drops beside it, as NAME.dropped.csv.

        Args:
            path: The file.
            overwrite: Whether an earlier one may be replaced.

        Returns:
            The command that fits on it.

        Raises:
            ConfigError: The name does not end in .csv, or the pictures are no files.
            RunFolderError: It is there already, or cannot be written.
        """
        check_clean(Path(path), overwrite=overwrite)
        if self.examples.arrays is not None:
            raise ConfigError("The pictures are in memory, so that no table can name them. Expected files.")
        with told_unwritable(str(path), ANOTHER):
            write_clean(Path(path).absolute(), self.clean_table())
        task = {"class": "classify", "labels": "tag", "number": "regress"}[self.examples.kind]
        grouped = " --group group" if any(group for group in self.examples.table["group"]) else ""
        several = ' --delimiter "|"' if self.examples.kind == "labels" else ""
        return f"finetune fit {path} --image source --target target --split split{grouped}{several} --task {task}"

    def write(self, folder: str | Path, *, overwrite: bool = False) -> Path:
        """Writes check.html, one page with pictures, and check.json.

        Args:
            folder: Where to; it is made. Nothing else in it is touched.
            overwrite: Whether these two files of an earlier check may be replaced.

        Returns:
            The page.

        Raises:
            RunFolderError: They are there already, or cannot be written.
        """
        target = Path(folder)
        check_folder(target, overwrite=overwrite)
        text = page(title=f"Check of {self.source}", verdict=self.verdict, facts=_facts(self), sections=_sections(self))
        with told_unwritable(str(target)):
            write_json(target / FACTS, self.to_dict())
            with replacing(target / PAGE) as temporary:
                temporary.write_text(text, encoding="utf-8")
        return target / PAGE


def check_folder(folder: Path, *, overwrite: bool) -> None:
    """Refuses a folder where an earlier check would be lost, before anything is done.

    Raises:
        RunFolderError: It is a file, or holds a check and is not to be overwritten.
    """
    if folder.exists() and not folder.is_dir():
        raise RunFolderError(f"--out {folder} is a file. Expected a folder, which need not exist yet.")
    there = [name for name in (PAGE, FACTS) if (folder / name).exists()]
    if there and not overwrite:
        raise RunFolderError(
            f"{folder} holds {' and '.join(there)} of an earlier check. Choose another --out, or replace it with "
            "--overwrite; nothing else in the folder is touched."
        )
    with told_unwritable(str(folder)):
        prove_writable(folder, folder=True)


def check_clean(path: Path, *, overwrite: bool) -> None:
    """Refuses a name that no table has, and to write over a table: it may be the very source.

    Raises:
        ConfigError: It does not end in .csv.
        RunFolderError: It is there already, and not to be overwritten or no cleaned-up table.
    """
    if path.suffix.lower() != ".csv":
        raise ConfigError(f"--write-clean writes a CSV file. Expected a name that ends in .csv. Got {path}.")
    if not path.exists():
        with told_unwritable(str(path), ANOTHER):
            prove_writable(path)
        return
    if not overwrite:
        raise RunFolderError(f"{path} is there already. Choose another name, or replace it with --overwrite.")
    if not path.is_file() or not is_clean(path):
        raise RunFolderError(
            f"--overwrite replaces an earlier cleaned-up table, which {path} is not. Choose another name."
        )


def unlabelled(examples: Examples) -> bool:
    """Whether the examples carry no answers, as in a folder that was checked for its files alone."""
    return bool(examples.table["target"].isna().all())


def _facts(checkup: Checkup) -> list[tuple[str, str]]:
    examples = checkup.examples
    facts = [("examples", str(len(examples)))]
    if not unlabelled(examples):
        kinds = {"class": "one class", "labels": "several labels", "number": "a number"}
        facts.append(("answer", kinds[examples.kind]))
    parts = examples.table["split"].dropna().value_counts()
    facts += [(str(part), str(count)) for part, count in parts.items()]
    return facts


def _sections(checkup: Checkup) -> list[Section]:
    """The findings with the first of their cases, and small pictures of these."""
    small: dict[int, bytes | None] = {}

    def card(item: Item) -> Card:
        return Card(text=item.text, pictures=tuple(_shown(checkup.examples, r, small) for r in item.rows[:PICTURES]))

    return [
        Section(
            what=finding.what, severity=finding.severity, sentence=finding.sentence, todo=finding.todo,
            cards=tuple(card(item) for item in finding.items[:SHOWN]),
            rest=max(0, len(finding.items) - SHOWN),
            sheet=checkup.sheet if finding.what == "augmentation" else None,
        )
        for finding in checkup.findings
    ]  # fmt: skip


def _shown(examples: Examples, row: int, small: dict[int, bytes | None]) -> Shown:
    line = examples.table.iloc[row]
    if row not in small:
        small[row] = thumbnail(examples.take([row]).pictures()[0])
    lines = [] if line["target"] is None else [f"answer: {_said(line['target'])}"]
    lines += [f"{name}: {line[name]}" for name in ("split", "group") if line[name] is not None]
    return Shown(name=str(line["id"]), lines=tuple(lines), jpeg=small[row])


def _said(target: Any) -> str:
    if isinstance(target, tuple):
        return ", ".join(target) or "(none)"
    return f"{target:g}" if isinstance(target, float) else str(target)


def thumbnail(picture: str | np.ndarray, side: int = SIDE) -> bytes | None:
    """A small JPEG of a picture, its longer side `side` pixels; None where it cannot be read."""
    try:
        pixels = read_image(picture)
    except UnreadableError:
        return None
    eight = pixels if pixels.dtype == np.uint8 else np.round(pixels * 255).clip(0, 255).astype(np.uint8)
    image = Image.fromarray(eight)
    image.thumbnail((side, side), Image.Resampling.LANCZOS)
    file = io.BytesIO()
    image.save(file, "JPEG", quality=75, optimize=True)
    return file.getvalue()
