"""What every task must do from any source: fit -> evaluate -> predict, and come back from disk."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

import finetune as ft
from finetune.data.labels import Labels
from finetune.tasks.metric_names import HIGHER_IS_BETTER
from finetune.tasks.options import CLASS_LOSSES, NUMBER_LOSSES, TAG_LOSSES
from tests.made import KINDS, QUICK, parts_of, table, texture

COUNT = 36


@dataclass(frozen=True)
class World:
    """Pictures of one kind each, some of them bright, and what a table says of them."""

    folder: Path
    names: list[str]
    arrays: list[np.ndarray]
    columns: dict[str, list[Any]]


@pytest.fixture(scope="session")
def world(tmp_path_factory):
    folder, rng = tmp_path_factory.mktemp("world"), np.random.default_rng(0)
    kinds = [KINDS[n % 3] for n in range(COUNT)]
    levels = [float(level) for level in rng.uniform(70, 190, COUNT).round(2)]
    arrays = [texture(kind, rng, level=level) for kind, level in zip(kinds, levels, strict=True)]
    names = [f"{n:02}.png" for n in range(COUNT)]
    for name, array in zip(names, arrays, strict=True):
        Image.fromarray(array).save(folder / name)
    bright = [level > 130 for level in levels]
    tags = [kind + ("|bright" if b else "") for kind, b in zip(kinds, bright, strict=True)]
    columns = {"kind": kinds, "two": [int(b) for b in bright], "tags": tags, "level": levels}
    columns |= {kind: [int(k == kind) for k in kinds] for kind in KINDS} | {"bright": [int(b) for b in bright]}
    return World(folder, names, arrays, columns)


@dataclass(frozen=True)
class Case:
    """A target, and what must come of it."""

    target: str | list[str]
    kind: str
    names: tuple[str, ...]
    words: dict[str, Any]


CASES = {
    "class": Case("kind", "classify", KINDS, {}),
    "two classes": Case("two", "classify", ("0", "1"), {}),
    "labels in a cell": Case("tags", "tag", ("bright", *KINDS), {"delimiter": "|"}),
    "a column a label": Case([*KINDS, "bright"], "tag", ("bright", *KINDS), {}),
    "number": Case("level", "regress", (), {}),
}
METRICS = {
    "classify": {"accuracy", "balanced_accuracy", "auroc", "f1", "log_loss", "auprc", "brier"},
    "tag": {"accuracy", "balanced_accuracy", "auroc", "f1", "log_loss", "auprc", "brier"},
    "regress": {"rmse", "mae", "r2"},
}


def of_csv(world, case, tmp_path):
    used = case.target if isinstance(case.target, list) else [case.target]
    rows = list(zip(world.names, *(world.columns[name] for name in used), strict=True))
    file = table(tmp_path / "t.csv", ("image", *used), rows)
    return file, {"image": "image", "target": case.target, "root": str(world.folder), **case.words}


def of_dataframe(world, case, tmp_path):
    frame = pd.DataFrame({"image": world.names, **world.columns}, index=range(100, 100 + COUNT))
    return frame, {"image": "image", "target": case.target, "root": str(world.folder), **case.words}


def of_parquet(world, case, tmp_path):
    frame, words = of_dataframe(world, case, tmp_path)
    frame.to_parquet(tmp_path / "t.parquet")
    return tmp_path / "t.parquet", words


def targets(world, case):
    if isinstance(case.target, list):
        marks = zip(*(world.columns[name] for name in case.target), strict=True)
        return [tuple(name for name, mark in zip(case.target, row, strict=True) if mark) for row in marks]
    values = world.columns[case.target]
    return [tuple(value.split("|")) for value in values] if case.kind == "tag" else values


def of_pairs(world, case, tmp_path):
    paths = [str(world.folder / name) for name in world.names]
    return list(zip(paths, targets(world, case), strict=True)), {}


def of_arrays(world, case, tmp_path):
    return (world.arrays, targets(world, case)), {}


SOURCES = {"csv": of_csv, "dataframe": of_dataframe, "parquet": of_parquet, "pairs": of_pairs, "arrays": of_arrays}
QUICKLY = [
    *(pytest.param(case, "csv", id=f"{case}-csv") for case in CASES),
    *(
        pytest.param(case, source, id=f"{case}-{source}")
        for case, source in zip(CASES, list(SOURCES)[1:], strict=False)
    ),
]
THE_REST = [
    pytest.param(case, source, id=f"{case}-{source}", marks=pytest.mark.thorough)
    for case in CASES
    for source in SOURCES
    if (case, source) not in [tuple(param.values) for param in QUICKLY]
]


@pytest.mark.parametrize(("case", "source"), [*QUICKLY, *THE_REST])
def test_a_task_goes_from_fit_over_evaluate_to_predict_and_back_from_disk(world, tmp_path, case, source):
    case = CASES[case]
    examples, words = SOURCES[source](world, case, tmp_path)
    model = ft.fit(examples, **QUICK, **words, out=tmp_path / "run")
    assert model.facts["chosen"]["monitor"] == model.task.check_monitor(None)
    assert json.loads((tmp_path / "run" / "recipe.json").read_text())["recipe"]["task"]["kind"] == case.kind
    assert model.classes == case.names

    loaded = ft.load(tmp_path / "run")
    metrics = loaded.evaluate(examples, **words)
    assert parts_of(metrics) == ["test"]
    for figures in (model.metrics["validation"], model.metrics["test"], metrics["test"]):
        assert set(figures) == METRICS[case.kind]
        # The average precision of five pictures drawn again and again is mostly higher than that of the five.
        sure = [figure for name, figure in figures.items() if name != "auprc"]
        assert all(figure["low"] <= figure["value"] <= figure["high"] for figure in sure)
    assert metrics["test"][model.task.metrics[0]]["n"] == COUNT

    inputs = world.arrays if source == "arrays" else [world.folder / name for name in world.names]
    answered = loaded.predict(inputs)
    assert list(answered.columns) == ["path", "label", *case.names, "error"]
    assert (answered["error"] == "").all()
    pd.testing.assert_frame_equal(answered, model.predict(inputs), check_exact=True)
    check_answers(case, answered)
    check_value(case, answered, targets(world, case), metrics["test"])


def check_answers(case, answered):
    """What stands in the table hangs together."""
    probabilities = answered[list(case.names)].to_numpy()
    if case.kind == "regress":
        assert np.isfinite(answered["label"].astype(float)).all()
        return
    assert ((probabilities >= 0) & (probabilities <= 1)).all()
    if case.kind == "classify":
        np.testing.assert_allclose(probabilities.sum(axis=1), 1)
        assert list(answered["label"]) == [case.names[k] for k in probabilities.argmax(axis=1)]
    else:
        expected = ["|".join(np.array(case.names)[row >= 0.5]) for row in probabilities]
        assert list(answered["label"]) == expected


def check_value(case, answered, expected, metrics):
    """The quoted figure is what a person would compute from the table of answers; and something was learned."""
    if case.kind == "regress":
        error = answered["label"].astype(float) - expected
        assert metrics["rmse"]["value"] == pytest.approx(np.sqrt(np.mean(error**2)), rel=1e-4)
        assert metrics["r2"]["value"] > 0.5
    else:
        given = [set(label.split("|")) - {""} for label in answered["label"].astype(str)]
        wanted = [set(value) if isinstance(value, tuple) else {str(value)} for value in expected]
        right = np.mean([a == b for a, b in zip(given, wanted, strict=True)])
        assert metrics["accuracy"]["value"] == pytest.approx(right)
        assert metrics["auroc"]["value"] > 0.6


@pytest.mark.parametrize("source", ["dataframe", *(pytest.param(s, marks=pytest.mark.thorough) for s in SOURCES)])
def test_points_go_from_fit_over_evaluate_to_predict_and_back_from_disk(world, tmp_path, source):
    """Three classes are too few to hold whole ones out, so that these are measured on new pictures of known classes."""
    case = CASES["class"]
    examples, words = SOURCES[source](world, case, tmp_path)
    words |= {**QUICK, "method": "full", "epochs": 2, "batch_size": 8, "task": "embed", "embedding_size": 6}
    model = ft.fit(examples, **words, out=tmp_path / "run")
    assert json.loads((tmp_path / "run" / "recipe.json").read_text())["recipe"]["task"]["kind"] == "embed"
    assert model.classes == KINDS and model.metrics["retrieval"]["test"] == {"classes": 3, "learned_from": 3}
    loaded = ft.load(tmp_path / "run")
    metrics = loaded.evaluate(examples, **SOURCES[source](world, case, tmp_path)[1])
    for figures in (model.metrics["validation"], model.metrics["test"], metrics["test"]):
        assert set(figures) == {"map_at_r", "recall_at_1", "recall_at_10"}
        assert all(figure["low"] <= figure["value"] <= figure["high"] for figure in figures.values())
    inputs = world.arrays if source == "arrays" else [world.folder / name for name in world.names]
    answered = loaded.predict(inputs)
    assert list(answered.columns) == ["path", *(f"embedding_{k}" for k in range(6)), "error"]
    pd.testing.assert_frame_equal(answered, model.predict(inputs), check_exact=True)
    points = answered.filter(like="embedding").to_numpy()
    np.fill_diagonal(cosine := points @ points.T, -1)
    right = np.mean([a == b for a, b in zip(np.array(world.columns["kind"])[cosine.argmax(axis=1)],
                                            world.columns["kind"], strict=True)])  # fmt: skip
    assert metrics["test"]["recall_at_1"]["value"] == pytest.approx(right)
    rows = pd.read_csv(tmp_path / "run" / "metrics.csv")
    assert list(rows["epoch"]) == [1, 2]
    assert model.facts["chosen"]["score"] == pytest.approx(max(rows["validation_map_at_r"]), rel=1e-5)


@pytest.mark.parametrize("name", ["class", "labels in a cell", "number"])
def test_a_task_learns_by_gradient_steps_too(world, tmp_path, name):
    case = CASES[name]
    examples, words = of_csv(world, case, tmp_path)
    words |= {**QUICK, "method": "full", "epochs": 2, "batch_size": 8, "monitor": "r2" if name == "number" else "f1"}
    model = ft.fit(examples, **words, out=tmp_path / "run")
    rows = pd.read_csv(tmp_path / "run" / "metrics.csv")
    assert list(rows["epoch"]) == [1, 2]
    assert model.facts["chosen"]["score"] == pytest.approx(max(rows[f"validation_{words['monitor']}"]), rel=1e-5)
    metric = model.task.metrics[0]
    figure = model.metrics["validation"][metric]["value"]
    assert figure == pytest.approx(rows[f"validation_{metric}"][model.facts["chosen"]["epoch"] - 1], rel=1e-3)


LOSSES = {"class": CLASS_LOSSES, "labels": TAG_LOSSES, "number": NUMBER_LOSSES}


def tasks():
    for kind, names in (("class", ("a", "b", "c")), ("labels", ("a", "b", "c")), ("number", ())):
        labels = Labels(kind=kind, names=names, center=10.0, scale=3.0)
        rng = np.random.default_rng(0)
        target = {
            "class": rng.integers(0, 3, 50),
            "labels": rng.integers(0, 2, (50, 3)).astype(np.float32),
            "number": rng.normal(10, 3, 50).astype(np.float32),
        }[kind]
        said = (
            target
            if kind == "number"
            else [
                names[row] if kind == "class" else tuple(n for n, mark in zip(names, row, strict=True) if mark)
                for row in target
            ]
        )
        options = {"class": ft.Classify, "labels": ft.Tag, "number": ft.Regress}[kind]
        for loss in LOSSES[kind]:
            yield pytest.param(options(loss=loss).build(labels, said), target, id=f"{kind}-{loss}")


IMBALANCE = {
    "focal": ("class", {"loss": "focal", "class_weight": "balanced", "sampler": "shuffle"}),
    "logit-adjusted": ("two classes", {"loss": "logit-adjusted", "mixup": 0.2}),
    "asymmetric": ("labels in a cell", {"loss": "asymmetric", "sampler": "balanced", "cutmix": 1.0}),
    "a number": ("number", {"loss": "huber", "mixup": 0.2}),
}


@pytest.mark.parametrize(
    "name", [name if name == "asymmetric" else pytest.param(name, marks=pytest.mark.thorough) for name in IMBALANCE]
)
def test_losses_samplers_and_mixing_work_from_fit_to_disk_and_are_told(world, tmp_path, capsys, name):
    case, words = CASES[IMBALANCE[name][0]], IMBALANCE[name][1]
    examples, of_case = of_csv(world, case, tmp_path)
    model = ft.fit(
        examples, **{**QUICK, **of_case, **words, "method": "lp-ft", "epochs": 1, "batch_size": 8, "verbose": True},
        out=tmp_path / "run",
    )  # fmt: skip
    loaded = ft.load(tmp_path / "run")
    assert loaded.task.answer(torch.zeros(2, loaded.task.labels.num_outputs)).shape[0] == 2
    assert set(model.metrics["test"]) == METRICS[case.kind]
    shown = (tmp_path / "run" / "report.md").read_text() + capsys.readouterr().out
    assert shown.count(words["loss"]) >= 2
    for word in {"sampler", "mixup", "cutmix"} & words.keys():
        assert (f"{word} {words[word]:g}" if word != "sampler" else "balanced") in shown or words[word] == "shuffle"


@pytest.mark.parametrize(("task", "target"), list(tasks()))
def test_a_better_answer_has_a_lower_loss_and_better_metrics(task, target):
    noise = torch.randn(50, task.labels.num_outputs, generator=torch.Generator().manual_seed(0))
    right = perfect(task, target)
    losses, measured = [], []
    for share in (0.0, 0.5, 1.0):
        logits = share * right + (1 - share) * noise
        losses.append(float(task.loss(logits, torch.from_numpy(target))))
        measured.append(task.measure(task.answer(logits), target))
    assert losses == sorted(losses, reverse=True)
    for name in task.metrics:
        values = [metrics[name] if HIGHER_IS_BETTER[name] else -metrics[name] for metrics in measured]
        assert values == sorted(values), name
    assert set(measured[0]) == set(task.metrics)
    assert task.check_monitor(None) in task.metrics


def perfect(task, target):
    """Logits that say exactly the target."""
    if task.labels.kind == "number":
        return torch.from_numpy((target - task.labels.center) / task.labels.scale)[:, None]
    if task.labels.kind == "class":
        return 20.0 * torch.nn.functional.one_hot(torch.from_numpy(target), 3) - 10
    return 20 * torch.from_numpy(target) - 10


@pytest.mark.parametrize(("task", "target"), list(tasks()))
def test_a_perfect_answer_is_named_as_the_target_is(task, target):
    named = task.name(task.answer(perfect(task, target)))
    if task.labels.kind == "number":
        np.testing.assert_allclose(named, target, rtol=1e-5)
    elif task.labels.kind == "class":
        assert named == [task.labels.names[k] for k in target]
    else:
        assert named == ["|".join(n for n, mark in zip(task.labels.names, row, strict=True) if mark) for row in target]
