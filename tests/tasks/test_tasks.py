"""Every task: the same promises."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics

from finetune.data.labels import Labels
from finetune.errors import ConfigError
from finetune.tasks.base import HIGHER_IS_BETTER
from finetune.tasks.options import Classify, Regress, Tag
from finetune.tasks.scores import quiet_scores

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
