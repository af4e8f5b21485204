from __future__ import annotations

import os
import threading
import time

import numpy as np
import pytest
import torch

import finetune as ft
from finetune.data.examples import read_examples
from finetune.data.options import Data
from finetune.errors import UnreadableError
from finetune.features import features
from finetune.training import launched as launched_module
from finetune.training.crew import Launched, Spawned, crew_of, devices_of
from finetune.training.launched import Group
from finetune.training.machine import Machine
from finetune.training.place import Place
from tests.made import class_folders

CPU = torch.device("cpu")


def told(share, device, progress):
    return share.rank, str(device)


class Fails:
    """Fails in all processes but the one that it was made in."""

    def __init__(self, how) -> None:
        self.how, self.home = how, os.getpid()

    def __call__(self, share, device, progress):
        if os.getpid() == self.home:
            return share.rank
        if self.how == "dies":
            os._exit(3)
        raise self.how


class Packed:
    """Takes its time to be packed, and must not be at work meanwhile."""

    def __init__(self) -> None:
        self.home, self.begun = os.getpid(), False

    def __getstate__(self):
        time.sleep(0.3)
        assert not self.begun, "packed while it is at work"
        return self.__dict__

    def __call__(self, share, device, progress):
        self.begun = os.getpid() == self.home
        return share.rank


def test_a_job_is_packed_for_others_before_it_begins_here():
    """Else weights travel while they are moved: two pictures of fifteen had other features, once in many runs."""
    assert Spawned([CPU] * 3).work(Packed(), CPU) == [0, 1, 2]


def test_processes_that_are_started_share_features(tmp_path):
    torch.manual_seed(0)
    network = ft.Backbone("timm/test_resnet", weights="none", input_size=64).build(3).eval()
    examples = read_examples(Data(source=str(class_folders(tmp_path / "pictures", count=5))))
    one = features(network, examples, batch_size=4, cache=tmp_path / "one")
    moved: list[int] = []
    many = features(network, examples, batch_size=4, cache=tmp_path / "many", crew=Spawned([CPU] * 2),
                    progress=moved.append)  # fmt: skip
    np.testing.assert_allclose(one.values, many.values, rtol=1e-5, atol=1e-6)
    assert moved == [4, 4], "this process has done its share alone"


@pytest.mark.thorough
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_share_that_another_process_cannot_do_is_done_here():
    for how in ("dies", FileNotFoundError("another disk")):
        assert Spawned([CPU] * 2).work(Fails(how), CPU) == [0, 1]
    with pytest.raises(UnreadableError, match="torn"):
        Spawned([CPU] * 2).work(Fails(UnreadableError("torn")), CPU)


@pytest.fixture
def group(monkeypatch):
    """The leader of two, and its follower; what is put into their store is there for both."""
    store = torch.distributed.HashStore()
    monkeypatch.setattr(launched_module, "_meeting_point", lambda place: store)
    return [Group(Place(rank=rank, world_size=2, local_size=2, slurm=False)) for rank in range(2)]


def test_those_of_a_launcher_are_handed_their_share_and_answer(group):
    leader, follower = group
    heard: list[str | None] = []
    waiting = threading.Thread(target=lambda: heard.append(follower.follow()))
    waiting.start()
    machine = Machine.of(ft.Plan(accelerator="cpu", devices=2))
    crew = Launched(leader, machine)
    assert crew.work(told, CPU) == [(0, "cpu"), (1, "cpu")]
    assert crew.work(Elsewhere(FileNotFoundError("another disk")), CPU) == [0, "here after all"]
    with pytest.raises(UnreadableError, match="torn"):
        crew.work(Elsewhere(UnreadableError("torn")), CPU)
    leader.end("folder")
    waiting.join()
    assert heard == ["folder"]


class Elsewhere:
    """Fails on a follower, which gets a copy of it."""

    def __init__(self, how, copied=False) -> None:
        self.how, self.copied = how, copied

    def __reduce__(self):
        return Elsewhere, (self.how, True)

    def __call__(self, share, device, progress):
        if self.copied:
            raise self.how
        return share.rank if share.rank == 0 else "here after all"


def test_each_rank_of_a_node_has_its_own_device():
    words = {"num_nodes": 1, "strategy": "ddp", "precision": "32-true", "workers": 0}
    machine = Machine(accelerator="cuda", devices=(1, 3), world_size=2, **words)
    assert devices_of(machine) == [torch.device("cuda", 1), torch.device("cuda", 3)]
    assert isinstance(crew_of(machine), Spawned)
    assert devices_of(Machine(accelerator="cuda", devices=2, world_size=2, **words))[1] == torch.device("cuda", 1)
    assert crew_of(Machine(accelerator="cuda", devices=1, world_size=1, **words)) is None
    assert crew_of(Machine(accelerator="cpu", devices=2, world_size=2, **words)) is None
