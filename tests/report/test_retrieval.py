"""What retrieval is told with: means over pictures, and intervals over products."""

import numpy as np

from finetune.report.retrieval import retrieval_figures


def test_the_interval_is_wider_where_products_are_drawn_whole():
    value = np.repeat([0.0, 1.0], 40)
    given = {"recall_at_1": value}
    alone, whole = (retrieval_figures(given, groups)["recall_at_1"] for groups in (None, list(np.arange(80) // 10)))
    assert alone["value"] == whole["value"] == 0.5
    assert whole["high"] - whole["low"] > alone["high"] - alone["low"]


def test_a_recall_without_a_miss_is_as_sure_as_its_pictures_allow_and_no_difference_is():
    figure = retrieval_figures({"recall_at_1": np.ones(30)}, None)["recall_at_1"]
    assert figure["high"] == 1 and 0.85 < figure["low"] < 0.9
    same = retrieval_figures({"recall_at_1": np.zeros(30)}, None, shares=False)["recall_at_1"]
    assert (same["low"], same["value"], same["high"]) == (0, 0, 0)
