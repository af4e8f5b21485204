"""What a frozen network says of each picture, computed once and kept.

A feature file's name is a hash of everything it depends on: the weights, the preprocessing, and the size and time of
every picture's file.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.metadata
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from .crew import Alone, Crew, Progress, Share
from .data.addresses import stamp
from .data.examples import Examples
from .data.loaders import stream
from .data.looks import Onlooker
from .data.readers import Also
from .errors import ConfigError, nearest
from .models.fast import Fast, fast
from .models.network import Network
from .models.weights import fingerprint
from .shelf import Rows, Shelf, Volume

Between = Callable[[np.ndarray, torch.Tensor], None]
"""Is called with the rows of a batch and their features, on the device where logits are made of them."""

FORMAT = 4
"""Counts up when reading, resizing or arithmetic changes, so that old features are not taken for new ones."""

KEPT_BYTES = 10 * 2**30
"""How much the cache may hold; the files unused for longest go first."""


@dataclass(frozen=True)
class Values:
    """One array of numbers for each picture that could be read.

    Args:
        values: (n, ...) float32, one row for each of `rows`.
        rows: (n,) the rows of the table of examples.
        errors: Row to reason for each picture that could not be read.
    """

    values: np.ndarray
    rows: np.ndarray
    errors: dict[int, str]

    def at(self, rows: np.ndarray) -> np.ndarray:
        """The values of some rows of the table, in that order; all of them must have been read."""
        return np.asarray(self.values[np.searchsorted(self.rows, rows)])

    def of(self, rows: np.ndarray) -> Values:
        """Those of some rows of a table, as if these were all of it; all of them must have been read."""
        return Values(self.at(rows), np.arange(len(rows)), {})


def pooled(values: np.ndarray) -> np.ndarray:
    """(n, D) features: the mean over places, where a body keeps them, (n, D, H, W)."""
    # In one order of memory: fresh features lie otherwise than kept ones, and sums depend on that in their last bits.
    return np.asarray(np.ascontiguousarray(values).reshape(*values.shape[:2], -1).mean(axis=2))


def device_for(accelerator: str) -> torch.device:
    """The device that "auto", "cpu", "gpu" or the like means on this machine.

    Raises:
        ConfigError: A name that is none, or a device that this machine does not have.
    """
    found = torch.accelerator.current_accelerator(check_available=True)
    kinds = {"auto": found or torch.device("cpu"), "cpu": torch.device("cpu"), "gpu": found}
    kinds |= {name: found if found is not None and found.type == name else None for name in ("cuda", "mps", "xpu")}
    if accelerator not in kinds:
        raise ConfigError(
            f'Unknown accelerator "{accelerator}". Expected one of {", ".join(kinds)}.' + nearest(accelerator, kinds)
        )
    device = kinds[accelerator]
    if device is None:
        has = f'it has "{found.type}"' if found is not None else "it has none"
        raise ConfigError(
            f'There is no accelerator "{accelerator}" that torch can use on this machine: {has}. '
            "Say --accelerator auto, or install a build of torch for it."
        )
    return device


def run_over(
    network: Network,
    examples: Examples,
    *,
    what: str = "logits",
    batch_size: int = 32,
    device: torch.device | None = None,
    progress: Progress | None = None,
    also: Also | None = None,
    between: Between | None = None,
    crew: Crew | None = None,
) -> Values:
    """One pass of a network in evaluation mode over all pictures.

    Args:
        network: It is moved to `device`, and back to where it was.
        examples: The pictures.
        what: "logits", or "features" for what enters the head.
        batch_size: Pictures at a time; it changes speed, and the last bits of the result.
        device: Where to compute; the CPU where none is given.
        progress: Is told of each batch.
        also: Looks at each picture that is read.
        between: Is given the features of each batch.
        crew: Who shares the pass where nobody looks on; this process alone if None.
    """
    asked = _Answers(network, examples, what, batch_size, also, between)
    if crew is None or also is not None or between is not None:
        crew = Alone()
    return _joined(crew.work(asked, device or torch.device("cpu"), progress))


def _joined(parts: Sequence[Values]) -> Values:
    """The values of rows that follow each other."""
    errors = {row: why for part in parts for row, why in part.errors.items()}
    some = [part for part in parts if len(part.rows)]
    if not some:
        return Values(np.zeros((0, 0), np.float32), np.zeros(0, np.int64), errors)
    if len(some) == 1:  # not copied: features of many pictures fill much of the memory
        return Values(some[0].values, some[0].rows, errors)
    return Values(np.concatenate([part.values for part in some]), np.concatenate([part.rows for part in some]), errors)


@dataclass(frozen=True)
class _Answers:
    """What a network answers to pictures, a batch at a time; as a job, to a rank's share of them."""

    network: Network
    examples: Examples
    what: str
    batch_size: int
    also: Also | None
    between: Between | None = None

    def of(
        self, span: range, device: torch.device, progress: Progress | None
    ) -> Iterator[tuple[np.ndarray, np.ndarray, dict[int, str]]]:
        """The rows of `span` that were read, float32 answers to them, and the reason for each that was not."""
        forward: Fast | None = None
        with ready(self.network, device) as on:
            for read, inputs, unread in stream(
                self.examples, self.network.spec, batch_size=self.batch_size, indices=span, also=self.also
            ):
                answers = np.zeros((0, 0), np.float32)
                if len(read):
                    inputs = inputs.to(on, non_blocking=True)
                    forward = forward or fast(self.network, inputs, count=len(self.examples))
                    felt = forward.features(inputs)
                    if self.between is not None:
                        self.between(read, felt)
                    answers = (self.network.head(felt) if self.what == "logits" else felt).float().cpu().numpy()
                yield read, answers, unread
                if progress is not None:
                    progress(len(read) + len(unread))

    def __call__(self, share: Share, device: torch.device, progress: Progress | None) -> Values:
        span = share.span(len(self.examples), self.batch_size)
        batches = (Values(values, read, unread) for read, values, unread in self.of(span, device, progress))
        return _joined(list(batches))


def features(
    network: Network,
    examples: Examples,
    *,
    batch_size: int = 32,
    device: torch.device | None = None,
    progress: Progress | None = None,
    cache: Path | None = None,
    also: Also | None = None,
    crew: Crew | None = None,
) -> Values:
    """The features of all pictures, from the cache where they are known.

    Args:
        network: A network whose body is frozen.
        examples: The pictures.
        batch_size: Pictures at a time.
        device: Where to compute.
        progress: Is told of each batch, or of everything at once where the cache answers.
        cache: The folder of the cache; by default `$FINETUNE_CACHE`, else `~/.cache/finetune`.
        also: Looks at each picture that is read; none is where the cache answers.
        crew: Who shares the pass; this process alone if None. What an `Onlooker` sees in others is handed to ours.
    """
    shelf, name = Shelf.of("features", most=KEPT_BYTES, cache=cache), key(network, examples)
    if (values := shelf.get(name, len(examples))) is not None:
        if progress is not None:
            progress(len(examples))
        return Values(values, np.arange(len(examples)), {})
    asked, device = _Answers(network, examples, "features", batch_size, also), device or torch.device("cpu")
    if crew is not None:
        with contextlib.suppress(OSError):  # no room for their file: then alone, in memory
            return _shared(asked, shelf, name, crew, device, progress)
    found = run_over(
        network, examples, what="features", batch_size=batch_size, device=device, progress=progress, also=also
    )
    if name is not None and not found.errors:
        with contextlib.suppress(OSError):  # a cache that cannot be written costs time later, and nothing now
            shelf.put(name, found.values)
    return found


def kept_features(network: Network, examples: Examples, *, cache: Path | None = None) -> Values | None:
    """The features of all pictures if the cache has them; nothing is computed."""
    shelf = Shelf.of("features", most=KEPT_BYTES, cache=cache)
    values = shelf.get(key(network, examples), len(examples))
    return None if values is None else Values(values, np.arange(len(examples)), {})


def _shared(
    asked: _Answers, shelf: Shelf, name: str | None, crew: Crew, device: torch.device, progress: Progress | None
) -> Values:
    """Features that several ranks write into one file.

    Raises:
        OSError: There is no room for it.
    """
    count = len(asked.examples)
    with Volume.written(shelf, name, shape=(count, *feature_shape(asked.network, device)), dtype=np.float32) as volume:
        errors: dict[int, str] = {}
        for unread, seen in crew.work(_Features(asked, volume.path), device, progress):
            errors |= unread
            if isinstance(asked.also, Onlooker):
                asked.also.take(seen)
        rows = np.array([row for row in range(count) if row not in errors], np.int64)
        if errors:  # a file of the cache has all
            return Values(np.load(volume.path, allow_pickle=False)[rows], rows, errors)
        volume.finish()
        return Values(np.load(volume.path, mmap_mode="r" if name is not None else None, allow_pickle=False), rows, {})


def feature_shape(network: Network, device: torch.device) -> tuple[int, ...]:
    """Of the features of one picture."""
    with ready(network, device) as on:
        nothing = torch.zeros((1, network.spec.in_chans, *network.spec.size), dtype=torch.uint8, device=on)
        return tuple(network.features(nothing).shape[1:])


@dataclass(frozen=True)
class _Features:
    """A rank's share of the features; returns why pictures could not be read, and what was seen of the others."""

    asked: _Answers
    path: Path

    def __call__(
        self, share: Share, device: torch.device, progress: Progress | None
    ) -> tuple[dict[int, str], dict[int, Any]]:
        errors: dict[int, str] = {}
        with Rows(self.path) as rows:
            span = share.span(len(self.asked.examples), self.asked.batch_size)
            for read, values, unread in self.asked.of(span, device, progress):
                rows.put(read, values)
                errors |= unread
        also = self.asked.also
        return errors, also.taken() if isinstance(also, Onlooker) and share.rank else {}


@contextlib.contextmanager
def ready(network: Network, device: torch.device) -> Iterator[torch.device]:
    """A network in evaluation mode on a device, and afterwards where and as it was."""
    home = next(iter(network.parameters())).device
    was_training = network.training
    # Convolutions on channels-last arrays are faster on CPUs and GPUs alike, and the weights' values stay the same.
    network.to(device).to(memory_format=torch.channels_last).eval()
    try:
        with torch.inference_mode():
            yield device
    finally:
        network.to(home).to(memory_format=torch.contiguous_format).train(was_training)


def versions(*names: str) -> list[str]:
    """Of packages on whose arithmetic something depends."""
    return [importlib.metadata.version(name) for name in names]


def key(
    network: Network, examples: Examples, *also: object, weights: Mapping[str, torch.Tensor] | None = None
) -> str | None:
    """A name for what these weights make of these pictures.

    Args:
        network: Whose preprocessing and code it is.
        examples: The pictures.
        also: What else it depends on.
        weights: On which of the network's; the body's if None.

    Returns:
        Hexadecimal digits; None where pictures may change unseen, or the network is somebody's own: only its owner
        knows whether its code is still the same.
    """
    if network.origin.library == "module":
        return None
    digest = hashlib.sha256(fingerprint(network.body if weights is None else weights).encode())
    # Arguments change the arithmetic without a trace in the weights (pad_type), and the kind of head what is cut off.
    said = [FORMAT, network.id, dict(network.origin.args), type(network.head).__name__, network.spec.to_dict()]
    said += [*versions("timm", "torch", "torchvision", "pillow"), *also]
    digest.update(json.dumps(said, default=str).encode())
    for picture in examples.pictures():
        if isinstance(picture, bytes):
            digest.update(f"{len(picture)}\0".encode() + picture)
        elif not isinstance(picture, str):
            array = np.ascontiguousarray(picture)
            digest.update(f"{array.shape}{array.dtype}".encode() + array.tobytes())
        else:
            with contextlib.suppress(OSError):
                known = stamp(picture)
                if known is None:
                    return None
                digest.update(f"{known}\n".encode())
    return digest.hexdigest()
