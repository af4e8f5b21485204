from __future__ import annotations

import pytest

import finetune as ft
from finetune.training.rates import course


def test_its_rates_for_8192_pictures_are_those_of_goyal():
    plan = ft.load_recipe("large_batch", source="imagenet").plan
    (phase,) = plan.build(pretrained=False)
    share = course(phase, plan, steps=157 * 90, scale=32)
    rates = {epoch: 0.1 * 32 * share(round(157 * epoch)) for epoch in (0, 2.5, 5, 30, 60, 80)}
    assert rates == pytest.approx({0: 0.1, 2.5: 1.65, 5: 3.2, 30: 0.32, 60: 0.032, 80: 0.0032}, rel=0.01)
    assert (phase.lr, plan.weight_decay, plan.zero_gamma, phase.norms) == (0.1, 1e-4, True, "train")
