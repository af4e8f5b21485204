"""The named ways to vary training pictures: values that say what each does, and so what it never does."""

from __future__ import annotations

from dataclasses import dataclass

from ..errors import ConfigError, nearest
from .steps import CHANGES, Blur, Choose, Crop, Elastic, Erase, Flip, Jitter, Light, Mirror, Move, Step, Turn, changes

ENGINES = ("albumentations", "torchvision")
"""The libraries that can do it."""


@dataclass(frozen=True)
class Policy:
    """A way to vary training pictures that keeps their label.

    Args:
        about: What it does, and for which pictures.
        steps: What happens, in order. A crop comes first; without one a picture is first made as in evaluation.
    """

    about: str
    steps: tuple[Step, ...] = ()

    @property
    def does(self) -> frozenset[str]:
        """What it can do to a picture, keys of `CHANGES`."""
        return frozenset().union(*(changes(step) for step in self.steps))

    @property
    def never(self) -> frozenset[str]:
        """What it does to no picture, keys of `CHANGES`."""
        return frozenset(CHANGES) - self.does

    @property
    def scale(self) -> float | None:
        """Share of the area that a random crop keeps at least; None where there is none."""
        return next((step.scale for step in self.steps if isinstance(step, Crop)), None)


POLICIES = {
    "none": Policy("No change: the picture as in evaluation."),
    "light": Policy(
        "Photographs: crop of 60 % or more, left-right mirror, a little light and colour.",
        (Crop(scale=0.6), Mirror(), Jitter(light=0.15, colour=0.15, hue=0.02, p=0.8)),
    ),
    "standard": Policy(
        "Photographs, for longer training: crop of 35 % or more, mirror, strong light and colour, some blur and "
        "erasing.",
        (
            *(Crop(scale=0.35), Mirror(), Jitter(light=0.35, colour=0.35, hue=0.02, p=0.8)),
            *(Blur(sigma=1.5, p=0.15), Erase(side=0.35, p=0.25)),
        ),
    ),
    "strong": Policy(
        "Photographs, for long training on many: crop of 20 % or more, mirror, turns up to 15 degrees, stronger light "
        "and colour, blur and erasing.",
        (
            *(Crop(scale=0.2), Mirror(), Move(turn=15, border="reflect", p=0.3)),
            *(Jitter(light=0.5, colour=0.5, hue=0.05, p=0.8), Blur(sigma=2.0, p=0.3), Erase(side=0.45, p=0.4)),
        ),
    ),
    "trivial": Policy(
        "Photographs: crop of 35 % or more, mirror, and one operation of any strength, TrivialAugmentWide (Müller & "
        "Hutter 2021, arXiv 2103.10158). Not where colour or the upright tells classes apart.",
        (
            *(Crop(scale=0.35), Mirror()),
            # The paper's 32 pixels are those of an input of 224.
            Choose(count=1, level=None, shear=0.99, shift=32 / 224, turn=135, factor=0.99, bits=6),
        ),
    ),
    "rand": Policy(
        "Photographs: crop of 35 % or more, mirror, and two operations of strength 9, RandAugment (Cubuk et al. 2020, "
        "arXiv 1909.13719). Not where colour tells classes apart.",
        (
            *(Crop(scale=0.35), Mirror()),
            Choose(count=2, level=9, shear=0.3, shift=150 / 331, turn=30, factor=0.9, bits=4),
        ),
    ),
    "medical": Policy(
        "Skin, cells, tissue, satellites: mirror and flip, turns up to 20 degrees, crop of 80 % or more, a little "
        "light; colours keep their hue. Not where left and right differ in meaning, as in a chest.",
        (Crop(scale=0.8), Mirror(), Flip(), Move(turn=20, border="reflect", p=0.7), Light(light=0.1, p=0.7)),
    ),
    "any-angle": Policy(
        "Skin, cells, satellites: turns by any angle, of which the largest upright box inside is kept, mirror and "
        "flip; light and colour stay (Esteva et al. 2017).",
        (Turn(), Mirror(), Flip()),
    ),
    "digits": Policy(
        "Digits, letters, signs: nothing is mirrored or recoloured; turns up to 10 degrees, small slants and shifts, "
        "which a mark at the very edge may not outlast, and light.",
        (Move(turn=10, scale=0.1, shift=0.05, slant=5, border="edge", p=0.9), Light(light=0.15, p=0.5)),
    ),
    "elastic": Policy(
        "Handwriting in about 28 pixels: strokes are bent by the field of Simard et al. (2003; alpha 34, sigma 4), and "
        "turned by up to 7.5 degrees, scaled and shifted a little. What is not drawn by hand becomes another thing.",
        (Elastic(alpha=34, sigma=4), Move(turn=7.5, scale=0.15, shift=0.05, border="edge", p=0.9)),
    ),
    "documents": Policy(
        "Pages, receipts, road scenes: nothing is mirrored, cropped or recoloured; tiny turns and shifts, light, blur.",
        (
            # Paper goes on as paper.
            Move(turn=3, scale=0.05, shift=0.03, border="edge", p=0.8),
            *(Light(light=0.2, p=0.8), Blur(sigma=0.7, p=0.2)),
        ),
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
