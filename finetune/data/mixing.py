"""Pictures of a batch mixed with each other, and their targets with them."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from ..types import Batch


def mix(batch: Batch, *, mixup: float, cutmix: float, num_classes: int, seed: tuple[int, ...]) -> Batch:
    """A batch in which each picture is mixed with its neighbour, by mixup or by cutmix.

    Mixup (Zhang et al. 2018, arXiv 1710.09412) blends the two; cutmix (Yun et al. 2019, arXiv 1905.04899) lays a
    box of one over the other. Where both are asked for, each batch takes one of them at random. One share holds for
    a whole batch; a batch is in random order, so that a neighbour is a random other picture.

    Torchvision's and timm's forms of it want float pictures, draw from global generators, and know no targets that
    are numbers. Here pairs are two by two, and the share depends on the seed alone: with an even batch a rank and the
    same seed on each of them, N ranks mix as one rank with N times the batch does. An odd last picture takes the one
    before it.

    Args:
        batch: Pictures (N, C, H, W), uint8 in 0..255 or float in 0..1, on any device.
        mixup: Alpha of the Beta distribution of the share, 0 or more; 0 is off.
        cutmix: Likewise.
        num_classes: How many there are, where the target is a class.
        seed: Of this step.

    Returns:
        The batch; of classes the targets are (N, K) float32 shares. Blended pictures are float32 in 0..1.
    """
    if not mixup and not cutmix:
        return batch
    draw = np.random.default_rng(seed)
    cut = bool(cutmix) and (not mixup or draw.random() < 0.5)
    alpha = cutmix if cut else mixup
    share = float(draw.beta(alpha, alpha))
    inputs, n = batch.inputs, len(batch.inputs)
    partner = torch.arange(n, device=inputs.device).bitwise_xor_(1)
    if n % 2:
        partner[-1] = max(n - 2, 0)
    if cut:
        inputs, share = _pasted(inputs, inputs[partner], share, draw)
    else:
        inputs = inputs.float() / 255 if inputs.dtype == torch.uint8 else inputs
        inputs = torch.lerp(inputs[partner], inputs, share)
    target = batch.target
    if not target.is_floating_point():
        target = functional.one_hot(target, num_classes).float()
    return batch._replace(inputs=inputs, target=torch.lerp(target[partner], target, share))


def _pasted(inputs: Tensor, other: Tensor, share: float, draw: np.random.Generator) -> tuple[Tensor, float]:
    """Lays a box of the other pictures over these; gives also the share of these that is left to see."""
    height, width = inputs.shape[-2:]
    side = math.sqrt(1 - share)
    (top, bottom), (left, right) = (_span(length, side, draw) for length in (height, width))
    inputs = inputs.clone()
    inputs[..., top:bottom, left:right] = other[..., top:bottom, left:right]
    return inputs, 1 - (bottom - top) * (right - left) / (height * width)


def _span(length: int, side: float, draw: np.random.Generator) -> tuple[int, int]:
    """A stretch of `side` times the length around a random middle, cut off at the edges."""
    middle, half = int(draw.integers(length)), int(length * side / 2)
    return max(middle - half, 0), min(middle + half, length)
