"""What a frozen network says of varied versions of each picture, computed once and kept."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from .crew import Crew, Progress, Share
from .data.examples import Examples
from .data.loaders import view_loader
from .features import KEPT_BYTES, feature_shape, key, ready, versions
from .models.fast import fast
from .models.network import Network
from .shelf import Rows, Shelf, Volume


def view_features(
    network: Network,
    examples: Examples,
    *,
    policy: str,
    views: int,
    engine: str = "albumentations",
    seed: int = 0,
    batch_size: int = 32,
    workers: int = 0,
    device: torch.device | None = None,
    progress: Progress | None = None,
    cache: Path | None = None,
    crew: Crew | None = None,
) -> np.ndarray:
    """The features of varied versions of all pictures, from the cache where they are known.

    Args:
        network: A network whose body is frozen.
        examples: The pictures; each of them can be read.
        policy: How pictures are varied.
        views: How many versions of each.
        engine: The library that varies them.
        seed: Fixes them.
        batch_size: Versions at a time.
        workers: Processes that read.
        device: Where to compute.
        progress: Is told of each batch.
        cache: As for `features`.
        crew: Who shares the pass; this process alone if None.

    Returns:
        (views * n, ...) float32: the first version of each of the n pictures, then the second of each, and so on.
    """
    shelf = Shelf.of("features", most=KEPT_BYTES, cache=cache)
    name = key(network, examples, policy, views, engine, seed, *versions("albumentations"))
    if (values := shelf.get(name, views * len(examples))) is not None:
        return values
    made, device = (
        _Views(network, examples, policy, views, engine, seed, batch_size, workers),
        device or torch.device("cpu"),
    )
    if crew is not None:
        with contextlib.suppress(OSError):  # no room for their file: then alone, in memory
            shape = (made.count, *feature_shape(network, device))
            with Volume.written(shelf, name, shape=shape, dtype=np.float32) as volume:
                crew.work(replace(made, path=volume.path), device, progress)
                volume.finish()
                return np.asarray(np.load(volume.path, allow_pickle=False))
    values = np.concatenate([values for _, values in made.of(range(made.count), device, progress)])
    if name is not None:
        with contextlib.suppress(OSError):
            shelf.put(name, values)
    return values


@dataclass(frozen=True)
class _Views:
    """Features of varied versions; as a job, a rank's share of them goes into a file."""

    network: Network
    examples: Examples
    policy: str
    views: int
    engine: str
    seed: int
    batch_size: int
    workers: int
    path: Path = Path()

    @property
    def count(self) -> int:
        """Versions in all."""
        return self.views * len(self.examples)

    def of(
        self, span: range, device: torch.device, progress: Progress | None
    ) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """The places of versions in `span`, and their features as float32, a batch at a time."""
        loader = view_loader(
            self.examples, self.network.spec, policy=self.policy, views=self.views, engine=self.engine,
            batch_size=self.batch_size, seed=self.seed, workers=self.workers, span=span,
        )  # fmt: skip
        forward, at = None, span.start
        with ready(self.network, device) as on:
            for batch in loader:
                inputs = batch.inputs.to(on, non_blocking=True)
                forward = forward or fast(self.network, inputs, count=self.count)
                yield np.arange(at, at + len(inputs)), forward.features(inputs).float().cpu().numpy()
                at += len(inputs)
                if progress is not None:
                    progress(len(inputs))

    def __call__(self, share: Share, device: torch.device, progress: Progress | None) -> None:
        with Rows(self.path) as rows:
            for at, values in self.of(share.span(self.count, self.batch_size), device, progress):
                rows.put(at, values)
