"""Recipes as files: those that ship, and a person's own."""

from __future__ import annotations

import ast
import importlib
import importlib.util
import inspect
import re
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from . import _recipes
from .errors import ConfigError, nearest
from .files import sha256

if TYPE_CHECKING:
    from .recipe import Recipe
    from .study import Study

SECTIONS = ("Lecture", "Run", "Data", "Expect")
# The words that an entry of `Expect:` begins with, and what they say of the recipe; the first that is there counts.
STATUS = {"Real data": "works", "Too few to tell": "too few to tell", "Generated data": "on generated data alone"}


@dataclass(frozen=True, kw_only=True)
class RecipeFile:
    """A file whose function of the same name gives a recipe or a study; it is read here and not run.

    Args:
        name: Of the function, and of the file without `.py`.
        file: Where it is.
        module: How a recipe that ships is imported; None for a person's own file.
        line: What it is, in a line.
        sections: What its docstring says under "Lecture", "Run", "Data" and "Expect".
    """

    name: str
    file: Path
    module: str | None
    line: str
    sections: Mapping[str, str]

    @property
    def sha256(self) -> str:
        """Of the file, by which a run remembers what made it."""
        return sha256(self.file)

    @property
    def word(self) -> str:
        """What the command line calls it."""
        return self.name if self.module is not None else str(self.file)

    @property
    def status(self) -> str:
        """What was measured of it: "works" only where that was on real data."""
        said = self.sections.get("Expect", "")
        return next((word for entry, word in STATUS.items() if f"{entry}:" in said), "not measured")

    def load(self) -> ModuleType:
        """Imports the file.

        Raises:
            ConfigError: It cannot be imported, or has no function of its name.
        """
        try:
            module = importlib.import_module(self.module) if self.module is not None else _own_module(self.file)
        except Exception as error:  # a person's own file may raise anything
            raise ConfigError(
                f"The recipe {self.file} cannot be imported: {type(error).__name__}: {error}. Expected a Python file "
                f"with a function {self.name} that gives a Recipe or a Study."
            ) from error
        if not inspect.isfunction(vars(module).get(self.name)):
            raise ConfigError(
                f"The recipe {self.file} has no function {self.name}. Expected one of that name, whose parameters are "
                "its options and which gives a Recipe or a Study."
            )
        return module

    def function(self) -> Callable[..., Recipe | Study]:
        """The function whose signature is the recipe's command line.

        Raises:
            ConfigError: As for `load`.
        """
        function: Callable[..., Recipe | Study] = getattr(self.load(), self.name)
        return function


def shipped() -> list[RecipeFile]:
    """The recipes that ship, by name. A file is one if it has a function of its own name and says how to run it."""
    found = []
    for place in map(Path, _recipes.__path__):
        for file in [*place.glob("*.py"), *place.glob("*/*.py")]:
            module = ".".join((_recipes.__name__, *file.relative_to(place).with_suffix("").parts))
            recipe = _read(file, module)
            if recipe is not None and "Run" in recipe.sections:
                found.append(recipe)
    return sorted(found, key=lambda recipe: recipe.name)


def find(name: str) -> RecipeFile:
    """A recipe by its name, or a person's own by its file.

    Raises:
        ConfigError: There is none; with the nearest names.
    """
    if name.endswith(".py") or "/" in name:
        file = Path(name).absolute()
        if not file.is_file():
            raise ConfigError(f"There is no file {name}. Expected a .py file with a recipe, or a name that ships.")
        recipe = _read(file, None)
        if recipe is None:
            raise ConfigError(
                f"{name} has no function {file.stem}. Expected one of the file's name, whose parameters are its "
                "options and which gives a Recipe or a Study; `finetune recipes copy NAME FILE` makes one to change."
            )
        return recipe
    known = {recipe.name: recipe for recipe in shipped()}
    if name not in known:
        raise ConfigError(
            f'There is no recipe "{name}". Expected one of {", ".join(known)}, or a .py file of your own.'
            f"{nearest(name, known)}"
        )
    return known[name]


def load_recipe(name: str, **options: Any) -> Recipe | Study:
    """A recipe that ships, or of a file of one's own, made with its options.

    Args:
        name: As `finetune recipes` lists it, or the path of a .py file.
        options: Those of the recipe's function: `finetune recipes show NAME` tells them.

    Raises:
        ConfigError: There is none, or it takes no such option.
    """
    recipe = find(name)
    function = recipe.function()
    taken = inspect.signature(function).parameters
    if strange := [option for option in options if option not in taken]:
        raise ConfigError(
            f'The recipe "{recipe.name}" takes no {", ".join(strange)}; it takes {", ".join(taken)}.'
            f"{nearest(strange[0], taken)}"
        )
    return function(**options)


def copied(recipe: RecipeFile) -> str:
    """The text of a recipe as a file of its own, wherever it is put: what lies beside it is named in full."""
    text = recipe.file.read_text(encoding="utf-8")
    if recipe.module is not None:
        text = re.sub(r"^from \.(\w)", rf"from {recipe.module.rpartition('.')[0]}.\1", text, flags=re.MULTILINE)
    return text


def _read(file: Path, module: str | None) -> RecipeFile | None:
    """What a file says of itself; None where it has no function of its name."""
    try:
        tree = ast.parse(file.read_text(encoding="utf-8"))
    except (SyntaxError, ValueError) as error:
        raise ConfigError(f"{file} is no Python file: {error}.") from error
    if not any(isinstance(node, ast.FunctionDef) and node.name == file.stem for node in tree.body):
        return None
    doc = ast.get_docstring(tree) or ""
    parts = re.split(rf"^({'|'.join(SECTIONS)}):\n", doc, flags=re.MULTILINE)
    sections = {name: inspect.cleandoc(f"\n{text}") for name, text in zip(parts[1::2], parts[2::2], strict=True)}
    line = (doc.splitlines() or [""])[0].rstrip(".")
    return RecipeFile(name=file.stem, file=file, module=module, line=line, sections=sections)


def _own_module(file: Path) -> ModuleType:
    """Imports a person's own file under its own name, so that processes started later can import it too."""
    name = file.stem if file.stem not in sys.modules else f"recipe_{file.stem}"
    spec = importlib.util.spec_from_file_location(name, file)
    if spec is None or spec.loader is None:
        raise ImportError(f"{file} is no Python file")
    if str(file.parent) not in sys.path:
        sys.path.append(str(file.parent))
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        sys.modules.pop(name, None)
        raise
    return module
