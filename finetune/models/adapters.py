"""LoRA: a frozen network learns through small matrices beside its weights, which are added to them in the end.

Hu et al. 2021, arXiv 2106.09685. A weight W acts as W + alpha / rank * B A, where A has `rank` rows and B `rank`
columns. The network's structure stays as it is: a layer with adapters is of a subclass of its own class, whose weight,
when anybody asks for it, is the sum. So weights are reached too that another layer uses without calling the one that
holds them, as attention often does. Large plain layers, when called, add two small products to their answer instead,
which spares the gradient of the whole weight.

`torch.nn.utils.parametrize` would do the former. But its layers cannot be pickled, and so reach no spawned rank, and it
renames the weights, by which stages are frozen and given rates.
"""

from __future__ import annotations

import functools
import math
import re
from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..errors import ConfigError
from .stages import stages_of

if TYPE_CHECKING:
    from .network import Network

_DOWN, _UP = "_lora_a", "_lora_b"
# Attention's weights that hold several matrices, one below the other; in some networks inside a layer with a norm.
_FUSED = re.compile(r"(?:.*\.)?(qkv|kv|qk)(?:_proj)?(?:\.\w+)?")
_ATTENTION = ("in_proj_weight", "q_proj_weight", "k_proj_weight", "v_proj_weight")


class _Adapted:
    """What layers with adapters have beside their own class; see `_adapted`."""

    plain: ClassVar[type[nn.Module]]
    adapted_names: ClassVar[tuple[str, ...]]
    apart: ClassVar[bool]
    _parameters: dict[str, Any]
    lora_scale: float

    def __reduce_ex__(self, protocol: Any) -> Any:
        # The class is made while running: whoever unpickles it has to make it too.
        return _blank, (self.plain, self.adapted_names, self.apart), *super().__reduce_ex__(protocol)[2:]

    def lora_factors(self, name: str) -> tuple[Tensor, Tensor]:
        """Of a weight of n rows: A as (blocks * rank, columns), and alpha / rank * B as (n, blocks * rank)."""
        down, up = self._parameters[name + _DOWN], self._parameters[name + _UP]
        blocks = down.shape[0] // up.shape[1]
        return down, self.lora_scale * torch.block_diag(*up.chunk(blocks))

    def lora_sum(self, name: str) -> Tensor:
        """The weight with its update."""
        weight: Tensor = self._parameters[name]
        # Half precision is for products with pictures; a small update of a weight would lose most of its digits.
        with torch.autocast(weight.device.type, enabled=False):
            down, up = self.lora_factors(name)
            return weight + (up @ down).view(weight.shape)


def _linear(self: Any, inputs: Tensor) -> Tensor:
    down, up = self.lora_factors("weight")
    return F.linear(inputs, self._parameters["weight"], self.bias) + F.linear(F.linear(inputs, down), up)


def _convolution(self: Any, inputs: Tensor) -> Tensor:
    weight = self._parameters["weight"]
    down, up = self.lora_factors("weight")
    answer: Tensor = self._conv_forward(inputs, weight, self.bias)
    reduced = self._conv_forward(inputs, down.view(-1, *weight.shape[1:]), None)
    return answer + F.conv2d(reduced, up[:, :, None, None])


# Subclasses of these may standardise or pad in a forward of their own, which the weight as a sum serves as it is.
_FORWARDS = {nn.Linear: _linear, nn.Conv2d: _convolution}
# Products apart read and write all inputs and answers once more; the sum costs the gradient of the whole weight. Which is
# less depends on the multiplications for each number that goes in or out. Measured on linear layers, one core of a CPU:
# of 20 such, a step apart took 2.2 times as long as one by the sum; of 153, 1.14; of 307, .92; of 614, .79 times.
_APART = 256


@functools.cache
def _adapted(plain: type[nn.Module], names: tuple[str, ...], apart: bool) -> type[nn.Module]:
    """The class of a layer of class `plain` with adapters on the weights of these names.

    Args:
        plain: Any class of layers; one of `_FORWARDS` where `apart`.
        names: The layer's own names of weights.
        apart: Whether a call computes the two small products by themselves, rather than with the sum.
    """
    words: dict[str, Any] = {name: property(functools.partial(_Adapted.lora_sum, name=name)) for name in names}
    words |= {"plain": plain, "adapted_names": names, "apart": apart, "__module__": plain.__module__}
    if apart:
        words["forward"] = _FORWARDS[plain]
    made: type[nn.Module] = type(f"Lora{plain.__name__}", (_Adapted, plain), words)
    return made


def _blank(plain: type[nn.Module], names: tuple[str, ...], apart: bool) -> nn.Module:
    cls = _adapted(plain, names, apart)
    return cls.__new__(cls)


def lora_targets(body: nn.Module) -> tuple[str, ...]:
    """The weights of a body that get adapters.

    They are those of all linear layers, of attention's projections, and of all convolutions that are not divided into
    groups, in all stages but the first, which sees the picture. Nothing depends on a network's family: what is fused
    (`qkv`) is found as the linear layer that it is.

    Args:
        body: A network without its classifier.

    Returns:
        Dotted names in `body.named_parameters()`, in that order; none where the body is its own first stage.
    """
    stem = {name.removeprefix("body.") for name in stages_of(body, nn.Identity())[0].parameters}
    tied = Counter(parameter for _, parameter in body.named_parameters(remove_duplicate=False))
    found = []
    for path, layer in body.named_modules():
        if isinstance(layer, nn.MultiheadAttention):
            names: tuple[str, ...] = _ATTENTION
        elif isinstance(layer, nn.Linear) or (isinstance(layer, nn.Conv2d) and layer.groups == 1):
            names = ("weight",)
        else:
            continue
        for name in names:
            weight, whole = layer._parameters.get(name), f"{path}.{name}" if path else name
            # What two layers share would be changed for one of them alone, until it is merged.
            if weight is not None and whole not in stem and tied[weight] == 1:
                found.append(whole)
    return tuple(found)


def add_lora(network: Network, *, rank: int = 8, alpha: float = 16.0, seed: int = 0) -> tuple[str, ...]:
    """Puts adapters on all weights of `lora_targets` and freezes everything else in the body.

    The answers stay exactly as they are, since every B is zero at first. Names and order of the network's other
    parameters stay too; those of the adapters join the stages of their weights. The head is left alone.

    Args:
        network: Is changed in place.
        rank: Rows of A and columns of B, 1 or more; never more than a weight has rows or columns itself. Each of q, k
            and v gets matrices of its own where they are fused in one weight.
        alpha: The update is scaled by alpha / rank, above 0.
        seed: Draws every A, Kaiming-uniform.

    Returns:
        The names of the adapters' parameters in `network.named_parameters()`.

    Raises:
        ConfigError: A rank or alpha that cannot be, adapters that are there already, or a network without a target.
    """
    wrong = []
    if rank < 1:
        wrong.append(f"rank must be 1 or more: 4, 8 and 16 are usual. Got {rank}.")
    if not (alpha > 0 and math.isfinite(alpha)):
        wrong.append(f"alpha must be a number above 0; twice the rank is usual. Got {alpha}.")
    if _adapted_layers(network):
        wrong.append(f"{network.id} has adapters already. Expected a network without; merge_lora adds them to it.")
    if wrong:
        raise ConfigError("\n".join(wrong))
    targets = lora_targets(network.body)
    if not targets:
        raise ConfigError(
            f"{network.id} has no layer for LoRA behind the one that sees the picture. Expected linear layers, or "
            "convolutions without groups. Choose another method, full or lp-ft, or another backbone."
        )
    random = torch.Generator().manual_seed(seed)
    network.body.requires_grad_(False)
    made: dict[str, tuple[str, str]] = {}
    for path, names in _by_layer(targets).items():
        layer = network.body.get_submodule(path)
        for name in names:
            whole = f"{path}.{name}" if path else name
            _register(layer, name, rank, _blocks(whole), random)
            made[f"body.{whole}"] = (f"body.{whole}{_DOWN}", f"body.{whole}{_UP}")
        layer.lora_scale = alpha / rank  # type: ignore[assignment]
        layer.__class__ = _adapted(type(layer), names, _pays_apart(layer))
    network.stages = tuple(
        replace(stage, parameters=tuple(n for name in stage.parameters for n in (name, *made.get(name, ()))))
        for stage in network.stages
    )
    return tuple(name for pair in made.values() for name in pair)


def merge_lora(network: Network) -> None:
    """Adds all adapters to their weights and takes them off: the network is an ordinary one again.

    All parameters of the body require a gradient afterwards, as in a network that was just built. Without adapters
    nothing happens.

    Args:
        network: Is changed in place; its parameters stay the objects that they are.
    """
    layers = _adapted_layers(network)
    for layer in layers:
        assert layer.plain is not None  # noqa: S101
        for name in layer.adapted_names:
            with torch.no_grad():
                layer._parameters[name].copy_(layer.lora_sum(name))
            del layer._parameters[name + _DOWN], layer._parameters[name + _UP]
        del layer.lora_scale
        layer.__class__ = layer.plain
    if layers:
        network.body.requires_grad_(True)
        network.stages = stages_of(network.body, network.head)


def plain_state(module: nn.Module) -> dict[str, Tensor]:
    """The state dict that a module would have if its adapters were merged; the module stays as it is."""
    state = dict(module.state_dict())
    for path, layer in module.named_modules():
        if isinstance(layer, _Adapted):
            for name in layer.adapted_names:
                whole = f"{path}.{name}" if path else name
                state[whole] = layer.lora_sum(name).detach()
                del state[whole + _DOWN], state[whole + _UP]
    return state


def _adapted_layers(module: nn.Module) -> list[Any]:
    return [layer for layer in module.modules() if isinstance(layer, _Adapted)]


def _by_layer(targets: tuple[str, ...]) -> dict[str, tuple[str, ...]]:
    """The path of each layer, and the names of its weights."""
    layers: dict[str, tuple[str, ...]] = {}
    for target in targets:
        path, _, name = target.rpartition(".")
        layers[path] = (*layers.get(path, ()), name)
    return layers


def _pays_apart(layer: nn.Module) -> bool:
    if type(layer) not in _FORWARDS:
        return False
    weight = layer.get_parameter("weight")
    return weight.numel() > _APART * (weight.shape[0] + weight.shape[1])


def _blocks(name: str) -> int:
    """How many matrices a weight of this name holds, one below the other.

    LeViT and its like lay q, k and v out by heads. There a block is a third of the heads: no matrix of its own, but an
    update of no lower rank.
    """
    path, _, weight = name.rpartition(".")
    fused = _FUSED.fullmatch(path)
    return 3 if weight == "in_proj_weight" else len(fused[1]) if fused else 1


def _register(layer: nn.Module, name: str, rank: int, blocks: int, random: torch.Generator) -> None:
    weight = layer._parameters[name]
    assert weight is not None  # noqa: S101
    rows, columns = weight.shape[0], weight[0].numel()
    blocks = blocks if rows % blocks == 0 else 1
    rank = min(rank, rows // blocks, columns)
    down = nn.init.kaiming_uniform_(torch.empty(blocks * rank, columns), a=math.sqrt(5), generator=random)
    layer.register_parameter(name + _DOWN, nn.Parameter(down.to(weight)))
    layer.register_parameter(name + _UP, nn.Parameter(weight.new_zeros(rows, rank)))
