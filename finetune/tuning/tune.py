"""A search among options of `fit`: trials on validation, and the test part once for the best of them."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..data.options import DIVIDING
from ..errors import ConfigError, RunFolderError, listing, nearest
from ..recipe import WORDS, Recipe, read_recipe, recipe_from
from ..running.ranks import alone
from ..training.clock import seconds
from .search import check_space, space_from

if TYPE_CHECKING:
    from rich.console import Console

    from .trials import Tuned

ASKED, JOURNAL, TRIALS, BEST = "search.json", "journal.log", "trials.csv", "best"
OURS = (ASKED, JOURNAL, f"{JOURNAL}.lock", TRIALS, BEST)


def tune(
    source: Any = None,
    *,
    out: str | Path,
    trials: int = 20,
    time: str | float | None = None,
    space: Mapping[str, Any] | None = None,
    recipe: Recipe | str | Path | None = None,
    overwrite: bool = False,
    verbose: bool | Console = True,
    **options: Any,
) -> Tuned:
    """Searches for the options of `fit` that do best on validation, and fits the best of them.

    The first trial is what `fit` would do by itself. Each trial learns from the training part and is judged by the
    monitored metric on validation; the test part is left out of all of them, and measured once, for the winner.
    Pictures are read, and features of a backbone computed, once. Trials that are among the worst at their step are
    given up early. Running the same search again in the same folder goes on where it ended. It needs
    `finetune[tune]`.

    Args:
        source: As for `fit`.
        out: Folder of the search: `trials.csv`, and the winner as an ordinary run folder in `best/`.
        trials: How many in all, those of earlier calls counted too.
        time: No trial begins that would not end in this time: 10m, 90s, 1.5h. One is made in any case.
        space: Replaces ranges of the usual space, by word: `{"lr": (1e-4, 1e-1), "method": ["probe", "lp-ft"]}`; a
            tuple is a range, a list are choices.
        recipe: As for `fit`.
        overwrite: Begins anew where `out` holds an earlier search.
        verbose: Tells of each trial; a rich Console says where.
        options: Keywords of `fit`, the same in all trials whose method uses them; they are not searched.

    Raises:
        ConfigError: Options or ranges that cannot be right; before any file is read.
        RunFolderError: `out` is in the way, or holds another search.
        DataError: Examples that cannot be used as they are.
        TrainingError: No trial ended well.
    """
    alone("finetune tune")
    wrong = [f"tune takes no {word}. It takes the keywords of fit.{nearest(word, WORDS)}" for word in options
             if word not in WORDS]  # fmt: skip
    if options.get("folds") is not None:
        wrong.append("tune takes no folds: one validation part judges all trials. Fit the winner in folds afterwards.")
    if trials < 1:
        wrong.append(f"trials must be 1 or more. Got {trials}.")
    if wrong:
        raise ConfigError("\n".join(wrong))
    most = seconds(time) if time is not None else None
    start = recipe if isinstance(recipe, Recipe) or recipe is None else read_recipe(recipe)
    options = {word: tuple(v) if isinstance(v, list) else v for word, v in options.items() if v is not None}
    found = space_from(space or {}, options)
    check_space(source, options, found, start, list(space or {}))
    base = recipe_from(source, options, start)
    base.check()
    optuna = _optuna()
    folder = Path(out).absolute()
    asked = {"recipe": base.to_dict(), "space": {word: asdict(values) for word, values in found.items()}}
    _make_folder(folder, json.loads(json.dumps(asked, default=list)), overwrite=overwrite)

    from rich.console import Console

    from ..data.recorded import recorded_beside
    from ..report.printed import Talk
    from ..training.machine import Machine
    from .trials import Search

    anew = any(options.get(word) is not None for word in DIVIDING)
    search = Search(
        optuna=optuna, source=source, options=options, start=start, base=base, space=found, folder=folder,
        said=tuple(space or ()), talk=Talk(Console() if verbose is True else verbose or None),
        machine=Machine.of(base.plan),
        recorded=recorded_beside(recipe) if isinstance(recipe, str | Path) and not anew else None,
    )  # fmt: skip
    was = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        return search.run(trials, most)
    finally:
        optuna.logging.set_verbosity(was)


def _optuna() -> Any:
    """Optuna, which is an extra.

    Raises:
        ConfigError: It is not installed.
    """
    try:
        import optuna
    except ImportError:
        raise ConfigError("Searching for options needs Optuna: pip install 'finetune[tune]'") from None
    return optuna


def _make_folder(folder: Path, asked: Mapping[str, Any], *, overwrite: bool) -> None:
    """Makes the folder of a search, or finds that it holds the beginning of the same one.

    Raises:
        RunFolderError: It holds something else, or another search, and that is not to be replaced.
    """
    if folder.is_file():
        raise RunFolderError(f"--out {folder} is a file. Expected a folder that does not exist yet, or of a search.")
    there = sorted(entry.name for entry in folder.iterdir()) if folder.is_dir() else []
    strange = [name for name in there if name not in OURS and not name.startswith(".")]
    if strange or (there and not (folder / ASKED).exists()):
        raise RunFolderError(
            f"{folder} is no folder of a search: it holds {listing(strange or there)}. Nothing was touched; choose "
            "another --out."
        )
    if there and overwrite:
        for name in there:
            place = folder / name
            shutil.rmtree(place) if place.is_dir() else place.unlink()
        there = []
    if there:
        try:
            before = json.loads((folder / ASKED).read_text(encoding="utf-8"))
        except ValueError as error:
            raise RunFolderError(f"{folder / ASKED} cannot be read: {error}. Begin anew with --overwrite.") from None
        other = _differences(before, asked)
        if other:
            raise RunFolderError(
                f"{folder} holds a search that differs in {listing(other, 5)}. Say the same to go on with it, choose "
                "another --out, or begin anew with --overwrite."
            )
        return
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / ASKED).write_text(json.dumps(asked, indent=2) + "\n", encoding="utf-8")
    except OSError as error:
        raise RunFolderError(
            f"The folder {folder} cannot be written: {error.strerror}. Choose another --out."
        ) from None


def _differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """The names of the values that differ, but of those that say where to compute."""
    free = {"accelerator", "devices", "num_nodes", "strategy", "precision", "workers", "cache"}
    names = []
    for name in sorted({*before, *now} - free):
        one, other = before.get(name), now.get(name)
        if isinstance(one, dict) and isinstance(other, dict) and name != "args":
            names += _differences(one, other)
        elif one != other:
            names.append(name)
    return names
