import lightning as L
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file

import finetune as ft
from finetune.features import run_over
from finetune.training.averaging import Average, decay_for
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

    def on_train_end(self, trainer, module):
        self.restarted = any(one.restarted for one in trainer.callbacks if isinstance(one, Average))


def run(folder, textures, *, plan=PLAN, validate=True, **phase):
    network, steps = tiny(), Steps()
    what, task = lesson(textures, network)
    start = {f"network.{name}": p.detach().clone() for name, p in network.named_parameters()}
    if not validate:
        what = type(what)(**{**vars(what), "validation": what.validation[:0]})
    phases = (Phase(name="all", epochs=plan.epochs, lr=plan.lr, **phase),)
    surroundings = around(folder, plan, callbacks=(steps,))
    outcome = transfer(network, task, what, plan, phases, surroundings, say=lambda line: None)
    if validate and steps.restarted:
        # Counted from there on, an average begins with the weights at the end of the first epoch.
        first = len(steps.seen) // plan.epochs
        start = {"after": first, **steps.seen[first - 1]}
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
    further = until[start.pop("after", 0) :]
    expected = averaged(start, further, decay_for(len(steps), 0.5))
    for name, value in expected.items():
        torch.testing.assert_close(kept[name], value, atol=1e-6, rtol=1e-5)
    same = torch.allclose(kept["network.body.conv1.weight"], until[-1]["network.body.conv1.weight"])
    assert same == (not further)


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


def first_scores(folder, textures, **phase):
    """The first validation of a phase with an average: what was logged, and how good each of the two is by itself."""
    network = tiny()
    what, task = lesson(textures, network)
    start, seen = {name: p.detach().clone() for name, p in network.named_parameters()}, Steps()
    plan = ft.Plan(**{**vars(PLAN), "batch_size": 2})
    phases = (Phase(name="all", epochs=1, ema=1.0, **phase),)
    outcome = transfer(
        network, task, what, plan, phases, around(folder, plan, callbacks=(seen,)), say=lambda line: None
    )

    def score(state):
        other = tiny()
        other.load_state_dict({**other.state_dict(), **{n.removeprefix("network."): t for n, t in state.items()}})
        logits = run_over(other, what.examples.take(what.validation)).values
        return task.measure(task.answer(torch.from_numpy(logits)), what.target[what.validation])["log_loss"]

    steps = seen.seen
    mean = averaged({f"network.{n}": t for n, t in start.items()}, steps, decay_for(len(steps), 1.0))
    assert seen.restarted == (score(steps[-1]) < score(mean))
    return outcome.chosen.score, score(steps[-1]), score(mean), load_file(outcome.chosen.state), steps[-1]


@pytest.mark.parametrize(("lr", "lags"), [(1.0, True), (3.0, False)])
def test_at_the_first_validation_an_average_is_never_worse_than_the_weights_of_training(tmp_path, textures, lr, lags):
    """A gentle rate makes the average lag behind what has been learned; a wild one makes it the better of the two."""
    logged, plain, mean, kept, last = first_scores(tmp_path, textures, lr=lr)
    assert (plain < mean) == lags, "the rates of this test no longer make a difference"
    assert logged == pytest.approx(min(plain, mean), abs=1e-5)
    same = all(torch.allclose(kept[name], value, atol=1e-6) for name, value in last.items())
    assert same == lags
