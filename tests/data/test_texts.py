import pickle
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from finetune.data import texts
from finetune.data.paths import _Folder
from finetune.data.texts import Texts, all_differ, cells_of, in_order
from finetune.errors import DataError

words = st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=5), max_size=40)


@given(words, st.integers(1, 7), st.data())
def test_texts_are_a_list_of_them(values, piece, data):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(texts, "PIECE", piece)
        held = Texts(values[: len(values) // 2])
        held.extend(values[len(values) // 2 :])
        assert list(held) == values and held == values and len(held) == len(values)
        assert [held[place] for place in range(-len(values), len(values))] == [*values, *values]
        place = data.draw(st.slices(len(values)))
        assert held[place] == values[place]
        assert list(pd.Series(held.column())) == values == list(Texts.of(pd.Series(held.column())))
        assert list(held.in_order()) == sorted(values)
        assert list(pickle.loads(pickle.dumps(held))) == values


@given(words)
def test_the_order_of_a_column_is_that_of_code_points(values):
    column = pd.Series(Texts(values).column())
    assert [values[row] for row in in_order(column)] == sorted(values)
    assert all_differ(column) == (len(set(values)) == len(values))


def test_a_place_behind_the_end_is_an_index_error():
    for held in (Texts(), Texts(["a"])):
        for place in (1, -2):
            with pytest.raises(IndexError):
                held[place]


@pytest.mark.parametrize("column", [
    pd.Series(["a", None, "7"]), pd.Series(["a", None, "7"], dtype=object), pd.Series([1.5, np.nan, 2.0]),
    pd.Series([1, 2, 3]), pd.Series(["a", pd.NA, "b"], dtype="string[pyarrow]"),
    pd.Series(["a", "b", "a"], dtype="category"),
    pd.Series(pd.to_datetime(["2024-01-01", None, "2024-01-03"])),
])  # fmt: skip
def test_cells_of_any_column_are_what_pandas_gives_one_by_one(column, monkeypatch):
    monkeypatch.setattr(texts, "PIECE", 2)
    assert [texts.cell_text(cell) for cell in cells_of(column)] == [texts.cell_text(cell) for cell in column]
    assert list(Texts.of(column)) == [texts.cell_text(cell) for cell in column]


@given(st.sets(st.text(max_size=3), max_size=30), st.text(max_size=3))
def test_a_folder_s_names_are_a_set_of_them(names, other):
    folder = _Folder(sorted(names))
    assert all(name in folder for name in names) and len(folder) == len(names)
    assert (other in folder) == (other in names)


def test_what_no_utf_8_can_write_is_told():
    with pytest.raises(DataError, match=r"udcff.*rename"):
        Texts(["a", "\udcff.png"]).column()


HEIGHT = """
import resource, sys
import numpy as np
from finetune.data.examples import read_examples
from finetune.data.options import Data
from finetune.data.splits import split_examples
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
examples = read_examples(Data(source=sys.argv[1], image="image", target="target", group="group"))
split_examples(examples, clusters=np.arange(len(examples)))
assert "torch" not in sys.modules
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024 / len(examples))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="measured in Linux's units")
def test_a_row_takes_few_bytes_and_no_torch_from_the_table_to_the_split(tmp_path):
    rows = 60_000
    for number in range(100):
        (tmp_path / f"{number}.jpg").touch()
    for folder in range(rows // 100):
        (tmp_path / f"d{folder}").symlink_to(".", target_is_directory=True)
    lines = (f"d{n // 100}/{n % 100}.jpg,class {n // 5 % 50},p{n // 5}" for n in range(rows))
    (tmp_path / "t.csv").write_text("\n".join(("image,target,group", *lines)), encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-c", HEIGHT, str(tmp_path / "t.csv")], capture_output=True, text=True, check=True
    )
    assert float(done.stdout) < 400, "it was 720 bytes a row when a row was texts of Python's own"
