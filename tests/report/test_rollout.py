"""Attention roll-out: its equation, fused or not, and what it is no use for."""

import numpy as np
import pytest
import torch
from torch import nn

from finetune.models.backbones import build
from finetune.models.options import Backbone
from finetune.report.rollout import roll_out

SMALL = {"img_size": 64, "depth": 3}


def net(name="timm/vit_tiny_patch16_224", seed=0, **args):
    torch.manual_seed(seed)
    network = build(Backbone(name, weights="none", args=SMALL | args), 3).eval().requires_grad_(False)
    for parameter in network.parameters():  # new ones attend to everything alike
        if parameter.ndim == 2:
            parameter.mul_(8)
    return network


def pictures(seed=0):
    return torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(seed))


def attention_by_hand(network, inputs):
    """What each block's attention is, from its own input."""
    found, handles = [], []
    for block in network.body.blocks:

        def keep(module, taken, given):
            n, tokens, _ = taken[0].shape
            query, key, _ = (
                module.qkv(taken[0]).reshape(n, tokens, 3, module.num_heads, -1).permute(2, 0, 3, 1, 4).unbind(0)
            )
            found.append((query @ key.transpose(-2, -1) * module.scale).softmax(-1).mean(1))

        handles.append(block.attn.register_forward_hook(keep))
    network(inputs)
    for handle in handles:
        handle.remove()
    return found


@pytest.mark.parametrize(
    ("args", "rows"),
    [
        ({}, [0]),
        ({"reg_tokens": 4}, [0]),
        ({"global_pool": "avg", "class_token": False}, range(16)),
        ({"reg_tokens": 2, "global_pool": "avg"}, range(3, 19)),
    ],
    ids=["class token", "registers", "mean", "mean beside class token and registers"],
)
def test_the_roll_out_is_the_product_of_half_attention_and_half_identity(args, rows):
    network, inputs = net(**args), pictures()
    joint = None
    for layer in attention_by_hand(network, inputs):
        own = (layer + torch.eye(layer.shape[-1])) / 2
        joint = own if joint is None else own @ joint
    expected = joint[:, list(rows)].mean(1)[:, -16:].reshape(2, 4, 4)
    assert np.allclose(roll_out(network, inputs), expected.numpy(), atol=1e-5)


def test_a_distilled_network_answers_from_both_of_its_tokens():
    network, inputs = net("timm/deit_tiny_distilled_patch16_224"), pictures()
    layers = [(one + torch.eye(18)) / 2 for one in attention_by_hand(network, inputs)]
    joint = layers[2] @ layers[1] @ layers[0]
    expected = joint[:, :2].mean(1)[:, 2:].reshape(2, 4, 4)
    assert np.allclose(roll_out(network, inputs), expected.numpy(), atol=1e-5)


def test_attention_that_reads_the_answer_by_a_query_of_its_own_gives_the_rows():
    network, inputs, seen = net(global_pool="map", class_token=False), pictures(), []
    pool = network.body.attn_pool
    handle = pool.register_forward_hook(lambda module, taken, given: seen.append(taken[0]))
    layers = [(one + torch.eye(16)) / 2 for one in attention_by_hand(network, inputs)]
    handle.remove()
    query = pool.q(pool.latent).reshape(1, 1, pool.num_heads, -1).transpose(1, 2)
    key = pool.kv(seen[0]).reshape(2, 16, 2, pool.num_heads, -1).permute(2, 0, 3, 1, 4)[0]
    rows = (query @ key.transpose(-2, -1) * pool.scale).softmax(-1).mean(1)
    expected = (rows @ layers[2] @ layers[1] @ layers[0]).reshape(2, 4, 4)
    found = roll_out(network, inputs)
    assert np.allclose(found, expected.numpy(), atol=1e-5) and found.sum((1, 2)) == pytest.approx(1, abs=1e-4)


def test_fused_attention_gives_what_plain_attention_gives():
    network, inputs = net(), pictures()
    found = []
    for fused in (True, False):
        for block in network.body.blocks:
            block.attn.fused_attn = fused
        found.append(roll_out(network, inputs))
    assert np.allclose(*found, atol=1e-6)


def test_torchvisions_attention_is_heard_too_and_shares_are_at_most_one():
    from torchvision.models.vision_transformer import VisionTransformer

    torch.manual_seed(0)
    network = VisionTransformer(image_size=64, patch_size=16, num_layers=2, num_heads=2, hidden_dim=32, mlp_dim=64)
    nn.init.normal_(network.heads.head.weight)  # zeros, with which the answer depends on nothing
    found = roll_out(network.eval(), pictures())
    assert found.shape == (2, 4, 4) and found.min() > 0 and 0.2 < found[0].sum() < 1


def test_other_weights_give_another_roll_out():
    one, other = (roll_out(net(seed=seed), pictures()) for seed in (0, 1))
    assert np.abs(one - other).max() > 0.01 * one.max()


@pytest.mark.parametrize(
    ("name", "args", "why"),
    [
        ("timm/resnet10t", {}, "has no attention"),
        ("timm/swin_tiny_patch4_window7_224", {"img_size": 64, "window_size": 2, "depths": (1, 1, 1, 1)}, "windows"),
        ("timm/xcit_nano_12_p16_224", {}, "channels"),
    ],
)
def test_networks_whose_layers_do_not_attend_from_all_to_all_are_refused(name, args, why):
    network = build(Backbone(name, weights="none", args=args), 2).eval()
    with pytest.raises(ValueError, match=why):
        roll_out(network, torch.rand(1, 3, 64, 64))
