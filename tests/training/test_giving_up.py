from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

import finetune as ft
from finetune.training.giving_up import GiveUp
from finetune.training.phase import Phase
from finetune.training.transfer import transfer
from tests.training.tiny import around, lesson, tiny

PLAN = ft.Plan(accelerator="cpu", devices=1, workers=0, batch_size=8, epochs=3, monitor="log_loss")
PROBE = Phase(name="probe", learns="head", on="features")


def run(folder, textures, phase, *, gives_up):
    network, lines = tiny(), []
    what, task = lesson(textures, network)
    # Rows in no order: what the probe answers must still stand beside what the phase answers.
    what = replace(what, gives_up=gives_up, validation=what.validation[::-1].copy())
    outcome = transfer(network, task, what, PLAN, (PROBE, phase), around(folder, PLAN), say=lines.append)
    return outcome, "\n".join(lines)


def test_a_phase_that_leads_away_from_the_probe_ends_after_its_first_epoch(tmp_path, textures):
    wild = Phase(name="wild", epochs=3, lr=0.1, schedule="constant")
    outcome, lines = run(tmp_path, textures, wild, gives_up=True)
    assert outcome.lengths == {"probe": 0, "wild": 1} and "ended after epoch 1" in lines
    assert not outcome.stopped


@pytest.mark.parametrize("rate, gives_up", [(0.1, False), (1e-6, True)])
def test_a_phase_runs_its_course_where_nobody_asks_or_nothing_is_lost(tmp_path, textures, rate, gives_up):
    phase = Phase(name="all", epochs=3, lr=rate, schedule="constant")
    outcome, lines = run(tmp_path, textures, phase, gives_up=gives_up)
    assert outcome.lengths == {"probe": 0, "all": 3} and "ended after" not in lines


@pytest.mark.parametrize("better", [True, False])
def test_a_phase_ends_where_answers_are_worse_and_not_where_they_are_better(textures, better):
    what, task = lesson(textures, tiny())
    target = what.target[what.validation]
    noise = np.random.default_rng(0).normal(size=(len(target), 3)).astype(np.float32)
    knows, guesses = noise + 3 * np.eye(3, dtype=np.float32)[target], noise
    trainer = SimpleNamespace(sanity_checking=False, should_stop=False, current_epoch=1)
    guard = GiveUp(task, guesses if better else knows)
    guard.on_validation_epoch_end(trainer, SimpleNamespace(answered=lambda: (knows if better else guesses, target)))
    assert trainer.should_stop == (not better) and guard.after == (None if better else 2)


def test_a_phase_that_had_ended_stays_so_where_it_is_gone_on_with():
    ended, again = GiveUp(None, np.zeros((1, 2))), GiveUp(None, np.zeros((1, 2)))
    ended.after = 2
    again.load_state_dict(ended.state_dict())
    for guard, stops in ((again, True), (GiveUp(None, np.zeros((1, 2))), False)):
        trainer = SimpleNamespace(should_stop=False)
        guard.on_train_start(trainer, None)
        assert trainer.should_stop == stops


@pytest.mark.thorough
@pytest.mark.filterwarnings("ignore:.*")  # the ranks are other processes; what they say is theirs
def test_two_ranks_give_up_together(tmp_path, textures):
    network = tiny()
    what, task = lesson(textures, network, n=31)  # so that one rank has a validation picture more
    plan, wild = replace(PLAN, devices=2), Phase(name="wild", epochs=3, lr=0.1, schedule="constant")
    outcome = transfer(network, task, replace(what, gives_up=True), plan, (PROBE, wild), around(tmp_path, plan),
                       say=lambda line: None)  # fmt: skip
    assert outcome.lengths == {"probe": 0, "wild": 1} and not outcome.stopped
