"""Data sets in the layouts in which people download them: labels, groups and divisions as their makers mean them."""

from __future__ import annotations

import math
from collections import Counter

import numpy as np
import pytest
from PIL import Image

import finetune as ft
from finetune.data.examples import read_examples
from finetune.data.layouts.documents import CLASSES
from finetune.data.layouts.named import READERS
from finetune.data.layouts.pets import _by_number
from finetune.data.options import LAYOUTS
from tests.data.drives import comma_drive


def picture(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.zeros((4, 4, 3), np.uint8)).save(path)
    return path


def read(source, layout, **options):
    return read_examples(ft.Data(source=str(source), layout=layout, **options)).table


def test_the_names_that_are_checked_early_are_those_that_can_be_read():
    assert tuple(READERS) == LAYOUTS
    with pytest.raises(ft.ConfigError, match='Did you mean "driving"'):
        ft.Data(source="x", layout="drivin")


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_folder_that_is_laid_out_otherwise_is_refused_with_what_was_expected(layout, tmp_path):
    picture(tmp_path / "holiday.png")
    with pytest.raises(ft.DataError, match=r"not laid out as expected. Expected .* Got"):
        read(tmp_path, layout)


def test_the_lectures_division_of_cats_and_dogs_goes_by_number():
    parts = Counter(_by_number(number) for number in range(12_500) for _ in range(2))
    assert parts == {"train": 17_500, "validation": 3_750, "test": 3_750}
    assert [_by_number(number) for number in (0, 8_749, 8_750, 10_624, 10_625, 12_499, 12_500)] == [
        "train", "train", "validation", "validation", "test", "test", None]  # fmt: skip


@pytest.mark.parametrize("names", [
    ["train/cat.{n}.jpg", "train/dog.{n}.jpg"],
    ["PetImages/Cat/{n}.jpg", "PetImages/Dog/{n}.jpg"],
], ids=["Kaggle", "Microsoft"])  # fmt: skip
def test_cats_and_dogs_are_read_from_both_archives(names, tmp_path):
    for number in (3, 9_000, 11_000):
        for name in names:
            picture(tmp_path / name.format(n=number))
    picture(tmp_path / "test1" / "unknown.jpg")
    table = read(tmp_path, "pets", split="official")
    assert Counter(table["target"]) == {"cat": 3, "dog": 3}
    assert [table.loc[table["number"] == n, "split"].unique().tolist() for n in (3, 9_000, 11_000)] == [
        ["train"], ["validation"], ["test"]]  # fmt: skip
    assert all(path.lower().split("/")[-1 if "train" in path else -2].startswith(target)
               for path, target in zip(table["id"], table["target"], strict=True))  # fmt: skip


def test_a_lesion_of_ham10000_is_one_group_and_its_codes_are_the_classes(tmp_path):
    rows = ["lesion_id,image_id,dx,dx_type,age,sex,localization"]
    for number in range(8):
        picture(tmp_path / f"HAM10000_images_part_{1 + number // 4}" / f"ISIC_{number:07}.jpg")
        rows.append(f"HAM_{number // 2:07},ISIC_{number:07},{('nv', 'mel')[number % 4 // 2]},histo,80.0,male,scalp")
    (tmp_path / "HAM10000_metadata").write_text("\n".join(rows))
    table = read(tmp_path, "skin-lesions")
    assert table["group"].tolist() == [f"HAM_{number // 2:07}" for number in range(8)]
    assert table["target"].tolist() == ["nv", "nv", "mel", "mel"] * 2
    assert table["sex"].eq("male").all()


def test_the_challenges_ground_truth_is_one_diagnosis_a_row_with_lesions_from_the_table_beside(tmp_path):
    for number in range(4):
        picture(tmp_path / "ISIC2018_Task3_Training_Input" / f"ISIC_{number}.jpg")
    (tmp_path / "ISIC2018_Task3_Training_GroundTruth.csv").write_text(
        "image,MEL,NV,BCC,AKIEC,BKL,DF,VASC\nISIC_0,1.0,0.0,0.0,0.0,0.0,0.0,0.0\nISIC_1,0.0,1.0,0.0,0.0,0.0,0.0,0.0\n"
        "ISIC_2,0.0,0.0,0.0,1.0,0.0,0.0,0.0\nISIC_3,0.0,0.0,0.0,0.0,0.0,0.0,0.0\n"
    )
    (tmp_path / "ISIC2018_Task3_Training_LesionGroupings.csv").write_text(
        "image,lesion_id,diagnosis_confirm_type\nISIC_0,L1,x\nISIC_1,L1,x\nISIC_2,L2,x\n"
    )
    table = read(tmp_path, "skin-lesions")
    assert table["target"].tolist() == ["mel", "nv", "akiec"], "the row without a diagnosis is left out"
    assert table["group"].tolist() == ["L1", "L1", "L2"]


NIH = (
    "Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age,Patient Gender,View Position,"
    "OriginalImage[Width,Height],OriginalImagePixelSpacing[x,y]"
)


def nih(folder):
    rows = ["Cardiomegaly", "Cardiomegaly|Infiltration", "No Finding", "Hernia", "No Finding", "Hernia|Infiltration"]
    lines = [NIH]
    for number, findings in enumerate(rows):
        name = f"{number // 2 + 1:08}_{number % 2:03}.png"
        picture(folder / f"images_{1 + number // 3:03}" / "images" / name)
        lines.append(f"{name},{findings},{number % 2},{number // 2 + 1},58,M,PA,2682,2749,0.143,0.143")
    (folder / "Data_Entry_2017_v2020.csv").write_text("\n".join(lines))
    return folder


def test_the_nihs_broken_header_gives_findings_patients_and_the_odd_columns_their_names(tmp_path):
    table = read(nih(tmp_path), "chest-xrays", kind="labels")
    assert table["target"].tolist() == [
        ("Cardiomegaly",), ("Cardiomegaly", "Infiltration"), (),
        ("Hernia",), (), ("Hernia", "Infiltration"),
    ]  # fmt: skip
    assert table["group"].tolist() == ["1", "1", "2", "2", "3", "3"]
    odd = table[["width", "height", "spacing_x", "spacing_y"]]
    assert odd.iloc[0].tolist() == ["2682", "2749", "0.143", "0.143"]


def test_the_nihs_own_division_is_read_from_its_lists(tmp_path):
    nih(tmp_path)
    names = [f"{patient:08}_{number:03}.png" for patient in (1, 2, 3) for number in (0, 1)]
    (tmp_path / "train_val_list.txt").write_text("\n".join(names[:4]))
    (tmp_path / "test_list.txt").write_text("\n".join(names[2:]))
    with pytest.raises(ft.DataError, match=r"in train_val_list\.txt and in test_list\.txt"):
        read(tmp_path, "chest-xrays", kind="labels", split="official")
    (tmp_path / "test_list.txt").write_text("\n".join(names[4:]))
    assert read(tmp_path, "chest-xrays", kind="labels", split="official")["split"].tolist() == [
        *["train"] * 4,
        *["test"] * 2,
    ]


def test_patients_of_class_folders_are_taken_from_the_file_names(tmp_path):
    for name in ("person7_virus_1.jpeg", "person7_bacteria_2.jpeg"):
        picture(tmp_path / "PNEUMONIA" / name)
    for name in ("IM-0115-0001.jpeg", "NORMAL2-IM-1427-0001.jpeg", "NORMAL2-IM-1427-0001-0002.jpeg", "other.jpeg"):
        picture(tmp_path / "NORMAL" / name)
    table = read(tmp_path, "chest-xrays").set_index("id")
    groups = table["group"].to_dict()
    assert groups["PNEUMONIA/person7_virus_1.jpeg"] == groups["PNEUMONIA/person7_bacteria_2.jpeg"] == "person7"
    assert groups["NORMAL/NORMAL2-IM-1427-0001.jpeg"] == groups["NORMAL/NORMAL2-IM-1427-0001-0002.jpeg"]
    assert groups["NORMAL/other.jpeg"] is None


def log(folder, count=120, header=False):
    lines = ["center,left,right,steering,throttle,brake,speed"] if header else []
    for number in range(count):
        for camera in ("center", "left", "right"):
            picture(folder / "IMG" / f"{camera}_{number}.jpg")
        cells = [rf"C:\Users\me\sim\IMG\{camera}_{number}.jpg" for camera in ("center", "left", "right")]
        lines.append(", ".join([*cells, f"{(number - count / 2) / 100}", "0.5", "0", "30.1"]))
    folder.mkdir(exist_ok=True)
    (folder / "driving_log.csv").write_text("\n".join(lines))
    return folder


@pytest.mark.parametrize("header", [True, False])
def test_a_simulators_log_is_read_with_and_without_header_and_with_paths_of_another_machine(header, tmp_path):
    table = read(log(tmp_path / "drive", header=header), "driving", kind="number", split="official")
    assert table["id"].str.startswith("IMG/center_").all()
    assert all(
        abs(target - (frame - 60) / 100) < 1e-9 for target, frame in zip(table["target"], table["frame"], strict=True)
    )


def test_stretches_of_one_part_are_apart_from_those_of_another(tmp_path):
    table = read(log(tmp_path / "drive"), "driving", kind="number", split="official")
    frames = {part: set(rows["frame"]) for part, rows in table.groupby("split")}
    assert set(frames) == {"train", "validation", "test"}
    for one, other in (("train", "test"), ("train", "validation"), ("validation", "test")):
        assert min(abs(a - b) for a in frames[one] for b in frames[other]) > 6


def test_side_cameras_turn_the_angle_and_are_for_training_alone(tmp_path):
    table = read(log(tmp_path / "drive"), "driving-three-cameras", kind="number", split="official")
    by_camera = {camera: rows.set_index("frame")["target"] for camera, rows in table.groupby("camera")}
    train = set(table["frame"][table["split"] == "train"])
    assert set(by_camera["left"].index) == set(by_camera["right"].index) == train
    for frame in train:
        assert by_camera["left"][frame] == pytest.approx(by_camera["center"][frame] + 0.2)
        assert by_camera["right"][frame] == pytest.approx(by_camera["center"][frame] - 0.2)


def test_sullychens_degrees_become_radians_and_times_behind_them_are_passed_over(tmp_path):
    for number in range(40):
        picture(tmp_path / f"{number}.jpg")
    (tmp_path / "data.txt").write_text("\n".join(f"{n}.jpg {n - 20}.5,2018-07-01 17:09:44:912" for n in range(40)))
    table = read(tmp_path, "driving", kind="number")
    frame = table["frame"].iloc[0]
    assert table["target"].iloc[0] == pytest.approx(math.radians(frame - 20 + math.copysign(0.5, frame - 20)))


def test_commas_frames_have_the_angle_of_their_first_moment_and_a_stretch_is_a_group(tmp_path):
    comma_drive(tmp_path)
    comma_drive(tmp_path, "2016-02-02", frames=24)
    examples = read_examples(ft.Data(source=str(tmp_path), layout="driving", split="official", kind="number"))
    table = examples.table
    numbers = [int(source.rpartition("=")[2]) - 1 for source in table["source"]]
    np.testing.assert_allclose(table["target"], np.radians(numbers))
    assert table.groupby("group")["split"].nunique().eq(1).all() and table["group"].nunique() == 24
    assert set(table["split"]) == {"train", "validation", "test"}
    for row in (0, len(table) - 1):
        picture = ft.read_image(table["source"].iloc[row])
        assert picture.shape == (8, 16, 3) and (picture == numbers[row]).all()


def test_a_drive_of_comma_that_lacks_its_frames_or_its_columns_is_refused(tmp_path):
    import h5py

    comma_drive(tmp_path)
    (tmp_path / "camera" / "2016-01-30.h5").rename(tmp_path / "gone.h5")
    with pytest.raises(ft.DataError, match=r"There is no .*camera"):
        read(tmp_path, "driving", kind="number")
    (tmp_path / "gone.h5").rename(tmp_path / "camera" / "2016-01-30.h5")
    with h5py.File(tmp_path / "log" / "2016-01-30.h5", "a") as log:
        del log["cam1_ptr"]
    with pytest.raises(ft.DataError, match='no data set "cam1_ptr" of its own; it holds steering_angle'):
        read(tmp_path, "driving", kind="number")
    (tmp_path / "log" / "2016-01-30.h5").write_bytes(b"no HDF5")
    with pytest.raises(ft.DataError, match="cannot be read as HDF5"):
        read(tmp_path, "driving", kind="number")


def test_rvl_cdips_lists_give_kind_and_part(tmp_path):
    (tmp_path / "labels").mkdir()
    for part, numbers in (("train", (0, 11)), ("val", (2, 0)), ("test", (15, 0))):
        names = [f"imagesa/a/{part}{n}.tif" for n in (0, 1)]
        for name in names:
            picture(tmp_path / "images" / name)
        text = "\n".join(f"{name} {number}" for name, number in zip(names, numbers, strict=True))
        (tmp_path / "labels" / f"{part}.txt").write_text(text)
    table = read(tmp_path, "documents")
    assert table["target"].tolist() == ["letter", "invoice", "email", "letter", "memo", "letter"]
    assert len(CLASSES) == len(set(CLASSES)) == 16
    (tmp_path / "labels" / "val.txt").write_text("imagesa/a/val0.tif 16")
    with pytest.raises(ft.DataError, match="a number from 0 to 15"):
        read(tmp_path, "documents")


def test_stanfords_products_are_known_or_new_and_never_both(tmp_path):
    for side, products in (("train", (1, 2)), ("test", (3, 4))):
        lines = ["image_id class_id super_class_id path"]
        for product in products:
            picture(tmp_path / "lamp_final" / f"{product}_0.JPG")
            lines.append(f"{product} {product} 1 lamp_final/{product}_0.JPG")
        (tmp_path / f"Ebay_{side}.txt").write_text("\n".join(lines))
    table = read(tmp_path, "products")
    assert table["target"].tolist() == ["1", "2", "3", "4"]
    assert table["side"].tolist() == ["train", "train", "test", "test"]
    assert table["kind"].eq("lamp").all()
    (tmp_path / "Ebay_test.txt").write_text("image_id class_id super_class_id path\n1 1 1 lamp_final/1_0.JPG")
    with pytest.raises(ft.DataError, match="1 products are in both lists"):
        read(tmp_path, "products")


def test_a_folder_a_product_keeps_its_side_when_pictures_are_added(tmp_path):
    for product in range(10):
        picture(tmp_path / "lamps" / f"p{product}" / "0.png")
    before = read(tmp_path, "products").set_index("target")["side"].to_dict()
    picture(tmp_path / "lamps" / "p3" / "1.png")
    after = read(tmp_path, "products").drop_duplicates("target").set_index("target")["side"].to_dict()
    assert before == after
    assert Counter(before.values()) == {"train": 5, "test": 5}


def test_a_division_that_a_layout_does_not_give_is_said(tmp_path):
    for name in ("a/1.png", "b/1.png"):
        picture(tmp_path / name)
    with pytest.raises(ft.ConfigError, match=r'has no column "official" \(split\)'):
        read(tmp_path, "documents", split="official")


def test_the_real_samples_are_read(shared_data):
    pets = read(shared_data / "cats_dogs", "pets", split="official")
    assert Counter(pets["split"]) == {"train": 600, "validation": 200}
    skin = read(shared_data / "isic_lesions", "skin-lesions")
    assert Counter(skin["target"]) == {"benign": 800, "malignant": 200}
    xray = read(shared_data / "chest_xray", "chest-xrays")
    assert len(xray) == 200 and xray["group"].notna().all()
    drive = read(shared_data / "driving", "driving-three-cameras", kind="number", split="official")
    assert set(drive["camera"][drive["split"] != "train"]) == {"center"}
