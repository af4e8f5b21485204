"""Thresholds reach the rate where they were fitted, cost no more than they must, and are measured by scikit-learn."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics

from finetune.data.labels import Labels
from finetune.errors import ConfigError
from finetune.report.judged import Seen
from finetune.report.operating import fit_thresholds, operating
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
