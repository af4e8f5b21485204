"""The pictures that a network without a run is shown."""

from __future__ import annotations

from pathlib import Path

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
