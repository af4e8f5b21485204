"""A fine-tuned run as a teacher of another network."""

from __future__ import annotations

from typing import final

import torch
from torch import Tensor
from torch.nn import functional

from ..data.labels import Labels
from ..errors import ConfigError, listing
from ..models.network import Network


@final
class Teacher:
    """Answers the very pictures that a student sees, varied and mixed as they are (Beyer et al. 2022, 2106.05237).

    Args:
        network: The teacher's.
        theirs: What its outputs mean.
        ours: What the student's outputs mean.

    Raises:
        ConfigError: It answers another question.
    """

    def __init__(self, network: Network, theirs: Labels, ours: Labels) -> None:
        if theirs.kind != ours.kind or set(theirs.names) != set(ours.names):
            missing = sorted(set(ours.names) - set(theirs.names)) or sorted(set(theirs.names) - set(ours.names))
            what = f"they differ in {listing(missing)}" if missing else f"{theirs.kind!r} against {ours.kind!r}"
            raise ConfigError(
                f"The teacher answers another question: {what}. Expected a run on the same classes, labels or number."
            )
        if network.spec.in_chans < 1:
            raise ConfigError("The teacher sees no pictures.")
        self.network = network.eval().requires_grad_(False)
        self._theirs, self._ours = theirs, ours
        self._order = [theirs.names.index(name) for name in ours.names]

    @torch.no_grad()
    def __call__(self, pictures: Tensor) -> Tensor:
        """Its logits (N, K) in the student's order and unit for (N, C, H, W) pictures, uint8 or float in 0..1.

        They are resized to its own input, and their channels averaged or repeated, where these differ from the
        student's.
        """
        network = self.network.to(pictures.device)
        inputs = pictures.float() / 255 if pictures.dtype == torch.uint8 else pictures.float()
        if inputs.shape[1] != network.spec.in_chans:
            inputs = inputs.mean(1, keepdim=True).expand(-1, network.spec.in_chans, -1, -1)
        if tuple(inputs.shape[-2:]) != network.spec.size:
            inputs = functional.interpolate(
                inputs, size=network.spec.size, mode="bilinear", align_corners=False, antialias=True
            )
        logits: Tensor = network(inputs.contiguous(memory_format=torch.channels_last))
        if self._ours.kind == "number":
            number = logits * self._theirs.scale + self._theirs.center
            return (number - self._ours.center) / self._ours.scale
        return logits[:, self._order]
