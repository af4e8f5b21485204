"""Losses of classes and of labels, in a form that ranks can share.

Each is a sum over the examples of a batch divided by their number, never by the sum of their weights: that sum differs
from rank to rank, and the mean of N ranks' losses would no longer be the loss of their batches together. Weights of
classes have a mean of 1 over the training examples instead, which keeps the scale.

Shapes: N examples, K outputs; logits are (N, K).
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional


def precise(logits: Tensor) -> Tensor:
    """The logits in at least 32 bits: a sum of exponentials is worth little in 16."""
    return logits.float() if logits.dtype in (torch.float16, torch.bfloat16) else logits


def cross_entropy(logits: Tensor, target: Tensor, *, weight: Tensor | None = None, smoothing: float = 0.0) -> Tensor:
    """The mean cross-entropy of a softmax, each class times its weight.

    Args:
        logits: Unbounded.
        target: (N,) int64, or (N, K) shares of each class.
        weight: (K,); all 1 if None.
        smoothing: Share of the target that is spread over all classes, in [0, 1).
    """
    target = target.to(logits.dtype) if target.is_floating_point() else target
    total = functional.cross_entropy(logits, target, weight=weight, label_smoothing=smoothing, reduction="sum")
    return total / len(logits)


def focal(
    logits: Tensor, target: Tensor, *, gamma: float, weight: Tensor | None = None, smoothing: float = 0.0
) -> Tensor:
    """Cross-entropy in which a class counts the less the surer the softmax is of it (Lin et al. 2017).

    Of a target in shares it is the sum over the classes, each as if it were the one and times its share.

    Args:
        logits: Unbounded.
        target: (N,) int64, or (N, K) shares of each class.
        gamma: Power of (1 - p), 0 or more; 0 is cross-entropy.
        weight: (K,), the paper's alpha; all 1 if None.
        smoothing: Share of the target that is spread over all classes, in [0, 1).
    """
    classes = logits.shape[1]
    share = target if target.is_floating_point() else functional.one_hot(target, classes)
    share = share.to(logits.dtype) * (1 - smoothing) + smoothing / classes
    log_p = functional.log_softmax(logits, dim=1)
    # Where p is 1 the slope of (1 - p) ** gamma has no bound for a gamma below 1, and times 0 it is not a number.
    unsure = (-torch.expm1(log_p)).clamp_min(torch.finfo(logits.dtype).eps)
    each = share * unsure**gamma * -log_p
    return (each if weight is None else each * weight).sum() / len(logits)


def binary_cross_entropy(logits: Tensor, target: Tensor, *, positive_weight: Tensor | None = None) -> Tensor:
    """The mean cross-entropy of a sigmoid for each label.

    Args:
        logits: Unbounded.
        target: (N, K) from 0 to 1.
        positive_weight: (K,), of the positives; all 1 if None.
    """
    target = target.to(logits.dtype)
    return functional.binary_cross_entropy_with_logits(logits, target, pos_weight=positive_weight)


def sigmoid_focal(logits: Tensor, target: Tensor, *, gamma: float, positive_weight: Tensor | None = None) -> Tensor:
    """Binary cross-entropy in which an answer counts the less the surer and righter it is (Lin et al. 2017).

    On targets of 0 and 1 it is torchvision's `sigmoid_focal_loss`. It is written again for targets in between, of
    which it is the convex combination, and for a gamma below 1, where torchvision's slope is not a number once p
    rounds to 1.

    Args:
        logits: Unbounded.
        target: (N, K) from 0 to 1.
        gamma: Power of (1 - p), 0 or more; 0 is binary cross-entropy.
        positive_weight: (K,), of the positives; all 1 if None.
    """
    log_p, log_not_p = functional.logsigmoid(logits), functional.logsigmoid(-logits)
    return _by_sign(
        torch.exp(gamma * log_not_p) * -log_p, torch.exp(gamma * log_p) * -log_not_p, target, positive_weight
    )


def asymmetric(
    logits: Tensor, target: Tensor, *, gamma: float = 4.0, margin: float = 0.05, positive_weight: Tensor | None = None
) -> Tensor:
    """Binary cross-entropy to which easy negatives hardly count, and very easy ones not at all.

    It is Ben-Baruch et al. 2021 (arXiv 2009.14119) with a power of 0 for the positives, which are those of plain
    cross-entropy. On them timm's form stops learning where p is below 1e-8, which is why it is written again.

    Args:
        logits: Unbounded.
        target: (N, K) from 0 to 1.
        gamma: Power of p in the negatives.
        margin: What is taken off p in the negatives first, in [0, 1).
        positive_weight: (K,), of the positives; all 1 if None.
    """
    shifted = (torch.sigmoid(logits) - margin).clamp_min(0)
    return _by_sign(-functional.logsigmoid(logits), shifted**gamma * -torch.log1p(-shifted), target, positive_weight)


def _by_sign(positive: Tensor, negative: Tensor, target: Tensor, positive_weight: Tensor | None) -> Tensor:
    """The mean over examples and labels of what a label costs where it is there and where it is not."""
    target = target.to(positive.dtype)
    positive = positive if positive_weight is None else positive * positive_weight
    return (target * positive + (1 - target) * negative).mean()
