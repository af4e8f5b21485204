import pytest
import torch
from torch import nn
from torch.nn import functional as F

from finetune.models.folding import Shapes, called, folded
from tests.models.plain_nets import network_of


def norm(channels):
    layer = nn.BatchNorm2d(channels)
    nn.init.normal_(layer.running_mean, std=0.5)
    nn.init.uniform_(layer.running_var, 0.2, 2)
    nn.init.normal_(layer.weight)
    nn.init.normal_(layer.bias)
    return layer


class Standardised(nn.Conv2d):
    """Its weights are not those that it uses."""

    def forward(self, x):
        weight = self.weight / self.weight.flatten(1).norm(dim=1).view(-1, 1, 1, 1)
        return F.conv2d(x, weight, self.bias, self.stride, self.padding)


class Parts(nn.Module):
    """conv, then what a test makes of the three layers."""

    def __init__(self, way, convolution=nn.Conv2d):
        super().__init__()
        torch.manual_seed(0)
        self.conv, self.norm, self.second = convolution(3, 6, 3, padding=1), norm(6), convolution(6, 6, 1)
        self.way = way

    def forward(self, x):
        return self.way(self, x).mean(dim=(2, 3))


WAYS = {
    # how the layers are used, and how many norms can go
    "plainly": (lambda s, x: s.second(s.norm(s.conv(x)).relu()), 1),
    "the convolution's own result is needed too": (
        lambda s, x: s.norm(s.conv(x)) + s.conv.weight.mean() * s.conv(x),
        0,
    ),
    "something comes between": (lambda s, x: s.norm(s.conv(x).relu()), 0),
    "one norm behind two convolutions": (lambda s, x: s.norm(s.conv(x)) + s.norm(s.second(s.conv(x))), 0),
    "one convolution before two steps": (lambda s, x: (lambda y: s.norm(y) + y)(s.conv(x)), 0),
    "a convolution that is called twice": (lambda s, x: s.second(s.norm(s.second(s.conv(x)))), 0),
}


@pytest.mark.parametrize("name", WAYS)
@torch.inference_mode()
def test_a_norm_goes_only_where_that_changes_nothing(name):
    way, count = WAYS[name]
    network = network_of(Parts(way), width=6)
    x = torch.randn(3, 3, 12, 10)
    graph, folds = folded(network)
    assert folds == count
    torch.testing.assert_close(graph(x), network.body(x), rtol=1e-5, atol=1e-5)


@torch.inference_mode()
def test_convolutions_that_make_their_weights_keep_their_norms():
    network = network_of(Parts(WAYS["plainly"][0], Standardised), width=6)
    x = torch.randn(2, 3, 8, 8)
    graph, folds = folded(network)
    assert folds == 0
    torch.testing.assert_close(graph(x), network.body(x), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("words", [{"groups": 3}, {"stride": 2, "bias": False}, {"dilation": 2, "padding": "same"}])
@torch.inference_mode()
def test_convolutions_of_every_shape_carry_a_norm(words):
    body = nn.Sequential(nn.Conv2d(3, 6, 3, **words), norm(6), nn.Flatten())
    x = torch.randn(2, 3, 12, 12)
    graph, folds = folded(network_of(body.eval(), width=6))
    assert folds == 1
    torch.testing.assert_close(graph(x), body(x), rtol=1e-5, atol=1e-5)


@torch.inference_mode()
def test_a_norm_without_statistics_or_without_weights():
    whole = nn.Sequential(nn.Conv2d(3, 6, 3), nn.BatchNorm2d(6, track_running_stats=False)).eval()
    assert folded(network_of(whole, width=6))[1] == 0
    bare = nn.Sequential(nn.Conv2d(3, 6, 3), nn.BatchNorm2d(6, affine=False)).eval()
    nn.init.normal_(bare[1].running_mean)
    graph, folds = folded(network_of(bare, width=6))
    x = torch.randn(2, 3, 9, 9)
    assert folds == 1
    torch.testing.assert_close(graph(x), bare(x), rtol=1e-5, atol=1e-5)


@torch.inference_mode()
def test_a_norm_of_timm_leaves_its_activation_behind():
    from timm.layers import BatchNormAct2d

    body = nn.Sequential(nn.Conv2d(3, 6, 3), BatchNormAct2d(6, act_layer=nn.SiLU)).eval()
    nn.init.normal_(body[1].running_mean)
    graph, folds = folded(network_of(body, width=6))
    x = torch.randn(2, 3, 9, 9)
    assert folds == 1 and type(body[1]) is BatchNormAct2d
    torch.testing.assert_close(graph(x), body(x), rtol=1e-5, atol=1e-5)


@torch.inference_mode()
def test_what_does_nothing_in_evaluation_is_passed_by():
    body = nn.Sequential(nn.Conv2d(3, 6, 3), nn.Identity(), nn.Dropout(0.5), norm(6)).eval()
    graph, folds = folded(network_of(body, width=6))
    assert folds == 1
    assert [node.op for node in graph.graph.nodes] == ["placeholder", "call_module", "output"]


@torch.inference_mode()
def test_shapes_are_those_on_the_way():
    body = nn.Sequential(nn.Conv2d(3, 6, 3, stride=2), nn.ReLU(), nn.Flatten())
    graph, _ = folded(network_of(body, width=6))
    shapes = Shapes(graph)
    shapes.run(torch.zeros(2, 3, 9, 11))
    assert list(shapes.of.values())[:4] == [(2, 3, 9, 11), (2, 6, 4, 5), (2, 6, 4, 5), (2, 120)]


def test_a_module_that_is_called_twice_is_nobodys():
    body = nn.Sequential(nn.Conv2d(3, 3, 1), shared := nn.ReLU(), nn.Conv2d(3, 3, 1), shared)
    graph, _ = folded(network_of(body, width=3))
    find = called(graph)
    kinds = [type(find(node)).__name__ for node in graph.graph.nodes]
    assert kinds == ["NoneType", "Conv2d", "NoneType", "Conv2d", "NoneType", "NoneType"]


@pytest.mark.parametrize("until", ["body.conv", "body.norm", "body.second"])
@torch.inference_mode()
def test_the_way_ends_where_it_is_asked_to(until):
    network = network_of(Parts(WAYS["plainly"][0]), width=6)
    seen = []
    network.get_submodule(until).register_forward_hook(lambda module, given, output: seen.append(output.clone()))
    x = torch.randn(3, 3, 12, 10)
    network.body(x)
    torch.testing.assert_close(folded(network, until)[0](x), seen[0], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("until", ["body.second", "body.missing"])
def test_a_way_cannot_end_at_a_layer_that_runs_twice_or_never(until):
    network = network_of(Parts(WAYS["a convolution that is called twice"][0]), width=6)
    with pytest.raises(KeyError):
        folded(network, until)
