"""Batches and the memory of a device."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import finetune as ft
from finetune.errors import TrainingError
from finetune.training.memory import decide_batch, largest_batch, memory_told, sizes_to_try, step_of
from finetune.training.offers import Surroundings
from finetune.training.phase import Phase
from finetune.training.trainer import fit_trainer
from finetune.training.transfer import transfer
from tests.training.tiny import around, lesson, state, tiny

PLAN = ft.Plan(accelerator="cpu", devices=1, workers=0, batch_size="auto")
PHASE = Phase(name="all", epochs=1, lr=0.01)


def on_a_gpu(folder):
    """Surroundings that say so; nothing is ever computed there."""
    cpu = around(folder, PLAN)
    return Surroundings(folder=folder, machine=type(cpu.machine)(**{**vars(cpu.machine), "accelerator": "cuda:none"}))


def out_of_memory_above(most, tried):
    def step(*values):
        tried.append(values[-1])
        if values[-1] > most:
            raise torch.OutOfMemoryError("CUDA out of memory.")

    return step


@given(st.integers(1, 1000))
def test_the_largest_power_of_two_that_fits_is_found(most):
    tried = []
    size = largest_batch(out_of_memory_above(most, tried), [256, 128, 64, 32, 16, 8, 4, 2, 1])
    assert size <= most and (2 * size > most or size == 256)
    assert tried == sorted(tried, reverse=True)


def test_no_batch_at_all_is_told_with_what_to_do():
    with pytest.raises(TrainingError, match=r"does not hold.*grad-checkpointing"):
        largest_batch(out_of_memory_above(0, []), [2, 1])


@pytest.mark.parametrize(("most", "expected"), [(1000, 256), (100, 64)])
def test_an_accelerator_is_tried_from_256_down(tmp_path, monkeypatch, most, expected):
    tried = []
    monkeypatch.setattr("finetune.training.memory.step_of", out_of_memory_above(most, tried))
    network, targets = tiny(), np.zeros(5000, np.int64)
    assert decide_batch(network, None, targets, (PHASE,), PLAN, on_a_gpu(tmp_path)) == expected
    assert tried[0] == 256 and tried[-1] == expected


def test_a_cpu_takes_32_and_tries_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr("finetune.training.memory.step_of", lambda *values: pytest.fail("tried"))
    targets = np.zeros(5000, np.int64)
    assert decide_batch(tiny(), None, targets, (PHASE,), PLAN, around(tmp_path, PLAN)) == 32


@given(st.integers(1, 300), st.integers(1, 4), st.integers(1, 2000))
def test_a_batch_divides_what_a_step_is_to_see(effective, world, examples):
    plan = ft.Plan(batch_size="auto", effective_batch=effective * world)
    for accelerator in ("cpu", "cuda"):
        for size in sizes_to_try(plan, accelerator=accelerator, world_size=world, examples=examples):
            assert plan.effective_batch % (size * world) == 0 and size <= max(2, examples)


@pytest.mark.parametrize("learns", ["all", "head", "adapters"])
def test_a_tried_step_is_a_real_one_and_changes_nothing(tmp_path, textures, learns):
    network = tiny()
    what, task = lesson(textures, network)
    before = state(network)
    step_of(network, task, what.target, Phase(name="p", epochs=1, learns=learns), PLAN, around(tmp_path, PLAN), 4)
    assert all(torch.equal(before[name], tensor) for name, tensor in network.state_dict().items())
    assert all(p.requires_grad for p in network.parameters())


def test_memory_that_runs_out_in_a_phase_is_told_with_what_to_do(tmp_path, textures, monkeypatch):
    network = tiny()
    what, task = lesson(textures, network)

    def full(self, batch, batch_idx):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB.")

    monkeypatch.setattr("finetune.training.learner.Learner.training_step", full)
    plan = ft.Plan(accelerator="cpu", workers=0, batch_size=8)
    with pytest.raises(TrainingError, match=r"ran out.*--batch-size 4 --effective-batch 8.*grad-checkp.*precision"):
        transfer(network, task, what, plan, (PHASE,), around(tmp_path, plan), say=lambda line: None)


def test_memory_that_runs_out_in_a_spawned_rank_is_known_as_such():
    class Spawned:
        def fit(self, module, **data):
            raise RuntimeError("-- Process 1 terminated:\nTraceback\ntorch.OutOfMemoryError: CUDA out of memory.\n")

    with pytest.raises(TrainingError, match="ran out"), memory_told("all", 8):
        fit_trainer(Spawned(), None, {})
