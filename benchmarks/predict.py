"""`Model.predict` on a folder beside fastai's `get_preds` and the pipeline of transformers, with the same weights.

Run: OMP_NUM_THREADS=1 [PEERS=FOLDER] python benchmarks/predict.py FOLDER --weights mobilenet_v2.pth [--count 500]
     [--rounds 3]

FOLDER holds pictures, WEIGHTS is torchvision's file for mobilenet_v2 with its thousand classes; PEERS is a folder into
which fastai and transformers were installed (pip install --target), where they are not installed anyway. Whoever is
missing is left out, and that is said.

Each way goes from file names to the name of the best class, shorter side to 256 and the central 224 pixels, batches of
32, no workers, in turn in one process. Seconds are processor time, which other processes on the machine disturb least.
The pipeline of transformers resizes tensors, where the others use PIL, so a close call may fall otherwise.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from clock import processor_seconds
from torchvision import transforms
from torchvision.models import mobilenet_v2

import finetune as ft
from finetune.data.folders import walk
from finetune.data.labels import Labels
from finetune.model import Model

MEAN, STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
CLASSES = 1000
Predict = Callable[[list[str]], list[int]]


def official(weights: str) -> Any:
    module = mobilenet_v2(weights=None)
    module.load_state_dict(torch.load(weights, weights_only=True))
    return module.eval()


def ours(weights: str) -> Predict:
    network = ft.Backbone("torchvision/mobilenet_v2", weights=weights).build(CLASSES).eval()
    classifier = official(weights).classifier[1]
    head = next(layer for layer in network.head.modules() if isinstance(layer, torch.nn.Linear))
    head.load_state_dict(classifier.state_dict())
    names = [f"{k:04d}" for k in range(CLASSES)]
    task = ft.Classify().build(Labels.from_targets("class", names), names)
    model = Model(network=network, task=task, folder=Path(), metrics={}, facts={})
    network.spec = replace(network.spec, size=(224, 224), crop_pct=224 / 256, interpolation="bilinear")
    return lambda files: [int(name) for name in model.predict(files, accelerator="cpu")["label"]]


def fastai(weights: str) -> Predict:
    import fastai.callback.progress  # noqa: F401  # gives learners their `no_bar`
    from fastai.data.core import DataLoaders
    from fastai.data.transforms import IntToFloatTensor, Normalize, ToTensor
    from fastai.learner import Learner
    from fastai.vision.core import PILImage
    from fastai.vision.data import TfmdDL

    shape = transforms.Compose([transforms.Resize(256), transforms.CenterCrop(224)])
    module = official(weights)

    def loader(files: list[str]) -> Any:
        def opened(file: str) -> Any:
            return PILImage(shape(PILImage.create(file)))

        from fastai.data.core import Datasets

        return TfmdDL(
            Datasets(files, tfms=[[opened]], n_inp=1), bs=32, shuffle=False, num_workers=0, drop_last=False,
            after_item=[ToTensor()], after_batch=[IntToFloatTensor(), Normalize.from_stats(MEAN, STD)],
        )  # fmt: skip

    def predict(files: list[str]) -> list[int]:
        batches = loader(files)
        learner = Learner(DataLoaders(batches, batches), module, loss_func=torch.nn.CrossEntropyLoss())
        with learner.no_bar(), learner.no_logging():
            answers, _ = learner.get_preds(dl=batches, act=torch.nn.Softmax(dim=1))
        found: list[int] = answers.argmax(dim=1).tolist()
        return found

    return predict


def pipeline(weights: str, batch_size: int) -> Predict:
    import transformers
    from transformers import ConvNextImageProcessor, ImageClassificationPipeline, PretrainedConfig, PreTrainedModel
    from transformers.modeling_outputs import ImageClassifierOutput

    transformers.logging.set_verbosity_error()

    class Wrapped(PreTrainedModel):  # type: ignore[misc]
        config_class = PretrainedConfig
        main_input_name = "pixel_values"

        def __init__(self, config: Any) -> None:
            super().__init__(config)
            self.net = official(weights)

        def forward(self, pixel_values: Any, **_: Any) -> Any:
            return ImageClassifierOutput(logits=self.net(pixel_values))

    config = PretrainedConfig(num_labels=CLASSES)
    config.id2label = {k: str(k) for k in range(CLASSES)}
    processor = ConvNextImageProcessor(
        size={"shortest_edge": 224}, crop_pct=224 / 256, resample=2, image_mean=MEAN, image_std=STD
    )
    made = ImageClassificationPipeline(model=Wrapped(config).eval(), image_processor=processor, device="cpu")
    return lambda files: [int(answer[0]["label"]) for answer in made(files, top_k=1, batch_size=batch_size)]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("folder")
    parser.add_argument("--weights", required=True)
    parser.add_argument("--count", type=int, default=500)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    if "PEERS" in os.environ:
        sys.path.append(os.environ["PEERS"])  # behind everything else, so that torch stays what it is
    files = [str(file) for file in walk(Path(options.folder))][: options.count]
    makers: dict[str, Callable[[], Predict]] = {
        "ours": lambda: ours(options.weights),
        "fastai get_preds": lambda: fastai(options.weights),
        "transformers pipeline": lambda: pipeline(options.weights, 1),
        "the same, batches of 32": lambda: pipeline(options.weights, 32),
    }
    ways: dict[str, Predict] = {}
    for name, make in makers.items():
        try:
            ways[name] = make()
            ways[name](files[:4])
        except Exception as error:  # a peer that is missing, or does not run beside this torch
            ways.pop(name, None)
            print(f"{name} is left out: {type(error).__name__}: {error}", flush=True)
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    answers: dict[str, list[int]] = {}
    for _ in range(options.rounds):
        for name, predict in ways.items():
            start = processor_seconds()
            answers[name] = predict(files)
            seconds[name].append(processor_seconds() - start)
        print({name: round(taken[-1], 2) for name, taken in seconds.items()}, flush=True)
    print(f"{len(files)} pictures, one thread, {options.rounds} rounds in turn, processor seconds")
    base = statistics.median(seconds["ours"])
    for name, taken in seconds.items():
        same = sum(a == b for a, b in zip(answers[name], answers["ours"], strict=True))
        middle = statistics.median(taken)
        print(f"{name:24s} {middle:6.2f} s, ours is {middle / base:.2f} x as fast; same best class {same}/{len(files)}")


if __name__ == "__main__":
    main()
