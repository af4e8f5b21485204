"""Chance: from a policy and a seed to operations with all their numbers, the same for every engine."""

from __future__ import annotations

import math
from collections.abc import Iterator
from random import Random
from typing import Any, NamedTuple

import numpy as np

from .steps import Blur, Choose, Crop, Elastic, Erase, Flip, Jitter, Light, Mirror, Move, Step, Turn

Size = tuple[int, int]
Matrix = tuple[float, float, float, float, float, float]

CHOICES = (
    *("identity", "shear_x", "shear_y", "shift_x", "shift_y", "turn", "brightness", "saturation", "contrast"),
    *("sharpness", "posterize", "solarize", "autocontrast", "equalize"),
)
"""What `Choose` draws from: the fourteen operations that TrivialAugment and RandAugment have in common."""


class Operation(NamedTuple):
    """Something to do to a picture.

    name: A key of an engine's `OPERATIONS`.
    values: What it takes: factors, a matrix from places in the picture to places in the result, a box in pixels.
    """

    name: str
    values: tuple[Any, ...] = ()


def draw(steps: tuple[Step, ...], *, frame: Size, size: Size, channels: int, seed: int) -> list[Operation]:
    """The operations that a seed draws.

    Args:
        steps: Of a policy.
        frame: Height and width of the picture from which a crop is cut; the operation "crop" holds its left, top,
            right and bottom.
        size: Height and width of the network's input: all other operations are about a picture of this size.
        channels: Of the picture; colour has a meaning in three alone.
        seed: One seed draws one list.
    """
    # Each step has a stream of its own: what one draws says nothing about another, the flip nothing about the crop.
    seeds = np.random.SeedSequence(seed).generate_state(len(steps))
    drawn: list[Operation] = []
    for step, own in zip(steps, seeds, strict=True):
        random = Random(int(own))
        if isinstance(step, Crop):
            drawn.append(Operation("crop", _box(step, random, frame)))
        elif step.p >= 1 or random.random() < step.p:
            drawn += _draw(step, random, int(own), size, channels)
    return drawn


def _draw(step: Step, random: Random, seed: int, size: Size, channels: int) -> Iterator[Operation]:
    match step:
        case Mirror():
            yield Operation("mirror")
        case Flip():
            yield Operation("flip")
        case Jitter() if channels == 3:
            yield from _jitter(step, random, seed)
        case Jitter() | Light():
            gain, offset = 1 + _either_way(random, step.light), _either_way(random, step.light)
            yield Operation("light", (gain, offset))
        case Move():
            yield Operation("warp", (_moved(step, random, size), step.border))
        case Elastic():
            yield Operation("elastic", (random.getrandbits(32), step.alpha, step.sigma))
        case Turn():
            yield Operation("warp", (_turned(random.uniform(0, 2 * math.pi), size), "edge"))
        case Blur():
            yield Operation("blur", (random.uniform(0.1, step.sigma),))
        case Erase():
            height, width = (int(side * random.uniform(0.1, step.side)) for side in size)
            top, left = random.randint(0, size[0] - height), random.randint(0, size[1] - width)
            yield Operation("erase", (top, left, height, width))
        case Choose():
            for _ in range(step.count):
                yield from _chosen(step, random, size, channels)


def _either_way(random: Random, most: float) -> float:
    return random.uniform(-most, most)


def _box(step: Crop, random: Random, frame: Size) -> tuple[int, int, int, int]:
    """Left, top, right, bottom; where no box of that area fits, the largest in the middle."""
    height, width = frame
    for _ in range(10):
        area = random.uniform(step.scale * (height * width), height * width)
        aspect = math.exp(random.uniform(math.log(3 / 4), math.log(4 / 3)))
        wide, high = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
        if 0 < wide <= width and 0 < high <= height:
            down, right = random.random(), random.random()
            top, left = int((height - high + 1) * down), int((width - wide + 1) * right)
            return left, top, left + wide, top + high
    wide, high = min(width, round(height * 4 / 3)), min(height, round(width * 4 / 3))
    left, top = (width - wide) // 2, (height - high) // 2
    return left, top, left + wide, top + high


def _jitter(step: Jitter, random: Random, seed: int) -> Iterator[Operation]:
    factors = [
        ("brightness", random.uniform(1 - step.light, 1 + step.light)),
        ("contrast", random.uniform(1 - step.light, 1 + step.light)),
        ("saturation", random.uniform(1 - step.colour, 1 + step.colour)),
        ("hue", random.uniform(-step.hue, step.hue)),
    ]
    order = [0, 1, 2, 3]
    np.random.default_rng(seed).shuffle(order)
    for place in order:
        yield Operation(factors[place][0], (factors[place][1],))


def _moved(step: Move, random: Random, size: Size) -> Matrix:
    right, down = (int(_either_way(random, step.shift) * side) for side in (size[1], size[0]))
    slants = [math.tan(math.radians(_either_way(random, step.slant))) for _ in range(2)]
    scales = [1 + _either_way(random, step.scale) for _ in range(2)]
    angle = math.radians(_either_way(random, step.turn))
    c, s = math.cos(angle), math.sin(angle)
    # Scaled, then turned, then slanted.
    a, b, d, e = c * scales[0], s * scales[1], -s * scales[0], c * scales[1]
    return _about_centre(a + slants[0] * d, b + slants[0] * e, d + slants[1] * a, e + slants[1] * b, size, right, down)


def _turned(angle: float, size: Size) -> Matrix:
    """Turned, and enlarged until the largest upright box inside fills the picture."""
    height, width = size[0] - 1, size[1] - 1
    across, along = abs(math.cos(angle)), abs(math.sin(angle))
    # A sixteenth of a pixel within the rim, since engines round places to fractions of one.
    margin = 1 + 1 / (8 * min(size))
    grown = margin * max((width * across + height * along) / width, (width * along + height * across) / height)
    c, s = grown * math.cos(angle), grown * math.sin(angle)
    return _about_centre(c, s, -s, c, size)


def _about_centre(a: float, b: float, d: float, e: float, size: Size, right: float = 0, down: float = 0) -> Matrix:
    """x, y -> a x + b y, d x + e y about the middle of a picture, then shifted."""
    x, y = size[1] / 2 - 0.5, size[0] / 2 - 0.5
    return (a, b, x - a * x - b * y + right, d, e, y - d * x - e * y + down)


def _chosen(step: Choose, random: Random, size: Size, channels: int) -> Iterator[Operation]:
    """One of `CHOICES`."""
    name = random.choice(CHOICES)
    strength = (random.randint(0, 30) if step.level is None else step.level) / 30
    signed = strength * random.choice((-1, 1))
    height, width = size
    match name:
        # About the middle and not, as in the papers' code, about a corner: at full strength that loses half of it.
        case "shear_x":
            yield _filled(_about_centre(1, signed * step.shear, 0, 1, size))
        case "shear_y":
            yield _filled(_about_centre(1, 0, signed * step.shear, 1, size))
        case "shift_x":
            yield _filled((1, 0, int(signed * step.shift * width), 0, 1, 0))
        case "shift_y":
            yield _filled((1, 0, 0, 0, 1, int(signed * step.shift * height)))
        case "turn":
            angle = math.radians(signed * step.turn)
            c, s = math.cos(angle), math.sin(angle)
            yield _filled(_about_centre(c, s, -s, c, size))
        case "saturation" if channels != 3:
            return
        case "brightness" | "saturation" | "contrast" | "sharpness":
            yield Operation(name, (1 + signed * step.factor,))
        case "posterize":
            yield Operation(name, (8 - round(strength * step.bits),))
        case "solarize":
            yield Operation(name, (1 - strength,))
        case "autocontrast" | "equalize":
            yield Operation(name)


def _filled(matrix: Matrix) -> Operation:
    return Operation("warp", (matrix, "mean"))
