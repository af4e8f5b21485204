"""Activations computed twice."""

import copy
import pickle

import pytest
import torch

import finetune as ft
from finetune.errors import ConfigError
from finetune.models.adapters import add_lora
from finetune.models.recompute import check_recomputable, recomputed
from tests.training.tiny import tiny


def build(name, **words):
    torch.manual_seed(0)
    return ft.Backbone(name, weights="none", **words).build(3)


def gradients(network, pictures, *, train=True):
    network.zero_grad()
    network.train(train)
    torch.manual_seed(1)
    network(pictures).square().sum().backward()
    return {name: p.grad.clone() for name, p in network.named_parameters() if p.grad is not None}


def kept(network, pictures):
    """Bytes that a forward pass keeps for the one backward."""
    total = {}

    def pack(tensor):
        total[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    weights = {p.untyped_storage().data_ptr() for p in network.parameters()}
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        network.train()(pictures)
    return sum(size for place, size in total.items() if place not in weights)


NETWORKS = [
    ("timm/resnet10t", {"input_size": 64}), ("timm/test_vit", {"input_size": 160}),
    ("torchvision/resnet18", {"input_size": 64}), ("finetune/lenet5", {}),
]  # fmt: skip


@pytest.mark.parametrize(("name", "words"), NETWORKS)
def test_gradients_statistics_and_names_are_those_without_and_less_is_kept(name, words):
    plain = build(name, **words)
    again = copy.deepcopy(plain)
    pictures = torch.rand(2, plain.spec.in_chans, *plain.spec.size)
    expected = gradients(plain, pictures)
    with recomputed(again):
        found = gradients(again, pictures)
        assert list(again.state_dict()) == list(plain.state_dict())
        less = kept(again, pictures)
    assert found.keys() == expected.keys()
    for part, gradient in expected.items():
        torch.testing.assert_close(found[part], gradient)
    # A layer alone keeps nothing but its inputs in any case.
    assert less < kept(plain, pictures) or name == "finetune/lenet5"


def test_running_statistics_take_in_a_batch_once():
    plain = build("torchvision/resnet18", input_size=64)
    again = copy.deepcopy(plain)
    pictures = torch.rand(2, 3, 64, 64)
    gradients(plain, pictures)
    with recomputed(again):
        gradients(again, pictures)
    for name, buffer in plain.named_buffers():
        assert torch.equal(buffer, again.get_buffer(name)), name


def test_frozen_stages_stay_without_gradients_and_dropout_draws_the_same_twice():
    plain = tiny()
    plain.body.conv1.requires_grad_(False)
    again = copy.deepcopy(plain)
    pictures = torch.rand(4, 3, 32, 32)
    expected = gradients(plain, pictures)
    with recomputed(again):
        found = gradients(again, pictures)
    assert found.keys() == expected.keys() and "body.conv1.weight" not in found
    for part, gradient in expected.items():
        torch.testing.assert_close(found[part], gradient)


def test_adapters_learn_under_it():
    plain = tiny()
    add_lora(plain)
    again = copy.deepcopy(plain)
    pictures = torch.rand(4, 3, 32, 32)
    expected = gradients(plain, pictures)
    with recomputed(again):
        found = gradients(again, pictures)
    for part, gradient in expected.items():
        torch.testing.assert_close(found[part], gradient)


def test_copies_compute_with_their_own_weights_and_afterwards_nothing_is_left():
    network = tiny()
    pictures = torch.rand(2, 3, 32, 32)
    with recomputed(network):
        other = copy.deepcopy(network)
        travelled = pickle.loads(pickle.dumps(network.body))
        for copied in (other.body, travelled):
            with torch.no_grad():
                copied.conv2.weight.zero_()
                copied.conv2.bias.zero_()
            copied.train()
            copied(pictures).sum().backward()
        assert network.body.conv2.weight.abs().sum() > 0 and network.body.conv2.weight.grad is None
    assert all("forward" not in vars(module) for module in network.modules())


def test_a_network_without_stages_of_its_own_is_refused():
    class Bare(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = torch.nn.Parameter(torch.ones(3, 3))
            self.fc = torch.nn.Linear(3, 2)

        def forward(self, inputs):
            return self.fc(inputs.mean((2, 3)) @ self.weight)

    network = ft.Backbone.from_module(Bare(), head="fc", input_size=8).build(2)
    with pytest.raises(ConfigError, match="grad_checkpointing"):
        check_recomputable(network)
    check_recomputable(tiny())
