from __future__ import annotations

import pytest
import torch
from safetensors.torch import load, save
from torch import nn

from finetune.models.network import separate
from finetune.models.options import Backbone, LinearHead
from tests.models.official import pictures


def lenet(**options):
    return Backbone("finetune/lenet5", weights="none", **options).build(3)


def test_whole_numbers_and_shares_of_one_give_the_same_answer():
    network = lenet().eval()
    inputs = pictures(network.spec)
    assert torch.equal(network(inputs), network(inputs.float() / 255))


def test_normalisation_is_no_part_of_the_state():
    assert set(lenet().state_dict()) == {f"body.{k}" for k in lenet().body.state_dict()} | {"head.weight", "head.bias"}


def test_the_native_state_can_be_written_as_safetensors():
    state = lenet().native_state()
    back = load(save(state))
    assert {"fc.weight", "fc.bias", "conv1.weight"} <= set(back)
    assert all(torch.equal(back[k], state[k]) for k in state)


def test_tensors_that_share_memory_are_separated():
    shared = torch.arange(6.0).reshape(2, 3)
    state = separate({"a": shared, "b": shared.t()[1:], "c": shared})
    assert load(save(state))["b"].tolist() == shared.t()[1:].tolist()


def test_dropout_acts_only_in_training():
    network = lenet(head=LinearHead(dropout=0.5))
    inputs = pictures(network.spec)
    network.eval()
    assert torch.equal(network(inputs), network(inputs))
    network.train()
    assert not torch.equal(network(inputs), network(inputs))


def test_a_linear_head_can_be_told_by_its_type():
    assert isinstance(lenet().head, nn.Linear)


@pytest.mark.parametrize("channels", [1, 3, 5])
@pytest.mark.parametrize("count", [0, 1, 4])
def test_how_pictures_lie_in_memory_changes_no_number_of_what_the_body_sees(channels, count):
    network = lenet(in_chans=channels)
    levels = torch.arange(count * channels * 20 * 24).reshape(count, channels, 20, 24) % 256
    planes = levels.to(torch.uint8)
    expected = (planes.float() / 255 - network.mean) / network.std
    for inputs in (planes, planes.contiguous(memory_format=torch.channels_last)):
        assert torch.equal(network.normalised(inputs), expected)
    assert network.normalised(inputs).is_contiguous(memory_format=torch.channels_last)
