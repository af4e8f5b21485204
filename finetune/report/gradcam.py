"""Grad-CAM: which places of a picture speak for an answer (Selvaraju et al. 2017, arXiv 1610.02391), and Grad-CAM++.

The layer is found by what comes out of it: the last one whose output has places that the answer depends on. So it is
found alike in a CNN, in a ViT (tokens on a grid, the class token left out), in Swin (channels last) and in ConvNeXt.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from .places import Places, layer_of, places_of


class Seen(NamedTuple):
    """A layer's name, how its output lies on the picture, and for each picture its output and gradient."""

    layer: str
    places: Places
    output: Tensor
    gradient: Tensor


def grad_cam(network: nn.Module, inputs: Tensor, answers: Tensor, *, layer: str | None = None) -> np.ndarray:
    """Where each picture speaks for an answer.

    Selvaraju et al. 2017, eq. 1 and 2: with A^k the maps of a layer and y the logit of the answer, a_k is the mean of
    dy/dA^k over the places, and the map is ReLU(sum_k a_k A^k).

    Args:
        network: From pictures to (N, K) logits, in evaluation mode.
        inputs: (N, C, H, W), as the network takes them.
        answers: (N,) int64, the output that is asked about.
        layer: The dotted name of the layer whose output is weighed; found where none is named.

    Returns:
        (N, h, w) float32 in 0..1 on the places of the layer; all 0 where no place speaks for the answer.

    Raises:
        ConfigError: There is no layer of that name.
        ValueError: No layer, or not this one, has an output with places.
    """
    seen = look(network, inputs, answers, layer=layer)
    output, gradient = (seen.places.maps(values) for values in (seen.output, seen.gradient))
    return _weighed(gradient.mean(dim=(2, 3), keepdim=True), output)


def grad_cam_plus_plus(network: nn.Module, inputs: Tensor, answers: Tensor, *, layer: str | None = None) -> np.ndarray:
    """The same with weights that count each place where the answer grows with a map, however small the object.

    Chattopadhyay et al. 2018 (arXiv 1710.11063), eq. 19 and 5, with g = dy/dA^k and Y = exp(y): a place has the share
    alpha = g^2 / (2 g^2 + g^3 sum_ab A^k_ab), 0 where g is, a map the weight sum_ij alpha_ij ReLU(dY/dA^k_ij). dY is
    exp(y) dy, and its factor is the same for all maps of a picture: it goes when the map is scaled to 0..1.

    Arguments and errors are those of `grad_cam`.

    Returns:
        (N, h, w) float32 in 0..1 on the places of the layer.
    """
    seen = look(network, inputs, answers, layer=layer)
    output, gradient = (seen.places.maps(values).cpu().double() for values in (seen.output, seen.gradient))
    square = gradient**2
    below = 2 * square + square * gradient * output.sum(dim=(2, 3), keepdim=True)
    share = torch.where(below != 0, square / torch.where(below != 0, below, torch.ones_like(below)), 0.0)
    return _weighed((share * gradient.clamp_min(0)).sum(dim=(2, 3), keepdim=True), output)


def _weighed(weights: Tensor, output: Tensor) -> np.ndarray:
    """ReLU of the weighed sum of maps, each picture's scaled so that its highest is 1."""
    found = (weights * output).sum(dim=1).clamp_min(0)
    highest = found.flatten(1).amax(dim=1).clamp_min(torch.finfo(found.dtype).tiny)[:, None, None]
    return np.asarray((found / highest).float().cpu().numpy())


def look(network: nn.Module, inputs: Tensor, answers: Tensor, *, layer: str | None = None) -> Seen:
    """The last layer whose output has places that the answers depend on, or the one of a name, with its gradients.

    Arguments and errors are those of `grad_cam`.
    """
    aspect = inputs.shape[2] / inputs.shape[3]
    found: list[tuple[str, Places, Tensor]] = []

    def hook(name: str) -> Callable[[nn.Module, object, object], None]:
        def keep(module: nn.Module, taken: object, given: object) -> None:
            if isinstance(given, Tensor) and given.requires_grad and len(given) == len(inputs):
                places = places_of(tuple(given.shape), aspect)
                if places is not None:
                    found.append((name, places, given))

        return keep

    asked_of = (
        [(layer, layer_of(network, layer))]
        if layer is not None
        else [(name, one) for name, one in network.named_modules() if name and not _inside_attention(name, network)]
    )
    handles = [module.register_forward_hook(hook(name)) for name, module in asked_of]
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
        if gradient is not None and (layer is not None or bool(places.maps(gradient).abs().amax() > 0)):
            return Seen(name, places, output.detach(), gradient)
    raise ValueError(
        "No layer of this network has an output with places that the answer depends on."
        if layer is None
        else f'The layer "{layer}" has no output with places that the answer depends on.'
    )


def _inside_attention(name: str, network: nn.Module) -> bool:
    """Whether a layer is part of attention, whose tensors are arranged by heads and windows."""
    parts = name.split(".")
    above = (network.get_submodule(".".join(parts[:depth])) for depth in range(1, len(parts)))
    return any("attention" in type(one).__name__.lower() or "attn" in type(one).__name__.lower() for one in above)
