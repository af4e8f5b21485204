"""Every task: the same promises."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics

from finetune.data.labels import Labels
from finetune.errors import ConfigError
from finetune.tasks import resample
from finetune.tasks.metric_names import FURTHER, HIGHER_IS_BETTER
from finetune.tasks.options import Classify, Regress, Tag
from finetune.tasks.scores import class_scores, quiet_scores

CLASSES = Labels(kind="class", names=("ant", "bee", "cat"))
TWO = Labels(kind="class", names=("ant", "bee"))
TAGS = Labels(kind="labels", names=("red", "round", "small"))
NUMBER = Labels(kind="number", names=(), center=3.0, scale=2.0)


def examples(labels: Labels, n: int, seed: int) -> tuple[torch.Tensor, np.ndarray]:
    rng = np.random.default_rng(seed)
    logits = torch.from_numpy(np.round(rng.normal(size=(n, labels.num_outputs)), 1))  # rounded: ties must count
    if labels.kind == "class":
        return logits, rng.integers(0, labels.num_outputs, n)
    if labels.kind == "labels":
        return logits, rng.integers(0, 2, (n, labels.num_outputs)).astype(np.float32)
    return logits, rng.normal(3, 2, n).astype(np.float32)


SCALE = Labels(kind="class", names=("0", "2", "5", "9"))
MANY = Labels(kind="class", names=tuple("abcdefgh"))
ALL = [(Classify(), CLASSES), (Classify(), TWO), (Tag(), TAGS), (Regress(), NUMBER), (Regress(loss="huber"), NUMBER)]


@pytest.mark.parametrize(("options", "labels"), ALL)
def test_a_gradient_step_on_the_loss_lowers_it(options, labels):
    task = options.build(labels, [])
    logits, target = examples(labels, 20, 0)
    logits = logits.requires_grad_(True)
    before = task.loss(logits, torch.from_numpy(target))
    before.backward()
    after = task.loss(logits - 0.1 * logits.grad, torch.from_numpy(target))
    assert after < before


@pytest.mark.parametrize(("options", "labels"), ALL)
def test_metrics_are_those_that_are_named_and_the_monitor_is_one_of_them(options, labels):
    task = options.build(labels, [])
    logits, target = examples(labels, 30, 1)
    values = task.measure(task.answer(logits), target)
    assert tuple(values) == task.metrics
    assert task.check_monitor(None) in values
    assert set(values) <= set(HIGHER_IS_BETTER)


@pytest.mark.parametrize(("options", "labels"), ALL)
@given(n=st.integers(2, 40), seed=st.integers(0, 10_000))
@settings(max_examples=40, deadline=None)
def test_a_resample_measures_as_scikit_learn_does_on_the_repeated_rows(options, labels, n, seed):
    task = options.build(labels, [])
    logits, target = examples(labels, n, seed)
    answer = task.answer(logits)
    drawn = np.random.default_rng(seed).multinomial(n, np.full(n, 1 / n), size=3)
    many = task.resampled(answer, target, drawn.astype(float))
    for b, counts in enumerate(drawn):
        rows = np.repeat(np.arange(n), counts)
        once = task.measure(answer[rows], target[rows])
        for name, value in once.items():
            np.testing.assert_allclose(many[name][b], value, rtol=1e-6, atol=1e-8, err_msg=name)


@pytest.mark.parametrize(("options", "labels"), [*ALL, (Classify(), SCALE), (Classify(), MANY)])
@given(n=st.integers(2, 40), seed=st.integers(0, 10_000))
@settings(max_examples=25, deadline=None)
def test_what_is_told_once_is_resampled_as_scikit_learn_measures_the_repeated_rows(options, labels, n, seed):
    task = options.build(labels, [])
    logits, target = examples(labels, n, seed)
    answer = task.answer(logits)
    drawn = np.random.default_rng(seed).multinomial(n, np.full(n, 1 / n), size=2)
    many = task.further_resampled(answer, target, drawn.astype(float))
    if labels.kind == "number":
        assert not many and task.against_rest(answer, target).positive.shape == (n, 0)
        return
    single = resample.class_figures(*task.against_rest(answer, target), drawn.astype(float))
    for b, counts in enumerate(drawn):
        rows = np.repeat(np.arange(n), counts)
        once = task.further(answer[rows], target[rows])
        assert once.keys() == many.keys() and set(once) <= set(FURTHER)
        for name, value in once.items():
            np.testing.assert_allclose(many[name][b], value, rtol=1e-6, atol=1e-8, err_msg=name)
        for row, (name, values) in enumerate(class_scores(*task.against_rest(answer[rows], target[rows])).items()):
            np.testing.assert_allclose(single[row, b], values, rtol=1e-6, atol=1e-8, err_msg=name)


@pytest.mark.parametrize(("options", "labels"), ALL)
@given(n=st.integers(3, 40), seed=st.integers(0, 10_000))
@settings(max_examples=25, deadline=None)
def test_parts_have_the_metric_as_their_mean_and_move_as_it_does(options, labels, n, seed):
    task = options.build(labels, [])
    logits, target = examples(labels, n, seed)
    answer = task.answer(logits)
    values = task.measure(answer, target) | task.further(answer, target)
    more = 1e-4
    counts = 1 + more * np.eye(n)  # each example in turn counts a little more
    moved = task.resampled(answer, target, counts) | task.further_resampled(answer, target, counts)
    for name, part in task.parts(answer, target).items():
        if not np.isfinite(values[name]):
            continue
        power = 2 if part.root else 1
        value = values[name] ** power
        np.testing.assert_allclose(part.values.mean(), value, rtol=1e-6, atol=1e-8, err_msg=name)
        slope = (moved[name] ** power - value) * (n + more) / more
        scale = np.abs(part.values).max()
        np.testing.assert_allclose(slope, part.values - value, rtol=1e-2, atol=1e-2 * scale, err_msg=name)
        assert part.low <= value <= part.high


def test_kappa_is_over_the_whole_scale_and_not_over_the_levels_that_occur():
    task = Classify().build(SCALE, [])
    answer = np.eye(4)[[0, 1, 2, 2, 1, 0, 2]]  # nobody was answered the highest
    target = np.array([0, 1, 2, 1, 1, 2, 2])
    numbers = np.array([0, 2, 5, 9])
    whole = metrics.cohen_kappa_score(
        numbers[target], numbers[answer.argmax(1)], weights="quadratic", labels=np.arange(10)
    )
    by_place = metrics.cohen_kappa_score(target, answer.argmax(1), weights="quadratic")
    assert task.further(answer, target)["kappa"] == pytest.approx(whole) != pytest.approx(by_place)
    assert "kappa" not in Classify().build(CLASSES, []).further(np.eye(3), np.arange(3))
    named = Classify(scale=("bee", "ant", "cat")).build(CLASSES, [])
    order = np.array([1, 0, 2])  # of ant, bee, cat on that scale
    expected = metrics.cohen_kappa_score(order[target], order[answer.argmax(1)], weights="quadratic", labels=[0, 1, 2])
    assert named.further(answer[:, :3], target)["kappa"] == pytest.approx(expected)
    with pytest.raises(ConfigError, match="scale must name each class once"):
        Classify(scale=("bee", "ant")).build(CLASSES, [])


def test_further_figures_are_scikit_learns_own():
    task = Classify().build(MANY, [])
    logits, target = examples(MANY, 200, 0)
    answer = task.answer(logits)
    told = task.further(answer, target)
    one_hot = np.eye(8)[target]
    assert told["auprc"] == pytest.approx(metrics.average_precision_score(one_hot, answer, average="macro"))
    assert told["brier"] == pytest.approx(((answer - one_hot) ** 2).sum(axis=1).mean())
    assert told["top_5"] == metrics.top_k_accuracy_score(target, answer, k=5)
    tags = Tag().build(TAGS, [])
    logits, target = examples(TAGS, 60, 1)
    answer, target = tags.answer(logits), np.where(np.arange(3) == 2, 1, target)
    told = tags.further(answer, target)
    assert told["auprc"] == pytest.approx(metrics.average_precision_score(target[:, :2], answer[:, :2]))


def test_classify_answers_what_scikit_learn_computes_from_the_probabilities():
    task = Classify().build(CLASSES, [])
    logits, target = examples(CLASSES, 60, 3)
    answer = task.answer(logits)
    values = task.measure(answer, target)
    np.testing.assert_allclose(answer.sum(axis=1), 1)
    assert values["accuracy"] == metrics.accuracy_score(target, answer.argmax(1))
    assert values["auroc"] == pytest.approx(metrics.roc_auc_score(target, answer, multi_class="ovr"))
    assert task.name(answer)[0] == CLASSES.names[answer[0].argmax()]


def test_auroc_of_one_class_is_undefined_and_says_so():
    task = Classify().build(TWO, [])
    with quiet_scores():
        values = task.measure(np.array([[0.2, 0.8], [0.4, 0.6]]), np.array([1, 1]))
    assert np.isnan(values["auroc"]) and values["accuracy"] == 1


def test_balanced_weights_make_every_class_count_the_same():
    targets = ["ant"] * 8 + ["bee"] * 2
    task = Classify(class_weight="balanced").build(TWO, targets)
    assert np.allclose(np.array(task.weight) * [8, 2], 5)
    named = Classify(class_weight={"bee": 3.0}).build(TWO, targets)
    assert named.weight[1] == pytest.approx(3 * named.weight[0])
    assert np.array(named.weight) @ [8, 2] == pytest.approx(10), "the mean weight of a training example is 1"
    rooted = Classify(class_weight="sqrt").build(TWO, targets)
    assert rooted.weight[1] == pytest.approx(2 * rooted.weight[0])


def test_a_class_weight_for_no_class_is_refused_with_the_nearest():
    with pytest.raises(ConfigError, match='Did you mean "bee"'):
        Classify(class_weight={"beee": 2.0}).build(TWO, ["ant", "bee"])


def test_balanced_tags_weigh_positives_by_their_rarity():
    targets = [("red",)] * 2 + [("red", "round")] * 1 + [()] * 3
    task = Tag(class_weight="balanced").build(TAGS, targets)
    assert task.positive_weight == pytest.approx((1.0, 5.0, 6.0))
    rooted = Tag(class_weight="sqrt").build(TAGS, targets)
    assert np.square(rooted.positive_weight) == pytest.approx((1.0, 5.0, 6.0))


def test_tags_are_named_and_may_be_none():
    task = Tag().build(TAGS, [])
    assert task.name(np.array([[0.9, 0.1, 0.5], [0.1, 0.2, 0.3]])) == ["red|small", ""]


def test_a_number_is_learned_in_standard_deviations_and_answered_in_its_own_unit():
    task = Regress().build(NUMBER, [])
    assert task.answer(torch.tensor([[0.0], [1.0]])).tolist() == [[3.0], [5.0]]
    assert float(task.loss(torch.tensor([[1.0]]), torch.tensor([5.0]))) == 0


@pytest.mark.parametrize(
    "make",
    [
        lambda: Classify(class_weight="heavy"),
        lambda: Classify(label_smoothing=1.0),
        lambda: Tag(class_weight={"red": 0.0}),
        lambda: Regress(loss="l7"),
    ],
)
def test_options_that_cannot_be_right_are_refused(make):
    with pytest.raises(ConfigError):
        make()


def test_a_metric_that_the_task_does_not_have_cannot_be_monitored():
    with pytest.raises(ConfigError, match="Expected one of rmse, mae, r2"):
        Regress().build(NUMBER, []).check_monitor("accuracy")
