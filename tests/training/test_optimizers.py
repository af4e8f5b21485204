from __future__ import annotations

import pytest
import torch

from finetune.errors import ConfigError
from finetune.training.optimizers import make_optimizer
from finetune.training.phase import Phase


def test_plain_descent_is_the_gradient_times_the_rate_and_has_no_memory():
    weight = torch.nn.Parameter(torch.tensor([2.0, -1.0], dtype=torch.float64))
    optimizer = make_optimizer("plain-sgd", [{"params": [weight], "lr": 0.1, "weight_decay": 0.0}], lr=0.1)
    for gradient in ([1.0, 3.0], [0.0, 0.0], [-2.0, 1.0]):
        before = weight.detach().clone()
        weight.grad = torch.tensor(gradient, dtype=torch.float64)
        optimizer.step()
        assert torch.allclose(weight.detach(), before - 0.1 * weight.grad)


def test_one_cycle_needs_a_momentum_to_move():
    with pytest.raises(ConfigError, match=r'"plain-sgd" does not have. Expected "sgd"'):
        Phase(name="x", epochs=1, optimizer="plain-sgd", schedule="one-cycle")
