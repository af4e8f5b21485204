"""A saved model is read as it was written, or not at all."""

from __future__ import annotations

import json
import random
import shutil
import struct

import pytest
import timm
import torch

import finetune as ft
from finetune.errors import RunFolderError, WeightsError
from finetune.manifest import MANIFEST, check, seal
from finetune.models.weights import read_config, read_state

FILES = ("model.safetensors", "config.json", "finetune.json", MANIFEST)


@pytest.fixture
def folder(probed, tmp_path):
    """A copy of a saved model, to be spoilt."""
    return shutil.copytree(probed.folder / "model", tmp_path / "model")


def flipped(raw: bytes, bit: int) -> bytes:
    spoilt = bytearray(raw)
    spoilt[bit // 8] ^= 1 << bit % 8
    return bytes(spoilt)


def test_one_flipped_bit_at_any_of_200_random_places_is_refused_with_the_file_named(folder):
    chance = random.Random(0)
    for _ in range(200):
        file = folder / chance.choice(FILES)
        raw = file.read_bytes()
        file.write_bytes(flipped(raw, chance.randrange(8 * len(raw))))
        with pytest.raises(RunFolderError, match=r"Copy the folder|copy the whole folder|Install the version") as told:
            ft.load(folder)
        assert file.name in str(told.value)
        file.write_bytes(raw)
    ft.load(folder)


def test_every_flipped_bit_of_the_manifest_itself_is_noticed(tmp_path):
    (tmp_path / "finetune.json").write_text("{}")
    (tmp_path / "deeper").mkdir()
    (tmp_path / "deeper" / "model.safetensors").write_bytes(b"weights")
    seal(tmp_path)
    raw = (tmp_path / MANIFEST).read_bytes()
    for bit in range(8 * len(raw)):
        (tmp_path / MANIFEST).write_bytes(flipped(raw, bit))
        with pytest.raises(RunFolderError):
            check(tmp_path)
    (tmp_path / MANIFEST).write_bytes(raw)
    check(tmp_path)


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("share", [0.0, 0.5, 0.999])
def test_a_file_that_was_cut_off_is_refused(folder, name, share):
    raw = (folder / name).read_bytes()
    (folder / name).write_bytes(raw[: int(share * len(raw))])
    with pytest.raises(RunFolderError, match=f"{name} is damaged"):
        ft.load(folder)


def test_a_file_that_grew_and_one_that_is_not_named_are_refused(folder):
    with (folder / "model.safetensors").open("ab") as file:
        file.write(b"\0")
    (folder / "head.safetensors").write_bytes(b"")
    with pytest.raises(RunFolderError, match="does not belong there") as told:
        ft.load(folder)
    assert "model.safetensors is damaged or was replaced: it has" in str(told.value), "all at once"


@pytest.mark.parametrize("name", FILES)
def test_a_missing_file_is_named(folder, name):
    (folder / name).unlink()
    with pytest.raises(RunFolderError, match=f"{name} is missing"):
        ft.load(folder)


def test_what_file_managers_and_hubs_leave_beside_a_model_is_no_fault_of_it(folder):
    for name in (".DS_Store", ".gitattributes", "README.md", "Thumbs.db"):
        (folder / name).write_text("not ours")
    (folder / ".git").mkdir()
    (folder / ".git" / "HEAD").write_text("ref")
    ft.load(folder)


def test_a_manifest_of_a_later_format_says_what_to_install(folder):
    content = json.loads((folder / MANIFEST).read_text())
    (folder / MANIFEST).write_text(json.dumps(content | {"format": 7}, indent=1) + "\n")
    with pytest.raises(RunFolderError, match=r"format 7.*Install"):
        ft.load(folder)


@pytest.mark.parametrize("text", ["[]", "null", '{"format": 1}', '{"format": 1, "files": {"a": 3}}', "\xff"])
def test_a_manifest_that_is_none_is_refused(folder, text):
    (folder / MANIFEST).write_text(text, encoding="latin-1")
    with pytest.raises(RunFolderError, match="not as it was written"):
        ft.load(folder)


def test_a_damaged_model_is_no_start_for_another_fit(folder):
    raw = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(flipped(raw, 8 * len(raw) - 3))
    for path in (folder, folder / "model.safetensors"):
        with pytest.raises(RunFolderError, match="damaged"):
            read_state(path)
    read_config(folder)
    (folder / "config.json").write_bytes(flipped((folder / "config.json").read_bytes(), 300))
    with pytest.raises(RunFolderError, match=r"config.json is damaged"):
        read_config(folder)


def test_a_folder_of_others_has_no_manifest_and_needs_none(folder, tmp_path):
    """What a hub gives is read as it is: `--weights FOLDER` takes config.json and model.safetensors."""
    theirs = tmp_path / "theirs"
    theirs.mkdir()
    for name in ("model.safetensors", "config.json"):
        shutil.copy(folder / name, theirs)
    assert read_state(theirs).keys() == read_state(folder).keys()
    assert read_config(theirs) == read_config(folder)
    with pytest.raises(RunFolderError, match=r"finetune.json is missing"):
        ft.load(theirs)


def test_timm_reads_a_sealed_folder(tmp_path, textures):
    words = {"backbone": "timm/mobilenetv3_small_050", "weights": "none", "method": "probe", "input_size": 32}
    model = ft.fit(textures, **words, accelerator="cpu", workers=0, verbose=False, out=tmp_path / "run")
    assert (model.folder / "model" / MANIFEST).exists()
    theirs = timm.create_model(f"local-dir:{model.folder / 'model'}", pretrained=True)
    ours = model.network.body.state_dict()
    assert all(torch.equal(tensor, ours[name]) for name, tensor in theirs.state_dict().items() if name in ours)


def lying(header: dict[str, object] | bytes, payload: bytes, *, length: int | None = None) -> bytes:
    """A safetensors file with any header, and any length said of it."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + payload


def tensor(begin: int, end: int, shape: list[int]) -> dict[str, object]:
    return {"dtype": "F32", "shape": shape, "data_offsets": [begin, end]}


LIES = {
    "a header longer than the file": lying({"a": tensor(0, 8, [2])}, b"\0" * 8, length=2**40),
    "a header of nearly all numbers": lying({"a": tensor(0, 8, [2])}, b"\0" * 8, length=2**63 + 5),
    "tensors that overlap": lying({"a": tensor(0, 8, [2]), "b": tensor(4, 12, [2])}, b"\0" * 12),
    "a tensor beyond the end": lying({"a": tensor(0, 80, [20])}, b"\0" * 8),
    "a shape that its bytes do not hold": lying({"a": tensor(0, 8, [2**31, 2**31])}, b"\0" * 8),
    "bytes that belong to nobody": lying({"a": tensor(0, 8, [2])}, b"\0" * 64),
    "an end before the beginning": lying({"a": tensor(8, 0, [2])}, b"\0" * 8),
    "no JSON": lying(b"{" * 64, b""),
}


@pytest.mark.parametrize("lie", LIES)
def test_a_weights_file_that_lies_is_refused_though_its_sum_is_right(folder, tmp_path, lie):
    file = tmp_path / "weights.safetensors"
    file.write_bytes(LIES[lie])
    with pytest.raises(WeightsError, match=r"weights\.safetensors is damaged"):
        read_state(file)
    shutil.copy(file, folder / "model.safetensors")
    with pytest.raises(RunFolderError, match=r"model\.safetensors is damaged or was replaced"):
        ft.load(folder)
    seal(folder)
    with pytest.raises(RunFolderError, match=r"model\.safetensors is no safetensors file"):
        ft.load(folder)
