"""The side of the network's input, where the user leaves it open and the pictures have more pixels.

A network that learned from random crops has seen things larger than central crops show them, and is better at inputs
somewhat larger than its own (FixRes: Touvron et al. 2019, arXiv 1906.06423); the larger the pictures, the larger the
input is what the BiT-HyperRule decides too (Kolesnikov et al. 2020, arXiv 1912.11370). What was measured here is in
docs/methods.md: pictures without those pixels lose by it, which is why it depends on them.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import replace

from torch import nn

from ..data.examples import Examples
from ..data.headers import read_headers
from ..models.backbones import check_forward
from ..models.network import Network
from ..models.options import Backbone
from ..models.weights import read_config
from ..training.phase import Phase

FEW = 500  # examples up to which the 1.65 times that each epoch takes are a matter of minutes
LARGER = 9 / 7  # 288 for 224, as FixRes has it
STRIDE = 32  # what a classifier's map is smaller by than its input
LOOKED_AT = 64  # pictures


def suit(
    network: Network, backbone: Backbone, phases: Sequence[Phase], examples: Examples
) -> tuple[int | None, tuple[str, ...]]:  # fmt: skip
    """Lets a network see more of its pictures where that suits all four.

    Args:
        network: As it was built from `backbone`; its spec is changed.
        backbone: What the user said of it.
        phases: A probe, and more after it, or the weights' own size stays.
        examples: Of some of their files the header is read.

    Returns:
        The side that was decided, and why, as a line; None and no line where nothing was.
    """
    if len(phases) == 1 or phases[0].on != "features" or not _is_open(backbone):
        return None, ()
    side, why = larger_side(network, examples)
    if side is None:
        return None, ()
    network.spec = replace(network.spec, size=(side, side))
    check_forward(network)
    return side, (why,)


def _is_open(backbone: Backbone) -> bool:
    """Whether neither the user says a size, nor a saved model that learned at one."""
    if backbone.input_size is not None or backbone.module is not None or backbone.weights == "none":
        return False
    return backbone.weights == "default" or "library" not in (read_config(backbone.weights) or {})


def larger_side(network: Network, examples: Examples) -> tuple[int | None, str]:
    """A larger side for this network where it suits these pictures, and why.

    Args:
        network: As it was built, for its weights' own size.
        examples: Of some of their files the header is read.

    Returns:
        The side in pixels and a line that says why; None and nothing where the weights' own is to stay.
    """
    own = network.spec.size
    side = round(LARGER * min(own) / STRIDE) * STRIDE
    if own[0] != own[1] or side <= own[0] or len(examples) > FEW or not takes_any_size(network):
        return None, ""
    some = examples.take(range(0, len(examples), max(1, len(examples) // LOOKED_AT)))
    found = [min(header.width, header.height) for header in read_headers(some) if header.width]
    if len(found) < len(some) or statistics.median(found) < side:
        return None, ""
    less, usual = (side / own[0]) ** 2, statistics.median(found)
    return side, (
        f"input of {side} x {side}: half of the pictures have {usual:g} pixels or more, and networks see better a "
        f"little above what they learned from; --input-size {own[0]} takes {less:.1f} times less time"
    )


def takes_any_size(network: Network) -> bool:
    """Whether nothing that was learned depends on the size: a map of any size is averaged, and no places have names."""
    body = network.body
    if network.origin.library not in ("timm", "torchvision") or network.pre_logits:
        return False
    if getattr(body, "pretrained_cfg", {}).get("fixed_input_size"):
        return False
    pools = [module.output_size for module in body.modules() if isinstance(module, nn.AdaptiveAvgPool2d)]
    named = [name.rpartition(".")[2] for name, _ in (*body.named_parameters(), *body.named_buffers())]
    return all(size in (1, (1, 1)) for size in pools) and not any("pos" in name for name in named)
