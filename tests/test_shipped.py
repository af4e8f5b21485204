"""Recipes are found by name and by file, say what they are without being run, and are known again by their SHA-256."""

from __future__ import annotations

import hashlib
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import finetune as ft
from finetune.shipped import copied, find, shipped

ROOT = Path(ft.__file__).parents[1]
MINE = '''"""Mine. In a line.

Run:
    finetune run mine.py
Expect:
    Too few to tell: n = 3.
"""
import finetune as ft

def mine(source: str, *, epochs: int = 2) -> ft.Recipe:
    """Mine.

    Args:
        source: A folder.
        epochs: How many.
    """
    return ft.Recipe(data=ft.Data(source=source), plan=ft.Plan(epochs=epochs))
'''


def test_every_file_with_a_function_of_its_name_ships_and_is_listed_without_being_imported():
    code = (
        "import sys; from finetune.shipped import shipped; names = [r.name for r in shipped()]; "
        "assert len(names) == len(set(names)) > 0; assert not {'torch', 'numpy', 'pandas', 'PIL'} & set(sys.modules)"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert result.returncode == 0, result.stderr


def test_an_unknown_name_answers_with_the_nearest():
    name = shipped()[0].name
    with pytest.raises(ft.ConfigError, match=f'Did you mean "{name}"'):
        find(name[:-1])


def test_a_file_of_ones_own_says_what_it_is(tmp_path):
    (tmp_path / "mine.py").write_text(MINE)
    recipe = find(str(tmp_path / "mine.py"))
    assert recipe.line == "Mine. In a line"
    assert recipe.status == "too few to tell"
    assert recipe.sections["Run"] == "finetune run mine.py"
    assert recipe.sha256 == hashlib.sha256(MINE.encode()).hexdigest()
    made = ft.load_recipe(str(tmp_path / "mine.py"), source="pets", epochs=7)
    assert made == ft.Recipe(data=ft.Data(source="pets"), plan=ft.Plan(epochs=7))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("def other(): pass", "has no function mine"),
        ("def mine(:", "no Python file"),
        ("import nothing_of_this_name\ndef mine(): pass", "cannot be imported: ModuleNotFoundError"),
        ("1 / 0\ndef mine(): pass", "cannot be imported: ZeroDivisionError"),
    ],
)
def test_a_file_that_is_no_recipe_is_refused_in_words(tmp_path, text, said):
    (tmp_path / "mine.py").write_text(text)
    with pytest.raises(ft.ConfigError, match=said):
        ft.load_recipe(str(tmp_path / "mine.py"))


def test_options_that_a_recipe_does_not_take_are_refused_with_the_nearest(tmp_path):
    (tmp_path / "mine.py").write_text(MINE)
    with pytest.raises(ft.ConfigError, match=r'takes no epoch; it takes source, epochs.*Did you mean "epochs"'):
        ft.load_recipe(str(tmp_path / "mine.py"), source="pets", epoch=7)


def test_a_missing_file_is_said():
    with pytest.raises(ft.ConfigError, match=r"There is no file nowhere/mine\.py"):
        find("nowhere/mine.py")


@pytest.mark.parametrize("recipe", shipped(), ids=lambda recipe: recipe.name)
def test_a_copy_imports_nothing_by_its_place(recipe):
    assert "\nfrom ." not in copied(recipe)


def test_a_built_wheel_holds_the_recipes_and_finds_them_there(tmp_path):
    pytest.importorskip("hatchling", reason="builds a wheel with hatchling")
    built = subprocess.run([sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)], cwd=ROOT,
                           capture_output=True, text=True, timeout=120, check=False)  # fmt: skip
    assert built.returncode == 0, built.stderr
    zipfile.ZipFile(next(tmp_path.glob("*.whl"))).extractall(tmp_path / "site")
    code = "import finetune, finetune.shipped as s; print(finetune.__file__); print(*(r.name for r in s.shipped())); " \
           "print(*{str(r.file.parents[0]) for r in s.shipped()})"  # fmt: skip
    # From a folder beside, whose own `recipes` is nobody's business.
    (tmp_path / "recipes").mkdir()
    (tmp_path / "recipes" / "README.md").touch()
    found = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env={"PYTHONPATH": str(tmp_path / "site")},
                           capture_output=True, text=True, timeout=60, check=False)  # fmt: skip
    assert found.returncode == 0, found.stderr
    package, names, places = found.stdout.splitlines()
    assert package.startswith(str(tmp_path / "site"))
    assert names.split() == [recipe.name for recipe in shipped()]
    assert all(place.startswith(str(tmp_path / "site" / "finetune" / "_recipes")) for place in places.split())
