import json

import pytest
from PIL import Image

from finetune.demo import ARMS, SHOTS, _claim, run_demo, write_pictures
from finetune.errors import RunFolderError


def test_the_pictures_are_what_the_demo_says(tmp_path):
    write_pictures(tmp_path, seed=0)
    names = {part: {p.name for p in (tmp_path / part).rglob("*.png")} for part in ("source", "shuffled", "target")}
    assert names["source"] == names["shuffled"] and len(names["source"]) == 900
    assert not names["source"] & names["target"] and len(names["source"] | names["target"]) == 1797
    assert all(len(list(d.iterdir())) == SHOTS for d in (tmp_path / "target" / "train").iterdir())
    with Image.open(next((tmp_path / "source").rglob("*.png"))) as picture:
        assert picture.size == (32, 32)


@pytest.mark.thorough
def test_transfer_wins_with_intervals_apart_over_seeds(tmp_path, capsys):
    for seed in (0, 1, 2):
        assert run_demo(tmp_path / str(seed), seed=seed, as_json=True) == 0
        figures = json.loads(capsys.readouterr().out)
        assert figures["transfer"]["value"] > 0.9
        assert all(figures[name]["value"] < 0.8 for name in ARMS if name != "transfer")


def test_a_folder_that_is_no_demo_is_left_alone(tmp_path):
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(RunFolderError, match="no earlier demo"):
        run_demo(tmp_path)
    assert (tmp_path / "thesis.tex").read_text() == "years of work"


def test_a_folder_whose_demo_json_is_somebody_elses_is_left_alone(tmp_path):
    for text in ('{"name": "mine"}', "[]", "no JSON"):
        (tmp_path / "demo.json").write_text(text)
        with pytest.raises(RunFolderError, match="no earlier demo"):
            run_demo(tmp_path)
        assert (tmp_path / "demo.json").read_text() == text


def test_an_earlier_demo_with_a_stranger_in_it_is_left_alone(tmp_path):
    (tmp_path / "demo.json").write_text('{"finished": true}')
    (tmp_path / "pictures").mkdir()
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(RunFolderError, match=r"it holds thesis\.tex"):
        run_demo(tmp_path)
    assert {entry.name for entry in tmp_path.iterdir()} == {"demo.json", "pictures", "thesis.tex"}


def test_an_earlier_demo_is_replaced(tmp_path):
    (tmp_path / "demo.json").write_text('{"finished": true}')
    (tmp_path / "pictures").mkdir()
    _claim(tmp_path)
    assert [entry.name for entry in tmp_path.iterdir()] == ["demo.json"]
