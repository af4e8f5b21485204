"""What moving the backbone added is measured on examples that did not choose, and said in words."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

import finetune as ft
from finetune.running.gain import gain, gain_line
from finetune.training.phase import Phase
from finetune.training.transfer import transfer
from tests.training.tiny import around, lesson, tiny

PLAN = ft.Plan(accelerator="cpu", devices=1, workers=0, batch_size=8, monitor="log_loss", mixup=0.0)
PHASES = (
    Phase(name="probe", learns="head", on="features"),
    Phase(name="tune", epochs=2, lr=0.05, augment="none"),
)


@pytest.fixture(scope="module")
def tuned(textures, tmp_path_factory):
    network = tiny()
    what, task = lesson(textures, network)
    folder = tmp_path_factory.mktemp("tuned")
    plan = replace(PLAN, settle="last")
    outcome = transfer(network, task, what, plan, PHASES, around(folder, plan), say=lambda line: None)
    return network, task, what, outcome


def test_a_gain_is_that_of_the_test_part_where_there_is_one(tuned):
    network, task, what, outcome = tuned
    with torch.no_grad():
        probed = torch.from_numpy(what.features.at(what.validation))
    seen = np.full((len(what.validation), 3), 1 / 3)
    found = gain(network, task, what, outcome, test=what.validation, seen=seen, seed=0)
    assert found["on"] == "test" and set(found["figures"]) == set(task.metrics) and len(probed)
    figure = found["figures"]["log_loss"]
    assert figure["low"] <= figure["value"] <= figure["high"] and figure["n"] == len(what.validation)
    line = gain_line(found, outcome, "log_loss")
    assert f"{figure['value']:+.4f}" in line and "on test" in line


def test_answers_of_the_probe_itself_gain_nothing(tuned):
    network, task, what, outcome = tuned
    from safetensors.torch import load_file

    state = load_file(outcome.probe.state)
    head = torch.nn.Linear(8, 3)
    head.load_state_dict({name: state[f"network.head.{name}"] for name in ("weight", "bias")})
    with torch.no_grad():
        seen = task.answer(head(torch.from_numpy(what.features.at(what.validation))))
    figures = gain(network, task, what, outcome, test=what.validation, seen=seen, seed=0)["figures"]
    assert all(abs(figure["value"]) < 1e-6 for figure in figures.values())


def test_nothing_is_said_where_there_is_nothing_to_compare(tuned):
    network, task, what, outcome = tuned
    none = np.array([], np.int64)
    assert gain(network, task, what, replace(outcome, probe=None), test=none, seen=None, seed=0) == {}
    assert gain_line({}, replace(outcome, probe=None), "accuracy") is None
    kept = replace(outcome, chosen=outcome.probe)
    assert gain(network, task, what, kept, test=none, seen=None, seed=0) == {}
    assert "probe was kept" in gain_line({}, kept, "accuracy")


def test_a_run_says_what_moving_the_backbone_added(textures, tmp_path):
    model = ft.fit(
        textures, backbone="finetune/lenet5", weights="none", method="lp-ft", epochs=1, views=1, augment="none",
        accelerator="cpu", workers=0, out=tmp_path / "run", verbose=False,
    )  # fmt: skip
    metrics = json.loads((tmp_path / "run" / "metrics.json").read_text())
    report = (tmp_path / "run" / "report.md").read_text()
    moved = model.facts["chosen"]["phase"] != "probe"
    assert ("gain" in metrics) == moved
    assert "Moving the backbone changed" in report if moved else "The probe was kept" in report
    if moved:
        assert metrics["gain"]["on"] == "test" and metrics["gain"]["figures"]["accuracy"]["n"] > 0
