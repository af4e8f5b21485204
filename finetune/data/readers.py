"""One example -> one array: pictures of 8 and 16 bits, of any mode, upright, whole or refused."""

from __future__ import annotations

import io
import os
import stat
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
from PIL import Image, UnidentifiedImageError

from ..errors import DataError, FinetuneError, UnreadableError, listing
from .addresses import is_remote, parse_address, printable
from .ahead import read_apart
from .arrays import NPY, TIFF, check_bytes, is_deep, read_deep, read_npy, tiff_size
from .decode import decode_jpeg
from .dicom import is_dicom, read_dicom
from .examples import Examples
from .hdf import HDF, read_frame
from .pixels import check_claims, fit, from_pil, scaled, turn, turned, without_alpha
from .remote import fetch

# Named one by one (MPO comes under JPEG): PIL would hand an EPS file to Ghostscript, whatever its extension says.
FORMATS = ("JPEG", "PNG", "BMP", "DIB", "GIF", "TIFF", "WEBP", "PPM", "JPEG2000", "AVIF")

IN_MEMORY = 64 << 20  # a larger file is left to its decoder, which may not need all of it
HEAD = 132  # bytes at the beginning that tell DICOM and NumPy from the rest


def read_image(
    source: str | Path | bytes | Image.Image | np.ndarray, *, in_chans: int = 3, shrink_to: int | None = None
) -> np.ndarray:
    """Reads a picture whole and turns it upright.

    Args:
        source: A file, the bytes of one, or a picture in memory. `PATH#frame=N` is the Nth frame of a DICOM file, a
            TIFF, an animation or a drive in HDF5, from 1; without it, it is the middle frame of DICOM and the first of
            the others.
        in_chans: 1 gives grey, 3 gives RGB; with another number the picture must have so many channels.
        shrink_to: Lets a JPEG be decoded at a half, a quarter or an eighth, as long as its shorter side keeps so many
            pixels. Faster, and not the same pixels: for training only.

    Returns:
        (H, W, in_chans), uint8 in 0..255, or float32 in 0..1 for 16-bit and float pictures.

    Raises:
        UnreadableError: Why it cannot be read; the message names no file.
    """
    if isinstance(source, np.ndarray):
        return fit(scaled(source if source.ndim == 3 else source[..., None]), in_chans)
    if isinstance(source, Image.Image):
        return from_pil(source.copy(), in_chans)
    try:
        opened, head, size, frame = _opened(source)
        # Before PIL is asked: DICOM may begin like a TIFF.
        if is_dicom(head):
            return fit(read_dicom(_content(opened, whole=False), frame=frame), in_chans)
        if head.startswith(HDF):
            return fit(read_frame(opened, frame), in_chans)
        if head.startswith(NPY):
            array = read_npy(_content(opened, whole=False))
            return fit(scaled(array if array.ndim == 3 else array[..., None]), in_chans)
        try:
            with Image.open(opened, formats=FORMATS) as image:
                check_claims(image, head, size)
                if in_chans == 3 and (pixels := _quickly(image, shrink_to)) is not None:
                    return pixels
                if shrink_to:
                    image.draft(image.mode, (shrink_to, shrink_to))
                if frame:
                    image.seek(frame - 1)
                    check_claims(image, b"", size)
                return _deep(opened, image, in_chans) if is_deep(image) else from_pil(image, in_chans)
        except UnidentifiedImageError:
            if not head.startswith(TIFF):
                raise
            content = _content(opened, whole=True)
            width, height = tiff_size(content)
            check_bytes((height, width, 4), 8)  # floats, which are held twice
            return fit(scaled(read_deep(content, (width, height))), in_chans)
    except FinetuneError:
        raise
    except UnidentifiedImageError:
        raise UnreadableError(f"it is no picture of a known format (it begins with {head[:8]!r})") from None
    except Image.DecompressionBombError as error:
        raise UnreadableError(f"it claims too many pixels to be decoded safely: {error}") from None
    # PIL's plugins raise nearly anything on odd bytes: SyntaxError, struct.error, IndexError, zlib.error, EOFError, ...
    except Exception as error:
        raise UnreadableError(f"it cannot be decoded: {_first_line(error)}") from error


def _opened(source: str | Path | bytes) -> tuple[io.BytesIO | Path, bytes, int, int | None]:
    """What to read, how it begins, its length, and which frame of it."""
    frame = None
    if isinstance(source, (str, Path)):
        address = parse_address(str(source))
        frame = address.frame
        if is_remote(address.file):
            source = fetch(address.file, start=address.start, size=address.size)
        else:
            size = _bytes_of(address.file)
            with open(address.file, "rb") as file:  # noqa: PTH123  # making a `Path` takes longer than opening the file
                if address.start is None and size > IN_MEMORY:
                    return Path(address.file), file.read(HEAD), size, frame
                # At once: decoders that read a file by themselves do so in small pieces.
                file.seek(address.start or 0)
                source = file.read(-1 if address.start is None else address.size)
            if len(source) < address.size:
                raise UnreadableError(f"the archive ends {address.size - len(source)} bytes before this picture does")
    if not source:
        raise UnreadableError("it is empty (0 bytes)")
    return io.BytesIO(source), source[:HEAD], len(source), frame


def _bytes_of(file: str) -> int:
    """How many bytes a regular file has, which are some."""
    try:
        known = os.stat(file)  # noqa: PTH116
    except (OSError, ValueError):  # a name that no system takes
        raise UnreadableError("there is no such file") from None
    if stat.S_ISDIR(known.st_mode):
        raise UnreadableError("it is a folder")
    if not stat.S_ISREG(known.st_mode):  # a pipe or a device would wait forever
        raise UnreadableError("it is no regular file")
    if known.st_size == 0:
        raise UnreadableError("it is empty (0 bytes)")
    return known.st_size


def _content(opened: io.BytesIO | Path, *, whole: bool) -> Any:
    """The bytes; or, where a reader takes both, the file that has them."""
    if isinstance(opened, Path):
        return opened.read_bytes() if whole else opened
    return opened.getvalue()


def _deep(opened: io.BytesIO | Path, image: Image.Image, in_chans: int) -> np.ndarray:
    """A picture of 16 bits a channel with all of them; PIL knows which way up it stands."""
    if image.tell():
        raise UnreadableError("its colours have 16 bits, of which only the first frame can be read")
    array = read_deep(_content(opened, whole=True), image.size)
    array = without_alpha(array) if in_chans in (1, 3) and array.shape[2] == 4 else scaled(array)
    how = None if image.format == "TIFF" else turn(image)  # a TIFF comes upright
    return fit(array if how is None else turned(array, how), in_chans)


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]


def _quickly(image: Image.Image, shrink_to: int | None) -> np.ndarray | None:
    # The format comes first: asked for its header, a PNG would be decoded by PIL, which cuts 16 bits to 8.
    upright = image.format in ("JPEG", "MPO") and turn(image) is None
    return decode_jpeg(image, shrink_to) if upright else None


_SOUND: set[int] = set()
"""Hashes of the sources that this process has seen read."""


def are_sound(pictures: Iterable[Any]) -> bool:
    """Whether threads may read these: each was read before without a crash, or lies in memory."""
    return all(not isinstance(picture, str) or hash(picture) in _SOUND for picture in pictures)


def note_sound(picture: Any) -> None:
    """Notes that a picture was read."""
    if isinstance(picture, str):
        _SOUND.add(hash(picture))


class Also(Protocol):
    """Looks at each picture of a pass: where it is read, which may be another process, and then here."""

    def see(self, row: int, picture: np.ndarray) -> Any:
        """What is to be known of a picture as it was decoded, (H, W, C); a value that pickles."""

    def note(self, row: int, seen: Any) -> None:
        """Takes it down, in the process of the pass."""


def scan(
    examples: Examples,
    in_chans: int = 3,
    readers: int = 4,
    *,
    indices: Sequence[int] | None = None,
    progress: Callable[[int], None] | None = None,
    also: Also | None = None,
) -> dict[int, str]:
    """Reads every picture whole, as `read_apart` does.

    Args:
        examples: The table.
        in_chans: As for `read_image`.
        readers: How many pictures are read at once.
        indices: Which rows; all if None.
        progress: Is told of each picture done: 1, each time.
        also: Looks at each.

    Returns:
        The reason for each row that cannot be read.
    """
    pictures = examples.pictures()
    rows = list(range(len(examples)) if indices is None else indices)

    def look(row: int) -> Any:
        picture = read_image(pictures[row], in_chans=in_chans)
        return also.see(row, picture) if also is not None else None

    errors: dict[int, str] = {}
    seen = read_apart(look, rows, readers, here=are_sound(pictures[row] for row in rows))
    for row, found in zip(rows, seen, strict=True):
        if isinstance(found, UnreadableError):
            errors[row] = str(found)
        else:
            note_sound(pictures[row])
            if also is not None:
                also.note(row, found)
        if progress is not None:
            progress(1)
    return errors


def without_unreadable(
    examples: Examples, errors: dict[int, str], on_corrupt: Literal["stop", "skip"]
) -> tuple[Examples, str | None]:
    """Stops with the list of pictures that cannot be read, or goes on without them.

    Args:
        examples: All examples.
        errors: The reason for each row that cannot be read.
        on_corrupt: "stop" or "skip".

    Returns:
        The examples that can be read, numbered anew, and a note that says how many were left out.

    Raises:
        DataError: There are such rows and `on_corrupt` is "stop", or no example is left.
    """
    if not errors:
        return examples, None
    sources = examples.table["source"]
    lines = [f"{printable(sources[row])}: {errors[row]}" for row in sorted(errors)]
    count = f"{len(errors)} of {len(examples)} pictures cannot be read"
    if on_corrupt == "stop" or len(errors) == len(examples):
        shown = "\n  ".join(lines[:10])
        more = f"\n  and {len(lines) - 10} more" if len(lines) > 10 else ""
        raise DataError(
            f"{count}:\n  {shown}{more}\nMend or remove them"
            f"{', or go on without them with --on-corrupt skip' if len(errors) < len(examples) else ''}."
        )
    kept = [row for row in range(len(examples)) if row not in errors]
    return examples.take(kept), f"{count} and were left out, such as {listing(lines, 1)}."
