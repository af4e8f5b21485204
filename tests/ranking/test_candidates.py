"""What is to be ranked: options and backbones, checked together."""

from __future__ import annotations

import pytest
import torch

from finetune.errors import ConfigError
from finetune.models.licenses import license_of
from finetune.models.options import Backbone
from finetune.models.spelled import read_backbones
from finetune.ranking.candidates import TRIED, settle_ranking


def settle(backbones=None, *, source="nowhere", license=None, most=2000, accelerator="cpu", out=None, **options):
    return settle_ranking(source, options, backbones, license=license, most=most, accelerator=accelerator, out=out)


def test_all_that_is_wrong_is_said_at_once_and_nothing_is_read(tmp_path):
    with pytest.raises(ConfigError) as error:
        settle(
            ["resnet5O,timm/resnet50.a9", "resnet18:maen=0.5", "resnet18=gone.pth"], license="permisive", most=1,
            accelerator="gqu", out="rank.txt", monitor="acuracy", test=1.5, grup="x",
        )  # fmt: skip
    for part in ('"resnet50"', "a1_in1k", 'Did you mean "mean"', '"gone.pth"', '"permissive"', "most must be 4",
                 '"gpu"', ".json or .csv", '"accuracy"', "test must be a share", 'Did you mean "group"'):  # fmt: skip
        assert part in str(error.value), part


def test_those_that_are_tried_by_default_are_there_and_of_several_licences():
    _, candidates, notes = settle()
    assert [one.backbone for one in candidates] == read_backbones(TRIED) and notes == []
    assert {one.license for one in candidates} >= {"apache-2.0", "mit", "cc-by-nc-4.0", None}
    assert all(one.license == license_of(one.backbone) for one in candidates)
    assert 8 <= len(TRIED) <= 12


def test_a_licence_leaves_out_others_and_says_which():
    _, candidates, notes = settle(license="permissive")
    assert {one.license for one in candidates} <= {"apache-2.0", "mit"}
    assert len(notes) == 1 and "(cc-by-nc-4.0)" in notes[0] and "mobilenet_v3_large (not stated)" in notes[0]
    with pytest.raises(ConfigError, match=r"(?s)No backbone is left.*not stated"):
        settle("torchvision/resnet18", license="permissive")


def test_a_backbone_that_is_named_twice_is_tried_once_and_others_get_names_of_their_own():
    own = Backbone.from_module(torch.nn.Sequential(torch.nn.Linear(2, 2)), head="0", input_size=4)
    _, candidates, _ = settle(["resnet18,resnet18", Backbone("resnet18"), "resnet18:input_size=64", own])
    assert [one.name for one in candidates] == [
        "timm/resnet18.a1_in1k", "timm/resnet18.a1_in1k:input_size=64", "module/Sequential"]  # fmt: skip


@pytest.mark.parametrize("backbones", [[], "", " , ", [","]])
def test_no_backbone_at_all_is_refused(backbones):
    with pytest.raises(ConfigError, match="No backbone was named"):
        settle(backbones)


def test_a_damaged_folder_of_weights_is_left_for_later(tmp_path):
    (tmp_path / "config.json").write_text("{")
    _, (candidate,), _ = settle(f"resnet18={tmp_path}")
    assert candidate.license is None
