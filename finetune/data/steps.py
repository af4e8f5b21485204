"""What a policy is made of: values that say what is varied, and how far. `draws` chooses, an engine does it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

CHANGES = {
    "mirror": "left and right change places",
    "flip": "top and bottom change places",
    "turn": "a rotation by more than 5 degrees",
    "quarter": "a rotation by 90 degrees or more",
    "bend": "straight corners become slanted",
    "crop": "more than a tenth is lost at an edge",
    "light": "brightness and contrast",
    "saturation": "how colourful the picture is",
    "hue": "which colours they are",
    "tone": "values inverted, equalised or cut to a few levels",
    "blur": "softer or sharper edges",
    "erase": "a hole in the picture",
}
"""All that a step can do to a picture."""


@dataclass(frozen=True, kw_only=True)
class Crop:
    """A random part of the picture, 3:4 to 4:3, resized to the input (Szegedy et al. 2015, arXiv 1409.4842).

    Args:
        scale: Share of the area that is kept at least, in (0, 1].
    """

    scale: float


@dataclass(frozen=True, kw_only=True)
class Mirror:
    """Left and right change places.

    Args:
        p: How often, in [0, 1]; for all steps alike.
    """

    p: float = 0.5


@dataclass(frozen=True, kw_only=True)
class Flip:
    """Top and bottom change places."""

    p: float = 0.5


@dataclass(frozen=True, kw_only=True)
class Jitter:
    """Brightness, contrast, saturation and hue in a random order; where there is no RGB, gain and offset instead.

    Args:
        light: Largest change of the factors of brightness and contrast.
        colour: Likewise of saturation.
        hue: Largest turn of the colour circle, 0.5 being its opposite.
    """

    light: float
    colour: float
    hue: float
    p: float


@dataclass(frozen=True, kw_only=True)
class Light:
    """One gain and one offset for all channels, which leaves hue as it is.

    Args:
        light: Largest change of the gain, and largest offset as a share of white.
    """

    light: float
    p: float


@dataclass(frozen=True, kw_only=True)
class Move:
    """A small rotation, scaling, shift and slant about the centre.

    Args:
        turn: Largest rotation either way, in degrees.
        scale: Largest change of the factor of width, and of height.
        shift: Largest shift, as a share of the side.
        slant: Largest slant, in degrees.
        border: What comes in from outside: the "edge" repeated, or the picture in a "reflect"-ing edge. Black corners
            would mark what was turned.
    """

    turn: float = 0.0
    scale: float = 0.0
    shift: float = 0.0
    slant: float = 0.0
    border: Literal["edge", "reflect"]
    p: float


@dataclass(frozen=True, kw_only=True)
class Turn:
    """A rotation by any angle, of which the largest upright box of the picture's own proportions inside is kept.

    Nothing from outside the picture is seen, and so nothing marks what was turned (Esteva et al. 2017).
    """

    p: float = 1.0


@dataclass(frozen=True, kw_only=True)
class Elastic:
    """Small shifts that differ from place to place and are alike nearby (Simard et al. 2003).

    Args:
        alpha: Strength, and
        sigma: width in pixels of the input, as in the paper.
    """

    alpha: float
    sigma: float
    p: float = 1.0


@dataclass(frozen=True, kw_only=True)
class Blur:
    """A Gaussian blur.

    Args:
        sigma: Its largest width in pixels of the input; the smallest is 0.1.
    """

    sigma: float
    p: float


@dataclass(frozen=True, kw_only=True)
class Erase:
    """A rectangle in the mean colour, which is 0 to the network (DeVries & Taylor 2017, arXiv 1708.04552).

    Args:
        side: Its largest height and width as a share of the picture's; the smallest is 0.1.
    """

    side: float
    p: float


@dataclass(frozen=True, kw_only=True)
class Choose:
    """Operations drawn from fourteen: shears, shifts, rotation, light, colour, sharpness, levels.

    Args:
        count: How many, one after the other.
        level: Their strength on a scale from 0 to 30; None draws it anew each time.
        shear: Tangent of the slant at full strength.
        shift: Share of the side at full strength.
        turn: Degrees at full strength.
        factor: Change of the factors of brightness, contrast, saturation and sharpness at full strength.
        bits: How many of the 8 bits are lost at full strength.
    """

    count: int
    level: int | None
    shear: float
    shift: float
    turn: float
    factor: float
    bits: int
    p: float = 1.0


Step = Crop | Mirror | Flip | Jitter | Light | Move | Turn | Elastic | Blur | Erase | Choose


def changes(step: Step) -> frozenset[str]:
    """What a step can do to a picture, keys of `CHANGES`."""
    match step:
        case Crop():
            return frozenset({"crop"})
        case Mirror():
            return frozenset({"mirror"})
        case Flip():
            return frozenset({"flip"})
        case Jitter():
            return frozenset({"light", "saturation", "hue"})
        case Light():
            return frozenset({"light"})
        case Move():
            # How far a corner of a square leaves it.
            corner = (math.cos(math.radians(step.turn)) + math.sin(math.radians(step.turn)) - 1) / 2
            lost = step.scale / 2 + step.shift + corner + math.tan(math.radians(step.slant)) / 2
            does = {"turn": step.turn > 5, "bend": step.slant > 0, "crop": lost > 0.1}
        case Turn():
            return frozenset({"turn", "quarter", "crop"})
        case Elastic():
            return frozenset({"bend", "crop"})
        case Blur():
            return frozenset({"blur"})
        case Erase():
            return frozenset({"erase"})
        case Choose():
            always = ("turn", "bend", "crop", "light", "saturation", "hue", "tone", "blur")
            does = {**dict.fromkeys(always, True), "quarter": step.turn >= 90}
    return frozenset(name for name, it_does in does.items() if it_does)
