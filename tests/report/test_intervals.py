import numpy as np
import pytest
from scipy.stats import binomtest

from finetune.data.labels import Labels
from finetune.report.intervals import difference, measure
from finetune.tasks.options import Classify

TASK = Classify().build(Labels(kind="class", names=("a", "b")), [])


def answers(n: int, right: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    target = rng.integers(0, 2, n)
    given = np.where(rng.random(n) < right, target, 1 - target)
    return np.where(given[:, None] == np.arange(2), 0.8, 0.2), target


def test_the_interval_of_an_accuracy_is_about_the_binomial_one():
    answer, target = answers(400, 0.9, 0)
    figure = measure(TASK, answer, target)["accuracy"]
    spread = 1.96 * np.sqrt(figure["value"] * (1 - figure["value"]) / 400)
    assert abs((figure["high"] - figure["low"]) / 2 - spread) < 0.25 * spread
    assert figure["low"] < figure["value"] < figure["high"] and figure["n"] == 400


def test_an_interval_holds_the_truth_about_as_often_as_it_says():
    held = 0
    for seed in range(120):
        figure = measure(TASK, *answers(80, 0.8, seed), resamples=400, seed=seed)["accuracy"]
        held += figure["low"] <= 0.8 <= figure["high"]
    assert 0.86 <= held / 120 <= 1


def test_groups_are_drawn_whole_so_that_copies_buy_no_certainty():
    answer, target = answers(50, 0.8, 1)
    copied = np.repeat(answer, 10, axis=0), np.repeat(target, 10)
    alone = measure(TASK, answer, target)["accuracy"]
    grouped = measure(TASK, *copied, groups=list(np.repeat(np.arange(50), 10)))["accuracy"]
    naive = measure(TASK, *copied)["accuracy"]
    width = alone["high"] - alone["low"]
    assert abs(grouped["high"] - grouped["low"] - width) < 0.25 * width
    assert naive["high"] - naive["low"] < 0.6 * width


def test_one_seed_gives_one_interval():
    answer, target = answers(60, 0.7, 2)
    assert measure(TASK, answer, target, seed=5) == measure(TASK, answer, target, seed=5)


def test_what_is_undefined_is_none_and_not_nan():
    figures = measure(TASK, np.array([[0.1, 0.9], [0.2, 0.8]]), np.array([1, 1]))
    assert figures["auroc"] == {"value": None, "low": None, "high": None, "n": 2}


def test_one_unit_that_is_drawn_again_and_again_gives_no_interval():
    answer, target = answers(30, 0.8, 0)
    for one in (measure(TASK, answer, target, groups=["patient"] * 30), measure(TASK, answer[:1], target[:1])):
        assert one["accuracy"]["value"] is not None
        assert (one["accuracy"]["low"], one["accuracy"]["high"]) == (None, None)
    two = measure(TASK, answer, target, groups=["a", "b"] * 15)["accuracy"]
    assert two["low"] <= two["value"] <= two["high"]


def test_a_difference_is_that_of_the_figures_and_surer_than_their_intervals_where_both_err_alike():
    answer, target = answers(300, 0.85, 3)
    other = answer.copy()
    wrong = np.flatnonzero(answer.argmax(1) == target)[:12]
    other[wrong] = 1 - other[wrong]  # right where the first one is, but for twelve
    one, two = measure(TASK, answer, target)["accuracy"], measure(TASK, other, target)["accuracy"]
    apart = difference(TASK, other, answer, target)["accuracy"]
    assert np.isclose(apart["value"], two["value"] - one["value"]) and apart["n"] == 300
    assert apart["high"] < 0 < one["low"] < two["high"]
    assert apart["high"] - apart["low"] < 0.6 * (one["high"] - one["low"])
    same = difference(TASK, answer, answer, target)["log_loss"]
    assert (same["value"], same["low"], same["high"]) == (0, 0, 0)


def test_a_difference_draws_groups_whole():
    answer, target = answers(60, 0.8, 1)
    other, _ = answers(60, 0.8, 4)
    groups = list(np.repeat(np.arange(60), 10))
    copied = [np.repeat(one, 10, axis=0) for one in (answer, other, target)]
    alone = difference(TASK, answer, other, target)["accuracy"]
    grouped = difference(TASK, *copied, groups=groups)["accuracy"]
    assert np.isclose(alone["value"], grouped["value"])
    assert abs((grouped["high"] - grouped["low"]) / (alone["high"] - alone["low"]) - 1) < 0.2


@pytest.mark.parametrize("right", [True, False])
def test_without_an_error_the_interval_is_that_of_clopper_and_pearson(right):
    target = np.arange(30) % 2
    given = target if right else 1 - target
    answer = np.where(given[:, None] == np.arange(2), 0.8, 0.2)
    figures = measure(TASK, answer, target)
    exact = binomtest(30 if right else 0, 30).proportion_ci(0.95, "exact")
    accuracy = figures["accuracy"]
    np.testing.assert_allclose([accuracy["low"], accuracy["high"]], [exact.low, exact.high], atol=1e-12)
    half = binomtest(15 if right else 0, 15).proportion_ci(0.95, "exact")
    auroc, balanced = figures["auroc"], figures["balanced_accuracy"]  # of one class, and of one of two
    np.testing.assert_allclose([auroc["low"], auroc["high"]], [half.low, half.high], atol=1e-12)
    width = balanced["high"] - balanced["low"]
    np.testing.assert_allclose([balanced["value"], width], [float(right), (half.high - half.low) / 2], atol=1e-12)
    assert abs(figures["log_loss"]["low"] - figures["log_loss"]["high"]) < 1e-12, "equally sure throughout; no share"
    # Ten pictures of each of three patients are three.
    grouped = measure(TASK, answer, target, groups=list(np.arange(30) // 10))["accuracy"]
    three = binomtest(3 if right else 0, 3).proportion_ci(0.95, "exact")
    np.testing.assert_allclose([grouped["low"], grouped["high"]], [three.low, three.high], atol=1e-12)


def test_nearly_perfect_answers_are_covered_too():
    """A bootstrap alone says "1 to 1" of every sample without an error, a fifth of these, and so is wrong each time."""
    held = 0
    for seed in range(200):
        figure = measure(TASK, *answers(30, 0.95, seed), resamples=200, seed=seed)["accuracy"]
        held += figure["low"] <= 0.95 <= figure["high"]
    assert held / 200 >= 0.93


def test_a_difference_of_equal_answers_stays_nothing():
    answer, target = answers(30, 1.0, 0)
    figure = difference(TASK, answer, answer, target)["accuracy"]
    assert (figure["value"], figure["low"], figure["high"]) == (0, 0, 0)
