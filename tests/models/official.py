"""Weights in the layout in which libraries publish them, made from their own constructors, and their own answers."""

from __future__ import annotations

import math

import timm
import torch
import torchvision
from torch import Tensor, nn


def constructor(name: str, **options) -> nn.Module:
    library, _, architecture = name.partition("/")
    if library == "timm":
        return timm.create_model(architecture, **options)
    if architecture in ("inception_v3", "googlenet"):
        options = {"init_weights": False, **options}
    return torchvision.models.get_model(architecture, **options)


def official_state(name: str, seed: int = 0, **options) -> dict[str, Tensor]:
    """All that the published file holds, auxiliary heads included; values that keep the signal's size."""
    # The largest are spared their own random numbers; others compute some of their tables while being built.
    with torch.device("meta" if "vgg" in name or "alexnet" in name else "cpu"):
        shapes = constructor(name, **options).state_dict()
    random = torch.Generator().manual_seed(seed)
    state = {}
    for key, like in shapes.items():
        if key.endswith("num_batches_tracked"):
            state[key] = torch.zeros(like.shape, dtype=like.dtype)
        elif not like.is_floating_point():
            state[key] = like
        elif key.endswith("running_var"):
            state[key] = torch.ones(like.shape)
        elif like.ndim > 1:
            spread = math.sqrt(2 / max(like[0].numel(), 1))
            state[key] = torch.empty(like.shape).normal_(0, spread, generator=random)
        else:
            # Norm weights near 1 and biases near 0, none equal to another, so that a mix-up would show.
            centre = 1.0 if key.endswith("weight") else 0.0
            state[key] = torch.empty(like.shape).normal_(centre, 0.05, generator=random)
    return state


def native(name: str, num_classes: int, **options) -> nn.Module:
    """The library's network as its people use it: auxiliary heads off, published weights' own conversion on."""
    if name in ("torchvision/inception_v3", "torchvision/googlenet"):
        options = {"aux_logits": False, "transform_input": True, **options}
    return constructor(name, num_classes=num_classes, **options).eval()


def normalised(pictures: Tensor, spec) -> Tensor:
    mean, std = (torch.tensor(v).view(1, -1, 1, 1) for v in (spec.mean, spec.std))
    return (pictures.float() / 255 - mean) / std


def pictures(spec, count: int = 2, seed: int = 0) -> Tensor:
    random = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (count, spec.in_chans, *spec.size), dtype=torch.uint8, generator=random)
