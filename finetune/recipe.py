"""A recipe: four values that say everything about a run, and nothing that does anything."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from dataclasses import MISSING, asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from .clashes import KINDS, clashes
from .data.options import Data
from .errors import ConfigError, RunFolderError, nearest
from .models.options import Backbone, EmbeddingHead, Head, LinearHead, MLPHead
from .tasks.options import EMBED_LOSSES, NUMBER_LOSSES, TAG_LOSSES, Classify, Embed, Regress, Tag
from .training.phase import Phase
from .training.plan import Plan

TaskOptions = Classify | Tag | Regress | Embed

HEADS: dict[str, type[Head]] = {"linear": LinearHead, "mlp": MLPHead, "embedding": EmbeddingHead}
TASKS: dict[str, type[TaskOptions]] = {"classify": Classify, "tag": Tag, "regress": Regress, "embed": Embed}
# A loss that classes do not have says which task is meant.
TASK_OF_LOSS = {
    "asymmetric": "tag", **dict.fromkeys(NUMBER_LOSSES, "regress"), **dict.fromkeys(EMBED_LOSSES, "embed"),
}  # fmt: skip
DEFAULT_BACKBONE = "resnet50"


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """Everything that decides a run.

    Args:
        data: Where the examples are and how they are divided.
        model: The backbone, its weights and its head.
        task: What the answer means; None infers it from the targets.
        plan: How it is trained, and on what.
        made_by: The file that made it and the options it was given, where `finetune run` did.
    """

    data: Data
    model: Backbone = field(default_factory=lambda: Backbone(DEFAULT_BACKBONE))
    task: TaskOptions | None = None
    plan: Plan = field(default_factory=Plan)
    made_by: Mapping[str, Any] | None = None

    def check(self) -> None:
        """Refuses what cannot be right before any file is read.

        Raises:
            ConfigError: All that is wrong.
        """
        wrong = [*_misnamed(self.model, self.plan.monitor), *clashes(self)]
        if wrong:
            raise ConfigError("\n".join(wrong))

    def to_dict(self) -> dict[str, Any]:
        """The same as plain JSON values. Data in memory is named, not stored."""
        data = asdict(replace(self.data, source=None))
        source = self.data.source
        in_memory = not isinstance(source, str | Path)
        data["source"] = {"in_memory": type(source).__name__} if in_memory else _whole(source)
        data["root"] = self.data.root and _whole(self.data.root)
        model = {f.name: getattr(self.model, f.name) for f in fields(Backbone) if f.name not in ("head", "module")}
        model["args"] = dict(self.model.args)
        if self.model.weights not in ("default", "none"):
            model["weights"] = str(Path(self.model.weights).resolve())
        head = next(name for name, kind in HEADS.items() if type(self.model.head) is kind)
        model["head"] = {"kind": head, **asdict(self.model.head)}
        task = None
        if self.task is not None:
            name = next(name for name, kind in TASKS.items() if type(self.task) is kind)
            task = {"kind": name, **asdict(self.task)}
            if isinstance(task.get("taxonomy"), str):
                task["taxonomy"] = _whole(task["taxonomy"])
        plan = asdict(self.plan)
        plan["teacher"] = self.plan.teacher and _whole(self.plan.teacher)
        made_by = self.made_by and dict(self.made_by)
        return {"data": data, "model": model, "task": task, "plan": plan, "made_by": made_by}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Recipe:
        """The inverse of `to_dict`.

        Raises:
            ConfigError: Values that no recipe has.
        """
        try:
            model = {**values["model"]}
            head, task = dict(model.pop("head")), values["task"]
            plan = {**values["plan"], "phases": tuple(Phase(**_tuples(p)) for p in values["plan"]["phases"])}
            return cls(
                data=Data(**_tuples(values["data"])),
                model=Backbone(**_tuples(model), head=HEADS[head.pop("kind")](**head)),
                task=None if task is None else TASKS[task["kind"]](**{k: v for k, v in task.items() if k != "kind"}),
                plan=Plan(**_tuples(plan)),
                made_by=values.get("made_by"),
            )
        except (KeyError, TypeError) as error:
            raise ConfigError(
                f"This is no recipe of this version of finetune: {error}. Expected what `recipe.json` of a run holds."
            ) from error


def _whole(place: str | Path) -> str:
    """The whole path, so that the recipe is good in any working folder; a URL without its passwords."""
    from .data.addresses import is_remote, printable

    return printable(str(place)) if is_remote(place) else str(Path(place).resolve())


def read_recipe(path: str | Path) -> Recipe:
    """Reads the recipe of a run folder, or of its recipe.json.

    Args:
        path: The folder, or the file.

    Raises:
        RunFolderError: There is none, or it cannot be read.
    """
    file = Path(path)
    file = file / "recipe.json" if file.is_dir() else file
    try:
        values = json.loads(file.read_text(encoding="utf-8"))["recipe"]
    except FileNotFoundError:
        raise RunFolderError(
            f"There is no recipe at {file}. Expected a run folder, or the recipe.json in one."
        ) from None
    except (ValueError, KeyError, TypeError, OSError) as error:
        raise RunFolderError(f"{file} cannot be read as the recipe of a run: {error}.") from error
    return Recipe.from_dict(values)


def rerun(made_by: Mapping[str, Any]) -> str:
    """The command that makes a recipe again from the file that made it."""
    given = {name: value for name, value in made_by["options"].items() if value not in (None, False)}
    source = [str(given.pop("source"))] if "source" in given else []
    options = (f"--{name.replace('_', '-')}" + ("" if value is True else f"={value}") for name, value in given.items())
    return shlex.join(["finetune", "run", str(made_by["recipe"]), *source, *options])


TASK_WORDS = (
    "focal_gamma", "sharpness", "margin", "scale", "operate", "coverage", "taxonomy", "max_class_size",
)  # fmt: skip
# The words of `ft.fit` and of the command line, and the value whose field each one sets.
WORDS: dict[str, tuple[str, str]] = {
    **{f.name: ("data", f.name) for f in fields(Data) if f.name not in ("source", "kind")},
    "backbone": ("model", "name"),
    "backbone_arg": ("model", "args"),
    **{name: ("model", name) for name in ("weights", "in_chans", "mean", "std", "input_size", "crop")},
    "head": ("head", "kind"),
    "dropout": ("head", "dropout"),
    "hidden": ("head", "hidden"),
    "embedding_size": ("head", "size"),
    "task": ("task", "kind"),
    "class_weight": ("task", "class_weight"),
    "label_smoothing": ("task", "label_smoothing"),
    "loss": ("task", "loss"),
    **{name: ("task", name) for name in TASK_WORDS},
    **{f.name: ("plan", f.name) for f in fields(Plan) if f.name != "phases"},
}


def recipe_from(source: Any, words: Mapping[str, Any], start: Recipe | None = None) -> Recipe:
    """The recipe that the words of `ft.fit` say.

    Args:
        source: The examples; None takes those of `start`.
        words: Options by name; None means not given.
        start: A recipe whose values hold where no word says otherwise.

    Raises:
        ConfigError: All that is wrong, at once.
    """
    given: dict[str, dict[str, Any]] = {room: {} for room in ("data", "model", "head", "task", "plan")}
    for word, value in words.items():
        if value is not None:
            room, name = WORDS[word]
            given[room][name] = value
    if source is not None:
        given["data"]["source"] = source
    elif start is None:
        raise ConfigError("There is nothing to learn from: expected a folder, a table, or --recipe. Got neither.")
    elif isinstance(start.data.source, Mapping):
        was = start.data.source.get("in_memory", "something")
        again = f", or run {rerun(start.made_by)}" if start.made_by else ""
        raise ConfigError(
            f"The examples of this recipe were in memory (a {was}). Give them again, as the source{again}."
        )
    wrong: list[str] = []
    kind = given["task"].pop("kind", None) or TASK_OF_LOSS.get(str(given["task"].get("loss")))
    kind = kind or ("classify" if "taxonomy" in given["task"] else None)
    if kind is not None and kind not in TASKS:
        wrong.append(_unknown("task", kind, TASKS))
    elif kind is not None:
        given["data"].setdefault("kind", KINDS[TASKS[kind]])
        if kind == "embed":  # the one head that such a task has
            given["head"].setdefault("kind", "embedding")
    data = _made(Data, start.data if start else None, given["data"], wrong)
    head = _head(start.model.head if start else None, given["head"], wrong)
    if start is None:
        given["model"].setdefault("name", DEFAULT_BACKBONE)
    model = _made(Backbone, start.model if start else None, given["model"], wrong)
    plan = _made(Plan, start.plan if start else None, given["plan"], wrong)
    task = _task(start.task if start else None, kind, given["task"], wrong)
    if wrong:
        # All at once: what only a look at the libraries can tell would else be told in the next attempt.
        asked = given["model"].get("name")
        named = model or (Backbone(asked) if asked else None)
        raise ConfigError("\n".join([*wrong, *_misnamed(named, given["plan"].get("monitor"))]))
    made_by = start.made_by if start else None
    return Recipe(data=data, model=replace(model, head=head), task=task, plan=plan, made_by=made_by)


def task_for(options: TaskOptions | None, kind: str) -> TaskOptions:
    """The task that the kind of the targets asks for, with what was said of it; a taxonomy is read from its file.

    Raises:
        ConfigError: Options that this task does not take, or a task of another kind.
        DataError: A taxonomy that cannot be read.
    """
    by_kind: dict[str, type[TaskOptions]] = {"class": Classify, "labels": Tag, "number": Regress}
    if options is None:
        return by_kind[kind]()
    if isinstance(options, Embed) and kind == "class":
        return options
    if type(options) is by_kind[kind]:
        # What the file says is kept, so that the run can be repeated when it says something else.
        return replace(options, taxonomy=options.tree) if isinstance(options, Classify) else options
    said = [f.name for f in fields(options) if getattr(options, f.name) != f.default]
    other = by_kind[kind]
    taken = {f.name for f in fields(other)}
    # Options that were given before the targets were known belong to classes until then.
    if type(options) is Classify and set(said) <= taken and not (kind == "labels" and options.loss not in TAG_LOSSES):
        return other(**{name: getattr(options, name) for name in said})
    raise ConfigError(
        f"The targets are of kind {kind!r}, which the options for {type(options).__name__} do not fit"
        + (f": {', '.join(said)}" if said else "")
        + ". Leave them out, or say --task."
    )


def _misnamed(model: Backbone | None, monitor: str | None) -> list[str]:
    """What is wrong with the names that are looked up in libraries and in the tasks."""
    from .tasks.metric_names import HIGHER_IS_BETTER

    wrong = []
    if model is not None:
        try:
            model.check()
        except ConfigError as error:
            wrong.append(str(error))
    if monitor is not None and monitor not in HIGHER_IS_BETTER:
        known = ", ".join(HIGHER_IS_BETTER)
        wrong.append(
            f'There is no metric "{monitor}" to monitor. Expected one of {known}.{nearest(monitor, HIGHER_IS_BETTER)}'
        )
    return wrong


def _task(start: TaskOptions | None, kind: str | None, given: dict[str, Any], wrong: list[str]) -> TaskOptions | None:
    if kind is None or kind not in TASKS:
        if start is None and not given:
            return None
        made: TaskOptions | None = _made(type(start) if start is not None else Classify, start, given, wrong)
    else:
        made = _made(TASKS[kind], start if type(start) is TASKS[kind] else None, given, wrong)
    return made


def _head(start: Head | None, given: dict[str, Any], wrong: list[str]) -> Any:
    kind = given.pop("kind", None)
    if kind is None:
        kind = next((name for name, cls in HEADS.items() if type(start) is cls), "linear")
    if kind not in HEADS:
        wrong.append(_unknown("head", kind, HEADS))
        return start
    return _made(HEADS[kind], start if type(start) is HEADS[kind] else None, given, wrong)


def _made(cls: Any, start: Any, given: dict[str, Any], wrong: list[str]) -> Any:
    """A value with these fields, or a line in `wrong`."""
    known = {f.name: f for f in fields(cls)}
    strange = [name for name in given if name not in known]
    if strange:
        wrong.append(f"{cls.__name__} takes no {', '.join(strange)}; it takes {', '.join(known)}.")
        return start
    try:
        return cls(**given) if start is None else replace(start, **given)
    except ConfigError as error:
        wrong.append(str(error))
    except TypeError as error:
        required = [n for n, f in known.items() if f.default is MISSING and f.default_factory is MISSING]
        needs = f"{', '.join(required)} and " if required else ""
        wrong.append(f"{cls.__name__} needs {needs}values of the right type: {error}. Got {given}.")
    return start


def _unknown(what: str, name: str, known: Mapping[str, Any]) -> str:
    return f'Unknown {what} "{name}". Expected one of {", ".join(known)}.{nearest(str(name), known)}'


def _tuples(values: Mapping[str, Any]) -> dict[str, Any]:
    """JSON's lists back to the tuples of frozen values."""
    return {k: tuple(v) if isinstance(v, list) else v for k, v in values.items()}
