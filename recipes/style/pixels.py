"""The pixels of a picture as what is learned (Gatys et al. 2016)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

import finetune as ft

ENDINGS = (".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp", ".ppm")
Loss = Callable[[Tensor], dict[str, Tensor]]


def paint(loss: Loss, start: Tensor, *, steps: int, name: str = "the picture") -> tuple[Tensor, list[dict[str, float]]]:
    """Moves pixels downhill by L-BFGS, which follows the curvature and needs tens of steps where others need thousands.

    Args:
        loss: Gives "loss", and its parts, of (1, 3, H, W) pictures.
        start: (1, 3, H, W) in 0..1; content, or noise.
        steps: How many steps at most; it ends before where nothing moves any more.
        name: For the message.

    Returns:
        The picture, clipped to 0..1, and the parts of the loss at each evaluation, the first at the start.

    Raises:
        TrainingError: The loss is no number any more.
    """
    pixels = start.detach().clone(memory_format=torch.contiguous_format).requires_grad_(True)
    mover = torch.optim.LBFGS([pixels], max_iter=steps, history_size=20, line_search_fn="strong_wolfe",
                              tolerance_grad=0.0, tolerance_change=0.0)  # fmt: skip
    curve: list[dict[str, float]] = []

    def closure() -> Tensor:
        mover.zero_grad()
        parts = loss(pixels)
        parts["loss"].backward()
        curve.append({part: float(value.detach()) for part, value in parts.items()})
        if not np.isfinite(curve[-1]["loss"]):
            raise ft.TrainingError(
                f"The loss of {name} is no number after {len(curve)} evaluations. Expected a smaller --style-weight."
            )
        return parts["loss"]

    mover.step(closure)
    return pixels.detach().clamp(0, 1), curve


def read(file: str | Path, size: int, *, device: str | torch.device = "cpu") -> Tensor:
    """A picture upright, its longer side of so many pixels.

    Args:
        file: Any that `ft.read_image` reads.
        size: Of the longer side; a smaller picture stays as it is.
        device: Where to.

    Returns:
        (1, 3, H, W) in 0..1.

    Raises:
        DataError: It cannot be read.
    """
    try:
        array = ft.read_image(file)
    except ft.DataError as error:
        raise ft.DataError(f"{file} cannot be read: {error}. Expected a picture.") from error
    image = Image.fromarray(array if array.dtype == np.uint8 else (array / array.max() * 255).astype(np.uint8))
    share = min(1.0, size / max(image.size))
    wide, high = (max(1, round(side * share)) for side in image.size)
    array = np.asarray(image.resize((wide, high), Image.Resampling.LANCZOS))
    return torch.from_numpy(array.copy()).permute(2, 0, 1)[None].contiguous().to(device) / 255


def picture(pixels: Tensor) -> np.ndarray:
    """(1, 3, H, W) in 0..1 as (H, W, 3) uint8."""
    bytes_ = (pixels.detach()[0].clamp(0, 1) * 255).round().to(torch.uint8)
    array: np.ndarray = bytes_.permute(1, 2, 0).cpu().numpy()
    return array


def write(file: Path, pixels: Tensor) -> Path:
    """Writes (1, 3, H, W) in 0..1 as a picture."""
    Image.fromarray(picture(pixels)).save(file)
    return file


def files_of(source: str | Path, *, most: int | None = None) -> list[Path]:
    """The pictures of a folder in the order of their names, or the one picture that is named.

    Args:
        source: A file or a folder, searched to its bottom; a file called `style.*` is a painting, and left out.
        most: How many at most, the first ones.

    Raises:
        DataError: There are none.
    """
    place = Path(source)
    if place.is_file():
        return [place]
    found = sorted(file for file in place.rglob("*") if file.suffix.lower() in ENDINGS and file.stem != "style")
    if not found:
        raise ft.DataError(f"There are no pictures in {place}. Expected a picture, or a folder of pictures.")
    return found[:most]


def style_of(source: str | Path, style: str | None) -> Path:
    """The painting that was named, or `style.*` among the pictures.

    Raises:
        ConfigError: There is neither.
    """
    place = Path(source)
    found: Sequence[Path] = [Path(style)] if style else sorted(place.glob("style.*")) if place.is_dir() else []
    if not found or not found[0].is_file():
        raise ft.ConfigError(
            f"There is no painting {style or f'style.jpg in {place}'}. Expected one with --style FILE, or a file "
            "style.jpg or style.png among the pictures."
        )
    return found[0]


def noise(photo: Tensor, seed: int) -> Tensor:
    """Grey noise of the shape of a photograph, from which the paper starts."""
    drawn = torch.rand(photo.shape, generator=torch.Generator().manual_seed(seed))
    return (0.5 + 0.3 * (drawn - 0.5)).to(photo.device)
