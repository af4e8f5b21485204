import numpy as np
import pytest
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import cross_val_score

import finetune as ft
from finetune.errors import DataError

QUICK = {"weights": "none", "method": "probe", "accelerator": "cpu", "seed": 3}


@pytest.fixture(scope="module")
def pictures(textures):
    paths = sorted(textures.glob("*/*.png"))
    return [str(p) for p in paths], np.array([p.parent.name for p in paths])


def test_a_classifier_learns_paths_and_answers_in_the_type_of_y(pictures):
    paths, y = pictures
    numbers = np.unique(y, return_inverse=True)[1] + 5
    clf = ft.ImageClassifier("finetune/lenet5", QUICK).fit(paths, numbers)
    assert clf.classes_.tolist() == [5, 6, 7]
    given, probabilities = clf.predict(paths), clf.predict_proba(paths)
    assert given.dtype == numbers.dtype and probabilities.shape == (len(paths), 3)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1)
    assert clf.score(paths, numbers) == (given == numbers).mean() > 0.5


def test_scikit_learns_tools_clone_and_cross_validate_it(pictures):
    paths, y = pictures
    clf = ft.ImageClassifier("finetune/lenet5", QUICK)
    assert clone(clf).get_params() == clf.get_params()
    scores = cross_val_score(clf, np.array(paths), y, cv=2, error_score="raise")
    assert scores.shape == (2,) and (scores > 0.3).all()


def test_a_regressor_answers_numbers_and_takes_arrays(pictures):
    rng = np.random.default_rng(0)
    level = rng.uniform(20, 230, 30)
    arrays = [np.full((32, 32), v, np.uint8) + rng.integers(0, 20, (32, 32)).astype(np.uint8) for v in level]
    model = ft.ImageRegressor("finetune/lenet5", {**QUICK, "in_chans": 1}).fit(arrays, level)
    assert model.score(arrays, level) > 0.5


def test_groups_stay_on_one_side(pictures):
    paths, y = pictures
    groups = [f"g{i % 12}" for i in range(len(paths))]
    options = {**QUICK, "method": "full", "epochs": 1, "augment": "none", "workers": 0}
    clf = ft.ImageClassifier("finetune/lenet5", options).fit(paths, y, groups=groups)
    import pandas as pd

    splits = pd.read_csv(clf.model_.folder / "splits.csv")
    assert splits.groupby("group")["split"].nunique().max() == 1


def test_before_fitting_there_is_nothing_to_ask():
    with pytest.raises(NotFittedError):
        ft.ImageClassifier().predict(["a.png"])


def test_numbers_of_pictures_and_targets_must_agree(pictures):
    with pytest.raises(DataError, match="Expected one target a picture"):
        ft.ImageClassifier("finetune/lenet5", QUICK).fit(pictures[0], pictures[1][:-1])


@pytest.mark.parametrize("names", [[0.5, 1.0, 2.25], [" a", "a", "a b "], ["path", "label", "error"]])
def test_classes_may_be_called_anything(pictures, names):
    paths, y = pictures
    given = np.array(names)[np.unique(y, return_inverse=True)[1]]
    options = {**QUICK, "class_weight": {names[0]: 2.0}}
    clf = ft.ImageClassifier("finetune/lenet5", options).fit(paths, given)
    assert clf.classes_.tolist() == sorted(names)
    assert clf.predict(paths).dtype == given.dtype
    assert (clf.predict(paths) == given).mean() > 0.5  # `score` takes no fractions for classes


def test_probabilities_of_more_than_ten_classes_are_in_the_order_of_the_classes():
    rng = np.random.default_rng(0)
    y = np.repeat(np.arange(12), 6)
    arrays = [np.full((32, 32), 20 * k, np.uint8) + rng.integers(0, 5, (32, 32)).astype(np.uint8) for k in y]
    clf = ft.ImageClassifier("finetune/lenet5", {**QUICK, "in_chans": 1}).fit(arrays, y)
    table = clf.model_.predict(arrays)
    np.testing.assert_array_equal(clf.predict_proba(arrays)[:, 2], table["c2"])
    assert (table["label"] == [f"c{k}" for k in clf.predict(arrays)]).all()
