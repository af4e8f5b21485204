from dataclasses import replace

import numpy as np
import pytest

import finetune as ft
from finetune.features import Values
from finetune.training.phase import Phase
from finetune.training.room import room_left, standard_errors
from finetune.training.settle import SURE, settle
from finetune.training.transfer import transfer
from tests.training.tiny import around, lesson, state, tiny

PHASES = (Phase(name="probe", learns="head", on="features"), Phase(name="fine-tune", epochs=2))


def told(textures, *, apart, asked=None, planned=PHASES, times=50):
    """With features that say the class outright, or nothing at all, and so many times the validation part."""
    network = tiny()
    what, task = lesson(textures, network)
    rng = np.random.default_rng(0)
    values = rng.normal(size=(len(what.examples), 8)).astype(np.float32)
    values[np.arange(len(values)), what.target] += apart
    features = Values(values, np.arange(len(values)), {})
    what = replace(what, features=features, validation=np.tile(what.validation, times))
    before = state(network)
    found = room_left(network, task, what, planned, asked or ft.Plan(accelerator="cpu"))
    assert all((before[name] == tensor).all() for name, tensor in network.state_dict().items())
    return found


def test_where_a_probe_is_always_right_nothing_else_is_planned(textures):
    phases, _, line = told(textures, apart=50.0)
    assert phases == PHASES[:1] and "1.0000" in line and "nothing to gain" in line


def test_where_a_probe_errs_the_plan_stays(textures):
    phases, _, line = told(textures, apart=3.3)
    assert phases == PHASES and "has to beat" in line


@pytest.mark.parametrize(
    "apart, said, views",
    [(3.3, {}, 0), (3.3, {"views": 4}, 4), (3.3, {"phases": PHASES}, 4), (0.0, {}, 4)],
)  # fmt: skip
def test_a_head_that_knows_much_learns_from_pictures_as_they_are_unless_views_were_asked_for(
    textures, apart, said, views
):  # fmt: skip
    planned = (replace(PHASES[0], views=4, augment="light"), PHASES[1])
    phases, _, line = told(textures, apart=apart, asked=ft.Plan(accelerator="cpu", **said), planned=planned)
    assert phases[0].views == views and (phases[0].augment == "none") == (not views)
    assert ("as they are" in line) == (not views)


def test_where_a_probe_knows_little_the_backbone_moves_faster_unless_its_rate_is_given(textures):
    phases, _, line = told(textures, apart=0.0)
    assert phases[0] == PHASES[0] and phases[1].lr > PHASES[1].lr and "much is left" in line
    assert told(textures, apart=0.0, asked=ft.Plan(accelerator="cpu", lr=0.01))[0] == PHASES
    averaged = told(textures, apart=0.0, asked=ft.Plan(accelerator="cpu", ema=0.7))[0]
    assert averaged[1].ema == PHASES[1].ema and averaged[1].lr > PHASES[1].lr


@pytest.mark.parametrize("said", [{"method": "lp-ft"}, {"epochs": 3}, {"phases": PHASES}])
def test_what_was_asked_for_is_done_all_the_same(textures, said):
    phases, *_ = told(textures, apart=50.0, asked=ft.Plan(accelerator="cpu", **said))
    assert phases == PHASES


def test_what_validation_could_not_tell_from_the_probe_is_not_planned(textures):
    phases, known, line = told(textures, apart=3.3, times=1)
    assert phases == PHASES[:1] and f"{len(known.validation)} validation examples could not tell" in line
    varied = (replace(PHASES[0], views=4, augment="light"), PHASES[1])
    phases, _, line = told(textures, apart=3.3, planned=varied, times=1)
    assert phases == (replace(varied[0], views=0, augment="none"),) and "as they are" in line
    assert told(textures, apart=3.3, times=0)[0] == PHASES  # nothing chooses, and the run ends where it was sent
    assert len(told(textures, apart=0.0, times=1)[0]) == 2


@pytest.mark.parametrize(
    "said",
    [{"method": "lp-ft"}, {"epochs": 3}, {"phases": PHASES}, {"settle": "last"}, {"settle": "best"}, {"ema": 0.3}],
)
def test_what_was_asked_for_is_done_also_where_validation_could_not_tell(textures, said):
    assert told(textures, apart=3.3, asked=ft.Plan(accelerator="cpu", **said), times=1)[0] == PHASES


@pytest.mark.parametrize("count", [20, 40, 400])
@pytest.mark.parametrize("seed", range(4))
def test_the_bound_is_that_of_the_rule_by_which_a_run_comes_to_rest(textures, count, seed):
    network = tiny()
    _, task = lesson(textures, network)
    rng = np.random.default_rng(seed)
    classes = network.head.out_features
    target = rng.integers(classes, size=count)
    right = np.eye(classes, dtype=np.float32)[target]
    # Sure of each, and wrong in one of twenty.
    safe = 4 * np.eye(classes, dtype=np.float32)[np.where(np.arange(count) % 20, target, (target + 1) % classes)]
    rests = settle(lambda share: (1 - share) * safe + share * 20 * right, target, task, metric="accuracy").share
    assert (standard_errors(task, safe, target, count=count) >= SURE) == (rests > 0)


@pytest.mark.parametrize("said", [{}, {"lr": 0.01}, {"phases": PHASES}])
def test_where_a_probe_knows_little_the_run_leans_forward_also_when_a_recipe_is_repeated(textures, said):
    _, known, line = told(textures, apart=0.0, asked=ft.Plan(accelerator="cpu", **said))
    assert known.lean == 0.5 and "half way" in line
    assert told(textures, apart=3.3, asked=ft.Plan(accelerator="cpu", **said))[1].lean == 0


@pytest.mark.parametrize(
    "said, gives_up",
    [
        ({}, True), ({"epochs": 3}, True), ({"method": "lp-ft"}, False), ({"time": "5m"}, False),
        ({"lr": "auto"}, False), ({"phases": PHASES}, False), ({"settle": "last"}, False), ({"settle": "best"}, False),
    ],
)  # fmt: skip
def test_what_has_a_probe_to_beat_may_end_early_unless_it_was_asked_for(textures, said, gives_up):
    assert told(textures, apart=3.3, asked=ft.Plan(accelerator="cpu", **said))[1].gives_up == gives_up
    assert not told(textures, apart=0.0, asked=ft.Plan(accelerator="cpu", **said))[1].gives_up


def test_a_rare_class_that_is_never_answered_is_something_to_gain(textures):
    network = tiny()
    what, task = lesson(textures, network)
    target = np.zeros_like(what.target)
    target[what.train[:2]], target[what.train[2:4]] = 1, 2
    # The frequent class is told apart from nothing, and right most of the time all the same.
    noise = np.random.default_rng(1).normal(size=(len(target), 8)).astype(np.float32)
    what = replace(what, target=target, features=Values(noise, np.arange(len(target)), {}))
    phases, _, line = room_left(network, task, what, PHASES, ft.Plan(accelerator="cpu"))
    assert len(phases) == 2 and "much is left" in line


def test_the_head_that_was_fitted_to_see_is_the_one_that_a_probe_ends_with(textures, tmp_path, monkeypatch):
    network, again = tiny(), tiny()
    what, task = lesson(textures, network)
    plan = ft.Plan(accelerator="cpu", devices=1, workers=0)
    _, known, _ = room_left(network, task, what, PHASES, plan)
    outcomes = []
    for net, told_of in ((network, known), (again, what)):
        if told_of is known:
            monkeypatch.setattr("finetune.training.on_features.fit_head", None)  # it would be fitted a second time
        folder = tmp_path / str(len(outcomes))
        outcomes.append(transfer(net, task, told_of, plan, PHASES[:1], around(folder, plan), say=lambda line: None))
        monkeypatch.undo()
    assert all((a == b).all() for a, b in zip(network.state_dict().values(), again.state_dict().values(), strict=True))
    assert outcomes[0].chosen.score == outcomes[1].chosen.score
