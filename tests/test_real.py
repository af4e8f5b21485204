"""The main job on real pictures with real weights."""

import numpy as np
import pytest

import finetune as ft


def fit(shared_data, shared_weights, name, tmp_path, **words):
    # Looking for changed copies costs as much as the features; the thorough case of the first test does it for all.
    given = {"backbone": "torchvision/mobilenet_v2", "mean": 0.5, "std": 0.5, "method": "probe", "verbose": False,
             "copies": "exact",
             "weights": str(shared_weights / "mobilenet_v2.torchvision.pth"), "accelerator": "cpu"}  # fmt: skip
    return ft.fit(shared_data / name, out=tmp_path / "run", **{**given, **words})


@pytest.mark.parametrize("copies", ["exact", pytest.param("find", marks=pytest.mark.thorough)])
def test_a_probe_tells_ants_from_bees(shared_data, shared_weights, tmp_path, copies):
    model = fit(shared_data, shared_weights, "hymenoptera", tmp_path, copies=copies)
    assert model.metrics["validation"]["accuracy"]["value"] >= 0.94
    assert model.metrics["validation"]["accuracy"]["n"] == 153


@pytest.mark.thorough
def test_random_weights_do_not(shared_data, shared_weights, tmp_path):
    model = fit(shared_data, shared_weights, "hymenoptera", tmp_path)
    without = fit(shared_data, shared_weights, "hymenoptera", tmp_path / "none", weights="none", mean=None, std=None)
    assert without.metrics["validation"]["accuracy"]["high"] < model.metrics["validation"]["accuracy"]["low"]


@pytest.mark.thorough
def test_a_probe_tells_cats_from_dogs_by_their_file_names(shared_data, shared_weights, tmp_path):
    model = fit(shared_data, shared_weights, "cats_dogs", tmp_path, label_from="^(cat|dog)")
    assert model.metrics["validation"]["accuracy"]["value"] >= 0.985
    assert model.classes == ("cat", "dog")


def test_lesions_in_a_table_keep_their_parts_stratified(shared_data, shared_weights, tmp_path):
    # 150 of the 1,000 rows, written beside: a probe of all would be most of the time of the whole suite.
    import pandas as pd

    table = pd.read_csv(shared_data / "isic_lesions" / "metadata.csv").groupby("target").head(75)
    table.to_csv(tmp_path / "some.csv", index=False)
    model = ft.fit(
        tmp_path / "some.csv", image="isic_id", target="target", root=str(shared_data / "isic_lesions" / "images"),
        backbone="torchvision/mobilenet_v2", weights=str(shared_weights / "mobilenet_v2.torchvision.pth"), mean=0.5,
        std=0.5, method="probe", verbose=False, accelerator="cpu", copies="exact", out=tmp_path / "run",
    )  # fmt: skip
    assert model.task.labels.kind == "class" and model.classes == ("0", "1")
    assert model.metrics["test"]["auroc"]["value"] > 0.6


def test_a_steering_angle_is_a_number_from_a_table_without_header(shared_data, shared_weights, tmp_path):
    model = fit(shared_data, shared_weights, "driving/driving_log.csv", tmp_path, image="0", target="3", no_header=True)
    assert model.task.labels.kind == "number"
    assert np.isfinite(model.metrics["test"]["rmse"]["value"])


@pytest.mark.thorough
@pytest.mark.parametrize(("name", "words", "least"), [
    ("hymenoptera", {}, 0.95),
    ("hymenoptera", {"input_size": 288}, 0.95),
    ("hymenoptera", {"input_size": 224}, 0.941),
    ("cats_dogs", {"label_from": "^(cat|dog)"}, 0.985),
])  # fmt: skip
def test_lp_ft_over_three_seeds(shared_data, shared_weights, tmp_path, name, words, least):
    found = [
        fit(shared_data, shared_weights, name, tmp_path / str(seed), method="lp-ft", seed=seed, **words)
        for seed in range(3)
    ]
    assert np.mean([model.metrics["validation"]["accuracy"]["value"] for model in found]) >= least
