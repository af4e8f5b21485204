"""The command line: the same words as in Python."""

from __future__ import annotations

import importlib.metadata
import inspect
import re
import sys
import warnings
from collections.abc import Callable, Sequence
from typing import Annotated, Any, Literal, get_args, get_origin, get_type_hints

import typer

from . import __version__
from .commands.compare import compare_command
from .commands.explain import explain_command
from .commands.export import export_command
from .commands.neighbours import neighbours_command
from .commands.plan import plan_command
from .commands.predict import predict_command
from .commands.rank import backbones_command, rank_command
from .commands.report import report_command
from .commands.words import JSON, Accelerator, BatchSize, OwnRecipe, RunFolder
from .errors import FinetuneError, StoppedError
from .fit import fit as fit_function
from .folder import kept_folder
from .stdout import heard, print_json, print_text, talking, tell
from .training.place import follows
from .words import joined, parsed

app = typer.Typer(
    add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False, rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]})  # fmt: skip

IN_PYTHON_ONLY = ("callbacks", "logger", "trainer", "verbose")
SOURCE_WORDS = ("layout", "image", "target", "delimiter", "group", "group_from", "split", "no_header", "root",
                "label_from", "on_corrupt")  # fmt: skip
CHECK_WORDS = ("backbone", "backbone_arg", "weights", "in_chans", "mean", "std", "input_size", "task",
               *(word for word in SOURCE_WORDS if word != "on_corrupt"), "seed")  # fmt: skip
RANK_WORDS = ("task", "monitor", *SOURCE_WORDS, "validation", "test", "order", "stretches", "gap", "copies", "seed")
NOT_IN_TUNE = ("out", "overwrite", "resume", "time", "folds")  # its own, and what one validation part cannot judge
NOT_IN_PLAN = ("recipe", "out", "overwrite", "resume")


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the command line and leaves with its exit code."""
    sys.exit(call(sys.argv[1:] if arguments is None else arguments))


def call(arguments: Sequence[str]) -> int:
    """Runs one command.

    Returns:
        0 when all went well, 1 when some pictures could not be answered or a check found something to decide, 2 for
        anything the user can mend, 130 when it was stopped, 143 when a signal ended it and it can be resumed.
    """
    try:
        with warnings.catch_warnings():
            # On odd headers of pictures that it reads all the same; what it cannot read is told by us.
            warnings.filterwarnings("ignore", module="PIL")
            result = app(list(joined(arguments)), standalone_mode=False, prog_name="finetune")
    except (FinetuneError, OSError) as error:
        # A file that may not be read, most of all; what cannot be written has its own words.
        named = f": {error.filename}" if isinstance(error, OSError) and error.filename else ""
        notes = "".join(f"\n{note}" for note in getattr(error, "__notes__", ()))
        tell(f"finetune: {getattr(error, 'strerror', None) or error}{named}{notes}")
        return error.exit_code if isinstance(error, StoppedError) else 2
    except Exception as error:
        if not _is_usage(error):
            raise
        error.show()  # type: ignore[attr-defined]
        return 2
    return result if isinstance(result, int) else 0


def _is_usage(error: Exception) -> bool:
    """Whether click refuses the arguments; typer carries its own copy of click, so the name decides."""
    return any(cls.__name__ == "ClickException" for cls in type(error).__mro__)


def _options_of(function: Callable[..., Any], names: Sequence[str]) -> list[inspect.Parameter]:
    """Options for the command line from a function's signature and the Args of its docstring."""
    hints, said = get_type_hints(function, localns=_LOCAL), _arguments(function.__doc__ or "")
    signature = inspect.signature(function)
    return [_option(name, hints[name], signature.parameters[name].default, said.get(name, "")) for name in names]


def _option(name: str, hint: Any, default: Any, text: str) -> inspect.Parameter:
    flag = f"--{name.replace('_', '-')}"
    text = re.sub(r"\[([^\]]+)\]\.$", r"(default: \1).", text)
    annotation: Any
    kinds = (
        [a for a in get_args(hint) if a is not type(None)]
        if get_args(hint) and get_origin(hint) is not Literal
        else [hint]
    )
    options: dict[str, Any] = {"help": text}
    if bool in kinds:
        annotation, default = bool, False
    elif kinds == [int] or kinds == [float] or kinds == [str]:
        annotation = kinds[0] | None
    elif len(kinds) == 1 and get_origin(kinds[0]) is Literal:
        # Text, for a wrong word is then refused together with all else that is wrong, and with the nearest one.
        annotation = str | None
        options["metavar"] = "|".join(get_args(kinds[0]))
    else:
        # Values of several types: numbers with commas, name=value pairs, names with commas.
        annotation = str | None
        options["metavar"] = _METAVARS.get(name, "TEXT")
    if name == "backbone_arg":
        annotation, default = list[str] | None, None
    return inspect.Parameter(
        name, inspect.Parameter.KEYWORD_ONLY, default=default,
        annotation=Annotated[annotation, typer.Option(flag, **options)],
    )  # fmt: skip


def _arguments(doc: str) -> dict[str, str]:
    """The lines of a docstring's Args section, by name."""
    section = re.search(r"Args:\n(.*?)\n\n", inspect.cleandoc(doc) + "\n\n", re.DOTALL)
    found = re.findall(r"^    (\w+): (.*(?:\n {8}.*)*)", section[1] if section else "", re.MULTILINE)
    return {name: re.sub(r"\s+", " ", text) for name, text in found}


_METAVARS = {
    "mean": "NUMBER[,NUMBER...]", "std": "NUMBER[,NUMBER...]", "backbone_arg": "NAME=VALUE",
    "target": "COLUMN[,COLUMN...]", "class_weight": "balanced|sqrt|NAME=WEIGHT,...", "devices": "N|auto|0,1,...",
    "out": "FOLDER", "recipe": "RUN|FILE", "lr": "NUMBER|auto", "batch_size": "N|auto", "sizes": "N[,N...]",
    "milestones": "EPOCH[,EPOCH...]", "time": "10m|90s|1.5h", "scale": "LOWEST,...,HIGHEST", "by": "COLUMN[,COLUMN...]",
    "taxonomy": "FILE",
    "resume": "RUN", "checkpoint_every": "10m|90s|0s", "rank_timeout": "20m|90s", "log": "NAME[,NAME...]",
}  # fmt: skip


class _Stand:
    """Stands for annotations that cost an import and that the command line does not show."""


_LOCAL = {"Model": _Stand, "Metrics": _Stand, "Console": _Stand}


def _command(
    function: Callable[..., Any], extra: list[inspect.Parameter], name: str, text: str, **settings: Any
) -> None:  # fmt: skip
    """Registers a command whose options are those of `function` and, after them, `extra`."""
    own = inspect.signature(function, eval_str=True)
    fixed = [p for p in own.parameters.values() if p.kind is not inspect.Parameter.VAR_KEYWORD]
    first = [p for p in fixed if p.kind is inspect.Parameter.POSITIONAL_OR_KEYWORD]
    later = [p for p in fixed if p.kind is inspect.Parameter.KEYWORD_ONLY]

    def call(**words: Any) -> Any:
        try:
            return function(**words)
        except KeyboardInterrupt as stop:
            # Here, since typer makes a bare exit code of it: the notes say what was kept, and where.
            notes = "".join(f" {note}" for note in getattr(stop, "__notes__", ()))
            tell(f"\nfinetune: stopped.{notes}")
            return 130

    call.__signature__ = inspect.Signature([*[p.replace(kind=p.KEYWORD_ONLY) for p in first], *extra, *later])  # type: ignore[attr-defined]
    call.__annotations__ = {p.name: p.annotation for p in call.__signature__.parameters.values()}  # type: ignore[attr-defined]
    app.command(name, help=text, short_help=text, context_settings=settings)(call)


def _fit(
    source: Annotated[str | None, typer.Argument(help="A folder of pictures, or a CSV, TSV or Parquet file.")] = None,
    *,
    as_json: JSON = False,
    **words: Any,
) -> int:
    if follows():
        fit_function(source)
        return 0
    console = talking(stderr=as_json)
    # A temporary folder would go with the model when this command ends.
    resume = words["resume"]
    with kept_folder(words["out"] or resume) as out:
        own = {} if resume else {"out": out}
        model = fit_function(source, **parsed(words) | own, verbose=console)
    if as_json:
        print_json(model.metrics)
    else:
        console.print(f"The model is in {model.folder}, its page is {model.folder / 'report.html'}", soft_wrap=True)
    if model.stopped:
        tell("finetune: stopped. The model has the best weights until then.")
    return 130 if model.stopped else 0


def _tune(
    source: Annotated[str | None, typer.Argument(help="A folder of pictures, or a CSV, TSV or Parquet file.")] = None,
    *,
    trials: Annotated[int, typer.Option(help="How many trials in all, those of earlier calls counted too.")] = 20,
    time: Annotated[str | None, typer.Option(metavar="10m|90s|1.5h", help="Begins no trial that ends later.")] = None,
    search: Annotated[list[str] | None, typer.Option(metavar="NAME=LOW..HIGH|NAME=ONE,OTHER",
                                                     help="Replaces a range: lr=1e-4..1e-1, method=full")] = None,
    out: Annotated[str, typer.Option(help="Folder of the search; the winner is the run in best/.")],
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Begins anew instead of going on.")] = False,
    as_json: JSON = False,
    **words: Any,
) -> int:  # fmt: skip
    from .commands.tune import tune_command

    return tune_command(source, parsed(words), out=out, trials=trials, time=time, search=search or (),
                        overwrite=overwrite, as_json=as_json)  # fmt: skip


def _evaluate(
    run: RunFolder,
    source: Annotated[str, typer.Argument(help="A folder of pictures, or a CSV, TSV or Parquet file.")],
    *,
    batch_size: BatchSize = 32,
    accelerator: Accelerator = "auto",
    out: Annotated[str | None, typer.Option(help="A folder for metrics.json and predictions.csv.")] = None,
    recipe: OwnRecipe = None,
    as_json: JSON = False,
    **words: Any,
) -> int:
    from .commands.evaluate import evaluate_command

    with _bar(None) as moved:
        return evaluate_command(run, source, parsed(words), batch_size=batch_size, accelerator=accelerator, out=out,
                                progress=moved, as_json=as_json, recipe=recipe)  # fmt: skip


def _check(
    source: Annotated[str, typer.Argument(help="A folder of pictures, or a CSV, TSV or Parquet file.")],
    *,
    no_labels: Annotated[bool, typer.Option("--no-labels", help="Looks at the pictures of a folder alone.")] = False,
    batch_size: BatchSize = 32,
    accelerator: Accelerator = "auto",
    out: Annotated[str, typer.Option(help="Folder for check.html and check.json.")] = "check",
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replaces the results of an earlier check.")] = False,
    augment: Annotated[str | None, typer.Option(help="Draws how training varies pictures: light, ...")] = None,
    write_clean: Annotated[str | None, typer.Option(help="CSV file for a cleaned-up table that fit takes.")] = None,
    as_json: JSON = False,
    **words: Any,
) -> int:
    from .commands.check import check_command

    return check_command(source, parsed(words), labelled=not no_labels, batch_size=batch_size, out=out,
                         accelerator=accelerator, overwrite=overwrite, write_clean=write_clean, augment=augment,
                         as_json=as_json)  # fmt: skip


def _run(
    context: typer.Context,
    name: Annotated[str, typer.Argument(help="A name of `finetune recipes`, or a .py file.")],
    rest: Annotated[list[str] | None, typer.Argument(metavar="[OPTIONS]...", help="finetune run NAME --help.")] = None,
) -> int:
    from .commands.run import run_command

    # What looks like options is left apart from the rest, in the order in which it came.
    return run_command(name, [*(rest or ()), *context.args], of_fit=_options_of(fit_function, _words),
                       options_of=_options_of)  # fmt: skip


def _recipes(
    action: Annotated[str, typer.Argument(help="list, show NAME, copy NAME FILE, or table.")] = "list",
    rest: Annotated[list[str] | None, typer.Argument(metavar="[NAME] [FILE]", help="What to show or to copy.")] = None,
    *,
    as_json: JSON = False,
) -> int:
    from .commands.recipes import recipes_command

    return recipes_command(action, list(rest or ()), as_json=as_json)


DEMO = "Runs the main job on real handwritten digits: no network, under two minutes."


@app.callback(invoke_without_command=True)
def about(
    version: Annotated[bool, typer.Option("--version", help="Tells the version, and that of torch.")] = False,
) -> None:
    """Fine-tunes pretrained backbones on pictures of your own."""
    if version:
        torch = importlib.metadata.version("torch")  # without importing it
        print_text(f"finetune {__version__}, torch {torch}, Python {sys.version.split()[0]}")
        raise typer.Exit


@app.command(help=DEMO, short_help=DEMO)
def demo(
    out: Annotated[str, typer.Option(help="Folder for the pictures, the runs and the report.")] = "runs/demo",
    seed: Annotated[int, typer.Option(help="Seeds the choice of pictures and the training.")] = 0,
    as_json: JSON = False,
) -> int:
    """Shows that what was learned on one task helps on another."""
    from .demo import run_demo

    code = 1
    with heard():
        code = run_demo(out, seed=seed, as_json=as_json)
    return code


def _bar(total: int | None) -> Any:
    """A bar on a terminal; a source's own pictures are counted only when it is read."""
    from .report.printed import Talk

    return Talk(talking(stderr=True)).bar("reading pictures", total)


_words = [name for name in inspect.signature(fit_function).parameters if name not in ("source", *IN_PYTHON_ONLY)]
_command(_fit, _options_of(fit_function, _words), "fit", "Fine-tunes a pretrained backbone on examples of your own.")
_command(_tune, _options_of(fit_function, [word for word in _words if word not in NOT_IN_TUNE]), "tune",
         "Searches for the options of fit that do best on validation.")  # fmt: skip
_command(
    predict_command, [], "predict", "Answers for pictures: a CSV with the columns path, label, one a class, error."
)
_command(_evaluate, _options_of(fit_function, (*SOURCE_WORDS, "by")), "evaluate",
         "Measures a model on examples whose answers are known.")  # fmt: skip
_command(explain_command, [], "explain", "Draws where in pictures the answers come from.")
_command(export_command, [], "export", "Writes a model as one graph for other runtimes: ONNX or torch.export.")
_command(compare_command, _options_of(fit_function, SOURCE_WORDS), "compare",
         "Says whether a run is better than another, metric by metric on the same examples.")  # fmt: skip
_command(neighbours_command, _options_of(fit_function, [word for word in SOURCE_WORDS if word != "on_corrupt"]),
         "neighbours", "Finds the known pictures that a model finds most like others.")  # fmt: skip
_command(_check, _options_of(fit_function, CHECK_WORDS), "check", "Looks for what is wrong with examples.")
_command(rank_command, _options_of(fit_function, RANK_WORDS), "rank", "Orders backbones by how they suit examples.")
_command(plan_command, _options_of(fit_function, [word for word in _words if word not in NOT_IN_PLAN]), "plan",
         "Says what a run will be on any number of devices: batches, rates, steps, memory, traffic.")  # fmt: skip
_command(report_command, [], "report", "Makes the page of a run and the card of its model anew from its files.")
_command(_run, [], "run", "Runs a recipe: finetune run NAME [its options] --out FOLDER; --help lists them.",
         ignore_unknown_options=True, allow_extra_args=True, help_option_names=[])  # fmt: skip
_command(_recipes, [], "recipes", "Lists the recipes, shows one, or copies one for you to change.")
_command(
    backbones_command, [], "backbones", "Lists the backbones that can be named, timm's, torchvision's and our own."
)
