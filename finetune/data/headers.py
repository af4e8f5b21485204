"""What a picture's file says of itself before any pixel is decoded: kind, size, camera, compression."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from PIL import ExifTags, Image

from ..errors import UnreadableError
from .ahead import read_apart
from .examples import Examples
from .pixels import ORIENTATION
from .readers import FORMATS

NAMED = {
    **dict.fromkeys((".jpg", ".jpeg", ".jpe", ".jfif"), "JPEG"),
    **dict.fromkeys((".png", ".apng"), "PNG"),
    **dict.fromkeys((".bmp", ".dib"), "BMP"),
    **dict.fromkeys((".tif", ".tiff"), "TIFF"),
    **dict.fromkeys((".ppm", ".pgm", ".pbm", ".pnm"), "PPM"),
    **{".gif": "GIF", ".webp": "WEBP", ".jp2": "JPEG2000", ".avif": "AVIF"},
}
"""Which content an extension promises."""

SAME = {"MPO": "JPEG", "DIB": "BMP"}
"""Formats that are read as another one, and named like it."""


@dataclass(frozen=True, kw_only=True)
class Header:
    """The facts of one file.

    Args:
        bytes: Its size; 0 for a picture in memory or a file that is not there.
        format: What its content is, in PIL's word; None where that is not known.
        mode: How its colours are stored, `RGB` or `L` say.
        width: In pixels, as stored, before it is turned upright.
        height: Likewise.
        orientation: The EXIF orientation; 1 is upright.
        camera: Maker and model by EXIF.
        taken: When, by EXIF: `2011:04:12 18:30:11`.
        quantisation: The sum of a JPEG's quantisation tables: the higher, the more was thrown away.
    """

    bytes: int = 0
    format: str | None = None
    mode: str | None = None
    width: int = 0
    height: int = 0
    orientation: int = 1
    camera: str | None = None
    taken: str | None = None
    quantisation: int = 0


def read_header(path: str | Path) -> Header:
    """Reads a file's header; what cannot be read stays at its default, since broken files are told of elsewhere."""
    size = 0
    with contextlib.suppress(OSError):
        size = Path(path).stat().st_size
    if not size or not Path(path).is_file():
        return Header(bytes=size)
    try:
        with Image.open(path, formats=FORMATS) as image:
            tables = getattr(image, "quantization", None) or {}
            orientation, camera, taken = _exif(image)
            return Header(
                bytes=size, format=SAME.get(image.format or "", image.format), mode=image.mode, width=image.width,
                height=image.height, orientation=orientation, camera=camera, taken=taken,
                quantisation=sum(sum(table) for table in tables.values()),
            )  # fmt: skip
    except Exception:  # as in read_image: PIL's plugins raise nearly anything on odd bytes
        return Header(bytes=size)


def _exif(image: Image.Image) -> tuple[int, str | None, str | None]:
    """Orientation, camera and time; a broken block says nothing, and costs nothing else."""
    try:
        exif = image.getexif()
        words = [str(exif.get(tag, "")).strip(" \0") for tag in (ExifTags.Base.Make, ExifTags.Base.Model)]
        taken = exif.get_ifd(ExifTags.IFD.Exif).get(ExifTags.Base.DateTimeOriginal) or exif.get(ExifTags.Base.DateTime)
        orientation = int(exif.get(ORIENTATION, 1) or 1)
    except Exception:
        return 1, None, None
    return orientation, " ".join(word for word in words if word) or None, str(taken).strip(" \0") if taken else None


def read_headers(examples: Examples, *, readers: int = 4) -> list[Header]:
    """The header of every example, in the table's order; an empty one for a picture in memory.

    Args:
        examples: The table.
        readers: How many files are opened at once.
    """
    pictures = examples.pictures()
    headers = [Header() for _ in pictures]
    files = [row for row, picture in enumerate(pictures) if isinstance(picture, str)]
    for row, header in zip(files, read_apart(lambda row: read_header(pictures[row]), files, readers), strict=True):
        headers[row] = Header() if isinstance(header, UnreadableError) else header
    return headers


def promised(name: str) -> str | None:
    """What kind of content a file's extension promises, in PIL's word; None for an extension that promises none."""
    return NAMED.get(PurePosixPath(name).suffix.lower())
