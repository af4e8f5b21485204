"""The net that paints in one pass (Johnson et al. 2016), its training and how it looks on the way."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import lightning as L
import torch
from PIL import Image
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset

import finetune as ft

from .loss import StyleLoss
from .pixels import picture, read


class Painter(nn.Module):
    """Two layers down, five residual blocks, two layers up, with instance normalisation (Ulyanov et al. 2016).

    Two changes against Johnson's: pictures grow by repeated pixels and a convolution, whose transposed convolutions
    leave a checkerboard; and what is computed is added to the photograph before the last squashing, so that the net
    starts from showing the photograph and not from grey.

    Args:
        width: Channels of the first layer; the paper's is 32.
    """

    def __init__(self, width: int = 32) -> None:
        super().__init__()
        w = width
        self.down = nn.Sequential(_layer(3, w, 9), _layer(w, 2 * w, 3, 2), _layer(2 * w, 4 * w, 3, 2))
        self.middle = nn.Sequential(*[_Residual(4 * w) for _ in range(5)])
        up = nn.Upsample(scale_factor=2, mode="nearest")
        self.up = nn.Sequential(up, _layer(4 * w, 2 * w, 3), up, _layer(2 * w, w, 3), _Padded(w, 3, 9))
        nn.init.normal_(self.up[-1].convolution.weight, std=1e-3)

    def forward(self, photos: Tensor) -> Tensor:
        """Paints (N, 3, H, W) in 0..1, of any size from 32 pixels on; the same shape comes back."""
        height, width = photos.shape[2:]
        whole = F.pad(photos, (0, -width % 4, 0, -height % 4), mode="replicate")
        added = self.up(self.middle(self.down(whole)))[..., :height, :width]
        painted: Tensor = torch.sigmoid(added + torch.logit(photos.clamp(0.01, 0.99)))
        return painted


class _Padded(nn.Module):
    """A convolution that sees the picture mirrored beyond its rim, where zeros would draw a frame."""

    def __init__(self, below: int, above: int, side: int, stride: int = 1) -> None:
        super().__init__()
        self.rim = side // 2
        self.convolution = nn.Conv2d(below, above, side, stride)

    def forward(self, maps: Tensor) -> Tensor:
        convolved: Tensor = self.convolution(F.pad(maps, [self.rim] * 4, mode="reflect"))
        return convolved


def _layer(below: int, above: int, side: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(_Padded(below, above, side, stride), nn.InstanceNorm2d(above, affine=True), nn.ReLU())


class _Residual(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.first = _layer(width, width, 3)
        self.second = nn.Sequential(_Padded(width, width, 3), nn.InstanceNorm2d(width, affine=True))

    def forward(self, maps: Tensor) -> Tensor:
        added: Tensor = maps + self.second(self.first(maps))
        return added


class Lesson(L.LightningModule):
    """A painter that learns from a loss.

    Args:
        painter: What learns.
        loss: What judges; it is no part of this module, whose phases would otherwise train it too.
        lr: Adam's rate; the paper's is 0.001.
    """

    def __init__(self, painter: Painter, loss: StyleLoss, *, lr: float) -> None:
        super().__init__()
        self.network = painter
        self.lr = lr
        self._judge = (loss,)
        self.curve: list[dict[str, float]] = []

    def on_fit_start(self) -> None:
        """Brings the loss to the device."""
        self._judge[0].to(self.device)

    def training_step(self, photos: Tensor, number: int) -> Tensor:
        """The loss of one batch of (N, 3, H, W) photographs."""
        loss = self._judge[0]
        parts = loss(self.network(photos), loss.content_of(photos))
        self.curve.append({name: float(value.detach()) for name, value in parts.items()})
        self.log("train_loss", parts["loss"].detach())
        return parts["loss"]

    def ends(self) -> dict[str, dict[str, float]]:
        """The mean loss and its parts over the first tenth of the steps, and over the last one."""
        tenth = max(1, len(self.curve) // 10)
        parts = {"start": self.curve[:tenth], "end": self.curve[-tenth:]}
        return {
            name: {part: sum(at[part] for at in some) / len(some) for part in some[0]} for name, some in parts.items()
        }

    def plot(self) -> ft.Plot:
        """The loss, unweighted in its parts, over the steps."""
        steps = list(range(1, len(self.curve) + 1))
        curves = {part: (steps, [at[part] for at in self.curve]) for part in ("loss", "content", "style")}
        return ft.Plot(curves=curves, x="step", y="distance", log="y")

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Adam, as in the paper."""
        return torch.optim.Adam([p for p in self.network.parameters() if p.requires_grad], lr=self.lr)


class Progress(L.Callback):
    """Paints the same photographs again and again while a painter learns.

    Args:
        photos: Each (1, 3, H, W).
        steps: After which steps; 0 is before the first one.
    """

    def __init__(self, photos: Sequence[Tensor], steps: Sequence[int]) -> None:
        self.photos, self.steps = photos, sorted(set(steps))
        self.seen: dict[int, list[Any]] = {}

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Before anything is learned."""
        self._look(0, pl_module)

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: L.LightningModule, *args: Any) -> None:
        """After a step."""
        self._look(trainer.global_step, pl_module)

    def rows(self) -> list[list[ft.Panel]]:
        """A row of a sheet for each photograph, from the left to the right as the painter learned."""
        return [
            [ft.Panel(picture=seen[row], title=f"after {step} steps") for step, seen in self.seen.items()]
            for row in range(len(self.photos))
        ]

    def _look(self, step: int, module: Any) -> None:
        if step in self.steps and step not in self.seen:
            with torch.no_grad():
                self.seen[step] = [picture(module.network(photo.to(module.device))) for photo in self.photos]


class Crops(Dataset[Tensor]):
    """Random squares of photographs; which ones, a seed and the number of the draw decide.

    Args:
        files: The photographs.
        side: Of a square in pixels.
        draws: How many there are.
        seed: Of chance.
    """

    def __init__(self, files: Sequence[Path], *, side: int, draws: int, seed: int) -> None:
        self.files, self.side, self.draws, self.seed = files, side, draws, seed

    def __len__(self) -> int:
        return self.draws

    def __getitem__(self, number: int) -> Tensor:
        chance = torch.Generator().manual_seed(self.seed * 1_000_003 + number)
        order = torch.randperm(len(self.files), generator=torch.Generator().manual_seed(self.seed + 1))
        whole = read(self.files[int(order[number % len(self.files)])], 1 << 14)
        high, wide = whole.shape[2:]
        # A little larger than the square, which then has somewhere to lie; small photographs are enlarged.
        share = self.side * (1 + 0.3 * float(torch.rand((), generator=chance))) / min(high, wide)
        size = [max(self.side, round(length * share)) for length in (high, wide)]
        small = F.interpolate(whole, size=size, mode="bilinear", antialias=True, align_corners=False)
        top, left = (int(torch.randint(length - self.side + 1, (), generator=chance)) for length in size)
        return small[0, :, top : top + self.side, left : left + self.side]


def batches(files: Sequence[Path], *, side: int, batch_size: int, steps: int, seed: int, workers: int) -> Any:
    """A loader with as many batches as there are steps."""
    crops = Crops(files, side=side, draws=batch_size * steps, seed=seed)
    return DataLoader(crops, batch_size=batch_size, num_workers=workers, persistent_workers=workers > 0)


def save_painter(painter: Painter, file: Path) -> None:
    """Writes a painter's weights as safetensors."""
    file.parent.mkdir(parents=True, exist_ok=True)
    save_file({name: value.detach().cpu().contiguous() for name, value in painter.state_dict().items()}, file)


def load_painter(file: str | Path) -> Painter:
    """Reads what `save_painter` wrote.

    Raises:
        WeightsError: It is not there, or holds something else.
    """
    try:
        state = load_file(file)
        painter = Painter(len(state["down.0.0.convolution.weight"]))
        painter.load_state_dict(state)
    except (OSError, SafetensorError, KeyError, RuntimeError) as error:
        raise ft.WeightsError(
            f"{file} is no painter: {str(error).splitlines()[0]}. Expected model/painter.safetensors of a run of "
            "style_fast."
        ) from error
    return painter.eval()


def painted(painter: Painter, photo: Tensor) -> Image.Image:
    """One photograph (1, 3, H, W), painted."""
    with torch.no_grad():
        return Image.fromarray(picture(painter(photo)))


def judged(loss: StyleLoss, painter: Painter, photos: Mapping[str, Tensor]) -> dict[str, dict[str, float]]:
    """How far photographs (1, 3, H, W) are from the manner before and after they are painted, and what is still shown.

    Returns:
        Name to "unpainted" and "style", the style distance before and after, and "content", that from the photograph.
    """
    found = {}
    for name, photo in photos.items():
        content = loss.content_of(photo)
        with torch.no_grad():
            before, after = loss(photo, content), loss(painter(photo), content)
        found[name] = {"unpainted": float(before["style"]), "style": float(after["style"]),
                       "content": float(after["content"])}  # fmt: skip
    return found
