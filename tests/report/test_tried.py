"""The table of a search, in the terminal."""

from __future__ import annotations

import io

from rich.console import Console

from finetune.report.tried import SHOWN, trials_table

WORDS = ("method", "lr", "layer_decay", "views", "augment", "mixup")
TRIAL = {"state": "complete", "value": 0.94117, "seconds": 3.0, "judged": 4, "method": "lp-ft", "lr": 0.00162569,
         "layer_decay": 0.8287896, "views": 2, "augment": "standard", "mixup": 0.4}  # fmt: skip


def shown(trials, words=WORDS):
    text = io.StringIO()
    Console(file=text, width=80).print(trials_table(trials, words, "accuracy"))
    return text.getvalue()


def test_no_value_of_the_usual_search_is_cut_in_a_terminal_of_80_columns():
    text = shown([TRIAL | {"number": number} for number in range(3)])
    for value in ("accuracy", "0.9412", "lp-ft", "0.00163", "layer_decay", "0.829", "standard", "0.4"):
        assert value in text


def test_of_many_trials_the_first_are_shown_and_those_that_came_to_nothing_counted():
    text = shown([TRIAL | {"number": n, "state": "complete" if n < 12 else "pruned"} for n in range(14)])
    assert "12 trials, 2 more were given up or went wrong; accuracy on validation" in text
    assert text.count("lp-ft") == SHOWN


def test_what_a_trial_had_no_use_for_is_empty_and_markup_is_text():
    text = shown([TRIAL | {"number": 0, "lr": float("nan"), "mixup": None, "method": "[bold]"}])
    assert "nan" not in text and "None" not in text and "[bold]" in text
