import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.append(str(Path(__file__).parents[2] / "benchmarks"))

from quality_report import difference, error, log_loss, report
from quality_sets import Row, divided, drawn


def run(target, probability, *, metric="accuracy", seed=0, method="default", units=None):
    names = [f"{i}.jpg" for i in range(len(target))]
    return {
        "set": "made", "seed": seed, "method": method, "epochs": 1, "most": None, "test_most": None, "threads": 1,
        "version": "0", "load": 0.0, "cpu": 1.0, "train": 9, "metric": metric, "test": names, "unit": units or names,
        "target": [int(k) for k in target], "probability": np.asarray(probability).tolist(),
    }  # fmt: skip


def rows(counts, *, in_unit=1):
    return [Row(f"{k}/{i:03}", k, f"{k}{i // in_unit}") for k, n in counts.items() for i in range(n)]


def test_error_under_counts_is_that_of_scikit_learn_on_repeated_rows():
    from sklearn.metrics import accuracy_score, roc_auc_score

    rng = np.random.default_rng(0)
    target, score = rng.integers(0, 2, 40), rng.random(40).round(1)
    for metric in ("accuracy", "auc"):
        one = run(target, np.stack([1 - score, score], 1), metric=metric)
        counts = rng.multinomial(40, np.full(40, 1 / 40), size=5)
        for count, found in zip(counts, error(one, counts), strict=True):
            again = np.repeat(np.arange(40), count)
            answered = np.stack([1 - score, score], 1).argmax(1)
            value = (
                accuracy_score(target[again], answered[again])
                if metric == "accuracy"
                else roc_auc_score(target[again], score[again])
            )
            assert found == pytest.approx(1 - value)


def test_log_loss_under_counts_is_that_of_scikit_learn_on_repeated_rows():
    from sklearn.metrics import log_loss as theirs

    rng = np.random.default_rng(1)
    target, probability = rng.integers(0, 3, 30), rng.dirichlet(np.ones(3), 30)
    counts = rng.multinomial(30, np.full(30, 1 / 30), size=5)
    for count, found in zip(counts, log_loss(run(target, probability), counts), strict=True):
        again = np.repeat(np.arange(30), count)
        assert found == pytest.approx(theirs(target[again], probability[again], labels=[0, 1, 2]))


def test_methods_that_answer_alike_cannot_be_told_apart_and_one_that_always_errs_can():
    target = np.arange(30) % 2
    right = np.eye(2)[target]
    assert difference([run(target, right)], [run(target, right)]) == (0.0, 0.0)
    assert difference([run(target, right[:, ::-1])], [run(target, right)]) == (1.0, 1.0)


def test_what_is_of_one_person_is_drawn_together():
    target = np.arange(24) % 2
    mostly = np.eye(2)[np.where(np.arange(24) < 6, 1 - target, target)]
    alone = difference([run(target, mostly)], [run(target, np.eye(2)[target])])
    persons = [f"p{i // 6}" for i in range(24)]
    together = difference([run(target, mostly, units=persons)], [run(target, np.eye(2)[target], units=persons)])
    assert together[1] - together[0] > alone[1] - alone[0]


def test_different_test_pictures_are_not_compared():
    target = np.arange(6) % 2
    other = run(target, np.eye(2)[target]) | {"test": [f"x{i}" for i in range(6)]}
    with pytest.raises(SystemExit, match="different pictures"):
        difference([run(target, np.eye(2)[target])], [other])


def test_only_seeds_that_every_method_has_are_in_the_report():
    target = np.arange(10) % 2
    right, wrong = np.eye(2)[target], np.eye(2)[1 - target]
    runs = [run(target, right), run(target, wrong, seed=1), run(target, wrong, method="sklearn")]
    text = report(runs)
    assert "| 9, 10, 1 | 0.0 (0.0 to 0.0), 0.000, 1 s | 100.0 (100.0 to 100.0), 13.816, 1 s | better: sklearn" in text
    assert "default / sklearn, the best peer: 0.00" in text


def test_no_person_is_on_two_sides_and_each_class_has_its_share():
    train, test = divided(rows({"a": 60, "b": 30}, in_unit=3), seed=3)
    assert not {row.unit for row in train} & {row.unit for row in test}
    assert {k: sum(row.label == k for row in test) for k in "ab"} == {"a": 18, "b": 9}
    assert len(train) + len(test) == 90


def test_a_draw_keeps_the_shares_of_the_classes_and_depends_on_the_seed_alone():
    pool = rows({"a": 80, "b": 20})
    chosen = drawn(pool, 20, seed=1)
    assert {k: sum(row.label == k for row in chosen) for k in "ab"} == {"a": 16, "b": 4}
    assert drawn(pool[::-1], 20, seed=1) == chosen != drawn(pool, 20, seed=2)
    assert set(drawn(pool, None, seed=1)) == set(pool)
