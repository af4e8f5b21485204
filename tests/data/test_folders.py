import os
import sys

import pytest

from finetune.data.examples import list_pictures, read_examples
from finetune.data.options import Data
from finetune.errors import ConfigError, DataError

from .pictures import save, tree

PETS = ["cat/1.jpg", "cat/2.JPG", "cat/10.jpg", "dog/deep/er/3.png", "dog/4.jpeg"]


def read(source, *, for_training=True, **options):
    return read_examples(Data(source=str(source), **options), for_training=for_training)


def test_class_folders_give_ids_targets_and_absolute_sources(tmp_path):
    table = read(tree(tmp_path, PETS)).table
    assert list(table.columns) == ["id", "source", "target", "group", "split"]
    assert list(table["id"]) == ["cat/1.jpg", "cat/2.JPG", "cat/10.jpg", "dog/4.jpeg", "dog/deep/er/3.png"]
    assert list(table["target"]) == ["cat"] * 3 + ["dog"] * 2
    assert list(table["source"]) == [str(tmp_path / name) for name in table["id"]]
    assert set(table["split"]) == set(table["group"]) == {None}


def test_what_systems_leave_behind_and_other_files_are_passed_over(tmp_path):
    tree(tmp_path, PETS)
    for name in (".DS_Store", "cat/._1.jpg", "cat/Thumbs.db", "dog/notes.txt", "labels.csv"):
        (tmp_path / name).write_bytes(b"x")
    save(tmp_path / "__MACOSX/cat/1.jpg")
    save(tmp_path / ".cache/a.jpg")
    assert len(read(tmp_path)) == 5


@pytest.mark.parametrize(
    "train, val, test", [("train", "val", "test"), ("Training", "VALID", "testing"), ("TRAIN", "dev", "Test")]
)
def test_usual_words_for_parts_are_understood(tmp_path, train, val, test):
    tree(tmp_path, [f"{part}/{name}" for part in (train, val, test) for name in PETS])
    assert list(read(tmp_path).table["split"]) == ["train"] * 5 + ["validation"] * 5 + ["test"] * 5


def test_a_class_named_train_is_a_class_beside_other_vehicles(tmp_path):
    table = read(tree(tmp_path, ["train/1.jpg", "bus/1.jpg", "car/1.jpg"])).table
    assert set(table["target"]) == {"bus", "car", "train"}


def test_pictures_outside_part_folders_are_left_out_and_counted(tmp_path):
    tree(tmp_path, [f"{part}/{name}" for part in ("train", "val") for name in PETS] + ["misc/a.jpg", "readme.png"])
    examples = read(tmp_path)
    assert len(examples) == 10 and any("2 pictures outside" in note for note in examples.notes)


def test_labels_come_from_file_names(tmp_path):
    tree(tmp_path, ["train/cat.1.jpg", "train/dog.1.jpg", "val/dog.2.jpg"])
    table = read(tmp_path, label_from="^(cat|dog)").table
    assert list(table["target"]) == ["cat", "dog", "dog"]


def test_numbers_in_file_names_may_be_the_target(tmp_path):
    examples = read(tree(tmp_path, [f"{age}_a.jpg" for age in range(30)]), label_from=r"^(\d+)_")
    assert examples.kind == "number" and examples.targets[:3] == [0.0, 1.0, 2.0]


def test_a_flat_folder_is_told_the_option_made_of_its_own_names(tmp_path):
    with pytest.raises(DataError, match=r'--label-from "\^\(cat\|dog\)"'):
        read(tree(tmp_path, ["cat.1.jpg", "dog.1.jpg"]))


def test_names_without_a_label_are_counted_and_shown(tmp_path):
    with pytest.raises(DataError, match=r"2 of 3 .* 1\.jpg, 2\.jpg"):
        read(tree(tmp_path, ["1.jpg", "2.jpg", "cat.jpg"]), label_from="^(cat|dog)")


def test_groups_come_from_file_names_and_the_rest_stands_alone(tmp_path):
    tree(tmp_path, ["a/p1_x.jpg", "a/p1_y.jpg", "b/p2_x.jpg", "b/other.jpg"])
    examples = read(tmp_path, group_from=r"p(\d)_")
    assert any(r"with 'p(\d)_'" in note for note in examples.notes), "the expression as it was written"
    assert sorted(map(str, examples.table["group"])) == ["1", "1", "2", "None"]
    assert any("2 groups" in note and "One name does not match" in note for note in examples.notes)
    with pytest.raises(DataError, match="matches none"):
        read(tmp_path, group_from="nobody")


@pytest.mark.parametrize(
    "names, message",
    [
        ([], "holds no pictures"),
        (["cat/1.jpg", "cat/2.jpg"], 'one class, "cat"'),
        (["train/a/1.jpg", "train/b/1.jpg", "val/c/1.jpg"], "1 of the classes .* not in train: c"),
        (["val/a/1.jpg", "test/b/1.jpg"], "No example .* is for training"),
        (["data/cat/1.jpg", "data/dog/1.jpg"], "give .*data as the source"),
    ],
)
def test_folders_that_cannot_be_learned_from_say_why(tmp_path, names, message):
    with pytest.raises(DataError, match=message):
        read(tree(tmp_path, names))


def test_an_empty_class_folder_is_named(tmp_path):
    tree(tmp_path, PETS)
    (tmp_path / "hamster").mkdir()
    with pytest.raises(DataError, match=r"1 class folder holds no pictures.*hamster"):
        read(tmp_path)
    assert any("hamster" in note for note in read(tmp_path, for_training=False).notes)


def test_evaluation_takes_one_class_and_no_train_part(tmp_path):
    assert len(read(tree(tmp_path, ["test/cat/1.jpg"]), for_training=False)) == 1


def test_a_missing_folder_answers_with_the_nearest_name(tmp_path):
    (tmp_path / "hymenoptera").mkdir()
    with pytest.raises(DataError, match='Did you mean "hymenoptera"'):
        read(tmp_path / "hymenopetra")


def test_columns_do_not_fit_a_folder(tmp_path):
    with pytest.raises(ConfigError, match="target name columns of a table"):
        read(tree(tmp_path, PETS), target="label")


def test_links_out_of_the_folder_and_loops_are_not_followed(tmp_path):
    secret = save(tmp_path / "secret/s.jpg")
    root = tree(tmp_path / "pets", PETS)
    (root / "cat/link.jpg").symlink_to(secret)
    (root / "cat/all").symlink_to(tmp_path / "secret")
    (root / "dog/loop").symlink_to(root / "dog")
    (root / "dog/5.jpg").symlink_to(root / "dog/4.jpeg")
    examples = read(root)
    assert len(examples) == 6 and not any("secret" in s or "loop" in s for s in examples.table["source"])
    assert any("2 links" in note for note in examples.notes)


@pytest.mark.skipif(sys.platform != "linux", reason="other systems do not allow such names")
def test_a_name_that_is_not_utf8_is_refused_as_its_bytes(tmp_path):
    tree(tmp_path, PETS)
    (tmp_path / "cat/1.jpg").rename(os.fsdecode(os.fsencode(tmp_path) + b"/cat/caf\xe9.jpg"))
    with pytest.raises(DataError, match=r"caf\\xe9\.jpg' is not UTF-8\. Rename it"):
        read(tmp_path)


def test_pictures_are_listed_in_the_order_asked(tmp_path):
    tree(tmp_path, PETS)
    (tmp_path / "cat/notes.txt").write_text("x")
    asked = [
        str(tmp_path / "gone.jpg"),
        str(tmp_path / "dog"),
        str(tmp_path / "cat" / "*"),
        str(tmp_path / "cat/notes.txt"),
    ]
    names = [path.removeprefix(f"{tmp_path}/") for path in list_pictures(asked)]
    assert names == [
        "gone.jpg",
        "dog/4.jpeg",
        "dog/deep/er/3.png",
        "cat/1.jpg",
        "cat/2.JPG",
        "cat/10.jpg",
        "cat/notes.txt",
    ]


def test_a_folder_or_pattern_without_pictures_is_refused(tmp_path):
    for asked in (tmp_path, tmp_path / "*.jpg"):
        with pytest.raises(DataError, match=r"holds no pictures|No picture matches"):
            list_pictures([asked])


def test_a_file_whose_name_looks_like_a_pattern_is_that_file(tmp_path):
    path = save(tmp_path / "a[1].jpg")
    assert list_pictures([path]) == [str(path)]


def test_a_class_folder_that_is_a_link_out_of_the_source_is_named_and_not_followed(tmp_path):
    root = tree(tmp_path / "root", ["cat/1.jpg", "dog/1.jpg"])
    (root / "bird").symlink_to(tree(tmp_path / "elsewhere", ["a.jpg"]))
    with pytest.raises(DataError, match=r"bird\. Links that lead out of the source are not followed"):
        read_examples(Data(source=str(root)))
    examples = read_examples(Data(source=str(root)), for_training=False)
    assert list(examples.table["id"]) == ["cat/1.jpg", "dog/1.jpg"]
    assert any("1 links that lead out" in note for note in examples.notes)
