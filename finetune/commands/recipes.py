"""`finetune recipes`: what there is, what one says of itself, and a copy to change."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

from ..errors import ConfigError, RunFolderError, nearest
from ..files import replacing
from ..shipped import RecipeFile, copied, find, shipped
from ..stdout import print_json, print_text

ACTIONS = ("list", "table", "show", "copy")
# What the lecture shows and no recipe does yet: a row each in the table until one does.
PLANNED = {
    "transaction_text": "Knopka: ledger entries",
    "essay_scoring": "Essays marked by a machine (ASAP)",
    "translation": "Translators",
    "poem": "The ode to Sberbank",
    "captioning": "Captions",
    "geolocation": "Where a picture was taken (PlaNet)",
    "go_policy": "AlphaGo's policy network",
}


def recipes_command(action: str, rest: list[str], *, as_json: bool) -> int:
    """Lists recipes, shows one, or copies one.

    Args:
        action: "list", "table" (of recipes/README.md), "show" or "copy".
        rest: A recipe's name; for "copy" also the file to write.
        as_json: Prints JSON.

    Raises:
        ConfigError: Another action, no such recipe, or arguments that are missing.
        RunFolderError: The file to write exists.
    """
    if action not in ACTIONS:
        raise ConfigError(f'`finetune recipes` can {", ".join(ACTIONS)}. Got "{action}".{nearest(action, ACTIONS)}')
    expected = {"show": ["NAME"], "copy": ["NAME", "FILE"]}.get(action, [])
    if len(rest) != len(expected):
        raise ConfigError(f"Expected `finetune recipes {' '.join([action, *expected])}`. Got {len(rest)} arguments.")
    if action == "table":
        print_text(table())
    elif action == "show":
        recipe = find(rest[0])
        print_json(_facts(recipe)) if as_json else print_text(_shown(recipe))
    elif action == "copy":
        _copy(find(rest[0]), Path(rest[1]))
    elif as_json:
        print_json([_facts(recipe) for recipe in shipped()])
    else:
        found = shipped()
        width = max(len(recipe.name) for recipe in found)
        print_text("\n".join(f"{recipe.name:{width}}  {recipe.line}  [{recipe.status}]" for recipe in found))
    return 0


def table() -> str:
    """The table of recipes/README.md: what the lecture shows, the recipe for it, and what was measured here."""
    rows = ["| in the lecture | recipe | status | measured here |", "| --- | --- | --- | --- |"]
    found = shipped()
    for recipe in found:
        place = recipe.file.relative_to(recipe.file.parents[recipe.module.count(".") - 2 if recipe.module else 0])
        measured = recipe.sections.get("Expect", "").split("\n\n")[0].replace("\n", " ").replace("|", "\\|")
        said = recipe.sections.get("Lecture", "").replace("\n", " ")
        rows.append(f"| {said} | [`{recipe.name}`]({place.as_posix()}) | {recipe.status} | {measured} |")
    names = {recipe.name for recipe in found}
    rows += [f"| {what} | `{name}` | not built yet | |" for name, what in PLANNED.items() if name not in names]
    return "\n".join(rows)


def _facts(recipe: RecipeFile) -> dict[str, Any]:
    said = {name.lower(): text for name, text in recipe.sections.items()}
    return {"name": recipe.name, "line": recipe.line, "status": recipe.status, "file": str(recipe.file), **said}


def _shown(recipe: RecipeFile) -> str:
    parts = [f"{recipe.name}: {recipe.line}. [{recipe.status}]", f"In {recipe.file}"]
    parts += [f"{name}:\n{text}" for name, text in recipe.sections.items()]
    own = [
        f"    {p.name if p.name == 'source' else '--' + p.name.replace('_', '-')}"
        + (f" [{p.default}]" if p.default not in (inspect.Parameter.empty, None) else "")
        for p in inspect.signature(recipe.function()).parameters.values()
    ]
    return "\n\n".join([*parts, "\n".join(["Its own options, beside those of fit:", *own])])


def _copy(recipe: RecipeFile, file: Path) -> None:
    """Writes a recipe as a person's own, whose function is called as the file is."""
    if file.suffix != ".py" or not file.stem.isidentifier():
        raise ConfigError(f"Expected the name of a Python file to write, my_{recipe.name}.py say. Got {file}.")
    if file.exists():
        raise RunFolderError(f"{file} exists. Choose another name for the copy.")
    text = copied(recipe).replace(f"def {recipe.name}(", f"def {file.stem}(")
    text = text.replace(f"finetune run {recipe.name}", f"finetune run {file.name}")
    try:
        with replacing(file) as temporary:
            temporary.write_text(text, encoding="utf-8")
    except OSError as error:
        raise RunFolderError(f"{file} cannot be written: {error.strerror}.") from error
    print_text(f"{file} is yours to change: finetune run {file} --help")
