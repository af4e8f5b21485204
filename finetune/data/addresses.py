"""Where the bytes of one picture are: a file, one frame of it, a stretch of an archive, or something at a URL."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple
from urllib.parse import parse_qsl, quote, urlsplit, urlunsplit

# "C:\pictures" is a drive: a scheme has two letters or more, and two slashes.
_REMOTE = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")
_FRAME = re.compile(r"(?P<file>.+)#frame=(?P<frame>[1-9]\d{0,8})", re.DOTALL)
_STRETCH = re.compile(r"(?P<file>.+?\.(?i:tar))#(?P<start>\d{1,18})\+(?P<size>\d{1,18})=(?P<name>.*)", re.DOTALL)
_SECRET = re.compile(r"key|secret|token|sign|sig$|password|passwd|credential|auth|session", re.IGNORECASE)


class Address(NamedTuple):
    """The parts of a source.

    file: A path, or a URL.
    frame: Which frame of it, from 1 as DICOM counts them; None leaves the choice to the reader.
    start: The first byte of a stretch of the file; None for all of it.
    size: How many bytes that stretch has.
    """

    file: str
    frame: int | None = None
    start: int | None = None
    size: int = 0


def parse_address(text: str) -> Address:
    """Takes a source apart: `PATH`, `PATH#frame=N`, or `PATH.tar#START+SIZE=NAME` as `stretch_of` writes it."""
    if "#" not in text:
        return Address(text)
    found = _STRETCH.fullmatch(text)
    if found:
        return Address(found["file"], start=int(found["start"]), size=int(found["size"]))
    found = _FRAME.fullmatch(text)
    # A file may be called so.
    if found and (is_remote(text) or not Path(text).exists()):
        return Address(found["file"], frame=int(found["frame"]))
    return Address(text)


def stretch_of(file: str, start: int, size: int, name: str) -> str:
    """The source of a member of an archive; its name is for people, who read it in messages."""
    return f"{file}#{start}+{size}={name}"


def is_remote(source: object) -> bool:
    """Says whether a source is a URL: `https://...`, `s3://...`."""
    return isinstance(source, str) and "://" in source and _REMOTE.match(source) is not None


def printable(text: str) -> str:
    """A source as it may be printed: a URL without the passwords and signatures that it carries."""
    if not is_remote(text):
        return text
    parts = urlsplit(text)
    place = parts.netloc.rpartition("@")
    query = parts.query
    if query:
        pairs = parse_qsl(query, keep_blank_values=True)
        kept = [(name, "***" if _SECRET.search(name) else quote(value, safe="/")) for name, value in pairs]
        query = "&".join(f"{name}={value}" for name, value in kept) or "***"
    netloc = f"***@{place[2]}" if place[1] else parts.netloc
    return urlunsplit((parts.scheme, netloc, parts.path, query, parts.fragment))


def stamp(source: str) -> str | None:
    """What changes when the file behind a source changes; None where that cannot be known without reading it.

    Raises:
        OSError: The file cannot be asked.
    """
    file = parse_address(source).file
    if is_remote(file):
        return None
    known = Path(file).stat()
    return f"{source}\0{known.st_size}\0{known.st_mtime_ns}"
