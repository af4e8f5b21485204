"""What a user says about the data: values only, no file is touched here."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from ..errors import ConfigError, nearest

DIVIDING = ("split", "group", "group_from", "validation", "test", "hold_out", "order", "stretches", "gap", "folds")
"""The options that say how examples are divided."""
LAYOUTS = ("pets", "skin-lesions", "chest-xrays", "driving", "driving-three-cameras", "documents", "products")
"""The data sets whose own files are understood."""


@dataclass(frozen=True, kw_only=True)
class Data:
    """Where the examples are, and how to read and to divide them.

    Args:
        source: A folder; a CSV, TSV, JSON Lines or Parquet file; a .tar of WebDataset, a pattern or folder of them;
            a .npz file; a folder of MNIST's files (`train-images-idx3-ubyte`); the URL of a
            table or of archives; from Python also a DataFrame, a set of the `datasets`
            library, a list of (path, label) pairs, or a pair (arrays, targets).
        layout: The data set whose own files `source` holds, one of `LAYOUTS`: says what is picture, answer and group.
            With split="official" the division of its makers holds, where there is one.
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
        hold_out: What the parts for validation and test are made of: "pictures" of all classes, or "classes" that are
            then never trained, for the task embed; "auto" is "classes" for that task where there are 6 and more.
        on_corrupt: "stop" with the list of pictures that cannot be read, or "skip" them and say how many.
        order: Column of times or numbers: the earliest examples are for training, the latest for the test part.
            "row" is the order in which the source lists its examples.
        stretches: Cuts each sequence (each group, or all examples) into so many stretches of neighbours in `order`
            and deals those out to the parts instead.
        gap: How many examples on each side of a border between two parts in `order` belong to none of them.
        folds: Makes so many runs, each of which holds out another part of the examples, and averages their models.
        copies: Which pictures count as copies of each other, and stay on one side: "find" looks for changed ones too
            (encoded again, resized, mirrored, turned, cut), "exact" compares pixels alone, "ignore" does not look.
        allow_leaks: Goes on where pictures on two sides of the split give each other away, and says so.
        by: Columns by whose values figures are told apart: site, device, age, ...; "size" and "brightness" are known of
            every picture.

    Raises:
        ConfigError: All that is wrong, at once.
    """

    source: Any
    layout: str | None = None
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
    hold_out: Literal["auto", "pictures", "classes"] = "auto"
    on_corrupt: Literal["stop", "skip"] = "stop"
    order: str | None = None
    stretches: int | None = None
    gap: int = 0
    folds: int | None = None
    copies: Literal["find", "exact", "ignore"] = "find"
    allow_leaks: bool = False
    by: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "by", (self.by,) if isinstance(self.by, str) else tuple(self.by))
        wrong = []
        for name in ("label_from", "group_from"):
            pattern = getattr(self, name)
            try:
                re.compile(pattern or "")
            except re.error as error:
                wrong.append(f"{name} is no regular expression: {error}. Got '{pattern}'.")
        if self.group and self.group_from:
            wrong.append("group and group_from were both given; one of them can say what belongs together.")
        if not 0 < self.validation < 1:
            wrong.append(f"validation must be a share between 0 and 1. Got {self.validation}.")
        if not 0 <= self.test < 1:
            wrong.append(f"test must be a share from 0 to below 1. Got {self.test}.")
        elif self.validation + self.test >= 1:
            wrong.append(f"validation + test must leave something to train on. Got {self.validation} + {self.test}.")
        if self.layout not in (None, *LAYOUTS):
            known = ", ".join(LAYOUTS)
            wrong.append(f"layout must be one of {known}. Got {self.layout!r}.{nearest(str(self.layout), LAYOUTS)}")
        if self.copies not in ("find", "exact", "ignore"):
            wrong.append(f'copies must be "find", "exact" or "ignore". Got {self.copies!r}.')
        if self.on_corrupt not in ("stop", "skip"):
            wrong.append(f'on_corrupt must be "stop" or "skip". Got {self.on_corrupt!r}.')
        if self.hold_out not in ("auto", "pictures", "classes"):
            wrong.append(f'hold_out must be "auto", "pictures" or "classes". Got {self.hold_out!r}.')
        if self.kind not in ("auto", "class", "labels", "number"):
            wrong.append(f'kind must be "auto", "class", "labels" or "number". Got {self.kind!r}.')
        wrong += self._wrong_division()
        if wrong:
            raise ConfigError("\n".join(wrong))

    def _wrong_division(self) -> list[str]:
        """What cannot be right in the options that divide by time and into folds."""
        wrong = []
        if self.order is None and (self.stretches is not None or self.gap):
            wrong.append("stretches and gap need order, which says what lies beside what: a column, or row.")
        if self.stretches is not None and self.stretches < 2:
            wrong.append(f"stretches must be 2 or more. Got {self.stretches}.")
        if self.gap < 0:
            wrong.append(f"gap must be 0 or more. Got {self.gap}.")
        if self.order is not None and self.hold_out == "classes":
            wrong.append('order and hold_out="classes" both say what is held out. Expected one of them.')
        if self.folds is None:
            return wrong
        if self.folds < 2:
            wrong.append(f"folds must be 2 or more. Got {self.folds}.")
        if self.order is not None:
            wrong.append("folds and order were both given: folds would learn from what comes later. Expected one.")
        # The defaults cannot be told from shares that were not given.
        shares = {"validation": (type(self).validation,), "test": (0, type(self).test)}
        for name, usual in shares.items():
            if getattr(self, name) not in usual:
                wrong.append(
                    f"{name} and folds were both given, but folds hold out each example once: no share is needed."
                )
        return wrong

    @classmethod
    def from_csv(cls, path: str, *, image: str, target: str | Sequence[str], **options: Any) -> Data:
        """A table of examples in a CSV, TSV or Parquet file; `options` as for `Data`."""
        return cls(source=path, image=image, target=target if isinstance(target, str) else tuple(target), **options)

    @classmethod
    def from_folder(cls, path: str, **options: Any) -> Data:
        """A folder of class folders, of part folders, or of files that carry their label; `options` as for `Data`."""
        return cls(source=path, **options)
