"""Two processes on one machine: what they must agree on."""

import numpy as np
import pytest
import torch

import finetune as ft
from finetune.models.heads import Embedding
from finetune.models.network import Network
from finetune.training.machine import suitable_workers
from finetune.training.phase import Phase
from finetune.training.transfer import transfer
from tests.training.tiny import around, lesson, tiny

PHASES = (
    Phase(name="probe", learns="head", on="features"),
    Phase(name="head", learns="head", epochs=1, lr=0.05, augment="none"),
    Phase(name="all", epochs=2, lr=0.01, norms="frozen", augment="none"),
)


def plan(devices: int, batch_size: int, **words) -> ft.Plan:
    return ft.Plan(accelerator="cpu", devices=devices, workers=0, batch_size=batch_size, gradient_clip=0, **words)


def without_dropout():
    network = tiny()
    network.body.drop = torch.nn.Identity()
    return network


def run(folder, textures, what_plan, phases=PHASES, options=None):
    network = without_dropout()
    what, task = lesson(textures, network, n=31, options=options)
    outcome = transfer(network, task, what, what_plan, phases, around(folder, what_plan), say=lambda line: None)
    return network, outcome


@pytest.mark.filterwarnings("ignore:.*")  # the ranks are other processes; what they say is theirs
def test_two_ranks_end_with_the_weights_of_one_rank_with_twice_the_batch(tmp_path, textures):
    """Each phase also ends with a comparison of hashes across ranks, which stops the run where they differ."""
    two, outcome_two = run(tmp_path / "two", textures, plan(2, 5))
    one, outcome_one = run(tmp_path / "one", textures, plan(1, 10))
    for a, b in zip(two.parameters(), one.parameters(), strict=True):
        np.testing.assert_allclose(a.detach(), b.detach(), atol=1e-5)
    assert outcome_two.chosen.score == pytest.approx(outcome_one.chosen.score, abs=1e-5)
    assert outcome_two.chosen.phase == outcome_one.chosen.phase


@pytest.mark.thorough
@pytest.mark.filterwarnings("ignore:.*")
def test_weights_of_classes_balanced_batches_and_mixing_are_the_same_for_two_ranks(tmp_path, textures):
    """The third class is rarer, so that the weights of the two ranks' batches add up to different sums."""
    phases = (Phase(name="all", epochs=2, lr=0.5, norms="frozen", augment="none", ema=0.5),)
    options = ft.Classify(loss="focal", class_weight="balanced", label_smoothing=0.1)
    # Pairs for mixing are two by two: an even batch holds all of its own.
    words = {"sampler": "balanced", "mixup": 0.4, "cutmix": 1.0, "monitor": "log_loss"}
    two, _ = run(tmp_path / "two", textures, plan(2, 4, **words), phases, options)
    one, _ = run(tmp_path / "one", textures, plan(1, 8, **words), phases, options)
    moved = (one.head.weight - without_dropout().head.weight).detach().abs().max()
    assert moved > 0.01, "nothing was learned, so nothing was compared"
    for a, b in zip(two.parameters(), one.parameters(), strict=True):
        np.testing.assert_allclose(a.detach(), b.detach(), atol=1e-5)


@pytest.mark.parametrize("accelerator", ["cpu", "cuda"])
@pytest.mark.parametrize("ranks", [1, 2, 3, 8])
@pytest.mark.parametrize("cores", [1, 2, 4, 16, 64])
def test_readers_never_outnumber_the_cores_left_by_the_ranks(cores, ranks, accelerator):
    workers = suitable_workers(cores // ranks, accelerator)
    assert 0 <= workers <= 8 and (workers == 0 or workers == 1 or ranks * (workers + 1) <= cores)
    assert workers >= 1 or accelerator == "cpu"


@pytest.mark.thorough
@pytest.mark.filterwarnings("ignore:.*")
def test_points_and_proxies_are_the_same_for_two_ranks(tmp_path, textures):
    """Steps of m-per-class are dealt out whole, and the loss is a mean over pictures."""
    phases = (Phase(name="all", epochs=2, lr=0.05, norms="frozen", augment="none"),)
    words = {"sampler": "m-per-class", "monitor": "map_at_r"}

    def ended(name, what_plan):
        network = without_dropout()
        network = Network(network.body, Embedding(network.head.in_features, 8, 3), origin=network.origin,
                          spec=network.spec, head_path=None)  # fmt: skip
        what, task = lesson(textures, network, n=31, options=ft.Embed())
        start = network.head.proxies.detach().clone()
        transfer(network, task, what, what_plan, phases, around(tmp_path / name, what_plan), say=lambda line: None)
        return network, start

    torch.manual_seed(0)
    two, _ = ended("two", plan(2, 4, **words))
    torch.manual_seed(0)
    one, start = ended("one", plan(1, 8, **words))
    assert (one.head.proxies - start).abs().max() > 0.01, "nothing was learned, so nothing was compared"
    for a, b in zip(two.parameters(), one.parameters(), strict=True):
        np.testing.assert_allclose(a.detach(), b.detach(), rtol=1e-4, atol=1e-5)
