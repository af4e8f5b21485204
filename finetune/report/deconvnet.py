"""The deconvnet (Zeiler and Fergus 2014, arXiv 1311.2901): what in a picture leads to an activation."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from ..errors import ConfigError
from .places import listening

_RECTIFIERS = (F.relu, F.relu6, torch.relu, Tensor.relu, torch.relu_, Tensor.relu_)
_OTHERS = {
    F.gelu: "GELU", F.silu: "SiLU", F.hardswish: "Hardswish", F.mish: "Mish", F.elu: "ELU", F.selu: "SELU",
    F.celu: "CELU", F.leaky_relu: "LeakyReLU", F.prelu: "PReLU", F.softplus: "Softplus", F.tanh: "tanh",
    torch.tanh: "tanh", Tensor.tanh: "tanh",
}  # fmt: skip


class _Deconvolved(torch.autograd.Function):
    """ReLU forwards; backwards the ReLU of the signal, wherever the unit itself was silent or not."""

    @staticmethod
    def forward(ctx: Any, inputs: Tensor, highest: float) -> Tensor:
        return inputs.clamp(min=0, max=highest)

    @staticmethod
    def backward(ctx: Any, *signals: Tensor) -> tuple[Tensor, None]:
        return signals[0].clamp(min=0), None


class _Rectification(TorchFunctionMode):
    """Puts the deconvnet's rectification in the place of every ReLU that is called, as a layer or as a function."""

    def __init__(self) -> None:
        super().__init__()
        self.rectified = 0
        self.others: set[str] = set()

    def __torch_function__(
        self, function: Callable[..., Any], types: Sequence[type], args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:  # fmt: skip
        words = kwargs or {}
        highest = _highest(function, args, words)
        if highest is None:
            if function in _OTHERS:
                self.others.add(_OTHERS[function])
            return function(*args, **words)
        self.rectified += 1
        return _Deconvolved.apply(args[0] if args else words["input"], highest)

    def check(self) -> None:
        """Refuses a network that called no ReLU, or anything that has no deconvnet."""
        if self.others:
            raise ConfigError(
                "A deconvnet exists of networks whose activations are ReLUs alone. This one has "
                f"{', '.join(sorted(self.others))}."
            )
        if not self.rectified:
            raise ConfigError("A deconvnet exists of networks whose activations are ReLUs. This one has none.")


def _highest(function: Callable[..., Any], args: Sequence[Any], words: Mapping[str, Any]) -> float | None:
    """Where a rectifier stops to grow, 6 of ReLU6 say; None of what is no rectifier."""
    if function is F.hardtanh:
        low, high = (
            words.get(name, args[at] if len(args) > at else default)
            for name, at, default in (("min_val", 1, -1.0), ("max_val", 2, 1.0))
        )
        return float(high) if low == 0 else None
    if function is F.relu6:
        return 6.0
    return float("inf") if function in _RECTIFIERS else None


@contextmanager
def deconvnet() -> Iterator[None]:
    """Makes the backward pass of all that is computed within that of its deconvnet.

    With R the signal from above and f = ReLU(x) a layer below it, a gradient hands on R where x > 0, the deconvnet
    ReLU(R) wherever x lies. Transposed filters and switches of maximum pooling are what a gradient has anyway.
    Unpooling by hand would be wrong where pools overlap, as in AlexNet, SqueezeNet and ResNet: places that two pools
    share get the sum in a gradient and one of them in MaxUnpool2d.

    Raises:
        ConfigError: At its end, where no ReLU was called, or another activation too.
    """
    mode = _Rectification()
    with mode:
        yield
    mode.check()


def deconvolved(network: nn.Module, inputs: Tensor, answers: Tensor) -> Tensor:
    """What in each picture leads to an answer: the deconvnet from its logit.

    Args:
        network: From pictures to (N, K) logits, in evaluation mode.
        inputs: (N, C, H, W), floating point.
        answers: (N,) int64, the output that is asked about.

    Returns:
        (N, C, H, W) of either sign.

    Raises:
        ConfigError: The network has no ReLUs, or other activations.
    """
    with torch.inference_mode(False), torch.enable_grad():
        pixels = inputs.detach().clone().requires_grad_(True)
        with deconvnet():
            score = network(pixels).gather(1, answers.to(inputs.device)[:, None]).sum()
        return torch.autograd.grad(score, pixels)[0]


def traced_back(body: nn.Module, picture: Tensor, layer: str, channel: int) -> Tensor:
    """What in a picture a channel's strongest unit answers to: the deconvnet from that unit alone.

    Args:
        body: The network.
        picture: (1, C, H, W), normalised.
        layer: The dotted name of a layer that answers with a map.
        channel: Of that map.

    Returns:
        (1, C, H, W), in the units of the picture; 0 where nothing leads.

    Raises:
        ConfigError: There is no such layer, or no deconvnet of this network.
    """
    heard: list[Tensor] = []
    with torch.inference_mode(False), torch.enable_grad():
        pixels = picture.detach().clone().requires_grad_(True)
        with deconvnet(), listening(body, layer, heard):
            body(pixels)
        return torch.autograd.grad(heard[0][0, channel].max(), pixels)[0]
