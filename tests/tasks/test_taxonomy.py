from __future__ import annotations

import itertools
import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics

import finetune as ft
from finetune import cli
from finetune.errors import ConfigError, DataError
from finetune.report.decided import decide, told_of
from finetune.report.judged import Seen, judge
from finetune.report.levels import at_level
from finetune.tasks.options import Classify
from finetune.tasks.taxonomy import OWN, Taxonomy, labels_for, partition
from tests.made import QUICK, class_folders

TREE = {
    "lesion": {
        "benign": {"nv": {}, "keratosis": {"bkl": {}, "sk": {}}},
        "malignant": {"mel": {"lentigo": {}, "nodular": {}}, "bcc": {}, "scc": {}},
        "vasc": {},
    }
}


def walk(tree):
    for name, below in tree.items():
        yield name, below
        yield from walk(below)


def under(below):
    return {name for name, _ in walk(below)}


@st.composite
def counted_trees(draw):
    """A tree of numbers, and how many examples some of its nodes have."""
    names = [f"n{k}" for k in range(draw(st.integers(2, 14)))]
    below, tree = {name: {} for name in names}, {}
    for number, name in enumerate(names):
        above = draw(st.sampled_from([None, *names[:number]]))
        (tree if above is None else below[above])[name] = below[name]
    counts = draw(st.dictionaries(st.sampled_from(names), st.integers(1, 9), min_size=2))
    return tree, counts


def task_of(tree, counts, most):
    options = Classify(taxonomy=tree, max_class_size=most)
    targets = [name for name, n in counts.items() for _ in range(n)]
    labels = labels_for(options, "class", targets)
    return options.build(labels, targets), targets


@given(made=counted_trees(), most=st.integers(1, 60))
def test_each_example_is_in_one_class_and_no_class_that_could_be_divided_is_too_large(made, most):
    tree, counts = made
    found = partition(tree, counts, most)
    covered = [name for nodes in found.values() for name in nodes]
    assert len(covered) == len(set(covered)) and counts.keys() <= set(covered)
    total = sum(counts.values())
    for nodes in found.values():
        size = sum(counts.get(name, 0) for name in nodes)
        assert size > 0
        assert (size < most and size < total) or sum(name in counts for name in nodes) == 1


@given(made=counted_trees())
def test_at_size_1_the_classes_are_those_of_the_examples(made):
    found = partition(*made, 1)
    assert sorted(name.removesuffix(OWN) for name in found) == sorted(made[1])
    for name, nodes in found.items():
        assert [node for node in nodes if node in made[1]] == [name.removesuffix(OWN)]


@given(made=counted_trees())
def test_a_huge_size_gives_the_first_nodes_that_do_not_hold_everything(made):
    tree, counts = made
    nodes = dict(walk(tree))
    size = {name: sum(counts.get(one, 0) for one in {name} | under(below)) for name, below in nodes.items()}
    total = sum(counts.values())
    above = {child: name for name, below in nodes.items() for child in below}
    whole = {name for name in nodes if 0 < size[name] < total and size.get(above.get(name), total) == total}
    own = {name for name in nodes if size[name] == total and name in counts}
    assert {name for name in partition(tree, counts, 10**9) if not name.endswith(OWN)} - own == whole
    assert {name.removesuffix(OWN) for name in partition(tree, counts, 10**9)} == whole | own


def test_the_three_branches_of_the_algorithm_on_a_tree_by_hand():
    counts = {"nv": 50, "bkl": 6, "sk": 3, "mel": 4, "lentigo": 8, "nodular": 1, "bcc": 3, "malignant": 2, "vasc": 9}
    assert partition(TREE, counts, 10) == {
        "nv": ("nv",), "keratosis": ("keratosis", "bkl", "sk"),
        "lentigo": ("lentigo",), "nodular": ("nodular",), f"mel{OWN}": ("mel",), "bcc": ("bcc",),
        f"malignant{OWN}": ("malignant",), "vasc": ("vasc",),
    }  # fmt: skip
    assert partition(TREE, counts, 14)["mel"] == ("mel", "lentigo", "nodular")


@given(made=counted_trees(), most=st.integers(1, 60), seed=st.integers(0, 9))
def test_a_node_is_as_likely_as_its_children_and_its_own_class_together(made, most, seed):
    tree, counts = made
    task, _ = task_of(tree, counts, most)
    known = task.taxonomy
    answer = np.random.default_rng(seed).dirichlet(np.ones(len(known.classes)), size=3)
    at = dict(zip(known.nodes, (answer @ known.matrix(known.nodes)).T, strict=True))
    of_class = dict(zip(known.classes, answer.T, strict=True))
    assert set(np.unique(known.matrix(known.nodes))) <= {0.0, 1.0}
    for name, below in walk(tree):
        if name in at and name not in of_class:
            own = of_class.get(name + OWN, 0)
            np.testing.assert_allclose(sum(at[c] for c in below if c in at) + own, at[name])
        elif name in at:
            np.testing.assert_array_equal(at[name], of_class[name])
    np.testing.assert_allclose(sum(at[name] for name in tree if name in at), 1)


@given(made=counted_trees(), most=st.integers(1, 60))
def test_each_level_divides_the_classes_and_refines_the_one_before(made, most):
    task, _ = task_of(*made, most)
    levels = task.taxonomy.levels
    for level in levels:
        np.testing.assert_array_equal(level.matrix.sum(axis=1), 1)
        assert (level.matrix.sum(axis=0) > 0).all()
    for coarse, fine in itertools.pairwise(levels):
        held = fine.matrix.T @ coarse.matrix > 0  # (fine nodes, coarse nodes)
        assert (held.sum(axis=1) == 1).all()
    if levels:
        assert levels[-1].names == task.labels.names
        np.testing.assert_array_equal(levels[-1].matrix, np.eye(len(task.labels.names)))


@given(made=counted_trees(), most=st.integers(1, 60))
def test_a_finer_name_is_encoded_as_the_class_that_holds_it(made, most):
    task, targets = task_of(*made, most)
    found = partition(*made, most)
    for target, place in zip(targets, task.labels.encode(targets), strict=True):
        assert target in found[task.labels.names[place]]


def test_labels_with_merged_names_come_back_from_json():
    options = Classify(taxonomy=TREE, max_class_size=10)
    labels = labels_for(options, "class", ["nv"] * 20 + ["bkl", "sk", "bcc", "scc"])
    assert labels.names == ("keratosis", "malignant", "nv")
    assert type(labels).from_dict(json.loads(json.dumps(labels.to_dict()))) == labels
    # A leaf of which nothing was seen belongs to the class that all of its branch is.
    assert labels.names[labels.encode(["lentigo"])[0]] == "malignant"


def test_levels_measure_what_scikit_learn_measures_of_sums_by_hand():
    rng = np.random.default_rng(0)
    names = ("nv", "bkl", "sk", "lentigo", "nodular", "bcc", "scc", "vasc")
    target = np.array([*names, *rng.choice(names, 80)])
    task, _ = task_of(TREE, dict(zip(*np.unique(target, return_counts=True), strict=True)), 1)
    encoded = task.labels.encode(list(target))
    answer = rng.dirichlet(np.ones(8) / 3, size=88)
    answer = (answer + 0.3 * np.eye(8)[encoded]) / 1.3  # better than chance, and often wrong
    place = {name: k for k, name in enumerate(task.labels.names)}
    coarse = {"nv": 0, "bkl": 0, "sk": 0, "lentigo": 1, "nodular": 1, "bcc": 1, "scc": 1, "vasc": 2}
    sums = np.stack([sum(answer[:, place[n]] for n in names if coarse[n] == k) for k in range(3)], axis=1)
    truth = [coarse[name] for name in target]
    told = judge(task, {"test": Seen(answer=answer, target=encoded)})
    first = told["levels"]["test"][0]
    assert (first["level"], first["nodes"]) == (1, ["benign", "malignant", "vasc"])
    by_hand = {
        "accuracy": metrics.accuracy_score(truth, sums.argmax(axis=1)),
        "balanced_accuracy": metrics.balanced_accuracy_score(truth, sums.argmax(axis=1)),
        "auroc": metrics.roc_auc_score(truth, sums, multi_class="ovr"),
        "f1": metrics.f1_score(truth, sums.argmax(axis=1), average="macro"),
        "log_loss": metrics.log_loss(truth, sums),
    }
    assert {name: figure["value"] for name, figure in first["metrics"].items()} == pytest.approx(by_hand, abs=1e-9)
    assert all(f["low"] <= f["value"] <= f["high"] and f["n"] == 88 for f in first["metrics"].values())
    last = told["levels"]["test"][-1]["metrics"]
    assert last == {name: told["test"][name] for name in last}


def test_the_likeliest_node_need_not_hold_the_likeliest_class():
    known = Taxonomy({"a": {"a1": {}, "a2": {}, "a3": {}}, "b": {}}, ("a1", "a2", "a3", "b"))
    level = known.at(1)
    answer = np.array([[0.2, 0.2, 0.2, 0.4]]) @ level.matrix
    assert level.names[int(answer.argmax())] == "a"


def test_a_level_that_tells_nothing_apart_is_none():
    chain = Taxonomy({"all": {"skin": {"a": {}, "b": {}}}}, ("a", "b"))
    assert [level.depth for level in chain.levels] == [2]
    with pytest.raises(ConfigError, match=r"no level 1 .* Expected 2 \(2 nodes\)"):
        chain.at(1)


def test_labels_that_are_not_in_the_tree_are_named_with_the_nearest():
    with pytest.raises(DataError, match=r'1 classes .* taxonomy: kerratosis.*Did you mean "keratosis"'):
        labels_for(Classify(taxonomy=TREE), "class", ["nv", "kerratosis"])


def test_a_node_with_the_name_of_a_rest_is_refused():
    with pytest.raises(DataError, match="another name"):
        labels_for(Classify(taxonomy={"a": ["b", f"a{OWN}"], "c": []}), "class", ["a", "b", "c"])


def test_options_refuse_what_cannot_be_right():
    wrong = [
        ({"max_class_size": 5}, "a taxonomy with it"),
        ({"max_class_size": 0, "taxonomy": TREE}, "1 or more"),
        ({"taxonomy": {"a": ["b", "b"]}}, "two places"),
        ({"taxonomy": 3}, "must be a file"),
    ]
    for words, told in wrong:
        with pytest.raises(ConfigError, match=told):
            Classify(**words)


@pytest.mark.parametrize("words", [["--task", "regress"], ["--task", "tag"], ["--loss", "huber"]])
def test_tasks_without_classes_refuse_a_taxonomy_before_any_file_is_read(words, tmp_path, capsys):
    gone = str(tmp_path / "gone")
    assert cli.call(["fit", gone, "--taxonomy", gone + ".yaml", *words]) == 2
    assert "takes no taxonomy" in capsys.readouterr().err


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """Six pictures of each of four kinds, two of which are one and the same texture, and a tree of them."""
    folder = tmp_path_factory.mktemp("tree") / "data"
    class_folders(folder, count=10)
    class_folders(folder / "more", count=10, kinds=("stripes",), seed=1)
    (folder / "more" / "stripes").rename(folder / "bands")
    (folder / "more").rmdir()
    tree = folder.parent / "tree.yaml"
    tree.write_text("all:\n  lines: [stripes, bands]\n  rings:\n  checks:\n", encoding="utf-8")
    return folder, tree


@pytest.fixture(scope="module")
def run(pictures, tmp_path_factory):
    folder, tree = pictures
    return ft.fit(folder, **QUICK, taxonomy=str(tree), out=tmp_path_factory.mktemp("taxonomy") / "run")


def test_a_run_knows_its_tree_without_the_file(pictures, run):
    model = ft.load(run.folder)
    assert model.task == run.task and model.task.taxonomy is not None
    assert ft.read_recipe(run.folder).task.taxonomy["all"]["lines"] == {"stripes": {}, "bands": {}}
    table = model.predict(str(pictures[0] / "rings"))
    assert list(table) == ["path", "label", "bands", "checks", "rings", "stripes", "lines", "error"]
    np.testing.assert_allclose(table["lines"], table["stripes"] + table["bands"])
    level = model.predict(str(pictures[0] / "rings"), level=1)
    assert list(level) == ["path", "label", "checks", "lines", "rings", "error"]
    for name in ("checks", "lines", "rings"):
        np.testing.assert_allclose(level[name], table[name])
    assert list(level["label"]) == list(level[["checks", "lines", "rings"]].idxmax(axis=1))


def test_probabilities_of_nodes_are_sums_of_calibrated_ones(run, pictures):
    decisions = {**run.facts["decisions"], "temperature": 3.0}
    warm = replace(run, facts={**run.facts, "decisions": decisions})
    cold, table = run.predict(str(pictures[0] / "bands")), warm.predict(str(pictures[0] / "bands"))
    raised = cold[list(run.classes)].to_numpy() ** (1 / 3 * run.facts["decisions"]["temperature"])
    raised /= raised.sum(axis=1, keepdims=True)
    place = [run.classes.index(name) for name in ("stripes", "bands")]
    np.testing.assert_allclose(table["lines"], raised[:, place].sum(axis=1), rtol=1e-6)


def test_every_page_of_a_run_tells_its_levels(run):
    told = json.loads((run.folder / "metrics.json").read_text())
    assert [one["level"] for one in told["levels"]["test"]] == [1, 2]
    assert told["levels"]["test"][1]["metrics"]["accuracy"] == told["test"]["accuracy"]
    for page in ("report.md", "report.html", "model/README.md"):
        assert "Levels of the taxonomy" in (run.folder / page).read_text(encoding="utf-8"), page


def test_small_classes_are_put_together_measured_and_compared(pictures, run, tmp_path, capsys):
    folder, tree = pictures
    words = ["--backbone", "finetune/lenet5", "--weights", "none", "--method", "probe", "--accelerator", "cpu"]
    out = tmp_path / "merged"
    asked = ["fit", str(folder), *words, "--taxonomy", str(tree), "--max-class-size", "21", "--out", str(out)]
    assert cli.call(asked) == 0
    assert "The taxonomy makes 3 classes of 4: lines holds bands, stripes." in capsys.readouterr().out
    assert ft.load(out).classes == ("checks", "lines", "rings")
    # Examples keep their own names, and answers to them are those of the class that holds them.
    rows = pd.read_csv(out / "predictions.csv")
    assert {"bands", "stripes"} <= set(rows["target"]) and set(rows["label"]) <= {"checks", "lines", "rings"}
    assert cli.call(["evaluate", str(out), str(folder)]) == 0
    shown = capsys.readouterr().out
    assert "Level 1 of the taxonomy (3 nodes) on test: accuracy 1 (0.9119 to 1)" in shown and "Level 2" not in shown
    assert cli.call(["predict", str(out), str(folder / "bands" / "0.png"), "--level", "2"]) == 2
    assert "no level 2" in capsys.readouterr().err
    # Without the file the recipe says all.
    again = tmp_path / "again"
    ft.fit(recipe=out, out=again, verbose=False)
    assert (again / "predictions.csv").read_bytes() == (out / "predictions.csv").read_bytes()


@pytest.mark.thorough
def test_each_level_has_sets_of_its_own_and_the_last_has_those_of_the_classes(pictures, tmp_path):
    folder, tree = pictures
    model = ft.fit(folder, **QUICK, taxonomy=str(tree), coverage=0.6, validation=0.4, out=tmp_path / "run")
    told = json.loads((tmp_path / "run" / "metrics.json").read_text())
    first, last = told["level_decisions"]["test"]
    assert (first["level"], last["level"]) == (1, 2) and last["conformal"] == told["conformal"]["test"]
    limits = ft.load(tmp_path / "run").facts["decisions"]["levels"]
    assert limits["1"]["limit"] == first["conformal"]["limit"] and limits["2"]["limit"] == last["conformal"]["limit"]
    table = model.predict(str(folder), level=1)
    sure = 1 - table[["checks", "lines", "rings"]].to_numpy() <= limits["1"]["limit"]
    names = np.array(["checks", "lines", "rings"], dtype=object)
    assert list(table["set"]) == ["|".join(names[row]) for row in sure]
    assert list(table["abstained"]) == [row.sum() != 1 for row in sure]
    assert "set" not in model.predict(str(folder), level=1, prior={"rings": 0.5})
    assert told_of(model.task, model.decisions, {}, {}).keys() == {"calibration", "conformal", "level_decisions"}


def test_sets_of_a_level_hold_its_node_as_often_as_was_asked():
    rng = np.random.default_rng(0)
    task, _ = task_of(TREE, dict.fromkeys(("nv", "bkl", "sk", "lentigo", "nodular", "bcc", "scc", "vasc"), 5), 1)
    kinds = len(task.labels.names)

    def drawn(n):
        target = rng.integers(0, kinds, n)
        raised = np.exp(1.5 * (rng.normal(size=(n, kinds)) + 1.5 * np.eye(kinds)[target]))
        return Seen(answer=raised / raised.sum(axis=1, keepdims=True), target=target)

    held = {level.depth: [] for level in task.taxonomy.levels}
    for _ in range(100):
        decided = decide(task, {"validation": drawn(100)}, operate=None, coverage=0.9, priors={})
        new = drawn(200)
        even = replace(new, answer=decided.decisions.calibrated(task, new.answer))
        for level in task.taxonomy.levels:
            nodes = at_level(level, even)
            sets = decided.decisions.at_level(level.depth).sets(nodes.answer)
            held[level.depth].append(sets[np.arange(200), nodes.target].mean())
    assert all(0.88 <= np.mean(shares) <= 0.92 for shares in held.values()), held


def test_a_level_answers_alone_what_is_sure_enough_there():
    rng = np.random.default_rng(0)
    task, _ = task_of(TREE, dict.fromkeys(("nv", "bkl", "sk", "lentigo", "nodular"), 5), 1)
    target = rng.integers(0, 5, 400)
    raised = np.exp(rng.normal(size=(400, 5)) + 1.5 * np.eye(5)[target])
    seen = {"validation": Seen(answer=raised / raised.sum(axis=1, keepdims=True), target=target)}
    decided = decide(task, seen, operate="any:precision>=0.9", coverage=None, priors={})
    told = told_of(task, decided.decisions, seen, decided.parts)["level_decisions"]["validation"]
    shares = [one["answered"]["coverage"]["value"] for one in told]
    assert all(one["answered"]["precision"]["value"] >= 0.9 for one in told)
    assert shares[0] > shares[-1], "coarse nodes are surer than classes"


def test_folds_share_one_partition(pictures, tmp_path):
    folder, tree = pictures
    model = ft.fit(folder, **QUICK, taxonomy=str(tree), max_class_size=21, folds=2, out=tmp_path / "run")
    assert model.classes == ("checks", "lines", "rings") and ft.load(model.folder).task == model.task
    assert [one["level"] for one in model.metrics["levels"]["validation"]] == [1]


def test_a_model_without_a_tree_has_no_level(probed, textures):
    with pytest.raises(ConfigError, match="knows no taxonomy"):
        probed.predict(str(textures / "rings"), level=1)
    assert "levels" not in probed.metrics


def test_a_class_that_all_examples_of_the_tree_come_to_is_divided(pictures, tmp_path, capsys):
    folder, _ = pictures
    (tmp_path / "tree.csv").write_text("child,parent\nchecks,x\nrings,x\nstripes,x\nbands,y\ny,x\n")
    recipe = ft.Recipe(
        data=ft.Data(source=str(folder)), task=Classify(taxonomy=tmp_path / "tree.csv", max_class_size=999)
    )
    assert recipe.to_dict()["task"]["taxonomy"] == str(tmp_path / "tree.csv")
    options = recipe.task
    assert labels_for(options, "class", ["checks", "rings", "bands"]).names == ("checks", "rings", "y")
