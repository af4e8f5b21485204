"""`finetune run`: a recipe by its name or file, whose signature is its command line."""

from __future__ import annotations

import inspect
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin, get_type_hints

import typer

from ..data.addresses import is_remote
from ..data.generated import MARK, mark
from ..errors import ConfigError, nearest
from ..fit import fit
from ..folder import kept_folder
from ..recipe import Recipe
from ..shipped import RecipeFile, find
from ..stdout import print_json, talking, tell
from ..study import Study, run_study
from ..words import parsed

Options = Callable[[Callable[..., Any], Sequence[str]], list[inspect.Parameter]]
SAMPLE = "--sample"


def run_command(name: str, rest: Sequence[str], *, of_fit: Sequence[inspect.Parameter], options_of: Options) -> int:
    """Runs a recipe with its own options, and with those of `fit` that its own do not name otherwise.

    Args:
        name: Of a recipe that ships, or a .py file.
        rest: The arguments behind it.
        of_fit: The options of `fit`.
        options_of: Makes options of a function's signature and docstring.

    Returns:
        The exit code: 0, 2 where there is no data, or 130 where it was stopped.

    Raises:
        ConfigError: No such recipe, or options that cannot be right.
    """
    if name.startswith("-"):
        raise ConfigError(f"The name of a recipe comes first: finetune run NAME [options]. Got {name}.")
    recipe = find(name)
    function = recipe.function()
    own = list(inspect.signature(function).parameters)
    parameters = [
        *(_argument(p) if p.name == "source" else p for p in options_of(function, own)),
        *(p for p in of_fit if p.name not in (*own, "recipe")),
        *_always(recipe),
    ]

    def call(*, sample: bool = False, as_json: bool = False, **given: Any) -> int:
        mine = {name: given.pop(name) for name in own}
        return _run(recipe, mine, given, sample=sample, as_json=as_json)

    call.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    call.__annotations__ = {p.name: p.annotation for p in parameters}
    inner = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)
    inner.command(help=f"{recipe.line}.", context_settings={"help_option_names": ["-h", "--help"]})(call)
    result = inner(list(rest), standalone_mode=False, prog_name=f"finetune run {name}")
    return result if isinstance(result, int) else 0


def _argument(parameter: inspect.Parameter) -> inspect.Parameter:
    """The source as the argument behind the name; without one it is said where the data comes from."""
    return parameter.replace(
        annotation=Annotated[str | None, typer.Argument(help="Where the data lies, as `finetune recipes show` says.")],
        default=None if parameter.default is inspect.Parameter.empty else parameter.default,
    )


def _always(recipe: RecipeFile) -> list[inspect.Parameter]:
    """The options that every recipe has beside those of `fit`."""
    as_json = Annotated[bool, typer.Option("--json", help="Prints the figures as JSON on standard output.")]
    sample = Annotated[bool, typer.Option(SAMPLE, help="Runs on data that the recipe draws, marked as generated.")]
    named = {"as_json": as_json, **({"sample": sample} if _can_sample(recipe) else {})}
    return [inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=False, annotation=annotation)
            for name, annotation in named.items()]  # fmt: skip


def _can_sample(recipe: RecipeFile) -> bool:
    return inspect.isfunction(vars(recipe.load()).get("sample"))


def _run(recipe: RecipeFile, mine: dict[str, Any], given: dict[str, Any], *, sample: bool, as_json: bool) -> int:
    """Makes the recipe from its own options, and carries it out with those of `fit`."""
    function = recipe.function()
    wanting = _wrong_words(recipe, function, mine)
    if wanting:
        raise ConfigError("\n".join(wanting))
    words = parsed(given)
    out, overwrite = words.pop("out", None), bool(words.pop("overwrite", False))
    if sample:
        mine |= _sampled(recipe, out, int(words.get("seed") or 0))
    elif (missing := _missing(function, mine)) is not None:
        tell(_screen(recipe, missing))
        return 2
    made = function(**mine)
    made_by = {"recipe": recipe.word, "sha256": recipe.sha256, "options": mine, "generated": sample}
    console = talking(stderr=as_json)
    with kept_folder(out) as folder:
        if isinstance(made, Recipe):
            model = fit(replace(made, made_by=made_by), out=folder, overwrite=overwrite, verbose=console, **words)
            metrics, stopped, place = model.metrics, model.stopped, f"The model is in {model.folder}"
        elif isinstance(made, Study):
            studied = run_study(made, out=folder, overwrite=overwrite, verbose=console, made_by=made_by, **words)
            metrics, stopped, place = dict(studied.metrics), False, f"Figures and metrics.json are in {studied.folder}"
        else:
            raise ConfigError(
                f"The function {recipe.name} of {recipe.file} gave a {type(made).__name__}. Expected a Recipe or a "
                "Study."
            )
    if as_json:
        print_json(metrics)
    else:
        console.print(place, soft_wrap=True)
    if stopped:
        tell("finetune: stopped. The model has the best weights until then.")
    return 130 if stopped else 0


def _wrong_words(recipe: RecipeFile, function: Callable[..., Any], mine: dict[str, Any]) -> list[str]:
    """What the recipe's own options are not, a line each."""
    hints = get_type_hints(function)
    wrong = []
    for name, value in mine.items():
        known = get_args(hints[name]) if get_origin(hints[name]) is Literal else ()
        if known and value not in known:
            flag = f"--{name.replace('_', '-')}"
            wrong.append(
                f'{flag} of {recipe.name} takes one of {", ".join(map(str, known))}. Got "{value}".'
                f"{nearest(str(value), map(str, known))}"
            )
    return wrong


def _missing(function: Callable[..., Any], mine: dict[str, Any]) -> str | None:
    """The source that is not there, or "" where none was given and the recipe needs one; None where all is well."""
    if "source" not in mine:
        return None
    source = mine["source"]
    if source is None:
        needed = inspect.signature(function).parameters["source"].default is inspect.Parameter.empty
        return "" if needed else None
    return None if is_remote(source) or Path(source).exists() else str(source)


def _screen(recipe: RecipeFile, missing: str) -> str:
    """What a person needs to know who has not got the data, on one screen."""
    what = f"There is no {missing}." if missing else "The recipe needs its data, and none was named."
    lines = [f"finetune: {what}", "", f"{recipe.name}: {recipe.line}.", "", recipe.sections.get("Data", ""), ""]
    lines += [f"With the data:    finetune run {recipe.word} FOLDER --out runs/{recipe.name}"]
    if _can_sample(recipe):
        lines += [
            f"Without it:       finetune run {recipe.word} {SAMPLE} --out runs/{recipe.name}",
            "                  draws pictures of its own, which says that everything runs and nothing more.",
        ]
    return "\n".join(lines)


def _sampled(recipe: RecipeFile, out: str | None, seed: int) -> dict[str, Any]:
    """The options for data that the recipe draws, which lies beside the run folder and is drawn once.

    Raises:
        ConfigError: Something else lies there.
    """
    if out is None:
        folder = Path(tempfile.mkdtemp(prefix="finetune-sample-"))
    else:
        folder = Path(out).absolute().with_name(f"{Path(out).absolute().name}-sample")
    if (folder / MARK).is_file():
        return {"source": str(folder)}
    if folder.is_dir() and any(folder.iterdir()):
        raise ConfigError(f"{SAMPLE} draws pictures in {folder}, where something else lies. Choose another --out.")
    folder.mkdir(parents=True, exist_ok=True)
    recipe.load().sample(folder, seed)
    mark(folder, recipe.word)
    tell(f"The examples are generated and lie in {folder}.")
    return {"source": str(folder)}
