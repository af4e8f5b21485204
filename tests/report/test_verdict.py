"""The verdict says how good a run is beside naive answers, and names each thing to worry about, and only those."""

import pytest

from finetune.report.verdict import overfitting, verdict
from tests.report.made_runs import ODD, facts, figure, metrics


def looks(run):
    return [point.sentence for point in verdict(run) if point.severity == "look"]


def calm(**more):
    return metrics(worst_slice=None, **more)


def test_a_sound_run_has_nothing_to_look_at():
    assert looks(facts(metrics=calm())) == []


def test_it_begins_with_the_figure_its_interval_and_the_baselines():
    first = verdict(facts())[0].sentence
    assert first.startswith("Accuracy is 0.9 (95 % interval 0.88 to 0.92) on 200 test examples") and "majority" in first


def story(**more):
    return {**facts().story, **more}


@pytest.mark.parametrize(
    ("words", "named"),
    [
        ({"metrics": metrics()}, f"worst slice is site {ODD} on test: accuracy 0.7 (95 %"),
        ({"metrics": calm(baselines={"test": {"majority": {"accuracy": figure(0.9)}}})}, "majority"),
        ({"metrics": calm(test={"accuracy": figure(0.9, n=30)})}, "30 examples"),
        ({"metrics": calm(test={"accuracy": figure(0.9, 0.7, 0.99)})}, "interval is 0.29 wide"),
        ({"metrics": calm(validation={"accuracy": figure(0.9, n=12)})}, "partly chance"),
        ({"metrics": calm(calibration={"test": {"ece_after": figure(0.2)}})}, "probabilities"),
        ({"metrics": calm(gain={"on": "test", "figures": {"accuracy": figure(-0.1)}})}, "Fine-tuning changed"),
        ({"metrics": {"validation": {"accuracy": figure(0.9)}}}, "no test part"),
        ({"metrics": {}}, "Nothing was measured"),
        ({"metrics": calm(), "story": story(leaks="Two parts leak.")}, "Two parts leak."),
        ({"metrics": calm(), "story": story(stopped=True)}, "stopped"),
        ({"metrics": calm(), "split": [{"target": "a" if i else "b", "split": "train"} for i in range(30)]}, "uneven"),
    ],
)  # fmt: skip
def test_each_worry_is_named_and_alone(words, named):
    found = looks(facts(**words))
    assert len(found) == 1 and named in found[0]


def test_a_gap_between_training_and_validation_is_over_fitting():
    epochs = [{"phase": "tune", "epoch": "1", "train_loss": "0.01", "validation_log_loss": "0.5"}]
    (point,) = overfitting(facts(epochs=epochs))
    assert point.severity == "look" and "+0.4900" in point.sentence and "over-fitting" in point.sentence
    assert overfitting(facts())[0].severity == "fine"
    assert overfitting(facts(epochs=[])) == []
