"""What turns features into an answer."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .options import EmbeddingHead, Head, MLPHead


class Linear(nn.Linear):
    """One linear layer, with dropout in front of it while training.

    A subclass rather than a `Sequential`, so that its two tensors keep the names that every library gives them and a
    solver can tell a linear head by its type.

    Args:
        in_features: F, the width of the features.
        out_features: K, the number of outputs.
        dropout: Share of the features that are zeroed while training.
    """

    def __init__(self, in_features: int, out_features: int, *, dropout: float = 0.0) -> None:
        super().__init__(in_features, out_features)
        self.dropout = dropout
        _start_small(self)

    def forward(self, features: Tensor) -> Tensor:
        """Answers (N, K) logits for (N, F) features."""
        return super().forward(F.dropout(features, self.dropout, self.training))


class MapHead(nn.Conv2d):
    """SqueezeNet's classifier: a linear layer on every place of a map, ReLU, and the mean over the places.

    The ReLU makes it more than a linear layer on the mean of the map, so the map itself is the feature.

    Args:
        in_channels: F, the channels of the map.
        out_channels: K, the number of outputs.
        dropout: Share of the values that are zeroed while training.
    """

    def __init__(self, in_channels: int, out_channels: int, *, dropout: float = 0.0) -> None:
        super().__init__(in_channels, out_channels, kernel_size=1)
        self.dropout = dropout
        _start_small(self)
        # From 0, the ReLU would silence about half of the outputs on every picture, and those would never learn. The
        # same for all outputs, so that a softmax still starts even.
        nn.init.ones_(self.bias)  # type: ignore[arg-type]

    def forward(self, features: Tensor) -> Tensor:
        """Answers (N, K) logits, none below 0, for (N, F, H, W) features."""
        scores = F.relu(super().forward(F.dropout(features, self.dropout, self.training)))
        return F.adaptive_avg_pool2d(scores, 1).flatten(1)


class MLP(nn.Module):
    """A hidden layer with ReLU between the features and the answer.

    Args:
        in_features: F, the width of the features.
        out_features: K, the number of outputs.
        hidden: Width of the hidden layer.
        dropout: Share of the features, and of the hidden units, that are zeroed while training.
    """

    def __init__(self, in_features: int, out_features: int, *, hidden: int, dropout: float) -> None:
        super().__init__()
        self.hidden = nn.Linear(in_features, hidden)
        self.output = nn.Linear(hidden, out_features)
        self.dropout = dropout
        _start_small(self.output)

    def forward(self, features: Tensor) -> Tensor:
        """Answers (N, K) logits for (N, F) features."""
        hidden = F.relu(self.hidden(F.dropout(features, self.dropout, self.training)))
        answer: Tensor = self.output(F.dropout(hidden, self.dropout, self.training))
        return answer


class Embedding(nn.Module):
    """A linear layer and the length 1: points whose products are cosines.

    It starts as a rotation, or a projection onto some of the axes of one, so that what is near by the features is near
    from the first step on.

    Args:
        in_features: F, the width of the features.
        size: D, the numbers of a point.
        classes: K, of which each has a point of its own to be compared with in training (a proxy); 0 for none.
    """

    proxies: Tensor | None

    def __init__(self, in_features: int, size: int, classes: int) -> None:
        super().__init__()
        self.projection = nn.Linear(in_features, size)
        nn.init.orthogonal_(self.projection.weight)
        nn.init.zeros_(self.projection.bias)
        # Of random direction; only that matters, and a length of about 1 lets the rate mean the same for any size.
        proxies = nn.Parameter(torch.randn(classes, size) / size**0.5) if classes else None
        self.register_parameter("proxies", proxies)

    def forward(self, features: Tensor) -> Tensor:
        """Answers (N, D) points for (N, F) features."""
        return F.normalize(self.projection(features).float(), dim=1)

    def kept_state(self) -> dict[str, Tensor]:
        """The weights that answers depend on: all but the proxies."""
        return {name: tensor for name, tensor in self.state_dict().items() if name != "proxies"}


def build_head(
    options: Head, features: int, outputs: int, *, on_map: bool = False
) -> Linear | MapHead | MLP | Embedding:
    """Builds the module that the user's options ask for.

    Args:
        options: What the user said.
        features: F, the width of the features.
        outputs: K, the number of outputs; of an embedding the number of proxies.
        on_map: Whether the features are (N, F, H, W); only a linear head works on those.
    """
    if isinstance(options, EmbeddingHead):
        return Embedding(features, options.size, outputs)
    if isinstance(options, MLPHead):
        return MLP(features, outputs, hidden=options.hidden, dropout=options.dropout)
    if on_map:
        return MapHead(features, outputs, dropout=options.dropout)
    return Linear(features, outputs, dropout=options.dropout)


def _start_small(layer: nn.Linear | nn.Conv2d) -> None:
    # Near zero, so that training starts from an even answer; not zero, so that the body behind gets a gradient from
    # the first step on.
    nn.init.normal_(layer.weight, std=0.01)
    if layer.bias is not None:  # always, but torch's hints do not know
        nn.init.zeros_(layer.bias)
