from __future__ import annotations

import pytest
import torch
import torchvision
from torch import nn

from finetune.models.options import Backbone
from finetune.models.stages import stages_of
from tests.models.official import pictures


def network(name):
    return Backbone(name, weights="none").build(3).eval()


@pytest.mark.parametrize(
    ("name", "stages"),
    [
        ("timm/resnet18", ["stem", "layer1", "layer2", "layer3", "layer4", "head"]),
        ("torchvision/resnet18", ["stem", "layer1", "layer2", "layer3", "layer4", "head"]),
        ("finetune/lenet5", ["conv1", "conv2", "conv3", "fc1", "head"]),
        ("timm/vit_tiny_patch16_224", ["stem", *(f"blocks.{i}" for i in range(12)), "head"]),
        ("timm/convnext_atto", ["stem", "stages.0", "stages.1", "stages.2", "stages.3", "head"]),
    ],
)
def test_stages_have_the_names_people_use(name, stages):
    assert [stage.name for stage in network(name).stages] == stages


def test_the_fully_connected_layers_of_vgg_are_stages_and_its_norms_are_not():
    body = torchvision.models.vgg11_bn(num_classes=3)
    body.classifier[6] = nn.Identity()
    names = [stage.name for stage in stages_of(body, nn.Linear(1, 1))]
    assert names[:2] == ["features.0", "features.4"]
    assert names[-3:] == ["classifier.0", "classifier.3", "head"]


def test_a_network_of_ones_own_is_divided_by_its_children():
    body = nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), nn.Conv2d(2, 2, 3))
    assert [stage.name for stage in stages_of(body, nn.Linear(2, 2))] == ["0", "2", "head"]


FAMILIES = [
    "torchvision/" + n
    for n in ("squeezenet1_1", "mobilenet_v2", "shufflenet_v2_x0_5", "mnasnet0_5", "googlenet", "mobilenet_v3_small")
]
LONG = [
    *("torchvision/" + n for n in (
        "alexnet", "vgg11_bn", "inception_v3", "densenet121", "convnext_tiny", "efficientnet_b0", "efficientnet_v2_s",
        "maxvit_t", "regnet_x_400mf", "resnext50_32x4d", "swin_t", "swin_v2_t", "vit_b_32", "wide_resnet50_2")),
    *("timm/" + n for n in (
        "vgg11_bn", "inception_v3", "inception_v4", "inception_resnet_v2", "densenet121", "dla34", "dpn48b",
        "efficientnet_b0", "mobilenetv2_100", "mobilenetv3_small_050", "mobilenetv4_conv_small", "regnetx_002",
        "resnetv2_50", "res2net50_26w_4s", "resnest14d", "skresnet18", "rexnet_100", "ghostnet_050", "hrnet_w18_small",
        "swin_tiny_patch4_window7_224", "deit_tiny_patch16_224", "beit_base_patch16_224", "cait_xxs24_224",
        "mixer_s32_224", "poolformer_s12", "levit_128s", "xception41", "tf_efficientnetv2_b0", "nfnet_f0", "selecsls42",
        "edgenext_xx_small", "maxvit_rmlp_pico_rw_256", "mobilevit_xxs", "fastvit_t8", "rdnet_tiny", "visformer_tiny",
        "efficientformer_l1", "vgg16", "convnextv2_atto", "eva02_tiny_patch14_224", "pit_ti_224")),
]  # fmt: skip


@pytest.mark.parametrize("name", [*FAMILIES, *(pytest.param(n, marks=pytest.mark.thorough) for n in LONG)])
def test_stages_hold_every_parameter_once_and_follow_each_other_as_in_the_forward_pass(name):
    net = network(name)
    stage_of = {p: i for i, stage in enumerate(net.stages) for p in stage.parameters}
    assert sum(len(stage.parameters) for stage in net.stages) == len(stage_of)
    assert set(stage_of) == {n for n, _ in net.named_parameters()}
    seen = []
    for prefix, module in net.named_modules():
        own = [f"{prefix}.{n}" for n, _ in module.named_parameters(recurse=False)]
        if own and not list(module.children()):
            module.register_forward_hook(lambda *_, i=stage_of[own[0]]: seen.append(i))
    with torch.inference_mode():
        net(pictures(net.spec, count=1))
    first = list(dict.fromkeys(seen))
    assert first == sorted(first)
