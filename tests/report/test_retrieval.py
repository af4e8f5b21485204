"""What retrieval is told with: means over pictures, and intervals over products."""

import numpy as np
import pytest

from finetune.report.retrieval import retrieval_figures


def test_the_interval_is_wider_where_products_are_drawn_whole():
    value = np.repeat([0.0, 1.0], 40)
    given = {"recall_at_1": value}
    alone, whole = (retrieval_figures(given, groups)["recall_at_1"] for groups in (None, list(np.arange(80) // 10)))
    assert alone["value"] == whole["value"] == 0.5
    assert whole["high"] - whole["low"] > alone["high"] - alone["low"]


def test_pictures_that_all_find_each_other_leave_room_for_one_that_does_not_and_no_difference_does():
    figure = retrieval_figures({"recall_at_1": np.ones(30)}, None)["recall_at_1"]
    assert (figure["value"], figure["high"]) == (1, 1) and figure["low"] == pytest.approx(0.025 ** (1 / 30))
    few = retrieval_figures({"recall_at_1": np.ones(30)}, list(np.arange(30) // 10))["recall_at_1"]
    assert few["low"] == pytest.approx(0.025 ** (1 / 3)), "three products are three"
    same = retrieval_figures({"recall_at_1": np.zeros(30)}, None, shares=False)["recall_at_1"]
    assert (same["low"], same["value"], same["high"]) == (0, 0, 0)
