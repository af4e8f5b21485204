"""The public names: one list, all importable, all with a word of explanation."""

from __future__ import annotations

import ast
import importlib
import inspect
import pickle
import re
import subprocess
import sys
from pathlib import Path

import pytest

import finetune as ft

TREE = ast.parse(Path(ft.__file__).read_text(encoding="utf-8"))


def checked():
    """Name to place, as type checkers are told."""
    block = next(node for node in TREE.body if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING")
    names = {}
    for node in block.body:
        assert isinstance(node, ast.ImportFrom)
        assert [(alias.name, alias.asname) for alias in node.names] == [(node.names[0].name,) * 2], (
            "from .x import Y as Y"
        )
        names[node.names[0].name] = node.module
    return names


def test_the_table_and_what_type_checkers_are_told_are_the_same():
    assert checked() == ft._PLACES
    assert set(ft.__all__) == set(ft._PLACES)
    assert list(ft._PLACES) == sorted(ft._PLACES)


@pytest.mark.parametrize("name", ft.__all__)
def test_every_name_is_there_with_an_explanation(name):
    value = getattr(ft, name)
    assert not inspect.ismodule(value)
    assert value.__name__ == name
    doc = inspect.getdoc(value)
    assert doc and doc.splitlines()[0].endswith((".", ":")), "a sentence first"
    plain_error = inspect.isclass(value) and issubclass(value, Exception)
    parameters = [] if plain_error else list(inspect.signature(value).parameters.values())
    asked = [p.name for p in parameters if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]
    if asked:
        section = re.search(r"Args:\n(.*?)(\n\n|\Z)", doc, re.DOTALL)
        assert section, f"{name} takes {asked} and has no Args"
        explained = set(re.findall(r"^    (\w+):", section[1], re.MULTILINE))
        assert set(asked) <= explained, f"{name} does not explain {sorted(set(asked) - explained)}"


@pytest.mark.parametrize("name", [n for n in ft.__all__ if inspect.isclass(getattr(ft, n))])
def test_public_methods_have_an_explanation_too(name):
    value = getattr(ft, name)
    for method, function in inspect.getmembers(value, inspect.isfunction):
        if not method.startswith("_") and function.__module__.startswith("finetune"):
            assert inspect.getdoc(function), f"{name}.{method}"


def test_unknown_names_are_attribute_errors():
    with pytest.raises(AttributeError, match="no attribute 'fitt'"):
        _ = ft.fitt


def test_dir_lists_the_public_names():
    assert set(ft.__all__) <= set(dir(ft))


@pytest.mark.parametrize(
    "first",
    ["finetune.fit", *(pytest.param(f"finetune.{name}", marks=pytest.mark.thorough) for name in ("cli", "evaluate"))],
)
def test_functions_stay_functions_whichever_file_is_imported_first(first):
    code = (
        f"import {first}, finetune\n"
        "assert callable(finetune.fit) and callable(finetune.evaluate)\n"
        "import finetune.evaluate, finetune.fit\n"
        "from finetune import evaluate, fit\n"
        "assert callable(fit) and callable(evaluate) and callable(finetune.evaluate) and callable(finetune.fit)"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False)
    assert result.returncode == 0, result.stderr


def test_files_can_still_be_imported_by_name():
    assert inspect.ismodule(importlib.import_module("finetune.fit"))
    assert inspect.ismodule(importlib.import_module("finetune.evaluate"))


@pytest.mark.parametrize("value", [ft.Plan(), ft.Classify(class_weight={"a": 2.0}), ft.Backbone("resnet18")])
def test_values_can_be_sent_to_another_process(value):
    assert pickle.loads(pickle.dumps(value)) == value


def test_a_release_says_its_version_once():
    import importlib.metadata

    assert importlib.metadata.version("finetune") == ft.__version__
