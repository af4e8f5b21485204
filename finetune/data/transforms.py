"""From a picture of any size to what a network takes: one way for use, and named, label-safe ways for training."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple, final

import numpy as np
from PIL import Image

from ..errors import ConfigError, nearest
from ..types import ImageSpec
from .draws import draw
from .policies import ENGINES, Policy, policy

EvalTransform = Callable[[np.ndarray], np.ndarray]

KERNELS = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}


def resize(
    picture: np.ndarray, size: tuple[int, int], kernel: str, box: tuple[float, float, float, float] | None = None
) -> np.ndarray:
    """Resizes with PIL's antialiased kernel, the one that timm and torchvision evaluate with.

    Args:
        picture: (H, W, C) uint8 or float32, of any number of channels.
        size: Height and width asked for.
        kernel: "bilinear" or "bicubic".
        box: Left, top, right, bottom of the part to take; all of it if None.
    """
    if box is None and picture.shape[:2] == size:
        return picture
    wide = size[::-1]
    if picture.dtype == np.uint8 and picture.shape[2] == 3:
        return np.asarray(Image.fromarray(picture).resize(wide, KERNELS[kernel], box))
    # One channel at a time: PIL knows no picture of 6 channels, and weighs 4 as if the last were transparency.
    planes = [Image.fromarray(np.ascontiguousarray(picture[..., c])) for c in range(picture.shape[2])]
    resized = np.stack([np.asarray(plane.resize(wide, KERNELS[kernel], box)) for plane in planes], axis=-1)
    # A bicubic kernel overshoots at edges; PIL clips 8 bits by itself.
    return resized if picture.dtype == np.uint8 else np.clip(resized, 0, 1)


def eval_transform(spec: ImageSpec) -> EvalTransform:
    """The way of a picture in validation, prediction and export, which is timm's own for each crop mode.

    "crop" resizes the shorter side and takes the centre; "pad" resizes the longer side and surrounds it with the mean
    colour; "squish" resizes both sides, whatever that does to proportions, and takes the centre.

    Args:
        spec: What the network wants to see.

    Returns:
        A function from (H, W, C) to (h, w, C) of the same type.
    """
    height, width = spec.resized

    def transform(picture: np.ndarray) -> np.ndarray:
        old_height, old_width = picture.shape[:2]
        ratios = old_height / height, old_width / width
        if spec.crop_mode == "squish":
            new = spec.resized
        elif spec.crop_mode == "crop" and height == width:
            # int() for the longer side and round() for the crop, as torchvision does: half a pixel is seen in the
            # features.
            short = min(old_height, old_width)
            new = (int(height * old_height / short), int(height * old_width / short))
        else:
            ratio = max(ratios) if spec.crop_mode == "pad" else min(ratios)
            new = (max(round(old_height / ratio), 1), max(round(old_width / ratio), 1))
        return _central(_surrounded(resize(picture, new, spec.interpolation), spec.size, spec.mean), spec.size)

    return transform


def _central(picture: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    top, left = (round((old - new) / 2) for old, new in zip(picture.shape, size, strict=False))
    return picture[top : top + size[0], left : left + size[1]]


def _surrounded(picture: np.ndarray, size: tuple[int, int], mean: tuple[float, ...]) -> np.ndarray:
    """The picture in the middle of a canvas of at least this size, in the mean colour."""
    height, width, channels = picture.shape
    canvas = max(height, size[0]), max(width, size[1])
    if canvas == (height, width):
        return picture
    colour = np.array(mean)
    surrounded = np.empty((*canvas, channels), picture.dtype)
    surrounded[:] = np.round(255 * colour) if picture.dtype == np.uint8 else colour
    top, left = (canvas[0] - height) // 2, (canvas[1] - width) // 2
    surrounded[top : top + height, left : left + width] = picture
    return surrounded


def shrink_to(spec: ImageSpec, name: str) -> int | None:
    """The shorter side, in pixels, that a training picture needs at least so that no crop has to be enlarged for it.

    None asks for the full picture: without augmentation, training sees exactly what evaluation sees.
    """
    if name == "none":
        return None
    # A narrow crop (3:4) of the smallest area has this share of the shorter side.
    return math.ceil(max(*spec.resized, max(spec.size) / math.sqrt((policy(name).scale or 1) * 3 / 4)))


class Varied(NamedTuple):
    """A training picture.

    picture: (h, w, C).
    mirrored: Whether left and right changed places, which turns the sign of a steering angle.
    """

    picture: np.ndarray
    mirrored: bool


@final
@dataclass(frozen=True)
class TrainTransform:
    """The way of a picture in training.

    Args:
        spec: What the network wants to see.
        policy: What is varied.
        engine: The library that does it, one of `ENGINES`. Both draw the same numbers from a seed, and use the one
            antialiased resize of evaluation: a kernel that aliases where it shrinks, or one sharper than that which
            the backbone was trained with, costs a head that is used with another one a little for nothing.
    """

    spec: ImageSpec
    policy: Policy
    engine: str

    def __call__(self, picture: np.ndarray, seed: int) -> np.ndarray:
        """A picture (H, W, C) and a seed -> (h, w, C) of the same type; one seed gives one result, anywhere."""
        return self.vary(picture, seed).picture

    def vary(self, picture: np.ndarray, seed: int) -> Varied:
        """The same, and whether it was mirrored."""
        spec = self.spec
        if not self.policy.steps:
            return Varied(eval_transform(spec)(picture), False)
        frame = self._frame(picture)
        operations = draw(
            self.policy.steps, frame=frame, size=spec.size, channels=picture.shape[2], seed=seed
        )  # fmt: skip
        if self.policy.scale is None:
            start = eval_transform(spec)(picture)
        else:
            start = self._cropped(picture, frame, operations.pop(0).values)
        mirrored = any(operation.name == "mirror" for operation in operations)
        if not operations:
            return Varied(start, mirrored)
        return Varied(_engine(self.engine)(start, operations, spec.mean), mirrored)

    def _frame(self, picture: np.ndarray) -> tuple[int, int]:
        """Height and width of what a random crop is cut from: the picture as evaluation would see all of it."""
        height, width = picture.shape[:2]
        if self.spec.crop_mode == "squish":
            return (max(height, width),) * 2
        if self.spec.crop_mode == "pad":
            ratio = max(height / self.spec.size[0], width / self.spec.size[1])
            return max(height, round(ratio * self.spec.size[0])), max(width, round(ratio * self.spec.size[1]))
        return height, width

    def _cropped(
        self, picture: np.ndarray, frame: tuple[int, int], box: tuple[float, float, float, float]
    ) -> np.ndarray:
        if self.spec.crop_mode == "pad":
            picture = _surrounded(picture, frame, self.spec.mean)
        elif self.spec.crop_mode == "squish":
            across, down = picture.shape[1] / frame[1], picture.shape[0] / frame[0]
            box = (box[0] * across, box[1] * down, box[2] * across, box[3] * down)
        return resize(picture, self.spec.size, self.spec.interpolation, box)


def train_transform(spec: ImageSpec, name: str, *, engine: str = ENGINES[0]) -> TrainTransform:
    """The way of a picture in training.

    Args:
        spec: What the network wants to see.
        name: A policy, a key of `POLICIES`.
        engine: The library that does it, one of `ENGINES`.

    Raises:
        ConfigError: There is no such policy or engine.
    """
    if engine not in ENGINES:
        raise ConfigError(
            f'There is no engine "{engine}" for augmentation. Expected one of {", ".join(ENGINES)}.'
            f"{nearest(engine, ENGINES)}"
        )
    return TrainTransform(spec, policy(name), engine)


def _engine(name: str) -> Callable[..., np.ndarray]:
    # Each is imported where it is used, and only then.
    if name == "torchvision":
        from .with_torchvision import apply
    else:
        from .with_albumentations import apply
    return apply
