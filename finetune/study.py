"""A study: several recipes or arrays, and one function that compares or draws."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .errors import ConfigError
from .folder import FIGURES, FITS, METRICS, RECIPE, run_folder, write_json
from .recipe import Recipe

if TYPE_CHECKING:
    from rich.console import Console

    from .model import Model


@dataclass(frozen=True, kw_only=True)
class Studied:
    """What a study's function looks at, and what came of it.

    Args:
        folder: The study's own.
        models: Those of its recipes, fitted, by name.
        arrays: Those of the study.
        words: The words of `fit` that were given for all of its fits.
        metrics: What the function measured; empty while it runs.
    """

    folder: Path
    models: Mapping[str, Model]
    arrays: Mapping[str, Any]
    words: Mapping[str, Any]
    metrics: Mapping[str, Any] = field(default_factory=dict)

    @property
    def figures(self) -> Path:
        """The folder for what is drawn."""
        return self.folder / FIGURES

    @property
    def seed(self) -> int:
        """The seed that was given, or 0."""
        return int(self.words.get("seed") or 0)


@dataclass(frozen=True, kw_only=True)
class Study:
    """Where the subject is not one fit: several named recipes or arrays, and a function that compares or draws.

    Args:
        compare: Is given a `Studied` when all recipes are fitted. It writes pictures into `studied.figures` and gives
            back what it measured, as plain JSON values.
        recipes: What is fitted first, each into a run folder of its name.
        arrays: What is looked at beside: pictures, numbers, networks, by name.
        takes: Words of `fit` that `compare` itself heeds, beside `seed`; others mean something to recipes alone.
    """

    compare: Callable[[Studied], Mapping[str, Any]]
    recipes: Mapping[str, Recipe] = field(default_factory=dict)
    arrays: Mapping[str, Any] = field(default_factory=dict)
    takes: tuple[str, ...] = ()

    def check(self, words: Mapping[str, Any]) -> None:
        """Refuses what cannot be right before anything is fitted.

        Args:
            words: The words of `fit` that were given.

        Raises:
            ConfigError: All that is wrong.
        """
        wrong = []
        idle = [word for word in words if word not in ("seed", *self.takes)]
        if idle and not self.recipes:
            wrong.append(
                f"This study fits nothing, and does not heed {', '.join(idle)}. Expected "
                f"{', '.join(('seed', *self.takes))}, or options of its own: leave the others out."
            )
        if odd := [name for name in self.recipes if Path(name).name != name or name.startswith(".")]:
            wrong.append(f"The names of a study's recipes are names of folders. Got {', '.join(map(repr, odd))}.")
        for name, recipe in self.recipes.items():
            try:
                recipe.check()
            except ConfigError as error:
                wrong.append(f"{name}: {error}")
        if wrong:
            raise ConfigError("\n".join(wrong))


def run_study(
    study: Study, *, out: str | Path | None = None, overwrite: bool = False, verbose: bool | Console = True,
    made_by: Mapping[str, Any] | None = None, **words: Any,
) -> Studied:  # fmt: skip
    """Fits the recipes of a study one after the other, and lets it compare or draw.

    Args:
        study: What to do.
        out: Its folder: `figures/`, `metrics.json`, and the run folders of its fits in `fits/`; without it a temporary
            one.
        overwrite: Replaces an earlier study in `out`.
        verbose: Prints what `fit` prints; a rich Console says where.
        made_by: The file that made it, as `recipe.json` records it.
        words: Words of `fit` that hold for all fits.

    Returns:
        What it measured.

    Raises:
        ConfigError: Options that cannot be right; before any file is read.
        FinetuneError: As of `fit`.
    """
    from .data.generated import is_generated
    from .fit import fit
    from .running.ranks import alone

    alone("A study")
    given = {name: value for name, value in words.items() if value is not None}
    study.check(given)
    with run_folder(out, overwrite=overwrite) as folder:
        recipes = {name: recipe.to_dict() for name, recipe in study.recipes.items()}
        write_json(folder / RECIPE, {"format": 1, "study": dict(made_by or {}), "words": given, "recipes": recipes})
        models = {}
        for name, recipe in study.recipes.items():
            models[name] = fit(recipe, out=folder / FITS / name, verbose=verbose, **given)
            if models[name].stopped:
                raise KeyboardInterrupt
        studied = Studied(folder=folder, models=models, arrays=study.arrays, words=given)
        studied.figures.mkdir()
        metrics = dict(study.compare(studied))
        if (made_by or {}).get("generated") or any(is_generated(r.data.source) for r in study.recipes.values()):
            metrics["generated"] = True
        write_json(folder / METRICS, metrics)
    return replace(studied, metrics=metrics)
