"""A phase whose lowest stages are frozen: what they give is computed by a faster way, with the same end."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

import finetune as ft
import finetune.training.learner as learners
from finetune.training.frozen_part import frozen_part
from finetune.training.phase import Phase
from finetune.training.transfer import transfer
from tests.training.tiny import around, lesson, tiny

UPPER = Phase(name="upper", learns=("conv2", "head"), epochs=9, lr=0.2, augment="light")
PLAN = ft.Plan(
    accelerator="cpu", devices=1, workers=0, batch_size=6, monitor="log_loss", settle="last", gradient_clip=0, mixup=0.4
)


def run(folder, textures, plan=PLAN, phase=UPPER):
    network = tiny()
    made, task = lesson(textures, network, n=31)
    outcome = transfer(network, task, made, plan, (phase,), around(folder, plan), say=lambda line: None)
    return network, outcome


@pytest.fixture
def ways(monkeypatch):
    """Whether each phase that began found a way of its own for its frozen part."""
    found = []

    def noted(*args, **words):
        made = frozen_part(*args, **words)
        found.append(made is not None)
        return made

    monkeypatch.setattr(learners, "frozen_part", noted)
    return found


@pytest.mark.parametrize("norms", ["frozen", "train"])
def test_it_ends_with_the_weights_of_the_whole_network(tmp_path, textures, ways, monkeypatch, norms):
    # Statistics of a batch multiply what rounding did: at a high rate that is not small any more.
    phase = replace(UPPER, norms=norms, lr=UPPER.lr if norms == "frozen" else 0.02)
    parts, outcome = run(tmp_path / "parts", textures, phase=phase)
    assert ways == [True]
    monkeypatch.setattr(learners, "frozen_part", lambda *_, **__: None)
    whole, expected = run(tmp_path / "whole", textures, phase=phase)
    moved = whole.body.conv2.weight - tiny().body.conv2.weight
    assert float(moved.detach().abs().max()) > 1e-3, "nothing was learned, so nothing was compared"
    for name, tensor in whole.state_dict().items():
        torch.testing.assert_close(parts.state_dict()[name], tensor, rtol=0, atol=1e-5, msg=name)
    assert outcome.chosen.score == pytest.approx(expected.chosen.score, abs=1e-5)


@pytest.mark.parametrize(
    "plan, phase",
    [
        ({}, {"learns": "all"}), ({}, {"learns": "bias-norm"}), ({}, {"size": 48}), ({}, {"epochs": 1}),
        ({"precision": "bf16-mixed"}, {}), ({"grad_checkpointing": True}, {}),
    ],
)  # fmt: skip
def test_where_it_would_not_be_the_same_or_not_faster_the_whole_network_runs(tmp_path, textures, ways, plan, phase):
    plan, phase = replace(PLAN, **plan), replace(UPPER, **phase)
    network = tiny()
    made, task = lesson(textures, network, n=31)
    if plan.grad_checkpointing:
        learner = learners.Learner(network, task, phase, plan, seed=0)
        assert learner._frozen_part is None and not ways
        return
    transfer(network, task, made, plan, (phase,), around(tmp_path, plan), say=lambda line: None)
    assert not any(ways)


@pytest.mark.filterwarnings("ignore:.*")  # the ranks are other processes; what they say is theirs
@pytest.mark.thorough
def test_two_ranks_end_with_the_weights_of_one_with_twice_the_batch(tmp_path, textures, monkeypatch):
    made = tiny

    def without_dropout():
        network = made()
        network.body.drop = torch.nn.Identity()
        return network

    monkeypatch.setitem(run.__globals__, "tiny", without_dropout)
    phase = replace(UPPER, epochs=14)
    # Pictures are mixed with those of their own rank.
    one, _ = run(tmp_path / "1", textures, replace(PLAN, batch_size=10, mixup=0.0), phase)
    two, _ = run(tmp_path / "2", textures, replace(PLAN, batch_size=5, devices=2, mixup=0.0), phase)
    for name, tensor in one.state_dict().items():
        torch.testing.assert_close(two.state_dict()[name], tensor, rtol=0, atol=1e-5, msg=name)
