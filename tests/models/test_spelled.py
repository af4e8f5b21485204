"""Backbones in one word each."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from finetune.errors import ConfigError
from finetune.models.options import Backbone
from finetune.models.spelled import read_backbone, read_backbones, spell_differences


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("resnet50", Backbone("resnet50")),
        ("timm/resnet50.a1_in1k", Backbone("timm/resnet50.a1_in1k")),
        ("a=w.pth", Backbone("a", weights="w.pth")),
        ("a=none", Backbone("a", weights="none")),
        (r"a=C:\w.pth:std=0.5", Backbone("a", weights=r"C:\w.pth", std=0.5)),
        ("a=dir=1/w.pth:mean=0.5", Backbone("a", weights="dir=1/w.pth", mean=0.5)),
        ("a:mean=0.5,0.4,0.3:input_size=96:crop=pad", Backbone("a", mean=(0.5, 0.4, 0.3), input_size=96, crop="pad")),
        (
            "a:arg.pad_type=same:arg.depth=3:arg.flat=true",
            Backbone("a", args={"pad_type": "same", "depth": 3, "flat": True}),
        ),
    ],
)
def test_a_backbone_is_read_as_it_is_meant(text, expected):
    assert read_backbone(text) == expected


def test_several_are_parted_by_commas_and_by_texts_and_numbers_stay_with_theirs():
    found = read_backbones(["a:mean=0.5,0.4,0.3,b=w.pth:std=1, 2e-1,3", "c"])
    assert found == [
        Backbone("a", mean=(0.5, 0.4, 0.3)),
        Backbone("b", weights="w.pth", std=(1.0, 0.2, 3.0)),
        Backbone("c"),
    ]


def test_all_that_is_wrong_is_said_at_once_with_the_nearest_word():
    with pytest.raises(ConfigError) as error:
        read_backbones(["a:maen=0.5:std=0,b:mean=half:input_size=0,c:input_size=1.5", "=w.pth"])
    lines = str(error.value).splitlines()
    assert [line.partition(":")[2].split()[0] for line in lines]  # each says where
    for part in (
        'Did you mean "mean"',
        "std must be above 0",
        'one a channel with commas. Got "half"',
        "input_size must be 1 pixel",
        'a whole number. Got "1.5"',
        "has no name",
    ):
        assert part in str(error.value)


@given(st.lists(st.sampled_from(["a", "b"]), max_size=6), st.data())
def test_no_two_backbones_get_one_name(ids, data):
    word = st.sampled_from([{}, {"mean": 0.5}, {"args": {"pad_type": "same"}}, {"weights": "/x/w.pth"}])
    backbones = [Backbone(id, **data.draw(word)) for id in ids]
    names = spell_differences(backbones, ids)
    assert len(set(names)) == len(names)
    assert all(name == id for name, id in zip(names, ids, strict=True) if ids.count(id) == 1)


def test_where_two_share_an_id_the_name_says_in_what_they_differ():
    plain = {"weights": "x/w.pth", "mean": 0.5}
    backbones = [Backbone("a", **plain), Backbone("a", **plain, args={"pad_type": "same"}), Backbone("b", **plain)]
    assert spell_differences(backbones, ["timm/a", "timm/a", "timm/b"]) == [
        "timm/a", "timm/a:arg.pad_type=same", "timm/b"]  # fmt: skip
    assert spell_differences([backbones[0], Backbone("a", weights="none", mean=0.5)], ["timm/a", "timm/a"]) == [
        "timm/a:weights=w.pth", "timm/a:weights=none"]  # fmt: skip
