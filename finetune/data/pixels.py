"""A decoded picture of any kind -> (H, W, C): 8 bits, or shares of 1; upright, on white, with the channels asked for.

Large pictures are converted in strips: whole, each step would hold them once more, and one file of half a megabyte can
hold 120 million pixels.
"""

from __future__ import annotations

import numpy as np
from PIL import Image

from ..errors import UnreadableError
from .arrays import PNG, check_bytes

MOST_PIXELS = 120_000_000
"""Larger than what cameras give; with all copies that decoders make it stays below 2 GiB."""

COPYING = ("WEBP", "JPEG2000", "AVIF")
"""Formats whose decoders hold the picture several times over; of theirs half as many pixels are taken."""

STRIP = 1 << 22
"""So many pixels are converted at a time."""

DEFLATED = 1032
"""The most bytes that one byte of a PNG can stand for (zlib's documentation, "Maximum Compression Factor")."""

ORIENTATION = 0x0112
UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_BACK = {
    Image.Transpose.ROTATE_90: Image.Transpose.ROTATE_270,
    Image.Transpose.ROTATE_270: Image.Transpose.ROTATE_90,
}


def check_claims(image: Image.Image, head: bytes, length: int) -> None:
    """Refuses a picture by what its header says, before room is made for it.

    Args:
        image: As PIL has opened it, without its pixels.
        head: How the file begins, 33 bytes or more.
        length: How many bytes it has.

    Raises:
        UnreadableError: It claims too many pixels, or more than its bytes can hold.
    """
    width, height = image.size
    if width * height > (MOST_PIXELS // 2 if image.format in COPYING else MOST_PIXELS):
        raise UnreadableError(f"it claims too many pixels to be decoded safely: {width} x {height}")
    if head.startswith(PNG) and head[12:16] == b"IHDR":
        # PIL fills up with black, without a word, what the header promises beyond the end of the compressed stream.
        samples = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}.get(head[25], 1)
        if height * (1 + width * samples * head[24] // 8) > DEFLATED * length:
            raise UnreadableError(f"it is cut off: {length} bytes cannot hold the {width} x {height} pixels it claims")


def from_pil(image: Image.Image, in_chans: int) -> np.ndarray:
    """What `read_image` returns of a picture that PIL has opened.

    Raises:
        UnreadableError: Its numbers or channels are not those of a picture that is wanted.
    """
    if image.mode.startswith(("I", "F")):
        check_bytes((image.height, image.width, 4), 4)
    image.load()
    how = turn(image)
    if image.mode.startswith("I") or image.mode == "F":
        values = np.asarray(image)[..., None] if image.mode == "F" else _sixteen_bits(np.asarray(image)[..., None])
        return fit(scaled(values if how is None else turned(values, how)), in_chans)
    if in_chans not in (1, 3):
        bands = np.asarray(image)
        if image.mode == "P" or bands.ndim != 3 or bands.shape[2] != in_chans:
            raise UnreadableError(f"it has {len(image.getbands())} channel(s) ({image.mode}), expected {in_chans}")
        return bands if how is None else turned(bands, how)
    array = _in_strips(image, "L" if in_chans == 1 else "RGB", how)
    return array[..., None] if in_chans == 1 else array


def _in_strips(image: Image.Image, mode: str, how: Image.Transpose | None) -> np.ndarray:
    """Converts to a mode and turns, with no more than a strip of the picture in other modes at a time."""
    width, height = image.size
    rows = max(1, STRIP // max(1, width))
    if how is None and rows >= height:
        return np.asarray(_on_white(image).convert(mode))
    lying = _view(np.empty((height, width), np.bool_), how).shape if how is not None else (height, width)
    out = np.empty((*lying, 3) if mode == "RGB" else lying, np.uint8)
    # Seen from the picture as it lies in the file, so that each strip is written where it belongs.
    seen = out if how is None else _view(out, _BACK.get(how, how))
    for top in range(0, height, rows):
        strip = image.crop((0, top, width, min(top + rows, height)))
        seen[top : top + rows] = np.asarray(_on_white(strip).convert(mode))
    return out


def _on_white(image: Image.Image) -> Image.Image:
    """As it is seen on a page: what lies under transparent pixels is often black, or rubbish."""
    if image.mode not in ("LA", "La", "PA", "RGBA", "RGBa") and "transparency" not in image.info:
        return image
    solid = image.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", solid.size, "white"), solid).convert("RGB")


def without_alpha(array: np.ndarray) -> np.ndarray:
    """(H, W, 4) of any number type -> (H, W, 3) float32 in 0..1, on white."""
    height, width = array.shape[:2]
    out = np.empty((height, width, 3), np.float32)
    rows = max(1, STRIP // max(1, width))
    for top in range(0, height, rows):
        strip = scaled(array[top : top + rows])
        out[top : top + rows] = strip[..., :3] * strip[..., 3:] + (1 - strip[..., 3:])
    return out


def turn(image: Image.Image) -> Image.Transpose | None:
    """How a picture must be turned to stand upright, as its EXIF header says; None if not at all."""
    try:
        return UPRIGHT.get(image.getexif().get(ORIENTATION, 1))
    except Exception:  # a broken header says nothing about the picture, and must not cost it
        return None


def turned(array: np.ndarray, how: Image.Transpose) -> np.ndarray:
    """(H, W, ...) turned as PIL's `transpose` would."""
    return np.ascontiguousarray(_view(array, how))


def _view(array: np.ndarray, how: Image.Transpose) -> np.ndarray:
    turn = Image.Transpose
    if how in (turn.TRANSPOSE, turn.ROTATE_270, turn.TRANSVERSE, turn.ROTATE_90):
        array = array.swapaxes(0, 1)
    if how in (turn.FLIP_LEFT_RIGHT, turn.ROTATE_180, turn.ROTATE_270, turn.TRANSVERSE):
        array = array[:, ::-1]
    if how in (turn.FLIP_TOP_BOTTOM, turn.ROTATE_180, turn.ROTATE_90, turn.TRANSVERSE):
        array = array[::-1]
    return array


def _sixteen_bits(array: np.ndarray) -> np.ndarray:
    """What PIL reads from a file of 16 bits, which it may hold in 32."""
    low, high = int(array.min(initial=0)), int(array.max(initial=0))
    if low < 0 or high > 65535:
        raise UnreadableError(f"its values go from {low} to {high}, expected 0..255 (8 bits) or 0..65535 (16 bits)")
    return array.astype(np.uint16, copy=False)


def scaled(array: np.ndarray) -> np.ndarray:
    """Any number type to uint8 in 0..255 or float32 in 0..1.

    Args:
        array: (H, W, C).

    Raises:
        UnreadableError: It is no picture, or its numbers could mean several things.
    """
    if array.ndim != 3 or 0 in array.shape:
        raise UnreadableError(f"its shape is {array.shape}, expected height x width (x channels)")
    if array.dtype == np.uint8:
        return array
    if array.dtype == bool:
        return array.astype(np.uint8) * np.uint8(255)
    kind = array.dtype.kind
    if kind == "u" and array.dtype.itemsize == 2:
        # Scaled by the type and not by the picture's own range: brightness must mean the same in each.
        shares: np.ndarray = np.divide(array, np.float32(65535), dtype=np.float32)
        return shares
    if kind not in "iuf":
        raise UnreadableError(f"it holds {array.dtype}, expected uint8, uint16 or float in 0..1")
    low, high = float(array.min()), float(array.max())
    if kind == "f" and low >= 0 and high <= 1:
        return array.astype(np.float32, copy=False)
    if kind != "f" and low >= 0 and high <= 255:
        return array.astype(np.uint8)
    raise UnreadableError(
        f"its values are {array.dtype} from {low:g} to {high:g}, which can mean several things: give uint8 (0..255), "
        "uint16 (0..65535) or float in 0..1"
    )


def fit(array: np.ndarray, in_chans: int) -> np.ndarray:
    """(H, W, C) with as many channels as asked for, where that has one meaning.

    Raises:
        UnreadableError: It has not.
    """
    channels = array.shape[2]
    if channels == in_chans:
        return array
    if array.dtype == np.uint8 and channels in (1, 2, 3, 4) and in_chans in (1, 3):
        mode = {1: "L", 2: "LA", 3: "RGB", 4: "RGBA"}[channels]
        plain = array[..., 0] if channels == 1 else array
        return from_pil(Image.fromarray(np.ascontiguousarray(plain), mode), in_chans)
    if channels == 1 and in_chans == 3:
        return np.repeat(array, 3, axis=2)
    if channels == 3 and in_chans == 1:
        return (array @ np.array([0.299, 0.587, 0.114], np.float32))[..., None].astype(np.float32)
    raise UnreadableError(f"it has {channels} channel(s), expected {in_chans}")
