"""What the channels of a layer answer to: filters, and the pictures that a channel answers to most."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from ..errors import ConfigError
from .figures import Panel, draw_sheet
from .places import listening, places_of


def channel_maps(body: nn.Module, layer: str, pictures: Tensor) -> Tensor:
    """What a layer answers, by channel and place.

    Args:
        body: The network.
        layer: The dotted name of a layer of it.
        pictures: (N, C, H, W), as the network takes them.

    Returns:
        (N, channels, h, w); h = w = 1 where the layer answers with one number a channel.

    Raises:
        ConfigError: There is no such layer, it was not called, or its answer is no map and no vector.
    """
    heard: list[Tensor] = []
    with torch.no_grad(), listening(body, layer, heard):
        body(pictures)
    output = heard[-1] if heard else None
    if output is None or len(output) != len(pictures):
        raise ConfigError(f'The layer "{layer}" does not answer with one map a picture. Expected a layer that does.')
    places = places_of(tuple(output.shape), pictures.shape[2] / pictures.shape[3])
    if places is not None:
        return places.maps(output)
    if output.ndim not in (2, 4):
        raise ConfigError(f'The answer of the layer "{layer}", {tuple(output.shape[1:])}, has no channels and places.')
    return output.reshape(len(output), output.shape[1], *(output.shape[2:] if output.ndim == 4 else (1, 1)))


def channel_peaks(body: nn.Module, layer: str, pictures: Tensor) -> Tensor:
    """The strongest answer of each channel of a layer, anywhere in a picture.

    Args:
        body: The network.
        layer: The dotted name of a layer of it.
        pictures: (N, C, H, W), as the network takes them.

    Returns:
        (N, channels).

    Raises:
        ConfigError: There is no such layer, or it has no channels.
    """
    return channel_maps(body, layer, pictures).flatten(2).amax(dim=2)


def strongest(peaks: Tensor, *, channels: int = 1, most: int = 9) -> dict[int, list[tuple[float, int]]]:
    """The pictures to which the most selective channels answer most.

    Args:
        peaks: (pictures, channels), of `channel_peaks`.
        channels: How many channels: those whose best answers lie highest above their mean, in standard deviations.
        most: How many pictures for each.

    Returns:
        For each channel (answer, number of the picture), the strongest first.
    """
    best = peaks.topk(min(most, len(peaks)), dim=0)
    spread = peaks.std(0, unbiased=False).clamp_min(1e-6)
    apart = (best.values.mean(0) - peaks.mean(0)) / spread
    chosen = apart.topk(min(channels, peaks.shape[1])).indices.tolist()
    return {
        channel: list(zip(best.values[:, channel].tolist(), best.indices[:, channel].tolist(), strict=True))
        for channel in chosen
    }


def first_filters(body: nn.Module) -> np.ndarray:
    """The filters of the first convolution, (N, h, w, 3) uint8, each stretched to its own range.

    Args:
        body: The network.

    Raises:
        ConfigError: There is no convolution of one or three channels.
    """
    first = next((one for one in body.modules() if isinstance(one, nn.Conv2d) and one.in_channels in (1, 3)), None)
    if first is None:
        raise ConfigError(
            "The network has no first convolution of one or three channels, whose filters could be drawn."
        )
    weight = first.weight.detach().permute(0, 2, 3, 1).cpu().numpy()
    low, high = weight.min((1, 2, 3), keepdims=True), weight.max((1, 2, 3), keepdims=True)
    stretched = np.round(255 * (weight - low) / np.maximum(high - low, 1e-12)).astype(np.uint8)
    return np.broadcast_to(stretched, (*stretched.shape[:3], 3))


def draw_filters(file: str | Path, body: nn.Module, *, title: str = "", note: str = "") -> int:
    """Draws the filters of the first convolution side by side.

    Args:
        file: Where to; `.png`.
        body: The network.
        title: Above all.
        note: Below all.

    Returns:
        How many there are.

    Raises:
        ConfigError: There is no convolution of one or three channels.
        FinetuneError: The file cannot be written.
    """
    filters = first_filters(body)
    columns = next(count for count in (8, 12, 16, 24) if len(filters) <= count * count or count == 24)
    draw_sheet(file, [[Panel(picture=_tiles(filters, columns), smooth=False)]], title=title, note=note)
    return len(filters)


def _tiles(pictures: np.ndarray, columns: int) -> np.ndarray:
    """Small pictures (N, h, w, 3) uint8 side by side in one, each pixel enlarged, with white between them."""
    times = max(1, 96 // pictures.shape[2])
    large = pictures.repeat(times, axis=1).repeat(times, axis=2)
    large = np.pad(large, ((0, -len(large) % columns), (4, 4), (4, 4), (0, 0)), constant_values=255)
    rows = len(large) // columns
    high, wide = large.shape[1:3]
    joined: np.ndarray = (
        large.reshape(rows, columns, high, wide, 3).swapaxes(1, 2).reshape(rows * high, columns * wide, 3)
    )
    return joined
