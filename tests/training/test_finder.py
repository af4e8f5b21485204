"""The range test, on curves and on a network."""

import csv
import random

import lightning as L
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import finetune as ft
from finetune.errors import TrainingError
from finetune.training.finder import RANGES, choose
from finetune.training.phase import Phase
from finetune.training.transfer import transfer
from finetune.training.trial import untouched_chance
from tests.training.tiny import around, lesson, state, tiny

PLAN = ft.Plan(accelerator="cpu", devices=1, workers=0, batch_size=8, monitor="log_loss")
RATES = np.geomspace(1e-5, 10, 100)


def curve(falls_at: float, breaks_at: float, noise: float = 0.0, seed: int = 0) -> np.ndarray:
    """A loss of 2 that falls by 1 within a decade of rates, and then grows with the rate's square."""
    fallen = 1 / (1 + (RATES / falls_at) ** -2)
    return 2 - fallen + (RATES / breaks_at) ** 2 + noise * np.random.default_rng(seed).standard_normal(len(RATES))


def run(folder, textures, lr, network=None, plan=PLAN, **words):
    network = network or tiny()
    what, task = lesson(textures, network)
    phases = (Phase(name="all", epochs=3, lr=lr, optimizer="adamw", **words),)
    said = []
    outcome = transfer(network, task, what, plan, phases, around(folder, plan), say=said.append)
    return network, outcome, said


@given(st.floats(-3.5, -1.5), st.floats(0.7, 1.5), st.integers(0, 9))
def test_the_rate_lies_between_where_the_loss_falls_and_where_it_breaks(log_falls, decades, seed):
    falls = 10**log_falls
    breaks = falls * 10**decades
    found = choose(RATES, curve(falls, breaks, 0.02, seed))
    assert falls / 10 < found.chosen < breaks
    assert found.chosen <= found.rates[found.smoothed.argmin()]


@given(st.integers(1, 10))
def test_a_loss_that_breaks_at_once_is_told_with_what_to_do(step):
    losses = np.full(step, 1.0)
    losses[-1] = np.nan
    with pytest.raises(TrainingError, match=r"diverged at once.*--lr a number"):
        choose(RATES[:step], losses)


@given(st.integers(0, 50), st.floats(0.0, 0.5))
def test_a_loss_that_never_falls_is_told_with_what_to_do(seed, noise):
    noisy = 1 + noise * np.random.default_rng(seed).standard_normal(len(RATES)) + RATES / 5
    with pytest.raises(TrainingError, match=r"found no rate.*--lr a number"):
        choose(RATES, noisy)


def test_nan_after_a_fall_ends_the_curve_and_no_more():
    losses = curve(1e-3, 1e-1)
    losses[80:] = np.nan
    found = choose(RATES, losses)
    assert len(found.rates) == 80 and np.isfinite(found.chosen)


def test_training_with_the_found_rate_as_a_number_is_training_with_auto_bit_for_bit(tmp_path, textures):
    auto, outcome, said = run(tmp_path / "auto", textures, "auto", norms="train")
    rate = outcome.phases[0].lr
    low, high = RANGES["adamw"]
    assert low < rate < high and any(f"rate {rate:g} found" in line for line in said)
    given_it, again, _ = run(tmp_path / "given", textures, rate, norms="train")
    assert all(
        torch.equal(a, b) for a, b in zip(auto.state_dict().values(), given_it.state_dict().values(), strict=True)
    )
    assert again.phases == outcome.phases and again.chosen.score == outcome.chosen.score


def test_a_range_test_leaves_weights_statistics_and_chance_as_they_were(tmp_path, textures, monkeypatch):
    """Looked at where the phase itself begins, since training changes them all."""
    seen = {}

    def look(module, learning, phase, *values, **words):
        seen["state"] = state(module.network)
        seen["drawn"] = random.random(), float(np.random.rand()), float(torch.rand(()))
        seen["asked"] = [p.requires_grad for p in module.network.parameters()]
        raise KeyboardInterrupt

    monkeypatch.setattr("finetune.training.phases.fit_phase", look)
    for lr in (0.01, "auto"):
        network = tiny()
        before = state(network)
        random.seed(1), np.random.seed(2), torch.manual_seed(3)
        with pytest.raises(KeyboardInterrupt):
            run(tmp_path, textures, lr, network, norms="train")
        assert all(torch.equal(tensor, seen["state"][name]) for name, tensor in before.items())
        drawn = seen.setdefault("first", seen["drawn"]), seen["drawn"]
    assert drawn[0] == drawn[1] and all(seen["asked"])
    assert (tmp_path / "rates-all.csv").exists()


def test_the_curve_is_kept_with_the_rate_that_was_chosen(tmp_path, textures):
    _, outcome, _ = run(tmp_path, textures, "auto")
    with (tmp_path / "rates-all.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert 10 < len(rows) <= 100
    rates = [float(row["rate"]) for row in rows]
    assert rates == sorted(rates) and {float(row["chosen"]) for row in rows} == {outcome.phases[0].lr}


def test_stages_keep_their_proportions_in_a_range_test(tmp_path, textures, monkeypatch):
    from finetune.training.finder import Rising

    seen = []
    start = Rising.on_train_batch_start

    def look(self, trainer, module, batch, batch_idx):
        start(self, trainer, module, batch, batch_idx)
        seen.append({g["name"]: g["lr"] for g in trainer.optimizers[0].param_groups})

    monkeypatch.setattr(Rising, "on_train_batch_start", look)
    run(tmp_path, textures, "auto", layer_decay=0.5)
    head = [rates["head"] for rates in seen]
    assert head == sorted(head) and head[0] == pytest.approx(RANGES["adamw"][0])
    assert all(rates["conv2"] == pytest.approx(rates["head"] / 2) for rates in seen)


def test_a_network_that_diverges_at_once_is_told_and_nothing_is_kept(tmp_path, textures):
    network = tiny()
    with torch.no_grad():
        network.head.weight.fill_(float("nan"))
    with pytest.raises(TrainingError, match="diverged at once"):
        run(tmp_path, textures, "auto", network)
    assert not list(tmp_path.glob("rates-*"))


def test_chance_goes_on_as_if_nothing_had_been_drawn():
    random.seed(1), np.random.seed(2), torch.manual_seed(3)
    with untouched_chance():
        L.seed_everything(7, verbose=False)
        random.random(), np.random.rand(), torch.rand(5)
    drawn = random.random(), np.random.rand(), float(torch.rand(()))
    random.seed(1), np.random.seed(2), torch.manual_seed(3)
    assert drawn == (random.random(), np.random.rand(), float(torch.rand(())))
