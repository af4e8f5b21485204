import operator

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from finetune.models.folding import Shapes, folded
from finetune.models.fused import FusedConvolution, fuse
from tests.models.plain_nets import network_of

pytestmark = pytest.mark.skipif(not torch.backends.mkldnn.is_available(), reason="this build of torch has no oneDNN")


class Sums(nn.Module):
    def __init__(self, way):
        super().__init__()
        torch.manual_seed(0)
        self.a, self.b, self.c = (nn.Conv2d(n, 16, 3, padding=1) for n in (3, 16, 16))
        self.d, self.e = (nn.Conv2d(n, 16, 3, padding=1) for n in (16, 16))
        self.narrow = nn.Conv2d(16, 1, 1)
        self.relu, self.relu_ = nn.ReLU(), nn.ReLU(inplace=True)
        self.pool = nn.MaxPool2d(3, stride=1, padding=1)
        self.way = way

    def forward(self, x):
        return self.way(self, x)


def both(x):
    return torch.cat([v.flatten(1) for v in x], dim=1)


# A use of the layers, and how many sums and activations go into a convolution.
WAYS = {
    "residual": (lambda s, x: (lambda y: s.relu(s.c(s.b(y)) + y))(s.a(x)), 2),
    "summands the other way round": (lambda s, x: (lambda y: y + s.c(s.b(y)))(s.relu(s.a(x))), 2),
    "in place": (lambda s, x: (lambda y: operator.iadd(s.c(s.b(y)), y))(s.relu_(s.a(x))), 2),
    "of a pooled map": (lambda s, x: (lambda y: s.c(s.b(y)) + y)(s.pool(s.a(x))), 1),
    "of two branches": (lambda s, x: (lambda y: s.relu(s.c(s.b(y)) + s.d(y)))(s.a(x)), 2),
    "two blocks with one ReLU": (
        lambda s, x: (lambda y: (lambda z: s.relu(s.e(s.d(z)) + z))(s.relu(s.c(s.b(y)) + y)))(s.relu(s.a(x))), 5,
    ),
    # From here on the sum must stay outside: its summand has another use, or another name.
    "read by this convolution": (lambda s, x: (lambda y: s.b(y) + y)(s.relu(s.a(x))), 1),
    "needed later": (lambda s, x: (lambda y: both([s.c(s.b(y)) + y, y.sigmoid()]))(s.relu(s.a(x))), 1),
    "needed later by a convolution": (lambda s, x: (lambda y: both([s.c(s.b(y)) + y, s.d(y)]))(s.relu(s.a(x))), 1),
    "a view of it is needed later": (
        lambda s, x: (lambda y: (lambda v: both([s.c(s.b(y)) + y, v.exp()]))(y.view(y.shape)))(s.a(x)), 0,
    ),
    "changed in place beside": (
        lambda s, x: (lambda y: (lambda r: both([s.c(s.b(r)) + y, r.exp()]))(s.relu_(y)))(s.a(x)), 0,
    ),
    "the pictures themselves": (
        lambda s, x: (lambda p: both([s.c(s.b(p)) + p, p]))(torch.cat([x] * 5 + [x[:, :1]], 1)), 0,
    ),
    "with itself": (lambda s, x: (lambda y: y + y)(s.a(x)), 0),
    "of one channel": (lambda s, x: (lambda y: s.narrow(y) + s.b(y))(s.a(x)), 0),
    "with a number": (lambda s, x: s.a(x) + 1, 0),
    "with a factor": (lambda s, x: (lambda y: torch.add(s.c(s.b(y)), y, alpha=2))(s.a(x)), 0),
}  # fmt: skip


def run(body, *, n=3):
    network = network_of(body, width=16)
    x = torch.randn(n, 3, 12, 12).contiguous(memory_format=torch.channels_last)
    graph, _ = folded(network)
    shapes = Shapes(graph)
    shapes.run(x)
    count = fuse(graph, shapes)
    for batch in (x, x[:1].contiguous(memory_format=torch.channels_last)):
        expected = network.body(batch.clone())
        torch.testing.assert_close(graph(batch), expected, rtol=1e-4, atol=1e-5)
    return graph, count


@pytest.mark.parametrize("name", WAYS)
@torch.inference_mode()
def test_a_sum_goes_into_a_convolution_only_where_nobody_needs_what_it_overwrites(name):
    way, expected = WAYS[name]
    _, count = run(Sums(way))
    assert count == expected


ACTIVATIONS = {
    "module": nn.ReLU(),
    "ReLU6": nn.ReLU6(),
    "SiLU": nn.SiLU(),
    "Hardswish": nn.Hardswish(),
    "F.relu": F.relu,
    "torch.relu": torch.relu,
    "F.relu6": F.relu6,
}


class Activated(nn.Module):
    def __init__(self, activation):
        super().__init__()
        torch.manual_seed(0)
        self.conv, self.second = nn.Conv2d(3, 16, 3), nn.Conv2d(16, 16, 1, bias=False)
        self.activation = activation

    def forward(self, x):
        return self.second(self.activation(self.conv(x)))


@pytest.mark.parametrize("name", ACTIVATIONS)
@torch.inference_mode()
def test_an_activation_goes_into_its_convolution(name):
    graph, count = run(Activated(ACTIVATIONS[name]))
    assert count == 1
    assert sum(node.op == "call_module" for node in graph.graph.nodes) == 2


@torch.inference_mode()
def test_what_onednn_does_not_do_stays_as_it_is():
    body = nn.Sequential(
        nn.Conv2d(3, 16, 3, padding=1, padding_mode="reflect"), nn.ReLU(), nn.Conv2d(16, 16, 3, padding="same"),
        nn.ReLU(), nn.Conv2d(16, 16, 1), nn.ELU(),
    )  # fmt: skip
    graph, count = run(body)
    assert count == 0
    assert [type(layer) is FusedConvolution for layer in graph.modules()].count(True) == 1


@pytest.mark.parametrize("words", [{"groups": 16}, {"groups": 4, "stride": 2}, {"dilation": 2}, {"bias": False}])
@torch.inference_mode()
def test_convolutions_of_every_shape(words):
    _, count = run(nn.Sequential(nn.Conv2d(3, 16, 3), nn.Conv2d(16, 16, 3, **words), nn.ReLU()))
    assert count == 1
