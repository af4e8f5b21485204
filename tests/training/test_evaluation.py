"""Evaluation counts each picture once, however many ranks share them."""

from __future__ import annotations

import json
import multiprocessing

import numpy as np
import pytest
import torch
import torch.distributed as dist

import finetune as ft
from finetune.data.examples import read_examples
from finetune.data.labels import Labels
from finetune.data.loaders import make_loader
from finetune.training.learner import Learner
from finetune.training.phase import Phase
from tests.made import KINDS, texture
from tests.training.tiny import tiny


@pytest.fixture(scope="module")
def examples():
    rng = np.random.default_rng(0)
    names = [KINDS[int(kind)] for kind in rng.integers(0, 3, 101)]
    return read_examples(ft.Data(source=([texture(name, rng) for name in names], names)))


def measured(examples, rank: int, world: int, folder) -> None:
    """Writes what a rank says of all pictures, and which of them it has seen itself."""
    torch.set_num_threads(1)
    if world > 1:
        dist.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=world)
    labels = Labels.from_targets("class", examples.targets)
    network = tiny().eval()
    task = ft.Classify().build(labels, examples.targets)
    learner = Learner(network, task, Phase(name="all", epochs=1), ft.Plan(), seed=0)
    rows: list[int] = []
    with torch.inference_mode():
        for batch in make_loader(examples, labels.encode(examples.targets), network.spec, batch_size=8, train=False):
            learner._step(batch, "validation")
            rows += batch.row.tolist()
    (folder / f"{rank}-of-{world}.json").write_text(json.dumps([learner.measured(), rows]))
    if world > 1:
        dist.barrier()
        dist.destroy_process_group()


@pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="needs processes that are forked")
@pytest.mark.filterwarnings("ignore:.*fork.*")
def test_101_pictures_on_four_ranks_are_measured_as_on_one(examples, tmp_path):
    measured(examples, 0, 1, tmp_path)
    alone, everything = json.loads((tmp_path / "0-of-1.json").read_text())
    context = multiprocessing.get_context("fork")
    ranks = [context.Process(target=measured, args=(examples, rank, 4, tmp_path)) for rank in range(4)]
    for process in ranks:
        process.start()
    for process in ranks:
        process.join()
    assert [process.exitcode for process in ranks] == [0] * 4
    told = [json.loads((tmp_path / f"{rank}-of-4.json").read_text()) for rank in range(4)]
    assert sorted(row for _, rows in told for row in rows) == everything == list(range(101))
    for values, _ in told:  # all ranks know all, or they would choose different epochs
        assert values == told[0][0]
        assert values["validation_accuracy"] == alone["validation_accuracy"]
        assert values == pytest.approx(alone, abs=1e-5)
    assert 0 < alone["validation_accuracy"] < 1, "nothing could be counted wrongly"
