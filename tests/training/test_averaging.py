import lightning as L
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file

import finetune as ft
from finetune.training.averaging import decay_for
from finetune.training.phase import Phase
from finetune.training.transfer import transfer
from tests.training.tiny import around, lesson, tiny

PLAN = ft.Plan(accelerator="cpu", devices=1, workers=0, batch_size=8, epochs=2, lr=0.05, monitor="log_loss")


class Steps(L.Callback):
    """The weights that training itself has after each batch."""

    def __init__(self):
        self.seen = []

    def on_train_batch_end(self, trainer, module, outputs, batch, batch_idx):
        self.seen.append({name: p.detach().clone() for name, p in module.named_parameters()})


def run(folder, textures, *, plan=PLAN, validate=True, **phase):
    network, steps = tiny(), Steps()
    what, task = lesson(textures, network)
    start = {f"network.{name}": p.detach().clone() for name, p in network.named_parameters()}
    if not validate:
        what = type(what)(**{**vars(what), "validation": what.validation[:0]})
    phases = (Phase(name="all", epochs=plan.epochs, lr=plan.lr, **phase),)
    surroundings = around(folder, plan, callbacks=(steps,))
    outcome = transfer(network, task, what, plan, phases, surroundings, say=lambda line: None)
    return start, steps.seen, load_file(outcome.chosen.state), outcome


def averaged(start, steps, decay):
    mean = {name: value.clone() for name, value in start.items()}
    for weights in steps:
        for name, value in weights.items():
            mean[name] = decay * mean[name] + (1 - decay) * value
    return mean


@given(st.integers(1, 10**6), st.floats(0.001, 1))
def test_an_average_looks_back_over_its_share_of_the_steps(steps, share):
    decay = decay_for(steps, share)
    assert 0 <= decay < 1
    assert 1 / (1 - decay) == pytest.approx(max(1, share * steps))


@pytest.mark.parametrize("validate", [True, False])
def test_what_is_kept_is_the_average_of_the_weights_after_every_step(tmp_path, textures, validate):
    start, steps, kept, outcome = run(tmp_path, textures, validate=validate, ema=0.5)
    until = steps if not validate else steps[: len(steps) * outcome.chosen.epoch // PLAN.epochs]
    expected = averaged(start, until, decay_for(len(steps), 0.5))
    for name, value in expected.items():
        torch.testing.assert_close(kept[name], value, atol=1e-6, rtol=1e-5)
    assert not torch.allclose(kept["network.body.conv1.weight"], until[-1]["network.body.conv1.weight"])


def test_averaging_leaves_training_itself_as_it_is(tmp_path, textures):
    _, with_average, *_ = run(tmp_path / "with", textures, ema=0.5)
    _, without, *_ = run(tmp_path / "without", textures)
    for one, other in zip(with_average, without, strict=True):
        assert all(torch.equal(value, other[name]) for name, value in one.items())


def test_batches_whose_gradients_are_added_count_as_one_step(tmp_path, textures):
    plan = ft.Plan(**{**vars(PLAN), "accumulate": 2})
    start, batches, kept, _ = run(tmp_path, textures, plan=plan, validate=False, ema=0.5)
    moved = [new for old, new in zip([start, *batches], batches, strict=False) if any(
        not torch.equal(old[name], value) for name, value in new.items())]  # fmt: skip
    assert len(moved) < len(batches)
    for name, value in averaged(start, moved, decay_for(len(moved), 0.5)).items():
        torch.testing.assert_close(kept[name], value, atol=1e-6, rtol=1e-5)
