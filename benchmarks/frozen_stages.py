"""Ten epochs of the last stage and head, or of the head alone, beside the loop that computes what is frozen every time.

Run: OMP_NUM_THREADS=1 python benchmarks/frozen_stages.py FOLDER [--count 128] [--rounds 5] [--epochs 10] [--work stage]

FOLDER holds class folders of pictures. The network is ResNet-18 with random weights, the same in all loops: how long a
step takes does not depend on them. "plain" is what people write: ImageFolder, Resize, CenterCrop, ToTensor, Normalize;
frozen parameters require no gradient; norms are left in training mode. "plain, norms frozen" puts those of frozen
layers in evaluation mode, which is what the other side does. The other side computes what is frozen once (the
time for finding the cut, reading and decoding the pictures, and writing the file is counted) and then trains on that.
No loop augments. SGD with momentum, batches of 32, one thread, no workers, all in turn in one process.

All epochs of a loop cost the same, so one epoch is timed in each round and counted `--epochs` times; the fit of a head
to convergence on features is timed whole. Figures are medians of the rounds by processor time, which other processes
disturb least, with the extremes; ratios are those of the medians. The rate of a product of matrices (sgemm) is taken in
each round too.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from clock import processor_seconds
from torch import nn

import finetune as ft
from finetune.activations import activations
from finetune.data.examples import Examples, read_examples
from finetune.data.labels import Labels
from finetune.data.loaders import stream
from finetune.data.options import Data
from finetune.features import features
from finetune.models.cut import cut
from finetune.models.network import Network
from finetune.training.probe import fit_head

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
BATCH = 32
Parts = dict[str, float]


def clock(work: Callable[[], Any]) -> tuple[float, Any]:
    start = processor_seconds()
    result = work()
    return processor_seconds() - start, result


def sgemm() -> float:
    """GFLOP/s of a product of matrices at this moment: what the machine gives when nothing but arithmetic is asked."""
    a, b = torch.rand(1536, 1536), torch.rand(1536, 1536)
    seconds, _ = clock(lambda: [a @ b for _ in range(8)])
    return 8 * 2 * 1536**3 / seconds / 1e9


def plain(folder: Path, network: Network, learns: tuple[str, ...], *, norms_frozen: bool) -> Callable[[], None]:
    """An epoch of torchvision's own network with the same weights."""
    import torchvision
    from torchvision import transforms
    from torchvision.datasets import ImageFolder

    model = torchvision.models.resnet18(num_classes=2)
    model.load_state_dict(network.native_state())
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name.startswith(learns))
    transform = transforms.Compose([
        transforms.Resize(256), transforms.CenterCrop(224), transforms.ToTensor(), transforms.Normalize(MEAN, STD),
    ])  # fmt: skip
    loader = torch.utils.data.DataLoader(ImageFolder(str(folder), transform), batch_size=BATCH, shuffle=True)
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=1e-3, momentum=0.9)
    model.train()
    for name, layer in model.named_modules():
        if norms_frozen and isinstance(layer, nn.BatchNorm2d) and not name.startswith(learns):
            layer.eval()

    def epoch() -> None:
        for inputs, target in loader:
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(inputs), target).backward()
            optimizer.step()

    return epoch


def last_stage(network: Network, examples: Examples, target: np.ndarray, root: Path, epochs: int) -> Parts:
    """The pass and the epochs of layer4 and head on what lies below."""
    shutil.rmtree(root, ignore_errors=True)
    learning = network.stages[-2:]
    moving = {name for stage in learning for name in stage.parameters}

    def compute() -> Any:
        divided = cut(network, learning, next(stream(examples, network.spec, batch_size=2))[1])
        if divided is None:
            raise RuntimeError("no cut")
        return divided, activations(divided, examples, np.arange(len(examples)), say=lambda line: None, cache=root)

    once, (divided, kept) = clock(compute)
    with kept:
        loader = kept.loader(examples, target, batch_size=BATCH, train=True)
        network.train()
        for layer in network.modules():
            layer.training = not isinstance(layer, nn.BatchNorm2d)
        for name, parameter in network.named_parameters():
            parameter.requires_grad_(name in moving)
        optimizer = torch.optim.SGD([p for p in network.parameters() if p.requires_grad], lr=1e-3, momentum=0.9)

        def epoch() -> None:
            for batch in loader:
                optimizer.zero_grad()
                nn.functional.cross_entropy(network.head(divided.upper(batch.inputs)), batch.target).backward()
                optimizer.step()

        each, _ = clock(epoch)
        disk = kept.path.stat().st_size
    return {"once": once, "epoch": each, "all": once + epochs * each, "disk": disk}


def head_alone(network: Network, examples: Examples, target: np.ndarray, task: Any, root: Path) -> Parts:
    """Features once, and a head fitted to convergence, its penalty chosen by folds."""
    shutil.rmtree(root, ignore_errors=True)
    once, found = clock(lambda: features(network, examples, cache=root))
    fit, _ = clock(lambda: fit_head(network.head, found.values, target, task))
    return {"once": once, "fit": fit, "all": once + fit, "disk": sum(f.stat().st_size for f in root.iterdir())}


def line(name: str, values: list[Parts], base: list[Parts]) -> str:
    column = np.array([parts["all"] for parts in values])
    ratio = np.median([parts["all"] for parts in base]) / np.median(column)
    said = "; ".join(
        f"{part} {np.median([p[part] for p in values]):.2f} s" for part in values[0] if part not in ("all", "disk")
    )
    disk = f"; {values[0]['disk'] / 2**20:.1f} MiB of disk" if "disk" in values[0] else ""
    spread = f"{np.median(column):7.2f} s ({column.min():.2f} to {column.max():.2f})"
    return f"{name:44s} {spread}, {ratio:5.2f} x; {said}{disk}"


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("folder")
    parser.add_argument("--count", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--work", choices=("stage", "head", "both"), default="both")
    options = parser.parse_args()
    torch.set_num_threads(1)
    warnings.filterwarnings("ignore")
    with tempfile.TemporaryDirectory() as root:
        folder = Path(root) / "pictures"
        everything = read_examples(Data(source=options.folder))
        for row in np.linspace(0, len(everything) - 1, min(options.count, len(everything))).astype(int):
            source = Path(everything.table["source"][row])
            (folder / str(everything.targets[row])).mkdir(parents=True, exist_ok=True)
            shutil.copy(source, folder / str(everything.targets[row]) / source.name)
        examples = read_examples(Data(source=str(folder)))
        labels = Labels.from_targets("class", examples.targets)
        target = labels.encode(examples.targets)
        task = ft.Classify().build(labels, examples.targets)
        torch.manual_seed(0)
        network = ft.Backbone("torchvision/resnet18", weights="none").build(2)

        def epochs_of(learns: tuple[str, ...], norms_frozen: bool) -> Callable[[], Parts]:
            epoch = plain(folder, network, learns, norms_frozen=norms_frozen)

            def work() -> Parts:
                each, _ = clock(epoch)
                return {"epoch": each, "all": options.epochs * each}

            return work

        kept = Path(root) / "cache"
        works: dict[str, dict[str, Callable[[], Parts]]] = {
            "head and last stage": {
                "plain": epochs_of(("layer4", "fc"), False),
                "plain, norms frozen": epochs_of(("layer4", "fc"), True),
                "once, then on activations": lambda: last_stage(network, examples, target, kept, options.epochs),
            },
            "head": {
                "plain": epochs_of(("fc",), False),
                "once, then to convergence": lambda: head_alone(network, examples, target, task, kept),
            },
        }
        works = {name: loops for name, loops in works.items() if options.work in ("both", name.split()[-1])}
        taken: dict[tuple[str, str], list[Parts]] = {}
        rates = []
        for turn in range(options.rounds + 1):  # the first warms up and is not counted
            rates.append(sgemm())
            for subject, loops in works.items():
                for name, work in loops.items():
                    parts = work()
                    if turn:
                        taken.setdefault((subject, name), []).append(parts)
        print(f"{len(examples)} pictures, ResNet-18 with random weights, {options.epochs} epochs, "
              f"{options.rounds} rounds in turn, processor seconds of 1 thread")  # fmt: skip
        print(f"sgemm beside them {np.median(rates[1:]):.0f} GFLOP/s ({min(rates[1:]):.0f} to {max(rates[1:]):.0f})")
        for (subject, name), values in taken.items():
            print(line(f"{subject}: {name}", values, taken[subject, "plain"]))


if __name__ == "__main__":
    main()
