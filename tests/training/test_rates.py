import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

import finetune as ft
from finetune.training.freeze import learning_stages
from finetune.training.machine import Machine
from finetune.training.phase import Phase
from finetune.training.rates import OneCycle, cosine, schedule
from finetune.training.shown import groups_line, plan_rows
from tests.training.tiny import tiny


def test_rates_fall_by_the_decay_from_stage_to_stage_and_every_parameter_has_one():
    network = tiny()
    groups = ft.param_groups(network, lr=1.0, layer_decay=0.5, weight_decay=0.1, stages=network.stages)
    by_parameter = {id(p): g for g in groups for p in g["params"]}
    assert len(by_parameter) == len(list(network.parameters())) == sum(len(g["params"]) for g in groups)
    names = dict(network.named_parameters())
    for above, stage in enumerate(reversed(network.stages)):
        for name in stage.parameters:
            assert by_parameter[id(names[name])]["lr"] == 0.5**above


def test_biases_and_norms_do_not_decay():
    for group in ft.param_groups(tiny(), lr=1.0, weight_decay=0.1):
        assert {p.ndim > 1 for p in group["params"]} == {group["weight_decay"] > 0}


@pytest.mark.parametrize("lowest", range(4))
def test_the_plan_shows_the_rates_of_the_groups_whichever_stage_is_the_lowest_to_move(lowest):
    network = ft.Backbone("timm/test_resnet", weights="none").build(3)
    names = [stage.name for stage in network.stages]
    phase = Phase(name="up", learns=tuple(names[lowest:]), epochs=2, lr=0.3, layer_decay=0.5)
    learning = learning_stages(network, network.stages, phase.learns)
    groups = ft.param_groups(network, lr=0.3, layer_decay=0.5, stages=learning)
    rates = {group["name"].removesuffix(" (no decay)"): group["lr"] for group in groups}
    (row,) = plan_rows(network, [phase], ft.Plan(), Machine.of(ft.Plan(accelerator="cpu")), 64)
    assert f"0.3 on the head down to {rates[names[lowest]]:.2g} on {names[lowest]}" in row["rate"]
    assert groups_line(network, phase).split(": ")[1] == ", ".join(f"{n} {r:.2g}" for n, r in rates.items())
    left = len(names) - lowest
    assert row["learns"] == (
        f"all {left} stages" if not lowest else f"{names[lowest]} to head, {left} of {len(names)} stages"
        if left > 3 else ", ".join(names[lowest:])
    )  # fmt: skip


def test_any_module_gets_groups_by_its_own_structure_and_frozen_parameters_none():
    module = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 2))
    module[0].requires_grad_(False)
    groups = ft.param_groups(module, lr=0.1, layer_decay=0.5)
    assert {round(g["lr"], 4) for g in groups} == {0.1, 0.05}
    torch.optim.SGD(groups, lr=0.1).step()


@given(steps=st.integers(1, 500), share=st.floats(0, 0.9))
def test_the_cosine_rises_to_one_falls_to_nought_and_never_leaves_that_range(steps, share):
    warmup = round(share * steps)
    curve = [cosine(step, steps=steps, warmup=warmup) for step in range(steps + 1)]
    assert all(0 <= value <= 1 for value in curve)
    assert curve == sorted(curve[: warmup + 1]) + sorted(curve[warmup + 1 :], reverse=True)
    assert curve[warmup] == pytest.approx(1) if warmup < steps else True
    assert curve[steps] == pytest.approx(0, abs=1e-9) or warmup >= steps


@pytest.mark.parametrize("kind", [torch.optim.SGD, torch.optim.AdamW])
def test_in_one_cycle_momentum_is_lowest_where_the_rate_is_highest(kind):
    parameter = nn.Parameter(torch.zeros(3))
    words = {"momentum": 0.9} if kind is torch.optim.SGD else {}
    optimizer = kind([parameter], lr=0.5, **words)
    cycle = OneCycle(optimizer, schedule("one-cycle", steps=40, warmup=4))
    rates, momenta = [], []
    for _ in range(40):
        (group,) = optimizer.param_groups
        rates.append(group["lr"])
        momenta.append(group["betas"][0] if "betas" in group else group["momentum"])
        optimizer.step()
        cycle.step()
    assert max(rates) == pytest.approx(0.5) and min(momenta) == pytest.approx(0.85)
    assert [round((0.95 - m) / 0.1, 6) for m in momenta] == [round(r / 0.5, 6) for r in rates]
