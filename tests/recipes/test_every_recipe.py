"""Every recipe, found by glob: what it says of itself, how it is written, and that it runs on data it makes."""

from __future__ import annotations

import ast
import inspect
import json
import re

import pytest

import finetune as ft
from finetune import cli
from finetune.shipped import shipped
from tests.made import QUICK_WORDS

RECIPES = shipped()
TREES = {recipe.name: ast.parse(recipe.file.read_text(encoding="utf-8")) for recipe in RECIPES}
# The words that make a run of a recipe one of seconds, where those of a probe on a tiny net do not.
_QUICKLY = ["--copies", "exact"]  # pictures that are drawn by a few lines look much alike
_ON_CPU = ["--accelerator", "cpu", "--workers", "0"]
_TINY_VGG = ["--backbone", "torchvision/squeezenet1_0", "--weights", "none", "--size", "64"]
QUICK: dict[str, list[str]] = {
    "backbone_compare": ["--backbones", "finetune/lenet5=none", "--labels", "4,16", "--methods", "probe",
                         "--accelerator", "cpu", "--workers", "0"],
    "large_batch": ["--backbone", "timm/resnet10t", "--input-size", "32", "--epochs", "1", "--accelerator", "cpu",
                    "--workers", "0"],
    "kernels": [],
    "visual_similarity": ["--backbone", "finetune/lenet5", "--weights", "none", "--queries", "2"],
    "learning_rules": [],
    **{name: ["--epochs", "1", *_QUICKLY, *_ON_CPU] for name in ("mnist_mlp", "lenet5", "elastic_mnist")},
    "visualize": [*_TINY_VGG, "--layers", "features.3", "--channels", "2", "--window", "24"],
    "style_image": [*_TINY_VGG, "--painted-steps", "3"],
    "style_fast": [*_TINY_VGG, "--steps", "3", "--crop-size", "48", "--width", "4", *_ON_CPU],
    "style_video": [*_TINY_VGG, "--painted-steps", "2", "--flow", "dis"],
}  # fmt: skip


def each(of=RECIPES):
    return pytest.mark.parametrize("recipe", of, ids=lambda recipe: recipe.name)


@each()
def test_a_recipe_says_how_to_run_it_where_its_data_is_from_and_what_to_expect(recipe):
    assert 10 < len(recipe.line) <= 90
    assert set(recipe.sections) == {"Lecture", "Run", "Data", "Expect"}
    assert f"finetune run {recipe.name}" in recipe.sections["Run"]
    assert recipe.status != "not measured", "Expect says on what data: Real data, Too few to tell, Generated data"
    if "source" in inspect.signature(recipe.function()).parameters:
        assert re.search(r"licen[cs]e", recipe.sections["Data"]), (
            "under which licence the data is, or that none is stated"
        )
        assert "Expected" in recipe.sections["Data"], "the layout of the folder"


@each()
def test_what_works_was_measured_with_sample_and_interval(recipe):
    for entry in re.findall(r"(?:Real data|Too few to tell):(.*?)(?:\n\n|\Z)", recipe.sections["Expect"], re.DOTALL):
        assert re.search(r"\bn = [\d,]+", entry) and re.search(r"\d to -?\.?\d", entry) and "baseline" in entry, entry


@each()
def test_every_option_has_a_type_a_default_and_a_word_of_explanation(recipe):
    function = recipe.function()
    said = inspect.getdoc(function) or ""
    for name, parameter in inspect.signature(function).parameters.items():
        assert parameter.annotation is not parameter.empty, name
        assert name == "source" or parameter.default is not parameter.empty, name
        assert parameter.default is not True, f"{name}: a flag can only be switched on"
        assert re.search(rf"^    {name}: \S", said, re.MULTILINE), name


@each()
def test_a_recipe_is_short_and_picks_public_pieces_alone(recipe):
    tree = TREES[recipe.name]
    assert len(recipe.file.read_text(encoding="utf-8").splitlines()) <= 120
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = {alias.name.partition(".")[0] for alias in node.names}
            assert not names & {"torch", "lightning", "timm"} or recipe.file.parent.name != "recipes", names
            assert not any(alias.name.startswith("finetune.") for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 1 or (node.module or "").partition(".")[0] not in ("finetune", "lightning", "torch")
        elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "ft":
            assert node.attr in ft.__all__, node.attr


@each()
def test_no_recipe_trains_by_itself(recipe):
    for node in ast.walk(TREES[recipe.name]):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            assert node.func.attr not in ("backward", "zero_grad", "step"), "phases train, recipes choose"


@each()
def test_it_runs_from_the_command_line_on_data_it_makes(recipe, tmp_path, capsys):
    out, function = tmp_path / "run", recipe.function()
    has_source = "source" in inspect.signature(function).parameters
    words = QUICK.get(recipe.name, [*QUICK_WORDS, *_QUICKLY])
    sample = ["--sample"] if hasattr(recipe.load(), "sample") else []
    assert sample or not has_source
    assert cli.call(["run", recipe.name, *sample, *words, "--out", str(out)]) == 0
    metrics = json.loads((out / "metrics.json").read_text())
    assert ("generated" in metrics) == bool(sample)
    if (out / "figures").is_dir():
        assert metrics.keys() - {"generated"}
        return
    assert metrics.get("test") or metrics["validation"]
    data = ft.read_recipe(out).data
    assert cli.call(["evaluate", str(out), str(data.source), *source_words(data), "--json"]) == 0
    capsys.readouterr()
    picture = next(
        path for path in (tmp_path / "run-sample").rglob("*") if path.suffix.lower() in (".jpg", ".jpeg", ".png")
    )
    assert cli.call(["predict", str(out), str(picture), "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert len(answer) == 1 and not answer[0]["error"]


def source_words(data):
    """What `evaluate` has to be told of a source, as a person would."""
    words = []
    for name in cli.SOURCE_WORDS:
        value = getattr(data, name)
        if value not in (None, False, ft.Data(source="x").on_corrupt):
            flag = f"--{name.replace('_', '-')}"
            words += [flag] if value is True else [flag, ",".join(value) if isinstance(value, tuple) else str(value)]
    return words
