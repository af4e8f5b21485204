"""Steps that are taken to be measured."""

import pytest
import torch

import finetune as ft
from finetune.errors import TrainingError
from finetune.training.dry import dry_steps, take_steps
from finetune.training.phase import Phase
from tests.training.tiny import around, lesson, state, tiny

PLAN = ft.Plan(accelerator="cpu", devices=1, workers=0, batch_size=4)
ALL = Phase(name="all", epochs=1)


def test_a_process_of_its_own_says_what_a_step_takes_and_leaves_nothing_behind(tmp_path, textures):
    network = tiny()
    before, chance = state(network), torch.get_rng_state()
    what, task = lesson(textures, network)
    taken = dry_steps(network, task, what.target, ALL, PLAN, around(tmp_path, PLAN))
    assert 0 < taken.seconds < 30 and 0 < taken.program < taken.memory
    assert taken.gradients == 4 * sum(p.numel() for p in network.parameters())
    assert all(torch.equal(before[name], tensor) for name, tensor in network.state_dict().items())
    assert torch.equal(torch.get_rng_state(), chance) and not list(tmp_path.iterdir())


def test_gradients_are_those_of_what_learns_in_the_numbers_that_the_weights_have(tmp_path, textures):
    network = tiny()
    what, task = lesson(textures, network)
    head = sum(p.numel() for p in network.head.parameters())
    for precision, size in (("32-true", 4), ("bf16-true", 2), ("bf16-mixed", 4)):
        plan = ft.Plan(accelerator="cpu", devices=1, workers=0, batch_size=4, precision=precision)
        phase = Phase(name="head", learns="head", epochs=1)
        assert take_steps(network, task, what.target, phase, plan, around(tmp_path, plan)).gradients == size * head


@pytest.mark.thorough
def test_what_goes_wrong_there_is_told_here(tmp_path, textures):
    network = tiny()
    what, task = lesson(textures, network)
    phase = Phase(name="top", learns=("layer9",), epochs=1)
    with pytest.raises(TrainingError, match=r'A step of phase "top" with 4 pictures cannot be taken here: .*layer9'):
        dry_steps(network, task, what.target, phase, PLAN, around(tmp_path, PLAN))
