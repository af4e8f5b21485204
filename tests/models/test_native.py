"""A saved folder is what timm and torchvision read, and comes back as it was."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import timm
import torch
import torchvision
from PIL import Image
from safetensors.torch import load_file, save_file

from finetune.data.transforms import eval_transform
from finetune.errors import WeightsError
from finetune.models.backbones import library
from finetune.models.native import config, from_saved
from finetune.models.options import Backbone, LinearHead, MLPHead
from tests.models.official import normalised, pictures

TIMM = [
    Backbone("timm/mobilenetv2_100", weights="none", args={"pad_type": "same"}),
    Backbone("timm/vit_tiny_patch16_224", weights="none", in_chans=1, input_size=96, args={"depth": 2}),
    Backbone("timm/resnet18.a1_in1k", weights="none", in_chans=4, head=LinearHead(dropout=0.3)),
    pytest.param(Backbone("timm/dla34", weights="none"), marks=pytest.mark.thorough),
    pytest.param(Backbone("timm/inception_v3.tv_in1k", weights="none"), marks=pytest.mark.thorough),
    pytest.param(Backbone("timm/vgg11", weights="none", input_size=64), marks=pytest.mark.thorough),
    pytest.param(Backbone("timm/swin_tiny_patch4_window7_224", weights="none"), marks=pytest.mark.thorough),
    pytest.param(Backbone("timm/vit_small_patch14_dinov2", weights="none", input_size=98), marks=pytest.mark.thorough),
]
TORCHVISION = [
    "googlenet", "mobilenet_v2", "resnet18", "squeezenet1_0",
    *(pytest.param(n, marks=pytest.mark.thorough) for n in (
        "alexnet", "densenet121", "inception_v3", "resnet34", "resnet50", "resnet101", "resnet152", "vgg11",
        "vgg11_bn", "vgg13", "vgg13_bn", "vgg16", "vgg16_bn", "vgg19", "vgg19_bn", "vit_b_32")),
]  # fmt: skip


def shaken(backbone, outputs=3):
    """Built, with every tensor moved off its start."""
    torch.manual_seed(0)
    network = backbone.build(outputs)
    with torch.no_grad():
        for tensor in (*network.parameters(), *(b for n, b in network.body.named_buffers() if "running" in n)):
            # By a little, up and down: deep networks of one-sided noise answer infinity.
            tensor.mul_(1 + 0.1 * (torch.rand_like(tensor) - 0.5))
            if tensor.ndim == 1:
                tensor.add_(0.01 * (torch.rand_like(tensor) - 0.5))
    return network.eval()


def write(folder, network, names=("a", "b", "c")):
    save_file(network.native_state(), folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps(config(network, names)))
    return json.loads((folder / "config.json").read_text())


def reread(folder, backbone, network, outputs=3):
    head = network.head_state()
    return from_saved(
        json.loads((folder / "config.json").read_text()), backbone, network.spec, outputs,
        load_file(folder / "model.safetensors"), head,
    ).eval()  # fmt: skip


@pytest.mark.parametrize("backbone", TIMM, ids=lambda b: b.name)
def test_timm_reads_the_folder_and_answers_the_same(backbone, tmp_path):
    network = shaken(backbone)
    write(tmp_path, network)
    theirs = timm.create_model(f"local-dir:{tmp_path}", pretrained=True).eval()
    inputs = pictures(network.spec, 1)
    with torch.inference_mode():
        answer = network(inputs)
        torch.testing.assert_close(theirs(normalised(inputs, network.spec)), answer, rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(reread(tmp_path, backbone, network)(inputs), answer, rtol=1e-5, atol=1e-5)
    data = timm.data.resolve_model_data_config(theirs)
    assert tuple(data["input_size"]) == (network.spec.in_chans, *network.spec.size)
    assert data["mean"] == pytest.approx(network.spec.mean)
    assert data["interpolation"] == network.spec.interpolation
    assert theirs.pretrained_cfg["label_names"] == ["a", "b", "c"]


@pytest.mark.parametrize("name", TORCHVISION)
def test_torchvision_takes_the_state_strictly_and_answers_the_same(name, tmp_path):
    backbone = Backbone(f"torchvision/{name}", weights="none")
    network = shaken(backbone)
    said = write(tmp_path, network)
    assert said["library"] == "torchvision"
    options = {"init_weights": False} if name in ("googlenet", "inception_v3") else {}
    theirs = torchvision.models.get_model(
        said["architecture"], num_classes=said["num_classes"], **said["args"], **options
    )
    theirs.load_state_dict(load_file(tmp_path / "model.safetensors"), strict=True)
    inputs = pictures(network.spec, 1)
    with torch.inference_mode():
        answer = network(inputs)
        torch.testing.assert_close(theirs.eval()(normalised(inputs, network.spec)), answer, rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(reread(tmp_path, backbone, network)(inputs), answer, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    "backbone",
    [
        Backbone("torchvision/squeezenet1_0", weights="none", head=MLPHead(hidden=5)),
        Backbone("torchvision/googlenet", weights="none", in_chans=1),
        Backbone("timm/mobilenetv2_100", weights="none", head=MLPHead(hidden=5)),
        Backbone("timm/deit_tiny_distilled_patch16_224", weights="none"),
        Backbone("finetune/lenet5", weights="none"),
        Backbone("finetune/mlp800", weights="none", head=MLPHead(hidden=5), in_chans=2),
        Backbone.from_module(torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(48, 7)), head="1", input_size=4),
    ],
    ids=lambda b: b.name,
)
def test_every_kind_comes_back_with_the_same_answer(backbone, tmp_path):
    network = shaken(backbone, outputs=4)
    write(tmp_path, network)
    inputs = pictures(network.spec, 1)
    with torch.inference_mode():
        again = reread(tmp_path, backbone, network, outputs=4)
        assert torch.equal(again(inputs), network(inputs))
    assert again.id == network.id
    assert again.stages == network.stages


@pytest.mark.parametrize(("crop", "timms"), [("crop", "center"), ("pad", "border"), ("squish", "squash")])
def test_timm_prepares_pictures_as_they_were_prepared(crop, timms, tmp_path):
    backbone = Backbone("timm/mobilenetv3_small_050", weights="none", crop=crop, mean=0.3, input_size=64)
    network = shaken(backbone)
    assert write(tmp_path, network)["pretrained_cfg"]["crop_mode"] == timms
    theirs = timm.create_model(f"local-dir:{tmp_path}", pretrained=True)
    words = timm.data.resolve_model_data_config(theirs)
    picture = np.random.default_rng(0).integers(0, 256, (10, 14, 3), np.uint8).repeat(9, 0).repeat(9, 1)
    seen = timm.data.create_transform(**words)(Image.fromarray(picture))
    ours = torch.from_numpy(eval_transform(network.spec)(picture).copy()).permute(2, 0, 1)[None]
    torch.testing.assert_close(normalised(ours, network.spec)[0], seen, rtol=0, atol=1.5 / 255 / min(network.spec.std))
    assert reread(tmp_path, backbone, network).spec == network.spec
    again = Backbone("timm/mobilenetv3_small_050", weights=str(tmp_path)).build(3)
    assert again.spec == network.spec, "also where the folder is the start of another run"


def test_every_published_crop_mode_is_honoured():
    modes = {}
    for name in timm.list_models(pretrained=True):
        spec = library("timm").spec(*name.split(".", 1), published=True, in_chans=None) if "." in name else None
        if spec is not None:
            modes.setdefault(timm.get_pretrained_cfg(name).crop_mode, set()).add(spec.crop_mode)
    assert {"center", "squash"} <= modes.keys()  # timm 1.0.26 publishes nothing with a border
    assert all(ways == {{"center": "crop", "border": "pad", "squash": "squish"}[mode]} for mode, ways in modes.items())


def test_timm_gives_the_features_where_the_head_is_ours(tmp_path):
    network = shaken(Backbone("timm/resnet18", weights="none", head=MLPHead(hidden=5)))
    write(tmp_path, network)
    theirs = timm.create_model(f"local-dir:{tmp_path}", pretrained=True).eval()
    inputs = pictures(network.spec, 1)
    torch.testing.assert_close(theirs(normalised(inputs, network.spec)), network.features(inputs))


def test_a_saved_folder_can_be_the_weights_of_the_next_network(tmp_path):
    first = shaken(Backbone("timm/mobilenetv2_100", weights="none", args={"pad_type": "same"}, mean=0.5, in_chans=1))
    write(tmp_path, first)
    second = Backbone("timm/mobilenetv2_100", weights=str(tmp_path), in_chans=1).build(7).eval()
    assert second.spec == first.spec
    inputs = pictures(first.spec, 1)
    assert torch.equal(first.features(inputs), second.features(inputs))
    with pytest.raises(WeightsError, match="mobilenetv2_100"):
        Backbone("timm/resnet18", weights=str(tmp_path)).build(7)


def test_a_network_of_ones_own_is_asked_for(tmp_path):
    own = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(48, 7))
    backbone = Backbone.from_module(own, head="1", input_size=4)
    network = shaken(backbone)
    write(tmp_path, network)
    with pytest.raises(WeightsError, match="one's own"):
        reread(tmp_path, Backbone(backbone.name, args=backbone.args), network)


@pytest.mark.parametrize("name", ["checkpoint_path", "pretrained", "cache_dir"])
def test_a_saved_config_never_has_a_file_read_or_a_hub_asked(name, tmp_path):
    backbone = Backbone("timm/mobilenetv2_050", weights="none", in_chans=1)
    network = shaken(backbone)
    said = write(tmp_path, network)
    edited = {name: str(tmp_path / "x.pth")}
    with pytest.raises(WeightsError, match=f"{name}.*was it edited"):  # finetune.json
        reread(tmp_path, replace(backbone, args=edited), network)
    (tmp_path / "config.json").write_text(json.dumps({**said, "model_args": {**said["model_args"], **edited}}))
    with pytest.raises(WeightsError, match=f"{name}.*was it edited"):
        reread(tmp_path, backbone, network)
    assert replace(backbone, weights=str(tmp_path)).build(2).origin.args == {}
    (tmp_path / "config.json").write_text(json.dumps({**said, "architecture": f"local-dir:{tmp_path}"}))
    with pytest.raises(WeightsError, match=r"local-dir.*(?s:.*)was it edited"):
        reread(tmp_path, backbone, network)
