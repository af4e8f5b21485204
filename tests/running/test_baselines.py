"""Naive answers beside the model's: what they are, and that they learn from the training part alone."""

import numpy as np
import pytest
from sklearn.dummy import DummyClassifier, DummyRegressor
from sklearn.metrics import accuracy_score, log_loss, root_mean_squared_error
from sklearn.neighbors import KNeighborsClassifier

from finetune.data.labels import Labels
from finetune.report.judged import Seen
from finetune.running.baselines import baselines
from finetune.tasks.options import Classify, Regress

N, TRAIN, TEST = 60, np.arange(40), np.arange(40, 60)
RNG = np.random.default_rng(0)
CLASS = RNG.integers(0, 3, N)
# Thumbnails that show a little of the class.
PIXELS = np.clip(RNG.normal(100, 40, (N, 4, 4)) + 25 * CLASS[:, None, None], 0, 255).astype(np.uint8)


def told(task, target, thumbnails=PIXELS, rows=TEST, **words):
    seen = Seen(answer=np.full((len(rows), task.labels.num_outputs), 1 / 3), target=target[rows])
    return baselines(task, {"test": (rows, seen)}, train=TRAIN, target=target, thumbnails=thumbnails,
                     **{"probe": {}, "seed": 0} | words)["test"]  # fmt: skip


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
