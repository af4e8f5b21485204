"""What a graph tells is what `predict` tells of the same logits, by whatever decisions."""

import numpy as np
import pandas as pd
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from finetune.data.examples import Examples
from finetune.data.labels import Labels
from finetune.export.answers import Told
from finetune.export.parity import said
from finetune.predict import Answers, as_decided
from finetune.tasks.decisions import Decisions
from finetune.tasks.options import Classify, Embed, Regress, Tag

NAMES = ("a", "b", "c", "d")
TREE = {"ab": {"a": {}, "b": {}}, "cd": {"c": {}, "d": {}}}
share = st.floats(0.02, 0.98)


def task_of(kind):
    if kind == "number":
        return Regress().build(Labels(kind="number", names=(), center=20.0, scale=3.0), [])
    if kind == "labels":
        return Tag().build(Labels(kind="labels", names=NAMES), [])
    options = Classify(taxonomy=TREE) if kind == "tree" else Classify()
    return options.build(Labels(kind="class", names=NAMES), [])


@st.composite
def decided(draw, kind):
    """Decisions as validation may find them, and a prior."""
    if kind == "number":
        return Decisions(coverage=draw(st.sampled_from([None, 0.9])), limit=draw(st.none() | st.floats(0, 9))), None
    old = np.array(draw(st.lists(share, min_size=4, max_size=4)))
    old = old if kind == "labels" else old / old.sum()
    asked = draw(st.lists(st.sampled_from(NAMES), unique=True, max_size=4 if kind == "labels" else 1))
    prior = draw(st.none() | st.dictionaries(st.sampled_from(NAMES), st.floats(0.01, 0.24), min_size=1, max_size=3))
    return Decisions(
        temperature=draw(st.floats(0.2, 5)), priors=dict(zip(NAMES, old.tolist(), strict=True)),
        thresholds={name: draw(share) for name in asked}, coverage=draw(st.sampled_from([None, 0.9])),
        limit=draw(st.none() | st.floats(1e-9, 1)), answered=draw(st.none() | share),
    ), prior  # fmt: skip


@settings(max_examples=200, deadline=None)
@given(st.data(), st.sampled_from(["class", "tree", "labels", "number"]), st.integers(0, 10**6),
       st.sampled_from([0.1, 2.0, 30.0]))  # fmt: skip
def test_a_graph_tells_what_prediction_tells(data, kind, seed, spread):
    task = task_of(kind)
    decisions, prior = data.draw(decided(kind))
    torch.manual_seed(seed)
    # Of a label that is surer than float64 can say a temperature makes nothing.
    logits = (min(spread, 6) if kind == "labels" else spread) * torch.randn(6, task.labels.num_outputs)
    sources = [f"{row}.png" for row in range(6)]
    examples = Examples(table=pd.DataFrame({"id": sources, "source": sources}), kind=task.labels.kind)
    table = as_decided(task, examples, Answers(task.answer(logits), np.arange(6), {}), decisions, prior=prior)

    graph = Told(task, decisions, prior)
    told = {name: values.numpy() for name, values in graph(logits).items()}
    assert list(told) == list(graph.outputs)
    for row in range(6):
        numbers, words = said(task, {name: values[row : row + 1] for name, values in told.items()})
        ours = table.iloc[row]
        assert {name: ours[name] for name in words} == words
        others = [float(ours[name]) for name in table.columns[1:-1] if name not in words]
        np.testing.assert_allclose(numbers, others, rtol=1e-5, atol=1e-7)


def test_points_are_told_at_length_one():
    task = Embed().build(Labels(kind="class", names=NAMES), [])
    logits = torch.randn(5, 16, generator=torch.Generator().manual_seed(0))
    graph = Told(task, Decisions())
    told = graph(logits)
    assert list(told) == list(graph.outputs) == ["embedding"]
    np.testing.assert_allclose(told["embedding"].numpy(), task.answer(logits), atol=1e-6)
