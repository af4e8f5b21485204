"""DICOM pictures: the numbers that a scanner stored -> what a radiologist is shown, with all its shades."""

from __future__ import annotations

import io
import math
import re
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
from PIL import Image, UnidentifiedImageError

from ..errors import ConfigError, UnreadableError, listing

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

MOST_BYTES = 1 << 30
"""The largest frame, decoded, and the largest file, inflated, that are taken for honest."""

_IN_MEMORY = 64 << 20
_IMPLICIT, _EXPLICIT, _DEFLATED = "1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.1.99"
_SYNTAX = re.compile(rb"\x02\x00\x10\x00UI..([0-9.]+)", re.DOTALL)
_META_LENGTH = re.compile(rb"\x02\x00\x00\x00UL\x04\x00(.{4})", re.DOTALL)
_NEEDED = ("Rows", "Columns", "BitsAllocated", "SamplesPerPixel", "PhotometricInterpretation")
# What lossless JPEG needs, which scanners like. Its light decoder is under the GPL, so that the extra has none.
_FURTHER = "python-gdcm"


def is_dicom(head: bytes) -> bool:
    """Says whether a file begins like DICOM: with its mark, or without one but with the first groups of a data set."""
    return head[128:132] == b"DICM" or (head[:2] in (b"\x02\x00", b"\x08\x00") and head[3:4] == b"\x00")


def read_dicom(source: Path | bytes, *, frame: int | None = None) -> np.ndarray:
    """Reads one frame as it is shown.

    Rescale slope and intercept (or the modality LUT) come first, then the first VOI window or LUT; without one the
    whole range that the stored bits can hold, so that brightness means the same in each picture (DICOM PS3.3 C.11).
    MONOCHROME1 is inverted: what a screen shows white is always 1.

    Args:
        source: A file or its bytes.
        frame: Which frame, from 1; the middle one if None.

    Returns:
        (H, W, 1) float32 in 0..1 for grey; for colour (H, W, 3), uint8 where it has 8 bits, else float32 in 0..1.

    Raises:
        ConfigError: pydicom is not installed.
        UnreadableError: There are no pixels, they cannot be decoded, or the header cannot be true.
    """
    try:
        import pydicom
    except ImportError:
        raise ConfigError("Reading DICOM pictures needs pydicom: pip install 'finetune[dicom]'") from None
    with _opened(source) as raw:
        file, syntax = _inflated(raw)
        dataset = pydicom.dcmread(file, force=True, stop_before_pixels=True)
        if syntax is None:
            syntax = _IMPLICIT if dataset.original_encoding[0] else _EXPLICIT
        _check_header(dataset)
        index = _index(dataset, frame)
        _check_frame(file, dataset, syntax, index)
        file.seek(0)
        pixels = _decoded(file, syntax, index)
    return _shown(pixels, dataset)


def _opened(source: Path | bytes) -> BinaryIO:
    if isinstance(source, bytes):
        return io.BytesIO(source)
    # From memory a length that lies costs nothing; of a file a buffer of that length would be asked first.
    return io.BytesIO(source.read_bytes()) if source.stat().st_size <= _IN_MEMORY else source.open("rb")


def _inflated(file: BinaryIO) -> tuple[BinaryIO, str | None]:
    """The file with its data set as it is, and how that is encoded; None where nothing says so."""
    head = file.read(1 << 16)
    file.seek(0)
    found = _SYNTAX.search(head)
    syntax = found[1].decode() if found else None
    length = _META_LENGTH.search(head)
    if syntax != _DEFLATED or length is None:
        return file, syntax
    file.seek(length.end() + int.from_bytes(length[1], "little"))
    # pydicom would inflate without bound, and a kilobyte can hold a gigabyte.
    content = zlib.decompressobj(-zlib.MAX_WBITS).decompress(file.read(), MOST_BYTES + 1)
    if len(content) > MOST_BYTES:
        raise UnreadableError(f"it inflates to more than {MOST_BYTES >> 20} MiB")
    return io.BytesIO(content), _EXPLICIT


def _check_header(dataset: Dataset) -> None:
    missing = [name for name in _NEEDED if dataset.get(name) in (None, "")]
    if missing:
        kind = getattr(dataset.get("SOPClassUID"), "name", "")
        raise UnreadableError(
            f"it is DICOM without a picture{f' ({kind})' if kind else ''}: its header has no {listing(missing)}"
        )
    rows, columns, samples, bits = (int(dataset[name].value) for name in (*_NEEDED[:2], _NEEDED[3], _NEEDED[2]))
    if rows * columns * max(samples, 4) * max(bits, 32) // 8 > MOST_BYTES:  # shown as colour, and copied once
        raise UnreadableError(
            f"it claims too many pixels to be decoded safely: {columns} x {rows} of {samples} sample(s)"
        )
    if 0 in (rows, columns, samples):
        raise UnreadableError(f"its header says {columns} x {rows} pixels of {samples} sample(s)")


def _index(dataset: Dataset, frame: int | None) -> int:
    count = int(dataset.get("NumberOfFrames") or 1)
    if frame is None:
        return max(count, 1) // 2
    if frame > count:
        raise UnreadableError(f"it has {count} frame(s), and #frame={frame} asks for another")
    return frame - 1


def _check_frame(file: BinaryIO, dataset: Dataset, syntax: str, index: int) -> None:
    """Refuses a compressed picture of another size than the header's: decoders make room for what it claims."""
    from pydicom.encaps import get_frame
    from pydicom.uid import UID, RLELossless

    if not UID(syntax).is_private and UID(syntax).is_compressed and syntax not in (RLELossless, _DEFLATED):
        file.seek(file.tell() + 12)  # tag, VR and undefined length of the pixel data: what follows are its items
        frame = get_frame(file, index, number_of_frames=int(dataset.get("NumberOfFrames") or 1))
        size = _jpeg_ls_size(frame)
        if size is None:
            try:
                with Image.open(io.BytesIO(frame), formats=("JPEG", "JPEG2000")) as image:
                    size = image.size
            except UnidentifiedImageError:
                return  # no kind that claims a size in a header of its own; the decoder knows
        if size != (dataset.Columns, dataset.Rows):
            raise UnreadableError(
                f"its compressed picture has {size[0]} x {size[1]} pixels, its header says "
                f"{dataset.Columns} x {dataset.Rows}"
            )


def _jpeg_ls_size(frame: bytes) -> tuple[int, int] | None:
    found = re.search(rb"\xff\xf7...(..)(..)", frame[:4096], re.DOTALL)
    return (int.from_bytes(found[2], "big"), int.from_bytes(found[1], "big")) if found else None


def _decoded(file: BinaryIO, syntax: str, index: int) -> np.ndarray:
    """The stored numbers of a frame, in RGB where they are a colour."""
    from pydicom.pixels import get_decoder, pixel_array
    from pydicom.uid import UID

    name = UID(syntax).name
    try:
        decoder = get_decoder(UID(syntax))
    except NotImplementedError:
        raise UnreadableError(f"its pixels are encoded as {name}, which pydicom does not decode") from None
    if not decoder.is_available:
        raise UnreadableError(
            f"its pixels are encoded as {name}, for which no decoder is installed: pip install {_FURTHER}"
            if "JPEG Lossless" in name or "JPEG Extended" in name
            else f"its pixels are encoded as {name}, for which no decoder is installed: pip install 'finetune[dicom]'"
        )
    pixels: np.ndarray = pixel_array(file, index=index, transfer_syntax_uid=syntax)
    return pixels


def _shown(pixels: np.ndarray, dataset: Dataset) -> np.ndarray:
    from pydicom.pixels import apply_color_lut

    kind = str(dataset.PhotometricInterpretation)
    if kind.startswith("MONOCHROME"):
        grey = _grey(pixels, dataset)
        return (1 - grey if kind == "MONOCHROME1" else grey)[..., None]
    bits = int(dataset.get("BitsStored") or dataset.BitsAllocated)
    if kind == "PALETTE COLOR":
        pixels = apply_color_lut(pixels, dataset)
        bits = 8 * pixels.dtype.itemsize
    if pixels.ndim == 2:
        pixels = pixels[..., None]
    return pixels if pixels.dtype == np.uint8 else pixels.astype(np.float32) / np.float32(2**bits - 1)


def _grey(stored: np.ndarray, dataset: Dataset) -> np.ndarray:
    """(H, W) stored numbers -> float32 in 0..1."""
    from pydicom.pixels import apply_modality_lut, apply_voi

    low, high = _range(stored, dataset)
    table = dataset.get("ModalityLUTSequence")
    if table:
        values = apply_modality_lut(stored, dataset).astype(np.float32)
        low, high = 0.0, float(2 ** int(table[0].LUTDescriptor[2]) - 1)
    else:
        slope, intercept = _first(dataset, "RescaleSlope"), _first(dataset, "RescaleIntercept")
        slope, intercept = 1.0 if slope is None else slope, intercept or 0.0
        # 16 bits and a slope fit into float32 whole; 32 bits do not.
        values = stored.astype(np.float32 if stored.dtype.itemsize <= 2 else np.float64)
        values *= slope
        values += intercept
        low, high = sorted((low * slope + intercept, high * slope + intercept))
    window = _window(dataset)
    if window:
        shown: np.ndarray = window(values)
        return shown
    if dataset.get("VOILUTSequence") and (np.rint(values) == values).all():
        bits = int(dataset.VOILUTSequence[0].LUTDescriptor[2])
        return _share(apply_voi(values.astype(np.int64), dataset), 0, 2**bits - 1)
    return _share(values, low, high)


def _range(stored: np.ndarray, dataset: Dataset) -> tuple[float, float]:
    """The least and the greatest number that can be stored."""
    if stored.dtype.kind == "f":
        low, high = float(stored.min()), float(stored.max())
        if not (low >= 0 and high <= 1) and _window(dataset) is None:
            raise UnreadableError(f"its values are floats from {low:g} to {high:g}, and no window says what is white")
        return 0.0, 1.0
    bits = int(dataset.get("BitsStored") or dataset.BitsAllocated)
    return (-(2.0 ** (bits - 1)), 2.0 ** (bits - 1) - 1) if stored.dtype.kind == "i" else (0.0, 2.0**bits - 1)


def _share(values: np.ndarray, low: float, high: float) -> np.ndarray:
    return np.clip((values - low) / (high - low or 1), 0, 1).astype(np.float32)


def _window(dataset: Dataset) -> Any:
    """The first window as a function of rescaled numbers (PS3.3 C.11.2.1.2 and C.11.2.1.3), or None."""
    center, width = _first(dataset, "WindowCenter"), _first(dataset, "WindowWidth")
    how = str(dataset.get("VOILUTFunction") or "LINEAR")
    if center is None or width is None or width <= 0 or (how == "LINEAR" and width < 1):
        return None  # people leave 0 there for "none"
    if how == "SIGMOID":
        return lambda values: (1 / (1 + np.exp(np.clip(-4 * (values - center) / width, -80, 80)))).astype(np.float32)
    if how == "LINEAR_EXACT":
        return lambda values: _share(values, center - width / 2, center + width / 2)
    # LINEAR shows `width` whole numbers; of width 1, it is a threshold.
    low, high = center - 0.5 - (width - 1) / 2, center - 0.5 + (width - 1) / 2
    return lambda values: _share(values, low, high) if high > low else (values > low).astype(np.float32)


def _first(dataset: Dataset, name: str) -> float | None:
    """The first of the numbers of an element, or None."""
    value: Any = dataset.get(name)
    if isinstance(value, (str, bytes)) or value is None:
        return None
    try:
        number = float(value[0] if np.ndim(value) else value)
    except (TypeError, ValueError, IndexError):
        return None
    return number if math.isfinite(number) else None
