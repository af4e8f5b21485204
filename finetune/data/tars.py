"""Tar archives: which ones a name means, and what is in them, read from their headers alone.

A reader of its own: the standard library's believes every size and offset that an archive claims.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import BinaryIO, NamedTuple

from ..errors import DataError, listing
from .addresses import is_remote, printable, stretch_of
from .labels import natural_key
from .listings import is_picture
from .remote import list_under, open_seekable

BLOCK = 512
MOST_NAME = 1 << 20
"""The longest name, or list of attributes, in bytes."""
MOST_MEMBERS = 50_000_000
MOST_ARCHIVES = 100_000

_REGULAR, _NO_CONTENT = b"0\x007", b"123456"
_LONG_NAME, _ATTRIBUTES, _LONG_LINK, _FOR_ALL = b"L", b"x", b"K", b"g"


class Member(NamedTuple):
    """A file in an archive: its name, and where its bytes are."""

    name: str
    start: int
    size: int


def is_shards(source: object) -> bool:
    """Says whether a source is a tar archive, or a pattern such as `train-{000..009}.tar`."""
    return isinstance(source, (str, Path)) and str(source).lower().endswith(".tar")


def find_archives(source: str | Path) -> list[str]:
    """The archives that a file, a brace pattern or a folder names, in natural order.

    Raises:
        DataError: One of them is not there, or there are none.
    """
    text = str(source)
    if not is_shards(source):
        found = list_under(text) if is_remote(text) else [str(path) for path in Path(text).rglob("*.[tT][aA][rR]")]
        return sorted((name for name in found if name.lower().endswith(".tar")), key=natural_key)
    found = list(_braces(text))
    if is_remote(text):
        return found
    missing = [name for name in found if not Path(name).is_file()]
    if missing:
        raise DataError(f"{len(missing)} of {len(found)} archives of {text} are not there: {listing(missing)}.")
    return [str(Path(name).absolute()) for name in found]


def _braces(text: str) -> Iterator[str]:
    """`a-{08..10}-{x,y}.tar` -> a-08-x.tar, a-08-y.tar, a-09-x.tar, ..."""
    pieces = re.split(r"\{([^{}]*)\}", text)
    choices: list[list[str]] = []
    for inner in pieces[1::2]:
        span = re.fullmatch(r"(\d{1,9})\.\.(\d{1,9})", inner)
        if span and int(span[2]) - int(span[1]) >= MOST_ARCHIVES:
            raise DataError(f"{printable(text)} names more than {MOST_ARCHIVES} archives.")
        numbers = range(int(span[1]), int(span[2]) + 1) if span else ()
        choices.append([f"{n:0{len(span[1])}d}" for n in numbers] if span else inner.split(","))
    if len(pieces) > 1 and not all(choices):
        raise DataError(f"{printable(text)} names no archive: a range goes from the smaller number to the larger.")
    for chosen in product(*choices):
        yield "".join(a + b for a, b in zip(pieces[::2], (*chosen, ""), strict=True))


def list_members(archive: str) -> list[str]:
    """The sources of all pictures of an archive, in its order.

    Raises:
        DataError: It is cut off, damaged, or holds no pictures.
    """
    with open_archive(archive) as file:
        try:
            members, _ = index_tar(file)
        except DataError as error:
            raise DataError(f"The archive {printable(archive)} cannot be used: {error}.") from None
    found = [stretch_of(archive, one.start, one.size, one.name) for one in members if is_picture(one.name)]
    if not found:
        raise DataError(f"The archive {printable(archive)} holds no pictures.")
    return found


def open_archive(archive: str) -> BinaryIO:
    """An archive, or the stretches of one at a URL that are asked for."""
    # Unbuffered: a header is one block, and what follows it is passed over.
    return open_seekable(archive) if is_remote(archive) else Path(archive).open("rb", buffering=0)


def index_tar(file: BinaryIO) -> tuple[list[Member], int]:
    """Finds the regular files of an archive; links and devices are passed over.

    Args:
        file: Seekable; read from its beginning.

    Returns:
        The files in their order, and how many links and devices there are.

    Raises:
        DataError: It is no tar archive, compressed, cut off, or holds names or sizes that cannot be meant; the message
            names no file.
    """
    end = file.seek(0, 2)
    at, links = 0, 0
    members: list[Member] = []
    name: str | None = None
    size: int | None = None
    while True:
        file.seek(at)
        header = file.read(BLOCK)
        if len(header) < BLOCK:
            raise DataError("it is cut off: the mark of its end is missing" if at else _no_tar(header))
        if not any(header):
            return members, links
        if _checksum(header) != _number(header[148:156]):
            raise DataError(_no_tar(header) if not at else f"it is damaged: there is no header at byte {at}")
        kind, length, start = header[156:157], _number(header[124:136]), at + BLOCK
        if kind in _REGULAR and size is not None:
            length = size
        if kind in _NO_CONTENT:
            length = 0  # whatever the header of a link, a device or a folder says
        if length < 0 or start + length > end:
            shown = name or _name(header)
            raise DataError(f"it is cut off or damaged: {shown!r} claims {length} bytes, {end - start} are there")
        at = start + -(-length // BLOCK) * BLOCK
        if kind in (_LONG_NAME, _ATTRIBUTES, _LONG_LINK, _FOR_ALL):
            if length > MOST_NAME:
                raise DataError(f"it is damaged: a name or its attributes claim {length} bytes")
            content = file.read(length)
            if kind == _LONG_NAME:
                name = _text(content.rstrip(b"\0"))
            elif kind == _ATTRIBUTES:
                said = _attributes(content)
                name, size = said.get("path", name), _whole(said["size"]) if "size" in said else size
                if any(key.startswith("GNU.sparse") for key in said):
                    raise DataError(f"{said.get('path', '')!r} is a sparse file; pack the archive without --sparse")
            continue
        if kind in _REGULAR:
            members.append(Member(_plain(name or _name(header)), start, length))
            if len(members) > MOST_MEMBERS:
                raise DataError(f"it holds more than {MOST_MEMBERS} files")
        elif kind == b"S":
            raise DataError(f"{name or _name(header)!r} is a sparse file; pack the archive without --sparse")
        else:
            links += kind not in b"5"
        name = size = None


def _no_tar(header: bytes) -> str:
    if header[:2] == b"\x1f\x8b" or header[:4] in (b"\x28\xb5\x2f\xfd", b"\xfd7zX") or header[:3] == b"BZh":
        return "it is compressed, and then a picture in it cannot be reached without all before it: unpack to a .tar"
    return f"it is no tar archive (it begins with {header[:8]!r})"


def _checksum(header: bytes) -> int:
    return sum(header[:148]) + 8 * 32 + sum(header[156:])


def _number(field: bytes) -> int:
    """Octal digits; or, where the first bit is set, base 256 as GNU and star write what is larger."""
    if field[0] & 0x80:
        value = int.from_bytes(field[1:], "big")
        return value if field[0] == 0x80 else -1
    digits = field.split(b"\0")[0].strip()
    if not re.fullmatch(rb"[0-7]*", digits):
        return -1
    return int(digits or b"0", 8)


def _whole(text: str) -> int:
    return int(text) if re.fullmatch(r"\d{1,18}", text) else -1


def _name(header: bytes) -> str:
    name = header[:100].split(b"\0")[0]
    prefix = header[345:500].split(b"\0")[0] if header[257:263] == b"ustar\0" else b""
    return _text(prefix + b"/" + name if prefix else name)


def _text(raw: bytes) -> str:
    return raw.decode("utf-8", "backslashreplace")


def _attributes(content: bytes) -> dict[str, str]:
    """Lines such as `25 path=some/long/name`, each with its length in front."""
    found: dict[str, str] = {}
    at = 0
    while at < len(content):
        head = re.compile(rb"(\d{1,8}) ([^=\n]+)=").match(content, at)
        if head is None or int(head[1]) < head.end() - at + 1 or at + int(head[1]) > len(content):
            raise DataError("it is damaged: the attributes of a file are no list of lengths, names and values")
        found[_text(head[2])] = _text(content[head.end() : at + int(head[1]) - 1])
        at += int(head[1])
    return found


def _plain(name: str) -> str:
    """A name as part of an id: nothing is ever written to it, but one that leads out of the archive is no accident."""
    parts = [part for part in name.replace("\\", "/").split("/") if part not in ("", ".")]
    if ".." in parts:
        raise DataError(f"its member {name!r} leads out of the archive")
    return "/".join(parts)
