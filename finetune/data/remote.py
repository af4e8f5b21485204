"""Pictures and tables at URLs, read through fsspec into memory; nothing is written to disk."""

from __future__ import annotations

from typing import Any, BinaryIO, cast

from ..errors import ConfigError, DataError, UnreadableError
from .addresses import printable

TIMEOUT = 30.0
"""Seconds that a server may take to answer."""

MOST_BYTES = 1 << 30
"""The largest file that is read into memory."""

# Named one by one: fsspec has others that write to disk, unpack, or run a program.
SCHEMES = (
    *("http", "https", "s3", "s3a", "gs", "gcs", "az", "abfs", "abfss", "hf", "oss", "oci", "hdfs", "webhdfs"),
    *("ftp", "sftp", "file", "memory"),
)


_OWN = ("file", "memory")


def fetch(url: str, *, start: int | None = None, size: int = 0) -> bytes:
    """The bytes of a file at a URL, or a stretch of them, which is all that is then asked for.

    Raises:
        ConfigError: The package for this kind of URL is missing.
        UnreadableError: It is not there, too large, or does not come; the message names no URL.
    """
    try:
        system, path = _system(url)
        if start is not None:
            content = bytes(system.cat_file(path, start=start, end=start + size))
            if len(content) != size:
                raise UnreadableError(f"only {len(content)} of the {size} bytes from {start} on came")
            return content
        with system.open(path, "rb", block_size=0 if _is_http(url) else None) as file:
            content = file.read(MOST_BYTES + 1)
    except (ConfigError, UnreadableError):
        raise
    except Exception as error:  # each kind of storage has its own errors
        raise UnreadableError(why(error, url)) from None
    if len(content) > MOST_BYTES:
        raise UnreadableError(f"it has more than {MOST_BYTES >> 20} MiB")
    return bytes(content)


def read_source(url: str) -> bytes:
    """As `fetch`, for a table or a list: its error names the URL.

    Raises:
        DataError: What `fetch` says.
    """
    try:
        return fetch(url)
    except UnreadableError as error:
        raise DataError(f"{printable(url)} cannot be read: {error}.") from None


def open_seekable(url: str) -> BinaryIO:
    """A file at a URL, read in the stretches that are asked for.

    Raises:
        ConfigError: The package for this kind of URL is missing.
        DataError: It is not there, or the server gives no stretches.
    """
    try:
        system, path = _system(url)
        file: BinaryIO = system.open(path, "rb", block_size=1 << 16, cache_type="readahead")
        if not file.seekable():
            raise DataError(
                f"{printable(url)} can only be read from the beginning: its server gives no ranges. Download it first."
            )
    except (ConfigError, DataError):
        raise
    except Exception as error:
        raise DataError(f"{printable(url)} cannot be opened: {why(error, url)}.") from None
    return cast("BinaryIO", _Telling(file, url))


class _Telling:
    """A file at a URL whose reads fail as ours do: a server may say only then that it gives no stretches."""

    def __init__(self, file: BinaryIO, url: str) -> None:
        self._file = file
        self._url = url

    def read(self, size: int = -1) -> bytes:
        try:
            return self._file.read(size)
        except Exception as error:
            reason = why(error, self._url)
            if "range" in str(error).lower():
                reason = "its server gives no ranges, so that it can only be read from the beginning: download it first"
            raise DataError(f"{printable(self._url)} cannot be read: {reason}.") from None

    def seek(self, place: int, whence: int = 0) -> int:
        return self._file.seek(place, whence)

    def __enter__(self) -> _Telling:
        return self

    def __exit__(self, *error: object) -> None:
        self._file.close()


def list_under(url: str) -> list[str]:
    """The files under a folder at a URL, as URLs, in no order.

    Raises:
        ConfigError: The package for this kind of URL is missing.
        DataError: It cannot be listed.
    """
    if _is_http(url):
        raise DataError(
            f"{printable(url)}: a web server does not say which files it has. Name the archives, as in "
            f".../train-{{000..009}}.tar."
        )
    try:
        system, path = _system(url)
        return [str(system.unstrip_protocol(name)) for name in system.find(path)]
    except ConfigError:
        raise
    except Exception as error:
        raise DataError(f"{printable(url)} cannot be listed: {why(error, url)}.") from None


def why(error: Exception, url: str) -> str:
    """The cause in a line, without what the URL keeps secret."""
    cause = error.__cause__
    if isinstance(error, FileNotFoundError):
        # fsspec says so of a server that cannot be reached too, and keeps behind it what happened.
        if isinstance(cause, Exception) and not isinstance(cause, FileNotFoundError):
            return why(cause, url)
        return "there is nothing at this URL"
    status = _status(error) if _is_http(url) else None
    if status:
        return "there is nothing at this URL" if status in (404, 410) else f"the server answers with status {status}"
    if isinstance(error, TimeoutError):
        return f"the server did not answer within {TIMEOUT:g} seconds"
    said = (str(error).splitlines() or [""])[0].replace(url, printable(url))
    # Parts of a URL come back in messages in forms that cannot all be foreseen: with a secret in it, only the kind.
    return f"{type(error).__name__}: {said}" if said and printable(url) == url else type(error).__name__


def _status(error: Exception) -> int | None:
    import aiohttp

    return error.status if isinstance(error, aiohttp.ClientResponseError) else None


def is_own(url: str) -> bool:
    """Says whether a URL means what this machine itself has: its files, or what a program holds in memory."""
    return _scheme(url) in _OWN


def _is_http(url: str) -> bool:
    return _scheme(url) in ("http", "https")


def _scheme(url: str) -> str:
    scheme, slashes, _ = url.partition("://")
    return scheme.lower() if slashes else ""


def _system(url: str) -> tuple[Any, str]:
    """The file system of a URL, and the path in it.

    Raises:
        ConfigError: A package is missing, or it is no kind of storage that is known.
    """
    if _scheme(url) not in SCHEMES:
        raise ConfigError(f"{printable(url)} is a URL of an unknown kind. Expected one of {', '.join(SCHEMES)}.")
    try:
        import fsspec
    except ImportError:
        raise ConfigError(
            f"{printable(url)} is a URL, and reading it needs fsspec: pip install 'finetune[remote]'"
        ) from None
    options: dict[str, Any] = {}
    if _is_http(url):
        try:
            import aiohttp
        except ImportError:
            raise ConfigError(f"Reading {printable(url)} needs aiohttp: pip install 'finetune[remote]'") from None
        options = {"client_kwargs": {"timeout": aiohttp.ClientTimeout(sock_connect=TIMEOUT, sock_read=TIMEOUT)}}
    try:
        system, path = fsspec.core.url_to_fs(f"{_scheme(url)}://{url.partition('://')[2]}", **options)
    except ImportError as error:
        raise ConfigError(f"Reading {printable(url)} needs another package: {error}") from None
    return system, path
