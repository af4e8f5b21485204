"""What is foreseen is what a run then does."""

from __future__ import annotations

import pandas as pd
import pytest

import finetune as ft
import finetune.running.foreseen
from finetune.errors import ConfigError
from finetune.recipe import recipe_from
from finetune.running.foreseen import foresee
from finetune.training.dry import Taken
from finetune.training.traffic import ring_bytes
from tests.made import QUICK

WORDS = {**QUICK, "method": "full", "epochs": 2, "batch_size": 4, "lr": 0.01}


@pytest.fixture(autouse=True)
def measured(monkeypatch):
    """Steps of a tenth of a second and gradients of a megabyte, without taking any."""
    taken = Taken(seconds=0.1, memory=3_000_000, program=1_000_000, gradients=1_000_000)
    monkeypatch.setattr(finetune.running.foreseen, "dry_steps", lambda *of: taken)
    return taken


def recipe(source, **words):
    return recipe_from(str(source), {k: v for k, v in {**WORDS, **words}.items() if k != "verbose"})


@pytest.mark.parametrize("words", [{}, {"accumulate": 2}, {"steps": 7, "epochs": None}, {"method": "lp-ft"}])
def test_the_steps_that_are_foreseen_are_those_that_a_run_takes(textures, tmp_path, words):
    found = foresee(recipe(textures, **words))
    ft.fit(textures, **WORDS | words, out=tmp_path / "run")
    steps = pd.read_csv(tmp_path / "run" / "metrics.csv").groupby("phase")["step"].max()
    assert [phase.steps for phase in found.phases] == [int(steps[phase.row["phase"]]) for phase in found.phases]


def test_many_devices_that_are_not_here_are_foreseen(textures, measured):
    words = {"devices": 4, "num_nodes": 2, "scale_lr": True, "reference_batch": 8}
    found = foresee(recipe(textures, **words), link="80Mb")
    (phase,) = found.phases
    assert (found.world, phase.batch, phase.rate) == (8, 32, pytest.approx(0.04))
    assert phase.traffic == ring_bytes(measured.gradients, 8) == 1_750_000
    # 1.75 MB at 10 MB a second beside a step of .1 s, of which two thirds can hide it.
    assert phase.efficiency.least == pytest.approx(0.1 / 0.275)
    assert phase.efficiency.most == pytest.approx(0.1 / (0.275 - 0.1 * 2 / 3))


def test_batches_that_are_added_up_share_one_exchange(textures):
    one, four = (foresee(recipe(textures, devices=2, accumulate=n), link="80Mb").phases[0] for n in (1, 4))
    assert four.traffic == one.traffic and four.efficiency.least > one.efficiency.least
    assert (one.batch, four.batch) == (8, 32)


def test_a_head_on_features_has_no_steps(textures):
    (phase,) = foresee(recipe(textures, method="probe", epochs=None)).phases
    assert phase.taken is None and phase.steps == 0 and phase.row["length"] == "to convergence"


def test_devices_of_other_nodes_must_be_said_and_a_batch_must_come_out(textures):
    with pytest.raises(ConfigError, match="Expected --devices"):
        foresee(recipe(textures, num_nodes=2, devices="auto"))
    with pytest.raises(ConfigError, match="effective_batch must be a multiple of 16"):
        foresee(recipe(textures, devices=4, effective_batch=24))
    with pytest.raises(ConfigError, match="link must be a speed"):
        foresee(recipe(textures), link="quick")


def test_nothing_is_opened_and_nothing_is_written(textures, tmp_path, monkeypatch):
    monkeypatch.setattr("finetune.data.readers.read_image", None)
    monkeypatch.chdir(tmp_path)
    foresee(recipe(textures))
    assert not list(tmp_path.iterdir())
