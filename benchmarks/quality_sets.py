"""The real data sets of `quality.py`: for a seed, the pictures to train on and those that are looked at once."""

from __future__ import annotations

import csv
import gzip
import os
import re
import tempfile
from collections import defaultdict
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

TEST_SHARE = 0.3  # of a set that comes undivided
CIFAR_TEST = 50  # pictures a class
DIGITS, DIGITS_TEST = 1000, 500


@dataclass(frozen=True)
class Row:
    """A picture, what it shows, and what it must stay together with (a person; itself where nothing is known)."""

    path: str
    label: str
    unit: str


@dataclass(frozen=True)
class Parts:
    """What a method is given: `train` with labels; of `test` only the pictures. Classes in the order of names."""

    train: list[Row]
    test: list[Row]
    metric: str = "accuracy"

    @property
    def classes(self) -> list[str]:
        """The names of the classes, sorted."""
        return sorted({row.label for row in self.train})


def root() -> Path:
    return Path(os.environ.get("FINETUNE_SHARED", Path(__file__).parents[2] / "shared"))


def parts(name: str, seed: int, *, most: int | None, test_most: int | None) -> Parts:
    """The parts of a set for a seed: the division of an undivided set, and which training pictures there are.

    Args:
        name: A key of `SETS`, or cifar10:N or digits:N for N training pictures a class.
        seed: Divides and draws. The test part of a set that comes divided is the same for every seed.
        most: Training pictures at most, each class by its share.
        test_most: Likewise for the test part.
    """
    key, _, size = name.partition(":")
    if key not in SETS:
        raise SystemExit(f"There is no set {name!r}. Expected some of {', '.join(SETS)}, cifar10:N.")
    train, test, metric = SETS[key](root() / "data", seed)
    if size:
        train = drawn(train, int(size) * len({row.label for row in train}), seed)
    return Parts(drawn(train, most, seed), drawn(test, test_most, 0), metric)


def drawn(rows: Sequence[Row], most: int | None, seed: int) -> list[Row]:
    """At most so many rows, of each class its share but one at least, in the order of paths."""
    if most is None or len(rows) <= most:
        return sorted(rows, key=lambda row: row.path)
    rng = np.random.default_rng([seed, 1])
    by_label = grouped(rows, lambda row: row.label)
    chosen: list[Row] = []
    for label in sorted(by_label):
        of_label = sorted(by_label[label], key=lambda row: row.path)
        count = max(1, round(most * len(of_label) / len(rows)))
        chosen += [of_label[i] for i in rng.permutation(len(of_label))[:count]]
    return sorted(chosen, key=lambda row: row.path)


def divided(rows: Sequence[Row], seed: int) -> tuple[list[Row], list[Row]]:
    """Training and test part: whole units of each class in random order until the test part has its share."""
    rng = np.random.default_rng([seed, 0])
    train: list[Row] = []
    test: list[Row] = []
    for _, of_label in sorted(grouped(rows, lambda row: row.label).items()):
        units = grouped(of_label, lambda row: row.unit)
        names = sorted(units)
        taken = 0
        for i in rng.permutation(len(names)):
            unit = units[names[i]]
            part = test if taken < TEST_SHARE * len(of_label) else train
            taken += len(unit) if part is test else 0
            part += unit
    return train, test


def grouped(rows: Sequence[Row], key: Callable[[Row], Hashable]) -> dict[Hashable, list[Row]]:
    groups = defaultdict(list)
    for row in rows:
        groups[key(row)].append(row)
    return groups


def in_folders(folder: Path) -> list[Row]:
    """A folder a class."""
    files = sorted(path for path in folder.glob("*/*") if path.is_file())
    return [Row(str(path), path.parent.name, str(path)) for path in files]


def hymenoptera(data: Path, seed: int) -> tuple[list[Row], list[Row], str]:
    folder = data / "hymenoptera"
    return in_folders(folder / "train"), in_folders(folder / "val"), "accuracy"


def cats_dogs(data: Path, seed: int) -> tuple[list[Row], list[Row], str]:
    def flat(part: str) -> list[Row]:
        files = sorted((data / "cats_dogs" / part).glob("*.jpg"))
        return [Row(str(path), path.name.split(".")[0], str(path)) for path in files]

    return flat("train"), flat("val"), "accuracy"


def isic_lesions(data: Path, seed: int) -> tuple[list[Row], list[Row], str]:
    folder = data / "isic_lesions"
    with (folder / "metadata.csv").open(newline="", encoding="utf-8") as file:
        rows = [
            Row(str(folder / "images" / f"{line['isic_id']}.jpg"), ("benign", "malignant")[int(line["target"])],
                line["patient_id"])
            for line in csv.DictReader(file)
        ]  # fmt: skip
    return (*divided(rows, seed), "auc")


def chest_xray(data: Path, seed: int) -> tuple[list[Row], list[Row], str]:
    # person61_bacteria_290 is of person 61; NORMAL2-IM-0528-0001 and IM-0523-0001-0002 of the studies 0528 and 0523.
    person = re.compile(r"person\d+|(?:NORMAL2-)?IM-\d+")
    rows = []
    for row in in_folders(data / "chest_xray"):
        found = person.match(Path(row.path).name)
        rows.append(Row(row.path, row.label, found.group() if found else row.path))
    return (*divided(rows, seed), "accuracy")


def cifar10(data: Path, seed: int) -> tuple[list[Row], list[Row], str]:
    test = in_folders(data / "cifar10" / "test")
    return in_folders(data / "cifar10" / "train"), drawn(test, CIFAR_TEST * 10, 0), "accuracy"


def objects(data: Path, seed: int) -> tuple[list[Row], list[Row], str]:
    """Animals and other things, one picture of each of 200 classes of ImageNet."""
    files = sorted((data / "imagenet_sample").glob("*.JPEG"))
    # The classes of animals have the lower WordNet numbers.
    return (*divided([Row(str(f), "thing" if f.name > "n025" else "animal", str(f)) for f in files], seed), "accuracy")


def digits(data: Path, seed: int) -> tuple[list[Row], list[Row], str]:
    """The first 1,500 of MNIST's test digits as PNG, written once; of them 500 to test on."""
    folder = Path(tempfile.gettempdir()) / "finetune-digits"
    folder.mkdir(exist_ok=True)
    pixels, labels = (gzip.decompress(file.read_bytes()) for file in sorted((data / "mnist_t10k").glob("*.gz")))
    rows = []
    for i, digit in enumerate(np.frombuffer(pixels, np.uint8, offset=16).reshape(-1, 28, 28)[: DIGITS + DIGITS_TEST]):
        path = folder / f"{i}.png"
        if not path.exists():
            Image.fromarray(digit).save(path)
        rows.append(Row(str(path), str(labels[8 + i]), str(path)))
    return rows[:DIGITS], rows[DIGITS:], "accuracy"


SETS: dict[str, Callable[[Path, int], tuple[list[Row], list[Row], str]]] = {
    "hymenoptera": hymenoptera, "cats_dogs": cats_dogs, "isic_lesions": isic_lesions, "chest_xray": chest_xray,
    "cifar10": cifar10, "objects": objects, "digits": digits,
}  # fmt: skip
