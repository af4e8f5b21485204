import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

import finetune as ft
from finetune.data.labels import Labels
from finetune.tasks.metric_names import HIGHER_IS_BETTER
from finetune.training.settle import SHARES, between, losses_at, settle

LABELS = Labels.from_targets("class", ["a", "b"])
TASK = ft.Classify().build(LABELS, ["a", "b"])


def logits_of(target, sure, noise, seed):
    """Logits that are right by `sure` on average, the first example that of class 0."""
    rng = np.random.default_rng(seed)
    signs = np.where(target == 0, 1.0, -1.0)
    margin = sure * signs + noise * rng.normal(size=len(target))
    return np.stack([margin, -margin], axis=1).astype(np.float32)


@given(
    st.dictionaries(
        st.sampled_from(["a", "b"]), arrays(np.float32, 3, elements=st.floats(-9, 9, width=32)), min_size=2
    ),
    st.floats(0, 1),
)
def test_weights_between_lie_on_the_line_and_its_ends_are_exact(values, share):
    safe = {name: torch.from_numpy(value) for name, value in values.items()} | {"n": torch.tensor(3)}
    moved = {name: -2 * tensor for name, tensor in safe.items()}
    lies = between(safe, moved, share)
    for name in values:
        torch.testing.assert_close(lies[name], (1 - share) * safe[name] + share * moved[name])
    assert torch.equal(lies["n"], safe["n"] if share == 0 else moved["n"])
    assert all(torch.equal(between(safe, moved, 0.0)[n], safe[n]) for n in safe)
    assert all(torch.equal(between(safe, moved, 1.0)[n], moved[n]) for n in safe)


@pytest.mark.thorough
@settings(max_examples=30)
@given(st.integers(10, 60), st.integers(0, 10**6), st.sampled_from(TASK.metrics))
def test_what_is_settled_on_is_never_worse_than_the_probe_on_folds_that_did_not_choose_it(n, seed, metric):
    target = np.arange(n) % 2
    at = {share: logits_of(target, 0.3, 1.0, (seed, place)) for place, share in enumerate(SHARES)}
    settled = settle(at.__getitem__, target, TASK, metric=metric, seed=seed % 100)
    assert 0 <= settled.share <= 1
    sign = 1 if HIGHER_IS_BETTER[metric] else -1
    values = [TASK.measure(TASK.answer(torch.from_numpy(x)), target)[metric] for x in (settled.held_out, settled.safe)]
    assert sign * values[0] >= sign * values[1] - 1e-9
    if settled.share == 0:
        assert np.array_equal(settled.held_out, settled.safe)


def test_weights_that_moved_for_the_better_are_taken_and_for_the_worse_are_left():
    target = np.arange(80) % 2
    better = {share: logits_of(target, 0.2 + share, 0.5, 1) for share in SHARES}
    worse = {share: logits_of(target, 1.2 - share, 0.5, 1) for share in SHARES}
    assert settle(better.__getitem__, target, TASK, metric="log_loss").share > 0.8
    assert settle(worse.__getitem__, target, TASK, metric="log_loss").share == 0


def test_a_gain_that_chance_explains_keeps_the_probe():
    target = np.arange(30) % 2
    safe = logits_of(target, 0.5, 1.0, 7)
    wrong = int(np.flatnonzero(safe.argmax(1) != target)[0])
    luckier = safe.copy()
    luckier[wrong] = luckier[wrong][::-1]  # one picture more is right, and nothing else differs
    at = {share: safe if share < 1 else luckier for share in SHARES}
    assert settle(at.__getitem__, target, TASK, metric="accuracy").share == 0


def test_too_few_examples_to_hold_any_out_keep_the_probe():
    target = np.array([0, 1])
    at = {share: logits_of(target, share, 0.0, 0) for share in SHARES}
    assert settle(at.__getitem__, target, TASK, metric="accuracy").share == 0


@pytest.mark.parametrize("metric", TASK.metrics)
def test_the_same_answers_everywhere_are_no_reason_to_move(metric):
    target = np.arange(40) % 2
    same = logits_of(target, 0.5, 1.0, 3)
    assert settle(lambda share: same, target, TASK, metric=metric).share == 0


@settings(max_examples=30)
@given(
    st.integers(20, 60),
    st.integers(0, 10**6),
    st.sampled_from([0.0, 0.5]),
    st.lists(st.floats(0.3, 3), min_size=5, max_size=5),
)
def test_how_sure_of_itself_each_share_is_decides_nothing(n, seed, lean, scales):
    target = np.arange(n) % 2
    at = {share: logits_of(target, 0.3 + 0.2 * share, 1.0, (seed, place)) for place, share in enumerate(SHARES)}
    scaled = {share: np.float32(scale) * at[share] for share, scale in zip(SHARES, scales, strict=True)}
    as_it_is, otherwise = (
        settle(some.__getitem__, target, TASK, metric="accuracy", seed=seed % 100, lean=lean) for some in (at, scaled)
    )
    assert as_it_is.share == pytest.approx(otherwise.share, abs=0.06)  # temperatures are found to a tolerance


def test_where_validation_cannot_tell_a_run_rests_where_it_leans():
    target = np.arange(40) % 2
    same = logits_of(target, 0.5, 1.0, 3)
    assert settle(lambda share: same, target, TASK, metric="accuracy", lean=0.5).share == 0.5
    few = settle(lambda share: same[:2], target[:2], TASK, metric="accuracy", lean=0.5)
    assert few.share == 0.5 and np.array_equal(few.held_out, same[:2])


def test_a_run_that_leans_forward_still_goes_where_validation_sends_it():
    target = np.arange(80) % 2
    better = {share: logits_of(target, 0.2 + share, 0.5, 1) for share in SHARES}
    worse = {share: logits_of(target, 1.2 - share, 0.5, 1) for share in SHARES}
    assert settle(better.__getitem__, target, TASK, metric="log_loss", lean=0.5).share > 0.8
    assert settle(worse.__getitem__, target, TASK, metric="log_loss", lean=0.5).share == 0


def test_numbers_are_compared_as_they_are():
    targets = list(np.linspace(0, 1, 200))
    task = ft.Regress().build(Labels.from_targets("number", targets), targets)
    target = task.labels.encode(targets)
    noise = np.random.default_rng(0).normal(size=(200, 1))
    at = {share: (target.reshape(-1, 1) + (1.5 - share) * noise).astype(np.float32) for share in SHARES}
    assert settle(at.__getitem__, target, task, metric="rmse").share == 1


@pytest.mark.parametrize("n", [21, 60, 200])
def test_one_example_that_changes_sides_moves_no_run_that_leans_to_the_probe(n):
    target = np.arange(n) % 2
    # All others are a little surer of what they were right about already.
    at = {share: (1 + 0.02 * share) * logits_of(target, 3.0, 0.1, 5) for share in SHARES}
    for share, logits in at.items():
        logits[0] = (1 - 2 * share) * np.array([-3, 3], np.float32)
    assert settle(at.__getitem__, target, TASK, metric="accuracy").share == 0


@pytest.mark.parametrize(
    "options",
    [
        ft.Classify(), ft.Classify(loss="focal"), ft.Classify(class_weight="balanced", label_smoothing=0.1),
        ft.Classify(loss="logit-adjusted"), ft.Tag(), ft.Tag(loss="asymmetric"), ft.Regress(), ft.Regress(loss="huber"),
    ],
)  # fmt: skip
def test_the_loss_of_each_example_is_that_of_the_task_for_it_alone(options):
    given = {
        ft.Classify: ("class", ["a", "b", "c"] * 4), ft.Tag: ("labels", [("a",), ("b", "c"), ("a", "c")] * 4),
        ft.Regress: ("number", list(np.linspace(0, 1, 12))),
    }  # fmt: skip
    kind, targets = given[type(options)]
    task = options.build(Labels.from_targets(kind, targets), targets)
    target = task.labels.encode(targets)
    logits = np.random.default_rng(0).normal(size=(12, task.labels.num_outputs)).astype(np.float32)
    found = losses_at(task, logits, target, 1.7)
    alone = [float(task.loss(torch.from_numpy(logits[[i]]) / 1.7, torch.from_numpy(target[[i]]))) for i in range(12)]
    np.testing.assert_allclose(found, alone, rtol=1e-5)
