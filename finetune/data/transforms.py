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
from .kernels import quick_resize
from .placing import place
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
        return np.asarray(_resized(Image.fromarray(picture), wide, kernel, box))
    # One channel at a time: PIL knows no picture of 6 channels, and weighs 4 as if the last were transparency.
    planes = [Image.fromarray(np.ascontiguousarray(picture[..., c])) for c in range(picture.shape[2])]
    resized = np.stack([np.asarray(_resized(plane, wide, kernel, box)) for plane in planes], axis=-1)
    # A bicubic kernel overshoots at edges; PIL clips 8 bits by itself.
    return resized if picture.dtype == np.uint8 else np.clip(resized, 0, 1)


def _resized(
    image: Image.Image, size: tuple[int, int], kernel: str, box: tuple[float, float, float, float] | None
) -> Image.Image:
    if box is not None:
        return image.resize(size, KERNELS[kernel], box)
    # First across, then down. Asked for both at once, Pillow 13 takes the shorter way, which rounds otherwise: pixels
    # would depend on its version.
    return image.resize((size[0], image.height), KERNELS[kernel]).resize(size, KERNELS[kernel])


def eval_transform(spec: ImageSpec) -> EvalTransform:
    """The way of a picture in validation, prediction and export, which is timm's own for each crop mode.

    "crop" resizes the shorter side and takes the centre; "pad" resizes the longer side and surrounds it with the mean
    colour; "squish" resizes both sides, whatever that does to proportions, and takes the centre.

    Args:
        spec: What the network wants to see.

    Returns:
        A function from (H, W, C) to (h, w, C) of the same type.
    """

    def transform(picture: np.ndarray) -> np.ndarray:
        new, start = place(spec, *picture.shape[:2])
        return _window(resize(picture, new, spec.interpolation), start, spec.size, spec.mean)

    return transform


def _window(
    picture: np.ndarray, start: tuple[int, int], size: tuple[int, int], mean: tuple[float, ...]
) -> np.ndarray:  # fmt: skip
    """A window on the picture and, where it reaches beyond, on the mean colour."""
    (top, left), (height, width) = start, size
    seen = picture[max(top, 0) : top + height, max(left, 0) : left + width]
    if seen.shape[:2] == size:
        return seen
    canvas = np.empty((*size, picture.shape[2]), picture.dtype)
    canvas[:] = np.round(255 * np.array(mean)) if picture.dtype == np.uint8 else mean
    canvas[max(-top, 0) :, max(-left, 0) :][: seen.shape[0], : seen.shape[1]] = seen
    return canvas


def _surrounded(picture: np.ndarray, size: tuple[int, int], mean: tuple[float, ...]) -> np.ndarray:
    """The picture in the middle of a canvas of at least this size, in the mean colour."""
    height, width = picture.shape[:2]
    canvas = max(height, size[0]), max(width, size[1])
    if canvas == (height, width):
        return picture
    return _window(picture, (-((canvas[0] - height) // 2), -((canvas[1] - width) // 2)), canvas, mean)


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
        if picture.dtype == np.uint8 and all(edge == int(edge) for edge in box):
            left, top, right, bottom = (int(edge) for edge in box)
            return quick_resize(picture, self.spec.size, self.spec.interpolation, (left, top, right, bottom))
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
