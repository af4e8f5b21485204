"""The page of a run and the card of its model, made from the files of its folder and nothing else."""

from __future__ import annotations

import json
from pathlib import Path

from .errors import RunFolderError
from .files import replacing
from .folder import ERRORS, METRICS, MODEL, PAGE, RECIPE, SPLITS, STORY, TABLE, read_json
from .report.model_card import model_card
from .report.page import Shown
from .report.run_facts import Mistake, RunFacts, read_rows
from .report.run_page import run_page


def read_facts(folder: Path) -> RunFacts:
    """What a run folder says of its run.

    Raises:
        RunFolderError: A file of it is missing or damaged.
    """
    story, metrics = read_json(folder / STORY), read_json(folder / METRICS)
    try:
        return RunFacts(
            story=story, metrics=metrics, recipe=read_json(folder / RECIPE)["recipe"],
            model=read_json(folder / MODEL / "finetune.json"), license=story["license"],
            epochs=_rows(folder / TABLE), split=_rows(folder / SPLITS), mistakes=_mistakes(folder / ERRORS),
        )  # fmt: skip
    except KeyError as error:
        raise RunFolderError(f"{folder} is incomplete: a file of it lacks {error}. Was it edited?") from error


def write_pages(folder: Path) -> Path:
    """Writes report.html and model/README.md of a run.

    Returns:
        The page.

    Raises:
        RunFolderError: A file of the folder is missing or damaged.
    """
    facts = read_facts(folder)
    try:
        pages = {folder / PAGE: run_page(facts), folder / MODEL / "README.md": model_card(facts)}
    except (KeyError, TypeError) as error:
        raise RunFolderError(
            f"No page can be made of {folder}: {error} is not as a run writes it. Was metrics.json or {STORY} edited?"
        ) from error
    for file, text in pages.items():
        with replacing(file) as temporary:
            temporary.write_text(text, encoding="utf-8")
    return folder / PAGE


def _rows(file: Path) -> list[dict[str, str]]:
    return read_rows(file.read_text(encoding="utf-8")) if file.exists() else []


def _mistakes(folder: Path) -> list[Mistake]:
    file = folder / "errors.json"
    if not file.exists():
        return []
    found = []
    for one in json.loads(file.read_text(encoding="utf-8")):
        shown = Shown(name=one["name"], lines=tuple(one["lines"]), jpeg=_bytes(folder, one["picture"]))
        near = tuple(Shown(name=it["name"], lines=tuple(it["lines"]), jpeg=_bytes(folder, it["picture"]))
                     for it in one.get("near", ()))  # fmt: skip
        found.append(Mistake(shown=shown, map=_bytes(folder, one["map"]), near=near))
    return found


def _bytes(folder: Path, name: str | None) -> bytes | None:
    # A name and no path: what is embedded lies in this folder.
    place = folder / Path(name).name if name else None
    return place.read_bytes() if place is not None and place.exists() else None
