from __future__ import annotations

import csv
import io
import json

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from finetune.data.trees import MOST_LEVELS, read_tree, tree_of
from finetune.errors import ConfigError, DataError

TREE = {"lesion": {"benign": {"nv": {}, "bkl": {}}, "malignant": {"mel": {}, "bcc": {}}}}
WRITTEN = {
    "t.yaml": "lesion:\n  benign: [nv, bkl]\n  malignant:\n    mel:\n    bcc: {}\n",
    "t.yml": "- lesion:\n    - benign:\n      - nv\n      - bkl\n    - malignant: [mel, bcc]\n",
    "t.json": '{"lesion": {"benign": ["nv", "bkl"], "malignant": {"mel": null, "bcc": []}}}',
    "t.csv": "child,parent\nlesion,\nbenign,lesion\nmalignant,lesion\nnv,benign\nbkl,benign\nmel,malignant\n"
    "bcc,malignant\n",
    "t.tsv": "note\tParent\tChild\n\tbenign\tnv\n\tbenign\tbkl\n\t\t\n\tmalignant\tmel\n\tmalignant\tbcc\n"
    "\tlesion\tbenign\n\tlesion\tmalignant\n",
}


def read(folder, text, name="t.yaml"):
    (folder / name).write_text(text, encoding="utf-8")
    return read_tree(folder / name)


def said(folder, text, name="t.yaml"):
    with pytest.raises(DataError) as error:
        read(folder, text, name)
    assert str(folder / name) in str(error.value)
    return str(error.value)


@pytest.mark.parametrize("name", WRITTEN)
def test_each_way_of_writing_gives_the_same_tree(tmp_path, name):
    assert read(tmp_path, WRITTEN[name], name) == TREE


def test_a_tree_of_python_is_read_as_one_of_a_file():
    assert tree_of({"lesion": {"benign": ["nv", "bkl"], "malignant": ("mel", {"bcc": None})}}) == TREE
    assert tree_of(TREE) == TREE


def test_names_of_yaml_are_the_letters_as_they_stand(tmp_path):
    assert read(tmp_path, "all: [no, yes, 01, 1.0, null_, 2020-01-01, 'a: b']") == {
        "all": {name: {} for name in ("no", "yes", "01", "1.0", "null_", "2020-01-01", "a: b")}
    }


def test_a_byte_order_mark_and_letters_of_any_script_are_read(tmp_path):
    assert read(tmp_path, "\ufeffchild,parent\n黑色素瘤,悪性\n", "t.csv") == {"悪性": {"黑色素瘤": {}}}


names = st.text(st.characters(codec="utf-8", exclude_categories=("C", "Z")), min_size=1, max_size=6)


@st.composite
def trees(draw):
    found = draw(st.lists(names, min_size=1, max_size=12, unique=True))
    below = {name: {} for name in found}
    tops = {}
    for number, name in enumerate(found):
        above = draw(st.sampled_from([None, *found[:number]]))
        (tops if above is None else below[above])[name] = below[name]
    return tops


def edges(tree, parent=""):
    for name, below in tree.items():
        yield name, parent
        yield from edges(below, name)


@settings(max_examples=25)
@given(tree=trees())
def test_whatever_tree_is_written_comes_back_from_every_form(tree, tmp_path_factory):
    folder, text = tmp_path_factory.mktemp("trees"), io.StringIO(newline="")
    csv.writer(text).writerows([("child", "parent"), *edges(tree)])
    assert read(folder, json.dumps(tree), "t.json") == tree
    assert read(folder, yaml.safe_dump(tree, allow_unicode=True, sort_keys=False)) == tree
    assert read(folder, text.getvalue(), "t.csv") == tree
    assert tree_of(tree) == tree


@given(text=st.text(max_size=60), form=st.sampled_from([".yaml", ".json", ".csv", ".tsv"]))
def test_any_text_is_a_tree_or_is_refused_in_words(text, form, tmp_path_factory):
    file = tmp_path_factory.mktemp("texts") / f"t{form}"
    file.write_text(text, encoding="utf-8", newline="")
    try:
        tree = read_tree(file)
    except DataError as error:
        assert file.name in str(error)
    else:
        assert tree and len(dict(edges(tree))) == len(list(edges(tree)))


def test_a_name_with_two_parents_is_told_with_both_lines(tmp_path):
    told = said(tmp_path, "benign:\n  - nv\nmalignant:\n  - mel\n  - nv\n")
    assert '"nv" stands in two places: below "benign" (line 2), and below "malignant" (line 5)' in told
    told = said(tmp_path, "child,parent\nnv,benign\nmel,malignant\nnv,malignant\n", "t.csv")
    assert '"nv" stands in two places: below "benign" (line 2), and below "malignant" (line 4)' in told


def test_a_name_that_comes_twice_in_one_place_is_refused_where_a_parser_would_keep_the_last(tmp_path):
    assert '"nv" stands in two places' in said(tmp_path, "benign:\n  nv:\n  nv: [a]\n")
    assert '"nv" stands in two places' in said(tmp_path, '{"benign": {"nv": [], "nv": ["a"]}}', "t.json")


def test_a_name_below_itself_is_a_cycle(tmp_path):
    assert '"a" is below "a": a cycle' in said(tmp_path, "child,parent\na,a\n", "t.csv")
    assert "a cycle" in said(tmp_path, "child,parent\na,b\nb,c\nc,a\nd,a\n", "t.csv")
    assert '"a" stands in two places' in said(tmp_path, "a: {b: {a: }}")


def test_all_that_is_wrong_is_told_at_once(tmp_path):
    told = said(tmp_path, "child,parent\nx,x\n,benign\nnv,benign\nnv,benign\n", "t.csv")
    assert "a cycle" in told and "A name is empty" in told and '"nv" stands' in told


@pytest.mark.parametrize(("name", "text", "words"), [
    ("t.yaml", "", "no names"),
    ("t.yaml", "just a word", "Expected a list of names"),
    ("t.yaml", "benign: nv", 'below "benign"'),
    ("t.yaml", "a: [b, [c]]", "Expected a name"),
    ("t.yaml", "a: {b: [c}", "no YAML"),
    ("t.yaml", "a: &x [b]\nc: *x", "two places"),
    ("t.yaml", "a: &x\n  b: *x", "two places"),
    ("t.yaml", "? [a]\n: b", "before the colon"),
    ("t.yaml", "[" * 500, "levels"),
    ("t.yaml", "a\x00: b", "no YAML"),
    ("t.yaml", "a: 1\n---\nb: 2", "no YAML"),
    ("t.json", "[", "no JSON"),
    ("t.json", '{"a": [true]}', "Got True"),
    ("t.json", "[" * 100_000, "levels"),
    ("t.csv", "name,above\na,b\n", "Got name, above"),
    ("t.csv", "child,parent\n\"a,b\n", "no table"),
    ("t.csv", "child,parent\n", "no names"),
])  # fmt: skip
def test_what_is_no_tree_is_refused_with_the_file_and_a_reason(tmp_path, name, text, words):
    assert words in said(tmp_path, text, name)


def test_what_contains_itself_or_is_endlessly_deep_is_refused(tmp_path):
    around: dict = {"a": {}}
    around["a"]["b"] = around
    with pytest.raises(ConfigError, match="levels"):
        tree_of(around)
    rows = [f"n{k + 1},n{k}" for k in range(MOST_LEVELS)]
    assert "levels" in said(tmp_path, "\n".join(["child,parent", *rows]), "t.csv")
    assert read(tmp_path, "\n".join(["child,parent", *rows[1:]]), "t.csv")


def test_a_file_that_is_not_there_or_of_another_kind_is_told(tmp_path):
    with pytest.raises(DataError, match="cannot be read"):
        read_tree(tmp_path / "t.yaml")
    with pytest.raises(DataError, match="cannot be read"):
        (tmp_path / "f.yaml").mkdir()
        read_tree(tmp_path / "f.yaml")
    with pytest.raises(DataError, match=r"is read from .yaml"):
        read_tree(tmp_path / "t.txt")
    (tmp_path / "l.yaml").write_bytes(b"a: [\xe9]")
    with pytest.raises(DataError, match="UTF-8"):
        read_tree(tmp_path / "l.yaml")
