"""Weights from where timm and torchvision publish them: the cache first, then the network, quickly or not at all."""

from __future__ import annotations

import socket
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import urlsplit

import torch

from ..errors import WeightsError

_PATIENCE = 5.0
"""Seconds for a server to take the connection. Without this question first, huggingface_hub asks for a minute."""


def from_hugging_face(repository: str, files: Sequence[str], *, what: str) -> Path:
    """Finds one of several files of a Hugging Face repository.

    Args:
        repository: `timm/resnet50.a1_in1k`, with `@revision` where it matters.
        files: The file's possible names, best first.
        what: How the network is called in the message.

    Returns:
        The file, in the cache of huggingface_hub.

    Raises:
        WeightsError: It is not in the cache and cannot be downloaded.
    """
    import huggingface_hub
    from huggingface_hub import constants
    from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError

    repo, _, revision = repository.partition("@")
    for name in files:
        cached = huggingface_hub.try_to_load_from_cache(repo, name, revision=revision or None)
        if isinstance(cached, str):
            return Path(cached)
    problem = "HF_HUB_OFFLINE is set" if constants.HF_HUB_OFFLINE else _unreachable(constants.ENDPOINT)
    for name in files if not problem else ():
        try:
            return Path(huggingface_hub.hf_hub_download(repo, name, revision=revision or None))
        except LocalEntryNotFoundError as error:
            problem = str(error)
            break
        except EntryNotFoundError:
            problem = "the repository does not hold the file"
        except Exception as error:  # the HTTP library underneath, and so its errors, change from release to release
            problem = str(error).partition("\n")[0] or type(error).__name__
            break
    address = f"{constants.ENDPOINT}/{repo}/resolve/{revision or 'main'}/{files[0]}"
    folder = f"models--{repo.replace('/', '--')}"
    raise WeightsError(
        f"The weights of {what} are not on this machine and cannot be downloaded: {problem}.\n"
        f"Needed is the file {files[0]} of the Hugging Face repository {repo}: {address}\n"
        f"Fetch it where there is a network, and either give it with --weights FILE, or copy the folder {folder} of "
        f"that machine's cache into {constants.HF_HUB_CACHE}. (--weights none starts from random numbers.)"
    )


def from_address(address: str, *, what: str, file_name: str | None = None) -> Path:
    """Finds a file that is published under a plain address, as torchvision's are.

    Args:
        address: Where it is published.
        what: How the network is called in the message.
        file_name: Its name in the cache, if not the address's.

    Returns:
        The file, in the cache of torch.hub.

    Raises:
        WeightsError: It is not in the cache and cannot be downloaded, or is not the published one.
    """
    name = file_name or Path(urlsplit(address).path).name
    path = Path(torch.hub.get_dir()) / "checkpoints" / name
    if path.is_file():
        return path
    problem = _unreachable(address)
    if not problem:
        digits = torch.hub.HASH_REGEX.search(name)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            torch.hub.download_url_to_file(address, str(path), digits.group(1) if digits else None)
            return path
        except (OSError, RuntimeError) as error:  # RuntimeError: another hash than its name says
            problem = str(error)
    raise WeightsError(
        f"The weights of {what} are not on this machine and cannot be downloaded: {problem}.\n"
        f"Needed is the file {name}: {address}\n"
        f"Fetch it where there is a network, and either give it with --weights FILE, or put it into {path.parent}. "
        "(--weights none starts from random numbers.)"
    )


def _unreachable(address: str) -> str:
    """Why a server does not answer, or nothing if it does."""
    parts = urlsplit(address)
    # Behind a proxy the server's own name need not even resolve.
    if parts.hostname is None or (urllib.request.getproxies() and not urllib.request.proxy_bypass(parts.hostname)):
        return ""
    try:
        with socket.create_connection((parts.hostname, parts.port or _port(parts.scheme)), timeout=_PATIENCE):
            return ""
    except OSError as error:
        return f"{parts.hostname} cannot be reached ({error})"


def _port(scheme: str) -> int:
    return 80 if scheme == "http" else 443
