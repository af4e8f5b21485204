"""A search: trials on validation alone, one look at the test part, and going on where it ended."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pandas as pd
import pytest

import finetune as ft
from finetune import cli
from finetune.data import loaders
from finetune.errors import ConfigError, DataError, RunFolderError, TrainingError
from finetune.running import gather
from finetune.tuning import trials
from finetune.tuning.search import check_space, usual_space
from tests.made import class_folders, contents

optuna = pytest.importorskip("optuna")
QUICK = {"backbone": "finetune/lenet5", "weights": "none", "accelerator": "cpu", "workers": 0, "copies": "exact",
         "batch_size": 12, "augment": "none", "mixup": 0.0, "layer_decay": 1.0, "verbose": False}  # fmt: skip
# Twice as many heads as methods: the cheapest space in which some trials have phases on pictures and some have none.
SPACE = {"method": ["probe", "full"], "epochs": (1, 2), "lr": (1e-5, 1e-1), "views": [0]}


@pytest.fixture
def parts(monkeypatch):
    """The rows that each fit held out of everything but the test part, and those that it measured as test."""
    seen = []
    learn = trials.learn

    def watch(material, splits, *rest):
        seen.append({part: splits.indices(part).tolist() for part in ("train", "validation", "test")})
        return learn(material, splits, *rest)

    monkeypatch.setattr(trials, "learn", watch)
    return seen


@pytest.fixture(scope="module")
def found(textures, tmp_path_factory):
    """A search of four trials; nobody writes to its folder."""
    return ft.tune(textures, out=tmp_path_factory.mktemp("searches") / "found", trials=4, space=SPACE, **QUICK)


def test_the_winner_is_a_run_and_the_best_trial_on_validation(found):
    table = pd.read_csv(found.folder / "trials.csv")
    done = table[table["state"] == "complete"]
    assert len(table) == 4 and found.value == done["value"].max()
    assert found.words["method"] == done.set_index("number").loc[found.number, "method"]
    assert found.model.metrics["validation"]["accuracy"]["value"] == pytest.approx(found.value)
    assert found.model.folder == found.folder / "best"
    assert ft.load(found.folder / "best").metrics == found.model.metrics
    assert sorted(p.name for p in found.folder.iterdir()) == ["best", "journal.log", "search.json", "trials.csv"]


def test_the_first_trial_is_what_fit_does_by_itself(found, textures):
    plain = {**QUICK, "epochs": 2, "method": "full"}
    first = found.trials.iloc[0]
    assert first["number"] == 0 and first["method"] == "full" and first["lr"] == pytest.approx(1e-3)
    run = ft.fit(textures, **{**plain, "epochs": int(first["epochs"]), "lr": 1e-3})
    assert run.metrics["validation"]["accuracy"]["value"] == pytest.approx(first["value"])


def test_the_recipe_of_the_winner_repeats_it(found, tmp_path):
    again = ft.fit(recipe=found.folder / "best", out=tmp_path / "again", verbose=False)
    assert again.metrics == found.model.metrics


def test_no_trial_sees_the_test_part_and_all_have_the_same_split(textures, tmp_path, parts):
    found = ft.tune(textures, out=tmp_path / "s", trials=2, space=SPACE, **QUICK)
    *tried, winner = parts
    assert len(tried) == 2 and all(one["test"] == [] and one["train"] == winner["train"] for one in tried)
    assert all(one["validation"] == winner["validation"] for one in tried) and winner["test"]
    assert found.model.metrics["test"]["accuracy"]["n"] == len(winner["test"])


@pytest.mark.thorough
def test_the_same_search_again_goes_on_as_if_it_had_not_ended(found, textures, tmp_path, parts):
    ft.tune(textures, out=tmp_path / "s", trials=2, space=SPACE, **QUICK)
    assert len(parts) == 3
    on = ft.tune(textures, out=tmp_path / "s", trials=4, space=SPACE, **QUICK)
    assert 5 <= len(parts) <= 6, "two trials, and the winner where it is another one"
    drop = ["seconds"]
    pd.testing.assert_frame_equal(on.trials.drop(columns=drop), found.trials.drop(columns=drop))
    before, count = contents(tmp_path / "s" / "best"), len(parts)
    more = ft.tune(textures, out=tmp_path / "s", trials=4, space=SPACE, **QUICK)
    assert len(parts) == count and contents(tmp_path / "s" / "best") == before and more.number == on.number


def test_features_are_computed_in_the_first_trial_only(textures, tmp_path, monkeypatch):
    computed = []
    features = gather.features
    monkeypatch.setattr(gather, "features", lambda *a, **w: computed.append(1) or features(*a, **w))
    space = {"label_smoothing": (0.0, 0.3)}
    words = {**QUICK, "method": "probe", "views": 0}
    for name in ("mixup", "augment", "layer_decay"):
        del words[name]
    ft.tune(textures, out=tmp_path / "s", trials=2, space=space, **words)
    assert len(computed) == 1
    # Another search of the same pictures takes them from the cache.
    monkeypatch.setattr(loaders, "read_image", lambda *a, **w: pytest.fail("read again"))
    ft.tune(textures, out=tmp_path / "other", trials=1, space=space, **words)


def test_a_trial_without_hope_is_given_up(textures, tmp_path, monkeypatch):
    monkeypatch.setattr(trials, "BEFORE_PRUNING", 1)
    space = {"lr": [1e-3, 1e-7]}
    words = {**QUICK, "method": "full", "epochs": 3, "monitor": "log_loss"}
    rates = iter([1e-3, 1e-3, 1e-7])
    monkeypatch.setattr(trials, "_suggested", lambda *args: {"lr": next(rates)})
    found = ft.tune(textures, out=tmp_path / "s", trials=3, space=space, **words)
    last = found.trials.iloc[-1]
    assert last["state"] == "pruned" and last["judged"] < 3 and "given up at step" in last["reason"]
    assert np.isnan(last["value"]) and found.number != last["number"]


def test_a_trial_that_goes_wrong_is_told_and_the_search_goes_on(textures, tmp_path, monkeypatch):
    learn, calls = trials.learn, []

    def fails(material, splits, *rest):
        calls.append(1)
        if len(calls) == 1:
            raise TrainingError("The training loss became nan")
        return learn(material, splits, *rest)

    monkeypatch.setattr(trials, "learn", fails)
    found = ft.tune(textures, out=tmp_path / "s", trials=2, space=SPACE, **QUICK)
    assert found.trials["state"].tolist() == ["failed", "complete"] and "nan" in found.trials["reason"][0]


def test_where_no_trial_ends_well_the_first_reason_is_told(textures, tmp_path, monkeypatch):
    def fails(*args):
        raise TrainingError("The training loss became nan")

    monkeypatch.setattr(trials, "learn", fails)
    with pytest.raises(TrainingError, match=r"None of 2 trials ended well. The first: .*nan"):
        ft.tune(textures, out=tmp_path / "s", trials=2, space=SPACE, **QUICK)


@pytest.mark.thorough
def test_a_stopped_search_fits_the_best_so_far_and_goes_on_later(textures, tmp_path, monkeypatch):
    learn, calls = trials.learn, []

    def stops(material, splits, *rest):
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return learn(material, splits, *rest)

    monkeypatch.setattr(trials, "learn", stops)
    found = ft.tune(textures, out=tmp_path / "s", trials=3, space=SPACE, **QUICK)
    assert found.stopped and found.trials["state"].tolist() == ["complete", "failed"] and len(calls) == 3
    assert found.trials["reason"].tolist() == ["", "stopped"]
    on = ft.tune(textures, out=tmp_path / "s", trials=3, space=SPACE, **QUICK)
    assert not on.stopped and (on.trials["state"] == "complete").sum() == 3


def test_time_makes_one_trial_in_any_case_and_none_that_would_end_later(textures, tmp_path):
    found = ft.tune(textures, out=tmp_path / "s", trials=50, time=0.001, space=SPACE, **QUICK)
    assert len(found.trials) == 1 and (found.folder / "best" / "metrics.json").exists()


def test_another_search_in_its_folder_is_refused_with_what_differs(found, textures, tmp_path):
    for words, said in (({"seed": 1}, "seed"), ({"space": {**SPACE, "lr": (1e-4, 1e-1)}}, "low")):
        with pytest.raises(RunFolderError, match=f"differs in {said}"):
            ft.tune(textures, out=found.folder, trials=4, **{"space": SPACE, **QUICK, **words})
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("")
    with pytest.raises(RunFolderError, match=r"holds thesis\.txt"):
        ft.tune(textures, out=tmp_path / "mine", overwrite=True, space=SPACE, **QUICK)


def test_other_pictures_are_not_judged_together(found, tmp_path):
    source = class_folders(tmp_path / "pictures")
    shutil.copytree(found.folder, tmp_path / "s")
    asked = json.loads((tmp_path / "s" / "search.json").read_text())
    asked["recipe"]["data"]["source"] = str(source)
    (tmp_path / "s" / "search.json").write_text(json.dumps(asked))
    (source / "rings" / "11.png").unlink()
    with pytest.raises(DataError, match="are not those of the search"):
        ft.tune(source, out=tmp_path / "s", trials=5, space=SPACE, **QUICK)


@pytest.mark.parametrize("words, said", [
    ({"folds": 3}, "tune takes no folds"),
    ({"trials": 0}, "trials must be 1 or more"),
    ({"time": "soon"}, "time must be as 90s"),
    ({"metod": "probe"}, 'tune takes no metod. It takes the keywords of fit. Did you mean "method"'),
    ({"space": {"lrr": (0.1, 0.2)}}, "lrr cannot be searched"),
    ({"batch_size": 0}, "batch_size must be 1 or more"),
])  # fmt: skip
def test_options_are_refused_before_any_file_is_read_and_nothing_is_written(tmp_path, words, said):
    with pytest.raises(ConfigError) as told:
        ft.tune("nowhere", out=tmp_path / "s", **{**QUICK, **words})
    assert said in str(told.value) and not (tmp_path / "s").exists()


def test_without_optuna_the_extra_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "optuna", None)
    with pytest.raises(ConfigError, match=r"pip install 'finetune\[tune\]'"):
        ft.tune("nowhere", out=tmp_path / "s", **QUICK)


def test_the_command_line_says_the_same(found, textures, tmp_path, capsys):
    words = ["--out", str(tmp_path / "s"), "--trials", "2", "--search", "method=probe,full", "--search", "epochs=1..2",
             "--search", "lr=1e-5..1e-1", "--search", "views=0"]  # fmt: skip
    for name, value in QUICK.items():
        if name != "verbose":
            words += [f"--{name.replace('_', '-')}", str(value)]
    assert cli.call(["tune", str(textures), *words, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["best"]["monitor"] == "accuracy" and told["trials"] == {"complete": 2}
    table = pd.read_csv(tmp_path / "s" / "trials.csv")
    np.testing.assert_allclose(table["value"], found.trials["value"][:2])
    assert cli.call(["tune", str(textures), *words]) == 0
    assert "2 trials; accuracy on validation" in capsys.readouterr().out
    assert cli.call(["tune", str(textures), "--out", str(tmp_path / "t"), "--search", "lrr=1,2"]) == 2
    assert "finetune: lrr cannot be searched" in capsys.readouterr().err


def test_of_points_methods_are_searched_that_take_steps_and_nothing_is_mixed():
    for options in ({"task": "embed"}, {"loss": "sup-con"}):
        space = usual_space(options)
        assert space["method"].values == ("head-then-full", "full") and not {"mixup", "views"} & set(space)
        check_space("folder", {**options, "backbone": "finetune/lenet5"}, space, None, [])
