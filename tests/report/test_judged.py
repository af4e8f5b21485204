"""All that is told of a part is what scikit-learn says of the same answers."""

import numpy as np
import pytest
from sklearn import metrics

from finetune.data.labels import Labels
from finetune.report.judged import Seen, judge
from finetune.report.told import told_lines
from finetune.tasks.options import Classify, Regress, Tag

CLASSES = Classify().build(Labels(kind="class", names=("a", "b", "c")), [])
TAGS = Tag().build(Labels(kind="labels", names=("a", "b", "c")), [])


def seen(n: int = 120, seed: int = 0) -> Seen:
    rng = np.random.default_rng(seed)
    target = rng.integers(0, 3, n)
    score = rng.random((n, 3)) + 0.6 * np.eye(3)[target]
    return Seen(answer=score / score.sum(axis=1, keepdims=True), target=target)


def test_each_class_has_scikit_learns_figures_and_an_interval_around_each():
    part = seen()
    told = judge(CLASSES, {"test": part})["classes"]["test"]
    names = ["a", "b", "c"]
    report = metrics.classification_report(part.target, part.answer.argmax(1), target_names=names, output_dict=True)
    for k, name in enumerate("abc"):
        assert told[name]["support"] == report[name]["support"]
        assert told[name]["precision"]["value"] == pytest.approx(report[name]["precision"])
        assert told[name]["recall"]["value"] == pytest.approx(report[name]["recall"])
        assert told[name]["f1"]["value"] == pytest.approx(report[name]["f1-score"])
        truth = part.target == k
        assert told[name]["auroc"]["value"] == pytest.approx(metrics.roc_auc_score(truth, part.answer[:, k]))
        assert told[name]["auprc"]["value"] == pytest.approx(metrics.average_precision_score(truth, part.answer[:, k]))
        for figure in ("precision", "recall", "f1", "auroc", "auprc"):
            assert told[name][figure]["low"] < told[name][figure]["value"] < told[name][figure]["high"]
            assert told[name][figure]["n"] == 120


def test_rows_of_the_confusion_are_the_truth():
    part = seen()
    told = judge(CLASSES, {"test": part})["confusion"]["test"]
    assert told["labels"] == ["a", "b", "c"]
    assert told["counts"] == metrics.confusion_matrix(part.target, part.answer.argmax(1)).tolist()
    assert np.sum(told["counts"], axis=1).tolist() == np.bincount(part.target).tolist()


def test_means_over_labels_name_those_of_one_value_that_they_leave_out():
    rng = np.random.default_rng(1)
    target = rng.integers(0, 2, (80, 3)).astype(np.float32)
    target[:, 1] = 0
    answer = rng.random((80, 3))
    told = judge(TAGS, {"test": Seen(answer=answer, target=target)})
    assert told["undefined"] == {"test": ["b"]}
    both = [0, 2]
    assert told["test"]["auroc"]["value"] == pytest.approx(metrics.roc_auc_score(target[:, both], answer[:, both]))
    assert told["classes"]["test"]["b"]["auroc"]["value"] is None and told["classes"]["test"]["b"]["support"] == 0
    assert told["classes"]["test"]["b"]["recall"]["value"] is None, "of what never occurs nothing can be found"
    assert "confusion" not in told
    assert any("means over 2 of 3 classes: of b it" in line for line in told_lines(told, "auroc"))


def test_a_number_has_no_classes():
    task = Regress().build(Labels(kind="number", names=()), [])
    told = judge(task, {"test": Seen(answer=np.arange(10.0)[:, None], target=np.arange(10.0) ** 1.1)})
    assert list(told) == ["test"] and set(told["test"]) == {"rmse", "mae", "r2"}


def test_groups_are_drawn_whole_for_single_classes_too():
    part = seen(40)
    copied = Seen(answer=np.repeat(part.answer, 8, 0), target=np.repeat(part.target, 8))
    grouped = Seen(answer=copied.answer, target=copied.target, groups=list(np.repeat(np.arange(40), 8)))
    width = [
        (lambda figure: figure["high"] - figure["low"])(judge(CLASSES, {"test": of})["classes"]["test"]["a"]["auroc"])
        for of in (part, copied, grouped)
    ]
    assert width[1] < 0.6 * width[0] and abs(width[2] / width[0] - 1) < 0.25
