"""The loops that `epoch.py` compares, each in a process of its own that waits for its turn after every epoch."""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import peers
import torch
from clock import processor_seconds
from torch import nn

SIDE, RATE = 224, 0.01


class Laps:
    """Says what an epoch took and waits for the next turn. What libraries print goes to standard error."""

    def __init__(self) -> None:
        self._out = os.fdopen(os.dup(1), "w")
        os.dup2(2, 1)
        self._pictures = 0
        self._say({"ready": True})

    def watch(self, network: nn.Module) -> None:
        """Counts the pictures that enter a network."""
        network.register_forward_pre_hook(self._saw)

    def end(self, **more: float) -> None:
        """Ends an epoch and its turn."""
        cpu, wall = processor_seconds() - self._cpu, time.perf_counter() - self._wall
        self._say({"cpu": cpu, "wall": wall, "pictures": self._pictures, **more})

    def give_up(self, why: str) -> None:
        """Says that there will be no epochs."""
        self._say({"absent": why})

    def _saw(self, network: nn.Module, inputs: Any) -> None:
        self._pictures += len(inputs[0])

    def _say(self, line: dict[str, Any]) -> None:
        print(json.dumps(line), file=self._out, flush=True)
        if not sys.stdin.readline():
            os._exit(0)  # nobody is waiting any more
        self._pictures = 0
        self._cpu, self._wall = processor_seconds(), time.perf_counter()


def plain_network(options: Any, laps: Laps) -> nn.Module:
    from torchvision import models

    network: nn.Module = getattr(models, options.network)(num_classes=len(classes(options)))
    laps.watch(network)
    return network.train()


def classes(options: Any) -> list[str]:
    return sorted(path.name for path in Path(options.folder).iterdir() if path.is_dir())


def dataset(options: Any) -> Any:
    from torchvision import transforms as v1
    from torchvision.datasets import ImageFolder

    transform = v1.Compose([
        v1.RandomResizedCrop(SIDE), v1.RandomHorizontalFlip(), v1.PILToTensor(), v1.ConvertImageDtype(torch.float),
        v1.Normalize((0.5,) * 3, (0.5,) * 3),
    ])  # fmt: skip
    return ImageFolder(options.folder, transform)


def plain_loader(options: Any) -> Any:
    return torch.utils.data.DataLoader(dataset(options), batch_size=options.batch, shuffle=True)


def sgd(network: nn.Module) -> torch.optim.Optimizer:
    return torch.optim.SGD(network.parameters(), lr=RATE, momentum=0.9, weight_decay=1e-4)


def plain_loop(options: Any, laps: Laps) -> None:
    loader, network = plain_loader(options), plain_network(options, laps)
    optimizer = sgd(network)
    while True:
        for inputs, target in loader:
            optimizer.zero_grad()
            nn.functional.cross_entropy(network(inputs), target).backward()
            optimizer.step()
        laps.end()


def lightning(options: Any, laps: Laps) -> None:
    import lightning as L

    class Module(L.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.network = plain_network(options, laps)

        def training_step(self, batch: Any, batch_idx: int) -> torch.Tensor:
            inputs, target = batch
            return nn.functional.cross_entropy(self.network(inputs), target)

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return sgd(self.network)

        def on_train_epoch_end(self) -> None:
            laps.end()

    trainer = L.Trainer(
        accelerator="cpu", devices=1, max_epochs=-1, logger=False, enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False,
    )  # fmt: skip
    trainer.fit(Module(), plain_loader(options))


def transformers(options: Any, laps: Laps) -> None:
    peers.admit()
    from transformers import Trainer, TrainerCallback, TrainingArguments

    class Wrapped(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.network = plain_network(options, laps)

        def forward(self, inputs: torch.Tensor, labels: torch.Tensor) -> dict[str, torch.Tensor]:
            logits = self.network(inputs)
            return {"loss": nn.functional.cross_entropy(logits, labels), "logits": logits}

    class Turn(TrainerCallback):  # type: ignore[misc]
        def on_epoch_end(self, *_: Any, **__: Any) -> None:
            laps.end()

    def collate(samples: Any) -> dict[str, torch.Tensor]:
        pictures, labels = zip(*samples, strict=True)
        return {"inputs": torch.stack(pictures), "labels": torch.tensor(labels)}

    wrapped = Wrapped()
    arguments = TrainingArguments(
        output_dir=options.scratch, num_train_epochs=10_000, per_device_train_batch_size=options.batch, use_cpu=True,
        report_to="none", save_strategy="no", disable_tqdm=True, logging_strategy="no", max_grad_norm=0.0,
        dataloader_pin_memory=False, remove_unused_columns=False, lr_scheduler_type="constant",
    )  # fmt: skip
    Trainer(
        wrapped, arguments, train_dataset=dataset(options), data_collator=collate, callbacks=[Turn()],
        optimizers=(sgd(wrapped), None),
    ).train()  # fmt: skip


def fastai(options: Any, laps: Laps) -> None:
    peers.admit()
    from fastai.vision import all as fv

    class Turn(fv.Callback):  # type: ignore[misc]
        def after_train(self) -> None:
            laps.end()

        def before_validate(self) -> None:
            raise fv.CancelValidException

    items = sorted(str(path) for path in Path(options.folder).glob("*/*"))
    block = fv.DataBlock(
        blocks=(fv.ImageBlock, fv.CategoryBlock), get_y=lambda path: Path(path).parent.name,
        splitter=fv.IndexSplitter([len(items)]), item_tfms=fv.RandomResizedCrop(SIDE, min_scale=0.08),
        batch_tfms=[fv.Flip(), fv.Normalize.from_stats((0.5,) * 3, (0.5,) * 3, cuda=False)],
    )  # fmt: skip
    loaders = block.dataloaders([*items, items[0]], bs=options.batch, num_workers=0, device=torch.device("cpu"))
    learner = fv.Learner(
        loaders, plain_network(options, laps), loss_func=fv.CrossEntropyLossFlat(), opt_func=fv.SGD, lr=RATE,
        moms=(0.9, 0.9, 0.9), cbs=[Turn()],
    )  # fmt: skip
    with learner.no_bar(), learner.no_logging():
        learner.fit(10_000)


def of_ours(options: Any, clip: float) -> tuple[Any, ...]:
    """The pieces of a phase of `fit`: network, task, lesson, plan, phase."""
    import numpy as np

    import finetune as ft
    from finetune.data.examples import read_examples
    from finetune.data.labels import Labels
    from finetune.data.options import Data
    from finetune.data.policies import POLICIES, Policy
    from finetune.data.steps import Crop, Mirror
    from finetune.training.phase import Phase
    from finetune.training.transfer import Lesson

    POLICIES["reference"] = Policy("As torchvision's references.", (Crop(scale=0.08), Mirror()))
    examples = read_examples(Data(source=options.folder))
    labels = Labels.from_targets("class", examples.targets)
    network = ft.Backbone(
        f"torchvision/{options.network}", weights="none", mean=0.5, std=0.5, input_size=SIDE
    ).build(labels.num_outputs)  # fmt: skip
    rows = np.arange(len(examples))
    lesson = Lesson(
        examples=examples, target=labels.encode(examples.targets), train=rows, validation=rows[:0], features=None
    )
    plan = ft.Plan(
        method="full", batch_size=options.batch, mixup=0.0, gradient_clip=clip, accelerator="cpu", workers=0,
        cache="ram",
    )  # fmt: skip
    phase = Phase(name="full", epochs=10_000, lr=RATE, schedule="constant", norms="train", augment="reference", ema=0.0)
    return network, ft.Classify().build(labels, examples.targets), lesson, plan, phase


def finetune(options: Any, laps: Laps, *, clip: float = 0.0, lowest: bool = True) -> None:
    import lightning as L

    from finetune.training.depth import lowest_to_move
    from finetune.training.machine import Machine
    from finetune.training.offers import Surroundings
    from finetune.training.on_pictures import Turn, fit_on_pictures

    class Told(L.Callback):
        def on_train_epoch_end(self, trainer: Any, module: Any) -> None:
            laps.end()

    network, task, lesson, plan, phase = of_ours(options, clip)
    if not lowest:
        names = [stage.name for stage in network.stages]
        phase = replace(phase, learns=tuple(names[names.index(lowest_to_move(network)) :]))
    laps.watch(network.head)  # what is frozen is not computed by the network itself
    around = Surroundings(folder=Path(options.scratch), machine=Machine.of(plan), callbacks=(Told(),))
    turn = Turn(index=0, prefix="", monitor=None, higher=True, epochs=None, head_decay=None, teacher=None)
    fit_on_pictures(network, task, lesson, plan, phase, around, turn, lambda line: None)


def clipping(options: Any, laps: Laps) -> None:
    finetune(options, laps, clip=1.0)


def lowest_frozen(options: Any, laps: Laps) -> None:
    finetune(options, laps, lowest=False)


def bare_loop(options: Any, laps: Laps) -> None:
    from finetune.data.cache import PictureCache
    from finetune.data.loaders import make_loader
    from finetune.training.rates import param_groups

    network, _, lesson, _, phase = of_ours(options, 0.0)
    laps.watch(network)
    network.train()
    groups = param_groups(network, lr=RATE, layer_decay=1.0, weight_decay=1e-4, stages=network.stages)
    optimizer = torch.optim.SGD(groups, lr=RATE, momentum=0.9, nesterov=True, fused=True)
    with PictureCache("ram", lesson.examples, network.spec, say=lambda line: None) as cache:
        loader = make_loader(
            lesson.examples, lesson.target, network.spec, batch_size=options.batch, train=True, policy=phase.augment,
            kept=cache.kept(phase.augment, lesson.train, epochs=phase.epochs),
        )  # fmt: skip
        for epoch in range(phase.epochs):
            loader.sampler.set_epoch(epoch)  # type: ignore[attr-defined]
            for batch in loader:
                logits = network(batch.inputs.contiguous(memory_format=torch.channels_last))
                optimizer.zero_grad()
                nn.functional.cross_entropy(logits, batch.target).backward()
                optimizer.step()
            laps.end()


def sgemm(options: Any, laps: Laps) -> None:
    one, other, side, times = torch.rand(1536, 1536), torch.rand(1536, 1536), 1536, 6
    while True:
        for _ in range(times):
            one @ other
        laps.end(operations=2.0 * side**3 * times)


WAYS: dict[str, Callable[[Any, Laps], None]] = {
    "plain loop": plain_loop, "Lightning": lightning, "transformers": transformers, "fastai": fastai,
    "finetune": finetune, "finetune, clipping": clipping,
    "finetune, lowest frozen": lowest_frozen, "bare loop": bare_loop, "sgemm": sgemm,
}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser()
    for word in ("folder", "scratch", "network", "way"):
        parser.add_argument(word)
    parser.add_argument("batch", type=int)
    options = parser.parse_args()
    warnings.filterwarnings("ignore")
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    torch.manual_seed(0)
    laps = Laps()
    try:
        WAYS[options.way](options, laps)
    except ImportError as error:
        laps.give_up(peers.absent(error))


if __name__ == "__main__":
    main()
