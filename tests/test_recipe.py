"""A recipe says everything about a run, survives JSON, and is checked whole."""

from __future__ import annotations

import json
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from finetune.data.options import Data
from finetune.errors import ConfigError, RunFolderError
from finetune.models.options import Backbone, EmbeddingHead, LinearHead, MLPHead
from finetune.recipe import WORDS, Recipe, read_recipe, recipe_from, task_for
from finetune.tasks.options import ADJUSTED, EMBED_LOSSES, TAG_LOSSES, Classify, Embed, Regress, Tag
from finetune.training.methods import METHODS
from finetune.training.phase import Phase
from finetune.training.plan import POLICIES, Plan

names = st.text(min_size=1, max_size=8)
shares = st.floats(0, 0.99)
rates = st.floats(1e-8, 10)
maybe_name = st.none() | names
ALONE = ["auto", *(name for name in METHODS if name not in ("surgical", "distill"))]  # without a stage or a teacher
weights = (
    st.none()
    | st.sampled_from(["balanced", "sqrt"])
    | st.dictionaries(names, st.floats(0.1, 10), min_size=1, max_size=3)
)
colours = st.none() | rates | st.tuples(rates, rates, rates)

heads = (
    st.builds(LinearHead, dropout=shares)
    | st.builds(MLPHead, hidden=st.integers(1, 999), dropout=shares)
    | st.builds(EmbeddingHead, size=st.integers(2, 999))
)
tasks = st.none() | (
    st.builds(Classify, class_weight=weights, label_smoothing=shares, loss=st.sampled_from(["cross-entropy", "focal"]))
    | st.builds(Classify, loss=st.sampled_from(ADJUSTED), focal_gamma=st.floats(0, 5))
    | st.builds(Tag, class_weight=weights, loss=st.sampled_from(TAG_LOSSES))
    | st.builds(Regress, loss=st.sampled_from(["mse", "huber"]))
    | st.builds(Embed, loss=st.sampled_from(EMBED_LOSSES), sharpness=st.none() | st.floats(0.1, 99))
)
sources = st.builds(
    Data, source=st.just("/data/pets"), image=maybe_name,
    target=maybe_name | st.lists(names, min_size=1, max_size=3).map(tuple), delimiter=maybe_name, group=maybe_name,
    split=maybe_name, no_header=st.booleans(), root=st.sampled_from([None, "/data"]), validation=st.floats(0.01, 0.4),
    test=st.floats(0, 0.4), on_corrupt=st.sampled_from(["stop", "skip"]),
)  # fmt: skip
backbones = st.builds(
    Backbone, names, weights=st.sampled_from(["default", "none", "/weights/a.pth"]), mean=colours, std=colours,
    args=st.dictionaries(names, st.none() | st.booleans() | st.integers() | names), head=heads,
    input_size=st.none() | st.integers(1, 999), crop=st.sampled_from([None, "crop", "pad", "squish"]),
)  # fmt: skip
on_pictures = st.builds(
    Phase, name=names, learns=st.sampled_from(["head", "all"]) | st.lists(names, min_size=1, max_size=3).map(tuple),
    epochs=st.integers(1, 99), lr=rates, optimizer=st.sampled_from(["sgd", "adamw"]),
    layer_decay=st.floats(0.1, 1), norms=st.sampled_from(["frozen", "train"]), augment=st.sampled_from(POLICIES[1:]),
)  # fmt: skip
on_features = st.builds(Phase, name=names, learns=st.just("head"), on=st.just("features"))
phases = st.tuples(
    st.lists(on_features, max_size=1), st.lists(on_pictures, max_size=3, unique_by=lambda phase: phase.name)
).map(lambda both: tuple(both[0]) + tuple(p for p in both[1] if p.name not in {f.name for f in both[0]}))
plans = st.builds(
    Plan, method=st.sampled_from(ALONE), epochs=st.integers(1, 99), lr=st.none() | rates, warmup=shares,
    norms=st.sampled_from(["auto", "frozen", "train"]), monitor=maybe_name, seed=st.integers(0, 2**31),
    devices=st.sampled_from(["auto", "0,1"]) | st.integers(1, 8) | st.lists(st.integers(0, 7), min_size=1).map(tuple),
    workers=st.none() | st.integers(0, 8), phases=phases, augment=st.sampled_from(POLICIES),
    augment_engine=st.sampled_from(["albumentations", "torchvision"]),
) | st.builds(
    Plan, method=st.sampled_from(["auto", "full", "lp-ft", "lora"]), mixup=shares, cutmix=shares,
    sampler=st.sampled_from(["auto", "shuffle", "balanced", "sqrt", "m-per-class"]),
)  # fmt: skip
recipes = st.builds(Recipe, data=sources, model=backbones, task=tasks, plan=plans)


@given(recipes)
def test_a_recipe_survives_json(recipe):
    assert Recipe.from_dict(json.loads(json.dumps(recipe.to_dict()))) == recipe


@given(recipes, st.sampled_from(["data", "model", "plan"]), st.data())
def test_a_recipe_with_a_part_missing_or_strange_is_refused(recipe, part, draw):
    values = recipe.to_dict()
    if draw.draw(st.booleans()):
        del values[part]
    else:
        values[part] = {**values[part], "no such word": 1}
    with pytest.raises(ConfigError, match="no recipe of this version"):
        Recipe.from_dict(values)


@given(recipes)
def test_words_that_are_not_given_leave_a_recipe_as_it_is(recipe):
    assert recipe_from(None, dict.fromkeys(WORDS), recipe) == recipe


def test_relative_paths_are_recorded_so_that_they_are_found_from_anywhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for source in ("pets", Path("pets")):
        recorded = Recipe(data=Data(source=source)).to_dict()["data"]["source"]
        assert recorded == str(tmp_path / "pets")
    recorded = Recipe(data=Data(source="t.csv", root="pictures"), model=Backbone("a", weights="w.pth")).to_dict()
    assert recorded["data"]["root"] == str(tmp_path / "pictures")
    assert recorded["model"]["weights"] == str(tmp_path / "w.pth")


@pytest.mark.parametrize("source", [[("a.png", "a")], (np.zeros((2, 8, 8), np.uint8), ["a", "b"])])
def test_examples_in_memory_are_named_and_asked_for_again(source):
    recipe = Recipe.from_dict(json.loads(json.dumps(Recipe(data=Data(source=source)).to_dict())))
    with pytest.raises(ConfigError, match="were in memory"):
        recipe_from(None, {}, recipe)
    assert recipe_from("pets", {}, recipe).data.source == "pets"


def test_words_land_where_they_belong_and_cover_every_field():
    words = {
        **{"backbone": "resnet18", "backbone_arg": {"a": 1}, "weights": "none", "head": "mlp", "hidden": 7},
        **{"dropout": 0.1, "task": "classify", "class_weight": "balanced", "label_smoothing": 0.1, "image": "i"},
        **{"epochs": 3, "method": "probe", "validation": 0.2, "mean": 0.5, "monitor": "accuracy"},
    }
    recipe = recipe_from("pets", words)
    assert recipe.model == Backbone(
        "resnet18", args={"a": 1}, weights="none", mean=0.5, head=MLPHead(hidden=7, dropout=0.1)
    )
    assert recipe.task == Classify(class_weight="balanced", label_smoothing=0.1)
    assert recipe.data == Data(source="pets", image="i", validation=0.2, kind="class")
    assert recipe.plan == Plan(epochs=3, method="probe", monitor="accuracy")
    reachable = {place for place in WORDS.values()}
    for room, cls, apart in (
        ("data", Data, {"source", "kind"}),
        ("plan", Plan, {"phases"}),
        ("model", Backbone, {"head", "module"}),
    ):
        assert {f.name for f in fields(cls)} - apart == {name for where, name in reachable if where == room}


def test_words_override_a_recipe_and_keep_the_rest():
    start = Recipe(
        data=Data(source="pets", group="owner"), model=Backbone("resnet18", head=MLPHead(hidden=7)),
        task=Classify(label_smoothing=0.1), plan=Plan(epochs=3, seed=4),
    )  # fmt: skip
    recipe = recipe_from("cats", {"epochs": 5, "dropout": 0.5, "class_weight": "balanced"}, start)
    assert recipe == Recipe(
        data=replace(start.data, source="cats"), model=replace(start.model, head=MLPHead(hidden=7, dropout=0.5)),
        task=Classify(label_smoothing=0.1, class_weight="balanced"), plan=replace(start.plan, epochs=5),
    )  # fmt: skip
    assert recipe_from(None, {"head": "linear"}, start).model.head == LinearHead()


def test_the_options_of_a_task_are_kept_only_while_it_is_the_same_task():
    start = Recipe(data=Data(source="pets"), task=Classify(label_smoothing=0.1))
    assert recipe_from(None, {"task": "classify"}, start).task == start.task
    assert recipe_from(None, {"task": "regress"}, start).task == Regress()


def test_everything_wrong_is_said_at_once():
    words = {
        "method": "prob",
        "head": "lin",
        "task": "clas",
        "validation": 2.0,
        "backbone": "resnet51",
        "monitor": "acc",
    }
    with pytest.raises(ConfigError) as error:
        recipe_from("pets", words)
    for text in ("prob", "lin", "clas", "validation", "resnet51", "acc"):
        assert text in str(error.value)


def test_options_that_a_head_or_task_does_not_take_are_named():
    with pytest.raises(ConfigError, match="LinearHead takes no hidden; it takes dropout"):
        recipe_from("pets", {"hidden": 7})
    with pytest.raises(ConfigError, match="Regress takes no class_weight"):
        recipe_from("pets", {"task": "regress", "class_weight": "balanced"})


@pytest.mark.parametrize(
    ("word", "value"),
    [("epochs", "many"), ("validation", "half"), ("dropout", "some"), ("input_size", "big"), ("std", "small")],
)
def test_values_of_the_wrong_type_are_config_errors(word, value):
    with pytest.raises(ConfigError):
        recipe_from("pets", {word: value})


def test_a_task_and_a_kind_that_contradict_each_other_are_refused():
    recipe = Recipe(data=Data(source="x", kind="number"), task=Classify(), model=Backbone("finetune/lenet5"))
    with pytest.raises(ConfigError, match="Leave one of them out"):
        recipe.check()


@pytest.mark.parametrize(
    ("options", "kind", "expected"),
    [
        (None, "class", Classify()),
        (None, "labels", Tag()),
        (None, "number", Regress()),
        (Regress(loss="huber"), "number", Regress(loss="huber")),
        (Classify(class_weight="balanced"), "labels", Tag(class_weight="balanced")),
    ],
)
def test_the_targets_decide_the_task_and_what_was_said_of_it_holds(options, kind, expected):
    assert task_for(options, kind) == expected


@pytest.mark.parametrize(
    ("options", "kind"), [(Classify(label_smoothing=0.1), "labels"), (Regress(), "class"), (Tag(), "number")]
)
def test_options_that_the_targets_do_not_fit_are_refused(options, kind):
    with pytest.raises(ConfigError, match="The targets are of kind"):
        task_for(options, kind)


def test_a_loss_that_classes_do_not_have_says_the_task():
    for loss, options, kind in (
        ("huber", Regress(loss="huber"), "number"),
        ("asymmetric", Tag(loss="asymmetric"), "labels"),
    ):
        recipe = recipe_from("pets", {"loss": loss})
        assert recipe.task == options and recipe.data.kind == kind
    assert recipe_from("pets", {"loss": "focal"}).task == Classify(loss="focal")
    assert task_for(Classify(loss="focal", focal_gamma=1.0), "labels") == Tag(loss="focal", focal_gamma=1.0)
    with pytest.raises(ConfigError, match="do not fit: loss"):
        task_for(Classify(loss="logit-adjusted"), "labels")


@pytest.mark.parametrize(
    ("task", "plan", "said"),
    [
        (Classify(class_weight="sqrt"), Plan(sampler="balanced"), 'class_weight="sqrt" and sampler="balanced"'),
        (Classify(loss="logit-adjusted"), Plan(sampler="sqrt"), 'loss="logit-adjusted" and sampler="sqrt"'),
        (Tag(class_weight="balanced"), Plan(sampler="sqrt"), "done twice"),
        (Regress(), Plan(sampler="balanced"), "no classes to balance"),
        (Regress(), Plan(cutmix=1.0), "The target is a number"),
    ],
)
def test_what_would_balance_twice_or_cannot_balance_is_refused_before_any_file_is_read(task, plan, said):
    recipe = Recipe(data=Data(source="nowhere"), model=Backbone("finetune/lenet5"), task=task, plan=plan)
    with pytest.raises(ConfigError, match=said):
        recipe.check()
    Recipe(data=recipe.data, model=recipe.model, task=Classify(class_weight={"a": 2.0}), plan=plan).check()


def test_a_recipe_is_read_from_a_run_or_its_file(probed):
    recipe = read_recipe(probed.folder)
    assert recipe == read_recipe(probed.folder / "recipe.json")
    assert recipe.model.name == "finetune/lenet5"
    assert recipe.plan.workers == 0, "what the machine decided is recorded"


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"recipe": 3}', "null"])
def test_a_file_that_is_no_recipe_is_refused(tmp_path, text):
    (tmp_path / "recipe.json").write_text(text)
    with pytest.raises((RunFolderError, ConfigError)):
        read_recipe(tmp_path)
    with pytest.raises(RunFolderError, match="There is no recipe"):
        read_recipe(tmp_path / "nowhere.json")
