"""Writing files so that they are whole or absent."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .errors import RunFolderError

if TYPE_CHECKING:
    from torch import Tensor


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Gives a temporary file to write, and puts it in the place of `path` once it is written and on the disk.

    A reader sees the old file or the new one, also after a crash; when writing fails, the old one stays and the
    temporary one goes.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        # mkstemp makes files for their owner alone; a result is for whoever may read the folder.
        temporary.chmod(0o666 & ~_umask())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def prove_writable(path: Path, *, folder: bool = False) -> None:
    """Finds out before the work, and not after it, whether a result can be written; nothing is made or changed.

    Args:
        path: The file, or the folder.
        folder: Whether it is a folder that files go into.

    Raises:
        OSError: It cannot.
    """
    path = path.absolute()
    if path.is_dir() and not folder:
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    place = path if folder else path.parent
    while not os.path.lexists(place):
        place = place.parent
    with tempfile.TemporaryFile(dir=place):  # asked of the system itself: bits of permission do not tell all
        pass


@contextlib.contextmanager
def told_unwritable(what: str, instead: str = "Choose another --out.") -> Iterator[None]:
    """Tells a person why a result of theirs cannot be written, and what to do.

    Args:
        what: The result, and where to.
        instead: What to do.

    Raises:
        RunFolderError: For an OSError inside.
    """
    try:
        yield
    except OSError as error:
        raise RunFolderError(f"{what} cannot be written: {error.strerror}. {instead}") from error


@contextlib.contextmanager
def whole_folder(path: Path) -> Iterator[Path]:
    """Gives a temporary folder to fill, which takes the place of `path`, new or an empty folder, once all is in it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}."))
    try:
        yield temporary
        # mkdtemp makes folders for their owner alone; a result is for whoever may read what is around it.
        temporary.chmod(0o777 & ~_umask())
        if path.exists():
            path.rmdir()
        temporary.rename(path)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise


def write_tensors(path: Path, tensors: dict[str, Tensor]) -> None:
    """Writes a safetensors file, whole or not at all.

    Raises:
        OSError: It cannot be written.
    """
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    with replacing(path) as temporary:
        try:
            save_file(tensors, temporary, metadata={"format": "pt"})
        except SafetensorError as error:
            # A full disk comes as this, with the system's words inside: "... No space left on device (os error 28)".
            # safetensors 0.5 has them as Rust prints them: "... Os { code: 28, kind: ...".
            code = re.search(r"(?:os error |Os \{ code: )(\d+)", str(error))
            raise OSError(*((int(code[1]), os.strerror(int(code[1]))) if code else (str(error),))) from error


def sha256(path: Path) -> str:
    """The SHA-256 of a file, in 64 hexadecimal digits.

    Raises:
        OSError: It is not there, or cannot be read.
    """
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def locked(file: Any, *, shared: bool = False) -> bool:
    """Takes the lock of an open file until it is closed, or says that somebody else has it.

    Args:
        file: Anything with a descriptor.
        shared: Whether others may take it in the same way.
    """
    try:
        import fcntl
    except ImportError:  # not on Windows
        return False
    try:
        fcntl.flock(file, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def in_use(path: Path) -> bool:
    """Whether somebody has taken the lock of a file; without locks nobody has.

    Raises:
        OSError: It is not there, or cannot be read.
    """
    with path.open("rb") as file:
        return os.name == "posix" and not locked(file)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
