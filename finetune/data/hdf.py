"""Pictures in an HDF5 file, as comma's drives keep them: one data set of all frames."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import ConfigError, DataError, UnreadableError
from .arrays import check_bytes

HDF = b"\x89HDF\r\n\x1a\n"
FRAMES = "X"
"""What the data set of frames is called, (N, C, H, W) or (N, H, W, C) uint8."""


def opened(file: Path | io.BytesIO) -> Any:
    """An HDF5 file, to be closed by whoever asked.

    Raises:
        ConfigError: h5py is not installed.
        OSError: It is no such file.
    """
    try:
        import h5py
    except ImportError:
        raise ConfigError("Reading HDF5 files needs h5py: pip install 'finetune[hdf]'") from None
    return h5py.File(file, "r")


def read_frame(file: Path | io.BytesIO, frame: int | None) -> np.ndarray:
    """Reads one frame.

    Args:
        file: The file, or its bytes.
        frame: Which, from 1; None is the first.

    Returns:
        (H, W, C) uint8.

    Raises:
        UnreadableError: It has no such frame, or something else in its place.
    """
    with opened(file) as content:
        frames = plain(content, FRAMES)
        if frames.ndim != 4 or frames.dtype != np.uint8 or not {frames.shape[1], frames.shape[3]} & {1, 3}:
            raise UnreadableError(
                f'its data set "{FRAMES}" is {frames.dtype} of shape {frames.shape}; expected uint8, frames x channels '
                "x height x width, or channels last"
            )
        number = (frame or 1) - 1
        if number >= len(frames):
            raise UnreadableError(f"it has {len(frames)} frames, and frame {number + 1} was asked for")
        check_bytes(frames.shape[1:], 1)
        # What is read is a whole piece of the file, however little of it was asked for.
        check_bytes(frames.chunks or frames.shape[1:], 1)
        pixels: np.ndarray = frames[number]
    return np.ascontiguousarray(pixels.transpose(1, 2, 0)) if pixels.shape[0] in (1, 3) else pixels


def read_column(file: Path, name: str) -> np.ndarray:
    """Reads one column of a log, (N,) float64.

    Raises:
        DataError: It is not there, or no column of numbers.
    """
    try:
        with opened(file) as content:
            column = plain(content, name)
            if column.ndim != 1 or column.dtype.kind not in "fiu":
                raise DataError(f'{file}: "{name}" is no column of numbers; its shape is {column.shape}.')
            check_bytes(column.shape, 8)
            return np.asarray(column, np.float64)
    except UnreadableError as error:
        raise DataError(f"{file} is no log of a drive: {error}.") from None
    except OSError as error:
        raise DataError(f"{file} cannot be read as HDF5: {error}.") from None


def plain(content: Any, name: str) -> Any:
    """A data set whose numbers lie in this file.

    Raises:
        UnreadableError: There is none of that name, or it lies in another file.
    """
    # A link or a virtual data set would open whatever other file it names.
    link = content.get(name, getlink=True)
    if link is None or type(link).__name__ != "HardLink":
        raise UnreadableError(f'it has no data set "{name}" of its own; it holds {", ".join(list(content)[:10])}')
    found = content[name]
    if type(found).__name__ != "Dataset":  # h5py itself is imported in one place
        raise UnreadableError(f'"{name}" in it is a group, and no data set')
    if found.external or found.is_virtual:
        raise UnreadableError(f'its data set "{name}" lies in another file')
    return found
