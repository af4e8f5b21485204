"""Several networks as one, whose answer is the mean of theirs."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..types import Kind
from .network import Network, body_features


class Bodies(nn.Module):
    """The bodies of several networks, side by side on the same pictures.

    Args:
        members: Networks of one architecture and one preprocessing.
    """

    def __init__(self, members: Sequence[Network]) -> None:
        super().__init__()
        self.members = nn.ModuleList(member.body for member in members)
        self.pre_logits = members[0].pre_logits

    def forward(self, pictures: Tensor) -> Tensor:
        """The features (N, F) of each for normalised pictures, one after the other: (N, members * F)."""
        seen = [body_features(body, pictures, pre_logits=self.pre_logits).flatten(1) for body in self.members]
        return torch.cat(seen, dim=1)


class MeanHead(nn.Module):
    """Heads whose answers are averaged.

    The mean is one of probabilities (or of numbers), as in Breiman, "Bagging predictors", 1996; it comes as logits
    that a task turns into just these probabilities, so that an ensemble is used as any network is.

    Args:
        heads: One a member.
        kind: What an output means.
        centers: For numbers, what each member's output 0 stands for.
        scales: For numbers, what each member's output 1 is above that.
    """

    def __init__(
        self, heads: Sequence[nn.Module], kind: Kind, centers: Sequence[float], scales: Sequence[float]
    ) -> None:
        super().__init__()
        self.members = nn.ModuleList(heads)
        self.kind = kind
        center, scale = sum(centers) / len(centers), sum(scales) / len(scales)
        # Each member's own standard deviations, as those of the mean member.
        self.shifts = [(own - center) / scale for own in centers]
        self.factors = [own / scale for own in scales]

    def forward(self, features: Tensor) -> Tensor:
        """Answers (N, K) logits for (N, members * F) features."""
        parts = features.chunk(len(self.members), dim=1)
        logits = torch.stack([_answered(head, part) for head, part in zip(self.members, parts, strict=True)])
        if self.kind == "class":
            return logits.log_softmax(dim=2).logsumexp(dim=0) - math.log(len(self.members))
        if self.kind == "labels":
            # log(p / (1 - p)) of the mean p, without ever rounding p to 0 or 1.
            return F.logsigmoid(logits).logsumexp(dim=0) - F.logsigmoid(-logits).logsumexp(dim=0)
        factors, shifts = (logits.new_tensor(own).view(-1, 1, 1) for own in (self.factors, self.shifts))
        return (logits * factors + shifts).mean(dim=0)


def _answered(head: nn.Module, features: Tensor) -> Tensor:
    # A head on a map takes the mean over its places, so that only their number counts and not how they lie.
    if isinstance(head, nn.Conv2d):
        features = features.reshape(len(features), head.in_channels, -1, 1)
    logits: Tensor = head(features)
    return logits


def ensemble(members: Sequence[Network], kind: Kind, centers: Sequence[float], scales: Sequence[float]) -> Network:
    """One network that answers with the mean answer of several; each picture is read and normalised once.

    Args:
        members: Networks of one architecture and one preprocessing; they are not copied.
        kind: What an output means.
        centers: For numbers, what each member's output 0 stands for; the ensemble's is their mean.
        scales: For numbers, what each member's output 1 is above that; the ensemble's is their mean.
    """
    first = members[0]
    heads = [member.head for member in members]
    return Network(
        Bodies(members), MeanHead(heads, kind, centers, scales), origin=first.origin, spec=first.spec, head_path=None
    )
