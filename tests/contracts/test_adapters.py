"""What adapters must do on every family of networks."""

from __future__ import annotations

import pytest
import timm
import torch
import torchvision.models as theirs
from timm.models.mlp_mixer import MlpMixer
from torch.nn import functional as F
from torchvision.models.resnet import BasicBlock

from finetune.models.adapters import add_lora, lora_targets, merge_lora
from finetune.models.options import Backbone
from tests.models.official import pictures


def of_timm(architecture, size=None, **args):
    return lambda: Backbone(f"timm/{architecture}", weights="none", input_size=size, args=args).build(3)


def of_torchvision(architecture, size):
    return lambda: Backbone(f"torchvision/{architecture}", weights="none", input_size=size).build(3)


def own(make, head, size):
    """A library's network in a size that its constructors by name cannot make."""
    return lambda: Backbone.from_module(make(), head=head, input_size=size).build(3)


VIT = {"depth": 2, "embed_dim": 48, "num_heads": 3}
QUICK = {
    "vit": of_timm("vit_tiny_patch16_224", 32, **VIT),
    "deit, two classifiers": of_timm("deit_tiny_distilled_patch16_224", 32, **VIT),
    "beit, qkv used without a call": of_timm("beit_base_patch16_224", 32, **VIT),
    "eva, q k v apart": of_timm("eva02_tiny_patch14_224", 28, **VIT),
    "swin": of_timm("swin_tiny_patch4_window7_224", 56, depths=(1, 2), embed_dim=24, num_heads=(1, 2)),
    "convnext": of_timm("convnext_atto", 64, depths=(1, 1, 1, 1), dims=(8, 16, 24, 32)),
    "mixer": own(lambda: MlpMixer(3, img_size=32, patch_size=16, num_blocks=2, embed_dim=32), "head", 32),
    "mobilenetv2": of_timm("mobilenetv2_050", 64),
    "nfnet, standardised convolutions": of_timm("test_nfnet", 64),
    "torchvision vit": own(
        lambda: theirs.VisionTransformer(32, 16, num_layers=2, num_heads=2, hidden_dim=32, mlp_dim=64), "heads.head", 32
    ),
    "torchvision swin": own(
        lambda: theirs.SwinTransformer([4, 4], 16, [1, 1], [1, 2], [4, 4]), "head", 32
    ),
    "torchvision resnet": own(lambda: theirs.ResNet(BasicBlock, [1, 1, 1, 1]), "fc", 32),
    "torchvision mobilenet_v2": own(lambda: theirs.MobileNetV2(width_mult=0.25), "classifier.1", 32),
}  # fmt: skip
LONG = {
    **{f"torchvision/{name}": of_torchvision(name, size) for name, size in (
        ("vit_b_16", 32), ("swin_t", 64), ("swin_v2_t", 64), ("resnet18", 64), ("vgg11", 32), ("alexnet", 64),
        ("mobilenet_v2", 64), ("squeezenet1_1", 64), ("convnext_tiny", 64), ("maxvit_t", 224), ("densenet121", 64),
        ("googlenet", 64), ("inception_v3", 96), ("efficientnet_b0", 64), ("regnet_x_400mf", 64),
        ("shufflenet_v2_x0_5", 64), ("mnasnet0_5", 64), ("resnext50_32x4d", 64), ("mobilenet_v3_small", 64))},
    **{f"timm/{name}": of_timm(name, size) for name, size in (
        ("resnet18", 64), ("densenet121", 64), ("inception_v3", 96), ("inception_v4", 96), ("regnetx_002", 64),
        ("efficientnet_b0", 64), ("vgg11", 32), ("dla34", 64), ("dpn48b", 64), ("xception41", 64), ("rexnet_100", 64),
        ("hrnet_w18_small", 64), ("resnest14d", 64), ("skresnet18", 64), ("resnetv2_50", 64), ("res2net50_26w_4s", 64),
        ("nfnet_f0", 64), ("ghostnet_050", 64), ("selecsls42", 64), ("mobilevit_xxs", 64), ("edgenext_xx_small", 64),
        ("repvit_m0_9", 64), ("rdnet_tiny", 64), ("convnextv2_atto", 64), ("levit_128s", None), ("volo_d1_224", None),
        ("cait_xxs24_224", None), ("crossvit_9_240", None), ("visformer_tiny", None), ("pit_ti_224", None),
        ("poolformer_s12", 64), ("efficientformer_l1", None), ("fastvit_t8", 64), ("maxvit_rmlp_pico_rw_256", None),
        ("coatnet_nano_rw_224", None), ("xcit_nano_12_p16_224", None), ("pvt_v2_b0", 64), ("twins_svt_small", 64),
        ("tnt_s_legacy_patch16_224", None), ("convit_tiny", None), ("mvitv2_tiny", None), ("nest_tiny_jx", None),
        ("swinv2_tiny_window8_256", None), ("gcvit_xxtiny", None), ("davit_tiny", 64), ("tiny_vit_5m_224", None),
        ("efficientvit_b0", 64), ("hiera_tiny_224", None), ("botnet26t_256", None), ("sequencer2d_s", None))},
}  # fmt: skip


@pytest.fixture(params=[*QUICK, *(pytest.param(name, marks=pytest.mark.thorough) for name in LONG)])
def network(request):
    torch.manual_seed(0)
    built = (QUICK | LONG)[request.param]().eval()
    with torch.no_grad():
        for name, parameter in built.body.named_parameters():
            # The scale of a layer's answer, near zero in a fresh network, would hide what the layer learns.
            if parameter.ndim == 1 and not name.endswith("bias") and parameter.abs().max() < 0.01:
                parameter.fill_(0.5)
    return built


def loss_of(network, inputs):
    """Brought to length 1: what random deep networks answer may be so large that no gradient is left."""
    features = network.features(inputs)
    return F.cross_entropy(network.head(features / features.norm()), torch.tensor([1, 2]))


def close(found, expected, tolerance):
    size = expected.abs().max()
    torch.testing.assert_close(found, expected, rtol=0, atol=float(tolerance * size) + 1e-30)


def test_adapters_reach_every_weight_learn_alone_and_leave_an_ordinary_network(network):
    inputs = pictures(network.spec)
    targets = [f"body.{name}" for name in lora_targets(network.body)]
    for name, parameter in network.body.named_parameters(prefix="body"):
        parameter.requires_grad_(name in targets)  # LeViT keeps its attention's biases, graph included, in evaluation
    loss_of(network, inputs).backward()
    slopes = {name: network.get_parameter(name).grad for name in targets}
    network.zero_grad()
    plain = {name: type(layer) for name, layer in network.named_modules()}
    state = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    names, stages = [name for name, _ in network.named_parameters()], network.stages
    with torch.inference_mode():
        before = network(inputs)

    new = add_lora(network, rank=4, alpha=8.0)

    with torch.inference_mode():
        close(network(inputs), before, 1e-5)
    assert [name for name, _ in network.named_parameters() if name not in new] == names
    assert {name for name, p in network.named_parameters() if p.requires_grad} == {*new, "head.weight", "head.bias"}
    held = [name for stage in network.stages for name in stage.parameters]
    assert sorted(held) == sorted([*names, *new])

    # d loss / d B = alpha / rank * d loss / d W A', of each block by itself: what a weight does, its adapter does.
    loss_of(network, inputs).backward()
    assert len(new) == 2 * len(targets)
    for name in targets:
        down, up = network.get_parameter(f"{name}_lora_a"), network.get_parameter(f"{name}_lora_b")
        if slopes[name] is None:
            assert up.grad is None, "the weight was not used, and its adapter was"
            continue
        blocks = len(down) // up.shape[1]
        parts = zip(slopes[name].flatten(1).chunk(blocks), down.detach().chunk(blocks), strict=True)
        close(up.grad, 8.0 / 4 * torch.cat([slope @ a.T for slope, a in parts]), 2e-3)

    optimizer = torch.optim.SGD([p for p in network.parameters() if p.requires_grad], lr=0.1)
    for _ in range(3):
        optimizer.step()
        optimizer.zero_grad()
        loss_of(network, inputs).backward()
    assert all(torch.equal(tensor, state[name]) for name, tensor in network.state_dict().items()
               if name in state and not name.startswith("head."))  # fmt: skip
    assert not torch.equal(network.head.weight, state["head.weight"])
    moved = [name for name in new if name.endswith("_b") and network.get_parameter(name).any()]
    assert len(moved) == sum(bool(slope is not None and slope.any()) for slope in slopes.values()) > 0

    with torch.no_grad():  # further than three steps go
        for name in new:
            if name.endswith("_b"):
                network.get_parameter(name).normal_(std=0.02)
    with torch.inference_mode():
        unmerged = network.features(inputs)
    merge_lora(network)
    with torch.inference_mode():
        merged = network.features(inputs)
    close(merged, unmerged, 1e-4)
    assert {name: (tensor.shape, tensor.dtype) for name, tensor in network.state_dict().items()} == {
        name: (tensor.shape, tensor.dtype) for name, tensor in state.items()
    }
    assert all(not torch.equal(network.get_parameter(name), state[name]) for name in targets)
    assert {name: type(layer) for name, layer in network.named_modules()} == plain
    assert network.stages == stages and [name for name, _ in network.named_parameters()] == names
    assert all(parameter.requires_grad for parameter in network.parameters())


@pytest.mark.thorough
def test_every_family_of_timm_has_targets():
    """A network of each of timm's files, on no device: that adapters do what they should is tested above."""
    without = []
    for family in timm.list_modules():
        for architecture in timm.list_models(module=family)[:1]:
            with torch.device("meta"):
                body = timm.create_model(architecture, num_classes=0)
            if not lora_targets(body):
                without.append(architecture)
    assert not without
