"""The point at which somebody wants to decide: a value, as text and taken apart."""

from __future__ import annotations

import re
from dataclasses import dataclass

from ..errors import ConfigError

ANY = "any"
"""What stands for the class where not one class is decided, but whether to answer at all."""

RATES = ("sensitivity", "specificity", "precision", "recall")
_FORM = re.compile(rf"(?:(?P<positive>.+):)?\s*(?P<rate>{'|'.join(RATES)})\s*>=\s*(?P<least>0?\.\d+|1(\.0*)?|0)\s*")


@dataclass(frozen=True)
class Operate:
    """A rate that a decision must reach.

    Args:
        rate: "sensitivity" (which "recall" is another name of), "specificity" or "precision".
        least: How large it has to be, in (0, 1].
        positive: The class or label whose presence is decided; None where only one is meant; "any" for whether to
            answer at all.
    """

    rate: str
    least: float
    positive: str | None = None

    @classmethod
    def parse(cls, text: str) -> Operate:
        """Takes "sensitivity>=0.95" or "melanoma:sensitivity>=0.95" apart.

        Raises:
            ConfigError: It is neither.
        """
        found = _FORM.fullmatch(str(text).strip())
        if found is None or not 0 < float(found["least"]) <= 1:
            raise ConfigError(
                f"operate takes [CLASS:]RATE>=NUMBER with one of {', '.join(RATES)} and a number above 0 and up to 1: "
                f'"sensitivity>=0.95", "melanoma:specificity>=0.9", "any:precision>=0.99". Got "{text}".'
            )
        rate = "sensitivity" if found["rate"] == "recall" else found["rate"]
        return cls(rate=rate, least=float(found["least"]), positive=found["positive"])

    def abstains(self, names: tuple[str, ...]) -> bool:
        """Whether it is decided, of classes, which examples are answered at all: those that are right so often.

        Args:
            names: Of all classes. One that is called "any" itself is meant by its name.

        Raises:
            ConfigError: That is asked for with a rate of one class.
        """
        everything = self.positive == ANY and ANY not in names
        if everything and self.rate != "precision":
            raise ConfigError(
                f'operate "{ANY}" abstains so that what is answered is right often enough, which is its precision: '
                f'"{ANY}:precision>={self.least:g}". Got {self.rate}, which is of one class.'
            )
        return everything or (self.positive is None and self.rate == "precision" and len(names) > 2)

    def positives(self, names: tuple[str, ...], *, several: bool) -> tuple[str, ...]:
        """The classes or labels that are decided: the named one, the second of two classes, or every label.

        Args:
            names: Of all classes or labels.
            several: Whether an example may carry several.

        Raises:
            ConfigError: There is no class of that name, or none was named of more than two.
        """
        from ..errors import nearest

        if self.positive is not None:
            if self.positive not in names:
                raise ConfigError(
                    f'operate decides about "{self.positive}", which is no class here. Expected one of '
                    f"{', '.join(names)}.{nearest(self.positive, names)}"
                )
            return (self.positive,)
        if several:
            return names
        if len(names) != 2:
            raise ConfigError(
                f"operate must say which of {len(names)} classes it decides about: "
                f'"{names[0]}:{self.rate}>={self.least:g}", say. The others are {", ".join(names[1:])}.'
            )
        return (names[1],)
