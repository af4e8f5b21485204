import pytest
import torch
from torch import nn

import finetune as ft
from finetune.errors import ConfigError
from finetune.training.freeze import freeze_except, frozen_drops, frozen_norms, learning_stages
from tests.training.tiny import state, tiny


def test_only_the_head_learns_when_the_head_learns():
    network = tiny()
    freeze_except(network, learning_stages(network, network.stages, "head"))
    assert {n for n, p in network.named_parameters() if p.requires_grad} == {"head.weight", "head.bias"}


def test_named_stages_learn_and_no_others():
    network = tiny()
    name = network.stages[-2].name
    learning = learning_stages(network, network.stages, (name, "head"))
    freeze_except(network, learning)
    assert {n for n, p in network.named_parameters() if p.requires_grad} == {n for s in learning for n in s.parameters}
    assert len(learning) == 2


def test_biases_scales_and_shifts_learn_alone_with_the_head():
    network = tiny()
    freeze_except(network, learning_stages(network, network.stages, "bias-norm"))
    learning = {n for n, p in network.named_parameters() if p.requires_grad}
    assert {"body.bn1.weight", "body.bn2.bias", "body.conv1.bias", "head.weight"} <= learning
    assert all(p.ndim <= 1 for n, p in network.named_parameters() if n in learning and n.startswith("body."))
    assert "body.conv1.weight" not in learning


def test_of_adapters_only_what_was_added_learns():
    network = tiny()
    learning = learning_stages(network, network.stages, "adapters", added=("body.conv2.weight",))
    assert [name for stage in learning for name in stage.parameters] == [
        "body.conv2.weight", "head.weight", "head.bias"]  # fmt: skip


def test_a_stage_that_is_not_there_is_refused_with_those_that_are():
    with pytest.raises(ConfigError, match="Its stages are"):
        learning_stages(tiny(), tiny().stages, ("layer9",))


def test_norms_of_frozen_stages_are_frozen_and_those_of_learning_stages_are_not():
    network = tiny()
    freeze_except(network, learning_stages(network, network.stages, "head"))
    assert set(frozen_norms(network, "train")) == {network.body.bn1, network.body.bn2}
    freeze_except(network, learning_stages(network, network.stages, "all"))
    assert frozen_norms(network, "train") == []
    assert len(frozen_norms(network, "frozen")) == 2


def test_norms_without_parameters_are_frozen_as_soon_as_anything_is():
    module = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4, affine=False), nn.Linear(4, 2))
    assert frozen_norms(module, "train") == []
    module[0].requires_grad_(False)
    assert frozen_norms(module, "train") == [module[1]]


def test_what_is_frozen_for_a_while_neither_learns_nor_moves_and_is_as_before_afterwards():
    network = tiny().train()
    network.body.conv1.requires_grad_(False)
    before = state(network)
    with ft.frozen(network.body):
        network(torch.rand(4, 3, 32, 32)).sum().backward()
        assert network.body.conv2.weight.grad is None and network.head.weight.grad is not None
    assert all(torch.equal(before[n], t) for n, t in network.state_dict().items())
    assert network.body.training and network.body.conv2.weight.requires_grad
    assert not network.body.conv1.weight.requires_grad


def test_dropout_in_frozen_blocks_is_off_and_stays_in_those_that_learn_and_below_the_head():
    def block():
        return nn.Sequential(nn.Linear(4, 4), nn.Dropout(0.5))

    module = nn.Sequential(nn.Sequential(block(), block(), nn.Dropout(0.5)), nn.Linear(4, 2))
    assert frozen_drops(module) == []
    module[0][0].requires_grad_(False)
    assert frozen_drops(module) == []  # all that is frozen, for which a person's own module has one name
    module[0].requires_grad_(False)
    assert frozen_drops(module) == [module[0][0][1], module[0][1][1]]
    module[0][1].requires_grad_(True)
    module[1].bias.requires_grad_(False)
    assert frozen_drops(module) == [module[0][0][1]]
