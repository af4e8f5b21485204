"""What a user says about the data: values only, no file is touched here."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from ..errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class Data:
    """Where the examples are, and how to read and to divide them.

    Args:
        source: A folder; a CSV, TSV, JSON Lines or Parquet file; a .tar of WebDataset, a pattern or folder of them;
            a .npz file; the URL of a table or of archives; from Python also a DataFrame, a set of the `datasets`
            library, a list of (path, label) pairs, or a pair (arrays, targets).
        image: Name (or number, with `no_header`) of the column that holds the picture's path.
        target: Name or number of the column that holds the answer, or several names: one 0/1 column a label.
        kind: What the target is; "auto" infers it and says so.
        delimiter: What separates several labels in one cell, "|" say.
        group: Column whose equal values must stay on one side of a split: patient, lesion, product.
        group_from: Regular expression that takes the group from the file name (its first group, or all it matches).
        split: Column that says which part an example belongs to.
        no_header: The table has no header line; columns are numbers from 0.
        root: Folder that the paths of a table are relative to; the table's own folder when not given.
        label_from: Regular expression that takes the label from the file name (its first group, or all it matches).
        validation: Share of the examples for validation, where no split is given. In (0, 1).
        test: Share of the examples for the test part, where no split is given. In [0, 1).
        on_corrupt: "stop" with the list of pictures that cannot be read, or "skip" them and say how many.

    Raises:
        ConfigError: All that is wrong, at once.
    """

    source: Any
    image: str | None = None
    target: str | tuple[str, ...] | None = None
    kind: Literal["auto", "class", "labels", "number"] = "auto"
    delimiter: str | None = None
    group: str | None = None
    group_from: str | None = None
    split: str | None = None
    no_header: bool = False
    root: str | None = None
    label_from: str | None = None
    validation: float = 0.15
    test: float = 0.15
    on_corrupt: Literal["stop", "skip"] = "stop"

    def __post_init__(self) -> None:
        wrong = []
        for name in ("label_from", "group_from"):
            pattern = getattr(self, name)
            try:
                re.compile(pattern or "")
            except re.error as error:
                wrong.append(f"{name} is no regular expression: {error}. Got {pattern!r}.")
        if self.group and self.group_from:
            wrong.append("group and group_from were both given; one of them can say what belongs together.")
        if not 0 < self.validation < 1:
            wrong.append(f"validation must be a share between 0 and 1. Got {self.validation}.")
        if not 0 <= self.test < 1:
            wrong.append(f"test must be a share from 0 to below 1. Got {self.test}.")
        elif self.validation + self.test >= 1:
            wrong.append(f"validation + test must leave something to train on. Got {self.validation} + {self.test}.")
        if self.on_corrupt not in ("stop", "skip"):
            wrong.append(f'on_corrupt must be "stop" or "skip". Got {self.on_corrupt!r}.')
        if self.kind not in ("auto", "class", "labels", "number"):
            wrong.append(f'kind must be "auto", "class", "labels" or "number". Got {self.kind!r}.')
        if wrong:
            raise ConfigError("\n".join(wrong))

    @classmethod
    def from_csv(cls, path: str, *, image: str, target: str | Sequence[str], **options: Any) -> Data:
        """A table of examples in a CSV, TSV or Parquet file; `options` as for `Data`."""
        return cls(source=path, image=image, target=target if isinstance(target, str) else tuple(target), **options)

    @classmethod
    def from_folder(cls, path: str, **options: Any) -> Data:
        """A folder of class folders, of part folders, or of files that carry their label; `options` as for `Data`."""
        return cls(source=path, **options)
