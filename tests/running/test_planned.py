"""How deep a run goes, where the user leaves it open."""

import pytest
from safetensors.torch import load_file, save_file

import finetune as ft
from finetune.recipe import read_recipe, recipe_from
from finetune.running import foreseen, planned
from finetune.training.dry import Taken
from tests.made import QUICK

WORDS = {**QUICK, "backbone": "timm/test_efficientnet", "input_size": 64, "views": 0, "epochs": 2, "augment": "none"}
WORDS = {name: value for name, value in WORDS.items() if name not in ("method", "weights")}
LOWEST = "blocks.0"


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    file = tmp_path_factory.mktemp("weights") / "w.safetensors"
    save_file(ft.Backbone("timm/test_efficientnet", weights="none").build(2).native_state(), file)
    return str(file)


def moved(weights, model):
    """The stages of whose parameters any is another one than before; of the body alone."""
    before, after = load_file(weights), model.network.native_state()
    return [
        stage.name
        for stage in model.network.stages[:-1]
        if any((before[n.removeprefix("body.")] != after[n.removeprefix("body.")]).any() for n in stage.parameters)
    ]


def test_the_lowest_stages_stay_as_they_are_and_the_run_says_so_and_repeats_it(textures, weights, tmp_path):
    model = ft.fit(textures, **WORDS, weights=weights, settle="last", out=tmp_path / "run")
    names = [stage.name for stage in model.network.stages[:-1]]
    assert moved(weights, model) == names[names.index(LOWEST) :]
    said = (model.folder / "report.md").read_text()
    assert f"freeze_to {LOWEST}: at most 1.5%" in said and "--freeze-to none" in said
    again = ft.fit(recipe=model.folder, out=tmp_path / "again", verbose=False)
    assert again.metrics == model.metrics and moved(weights, again) == moved(weights, model)


@pytest.mark.parametrize("words", [{"freeze_to": "none"}, {"method": "lp-ft"}, {"freeze_to": "stem"}])
def test_whoever_asks_moves_them_too(textures, weights, tmp_path, words):
    model = ft.fit(textures, **WORDS, weights=weights, settle="last", **words, out=tmp_path / "run")
    assert moved(weights, model) == [stage.name for stage in model.network.stages[:-1]]
    assert read_recipe(model.folder).plan.freeze_to == words.get("freeze_to")


def test_a_stage_that_is_asked_for_is_the_lowest_that_moves_in_any_such_method(textures, weights, tmp_path):
    model = ft.fit(textures, **{**WORDS, "views": None}, weights=weights, method="full", freeze_to="blocks.3",
                   settle="last", out=tmp_path / "run")  # fmt: skip
    assert moved(weights, model) == ["blocks.3", "blocks.4"]


@pytest.mark.parametrize(
    "change", [{"weights": "none"}, {"method": "full", "views": None}, {"epochs": None, "method": "probe"}]
)
def test_where_nothing_was_measured_the_plan_decides_nothing(textures, weights, monkeypatch, change):
    seen = planned_for(textures, {**WORDS, "weights": weights, **change}, monkeypatch)
    assert all(phase.learns in ("all", "head") for phase in seen)


def test_of_many_pictures_everything_moves(textures, weights, monkeypatch):
    assert planned_for(textures, {**WORDS, "weights": weights}, monkeypatch)[-1].learns[0] == LOWEST
    monkeypatch.setattr(planned, "FEW", 10)
    assert planned_for(textures, {**WORDS, "weights": weights}, monkeypatch)[-1].learns == "all"


def planned_for(source, words, monkeypatch):
    """The phases of a run as it is foreseen."""
    seen = []

    def phases_of(*given):
        phases, why = planned.phases_of(*given)
        seen.extend(phases)
        return phases, why

    monkeypatch.setattr(foreseen, "phases_of", phases_of)
    monkeypatch.setattr(foreseen, "dry_steps", lambda *of: Taken(seconds=0.1, memory=3, program=1, gradients=1))
    foreseen.foresee(recipe_from(str(source), {name: value for name, value in words.items() if name != "verbose"}))
    return seen
