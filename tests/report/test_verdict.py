"""The verdict says how good a run is beside naive answers, and names each thing to worry about, and only those."""

import pytest

from finetune.report.verdict import against, overfitting, verdict
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


def errors(value, chance):
    return {"test": {"ece_after": figure(value), "ece_if_calibrated": figure(chance / 2, 0, chance)}}


def recall(value):
    return {"test": {"ants": {"recall": figure(value), "support": 40}, "bees": {"recall": figure(0.9), "support": 40}}}


def point(value, high):
    rates = {"sensitivity": figure(value, high=high), "specificity": figure(0.7), "precision": figure(0.5)}
    return {"asked": "ants:sensitivity>=0.95", "threshold": 0.2, **rates}


def sets(value, high):
    return {"asked": 0.9, "limit": 0.6, "coverage": figure(value, high=high), "size": figure(1.1)}


def test_what_the_interval_leaves_open_is_no_worry():
    asked = {"operating": {"test": {"ants": point(0.9, 0.96)}}, "conformal": {"test": sets(0.88, 0.93)}}
    run = facts(metrics=calm(calibration=errors(0.07, 0.08), classes=recall(0.49), **asked))
    assert looks(run) == []
    told = " ".join(one.sentence for one in verdict(run))
    assert '"ants" from 0.2 on: sensitivity 0.9' in told and "asked was 0.95; specificity 0.7" in told
    assert "off by 0.070 on average" in told and "so few examples would show 0.000 to 0.080" in told


def test_a_lead_over_the_naive_that_may_be_chance_is_named_beside_the_figure():
    two = {"majority": {"accuracy": figure(0.3)}, "nearest-pixels": {"accuracy": figure(0.01)}}
    first, second = looks(facts(metrics=calm(over_baselines={"test": two})))
    assert first.startswith("Accuracy is 0.9") and "better than nearest pixels is not sure" in second
    probe = {"probe": {"accuracy": figure(-0.1)}, "majority": {"accuracy": figure(0.3)}}
    assert looks(facts(metrics=calm(over_baselines={"test": probe}))) == [], "the probe is no naive answer"


def story(**more):
    return {**facts().story, **more}


@pytest.mark.parametrize(
    ("words", "named"),
    [
        ({"metrics": metrics()}, f"worst slice is site {ODD} on test: accuracy 0.7 (95 %"),
        ({"metrics": calm(over_baselines={}, baselines={"test": {"majority": {"accuracy": figure(0.9)}}})}, "majority"),
        ({"metrics": calm(test={"accuracy": figure(0.9, n=30)})}, "30 examples"),
        ({"metrics": calm(test={"accuracy": figure(0.9, 0.7, 0.99)})}, "interval is 0.29 wide"),
        ({"metrics": calm(validation={"accuracy": figure(0.9, n=12)})}, "partly chance"),
        ({"metrics": calm(calibration=errors(0.2, 0.1))}, "do not read probabilities as shares"),
        ({"metrics": calm(classes=recall(0.2))}, 'Most of "ants" is not recognised: recall 0.2 (95 %'),
        ({"metrics": calm(operating={"test": {"ants": point(0.9, 0.93)}})}, "It is not kept on new examples"),
        ({"metrics": calm(conformal={"test": sets(0.8, 0.85)})}, "The sets: coverage 0.8 (95 %"),
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


def test_what_a_later_phase_did_is_no_merit_of_weights_that_an_earlier_one_made():
    rows = [{"phase": "probe", "rate": "L-BFGS, L2 penalty"}, {"phase": "tune", "rate": "sgd", "mixing": "mixup 0.4"}]
    kept = [against(facts(story=story(plan=rows), model=facts().model | {"chosen": {"phase": phase, "score": 0.9}}))
            for phase in ("probe", "tune")]  # fmt: skip
    assert kept[0] == ["probe: L2 penalty chosen by cross-validation", kept[1][-1]]
    assert kept[1][1] == "tune: mixup 0.4"
