"""One method on one set with one seed, in a process of its own; `quality.py` starts it.

Every method is given the same training pictures and the same weights, MobileNet v2 of torchvision with mean = std =
0.5, and answers for the test part when it is done. Nothing is tuned to a set: a method runs as its makers present it.

default      `ft.fit` with the number of epochs and no method. A table with a train and a test part: `fit` takes its
             validation out of train, chooses, and fits once more on all of train.
alone        `ft.fit` that is not even told the number of epochs
ours:METHOD  `ft.fit(method=METHOD)`
fastai       `vision_learner(...).fine_tune(epochs)`: pictures of 460 pixels cut to 224 by `aug_transforms`
torchvision  the loop of its references: RandomResizedCrop, mirror, SGD with momentum .9, rate .01 on a cosine, decay
             1e-4, all layers learn, normalisation in training mode; torchvision:RATE for another rate
hf           `Trainer` of transformers with its own defaults (AdamW, 5e-5 falling linearly, batches of 8) on the
             transforms of its example, RandomResizedCrop and mirror; hf:RATE for another rate
sklearn      `LogisticRegressionCV` on the features of the frozen network, central crops
"""

from __future__ import annotations

import argparse
import json
import os
import random
import tempfile
import time
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import peers
import torch
from clock import processor_seconds
from PIL import Image
from quality_sets import Parts, Row, parts, root
from torch import nn

BATCH = 32
SIDE = 224
Predict = Callable[[Sequence[str]], np.ndarray]
"""(n, K) probabilities of pictures, classes in the order of names."""


def weights() -> Path:
    return root() / "weights" / "mobilenet_v2.torchvision.pth"


def mobilenet(classes: int | None) -> nn.Module:
    """The network of torchvision with the pretrained weights and, where classes are given, a fresh head for them."""
    from torchvision.models import mobilenet_v2

    network = mobilenet_v2()
    network.load_state_dict(torch.load(weights(), weights_only=True))
    if classes is not None:
        network.classifier[1] = nn.Linear(network.last_channel, classes)
    return network


class Pictures(torch.utils.data.Dataset):  # type: ignore[type-arg]
    """torchvision's transforms on PIL's pictures, as ImageFolder has them."""

    def __init__(self, paths: Sequence[str], labels: Sequence[int], *, train: bool) -> None:
        from torchvision import transforms as v1

        cut = (
            [v1.RandomResizedCrop(SIDE), v1.RandomHorizontalFlip()] if train else [v1.Resize(256), v1.CenterCrop(SIDE)]
        )
        self._transform = v1.Compose([*cut, v1.ToTensor(), v1.Normalize((0.5,) * 3, (0.5,) * 3)])
        self._rows = list(zip(paths, labels, strict=True))

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        path, label = self._rows[index]
        return self._transform(Image.open(path).convert("RGB")), label


def training(known: Parts) -> Pictures:
    number = {name: k for k, name in enumerate(known.classes)}
    return Pictures([row.path for row in known.train], [number[row.label] for row in known.train], train=True)


def through(network: nn.Module, paths: Sequence[str]) -> torch.Tensor:
    """What a network says of central crops, (n, K)."""
    loader = torch.utils.data.DataLoader(Pictures(paths, [0] * len(paths), train=False), batch_size=BATCH)
    network.eval()
    with torch.inference_mode():
        return torch.cat([network(inputs) for inputs, _ in loader])


def ours(known: Parts, seed: int, words: dict[str, Any], folder: str) -> Predict:
    import pandas as pd

    import finetune as ft

    def lines(rows: Sequence[Row], part: str) -> list[dict[str, str]]:
        return [{"image": r.path, "target": r.label, "unit": r.unit, "split": part} for r in rows]

    table = pd.DataFrame([*lines(known.train, "train"), *lines(known.test, "test")])
    model = ft.fit(
        table, image="image", target="target", split="split", backbone="torchvision/mobilenet_v2",
        weights=str(weights()), mean=0.5, std=0.5, seed=seed, accelerator="cpu", verbose=False, allow_leaks=True,
        group="unit" if any(row.unit != row.path for row in known.train) else None, out=str(Path(folder) / "run"),
        **words,
    )  # fmt: skip
    return lambda paths: model.predict(list(paths))[known.classes].to_numpy()


def fastai(known: Parts, seed: int, epochs: int) -> Predict:
    from fastai.vision import all as fv

    fv.set_seed(seed)
    label = {row.path: row.label for row in known.train}
    # A block asks for a validation part, and all pictures are to train: the first of them is named a second time.
    items = [*label, next(iter(label))]
    block = fv.DataBlock(
        blocks=(fv.ImageBlock, fv.CategoryBlock(vocab=known.classes)), get_y=lambda path: label[str(path)],
        splitter=fv.IndexSplitter([len(label)]), item_tfms=fv.Resize(460),
        batch_tfms=[*fv.aug_transforms(size=SIDE), fv.Normalize.from_stats((0.5,) * 3, (0.5,) * 3, cuda=False)],
    )  # fmt: skip
    # It drops a last batch that is not full.
    loaders = block.dataloaders(items, bs=min(BATCH, len(label)), num_workers=0, device=torch.device("cpu"))

    def body(**_: Any) -> nn.Module:
        return nn.Sequential(mobilenet(None).features, nn.AdaptiveAvgPool2d(1))  # it cuts at the last pooling layer

    learner = fv.vision_learner(loaders, body, normalize=False)
    with learner.no_bar(), learner.no_logging():
        learner.fine_tune(epochs)

    def predict(paths: Sequence[str]) -> np.ndarray:
        with learner.no_bar(), learner.no_logging():
            found, _ = learner.get_preds(dl=loaders.test_dl(list(paths), num_workers=0))
        return found.numpy()

    return predict


def torchvision(known: Parts, seed: int, epochs: int, rate: float) -> Predict:
    network = mobilenet(len(known.classes)).train()
    generator = torch.Generator().manual_seed(seed)
    loader = torch.utils.data.DataLoader(training(known), batch_size=BATCH, shuffle=True, generator=generator)
    optimizer = torch.optim.SGD(network.parameters(), lr=rate, momentum=0.9, weight_decay=1e-4)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs)  # an epoch a step, as in the references
    for _ in range(epochs):
        for inputs, target in loader:
            optimizer.zero_grad()
            nn.functional.cross_entropy(network(inputs), target).backward()
            optimizer.step()
        schedule.step()
    return lambda paths: through(network, paths).softmax(1).numpy()


def hf(known: Parts, seed: int, epochs: int, rate: float, folder: str) -> Predict:
    from transformers import Trainer, TrainingArguments

    class Wrapped(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.network = mobilenet(len(known.classes))

        def forward(self, pixel_values: torch.Tensor, labels: torch.Tensor | None = None) -> dict[str, torch.Tensor]:
            logits = self.network(pixel_values)
            loss = {} if labels is None else {"loss": nn.functional.cross_entropy(logits, labels)}
            return {**loss, "logits": logits}

    def collate(samples: Sequence[tuple[torch.Tensor, int]]) -> dict[str, torch.Tensor]:
        pictures, labels = zip(*samples, strict=True)
        return {"pixel_values": torch.stack(pictures), "labels": torch.tensor(labels)}

    wrapped = Wrapped()
    arguments = TrainingArguments(
        output_dir=folder, num_train_epochs=epochs, learning_rate=rate, seed=seed, use_cpu=True, report_to="none",
        save_strategy="no", disable_tqdm=True, logging_strategy="no", dataloader_pin_memory=False,
        remove_unused_columns=False,
    )  # fmt: skip
    Trainer(wrapped, arguments, train_dataset=training(known), data_collator=collate).train()
    return lambda paths: through(wrapped.network, paths).softmax(1).numpy()


def sklearn(known: Parts, seed: int) -> Predict:
    from sklearn.linear_model import LogisticRegressionCV

    network = mobilenet(None)
    network.classifier = nn.Identity()
    features = through(network, [row.path for row in known.train]).numpy()
    number = {name: k for k, name in enumerate(known.classes)}
    target = [number[row.label] for row in known.train]
    rarest = int(np.bincount(target).min())
    head = LogisticRegressionCV(Cs=10, cv=min(5, rarest), max_iter=1000, random_state=seed)
    head.fit(features, target)
    return lambda paths: head.predict_proba(through(network, paths).numpy())


def trained(method: str, known: Parts, seed: int, epochs: int, folder: str) -> Predict:
    name, _, detail = method.partition(":")
    rate = float(detail) if detail and name in ("torchvision", "hf") else None
    match name:
        case "default":
            return ours(known, seed, {"epochs": epochs}, folder)
        case "alone":
            return ours(known, seed, {}, folder)
        case "ours":
            probe = detail == "probe"  # which has no epochs
            return ours(known, seed, {"method": detail} | ({} if probe else {"epochs": epochs}), folder)
        case "fastai":
            return fastai(known, seed, epochs)
        case "torchvision":
            return torchvision(known, seed, epochs, rate or 0.01)
        case "hf":
            return hf(known, seed, epochs, rate or 5e-5, folder)
        case "sklearn":
            return sklearn(known, seed)
    raise SystemExit(f"There is no method {method!r}.")


def prepare(method: str) -> None:
    """What costs time before anything is learned, and is not counted: the imports."""
    import torchvision  # noqa: F401

    name = method.partition(":")[0]
    if name == "fastai":
        from fastai.vision import all as fv  # noqa: F401
    elif name == "hf":
        from transformers import Trainer  # noqa: F401
    elif name == "sklearn":
        import sklearn.linear_model  # noqa: F401
    elif name != "torchvision":
        import lightning  # noqa: F401
        import pandas as pd  # noqa: F401

        import finetune.running.run  # noqa: F401


def named(place: str) -> str:
    """A picture or unit without the folder of this machine."""
    return place.removeprefix(f"{root() / 'data'}/")


def main() -> None:
    parser = argparse.ArgumentParser()
    for word in ("--set", "--method", "--answer"):
        parser.add_argument(word, required=True)
    for word in ("--seed", "--epochs"):
        parser.add_argument(word, type=int, required=True)
    for word in ("--most", "--test-most"):
        parser.add_argument(word, type=int)
    options = parser.parse_args()
    warnings.filterwarnings("ignore")
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    known = parts(options.set, options.seed, most=options.most, test_most=options.test_most)
    peers.admit()
    try:
        prepare(options.method)
    except ImportError as error:
        Path(options.answer).write_text(json.dumps({"absent": peers.absent(error)}))
        return
    random.seed(options.seed)
    np.random.seed(options.seed)
    torch.manual_seed(options.seed)
    with tempfile.TemporaryDirectory() as folder:
        os.environ["FINETUNE_CACHE"] = str(Path(folder) / "cache")  # nothing is known from an earlier run
        clocks = [(processor_seconds(), time.perf_counter())]
        predict = trained(options.method, known, options.seed, options.epochs, folder)
        clocks.append((processor_seconds(), time.perf_counter()))
        found = predict([row.path for row in known.test])
        clocks.append((processor_seconds(), time.perf_counter()))
    if found.shape != (len(known.test), len(known.classes)) or not np.isfinite(found).all():
        raise SystemExit(f"{options.method} answered {found.shape}, or numbers that are not finite.")
    (cpu, wall), (cpu_predict, wall_predict) = np.diff(clocks, axis=0).round(2).tolist()
    answer = {
        "cpu": cpu, "wall": wall, "cpu_predict": cpu_predict, "wall_predict": wall_predict, "metric": known.metric,
        "train": len(known.train), "classes": known.classes, "test": [named(row.path) for row in known.test],
        "unit": [named(row.unit) for row in known.test],
        "target": [known.classes.index(row.label) for row in known.test], "probability": found.round(6).tolist(),
    }  # fmt: skip
    Path(options.answer).write_text(json.dumps(answer))


if __name__ == "__main__":
    main()
