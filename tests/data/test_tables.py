import json

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from finetune.data.examples import read_examples
from finetune.data.options import Data
from finetune.data.tables import cell_text
from finetune.errors import ConfigError, DataError

from .pictures import save, tree


def read(source, *, for_training=True, **options):
    return read_examples(Data(source=source, **options), for_training=for_training)


@pytest.fixture
def root(tmp_path):
    return tree(tmp_path, ["img/a.jpg", "img/b.JPG", "img/c.png"])


def write(path, text, encoding="utf-8"):
    path.write_bytes(text.encode(encoding))
    return str(path)


@pytest.mark.parametrize("sign", [",", ";", "\t"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "cp1252", "utf-16"])
def test_separators_and_encodings_are_found_out(root, sign, encoding):
    text = f"path{sign}label{sign}note\nimg/a.jpg{sign}Käse{sign}x\nimg/b.JPG{sign}Brot{sign}y\n"
    examples = read(write(root / "t.csv", text, encoding))
    assert examples.targets == ["Käse", "Brot"] and list(examples.table["note"]) == ["x", "y"]
    assert list(examples.table["id"]) == ["img/a.jpg", "img/b.JPG"]


def test_a_tsv_may_hold_commas(root):
    assert read(write(root / "t.tsv", "file\tclass\nimg/a.jpg\ta,b\nimg/b.JPG\tc\n")).targets == ["a,b", "c"]


def test_parquet_and_dataframe_read_alike(root):
    frame = pd.DataFrame({"image": ["img/a.jpg", "img/b.JPG"], "target": [1.0, 0.0], "age": [3, 4]})
    frame.to_parquet(root / "t.parquet")
    one, two = read(str(root / "t.parquet")), read(frame, root=str(root))
    pd.testing.assert_frame_equal(one.table, two.table)
    assert one.targets == ["1", "0"] and list(one.table["age"]) == [3, 4]


@pytest.mark.parametrize(
    "name", ["img/b", "img\\b.JPG", "img/B.jpg", "b", "b.jpg", r"C:\Users\me\IMG\b.jpg", "./img/../img/b.JPG"]
)
def test_a_picture_is_found_however_its_path_is_written(root, name):
    frame = pd.DataFrame({"image": ["img/a.jpg", name], "target": ["x", "y"]})
    assert list(read(frame, root=str(root)).table["id"]) == ["img/a.jpg", "img/b.JPG"]


def test_absolute_paths_stand_for_themselves(root, tmp_path_factory):
    other = save(tmp_path_factory.mktemp("other") / "z.jpg")
    frame = pd.DataFrame({"image": [str(other), "img/a.jpg"], "target": ["x", "y"]})
    assert list(read(frame, root=str(root)).table["id"]) == [other.as_posix(), "img/a.jpg"]


def test_missing_pictures_are_counted_and_the_first_three_shown(root):
    text = "image,target\n" + "".join(f"no{n}.jpg,{n % 2}\n" for n in range(5)) + "img/a.jpg,1\n"
    with pytest.raises(DataError, match=r"5 of 6 .* 'no0\.jpg', 'no1\.jpg', 'no2\.jpg' and 2 more"):
        read(write(root / "t.csv", text))


def test_a_name_that_fits_several_files_is_not_guessed(root):
    save(root / "more/a.jpg")
    with pytest.raises(DataError, match="fit several files"):
        read(pd.DataFrame({"image": ["a", "c"], "target": [0, 1]}), root=str(root))


def test_all_wrong_columns_are_told_at_once_with_the_nearest(root):
    path = write(root / "t.csv", "image_id,dx,lesion_id\na,x,1\n")
    with pytest.raises(ConfigError) as caught:
        read(path, image="imageid", target="dxx", group="lesionid")
    assert [f'Did you mean "{name}"' in str(caught.value) for name in ("image_id", "dx", "lesion_id")] == [True] * 3


def test_columns_that_cannot_be_guessed_are_listed(root):
    with pytest.raises(ConfigError, match=r"(?s)image does not say.*target does not say.*Its columns: one, two, three"):
        read(write(root / "t.csv", "one,two,three\n1,2,3\n"))


def test_guessed_columns_are_noted(root):
    notes = read(write(root / "t.csv", "file,dx,other\nimg/a.jpg,x,1\nimg/b.JPG,y,2\n")).notes
    assert 'column "file"' in notes[0] and 'column "dx"' in notes[1]


def test_a_table_without_header_is_read_by_numbers_and_hinted_at(root):
    path = write(root / "t.csv", "img/a.jpg,0.5,x\nimg/b.JPG,1.5,y\nimg/c.png,2.5,y\n")
    assert read(path, no_header=True, image="0", target="1").targets == [0.5, 1.5, 2.5]
    with pytest.raises(ConfigError, match="no_header reads it"):
        read(path, image="0", target="1")


@pytest.mark.parametrize("target", [("cat", "dog"), "cat,dog", "cat, dog"])
def test_several_columns_are_labels(root, target):
    path = write(root / "t.csv", "image,cat,dog\nimg/a.jpg,1,0\nimg/b.JPG,1.0,True\nimg/c.png,0,0\n")
    examples = read(path, target=target)
    assert examples.kind == "labels" and examples.targets == [("cat",), ("cat", "dog"), ()]


def test_a_label_column_holds_zero_and_one_only(root):
    with pytest.raises(DataError, match="label column \"dog\" holds '2'"):
        read(write(root / "t.csv", "image,cat,dog\nimg/a.jpg,1,2\n"), target=("cat", "dog"))


def test_a_separator_at_the_end_of_each_line_shifts_nothing(root):
    assert read(write(root / "t.csv", "image,target\r\nimg/a.jpg,x,\r\n\r\nimg/b.JPG,y,\r\n")).targets == ["x", "y"]


@pytest.mark.parametrize("line", ["img/b.JPG", "img/b.JPG,y,z", 'img/b.JPG,"y'])
def test_a_broken_line_is_named_and_not_filled_up(root, line):
    with pytest.raises(DataError, match="line 3"):
        read(write(root / "t.csv", f"image,target\nimg/a.jpg,x\n{line}\n"))


def test_a_decimal_comma_is_understood_where_semicolons_separate(root):
    examples = read(write(root / "t.csv", "image;target\nimg/a.jpg;1,5\nimg/b.JPG;-2\nimg/c.png;0,25\n"))
    assert examples.targets == [1.5, -2.0, 0.25] and any("decimal" in note for note in examples.notes)


def test_columns_of_the_same_name_are_told_apart(root):
    examples = read(write(root / "t.csv", "image,image\nimg/a.jpg,x\nimg/b.JPG,y\n"))
    assert examples.targets == ["x", "y"] and any('"image.1"' in note for note in examples.notes)


def test_na_and_leading_zeros_are_names(root):
    path = write(root / "t.csv", "image,target\nimg/a.jpg,NA\nimg/b.JPG,007\n")
    assert read(path).targets == ["NA", "007"]


def test_parts_are_read_and_odd_words_are_refused(root):
    frame = pd.DataFrame(
        {"image": ["img/a.jpg", "img/b.JPG", "img/c.png"], "y": [0, 1, 0], "fold": ["train", "Train", "Dev"]}
    )
    assert list(read(frame, root=str(root), split="fold").table["split"]) == ["train", "train", "validation"]
    with pytest.raises(DataError, match=r'Row 3 .*"validation"'):
        read(frame.assign(fold=["train", "train", "validatoin"]), root=str(root), split="fold")
    with pytest.raises(DataError, match="Row 2 "):
        read(frame.assign(fold=["train", None, "val"]), root=str(root), split="fold")


def test_repeated_rows_are_left_out_and_contradictions_refused(root):
    frame = pd.DataFrame({"image": ["img/a.jpg", "img/b.JPG", "img/a.jpg"], "target": ["x", "y", "x"]})
    examples = read(frame, root=str(root))
    assert len(examples) == 2 and any("1 rows that repeat" in note for note in examples.notes)
    with pytest.raises(DataError, match=r"img/a\.jpg \(x and y\)"):
        read(frame.assign(target=["x", "y", "y"]), root=str(root))


def test_columns_that_bear_our_names_are_kept_beside_ours(root):
    frame = pd.DataFrame({"path": ["img/a.jpg", "img/b.JPG"], "dx": ["x", "y"], "id": [7, 8], "group": ["g", "h"]})
    table = read(frame, root=str(root), target="dx").table
    assert list(table["id_"]) == [7, 8] and list(table["group_"]) == ["g", "h"] and set(table["group"]) == {None}


@pytest.mark.parametrize(
    "content, message",
    [
        (b"", "is empty"),
        (b"PAR1\x00\x00", "no text"),
        (b"a,b\n", "holds no rows"),
        (b",,\n,,\n", "all its cells are empty"),
    ],
)
def test_what_is_no_table_is_refused(tmp_path, content, message):
    (tmp_path / "t.csv").write_bytes(content)
    with pytest.raises(DataError, match=message):
        read(str(tmp_path / "t.csv"))


def test_a_cell_may_be_longer_than_csv_allows_unasked(root):
    text = f"path,label,note\nimg/a.jpg,x,{'n' * 200_000}\nimg/b.JPG,y,n\n"
    assert len(read(write(root / "t.csv", text)).table["note"][0]) == 200_000


def test_a_broken_parquet_file_is_refused(tmp_path):
    (tmp_path / "t.parquet").write_bytes(b"PAR1 no")
    with pytest.raises(DataError, match="cannot be read as Parquet"):
        read(str(tmp_path / "t.parquet"))


@given(st.one_of(st.none(), st.floats(), st.integers(), st.text(), st.booleans()))
def test_a_gap_is_an_empty_text_and_nothing_else_is(cell):
    gap = cell is None or cell == "" or (isinstance(cell, float) and np.isnan(cell))
    assert (cell_text(cell) == "") == gap


def test_isic_and_driving_tables_read_as_they_come(shared_data):
    isic = read(str(shared_data / "isic_lesions/metadata.csv"), group="patient_id")
    assert len(isic) == 1000 and isic.targets.count("1") == 200 and isic.table["group"].nunique() == 1000
    drive = read(str(shared_data / "driving/driving_log.csv"), no_header=True, image="0", target="3")
    assert drive.kind == "number" and len(drive) == 300


@pytest.mark.parametrize("cell", ["cat/link.jpg", "folder/a.jpg", "link"])
def test_links_that_lead_out_of_the_root_are_not_followed_for_a_table(tmp_path, cell):
    root, secret = tree(tmp_path / "root", ["cat/1.jpg", "dog/1.jpg"]), tree(tmp_path / "secret", ["a.jpg"])
    (root / "cat/link.jpg").symlink_to(secret / "a.jpg")
    (root / "folder").symlink_to(secret)
    (root / "cat/inner.jpg").symlink_to(root / "cat/1.jpg")
    rows = [("cat/1.jpg", "cat"), ("dog/1.jpg", "dog"), ("cat/inner.jpg", "cat")]
    data = Data(source=pd.DataFrame([*rows, (cell, "dog")], columns=["image", "label"]), root=str(root))
    with pytest.raises(DataError, match=r"1 of 4 pictures"):
        read_examples(data)
    named = Data(
        source=pd.DataFrame([*rows, (str(secret / "a.jpg"), "dog")], columns=["image", "label"]), root=str(root)
    )
    assert len(read_examples(named)) == 4  # a place that the table itself names is as meant


@pytest.mark.parametrize("sign", ["\u2028", "\u2029", "\x85"])
def test_a_line_of_json_may_hold_any_sign_but_its_end(root, sign):
    lines = [json.dumps({"path": f"img/{n}", "label": f"x{sign}{n}"}, ensure_ascii=False) for n in ("a.jpg", "c.png")]
    assert read(write(root / "t.jsonl", "\r\n".join(lines))).targets == [f"x{sign}a.jpg", f"x{sign}c.png"]


@pytest.mark.parametrize("name", ["id", "source", "target", "group", "split"])
def test_a_column_with_our_name_takes_that_of_no_other(root, name):
    frame = pd.DataFrame({"path": ["img/a.jpg", "img/b.JPG"], "dx": ["x", "y"], name: [7, 8], f"{name}_": [1, 2]})
    table = read(frame, root=str(root), image="path", target="dx").table
    assert table.columns.is_unique and list(table[f"{name}__"]) == [7, 8] and list(table[f"{name}_"]) == [1, 2]


def test_frames_without_a_given_group_stay_with_their_file(root):
    cells = ["img/a.jpg", "img/a.jpg#frame=2", "img/b.JPG#frame=1", "img/b.JPG#frame=2", "img/c.png"]
    frame = pd.DataFrame({"path": cells, "dx": list("xxyyy"), "who": ["", None, "p", "", ""]})
    groups = list(read(frame, root=str(root), group="who").table["group"])
    assert groups == [str(root / "img/a.jpg")] * 2 + ["p", str(root / "img/b.JPG"), None]


def test_a_group_made_from_a_url_carries_no_password():
    url = "https://me:hidden@host/scan.dcm?token=hidden"
    frame = pd.DataFrame({"path": [f"{url}#frame=1", f"{url}#frame=2"], "dx": ["x", "y"]})
    groups = set(read(frame).table["group"])
    assert len(groups) == 1 and "hidden" not in groups.pop()


def test_a_picture_with_very_many_answers_is_told_in_a_line(tmp_path):
    tree(tmp_path, ["a.jpg", "b.jpg"])
    rows = [("a.jpg", f"class {n}") for n in range(300)] + [("b.jpg", "x")]
    (tmp_path / "t.csv").write_text("image,target\n" + "\n".join(",".join(row) for row in rows))
    with pytest.raises(DataError, match=r"a\.jpg \(class 0, class 1, class 2 and 297 more\)") as told:
        read_examples(Data(source=str(tmp_path / "t.csv"), image="image", target="target"))
    assert len(str(told.value)) < 500
