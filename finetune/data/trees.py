"""A tree of names as a person writes it: nested in YAML or JSON, nested in Python, or a table of child and parent.

Every name is one node with one parent, or none at the top. Names are text: of YAML the letters as they stand count, so
that a class `no` or `01` keeps its name. What comes out is nested too, `{"benign": {"nv": {}, "bkl": {}}}`.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from ..errors import ConfigError, DataError, listing

MOST_LEVELS = 100
"""Names below each other. Deeper than that no person writes, and what contains itself has no end."""

MOST_TOLD = 10
FORMS = (".yaml", ".yml", ".json", ".csv", ".tsv")
WRITTEN = 'benign: [nv, bkl], or {"benign": ["nv", "bkl"]}, or a table with the columns child and parent'

Tree = dict[str, Any]
"""A name to the tree below it."""


class Node(NamedTuple):
    """One entry.

    name: What it is called.
    parent: The name above it; None at the top.
    line: Where it stands in a file; 0 where that is not known.
    """

    name: str
    parent: str | None
    line: int


@dataclass(frozen=True)
class _Written:
    """A word of YAML as it stands."""

    text: str
    line: int


class _Pairs(list[tuple[str, int, Any]]):
    """A mapping whose names may come twice: name, line, and what is below."""


def read_tree(path: str | Path) -> Tree:
    """Reads a tree from a file.

    Args:
        path: YAML or JSON with names nested in mappings and lists, or a CSV or TSV with the columns child and parent.

    Raises:
        DataError: It cannot be read, or is no tree: all that is wrong.
    """
    file = Path(path)
    if file.suffix.lower() not in FORMS:
        raise DataError(f"A taxonomy is read from {', '.join(FORMS)}. Got {file.name}. Write it as {WRITTEN}.")
    try:
        text = file.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"The taxonomy {file} is no UTF-8 text: {error.reason} at byte {error.start}.") from None
    except OSError as error:
        raise DataError(f"The taxonomy {file} cannot be read: {error.strerror}.") from None
    try:
        return _checked(_READERS[file.suffix.lower()](text))
    except ConfigError as error:
        raise DataError(f"{file} is no taxonomy.\n{error}") from None


def tree_of(nested: Mapping[str, Any]) -> Tree:
    """The tree that a nested mapping of Python says, with names in mappings, lists, or nothing below a name.

    Raises:
        ConfigError: All that is wrong with it.
    """
    return _checked(list(_nodes(nested, None)))


def _checked(nodes: list[Node]) -> Tree:
    """The nested tree of these nodes, in their order.

    Raises:
        ConfigError: A name in two places, a cycle, a name that is empty, or no names at all.
    """
    wrong: list[str] = []
    first: dict[str, Node] = {}
    for node in nodes:
        if not node.name:
            wrong.append(f"A name is empty{_at(node)}. Expected a name for each node.")
        elif node.name in first:
            wrong.append(
                f'"{node.name}" stands in two places: {_place(first[node.name])}, and {_place(node)}. Expected each '
                "name once, with one parent."
            )
        else:
            first[node.name] = node
    parents = {name: node.parent for name, node in first.items()}
    # A parent that is nobody's child stands at the top.
    parents |= {parent: None for parent in parents.values() if parent is not None and parent not in parents}
    wrong += _cycles(parents)
    if not parents:
        wrong.append(f"It holds no names. Expected {WRITTEN}.")
    if wrong:
        more = f"\nand {len(wrong) - MOST_TOLD} more" if len(wrong) > MOST_TOLD else ""
        raise ConfigError("\n".join(wrong[:MOST_TOLD]) + more)
    below: dict[str, Tree] = {name: {} for name in parents}
    for name, parent in parents.items():
        if parent is not None:
            below[parent][name] = below[name]
    tree = {name: below[name] for name, parent in parents.items() if parent is None}
    if _levels(tree) > MOST_LEVELS:
        raise ConfigError(f"It has more than {MOST_LEVELS} levels. Expected a tree that a person can read.")
    return tree


def _cycles(parents: Mapping[str, str | None]) -> list[str]:
    """A line for each circle of names that are below each other."""
    ends: set[str] = set()  # from here on upwards all is known
    found = []
    for start in parents:
        path: dict[str, None] = {}
        name: str | None = start
        while name is not None and name not in ends and name not in path:
            path[name] = None
            name = parents.get(name)
        if name is not None and name in path:
            names = list(path)
            circle = names[names.index(name) :]
            around = " is below ".join(f'"{one}"' for one in [*circle[:5], *(["..."] if len(circle) > 5 else []), name])
            found.append(f"{around}: a cycle. Expected a top that is below nothing.")
        ends |= path.keys()
    return found


def _levels(tree: Tree) -> int:
    """How many names stand below each other at most."""
    count, level = 0, [tree]
    while any(level):
        count += 1
        level = [below for one in level for below in one.values()]
    return count


def _place(node: Node) -> str:
    where = "at the top" if node.parent is None else f'below "{node.parent}"'
    return where + (f" (line {node.line})" if node.line else "")


def _at(node: Node) -> str:
    return f" in line {node.line}" if node.line else f", {_place(node)}"


def _nodes(value: Any, parent: str | None, line: int = 0, depth: int = 0) -> Iterator[Node]:
    """The nodes of nested values, each before those below it.

    Raises:
        ConfigError: Something that is no name stands where a name must, or it is too deep.
    """
    if depth > MOST_LEVELS:
        raise ConfigError(f"It has more than {MOST_LEVELS} levels, or contains itself. Expected a tree.")
    where = "at the top" if parent is None else f'below "{parent}"'
    if isinstance(value, Mapping):
        value = _Pairs((name, line, below) for name, below in value.items())
    if isinstance(value, _Pairs):
        for name, at, below in value:
            yield Node(_name(name, where), parent, at)
            yield from _nodes(below, _name(name, where), at, depth + 1)
    elif isinstance(value, list | tuple):
        for one in value:
            if isinstance(one, _Pairs | Mapping):
                yield from _nodes(one, parent, line, depth + 1)
            elif isinstance(one, _Written):
                yield Node(_name(one.text, where), parent, one.line)
            else:
                yield Node(_name(one, where), parent, line)
    elif value is not None:
        raise ConfigError(
            f"Expected a list of names or names with more below them {where}, [{_shown(value)}] say. "
            f"Got {_shown(value)}{f' in line {line}' if line else ''}."
        )


def _shown(value: Any) -> str:
    text = value.text if isinstance(value, _Written) else str(value)
    return text if len(text) <= 40 else f"{text[:40]}..."


def _name(value: Any, where: str) -> str:
    """A name as text; whole numbers are names too.

    Raises:
        ConfigError: It is neither.
    """
    if isinstance(value, str):
        return value.strip()
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    raise ConfigError(f"Expected a name {where}. Got {_shown(value)}, a {type(value).__name__}.")


def _of_yaml(text: str) -> list[Node]:
    import yaml  # comes with Lightning and with timm

    try:
        # Nodes rather than values: those know their lines, keep names that come twice, and never take "no" for False.
        root = yaml.compose(text, Loader=yaml.SafeLoader)
        return [] if root is None else list(_nodes(_plain(root, set()), None))
    except yaml.MarkedYAMLError as error:
        line = f" in line {error.problem_mark.line + 1}" if error.problem_mark else ""
        raise ConfigError(f"It is no YAML: {error.problem}{line}.") from None
    except yaml.YAMLError as error:
        raise ConfigError(f"It is no YAML: {' '.join(str(error).split())}.") from None
    except RecursionError:
        raise ConfigError(f"It has more than {MOST_LEVELS} levels. Expected a tree.") from None


def _plain(node: Any, seen: set[int]) -> Any:
    """A node of YAML as pairs, lists and words with their lines.

    Raises:
        ConfigError: It refers to another place of the file.
    """
    line = node.start_mark.line + 1
    if node.id == "scalar":
        empty = node.tag == "tag:yaml.org,2002:null"
        return None if empty else _Written(node.value, line)
    if id(node) in seen:
        raise ConfigError(f"Line {line} is used in two places (&name, *name). Expected each name once, written out.")
    seen.add(id(node))
    if node.id == "sequence":
        return [_plain(one, seen) for one in node.value]
    pairs = _Pairs()
    for key, value in node.value:
        if key.id != "scalar":
            raise ConfigError(f"Expected a name before the colon in line {key.start_mark.line + 1}. Got a {key.id}.")
        pairs.append((key.value, key.start_mark.line + 1, _plain(value, seen)))
    return pairs


def _of_json(text: str) -> list[Node]:
    try:
        values = json.loads(text, object_pairs_hook=lambda pairs: _Pairs((name, 0, below) for name, below in pairs))
    except ValueError as error:
        raise ConfigError(f"It is no JSON: {error}.") from None
    except RecursionError:
        raise ConfigError(f"It has more than {MOST_LEVELS} levels. Expected a tree.") from None
    return list(_nodes(values, None))


def _of_table(text: str, delimiter: str) -> list[Node]:
    rows = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    try:
        head = [name.strip().casefold() for name in next(rows, [])]
        if not {"child", "parent"} <= set(head):
            raise ConfigError(f"Expected the columns child and parent. Got {listing(head, 10) or 'none'}.")
        child, parent = head.index("child"), head.index("parent")
        nodes = []
        for row in rows:
            cells = [cell.strip() for cell in row]
            if not any(cells):
                continue
            cells += [""] * (len(head) - len(cells))
            nodes.append(Node(cells[child], cells[parent] or None, rows.line_num))
        return nodes
    except csv.Error as error:
        raise ConfigError(f"It is no table: {error} in line {rows.line_num}.") from None


_READERS: dict[str, Callable[[str], list[Node]]] = {
    ".yaml": _of_yaml,
    ".yml": _of_yaml,
    ".json": _of_json,
    ".csv": lambda text: _of_table(text, ","),
    ".tsv": lambda text: _of_table(text, "\t"),
}
