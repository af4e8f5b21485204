"""The optimizers by name, each as its paper has it."""

from __future__ import annotations

from typing import Any

import torch
from torch.optim import Optimizer

DECAYS = {"sgd": 1e-4, "plain-sgd": 1e-4, "lars": 1e-4, "adamw": 0.05, "lamb": 0.01, "rmsprop": 1e-4}
"""Weight decay where nobody says; of "adamw" and "lamb" it is no part of the gradient."""


def make_optimizer(name: str, groups: list[dict[str, Any]], *, lr: float, fused: bool = False) -> Optimizer:
    """An optimizer over groups that have their rates and decays.

    "sgd" is the one of Goyal et al. 2017 (arXiv 1706.02677): v = 0.9 v + g, and w = w - rate (g + 0.9 v) with
    Nesterov's look ahead. The rate multiplies v and is no part of it, so a rate that changes needs no correction of v.

    Args:
        name: "sgd", "plain-sgd" without momentum, "adamw", "lars" (You et al. 2017, arXiv 1708.03888) or "lamb" (You et
            al. 2020, arXiv 1904.00962).
            "rmsprop" is TensorFlow's, with decay and momentum of 0.9 and an epsilon of 0.1 under the root, as Esteva et
            al. 2017 have it; torch's own adds it to the root, which with so large a number is another optimizer.
        groups: As from `param_groups`. Those without decay get no rate of their own a layer, as in the papers.
        lr: The rate of groups that have none.
        fused: One kernel for all weights instead of several for each, of "sgd" and "adamw".
    """
    if name == "sgd":
        return torch.optim.SGD(groups, lr=lr, momentum=0.9, nesterov=True, fused=fused)
    if name == "plain-sgd":
        return torch.optim.SGD(groups, lr=lr, fused=fused)
    if name == "adamw":
        return torch.optim.AdamW(groups, lr=lr, fused=fused)
    from timm.optim import Lamb, Lars, RMSpropTF

    if name == "rmsprop":
        turned: Optimizer = RMSpropTF(groups, lr=lr, alpha=0.9, eps=0.1, momentum=0.9)
        return turned
    made: Optimizer = Lars(groups, lr=lr, momentum=0.9) if name == "lars" else Lamb(groups, lr=lr)
    return made
