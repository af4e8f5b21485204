"""Networks around bodies that a test writes itself."""

from __future__ import annotations

from torch import nn

from finetune.models.network import Network, Origin
from finetune.types import ImageSpec


def network_of(body: nn.Module, *, width: int, size: int = 24) -> Network:
    """A network in evaluation with a linear head of two outputs on `width` features."""
    spec = ImageSpec(size=(size, size), mean=(0.5,) * 3, std=(0.25,) * 3, crop_pct=1.0)
    origin = Origin(id="module/test", library="module", architecture="test", args={})
    return Network(body, nn.Linear(width, 2), origin=origin, spec=spec, head_path=None).eval()
