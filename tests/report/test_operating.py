"""Thresholds reach the rate where they were fitted, cost no more than they must, and are measured by scikit-learn."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics

from finetune.data.labels import Labels
from finetune.errors import ConfigError
from finetune.report.decided import decide, told_of
from finetune.report.judged import Seen
from finetune.report.operating import answering, fit_answered, fit_thresholds, operating
from finetune.report.told import told_lines
from finetune.tasks.decisions import Decisions
from finetune.tasks.operate import Operate
from finetune.tasks.options import Classify, Regress, Tag

TWO = Classify().build(Labels(kind="class", names=("benign", "malignant")), [])
TAGS = Tag().build(Labels(kind="labels", names=("a", "b")), [])


def seen(n: int, seed: int) -> Seen:
    rng = np.random.default_rng(seed)
    target = rng.permutation(np.arange(n) % 3 == 0).astype(np.int64)
    score = np.round(np.clip(rng.normal(0.35 + 0.3 * target, 0.2), 0, 1), 2)  # rounded: ties must count
    return Seen(answer=np.stack([1 - score, score], axis=1), target=target)


@given(n=st.integers(6, 60), seed=st.integers(0, 1000), least=st.sampled_from([0.5, 0.8, 0.9, 0.95, 1.0]),
       rate=st.sampled_from(["sensitivity", "specificity", "precision"]))  # fmt: skip
def test_a_threshold_reaches_its_rate_and_no_other_reaches_it_at_less_cost(n, seed, least, rate):
    part = seen(n, seed)
    found, notes = fit_thresholds(TWO, Operate(rate=rate, least=least), part)
    score, true = part.answer[:, 1], part.target == 1

    def rates(limit):
        given = score >= limit
        sensitivity, specificity = (given & true).sum() / true.sum(), (~given & ~true).sum() / (~true).sum()
        precision = (given & true).sum() / given.sum() if given.any() else np.nan
        return {"sensitivity": sensitivity, "specificity": specificity, "precision": precision}

    every = [rates(limit) for limit in [*np.unique(score), 2.0]]
    reaching = [
        one for one in every if one[rate] >= least - 1e-12 and not (rate == "precision" and not one["sensitivity"])
    ]
    if not found:
        assert not reaching and "not reached" in notes[0]
        return
    at = rates(found["malignant"])
    assert at[rate] >= least - 1e-12 and not notes
    other = "specificity" if rate == "sensitivity" else "sensitivity"
    assert at[other] == max(one[other] for one in reaching)


def test_what_a_threshold_gives_is_what_scikit_learn_measures():
    part = seen(90, 3)
    told = operating(TWO, {"malignant": 0.4}, "sensitivity>=0.9", part)["malignant"]
    given = part.answer[:, 1] >= 0.4
    assert told["sensitivity"]["value"] == pytest.approx(metrics.recall_score(part.target, given))
    assert told["specificity"]["value"] == pytest.approx(metrics.recall_score(part.target, given, pos_label=0))
    assert told["precision"]["value"] == pytest.approx(metrics.precision_score(part.target, given))
    for rate in ("sensitivity", "specificity", "precision"):
        assert told[rate]["low"] < told[rate]["value"] < told[rate]["high"]


def test_every_label_has_a_threshold_of_its_own_and_a_named_one_alone():
    rng = np.random.default_rng(0)
    target = rng.integers(0, 2, (60, 2)).astype(np.float32)
    part = Seen(answer=np.clip(0.3 * target + rng.random((60, 2)) * [0.7, 0.2], 0, 1), target=target)
    both, _ = fit_thresholds(TAGS, Operate.parse("specificity>=0.8"), part)
    assert set(both) == {"a", "b"} and both["a"] > both["b"]
    one, _ = fit_thresholds(TAGS, Operate.parse("b: specificity >= .8"), part)
    assert one == {"b": both["b"]}


@pytest.mark.parametrize("text", ["sensitivity>0.9", "accuracy>=0.9", "sensitivity>=1.2", "sensitivity>=0", "0.9", ""])
def test_what_is_no_operating_point_is_refused(text):
    with pytest.raises(ConfigError, match="operate takes"):
        Classify(operate=text)


def test_the_class_that_is_decided_is_said_where_there_are_more_than_two():
    names = Labels(kind="class", names=("a", "b", "c"))
    with pytest.raises(ConfigError, match="which of 3 classes"):
        Classify(operate="sensitivity>=0.9").build(names, [])
    with pytest.raises(ConfigError, match='"d", which is no class'):
        Classify(operate="d:sensitivity>=0.9").build(names, [])
    assert Classify(operate="c:recall>=0.9").build(names, []) is not None
    assert Operate.parse("c:recall>=0.9") == Operate(rate="sensitivity", least=0.9, positive="c")
    with pytest.raises(TypeError):
        Regress(operate="sensitivity>=0.9")


FOUR = Classify().build(Labels(kind="class", names=("a", "b", "c", "d")), [])


def world(n: int, rng: np.random.Generator, digits: int = 12) -> Seen:
    """Answers that are as sure as they are right, of a model that is right in two of three examples."""
    target = rng.integers(0, 4, n)
    raised = np.exp(1.7 * (rng.normal(0, 1, (n, 4)) + 1.7 * np.eye(4)[target]))
    return Seen(answer=np.round(raised / raised.sum(axis=1, keepdims=True), digits), target=target)


@given(n=st.integers(1, 80), seed=st.integers(0, 500), least=st.sampled_from([0.5, 0.7, 0.8, 0.9]))
def test_what_is_answered_reaches_its_precision_with_one_error_more_and_no_more_could_be_answered(n, seed, least):
    part = world(n, np.random.default_rng(seed), digits=1)  # rounded: ties must count
    limit = fit_answered(least, part)
    sure, right = part.answer.max(axis=1), part.answer.argmax(axis=1) == part.target

    def reaches(at):
        kept = sure >= at
        return kept.any() and (kept & ~right).sum() + 1 <= (1 - least) * (kept.sum() + 1) + 1e-9

    reaching = [at for at in np.unique(sure) if reaches(at)]
    assert (limit is None) == (not reaching)
    if limit is not None:
        assert (sure >= limit).sum() == (sure >= min(reaching)).sum()


def test_precision_on_new_examples_is_what_was_asked_for_over_500_draws():
    rng = np.random.default_rng(0)
    for least, held in ((0.9, 300), (0.95, 600)):
        found = []
        for _ in range(500):
            limit = fit_answered(least, world(held, rng))
            part = world(400, rng)
            kept = ~Decisions(answered=limit).abstained(part.answer)
            if limit is not None and kept.any():
                found.append(float((part.answer.argmax(axis=1) == part.target)[kept].mean()))
        assert len(found) > 480
        assert least - 0.005 <= np.mean(found) <= least + 0.015, (least, np.mean(found))


def test_the_more_often_answers_must_be_right_the_fewer_are_given():
    rng = np.random.default_rng(1)
    held, part = world(2000, rng), world(1000, rng)
    told = [answering(Decisions(asked="", answered=fit_answered(least, held)), part) for least in (0.5, 0.8, 0.9, 0.97)]
    covered = [one["coverage"]["value"] for one in told]
    assert covered == sorted(covered, reverse=True) and covered[0] == 1 and covered[-1] < 0.5


def test_what_answering_gives_is_what_scikit_learn_measures():
    part = world(200, np.random.default_rng(3))
    told = answering(Decisions(asked="any:precision>=0.8", answered=0.6), part)
    kept = part.answer.max(axis=1) >= 0.6
    assert told["coverage"]["value"] == kept.mean()
    right = metrics.accuracy_score(part.target[kept], part.answer.argmax(axis=1)[kept])
    assert told["precision"]["value"] == pytest.approx(right)
    for name in ("coverage", "precision"):
        assert told[name]["low"] < told[name]["value"] < told[name]["high"]


def test_of_several_classes_a_precision_is_that_of_all_answers_and_of_two_it_is_said():
    names = ("a", "b", "c")
    assert Operate.parse("precision>=0.9").abstains(names) and Operate.parse("any:precision>=0.9").abstains(names)
    assert Operate.parse("any:precision>=0.9").abstains(names[:2]) and not Operate.parse("precision>=0.9").abstains(
        names[:2]
    )
    assert not Operate.parse("any:precision>=0.9").abstains(("any", "b"))  # a class of that name is meant
    labels = Labels(kind="class", names=names)
    with pytest.raises(ConfigError, match="Got sensitivity, which is of one class"):
        Classify(operate="any:sensitivity>=0.9").build(labels, [])
    with pytest.raises(ConfigError, match="both say where nothing is answered"):
        Classify(operate="precision>=0.9", coverage=0.9).build(labels, [])
    with pytest.raises(ConfigError, match='"any", which is no class'):
        Tag(operate="any:precision>=0.9").build(Labels(kind="labels", names=names), [])


def test_a_precision_that_few_examples_cannot_show_is_told_and_abstains_from_nothing():
    rng = np.random.default_rng(0)
    words = {"operate": "precision>=0.99", "coverage": None, "priors": {}}
    few = decide(FOUR, {"validation": world(60, rng)}, **words)
    assert few.decisions.answered is None and "not to be shown by the surest of 60" in few.notes[0]
    many = decide(FOUR, {"validation": world(4000, rng)}, **{**words, "operate": "precision>=0.9"})
    parts = {"test": world(300, rng)}
    told = told_of(FOUR, many.decisions, parts, parts)
    assert (
        told["answered"]["test"]["asked"] == "precision>=0.9" and Decisions.from_dict(many.decisions.to_dict()).answered
    )
    assert "operating" not in told
    figure = {"value": 0.5, "low": 0.4, "high": 0.6, "n": 300}
    line = told_lines({"test": {"accuracy": figure}, **told}, "accuracy")[-1]
    assert line.startswith("precision>=0.9, answered from 0.") and line.endswith("are right.")
