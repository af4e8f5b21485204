import io
import json
import zipfile

import numpy as np
import pytest
from PIL import Image

import finetune as ft
from finetune.cli import call
from finetune.data.examples import read_examples
from finetune.data.loaders import make_loader
from finetune.data.options import Data
from finetune.data.readers import read_image
from finetune.errors import ConfigError, DataError
from finetune.types import ImageSpec
from tests.made import QUICK, QUICK_WORDS, class_folders, table

datasets = pytest.importorskip("datasets")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return class_folders(tmp_path_factory.mktemp("folder"), kinds=("rings", "stripes"), count=8)


def made(folder, *, label="class", embedded=True, count=None):
    """A set whose pictures are paths or, as on the hub, bytes."""
    files = sorted(folder.rglob("*.png"))[:count]
    names = sorted({file.parent.name for file in files})
    cells = {
        "class": [names.index(file.parent.name) for file in files],
        "text": [file.parent.name for file in files],
        "labels": [["cat", "dog"] if n % 2 else ["cat"] for n in range(len(files))],
        "number": [0.5 * n + 0.25 for n in range(len(files))],
    }[label]
    kind = {
        "class": datasets.ClassLabel(names=names), "text": datasets.Value("string"),
        "labels": datasets.Sequence(datasets.Value("string")), "number": datasets.Value("float64"),
    }[label]  # fmt: skip
    pictures = [{"bytes": file.read_bytes(), "path": None} if embedded else str(file) for file in files]
    patient = [f"p{n // 2}" for n in range(len(files))]
    features = {"image": datasets.Image(), "label": kind, "patient": datasets.Value("string")}
    return datasets.Dataset.from_dict(
        {"image": pictures, "label": cells, "patient": patient}, features=datasets.Features(features)
    )


@pytest.mark.parametrize("embedded", [True, False])
@pytest.mark.parametrize(
    "label, kind", [("class", "class"), ("text", "class"), ("labels", "labels"), ("number", "number")]
)
def test_a_set_is_a_source_whatever_its_label_is(folder, embedded, label, kind):
    source = made(folder, label=label, embedded=embedded)
    examples = read_examples(Data(source=source))
    assert examples.kind == kind and len(examples) == 16
    for n in (0, 15):
        np.testing.assert_array_equal(read_image(examples.pictures()[n]), np.asarray(source[n]["image"]))
    if label == "class":
        assert examples.targets == source.features["label"].int2str(source["label"][:])


def test_splits_are_parts(folder):
    one = made(folder)
    examples = read_examples(Data(source=datasets.DatasetDict(train=one, validation=one, test=one, extra=one)))
    assert examples.table["split"].value_counts().to_dict() == {"train": 16, "validation": 16, "test": 16}
    assert any("extra" in note for note in examples.notes)
    alone = read_examples(Data(source=datasets.DatasetDict(train=one, test=one.select([0, 15]))))
    np.testing.assert_array_equal(read_image(alone.pictures()[17]), read_image(alone.pictures()[15]))


def test_groups_are_a_column(folder):
    assert read_examples(Data(source=made(folder), group="patient")).table["group"].nunique() == 8


def test_no_picture_is_decoded_before_it_is_asked_for(folder, monkeypatch):
    source = made(folder)

    def never(*_, **__):
        raise AssertionError

    monkeypatch.setattr(datasets.Image, "decode_example", never)
    monkeypatch.setattr(Image, "open", never)
    examples = read_examples(Data(source=source)).take([3, 4])
    assert isinstance(examples.pictures()[1], bytes)


def test_columns_that_are_not_there_are_all_named(folder):
    with pytest.raises(ConfigError, match=r'(?s)"pictur".*"lable".*Did you mean "label"') as caught:
        read_examples(Data(source=made(folder), image="pictur", target="lable"))
    assert str(caught.value).count("\n") == 1
    with pytest.raises(ConfigError, match="streaming"):
        read_examples(Data(source=made(folder).to_iterable_dataset()))
    with pytest.raises(DataError, match="no examples"):
        read_examples(Data(source=made(folder).select([])))


def test_hidden_labels_and_pictures_that_are_missing_are_told(folder):
    one = made(folder)
    broken = one.map(lambda row, n: {"label": -1 if n == 0 else row["label"]}, with_indices=True)
    with pytest.raises(DataError):
        read_examples(Data(source=broken))


def test_workers_read_a_set(folder):
    examples = read_examples(Data(source=made(folder)))
    spec = ImageSpec(size=(16, 16), mean=(0.5,) * 3, std=(0.5,) * 3)
    loader = make_loader(examples, np.zeros(16, np.int64), spec, batch_size=4, train=True, workers=1)
    assert sorted(int(row) for batch in loader for row in batch.row) == list(range(16))


def test_fit_and_evaluate_take_a_set(folder, tmp_path):
    source = datasets.DatasetDict(train=made(folder), test=made(folder))
    model = ft.fit(source, **QUICK, allow_leaks=True, out=tmp_path / "run")
    assert (
        model.metrics["leaks"] == 16 and "test" in model.metrics and "accuracy" in model.evaluate(made(folder))["test"]
    )
    assert json.loads((tmp_path / "run/recipe.json").read_text())["recipe"]["data"]["source"] == {
        "in_memory": "DatasetDict"
    }


def test_a_picture_of_a_set_that_cannot_be_read_is_named_by_its_row(folder):
    one = made(folder)
    cells = one.cast_column("image", datasets.Image(decode=False))[:]
    cells["image"][3]["bytes"] = b"no picture"
    spoilt = datasets.Dataset.from_dict(cells, features=one.features)
    with pytest.raises(DataError, match=r"(?s)1 of 16 pictures cannot be read.*array:3"):
        ft.fit(spoilt, **QUICK)


# The layout `imagefolder`, which needs no package


def rows(root):
    return [(file.relative_to(root).as_posix(), file.parent.name) for file in sorted(root.rglob("*.png"))]


def test_a_folder_with_metadata_is_read_by_it(tmp_path):
    class_folders(tmp_path, kinds=("rings", "stripes"), count=3)
    table(tmp_path / "metadata.csv", ("file_name", "label"), [(name, f"x{kind}") for name, kind in rows(tmp_path)])
    examples = read_examples(Data(source=str(tmp_path)))
    assert examples.table["id"].tolist() == [name for name, _ in rows(tmp_path)]
    assert examples.targets == ["xrings"] * 3 + ["xstripes"] * 3


def test_part_folders_with_metadata_of_their_own_are_parts(tmp_path):
    for part in ("train", "test"):
        class_folders(tmp_path / part, kinds=("rings", "stripes"), count=3)
        lines = [{"file_name": n, "label": k, "patient": "p"} for n, k in rows(tmp_path / part)]
        (tmp_path / part / "metadata.jsonl").write_text("\n".join(map(json.dumps, lines)))
    examples = read_examples(Data(source=str(tmp_path)))
    assert examples.table["split"].value_counts().to_dict() == {"train": 6, "test": 6}
    assert set(examples.table["id"]) == {
        f"{part}/{name}" for part in ("train", "test") for name, _ in rows(tmp_path / part)
    }
    assert set(examples.table["patient"]) == {"p"}


@pytest.mark.parametrize("text", ["{", "[1]", '{"file_name": "gone.png", "label": "a"}'])
def test_metadata_that_is_wrong_is_named(tmp_path, text):
    class_folders(tmp_path, kinds=("rings", "stripes"), count=2)
    (tmp_path / "metadata.jsonl").write_text(f'{{"file_name": "rings/0.png", "label": "a"}}\n{text}')
    with pytest.raises(DataError, match=r"metadata\.jsonl"):
        read_examples(Data(source=str(tmp_path)))


@pytest.mark.parametrize("name", ["../beside.png", "{}/beside.png"])
def test_metadata_names_no_picture_outside_of_its_folder(tmp_path, name):
    name = name.format(tmp_path)
    class_folders(tmp_path / "set", kinds=("rings", "stripes"), count=2)
    (tmp_path / "set/rings/0.png").rename(tmp_path / "beside.png")
    cells = [(name, "a"), ("rings/1.png", "a"), ("stripes/0.png", "b")]
    table(tmp_path / "set/metadata.csv", ("file_name", "label"), cells)
    with pytest.raises(
        DataError, match=r"1 of 3 pictures that .*metadata\.csv names lie outside .*beside\.png \(row 1\)"
    ):
        read_examples(Data(source=str(tmp_path / "set")))


# NumPy archives


def archive(path, **arrays):
    np.savez(path, **arrays)
    return path


def test_a_medmnist_archive_has_its_parts(tmp_path):
    rng = np.random.default_rng(0)
    arrays = {}
    for part, count in (("train", 8), ("val", 4), ("test", 4)):
        arrays[f"{part}_images"] = rng.integers(0, 256, (count, 28, 28), np.uint8)
        arrays[f"{part}_labels"] = np.arange(count).reshape(-1, 1) % 2
    examples = read_examples(Data(source=str(archive(tmp_path / "m.npz", **arrays))))
    assert examples.kind == "class" and set(examples.targets) == {"0", "1"}
    assert examples.table["split"].value_counts().to_dict() == {"train": 8, "validation": 4, "test": 4}
    np.testing.assert_array_equal(read_image(examples.pictures()[8], in_chans=1)[..., 0], arrays["val_images"][0])
    arrays = {name: value if "images" in name else np.eye(3, dtype=int)[value[:, 0]] for name, value in arrays.items()}
    assert read_examples(Data(source=str(archive(tmp_path / "l.npz", **arrays)))).kind == "labels"


def test_fit_takes_an_archive(tmp_path):
    rng = np.random.default_rng(0)
    labels = np.arange(24) % 2
    pictures = (rng.integers(0, 99, (24, 32, 32, 3)) + 150 * labels[:, None, None, None]).astype(np.uint8)
    file = archive(tmp_path / "a.npz", x_train=pictures, y_train=labels, x_test=pictures // 2, y_test=labels)
    assert call(["fit", str(file), *QUICK_WORDS, "--out", str(tmp_path / "run")]) == 0


def test_an_archive_without_pictures_or_with_objects_is_refused(tmp_path):
    buffer = io.BytesIO()
    np.savez(buffer, images=np.array([object()]), labels=np.zeros(1))
    (tmp_path / "o.npz").write_bytes(buffer.getvalue())
    (tmp_path / "b.npz").write_bytes(buffer.getvalue()[:50])
    archive(tmp_path / "n.npz", weights=np.zeros(3))
    archive(tmp_path / "u.npz", images=np.zeros((3, 4, 4)), labels=np.zeros(2))
    for name, reason in (
        ("o", "Object arrays"),
        ("b", "cannot be read"),
        ("n", "weights"),
        ("u", "one label a picture"),
    ):
        with pytest.raises(DataError, match=reason):
            read_examples(Data(source=str(tmp_path / f"{name}.npz")))


def test_an_archive_that_is_damaged_or_encrypted_in_any_way_is_named(tmp_path):
    file = tmp_path / "a.npz"
    np.savez_compressed(file, images=np.arange(3 * 8 * 8, dtype=np.uint8).reshape(3, 8, 8), labels=np.arange(3))
    whole = bytearray(file.read_bytes())
    entry = whole.index(b"PK\1\2")
    reasons = set()
    # The flags and the method of the first member, in both of its headers; then single bytes of all kinds.
    for changes in ({6: 1, entry + 8: 1}, {8: 99, entry + 10: 99}, *({at: 0xA5} for at in range(30, len(whole), 7))):
        damaged = bytearray(whole)
        for at, byte in changes.items():
            damaged[at] = byte
        file.write_bytes(damaged)
        try:
            read_examples(Data(source=str(file)))
        except DataError as error:
            assert "a.npz" in str(error)
            reasons.add(type(error.__cause__).__name__)
    assert {"RuntimeError", "NotImplementedError", "error"} <= reasons


def test_a_header_that_is_no_python_and_a_member_that_is_no_array_are_refused(tmp_path):
    buffer = io.BytesIO()
    np.save(buffer, np.zeros((3, 8, 8), np.uint8))
    for name, content in (("t", buffer.getvalue().replace(b"}", b" ", 1)), ("m", b"text")):
        with zipfile.ZipFile(tmp_path / f"{name}.npz", "w") as file:
            file.writestr("images.npy", content)
            file.writestr("labels.npy", buffer.getvalue())
        with pytest.raises(DataError, match=rf"{name}\.npz cannot be read"):
            read_examples(Data(source=str(tmp_path / f"{name}.npz")))


def test_an_archive_that_would_fill_the_memory_is_refused_before_it_is_unpacked(tmp_path, monkeypatch):
    np.savez_compressed(tmp_path / "a.npz", images=np.zeros((3, 99, 99), np.uint8), labels=np.arange(3))
    monkeypatch.setattr("finetune.data.packed.MOST_BYTES", 20_000)
    monkeypatch.setattr(np, "load", lambda *a, **k: pytest.fail("unpacked"))
    with pytest.raises(DataError, match=r"a\.npz would have .* GiB unpacked"):
        read_examples(Data(source=str(tmp_path / "a.npz")))
