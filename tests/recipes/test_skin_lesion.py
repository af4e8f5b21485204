from __future__ import annotations

import pandas as pd
import pytest

import finetune as ft
from finetune.shipped import find
from finetune.training.rates import course
from tests.made import QUICK


def test_esteva_s_rates_fall_by_16_after_30_and_60_epochs():
    plan = ft.load_recipe("skin_lesion", source="ham", training="esteva").plan
    (phase,) = plan.build(pretrained=True)
    share = course(phase, plan, steps=90 * 10)
    rates = [phase.lr * share(epoch * 10) for epoch in (0, 29, 30, 60)]
    assert rates == pytest.approx([1e-3, 1e-3, 6.25e-5, 3.90625e-6])
    assert (phase.learns, phase.optimizer, phase.layer_decay, phase.augment) == ("all", "rmsprop", 1.0, "any-angle")


def test_no_lesion_is_in_two_parts(tmp_path):
    find("skin_lesion").load().sample(tmp_path, 0)
    recipe = ft.load_recipe("skin_lesion", source=str(tmp_path))
    words = {name: value for name, value in QUICK.items() if name != "verbose"}
    model = ft.fit(recipe, **words, out=tmp_path / "run", verbose=False)
    splits = pd.read_csv(model.folder / "splits.csv")
    assert splits.groupby("group")["part" if "part" in splits else "split"].nunique().eq(1).all()
    assert splits["group"].nunique() * 2 == len(splits)
