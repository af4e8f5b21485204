"""The card is front matter that machines read, and says what is known of licences and limits, and no more."""

import json

from finetune.report.model_card import model_card
from tests.report.made_runs import ODD, facts


def front(text):
    _, head, _ = text.split("---\n", 2)
    pairs = (line.partition(": ") for line in head.strip().splitlines())
    return {name: json.loads(value) for name, _, value in pairs}


def test_every_figure_is_in_the_model_index_by_part():
    known = front(model_card(facts()))
    (index,) = known["model-index"]
    found = {(r["dataset"]["split"], m["type"]): m["value"] for r in index["results"] for m in r["metrics"]}
    assert found == {("test", "accuracy"): 0.9, ("test", "log_loss"): 0.3, ("validation", "accuracy"): 0.92}


def test_a_licence_is_stated_only_where_its_publisher_states_one():
    assert front(model_card(facts()))["license"] == "other" and "No licence is stated" in model_card(facts())
    assert front(model_card(facts(license="apache-2.0")))["license"] == "apache-2.0"


def test_names_cannot_break_the_front_matter():
    assert front(model_card(facts()))["model-index"][0]["name"] == f"net on {ODD}"


def test_worries_are_its_limits():
    assert "worst slice" in model_card(facts()).split("## Limits")[1].split("## Data")[0]
