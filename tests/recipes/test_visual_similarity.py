"""The shop: on real pictures its neighbours are mostly right, and pictures without products are still searched."""

from __future__ import annotations

import json

from PIL import Image

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


def test_on_ants_and_bees_features_find_the_same_kind_far_more_often_than_pixels(shared_data, shared_weights, tmp_path):
    words = ["--backbone", "torchvision/mobilenet_v2", "--weights", str(shared_weights / MOBILENET), "--mean", "0.5"]
    source = str(shared_data / "hymenoptera" / "val")
    assert cli.call(["run", "visual_similarity", source, *words, "--std", "0.5", "--out", str(tmp_path / "run")]) == 0
    metrics = json.loads((tmp_path / "run" / "metrics.json").read_text())
    assert metrics["features"]["recall_at_1"]["low"] > metrics["pixels"]["recall_at_1"]["high"]
