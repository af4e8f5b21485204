"""The pictures that a network without a run is shown, and the parts of them that its units see."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

import finetune as ft


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


def traced(body: Any, picture: np.ndarray, pixels: Tensor, layer: str, channel: int) -> list[np.ndarray]:
    """The part of a picture that a channel's strongest unit sees, and what in it that answers to."""
    signal = ft.traced_back(body, pixels, layer, channel)[0].numpy()
    square = ft.signal_square(signal)
    return [picture[square], ft.signal_picture(signal[:, *square])]
