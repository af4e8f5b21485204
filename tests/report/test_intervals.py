import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import beta, binomtest, t

from finetune.data.labels import Labels
from finetune.report.ends import bounded_ends, leaning_ends
from finetune.report.intervals import difference, measure, units
from finetune.tasks.base import Parts
from finetune.tasks.options import Classify, Regress

FOUR = Classify().build(Labels(kind="class", names=("a", "b", "c", "d")), [])
NUMBER = Regress().build(Labels(kind="number", names=()), [])
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


def test_a_class_that_is_always_missed_leaves_the_mean_over_classes_unsure():
    """A slice of 37 pictures, 6 of them of the rarer class and all 6 missed: each resample says .5."""
    target = (np.arange(37) < 6).astype(int)
    answer = np.tile([0.7, 0.3], (37, 1)) + np.linspace(0, 0.1, 37)[:, None] * [1, -1]
    balanced = measure(TASK, answer, target)["balanced_accuracy"]
    upper = binomtest(0, 6).proportion_ci(0.95, "exact").high
    expected = [0.5 - upper / 2, 0.5, 0.5 + upper / 2]
    np.testing.assert_allclose([balanced["low"], balanced["value"], balanced["high"]], expected, atol=1e-12)
    constant = measure(TASK, np.tile([0.7, 0.3], (37, 1)), target)
    assert (constant["auroc"]["low"], constant["auroc"]["high"]) == (0.5, 0.5), "of what knows no difference it is sure"
    assert constant["balanced_accuracy"]["high"] - constant["balanced_accuracy"]["low"] < 0.1


def ranked(n: int, rng: np.random.Generator, rare: float = 0.1) -> tuple[np.ndarray, np.ndarray]:
    target = (rng.random(n) < rare).astype(int)
    score = 1 / (1 + np.exp(-rng.normal(1.5 * target, 1)))
    return np.stack([1 - score, score], axis=1), target


def test_an_area_under_a_curve_is_as_unsure_as_its_rarer_side():
    answer, target = ranked(3000, np.random.default_rng(0), rare=0.004)
    figure = measure(TASK, answer, target)["auroc"]
    sides = [answer[target == k, 1] for k in (0, 1)]
    above = (sides[1][:, None] > sides[0]).astype(float)
    error = np.sqrt(above.mean(axis=0).var(ddof=1) / len(sides[0]) + above.mean(axis=1).var(ddof=1) / len(sides[1]))
    width = 2 * t.ppf(0.975, len(sides[1]) - 1) * error  # DeLong et al. 1988
    assert (figure["high"] - figure["low"]) == pytest.approx(width, rel=0.15)


@pytest.mark.thorough
@pytest.mark.parametrize("n", [100, 400])
def test_areas_on_a_rare_class_are_held_too(n):
    found = coverage(TASK, ranked, draws=2000, n=n)
    assert 0.88 <= found["auroc"] <= 0.92, found


def test_ten_of_ten_pictures_of_a_class_are_not_all_of_them():
    """Resamples show nothing of the rarer class, which a bootstrap would take for certain."""
    target = (np.arange(200) < 10).astype(int)
    right = (target == 1) | (np.arange(200) % 2 == 0)
    answer = np.where((np.where(right, target, 1 - target))[:, None] == np.arange(2), 0.8, 0.2)
    figure = measure(TASK, answer, target)["balanced_accuracy"]
    common = 0.5 * np.sqrt(0.25 / 190)
    rare = 0.5 * beta(10.5, 0.5).std()
    width = 2 * t.ppf(0.975, 199) * np.hypot(common, rare)
    assert figure["high"] - figure["low"] == pytest.approx(width, rel=0.1) and rare > common


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


def too_sure(n: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Answers of a model that is right in four of five examples, and too sure of itself."""
    target = rng.integers(0, 4, n)
    raised = np.exp(2 * (rng.normal(0, 1, (n, 4)) + 1.7 * np.eye(4)[target]))
    return raised / raised.sum(axis=1, keepdims=True), target


def numbers(n: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    target = rng.normal(size=n)
    return (0.8 * target + rng.laplace(0, 0.4, n))[:, None], target


def coverage(task, make, *, draws: int, n: int, resamples: int = 200) -> dict[str, float]:
    """How often 90 % intervals of each metric hold the figure of a very large sample."""
    rng = np.random.default_rng(1)

    def figures(answer, target):
        return task.measure(answer, target) | task.further(answer, target)

    truth = figures(*make(200_000, rng))
    held = dict.fromkeys(truth, 0)
    for draw in range(draws):
        found = measure(task, *make(n, rng), level=0.9, resamples=resamples, seed=draw, whole=True)
        for name, figure in found.items():
            held[name] += figure["low"] is not None and figure["low"] <= truth[name] <= figure["high"]
    return {name: count / draws for name, count in held.items()}


@pytest.mark.parametrize(("task", "make"), [(FOUR, too_sure), (NUMBER, numbers)])
def test_ninety_percent_intervals_hold_the_truth_about_as_often(task, make):
    found = coverage(task, make, draws=60, n=100, resamples=100)
    assert all(0.8 <= share <= 0.98 for share in found.values()), found  # 2.6 standard errors of 60 draws


@pytest.mark.thorough
@pytest.mark.parametrize("n", [100, 400])
@pytest.mark.parametrize(("task", "make"), [(FOUR, too_sure), (NUMBER, numbers)])
def test_ninety_percent_intervals_hold_the_truth_in_nine_of_ten_over_500_draws(task, make, n):
    found = coverage(task, make, draws=500, n=n)
    assert all(0.88 <= share <= 0.92 for share in found.values()), found


@given(st.lists(st.floats(0, 20), min_size=3, max_size=40), st.floats(0.5, 0.99))
@settings(max_examples=60, deadline=None)
def test_the_interval_of_a_mean_of_losses_is_where_halls_cubic_is_students_t(losses, level):
    values = np.array(losses)
    n, mean, size = len(values), values.mean(), values.std()
    found = leaning_ends(Parts(values, -np.inf, np.inf), np.arange(n), level)
    if size < 1e-9:
        np.testing.assert_allclose(found, mean, atol=1e-6)
        return
    lean = (((values - mean) / size) ** 3).mean() / np.sqrt(n)
    reach = t.ppf((1 + level) / 2, n - 1)
    for end, right in zip(found, (reach, -reach), strict=True):
        student = (mean - end) / (size / np.sqrt(n - 1))
        cubic = student + lean * student**2 / 3 + lean**2 * student**3 / 27 + lean / 6
        np.testing.assert_allclose(cubic, right, rtol=1e-5, atol=1e-5)
    inside = leaning_ends(Parts(values, 0, np.inf), np.arange(n), level)
    assert inside == (max(0.0, found[0]), found[1])


def test_losses_with_a_long_tail_have_more_room_above_than_below():
    answer, target = too_sure(200, np.random.default_rng(0))
    figure = measure(FOUR, answer, target)["log_loss"]
    assert figure["high"] - figure["value"] > 1.2 * (figure["value"] - figure["low"]) > 0


@given(st.floats(0.01, 0.99), st.integers(2, 400), st.integers(0, 100))
@settings(max_examples=60, deadline=None)
def test_ends_stay_within_the_bounds_and_turn_round_with_the_figure(value, units_, seed):
    scores = np.random.default_rng(seed).beta(20 * value, 20 * (1 - value), 100)
    low, high = bounded_ends(value, scores, units_, 0.95, 0, 1)
    assert 0 <= low <= value <= high <= 1
    np.testing.assert_allclose(bounded_ends(1 - value, 1 - scores, units_, 0.95, 0, 1), (1 - high, 1 - low), atol=1e-9)
    wide = bounded_ends(2 * value - 1, 2 * scores - 1, units_, 0.95, -1, 1)
    np.testing.assert_allclose(wide, (2 * low - 1, 2 * high - 1), atol=1e-9)


def test_a_difference_turned_round_has_its_ends_turned_round():
    one, target = too_sure(120, np.random.default_rng(0))
    other = one[:, [1, 0, 2, 3]]
    there = difference(FOUR, one, other, target, whole=True)
    back = difference(FOUR, other, one, target, whole=True)
    for name, figure in there.items():
        ends = [-back[name][end] for end in ("high", "low")]
        np.testing.assert_allclose([figure["low"], figure["high"]], ends, atol=1e-12, err_msg=name)


def test_a_number_on_three_stretches_is_hardly_known_and_its_copies_add_nothing():
    answer, target = numbers(60, np.random.default_rng(0))
    alone, three = (measure(NUMBER, answer, target, groups=groups) for groups in (None, list(np.arange(60) // 20)))
    for name in ("rmse", "mae"):
        assert 0 <= three[name]["low"] <= three[name]["value"] <= three[name]["high"]
    twice = measure(NUMBER, np.tile(answer, (2, 1)), np.tile(target, 2), groups=list(np.tile(np.arange(60), 2)))
    for name, figure in alone.items():
        np.testing.assert_allclose(list(twice[name].values())[:3], list(figure.values())[:3], rtol=1e-9)
    assert units(None, 3).tolist() == [0, 1, 2]


def test_without_an_error_a_number_has_no_interval_to_speak_of():
    _, target = numbers(30, np.random.default_rng(0))
    for figure in measure(NUMBER, target[:, None], target).values():
        assert figure["low"] == figure["value"] == figure["high"]
