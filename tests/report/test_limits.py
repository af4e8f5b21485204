"""What figures of points do not say is said."""

import subprocess
import sys

from finetune.report.limits import retrieval_limits


def test_known_classes_and_few_ones_are_told_and_many_new_ones_need_no_word():
    known, few = retrieval_limits({"test": {"classes": 10, "learned_from": 6}})
    assert known.startswith("6 of the 10 classes of test were learned from") and "test part has 10 classes" in few
    assert retrieval_limits({"test": {"classes": 20, "learned_from": 0}}) == []


def test_a_page_needs_no_torch_for_it():
    code = "import sys, finetune.report.verdict; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
