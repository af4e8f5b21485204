import gc
import pickle
import re
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import sklearn
from sklearn.base import clone, is_classifier, is_regressor
from sklearn.calibration import CalibratedClassifierCV
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV, GroupKFold, cross_val_score, cross_validate
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

import finetune as ft
from finetune import estimator
from finetune.errors import ConfigError, DataError, RunFolderError
from finetune.recipe import WORDS

QUICK = {"weights": "none", "method": "probe", "accelerator": "cpu", "seed": 3, "copies": "exact"}


@pytest.fixture(scope="module")
def pictures(textures):
    paths = sorted(textures.glob("*/*.png"))
    return [str(p) for p in paths], np.array([p.parent.name for p in paths])


def test_a_classifier_learns_paths_and_answers_in_the_type_of_y(pictures):
    paths, y = pictures
    numbers = np.unique(y, return_inverse=True)[1] + 5
    clf = ft.ImageClassifier("finetune/lenet5", **QUICK).fit(paths, numbers)
    assert clf.classes_.tolist() == [5, 6, 7]
    given, probabilities = clf.predict(paths), clf.predict_proba(paths)
    assert given.dtype == numbers.dtype and probabilities.shape == (len(paths), 3)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1)
    assert clf.score(paths, numbers) == (given == numbers).mean() > 0.5


def test_scikit_learns_tools_clone_and_cross_validate_it(pictures):
    paths, y = pictures
    clf = ft.ImageClassifier("finetune/lenet5", **QUICK, class_weight={"rings": 2.0})
    assert clone(clf).get_params() == clf.get_params()
    assert is_classifier(clf) and is_regressor(ft.ImageRegressor())
    scores = cross_val_score(clf, np.array(paths), y, cv=2, error_score="raise")
    assert scores.shape == (2,) and (scores > 0.3).all()


def test_a_regressor_answers_numbers_and_takes_arrays(pictures):
    rng = np.random.default_rng(0)
    level = rng.uniform(20, 230, 30)
    arrays = [np.full((32, 32), v, np.uint8) + rng.integers(0, 20, (32, 32)).astype(np.uint8) for v in level]
    model = ft.ImageRegressor("finetune/lenet5", **QUICK, in_chans=1).fit(arrays, level)
    assert model.score(arrays, level) > 0.5


def test_groups_stay_on_one_side(pictures):
    paths, y = pictures
    groups = [f"g{i % 12}" for i in range(len(paths))]
    options = {**QUICK, "method": "full", "epochs": 1, "augment": "none", "workers": 0}
    clf = ft.ImageClassifier("finetune/lenet5", **options).fit(paths, y, groups=groups)
    splits = pd.read_csv(clf.model_.folder / "splits.csv")
    assert splits.groupby("group")["split"].nunique().max() == 1


def test_before_fitting_there_is_nothing_to_ask():
    with pytest.raises(NotFittedError):
        ft.ImageClassifier().predict(["a.png"])


def test_numbers_of_pictures_and_targets_must_agree(pictures):
    with pytest.raises(DataError, match="Expected one target a picture"):
        ft.ImageClassifier("finetune/lenet5", **QUICK).fit(pictures[0], pictures[1][:-1])


@pytest.mark.parametrize("names", [[0.5, 1.0, 2.25], [" a", "a", "a b "], ["path", "label", "error"]])
def test_classes_may_be_called_anything(pictures, names):
    paths, y = pictures
    given = np.array(names)[np.unique(y, return_inverse=True)[1]]
    options = {**QUICK, "class_weight": {names[0]: 2.0}}
    clf = ft.ImageClassifier("finetune/lenet5", **options).fit(paths, given)
    assert clf.classes_.tolist() == sorted(names)
    assert clf.predict(paths).dtype == given.dtype
    assert (clf.predict(paths) == given).mean() > 0.5  # `score` takes no fractions for classes


@pytest.mark.thorough
def test_probabilities_of_more_than_ten_classes_are_in_the_order_of_the_classes():
    rng = np.random.default_rng(0)
    y = np.repeat(np.arange(12), 6)
    arrays = [np.full((32, 32), 20 * k, np.uint8) + rng.integers(0, 5, (32, 32)).astype(np.uint8) for k in y]
    clf = ft.ImageClassifier("finetune/lenet5", **QUICK, in_chans=1).fit(arrays, y)
    table = clf.model_.predict(arrays)
    np.testing.assert_array_equal(clf.predict_proba(arrays)[:, 2], table["c2"])
    assert (table["label"] == [f"c{k}" for k in clf.predict(arrays)]).all()


def test_every_word_of_fit_is_a_parameter_unless_x_and_y_say_it_or_it_renames_their_classes():
    for word in WORDS:
        if word in (*estimator.GIVEN, *estimator.RENAMING):
            with pytest.raises(ConfigError, match=f"takes no {word}"):
                ft.ImageClassifier().set_params(**{word: "x"})
        else:
            clf = ft.ImageClassifier().set_params(**{word: "x"})
            assert clf.get_params()[word] == clone(clf).get_params()[word] == "x"
            assert ft.ImageClassifier(**{word: "x"}).get_params() == clf.get_params()


def test_a_representation_names_what_was_given_and_nothing_else():
    shown = repr(ft.ImageRegressor("resnet18", method="probe", batch_size=16))
    assert re.sub(r"\s+", " ", shown) == "ImageRegressor(backbone='resnet18', batch_size=16, method='probe')"


def test_a_constructor_judges_nothing_and_fit_names_the_nearest_parameter(pictures):
    clf = ft.ImageClassifier("finetune/lenet5", metod="probe", target="dx")
    with pytest.raises(ConfigError) as told:
        clf.fit(*pictures)
    assert 'no parameter metod. Did you mean "method"' in str(told.value)
    assert "takes no target" in str(told.value)


def test_a_misspelt_parameter_of_a_grid_stops_the_search(pictures):
    search = GridSearchCV(ft.ImageClassifier("finetune/lenet5", **QUICK), {"metod": ["probe"]}, cv=2)
    with pytest.raises(ConfigError, match='Did you mean "method"'):
        search.fit(np.array(pictures[0]), pictures[1])


@pytest.mark.thorough
def test_a_grid_search_goes_over_words_of_fit(pictures):
    paths, y = pictures
    clf = ft.ImageClassifier("finetune/lenet5", **QUICK, batch_size=12, workers=0)
    grid = [{"method": ["probe"], "head": ["linear"]}, {"method": ["full"], "epochs": [1], "lr": [1e-6]}]
    search = GridSearchCV(clf, grid, cv=2, error_score="raise").fit(paths, y)
    assert search.best_params_ == {"method": "probe", "head": "linear"}
    assert search.best_estimator_.get_params()["batch_size"] == 12
    assert (search.predict(paths) == y).mean() > 0.5


@pytest.mark.thorough
def test_groups_reach_scikit_learns_splitters_and_through_routing_our_own_split(pictures, monkeypatch):
    paths, y = pictures
    groups = np.array([f"g{i % 12}" for i in range(len(paths))])
    given = []
    learn = estimator.fit
    monkeypatch.setattr(estimator, "fit", lambda table, **words: given.append(table) or learn(table, **words))
    clf = ft.ImageClassifier("finetune/lenet5", **QUICK)
    scores = cross_val_score(clf, np.array(paths), y, groups=groups, cv=GroupKFold(2), error_score="raise")
    assert len(scores) == 2 and all("group" not in table for table in given)
    given.clear()
    with sklearn.config_context(enable_metadata_routing=True):
        routed = ft.ImageClassifier("finetune/lenet5", **QUICK).set_fit_request(groups=True)
        words = {"params": {"groups": groups}, "cv": GroupKFold(2), "error_score": "raise"}
        np.testing.assert_array_equal(cross_val_score(routed, np.array(paths), y, **words), scores)
    of = dict(zip(paths, groups, strict=True))
    assert len(given) == 2 and not set(given[0]["group"]) & set(given[1]["group"])
    assert all(of[row.path] == row.group for table in given for row in table.itertuples())


def test_it_is_the_last_step_of_a_pipeline_whose_parameters_reach_it(pictures):
    paths, y = pictures
    root = Path(paths[0]).parents[1]
    names = [str(Path(path).relative_to(root)) for path in paths]
    whole = FunctionTransformer(lambda names: [str(root / name) for name in names])
    pipe = make_pipeline(whole, ft.ImageClassifier("finetune/lenet5", **{**QUICK, "method": "full"}))
    pipe.set_params(imageclassifier__method="probe", imageclassifier__dropout=0.1)
    assert pipe.fit(names, y).score(names, y) > 0.5
    assert pipe[-1].model_.facts["backbone"]["head"]["dropout"] == 0.1


@pytest.mark.parametrize("method", ["sigmoid", "isotonic"])
def test_its_probabilities_can_be_calibrated(pictures, method):
    paths, y = pictures
    calibrated = CalibratedClassifierCV(ft.ImageClassifier("finetune/lenet5", **QUICK), cv=2, method=method)
    given = calibrated.fit(np.array(paths), y).predict_proba(paths)
    assert calibrated.classes_.tolist() == sorted(set(y))
    np.testing.assert_allclose(given.sum(axis=1), 1)
    assert (calibrated.predict(paths) == y).mean() > 0.5


@pytest.mark.thorough
def test_decisions_order_pictures_as_probabilities_do(pictures):
    paths, y = pictures
    for kinds in (("checks", "rings"), ("checks", "rings", "stripes")):
        some = [path for path, kind in zip(paths, y, strict=True) if kind in kinds]
        clf = ft.ImageClassifier("finetune/lenet5", **QUICK).fit(some, [k for k in y if k in kinds])
        decided, odds = clf.decision_function(some), clf.predict_proba(some)
        if len(kinds) == 2:
            np.testing.assert_allclose(1 / (1 + np.exp(-decided)), odds[:, 1], atol=1e-6)
        else:
            np.testing.assert_allclose(np.exp(decided), odds, atol=1e-6)


def test_weights_of_single_examples_are_refused_in_words(pictures):
    clf = ft.ImageClassifier("finetune/lenet5", **QUICK)
    with pytest.raises(ConfigError, match=r"Got sample_weight\. Examples cannot be weighted .*class_weight"):
        clf.fit(*pictures, sample_weight=np.ones(len(pictures[1])))


@pytest.mark.parametrize("wrong, said", [
    (lambda paths, y: (np.array([paths, paths]).T, y), "X has 2 columns"),
    (lambda paths, y: (paths, np.eye(len(y))), r"y is of shape \(36, 36\)"),
    (lambda paths, y: ([], y[:0]), "There are no pictures"),
])  # fmt: skip
def test_pictures_and_targets_of_another_shape_are_refused(pictures, wrong, said):
    with pytest.raises(DataError, match=said):
        ft.ImageClassifier("finetune/lenet5", **QUICK).fit(*wrong(*pictures))


def test_words_are_no_numbers(pictures):
    with pytest.raises(DataError, match="Expected numbers"):
        ft.ImageRegressor("finetune/lenet5", **QUICK).fit(*pictures)


def test_a_column_of_paths_is_a_list_of_them(pictures):
    paths, y = pictures
    clf = ft.ImageClassifier("finetune/lenet5", **QUICK).fit(pd.DataFrame({"path": paths}), y.reshape(-1, 1))
    np.testing.assert_array_equal(clf.predict_proba(np.array(paths).reshape(-1, 1)), clf.predict_proba(paths))


@pytest.fixture
def temporary(tmp_path, monkeypatch):
    """Where temporary folders go."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    yield tmp_path
    gc.collect()


def runs(folder):
    return sorted(folder.glob("finetune-*"))


def test_a_run_folder_goes_with_its_estimator(pictures, temporary):
    paths, y = pictures
    clf = ft.ImageClassifier("finetune/lenet5", **QUICK).fit(paths, y)
    assert len(runs(temporary)) == 1
    clf.fit(paths, y)
    gc.collect()
    assert len(runs(temporary)) == 1, "that of the first fit"
    cross_val_score(clf, np.array(paths), y, cv=2)
    gc.collect()
    assert runs(temporary) == [clf.model_.folder]
    del clf
    gc.collect()
    assert not runs(temporary)


def test_a_fit_that_goes_wrong_leaves_nothing(pictures, temporary):
    class Fails(pytest.importorskip("lightning").Callback):
        def on_validation_end(self, trainer, module):
            if trainer.current_epoch:
                raise ft.TrainingError("in the second epoch")

    clf = ft.ImageClassifier("finetune/lenet5", **{**QUICK, "method": "full"}, epochs=2, workers=0)
    with pytest.raises(ft.TrainingError) as told:
        clf.set_params(callbacks=[Fails()]).fit(*pictures)
    assert not runs(temporary) and not getattr(told.value, "__notes__", [])


def test_a_fitted_estimator_travels_as_bytes_and_brings_its_run_folder(pictures, temporary):
    paths, y = pictures
    clf = ft.ImageClassifier("finetune/lenet5", **QUICK).fit(paths, y)
    sent = pickle.dumps(clf)
    expected, metrics = clf.predict_proba(paths), clf.model_.metrics
    first = clf.model_.folder
    del clf
    gc.collect()
    assert not first.exists()
    back = pickle.loads(sent)
    np.testing.assert_array_equal(back.predict_proba(paths), expected)
    assert back.model_.metrics == metrics and (back.model_.folder / "splits.csv").exists()
    assert runs(temporary) == [back.model_.folder]


def test_a_model_whose_folder_is_gone_says_so_instead_of_travelling(pictures, tmp_path):
    model = ft.fit(str(Path(pictures[0][0]).parents[1]), backbone="finetune/lenet5", **QUICK, verbose=False,
                   out=tmp_path / "run")  # fmt: skip
    (tmp_path / "run").rename(tmp_path / "elsewhere")
    with pytest.raises(RunFolderError, match="not there any more"):
        pickle.dumps(model)


@pytest.mark.thorough
def test_folds_are_fitted_in_other_processes(pictures):
    paths, y = pictures
    clf = ft.ImageClassifier("finetune/lenet5", **QUICK)
    found = cross_validate(clf, np.array(paths), y, cv=2, n_jobs=2, return_estimator=True, error_score="raise")
    again = cross_val_score(clf, np.array(paths), y, cv=2)
    np.testing.assert_array_equal(found["test_score"], again)
    assert all(len(fold.predict(paths[:2])) == 2 for fold in found["estimator"])


@pytest.mark.thorough
def test_an_average_of_folds_travels_too(pictures):
    clf = ft.ImageClassifier("finetune/lenet5", **QUICK, folds=2).fit(*pictures)
    back = pickle.loads(pickle.dumps(clf))
    np.testing.assert_allclose(back.predict_proba(pictures[0]), clf.predict_proba(pictures[0]), atol=1e-6)
