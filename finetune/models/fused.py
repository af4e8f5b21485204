"""Convolutions of a folded network as single calls of oneDNN: with weights laid out for it, activation and sum inside.

They are what torch.compile itself calls on CPUs, without its minutes of compiling and without a compiler. The blocked
layout of torch.utils.mkldnn, which knows neither sums nor most activations, saves less (docs/speed.md).
"""

from __future__ import annotations

import operator
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.nn import functional as F

from .folding import Find, Shapes, called

Activation = tuple[str, list[float], str]
"""oneDNN's name, its numbers, and which formula; as in torch's own list for its compiler."""

NOTHING: Activation = ("none", [], "")
RELU: Activation = ("relu", [], "")
RELU6: Activation = ("hardtanh", [0.0, 6.0], "")
MODULES: dict[type[nn.Module], Activation] = {
    nn.ReLU: RELU,
    nn.ReLU6: RELU6,
    nn.SiLU: ("swish", [], ""),
    nn.Hardswish: ("hardswish", [], ""),
}
FUNCTIONS: dict[Any, Activation] = {F.relu: RELU, torch.relu: RELU, torch.relu_: RELU, F.relu6: RELU6}
SUMS = (operator.add, operator.iadd, torch.add)


class FusedConvolution(nn.Module):
    """A convolution, perhaps a sum with another map, and perhaps an activation.

    Args:
        convolution: A plain one that pads with zeros.
        shape: (N, C, H, W) of what it will mostly see; the layout of its weights is chosen for that.
        activation: What comes last.
    """

    def __init__(self, convolution: nn.Conv2d, shape: tuple[int, ...], activation: Activation) -> None:
        super().__init__()
        self._places = [list(value) for value in _places(convolution)]
        self._groups = convolution.groups
        self._activation = activation
        self._weight = torch.ops.mkldnn._reorder_convolution_weight(
            convolution.weight.detach(), *self._places, self._groups, list(shape)
        )
        self._bias = None if convolution.bias is None else convolution.bias.detach()

    def forward(self, pictures: Tensor, other: Tensor | None = None) -> Tensor:
        """The map for (N, C, H, W); `other` is a map of the result's shape that is added, and overwritten."""
        name, numbers, formula = self._activation
        given = (self._weight, self._bias, *self._places, self._groups)
        result: Tensor
        if other is None:
            result = torch.ops.mkldnn._convolution_pointwise(pictures, *given, name, numbers, formula)
        else:
            last = None if self._activation == NOTHING else name
            result = torch.ops.mkldnn._convolution_pointwise_(
                other, pictures, *given, "add", 1.0, last, numbers, formula
            )
        return result


def fuse(graph: fx.GraphModule, shapes: Shapes) -> int:
    """Puts each convolution with what follows it into one call, in place.

    Args:
        graph: A folded network, channels last, float32 on the CPU.
        shapes: What was seen on its way.

    Returns:
        How many sums and activations went into a convolution.
    """
    find, modules = called(graph), dict(graph.named_modules())
    count, fresh = 0, set[fx.Node]()
    order = {node: place for place, node in enumerate(graph.graph.nodes)}
    for node in list(graph.graph.nodes):
        module = find(node)
        if type(module) is nn.MaxPool2d:
            fresh.add(node)
        if type(module) is not nn.Conv2d or module.padding_mode != "zeros" or isinstance(module.padding, str):
            continue
        end = node
        other = _summand(node, find, shapes=shapes, order=order, fresh=fresh)
        if other is not None:
            end = _only_user(node) or node
        last = _only_user(end)
        activation = _activation(last, modules) if last is not None else NOTHING
        if last is not None and activation != NOTHING:
            _drop(graph, last, end)
        if end is not node:
            _drop(graph, end, node)
            node.args = (node.args[0], other)
        count += (end is not node) + (activation != NOTHING)
        graph.set_submodule(str(node.target), FusedConvolution(module, shapes.of[node.all_input_nodes[0]], activation))
        fresh.add(node)
    graph.recompile()
    return count


def _places(convolution: nn.Conv2d) -> tuple[Any, ...]:
    return convolution.padding, convolution.stride, convolution.dilation


def _only_user(node: fx.Node) -> fx.Node | None:
    return next(iter(node.users)) if len(node.users) == 1 else None


def _summand(
    node: fx.Node, find: Find, *, shapes: Shapes, order: dict[fx.Node, int], fresh: set[fx.Node]
) -> fx.Node | None:
    """The map that is added to a convolution's result, where the sum may overwrite it.

    It must be there before the convolution runs, nobody may need it later, and no other name may lead to its memory, as
    a view or an activation in place would: it comes from a convolution or a pooling, and beside the sum only
    convolutions that have run already read it.
    """
    total = _only_user(node)
    if total is None or total.op != "call_function" or total.target not in SUMS or total.kwargs:
        return None
    others: list[Any] = [given for given in total.args if given is not node]
    if len(total.args) != 2 or len(others) != 1 or not isinstance(others[0], fx.Node):
        return None
    other: fx.Node = others[0]
    if other not in fresh or order[other] > order[node] or shapes.of.get(other) != shapes.of.get(node):
        return None
    readers = [user for user in other.users if user is not total]
    done = all(order[reader] < order[node] and type(find(reader)) is nn.Conv2d for reader in readers)
    return other if done else None


def _activation(node: fx.Node, modules: dict[str, nn.Module]) -> Activation:
    if node.op == "call_module":
        return MODULES.get(type(modules[str(node.target)]), NOTHING)
    if node.op == "call_function" and len(node.all_input_nodes) == 1:
        return FUNCTIONS.get(node.target, NOTHING)
    return NOTHING


def _drop(graph: fx.GraphModule, node: fx.Node, instead: fx.Node) -> None:
    node.replace_all_uses_with(instead)
    graph.graph.erase_node(node)
