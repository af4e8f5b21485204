"""Whether a model's folder is still what was written: every file's size and SHA-256, checked before any is read.

A safetensors file whose numbers have a flipped bit loads without a word, and so would a description with one.
"""

from __future__ import annotations

import json
from collections.abc import Collection
from pathlib import Path
from typing import Any

from .errors import RunFolderError
from .files import replacing, sha256

MANIFEST = "sha256.json"
DESCRIPTION = "finetune.json"
FORMAT = 1
# What file managers and hubs put beside a model, and nobody reads as one; so is all that is hidden.
LEFT_BY_OTHERS = {"Thumbs.db", "desktop.ini", "README.md", "LICENSE"}
SHOWN = 5
AGAIN = "Copy the folder again from where it was made."


def seal(folder: Path) -> None:
    """Writes down every file of a folder, as the last thing that is written into it.

    Args:
        folder: With all its files, those of folders inside too.

    Raises:
        OSError: It cannot be written.
    """
    files = {name: {"size": path.stat().st_size, "sha256": sha256(path)} for name, path in _files(folder).items()}
    with replacing(folder / MANIFEST) as temporary:
        temporary.write_bytes(_text({"format": FORMAT, "files": files}))


def sealed(folder: Path) -> bool:
    """Whether a folder is, or should be, one that was sealed; a copy of a hub's repository is not."""
    return (folder / MANIFEST).is_file() or (folder / DESCRIPTION).is_file()


def check(folder: Path, *, only: Collection[str] | None = None) -> None:
    """Compares a folder with what was written down of it.

    Args:
        folder: The folder.
        only: Files that are about to be read, where the others do not matter; all if None.

    Raises:
        RunFolderError: A file is missing, damaged, or was not there; each is named.
    """
    recorded, found = _read(folder / MANIFEST), _files(folder)
    wrong = [
        line
        for name, facts in recorded.items()
        if only is None or name in only
        if (line := _fault(folder / name, found.get(name), facts)) is not None
    ]
    strange = [name for name in found if name not in recorded and (only is None or name in only)]
    wrong += [
        f"{folder / name} does not belong there: {MANIFEST} does not name it. Take it away, or copy the folder again."
        for name in strange
    ]
    if wrong:
        more = [f"So it is with {len(wrong) - SHOWN} more files."] if len(wrong) > SHOWN else []
        raise RunFolderError("\n".join(wrong[:SHOWN] + more))


def _files(folder: Path) -> dict[str, Path]:
    """Every file that counts, by its name from the folder on with `/` between."""
    inside = {path.relative_to(folder).as_posix(): path for path in sorted(folder.rglob("*")) if not path.is_dir()}
    hidden = {name for name in inside if any(part.startswith(".") for part in name.split("/"))}
    return {
        name: path
        for name, path in inside.items()
        if name != MANIFEST and name not in hidden and path.name not in LEFT_BY_OTHERS
    }


def _fault(path: Path, found: Path | None, facts: dict[str, Any]) -> str | None:
    if found is None or not found.is_file():
        return f"{path} is missing. Expected all files that {MANIFEST} names; copy the whole folder."
    size = found.stat().st_size
    if size != facts["size"]:
        return f"{path} is damaged or was replaced: it has {size:,} bytes, {MANIFEST} says {facts['size']:,}. {AGAIN}"
    digest = sha256(found)
    if digest != facts["sha256"]:
        return (
            f"{path} is damaged or was replaced: its SHA-256 is {digest[:12]}…, {MANIFEST} says "
            f"{facts['sha256'][:12]}…. {AGAIN}"
        )
    return None


def _read(path: Path) -> dict[str, dict[str, Any]]:
    """What a manifest says of each file.

    Raises:
        RunFolderError: It is missing, not as it was written, or of a later version.
    """
    if not path.is_file():
        raise RunFolderError(
            f"{path} is missing, by which a damaged file would be known. Expected a folder that `finetune fit` has "
            f"finished; copy the whole folder, or give model.safetensors itself as weights of a new fit."
        )
    raw = path.read_bytes()
    try:
        content = json.loads(raw)
        version, files = content["format"], content["files"]
        whole = all(type(f["size"]) is int and type(f["sha256"]) is str and len(f) == 2 for f in files.values())
        # Written in one way only: so a bit that was flipped where JSON does not mind, between two words, is seen too.
        whole = whole and set(content) == {"format", "files"} and _text(content) == raw
    except (ValueError, KeyError, TypeError, AttributeError):
        version, files, whole = FORMAT, {}, False
    if not whole:
        raise RunFolderError(f"{path} is damaged: it is not as it was written. {AGAIN}")
    if version != FORMAT:
        raise RunFolderError(
            f"{path} is of format {version}; this version of finetune reads format {FORMAT}. Install the version that "
            "wrote it."
        )
    return dict(files)


def _text(content: Any) -> bytes:
    return (json.dumps(content, indent=1, ensure_ascii=True) + "\n").encode("ascii")
