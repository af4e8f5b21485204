"""A run by the clock."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

import finetune as ft
from finetune.errors import TrainingError
from finetune.training.budget import Budget, Pace, steps_for
from finetune.training.on_pictures import in_epochs
from finetune.training.phase import Phase
from finetune.training.transfer import transfer
from tests.training.tiny import around, lesson, tiny

PLAN = ft.Plan(accelerator="cpu", devices=1, workers=0, batch_size=8, monitor="log_loss", time="1h")
PHASE = Phase(name="all", epochs=3, lr=0.01)

short = st.floats(0.001, 0.1)
paces = st.builds(
    Pace, start=st.floats(0, 2), cold=short, warm=short, cold_look=short, warm_look=short, keep=short,
    batches=st.integers(1, 50), looks=st.integers(0, 20), batch_size=st.just(8),
)  # fmt: skip


def run(folder, textures, phases=(PHASE,), seconds=4.0, plan=PLAN, began=None, **words):
    network, said = tiny(), []
    what, task = lesson(textures, network)
    budget = Budget(start=began or time.monotonic(), seconds=seconds, answered=0, twice=False)
    surroundings = around(folder, plan, budget=budget, **words)
    return transfer(network, task, what, plan, phases, surroundings, say=said.append), said


@given(paces, st.floats(0, 100), st.integers(1, 4))
def test_the_steps_that_are_planned_fill_their_time_and_no_more(pace, seconds, accumulate):
    steps = pace.steps_within(seconds, accumulate=accumulate)
    if steps:
        assert pace.takes(steps * accumulate) <= seconds
    epoch = pace.takes((steps + 1) * accumulate)
    assert epoch > seconds


@given(paces, st.integers(1, 1000))
def test_a_pace_counts_each_batch_and_each_validation(pace, count):
    phase, _ = in_epochs(Phase(name="p", epochs=1, steps=count), pace.batches, accumulate=1)
    first = pace.start + pace.cold + pace.looks * pace.cold_look + pace.keep
    bounds = [first + (phase.epochs - 1) * pace.keep + (count - 1) * min(pace.cold, pace.warm)]
    bounds.append(pace.start + count * max(pace.cold, pace.warm) + phase.epochs * (pace.keep + pace.looks * max(
        pace.cold_look, pace.warm_look)))  # fmt: skip
    assert bounds[0] <= pace.takes(count) + 1e-9 and pace.takes(count) <= bounds[1] + 1e-9


@given(paces)
def test_a_budget_that_is_too_small_says_one_that_would_do(pace):
    def plan(seconds):
        budget = Budget(start=time.monotonic(), seconds=seconds, answered=10, twice=False)
        return steps_for(budget, pace, passes=6, share=0.5, accumulate=1, phase="all")

    with pytest.raises(TrainingError, match=r"too short.*one step.*--time") as error:
        plan(0.01)
    enough = float(str(error.value).split("--time ")[1].split("s ")[0])
    assert plan(enough + 0.1)[0] >= 1


def test_a_phase_by_the_clock_is_as_long_as_its_pace_allows_and_is_recorded_in_steps(tmp_path, textures, monkeypatch):
    # A pace that is given: how fast this machine is today would decide the test otherwise.
    pace = Pace(start=0.0, cold=0.5, warm=0.5, cold_look=0.0, warm_look=0.0, keep=0.0, batches=3, looks=2, batch_size=8)
    monkeypatch.setattr("finetune.training.budget.measure_pace", lambda *values, **words: pace)
    outcome, said = run(tmp_path, textures, seconds=60.0)
    (phase,) = outcome.phases
    assert 60 < phase.steps <= 120 and any(f"{phase.steps} steps in the time" in line for line in said)


def test_phases_share_the_time_by_their_epochs(tmp_path, textures, monkeypatch):
    shares = []

    def steps(budget, pace, *, passes, share, accumulate, phase):
        shares.append(share)
        return 2, time.monotonic() + 60

    monkeypatch.setattr("finetune.training.budget.steps_for", steps)
    phases = tuple(Phase(name=f"p{n}", epochs=n, lr=0.01) for n in (1, 2, 3))
    outcome, _ = run(tmp_path, textures, phases)
    assert shares == pytest.approx([1 / 6, 2 / 5, 1]) and [phase.steps for phase in outcome.phases] == [2, 2, 2]


def test_the_clock_ends_a_phase_whose_estimate_was_off_and_keeps_its_weights(tmp_path, textures, monkeypatch):
    monkeypatch.setattr("finetune.training.budget.steps_for", lambda *a, **w: (10_000, time.monotonic() + 1.0))
    began = time.monotonic()
    outcome, said = run(tmp_path, textures, (Phase(name="all", epochs=3, lr=0.01, ema=0.5),))
    assert time.monotonic() - began < 60 and not outcome.stopped
    assert outcome.chosen.score is not None and any("the clock ended the phase after" in line for line in said)


@pytest.mark.thorough
def test_a_run_of_what_was_recorded_measures_nothing_and_is_the_same(tmp_path, textures, monkeypatch):
    network = tiny()
    what, task = lesson(textures, network)
    monkeypatch.setattr("finetune.training.budget.steps_for", lambda *a, **w: (7, time.monotonic() + 3600))
    first, _ = run(tmp_path / "clock", textures, seconds=3600.0)
    assert first.phases[0].steps == 7
    plan = PLAN.measured(first.phases)
    assert plan.time is None and plan.build(pretrained=True) == first.phases
    again = transfer(network, task, what, plan, plan.phases, around(tmp_path / "again", plan), say=lambda line: None)
    assert again.phases == first.phases and again.chosen.score == first.chosen.score


def test_no_time_at_all_is_told_before_any_step(tmp_path, textures):
    with pytest.raises(TrainingError, match=r"The time of 0.5 s is too short"):
        run(tmp_path, textures, seconds=0.5)
    assert not (tmp_path / "metrics.csv").exists()


def test_nothing_begins_when_the_time_is_over():
    budget = Budget(start=time.monotonic() - 5, seconds=4.0, answered=0, twice=False)
    with pytest.raises(TrainingError, match=r"too short: 5 s had passed before training began.*--time 1\ds"):
        budget.check("training")
    Budget(start=time.monotonic(), seconds=4.0, answered=0, twice=False).check("training")
