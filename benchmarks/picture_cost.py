"""What a training picture costs beside ImageFolder with torchvision's transforms, and a 12-megapixel photograph.

Run: OMP_NUM_THREADS=1 python benchmarks/picture_cost.py FOLDER [--count 128] [--rounds 5] [--photographs 8]

FOLDER holds pictures; they are re-encoded as JPEGs of 500x400 and, some of them, of 4032x3024, quality 90, in a
temporary folder. All ways vary by a crop of 8 % or more to 224 pixels and a mirror, as torchvision's references do, and
take turns in this process on one thread without workers: processor milliseconds a picture, medians of the rounds.

torchvision's loader ends with normalised floats. Ours hands bytes to the network, which normalises a batch on its
device; both are told, without that and with it. "cache off" decodes in each epoch, "first epoch" decodes and keeps,
"later epochs" reads what was kept. A photograph goes from its file to 256 pixels on its shorter side: PIL decodes it
whole, we decode it as small as libjpeg can without falling below.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import warnings
from collections.abc import Callable, Iterable, Sized
from pathlib import Path

import torch
from clock import processor_seconds
from PIL import Image
from reading import Loop, keepers, ours, re_encoded

from finetune.data.folders import walk
from finetune.data.kept import Kept
from finetune.data.policies import POLICIES, Policy
from finetune.data.readers import read_image
from finetune.data.steps import Crop, Mirror
from finetune.data.transforms import resize

SHORT, LARGE = 256, (4032, 3024)
Work = Callable[[], Iterable[Sized]]
"""Gives pictures, some at a time."""


def torchvision_loop(folder: Path) -> Loop:
    from torchvision import transforms as v1
    from torchvision.datasets import ImageFolder

    transform = v1.Compose([
        v1.RandomResizedCrop(224), v1.RandomHorizontalFlip(), v1.ToTensor(),
        v1.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    ])  # fmt: skip
    loader = torch.utils.data.DataLoader(ImageFolder(str(folder), transform), batch_size=32, shuffle=True)
    return lambda: (inputs for inputs, _ in loader)


def our_loops(folder: Path, root: Path) -> dict[str, Loop]:
    POLICIES["reference"] = Policy("As torchvision's references.", (Crop(scale=0.08), Mirror()))
    fresh, known = keepers(root)
    kept: dict[str, Callable[[int], Kept | None]] = {
        "cache off": lambda count: None, "first epoch": fresh, "later epochs": known,
    }  # fmt: skip
    return {
        f"{name}, {'normalised' if whole else 'bytes'}": ours(folder, way, "reference", whole=whole)
        for name, way in kept.items()
        for whole in (False, True)
    }


def cost(work: Work) -> float:
    """Processor milliseconds a picture."""
    start = processor_seconds()
    count = sum(len(pictures) for pictures in work())
    return 1000 * (processor_seconds() - start) / count


def in_turn(works: dict[str, Work], rounds: int) -> None:
    """Prints a table of what each work costs, beside the first."""
    spent: dict[str, list[float]] = {name: [] for name in works}
    for turn in range(rounds + 1):  # the first is not counted
        for name, work in works.items():
            taken = cost(work)
            if turn:
                spent[name].append(taken)
    base = statistics.median(next(iter(spent.values())))
    print("| way | ms a picture | cheaper |\n| --- | --: | --: |")
    for name, values in spent.items():
        middle = statistics.median(values)
        print(f"| {name} | {middle:.2f} ({min(values):.2f} to {max(values):.2f}) | {base / middle:.2f} |")


def photographs(sources: list[str], root: Path) -> list[Path]:
    for number, source in enumerate(sources):
        picture = Image.open(source).convert("RGB").resize(LARGE, Image.Resampling.BICUBIC)
        picture.save(root / f"photograph-{number}.jpg", quality=90)
    return sorted(root.glob("photograph-*.jpg"))


def by_pil(paths: list[Path]) -> Iterable[Sized]:
    for path in paths:
        picture = Image.open(path).convert("RGB")
        share = SHORT / min(picture.size)
        size = round(picture.width * share), round(picture.height * share)
        yield [picture.resize(size, Image.Resampling.BILINEAR)]


def by_us(paths: list[Path]) -> Iterable[Sized]:
    for path in paths:
        picture = read_image(str(path), shrink_to=SHORT)
        height, width = (round(side * SHORT / min(picture.shape[:2])) for side in picture.shape[:2])
        yield [resize(picture, (height, width), "bilinear")]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder")
    parser.add_argument("--count", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--photographs", type=int, default=8)
    options = parser.parse_args()
    torch.set_num_threads(1)
    warnings.filterwarnings("ignore")
    sources = list(walk(options.folder))[: options.count]
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        folder = re_encoded(sources, root / "pictures")
        print(f"{len(sources)} pictures of 500x400, {options.rounds} rounds in turn\n")
        in_turn({"ImageFolder, torchvision v1": torchvision_loop(folder)} | our_loops(folder, root), options.rounds)
        large = photographs(sources[: options.photographs], root)
        print(f"\n{len(large)} photographs of {LARGE[0]}x{LARGE[1]}\n")
        in_turn({"PIL, whole": lambda: by_pil(large), "finetune": lambda: by_us(large)}, options.rounds)


if __name__ == "__main__":
    main()
