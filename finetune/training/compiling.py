"""Compiled training steps, where they can be had."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn


@functools.cache
def why_not(device: str) -> str | None:
    """Why nothing can be compiled here, in a line; None where it can.

    Args:
        device: "cpu", "cuda", ...: each has a compiler of its own, which may be missing.
    """
    try:
        torch.compile(_slight)(torch.ones(8, device=device))
    # Compilers fail in as many ways as there are compilers: a missing file, a missing package, an unknown processor.
    except Exception as error:
        return reason(error)
    return None


def reason(error: BaseException) -> str:
    """What an error of the compiler begins with; behind that come its own traceback and advice to its makers."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    told = " ".join(lines[: 2 if lines and lines[0].endswith(":") else 1])
    return f"{type(error).__name__}: {told}" if told else type(error).__name__


def compiled(network: nn.Module) -> Callable[[Tensor], Any]:
    """The network's forward, compiled when it is first called; the network and the names of its weights stay."""
    # What was compiled for an earlier phase, with other frozen parts, would count against torch's limit.
    torch._dynamo.reset()
    made: Callable[[Tensor], Any] = torch.compile(network.forward)
    return made


def _slight(values: Tensor) -> Tensor:
    return values.sin() + values.cos()
