"""The run folder: made for a run, given back as it was when the run comes to nothing."""

from __future__ import annotations

import contextlib
import errno
import glob
import itertools
import json
import os
import re
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from .errors import FinetuneError, RunFolderError, StoppedError, listing
from .files import locked, replacing

RECIPE, SPLITS, TABLE, METRICS, REPORT = "recipe.json", "splits.csv", "metrics.csv", "metrics.json", "report.md"
MODEL, CHECKPOINTS = "model", "checkpoints"
LEAKS, OUT_OF_FOLD, PREDICTIONS = "leaks.csv", "out_of_fold.csv", "predictions.csv"
STEPS, LOGS = "steps.csv", "logs"  # of phases on pictures
PROGRESS = "progress.json"
STORY, PAGE, ERRORS = "run.json", "report.html", "errors"
FIGURES, FITS = "figures", "fits"  # of a study
NEIGHBOURS = "neighbours"  # the index of the training pictures, once somebody has asked for neighbours
OURS = {RECIPE, SPLITS, TABLE, METRICS, REPORT, MODEL, CHECKPOINTS, LEAKS, OUT_OF_FOLD, PREDICTIONS, PROGRESS, FIGURES,
        FITS, STEPS, LOGS, STORY, PAGE, ERRORS, NEIGHBOURS}  # fmt: skip
# As `files.replacing` and hard links name what they write before it is whole.
HALF_WRITTEN = re.compile(r"\..+\.(json|csv|md|html|svg|safetensors|head)\.(\w{8}|\d+)")
RATES = re.compile(r"rates-.+\.(csv|svg)")  # the curves of range tests, one a phase
FOLD = re.compile(r"fold-\d+")  # the folders of a run's folds, each a run folder of its own
LEFT_BY_OTHERS = {"lightning_logs", ".DS_Store", "Thumbs.db", ".lock"}  # a user's logger, file managers, a killed run
DISK = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EFBIG}


@contextlib.contextmanager
def run_folder(out: str | Path | None, *, overwrite: bool = False) -> Iterator[Path]:
    """Makes the folder of a run.

    When the run fails before it has weights worth keeping, the folder is removed and what `overwrite` put aside
    comes back: nothing half-written, nothing lost. A folder with an epoch's weights stays.

    Args:
        out: The folder; None makes a temporary one, which its user has to keep or remove.
        overwrite: Whether an earlier run's folder may be replaced. A folder that holds anything else never is.

    Raises:
        RunFolderError: The folder is in the way, or cannot be written.
    """
    if out is None:
        folder = Path(tempfile.mkdtemp(prefix="finetune-"))
        aside, made = None, [folder]
    else:
        folder = Path(out).absolute()
        check_out(folder, overwrite=overwrite)
        aside = _set_aside(folder)
        made = _make(folder)
    try:
        with _alone(folder):
            yield folder
    except BaseException as error:
        # The .json is beside the weights of an epoch; a fitted head costs seconds and is not worth a broken folder.
        told = _of_disk(error, folder) if isinstance(error, OSError) and _is_of_disk(error, folder) else error
        places, resumable = _places_of_weights(folder), any(folder.glob(f"**/{CHECKPOINTS}/*.steps/*/files.json"))
        kept = isinstance(error, StoppedError) or (bool(places or resumable) and not isinstance(told, RunFolderError))
        if not kept:
            _undo(folder, made, aside)
            if isinstance(error, KeyboardInterrupt):
                error.add_note("Nothing was kept: there were no weights yet.")
        elif isinstance(error, FinetuneError | OSError | KeyboardInterrupt) and not isinstance(error, StoppedError):
            if places:
                error.add_note(f"The weights of the phases that ended well are in {', '.join(places)}.")
            error.add_note(f"What was done is kept: finetune fit --resume {folder}")
        if aside is not None and aside.exists():
            told.add_note(f"The run that was there before is in {aside}.")
        if told is not error:
            raise told from error
        raise
    if aside is not None:
        shutil.rmtree(aside, ignore_errors=True)


@contextlib.contextmanager
def resumed_folder(folder: Path) -> Iterator[Path]:
    """The folder of a run that was interrupted: one process at a time, and nothing of it is ever removed.

    Raises:
        RunFolderError: Another process is at work in it, or it cannot be written.
    """
    with _alone(folder):
        for torn in (path for path in folder.rglob(".*") if HALF_WRITTEN.fullmatch(path.name)):
            torn.unlink()  # what was being written when the process was killed
        try:
            yield folder
        except OSError as error:
            if _is_of_disk(error, folder):
                raise _of_disk(error, folder) from error
            raise
    # What --overwrite had put aside for the run that is whole now.
    for aside in folder.parent.glob(f".{glob.escape(folder.name)}.before-*"):
        shutil.rmtree(aside, ignore_errors=True)


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Holds the lock of a run folder; a process that dies lets go of it."""
    if os.name != "posix":  # elsewhere nobody lets go of a lock for a process that dies
        yield
        return
    path = folder / ".lock"
    with path.open("w") as file:
        if not locked(file):
            raise RunFolderError(f"Another process is at work on the run in {folder}. Expected one at a time.")
        try:
            yield
        finally:
            path.unlink(missing_ok=True)


@contextlib.contextmanager
def kept_folder(out: str | None) -> Iterator[str]:
    """The folder that was asked for; without one, a new temporary one that nobody removes once something is in it."""
    folder = out or tempfile.mkdtemp(prefix="finetune-")
    try:
        yield folder
    except BaseException:
        if out is None:
            with contextlib.suppress(OSError):  # it holds weights
                Path(folder).rmdir()
        raise


def check_out(folder: Path, *, overwrite: bool) -> None:
    """Refuses a folder that must not be replaced, before anything is done.

    Raises:
        RunFolderError: It exists and is not empty, or is to be overwritten and holds more than a run.
    """
    if folder.is_file():
        raise RunFolderError(f"--out {folder} is a file. Expected a folder that does not exist yet.")
    if not folder.is_dir() or not any(entry.name != ".lock" for entry in folder.iterdir()):
        return
    if not overwrite:
        raise RunFolderError(
            f"The folder {folder} exists and is not empty. Expected a new folder for this run; "
            "choose another --out, or replace the earlier run with --overwrite."
        )
    strange = sorted(
        entry.name for entry in folder.iterdir() if not (_is_ours(entry.name) or entry.name in LEFT_BY_OTHERS)
    )
    if strange or not (folder / RECIPE).exists():
        found = f"it holds {listing(strange)}" if strange else f"it has no {RECIPE}"
        raise RunFolderError(
            f"--overwrite replaces an earlier run and nothing else, but {folder} is not just that: {found}. "
            "Nothing was touched; choose another --out, or take away what is not the run's."
        )


def packed(folder: Path) -> dict[str, bytes]:
    """The files of a run by their names, without those of single epochs.

    Raises:
        RunFolderError: It is not there any more.
    """
    whole = (folder / MODEL).is_dir()
    if not whole and not (folder / "finetune.json").is_file():
        raise RunFolderError(f"The model cannot be pickled: its run folder {folder} is not there any more.")
    files = {path.relative_to(folder): path for path in sorted(folder.rglob("*")) if path.is_file()}
    # Of a run in folds the folds' models lie in `model/` too.
    return {
        name.as_posix(): path.read_bytes()
        for name, path in files.items()
        if not whole or name.parts[0] == MODEL or len(name.parts) == 1
    }


def unpacked(files: Mapping[str, bytes]) -> Path:
    """The same files in a new temporary folder."""
    folder = Path(tempfile.mkdtemp(prefix="finetune-"))
    try:
        for name, content in files.items():
            place = folder / name
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(content)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    return folder


def write_json(path: Path, values: Any) -> None:
    """Writes JSON, whole or not at all."""
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(values, indent=2, ensure_ascii=False, default=list) + "\n", encoding="utf-8")


def read_json(path: Path) -> Any:
    """Reads a JSON file of a run.

    Raises:
        RunFolderError: It is missing or no JSON.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        for folder in (path.parent, path.parent.parent):
            if (folder / RECIPE).is_file() and not any((folder / name).exists() for name in (STORY, MODEL)):
                raise RunFolderError(
                    f"The run in {folder} has not ended. Expected a finished one: `finetune fit --resume {folder}` "
                    "goes on with it, where no other process does."
                ) from None
        raise RunFolderError(
            f"{path} is missing. Expected the folder of a finished run; is {path.parent} one?"
        ) from None
    except (OSError, ValueError) as error:
        raise RunFolderError(f"{path} cannot be read: {error}.") from error


def _set_aside(folder: Path) -> Path | None:
    if not folder.is_dir() or not any(folder.iterdir()):
        return None
    places = (folder.with_name(f".{folder.name}.before-{os.getpid()}-{number}") for number in itertools.count())
    aside = next(place for place in places if not place.exists())
    try:
        folder.rename(aside)
    except OSError as error:
        raise RunFolderError(f"The earlier run {folder} cannot be replaced: {error.strerror}.") from error
    return aside


def _make(folder: Path) -> list[Path]:
    """Makes a folder and its missing parents; returns those made, outermost first."""
    missing = [p for p in (folder, *folder.parents) if not p.exists()]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        # A folder that cannot be written is found out now and not after an hour.
        probe = folder / ".write"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise RunFolderError(
            f"The run folder {folder} cannot be written: {error.strerror}. Choose another --out."
        ) from error
    return missing[::-1]


def _undo(folder: Path, made: list[Path], aside: Path | None) -> None:
    if aside is not None:
        # The folder was empty when this run began, so all that is in it is this run's.
        shutil.rmtree(folder, ignore_errors=True)
        with contextlib.suppress(OSError):  # it is then told where the earlier run is
            aside.rename(folder)
        return
    for entry in list(folder.iterdir()) if folder.is_dir() else []:
        if _is_ours(entry.name) or entry.name.startswith("."):
            shutil.rmtree(entry, ignore_errors=True) if entry.is_dir() else entry.unlink(missing_ok=True)
    for parent in reversed(made):
        with contextlib.suppress(OSError):
            parent.rmdir()


def _is_ours(name: str) -> bool:
    return name in OURS or any(of.fullmatch(name) for of in (FOLD, RATES))


def _places_of_weights(folder: Path) -> list[str]:
    """Where the weights of an epoch are, of this run, of its folds or of a study's fits."""
    found = [
        *folder.glob(f"{CHECKPOINTS}/*.json"),
        *folder.glob(f"fold-*/{CHECKPOINTS}/*.json"),
        *folder.glob(f"{FITS}/*/{CHECKPOINTS}/*.json"),
    ]
    return sorted({str(file.parent) for file in found})


def _is_of_disk(error: OSError, folder: Path) -> bool:
    """Whether the run could not be written, rather than something else not be read."""
    name = error.filename
    inside = isinstance(name, str | os.PathLike) and Path(os.fsdecode(name)).absolute().is_relative_to(folder)
    return error.errno in DISK or inside


def _of_disk(error: OSError, folder: Path) -> RunFolderError:
    return RunFolderError(
        f"The run could not be written to {folder}: {error.strerror or error}. "
        "Make room or choose another --out, and run it again."
    )
