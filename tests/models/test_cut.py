from __future__ import annotations

import pickle

import pytest
import torch
from torch import Tensor, nn

from finetune.models.cut import cut
from finetune.models.options import Backbone
from tests.models.official import pictures


def network(name: str, side: int | None = None):
    torch.manual_seed(0)
    return Backbone(name, weights="none", input_size=side).build(3).eval()


def own(module: nn.Module, head: str = "fc"):
    return Backbone.from_module(module, head=head, input_size=32).build(3).eval()


def learning(net, name: str):
    """The stages from one on."""
    names = [stage.name for stage in net.stages]
    return net.stages[names.index(name) :]


def close(a: Tensor, b: Tensor) -> None:
    torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-5 * float(b.detach().abs().max()))


SMALL = [
    ("timm/test_resnet", 64, "layer4", "layer3"),
    ("timm/test_vit", None, "blocks.4", "blocks.3"),
    ("timm/test_convnext", 64, "stages.3", "stages.2"),
    ("timm/test_efficientnet", 64, "blocks.4", "blocks.3"),
    ("torchvision/mobilenet_v3_small", 64, "features.9", "features.8"),
    ("torchvision/squeezenet1_1", 64, "features.9", "features.8"),
    ("finetune/lenet5", None, "fc1", "conv3"),
]
LONG = [
    ("timm/resnet18", 64, "layer4", "layer3"),
    ("timm/resnet50", 64, "layer3", "layer2"),
    ("timm/vgg11_bn", 64, "features.18", "features.17"),
    ("timm/densenet121", 64, "features.denseblock4", "features.transition3"),
    ("timm/inception_v3", 128, "Mixed_7a", "Mixed_6e"),
    ("timm/convnext_atto", 64, "stages.3", "stages.2"),
    ("timm/efficientnet_b0", 64, "blocks.5", "blocks.4"),
    ("timm/mobilenetv2_100", 64, "blocks.6", "blocks.5"),
    ("timm/vit_tiny_patch16_224", 64, "blocks.10", "blocks.9"),
    ("timm/deit_tiny_patch16_224", 64, "blocks.11", "blocks.10"),
    ("timm/swin_tiny_patch4_window7_224", None, "layers.3", "layers.2"),
    ("torchvision/resnet18", 64, "layer4", "layer3"),
    ("torchvision/alexnet", 64, "classifier.4", "classifier.2"),
    ("torchvision/vgg11_bn", 64, "classifier.0", "avgpool"),
    ("torchvision/densenet121", 64, "features.denseblock4", "features.transition3"),
    ("torchvision/inception_v3", 128, "Mixed_7a", "Mixed_6e"),
    ("torchvision/convnext_tiny", 64, "features.5", "features.4"),
    ("torchvision/efficientnet_b0", 64, "features.7", "features.6"),
    ("torchvision/mobilenet_v2", 64, "features.17", "features.16"),
    ("torchvision/swin_t", 64, "features.5", "features.4"),
    ("torchvision/vit_b_32", None, "encoder.layers.encoder_layer_10", "encoder.layers.encoder_layer_9"),
]


@pytest.mark.parametrize(
    ("name", "side", "lowest", "at"), [*SMALL, *(pytest.param(*n, marks=pytest.mark.thorough) for n in LONG)]
)
def test_networks_are_cut_right_below_the_lowest_stage_that_learns(name, side, lowest, at):
    net = network(name, side)
    inputs = pictures(net.spec, count=3)
    found = cut(net, learning(net, lowest), inputs[:2])
    assert found is not None and found.at == f"body.{at}"
    lower = found.lower(inputs)
    assert lower.shape[1:] == found.shape and not lower.requires_grad
    close(found.upper(lower), net.features(inputs))


def test_where_the_head_alone_learns_what_crosses_are_the_features():
    net = network("timm/test_resnet", 64)
    inputs = pictures(net.spec, count=2)
    found = cut(net, net.stages[-1:], inputs)
    assert found is not None and found.at == "body"
    assert torch.equal(found.upper(found.lower(inputs)), found.lower(inputs))
    close(found.lower(inputs), net.features(inputs))


def test_where_everything_learns_there_is_nothing_to_cut_off():
    net = network("timm/test_resnet", 64)
    assert cut(net, net.stages, pictures(net.spec, count=2)) is None


class Net(nn.Module):
    """A stem, two layers with dropout after each, and a shared activation; `across` also adds the stem's map on top."""

    def __init__(self, *, across: bool = False) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 3, stride=2)
        self.norm = nn.BatchNorm2d(4)
        self.act = nn.ReLU(inplace=True)
        self.first = nn.Conv2d(4, 4, 3, padding=1)
        self.drop = nn.Dropout(0.5)
        self.second = nn.Conv2d(4, 4, 3, padding=1)
        self.second_norm = nn.BatchNorm2d(4)
        self.late = nn.Dropout(0.5)
        self.fc = nn.Linear(4, 3)
        self.across = across

    def forward(self, inputs: Tensor) -> Tensor:
        stem = self.act(self.norm(self.stem(inputs)))
        maps = self.drop(torch.relu_(self.first(stem)))
        maps = self.act(self.second_norm(self.second(maps)))
        if self.across:
            maps = maps + stem
        return self.fc(self.late(maps.mean(dim=(2, 3))))


def upper_stages(net):
    return [stage for stage in net.stages if stage.name in ("second", "head")]


def test_training_above_the_cut_trains_the_network_as_training_all_of_it_does():
    """Dropout above draws in both, and the norm above learns its statistics in both."""
    torch.manual_seed(0)
    module = Net()
    whole, divided = own(module), own(pickle.loads(pickle.dumps(module)))
    inputs = pictures(whole.spec, count=8)
    target = torch.arange(8) % 3
    found = cut(divided, upper_stages(divided), inputs[:2])
    assert found is not None
    activations = found.lower(inputs)
    before = {name: tensor.clone() for name, tensor in whole.state_dict().items()}
    whole.head.load_state_dict(divided.head.state_dict())
    for net, features in ((whole, lambda: whole.features(inputs)), (divided, lambda: found.upper(activations))):
        moving = [p for n, p in net.named_parameters() if n.startswith(("body.second", "head"))]
        optimizer = torch.optim.SGD(moving, lr=0.1)
        torch.manual_seed(1)
        net.train()
        for layer in (net.body.norm, net.body.drop):
            layer.eval()
        for _ in range(4):
            optimizer.zero_grad()
            nn.functional.cross_entropy(net.head(features()), target).backward()
            optimizer.step()
    for name, tensor in whole.state_dict().items():
        torch.testing.assert_close(divided.state_dict()[name], tensor, rtol=1e-5, atol=1e-6)
    for name in ("body.second.weight", "body.second_norm.running_mean", "body.second_norm.num_batches_tracked"):
        assert not torch.equal(before[name], whole.state_dict()[name])
    assert torch.equal(before["body.norm.running_mean"], divided.state_dict()["body.norm.running_mean"])


def test_dropout_above_the_cut_acts_in_training_only_and_the_one_at_the_cut_lies_above():
    net = own(Net())
    inputs = pictures(net.spec, count=4)
    found = cut(net, upper_stages(net), inputs)
    assert found is not None and found.at == "body.first"
    net.train()
    lower = found.lower(inputs)
    assert torch.equal(lower, found.lower(inputs))
    assert not torch.equal(found.upper(lower), found.upper(lower))
    net.eval()
    assert torch.equal(found.upper(lower), found.upper(lower))


def test_what_goes_past_the_cut_moves_it_down_to_where_all_goes_through():
    net = own(Net(across=True))
    inputs = pictures(net.spec, count=2)
    found = cut(net, upper_stages(net), inputs)
    assert found is not None and found.at == "body.norm"  # the activation above it runs twice
    close(found.upper(found.lower(inputs)), net.features(inputs))


class Aside(nn.Module):
    """Adds a map of the picture itself, past every layer."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 3, padding=1)
        self.second = nn.Conv2d(4, 3, 3, padding=1)
        self.fc = nn.Linear(3, 3)

    def forward(self, inputs: Tensor) -> Tensor:
        return self.fc((self.second(self.stem(inputs)) + inputs).mean(dim=(2, 3)))


def test_a_network_through_which_no_single_tensor_goes_is_not_cut():
    net = own(Aside())
    assert cut(net, upper_stages(net), pictures(net.spec, count=2)) is None


class Values(Aside):
    """Asks below for a number that only real pictures have."""

    def forward(self, inputs: Tensor) -> Tensor:
        maps = self.stem(inputs)
        if inputs.mean().item() > 1e9:
            maps = maps + 1
        return self.fc(self.second(maps).mean(dim=(2, 3)))


def test_a_network_that_looks_at_the_values_of_its_pictures_is_not_cut():
    net = own(Values())
    assert cut(net, upper_stages(net), pictures(net.spec, count=2)) is None


def test_a_cut_leaves_modes_flags_statistics_and_activations_as_they_were():
    net = own(Net())
    net.train()
    net.body.norm.eval()
    net.body.first.requires_grad_(False)
    modes = {name: layer.training for name, layer in net.named_modules()}
    flags = {name: p.requires_grad for name, p in net.named_parameters()}
    state = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    inputs = pictures(net.spec, count=3)
    drawn = torch.get_rng_state()
    found = cut(net, upper_stages(net), inputs)
    assert found is not None
    lower = found.lower(inputs)
    assert torch.equal(drawn, torch.get_rng_state())
    copy = lower.clone()
    assert {name: layer.training for name, layer in net.named_modules()} == modes
    assert {name: p.requires_grad for name, p in net.named_parameters()} == flags
    assert all(torch.equal(state[name], tensor) for name, tensor in net.state_dict().items())
    found.upper(lower)  # the layer above writes into its input
    assert torch.equal(lower, copy)


def test_a_failing_pass_leaves_the_layers_as_they_were():
    net = own(Net())
    found = cut(net, upper_stages(net), pictures(net.spec, count=2))
    assert found is not None
    with pytest.raises(RuntimeError):
        found.upper(torch.zeros(2, 5, 7, 7))
    assert not any("forward" in vars(layer) for layer in net.modules())
    assert not any(layer._forward_hooks for layer in net.modules())


def test_network_and_cut_travel_to_another_process_as_one():
    net = own(Net())
    found = cut(net, upper_stages(net), pictures(net.spec, count=2))
    other_net, other = pickle.loads(pickle.dumps((net, found)))
    assert other.network is other_net and other.upper.network is other_net


def test_the_state_below_is_all_that_the_activations_depend_on():
    net = network("timm/test_vit")
    inputs = pictures(net.spec, count=2)
    found = cut(net, learning(net, "blocks.4"), inputs)
    assert found is not None
    before, state = found.lower(inputs), found.state()
    assert {"body.cls_token", "body.pos_embed", "body.blocks.3.mlp.fc2.weight"} <= set(state)
    with torch.no_grad():
        for name, parameter in net.named_parameters():
            if name not in state:
                parameter.add_(1)
    assert torch.equal(found.lower(inputs), before)
    for name, tensor in state.items():
        with torch.no_grad():
            tensor.add_(torch.randn_like(tensor))
        after = found.lower(inputs)
        assert not torch.equal(after, before), name
        before = after
