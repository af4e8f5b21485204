"""Integrated gradients and occlusion, which captum computes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from ..errors import ConfigError

METHODS = ("occlusion", "integrated-gradients")
AT_ONCE = 32
"""How many versions of pictures go through the network together."""


class Integrated(NamedTuple):
    """Maps (N, H, W), a sum over the colours; and for each picture what they lack of f(picture) - f(baseline), (N,)."""

    maps: np.ndarray
    gap: np.ndarray


def captum() -> Any:
    """The part of captum that attributes answers to pixels.

    Raises:
        ConfigError: It is not installed.
    """
    try:
        import captum.attr
    except ImportError:
        raise ConfigError("Integrated gradients and occlusion need captum: pip install 'finetune[explain]'") from None
    return captum.attr


def integrated_gradients(
    network: nn.Module, inputs: Tensor, answers: Tensor, *, baseline: Tensor, steps: int = 50
) -> Integrated:
    """How much each pixel adds to an answer on the way from a baseline to the picture.

    Sundararajan et al. 2017 (arXiv 1703.01365), eq. 1: (x - b) times the mean of df/dx along the straight line from b
    to x. They add up to f(x) - f(b); what a sum of `steps` terms lacks of it is told.

    Args:
        network: From pictures to (N, K) logits, in evaluation mode.
        inputs: (N, C, H, W), floating point.
        answers: (N,) int64, the output that is asked about.
        baseline: What each picture starts from, broadcast to (N, C, H, W).
        steps: Points on the line (Gauss-Legendre).

    Raises:
        ConfigError: captum is not installed.
    """
    attr = captum()
    with torch.inference_mode(False), torch.enable_grad():
        pixels = inputs.detach().clone().requires_grad_(True)
        start = baseline.detach().clone().to(pixels).expand_as(pixels).contiguous()
        found, gap = attr.IntegratedGradients(network).attribute(
            pixels, start, target=answers.to(pixels.device), n_steps=steps,
            internal_batch_size=max(AT_ONCE, len(pixels)), return_convergence_delta=True,
        )  # fmt: skip
    return Integrated(found.detach().sum(dim=1).float().cpu().numpy(), gap.detach().float().cpu().numpy())


def occlusion(
    answer: Callable[[Tensor], Tensor], pictures: Tensor, *, window: int, stride: int, fill: Tensor | float = 0.0
) -> np.ndarray:
    """How far an answer falls while a square lies on each place of a picture (Zeiler and Fergus 2014, section 4.2).

    A pixel has the mean fall over the squares that covered it.

    Args:
        answer: From pictures (N, C, H, W) to one number each, (N,).
        pictures: (N, C, H, W), floating point.
        window: Side of the square in pixels.
        stride: From one place to the next, `window` at most, so that each pixel is covered.
        fill: What is put there, broadcast to (N, C, H, W); 0 is the mean colour where pictures are normalised.

    Returns:
        (N, H, W) float32, positive where the square takes away what the answer rests on.

    Raises:
        ConfigError: captum is not installed; a stride beyond the window, or a window beyond the picture.
    """
    count, channels, height, width = pictures.shape
    check_window(window, stride, min(height, width))
    attr = captum()
    filled = torch.as_tensor(fill, dtype=pictures.dtype, device=pictures.device).expand_as(pictures)
    with torch.inference_mode(False), torch.no_grad():
        found = attr.Occlusion(answer).attribute(
            pictures.clone(), sliding_window_shapes=(channels, window, window), strides=(channels, stride, stride),
            baselines=filled.clone(), perturbations_per_eval=max(1, AT_ONCE // count),
        )  # fmt: skip
    return np.asarray(found[:, 0].float().cpu().numpy())


def check_window(window: int, stride: int, side: int) -> None:
    """Refuses squares that leave gaps or the picture.

    Raises:
        ConfigError: So it is.
    """
    if not 0 < stride <= window <= side:
        raise ConfigError(f"Expected 0 < stride <= window <= {side} pixels. Got stride {stride} and window {window}.")
