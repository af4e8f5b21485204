"""How many planted copies of real pictures are found, and how many pairs are found that are none.

Run: python benchmarks/copies.py ../shared/data WEIGHTS [--each 64] [--seeds 3] [--sets ...] [--untouched] [--draw DIR]

WEIGHTS are torchvision's MobileNetV2 for pictures of mean and spread 0.5. Of each set some pictures are drawn; of each
of them one copy is made, the kinds of change taking turns, and encoded as JPEG of quality 30 to 80. A copy is found
when it is in the family of its original. Pairs of two families are listed, and drawn side by side for a person to
judge: a false alarm is one that shows two different pictures, for the sets hold copies of their own. `--untouched`
looks for these alone, in all pictures of each set.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from clock import processor_seconds
from PIL import Image, ImageEnhance, ImageOps

import finetune as ft
from finetune.data.copies import Pair, clusters, find_copies
from finetune.data.examples import read_examples
from finetune.data.looks import Onlooker
from finetune.data.options import Data
from finetune.data.readers import read_image
from finetune.errors import UnreadableError
from finetune.features import features
from finetune.models.network import Network

SETS = {
    "cats_dogs": "cats_dogs/*/*.jpg",
    "hymenoptera": "hymenoptera/*/*/*.jpg",
    "isic_lesions": "isic_lesions/images/*.jpg",
    "chest_xray": "chest_xray/*/*",
    "imagenet_sample": "imagenet_sample/*",
    "photos_exif": "photos_exif/**/*.jpg",
    "cifar10": "cifar10/train/*/*.jpg",
    "driving": "driving/**/*.jpg",
    "receipts": "receipts/img/*.jpg",
}
USUAL = tuple(SETS)[:6]

Change = Callable[[Image.Image, np.random.Generator], Image.Image]


def resized(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    scale = rng.uniform(0.4, 1.6)
    return image.resize(
        (max(8, round(image.width * scale)), max(8, round(image.height * scale))), Image.Resampling.BICUBIC
    )


def rotated(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    angle = rng.choice([-1, 1]) * rng.uniform(3, 15)
    return image.rotate(angle, Image.Resampling.BICUBIC, expand=bool(rng.integers(2)))


def cropped(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    area = rng.uniform(0.6, 0.9)
    across = area ** rng.uniform(0.3, 0.7)
    width, height = round(image.width * across), round(image.height * area / across)
    left, top = rng.integers(image.width - width + 1), rng.integers(image.height - height + 1)
    return image.crop((left, top, left + width, top + height))


def lit(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    brighter = ImageEnhance.Brightness(image).enhance(rng.uniform(0.7, 1.3))
    return ImageEnhance.Contrast(brighter).enhance(rng.uniform(0.7, 1.3))


def combined(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    """A mirrored or plain crop, resized and lit."""
    image = ImageOps.mirror(image) if rng.integers(2) else image
    return lit(resized(cropped(image, rng), rng), rng)


CHANGES: dict[str, Change] = {
    "re-encoded": lambda image, rng: image,
    "resized": resized,
    "mirrored": lambda image, rng: ImageOps.mirror(image),
    "turned": lambda image, rng: image.rotate(90 * int(rng.integers(1, 4)), expand=True),
    "rotated": rotated,
    "cropped": cropped,
    "lit": lit,
    "combined": combined,
}


def encoded(image: Image.Image, quality: int) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality)
    return buffer.getvalue()


@dataclass
class Tally:
    """What was planted and found, by kind of change, and the pairs that were not planted."""

    planted: Counter[str] = field(default_factory=Counter)
    found: Counter[str] = field(default_factory=Counter)
    pairs: int = 0
    others: list[tuple[str, str, str, float]] = field(default_factory=list)


def plant(files: list[Path], folder: Path, rng: np.random.Generator) -> dict[Path, str]:
    """Writes one changed copy of each file, and says how it was changed."""
    kinds = list(CHANGES)
    copies = {}
    for number, file in enumerate(files):
        kind = kinds[number % len(kinds)]
        changed = CHANGES[kind](Image.fromarray(read_image(file)), rng)
        path = folder / f"{number}.jpg"
        path.write_bytes(encoded(changed, int(rng.integers(30, 81))))
        copies[path] = kind
    return copies


def pairs_of(files: list[Path], network: Network) -> tuple[list[Pair], dict[str, float]]:
    """The confirmed pairs, and the processor seconds of each step."""
    examples = read_examples(Data(source=([str(file) for file in files], [str(n % 2) for n in range(len(files))])))
    onlooker = Onlooker(examples)
    begin = processor_seconds()
    known = features(network, examples, also=onlooker)
    seen = processor_seconds()
    looks = onlooker.looks(errors=known.errors)
    values = np.zeros((len(examples), known.values.shape[1]), np.float32)
    values[known.rows] = known.values
    ready = processor_seconds()
    pairs = find_copies(examples, looks, features=values, threads=2)
    return pairs, {"features and looks": seen - begin, "copies": processor_seconds() - ready}


def readable(files: Iterable[Path]) -> list[Path]:
    """Without those that cannot be read."""
    found = []
    for file in files:
        with contextlib.suppress(UnreadableError):
            if file.is_file():
                read_image(file)
                found.append(file)
    return found


def draw(folder: Path, name: str, pair: tuple[Path, Path]) -> None:
    """Two pictures side by side."""
    sides = [Image.fromarray(read_image(file)).resize((256, 256)) for file in pair]
    page = Image.new("RGB", (520, 256), "white")
    page.paste(sides[0], (0, 0))
    page.paste(sides[1], (264, 0))
    folder.mkdir(parents=True, exist_ok=True)
    page.save(folder / f"{name}.png")


def planted_run(files: list[Path], network: Network, seed: int, tally: Tally) -> dict[str, float]:
    """Plants copies of these files, looks for them, and counts."""
    with tempfile.TemporaryDirectory() as scratch:
        copies = plant(files, Path(scratch), np.random.default_rng((seed, 1)))
        pairs, seconds = pairs_of([*files, *copies], network)
        family = clusters(pairs, 2 * len(files))
        for row, kind in enumerate(copies.values()):
            tally.planted[kind] += 1
            tally.found[kind] += bool(family[row] == family[len(files) + row])
    tally.pairs += len(pairs)
    for pair in pairs:
        first, second = pair.first % len(files), pair.second % len(files)
        if first != second:
            tally.others.append((str(files[first]), str(files[second]), pair.how, pair.correlation))
    return seconds


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("data", type=Path)
    parser.add_argument("weights")
    parser.add_argument("--each", type=int, default=64)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--sets", nargs="+", default=USUAL, choices=SETS)
    parser.add_argument("--untouched", action="store_true")
    parser.add_argument("--draw", type=Path)
    options = parser.parse_args()
    network = ft.Backbone("torchvision/mobilenet_v2", weights=options.weights, mean=0.5, std=0.5).build(2).eval()

    for name in options.sets:
        files, tally = readable(sorted(options.data.glob(SETS[name]))), Tally()
        if options.untouched:
            pairs, seconds = pairs_of(files, network)
            tally.pairs = len(pairs)
            tally.others = [(str(files[p.first]), str(files[p.second]), p.how, p.correlation) for p in pairs]
            print(f"{name}: {len(files)} pictures, {len(pairs)} pairs; {seconds}")
        for seed in () if options.untouched else range(options.seeds):
            order = np.random.default_rng(seed).permutation(len(files))[: options.each]
            seconds = planted_run([files[row] for row in order], network, seed, tally)
            print(f"{name}, seed {seed}: {2 * len(order)} pictures, processor seconds {seconds}", flush=True)
        kinds = {kind: f"{tally.found[kind]}/{planted}" for kind, planted in tally.planted.items()}
        print(f"{name}: found {tally.found.total()}/{tally.planted.total()}, {kinds}; {tally.pairs} pairs shown")
        for number, (first, second, how, correlation) in enumerate(tally.others):
            print(f"  {correlation:.3f} {how}: {first} | {second}")
            if options.draw:
                draw(options.draw, f"{name}_{number}_{correlation:.3f}", (Path(first), Path(second)))


if __name__ == "__main__":
    main()
