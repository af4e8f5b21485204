"""Chest X-rays: the NIH's table, and class folders whose file names name the patient."""

from __future__ import annotations

import re
from pathlib import Path, PurePosixPath

import pandas as pd

from ...errors import DataError
from .rows import Rows, nothing_fits, part, pictures, tables_of

EXPECTED = (
    "Data_Entry_2017_v2020.csv beside the folders of pictures (NIH), class folders such as NORMAL/ and PNEUMONIA/, or "
    "a .npz file of MedMNIST, which `finetune fit` reads without a layout"
)
NOTHING = "No Finding"
# person12_bacteria_3.jpeg, IM-0115-0001.jpeg, NORMAL2-IM-1427-0001.jpeg: what stands for the patient.
PATIENT = re.compile(r"(person\d+)_|((?:NORMAL2-)?IM-\d+)-")


def read_xray(source: Path) -> Rows:
    """Findings and patients of the NIH's table; or classes by folder, with the patient from the file name.

    The header of the NIH's table has commas inside brackets (`OriginalImage[Width,Height]`), which cut it into as many
    cells as its rows have: the odd names are put right. `No Finding` is no label at all. `official` is the NIH's
    division where its two lists lie beside the table.

    Raises:
        DataError: Neither is there.
    """
    tables = tables_of(source, ("Data_Entry_2017*.csv",))
    if tables and {"Image Index", "Finding Labels"} <= set(tables[0][1].columns):
        return _nih(tables[0][1], source if source.is_dir() else source.parent)
    if source.is_file():
        raise nothing_fits(source, EXPECTED, list(tables[0][1].columns) if tables else [])
    return _folders(source)


def _nih(table: pd.DataFrame, root: Path) -> Rows:
    odd = {"OriginalImage[Width": "width", "Height]": "height", "OriginalImagePixelSpacing[x": "spacing_x",
           "y]": "spacing_y"}  # fmt: skip
    named = table.rename(columns={**odd, "Image Index": "image", "Patient ID": "group"})
    findings = [[name.strip() for name in cell.split("|")] for cell in named.pop("Finding Labels")]
    named["target"] = ["|".join(name for name in names if name and name != NOTHING) for names in findings]
    lists = {"train": _listed(root, "train_val_list.txt"), "test": _listed(root, "test_list.txt")}
    notes = [f"NIH: {named['group'].nunique()} patients."]
    if all(lists.values()):
        both = lists["train"] & lists["test"]
        if both:
            raise DataError(f"{len(both)} pictures are in train_val_list.txt and in test_list.txt, {min(both)} say.")
        named["official"] = [next((p for p, names in lists.items() if i in names), "") for i in named["image"]]
        strange = int((named["official"] == "").sum())
        if strange:
            named = named[named["official"] != ""].reset_index(drop=True)
            notes.append(f"{strange} pictures that neither list names were left out.")
    return Rows(table=named, root=root, delimiter="|", notes=tuple(notes))


def _listed(root: Path, name: str) -> set[str]:
    file = root / name
    return set(file.read_text(encoding="utf-8").split()) if file.is_file() else set()


def _folders(source: Path) -> Rows:
    found = [path for path in pictures(source) if len(path.parts) > 1]
    if len({path.parent.name for path in found}) < 2:
        raise nothing_fits(source, EXPECTED, found[:3])
    groups = [_patient(path) for path in found]
    table = pd.DataFrame({"image": [str(path) for path in found], "target": [path.parent.name for path in found],
                          "group": groups})  # fmt: skip
    parts = [part(path) for path in found]
    if None not in parts and len(set(parts)) > 1:
        table["official"] = parts
    known = {group for group in groups if group}
    return Rows(table=table, root=source, notes=(f"{len(known)} patients were taken from the file names.",))


def _patient(path: PurePosixPath) -> str:
    matched = PATIENT.match(path.name)
    return (matched[1] or matched[2]) if matched else ""
