"""Attention roll-out: what the tokens of a transformer have taken in (Abnar and Zuidema 2020, arXiv 2005.00928)."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from .places import Places, places_of

_SOFTMAX = (F.softmax, torch.softmax, Tensor.softmax)


class _Attention(TorchFunctionMode):
    """Takes down every attention, (N, heads, from, to), that is computed within, fused or not."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[Tensor] = []

    def __torch_function__(
        self, function: Callable[..., Any], types: Sequence[type], args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:  # fmt: skip
        words = dict(kwargs or {})
        if function is F.multi_head_attention_forward:
            output, weights = function(*args, **words | {"need_weights": True, "average_attn_weights": False})
            self.found.append(weights.detach())
            return output, weights if words.get("need_weights", True) else None
        result = function(*args, **words)
        if function is F.scaled_dot_product_attention:
            self.found.append(_weights(*args, **words).detach())
        elif function in _SOFTMAX and result.ndim == 4:
            self.found.append(result.detach())
        return result


def _weights(
    query: Tensor, key: Tensor, value: Tensor, attn_mask: Tensor | None = None, dropout_p: float = 0.0,
    is_causal: bool = False, scale: float | None = None, enable_gqa: bool = False,
) -> Tensor:  # fmt: skip
    """What fused attention never writes down: softmax(q k^T * scale + mask), as torch documents it."""
    scores = query @ key.transpose(-2, -1) * (1 / math.sqrt(query.shape[-1]) if scale is None else scale)
    if attn_mask is not None:
        scores = scores.masked_fill(~attn_mask, -math.inf) if attn_mask.dtype == torch.bool else scores + attn_mask
    return scores.softmax(dim=-1)


def roll_out(network: nn.Module, inputs: Tensor) -> np.ndarray:
    """How much of each place is in what the answer is read from, by attention alone: the same for every answer.

    Section 3: with W_l the attention of layer l, a mean over its heads, A_l = W_l / 2 + I / 2 stands for the attention
    and the path around it, and the roll-out is A_L ... A_2 A_1. Of its rows those are taken which the network reads its
    answer from, found by gradient: the class token's, both of a distilled network, or the mean of all where tokens are
    averaged. Of its columns those of class, distillation and register tokens are left out.

    Args:
        network: From pictures to (N, K) logits, in evaluation mode.
        inputs: (N, C, H, W), floating point.

    Returns:
        (N, h, w) float32, shares of 1; what is missing lies on tokens that have no place.

    Raises:
        ValueError: The network is none whose layers all attend from all tokens to all tokens.
    """
    aspect = inputs.shape[2] / inputs.shape[3]
    rows, attention = _attended(network, inputs)
    tokens = attention[0].shape[-1]
    places = places_of((1, tokens, 1), aspect)
    if places is None:
        raise ValueError(f"its {tokens} tokens lie on no grid")
    own = torch.eye(tokens, dtype=torch.float64)
    joint = own.expand(len(inputs), tokens, tokens)
    for layer in attention:  # on the CPU: not every accelerator has such long numbers
        joint = (layer.mean(dim=1).cpu().double() / 2 + own / 2) @ joint
    taken_in = (rows[:, None] @ joint)[:, 0]
    return _placed(taken_in, places)


def _placed(taken_in: Tensor, places: Places) -> np.ndarray:
    return np.asarray(places.maps(taken_in[..., None])[:, 0].float().cpu().numpy())


def _attended(network: nn.Module, inputs: Tensor) -> tuple[Tensor, list[Tensor]]:
    """The share that each token has in what the answer is read from, (N, T), and the attention of each layer."""
    mode = _Attention()
    outputs: list[Tensor] = []

    def keep(module: nn.Module, taken: object, given: object) -> None:
        if isinstance(given, Tensor) and given.ndim == 3 and len(given) == len(inputs) and given.requires_grad:
            outputs.append(given)

    handles = [module.register_forward_hook(keep) for module in network.modules()]
    try:
        with torch.inference_mode(False), torch.enable_grad(), mode:
            logits = network(inputs.detach().clone().requires_grad_(True))
    finally:
        for handle in handles:
            handle.remove()
    attention = mode.found
    if not attention:
        raise ValueError("it has no attention")
    # Attention that reads the answer from all tokens by a query of its own; its rows are shares already.
    *layers, last = attention
    reading = last if layers and last.shape[-2] == 1 and last.shape[-1] == layers[0].shape[-1] else None
    layers = layers if reading is not None else attention
    tokens = layers[0].shape[-1]
    if any(one.shape != (len(inputs), one.shape[1], tokens, tokens) for one in layers):
        raise ValueError("its attention is within windows, within channels, or among tokens whose number changes")
    if reading is not None:
        return reading.mean(dim=1)[:, 0].cpu().double(), layers
    score = logits.sum()
    for output in reversed([one for one in outputs if one.shape[1] == tokens]):
        (gradient,) = torch.autograd.grad(score, output, retain_graph=True, allow_unused=True)
        if gradient is not None and bool(gradient.any()):
            read = (gradient.abs().sum(dim=2) > 0).cpu().double()
            return read / read.sum(dim=1, keepdim=True), layers
    raise ValueError("its attention is not among tokens that the answer is read from")
