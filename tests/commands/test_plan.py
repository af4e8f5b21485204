"""`finetune plan` on the command line."""

from __future__ import annotations

import json

import pytest

import finetune.running.foreseen
from finetune.cli import call
from finetune.training.dry import Taken
from tests.made import QUICK_WORDS

WORDS = [*QUICK_WORDS, "--method", "full", "--epochs", "2", "--batch-size", "4"]


@pytest.fixture
def measured(monkeypatch):
    taken = Taken(seconds=0.25, memory=3_500_000_000, program=400_000_000, gradients=100_000_000)
    monkeypatch.setattr(finetune.running.foreseen, "dry_steps", lambda *of: taken)


def test_a_plan_says_batch_steps_memory_traffic_and_efficiency(textures, measured, capsys):
    words = ["--num-nodes", "2", "--devices", "4", "--link", "10Gb", "--scale-lr", "--reference-batch", "16"]
    assert call(["plan", str(textures), *WORDS, *words]) == 0
    told = capsys.readouterr().out
    for part in (
        "8 devices on 2 nodes", "32 pictures a step, 2 steps, rate 0.002 on the head", "scaled with the batch",
        "memory 3.5 GB a device, 400 MB of them the program itself", "0.25 s a batch",
        "gradients of 100 MB: each device sends 175 MB a step", "over 10Gb: 64% to 100% of 8 times one device",
    ):  # fmt: skip
        assert part in " ".join(told.split()), part


def test_a_plan_of_a_run_folder_is_that_of_its_recipe(tuned, measured, capsys):
    for place in (tuned.folder, tuned.folder / "recipe.json"):
        assert call(["plan", str(place), "--devices", "2", "--json"]) == 0
        found = json.loads(capsys.readouterr().out)
        assert [phase["row"]["phase"] for phase in found["phases"]] == ["probe", "train"]
        assert found["world"] == 2 and found["phases"][1]["batch"] == 16
    assert found["phases"][1]["efficiency"] is None and found["phases"][1]["traffic"] == 100_000_000


def test_what_is_wrong_is_said_before_anything_is_measured(textures, capsys):
    assert call(["plan", str(textures), *WORDS, "--link", "fast"]) == 2
    assert "link must be a speed" in capsys.readouterr().err
    assert call(["plan", str(textures / "nowhere"), *WORDS]) == 2
