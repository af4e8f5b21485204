import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import finetune as ft
from finetune.models import fast as room
from finetune.models.cut import cut
from finetune.models.fast import ENOUGH, Fast, fast, fast_lower
from tests.models.plain_nets import network_of

# Of both libraries: sums, squeezing, activations inside norms, branches, and convolutions without norms.
NAMES = {
    "timm/test_resnet": {"input_size": 64},
    "timm/test_efficientnet": {"input_size": 64},
    "timm/test_nfnet": {"input_size": 64},
    "torchvision/mobilenet_v3_small": {"input_size": 64},
    "torchvision/squeezenet1_1": {"input_size": 64},
    "torchvision/resnet18": {"input_size": 64},
    "finetune/lenet5": {},
}


def lively(name):
    """A network in evaluation whose norms do something, as those of a trained one do."""
    torch.manual_seed(0)
    network = ft.Backbone(name, weights="none", **NAMES[name]).build(3).eval()
    for norm in network.modules():
        if isinstance(norm, nn.BatchNorm2d):
            nn.init.normal_(norm.running_mean, std=0.1)
            nn.init.uniform_(norm.running_var, 0.5, 1.5)
            nn.init.uniform_(norm.weight, 0.5, 1.5)
            nn.init.normal_(norm.bias, std=0.1)
    return network


def pictures(network, n=5, seed=0):
    shape = n, network.spec.in_chans, *network.spec.size
    return torch.randint(0, 256, shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(seed))


def close(found, expected):
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5 * float(expected.abs().max()))


@pytest.mark.parametrize("name", NAMES)
@torch.inference_mode()
def test_features_and_logits_are_those_of_the_plain_network(name):
    network = lively(name)
    pass_ = fast(network, pictures(network), count=ENOUGH)
    for n in (5, 2, 1, 11):  # a last batch is smaller, and larger ones go through in parts
        batch = pictures(network, n, seed=n)
        close(pass_.features(batch), network.features(batch))
        close(pass_.logits(batch), network(batch))


@pytest.mark.skipif(not torch.backends.mkldnn.is_available(), reason="this build of torch has no oneDNN")
@pytest.mark.parametrize("name", ["timm/test_resnet", "timm/test_efficientnet", "torchvision/mobilenet_v3_small"])
@torch.inference_mode()
def test_networks_with_norms_take_the_fastest_way_and_lose_all_of_them(name):
    network = lively(name)
    assert any(isinstance(layer, nn.BatchNorm2d) for layer in network.body.modules())
    pass_ = fast(network, pictures(network), count=ENOUGH)
    assert pass_.way == "fused"
    assert not any(isinstance(layer, nn.BatchNorm2d) for layer in pass_.body.modules())


@torch.inference_mode()
def test_shares_of_one_are_answered_as_whole_numbers_are_and_are_left_as_they_are():
    network = lively("timm/test_resnet")
    whole = pictures(network)
    shares = whole.float() / 255
    before = shares.clone()
    pass_ = fast(network, whole, count=ENOUGH)
    assert torch.equal(pass_.features(whole), pass_.features(shares)) and torch.equal(shares, before)


@torch.inference_mode()
def test_the_same_network_gives_the_same_bits_again():
    network = lively("torchvision/mobilenet_v3_small")
    batch = pictures(network)
    first, second = (fast(copy.deepcopy(network), batch, count=ENOUGH) for _ in range(2))
    assert first.way == second.way and torch.equal(first.features(batch), second.features(batch))
    assert torch.equal(first.features(batch), first.features(batch))


def test_the_network_is_left_as_it_was():
    network = lively("timm/test_efficientnet").requires_grad_(True)
    before = copy.deepcopy(network)
    fast(network, pictures(network), count=ENOUGH)
    state = network.state_dict()
    assert all(torch.equal(tensor, state[name]) for name, tensor in before.state_dict().items())
    assert all(p.requires_grad and p.is_contiguous() for p in network.parameters())
    assert [type(layer) for layer in network.modules()] == [type(layer) for layer in before.modules()]


def test_for_a_few_pictures_nothing_is_prepared():
    network = lively("timm/test_resnet")
    assert fast(network, pictures(network), count=ENOUGH - 1).way == "plain"


@torch.inference_mode()
@pytest.mark.parametrize("wrong", [1e-3, float("nan")])
def test_a_way_that_answers_otherwise_is_not_taken(monkeypatch, wrong):
    network = lively("timm/test_resnet")
    build = room._build

    def off(network, way, pictures, until):
        body = build(network, way, pictures, until)
        return (lambda pictures: body(pictures) * (1 + wrong)) if way == "fused" else body

    monkeypatch.setattr(room, "_build", off)
    batch = pictures(network)
    pass_ = fast(network, batch, count=ENOUGH)
    assert pass_.way == "folded"
    close(pass_.features(batch), network.features(batch))
    assert fast(network, batch, count=ENOUGH, ways=("fused",)).way == "plain"


@torch.inference_mode()
def test_without_the_calls_of_onednn_norms_are_folded_all_the_same(monkeypatch):
    def missing(*_):
        raise AttributeError("no such operator")

    monkeypatch.setattr(room, "fuse", missing)
    network = lively("timm/test_resnet")
    assert fast(network, pictures(network), count=ENOUGH).way == "folded"


class DependsOnWhatItSees(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1, self.norm = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)
        self.conv2 = nn.Conv2d(4, 4, 3)

    def forward(self, x):
        x = self.norm(self.conv1(x))
        return (self.conv2(x) if x.mean() > 0 else x).mean(dim=(2, 3))


class Hooked(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1, self.norm, self.conv2 = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Conv2d(4, 4, 3)
        self.norm.register_forward_hook(lambda _, __, result: result + 1)

    def forward(self, x):
        return self.conv2(self.norm(self.conv1(x))).mean(dim=(2, 3))


@pytest.mark.parametrize("body", [DependsOnWhatItSees, Hooked])
@torch.inference_mode()
def test_a_network_that_cannot_be_traced_or_is_hooked_up_is_computed_as_it_is(body):
    network = network_of(body(), width=4)
    batch = pictures(network)
    pass_ = fast(network, batch, count=ENOUGH)
    assert pass_.way == "plain" and torch.equal(pass_.features(batch), network.features(batch))


def test_double_precision_is_left_alone():
    network = network_of(nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Conv2d(4, 4, 3)), width=4).double()
    assert fast(network, pictures(network), count=ENOUGH).way == "plain"


@settings(max_examples=15)
@given(seed=st.integers(0, 10**6), side=st.integers(9, 40), n=st.integers(1, 5))
@torch.inference_mode()
def test_pictures_of_any_size_and_batches_of_any_length_agree(seed, side, n):
    network = lively("timm/test_resnet")
    first = torch.randint(0, 256, (4, 3, 64, 64), dtype=torch.uint8, generator=torch.Generator().manual_seed(seed))
    pass_ = fast(network, first, count=ENOUGH)
    assert isinstance(pass_, Fast)
    other = torch.randint(0, 256, (n, 3, side, 48), dtype=torch.uint8, generator=torch.Generator().manual_seed(seed))
    close(pass_.features(other), network.features(other))


CUTS = {
    "timm/test_resnet": "layer3", "timm/test_efficientnet": "blocks.2", "torchvision/mobilenet_v3_small": "features.5",
    "torchvision/resnet18": "layer2", "torchvision/squeezenet1_1": "features.7",
}  # fmt: skip


def divided(name):
    """A network cut below a stage."""
    network = lively(name)
    names = [stage.name for stage in network.stages]
    found = cut(network, network.stages[names.index(CUTS[name]) :], pictures(network))
    assert found is not None
    return found


@pytest.mark.parametrize("name", CUTS)
@pytest.mark.parametrize("way", ["fused", "folded"])
def test_what_crosses_a_cut_is_what_the_network_itself_gives_there(name, way):
    found = divided(name)
    if way == "folded" and not any(isinstance(m, nn.BatchNorm2d) for m in found.network.modules()):
        return  # nothing can be folded, so that this is no way at all
    lower = fast_lower(found, pictures(found.network), count=ENOUGH, ways=(way,))
    assert lower is not None
    for n in (5, 1, 11):
        batch = pictures(found.network, n, seed=n)
        close(lower(batch), found.lower(batch))
        close(lower(batch / 255), found.lower(batch / 255))


def test_layers_above_learn_from_what_crosses_a_cut_and_those_below_get_no_gradient():
    found = divided("timm/test_resnet")
    network = found.network
    lower = fast_lower(found, pictures(network), count=ENOUGH)
    batch = pictures(network, 6)
    gradients = []
    for crossing in (lower(batch), found.lower(batch)):
        network.zero_grad()
        network.head(found.upper(crossing)).square().sum().backward()
        gradients.append({name: p.grad.clone() for name, p in network.named_parameters() if p.grad is not None})
    assert gradients[0].keys() == gradients[1].keys() and not any("layer1" in name for name in gradients[0])
    for name, gradient in gradients[0].items():
        close(gradient, gradients[1][name])


def test_below_a_cut_nothing_is_prepared_for_a_few_pictures_or_other_precisions():
    found = divided("timm/test_resnet")
    batch = pictures(found.network)
    assert fast_lower(found, batch, count=ENOUGH - 1) is None
    found.network.bfloat16()
    assert fast_lower(found, batch, count=ENOUGH) is None


def test_a_way_below_a_cut_that_answers_otherwise_is_not_taken(monkeypatch):
    found = divided("timm/test_resnet")
    monkeypatch.setattr(room, "_build", lambda *_: lambda pictures: found.lower(pictures) * 1.001)
    assert fast_lower(found, pictures(found.network), count=ENOUGH) is None
