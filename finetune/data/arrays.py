"""Pictures that PIL would cut to 8 bits, or does not know: colour of 16 bits, and NumPy's own files."""

from __future__ import annotations

import io
import math
from pathlib import Path

import numpy as np
from PIL import ImageFile, TiffImagePlugin

from ..errors import UnreadableError

MOST_BYTES = 1 << 30
"""The largest picture, decoded, that is taken for honest."""

NPY = b"\x93NUMPY"
PNG = b"\x89PNG\r\n\x1a\n"
TIFF = (b"II*\0", b"MM\0*")


def is_deep(image: ImageFile.ImageFile) -> bool:
    """Says whether PIL, which has no mode for 16 bits of several channels, would drop half of them. Before `load`."""
    if not image.tile or image.mode.startswith(("I", "F")):
        return False
    args = image.tile[0][3]
    if image.format == "PPM":
        return isinstance(args, tuple) and isinstance(args[-1], int) and args[-1] > 255
    raw = args[0] if isinstance(args, tuple) and args else args
    return isinstance(raw, str) and ";16" in raw


def read_deep(content: bytes, size: tuple[int, int]) -> np.ndarray:
    """Reads a PNG, TIFF or PPM of 16 bits or a float a channel.

    Args:
        content: The file.
        size: Width and height, as its header says.

    Returns:
        (H, W, C), grey or in RGB or RGBA order.

    Raises:
        UnreadableError: It cannot be decoded, or is too large.
    """
    import cv2

    check_bytes((size[1], size[0], 4), 4)
    if content.startswith(PNG):
        _check_chunks(content)
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)  # what it would print is raised here
    array: np.ndarray | None = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED)
    if array is None or array.shape[:2] != size[::-1] or (array.ndim == 3 and array.shape[2] not in (3, 4)):
        raise UnreadableError("it cannot be decoded with all its bits: the file is damaged, or of a rare kind")
    if array.ndim == 2:
        return array[..., None]
    blue = array[..., 0].copy()  # in place: a copy in the other order would be as large again
    array[..., 0] = array[..., 2]
    array[..., 2] = blue
    return array


def _check_chunks(content: bytes) -> None:
    """Refuses a PNG with a chunk longer than what is left of it: OpenCV makes room for what a length claims."""
    at = len(PNG)
    while at + 8 <= len(content):
        length, name = int.from_bytes(content[at : at + 4], "big"), content[at + 4 : at + 8]
        at += 12 + length
        if at > len(content):
            raise UnreadableError(f"it is cut off or damaged: its part {name!r} claims {length} bytes")
        if name == b"IEND":
            return


def tiff_size(content: bytes) -> tuple[int, int]:
    """Width and height of a TIFF that PIL has no mode for, colour in floats say.

    Raises:
        UnreadableError: Its first directory cannot be read.
    """
    try:
        tags = TiffImagePlugin.ImageFileDirectory_v2(content[:8])
        file = io.BytesIO(content)
        file.seek(tags.next)
        tags.load(file)
        return int(tags[256]), int(tags[257])
    except Exception as error:  # as many kinds as there are ways to spoil a header
        raise UnreadableError(f"it is a TIFF whose header cannot be read: {error or type(error).__name__}") from None


def read_npy(source: Path | bytes) -> np.ndarray:
    """Reads one array of a `.npy` file; never a pickle.

    Raises:
        UnreadableError: It holds objects, less than it says, or more than a picture.
    """
    with io.BytesIO(source) if isinstance(source, bytes) else source.open("rb") as file:
        version = np.lib.format.read_magic(file)
        header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, fortran, dtype = header(file)
        if dtype.hasobject:
            raise UnreadableError("it holds Python objects, expected numbers: loading them could run foreign code")
        if any(side < 0 for side in shape):
            raise UnreadableError(f"its shape is {shape}, expected height x width (x channels)")
        check_bytes(shape, dtype.itemsize)
        count = math.prod(shape)
        content = file.read(count * dtype.itemsize)
    if len(content) < count * dtype.itemsize:
        raise UnreadableError(f"it is cut off: {len(content)} of {count * dtype.itemsize} bytes are there")
    return np.frombuffer(content, dtype, count).reshape(shape, order="F" if fortran else "C").copy()


def check_bytes(shape: tuple[int, ...], itemsize: int) -> None:
    """Refuses what claims to be larger than any picture that a network is shown."""
    if math.prod(shape) * itemsize > MOST_BYTES:
        raise UnreadableError(
            f"it claims too many pixels to be decoded safely: {' x '.join(map(str, shape))} of {itemsize} bytes"
        )
