"""The pictures to which a channel of a model's network answers most, and what in them it answers to."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..crew import Progress
from ..data.addresses import printable
from ..data.examples import Examples
from ..data.loaders import stream
from ..errors import ConfigError, DataError
from ..features import device_for, ready
from ..models.network import Network
from ..report.channels import channel_maps, channel_peaks, strongest
from ..report.deconvnet import traced_back
from ..report.explained import draw_channel, overlaid, shown_picture, signal_picture, signal_square


@dataclass(frozen=True, kw_only=True)
class Channel:
    """What one channel of a layer answers to.

    Args:
        layer: The layer, by its name in the backbone.
        channel: The channel, from 0.
        of: How many channels the layer has.
        pictures: How many pictures were looked at.
        paths: The pictures it answers to most, the strongest first.
        peaks: Its strongest answer in each.
        shown: Each (H, W, 3) uint8, as the network sees it.
        traces: What in each leads to that answer, (H, W, 3) uint8.
        traced: "deconvnet", or "its own map" in a network that has no deconvnet.
        errors: Path to reason for each picture that could not be read.
    """

    layer: str
    channel: int
    of: int
    pictures: int
    paths: tuple[str, ...]
    peaks: tuple[float, ...]
    shown: Any
    traces: Any
    traced: str
    errors: dict[str, str]

    def draw(self, file: str | Path) -> Path:
        """Draws the pictures and, to the right of them, their traces.

        Args:
            file: Where to; `.png`.

        Raises:
            FinetuneError: The file cannot be written.
        """
        what = {"deconvnet": "the deconvnet's trace of the strongest place alone, cut to what it sees",
                "its own map": "where the channel answers, as the network has no deconvnet"}[self.traced]  # fmt: skip
        return draw_channel(
            Path(file), self.shown, self.traces, self.peaks,
            title=f"Channel {self.channel} of {self.layer}: {len(self.paths)} strongest of {self.pictures} pictures",
            note=f"Left: picture and strongest answer. Right: {what}.",
        )  # fmt: skip

    def to_dict(self) -> dict[str, Any]:
        """All but the pictures as plain JSON values."""
        return {
            "layer": self.layer, "channel": self.channel, "of": self.of, "pictures": self.pictures,
            "traced": self.traced, "errors": self.errors,
            "strongest": [{"path": path, "peak": peak} for path, peak in zip(self.paths, self.peaks, strict=True)],
        }  # fmt: skip


def strongest_on(
    network: Network, examples: Examples, layer: str, channel: int | None = None, *, top: int = 9,
    batch_size: int = 8, accelerator: str = "auto", progress: Progress | None = None,
) -> Channel:  # fmt: skip
    """Passes over all pictures and looks at the strongest ones.

    Arguments and errors are those of `Model.strongest`.
    """
    if top < 1 or batch_size < 1:
        raise ConfigError(f"top and batch_size must be 1 or more. Got {top} and {batch_size}.")
    with ready(network, device_for(accelerator)) as device:
        blank = torch.zeros((1, network.spec.in_chans, *network.spec.size), device=device)
        of = channel_maps(network.body, layer, blank).shape[1]
        if channel is not None and not 0 <= channel < of:
            raise ConfigError(f"{layer} has the channels 0 to {of - 1}. Got {channel}.")
        rows, peaks = [], []
        errors: dict[str, str] = {}
        for read, inputs, unread in stream(examples, network.spec, batch_size=batch_size):
            errors |= {printable(examples.table["source"].iloc[row]): reason for row, reason in unread.items()}
            if len(read):
                rows.append(read)
                peaks.append(channel_peaks(network.body, layer, network.normalised(inputs.to(device))).float().cpu())
            if progress is not None:
                progress(len(read) + len(unread))
        if not rows:
            raise DataError(
                f"None of the {len(examples)} pictures can be read, so that nothing can be said of {layer}."
            )
        table = torch.cat(peaks)
        if channel is None:
            (channel,) = strongest(table, channels=1)
        best = table[:, channel].topk(min(top, len(table)))
        chosen = np.concatenate(rows)[best.indices.numpy()]
        shown, traces, traced = _looked_at(network, examples, layer, channel, chosen, device)
    paths = tuple(printable(examples.table["source"].iloc[row]) for row in chosen)
    return Channel(layer=layer, channel=channel, of=of, pictures=len(table), paths=paths, shown=shown, traces=traces,
                   peaks=tuple(best.values.tolist()), traced=traced, errors=errors)  # fmt: skip


def _looked_at(
    network: Network, examples: Examples, layer: str, channel: int, rows: np.ndarray, device: torch.device
) -> tuple[list[np.ndarray], list[np.ndarray], str]:
    """The pictures of some rows, what in each leads to the channel's strongest answer, and how that was found."""
    shown, traces, traced = [], [], "deconvnet"
    for _, inputs, _ in stream(examples, network.spec, batch_size=1, indices=rows):
        picture = shown_picture(inputs[0].numpy())
        pixels = network.normalised(inputs.to(device))
        try:
            signal = traced_back(network.body, pixels, layer, channel)[0].cpu().numpy()
            square = signal_square(signal)
            shown.append(picture[square])
            traces.append(signal_picture(signal[:, *square]))
        except ConfigError:
            traced = "its own map"
            shown.append(picture)
            found = channel_maps(network.body, layer, pixels)[0, channel].float().clamp_min(0).cpu().numpy()
            traces.append(overlaid(picture, found / (found.max() or 1.0)))
    return shown, traces, traced
