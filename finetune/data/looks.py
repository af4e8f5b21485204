"""What each picture looks like: a few facts that any pass over the pictures can take down by the way."""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from .examples import Examples
from .known import Known, stamp_of
from .readers import scan

if TYPE_CHECKING:
    import torch

    from ..crew import Crew, Share

FORMAT = 1
"""Counts up when reading or a fact changes, so that facts kept before are not taken for those of after."""

SIDE = 256
"""Pixels of the longer side at which brightness, contrast and sharpness are taken, so that they compare."""

THUMBNAIL = 32

LOOK = np.dtype(
    [("digest", "u1", (32,)), ("height", "i4"), ("width", "i4"), ("hash", "u8"),
     ("thumbnail", "u1", (THUMBNAIL, THUMBNAIL)), ("brightness", "f4"), ("contrast", "f4"), ("sharpness", "f4")]
)  # fmt: skip
"""A look as one record of an array."""

FACTS = [name for name in LOOK.names or ()]


@dataclass(frozen=True, kw_only=True)
class Look:
    """The facts of one decoded, upright picture.

    Args:
        digest: SHA-256 of its shape, its number type and its pixels (32 bytes).
        height: Its height in pixels.
        width: Its width in pixels.
        hash: The perceptual hash of its grey version: 64 bits of its low frequencies (pHash).
        thumbnail: (32, 32) uint8, its grey version without regard to its proportions.
        brightness: The mean of its grey version, 0..1.
        contrast: The standard deviation of its grey version, 0..0.5.
        sharpness: The variance of the Laplacian of its grey version (Pech-Pacheco et al. 2000), all three at the same
            size for all pictures.
    """

    digest: bytes
    height: int
    width: int
    hash: int
    thumbnail: np.ndarray
    brightness: float
    contrast: float
    sharpness: float


@dataclass(frozen=True, kw_only=True)
class Looks:
    """The looks of a table of examples, a column a fact and a row an example; zeros where a picture was not read.

    Args:
        digest: (N, 32) uint8.
        height: (N,) int32.
        width: (N,) int32.
        hash: (N,) uint64.
        thumbnail: (N, 32, 32) uint8.
        brightness: (N,) float32.
        contrast: (N,) float32.
        sharpness: (N,) float32.
        errors: The reason for each row that cannot be read.
    """

    digest: np.ndarray
    height: np.ndarray
    width: np.ndarray
    hash: np.ndarray
    thumbnail: np.ndarray
    brightness: np.ndarray
    contrast: np.ndarray
    sharpness: np.ndarray
    errors: Mapping[int, str]

    @classmethod
    def of(
        cls,
        examples: Examples,
        *,
        in_chans: int = 3,
        readers: int = 4,
        progress: Callable[[int], None] | None = None,
        cache: Path | None = None,
    ) -> Looks:
        """The looks of all pictures, by a pass of their own over those that are not known from before.

        Args:
            examples: The table.
            in_chans: As for `read_image`.
            readers: How many pictures are read at once.
            progress: Is told of each picture done.
            cache: The folder of the cache; by default `$FINETUNE_CACHE`, else `~/.cache/finetune`.
        """
        return Onlooker(examples, in_chans=in_chans, cache=cache).looks(readers=readers, progress=progress)

    def __len__(self) -> int:
        return len(self.hash)

    @property
    def read(self) -> np.ndarray:
        """(N,) bool, which rows could be read."""
        found: np.ndarray = self.height > 0
        return found

    def take(self, indices: Sequence[int] | np.ndarray) -> Looks:
        """These rows, in this order, numbered anew, as `Examples.take` does."""
        rows = np.asarray(indices, np.int64)
        errors = {new: self.errors[old] for new, old in enumerate(rows.tolist()) if old in self.errors}
        return Looks(**{name: getattr(self, name)[rows] for name in FACTS}, errors=errors)

    def __getitem__(self, row: int) -> Look:
        return Look(
            digest=self.digest[row].tobytes(),
            height=int(self.height[row]),
            width=int(self.width[row]),
            hash=int(self.hash[row]),
            thumbnail=self.thumbnail[row],
            brightness=float(self.brightness[row]),
            contrast=float(self.contrast[row]),
            sharpness=float(self.sharpness[row]),
        )


def look_at(picture: np.ndarray) -> Look:
    """Takes down the facts of one picture.

    Args:
        picture: (H, W, C), uint8 in 0..255 or float32 in 0..1, upright, of any number of channels.
    """
    import imagehash

    grey = _grey(picture)
    height, width = picture.shape[:2]
    scale = SIDE / max(height, width)
    # Antialiased where it shrinks. The reducing gap spares most of the work on a huge picture.
    small = grey.resize(
        (max(1, round(width * scale)), max(1, round(height * scale))), Image.Resampling.BILINEAR, reducing_gap=3.0
    )
    even = np.asarray(small, np.float32) / (255 if grey.mode == "L" else 1)
    thumbnail = np.asarray(grey.resize((THUMBNAIL, THUMBNAIL), Image.Resampling.LANCZOS, reducing_gap=3.0))
    if grey.mode == "F":
        thumbnail = np.round(thumbnail.clip(0, 1) * 255).astype(np.uint8)
    bits = imagehash.phash(Image.fromarray(thumbnail)).hash
    pixels = np.ascontiguousarray(picture)
    digest = hashlib.sha256(f"{pixels.shape}{pixels.dtype}".encode())
    digest.update(pixels.data)
    return Look(
        digest=digest.digest(),
        height=height,
        width=width,
        hash=int.from_bytes(np.packbits(bits).tobytes(), "big"),
        thumbnail=thumbnail,
        brightness=float(even.mean()),
        contrast=float(even.std()),
        sharpness=_sharpness(even),
    )


def _grey(picture: np.ndarray) -> Image.Image:
    """A picture of one channel, 8 bits or float in 0..1; the mean where the channels are no colours."""
    channels = picture.shape[2]
    if channels == 1:
        plain = picture[..., 0]
    elif channels == 3 and picture.dtype == np.uint8:
        return Image.fromarray(np.ascontiguousarray(picture)).convert("L")
    elif channels == 3:
        plain = picture @ np.array([0.299, 0.587, 0.114], np.float32)
    else:
        plain = picture.mean(axis=2, dtype=np.float32) / np.float32(255 if picture.dtype == np.uint8 else 1)
    return Image.fromarray(np.ascontiguousarray(plain if plain.dtype == np.uint8 else plain.astype(np.float32)))


def _sharpness(grey: np.ndarray) -> float:
    padded = np.pad(grey, 1, mode="edge")
    around = padded[:-2, 1:-1] + padded[2:, 1:-1] + padded[1:-1, :-2] + padded[1:-1, 2:]
    return float((around - 4 * grey).var())


class Onlooker:
    """Watches a pass over the pictures, and knows in the end what they look like.

    `stream`, `scan` and `features` take it as `also`. What they did not read, for its features were known say,
    `looks` reads afterwards.

    Args:
        examples: The table that the pass is over.
        in_chans: As for `read_image`; the same as of the pass.
        cache: The folder of the cache; by default `$FINETUNE_CACHE`, else `~/.cache/finetune`.
    """

    def __init__(self, examples: Examples, *, in_chans: int = 3, cache: Path | None = None) -> None:
        self._examples = examples
        self._in_chans = in_chans
        base = cache or Path(os.environ.get("FINETUNE_CACHE", "~/.cache/finetune")).expanduser()
        self._kept = Known(base / "looks", LOOK, version=(FORMAT, in_chans, SIDE, version("pillow")))
        # Taken now and not when it is kept: a file that changes in between must not pass for the one that was read.
        self._stamps = {row: stamp for row, what in enumerate(examples.pictures()) if (stamp := stamp_of(what))}
        self._records = np.zeros(len(examples), LOOK)
        self._known = self._kept.fill(self._records, self._stamps)
        self._new: set[int] = set()

    def see(self, row: int, picture: np.ndarray) -> tuple[Any, ...] | None:
        """The facts of a picture as it was decoded, (H, W, C), as a record; None where they are known."""
        if row in self._known or row in self._new:
            return None
        look = look_at(picture)
        return np.frombuffer(look.digest, np.uint8), *(getattr(look, name) for name in FACTS[1:])

    def note(self, row: int, seen: Any) -> None:
        """Takes such a record down."""
        if seen is not None:
            self._records[row] = seen
            self._new.add(row)

    def taken(self) -> dict[int, Any]:
        """What this one has taken down of pictures that were not known, by row, for another one to `take`."""
        return {row: self._records[row] for row in sorted(self._new)}

    def take(self, taken: Mapping[int, Any]) -> None:
        """Takes over what another one saw of the same table in its process."""
        for row, record in taken.items():
            self.note(row, record)

    def looks(
        self,
        *,
        errors: Mapping[int, str] | None = None,
        readers: int = 4,
        progress: Callable[[int], None] | None = None,
    ) -> Looks:
        """The looks of all pictures; reads those that were not seen.

        Args:
            errors: The rows of which the pass has found that they cannot be read, and why.
            readers: How many pictures are read at once.
            progress: Is told of each picture done.
        """
        unread = dict(errors or {})
        missing = [r for r in range(len(self._examples)) if r not in self._known | self._new and r not in unread]
        if progress is not None and len(missing) < len(self._examples):
            progress(len(self._examples) - len(missing))
        unread |= scan(self._examples, self._in_chans, readers, indices=missing, progress=progress, also=self)
        if self._new:
            with contextlib.suppress(OSError):  # a cache that cannot be written costs time later, and nothing now
                self._kept.add(self._records, self._stamps, self._new)
        return Looks(**{name: self._records[name].copy() for name in FACTS}, errors=unread)


def scan_by(
    crew: Crew, device: torch.device, examples: Examples, *, in_chans: int = 3,
    progress: Callable[[int], None] | None = None, also: Onlooker | None = None,
) -> dict[int, str]:  # fmt: skip
    """Reads every picture whole, as `scan` does, each rank a run of them.

    Args:
        crew: Who shares the pass.
        device: As for `Crew.work`; reading has no use for it.
        examples: All examples.
        in_chans: As for `read_image`.
        progress: Is told what this process has read.
        also: Looks at each picture; what it sees in others is handed to ours.

    Returns:
        The reason for each row that cannot be read.
    """
    errors: dict[int, str] = {}
    for unread, seen in crew.work(_Reading(examples, in_chans, also), device, progress):
        errors |= unread
        if also is not None:
            also.take(seen)
    return errors


@dataclass(frozen=True)
class _Reading:
    """A rank's share of a plain reading; returns why pictures could not be read, and what was seen of the others."""

    examples: Examples
    in_chans: int
    also: Onlooker | None

    def __call__(
        self, share: Share, device: torch.device, progress: Callable[[int], None] | None
    ) -> tuple[dict[int, str], dict[int, Any]]:
        span, also = share.span(len(self.examples), 1), self.also
        errors = scan(self.examples, self.in_chans, indices=span, progress=progress, also=also)
        return errors, also.taken() if also is not None and share.rank else {}
