"""What every backbone of the lecture must do, whatever library it comes from."""

from __future__ import annotations

import gc
from collections import OrderedDict

import pytest
import torch
from safetensors.torch import save_file
from torch.nn import functional as F

from finetune.models.options import Backbone, EmbeddingHead, MLPHead
from tests.models.official import native, normalised, official_state, pictures

QUICK = [
    "torchvision/alexnet",
    "torchvision/googlenet",
    "torchvision/inception_v3",
    "torchvision/mobilenet_v2",
    "torchvision/resnet18",
    "torchvision/squeezenet1_0",
    "timm/convnext_atto",
    "timm/mobilenetv2_100",
    "timm/resnet18",
    "timm/vit_tiny_patch16_224",
]
LONG = [
    *(f"{library}/vgg{depth}{bn}" for library in ("torchvision", "timm") for depth in (11, 13, 16, 19)
      for bn in ("", "_bn")),
    *(f"{library}/resnet{depth}" for library in ("torchvision", "timm") for depth in (34, 50, 101, 152)),
    "torchvision/densenet121",
    "timm/inception_v3",
    "timm/inception_v4",
    "timm/inception_resnet_v2",
    "timm/densenet121",
    "torchvision/vit_b_32",
    "torchvision/swin_t",
    "torchvision/convnext_tiny",
    "torchvision/efficientnet_b0",
    "torchvision/mobilenet_v3_small",
    "torchvision/regnet_y_400mf",
    "torchvision/shufflenet_v2_x0_5",
    "torchvision/mnasnet0_5",
    "timm/dla34",
    "timm/resnetv2_50",
]  # fmt: skip


@pytest.fixture(params=[*QUICK, *(pytest.param(name, marks=pytest.mark.thorough) for name in LONG)])
def name(request):
    yield request.param
    gc.collect()  # VGG's half a gigabyte, three times over


def test_official_weights_load_strictly_and_answer_as_the_library_does(name, tmp_path):
    state = official_state(name)
    if name.startswith("timm"):
        save_file(state, file := tmp_path / "weights.safetensors")
    else:
        torch.save(state, file := tmp_path / "weights.pth")
    network = Backbone(name, weights=str(file)).build(3).eval()
    kept = network.native_state()
    assert all(torch.equal(kept[k], state[k]) for k in kept if not k.startswith(network.head_path))
    del state
    file.unlink()

    inputs = pictures(network.spec, count=1)
    reference = native(name, 3)
    kept = OrderedDict(kept)
    kept._metadata = reference.state_dict()._metadata  # torchvision's MNASNet reads no state without its version
    reference.load_state_dict(kept, strict=True)
    with torch.inference_mode():
        expected = reference(normalised(inputs, network.spec))
        answer, features = network(inputs), network.features(inputs)
        assert answer.shape == (1, 3)
        torch.testing.assert_close(answer, expected, rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(network.head(features), answer, rtol=1e-5, atol=1e-6)
    del reference

    before = {n: p.detach().clone() for n, p in network.head.named_parameters()}
    optimizer = torch.optim.SGD(network.head.parameters(), lr=0.1)
    # Brought to length 1: what random deep networks answer may be so large that no gradient is left.
    F.cross_entropy(network.head(features / features.norm()), torch.tensor([1])).backward()
    optimizer.step()
    assert any(not torch.equal(p, before[n]) for n, p in network.head.named_parameters())
    check_stages(network)


def check_stages(network):
    held = [p for stage in network.stages for p in stage.parameters]
    assert len(held) == len(set(held))
    assert set(held) == {n for n, _ in network.named_parameters()}
    assert network.stages[-1].name == "head"
    assert len({stage.name for stage in network.stages}) == len(network.stages)


@pytest.mark.parametrize("name", ["torchvision/squeezenet1_0", "timm/mobilenetv2_100", "timm/dla34"])
def test_an_mlp_head_sits_on_pooled_features(name):
    network = Backbone(name, weights="none", head=MLPHead(hidden=16)).build(3)
    inputs = pictures(network.spec)
    assert network.head_path is None
    assert network.features(inputs).ndim == 2
    assert network(inputs).shape == (2, 3)
    assert set(network.native_state()) == set(network.body.state_dict())
    assert set(network.head_state()) == set(network.head.state_dict())
    network(inputs).sum().backward()
    assert all(p.grad is not None for p in network.parameters())


@pytest.mark.parametrize("name", ["torchvision/squeezenet1_0", "timm/mobilenetv2_100"])
def test_an_embedding_head_sits_on_pooled_features_and_its_proxies_are_not_kept(name):
    network = Backbone(name, weights="none", head=EmbeddingHead(size=16)).build(3)
    assert network.head_path is None and network(pictures(network.spec)).shape == (2, 16)
    assert set(network.native_state()) == set(network.body.state_dict())
    assert set(network.head_state()) == set(network.head.state_dict()) - {"proxies"}
    check_stages(network)


def test_a_classifier_without_bias_is_replaced_by_one_with():
    network = Backbone("torchvision/maxvit_t", weights="none", input_size=224).build(3)
    assert network.head_path is None
    assert network.head.bias is not None


SEVERAL = ["deit_tiny_distilled_patch16_224", "crossvit_9_240", "repvit_m0_9", "efficientvim_m1"]


@pytest.mark.parametrize(
    "architecture",
    [*SEVERAL[:2], *(pytest.param(a, marks=pytest.mark.thorough) for a in [*SEVERAL[2:], "volo_d1_224", "levit_128s"])],
)
def test_networks_with_several_classifiers_get_a_head_of_ours(architecture):
    network = Backbone(architecture, weights="none").build(3)
    inputs = pictures(network.spec)
    assert network.head_path is None
    assert network.features(inputs).ndim == 2
    network(inputs).sum().backward()
    assert network.head.weight.grad is not None
    state = network.native_state()
    with torch.device("meta"):
        import timm

        bare = timm.create_model(architecture, num_classes=0)
    assert {k: v.shape for k, v in state.items()} == {k: v.shape for k, v in bare.state_dict().items()}
