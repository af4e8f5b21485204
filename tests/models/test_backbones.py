from __future__ import annotations

import inspect

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from finetune.errors import ConfigError, WeightsError
from finetune.models.backbones import list_backbones, resolve
from finetune.models.options import Backbone, MLPHead
from tests.models.official import native, normalised, official_state, pictures


@pytest.mark.parametrize(
    ("name", "weights", "expected"),
    [
        ("resnet50", "default", "timm/resnet50.a1_in1k"),
        ("resnet50", "none", "timm/resnet50"),
        ("timm/resnet50.tv_in1k", "none", "timm/resnet50.tv_in1k"),
        ("alexnet", "default", "torchvision/alexnet"),
        ("torchvision/resnet50", "default", "torchvision/resnet50"),
        ("torchvision/resnet50.IMAGENET1K_V1", "default", "torchvision/resnet50.IMAGENET1K_V1"),
        ("lenet5", "none", "finetune/lenet5"),
    ],
)
def test_names_are_understood(name, weights, expected):
    assert resolve(Backbone(name, weights=weights)).id == expected


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("resnet5O", '"resnet50"'),
        ("torchvision/alexnett", '"alexnet"'),
        ("timm/alexnet", "no backbone"),
        ("timm/resnet50.a9", "a1_in1k"),
        ("keras/resnet50", "timm, torchvision, finetune"),
        ("finetune/lenet", '"lenet5"'),
        ("/", "Unknown library"),
    ],
)
def test_unknown_names_answer_with_what_there_is(name, message):
    with pytest.raises(ConfigError, match=message):
        Backbone(name).check()


def test_backbones_are_listed_by_pattern():
    ours = ["finetune/lenet5", "finetune/mlp2500", "finetune/mlp800", "finetune/pilotnet"]
    assert list_backbones("finetune/*") == ours
    found = list_backbones("vgg16*")
    assert {"timm/vgg16", "timm/vgg16.tv_in1k", "torchvision/vgg16_bn"} <= set(found)
    assert len(list_backbones()) > 1000


@pytest.mark.parametrize(
    "options",
    [
        {"args": {"pad_typ": "same"}},
        {"args": {"num_classes": 5}},
        {"args": {"in_chans": 5}},
        {"mean": (0.1, 0.2), "in_chans": None},
    ],
)
def test_wrong_arguments_are_refused(options):
    with pytest.raises(ConfigError):
        Backbone("timm/mobilenetv2_100", weights="none", **options).build(3)


@pytest.mark.parametrize("name", ["checkpoint_path", "pretrained_cfg_overlay", "cache_dir", "features_only"])
def test_arguments_that_would_read_files_or_ask_a_network_are_refused(name):
    with pytest.raises(ConfigError, match=f"{name} .*--weights FILE"):
        resolve(Backbone("timm/resnet18", weights="none", args={name: "x"}))


@pytest.mark.parametrize(
    ("name", "size"), [("torchvision/vit_b_32", 100), ("torchvision/alexnet", 20), ("finetune/lenet5", 20)]
)
def test_a_size_that_cannot_be_is_refused_in_words(name, size):
    with pytest.raises(ConfigError, match=str(size)):
        Backbone(name, weights="none", input_size=size).build(3)


@pytest.mark.parametrize(
    ("name", "size"),
    [("timm/vit_tiny_patch16_224", 96), ("timm/resnet18", 64), ("torchvision/squeezenet1_0", 96), ("timm/vgg11", 64)],
)
def test_another_input_size_is_built(name, size):
    network = Backbone(name, weights="none", input_size=size).build(3).eval()
    assert network.spec.size == (size, size)
    assert network(pictures(network.spec)).shape == (2, 3)


@pytest.mark.parametrize(
    "name", ["timm/vit_tiny_patch16_224", pytest.param("torchvision/vit_b_32", marks=pytest.mark.thorough)]
)
def test_position_embeddings_are_resampled_for_another_size(name, tmp_path):
    state = official_state(name)
    save_file(state, tmp_path / "w.safetensors")
    network = Backbone(name, weights=str(tmp_path / "w.safetensors"), input_size=96).build(3)
    kept = network.native_state()
    different = [k for k in kept if kept[k].shape != state[k].shape and "head" not in k]
    assert len(different) == 1
    assert "pos_embed" in different[0]


def test_preprocessing_is_the_weights_own():
    assert Backbone("torchvision/inception_v3", weights="none").build(3).spec.size == (299, 299)
    spec = Backbone("timm/inception_v3", weights="none").build(3).spec
    assert (spec.size, spec.mean) == ((299, 299), (0.5, 0.5, 0.5))
    assert Backbone("timm/inception_v3.gluon_in1k", weights="none").build(3).spec.mean == (0.485, 0.456, 0.406)
    spec = Backbone("torchvision/resnet50", weights="none").build(3).spec
    assert (spec.size, spec.resize, spec.interpolation) == ((224, 224), 256, "bilinear")
    spec = Backbone("mobilenet_v2", weights="none", mean=0.5, std=(0.5, 0.4, 0.3)).build(3).spec
    assert (spec.mean, spec.std) == ((0.5, 0.5, 0.5), (0.5, 0.4, 0.3))


@pytest.mark.parametrize(
    "name", ["timm/resnet18", "torchvision/resnet18", "torchvision/googlenet", "timm/vit_tiny_patch16_224"]
)
@pytest.mark.parametrize("in_chans", [1, 4])
def test_pretrained_filters_are_kept_for_other_channels(name, in_chans, tmp_path):
    state = official_state(name)
    torch.save(state, tmp_path / "w.pth")
    # One value for all channels, so that a grey picture is the same picture in colour.
    options = {"weights": str(tmp_path / "w.pth"), "mean": 0.4, "std": 0.3}
    if name == "torchvision/googlenet":
        # Its own conversion of colours is the weights', so here the two say the same only with their own values.
        options = {"weights": options["weights"]}
    coloured = Backbone(name, **options).build(3).eval()
    other = Backbone(name, in_chans=in_chans, **options).build(3).eval()
    other.head.load_state_dict(coloured.head.state_dict())
    assert other.spec.in_chans == in_chans
    grey = torch.rand(1, 1, *other.spec.size)
    answer = other.features(grey.expand(-1, in_chans, -1, -1))
    if in_chans == 1:
        torch.testing.assert_close(answer, coloured.features(grey.expand(-1, 3, -1, -1)), rtol=1e-3, atol=1e-3)
    assert answer.isfinite().all()


def test_one_channel_takes_the_average_of_the_normalisation():
    spec = Backbone("timm/resnet18", weights="none", in_chans=1).build(3).spec
    assert spec.mean == pytest.approx((0.449,))
    assert len(Backbone("torchvision/resnet18", weights="none", in_chans=5).build(3).spec.std) == 5


@pytest.mark.parametrize("name", ["timm/mobilenetv2_100", "torchvision/mobilenet_v2"])
def test_weights_of_another_architecture_are_refused_with_both_lists(name, tmp_path):
    save_file(official_state("torchvision/resnet18"), tmp_path / "w.safetensors")
    with pytest.raises(WeightsError, match=r"(?s)network needs.*file has.*another architecture") as caught:
        Backbone(name, weights=str(tmp_path / "w.safetensors")).build(3)
    assert name in str(caught.value)


def test_densenet_with_the_names_of_its_published_file_is_read(tmp_path):
    state = official_state("torchvision/densenet121")
    old = {k.replace("norm1.", "norm.1.").replace("norm2.", "norm.2.").replace("conv1.", "conv.1.")
            .replace("conv2.", "conv.2."): v for k, v in state.items()}  # fmt: skip
    assert set(old) != set(state)
    torch.save(old, tmp_path / "w.pth")
    network = Backbone("torchvision/densenet121", weights=str(tmp_path / "w.pth")).build(3)
    kept = network.native_state()
    assert all(torch.equal(kept[k], state[k]) for k in kept if not k.startswith("classifier"))


@pytest.mark.parametrize("library", ["torchvision", "timm"])
def test_torchvision_inception_weights_load_into_both_libraries(library, tmp_path):
    state = official_state("torchvision/inception_v3")
    assert any(k.startswith("AuxLogits") for k in state)
    torch.save(state, tmp_path / "w.pth")
    network = Backbone(f"{library}/inception_v3", weights=str(tmp_path / "w.pth")).build(3)
    assert not any("Aux" in k for k in network.native_state())


class Own(nn.Module):
    def __init__(self, channels=3):
        super().__init__()
        self.conv = nn.Conv2d(channels, 4, 3)
        self.norm = nn.BatchNorm2d(4)
        self.top = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 10))

    def forward(self, x):
        return self.top(self.norm(self.conv(x)).mean((2, 3)))


@pytest.mark.parametrize(("head", "width"), [("top.2", 8), ("top", 4)])
def test_a_network_of_ones_own_is_copied_and_gets_a_head(head, width):
    own = Own(channels=2)
    backbone = Backbone.from_module(own, head=head, input_size=12, in_chans=2)
    for _ in range(2):
        network = backbone.build(5).eval()
        assert network.head.in_features == width
        assert network(torch.rand(3, 2, 12, 12)).shape == (3, 5)
    assert isinstance(own.top[2], nn.Linear)
    assert own.top[2].out_features == 10
    assert (network.head_path is None) == (head == "top")


def test_a_layer_that_ones_own_network_does_not_have_is_refused():
    with pytest.raises(ConfigError, match=r'"top\.2"'):
        Backbone.from_module(Own(), head="top.3", input_size=12).build(3)


@pytest.mark.parametrize("name", ["timm/mobilenetv2_100", "torchvision/mobilenet_v2"])
def test_random_weights_are_only_given_when_asked_for(name, tmp_path, monkeypatch):
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    assert inspect.signature(Backbone).parameters["weights"].default == "default"
    Backbone(name, weights="none").build(3)


def test_the_answer_is_the_librarys_for_passed_on_arguments(tmp_path):
    state = official_state("timm/mobilenetv2_100")
    save_file(state, tmp_path / "w.safetensors")
    file, args = str(tmp_path / "w.safetensors"), {"pad_type": "same"}
    network = Backbone("timm/mobilenetv2_100", weights=file, args=args, head=MLPHead(hidden=4)).build(3).eval()
    reference = native("timm/mobilenetv2_100", 0, pad_type="same")
    reference.load_state_dict(network.native_state(), strict=True)
    inputs = pictures(network.spec, 1)
    with torch.inference_mode():
        torch.testing.assert_close(network.features(inputs), reference(normalised(inputs, network.spec)))
