"""The rooms of docs/architecture.md, read from the sources: who imports whom, and how long things are."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import finetune

ROOT = Path(finetune.__file__).parent
SOURCES = {
    ".".join(file.relative_to(ROOT).with_suffix("").parts): ast.parse(file.read_text(encoding="utf-8"))
    for file in sorted(ROOT.rglob("*.py"))
}
LENGTHS = {name: len((ROOT / f"{name.replace('.', '/')}.py").read_text().splitlines()) for name in SOURCES}

VALUES = (
    *("data.steps", "data.policies", "data.sampling"),
    *("data.options", "data.trees", "models.options", "tasks.options", "training.plan"),
    *("training.phase", "training.methods", "training.faults", "training.clock", "training.defaults"),
    *(
        "recipe",
        "clashes",
        "shipped",
        "study",
        "fit",
        "cli",
        "tuning.search",
        "tuning.tune",
        "words",
        "errors",
        "types",
        "files",
        "folder",
        "__init__",
        "__main__",
    ),
)
HEAVY = {"torch", "numpy", "pandas", "lightning", "timm", "torchvision", "albumentations", "sklearn", "PIL", "scipy"}

# What a room may import of the others. `types`, `errors`, `files`, `manifest` and `crew` are for everybody.
EVERYBODY = {"types", "errors", "files", "manifest", "crew"}
ROOMS = {
    "types": set(),
    "errors": set(),
    "stdout": set(),
    "files": set(),
    "manifest": set(),
    "data": set(),
    "models": set(),
    "folder": set(),
    "_recipes": set(),
    "shipped": {"_recipes"},
    "tasks": {"data"},
    "shelf": set(),
    "crew": set(),
    "features": {"data", "models", "shelf"},
    "views": {"data", "models", "shelf", "features"},
    "activations": {"data", "models", "shelf", "features"},
    "clashes": {"models", "tasks", "training"},  # the options of each: values only
    "recipe": {"clashes", "data", "models", "tasks", "training"},  # likewise
    "remade": {"shipped"},
    "saved": {"data", "models", "tasks", "recipe", "folder", "remade"},
    "predict": {"data", "models", "tasks", "features"},
    "predictions": {"data", "folder", "predict", "tasks"},
    "explaining": {"data", "models", "tasks", "features", "report"},
    "evaluate": {"data", "embedded", "folder", "models", "tasks", "features", "predict", "predictions", "report"},
    "embedded": {"data", "report", "tasks"},
    "compare": {"data", "embedded", "evaluate", "folder", "model", "predictions", "report", "saved", "tasks"},
    "report": {"tasks"},
    "run_report": {"folder", "report"},
    "run_examples": {"data", "folder", "recipe"},
    "nearest": {"data", "features", "folder", "models", "predict", "report", "run_examples"},
    "export": {"data", "embedded", "folder", "models", "predict", "run_examples", "tasks"},
    "model": {
        *("data", "nearest", "models", "tasks", "features", "predict", "predictions", "embedded", "evaluate", "saved"),
        *("folder", "explaining", "export", "run_examples"),
    },
    "checkup": {"data", "folder", "report", "saved"},
    "training": {"data", "models", "tasks", "features", "views", "activations"},
}
FILES = {
    "explaining.explanation": {"report"},
    "explaining.channel": {"data", "models", "features", "report"},
    "nearest.index": {"data", "features", "models"},
    "nearest.nearby": {"data", "nearest"},
    "nearest.answers": {"data", "features", "models", "nearest"},
    "nearest.sheet": {"data", "nearest", "report"},
    "ranking.ranking": {"models", "tasks", "report"},
    "running.gain": {"models", "tasks", "report", "training"},
    "running.measured": {
        *("data", "embedded", "models", "nearest", "predictions", "recipe", "report", "running", "tasks", "training"),
    },
    "running.worst": {"data", "folder", "models", "nearest", "report", "tasks"},
}
"""Of some files of a room less than of the others."""

TOP = {
    *("__main__", "check", "cli", "commands", "demo", "estimator", "fit", "lightning", "ranking", "running"),
    *("similarity", "study", "tuning"),
}
"""They may know everybody, and nobody else knows them."""

OPTIONS = {"data.options", "models.options", "tasks.options", "training.plan", "training.phase", "training.methods"}


def parents(tree):
    return {child: node for node in ast.walk(tree) for child in ast.iter_child_nodes(node)}


def imports(name, *, at_module_level=False):
    """The full names of all that a source imports; not what only its type hints need."""
    tree = SOURCES[name]
    above = parents(tree)
    found = set()
    for node in ast.walk(tree):
        if not isinstance(node, ast.Import | ast.ImportFrom):
            continue
        around, outer = [], node
        while outer in above:
            outer = above[outer]
            around.append(outer)
        if any(isinstance(a, ast.If) and ast.unparse(a.test) == "TYPE_CHECKING" for a in around):
            continue
        if at_module_level and any(isinstance(a, ast.FunctionDef | ast.AsyncFunctionDef) for a in around):
            continue
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif node.level == 0:
            found.add(node.module)
        else:
            package = ["finetune", *name.split(".")][: -node.level]
            base = ".".join([*package, *([node.module] if node.module else [])])
            inner = base.removeprefix("finetune").removeprefix(".")
            whole = inner in SOURCES and f"{inner}.__init__" not in SOURCES
            found |= {base} if whole else {f"{base}.{alias.name}" for alias in node.names}
    return found


def ours(name):
    return {found.removeprefix("finetune.") for found in imports(name) if found.startswith("finetune.")}


def room(name):
    return name.partition(".")[0]


def test_this_test_reads_imports_as_they_are_written():
    assert "data.options" in ours("recipe")
    assert "models.native" in ours("saved")
    assert "lightning" in imports("training.phases")
    assert "torch" not in imports("files", at_module_level=True)


@pytest.mark.parametrize("name", [name for name in SOURCES if room(name) in ROOMS or name in FILES])
def test_rooms_import_one_way(name):
    allowed = (FILES[name] if name in FILES else ROOMS[room(name)] | {room(name)}) | EVERYBODY
    wrong = {found for found in ours(name) if room(found) not in allowed}
    assert not wrong, f"{name} imports {sorted(wrong)}; it may import {sorted(allowed)}"


def test_every_room_has_its_rule():
    assert {room(name) for name in SOURCES} <= ROOMS.keys() | TOP | {"__init__", "words"}


def test_recipe_imports_values_only_of_the_rooms():
    of_rooms = {found for found in imports("recipe", at_module_level=True) if found.count(".") > 1}
    assert {found.removeprefix("finetune.") for found in of_rooms} <= OPTIONS


def test_nobody_below_the_front_door_imports_it():
    below = {name: ours(name) for name in SOURCES if room(name) not in TOP and name != "__init__"}
    wrong = {name: {one for one in found if room(one) in TOP} for name, found in below.items()}
    assert not {name: found for name, found in wrong.items() if found}


@pytest.mark.parametrize("name", VALUES)
def test_values_import_nothing_heavy(name):
    assert not {found.partition(".")[0] for found in imports(name, at_module_level=True)} & HEAVY


def test_only_training_and_the_run_import_lightning():
    using = {name for name in SOURCES if any(found.partition(".")[0] == "lightning" for found in imports(name))}
    assert {room(name) for name in using} <= {"training", "running", "estimator", "lightning", "tuning"}


def test_a_probe_needs_no_lightning():
    for name in ("running.run", "running.gather", "training.transfer", "training.probe", "training.offers",
                 "training.machine", "ranking.rank", "ranking.training_part"):  # fmt: skip
        assert "lightning" not in {f.partition(".")[0] for f in imports(name, at_module_level=True)}, name


def test_nothing_is_a_drawer():
    drawers = {"utils", "util", "common", "core", "helpers", "helper", "misc", "base_utils", "tools"}
    assert not {part for name in SOURCES for part in name.split(".")} & drawers


def test_files_are_short():
    assert not {name: length for name, length in LENGTHS.items() if length > 350}


def functions():
    for name, tree in SOURCES.items():
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                yield f"{name}.{node.name}", node


def body_length(node):
    """Lines without the signature and the docstring: what a person has to follow."""
    body = node.body[1:] if ast.get_docstring(node) is not None else node.body
    return body[-1].end_lineno - body[0].lineno + 1 if body else 0


def test_functions_are_paragraphs():
    lengths = {name: body_length(node) for name, node in functions()}
    assert not {name: length for name, length in lengths.items() if length > 80}
    assert sum(length <= 50 for length in lengths.values()) >= 0.95 * len(lengths)


def test_no_assert_speaks_to_a_user():
    """An assertion may tell a type checker what is known; one with a message is meant for somebody."""
    wrong = [
        f"{name}:{node.lineno}"
        for name, tree in SOURCES.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.Assert) and (node.msg is not None or "is not None" not in ast.unparse(node.test))
    ]
    assert not wrong


def test_no_star_imports_and_no_bare_excepts():
    for name, tree in SOURCES.items():
        for node in ast.walk(tree):
            assert not (isinstance(node, ast.ImportFrom) and node.names[0].name == "*"), name
            assert not (isinstance(node, ast.ExceptHandler) and node.type is None), name
