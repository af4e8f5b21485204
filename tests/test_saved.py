"""A saved model is read by the ecosystem, and comes back as it went."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pandas as pd
import pytest
import timm
import torch
import torchvision
from safetensors.torch import load_file

import finetune as ft
from finetune.errors import RunFolderError, WeightsError
from finetune.manifest import seal
from finetune.models.options import Backbone, LinearHead, MLPHead
from finetune.saved import load
from tests.made import QUICK, texture

PAIR = ("rings", "stripes")
SOURCE = ([texture(kind, np.random.default_rng(n)) for n in range(8) for kind in PAIR], PAIR * 8)


def fitted(out, **words):
    """A model of two classes, fitted on arrays of 32 pixels."""
    return ft.fit(SOURCE, **{**QUICK, "input_size": 32, "test": 0.2, "validation": 0.2, **words}, out=out)


@pytest.fixture(scope="module")
def of_timm(tmp_path_factory):
    return fitted(tmp_path_factory.mktemp("timm") / "run", backbone="timm/mobilenetv3_small_050")


@pytest.fixture(scope="module")
def of_torchvision(tmp_path_factory):
    return fitted(tmp_path_factory.mktemp("torchvision") / "run", backbone="torchvision/shufflenet_v2_x0_5")


def some_pictures(model, count=4):
    random = torch.Generator().manual_seed(0)
    spec = model.network.spec
    return torch.randint(0, 256, (count, spec.in_chans, *spec.size), dtype=torch.uint8, generator=random)


def normalised(model, inputs):
    spec = model.network.spec
    mean, std = (torch.tensor(values).view(1, -1, 1, 1) for values in (spec.mean, spec.std))
    return (inputs / 255 - mean) / std


def test_timm_answers_the_same_logits_from_the_folder(of_timm):
    inputs = some_pictures(of_timm)
    theirs = timm.create_model(f"local-dir:{of_timm.folder / 'model'}", pretrained=True).eval()
    with torch.inference_mode():
        torch.testing.assert_close(theirs(normalised(of_timm, inputs)), of_timm.network(inputs), rtol=1e-5, atol=1e-6)


def test_timm_reads_the_preprocessing_and_the_class_names_from_the_folder(of_timm):
    theirs = timm.create_model(f"local-dir:{of_timm.folder / 'model'}", pretrained=True)
    found, spec = timm.data.resolve_model_data_config(theirs), of_timm.network.spec
    assert tuple(found["input_size"]) == (spec.in_chans, *spec.size)
    assert (tuple(found["mean"]), tuple(found["std"])) == (spec.mean, spec.std)
    assert (found["interpolation"], found["crop_pct"]) == (spec.interpolation, spec.crop_pct)
    assert (found["crop_mode"], spec.crop_mode) == ("center", "crop")
    assert theirs.num_classes == 2
    assert json.loads((of_timm.folder / "model" / "config.json").read_text())["label_names"] == list(PAIR)


def test_torchvisions_own_constructor_takes_the_state_strictly(of_torchvision):
    config = json.loads((of_torchvision.folder / "model" / "config.json").read_text())
    theirs = torchvision.models.get_model(config["architecture"], num_classes=config["num_classes"], **config["args"])
    theirs.load_state_dict(load_file(of_torchvision.folder / "model" / "model.safetensors"), strict=True)
    inputs = some_pictures(of_torchvision)
    with torch.inference_mode():
        expected = of_torchvision.network(inputs)
        torch.testing.assert_close(theirs.eval()(normalised(of_torchvision, inputs)), expected, rtol=1e-5, atol=1e-6)


VARIANTS = {
    "linear": {},
    "mlp": {"head": "mlp", "hidden": 16},
    "grey": {"backbone": "timm/mobilenetv3_small_050", "in_chans": 1},
    "five channels": {"backbone": "torchvision/shufflenet_v2_x0_5", "in_chans": 5},
    "arguments": {"backbone": "timm/mobilenetv3_small_050", "backbone_arg": {"drop_rate": 0.1, "pad_type": "same"}},
    "preprocessing": {"backbone": "timm/mobilenetv3_small_050", "mean": 0.1, "std": (0.2, 0.3, 0.4), "input_size": 48},
    "timm mlp": {"backbone": "timm/mobilenetv3_small_050", "head": "mlp", "hidden": 8, "dropout": 0.5},
    "two classifiers": {"backbone": "timm/repvit_m0_9"},
    "class weights": {"class_weight": {"rings": 2.0}},
    "balanced": {"class_weight": "balanced", "label_smoothing": 0.1},
}


SELDOM = ("timm mlp", "five channels", "class weights", "balanced")


@pytest.mark.parametrize(
    "variant", [pytest.param(name, marks=pytest.mark.thorough) if name in SELDOM else name for name in VARIANTS]
)
def test_a_model_comes_back_with_every_bit_and_every_word(tmp_path, variant):
    words = VARIANTS[variant]
    channels = words.get("in_chans", 3)
    arrays = [np.resize(array.transpose(2, 0, 1), (channels, 32, 32)).transpose(1, 2, 0) for array in SOURCE[0]]
    words = {**QUICK, "input_size": 32, "test": 0.2, "validation": 0.2, **words}
    model = ft.fit((arrays, SOURCE[1]), **words, out=tmp_path / "run")
    loaded = ft.load(tmp_path / "run")
    expected, found = model.network.state_dict(), loaded.network.state_dict()
    assert expected.keys() == found.keys()
    assert all(torch.equal(expected[name], found[name]) for name in expected)
    assert loaded.network.spec == model.network.spec
    assert loaded.network.origin == model.network.origin
    assert loaded.network.id == model.network.id
    assert type(loaded.network.head) is type(model.network.head)
    assert not loaded.network.training
    pd.testing.assert_frame_equal(loaded.predict(arrays), model.predict(arrays), check_exact=True)
    assert loaded.facts == json.loads(json.dumps(model.facts)) | {
        name: loaded.facts[name] for name in ("format", "labels", "task", "preprocessing", "versions")
    }


@pytest.mark.thorough
def test_a_model_without_a_place_for_its_head_keeps_it_beside(tmp_path):
    model = fitted(tmp_path / "run", backbone="torchvision/shufflenet_v2_x0_5", head="mlp", hidden=8)
    folder = model.folder / "model"
    assert (folder / "head.safetensors").exists()
    config = json.loads((folder / "config.json").read_text())
    theirs = torchvision.models.get_model(config["architecture"], **config["args"])
    state = load_file(folder / "model.safetensors")
    missing, unexpected = theirs.load_state_dict(state, strict=False)
    assert not unexpected
    assert all(name.startswith("fc.") for name in missing)


def test_a_model_is_read_from_the_run_and_from_the_model_folder_wherever_it_is_moved(of_timm, tmp_path):
    moved = shutil.copytree(of_timm.folder / "model", tmp_path / "elsewhere")
    for folder in (of_timm.folder, of_timm.folder / "model", moved, str(moved)):
        assert load(folder).task.labels.names == PAIR
    assert ft.load(moved).metrics == {}
    assert ft.load(of_timm.folder / "model").metrics == of_timm.metrics


def test_a_saved_model_is_a_backbone_for_the_next_fit(of_timm, tmp_path):
    for number, weights in enumerate((of_timm.folder / "model", of_timm.folder / "model" / "model.safetensors")):
        words = {"backbone": "timm/mobilenetv3_small_050", "weights": str(weights)}
        model = fitted(tmp_path / f"run{number}", **words)
        before, after = of_timm.network.body.state_dict(), model.network.body.state_dict()
        assert all(torch.equal(before[name], after[name]) for name in before), "a probe moves nothing of it"


@pytest.mark.thorough
def test_the_arguments_of_a_saved_backbone_are_kept_by_a_model_made_from_it(tmp_path):
    backbone, args = "timm/mobilenetv3_small_050", {"pad_type": "same"}
    first = fitted(tmp_path / "first", backbone=backbone, backbone_arg=args)
    fitted(tmp_path / "second", backbone=backbone, weights=str(first.folder / "model"))
    assert dict(ft.load(tmp_path / "second").network.origin.args) == args


def own_network():
    torch.manual_seed(0)
    layers = [torch.nn.Conv2d(3, 4, 3), torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten(), torch.nn.Linear(4, 9)]
    return torch.nn.Sequential(*layers)


@pytest.mark.parametrize("head", [LinearHead(), MLPHead(hidden=8)], ids=["linear", "mlp"])
def test_a_network_of_ones_own_comes_back_when_it_is_given(tmp_path, head):
    from dataclasses import replace

    backbone = replace(Backbone.from_module(own_network(), head="3", input_size=32, mean=0.4), head=head)
    plan = ft.Plan(method="probe", accelerator="cpu", workers=0)
    recipe = ft.Recipe(data=ft.Data(source=SOURCE), model=backbone, plan=plan)
    model = ft.fit(recipe, out=tmp_path / "run", verbose=False)
    with pytest.raises(WeightsError, match="Give that network as module="):
        ft.load(tmp_path / "run")
    loaded = ft.load(tmp_path / "run", module=own_network())
    pd.testing.assert_frame_equal(loaded.predict(SOURCE[0]), model.predict(SOURCE[0]), check_exact=True)
    assert loaded.network.spec == model.network.spec


def test_loading_runs_no_code_and_reads_only_known_kinds(of_timm, tmp_path):
    folder = shutil.copytree(of_timm.folder / "model", tmp_path / "model")
    facts = json.loads((folder / "finetune.json").read_text())
    for change in ({"task": {"kind": "os.system"}}, {"backbone": {**facts["backbone"], "head": {"kind": "os.system"}}}):
        (folder / "finetune.json").write_text(json.dumps(facts | change))
        seal(folder)
        with pytest.raises(RunFolderError, match="incomplete"):
            load(folder)
    assert {file.suffix for file in folder.iterdir()} == {".json", ".safetensors", ".md"}


def test_weights_that_are_not_those_of_the_description_are_refused(of_timm, of_torchvision, tmp_path):
    folder = shutil.copytree(of_timm.folder / "model", tmp_path / "model")
    shutil.copy(of_torchvision.folder / "model" / "model.safetensors", folder)
    with pytest.raises(RunFolderError, match="damaged or was replaced"):
        load(folder)
    shutil.copy(of_timm.folder / "model" / "model.safetensors", folder)
    shutil.copy(of_torchvision.folder / "model" / "config.json", folder)
    seal(folder)
    with pytest.raises(WeightsError, match="do not fit"):
        load(folder)
