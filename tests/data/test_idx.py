"""MNIST's own files, as written by anybody: read to the bit, or refused with the reason."""

from __future__ import annotations

import gzip
import struct

import numpy as np
import pytest

from finetune.data.examples import read_examples
from finetune.data.idx import read_idx
from finetune.data.options import Data
from finetune.data.splits import split_examples
from finetune.errors import DataError

CHANCE = np.random.default_rng(0)


def idx(array):
    return struct.pack(f">I{array.ndim}I", 0x800 | array.ndim, *array.shape) + array.tobytes()


def write(folder, part, count, *, zipped=False, dot="-"):
    pictures = CHANCE.integers(0, 256, (count, 7, 5), dtype=np.uint8)
    labels = np.arange(count, dtype=np.uint8) % 10
    for what, array, axes in (("images", pictures, 3), ("labels", labels, 1)):
        name, content = f"{part}-{what}{dot}idx{axes}-ubyte", idx(array)
        (folder / f"{name}.gz").write_bytes(gzip.compress(content)) if zipped else (folder / name).write_bytes(content)
    return pictures, labels


@pytest.mark.parametrize(("zipped", "dot"), [(False, "-"), (True, "-"), (False, ".")])
def test_numbers_are_big_endian_and_come_back_to_the_bit(tmp_path, zipped, dot):
    pictures, labels = write(tmp_path, "train", 30, zipped=zipped, dot=dot)
    end = ".gz" if zipped else ""
    for what, array, axes, magic in (("images", pictures, 3, 2051), ("labels", labels, 1, 2049)):
        file = tmp_path / f"train-{what}{dot}idx{axes}-ubyte{end}"
        content = gzip.decompress(file.read_bytes()) if zipped else file.read_bytes()
        assert struct.unpack(">I", content[:4]) == (magic,)
        assert np.array_equal(read_idx(file), array)


def test_a_folder_with_both_parts_keeps_them_and_by_rows_the_last_fifth_of_train_is_for_validation(tmp_path):
    pictures, labels = write(tmp_path, "train", 50)
    write(tmp_path, "t10k", 20)
    examples = read_examples(Data(source=tmp_path))
    assert examples.kind == "class"
    assert examples.table["split"].tolist() == ["train"] * 50 + ["test"] * 20
    assert examples.targets[:50] == [str(label) for label in labels]
    assert all(np.array_equal(one, other) for one, other in zip(examples.pictures(), pictures, strict=False))
    part = split_examples(examples, validation=0.2, order="row").part.tolist()
    assert part == ["train"] * 40 + ["validation"] * 10 + ["test"] * 20


def test_one_part_alone_is_divided_as_any_other_source(tmp_path):
    write(tmp_path, "t10k", 40)
    for source in (tmp_path, tmp_path / "t10k-images-idx3-ubyte"):
        assert set(read_examples(Data(source=source)).table["split"]) == {None}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda content: content[:-3], "cut off or damaged"),
        (lambda content: content[:9], "cut off or damaged"),
        (lambda content: b"", "begins with None"),
        (lambda content: content[3::-1] + content[4:], "big-endian"),
        (lambda content: b"\x89PNG" + content[4:], "no file of MNIST's format"),
        (lambda content: gzip.compress(content)[:-20], "cut off"),
        (lambda content: struct.pack(">4I", 2051, 2**32 - 1, 2**32 - 1, 2**32 - 1) + content[16:], "cut off"),
    ],
)
def test_what_is_damaged_is_refused_by_name(tmp_path, change, message):
    write(tmp_path, "train", 5)
    file = tmp_path / "train-images-idx3-ubyte"
    file.write_bytes(change(file.read_bytes()))
    with pytest.raises(DataError, match=message) as told:
        read_examples(Data(source=tmp_path))
    assert file.name in str(told.value)


def test_pictures_need_their_labels_and_one_set_at_a_time(tmp_path):
    write(tmp_path, "train", 5)
    (tmp_path / "train-labels-idx1-ubyte").rename(tmp_path / "emnist-train-labels-idx1-ubyte")
    with pytest.raises(DataError, match="several sets"):
        read_examples(Data(source=tmp_path))
    (tmp_path / "emnist-train-labels-idx1-ubyte").unlink()
    with pytest.raises(DataError, match="images-idx3-ubyte alone"):
        read_examples(Data(source=tmp_path))


def test_the_real_digits_are_read(shared_data):
    examples = read_examples(Data(source=shared_data / "mnist_t10k"))
    counts = examples.table["target"].value_counts()
    assert len(examples) == 10_000 and examples.pictures()[0].shape == (28, 28)
    assert (counts["1"], counts["5"], examples.targets[:5]) == (1135, 892, ["7", "2", "1", "0", "4"])
