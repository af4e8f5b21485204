"""Vectors of pictures: searched as scikit-learn does, kept beside a run, and made anew where something changed."""

import json
import os

import numpy as np
import pytest
from sklearn.neighbors import NearestNeighbors

import finetune.nearest.index
from finetune.data.bare import bare_pictures
from finetune.features import features
from finetune.nearest.index import Index, index_of, search, vectors_of
from tests.made import class_folders


def made_index(vectors, examples):
    return Index(examples=examples, vectors=vectors_of(vectors), errors={})


def test_vectors_have_length_one_and_maps_are_averaged_over_places():
    maps = np.random.default_rng(0).normal(size=(4, 3, 2, 5)).astype(np.float32)
    found = vectors_of(maps)
    mean = maps.mean(axis=(2, 3))
    assert np.allclose(found, mean / np.linalg.norm(mean, axis=1, keepdims=True), atol=1e-6)
    assert not vectors_of(np.zeros((2, 3), np.float32)).any()


def test_the_search_finds_what_scikit_learn_finds(textures):
    rng = np.random.default_rng(1)
    index = made_index(rng.normal(size=(36, 7)), bare_pictures(textures))
    asked = vectors_of(rng.normal(size=(5, 7)))
    distance, rows = NearestNeighbors(n_neighbors=4, metric="cosine").fit(index.vectors).kneighbors(asked)
    for place, vector in enumerate(asked):
        found, left = search(index, vector, k=4)
        assert [row for row, _ in found] == rows[place].tolist() and not left
        assert [cosine for _, cosine in found] == pytest.approx((1 - distance[place]).tolist(), abs=1e-5)


def test_more_are_asked_for_than_there_are_and_ties_come_in_the_order_of_the_table(textures):
    index = made_index(np.ones((36, 2)), bare_pictures(textures))
    found, _ = search(index, index.vectors[0], k=100)
    assert [row for row, _ in found] == list(range(36))
    assert all(cosine == pytest.approx(1) and cosine <= 1 for _, cosine in found)


@pytest.fixture
def few(tmp_path):
    return class_folders(tmp_path / "few", count=3)


def stamps(folder):
    return {file.name: file.stat().st_mtime_ns for file in folder.iterdir()}


def test_an_index_is_kept_and_read_and_says_what_it_holds(probed, few, tmp_path):
    examples, beside = bare_pictures(few), tmp_path / "kept" / "train"
    first = index_of(probed.network, examples, beside=beside)
    before = stamps(beside.parent)
    told = json.loads(beside.with_suffix(".json").read_text())
    assert told["files"] == list(examples.table["source"]) and told["width"] == first.vectors.shape[1]
    again = index_of(probed.network, examples, beside=beside)
    assert (again.vectors == first.vectors).all() and stamps(beside.parent) == before
    assert np.allclose(first.vectors, vectors_of(features(probed.network, examples).values))


def changed_picture(few, beside, network):
    file = few / "rings" / "0.png"
    os.utime(file, ns=(1, 1))


def changed_weights(few, beside, network):
    next(network.body.parameters()).data.add_(1)


def flipped_bit(few, beside, network):
    tensors = beside.with_suffix(".safetensors")
    content = bytearray(tensors.read_bytes())
    content[-1] ^= 1
    tensors.write_bytes(content)


def other_words(few, beside, network):
    beside.with_suffix(".json").write_text("[]")


@pytest.mark.parametrize("change", [changed_picture, changed_weights, flipped_bit, other_words])
def test_an_index_of_something_else_is_made_anew(probed, few, tmp_path, change):
    import copy

    network, beside = copy.deepcopy(probed.network), tmp_path / "kept" / "train"
    index_of(network, bare_pictures(few), beside=beside)
    change(few, beside, network)
    before = stamps(beside.parent)
    found = index_of(network, bare_pictures(few), beside=beside)
    assert stamps(beside.parent) != before
    assert np.allclose(found.vectors, vectors_of(features(network, bare_pictures(few)).values))


def test_what_cannot_be_read_is_left_out_and_named_by_a_kept_index_too(probed, few, tmp_path):
    (few / "rings" / "1.png").write_bytes(b"no picture")
    for _ in range(2):
        found = index_of(probed.network, bare_pictures(few), beside=tmp_path / "kept" / "train")
        assert len(found.examples) == len(found.vectors) == 8
        assert list(found.errors) == [str(few / "rings" / "1.png")]


def test_a_folder_that_cannot_be_written_costs_nothing_else(probed, few, tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(finetune.nearest.index, "write_tensors", full)
    assert len(index_of(probed.network, bare_pictures(few), beside=tmp_path / "kept" / "train").vectors) == 9
