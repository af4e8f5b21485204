"""`finetune recipes`: lists, shows and copies; its table is the one in recipes/README.md."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from finetune import _recipes, cli
from finetune.commands.recipes import PLANNED, table
from finetune.shipped import find, shipped


def test_each_recipe_is_a_line_with_its_status(capsys):
    assert cli.call(["recipes"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == [recipe.name for recipe in shipped()]
    assert all(line.endswith("]") for line in lines)


def test_as_json_each_is_an_object(capsys):
    assert cli.call(["recipes", "--json"]) == 0
    assert [one["name"] for one in json.loads(capsys.readouterr().out)] == [recipe.name for recipe in shipped()]


def test_show_prints_all_that_a_recipe_says_and_its_own_options(capsys):
    assert cli.call(["recipes", "show", "dogs_vs_cats"]) == 0
    said = capsys.readouterr().out
    for word in ("Run:", "Data:", "Expect:", "--backbone"):
        assert word in said


def test_a_copy_is_a_recipe_under_its_own_name_and_never_replaces_a_file(tmp_path, capsys):
    file = tmp_path / "my_pets.py"
    assert cli.call(["recipes", "copy", "dogs_vs_cats", str(file)]) == 0
    assert find(str(file)).name == "my_pets"
    assert cli.call(["recipes", "copy", "dogs_vs_cats", str(file)]) == 2
    assert "exists" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["shw"], 'Did you mean "show"'),
        (["show"], "Expected `finetune recipes show NAME`"),
        (["show", "dogs_vs_cat"], 'Did you mean "dogs_vs_cats"'),
        (["copy", "dogs_vs_cats", "mine.txt"], "Expected the name of a Python file"),
    ],
)
def test_what_cannot_be_understood_is_said(arguments, said, capsys):
    assert cli.call(["recipes", *arguments]) == 2
    assert said in capsys.readouterr().err


def test_the_table_in_the_readme_is_the_one_that_is_made():
    readme = Path(next(iter(_recipes.__path__))) / "README.md"
    assert table() in readme.read_text(encoding="utf-8"), "run: finetune recipes table, and put it in recipes/README.md"


def test_what_is_built_is_not_planned_any_more():
    assert not {recipe.name for recipe in shipped()} & set(PLANNED)
