"""The forward pass of a network that no longer learns, as fast as this processor allows, with the same answers.

Which way is taken follows from the network and the device alone, never from a clock: two runs give the same bits. Every
way is compared with the plain one on real pictures before it is used, so that a network of an unforeseen kind costs
speed and nothing else.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, fx, nn

from .cut import Cut
from .folding import Shapes, folded
from .fused import fuse
from .network import Network, body_features

Way = Literal["fused", "folded", "plain"]
"""Folded, and each convolution with what follows it one call; norms folded into convolutions; the network as it is."""

COMPARED = 2
"""Pictures on which two ways are compared."""

ENOUGH = 128
"""Pictures from which on another way than the plain one pays: tracing, folding and comparing take as long as 30 to 100
pictures save (docs/speed.md)."""

A_THREAD = 4
"""Pictures that go through together, for each thread: more push each other's maps out of the cache (32 at a time on one
thread took MobileNetV2 1.6 times as long), fewer leave each call less to do."""

RELATIVE, OF_LARGEST = 1e-4, 1e-5
"""Two ways agree where each number does to this share of itself, or to this share of the largest one.

Ways that only round differently are apart by 3e-6 of the largest (ResNet-50)."""


@dataclass(frozen=True)
class Fast:
    """A network's forward pass in evaluation.

    Args:
        network: The network; its head is used as it is.
        way: How the body is computed.
        body: From normalised pictures to what the body says.
    """

    network: Network
    way: Way
    body: Callable[[Tensor], Tensor]

    def features(self, inputs: Tensor) -> Tensor:
        """As `Network.features`."""
        if self.way == "plain":
            return self.network.features(inputs)
        return _in_parts(inputs, lambda part: self.network.for_head(self.body(self.network.normalised(part))))

    def logits(self, inputs: Tensor) -> Tensor:
        """As the network itself."""
        logits: Tensor = self.network.head(self.features(inputs))
        return logits


def fast(network: Network, inputs: Tensor, *, count: int, ways: tuple[Way, ...] = ("fused", "folded")) -> Fast:
    """The first of some ways that gives what the plain network gives, else the plain one.

    Args:
        network: In evaluation mode. It is not changed, and what is changed about it afterwards is not seen.
        inputs: (N, C, H, W) pictures as for `Network.features`, on the network's device; the first two are compared.
        count: How many pictures will be looked at in all.
        ways: What to try, in this order.

    Returns:
        The forward pass, to be called in inference mode.
    """
    plain = Fast(
        network, "plain", lambda pictures: body_features(network.body, pictures, pre_logits=network.pre_logits)
    )
    if count < ENOUGH or not _possible(network, inputs):
        return plain
    with torch.inference_mode():
        pictures = _normalised(network, inputs)
        found = _first_way(network, ways, pictures, plain.body(pictures))
    return Fast(network, *found) if found is not None else plain


def fast_lower(
    divided: Cut, inputs: Tensor, *, count: int, ways: tuple[Way, ...] = ("fused", "folded")
) -> Callable[[Tensor], Tensor] | None:
    """What crosses a cut, by the first of some ways that gives what `Cut.lower` gives.

    Args:
        divided: Where the network is cut; what lies below is frozen. What is changed about it afterwards is not seen.
        inputs: As for `fast`.
        count: As for `fast`.
        ways: What to try, in this order.

    Returns:
        From (N, C, H, W) pictures as for `Network.features` to (N, *shape) without a gradient; None where no way is
        both possible and worth building.
    """
    network = divided.network
    if count < ENOUGH or not _possible(network, inputs):
        return None
    with torch.no_grad():  # and not in inference mode: what comes out, autograd may keep for the layers above
        pictures = _normalised(network, inputs)
        expected = divided.lower(inputs[:COMPARED].contiguous(memory_format=torch.channels_last))
        found = _first_way(network, ways, pictures, expected, until=divided.at)
    if found is None:
        return None
    body = found[1]

    @torch.no_grad()
    def lower(pictures: Tensor) -> Tensor:
        return _in_parts(pictures, lambda part: body(network.normalised(part)))

    return lower


def _first_way(
    network: Network, ways: tuple[Way, ...], pictures: Tensor, expected: Tensor, until: str | None = None
) -> tuple[Way, fx.GraphModule] | None:
    """The first of some ways that gives what is expected of normalised pictures, and its graph."""
    for way in ways:
        try:
            body = _build(network, way, pictures, until)
            if body is not None and _agree(body(pictures), expected):
                return way, body
        # A network is anybody's code, and tracing runs it on what are no tensors: it may raise anything.
        except Exception:
            continue
    return None


def _normalised(network: Network, inputs: Tensor) -> Tensor:
    return network.normalised(inputs[:COMPARED].contiguous(memory_format=torch.channels_last))


def _in_parts(inputs: Tensor, pass_: Callable[[Tensor], Tensor]) -> Tensor:
    found = [pass_(part) for part in torch.split(inputs.contiguous(memory_format=torch.channels_last), _at_a_time())]
    return torch.cat(found) if len(found) > 1 else found[0]


def _at_a_time() -> int:
    return A_THREAD * torch.get_num_threads()


def _possible(network: Network, inputs: Tensor) -> bool:
    layers = list(network.body.modules())
    return (
        inputs.device.type == "cpu"
        and network.mean.dtype == torch.float32
        and all(p.dtype == torch.float32 for p in network.body.parameters())
        # A network without several convolutions has nothing to fold, and what is hooked up would not be called.
        and sum(isinstance(layer, nn.Conv2d) for layer in layers) > 1
        and not any(layer._forward_hooks or layer._forward_pre_hooks for layer in layers)
    )


def _build(network: Network, way: Way, pictures: Tensor, until: str | None) -> fx.GraphModule | None:
    graph, folds = folded(network, until)
    if way == "folded":
        return graph if folds else None
    shapes = Shapes(graph)
    shapes.run(pictures[:1])
    shapes.of = {node: (_at_a_time(), *shape[1:]) for node, shape in shapes.of.items()}
    return graph if fuse(graph, shapes) + folds else None


def _agree(found: Tensor, expected: Tensor) -> bool:
    if found.shape != expected.shape or not bool(expected.isfinite().all()):
        return False
    largest = float(expected.abs().max())
    return torch.allclose(found, expected, rtol=RELATIVE, atol=OF_LARGEST * largest)
