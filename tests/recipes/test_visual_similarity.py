"""The shop: on real pictures its neighbours are mostly right, and pictures without products are still searched."""

from __future__ import annotations

import json

import pytest
from PIL import Image

import finetune as ft
from finetune import cli
from tests.made import class_folders

MOBILENET = "mobilenet_v2.torchvision.pth"
_TINY = ["--backbone", "finetune/lenet5", "--weights", "none"]


def test_pictures_without_products_have_a_sheet_and_no_figures(tmp_path):
    folder = class_folders(tmp_path / "made", count=3, kinds=("rings",))
    assert cli.call(["run", "visual_similarity", str(folder / "rings"), *_TINY, "--out", str(tmp_path / "run")]) == 0
    assert json.loads((tmp_path / "run" / "metrics.json").read_text()) == {"searched": 3, "asked": 3}
    with Image.open(tmp_path / "run" / "figures" / "neighbours.png") as sheet:
        assert sheet.width == 1200


def test_a_picture_of_ones_own_is_asked_about(tmp_path):
    folder = class_folders(tmp_path / "made", count=3)
    query = folder / "rings" / "0.png"
    words = ["run", "visual_similarity", str(folder), *_TINY, "--query", str(query), "--k", "8"]
    assert cli.call([*words, "--out", str(tmp_path / "run")]) == 0
    told = json.loads((tmp_path / "run" / "figures" / "neighbours.json").read_text())["queries"]
    assert [one["query"] for one in told] == [str(query)] and len(told[0]["neighbours"]) == 8


@pytest.mark.thorough
def test_on_ants_and_bees_features_find_the_same_kind_far_more_often_than_pixels(shared_data, shared_weights, tmp_path):
    words = ["--backbone", "torchvision/mobilenet_v2", "--weights", str(shared_weights / MOBILENET), "--mean", "0.5"]
    source = str(shared_data / "hymenoptera" / "val")
    assert cli.call(["run", "visual_similarity", source, *words, "--std", "0.5", "--out", str(tmp_path / "run")]) == 0
    metrics = json.loads((tmp_path / "run" / "metrics.json").read_text())
    assert metrics["features"]["recall_at_1"]["low"] > metrics["pixels"]["recall_at_1"]["high"]


_LEARN = ["--learn", "--epochs", "1", "--batch-size", "8", "--accelerator", "cpu", "--workers", "0", "--queries", "2"]


def test_metric_learning_goes_on_from_the_frozen_embedding_and_both_are_told(tmp_path):
    place = ["--out", str(tmp_path / "run")]
    assert cli.call(["run", "visual_similarity", "--sample", *_TINY, *_LEARN, "--embedding-size", "8", *place]) == 0
    metrics = json.loads((tmp_path / "run" / "metrics.json").read_text())
    assert metrics["part"] == "test" and metrics["learned_from"] == 0 and metrics["generated"]
    for name in ("learned", "frozen", "pixels"):
        assert set(metrics[name]) == {"recall_at_1", "recall_at_10", "map_at_r"}
    sheet = json.loads((tmp_path / "run" / "figures" / "neighbours.json").read_text())
    assert len(sheet["queries"]) == 2 and all(len(one["neighbours"]) == 9 for one in sheet["queries"])


def test_of_stanfords_lists_those_for_testing_are_never_trained(tmp_path):
    shop = tmp_path / "shop"
    lines = {"train": ["image_id class_id super_class_id path"], "test": ["image_id class_id super_class_id path"]}
    for number in range(12):
        kind, side = "lamp" if number < 10 else "sofa", "test" if number % 3 == 2 else "train"
        (shop / f"{kind}_final").mkdir(parents=True, exist_ok=True)
        for view in range(3):
            name = f"{kind}_final/{number}_{view}.png"
            Image.fromarray(ft.generated_picture(number, seed=view, side=32)).save(shop / name)
            lines[side].append(f"{3 * number + view} {number} {int(kind == 'sofa')} {name}")
    for side, rows in lines.items():
        (shop / f"Ebay_{side}.txt").write_text("\n".join(rows) + "\n")
    words = [str(shop), "--kind", "lamp", *_TINY, *_LEARN, "--copies", "ignore", "--out", str(tmp_path / "run")]
    assert cli.call(["run", "visual_similarity", *words]) == 0
    metrics = json.loads((tmp_path / "run" / "metrics.json").read_text())
    assert (metrics["classes"], metrics["learned_from"], metrics["searched"]) == (3, 0, 9)
    assert set(ft.load(tmp_path / "run" / "fits" / "learned").classes) == {"0", "1", "3", "4", "6", "7", "9"}
