"""From a picture of any size to what a network takes: one way for use, and named, label-safe ways for training."""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from ..errors import ConfigError, nearest
from ..types import ImageSpec
from .kernels import quick_resize

EvalTransform = Callable[[np.ndarray], np.ndarray]
TrainTransform = Callable[[np.ndarray, int], np.ndarray]

KERNELS = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}


def resize(
    picture: np.ndarray, size: tuple[int, int], kernel: str, box: tuple[int, int, int, int] | None = None
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
    """The way of a picture in validation, prediction and export: resize the shorter side, take the centre.

    A network whose input is not square sees the whole picture, resized to its input.

    Args:
        spec: What the network wants to see.

    Returns:
        A function from (H, W, C) to (h, w, C) of the same type.
    """
    height, width = spec.size

    def transform(picture: np.ndarray) -> np.ndarray:
        if height != width:
            return resize(picture, spec.size, spec.interpolation)
        old_height, old_width = picture.shape[:2]
        short = min(old_height, old_width)
        # int() for the longer side and round() for the crop, as torchvision does: half a pixel is seen in the features.
        new = (int(spec.resize * old_height / short), int(spec.resize * old_width / short))
        resized = resize(picture, new, spec.interpolation)
        top, left = round((new[0] - height) / 2), round((new[1] - width) / 2)
        return resized[top : top + height, left : left + width]

    return transform


class Policy(NamedTuple):
    """A way to vary training pictures that keeps their label.

    about: What it does, and for which pictures.
    scale: Share of the area that a random crop keeps, at least; None takes no random crop.
    steps: Makes the albumentations that follow the crop, from its module, the number of channels and the size.
    """

    about: str
    scale: float | None
    steps: Callable[[Any, int, tuple[int, int]], list[Any]]


def _none(A: Any, channels: int, size: tuple[int, int]) -> list[Any]:
    return []


def _colour(A: Any, channels: int, light: float, colour: float, p: float) -> list[Any]:
    # Hue and saturation have a meaning in RGB alone; bands of a satellite keep theirs.
    if channels == 3:
        return [
            A.ColorJitter((1 - light, 1 + light), (1 - light, 1 + light), (1 - colour, 1 + colour), (-0.02, 0.02), p=p)
        ]
    return [A.RandomBrightnessContrast(light, light, p=p)]


def _mild(A: Any, channels: int, size: tuple[int, int]) -> list[Any]:
    return [A.HorizontalFlip(p=0.5), *_colour(A, channels, 0.15, 0.15, 0.8)]


def _natural(A: Any, channels: int, size: tuple[int, int]) -> list[Any]:
    return [
        A.HorizontalFlip(p=0.5),
        *_colour(A, channels, 0.35, 0.35, 0.8),
        A.GaussianBlur(blur_limit=0, sigma_limit=(0.1, 1.5), p=0.15),
        A.CoarseDropout(
            num_holes_range=(1, 1), hole_height_range=(0.1, 0.35), hole_width_range=(0.1, 0.35), fill=0, p=0.25
        ),
    ]


def _document(A: Any, channels: int, size: tuple[int, int]) -> list[Any]:
    return [
        A.Affine(
            scale=(0.95, 1.05), translate_percent=(-0.03, 0.03), rotate=(-3, 3), border_mode=1, p=0.8
        ),  # border_mode 1 repeats the edge: paper goes on as paper
        A.RandomBrightnessContrast(0.2, 0.2, p=0.8),
        A.GaussianBlur(blur_limit=0, sigma_limit=(0.1, 0.7), p=0.2),
    ]


def _medical(A: Any, channels: int, size: tuple[int, int]) -> list[Any]:
    return [
        A.HorizontalFlip(p=0.5),
        A.VerticalFlip(p=0.5),
        A.Rotate((-20, 20), border_mode=4, p=0.7),  # 4 mirrors the edge: black corners would mark what was turned
        A.RandomBrightnessContrast(0.1, 0.1, p=0.7),
    ]


POLICIES = {
    "none": Policy("No change: the picture as in evaluation.", None, _none),
    "mild": Policy("Photographs: crop of 60 % or more, left-right flip, a little light and colour.", 0.6, _mild),
    "natural": Policy(
        "Photographs, for longer training: crop of 35 % or more, flip, strong light and colour, some blur and erasing.",
        0.35,
        _natural,
    ),
    "document": Policy(
        "Pages, receipts, digits, road scenes: nothing is flipped or cropped; small turns and shifts, light, blur.",
        None,
        _document,
    ),
    "medical": Policy(
        "Skin, cells, tissue, satellites: flips both ways, turns up to 20 degrees, crop of 80 % or more, a little "
        "light. Not where left and right differ in meaning.",
        0.8,
        _medical,
    ),
}


def policy(name: str) -> Policy:
    """The policy of this name.

    Raises:
        ConfigError: There is none.
    """
    if name not in POLICIES:
        raise ConfigError(
            f'There is no augmentation "{name}". Expected one of {", ".join(POLICIES)}.{nearest(name, POLICIES)}'
        )
    return POLICIES[name]


def shrink_to(spec: ImageSpec, name: str) -> int | None:
    """The shorter side, in pixels, that a training picture needs at least so that no crop has to be enlarged for it.

    None asks for the full picture: without augmentation, training sees exactly what evaluation sees.
    """
    if name == "none":
        return None
    # A narrow crop (3:4) of the smallest area has this share of the shorter side.
    return math.ceil(max(spec.resize, max(spec.size) / math.sqrt((policy(name).scale or 1) * 3 / 4)))


def train_transform(spec: ImageSpec, name: str) -> TrainTransform:
    """The way of a picture in training.

    Args:
        spec: What the network wants to see.
        name: A policy, a key of `POLICIES`.

    Returns:
        A function of a picture (H, W, C) and a seed, to (h, w, C) of the same type. One seed gives one result, in
        whichever worker and order. It holds state while it runs: each thread needs one of its own.

    Raises:
        ConfigError: There is no such policy.
    """
    chosen = policy(name)
    whole = eval_transform(spec)
    if name == "none":
        return lambda picture, seed: whole(picture)
    pipelines: dict[int, Any] = {}

    def transform(picture: np.ndarray, seed: int) -> np.ndarray:
        channels = picture.shape[2]
        if channels not in pipelines:
            pipelines[channels] = _pipeline(spec, chosen, channels)
        pipeline = pipelines[channels]
        # Compose.set_random_seed gives all its steps one and the same stream, which ties the flip to the place of the
        # crop and the light to the flip: each step gets its own.
        for step, one in zip(
            pipeline.transforms, np.random.SeedSequence(seed).generate_state(len(pipeline)), strict=True
        ):
            step.set_random_seed(int(one))
        start = picture if chosen.scale else whole(picture)
        made = pipeline(image=np.ascontiguousarray(start))["image"]
        varied: np.ndarray = made if made.ndim == 3 else made[..., None]
        return varied if varied.dtype == np.uint8 else np.clip(varied, 0, 1)

    return transform


def _pipeline(spec: ImageSpec, chosen: Policy, channels: int) -> Any:
    A = albumentations()
    crop = [_crop_type()(spec, scale=(chosen.scale, 1.0))] if chosen.scale else []
    return A.Compose([*crop, *chosen.steps(A, channels, spec.size)])


@cache
def albumentations() -> Any:
    """Imports albumentations without letting it ask the network for a newer version of itself."""
    variable = "NO_ALBUMENTATIONS_UPDATE"
    before = os.environ.get(variable)
    os.environ[variable] = "1"
    try:
        import albumentations as found
    finally:
        if before is None:
            del os.environ[variable]
        else:
            os.environ[variable] = before
    return found


@cache
def _crop_type() -> type:
    """A random crop that is resized as in evaluation.

    OpenCV's kernels alias where they shrink, and its area average is sharper than the kernel that the backbone was
    trained with and is evaluated with; a head learned on one and used on the other loses a little for nothing.
    """
    A = albumentations()

    class RandomResizedCrop(A.RandomResizedCrop):  # type: ignore[misc,name-defined]
        def __init__(self, spec: ImageSpec, scale: tuple[float, float]) -> None:
            super().__init__(size=spec.size, scale=scale, ratio=(3 / 4, 4 / 3), p=1.0)
            self.spec = spec

        def apply(self, img: np.ndarray, crop_coords: tuple[int, int, int, int], **params: Any) -> np.ndarray:
            way = quick_resize if img.dtype == np.uint8 else resize
            return way(img, self.spec.size, self.spec.interpolation, crop_coords)

    return RandomResizedCrop
