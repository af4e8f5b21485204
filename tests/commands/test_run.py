"""`finetune run`: a function's signature is its command line, beside every word of fit."""

from __future__ import annotations

import hashlib
import json

import pytest

import finetune as ft
from finetune import cli
from tests.made import QUICK_WORDS

TEXT = '''"""Mine."""
from typing import Literal
import pandas as pd
import finetune as ft

def mine(
    source: str, *, method: Literal["probe", "full"] = "probe", hidden: bool = False, memory: bool = False
) -> ft.Recipe:
    """Mine.

    Args:
        source: A folder.
        method: My own word of this name.
        hidden: Whether there is a hidden layer.
        memory: Whether the examples are given in memory.
    """
    rows = [(str(path), path.parent.name) for path in __import__("pathlib").Path(source).glob("*/*.png")]
    table = pd.DataFrame(rows, columns=["image", "target"])
    return ft.Recipe(data=ft.Data(source=table if memory else source),
                     model=ft.Backbone("resnet18", head=ft.MLPHead() if hidden else ft.LinearHead()),
                     plan=ft.Plan(method="probe", seed=4))
'''
WORDS = [word for word in QUICK_WORDS if word not in ("--method", "probe")]


@pytest.fixture
def mine(tmp_path):
    (tmp_path / "mine.py").write_text(TEXT)
    return tmp_path / "mine.py"


def test_own_options_fill_the_function_and_words_of_fit_override_what_it_gave(mine, textures, tmp_path):
    assert cli.call(["run", str(mine), str(textures), "--hidden", *WORDS, "--out", str(tmp_path / "r")]) == 0
    recipe = ft.read_recipe(tmp_path / "r")
    assert recipe.model.head == ft.MLPHead()
    assert recipe.model.name == "finetune/lenet5"
    assert recipe.plan.seed == 4, "what no word says stays as the recipe has it"


def test_what_made_a_run_is_recorded_and_the_record_runs_again(mine, textures, tmp_path):
    cli.call(["run", str(mine), str(textures), *WORDS, "--out", str(tmp_path / "r")])
    made = json.loads((tmp_path / "r" / "recipe.json").read_text())["recipe"]["made_by"]
    assert made["sha256"] == hashlib.sha256(TEXT.encode()).hexdigest()
    assert made["recipe"] == str(mine)
    assert made["options"] == {"source": str(textures), "method": "probe", "hidden": False, "memory": False}
    assert cli.call(["fit", "--recipe", str(tmp_path / "r"), "--out", str(tmp_path / "again")]) == 0
    one, again = (json.loads((tmp_path / name / "metrics.json").read_text()) for name in ("r", "again"))
    assert one == again


def test_a_recipe_of_examples_in_memory_says_the_command_that_makes_them_again(mine, textures, tmp_path, capsys):
    cli.call(["run", str(mine), str(textures), "--memory", *WORDS, "--out", str(tmp_path / "r")])
    assert cli.call(["fit", "--recipe", str(tmp_path / "r"), "--out", str(tmp_path / "again")]) == 2
    assert f"finetune run {mine} {textures} --method=probe --memory" in capsys.readouterr().err


def test_own_words_win_and_wrong_ones_are_refused_with_the_nearest(mine, textures, tmp_path, capsys):
    assert cli.call(["run", str(mine), str(textures), "--method", "lp-ft", "--out", str(tmp_path / "r")]) == 2
    assert "--method of mine takes one of probe, full" in capsys.readouterr().err
    assert not (tmp_path / "r").exists()


def test_help_lists_own_options_and_those_of_fit(mine, capsys):
    assert cli.call(["run", str(mine), "--help"]) == 0
    said = capsys.readouterr().out
    assert "My own word of this name." in said
    for word in ("--devices", "--seed", "--epochs", "--backbone", "--weights", "--out", "--overwrite"):
        assert f"{word} " in said
    assert "--recipe" not in said
    assert "--sample " not in said, "this file draws nothing"


@pytest.mark.parametrize("arguments", [["nowhere"], []], ids=["a folder that is not there", "none"])
def test_without_its_data_a_recipe_says_on_one_screen_where_it_comes_from(arguments, tmp_path, capsys):
    assert cli.call(["run", "dogs_vs_cats", *arguments, "--out", str(tmp_path / "r")]) == 2
    said = capsys.readouterr().err
    assert len(said.splitlines()) <= 40
    for word in ("licence", "finetune run dogs_vs_cats FOLDER", "--sample", *arguments):
        assert word in said.lower() or word in said
    assert not (tmp_path / "r").exists()


def test_sample_data_is_drawn_once_beside_the_run_and_never_over_something_else(tmp_path, capsys):
    words = ["run", "dogs_vs_cats", "--sample", *QUICK_WORDS, "--out", str(tmp_path / "r")]
    assert cli.call(words) == 0
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "r-sample").rglob("*")}
    assert cli.call([*words, "--overwrite"]) == 0
    assert before == {path: path.stat().st_mtime_ns for path in (tmp_path / "r-sample").rglob("*")}
    assert json.loads((tmp_path / "r" / "metrics.json").read_text())["generated"] is True
    assert ft.read_recipe(tmp_path / "r").made_by["generated"] is True
    (tmp_path / "s-sample").mkdir()
    (tmp_path / "s-sample" / "mine.txt").touch()
    assert cli.call([*words[:-1], str(tmp_path / "s")]) == 2
    assert "something else lies" in capsys.readouterr().err


def test_what_gives_no_recipe_is_refused(tmp_path, capsys):
    (tmp_path / "odd.py").write_text('def odd():\n    """Odd."""\n    return 3\n')
    assert cli.call(["run", str(tmp_path / "odd.py"), "--out", str(tmp_path / "r")]) == 2
    assert "gave a int. Expected a Recipe or a Study" in capsys.readouterr().err


def test_the_name_comes_first(capsys):
    assert cli.call(["run", "--out", "x", "dogs_vs_cats"]) == 2
    assert "The name of a recipe comes first" in capsys.readouterr().err
