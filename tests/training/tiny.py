"""A network with normalisation that is small enough for two ranks on two cores."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

import finetune as ft
from finetune.data.labels import Labels
from finetune.data.options import Data
from finetune.features import run_over
from finetune.models.network import Network
from finetune.tasks.base import Task
from finetune.training.machine import Machine
from finetune.training.offers import Surroundings
from finetune.training.transfer import Lesson


class TinyNet(nn.Module):
    def __init__(self, num_classes: int = 10) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 6, 3, stride=2)
        self.bn1 = nn.BatchNorm2d(6)
        self.conv2 = nn.Conv2d(6, 8, 3, stride=2)
        self.bn2 = nn.BatchNorm2d(8)
        self.drop = nn.Dropout(0.2)
        self.fc = nn.Linear(8, num_classes)

    def forward(self, inputs: Tensor) -> Tensor:
        maps = torch.relu(self.bn1(self.conv1(inputs)))
        maps = torch.relu(self.bn2(self.conv2(maps)))
        return self.fc(self.drop(maps.mean(dim=(2, 3))))


def tiny(num_outputs: int = 3, seed: int = 0) -> Network:
    """The network with statistics that are not those of a fresh one."""
    torch.manual_seed(seed)
    module = TinyNet()
    module.train()(torch.rand(64, 3, 32, 32))
    return ft.Backbone.from_module(module.eval(), head="fc", input_size=32).build(num_outputs)


def lesson(
    folder, network: Network, *, n: int | None = None, options: ft.Classify | None = None
) -> tuple[Lesson, Task]:
    """All pictures of a folder, or the first n, two thirds to learn from."""
    from finetune.data.examples import read_examples

    examples = read_examples(Data(source=str(folder)))
    labels = Labels.from_targets("class", examples.targets)
    rows = np.arange(len(examples))[:n]
    made = Lesson(
        examples=examples, target=labels.encode(examples.targets), train=rows[rows % 3 > 0],
        validation=rows[rows % 3 == 0], features=run_over(network, examples, what="features"),
    )  # fmt: skip
    return made, (options or ft.Classify()).build(labels, [examples.targets[row] for row in made.train])


def around(folder, plan: ft.Plan, **words) -> Surroundings:
    return Surroundings(folder=folder, machine=Machine.of(plan), **words)


def state(module: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in module.state_dict().items()}
