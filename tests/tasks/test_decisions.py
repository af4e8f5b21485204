"""What a model keeps to decide by does what it says to any answers."""

import numpy as np
import pytest

from finetune.data.labels import Labels
from finetune.errors import ConfigError
from finetune.tasks.decisions import Decisions, assumed_priors, checked_prior
from finetune.tasks.options import Classify, Regress, Tag

TWO = Labels(kind="class", names=("benign", "malignant"))
TASK = Classify().build(TWO, [])
TAGS = Tag().build(Labels(kind="labels", names=("a", "b")), [])


def test_decisions_go_to_json_and_back_and_none_change_nothing():
    whole = Decisions(temperature=1.2, priors={"a": 0.5}, asked="sensitivity>=0.9", thresholds={"a": 0.2}, limit=0.3)
    assert Decisions.from_dict(whole.to_dict()) == whole
    answer = np.array([[0.2, 0.8]])
    assert Decisions.from_dict(None).calibrated(TASK, answer) is answer
    assert Decisions().name(TASK, answer) == ["malignant"]


def test_another_prior_is_bayes_rule():
    rng = np.random.default_rng(0)
    # Two kinds of pictures, told apart by one number: the posterior is known at any prior.
    n, old, new = 200_000, 0.5, 0.02
    target = rng.random(n) < new
    seen = rng.normal(target.astype(float), 1)
    likely = np.exp(seen - 0.5)  # p(seen | malignant) / p(seen | benign)
    at_old = old * likely / (old * likely + 1 - old)
    decisions = Decisions(priors={"benign": 1 - old, "malignant": old})
    moved = decisions.at_prior(TASK, np.stack([1 - at_old, at_old], axis=1), {"malignant": new})
    np.testing.assert_allclose(moved.sum(axis=1), 1)
    np.testing.assert_allclose(moved[:, 1], new * likely / (new * likely + 1 - new))
    assert moved[:, 1].mean() == pytest.approx(target.mean(), abs=0.001)
    same = decisions.at_prior(TASK, np.array([[0.3, 0.7]]), {"malignant": old})
    np.testing.assert_allclose(same, [[0.3, 0.7]])


def test_classes_that_are_not_named_keep_their_proportions_and_labels_move_alone():
    three = Classify().build(Labels(kind="class", names=("a", "b", "c")), [])
    decisions = Decisions(priors={"a": 0.2, "b": 0.2, "c": 0.6})
    moved = decisions.at_prior(three, np.array([[0.2, 0.2, 0.6]]), {"a": 0.6})
    np.testing.assert_allclose(moved, [[0.6, 0.1, 0.3]])
    tags = Decisions(priors={"a": 0.5, "b": 0.5}).at_prior(TAGS, np.array([[0.5, 0.7]]), {"a": 0.1})
    np.testing.assert_allclose(tags, [[0.1, 0.7]])


@pytest.mark.parametrize(
    ("prior", "told"),
    [({"malignat": 0.1}, 'Did you mean "malignant"'), ({"malignant": 1.0}, "below 1"), ({"malignant": 0}, "above 0"),
     ({"malignant": 0.5, "benign": 0.6}, "sum to 1")],
)  # fmt: skip
def test_priors_that_cannot_be_are_refused(prior, told):
    with pytest.raises(ConfigError, match=told):
        checked_prior(TASK, prior, {"benign": 0.5, "malignant": 0.5})


def test_a_number_has_no_prior():
    with pytest.raises(ConfigError, match="a number"):
        checked_prior(Regress().build(Labels(kind="number", names=()), []), {"a": 0.1}, {})


def test_a_threshold_decides_for_its_class_and_the_likeliest_other_one_else():
    answer = np.array([[0.7, 0.3], [0.9, 0.1]])
    assert Decisions(thresholds={"malignant": 0.25}).name(TASK, answer) == ["malignant", "benign"]
    three = Classify().build(Labels(kind="class", names=("a", "b", "c")), [])
    answer = np.array([[0.4, 0.35, 0.25], [0.6, 0.1, 0.3]])
    assert Decisions(thresholds={"a": 0.5}).name(three, answer) == ["b", "a"]
    assert Decisions(thresholds={"b": 0.2}).name(TAGS, np.array([[0.4, 0.3], [0.6, 0.1]])) == ["b", "a"]


def test_the_priors_that_answers_assume_follow_from_how_they_were_trained():
    targets = ["benign"] * 8 + ["malignant"] * 2
    encoded = TWO.encode(targets)

    def assumed(sampler="shuffle", **words):
        return assumed_priors(Classify(**words).build(TWO, targets), encoded, sampler=sampler)["malignant"]

    assert assumed() == pytest.approx(0.2)
    assert assumed(class_weight="balanced") == pytest.approx(0.5)
    assert assumed(class_weight={"malignant": 4.0}) == pytest.approx(0.5)
    assert assumed(loss="logit-adjusted") == pytest.approx(0.5)
    assert assumed(sampler="balanced") == pytest.approx(0.5)
    assert assumed(sampler="sqrt") == pytest.approx(1 / 3)
    tags = TAGS.labels.encode([("a",)] * 4 + [("a", "b")] * 4 + [()] * 2)
    assert assumed_priors(TAGS, tags) == pytest.approx({"a": 8.5 / 11, "b": 4.5 / 11})
