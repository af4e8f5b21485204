"""Weights from a file: read without running anything, loaded with every mismatch listed."""

from __future__ import annotations

import hashlib
import json
import pickle
import re
import zipfile
from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import WeightsError, listing
from ..manifest import check, sealed

# Where training programs keep the weights inside a checkpoint, the averaged ones first, as timm does.
_WRAPPERS = ("state_dict_ema", "model_ema", "state_dict", "model_state_dict", "model")
# What DistributedDataParallel, Lightning modules and torch.compile put in front of every name.
_PREFIXES = ("module.", "model.", "_orig_mod.")
_FOLDER_FILES = ("model.safetensors", "pytorch_model.bin")


def read_state(path: str | Path) -> dict[str, Tensor]:
    """Reads a state dict and runs nothing that the file may hold.

    Args:
        path: A `.safetensors`, `.pth`, `.pt`, `.bin` or `.ckpt` file, or a folder with `model.safetensors` in it.

    Returns:
        Names and tensors on the CPU, without the wrappers and prefixes of training programs.

    Raises:
        WeightsError: Missing, empty, truncated, no weights at all, or a pickle that wants to run code.
        RunFolderError: It belongs to a saved model and is not as it was written.
    """
    path = _file_of(Path(path))
    # Files of others come without sums, and are taken as they are.
    if sealed(path.parent):
        check(path.parent, only=(path.name,))
    if path.stat().st_size == 0:
        raise WeightsError(f"The weights file {path} is empty. Get it again.")
    content = _read_safetensors(path) if path.suffix == ".safetensors" else _read_pickle(path)
    state = _unwrap(content)
    if not state:
        raise WeightsError(
            f"{path} holds no weights: expected names and tensors, or a checkpoint with them under "
            f'"state_dict" or "model". Got {_describe(content)}.'
        )
    return state


def read_config(path: str | Path) -> dict[str, Any] | None:
    """Reads the `config.json` of a saved model or of a copy of a timm hub repository.

    Returns:
        Its content; None where `path` is a bare file or a folder without one.

    Raises:
        WeightsError: It is no JSON object.
        RunFolderError: It belongs to a saved model and is not as it was written.
    """
    config = Path(path) / "config.json"
    if not config.is_file():
        return None
    if sealed(config.parent):
        check(config.parent, only=(config.name,))
    try:
        content = json.loads(config.read_text(encoding="utf-8"))
    except ValueError as error:
        raise WeightsError(f"{config} cannot be read: {error}. Get the folder again.") from error
    if not isinstance(content, dict):
        raise WeightsError(f"{config} should describe a model. Got a JSON {type(content).__name__}.")
    return content


def load(
    module: nn.Module, state: Mapping[str, Tensor], *, what: str, fresh: Sequence[str] = (), dropped: Sequence[str] = ()
) -> None:
    """Copies weights into a network, all of them or none.

    Args:
        module: Where to.
        state: The weights under the names of `module.state_dict()`.
        what: How the network is called in the message, `timm/resnet50` say.
        fresh: Layers of `module` that keep what they have, whatever `state` holds for them: the head.
        dropped: Layers that `state` may hold and `module` knowingly does not have.

    Raises:
        WeightsError: Names that are missing, unexpected or of another shape, all listed.
    """
    own = module.state_dict()
    given = {name: tensor for name, tensor in state.items() if not _under(name, (*fresh, *dropped))}
    # Counters that only BatchNorm without momentum uses; files from before torch 0.4.1 have none.
    missing = [n for n in own if n not in given and not _under(n, fresh) and not n.endswith("num_batches_tracked")]
    unexpected = [name for name in given if name not in own]
    misshapen = [
        f"{name} {tuple(tensor.shape)} where {tuple(own[name].shape)} was expected"
        for name, tensor in given.items()
        if name in own and tensor.shape != own[name].shape
    ]
    if missing or unexpected or misshapen:
        raise WeightsError(_mismatch(what, missing, unexpected, misshapen))
    complete = OrderedDict(given)
    # All fits this version's layout, so it may say so: some networks refuse a state that has lost its version.
    complete._metadata = own._metadata  # type: ignore[attr-defined]
    module.load_state_dict(complete, strict=False)


def fits(module: nn.Module, state: Mapping[str, Tensor], fresh: Sequence[str], dropped: Sequence[str]) -> bool:
    """Whether `load` would accept these weights."""
    wanted = {n: t.shape for n, t in module.state_dict().items() if not _under(n, fresh)}
    given = {n: t.shape for n, t in state.items() if not _under(n, (*fresh, *dropped))}
    wanted = {n: s for n, s in wanted.items() if n in given or not n.endswith("num_batches_tracked")}
    return wanted == given


def fingerprint(weights: nn.Module | Mapping[str, Tensor]) -> str:
    """SHA-256 over the names, types, shapes and bytes of all parameters and buffers: the key of cached features.

    Args:
        weights: A network, or some of one's tensors by name.

    Returns:
        64 hexadecimal digits, the same on every device.
    """
    digest = hashlib.sha256()
    if isinstance(weights, nn.Module):
        weights = {**dict(weights.named_parameters()), **dict(weights.named_buffers())}
    for name, tensor in sorted(weights.items()):
        flat = tensor.detach().cpu().contiguous().reshape(-1)
        digest.update(f"{name}:{tensor.dtype}:{tuple(tensor.shape)};".encode())
        # Hashed where they lie: a copy of a large network's bytes would double its memory.
        digest.update(flat.view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _file_of(path: Path) -> Path:
    if path.is_dir():
        for name in _FOLDER_FILES:
            if (path / name).is_file():
                return path / name
        raise WeightsError(f"The folder {path} holds no weights. Expected {' or '.join(_FOLDER_FILES)} in it.")
    if not path.is_file():
        raise WeightsError(
            f'There is no weights file "{path}". Give the path of a .safetensors, .pth or .pt file or of a saved '
            'model\'s folder, "default" to download the library\'s own, or "none" for random numbers.'
        )
    return path


def _read_safetensors(path: Path) -> Any:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except (SafetensorError, ValueError) as error:
        raise WeightsError(f"{path} is damaged or no safetensors file ({error}). Get it again.") from error


def _read_pickle(path: Path) -> Any:
    try:
        # Mapping spares a copy of large files; only the zip layout, which torch writes since 1.6, can be mapped.
        return torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
    except Exception as error:  # a damaged pickle raises nearly anything
        wanted = _refused_code(path, error)
        if wanted:
            raise WeightsError(
                f"{path} was refused, and nothing in it was run: beside weights it wants to run code "
                f"({listing(wanted)}). Expected a file with tensors only. If you trust where it comes from, convert "
                "it to .safetensors there, or save only its state_dict() again."
            ) from error
        reason = str(error).partition("\n")[0][:200] or type(error).__name__
        if "weights_only" in reason:  # torch goes on to advise that code in the file be run
            reason = "it does not hold tensors as torch.save writes them"
        raise WeightsError(f"{path} is damaged, cut off, or no weights file ({reason}). Get it again.") from error


def _refused_code(path: Path, error: Exception) -> list[str]:
    """The functions and classes that torch's restricted reader stopped at."""
    if not isinstance(error, pickle.UnpicklingError):
        return []
    try:
        names = sorted(torch.serialization.get_unsafe_globals_in_checkpoint(path))
    except Exception:  # only the zip layout can be searched without reading it
        names = []
    return names or re.findall(r"(?:GLOBAL|global|class) `?([A-Za-z_][\w.]*\.\w+)", str(error))[:1]


def _unwrap(content: Any) -> dict[str, Tensor]:
    while isinstance(content, Mapping):
        inner = [content[key] for key in _WRAPPERS if isinstance(content.get(key), Mapping)]
        if not inner:
            break
        content = inner[0]
    if not isinstance(content, Mapping):
        return {}
    state = {str(name): tensor for name, tensor in content.items() if isinstance(tensor, Tensor)}
    while prefix := next((p for p in _PREFIXES if state and all(name.startswith(p) for name in state)), ""):
        state = {name.removeprefix(prefix): tensor for name, tensor in state.items()}
    return state


def _describe(content: Any) -> str:
    if isinstance(content, Mapping):
        return f"the entries {listing([str(key) for key in content], 5)}" if content else "nothing"
    return f"a {type(content).__name__}"


def _under(name: str, layers: Iterable[str]) -> bool:
    return any(name == layer or name.startswith(f"{layer}.") for layer in layers)


def _mismatch(what: str, missing: Sequence[str], unexpected: Sequence[str], misshapen: Sequence[str]) -> str:
    lines = [f"These weights do not fit {what}."]
    for words, names in (
        ("the network needs and the file has not", missing),
        ("the file has and the network has not", unexpected),
        ("are of another shape", misshapen),
    ):
        if names:
            lines.append(f"  {len(names)} {words}: {listing(names, 10)}")
    lines.append(
        "They look like weights of another architecture. Name the backbone that the file was made for, or give a file "
        f"made for {what}."
    )
    return "\n".join(lines)
