"""What a network sees: filters, deconvnet, occlusion (Zeiler and Fergus 2014)

Lecture:
    What a network sees (Zeiler and Fergus)
Run:
    finetune run visualize pictures/ --backbone torchvision/alexnet --out runs/seen
    finetune run visualize pictures/ --backbone torchvision/squeezenet1_0 --layers features.4 --out runs/seen
    Occlusion needs captum: pip install 'finetune[explain]'
Data:
    Any photographs; the paper's are ImageNet's (https://image-net.org, its licence is for research and teaching alone).
    Expected: a folder of pictures, however deep; the more there are the more the strongest nine tell.
    A Study that fits nothing: devices, resume, `predict` and `evaluate` have nothing to do here.
Expect:
    Real data: of ImageNet pictures, n = 200, one a class, the nine that channel 373 of SqueezeNet's features.10 answers
    to most are 8 dogs and a bear, .889 (.518 to .997); baseline: 23 of the 200 are dogs, .115 (.074 to .168). One
    channel of three that stand out most; what it is for was seen afterwards, by eye.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

import finetune as ft

from .looking import prepared, traced

ENDINGS = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff")
# Torchvision's layers, from the second convolution to the last one, after their ReLU.
KNOWN = {
    "alexnet": "features.4,features.11",
    "vgg16": "features.8,features.22",
    "squeezenet1_0": "features.4,features.10",
}


def visualize(
    source: str,
    *,
    backbone: str = "torchvision/alexnet",
    weights: str = "default",
    mean: float | None = None,
    std: float | None = None,
    layers: str | None = None,
    channels: int = 3,
    size: int | None = None,
    window: int = 48,
    stride: int = 16,
) -> ft.Study:
    """Draws what the layers of a frozen network answer to.

    Args:
        source: A folder of pictures.
        backbone: A network whose activations are ReLUs: AlexNet, VGG, SqueezeNet, ResNet.
        weights: Its weights: "default", "none" or a file.
        mean: What its weights want pictures normalised with, where the file cannot say it.
        std: Likewise.
        layers: Dotted names of layers, with commas; known are those of alexnet, vgg16 and squeezenet1_0.
        channels: How many of each layer: those whose strongest answers stand out most from their mean.
        size: Side of the pictures in pixels; the network's own by default.
        window: Side of the grey square in pixels.
        stride: From one place of the square to the next, the window at most.
    """
    net = ft.Backbone(backbone, weights=weights, mean=mean, std=std, input_size=size)
    named = layers or KNOWN.get(backbone.rpartition("/")[2])
    if named is None:
        raise ft.ConfigError(f"Which layers of {backbone} to look at is not known. Expected --layers NAME,NAME.")

    def compare(studied: ft.Studied) -> dict[str, Any]:
        files = sorted(file for file in Path(source).rglob("*") if file.suffix.lower() in ENDINGS)
        if not files:
            raise ft.DataError(f"There are no pictures in {source}. Expected a folder of pictures.")
        network = net.build(1).eval().requires_grad_(False)
        side = network.spec.size[0]
        seen = [prepared(file, side, network.mean, network.std) for file in files]
        filters = ft.draw_filters(studied.figures / "filters.png", network.body, title=f"First layer of {backbone}")
        metrics: dict[str, Any] = {"pictures": len(files), "filters": filters, "layers": {}}
        rows, falls = [], []
        for layer in named.split(","):
            peaks = torch.cat([ft.channel_peaks(network.body, layer, pixels) for _, pixels in seen])
            found = ft.strongest(peaks, channels=channels)
            metrics["layers"][layer] = {channel: [[files[n].name, value] for value, n in nine]
                                        for channel, nine in found.items()}  # fmt: skip
            for channel, nine in found.items():
                parts = [traced(network.body, *seen[n], layer, channel) for _, n in nine]
                rows.append([ft.Panel(picture=part, title=f"{layer}, channel {channel}" if at == 1 else "")
                             for at, (part, _) in enumerate(parts)])  # fmt: skip
                rows.append([ft.Panel(picture=trace) for _, trace in parts])
            channel, nine = next(iter(found.items()))
            shown, pixels = seen[nine[0][1]]
            fall = ft.occlusion(lambda many, layer=layer, channel=channel:
                                ft.channel_peaks(network.body, layer, many)[:, channel],
                                pixels, window=window, stride=stride)[0]  # fmt: skip
            metrics["layers"][layer]["largest fall"] = float(fall.max() / max(nine[0][0], 1e-12))
            trace = ft.signal_picture(ft.traced_back(network.body, pixels, layer, channel)[0].numpy())
            falls.append([ft.Panel(picture=shown, title=f"{layer}, channel {channel}"),
                          ft.Panel(picture=trace, title="deconvnet: what it answers to"),
                          ft.Panel(picture=fall, title="how far its answer falls under the square", colours="magma",
                                   low=0, high=float(np.max(fall)))])  # fmt: skip
        note = f"{backbone}, weights: {Path(weights).name}; {len(files)} pictures"
        ft.draw_sheet(studied.figures / "strongest.jpg", rows, title="The nine pictures each channel answers to most",
                      note=note)  # fmt: skip
        ft.draw_sheet(studied.figures / "occlusion.jpg", falls, title="What an answer rests on", note=note)
        return metrics

    return ft.Study(compare=compare)


def sample(folder: Path, seed: int) -> None:
    """Draws twelve textures of three kinds."""
    for number in range(12):
        drawn = ft.generated_picture(number % 3, seed=100 * seed + number, side=96)
        Image.fromarray(drawn).save(folder / f"{number:02d}.png")
