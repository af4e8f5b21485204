"""The recipes that ship: in a wheel they lie in this folder, in a checkout in `recipes/` at its top."""

from pathlib import Path

_HERE = Path(__file__).parent
_TOP = _HERE.parents[1] / "recipes"

# A checkout's folder is known by the project's own file beside it: what else is called recipes is not ours.
if (_TOP.parent / "pyproject.toml").is_file() and (_TOP / "README.md").is_file():
    __path__ = [str(_TOP)]
