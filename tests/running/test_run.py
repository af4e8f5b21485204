"""What a run measures before it trains is remembered, so that its recipe repeats it."""

import json

import pandas as pd
import pytest
import torch

import finetune as ft
from finetune.errors import ConfigError, TrainingError
from finetune.recipe import read_recipe
from tests.made import QUICK

WORDS = {**QUICK, "method": "full", "epochs": 2, "batch_size": 8, "copies": "ignore"}


def same(one, other):
    pairs = zip(one.network.state_dict().items(), other.network.state_dict().items(), strict=True)
    return all(name == again and torch.equal(a, b) for (name, a), (again, b) in pairs)


def recorded(folder):
    return read_recipe(folder).plan


def test_a_rate_that_was_looked_for_is_in_the_recipe_the_report_and_the_next_run(tmp_path, textures):
    first = ft.fit(textures, **WORDS, lr="auto", mixup=0.2, out=tmp_path / "first")
    (phase,) = recorded(first.folder).phases
    assert isinstance(phase.lr, float) and recorded(first.folder).mixup == 0.2
    report = (first.folder / "report.md").read_text()
    assert "## Rates that were looked for" in report and f"| chosen | {phase.lr:.2g} |" in report
    assert (first.folder / "rates-train.svg").exists()
    again = ft.fit(recipe=first.folder, out=tmp_path / "again", verbose=False)
    assert same(first, again) and not list(again.folder.glob("rates-*"))
    assert recorded(again.folder) == recorded(first.folder)
    # The curves are the run's own: it can be replaced.
    ft.fit(textures, **WORDS, out=first.folder, overwrite=True)


@pytest.mark.thorough
def test_steps_that_a_clock_decided_are_repeated_without_it(tmp_path, textures):
    words = {name: value for name, value in WORDS.items() if name != "epochs"}
    first = ft.fit(textures, **words, time="9s", out=tmp_path / "first")
    plan = recorded(first.folder)
    assert plan.time is None and all(phase.steps > 0 for phase in plan.phases)
    # The recipe is run again with fewer steps, which a test has the time for.
    said = json.loads((first.folder / "recipe.json").read_text())
    said["recipe"]["plan"]["phases"][0]["steps"] = 4
    short = tmp_path / "short.json"
    short.write_text(json.dumps(said))
    one, other = (ft.fit(recipe=short, out=tmp_path / name, verbose=False) for name in ("one", "other"))
    assert same(one, other) and recorded(one.folder).phases[0].steps == 4


def test_a_batch_that_was_chosen_is_in_the_recipe(tmp_path, textures):
    model = ft.fit(textures, **{**WORDS, "batch_size": "auto", "epochs": 1}, out=tmp_path / "run")
    assert recorded(model.folder).batch_size == 32
    assert "batch size 32: usual on a CPU" in (model.folder / "report.md").read_text()


def test_all_folds_train_as_the_first_one_measured(tmp_path, textures):
    model = ft.fit(textures, **{**WORDS, "epochs": 1}, lr="auto", folds=2, out=tmp_path / "run")
    found = [recorded(model.folder / place).phases for place in ("fold-1", "fold-2", ".")]
    assert found[0] == found[1] == found[2] and isinstance(found[0][0].lr, float)
    assert not list((model.folder / "fold-2").glob("rates-*"))


def test_a_time_that_is_too_short_leaves_nothing_behind(tmp_path, textures):
    words = {name: value for name, value in WORDS.items() if name != "epochs"}
    with pytest.raises(TrainingError, match=r"too short.*--time \d+s"):
        ft.fit(textures, **words, time="0.1s", out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_network_whose_activations_cannot_be_computed_again_is_refused_before_pictures_are_read(
    tmp_path, textures, monkeypatch
):
    monkeypatch.setattr("finetune.models.recompute._stage_modules", lambda network: [])
    monkeypatch.setattr("finetune.running.gather.scan_by", lambda *values, **words: pytest.fail("pictures were read"))
    with pytest.raises(ConfigError, match="grad_checkpointing"):
        ft.fit(textures, **WORDS, grad_checkpointing=True, out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_activations_computed_twice_change_no_weight(tmp_path, textures):
    plain = ft.fit(textures, **WORDS, out=tmp_path / "plain")
    twice = ft.fit(textures, **WORDS, grad_checkpointing=True, out=tmp_path / "twice")
    assert same(plain, twice)
    assert json.loads((twice.folder / "recipe.json").read_text())["recipe"]["plan"]["grad_checkpointing"]


@pytest.mark.thorough
def test_the_probe_is_told_beside_validation_unless_that_was_learned_from_in_the_end(tmp_path, textures):
    words = {**WORDS, "method": "lp-ft", "epochs": 1, "views": 0, "settle": "last"}
    model = ft.fit(textures, **words, out=tmp_path / "run")
    assert all("probe" in model.metrics["baselines"][part] for part in ("validation", "test"))
    table = pd.read_csv(tmp_path / "run" / "splits.csv")
    given = pd.DataFrame({
        "image": [str(textures / name) for name in table["source"]], "kind": table["target"],
        "split": ["test" if part == "test" else "train" for part in table["split"]],
    })  # fmt: skip
    again = ft.fit(given, image="image", target="kind", split="split", **words, out=tmp_path / "again")
    told = again.metrics["baselines"]
    assert "probe" in told["test"] and "probe" not in told["validation"]
