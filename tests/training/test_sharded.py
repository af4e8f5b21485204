"""Weights that are sharded over two processes (FSDP2 on a CPU mesh) take the steps that whole ones take.

Lightning refuses its FSDP strategy without a GPU, so torch's own `fully_shard` stands in, on our network, our frozen
stages and our parameter groups.
"""

import os
import socket

import numpy as np
import pytest
import torch
import torch.distributed as dist
from torch import nn

import finetune as ft
from finetune.training.freeze import freeze_except, learning_stages
from tests.training.tiny import tiny

STEPS, BATCH = 4, 8


def pictures(step: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(step)
    return torch.rand(BATCH, 3, 32, 32, generator=generator), torch.randint(0, 3, (BATCH,), generator=generator)


def network(learns):
    made = tiny()
    made.body.drop = nn.Identity()
    freeze_except(made, learning_stages(made, made.stages, learns))
    return made.eval()  # norms frozen: a batch that is shared out has other statistics


def steps(module: nn.Module, kind: str, rank: int, world: int) -> list[float]:
    groups = ft.param_groups(module, lr=0.1, layer_decay=0.5, weight_decay=0.01)
    optimizer = torch.optim.AdamW(groups) if kind == "adamw" else torch.optim.SGD(groups, momentum=0.9, nesterov=True)
    losses = []
    for step in range(STEPS):
        inputs, target = pictures(step)
        own = slice(rank * BATCH // world, (rank + 1) * BATCH // world)
        loss = nn.functional.cross_entropy(module(inputs[own]), target[own])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss))
    return losses


def sharded(rank: int, port: int, folder: str, kind: str, learns: str) -> None:
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    dist.init_process_group("gloo", rank=rank, world_size=2)
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    made = network(learns)
    mesh = init_device_mesh("cpu", (2,))
    for part in (made.body.conv1, made.body.conv2, made.head):
        fully_shard(part, mesh=mesh)
    fully_shard(made, mesh=mesh)
    held = sum(p.to_local().numel() for p in made.parameters())
    losses = steps(made, kind, rank, 2)
    whole = {name: p.full_tensor().detach() for name, p in made.named_parameters()}
    torch.save({"weights": whole, "held": held, "losses": losses}, f"{folder}/{rank}.pt")
    dist.destroy_process_group()


@pytest.mark.thorough
@pytest.mark.filterwarnings("ignore:.*")
@pytest.mark.parametrize("learns", ["all", "head"])
@pytest.mark.parametrize("kind", ["sgd", "adamw"])
def test_sharded_weights_take_the_steps_of_whole_ones(tmp_path, kind, learns):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    torch.multiprocessing.spawn(sharded, (port, str(tmp_path), kind, learns), nprocs=2)
    plain = network(learns)
    alone = steps(plain, kind, 0, 1)
    ranks = [torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in range(2)]
    np.testing.assert_allclose(np.mean([r["losses"] for r in ranks], axis=0), alone, atol=1e-5)
    total = sum(p.numel() for p in plain.parameters())
    assert all(r["held"] < 0.75 * total for r in ranks)
    for name, value in plain.named_parameters():
        for rank in ranks:
            np.testing.assert_allclose(rank["weights"][name].numpy(), value.detach().numpy(), atol=1e-5, err_msg=name)
