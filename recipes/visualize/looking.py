"""Deconvnet, occlusion, filters, and the nine pictures that a channel answers to most."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor, nn

import finetune as ft


@contextmanager
def listening(body: nn.Module, name: str, heard: list[Tensor]) -> Iterator[None]:
    """Takes down what the layer of this name answers.

    Raises:
        ConfigError: There is no such layer.
    """
    known = dict(body.named_modules())
    if name not in known or not name:
        raise ft.ConfigError(
            f"There is no layer {name!r}. Expected one of {', '.join([one for one in known if one][:40])}."
        )
    # A copy: a ReLU that works in place would change what was heard.
    handle = known[name].register_forward_hook(lambda module, inputs, output: heard.append(output.clone()))
    try:
        yield
    finally:
        handle.remove()


class _Deconvolved(torch.autograd.Function):
    """ReLU forwards; backwards the ReLU of the signal, wherever the unit itself was silent or not."""

    @staticmethod
    def forward(ctx: Any, inputs: Tensor) -> Tensor:
        return inputs.clamp(min=0)

    @staticmethod
    def backward(ctx: Any, *signals: Tensor) -> Tensor:
        return signals[0].clamp(min=0)


class _DeconvReLU(nn.Module):
    def forward(self, inputs: Tensor) -> Tensor:
        rectified: Tensor = _Deconvolved.apply(inputs)
        return rectified


@contextmanager
def deconvnet(body: nn.Module) -> Iterator[None]:
    """Makes the backward pass of a network that of its deconvnet, for a while.

    Transposed filters and switches of maximum pooling are what a gradient has anyway; the rectification alone differs.
    Unpooling by hand would be wrong where pools overlap, as in AlexNet, SqueezeNet and ResNet: places that two pools
    share get the sum in a gradient and one of them in MaxUnpool2d.

    Raises:
        ConfigError: The network has no layers of ReLU: it calls the function, or has another activation.
    """
    places = [
        (module, name) for module in body.modules() for name, child in module.named_children()
        if isinstance(child, nn.ReLU)
    ]  # fmt: skip
    if not places:
        raise ft.ConfigError("The deconvnet needs ReLUs that are layers. Expected AlexNet, VGG or ResNet say.")
    before = [getattr(module, name) for module, name in places]
    for module, name in places:
        setattr(module, name, _DeconvReLU())
    try:
        yield
    finally:
        for (module, name), layer in zip(places, before, strict=True):
            setattr(module, name, layer)


def traced_back(body: nn.Module, picture: Tensor, layer: str, channel: int) -> Tensor:
    """What in a picture a channel's strongest unit answers to: the deconvnet from that unit alone.

    Args:
        body: The network.
        picture: (1, C, H, W), normalised.
        layer: The dotted name of a layer that answers with a map.
        channel: Of that map.

    Returns:
        (1, C, H, W), in the units of the picture; 0 where nothing leads.
    """
    pixels = picture.detach().clone().requires_grad_(True)
    heard: list[Tensor] = []
    with deconvnet(body), listening(body, layer, heard):
        body(pixels)
        return torch.autograd.grad(heard[0][0, channel].max(), pixels)[0]


def occlusion(
    answer: Callable[[Tensor], Tensor], picture: Tensor, *, window: int, stride: int, fill: float = 0.0
) -> np.ndarray:
    """How far an answer falls while a grey square lies on each place of a picture.

    Args:
        answer: From pictures (N, C, H, W) to one number each, (N,).
        picture: (1, C, H, W).
        window: Side of the square in pixels.
        stride: From one place to the next, `window` at most, so that each pixel is covered.
        fill: What is put there; 0 is the mean colour where pictures are normalised.

    Returns:
        (rows, columns) of the places, positive where the square takes away what the answer rests on.

    Raises:
        ConfigError: A stride beyond the window, or a window beyond the picture.
    """
    height, width = picture.shape[2:]
    if not 0 < stride <= window <= min(height, width):
        raise ft.ConfigError(
            f"Expected 0 < stride <= window <= {min(height, width)} pixels. Got stride {stride} and window {window}."
        )
    tops, lefts = range(0, height - window + 1, stride), range(0, width - window + 1, stride)
    with torch.no_grad():
        whole, fallen = float(answer(picture)[0]), []
        for top in tops:
            covered = picture.repeat(len(lefts), 1, 1, 1)
            for row, left in enumerate(lefts):
                covered[row, :, top : top + window, left : left + window] = fill
            fallen.append(whole - answer(covered).cpu().numpy())
    return np.stack(fallen)


def strongest(
    body: nn.Module, layer: str, channels: int, pictures: Sequence[Tensor], *, most: int = 9
) -> dict[int, list[tuple[float, int]]]:
    """The pictures to which the most selective channels of a layer answer most.

    Args:
        body: The network.
        layer: The dotted name of a layer that answers with a map.
        channels: How many of that map: those whose best answers lie highest above their mean, in standard deviations.
        pictures: Each (1, C, H, W), normalised.
        most: How many for each channel.

    Returns:
        For each channel (answer, number of the picture), the strongest first.
    """
    peaks = []
    for picture in pictures:
        heard: list[Tensor] = []
        with torch.no_grad(), listening(body, layer, heard):
            body(picture)
        peaks.append(heard[0][0].flatten(1).max(1).values.cpu())
    table = torch.stack(peaks)
    best = table.topk(min(most, len(pictures)), dim=0)
    spread = table.std(0, unbiased=False).clamp_min(1e-6)
    apart = (best.values.mean(0) - table.mean(0)) / spread
    chosen = apart.topk(min(channels, table.shape[1])).indices.tolist()
    return {
        channel: list(zip(best.values[:, channel].tolist(), best.indices[:, channel].tolist(), strict=True))
        for channel in chosen
    }


def peak_of(body: nn.Module, layer: str, channel: int) -> Callable[[Tensor], Tensor]:
    """From pictures (N, C, H, W) to the strongest answer of a channel in each, (N,)."""

    def answer(pictures: Tensor) -> Tensor:
        heard: list[Tensor] = []
        with listening(body, layer, heard):
            body(pictures)
        return heard[0][:, channel].flatten(1).max(1).values

    return answer


def as_picture(signal: Tensor) -> np.ndarray:
    """A signal (1, 3, H, W) of either sign as (H, W, 3) uint8: grey where there is none, stretched to what there is."""
    array: np.ndarray = signal[0].permute(1, 2, 0).cpu().numpy()
    reach = np.quantile(np.abs(array), 0.995) or 1.0
    return np.uint8(np.clip(127.5 + 127.5 * array / reach, 0, 255))


def first_filters(body: nn.Module) -> np.ndarray:
    """The filters of the first convolution, (N, h, w, 3) uint8, each stretched to its own range.

    Raises:
        ConfigError: There is no convolution of three channels.
    """
    first = next((one for one in body.modules() if isinstance(one, nn.Conv2d) and one.in_channels == 3), None)
    if first is None:
        raise ft.ConfigError("The network has no first convolution of three channels, whose filters could be drawn.")
    weight = first.weight.detach().permute(0, 2, 3, 1).cpu().numpy()
    low, high = weight.min((1, 2, 3), keepdims=True), weight.max((1, 2, 3), keepdims=True)
    return np.uint8(255 * (weight - low) / np.maximum(high - low, 1e-12))


def tiles(pictures: np.ndarray, *, columns: int = 12, times: int = 6) -> np.ndarray:
    """Small pictures (N, h, w, 3) uint8 side by side in one, each pixel enlarged, with white between them."""
    large = pictures.repeat(times, axis=1).repeat(times, axis=2)
    large = np.pad(large, ((0, -len(large) % columns), (2, 2), (2, 2), (0, 0)), constant_values=255)
    rows = len(large) // columns
    high, wide = large.shape[1:3]
    joined: np.ndarray = (
        large.reshape(rows, columns, high, wide, 3).swapaxes(1, 2).reshape(rows * high, columns * wide, 3)
    )
    return joined


def prepared(file: Path, side: int, mean: Tensor, std: Tensor) -> tuple[np.ndarray, Tensor]:
    """A picture cut to a square: (side, side, 3) uint8, and (1, 3, side, side) as a network wants it normalised.

    Raises:
        DataError: It cannot be read.
    """
    try:
        image = Image.fromarray(np.uint8(ft.read_image(file)))
    except ft.DataError as error:
        raise ft.DataError(f"{file} cannot be read: {error}. Expected a picture.") from error
    square = np.asarray(ImageOps.fit(image, (side, side), Image.Resampling.BICUBIC))
    tensor = torch.from_numpy(square.copy()).permute(2, 0, 1)[None].contiguous() / 255
    return square, (tensor - mean) / std
