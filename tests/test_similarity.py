"""Nearest pictures and retrieval by a backbone that was never fitted, by a model, and by its folder."""

import shutil

import pytest

import finetune as ft
from finetune.errors import ConfigError, DataError
from tests.made import class_folders

LENET = ft.Backbone("finetune/lenet5", weights="none")


def test_a_backbone_a_model_and_its_folder_find_neighbours(probed, textures):
    asked = textures / "rings" / "0.png"
    by_model = ft.neighbours(probed, asked, k=3).table()
    assert by_model.equals(ft.neighbours(probed.folder, asked, k=3).table())
    by_backbone = ft.neighbours(LENET, asked, among=ft.Data(source=str(textures)), k=3)
    assert by_backbone.pictures == 36 and by_backbone.among == str(textures)


def test_products_that_were_learned_from_are_refused_unless_they_are_meant(probed, textures, tmp_path):
    with pytest.raises(DataError, match="3 of the products were learned from: checks, rings, stripes"):
        ft.retrieval(probed, textures)
    meant = ft.retrieval(probed, textures, known=True)
    assert (meant["pictures"], meant["products"]) == (36, 3)
    new = tmp_path / "new"
    for kind in ("checks", "rings"):
        shutil.copytree(textures / kind, new / f"new {kind}")
    found = ft.retrieval(probed, new)
    for name in ("features", "pixels"):
        for figure in found[name].values():
            assert 0 <= figure["low"] <= figure["value"] <= figure["high"] <= 1 and figure["n"] == 24


def test_a_copy_finds_nothing_where_it_is_all_there_is(textures, tmp_path):
    folder = class_folders(tmp_path / "pictures", count=2, kinds=("rings", "stripes"))
    (folder / "twice").mkdir()
    for name in ("a", "b"):
        shutil.copy(textures / "checks" / "0.png", folder / "twice" / f"{name}.png")
    assert ft.retrieval(LENET, folder)["features"]["recall_at_1"]["n"] == 4


@pytest.fixture
def shop(tmp_path):
    """Two kinds of products in Stanford's layout, one product of each known and one new."""
    folder = class_folders(tmp_path / "made", count=4, kinds=("rings", "stripes"))
    header, lists = "image_id class_id super_class_id path", {"train": [], "test": []}
    for number, kind in enumerate(("rings", "stripes")):
        (tmp_path / "shop" / f"{kind}_final").mkdir(parents=True)
        for view in range(4):
            name = f"{kind}_final/{view}.png"
            shutil.copy(folder / kind / f"{view}.png", tmp_path / "shop" / name)
            lists["test" if view > 1 else "train"].append(
                f"{number * 4 + view} {number * 2 + view // 2} {number} {name}"
            )
    for side, rows in lists.items():
        (tmp_path / "shop" / f"Ebay_{side}.txt").write_text("\n".join([header, *rows]) + "\n")
    return tmp_path / "shop"


def test_rows_of_one_side_and_kind_alone_are_taken(shop):
    data = ft.Data(source=str(shop), layout="products")
    found = ft.retrieval(LENET, data, only={"side": "test"})
    assert (found["pictures"], found["products"]) == (4, 2)
    asked = shop / "rings_final" / "2.png"
    near = ft.neighbours(LENET, asked, among=data, only={"side": "test", "kind": "rings"})
    assert [one.file for one in near.queries[0].neighbours] == [str(shop / "rings_final" / "3.png")]
    with pytest.raises(DataError, match=r'No row has kind "lamp"\. There are rings, stripes'):
        ft.retrieval(LENET, data, only={"kind": "lamp"})
    with pytest.raises(DataError, match=r'There is no column "kinds"\..* Did you mean "kind"'):
        ft.retrieval(LENET, data, only={"kinds": "rings"})


def test_numbers_are_no_products_and_broken_pictures_no_pictures(textures, tmp_path):
    import pandas as pd

    table = pd.DataFrame(
        {"image": [str(textures / "rings" / f"{n}.png") for n in range(8)], "size": [n / 3 for n in range(8)]}
    )
    with pytest.raises(DataError, match="must be the product of each picture"):
        ft.retrieval(LENET, table, image="image", target="size")
    for kind in ("one", "other"):
        (tmp_path / kind).mkdir()
        (tmp_path / kind / "0.png").write_bytes(b"no picture")
    with pytest.raises(DataError, match="None of the 2 pictures can be read"):
        ft.retrieval(LENET, tmp_path)


def test_the_interval_draws_groups_where_there_are_any_and_else_what_is_asked_for(probed, textures):
    import pandas as pd

    files = sorted(textures.rglob("*.png"))
    table = pd.DataFrame({"image": map(str, files), "kind": [file.parent.name for file in files],
                          "shop": [n // 12 % 3 if n % 2 else None for n in range(len(files))]})  # fmt: skip
    words = {"image": "image", "target": "kind", "known": True}
    found = {
        drawn: ft.retrieval(probed, table, **words, group="shop", drawn=drawn)
        for drawn in (None, "group", "product", "picture")
    }
    assert found[None] == found["group"] and [one["drawn"] for one in found.values()][1:] == [*found][1:]
    ends = {drawn: (one["features"]["map_at_r"]["low"], one["features"]["map_at_r"]["high"])
            for drawn, one in found.items()}  # fmt: skip
    assert len({*ends.values()}) == 3 and len({one["features"]["map_at_r"]["value"] for one in found.values()}) == 1
    assert ft.retrieval(probed, table, **words)["drawn"] == "picture", "three products are too few to draw whole"
    with pytest.raises(DataError, match="the source names none"):
        ft.retrieval(probed, table, **words, drawn="group")
    with pytest.raises(ConfigError, match=r'drawn="products" is unknown\..* Did you mean "product"'):
        ft.retrieval(LENET, "nowhere", drawn="products")
