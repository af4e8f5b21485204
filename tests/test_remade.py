from __future__ import annotations

import json

import pandas as pd
import pytest

import finetune as ft
from finetune import cli
from finetune.errors import ConfigError, RunFolderError

FILE = '''"""Textures by a net of three layers, written here

Run:
    finetune run mine.py FOLDER --width 6
"""

import torch

import finetune as ft


def mine(source: str, *, width: int = 4) -> ft.Recipe:
    """Tells textures apart.

    Args:
        source: The folder.
        width: Channels of the first layer.
    """
    torch.manual_seed(0)
    net = torch.nn.Sequential(
        torch.nn.Conv2d(3, width, 3), torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten(), torch.nn.Linear(width, 9)
    )
    model = ft.Backbone.from_module(net, head="3", input_size=32)
    return ft.Recipe(data=ft.Data(source=source), model=model, plan=ft.Plan(method="probe"))
'''


@pytest.fixture(scope="module")
def made(textures, tmp_path_factory):
    folder = tmp_path_factory.mktemp("mine")
    (folder / "mine.py").write_text(FILE, encoding="utf-8")
    words = ["--width", "6", "--accelerator", "cpu", "--workers", "0", "--out", str(folder / "run")]
    assert cli.call(["run", str(folder / "mine.py"), str(textures), *words]) == 0
    return folder


def test_a_model_whose_network_is_in_a_file_comes_back_with_that_file(made, textures, capsys):
    model = ft.load(made / "run", recipe=made / "mine.py")
    assert model.network.body[0].out_channels == 6
    answers = model.predict(str(textures / "rings"))
    recorded = pd.read_csv(made / "run" / "predictions.csv").set_index("path")["rings"]
    again = answers.set_index("path")["rings"]
    both = again.index.intersection(recorded.index)
    assert len(both)
    pd.testing.assert_series_equal(again[both], recorded[both], atol=1e-6)
    capsys.readouterr()
    picture = str(textures / "rings" / "0.png")
    for command in (["predict", str(made / "run"), picture], ["evaluate", str(made / "run"), str(textures)]):
        assert cli.call(command) == 2
        assert "the file of the recipe that made it" in capsys.readouterr().err
        assert cli.call([*command, "--recipe", str(made / "mine.py"), "--json"]) == 0
        capsys.readouterr()


def test_a_file_that_has_changed_is_refused_and_not_run(made, tmp_path):
    (tmp_path / "mine.py").write_text(FILE.replace("torch.manual_seed(0)", "raise SystemExit"), encoding="utf-8")
    with pytest.raises(RunFolderError, match=r"is not the file that made .* recorded was"):
        ft.load(made / "run", recipe=tmp_path / "mine.py")
    (tmp_path / "same.py").write_text(FILE, encoding="utf-8")
    with pytest.raises(ConfigError, match="has no function same"):
        ft.load(made / "run", recipe=tmp_path / "same.py")


def test_a_model_of_a_library_needs_no_file_and_a_module_is_given_once(made, probed):
    with pytest.raises(RunFolderError, match="was not made by a recipe file"):
        ft.load(probed.folder, recipe=made / "mine.py")
    with pytest.raises(ConfigError, match="Expected one of them"):
        ft.load(made / "run", recipe=made / "mine.py", module=object())
    assert "made_by" not in json.loads((probed.folder / "model" / "finetune.json").read_text())


def test_a_file_that_fails_now_is_told_and_no_traceback(made, tmp_path, monkeypatch):
    monkeypatch.setattr("torch.nn.Flatten", lambda: 1 / 0)
    with pytest.raises(RunFolderError, match="made no recipe: ZeroDivisionError"):
        ft.load(made / "run", recipe=made / "mine.py")
