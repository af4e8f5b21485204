"""What the words of a plan do to a phase on pictures."""

import csv
import math

import lightning as L
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import finetune as ft
from finetune.training.on_pictures import in_epochs
from finetune.training.phase import Phase
from finetune.training.transfer import transfer
from tests.training.tiny import around, lesson, tiny

WORDS = {"accelerator": "cpu", "devices": 1, "workers": 0, "batch_size": 8, "monitor": "log_loss", "settle": "best"}


class Look(L.Callback):
    """What each step saw, and the rate it took."""

    def __init__(self):
        self.sizes, self.rates, self.steps = [], [], 0

    def on_train_batch_start(self, trainer, module, batch, batch_idx):
        self.sizes.append((module.phase.name, tuple(batch.inputs.shape[-2:])))
        self.rates.append(trainer.optimizers[0].param_groups[0]["lr"])

    def on_train_batch_end(self, trainer, module, outputs, batch, batch_idx):
        self.steps, self.end = trainer.global_step, trainer.optimizers[0].param_groups[0]["lr"]


def run(folder, textures, phases, **words):
    plan, network, look = ft.Plan(**{**WORDS, **words}), tiny(), Look()
    network.body.drop = torch.nn.Identity()
    what, task = lesson(textures, network)
    outcome = transfer(
        network, task, what, plan, phases, around(folder, plan, callbacks=(look,)), say=lambda line: None
    )
    with (folder / "metrics.csv").open() as file:
        return network, outcome, look, list(csv.DictReader(file))


@given(st.integers(1, 500), st.integers(1, 60), st.integers(1, 4))
def test_steps_are_exact_up_to_equal_epochs(steps, batches, accumulate):
    phase, each = in_epochs(Phase(name="p", epochs=1, steps=steps), batches, accumulate=accumulate)
    taken = phase.epochs * math.ceil(each / accumulate)
    assert 1 <= each <= batches
    assert abs(taken - steps) <= phase.epochs / 2 + 1e-9
    if phase.epochs == 1:
        assert taken == steps


def test_a_phase_of_steps_takes_them_in_epochs_that_end_in_a_validation(tmp_path, textures):
    _, _, look, rows = run(tmp_path, textures, (Phase(name="p", epochs=9, steps=6, lr=0.01),))
    assert look.steps == 6 and [int(row["step"]) for row in rows] == [3, 6]


def test_one_cycle_rises_to_its_height_and_ends_at_nought(tmp_path, textures):
    _, _, look, _ = run(tmp_path, textures, (Phase(name="p", epochs=10, lr=0.3, schedule="one-cycle"),))
    assert len(look.rates) == 30 and max(look.rates) == pytest.approx(0.3)
    top = look.rates.index(max(look.rates))
    assert look.rates[: top + 1] == sorted(look.rates[: top + 1]) and 0.2 < top / 30 < 0.4
    assert look.rates[top:] == sorted(look.rates[top:], reverse=True) and look.end == pytest.approx(0, abs=1e-9)


def test_batches_that_are_added_up_give_the_weights_of_one_batch_of_all_their_pictures(tmp_path, textures):
    phases = (Phase(name="p", epochs=2, lr=0.5, augment="none"),)
    added, _, look, _ = run(tmp_path / "8", textures, phases, batch_size=4, effective_batch=8)
    once, _, other, _ = run(tmp_path / "16", textures, phases, batch_size=8)
    assert look.steps == other.steps and len(look.rates) == 2 * len(other.rates)
    moved = (once.head.weight - tiny().head.weight).detach().abs().max()
    assert moved > 1e-3
    for a, b in zip(added.parameters(), once.parameters(), strict=True):
        torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-4)


def test_patience_ends_a_phase_that_gets_no_better(tmp_path, textures):
    # Everything far too fast: after the first epoch nothing is better.
    _, outcome, _, rows = run(tmp_path, textures, (Phase(name="p", epochs=12, lr=3.0),), patience=2)
    losses = [float(row["validation_log_loss"]) for row in rows]
    best = losses.index(min(losses))
    assert len(rows) < 12 and len(rows) == best + 3
    assert outcome.chosen.epoch == best + 1


def test_growing_pictures_are_trained_on_at_their_sizes_and_the_last_at_the_networks_own(tmp_path, textures):
    phases = ft.Plan(**{**WORDS, "method": "full", "epochs": 3}, sizes=(16, 24), lr=0.01).build(pretrained=True)
    _, _, look, _ = run(tmp_path, textures, phases)
    sizes = list(dict.fromkeys(look.sizes))
    assert [size for _, size in sizes] == [(16, 16), (24, 24), (32, 32)]
    assert [name for name, _ in sizes] == [phase.name for phase in phases]


@pytest.mark.parametrize("lr", [0.05, 1.0])
def test_a_soup_is_never_worse_on_validation_than_its_first(tmp_path, textures, lr):
    phases = (Phase(name="p", epochs=5, lr=lr),)
    _, outcome, _, rows = run(tmp_path, textures, phases, soup=3)
    best = min(float(row["validation_log_loss"]) for row in rows)
    assert outcome.chosen.score <= best + 1e-6
    assert len(list((tmp_path / "checkpoints").glob("*.safetensors"))) == 1


class Modes(L.Callback):
    """Which layers are in evaluation mode while a step is taken."""

    def __init__(self):
        self.still = set()

    def on_train_batch_end(self, trainer, module, outputs, batch, batch_idx):
        self.still |= {name for name, layer in module.named_modules() if not layer.training}


def test_the_head_drops_features_also_after_a_probe_whose_answers_were_measured(tmp_path, textures):
    """That leaves it in evaluation mode, and Lightning keeps the modes that it finds."""
    modes = Modes()
    phases = (Phase(name="probe", learns="head", on="features"), Phase(name="all", epochs=1, norms="train"))
    plan, network = ft.Plan(**WORDS), tiny()
    what, task = lesson(textures, network)
    transfer(network, task, what, plan, phases, around(tmp_path, plan, callbacks=(modes,)), say=lambda line: None)
    assert not modes.still
