"""Recall and MAP@R: by hand, against scikit-learn, and never by finding oneself."""

import numpy as np
import pytest
from sklearn.neighbors import NearestNeighbors

from finetune.report import retrieval
from finetune.report.retrieval import retrieval_figures, retrieval_scores


def at(*degrees):
    angles = np.deg2rad(degrees)
    return np.stack([np.cos(angles), np.sin(angles)], axis=1)


def scores(vectors, labels, identity=None):
    labels = np.array(labels)
    return retrieval_scores(vectors, labels, np.arange(len(labels)) if identity is None else np.array(identity))


def test_map_at_r_of_an_example_by_hand():
    # From 0 degrees the others come as a, b, a, b: of the first two (R = 2) one is right, at the first place: 1/2.
    found = scores(at(0, 10, 20, 30, 40), ["a", "a", "b", "a", "b"])
    assert found["map_at_r"][0] == 1 / 2 and found["recall_at_1"][0] == 1
    # From 30 they come as b (20), b (40), a, a: of the first two none is right, and of the first ten some are.
    assert found["map_at_r"][3] == 0 and found["recall_at_1"][3] == 0 and found["recall_at_10"][3] == 1
    # From 10 the right one (0) stands first of two, as from 0. From 40 (R = 1) it is a that comes first.
    assert found["map_at_r"][1] == 1 / 2 and found["map_at_r"][4] == 0


def test_two_right_ones_at_the_second_and_third_place_of_three_are_worth_their_precisions():
    found = scores(at(0, 10, 20, 30, 80), ["a", "b", "a", "a", "a"])
    assert found["map_at_r"][0] == pytest.approx((1 / 2 + 2 / 3) / 3)


def test_pictures_of_a_product_with_one_vector_find_each_other():
    vectors, labels = at(0, 0, 0, 50, 50, 120, 120), list("aaabbcc")
    assert all((values == 1).all() for values in scores(vectors, labels).values())


def test_a_copy_is_not_found_and_what_has_nothing_else_asks_nothing():
    vectors, labels = at(0, 0, 90, 100), list("aabb")
    assert scores(vectors, labels)["recall_at_1"].tolist() == [1, 1, 1, 1]
    found = scores(vectors, labels, identity=[0, 0, 1, 2])
    for values in found.values():
        assert np.isnan(values[:2]).all() and (values[2:] == 1).all()
    figure = retrieval_figures(found, None)["recall_at_1"]
    assert figure["n"] == 2 and figure["value"] == 1
    alone = scores(at(0, 90), ["a", "b"])
    assert retrieval_figures(alone, None)["map_at_r"] == {"value": None, "low": None, "high": None, "n": 0}


@pytest.mark.parametrize("block", [1, 100, 10_000])
def test_recall_is_what_scikit_learn_finds_whatever_is_held_at_a_time(monkeypatch, block):
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(60, 5))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    labels = rng.integers(0, 7, 60)
    monkeypatch.setattr(retrieval, "BLOCK", block)
    found = scores(vectors, labels)
    near = NearestNeighbors(n_neighbors=11, metric="cosine", algorithm="brute").fit(vectors)
    order = near.kneighbors(vectors, return_distance=False)[:, 1:]
    for k in (1, 10):
        assert found[f"recall_at_{k}"].tolist() == (labels[order[:, :k]] == labels[:, None]).any(axis=1).tolist()
    assert (found["map_at_r"] <= found["recall_at_10"]).all() or np.bincount(labels).max() > 11


def test_the_interval_is_wider_where_products_are_drawn_whole():
    value = np.repeat([0.0, 1.0], 40)
    given = {"recall_at_1": value}
    alone, whole = (retrieval_figures(given, groups)["recall_at_1"] for groups in (None, list(np.arange(80) // 10)))
    assert alone["value"] == whole["value"] == 0.5
    assert whole["high"] - whole["low"] > alone["high"] - alone["low"]


def test_pictures_that_all_find_each_other_leave_room_for_one_that_does_not():
    figure = retrieval_figures({"recall_at_1": np.ones(30)}, None)["recall_at_1"]
    assert (figure["value"], figure["high"]) == (1, 1) and figure["low"] == pytest.approx(0.025 ** (1 / 30))
    few = retrieval_figures({"recall_at_1": np.ones(30)}, list(np.arange(30) // 10))["recall_at_1"]
    assert few["low"] == pytest.approx(0.025 ** (1 / 3)), "three products are three"
