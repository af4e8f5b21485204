"""Training pictures a second and core beside torchvision, timm and fastai, and what the faster ways do to the pixels.

Run: OMP_NUM_THREADS=1 python benchmarks/reading.py FOLDER [--weights FILE] [--count 200] [--rounds 5]

FOLDER holds pictures; they are re-encoded as JPEGs of 500x400, quality 90, in a temporary folder. Each loader gives
normalised float batches of 32 with the same augmentation: crop of 60 % or more to 224 pixels with an antialiased
bilinear kernel, flip, and in 8 of 10 light and colour. All run in this process without workers on one thread, in turn;
a figure is the median of the rounds by processor time, which other processes on the machine disturb least, with the
extremes, and by the clock. fastai takes part where it can be imported (2.8.12 needs fastprogress below 1.1); it does
flip, light and colour to whole batches.

"off" decodes in each epoch; "first epoch" decodes and keeps; "later epochs" reads what was kept; "run of 3" is three
epochs, the shortest run by default, of which the first one keeps.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from clock import processor_seconds
from PIL import Image

import finetune as ft
from finetune.data.decode import decode_jpeg
from finetune.data.examples import read_examples
from finetune.data.folders import walk
from finetune.data.kept import Kept, preparation
from finetune.data.loaders import make_loader
from finetune.data.options import Data
from finetune.data.readers import read_image
from finetune.data.transforms import resize, shrink_to
from finetune.types import ImageSpec

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
SCALE, LIGHT, HUE, OFTEN = (0.6, 1.0), 0.15, 0.02, 0.8  # those of the policy "light"
Loop = Callable[[], Iterable[Any]]


def spec(side: int) -> ImageSpec:
    return ImageSpec(size=(side, side), mean=MEAN, std=STD, interpolation="bilinear")


def ours(folder: Path, kept: Callable[[int], Kept | None], policy: str = "light", *, whole: bool = True) -> Loop:
    """Our batches, normalised where `whole`, else as the loader hands them to the network."""
    examples = read_examples(Data(source=str(folder)))
    network = ft.Backbone("torchvision/mobilenet_v2", weights="none", mean=MEAN, std=STD).build(2)

    def loop() -> Iterable[Any]:
        loader = make_loader(
            examples, np.zeros(len(examples), np.int64), spec(224), batch_size=32, train=True, policy=policy,
            kept=kept(len(examples)),
        )  # fmt: skip
        for batch in loader:
            # Normalising is the network's part in training, on its device.
            yield network.normalised(batch.inputs) if whole else batch.inputs

    return loop


def torchvision_loops(folder: Path) -> dict[str, Loop]:
    from torchvision import transforms as v1
    from torchvision.datasets import ImageFolder
    from torchvision.transforms import v2

    pil = v1.Compose([
        v1.RandomResizedCrop(224, scale=SCALE), v1.RandomHorizontalFlip(),
        v1.RandomApply([v1.ColorJitter(LIGHT, LIGHT, LIGHT, HUE)], OFTEN),
        v1.PILToTensor(), v1.ConvertImageDtype(torch.float), v1.Normalize(MEAN, STD),
    ])  # fmt: skip
    tensor = v2.Compose([
        v2.PILToTensor(), v2.RandomResizedCrop(224, scale=SCALE, antialias=True), v2.RandomHorizontalFlip(),
        v2.RandomApply([v2.ColorJitter(LIGHT, LIGHT, LIGHT, HUE)], OFTEN),
        v2.ToDtype(torch.float, scale=True), v2.Normalize(MEAN, STD),
    ])  # fmt: skip

    def loop(transform: Any) -> Loop:
        loader = torch.utils.data.DataLoader(ImageFolder(str(folder), transform), batch_size=32, shuffle=True)
        return lambda: (inputs for inputs, _ in loader)

    return {"torchvision": loop(pil), "torchvision v2, tensors": loop(tensor)}


def timm_loop(folder: Path) -> Loop:
    import timm.data

    dataset = timm.data.create_dataset("", str(folder), split="", is_training=True)
    loader = timm.data.create_loader(
        dataset, (3, 224, 224), 32, is_training=True, use_prefetcher=False, scale=SCALE, hflip=0.5, num_workers=0,
        color_jitter=(LIGHT, LIGHT, LIGHT, HUE), color_jitter_prob=OFTEN, interpolation="bilinear", mean=MEAN, std=STD,
        persistent_workers=False, re_prob=0.0,
    )  # fmt: skip
    return lambda: (inputs for inputs, _ in loader)


def fastai_loop(folder: Path) -> Loop | None:
    try:
        from fastai.vision import augment
        from fastai.vision.data import ImageDataLoaders
    except ImportError as error:
        print(f"fastai was left out: {error}")
        return None
    loaders = ImageDataLoaders.from_folder(
        folder, valid_pct=0.01, bs=32, num_workers=0, device=torch.device("cpu"),
        item_tfms=augment.RandomResizedCrop(224, min_scale=SCALE[0]),
        batch_tfms=[
            augment.Flip(p=0.5), augment.Brightness(max_lighting=LIGHT, p=OFTEN),
            augment.Contrast(max_lighting=LIGHT, p=OFTEN), augment.Saturation(max_lighting=LIGHT, p=OFTEN),
            augment.Hue(max_hue=HUE, p=OFTEN), augment.Normalize.from_stats(MEAN, STD, cuda=False),
        ],
    )  # fmt: skip
    return lambda: (batch[0].as_subclass(torch.Tensor) for batch in loaders.train)


def timed(loop: Loop) -> tuple[float, float]:
    """Pictures a second, by processor and by clock."""
    cpu, wall, count = processor_seconds(), time.perf_counter(), 0
    for inputs in loop():
        if inputs.dtype != torch.float32 or inputs.shape[1:] != (3, 224, 224):
            raise ValueError(f"{inputs.dtype} {tuple(inputs.shape)}")
        count += len(inputs)
    return count / (processor_seconds() - cpu), count / (time.perf_counter() - wall)


def re_encoded(sources: list[str], root: Path) -> Path:
    for number, source in enumerate(sources):
        path = root / "ab"[number % 2] / f"{number}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.open(source).convert("RGB").resize((500, 400), Image.Resampling.BICUBIC).save(path, quality=90)
    return root


def keepers(root: Path) -> tuple[Callable[[int], Kept], Callable[[int], Kept]]:
    """From a number of pictures to a cache for them: an empty one each time, and one that stays."""
    warm: dict[str, Kept] = {}

    def fresh(count: int) -> Kept:
        shutil.rmtree(root / "cold", ignore_errors=True)
        return Kept(root / "cold", count, most=2**40)

    def known(count: int) -> Kept:
        return warm.setdefault("set", Kept(root / "warm", count, most=2**40))

    return fresh, known


def speed(sources: list[str], root: Path, rounds: int) -> None:
    folder = re_encoded(sources, root / "pictures")
    fresh, known = keepers(root)

    def run(epochs: int) -> Loop:
        begun: dict[str, Kept] = {}
        epoch = ours(folder, lambda count: begun.get("set") or begun.setdefault("set", fresh(count)))

        def loop() -> Iterable[Any]:
            begun.clear()
            for _ in range(epochs):
                yield from epoch()

        return loop

    loops = torchvision_loops(folder) | {"timm": timm_loop(folder)}
    if (loop := fastai_loop(folder)) is not None:
        loops["fastai"] = loop
    peers = set(loops)
    loops |= {
        "finetune, off": ours(folder, lambda count: None), "finetune, first epoch": ours(folder, fresh),
        "finetune, later epochs": ours(folder, known), "finetune, run of 3": run(3),
    }  # fmt: skip
    for loop in loops.values():
        timed(loop)
    rates: dict[str, list[tuple[float, float]]] = {name: [] for name in loops}
    for _ in range(rounds):
        for name, loop in loops.items():
            rates[name].append(timed(loop))
    best = max(peers, key=lambda name: statistics.median(rate for rate, _ in rates[name]))
    base, base_wall = (statistics.median(column) for column in zip(*rates[best], strict=True))
    decoder = decode_jpeg(Image.open(next(folder.glob("*/*.jpg"))))
    print(f"{len(sources)} JPEGs of 500x400, {rounds} rounds in turn, {torch.get_num_threads()} thread, "
          f"simplejpeg {'in use' if decoder is not None else 'not installed'}; pictures a second")  # fmt: skip
    for name, values in rates.items():
        cpu, wall = (np.array(column) for column in zip(*values, strict=True))
        print(
            f"{name:24s} processor {np.median(cpu):6.0f} ({cpu.min():.0f} to {cpu.max():.0f}), "
            f"{np.median(cpu) / base:.2f} x {best}; clock {np.median(wall):6.0f}, {np.median(wall) / base_wall:.2f} x"
        )


def differences(sources: list[str], side: int, weights: str | None) -> None:
    """The same crops from pictures decoded whole, decoded smaller, and kept."""
    shape, room = spec(side), shrink_to(spec(side), "light")
    way = preparation(shape, "light")
    network = ft.Backbone("torchvision/mobilenet_v2", weights=weights).build(2).eval() if weights else None
    ways: dict[str, list[np.ndarray]] = {"decoded whole": [], "decoded smaller": [], "kept": []}
    changed = {"decoded smaller": 0, "kept": 0}
    for source in sources:
        whole, smaller = read_image(source), read_image(source, shrink_to=room)
        kept = way.apply(read_image(source, shrink_to=way.shrink_to))
        changed["decoded smaller"] += smaller.shape != whole.shape
        changed["kept"] += kept.shape != whole.shape
        if kept.shape == whole.shape == smaller.shape:
            continue  # the same pixels: counted, and left out of the means
        for name, picture in zip(ways, (whole, smaller, kept), strict=True):
            height, width = picture.shape[:2]
            for share in (0.8, 1.0):
                box = tuple(edge * (1 + sign * share) / 2 for sign in (-1, 1) for edge in (width, height))
                ways[name].append(resize(picture, shape.size, shape.interpolation, box))  # type: ignore[arg-type]
    print(f"crops of 80 and 100 % to {side} pixels beside the same from whole decoding, of {len(sources)} pictures:")
    stacks = {name: torch.from_numpy(np.stack(crops).transpose(0, 3, 1, 2)) for name, crops in ways.items() if crops}
    for name in changed:
        text = f"{name:16s} {changed[name]} pictures differ"
        if changed[name] and stacks:
            gap = (stacks[name].float() - stacks["decoded whole"].float()).abs()
            text += f"; where any do, mean absolute difference {gap.mean():.2f} of 255"
            if network is not None:
                with torch.inference_mode():
                    one, other = (network.features(stacks[way]) for way in (name, "decoded whole"))
                cosine = torch.cosine_similarity(one, other)
                text += f", cosine of features {cosine.mean():.4f} (least {cosine.min():.4f})"
        print(text)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("folder")
    parser.add_argument("--weights", help="of torchvision/mobilenet_v2, for the cosine of features")
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    torch.set_num_threads(1)
    warnings.filterwarnings("ignore")
    sources = list(walk(options.folder))[: options.count]
    with tempfile.TemporaryDirectory() as root:
        speed(sources, Path(root), options.rounds)
    for side in (224, 96):
        differences(sources[:60], side, options.weights)


if __name__ == "__main__":
    main()
