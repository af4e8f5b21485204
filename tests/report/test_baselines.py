"""Naive answers beside the model's: what they are, and that they learn from the training part alone."""

import numpy as np
import pytest
from sklearn.dummy import DummyClassifier, DummyRegressor
from sklearn.metrics import accuracy_score, log_loss, root_mean_squared_error
from sklearn.neighbors import KNeighborsClassifier

from finetune.data.labels import Labels
from finetune.report.baselines import baselines
from finetune.report.intervals import measure
from finetune.report.judged import Seen
from finetune.report.over import least_over
from finetune.tasks.options import Classify, Regress

N, TRAIN, TEST = 60, np.arange(40), np.arange(40, 60)
RNG = np.random.default_rng(0)
CLASS = RNG.integers(0, 3, N)
# Thumbnails that show a little of the class.
PIXELS = np.clip(RNG.normal(100, 40, (N, 4, 4)) + 25 * CLASS[:, None, None], 0, 255).astype(np.uint8)


def told(task, target, thumbnails=PIXELS, rows=TEST, **words):
    seen = Seen(answer=np.full((len(rows), task.labels.num_outputs), 1 / 3), target=target[rows])
    return baselines(task, {"test": (rows, seen)}, train=TRAIN, target=target, thumbnails=thumbnails,
                     **{"probe": {}, "seed": 0} | words)["baselines"]["test"]  # fmt: skip


def test_majority_and_nearest_pixels_are_scikit_learns_own():
    task = Classify().build(Labels(kind="class", names=("a", "b", "c")), [])
    found = told(task, CLASS)
    prior = DummyClassifier(strategy="prior").fit(TRAIN[:, None], CLASS[TRAIN]).predict_proba(TEST[:, None])
    assert found["majority"]["log_loss"]["value"] == pytest.approx(log_loss(CLASS[TEST], prior, labels=[0, 1, 2]))
    flat = PIXELS.reshape(N, -1).astype(float)
    near = KNeighborsClassifier(n_neighbors=1).fit(flat[TRAIN], CLASS[TRAIN]).predict(flat[TEST])
    assert found["nearest-pixels"]["accuracy"]["value"] == accuracy_score(CLASS[TEST], near)
    assert found["majority"]["auroc"]["value"] == 0.5


def test_the_baseline_of_a_number_is_the_training_mean():
    number = (CLASS + RNG.normal(0, 0.1, N)).astype(np.float32)
    task = Regress().build(Labels(kind="number", names=()), [])
    found = told(task, number)
    mean = DummyRegressor().fit(TRAIN[:, None], number[TRAIN]).predict(TEST[:, None])
    assert found["mean"]["rmse"]["value"] == pytest.approx(root_mean_squared_error(number[TEST], mean), rel=1e-6)
    assert set(found) == {"mean", "nearest-pixels"}


def test_examples_that_are_compared_with_themselves_have_no_nearest_neighbour():
    task = Classify().build(Labels(kind="class", names=("a", "b", "c")), [])
    assert set(told(task, CLASS, rows=TRAIN)) == {"majority"}
    assert set(told(task, CLASS, thumbnails=None)) == {"majority"}


def test_the_probe_is_told_where_there_was_one():
    task = Classify().build(Labels(kind="class", names=("a", "b", "c")), [])
    found = told(task, CLASS, probe={"test": np.eye(3)[CLASS[TEST]]})
    assert found["probe"]["accuracy"]["value"] == 1


def test_how_far_ahead_a_model_is_is_the_paired_difference():
    task = Classify().build(Labels(kind="class", names=("a", "b", "c")), [])
    rng = np.random.default_rng(1)
    answer = 0.6 * np.eye(3)[np.where(rng.random(len(TEST)) < 0.8, CLASS[TEST], 0)] + 0.4 / 3
    seen = Seen(answer=answer, target=CLASS[TEST])
    words = {"train": TRAIN, "target": CLASS, "thumbnails": PIXELS, "probe": {}, "seed": 0}
    found = baselines(task, {"test": (TEST, seen)}, **words)
    own = measure(task, answer, CLASS[TEST])
    for name, over in found["over_baselines"]["test"].items():
        for metric, figure in over.items():
            apart = own[metric]["value"] - found["baselines"]["test"][name][metric]["value"]
            assert figure["value"] == pytest.approx(apart)
    least = least_over(found, "test", "accuracy")
    values = {name: over["accuracy"]["value"] for name, over in found["over_baselines"]["test"].items()}
    assert least.name == min(values, key=values.get) and least.sure == (least.figure["low"] > 0)


@pytest.mark.parametrize(("metric", "figure", "sure"), [
    ("accuracy", {"value": 0.1, "low": 0.01, "high": 0.2, "n": 9}, True),
    ("accuracy", {"value": 0.1, "low": -0.01, "high": 0.2, "n": 9}, False),
    ("rmse", {"value": -1.0, "low": -2.0, "high": -0.1, "n": 9}, True),
    ("rmse", {"value": 1.0, "low": 0.1, "high": 2.0, "n": 9}, False),
    ("rmse", {"value": -1.0, "low": None, "high": None, "n": 9}, False),
])  # fmt: skip
def test_better_is_up_or_down_as_the_metric_has_it(metric, figure, sure):
    assert least_over({"over_baselines": {"test": {"mean": {metric: figure}}}}, "test", metric).sure is sure
    assert least_over({}, "test", metric) is None
