"""What figures of points do not say; a page is made with it, so it needs no torch."""

from __future__ import annotations

from collections.abc import Mapping

ENOUGH_PRODUCTS = 20
"""Products from which on the interval draws them whole, since pictures of one product are not independent; fewer, drawn
again and again, say little of their spread."""


def retrieval_limits(parts: Mapping[str, Mapping[str, int]]) -> list[str]:
    """What figures do not say of new classes, a sentence each.

    Args:
        parts: Of each part how many "classes" it has, and how many of them were "learned_from".
    """
    lines = []
    for part, found in parts.items():
        if found["learned_from"]:
            lines.append(
                f"{found['learned_from']} of the {found['classes']} classes of {part} were learned from: how well new "
                "ones are found is not told by them."
            )
        if found["classes"] < ENOUGH_PRODUCTS:
            lines.append(
                f"The {part} part has {found['classes']} classes: its intervals are those of other pictures of these, "
                "and other classes may be found better or worse by more."
            )
    return lines
