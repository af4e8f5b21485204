"""Skin lesions: HAM10000, the ISIC challenges, and the ISIC archive's own tables."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from .rows import Rows, nothing_fits, tables_of

PATTERNS = ("*.csv", "*.tab", "HAM10000_metadata")
EXPECTED = (
    "HAM10000_metadata(.csv) with lesion_id, image_id and dx; ISIC...GroundTruth.csv with image, MEL, NV, ...; or "
    "metadata.csv with isic_id and target"
)
# Columns of the challenges' ground truth, and the short names that HAM10000 has for the same.
CODES = {"MEL": "mel", "NV": "nv", "BCC": "bcc", "AKIEC": "akiec", "AK": "ak", "BKL": "bkl", "DF": "df",
         "VASC": "vasc", "SCC": "scc", "UNK": "unk"}  # fmt: skip


def read_skin(source: Path) -> Rows:
    """One diagnosis a picture; pictures of one lesion are one group, where the tables say which those are.

    Raises:
        DataError: No table of the three kinds is there.
    """
    tables = tables_of(source, PATTERNS)
    root = source if source.is_dir() else source.parent
    lesions = next((t for _, t in tables if {"image", "lesion_id"} <= set(t.columns)), None)
    for file, table in tables:
        columns = set(table.columns)
        if {"lesion_id", "image_id", "dx"} <= columns:
            named = table.rename(columns={"image_id": "image", "dx": "target", "lesion_id": "group"})
            return Rows(table=named, root=root, notes=(f"HAM10000, from {file.name}.",))
        if "image" in columns and len(columns & CODES.keys()) > 1:
            return _ground_truth(table, lesions, root, file)
        if {"isic_id", "target"} <= columns:
            return _archive(table, root, file)
    raise nothing_fits(source, EXPECTED, [file.name for file, _ in tables])


def _ground_truth(table: pd.DataFrame, lesions: pd.DataFrame | None, root: Path, file: Path) -> Rows:
    """One column of 0 and 1 a diagnosis, as the challenges have it."""
    names = [name for name in table.columns if name in CODES]
    marks = table[names].astype(float)
    target = [CODES[str(name)] for name in marks.idxmax(axis=1)]
    rows = pd.DataFrame({"image": table["image"], "target": target})
    several = marks.sum(axis=1) != 1
    notes = [f"ISIC ground truth, from {file.name}."]
    if several.any():
        rows = rows[~several].reset_index(drop=True)
        notes.append(f"{int(several.sum())} rows with no diagnosis, or with several, were left out.")
    if lesions is not None:
        known = dict(zip(lesions["image"], lesions["lesion_id"], strict=True))
        rows["group"] = [known.get(image, "") for image in rows["image"]]
    else:
        notes.append("No table says which pictures show one lesion: copies are found, other pictures of it are not.")
    return Rows(table=rows, root=root, notes=tuple(notes))


def _archive(table: pd.DataFrame, root: Path, file: Path) -> Rows:
    """`target` is 1 for what is malignant; a column of lesions or patients groups where a value comes again."""
    said = table["target"].map({"0": "benign", "1": "malignant", "0.0": "benign", "1.0": "malignant"})
    rows = table.rename(columns={"isic_id": "image"}).assign(target=said.fillna(table["target"]))
    grouping = next((c for c in ("lesion_id", "patient_id") if c in rows and rows[c].duplicated().any()), None)
    notes = [f"ISIC archive, from {file.name}."]
    if grouping is not None:
        rows = rows.rename(columns={grouping: "group"})
    else:
        notes.append("No column groups the pictures: each lesion or patient is named once, or not at all.")
    return Rows(table=rows, root=root, notes=tuple(notes))
