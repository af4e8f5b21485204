"""A run of points: what it holds out, what it is judged beside, and what its model answers."""

import json
import shutil

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from sklearn.datasets import load_digits

import finetune as ft
from finetune import cli
from finetune.errors import ConfigError, DataError
from finetune.nearest.index import index_of
from finetune.predict import as_examples
from finetune.tasks.retrieval import retrieval_scores

PRODUCTS, VIEWS = 10, 4
WORDS = {
    "task": "embed", "backbone": "finetune/lenet5", "weights": "none", "embedding_size": 16, "epochs": 1,
    "batch_size": 8, "accelerator": "cpu", "workers": 0, "verbose": False,
}  # fmt: skip


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    """A folder a product; of the first, the first picture lies there twice."""
    folder = tmp_path_factory.mktemp("shop")
    for number in range(PRODUCTS):
        (folder / f"product-{number}").mkdir()
        for view in range(VIEWS):
            drawn = ft.generated_picture(number, seed=100 + view, side=32)
            Image.fromarray(drawn).save(folder / f"product-{number}" / f"{view}.png")
    shutil.copy(folder / "product-0" / "0.png", folder / "product-0" / "copy.png")
    return folder


@pytest.fixture(scope="module")
def embedded(shop, tmp_path_factory):
    return ft.fit(shop, **WORDS, out=tmp_path_factory.mktemp("embedded") / "run")


def parts(model):
    table = pd.read_csv(model.folder / "splits.csv")
    return {part: set(rows["target"]) for part, rows in table.groupby("split")}


def test_whole_classes_are_held_out_and_the_model_keeps_the_names_of_those_it_learned(embedded):
    held = parts(embedded)
    assert {part: len(names) for part, names in held.items()} == {"train": 6, "validation": 2, "test": 2}
    assert len(set.union(*held.values())) == PRODUCTS
    assert set(embedded.classes) == held["train"] == set(ft.load(embedded.folder).classes)
    assert embedded.metrics["retrieval"]["test"] == {"classes": 2, "learned_from": 0}
    notes = json.loads((embedded.folder / "run.json").read_text())["notes"]
    assert any("6 of train, 2 of validation, 2 of test: what is measured was never trained" in note for note in notes)
    assert any(note.startswith("Learning changed map_at_r by") for note in notes)


def test_figures_are_those_of_the_points_beside_the_frozen_backbone_and_pixels(embedded, shop):
    """By another way: the index of the pictures of the test part, and the backbone before anything was learned."""
    test = [shop / name for name in pd.read_csv(embedded.folder / "predictions.csv").query("part == 'test'")["path"]]
    classes = np.array([path.parent.name for path in test])
    scores = retrieval_scores(index_of(embedded.network, as_examples(test)).vectors, classes, np.arange(len(test)))
    if "product-0" not in classes:
        for name, values in scores.items():
            assert embedded.metrics["test"][name]["value"] == pytest.approx(values.mean(), abs=1e-6)
    told = embedded.metrics["baselines"]["test"]
    assert set(told) == {"frozen", "pixels"} and set(told["frozen"]) == set(scores)
    gain = embedded.metrics["gain"]
    for name, figure in gain["figures"].items():
        assert figure["value"] == pytest.approx(
            embedded.metrics["test"][name]["value"] - told["frozen"][name]["value"], abs=1e-9
        )


def test_predictions_say_what_each_picture_finds_and_no_copy_of_itself(embedded, shop, tmp_path):
    metrics = embedded.evaluate(shop, out=tmp_path / "all")
    table = pd.read_csv(tmp_path / "all" / "predictions.csv")
    assert len(table) == PRODUCTS * VIEWS + 1 and (table["nearest"] != table["path"]).all()
    twice = table[table["path"].str.endswith(("product-0/0.png", "copy.png"))]
    assert len(twice) == 2 and not set(twice["nearest"]) & set(twice["path"])
    for name, figure in metrics["test"].items():
        assert figure["value"] == pytest.approx(table[name].mean())
    assert metrics["retrieval"] == {"test": {"classes": PRODUCTS, "learned_from": 6}}
    learned = pd.read_csv(embedded.folder / "splits.csv").query("split == 'train'")
    assert metrics["learned_from"] == {"test": len(learned)}
    right = (table["nearest_target"] == table["target"]).mean()
    assert metrics["test"]["recall_at_1"]["value"] == pytest.approx(right)


def test_predict_answers_with_points_that_come_back_from_disk(embedded, shop, tmp_path):
    (tmp_path / "broken.png").write_bytes(b"no picture")
    asked = [shop / "product-1" / "0.png", tmp_path / "broken.png", shop / "product-2" / "1.png"]
    table = embedded.predict(asked)
    columns = [f"embedding_{k}" for k in range(16)]
    assert list(table) == ["path", *columns, "error"]
    assert table["error"][1] and table.loc[1, columns].isna().all()
    np.testing.assert_allclose(np.linalg.norm(table.loc[[0, 2], columns], axis=1), 1, atol=1e-6)
    pd.testing.assert_frame_equal(table, ft.load(embedded.folder).predict(asked), check_exact=True)


def test_neighbours_are_those_of_the_points_and_the_index_is_of_this_head(embedded, shop, tmp_path):
    asked = shop / "product-3" / "0.png"
    near = embedded.neighbours(asked, among=shop, k=3).table()
    points = embedded.predict([asked, *near["file"]]).filter(like="embedding").to_numpy()
    np.testing.assert_allclose(near["similarity"], points[1:] @ points[0], atol=1e-5)
    folder = shutil.copytree(embedded.folder, tmp_path / "run")
    other = ft.load(folder)
    before = other.neighbours(asked, among=shop, k=3).table()
    other.network.head.projection.weight.data.mul_(-1)[0] = 0  # another head in the same folder
    after = other.neighbours(asked, among=shop, k=3).table()
    assert before.equals(near) and not np.allclose(before["similarity"], after["similarity"])


def test_products_that_were_held_out_are_retrieved_and_those_learned_from_are_refused(embedded, shop, tmp_path):
    held = parts(embedded)
    for name in held["validation"] | held["test"]:
        shutil.copytree(shop / name, tmp_path / "new" / name)
    found = ft.retrieval(embedded, tmp_path / "new")
    assert found["products"] == 4 and found["features"]["map_at_r"]["n"] >= 4 * VIEWS
    with pytest.raises(DataError, match="6 of the products were learned from"):
        ft.retrieval(embedded, shop)


def test_what_needs_an_answer_is_refused(embedded, shop):
    asked = shop / "product-1" / "0.png"
    for words in ({"prior": {"product-1": 0.5}}, {"level": 1}, {"neighbours": 2}):
        with pytest.raises(ConfigError, match=r"this model answers with points\. Expected finetune neighbours"):
            embedded.predict(asked, **words)
    with pytest.raises(ConfigError, match="explain needs answers"):
        embedded.explain(asked)
    with pytest.raises(ConfigError, match="compare needs answers"):
        ft.compare(embedded.folder, embedded.folder)


def test_the_page_and_the_card_call_it_what_it_is(embedded):
    card = (embedded.folder / "model" / "README.md").read_text()
    assert "image-feature-extraction" in card and "image-classification" not in card
    assert "points of 16 numbers" in card
    page = (embedded.folder / "report.html").read_text()
    assert "frozen" in page and "map at r" in page.lower() and "balanced accuracy" not in page
    assert "The test part has 2 classes: its intervals are those of other pictures of these" in page


def test_a_run_from_a_shell_prints_the_frozen_backbone_beside_it(shop, tmp_path, capsys):
    words = ["--task", "embed", "--backbone", "finetune/lenet5", "--weights", "none", "--embedding-size", "8"]
    words += ["--epochs", "1", "--batch-size", "8", "--workers", "0", "--accelerator", "cpu", "--loss", "sup-con"]
    assert cli.call(["fit", str(shop), *words, "--out", str(tmp_path / "run")]) == 0
    told = capsys.readouterr().out
    assert "sampler m-per-class" in told and "for frozen" in told and "against the frozen backbone" in told
    assert cli.call(["evaluate", str(tmp_path / "run"), str(shop)]) == 0
    assert "6 of the 10 classes of test were learned from" in capsys.readouterr().err
    query = str(shop / "product-1" / "0.png")
    assert cli.call(["neighbours", str(tmp_path / "run"), query, "--out", str(tmp_path / "near")]) == 0
    assert (tmp_path / "near" / "neighbours.png").exists()
    assert cli.call(["predict", str(tmp_path / "run"), query]) == 0
    assert "embedding_7" in capsys.readouterr().out


def digits_anywhere():
    """scikit-learn's digits at random places, sizes and shades, some of them dark on bright; and their names."""
    given, rng = load_digits(), np.random.default_rng(0)
    pictures = []
    for digit in given.images:
        side = int(rng.integers(12, 19))
        small = np.asarray(Image.fromarray(np.uint8(digit * 15.9)).resize((side, side)), np.float64) / 255
        y, x = rng.integers(0, 29 - side, 2)
        low, high = rng.uniform(20, 80), rng.uniform(160, 235)
        canvas = np.full((28, 28), low)
        canvas[y : y + side, x : x + side] += (high - low) * small
        shown = 255 - canvas if rng.random() < 0.5 else canvas
        pictures.append(np.uint8(np.clip(shown + rng.normal(0, 8, shown.shape), 0, 255)))
    return pictures, given.target


@pytest.mark.thorough
def test_what_is_learned_from_digits_0_to_4_helps_to_find_5_to_9():
    """By MAP@R, where all pictures of a digit count. The very nearest one (recall at 1) is more often right by pixels:
    of 180 pictures of a digit one lies at nearly the same place in nearly the same size."""
    pictures, digits = digits_anywhere()

    def of(rows):
        return [pictures[row] for row in rows], [str(digits[row]) for row in rows]

    words = {**WORDS, "embedding_size": 64, "epochs": 20, "batch_size": 32, "augment": "none", "copies": "exact"}
    model = ft.fit(of(np.flatnonzero(digits < 5)), **words, hold_out="pictures", test=0.0)
    found = model.evaluate(of(np.flatnonzero(digits > 4)))
    assert found["retrieval"]["test"] == {"classes": 5, "learned_from": 0}
    learned, pixels = found["test"], found["baselines"]["test"]["pixels"]
    assert learned["map_at_r"]["low"] > 1.1 * pixels["map_at_r"]["high"]
    assert learned["recall_at_1"]["low"] > 0.3  # a digit in five by chance
