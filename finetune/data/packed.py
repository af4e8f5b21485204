"""NumPy archives of pictures and labels: `train_images`, `train_labels`, ... as MedMNIST has them, or `x_train`, ..."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from ..errors import DataError, listing
from ..types import Part
from .listings import Listing

# Names of the pictures and of their labels, and the part that they are.
_PARTS: dict[Part | None, tuple[tuple[str, str], ...]] = {
    "train": (("train_images", "train_labels"), ("x_train", "y_train")),
    "validation": (("val_images", "val_labels"), ("x_val", "y_val"), ("x_valid", "y_valid")),
    "test": (("test_images", "test_labels"), ("x_test", "y_test")),
    None: (("images", "labels"), ("x", "y")),
}

MOST_BYTES = 8 << 30
"""How much an archive may say that its arrays have, unpacked; all of them are held in memory."""


def list_packed(path: Path) -> Listing:
    """Reads all pictures of a `.npz` file, which then are in memory; never a pickle.

    Raises:
        DataError: It is damaged, encrypted or too large, holds objects, or no pictures with a label each.
    """
    try:
        with path.open("rb") as raw:
            _refuse_large(path, raw)
            with np.load(raw, allow_pickle=False) as file:
                found = {
                    part: (_array(file, images), _array(file, labels))
                    for part, pairs in _PARTS.items()
                    for images, labels in pairs
                    if images in file.files and labels in file.files
                }
                names = file.files
    except DataError:
        raise
    # Of odd bytes zipfile, zlib and numpy's parser of headers raise nearly anything: RuntimeError, TokenError, ...
    except Exception as error:
        raise DataError(f"{path} cannot be read as a NumPy archive: {error or type(error).__name__}.") from error
    if len(found) > 1:
        found.pop(None, None)
    if not found:
        raise DataError(
            f"{path} holds {listing(names, 10) or 'nothing'}. Expected train_images and train_labels (val_..., "
            f"test_...), x_train and y_train, or images and labels."
        )
    for part, (images, labels) in found.items():
        if images.ndim not in (3, 4) or not labels.ndim or len(images) != len(labels) or not len(images):
            raise DataError(
                f"{path}: the pictures of {part or 'all'} have shape {images.shape} and their labels {labels.shape}. "
                f"Expected count x height x width (x channels), and one label a picture."
            )
    pictures = [picture for images, _ in found.values() for picture in images]
    return Listing(
        ids=[f"{part or 'all'}/{row}" for part, (images, _) in found.items() for row in range(len(images))],
        sources=[f"array:{row}" for row in range(len(pictures))],
        cells=[cell for _, labels in found.values() for cell in _cells(path, labels)],
        groups=[None] * len(pictures),
        splits=[part for part, (images, _) in found.items() for _ in images],
        folders=all(labels.dtype.kind in "iub" for _, labels in found.values()),
        arrays=pictures,
    )


def _refuse_large(path: Path, raw: BinaryIO) -> None:
    """Before anything is unpacked; zipfile unpacks no more of a member than is said here."""
    with zipfile.ZipFile(raw) as members:
        size = sum(member.file_size for member in members.infolist())
    raw.seek(0)
    if size > MOST_BYTES:
        raise DataError(
            f"{path} would have {size / 2**30:.1f} GiB unpacked, and all of it would be held in memory. Expected at "
            f"most {MOST_BYTES / 2**30:g} GiB: save the pictures as files in folders."
        )


def _array(file: Any, name: str) -> np.ndarray:
    found = file[name]
    if not isinstance(found, np.ndarray):  # numpy hands out the bytes of a member that is none
        raise ValueError(f"its member {name} is no array")
    return found


def _cells(path: Path, labels: np.ndarray) -> list[Any]:
    """A text a picture; of rows of 0 and 1, the numbers of the columns that are 1."""
    flat = labels.reshape(len(labels), -1)
    if flat.shape[1] == 1:
        return [str(value) for value in flat[:, 0].tolist()]
    if not np.isin(flat, (0, 1)).all():
        raise DataError(f"{path}: labels of shape {labels.shape} that are not 0 and 1 cannot be understood.")
    return [tuple(str(column) for column in np.flatnonzero(row)) for row in flat]
