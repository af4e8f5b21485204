"""A study fits its recipes, lets its function compare, and leaves figures and metrics."""

from __future__ import annotations

import json

import pytest

import finetune as ft
from finetune.data.generated import mark
from tests.made import class_folders

WORDS = {"accelerator": "cpu", "workers": 0, "verbose": False}


def two(source):
    data = ft.Data(source=str(source))
    net = ft.Backbone("finetune/lenet5", weights="none")
    return {name: ft.Recipe(data=data, model=net, plan=ft.Plan(method="probe", seed=seed))
            for seed, name in enumerate(("one", "other"))}  # fmt: skip


def compare(studied):
    (studied.figures / "plot.txt").write_text("drawn")
    return {name: model.metrics["test"]["accuracy"]["value"] for name, model in studied.models.items()}


def test_a_study_leaves_its_fits_its_figures_and_what_it_measured(textures, tmp_path):
    done = ft.run_study(ft.Study(recipes=two(textures), compare=compare), out=tmp_path / "s", **WORDS)
    assert {path.name for path in done.folder.iterdir()} == {"recipe.json", "metrics.json", "figures", "fits"}
    assert json.loads((done.folder / "metrics.json").read_text()) == done.metrics
    for name, value in done.metrics.items():
        assert ft.load(done.folder / "fits" / name).metrics["test"]["accuracy"]["value"] == value
    assert (done.figures / "plot.txt").read_text() == "drawn"


def test_words_hold_for_all_fits_and_are_told_to_the_function(textures, tmp_path):
    seen = {}

    def look(studied):
        seen.update(studied.words, seed=studied.seed)
        return {}

    done = ft.run_study(ft.Study(recipes=two(textures), compare=look), out=tmp_path / "s", seed=5, **WORDS)
    assert seen == {"seed": 5, "accelerator": "cpu", "workers": 0}
    assert {ft.read_recipe(done.folder / "fits" / name).plan.seed for name in ("one", "other")} == {5}


def test_a_study_without_fits_refuses_words_that_would_do_nothing(tmp_path):
    study = ft.Study(arrays={"a": [1, 2]}, compare=lambda studied: {"sum": sum(studied.arrays["a"])}, takes=("device",))
    assert ft.run_study(study, out=tmp_path / "s", seed=1).metrics == {"sum": 3}
    with pytest.raises(ft.ConfigError, match="does not heed epochs"):
        ft.run_study(study, out=tmp_path / "t", epochs=3)
    assert not (tmp_path / "t").exists()


def test_all_that_is_wrong_with_its_recipes_is_said_at_once(textures, tmp_path):
    wrong = {"../x": two(textures)["one"], "a": ft.Recipe(data=ft.Data(source="x"), model=ft.Backbone("resnet5O"))}
    with pytest.raises(ft.ConfigError, match=r"names of folders(.|\n)*a: .*resnet5O"):
        ft.run_study(ft.Study(recipes=wrong, compare=compare), out=tmp_path / "s")


def test_a_study_that_fails_leaves_nothing_and_brings_back_what_was_there(textures, tmp_path):
    study = ft.Study(compare=lambda studied: {"value": 1})
    ft.run_study(study, out=tmp_path / "s")

    def fails(studied):
        raise ft.DataError("no")

    with pytest.raises(ft.DataError):
        ft.run_study(ft.Study(compare=fails), out=tmp_path / "s", overwrite=True)
    assert json.loads((tmp_path / "s" / "metrics.json").read_text()) == {"value": 1}
    with pytest.raises(ft.DataError):
        ft.run_study(ft.Study(compare=fails), out=tmp_path / "t")
    assert not (tmp_path / "t").exists()


@pytest.mark.thorough
def test_what_was_measured_on_generated_data_says_so(tmp_path):
    source = class_folders(tmp_path / "drawn")
    mark(source, "x")
    done = ft.run_study(ft.Study(recipes=two(source), compare=lambda studied: {}), out=tmp_path / "s", **WORDS)
    assert done.metrics["generated"] is True
    assert done.models["one"].metrics["generated"] is True
    assert "generated, not collected" in (done.models["one"].folder / "report.md").read_text()
