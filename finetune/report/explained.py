"""Maps over pictures, as sheets for a person to judge by."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from .figures import WIDTH, Panel, draw_sheet

WORDS = {
    "grad-cam": "bright: speaks for it",
    "grad-cam++": "bright: speaks for it",
    "occlusion": "red: covering it lowers the answer, blue: raises it",
    "integrated-gradients": "red: speaks for it, blue: against it",
    "deconvnet": "what leads to it, traced back to pixels",
    "roll-out": "bright: what attention takes in",
}
"""What the colours of each method mean."""

SIGNED = ("occlusion", "integrated-gradients")
OF_PIXELS, BLOCKS = ("integrated-gradients", "deconvnet"), 28
"""Maps of single pixels are laid over a picture as means of blocks, so many across: dots on it tell nothing."""

REACH = 0.995
"""The share of a map's values that its colours tell apart: single pixels must not make all others pale."""


def shown_picture(inputs: np.ndarray) -> np.ndarray:
    """What a network was given as a picture: (C, H, W) in 0..1, or uint8, as (H, W, 3) uint8.

    Of other numbers of channels than one or three their mean is shown in grey.
    """
    array = inputs if inputs.dtype == np.uint8 else np.round(inputs * 255).clip(0, 255).astype(np.uint8)
    if len(array) not in (1, 3):
        array = array.mean(axis=0, keepdims=True).astype(np.uint8)
    return np.ascontiguousarray(np.broadcast_to(array.transpose(1, 2, 0), (*array.shape[1:], 3)))


def signal_picture(signal: np.ndarray) -> np.ndarray:
    """A signal (C, H, W) of either sign as (H, W, 3) uint8: grey where there is none, stretched to what there is.

    Args:
        signal: Of one channel or of three.
    """
    array = np.broadcast_to(np.asarray(signal).transpose(1, 2, 0), (*signal.shape[1:], 3))
    reach = np.quantile(np.abs(array), REACH) or 1.0
    return np.clip(127.5 + 127.5 * array / reach, 0, 255).astype(np.uint8)


def signal_square(signal: np.ndarray, *, least: int = 32) -> tuple[slice, slice]:
    """The square of a picture, as rows and columns, in which a signal is: what a unit of a lower layer can see.

    Args:
        signal: (C, H, W); where it is 0 throughout, the square is the largest in the middle.
        least: Its shortest side in pixels; it is never larger than the picture.
    """
    height, width = signal.shape[1:]
    lines, columns = np.nonzero(np.abs(signal).max(axis=0))
    if not len(lines):
        lines, columns = np.array([0, height - 1]), np.array([0, width - 1])
    side = min(max(np.ptp(lines) + 1, np.ptp(columns) + 1, least), height, width)

    def span(places: np.ndarray, size: int) -> slice:
        first = int(np.clip((places.min() + places.max() + 1 - side) // 2, 0, size - side))
        return slice(first, first + int(side))

    return span(lines, height), span(columns, width)


def overlaid(pixels: np.ndarray, found: np.ndarray, *, signed: bool = False) -> np.ndarray:
    """A picture in grey with a map over it: warm where it is high, and where it is signed cold where it is low.

    Args:
        pixels: (H, W, 3) uint8.
        found: (h, w) in 0..1, or in -1..1 where it is signed; it is enlarged to the picture.
        signed: Whether it is.
    """
    import matplotlib as mpl

    size = (pixels.shape[1], pixels.shape[0])
    heat = np.asarray(Image.fromarray(found.astype(np.float32)).resize(size, Image.Resampling.BICUBIC))
    heat = heat.clip(-1 if signed else 0, 1)
    colours = mpl.colormaps["coolwarm" if signed else "inferno"]((heat + 1) / 2 if signed else heat)[..., :3]
    grey = pixels.mean(axis=2, keepdims=True).repeat(3, axis=2) / 255
    share = 0.75 * np.abs(heat)[..., None] if signed else 0.25 + 0.45 * heat[..., None]
    return np.asarray(np.round(255 * ((1 - share) * grey + share * colours)).astype(np.uint8))


def scaled(found: np.ndarray, method: str) -> np.ndarray:
    """A map as its colours want it: (h, w) in 0..1, of a signed method in -1..1.

    Args:
        found: (h, w), or (C, H, W) of the deconvnet.
        method: By which it was made.
    """
    if method == "deconvnet":
        found = np.abs(found).max(axis=0)
    if method in SIGNED:
        return np.asarray((found / (np.quantile(np.abs(found), REACH) or 1.0)).clip(-1, 1))
    # Roll-out gives every place something; what differs is what tells.
    low = found.min() if method == "roll-out" else 0.0
    reach = (np.quantile(found, REACH) if method == "deconvnet" else found.max()) - low
    return np.asarray(((found - low) / (reach or 1.0)).clip(0, 1))


def over_picture(found: np.ndarray, method: str) -> np.ndarray:
    """A map as it is laid over a picture, scaled like `scaled`."""
    if method not in OF_PIXELS or min(found.shape[-2:]) <= BLOCKS:
        return scaled(found, method)
    flat = np.abs(found).max(axis=0) if method == "deconvnet" else found
    size = (BLOCKS, max(1, round(BLOCKS * flat.shape[0] / flat.shape[1])))
    means = np.asarray(Image.fromarray(flat.astype(np.float32)).resize(size, Image.Resampling.BOX))
    return scaled(means[None] if method == "deconvnet" else means, method)


def draw_explanation(
    file: Path, picture: np.ndarray, found: np.ndarray, *, method: str, title: str, note: str
) -> Path:  # fmt: skip
    """Draws a picture, the map over it, and the map by itself.

    Args:
        file: Where to; `.png`.
        picture: (H, W, 3) uint8, as the network saw it.
        found: Its map: (h, w), or (C, H, W) of the deconvnet.
        method: By which it was made.
        title: What was answered.
        note: What was asked, and of which picture.

    Raises:
        FinetuneError: The file cannot be written.
    """
    signed, heat = method in SIGNED, scaled(found, method)
    alone = (
        Panel(picture=_enlarged(signal_picture(found)), title=WORDS[method])
        if method == "deconvnet" and len(found) in (1, 3)
        else Panel(picture=heat, title=WORDS[method], smooth=False, low=-1 if signed else 0, high=1,
                   colours="coolwarm" if signed else "inferno")
    )  # fmt: skip
    large, over = _enlarged(picture), "the map over it" + (" (means of blocks)" if method in OF_PIXELS else "")
    row = [Panel(picture=large, title="as the network sees it"),
           Panel(picture=overlaid(large, over_picture(found, method), signed=signed), title=over), alone]  # fmt: skip
    return draw_sheet(file, [row], title=title, note=note)


def draw_channel(
    file: Path, pictures: Sequence[np.ndarray], traces: Sequence[np.ndarray], peaks: Sequence[float], *,
    title: str, note: str,
) -> Path:  # fmt: skip
    """Draws the pictures that a channel answers to most, and beside each block of them their traces.

    Args:
        file: Where to; `.png`.
        pictures: (H, W, 3) uint8, the strongest first.
        traces: As many, of what in each leads to the answer.
        peaks: The answers.
        title: Above all.
        note: Below all.
    """
    across = 3 if len(pictures) > 4 else max(1, min(2, len(pictures)))
    rows = []
    for start in range(0, len(pictures), across):
        here = range(start, min(start + across, len(pictures)))
        free = [Panel(picture=np.full((8, 8, 3), 255, np.uint8))] * (across - len(here))
        rows.append([*(Panel(picture=_enlarged(pictures[n]), title=f"{n + 1}: {peaks[n]:.3g}") for n in here), *free,
                     *(Panel(picture=_enlarged(traces[n]), title=f"{n + 1}, traced back") for n in here)])  # fmt: skip
    return draw_sheet(file, rows, title=title, note=note)


def _enlarged(picture: np.ndarray) -> np.ndarray:
    """A small picture by whole smooth steps, so that it is no mosaic on a sheet."""
    times = max(1, round(WIDTH / 3 / picture.shape[1]))
    size = (picture.shape[1] * times, picture.shape[0] * times)
    return np.asarray(Image.fromarray(picture).resize(size, Image.Resampling.BICUBIC))
