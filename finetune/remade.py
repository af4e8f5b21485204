"""The network of a person's own recipe file, made again for a model that it once made."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .errors import FinetuneError, RunFolderError
from .shipped import find


def remade(file: str | Path, made_by: Mapping[str, Any] | None, folder: Path) -> Any:
    """The module of `Backbone.from_module` in the recipe that a file gives.

    No model runs code by itself: the person names the file, and it must be the one that was recorded.

    Args:
        file: The .py file.
        made_by: What the model holds of the recipe that made it: its name, SHA-256 and options.
        folder: The model's, for messages.

    Raises:
        ConfigError: There is no such file, or no recipe in it.
        RunFolderError: It is not the file that made the model, or the recipe has no network of its own.
    """
    if made_by is None:
        raise RunFolderError(
            f"The model in {folder} was not made by a recipe file with a network of its own. Load it without {file}."
        )
    recipe = find(str(file))
    if recipe.sha256 != made_by["sha256"]:
        raise RunFolderError(
            f"{file} is not the file that made the model in {folder}: its SHA-256 begins with {recipe.sha256[:12]}, "
            f"recorded was {made_by['sha256'][:12]} of {made_by['recipe']}. Expected that file as it was then; "
            "ft.load(folder, module=...) takes a network whoever made it."
        )
    try:
        made: Any = recipe.function()(**made_by["options"])
    except FinetuneError:
        raise
    except Exception as error:  # a person's own file may raise anything
        raise RunFolderError(f"{file} made no recipe: {type(error).__name__}: {error}.") from error
    return made.model.module
