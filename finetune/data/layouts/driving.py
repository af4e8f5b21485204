"""Steering angles: the log of Udacity's simulator, SullyChen's list of frames, and comma's drives in HDF5."""

from __future__ import annotations

import math
import re
from pathlib import Path

import numpy as np
import pandas as pd

from ...errors import DataError
from ..hdf import read_column
from ..tables import read_table
from .rows import Rows, nothing_fits

EXPECTED = (
    "driving_log.csv with center, left, right, steering, throttle, brake, speed (Udacity's simulator, with a header or "
    "without), data.txt with lines such as `0.jpg 1.5` (SullyChen, degrees), or camera/NAME.h5 and log/NAME.h5 (comma)"
)
LOGS = ("driving_log.csv", "data.txt", "log/*.h5")
COLUMNS = ("center", "left", "right", "steering", "throttle", "brake", "speed")
# What is added to the angle for the left camera, and taken away for the right one.
SIDE = 0.2
# Of 12 stretches of a drive 6 train, 3 are for validation and 3 for the test, spread over all of it.
STRETCHES, BORDER = 12, 3
PARTS = {1: "validation", 5: "validation", 9: "validation", 3: "test", 7: "test", 11: "test"}


def read_driving(source: Path) -> Rows:
    """The middle camera: one example a moment, `frame` numbers them within a drive.

    `official` cuts each drive into 12 stretches of neighbours, 3 of which are for validation and 3 for the test; three
    moments on each side of a border between parts belong to none. Frames a tenth of a second apart are nearly the
    same, so a division by chance would test on what was learned.

    Raises:
        DataError: No log is there.
    """
    rows, root = _logs(source)
    table = rows.rename(columns={"center": "image"}).drop(columns=["left", "right"], errors="ignore")
    return _dealt(table, root, [])


def read_driving_three(source: Path) -> Rows:
    """The same with the side cameras of training moments, whose angle is that of the middle one plus or minus 0.2.

    They are for training alone: what a car does is what its middle camera says.

    Raises:
        DataError: No log is there, or it has no side cameras.
    """
    rows, root = _logs(source)
    if "left" not in rows:
        raise DataError(f"{source} has one camera. Expected a log with center, left and right; say layout driving.")
    sides = []
    for camera, turn in (("center", 0.0), ("left", SIDE), ("right", -SIDE)):
        one = rows.drop(columns=[c for c in ("center", "left", "right") if c != camera])
        one = one.rename(columns={camera: "image"}).assign(camera=camera)
        sides.append(one.assign(target=one["target"] + turn))
    return _dealt(pd.concat(sides, ignore_index=True), root, ["Side cameras are for training, at plus or minus 0.2."])


def _logs(source: Path) -> tuple[pd.DataFrame, Path]:
    """All drives of a folder: `center`, perhaps `left` and `right`, `target` in its own unit, `drive`, `frame`."""
    root = source if source.is_dir() else source.parent
    named = [source] if source.is_file() else sorted(file for name in LOGS for file in source.rglob(name))
    if not named:
        raise nothing_fits(source, EXPECTED, sorted(entry.name for entry in root.iterdir())[:5])
    drives = []
    for file in named:
        if file.suffix == ".h5":
            drives.append(_comma(file, root))
            continue
        rows = _udacity(file) if file.suffix == ".csv" else _sullychen(file)
        inside = file.parent.relative_to(root).as_posix()
        rows["drive"], rows["frame"] = inside, range(len(rows))
        for camera in ("center", "left", "right"):
            if camera in rows and inside != ".":
                rows[camera] = [f"{inside}/{_beside(cell)}" for cell in rows[camera]]
        drives.append(rows)
    return pd.concat(drives, ignore_index=True), root


def _beside(cell: str) -> str:
    """A picture's place beside its log, whatever the folder was called on the machine that wrote the log."""
    names = re.split(r"[/\\]", cell.strip())
    return "/".join(names[-2:]) if "IMG" in names[-2:-1] else names[-1]


def _udacity(file: Path) -> pd.DataFrame:
    first = file.read_text(encoding="utf-8", errors="replace").lstrip("\ufeff").partition("\n")[0]
    table = read_table(file, no_header="steering" not in first)[0]
    if "steering" not in table.columns:
        if len(table.columns) < 4:
            raise DataError(f"{file} has {len(table.columns)} columns. Expected {', '.join(COLUMNS)}.")
        table.columns = pd.Index([*COLUMNS[: len(table.columns)], *map(str, range(7, len(table.columns)))])
    table = table.rename(columns=str.strip)
    table["target"] = pd.to_numeric(table.pop("steering"), errors="coerce").astype(float)
    if table["target"].isna().any():
        raise DataError(f"{file}: {int(table['target'].isna().sum())} rows have no number for the steering.")
    return table


def _sullychen(file: Path) -> pd.DataFrame:
    """Lines `NAME DEGREES` or `NAME DEGREES,TIME`; the angle of the wheel in radians."""
    rows = []
    for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), start=1):
        if not line.strip():
            continue
        found = re.match(r"(\S+)\s+([-+.\deE]+)(?:,.*)?$", line.strip())
        if not found:
            raise DataError(f"{file}, line {number} is {line!r}. Expected a file name and an angle in degrees.")
        rows.append((found[1], math.radians(float(found[2]))))
    return pd.DataFrame(rows, columns=["center", "target"])


def _comma(file: Path, root: Path) -> pd.DataFrame:
    """The first moment of the log at each frame of the camera beside it; the angle of the wheel in radians.

    The log has a hundred moments a second and the camera twenty; `cam1_ptr` says which frame each of them saw.
    """
    camera = file.parent.parent / "camera" / file.name
    if not camera.is_file():
        raise DataError(f"There is no {camera}. Expected the frames that {file} is the log of.")
    angle, seen = (read_column(file, name) for name in ("steering_angle", "cam1_ptr"))
    if len(angle) != len(seen):
        raise DataError(f"{file}: steering_angle has {len(angle)} moments and cam1_ptr {len(seen)}. Expected as many.")
    known = np.flatnonzero(np.isfinite(angle) & np.isfinite(seen) & (seen >= 0))
    frames, first = np.unique(seen[known].astype(np.int64), return_index=True)
    place, drive = camera.relative_to(root).as_posix(), file.relative_to(root).with_suffix("").as_posix()
    return pd.DataFrame({
        "center": [f"{place}#frame={frame + 1}" for frame in frames], "target": np.radians(angle[known[first]]),
        "drive": drive, "frame": range(len(frames)),
    })  # fmt: skip


def _dealt(table: pd.DataFrame, root: Path, notes: list[str]) -> Rows:
    """Adds `official` and drops what lies at a border, and what is no middle camera outside of training."""
    length = table.groupby("drive")["frame"].transform("max") + 1
    exact = table["frame"] * STRETCHES / length
    parts = [PARTS.get(int(place), "train") for place in exact]
    near = pd.Series(False, index=table.index)
    border = (length // (3 * STRETCHES)).clip(upper=BORDER)
    for shift in (-border, border):
        moved = ((table["frame"] + shift).clip(0, length - 1) * STRETCHES / length).astype(int)
        near |= pd.Series([PARTS.get(int(place), "train") for place in moved], index=table.index) != parts
    sides = table["camera"] != "center" if "camera" in table else pd.Series(False, index=table.index)
    kept = ~near & ~(sides & (pd.Series(parts, index=table.index) != "train"))
    notes = [*notes, f"{int(near.sum())} pictures at borders between stretches belong to no part."]
    framed = table["image"].str.contains("#frame=", regex=False)
    if framed.any():
        # Frames of one file would be one group; what lies together here is a stretch.
        stretches = table["drive"] + ", stretch " + (exact.astype(int) + 1).astype(str)
        table = table.assign(group=stretches.where(framed, ""))
    table = table.assign(official=parts)[kept].reset_index(drop=True)
    return Rows(table=table, root=root, notes=tuple(notes))
