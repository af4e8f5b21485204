"""The one face of every backbone: pictures, features, answer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, final

import torch
from torch import Tensor, nn

from ..types import ImageSpec, Stage
from .adapters import plain_state
from .heads import Embedding
from .stages import stages_of


@dataclass(frozen=True, kw_only=True)
class Origin:
    """Where a network comes from: all that is needed to build its bare body again.

    Args:
        id: `timm/resnet50.a1_in1k`.
        library: Whose constructor builds it; "module" for a person's own.
        architecture: The constructor's name, `resnet50`.
        args: What was passed through to the constructor.
    """

    id: str
    library: Literal["timm", "torchvision", "finetune", "module"]
    architecture: str
    args: Mapping[str, Any]


def _colours_side_by_side(inputs: Tensor) -> bool:
    """Whether pictures (N, C, H, W) lie channels last in memory, and not in planes."""
    return inputs.is_contiguous(memory_format=torch.channels_last) and not inputs.is_contiguous()


@final
class Network(nn.Module):
    """A backbone and its head.

    Args:
        body: The library's network with its classifier replaced by `Identity`.
        head: From features to (N, K) logits.
        origin: Where the body comes from.
        spec: What the body wants to see.
        head_path: The dotted name of the classifier in the library's network; None where the head has no place in it.
        head_shape: The shape of the classifier's weight in the library's network, where there is such a place.
        pre_logits: Whether the features are what a timm network hands to its classifiers, rather than its output: so
            for networks with several classifiers.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self, body: nn.Module, head: nn.Module, *, origin: Origin, spec: ImageSpec, head_path: str | None,
        head_shape: tuple[int, ...] | None = None, pre_logits: bool = False,
    ) -> None:  # fmt: skip
        super().__init__()
        self.body = body
        self.head = head
        self.origin = origin
        self.spec = spec
        self.head_path = head_path
        self._head_shape = head_shape
        self.pre_logits = pre_logits
        # Not saved: they are the spec's, and a state dict must hold the library's keys and nothing else.
        self.register_buffer("mean", torch.tensor(spec.mean).view(1, -1, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(spec.std).view(1, -1, 1, 1), persistent=False)
        self.stages: tuple[Stage, ...] = stages_of(body, head)

    @property
    def id(self) -> str:
        """`timm/resnet50.a1_in1k`."""
        return self.origin.id

    def features(self, inputs: Tensor) -> Tensor:
        """What the head sees.

        Args:
            inputs: (N, C, H, W), uint8 in 0..255 or floating point in 0..1.

        Returns:
            (N, F); (N, F, H', W') where the head works on a map.
        """
        return self.for_head(body_features(self.body, self.normalised(inputs), pre_logits=self.pre_logits))

    def normalised(self, inputs: Tensor) -> Tensor:
        """What the body sees: `inputs` as for `features`, as floating point, without their mean and spread."""
        # Division by 255 first, as every library does: the answers then agree with theirs to the last bit.
        if inputs.dtype != torch.uint8:
            return (inputs.to(self.mean.dtype) - self.mean) / self.std
        if inputs.device.type != "cpu" or not _colours_side_by_side(inputs):
            # In place on the copy: three passes over memory instead of four.
            return inputs.to(self.mean.dtype).div_(255).sub_(self.mean).div_(self.std)
        # Three colours side by side are too short for vector code. A row of pixels is not, with the numbers of its
        # colours repeated: the same numbers in half the time.
        pixels = inputs.permute(0, 2, 3, 1)
        mean, std = (numbers.flatten().repeat(pixels.shape[2]) for numbers in (self.mean, self.std))
        rows = pixels.flatten(2).to(mean.dtype).div_(255).sub_(mean).div_(std)
        return rows.view(pixels.shape).permute(0, 3, 1, 2)

    def for_head(self, features: Tensor) -> Tensor:
        """What the body says, in the shape that the head takes."""
        return features if isinstance(self.head, nn.Conv2d) else features.flatten(1)

    def forward(self, inputs: Tensor) -> Tensor:
        """Answers (N, K) logits for `inputs` as in `features`."""
        logits: Tensor = self.head(self.features(inputs))
        return logits

    def native_state(self) -> dict[str, Tensor]:
        """The weights under the names of the library's own network with K classes.

        Returns:
            Contiguous tensors on the CPU, no two of which share memory, as safetensors asks for. The body's only,
            where `head_path` is None. Adapters are merged, so that a model is an ordinary one whenever it is saved.
        """
        state = plain_state(self.body)
        if self.head_path is not None and self._head_shape is not None:
            head = dict(self.head.state_dict())
            head["weight"] = head["weight"].reshape(-1, *self._head_shape[1:])
            state |= {f"{self.head_path}.{name}": tensor for name, tensor in head.items()}
        return separate(state)

    def head_state(self) -> dict[str, Tensor] | None:
        """The weights of a head that has no place in the library's network; None where `native_state` holds it."""
        if self.head_path is not None:
            return None
        kept = self.head.kept_state() if isinstance(self.head, Embedding) else self.head.state_dict()
        return separate(dict(kept))


def body_features(body: nn.Module, pictures: Tensor, *, pre_logits: bool) -> Tensor:
    """What a body says of normalised pictures (N, C, H, W); `pre_logits` as for `Network`."""
    if not pre_logits:
        features: Tensor = body(pictures)
        return features
    features = body.forward_head(body.forward_features(pictures), pre_logits=True)  # type: ignore[operator]
    return features


def separate(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Brings tensors to the CPU, contiguous, each with memory of its own."""
    seen: set[int] = set()
    result = {}
    for name, tensor in state.items():
        tensor = tensor.detach().cpu().contiguous()
        place = tensor.untyped_storage().data_ptr()
        result[name] = tensor.clone() if place in seen and tensor.numel() else tensor
        seen.add(place)
    return result
