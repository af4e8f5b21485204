"""Large minibatches as Goyal et al. 2017 (arXiv 1706.02677) have them: each remedy, from the plan to the step."""

from __future__ import annotations

from dataclasses import replace

import lightning as L
import numpy as np
import pandas as pd
import pytest
import timm
import torch
from torch import nn

import finetune as ft
from finetune.errors import ConfigError
from finetune.training.learner import Learner
from finetune.training.machine import Machine, scaling
from finetune.training.optimizers import DECAYS, make_optimizer
from finetune.training.phase import OPTIMIZERS, Phase
from finetune.training.rates import course
from finetune.training.shown import plan_rows
from finetune.training.transfer import transfer
from tests.training.tiny import around, lesson, state, tiny

THEIRS = ft.Plan(
    method="full", optimizer="sgd", lr=0.1, scale_lr=True, reference_batch=256, warmup_epochs=5, epochs=90,
    schedule="step", milestones=(30, 60, 80), weight_decay=1e-4, gradient_clip=0, layer_decay=1.0, norms="train",
    batch_size=32, zero_gamma=True,
)  # fmt: skip


@pytest.mark.parametrize("milestones", [(30.0, 60.0, 80.0), ()], ids=["given", "by default"])
def test_the_rates_of_32_times_256_pictures_are_those_of_the_paper(milestones):
    """ImageNet has 157 steps an epoch of 8,192; 160 make the epochs 2.5 and 5 fall on steps."""
    plan, world, epoch = replace(THEIRS, milestones=milestones), 256, 160
    (phase,) = plan.build(pretrained=False)
    scale = scaling(plan, world)
    share = course(phase, plan, steps=90 * epoch, scale=scale)
    rates = {at: scale * phase.lr * share(round(at * epoch)) for at in (0, 2.5, 5, 30, 60, 80)}
    assert rates == pytest.approx({0: 0.1, 2.5: 1.65, 5: 3.2, 30: 0.32, 60: 0.032, 80: 0.0032})
    assert scale * phase.lr * share(30 * epoch - 1) == pytest.approx(3.2), "it falls at the epoch, and not before"
    rise = np.diff([share(step) for step in range(5 * epoch + 1)])
    np.testing.assert_allclose(rise, rise[0])  # a step and not an epoch at a time


@pytest.mark.parametrize("schedule", ["cosine", "step", "constant"])
@pytest.mark.parametrize("scale", [0.25, 1.0, 4.0])
def test_a_rise_in_epochs_begins_where_unscaled_rates_are_and_never_exceeds_one(schedule, scale):
    plan = ft.Plan(warmup_epochs=2, schedule=schedule, epochs=10, method="full")
    (phase,) = plan.build(pretrained=True)
    share = course(phase, plan, steps=100, scale=scale)
    curve = [share(step) for step in range(100)]
    assert max(curve) == pytest.approx(1) and curve[20] == pytest.approx(1)
    assert curve[0] == pytest.approx(1 / scale if scale > 1 else 1 / 21)
    assert curve[:21] == sorted(curve[:21])


def test_a_plan_scales_no_rate_unless_it_says_so():
    assert scaling(ft.Plan(batch_size=512), 64) == 1.0
    assert scaling(ft.Plan(batch_size=32, scale_lr=True), 8) == 1.0
    assert scaling(ft.Plan(batch_size=32, scale_lr=True, effective_batch=2048), 8) == 8.0
    assert scaling(ft.Plan(batch_size=32, scale_lr=True, accumulate=4, reference_batch=128), 1) == 1.0


def test_the_rates_that_the_optimizer_gets_are_those_that_are_shown(tmp_path, textures):
    network = tiny()
    plan = replace(THEIRS, accelerator="cpu", devices=1, workers=0, batch_size=8, accumulate=2, reference_batch=4,
                   epochs=2, warmup_epochs=1, milestones=(), schedule="constant", zero_gamma=False)  # fmt: skip
    (phase,) = plan.build(pretrained=True)
    seen = []

    class Watch(L.Callback):
        def on_train_batch_start(self, trainer, module, batch, batch_idx):
            seen.append(sorted({group["lr"] for group in trainer.optimizers[0].param_groups}))

    what, task = lesson(textures, network)
    transfer(network, task, what, plan, (phase,), around(tmp_path, plan, callbacks=[Watch()]), say=lambda line: None)
    row = plan_rows(network, [phase], plan, Machine.of(plan), len(what.train))[0]
    assert "0.4 on the head, scaled with the batch: 0.1 times 16/4" in row["rate"]
    assert "1 epochs warm-up from the rate unscaled" in row["rate"]
    assert seen[0] == [pytest.approx(0.1)] and seen[-1] == [pytest.approx(0.4)]


def test_the_plan_shows_where_rates_fall_and_whose_statistics_norms_take():
    machine = replace(Machine.of(ft.Plan(accelerator="cpu")), world_size=4)
    plan = replace(THEIRS, batch_size=16)
    (row,) = plan_rows(tiny(), plan.build(pretrained=False), plan, machine, 640)
    assert "step times 0.1 after epochs 30, 60, 80, 5 epochs warm-up from the rate unscaled" in row["rate"]
    assert row["norms"] == "2 learn, each device's by its own 16 pictures"
    assert row["batch"] == "64"


def test_54120_parameters_of_resnet50_do_not_decay():
    module = timm.create_model("resnet50")
    groups = ft.param_groups(module, lr=1.0, weight_decay=1e-4)
    free = sum(p.numel() for group in groups if not group["weight_decay"] for p in group["params"])
    norms = {id(p) for m in module.modules() if isinstance(m, nn.BatchNorm2d) for p in m.parameters()}
    decaying = {id(p) for group in groups if group["weight_decay"] for p in group["params"]}
    assert free == 54_120 and not norms & decaying
    assert sum(p.numel() for group in groups for p in group["params"]) == 25_557_032


def test_sgd_is_nesterovs_with_the_rate_outside_the_momentum():
    """Their equation 9: where a rate changes, the momentum needs no correction."""
    torch.manual_seed(0)
    weight = nn.Parameter(torch.randn(5, dtype=torch.float64))
    groups = [{"params": [weight], "lr": 0.1, "weight_decay": 0.01}]
    optimizer = make_optimizer("sgd", groups, lr=0.1)
    by_hand, velocity = weight.detach().clone(), torch.zeros(5, dtype=torch.float64)
    for step in range(6):
        rate = 0.1 * (step + 1)
        optimizer.param_groups[0]["lr"] = rate
        weight.grad = torch.sin(weight.detach() * (step + 1))
        gradient = torch.sin(by_hand * (step + 1)) + 0.01 * by_hand
        velocity = gradient if step == 0 else 0.9 * velocity + gradient
        by_hand = by_hand - rate * (gradient + 0.9 * velocity)
        optimizer.step()
        torch.testing.assert_close(weight.detach(), by_hand)


@pytest.mark.parametrize("name", ["lars", "lamb"])
def test_a_rate_a_layer_makes_a_step_as_long_as_the_layer_asks_whatever_the_gradient(name):
    """LARS (its eq. 6) and LAMB (its algorithm 2) divide by the norm of the gradient, or of the update."""
    steps = []
    for size in (1.0, 100.0):
        torch.manual_seed(0)
        weight = nn.Parameter(torch.randn(4, 4))
        before = weight.detach().clone()
        optimizer = make_optimizer(name, [{"params": [weight], "weight_decay": 1e-4}], lr=1.0)
        weight.grad = size * torch.ones(4, 4)
        optimizer.step()
        steps.append((weight.detach() - before).norm() / before.norm())
    assert steps[0] == pytest.approx(float(steps[1]), rel=1e-2)
    assert steps[0] == pytest.approx(0.001 if name == "lars" else 1.0, rel=1e-2)


@pytest.mark.parametrize("name, lr", [("lars", 10.0), ("lamb", 0.02)])
def test_a_run_with_a_rate_a_layer_learns(tmp_path, textures, name, lr):
    network = tiny()
    before = state(network)
    plan = ft.Plan(accelerator="cpu", devices=1, workers=0, method="full", optimizer=name, lr=lr, epochs=20,
                   batch_size=8, augment="none", monitor="log_loss", settle="last")  # fmt: skip
    what, task = lesson(textures, network)
    phases = plan.build(pretrained=True)
    transfer(network, task, what, plan, phases, around(tmp_path, plan), say=lambda line: None)
    losses = pd.read_csv(tmp_path / "metrics.csv")["train_loss"]
    assert losses.iloc[-1] < losses.iloc[0] - 0.01 and not torch.equal(before["head.weight"], network.head.weight)
    assert DECAYS.keys() == set(OPTIMIZERS)


def without_norm():
    torch.manual_seed(0)
    layers = [nn.Conv2d(3, 6, 3, stride=2), nn.ReLU(), nn.Conv2d(6, 8, 3, stride=2), nn.ReLU(),
              nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 9)]  # fmt: skip
    return ft.Backbone.from_module(nn.Sequential(*layers), head="6", input_size=32).build(3)


def test_micro_batches_that_are_added_up_are_one_large_batch(tmp_path, textures):
    """Without norm, whose statistics are each micro-batch's own; 24 pictures are whole steps of 8 and of 4 times 2."""
    found = []
    for batch_size, accumulate in ((8, 1), (2, 4)):
        network = without_norm()
        plan = ft.Plan(accelerator="cpu", devices=1, workers=0, batch_size=batch_size, accumulate=accumulate,
                       gradient_clip=0, scale_lr=True, reference_batch=4, warmup_epochs=1, settle="last")  # fmt: skip
        phase = Phase(name="all", epochs=3, lr=0.2, augment="none")
        what, task = lesson(textures, network)
        assert len(what.train) == 24
        transfer(network, task, what, plan, (phase,), around(tmp_path / str(accumulate), plan), say=lambda line: None)
        found.append(network)
    moved = max(float((a - b).detach().abs().max()) for a, b in zip(found[0].parameters(), without_norm().parameters(),
                                                                   strict=True))  # fmt: skip
    assert moved > 0.005, "nothing was learned, so nothing was compared"
    for one, other in zip(found[0].parameters(), found[1].parameters(), strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=0)


def test_a_module_of_ones_own_has_to_scale_its_rates_itself(tmp_path):
    module = Learner(tiny(), None, Phase(name="x", epochs=1), ft.Plan(), seed=0)
    plan = ft.Plan(accelerator="cpu", devices=1, scale_lr=True, method="full", epochs=1)
    with pytest.raises(ConfigError, match="rates that scale with the batch"):
        ft.run_phases(module, (None, None), plan, out=tmp_path)


def test_more_than_8192_pictures_a_step_are_told_of(textures, tmp_path):
    words = {"backbone": "finetune/lenet5", "weights": "none", "method": "full", "epochs": 1, "accelerator": "cpu",
             "workers": 0, "effective_batch": 16_384, "batch_size": 8}  # fmt: skip
    from io import StringIO

    from rich.console import Console

    for optimizer, told in (("sgd", True), ("lars", False)):
        out = StringIO()
        ft.fit(
            textures,
            **words,
            optimizer=optimizer,
            lr=0.1,
            verbose=Console(file=out, width=400),
            out=tmp_path / optimizer,
        )
        assert ("beyond 8,192" in out.getvalue()) == told


def test_rmsprop_is_tensorflows_with_epsilon_under_the_root():
    """Against its formula, and apart from torch's own, which adds it to the root."""
    from finetune.training.optimizers import make_optimizer

    weight = torch.nn.Parameter(torch.tensor([1.0, -2.0]))
    optimizer = make_optimizer("rmsprop", [{"params": [weight], "lr": 0.01, "weight_decay": 0.0}], lr=0.01)
    expected, mean, momentum = weight.detach().clone(), torch.ones(2), torch.zeros(2)
    for gradient in (torch.tensor([0.3, -1.0]), torch.tensor([0.1, 2.0]), torch.tensor([-0.2, 0.5])):
        weight.grad = gradient.clone()
        optimizer.step()
        mean = 0.9 * mean + 0.1 * gradient**2
        momentum = 0.9 * momentum + 0.01 * gradient / (mean + 0.1).sqrt()
        expected = expected - momentum
    torch.testing.assert_close(weight.detach(), expected)
