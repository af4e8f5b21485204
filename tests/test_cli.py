"""The command line: the same words as in Python, and nothing else on standard output where JSON is asked."""

from __future__ import annotations

import csv
import gc
import inspect
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pandas as pd
import pytest
from PIL import Image

import finetune as ft
from finetune import cli
from finetune.data.splits import read_splits
from tests.made import KINDS, QUICK_WORDS

FIT = (
    *("backbone", "backbone-arg", "weights", "mean", "std", "input-size", "method", "epochs", "batch-size", "lr"),
    *("augment-engine", "mirror-target", "crop"),
    *("augment", "image", "target", "group", "group-from", "split", "no-header", "root", "label-from", "validation"),
    *("test", "head", "class-weight", "monitor", "on-corrupt", "seed", "devices", "num-nodes", "strategy"),
    *("precision", "accumulate", "accelerator", "workers", "out", "overwrite", "recipe"),
)
SOURCE = ("image", "target", "group", "group-from", "split", "no-header", "root", "label-from", "on-corrupt")


def helped(command, capsys):
    """The help of each option of a command."""
    assert cli.call([command, "--help"]) == 0
    options, name = {}, ""
    for line in capsys.readouterr().out.partition("Options:")[2].splitlines():
        words = line.split()
        if words and words[0].startswith("-"):
            name = next(word for word in words if word.startswith("--")).rstrip(",")
            options[name] = ""
        if name:
            options[name] += f" {line.strip()}"
    return options


def test_every_exact_word_is_an_option_of_fit_with_help_and_a_keyword_in_python(capsys):
    options, keywords = helped("fit", capsys), inspect.signature(ft.fit).parameters
    for word in FIT:
        assert word.replace("-", "_") in keywords, word
        assert len(options[f"--{word}"].split()) >= 4, f"{word} says nothing of itself"


def test_every_option_of_fit_is_a_keyword_in_python_and_the_other_way_round(capsys):
    options = {name.removeprefix("--").replace("-", "_") for name in helped("fit", capsys)}
    assert options - {"help", "json"} == set(inspect.signature(ft.fit).parameters) - {"source", *cli.IN_PYTHON_ONLY}


def test_source_options_work_on_every_command_that_takes_a_source(capsys):
    assert {f"--{word}" for word in SOURCE} <= set(helped("evaluate", capsys))
    # A check tells of pictures that cannot be read, whatever a fit would do about them.
    assert {f"--{word}" for word in SOURCE if word != "on-corrupt"} <= set(helped("check", capsys))
    assert {f"--{word}" for word in SOURCE} <= set(helped("rank", capsys))


@pytest.mark.parametrize(
    "command", ["fit", "tune", "evaluate", "predict", "check", "backbones", "demo", "rank", "explain"]
)
def test_every_command_that_prints_a_result_takes_json(command, capsys):
    assert "--json" in helped(command, capsys)


def test_help_names_every_command(capsys):
    assert cli.call(["--help"]) == 0
    shown = capsys.readouterr().out
    names = ("fit", "tune", "predict", "evaluate", "check", "backbones", "demo", "rank", "explain")
    assert all(f"  {name}  " in shown for name in names)
    assert "..." not in shown.partition("Commands:")[2], "no description is cut"


def test_the_version_is_told(capsys):
    assert cli.call(["--version"]) == 0
    assert capsys.readouterr().out.startswith(f"finetune {ft.__version__}, torch ")


@pytest.fixture
def words(monkeypatch):
    """Gives the keywords that `ft.fit` would be called with, and calls nothing."""

    def read(*arguments):
        seen = {}

        class Called(Exception):
            pass

        def instead(source, **keywords):
            seen.update(keywords, source=source)
            raise Called

        monkeypatch.setattr(cli, "fit_function", instead)
        with pytest.raises(Called):
            cli.call(["fit", *arguments])
        return {
            name: value for name, value in seen.items() if value not in (None, False) and name not in ("verbose", "out")
        }

    return read


IMAGENET = (0.485, 0.456, 0.406)


@pytest.mark.parametrize(
    ("given", "mean"),
    [
        (["0.5"], 0.5),
        ([".5"], 0.5),
        (["5e-1"], 0.5),
        (["0.485,0.456,0.406"], IMAGENET),
        (["0.485", "0.456", "0.406"], IMAGENET),
        (["0.485,", "0.456,", "0.406"], IMAGENET),
    ],
)
@pytest.mark.parametrize("order", ["before", "between", "after"])
def test_mean_and_std_take_one_number_or_one_a_channel_wherever_the_source_stands(words, given, mean, order):
    mean_words, std_words = ["--mean", *given], ["--std", *given]
    arguments = {
        "before": ["pets", *mean_words, *std_words],
        "between": [*mean_words, "pets", *std_words, "--seed", "1"],
        "after": [*mean_words, *std_words, "pets"],
    }[order]
    got = words(*arguments)
    assert got.pop("seed", 1) == 1
    assert got == {"source": "pets", "mean": mean, "std": mean}


def test_an_equals_sign_works_too_and_a_number_after_it_is_the_source(words):
    assert words("--mean=0.5", "2024") == {"source": "2024", "mean": 0.5}


def test_backbone_arguments_are_pairs_whose_values_are_read_as_json_or_text(words):
    arguments = ["a=1", "b=x", "c=0.5", "d=true", "e=[1,2]", "f=None", "g=a=b", "h=False"]
    got = words("pets", *(word for pair in arguments for word in ("--backbone-arg", pair)))
    assert got["backbone_arg"] == {
        **{"a": 1, "b": "x", "c": 0.5, "d": True, "e": [1, 2], "f": None, "g": "a=b", "h": False}
    }


def test_devices_class_weights_and_targets_are_read_as_python_takes_them(words):
    assert words("x", "--devices", "2")["devices"] == 2
    assert words("x", "--devices", "0,1")["devices"] == "0,1"
    assert words("x", "--class-weight", "balanced")["class_weight"] == "balanced"
    assert words("x", "--class-weight", "cat=2,dog=0.5")["class_weight"] == {"cat": 2, "dog": 0.5}
    assert words("x", "--no-header", "--overwrite") == {"source": "x", "no_header": True, "overwrite": True}


def test_what_is_not_said_is_left_to_the_defaults(words):
    assert words("pets") == {"source": "pets"}


def test_fit_prints_only_json_where_asked_and_the_rest_elsewhere(textures, tmp_path, capsys):
    out = tmp_path / "run"
    assert cli.call(["fit", str(textures), *QUICK_WORDS, "--out", str(out), "--json"]) == 0
    printed = capsys.readouterr()
    assert json.loads(printed.out) == json.loads((out / "metrics.json").read_text())
    assert "Plan: probe" in printed.err


def test_one_bar_a_phase_is_drawn_and_never_into_the_json(textures, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")  # rich then takes anything for a terminal
    words = ["fit", str(textures), *QUICK_WORDS, "--method", "full", "--epochs", "2", "--json"]
    assert cli.call([*words, "--out", str(tmp_path / "run")]) == 0
    printed = capsys.readouterr()
    assert "accuracy" in json.loads(printed.out)["validation"]
    last = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", printed.err).rpartition("train: epoch")[2]
    assert last.startswith(" 2/2, validation accuracy ") and " 2/2 " in last and " left " in last


def test_a_stopped_fit_says_so_and_leaves_with_130(textures, tmp_path, capsys, monkeypatch):
    import finetune.running.run

    def answers(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(finetune.running.run, "answers", answers)
    words = ["fit", str(textures), *QUICK_WORDS, "--method", "full", "--epochs", "1", "--out", str(tmp_path / "run")]
    assert cli.call(words) == 130
    assert "finetune: stopped. The model has the best weights until then." in capsys.readouterr().err
    assert ft.load(tmp_path / "run").stopped


def test_fit_shows_the_plan_and_the_figures_and_says_where_the_model_is(textures, tmp_path, capsys):
    out = tmp_path / "run"
    assert cli.call(["fit", str(textures), *QUICK_WORDS, "--out", str(out), "--method", "lp-ft", "--epochs", "1"]) == 0
    shown = capsys.readouterr().out
    for text in (
        "36 examples",
        "target: 3 classes (checks, rings, stripes)",
        "learns",
        "trainable",
        "rate",
        "norms",
        "batch",
        "lp-ft",
        "accuracy",
        str(out),
    ):
        assert text in shown, text
    assert shown.index("trainable") < shown.index('phase "probe" done')


def test_without_out_the_model_is_where_the_command_says(textures, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    assert cli.call(["fit", str(tmp_path / "nowhere"), *QUICK_WORDS]) == 2
    assert list(tmp_path.iterdir()) == []
    assert cli.call(["fit", str(textures), *QUICK_WORDS]) == 0
    gc.collect()
    (folder,) = tmp_path.glob("finetune-*")
    assert f"The model is in {folder}, its page is {folder / 'report.html'}" in capsys.readouterr().out
    assert len(ft.load(folder).predict(textures / "rings")) == 12


@pytest.mark.parametrize("words", [[], ["--json"]], ids=["table", "json"])
def test_evaluate_says_what_it_left_out_beside_the_figures(probed, textures, tmp_path, capsys, words):
    source = shutil.copytree(textures, tmp_path / "source")
    (source / "rings" / "0.png").write_bytes(b"no picture")
    assert cli.call(["evaluate", str(probed.folder), str(source), "--on-corrupt", "skip", *words]) == 0
    printed = capsys.readouterr()
    assert "1 of 36 pictures cannot be read and were left out" in printed.err
    assert "left out" not in printed.out


def test_predict_gives_the_same_digits_as_json_and_as_a_table(probed, textures, tmp_path, capsys):
    out = tmp_path / "answers.csv"
    assert cli.call(["predict", str(probed.folder), str(textures), "--json", "--out", str(out)]) == 0
    printed = capsys.readouterr().out
    assert f'"path": "{textures / "rings" / "0.png"}"' in printed
    with out.open(newline="", encoding="utf-8") as file:
        assert [row["rings"] for row in json.loads(printed)] == [float(row["rings"]) for row in csv.DictReader(file)]


def test_evaluate_prints_only_json_where_asked(probed, textures, capsys):
    assert cli.call(["evaluate", str(probed.folder), str(textures), "--json"]) == 0
    printed = capsys.readouterr()
    assert json.loads(printed.out) == probed.evaluate(textures)
    assert printed.err == ""


def test_evaluate_shows_a_table_otherwise(probed, textures, capsys):
    assert cli.call(["evaluate", str(probed.folder), str(textures)]) == 0
    assert "balanced_accuracy" in capsys.readouterr().out


def test_predict_prints_only_json_where_asked(probed, textures, capsys):
    assert cli.call(["predict", str(probed.folder), str(textures / "rings"), "--json"]) == 0
    printed = capsys.readouterr()
    rows = json.loads(printed.out)
    assert [list(row) for row in rows] == [["path", "label", *KINDS, "error"]] * 12
    assert printed.err == ""


def test_predict_writes_the_table_and_the_json_where_both_are_asked(probed, textures, tmp_path, capsys):
    out = tmp_path / "answers.csv"
    assert cli.call(["predict", str(probed.folder), str(textures / "rings"), "--json", "--out", str(out)]) == 0
    assert len(json.loads(capsys.readouterr().out)) == len(pd.read_csv(out)) == 12


def test_backbones_lists_names_that_match(capsys):
    assert cli.call(["backbones", "finetune/*", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found == [
        {"id": "finetune/lenet5", "license": None},
        {"id": "finetune/mlp2500", "license": None},
        {"id": "finetune/mlp800", "license": None},
        {"id": "finetune/pilotnet", "license": None},
    ]
    assert cli.call(["backbones", "alexnet"]) == 0
    assert capsys.readouterr().out == "torchvision/alexnet\n"


def test_backbones_are_filtered_by_licence(capsys):
    assert cli.call(["backbones", "convnextv2_nano*", "--json"]) == 0
    everything = json.loads(capsys.readouterr().out)
    assert {one["license"] for one in everything} >= {"cc-by-nc-4.0"}
    assert cli.call(["backbones", "convnextv2_nano*", "--license", "permissive"]) == 2
    assert "without --license" in capsys.readouterr().err.lower()
    assert cli.call(["backbones", "regnety_016*", "--license", "bsd-3-clause"]) == 0
    assert "timm/regnety_016.tv2_in1k" in capsys.readouterr().out.splitlines()
    assert cli.call(["backbones", "*", "--license", "permisive"]) == 2
    assert '"permissive"' in capsys.readouterr().err


def test_a_pattern_that_no_backbone_matches_says_so(capsys):
    assert cli.call(["backbones", "resnet51000"]) == 2
    assert '"*resnet51000*"' in capsys.readouterr().err
    assert cli.call(["backbones", "*convnxt*"]) == 2
    message = capsys.readouterr().err
    assert "convnext" in message and "**" not in message, "it has its wildcards already"


def python(*arguments, **options):
    """Runs Python with warnings as errors, away from the checkout's own settings."""
    environment = {**os.environ, "PYTHONWARNINGS": "error", "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        [sys.executable, *arguments],
        capture_output=True,
        text=True,
        env=environment,
        timeout=120,
        check=False,
        **options,
    )


HEAVY = ("torch", "numpy", "pandas", "lightning", "timm", "torchvision", "albumentations", "sklearn", "PIL")


@pytest.mark.parametrize(
    "code",
    [
        "import finetune",
        "import finetune; finetune.Plan, finetune.Data, finetune.Backbone, finetune.Recipe, finetune.fit",
        "import finetune.cli",
        "import finetune.cli; assert finetune.cli.call(['fit', '--help']) == 0",
    ],
)
def test_starting_costs_nothing_heavy(code):
    result = python("-c", f"{code}\nimport sys\nprint([m for m in {HEAVY} if m in sys.modules], file=sys.stderr)")
    assert result.stderr == "[]\n"


def test_predicting_imports_no_lightning(probed, textures):
    code = (
        "import sys, finetune\nfinetune.load(sys.argv[1]).predict(sys.argv[2])\nassert 'lightning' not in sys.modules"
    )
    result = python("-c", code, str(probed.folder), str(textures / "rings"))
    assert result.returncode == 0, result.stderr


def test_the_command_runs_as_a_module_and_as_a_script(probed, textures, tmp_path):
    result = python("-m", "finetune", "evaluate", str(probed.folder), str(textures), "--json", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert json.loads(result.stdout)["test"]["accuracy"]["n"] == 36
    assert result.stderr == ""
    missing = python("-m", "finetune", "predict", "nowhere", "x.png", cwd=tmp_path)
    assert missing.returncode == 2
    assert missing.stderr.startswith("finetune: There is no run folder nowhere")
    script = shutil.which("finetune", path=str(Path(sys.executable).parent))
    if script is not None:  # the package may be tested without being installed
        shown = subprocess.run([script, "--help"], capture_output=True, text=True, timeout=120, check=True)
        assert "Usage: finetune" in shown.stdout


@pytest.mark.skipif(os.name != "posix", reason="pipes break otherwise elsewhere")
@pytest.mark.parametrize(
    "command", ["predict", *(pytest.param(name, marks=pytest.mark.thorough) for name in ("backbones", "evaluate"))]
)
def test_whoever_reads_may_stop_reading(probed, textures, command):
    words = {"backbones": [], "predict": [str(probed.folder), str(textures)]}
    words["evaluate"] = words["predict"]
    read, write = os.pipe()
    os.close(read)
    result = subprocess.run(
        [sys.executable, "-m", "finetune", command, *words[command]],
        stdout=write, stderr=subprocess.PIPE, text=True, timeout=120, check=False,
    )  # fmt: skip
    os.close(write)
    assert (result.returncode, result.stderr) == (0, "")


def test_predict_and_evaluate_draw_a_bar_on_a_terminal(probed, textures, capsys, monkeypatch):
    from finetune.report.printed import Talk

    monkeypatch.setattr(Talk, "live", True)
    for command, told in (("predict", "36/36"), ("evaluate", "36/?")):
        assert cli.call([command, str(probed.folder), str(textures), "--json"]) == 0
        printed = capsys.readouterr()
        assert "reading pictures" in printed.err and told in printed.err
        json.loads(printed.out)


def test_evaluate_tells_how_many_examples_the_model_learned_from(probed, textures, tmp_path, capsys):
    assert cli.call(["evaluate", str(probed.folder), str(textures), "--accelerator", "cpu"]) == 0
    told = " ".join(capsys.readouterr().out.split())
    train = (read_splits(probed.folder / "splits.csv")["split"] == "train").sum()
    every = len(list(textures.rglob("*.png")))
    assert f"{train} of {every} examples of test are files that the model learned from" in told
    rest = tmp_path / "new"
    for number, file in enumerate(sorted(textures.rglob("*.png"))):
        target = rest / file.parent.name / f"{number}.png"
        target.parent.mkdir(parents=True, exist_ok=True)
        Image.open(file).rotate(90).save(target)
    assert "learned_from" not in probed.evaluate(rest, accelerator="cpu")
    assert probed.evaluate(textures, accelerator="cpu")["learned_from"] == {"test": train}
