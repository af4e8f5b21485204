"""Blocks that change nothing at first, where there is nothing to lose."""

import pytest
import torch
from torch import nn

import finetune as ft
from finetune.errors import ConfigError
from finetune.models.residual import zero_gammas


@pytest.mark.parametrize("name, blocks", [("torchvision/resnet18", 8), ("timm/resnet18", 8), ("timm/resnet26", 8)])
def test_the_last_norm_of_every_fresh_block_is_nothing_and_all_others_stay(name, blocks):
    network = ft.Backbone(name, weights="none").build(2)
    before = {key: value.clone() for key, value in network.state_dict().items()}
    assert zero_gammas(network) == blocks
    norms = [m for m in network.body.modules() if isinstance(m, nn.BatchNorm2d)]
    assert sum(not m.weight.any() for m in norms) == blocks
    changed = {key for key, value in network.state_dict().items() if not torch.equal(value, before[key])}
    assert all(key.endswith((".bn2.weight", ".bn3.weight")) for key in changed)


def test_a_block_then_passes_on_what_it_is_given():
    network = ft.Backbone("torchvision/resnet18", weights="none").build(2)
    zero_gammas(network)
    block, maps = network.body.layer1[0].eval(), torch.rand(2, 64, 8, 8)
    with torch.no_grad():
        torch.testing.assert_close(block(maps), maps)


def test_a_network_without_residual_blocks_is_refused():
    with pytest.raises(ConfigError, match="finetune/lenet5 has none"):
        zero_gammas(ft.Backbone("finetune/lenet5", weights="none").build(2))


def test_loaded_weights_are_never_touched(tmp_path):
    plan = ft.Plan(method="full", zero_gamma=True)
    for weights in ("default", str(tmp_path / "some.pth")):
        recipe = ft.Recipe(data=ft.Data(source="x"), model=ft.Backbone("timm/resnet18", weights=weights), plan=plan)
        with pytest.raises(ConfigError, match=r"zero_gamma .* would wipe out"):
            recipe.check()
    fresh = ft.Recipe(data=ft.Data(source="x"), model=ft.Backbone("timm/resnet18", weights="none"), plan=plan)
    fresh.check()
