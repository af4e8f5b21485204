import numpy as np

import finetune as ft
from finetune.data.labels import Labels
from finetune.predict import Answers, as_examples, as_table


def test_a_thousand_classes_are_a_table_without_a_warning():
    names = [f"kind {k:04d}" for k in range(1000)]
    task = ft.Classify().build(Labels.from_targets("class", names), names)
    pictures = as_examples([np.zeros((8, 8, 3), np.uint8)] * 3)
    answer = np.eye(1000)[[7, 999]]
    table = as_table(task, pictures, Answers(answer, np.array([0, 2]), {1: "broken"}))
    assert list(table.columns) == ["path", "label", *names, "error"]
    assert list(table["label"].dropna()) == ["kind 0007", "kind 0999"] and list(table["error"]) == ["", "broken", ""]
    assert np.array_equal(table[names].to_numpy()[[0, 2]], answer) and table[names].iloc[1].isna().all()
