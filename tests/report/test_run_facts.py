"""Epochs are counted on from phase to phase, and the kept one is found among them."""

from finetune.report.run_facts import read_rows
from tests.report.made_runs import ODD, facts


def test_a_fitted_head_takes_no_epoch_and_later_phases_count_on():
    text = "phase,epoch,loss\nprobe,0,1\na,1,2\na,2,3\nb,1,4\n"
    run = facts(epochs=read_rows(text))
    assert run.curve("loss") == [(0, 1), (1, 2), (2, 3), (3, 4)]
    assert run.phases() == [("probe", 0, 0), ("a", 1, 2), ("b", 3, 3)]


def test_the_kept_epoch_is_marked_only_where_it_is_one():
    run = facts()
    assert run.kept() == 2
    between = {**run.model, "chosen": {**run.model["chosen"], "share": 0.5}}
    assert facts(model=between).kept() is None
    assert facts(model={**run.model, "chosen": [{}]}).kept() is None  # folds


def test_each_label_of_an_example_is_counted():
    run = facts(model={"labels": {"kind": "labels", "names": []}}, split=[{"target": "a|b", "split": "train"}])
    assert run.counts() == {"a": {"train": 1}, "b": {"train": 1}}
    assert facts().counts()[ODD] == {"train": 200, "validation": 100, "test": 100}
