"""What several devices say to each other in a step, and how long that takes: docs/scaling.md has the formulas."""

from __future__ import annotations

import re
from dataclasses import dataclass

from ..errors import ConfigError

UNITS = {"b": 1 / 8, "B": 1.0}
SIZES = {"": 1.0, "k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12}
BACKWARD = 2 / 3  # of a step's computing, of which a backward pass takes twice a forward pass


@dataclass(frozen=True)
class Efficiency:
    """The share of W times one device's pictures a second that W devices reach.

    Args:
        least: As if gradients were exchanged only once all are computed.
        most: As if they were exchanged while the backward pass goes on, as DDP does where it can.
    """

    least: float
    most: float


def ring_bytes(gradients: int, world: int) -> float:
    """Bytes that each device sends in a ring all-reduce, and receives: 2 (W - 1) / W times the gradients.

    Patarasuk and Yuan 2009, Bandwidth optimal all-reduce algorithms for clusters of workstations.

    Args:
        gradients: Bytes of the gradients of all that learns.
        world: W, the number of devices.
    """
    return 2 * (world - 1) / world * gradients


def efficiency(step: float, seconds: float) -> Efficiency:
    """What exchanging gradients leaves of a step.

    Args:
        step: Seconds that one device computes for a step.
        seconds: That the exchange takes.
    """
    hidden = min(seconds, BACKWARD * step)
    return Efficiency(least=step / (step + seconds), most=step / (step + seconds - hidden))


def link_speed(text: str) -> float:
    """Bytes a second of a link: "10Gb" is ten gigabits, "12GB" twelve gigabytes, each a second.

    Raises:
        ConfigError: It is no speed.
    """
    found = re.fullmatch(r"(\d+\.?\d*|\.\d+)\s*([kMGT]?)([bB])(?:it|yte)?(?:/s|ps)?", text.strip())
    if found is None or float(found[1]) <= 0:
        raise ConfigError(
            f'link must be a speed, in bits a second such as 10Gb, or in bytes such as 12GB. Got "{text}".'
        )
    return float(found[1]) * SIZES[found[2]] * UNITS[found[3]]
