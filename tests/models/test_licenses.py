"""Licences of weights: what publishers state, and nothing else."""

from __future__ import annotations

import json

import pytest
import timm
import torch
import torchvision
from timm.models import get_pretrained_cfg

from finetune.errors import ConfigError
from finetune.models.licenses import PERMISSIVE, allows, check_license, license_of, licensed_backbones
from finetune.models.options import Backbone


@pytest.mark.parametrize("name", ["resnet50.a1_in1k", "convnextv2_tiny.fcmae_ft_in22k_in1k", "eva02_tiny_patch14_224"])
def test_timms_are_those_of_its_own_configuration(name):
    assert license_of(Backbone(f"timm/{name}")) == get_pretrained_cfg(name).license.lower()


def test_torchvisions_are_not_stated_save_where_the_weights_say_so():
    assert license_of(Backbone("torchvision/resnet50")) is None
    swag = torchvision.models.ViT_B_16_Weights.IMAGENET1K_SWAG_LINEAR_V1
    assert license_of(Backbone(f"torchvision/vit_b_16.{swag.name}")) == swag.meta["license"]


def test_neither_random_numbers_nor_files_nor_modules_have_the_licence_of_a_name(tmp_path):
    assert license_of(Backbone("resnet50")) == "apache-2.0"
    (tmp_path / "w.pth").touch()
    assert license_of(Backbone("resnet50", weights=str(tmp_path / "w.pth"))) is None
    assert license_of(Backbone("resnet50", weights="none")) is None
    assert license_of(Backbone.from_module(torch.nn.Linear(1, 1), head="", input_size=1)) is None
    assert license_of(Backbone("finetune/lenet5")) is None


def test_a_copy_of_a_hub_repository_brings_its_own(tmp_path):
    backbone = Backbone("resnet50", weights=str(tmp_path))
    for words, expected in [({"license": "MIT"}, "mit"), ({}, None), ({"license": "unknown"}, None)]:
        (tmp_path / "config.json").write_text(json.dumps({"pretrained_cfg": words}))
        assert license_of(backbone) == expected
    (tmp_path / "config.json").write_text(json.dumps({"architecture": "resnet50"}))
    assert license_of(backbone) is None


def test_permissive_takes_what_is_on_the_list_and_nothing_that_is_not_stated():
    found = licensed_backbones("*conv*", "permissive")
    everything = licensed_backbones("*conv*")
    assert set(found.values()) <= set(PERMISSIVE)
    assert {id for id, license in everything.items() if license in PERMISSIVE} == set(found)
    assert {"cc-by-nc-4.0", None} <= set(everything.values())
    assert "unknown" not in everything.values()


def test_one_licence_or_several_can_be_asked_for():
    assert allows("MIT, bsd-3-clause", "mit") and not allows("bsd-3-clause", "mit")
    assert allows("permissive,cc-by-nc-4.0", "cc-by-nc-4.0") and allows(None, None) and not allows("mit", None)


def test_a_licence_that_nobody_uses_is_answered_with_the_nearest():
    for wanted in (None, "permissive", "MIT", "isc", "mit,cc-by-nc-4.0"):
        assert check_license(wanted) is None
    assert '"permissive"' in check_license("permisive")
    assert '"apache-2.0"' in check_license("mit,apache-2")
    assert check_license(" ") is not None
    with pytest.raises(ConfigError, match="permissive"):
        licensed_backbones("resnet50", "permisive")


def test_every_name_that_timm_publishes_has_an_answer():
    assert set(licensed_backbones("timm/*")) >= {f"timm/{name}" for name in timm.list_models(pretrained=True)}
