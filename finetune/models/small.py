"""The lecture's own small nets, which no library has."""

from __future__ import annotations

from itertools import pairwise
from typing import final

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..errors import WeightsError
from ..types import ImageSpec
from .library import Choice, Library


class LeNet5(nn.Module):
    """LeNet-5 for 32 x 32 pictures of characters: 61,706 parameters with one channel and 10 outputs.

    Two changes against LeCun et al., "Gradient-Based Learning Applied to Document Recognition" (1998): every map of
    the third layer sees every map before it, and ReLU, maximum pooling and a linear classifier take the place of
    scaled tanh, trained averages and radial basis functions, which learn slowly with today's optimizers.

    Args:
        num_classes: Number of outputs.
        in_chans: Channels of the pictures.
    """

    def __init__(self, num_classes: int = 10, in_chans: int = 1) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_chans, 6, 5)
        self.conv2 = nn.Conv2d(6, 16, 5)
        self.conv3 = nn.Conv2d(16, 120, 5)
        self.fc1 = nn.Linear(120, 84)
        self.fc = nn.Linear(84, num_classes)

    def forward(self, inputs: Tensor) -> Tensor:
        """Answers (N, num_classes) logits for (N, in_chans, 32, 32) pictures."""
        maps = F.max_pool2d(F.relu(self.conv1(inputs)), 2)
        maps = F.max_pool2d(F.relu(self.conv2(maps)), 2)
        features = F.relu(self.conv3(maps)).flatten(1)
        answer: Tensor = self.fc(F.relu(self.fc1(features)))
        return answer


class MLP800(nn.Module):
    """784-800-10, the plain network of Simard et al. (2003): 636,010 parameters with one channel and 10 outputs.

    Args:
        num_classes: Number of outputs.
        in_chans: Channels of the pictures.
    """

    def __init__(self, num_classes: int = 10, in_chans: int = 1) -> None:
        super().__init__()
        self.fc1 = nn.Linear(in_chans * 28 * 28, 800)
        self.fc = nn.Linear(800, num_classes)

    def forward(self, inputs: Tensor) -> Tensor:
        """Answers (N, num_classes) logits for (N, in_chans, 28, 28) pictures."""
        answer: Tensor = self.fc(F.relu(self.fc1(inputs.flatten(1))))
        return answer


class PilotNet(nn.Module):
    """PilotNet, which steered NVIDIA's car (Bojarski et al. 2016, arXiv 1604.07316): 252,219 parameters for one number.

    Pictures are turned from RGB into YUV inside, by the matrix of ITU-R BT.601.

    Args:
        num_classes: Number of outputs.
        in_chans: Channels of the pictures; other than three are taken as they are.
    """

    yuv: Tensor

    def __init__(self, num_classes: int = 1, in_chans: int = 3) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_chans, 24, 5, stride=2)
        self.conv2 = nn.Conv2d(24, 36, 5, stride=2)
        self.conv3 = nn.Conv2d(36, 48, 5, stride=2)
        self.conv4 = nn.Conv2d(48, 64, 3)
        self.conv5 = nn.Conv2d(64, 64, 3)
        self.fc1 = nn.Linear(1152, 100)
        self.fc2 = nn.Linear(100, 50)
        self.fc3 = nn.Linear(50, 10)
        self.fc = nn.Linear(10, num_classes)
        matrix = [[0.299, 0.587, 0.114], [-0.14713, -0.28886, 0.436], [0.615, -0.51499, -0.10001]]
        self.register_buffer("yuv", torch.tensor(matrix).view(3, 3, 1, 1), persistent=False)

    def forward(self, inputs: Tensor) -> Tensor:
        """Answers (N, num_classes) numbers for (N, in_chans, 66, 200) pictures."""
        maps = F.conv2d(inputs, self.yuv) if inputs.shape[1] == 3 else inputs
        for layer in (self.conv1, self.conv2, self.conv3, self.conv4, self.conv5):
            maps = F.relu(layer(maps))
        features = maps.flatten(1)
        for line in (self.fc1, self.fc2, self.fc3):
            features = F.relu(line(features))
        answer: Tensor = self.fc(features)
        return answer


class MLP2500(nn.Module):
    """841-2500-2000-1500-1000-500-10, the largest network of Cireşan et al. (2010): 12,115,010 parameters.

    ReLU takes the place of scaled tanh.

    Args:
        num_classes: Number of outputs.
        in_chans: Channels of the pictures.
    """

    def __init__(self, num_classes: int = 10, in_chans: int = 1) -> None:
        super().__init__()
        widths = (in_chans * 29 * 29, 2500, 2000, 1500, 1000, 500)
        self.layers = nn.ModuleList(nn.Linear(below, above) for below, above in pairwise(widths))
        self.fc = nn.Linear(widths[-1], num_classes)

    def forward(self, inputs: Tensor) -> Tensor:
        """Answers (N, num_classes) logits for (N, in_chans, 29, 29) pictures."""
        hidden = inputs.flatten(1)
        for layer in self.layers:
            hidden = F.relu(layer(hidden))
        answer: Tensor = self.fc(hidden)
        return answer


def _grey(side: int) -> ImageSpec:
    return ImageSpec(size=(side, side), mean=(0.5,), std=(0.5,), interpolation="bilinear", crop_pct=1.0)


SMALL: dict[str, tuple[type[LeNet5] | type[MLP800] | type[MLP2500] | type[PilotNet], ImageSpec]] = {
    "lenet5": (LeNet5, _grey(32)),
    "mlp800": (MLP800, _grey(28)),
    "mlp2500": (MLP2500, _grey(29)),
    "pilotnet": (
        PilotNet,
        ImageSpec(size=(66, 200), mean=(0.5,) * 3, std=(0.5,) * 3, interpolation="bilinear", crop_pct=1.0),
    ),
}
"""Name to network and what it wants to see."""


@final
class Small(Library):
    """The nets of this file; nobody publishes weights for them."""

    def names(self) -> list[str]:
        """`lenet5`, `mlp2500`, `mlp800` and `pilotnet`."""
        return sorted(SMALL)

    def find(self, name: str) -> tuple[str, str] | None:
        """The name itself, without a tag."""
        return (name, "") if name in SMALL else None

    def spec(self, architecture: str, tag: str, *, published: bool, in_chans: int | None) -> ImageSpec:
        """Grey pictures of 32 or 28 pixels; of a road, colour and three times as wide as high."""
        return SMALL[architecture][1]

    def license(self, architecture: str, tag: str) -> str | None:
        """None: there are no weights."""
        return None

    def construct(self, choice: Choice, num_outputs: int) -> nn.Module:
        """Builds with random weights."""
        net = SMALL[choice.origin.architecture][0]
        return net(num_classes=num_outputs, in_chans=choice.spec.in_chans, **choice.origin.args)

    def pretrained(self, choice: Choice, num_outputs: int) -> nn.Module:
        """Refuses: there are none."""
        raise WeightsError(
            f"Nobody publishes weights for {choice.origin.id}. Give a file with --weights FILE, or --weights none to "
            "start from random numbers."
        )

    def classifiers(self, module: nn.Module) -> tuple[str, ...]:
        """The layer `fc`."""
        return ("fc",)

    def without_classifiers(self, module: nn.Module) -> nn.Module:
        """None has several."""
        return module

    def input_layers(self, module: nn.Module) -> tuple[str, ...]:
        """The first convolution; the others have none that another number of channels could be put through."""
        return ("conv1",) if isinstance(module, LeNet5 | PilotNet) else ()
