from __future__ import annotations

import json
import pickle

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from finetune.errors import WeightsError
from finetune.models.weights import fingerprint, load, read_config, read_state


@pytest.fixture
def module():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 5), nn.BatchNorm1d(5), nn.Linear(5, 2))


def same(a, b):
    return set(a) == set(b) and all(torch.equal(a[k], b[k]) for k in a)


@pytest.mark.parametrize("suffix", [".pth", ".pt", ".bin", ".ckpt", ".safetensors"])
def test_every_kind_of_file_is_read(module, tmp_path, suffix):
    file = tmp_path / f"weights{suffix}"
    (save_file if suffix == ".safetensors" else torch.save)(module.state_dict(), file)
    assert same(read_state(file), module.state_dict())


@pytest.mark.parametrize(
    "wrap",
    [
        lambda s: {"state_dict": s, "epoch": 3},
        lambda s: {"model": s, "optimizer": {"lr": 0.1}},
        lambda s: {"model_state_dict": s},
        lambda s: {"state_dict_ema": s, "state_dict": {k: v * 0 for k, v in s.items()}},
        lambda s: {f"module.{k}": v for k, v in s.items()},
        lambda s: {"state_dict": {f"model._orig_mod.{k}": v for k, v in s.items()}},
    ],
)
def test_wrappers_and_prefixes_of_training_programs_are_taken_off(module, tmp_path, wrap):
    torch.save(wrap(module.state_dict()), tmp_path / "w.pth")
    assert same(read_state(tmp_path / "w.pth"), module.state_dict())


def test_a_prefix_that_not_all_names_carry_stays(tmp_path):
    state = {"model.a": torch.zeros(1), "criterion.b": torch.zeros(1)}
    torch.save(state, tmp_path / "w.pth")
    assert set(read_state(tmp_path / "w.pth")) == set(state)


def test_the_layout_before_torch_1_6_is_read(module, tmp_path):
    torch.save(module.state_dict(), tmp_path / "w.pth", _use_new_zipfile_serialization=False)
    assert same(read_state(tmp_path / "w.pth"), module.state_dict())


def test_a_folder_is_read_with_its_config(module, tmp_path):
    save_file(module.state_dict(), tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text(json.dumps({"architecture": "x"}))
    assert same(read_state(tmp_path), module.state_dict())
    assert read_config(tmp_path) == {"architecture": "x"}
    assert read_config(tmp_path / "model.safetensors") is None


class Trap:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


@pytest.mark.parametrize("zipped", [True, False])
def test_a_pickle_with_code_is_refused_named_and_not_run(tmp_path, zipped):
    trace = tmp_path / "was-run"
    torch.save({"state_dict": Trap(trace)}, tmp_path / "w.pth", _use_new_zipfile_serialization=zipped)
    with pytest.raises(WeightsError, match=r"(?s)refused.*nothing in it was run.*open.*safetensors"):
        read_state(tmp_path / "w.pth")
    assert not trace.exists()


def test_a_plain_pickle_with_code_is_refused_and_not_run(tmp_path):
    trace = tmp_path / "was-run"
    (tmp_path / "w.pt").write_bytes(pickle.dumps(Trap(trace)))
    with pytest.raises(WeightsError, match=r"w\.pt"):
        read_state(tmp_path / "w.pt")
    assert not trace.exists()


def test_a_whole_pickled_network_is_refused_by_name(module, tmp_path):
    torch.save(module, tmp_path / "w.pth")
    with pytest.raises(WeightsError, match=r"torch\.nn\.modules"):
        read_state(tmp_path / "w.pth")


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
@pytest.mark.parametrize("share", [0.0, 0.02, 0.5, 0.99])
def test_a_file_cut_off_anywhere_is_refused(module, tmp_path, suffix, share):
    file = tmp_path / f"w{suffix}"
    (save_file if suffix == ".safetensors" else torch.save)(module.state_dict(), file)
    content = file.read_bytes()
    file.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(WeightsError, match=str(file)):
        read_state(file)


@pytest.mark.parametrize("content", [b"garbage", b"<html>404</html>", bytes(range(256)) * 4])
@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_what_is_no_weights_file_is_refused(tmp_path, content, suffix):
    file = tmp_path / f"w{suffix}"
    file.write_bytes(content)
    with pytest.raises(WeightsError, match=str(file)):
        read_state(file)


@pytest.mark.parametrize("content", [{}, {"epoch": 1}, {"state_dict": {}}, [1, 2], 3])
def test_a_file_without_weights_is_refused(tmp_path, content):
    torch.save(content, tmp_path / "w.pth")
    with pytest.raises(WeightsError, match="holds no weights"):
        read_state(tmp_path / "w.pth")


def test_a_missing_file_and_an_empty_folder_are_named(tmp_path):
    with pytest.raises(WeightsError, match=r"no weights file .*nothing\.pth"):
        read_state(tmp_path / "nothing.pth")
    with pytest.raises(WeightsError, match=r"model\.safetensors"):
        read_state(tmp_path)
    (tmp_path / "config.json").write_text("[1]")
    with pytest.raises(WeightsError, match=r"config\.json"):
        read_config(tmp_path)


def test_everything_that_does_not_fit_is_listed_and_nothing_is_loaded(module):
    state = dict(module.state_dict())
    before = {k: v.clone() for k, v in state.items()}
    del state["0.bias"]
    state |= {f"extra.{i}": torch.zeros(1) for i in range(12)}
    state["1.weight"] = torch.zeros(7)
    state["0.weight"] = torch.zeros(5, 4)
    with pytest.raises(WeightsError) as caught:
        load(module, state, what="timm/this", fresh=["2"])
    message = str(caught.value)
    assert "timm/this" in message
    assert "1 the network needs and the file has not: 0.bias" in message
    assert "12 the file has and the network has not: extra.0, " in message
    assert "extra.9 and 2 more" in message
    assert "1.weight (7,) where (5,) was expected" in message
    assert "another architecture" in message
    assert same(module.state_dict(), before)


def test_only_the_head_may_be_fresh(module):
    state = {k: v + 1 for k, v in module.state_dict().items()}
    state["2.weight"] = torch.zeros(1000, 5)
    old = module[2].weight.clone()
    load(module, state, what="x", fresh=["2"])
    assert torch.equal(module[2].weight, old)
    assert torch.equal(module[0].weight, state["0.weight"])


def test_weights_from_before_batch_counters_are_taken(module):
    state = {k: v for k, v in module.state_dict().items() if not k.endswith("num_batches_tracked")}
    load(module, state, what="x")


def test_the_fingerprint_sees_every_value_and_name(module):
    first = fingerprint(module)
    assert fingerprint(module) == first
    module[1].running_mean[0] += 1e-3
    second = fingerprint(module)
    assert second != first
    assert fingerprint(nn.Sequential(*module).half()) != second
    assert fingerprint(nn.ModuleDict({"a": module})) != second


def test_a_file_that_is_no_weights_is_told_without_torchs_advice_to_run_what_is_in_it(tmp_path):
    (tmp_path / "cat.pth").write_bytes(b"\xff\xd8\xff\xe0 a picture")
    with pytest.raises(WeightsError, match="does not hold tensors") as told:
        read_state(tmp_path / "cat.pth")
    assert "weights_only" not in str(told.value)
