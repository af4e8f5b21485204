"""Where pictures have more pixels than the weights learned from, the network is shown more of them."""

import numpy as np
import pytest
from PIL import Image
from safetensors.torch import save_file

import finetune as ft
from finetune.data.examples import read_examples
from finetune.recipe import read_recipe, recipe_from
from finetune.running import foreseen, resolution
from finetune.running.resolution import larger_side, takes_any_size
from finetune.training.dry import Taken
from tests.made import QUICK

WORDS = {**QUICK, "backbone": "timm/test_resnet", "views": 1, "epochs": 1, "copies": "ignore", "augment": "none"}


@pytest.fixture(scope="module")
def large(tmp_path_factory):
    """Class folders of pictures with 200 pixels on the shorter side, as the weights below learned from 160."""
    return drawn(tmp_path_factory.mktemp("large"), 200)


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    file = tmp_path_factory.mktemp("weights") / "w.safetensors"
    save_file(ft.Backbone("timm/test_resnet", weights="none").build(2).native_state(), file)
    return str(file)


def drawn(folder, side):
    for kind in (0, 1):
        (folder / "ab"[kind]).mkdir(parents=True)
        for number in range(8):
            picture = Image.fromarray(ft.generated_picture(kind, seed=number, side=side))
            picture.resize((side, side + 40)).save(folder / "ab"[kind] / f"{number}.jpg")
    return folder


def read(source):
    return read_examples(ft.Data(source=source))


@pytest.mark.parametrize(("name", "any_size"), [
    ("timm/test_resnet", True), ("timm/mobilenetv2_035", True), ("timm/test_vit", False),
    ("torchvision/squeezenet1_1", True), ("torchvision/mobilenet_v3_small", True), ("torchvision/swin_t", False),
    ("finetune/lenet5", False),
    pytest.param("torchvision/alexnet", False, marks=pytest.mark.thorough),
    pytest.param("timm/levit_128s", False, marks=pytest.mark.thorough),
    pytest.param("torchvision/inception_v3", True, marks=pytest.mark.thorough),
])  # fmt: skip
def test_networks_that_average_a_map_of_any_size(name, any_size):
    assert takes_any_size(ft.Backbone(name, weights="none").build(2)) == any_size


def test_a_module_of_ones_own_says_its_size_itself():
    from torch import nn

    own = nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2))
    assert not takes_any_size(ft.Backbone.from_module(own, head="3", input_size=32).build(2))


def test_the_side_is_nine_sevenths_where_half_of_the_pictures_have_it(large, tmp_path):
    network = ft.Backbone("timm/test_resnet", weights="none").build(2)
    assert network.spec.size == (160, 160)
    side, why = larger_side(network, read(large))
    assert side == 192 and "192 x 192" in why and "200 pixels" in why and "--input-size 160" in why
    small = read(drawn(tmp_path / "small", 180))
    assert larger_side(network, small) == (None, "")


def test_pictures_in_memory_and_files_that_say_nothing_change_nothing(large, tmp_path):
    network = ft.Backbone("timm/test_resnet", weights="none").build(2)
    held = [(np.zeros((200, 200, 3), np.uint8), label) for label in "ab" * 4]
    assert larger_side(network, read(held)) == (None, "")
    broken = drawn(tmp_path / "broken", 200)
    (broken / "a" / "0.jpg").write_bytes(b"no picture")
    assert larger_side(network, read(broken)) == (None, "")


def test_of_many_pictures_it_would_take_too_long(large, monkeypatch):
    monkeypatch.setattr(resolution, "FEW", 15)
    network = ft.Backbone("timm/test_resnet", weights="none").build(2)
    assert larger_side(network, read(large)) == (None, "")


def test_a_run_that_moves_a_pretrained_backbone_sees_more_and_says_so(large, weights, tmp_path):
    model = ft.fit(large, **{**WORDS, "weights": weights, "method": "lp-ft"}, out=tmp_path / "run")
    assert model.network.spec.size == (192, 192) and read_recipe(model.folder).model.input_size == 192
    assert "input of 192 x 192" in (model.folder / "report.md").read_text()
    again = ft.fit(recipe=model.folder, out=tmp_path / "again", verbose=False)
    assert again.metrics == model.metrics
    loaded = ft.load(model.folder)
    assert loaded.network.spec.size == (192, 192)
    files = sorted(str(file) for file in large.glob("*/*.jpg"))[:4]
    names = list(model.classes)
    one, other = (np.asarray(known.predict(files)[names]) for known in (model, loaded))
    assert np.abs(one - other).max() < 1e-6


def test_what_is_foreseen_is_of_that_size_too(large, weights, monkeypatch):
    seen = []

    def dry_steps(network, *of):
        seen.append(network.spec.size)
        return Taken(seconds=0.1, memory=3, program=1, gradients=1)

    monkeypatch.setattr(foreseen, "dry_steps", dry_steps)
    words = {**WORDS, "weights": weights, "method": "lp-ft"}
    del words["verbose"]
    found = foreseen.foresee(recipe_from(str(large), words))
    assert seen == [(192, 192)] and any("input of 192 x 192" in why for why in found.reasons)


def test_a_saved_model_keeps_the_size_that_it_learned_at(large, weights, tmp_path):
    words = {**WORDS, "method": "lp-ft"}
    first = ft.fit(large, **{**words, "weights": weights}, out=tmp_path / "first")
    wide = drawn(tmp_path / "wide", 320)  # which has room for more
    second = ft.fit(wide, **{**words, "weights": str(first.folder / "model")}, out=tmp_path / "second")
    assert first.network.spec.size == second.network.spec.size == (192, 192)


@pytest.mark.parametrize("words", [
    {"method": "probe", "epochs": None, "views": None}, {"method": "lp-ft", "input_size": 160},
    {"method": "lp-ft", "weights": "none"}, {"method": "full", "views": None},
])  # fmt: skip
def test_a_probe_random_weights_and_the_users_own_size_stay(large, weights, tmp_path, words):
    model = ft.fit(large, **{**WORDS, "weights": weights, **words}, out=tmp_path / "run")
    assert model.network.spec.size == (160, 160)
    assert read_recipe(model.folder).model.input_size == words.get("input_size")
