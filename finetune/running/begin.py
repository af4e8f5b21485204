"""From the words of `fit` to a run: which recipe they say, which split holds, and whether an earlier run goes on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..data.options import DIVIDING
from ..errors import ConfigError, DataError
from ..recipe import Recipe, read_recipe, recipe_from
from ..training.place import follows
from .ranks import followed, leading
from .resume import check_resumable, finished, refuse_beside_resume, requeued, restarted_in, told_again

if TYPE_CHECKING:
    from rich.console import Console

    from ..model import Model


def begin(
    source: Any, words: Mapping[str, Any], *, recipe: Recipe | str | Path | None, out: str | Path | None,
    overwrite: bool, resume: str | Path | None, verbose: bool | Console, callbacks: Sequence[Any], logger: Any,
    trainer: Mapping[str, Any] | None,
) -> Model:  # fmt: skip
    """Runs what the words say; the arguments are those of `fit`, its other options by name in `words`."""
    if follows():
        return followed()
    with leading() as told, requeued():
        if resume is None and out is not None and restarted_in(Path(out)):
            # The command of a job that was started anew says what it said the first time.
            resume, words, recipe, out, overwrite = out, {}, None, None, False
        if resume is not None:
            refuse_beside_resume(words, recipe=recipe, out=out, overwrite=overwrite)
            check_resumable(Path(resume))
            ready = _go_on(source, Path(resume).absolute())
        else:
            ready = _anew(source, words, recipe, out, overwrite)
        model = _run(ready, verbose, callbacks, logger, trainer)
        told.append(str(model.folder))
        return model


@dataclass(frozen=True)
class _Ready:
    """A run that nothing is wrong with as far as its words go."""

    recipe: Recipe
    out: str | Path | None
    overwrite: bool
    recorded: Any
    going_on: bool = False


def _go_on(source: Any, folder: Path) -> _Ready:
    from ..data.recorded import recorded_beside

    whole = recipe_from(source, {}, read_recipe(folder))
    if not finished(folder):
        _still_there(whole, f"finetune fit SOURCE --resume {folder}")
    return _Ready(whole, folder, False, recorded_beside(folder), True)


def _anew(
    source: Any, words: Mapping[str, Any], recipe: Recipe | str | Path | None, out: str | Path | None, overwrite: bool
) -> _Ready:
    if isinstance(source, Recipe):
        if recipe is not None:
            raise ConfigError("Two recipes were given, as source and as recipe. Expected one.")
        source, recipe = None, source
    start = recipe if isinstance(recipe, Recipe) or recipe is None else read_recipe(recipe)
    whole = recipe_from(source, {name: _frozen(name, value) for name, value in words.items()}, start)
    if source is None and isinstance(recipe, str | Path):
        _still_there(whole, f"finetune fit SOURCE --recipe {recipe}")
    from ..data.recorded import recorded_beside
    from ..folder import check_out

    if out is not None:
        check_out(Path(out).absolute(), overwrite=overwrite)
    # An earlier run's own split holds, unless somebody says how to divide. Read now: `out` may be that very run.
    anew = any(words.get(name) is not None for name in DIVIDING)
    recorded = recorded_beside(recipe) if isinstance(recipe, str | Path) and not anew else None
    return _Ready(whole, out, overwrite, recorded)


def _still_there(recipe: Recipe, instead: str) -> None:
    """Refuses a run whose examples have moved, with the words by which their new place is named."""
    from ..data.addresses import is_remote, printable
    from ..data.hub_sets import is_hub_set
    from ..data.tars import is_shards

    source = recipe.data.source
    if not isinstance(source, str | Path) or is_remote(source) or is_shards(source) or is_hub_set(source):
        return
    if not Path(source).exists():
        raise DataError(
            f"The examples of the run are not there any more: {printable(str(source))}. Where they have moved, say so: "
            f"{instead}"
        )


def _run(
    ready: _Ready, verbose: bool | Console, callbacks: Sequence[Any], logger: Any, trainer: Mapping[str, Any] | None
) -> Model:
    from rich.console import Console

    from ..report.printed import Talk

    talk = Talk(Console() if verbose is True else verbose or None)
    if ready.going_on and finished(Path(ready.out or "")):
        return told_again(Path(ready.out or ""), talk)
    from .folds import run_folds
    from .run import Doors, run

    doors = Doors(callbacks=tuple(callbacks), logger=logger, trainer=trainer)
    run_it = run if ready.recipe.data.folds is None else run_folds
    return run_it(ready.recipe, ready.out, overwrite=ready.overwrite, talk=talk, doors=doors, recorded=ready.recorded,
                  resume=ready.going_on)  # fmt: skip


def _frozen(name: str, value: Any) -> Any:
    """Lists become tuples, as the frozen values hold them, and so does one value where there may be several."""
    if name in ("sizes", "milestones") and isinstance(value, int | float):
        return (value,)
    if name == "log" and isinstance(value, str):
        return tuple(value.split(","))
    return tuple(value) if isinstance(value, list) else value
