"""Normalisation folded into the convolution before it, in a traced copy of a network; for evaluation only.

In evaluation BatchNorm is one multiplication and one addition a channel, with numbers that no picture changes. The
convolution before it can carry both in its own weights (Jacob et al. 2018, arXiv 1712.05877, section 3.2), which saves
reading and writing the whole map once more.
"""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from .network import Network, body_features

Find = Callable[[fx.Node], nn.Module | None]

IDLE = (nn.Identity, nn.Dropout, nn.Dropout2d)
"""Kinds that do nothing in evaluation."""


class _Features(nn.Module):
    """A body with its way to the features, so that both are traced."""

    def __init__(self, body: nn.Module, *, pre_logits: bool) -> None:
        super().__init__()
        self.body = body
        self._pre_logits = pre_logits

    def forward(self, pictures: Tensor) -> Tensor:
        return body_features(self.body, pictures, pre_logits=self._pre_logits)


class _Tracer(fx.Tracer):
    """Keeps every convolution and norm in one piece: those of timm that pad by the picture's size cannot be traced.

    Attributes:
        gave: The name of each layer to the node of what it gave; None where that is not one tensor, or not one time.
    """

    def __init__(self) -> None:
        super().__init__()
        self.gave: dict[str, fx.Node | None] = {}

    def call_module(self, m: nn.Module, forward: Any, args: Any, kwargs: Any) -> Any:
        """Traces a layer, and writes down what it gave."""
        result = super().call_module(m, forward, args, kwargs)
        name = self.path_of_module(m)
        once = isinstance(result, fx.Proxy) and name not in self.gave
        self.gave[name] = result.node if once else None
        return result

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return isinstance(m, nn.Conv2d | nn.BatchNorm2d) or super().is_leaf_module(m, module_qualified_name)


class Shapes(fx.Interpreter):
    """Runs a traced network and writes down the shape of everything on the way.

    Attributes:
        of: Node to the shape of what it gave, where that is one tensor.
    """

    def __init__(self, graph: fx.GraphModule) -> None:
        super().__init__(graph)
        self.of: dict[fx.Node, tuple[int, ...]] = {}

    def run_node(self, n: fx.Node) -> Any:
        """Runs one node as it is, and looks at its result."""
        result = super().run_node(n)
        if isinstance(result, Tensor):
            self.of[n] = tuple(result.shape)
        return result


def folded(network: Network, until: str | None = None) -> tuple[fx.GraphModule, int]:
    """The way from normalised pictures to what the body says, traced, with norms folded where that is exact.

    Args:
        network: On the CPU; it is copied and stays as it is.
        until: The name in `network.named_modules()` of a layer of the body at whose output the way ends; None for all
            of it.

    Returns:
        A graph with weights of its own, channels last, and how many norms it has lost.

    Raises:
        Exception: Whatever tracing raises where the body's steps depend on the values it sees, or copying it.
        KeyError: `until` is no layer that runs, or not once.
    """
    body = copy.deepcopy(network.body).requires_grad_(False).eval()
    _take_apart(body)
    root = _Features(body, pre_logits=network.pre_logits)
    tracer = _Tracer()
    traced = tracer.trace(root)
    if until is not None:
        _end(traced, tracer.gave[until])
    graph = fx.GraphModule(root, traced)
    _pass_by(graph)
    count = _fold(graph)
    # What the tracer left behind, and nothing else, would be copied to channels last in vain.
    graph.delete_all_unused_submodules()
    return graph.to(memory_format=torch.channels_last), count


def _end(traced: fx.Graph, last: fx.Node | None) -> None:
    """Takes away all that comes after a node, whose value is then the result."""
    if last is None:
        raise KeyError("no single tensor comes out there")
    for node in reversed(list(traced.nodes)):
        if node is last:
            break
        traced.erase_node(node)
    traced.output(last)


def called(graph: fx.GraphModule) -> Find:
    """A look-up of the module that a node calls; None for other nodes, and for a module that is called twice."""
    modules = dict(graph.named_modules())
    times = Counter(node.target for node in graph.graph.nodes if node.op == "call_module")

    def find(node: fx.Node) -> nn.Module | None:
        return modules[str(node.target)] if node.op == "call_module" and times[node.target] == 1 else None

    return find


def _pass_by(graph: fx.GraphModule) -> None:
    modules = dict(graph.named_modules())
    for node in list(graph.graph.nodes):
        if node.op == "call_module" and type(modules[str(node.target)]) in IDLE:
            node.replace_all_uses_with(node.args[0])
            graph.graph.erase_node(node)


def _fold(graph: fx.GraphModule) -> int:
    find, count = called(graph), 0
    for node in list(graph.graph.nodes):
        norm = find(node)
        # Subclasses may compute something else of the same weights (standardised ones, say): only the plain kinds.
        if type(norm) is not nn.BatchNorm2d or norm.running_mean is None:
            continue
        before = node.args[0]
        convolution = find(before) if isinstance(before, fx.Node) and len(before.users) == 1 else None
        if type(convolution) is not nn.Conv2d:
            continue
        # In double precision, so that each weight is rounded once.
        fused = fuse_conv_bn_eval(copy.deepcopy(convolution).double(), copy.deepcopy(norm).double()).float()
        graph.set_submodule(str(before.target), fused)
        node.replace_all_uses_with(before)
        graph.graph.erase_node(node)
        count += 1
    graph.recompile()
    return count


def _take_apart(body: nn.Module) -> None:
    """A norm of timm that also activates becomes a norm, and what comes behind it."""
    for name, norm in list(body.named_modules()):
        # By its name first: nobody should wait for timm who uses none of it.
        if not type(norm).__module__.startswith("timm."):
            continue
        from timm.layers import BatchNormAct2d

        if type(norm) is BatchNormAct2d and norm.running_mean is not None:
            plain = nn.BatchNorm2d(norm.num_features, eps=norm.eps, affine=norm.affine).eval()
            plain.load_state_dict(norm.state_dict())
            body.set_submodule(name, nn.Sequential(plain, norm.drop, norm.act))
