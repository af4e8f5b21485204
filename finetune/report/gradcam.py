"""Grad-CAM: which places of a picture speak for an answer (Selvaraju et al. 2017, arXiv 1610.02391).

The layer is found by what comes out of it: the last one whose output has places that the answer depends on. So it is
found alike in a CNN, in a ViT (tokens on a grid, the class token left out), in Swin (channels last) and in ConvNeXt.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

MOST_EXTRA = 8
"""Tokens beside those of the grid that a transformer may have: class, distillation, registers."""


class Places(NamedTuple):
    """How the output of a layer lies on a picture.

    form: "maps" (N, C, H, W), "last" (N, H, W, C) or "tokens" (N, T, C).
    height: Places downwards.
    width: Places across.
    extra: Tokens before those of the grid.
    """

    form: str
    height: int
    width: int
    extra: int = 0

    def maps(self, values: Tensor) -> Tensor:
        """An output of the layer as (N, C, H, W)."""
        if self.form == "maps":
            return values
        if self.form == "last":
            return values.permute(0, 3, 1, 2)
        grid = values[:, self.extra :].transpose(1, 2)
        return grid.reshape(len(values), -1, self.height, self.width)


class Seen(NamedTuple):
    """A layer's name, how its output lies on the picture, and for each picture its output and gradient."""

    layer: str
    places: Places
    output: Tensor
    gradient: Tensor


def grad_cam(network: nn.Module, inputs: Tensor, answers: Tensor) -> np.ndarray:
    """Where each picture speaks for an answer.

    Args:
        network: From pictures to (N, K) logits, in evaluation mode.
        inputs: (N, C, H, W), as the network takes them.
        answers: (N,) int64, the output that is asked about.

    Returns:
        (N, h, w) float32 in 0..1 on the places of the layer; all 0 where no place speaks for the answer.

    Raises:
        ValueError: No layer has an output with places.
    """
    seen = look(network, inputs, answers)
    output, gradient = (seen.places.maps(values) for values in (seen.output, seen.gradient))
    weights = gradient.mean(dim=(2, 3), keepdim=True)
    found = (weights * output).sum(dim=1).clamp_min(0)
    highest = found.flatten(1).amax(dim=1).clamp_min(torch.finfo(found.dtype).tiny)[:, None, None]
    return np.asarray((found / highest).float().cpu().numpy())


def look(network: nn.Module, inputs: Tensor, answers: Tensor) -> Seen:
    """The last layer whose output has places that the answers depend on, with its gradients.

    Arguments and errors are those of `grad_cam`.
    """
    aspect = inputs.shape[2] / inputs.shape[3]
    found: list[tuple[str, Places, Tensor]] = []

    def hook(name: str) -> object:
        def keep(module: nn.Module, taken: object, given: object) -> None:
            if isinstance(given, Tensor) and given.requires_grad and len(given) == len(inputs):
                places = places_of(tuple(given.shape), aspect)
                if places is not None:
                    found.append((name, places, given))

        return keep

    handles = [
        module.register_forward_hook(hook(name))
        for name, module in network.named_modules()
        if name and not _inside_attention(name, network)
    ]
    try:
        with torch.inference_mode(False), torch.enable_grad():
            asked = inputs.clone()
            asked = asked if asked.is_floating_point() else asked.float() / 255
            logits = network(asked.requires_grad_())
    finally:
        for handle in handles:
            handle.remove()
    score = logits.gather(1, answers.to(logits.device)[:, None]).sum()
    # From the answer downwards, and only as far as needed.
    for name, places, output in reversed(found):
        (gradient,) = torch.autograd.grad(score, output, retain_graph=True, allow_unused=True)
        if gradient is not None and bool(places.maps(gradient).abs().amax() > 0):
            return Seen(name, places, output.detach(), gradient)
    raise ValueError("No layer of this network has an output with places that the answer depends on.")


def places_of(shape: tuple[int, ...], aspect: float) -> Places | None:
    """How an output of this shape lies on pictures of this height / width; None where it has no places.

    One place alone shows nothing and counts as none.
    """
    if len(shape) == 4:
        _, a, b, c = shape
        first, last = b * c > 1 and _fits(b, c, aspect), a * b > 1 and _fits(a, b, aspect)
        # Where both could be meant, the one that lies closer to the picture's proportions is.
        if first and not (last and abs(a - b * aspect) / a < abs(b - c * aspect) / b):
            return Places("maps", b, c)
        return Places("last", a, b) if last else None
    if len(shape) == 3:
        for extra in range(min(MOST_EXTRA, shape[1] - 1) + 1):
            count = shape[1] - extra
            height = round(math.sqrt(count * aspect))
            if count > 1 and height and count % height == 0 and _fits(height, count // height, aspect):
                return Places("tokens", height, count // height, extra)
    return None


def _fits(height: int, width: int, aspect: float) -> bool:
    """Whether a grid has the proportions of the picture, as far as whole places can."""
    return abs(height - width * aspect) < 1


def _inside_attention(name: str, network: nn.Module) -> bool:
    """Whether a layer is part of attention, whose tensors are arranged by heads and windows."""
    parts = name.split(".")
    above = (network.get_submodule(".".join(parts[:depth])) for depth in range(1, len(parts)))
    return any("attention" in type(one).__name__.lower() or "attn" in type(one).__name__.lower() for one in above)
