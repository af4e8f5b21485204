"""`ft.rank` and `finetune rank`: backbones in the order in which they suit some examples."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from torch import nn

import finetune as ft
from finetune import cli
from finetune.errors import ConfigError, DataError, WeightsError
from finetune.features import features, pooled
from finetune.ranking.training_part import training_part
from finetune.report.intervals import measure
from finetune.report.logme import logme
from finetune.report.printed import Talk
from finetune.training.machine import seed_all
from finetune.training.probe import fit_head, plain_head
from tests.made import KINDS, class_folders

LENET = ft.Backbone("finetune/lenet5", weights="none")
QUICK = {"accelerator": "cpu", "copies": "exact"}


class Sees(nn.Module):
    """Its features are the mean of each channel, of which `share` can be seen behind a noise of its own."""

    def __init__(self, share):
        super().__init__()
        self.share = share
        self.fc = nn.Linear(3, 1)

    def forward(self, x):
        mean = x.mean(dim=(2, 3))
        return self.fc(self.share * mean + (1 - self.share) * torch.sin(1e4 * mean))


def sees(share):
    return ft.Backbone.from_module(Sees(share), head="fc", input_size=8)


def lights(root, count=24, seed=0):
    """Dark and light pictures, which a mean tells apart."""
    rng = np.random.default_rng(seed)
    for kind, level in (("dark", 100), ("light", 130)):
        (root / kind).mkdir(parents=True)
        for number in range(count):
            picture = np.clip(rng.normal(level + rng.normal(0, 8), 20, (16, 16, 3)), 0, 255).astype(np.uint8)
            Image.fromarray(picture).save(root / kind / f"{number}.png")
    return root


@pytest.fixture(scope="module")
def shades(tmp_path_factory):
    return lights(tmp_path_factory.mktemp("lights") / "pictures")


@pytest.fixture(scope="module")
def ranking(shades):
    return ft.rank(shades, backbones=[sees(0.0), LENET, "finetune/lenet5", sees(1.0)], **QUICK)


def test_what_tells_the_classes_apart_comes_first_and_what_cannot_be_had_last(ranking):
    blind, seeing = (next(row for row in ranking.rows if row.backbone.name.startswith("module/")
                          and row.backbone.module.share == share) for share in (0.0, 1.0))  # fmt: skip
    assert ranking.best is seeing and ranking.metric == "accuracy"
    assert seeing.metrics["accuracy"]["value"] > 0.8 > 0.75 > blind.metrics["accuracy"]["value"]
    assert seeing.logme > blind.logme
    assert not blind.tied and blind.behind["high"] < 0 and seeing.tied and seeing.behind is None
    last = ranking.rows[-1]
    assert last.backbone == ft.Backbone("finetune/lenet5") and "Nobody publishes weights" in last.error
    assert last.metrics is None and not last.tied
    assert len({row.name for row in ranking.rows}) == 4


def test_the_figures_are_those_of_the_cached_features_of_the_training_part(shades):
    backbone = ft.Backbone("torchvision/squeezenet1_1", weights="none", input_size=64)
    row = ft.rank(shades, backbones=backbone, seed=3, **QUICK).best
    recipe = ft.Recipe(data=ft.Data(source=shades, copies="exact"), plan=ft.Plan(seed=3))
    part = training_part(recipe, most=2000, in_chans=3, talk=Talk(None))
    seed_all(3)
    values = features(backbone.build(1), part.examples).values
    assert values.ndim == 4  # a map, which is averaged
    values = pooled(values)
    fit = fit_head(plain_head(512, 2), values, part.target, part.task, seed=3)
    expected = measure(part.task, part.task.answer(torch.from_numpy(fit.held_out)), part.target, seed=3)
    assert row.metrics == expected and row.penalty == fit.penalty
    assert row.logme == pytest.approx(logme(values, part.target)) and row.width == 512
    assert row.parameters == sum(p.numel() for p in backbone.build(1).body.parameters())


def test_a_second_time_features_are_known_and_nothing_else_changes(shades):
    first, second = (ft.rank(shades, backbones=LENET, seed=9, **QUICK).best for _ in range(2))
    assert (first.cached, second.cached) == (False, True)
    assert first.metrics == second.metrics and first.logme == second.logme
    assert first.rate > 0 and second.rate > 0 and first.timed_on > 0 and 0 < second.timed_on <= 48


def test_it_ranks_several_labels_and_numbers(shades):
    rows = [(str(file), kind) for kind in ("dark", "light") for file in sorted((shades / kind).iterdir())]
    table = pd.DataFrame(rows, columns=["path", "kind"])
    table["dark"], table["even"] = (table["kind"] == "dark").astype(int), np.arange(len(table)) % 2
    table["level"] = [float(np.asarray(Image.open(path)).mean()) for path in table["path"]]
    words = {"image": "path", "backbones": [sees(0.0), sees(1.0)], **QUICK}
    labels = ft.rank(table, target=["dark", "even"], **words)
    number = ft.rank(table, target="level", **words)
    assert labels.metric == "auroc" or labels.metric in labels.best.metrics
    assert number.best.backbone.module.share == labels.best.backbone.module.share == 1.0
    assert number.best.metrics["r2"]["value"] > 0.9 and number.best.logme > number.rows[1].logme


def test_another_metric_orders_where_it_is_asked_for(shades):
    found = ft.rank(shades, backbones=[sees(0.3), sees(1.0)], monitor="log_loss", **QUICK)
    values = [row.metrics["log_loss"]["value"] for row in found.rows]
    assert found.metric == "log_loss" and values == sorted(values)


def test_a_backbone_that_goes_wrong_later_is_a_row_and_the_rest_go_on(shades):
    class Broken(Sees):
        def forward(self, x):
            return self.fc(x.mean(dim=(2, 3)) * float("nan"))

    broken = ft.Backbone.from_module(Broken(1.0), head="fc", input_size=8)
    found = ft.rank(shades, backbones=[broken, sees(1.0)], **QUICK)
    assert [row.error is None for row in found.rows] == [True, False]
    assert "not finite" in found.rows[1].error


def test_where_none_can_be_had_nothing_is_read(tmp_path):
    with pytest.raises(WeightsError, match=r"(?s)None of the backbones.*lenet5.*mlp800"):
        ft.rank(tmp_path / "nowhere", backbones="finetune/lenet5,finetune/mlp800", **QUICK)


def test_copies_and_groups_are_drawn_together_and_never_answer_for_each_other(tmp_path):
    """Pictures of noise, each eight times: whoever saw a copy knows the answer, and nobody else does."""
    rng = np.random.default_rng(0)
    for kind in KINDS[:2]:
        (tmp_path / kind).mkdir()
        for number in range(10):
            picture = rng.integers(0, 256, (8, 8, 3)).astype(np.uint8)
            for copy in range(8):
                Image.fromarray(picture).save(tmp_path / kind / f"{kind}{number}-{copy}.png")
    words = {"backbones": ft.Backbone("finetune/mlp800", weights="none"), "accelerator": "cpu"}
    naive = ft.rank(tmp_path, copies="ignore", **words).best.metrics["accuracy"]
    known = ft.rank(tmp_path, copies="exact", **words).best.metrics["accuracy"]
    grouped = ft.rank(tmp_path, copies="ignore", group_from=r"(\w+)-", **words).best.metrics["accuracy"]
    assert naive["value"] > 0.95
    for figure in (known, grouped):
        assert figure["value"] < 0.8 and figure["high"] - figure["low"] > naive["high"] - naive["low"]


@pytest.fixture
def command(shades, tmp_path):
    return ["rank", str(shades), "--backbones", "finetune/lenet5=none:input_size=32, finetune/mlp800",
            "--backbones", "finetune/mlp800=none", "--accelerator", "cpu", "--copies", "exact"]  # fmt: skip


def test_the_command_prints_a_table_and_why_one_is_missing(command, capsys):
    assert cli.call(command) == 0
    printed = capsys.readouterr()
    assert "accuracy of held-out answers" in printed.out and "not stated" in printed.out
    assert "Nobody publishes weights for finetune/mlp800" in printed.out
    assert "Best: finetune/" in printed.out and "test part" in printed.out
    assert "LogME" in printed.err  # a line for each as it is done


def test_json_is_all_that_is_printed_and_the_files_say_the_same(command, tmp_path, capsys):
    out = tmp_path / "deep" / "rank.json"
    assert cli.call([*command, "--json", "--out", str(out)]) == 0
    values = json.loads(capsys.readouterr().out)
    assert json.loads(out.read_text(encoding="utf-8")) == values
    rows = values["backbones"]
    assert [row["error"] is None for row in rows] == [True, True, False]
    assert values["best"] == rows[0]["name"] and rows[0]["behind"] is None
    assert all(row["seconds"] > 0 and row["pictures_per_second"] > 0 for row in rows[:2])
    assert set(rows[0]["metrics"]["accuracy"]) == {"value", "low", "high", "n"}


def test_a_table_of_it_is_written_as_csv(command, tmp_path):
    out = tmp_path / "rank.csv"
    assert cli.call([*command, "--out", str(out)]) == 0
    table = pd.read_csv(out)
    assert list(table["name"])[-1].startswith("finetune/mlp800") and table["place"].isna().tolist() == [
        False,
        False,
        True,
    ]
    assert {"accuracy", "accuracy_low", "accuracy_high", "logme", "license", "behind"} <= set(table.columns)


def test_without_any_weights_the_command_leaves_with_two(shades, capsys):
    assert cli.call(["rank", str(shades), "--backbones", "finetune/lenet5"]) == 2
    assert "None of the backbones could be tried" in capsys.readouterr().err


def test_wrong_options_are_told_before_anything_is_read(tmp_path):
    with pytest.raises(ConfigError):
        ft.rank(tmp_path / "nowhere", backbones="finetune/lenet5O")


def test_a_source_that_holds_too_little_is_refused(tmp_path):
    class_folders(tmp_path, count=2, kinds=KINDS[:2])
    with pytest.raises(DataError, match="too few"):
        ft.rank(tmp_path, backbones=LENET, test=0.4, validation=0.1, most=4, **QUICK)


def test_real_weights_come_before_random_ones(shared_data, shared_weights):
    rows = [(str(path), path.parent.name) for path in sorted((shared_data / "hymenoptera" / "train").rglob("*.jpg"))]
    table = pd.DataFrame(rows[::6], columns=["path", "kind"])
    weights = shared_weights / "mobilenet_v2.torchvision.pth"
    tried = [f"torchvision/mobilenet_v2={given}:mean=0.5:std=0.5" for given in ("none", weights)]
    found = ft.rank(table, image="path", target="kind", backbones=tried, test=0.0, **QUICK)
    assert found.best.backbone.weights == str(weights) and not found.rows[1].tied
    assert found.best.logme > found.rows[1].logme


def test_an_embedding_is_no_head_to_rank_by(shades):
    with pytest.raises(ConfigError, match=r"Expected ft\.retrieval"):
        ft.rank(shades, backbones=["finetune/lenet5=none"], task="embed", verbose=False)
