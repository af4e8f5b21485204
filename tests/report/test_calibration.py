"""A temperature is found where it helps, and the error is the one that torchmetrics computes."""

import numpy as np
import pytest
import torch
from sklearn import metrics
from torchmetrics.functional.classification import binary_calibration_error, multiclass_calibration_error

from finetune.data.labels import Labels
from finetune.report.calibration import BINS, by_chance, calibration, fit_temperature, losses
from finetune.report.judged import Seen
from finetune.tasks.decisions import tempered
from finetune.tasks.options import Classify, Tag

CLASSES = Classify().build(Labels(kind="class", names=("a", "b", "c")), [])
TAGS = Tag().build(Labels(kind="labels", names=("a", "b", "c")), [])


def honest(n: int, seed: int, heat: float = 1.0) -> Seen:
    """Probabilities of which targets are drawn, told `heat` times as sure as they are."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 2, (n, 3))
    true = CLASSES.answer(torch.from_numpy(logits))
    target = (true.cumsum(axis=1) > rng.random((n, 1))).argmax(axis=1)
    return Seen(answer=CLASSES.answer(torch.from_numpy(logits * heat)), target=target)


def test_a_temperature_divides_the_logits():
    logits = torch.randn(20, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    for task in (CLASSES, TAGS):
        np.testing.assert_allclose(tempered(task, task.answer(logits), 2.5), task.answer(logits / 2.5), rtol=1e-9)
        assert tempered(task, task.answer(logits), 1.0) is not None


def test_the_temperature_that_made_answers_too_sure_is_found_and_takes_the_error_away():
    seen = honest(2000, 0, heat=3.0)
    found = fit_temperature(CLASSES, seen)
    assert found.temperature == pytest.approx(3.0, rel=0.1)
    told = calibration(CLASSES, seen.answer, Seen(answer=found.answer, target=seen.target), found.temperature)
    assert told["ece_after"]["value"] < 0.04 < 0.15 < told["ece_before"]["value"]
    assert told["ece_before"]["low"] < told["ece_before"]["value"] < told["ece_before"]["high"]
    assert sum(one["count"] for one in told["bins"]) == 2000


def test_the_error_of_true_probabilities_is_as_often_within_what_chance_gives_as_it_says():
    inside = 0
    for seed in range(200):
        seen = honest(150, seed)
        told = calibration(CLASSES, seen.answer, seen, 1.0, seed=seed)
        inside += told["ece_after"]["value"] <= told["ece_if_calibrated"]["high"]
    assert 0.94 <= inside / 200 <= 1  # .975, less two and a half standard errors
    wrong = honest(150, 0, heat=3.0)
    told = calibration(CLASSES, wrong.answer, wrong, 1.0)
    assert told["ece_after"]["value"] > 1.5 * told["ece_if_calibrated"]["high"]


@pytest.mark.parametrize("task", [CLASSES, TAGS])
def test_many_answers_are_drawn_as_few_are(task, monkeypatch):
    logits = torch.from_numpy(np.random.default_rng(0).normal(0, 2, (3000, 3)))
    tossed = by_chance(task, task.answer(logits), draws=2000)
    monkeypatch.setattr("finetune.report.calibration.MOST_TOSSED", 10)
    normal = by_chance(task, task.answer(logits), draws=2000)
    for end in ("value", "low", "high"):
        assert normal[end] == pytest.approx(tossed[end], rel=0.06)


def test_the_best_temperature_is_the_lowest_log_loss():
    seen = honest(400, 1, heat=2.0)
    best = fit_temperature(CLASSES, seen).temperature
    tried = [tempered(CLASSES, seen.answer, best * by) for by in (0.97, 1.0, 1.03)]
    found = [losses(CLASSES, answer, seen.target, smoothing=1 / 402).mean() for answer in tried]
    assert min(found) == found[1]
    plain = metrics.log_loss(seen.target, tried[1])
    assert losses(CLASSES, tried[1], seen.target).mean() == pytest.approx(plain)
    assert plain < metrics.log_loss(seen.target, seen.answer)


def test_who_was_right_every_time_is_not_sure_beyond_measure():
    target = np.arange(60) % 3
    answer = np.where(target[:, None] == np.arange(3), 0.8, 0.1)
    found = fit_temperature(CLASSES, Seen(answer=answer, target=target))
    best = tempered(CLASSES, answer, found.temperature).max()
    assert 0.95 < best < 1 - 1 / 100
    marks = np.eye(3, dtype=np.float32)[target]
    tags = fit_temperature(TAGS, Seen(answer=np.where(marks > 0, 0.8, 0.2), target=marks))
    assert tempered(TAGS, np.array([[0.8, 0.8, 0.8]]), tags.temperature).max() < 1 - 1 / 100


def test_held_out_answers_are_at_temperatures_that_did_not_see_them():
    seen = honest(200, 2, heat=2.0)
    found = fit_temperature(CLASSES, seen)
    one = tempered(CLASSES, seen.answer, found.temperature)
    assert not np.allclose(found.answer, one, atol=1e-6) and np.allclose(found.answer, one, atol=0.1)


def test_a_temperature_that_does_not_help_on_examples_it_was_not_fitted_on_is_left_out():
    kept = [fit_temperature(CLASSES, honest(60, seed)).temperature != 1 for seed in range(40)]
    assert np.mean(kept) < 0.3
    few = honest(20, 0, heat=4.0)
    assert fit_temperature(CLASSES, few).temperature == 1, "20 examples are too few"
    together = Seen(answer=honest(60, 0, heat=4.0).answer, target=honest(60, 0).target, groups=["a"] * 60)
    assert fit_temperature(CLASSES, together).temperature == 1, "one group has no other side"


@pytest.mark.parametrize("seed", range(5))
def test_the_error_is_torchmetrics_own(seed):
    seen = honest(150, seed, heat=1.7)
    told = calibration(CLASSES, seen.answer, seen, 1.0)["ece_before"]["value"]
    expected = multiclass_calibration_error(
        torch.from_numpy(seen.answer), torch.from_numpy(seen.target), 3, n_bins=BINS
    )
    assert told == pytest.approx(float(expected), abs=1e-6)
    rng = np.random.default_rng(seed)
    answer, target = rng.random((80, 3)), rng.integers(0, 2, (80, 3)).astype(np.float32)
    told = calibration(TAGS, answer, Seen(answer=answer, target=target), 1.0)["ece_after"]["value"]
    pooled = binary_calibration_error(torch.from_numpy(answer.ravel()), torch.from_numpy(target.ravel()), n_bins=BINS)
    assert told == pytest.approx(float(pooled), abs=1e-6)
