import os
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import finetune as ft
import finetune.features as room
from finetune.data.examples import read_examples
from finetune.data.options import Data
from finetune.errors import ConfigError
from finetune.features import device_for, features, run_over
from tests.made import class_folders


def tiny(seed: int = 0):
    torch.manual_seed(seed)
    return ft.Backbone("timm/test_resnet", weights="none", input_size=64).build(3).eval()


@pytest.fixture
def examples(tmp_path):
    return read_examples(Data(source=str(class_folders(tmp_path / "pictures", count=5))))


def counted(monkeypatch):
    runs = []

    def run(*args, **words):
        runs.append(1)
        return run_over(*args, **words)

    monkeypatch.setattr(room, "run_over", run)
    return runs


def test_features_from_the_cache_are_those_that_were_computed(examples, tmp_path, monkeypatch):
    runs, network = counted(monkeypatch), tiny()
    first = features(network, examples, cache=tmp_path)
    second = features(network, examples, cache=tmp_path)
    assert len(runs) == 1
    assert np.array_equal(first.values, second.values) and np.array_equal(first.rows, second.rows)
    assert isinstance(second.values, np.memmap)


def test_other_weights_other_pictures_and_other_preprocessing_are_computed_anew(examples, tmp_path, monkeypatch):
    runs, network = counted(monkeypatch), tiny()
    features(network, examples, cache=tmp_path)
    features(tiny(seed=1), examples, cache=tmp_path)
    moved = tiny()
    moved.body.bn1.running_mean += 1
    features(moved, examples, cache=tmp_path)
    Image.new("RGB", (40, 40)).save(examples.table["source"][0])
    os.utime(examples.table["source"][0], ns=(1, 1))
    features(network, examples, cache=tmp_path)
    features(network, examples.take(np.arange(10)), cache=tmp_path)
    assert len(runs) == 5


def test_arguments_that_leave_no_trace_in_the_weights_are_part_of_the_key(examples, tmp_path):
    found = []
    for padding in ("", "same"):
        torch.manual_seed(0)
        arguments = {"pad_type": padding} if padding else {}
        network = ft.Backbone("timm/mobilenetv2_035", weights="none", args=arguments, input_size=64).build(2)
        found.append(features(network, examples.take(np.arange(2)), cache=tmp_path).values)
    assert len(list(tmp_path.rglob("*.npy"))) == 2 and not np.array_equal(*found)


def test_a_network_of_ones_own_is_always_computed_since_its_code_may_have_changed(examples, tmp_path):
    from tests.training.tiny import tiny as own

    features(own(), examples, cache=tmp_path)
    assert not list(tmp_path.rglob("*.npy"))


def test_arrays_are_told_apart_by_what_is_in_them(tmp_path):
    arrays = [np.full((64, 64, 3), level, np.uint8) for level in (0, 80, 160, 240)]
    examples = read_examples(Data(source=(arrays, ["a", "b", "a", "b"])))
    network = tiny()
    first = features(network, examples.take([0, 1]), cache=tmp_path)
    second = features(network, examples.take([2, 3]), cache=tmp_path)
    assert not np.array_equal(first.values, second.values)


def test_the_weights_of_the_head_are_no_part_of_the_key(examples, tmp_path, monkeypatch):
    runs, network = counted(monkeypatch), tiny()
    features(network, examples, cache=tmp_path)
    torch.nn.init.ones_(network.head.weight)
    features(network, examples, cache=tmp_path)
    assert len(runs) == 1


def test_unreadable_pictures_are_told_and_nothing_is_kept(examples, tmp_path):
    with Path(examples.table["source"][3]).open("wb") as file:
        file.write(b"no picture")
    found = features(tiny(), examples, cache=tmp_path / "cache")
    assert list(found.errors) == [3] and 3 not in found.rows and len(found.values) == len(examples) - 1
    assert not list((tmp_path / "cache").rglob("*.npy"))


def test_a_torn_cache_file_is_computed_anew(examples, tmp_path):
    network = tiny()
    first = features(network, examples, cache=tmp_path)
    file = next(tmp_path.rglob("*.npy"))
    for content in (b"", file.read_bytes()[:100]):
        file.write_bytes(content)
        assert np.array_equal(features(network, examples, cache=tmp_path).values, first.values)


def test_old_files_make_room(examples, tmp_path, monkeypatch):
    features(tiny(), examples, cache=tmp_path)
    old = next(tmp_path.rglob("*.npy"))
    os.utime(old, (1, 1))
    monkeypatch.setattr(room, "KEPT_BYTES", old.stat().st_size)
    features(tiny(seed=1), examples, cache=tmp_path)
    assert not old.exists() and len(list(tmp_path.rglob("*.npy"))) == 1


def test_a_pass_leaves_the_network_as_it_was(examples):
    network = tiny().train()
    before = {n: t.clone() for n, t in network.state_dict().items()}
    run_over(network, examples)
    assert network.training and all(torch.equal(before[n], t) for n, t in network.state_dict().items())
    assert all(p.is_contiguous() for p in network.parameters())


def test_logits_are_the_head_of_the_features(examples):
    network = tiny().eval()
    logits, values = run_over(network, examples).values, run_over(network, examples, what="features").values
    with torch.no_grad():
        np.testing.assert_allclose(network.head(torch.from_numpy(values)).numpy(), logits, atol=1e-5)


def test_a_device_that_is_not_there_is_refused():
    assert device_for("cpu").type == "cpu"
    with pytest.raises(ConfigError, match='Did you mean "cuda"'):
        device_for("cudda")
    if torch.accelerator.current_accelerator(check_available=True) is None:
        with pytest.raises(ConfigError, match="no accelerator"):
            device_for("gpu")


def test_many_pictures_take_another_way_to_the_same_answers(examples, monkeypatch):
    network = tiny()
    plain = run_over(network, examples, what="features")
    monkeypatch.setattr("finetune.models.fast.ENOUGH", 1)
    ways = []
    chosen = room.fast
    monkeypatch.setattr(room, "fast", lambda *args, **words: ways.append(chosen(*args, **words)) or ways[-1])
    quick = run_over(network, examples, what="features", batch_size=6)
    assert len(ways) == 1 and ways[0].way != "plain"
    np.testing.assert_allclose(quick.values, plain.values, rtol=1e-4, atol=1e-5 * np.abs(plain.values).max())
    assert np.array_equal(run_over(network, examples, what="features", batch_size=6).values, quick.values)
    logits = run_over(network, examples).values
    np.testing.assert_allclose(logits, run_over(network.train(), examples).values, rtol=0, atol=0)
