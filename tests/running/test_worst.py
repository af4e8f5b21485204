"""The worst errors are those the model was surest of, each with its picture and a map; right answers are none."""

import json

import numpy as np
from PIL import Image

from finetune.data.examples import read_examples
from finetune.data.options import Data
from finetune.running.worst import MOST, write_worst


def written(folder, model, source, answer, rows):
    write_worst(folder, model.network, model.task, source, {"test": (rows, answer)})
    file = folder / "errors/errors.json"
    return json.loads(file.read_text()) if file.exists() else []


def test_errors_come_by_how_sure_they_were_and_only_errors(probed, textures, tmp_path):
    examples = read_examples(Data(source=str(textures)))
    rows = np.arange(6)
    right = probed.task.labels.encode(examples.targets)[rows]
    answer = np.full((6, 3), 0.0)
    answer[np.arange(6), right] = 1
    answer[2] = answer[4] = 0
    answer[2, (right[2] + 1) % 3], answer[4, (right[4] + 1) % 3] = 0.6, 0.9
    found = written(tmp_path, probed, examples, answer, rows)
    assert [one["name"] for one in found] == [examples.table["id"][4], examples.table["id"][2]]
    assert "90% sure" in found[0]["lines"][0]
    for one in found:
        with (
            Image.open(tmp_path / "errors" / one["picture"]) as picture,
            Image.open(tmp_path / "errors" / one["map"]) as places,
        ):
            assert picture.size == places.size


def test_a_model_that_is_right_has_none_and_earlier_ones_go(probed, textures, tmp_path):
    examples = read_examples(Data(source=str(textures)))
    right = np.eye(3)[probed.task.labels.encode(examples.targets)]
    assert len(written(tmp_path, probed, examples, 1 - right, np.arange(len(right)))) == MOST
    assert written(tmp_path, probed, examples, right, np.arange(len(right))) == []
    assert not list((tmp_path / "errors").glob("*.jpg"))


def test_the_network_is_left_as_it_was(probed, textures, tmp_path):
    examples = read_examples(Data(source=str(textures)))
    before = [(p.requires_grad, p.detach().clone()) for p in probed.network.parameters()]
    written(tmp_path, probed, examples, np.tile([[0.5, 0.3, 0.2]], (36, 1)), np.arange(36))
    for (learns, values), parameter in zip(before, probed.network.parameters(), strict=True):
        assert parameter.requires_grad == learns and parameter.grad is None and bool((values == parameter).all())
    assert not probed.network.training
