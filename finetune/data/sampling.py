"""The names of the ways in which an epoch takes its examples: values only."""

from __future__ import annotations

import re

from ..errors import nearest

POWERS = {"auto": 1.0, "shuffle": 1.0, "sqrt": 0.5, "balanced": 0.0}
"""How often a class is taken: in proportion to its frequency to this power. "auto" is for whoever has no reason."""

PER_CLASS = "m-per-class"
SAMPLERS = (*POWERS, PER_CLASS)

USUAL = 4
"""Pictures of each class in a step of "m-per-class"; "8-per-class" says another number."""


def per_class(sampler: str) -> int | None:
    """How many pictures of a class stand together in a step; None for a sampler that puts none together."""
    found = re.fullmatch(r"(m|[1-9]\d*)-per-class", sampler)
    return None if found is None else USUAL if found[1] == "m" else int(found[1])


def unknown_sampler(sampler: str) -> str | None:
    """What is wrong with a name; None where nothing is."""
    if sampler in POWERS or per_class(sampler) is not None:
        return None
    return f'Unknown sampler "{sampler}". Expected one of {", ".join(SAMPLERS)} (or 8-per-class, say).' + nearest(
        sampler, SAMPLERS
    )


def unfit_batch(sampler: str, batch_size: int) -> str | None:
    """Why a batch cannot hold whole groups of pictures of one class; None where it can."""
    group = per_class(sampler)
    if group is None or (group > 1 and batch_size % group == 0):
        return None
    return (
        f'sampler="{sampler}" takes {group} pictures of each class a batch, from 2 on, and batch_size must be a '
        f"multiple of that. Got {batch_size}."
    )
