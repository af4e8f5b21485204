from __future__ import annotations

import pytest
import torch

import finetune as ft
import finetune.training.below as room
from finetune.training.below import views_of
from finetune.training.phase import Phase
from finetune.training.transfer import transfer
from tests.training.tiny import around, lesson, tiny

UPPER = Phase(name="upper", learns=("conv2", "head"), epochs=4, lr=0.5, augment="none")


def plan(devices: int = 1, batch_size: int = 6, **words) -> ft.Plan:
    words = {"monitor": "log_loss", "settle": "best", "gradient_clip": 0} | words
    return ft.Plan(accelerator="cpu", devices=devices, workers=0, batch_size=batch_size, **words)


def run(folder, textures, what: ft.Plan, phase: Phase = UPPER):
    network, lines = tiny(), []
    made, task = lesson(textures, network, n=31)
    outcome = transfer(network, task, made, what, (phase,), around(folder, what), say=lines.append)
    return network, outcome, [line for line in lines if "computed once" in line]


def moved(network) -> float:
    return float((network.body.conv2.weight - tiny().body.conv2.weight).detach().abs().max())


def assert_same(a, b, *, atol: float):
    assert moved(b) > 1e-3, "nothing was learned, so nothing was compared"
    for name, tensor in a.state_dict().items():
        torch.testing.assert_close(b.state_dict()[name], tensor, rtol=0, atol=atol, msg=name)


@pytest.fixture
def whole(tmp_path, textures):
    return run(tmp_path / "whole", textures, plan(cache="off"))


@pytest.fixture
def in_32_bits(monkeypatch):
    made = room.activations
    monkeypatch.setattr(room, "activations", lambda *args, **words: made(*args, **words, precision="float32"))


def test_a_phase_on_activations_in_32_bits_ends_with_the_weights_of_one_on_pictures(
    tmp_path, textures, whole, in_32_bits, monkeypatch
):
    monkeypatch.setenv("FINETUNE_CACHE", str(tmp_path / "cache"))
    network, outcome, lines = run(tmp_path / "once", textures, plan())
    assert len(lines) == 1 and "bn1" in lines[0] and not whole[2]
    assert_same(network, whole[0], atol=1e-5)
    assert outcome.chosen.epoch == whole[1].chosen.epoch
    assert outcome.chosen.score == pytest.approx(whole[1].chosen.score, abs=1e-5)
    assert not list((tmp_path / "cache").rglob("*.npy")), "somebody's own network may be another one the next time"


def test_a_phase_on_activations_in_16_bits_answers_the_same_within_a_thousandth(tmp_path, textures, whole):
    network, _, lines = run(tmp_path / "once", textures, plan())
    inputs = torch.randint(0, 256, (40, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        one, other = (net.eval()(inputs).softmax(1) for net in (whole[0], network))
    assert lines and moved(network) > 1e-3
    assert (one - other).abs().max() < 1e-3 and torch.equal(one.argmax(1), other.argmax(1))


def test_with_as_many_views_as_epochs_a_phase_with_augmentation_ends_with_the_same_weights(
    tmp_path, textures, in_32_bits
):
    phases = [Phase(**{**vars(UPPER), "augment": "light", "views": views}) for views in (0, UPPER.epochs)]
    each, once = (run(tmp_path / str(p.views), textures, plan(), p) for p in phases)
    assert not each[2] and len(once[2]) == 2 and f"{UPPER.epochs} light versions" in once[2][0]
    assert_same(once[0], each[0], atol=1e-5)


def test_statistics_of_learning_norms_move_as_on_pictures(tmp_path, textures, in_32_bits):
    phase = Phase(**{**vars(UPPER), "norms": "train"})
    each, once = (run(tmp_path / cache, textures, plan(cache=cache), phase) for cache in ("off", "auto"))
    assert once[2] and not torch.equal(each[0].body.bn2.running_mean, tiny().body.bn2.running_mean)
    assert torch.equal(once[0].body.bn1.running_mean, tiny().body.bn1.running_mean)
    assert_same(once[0], each[0], atol=1e-5)


@pytest.mark.thorough
@pytest.mark.filterwarnings("ignore:.*")  # the ranks are other processes; what they say is theirs
def test_two_ranks_on_activations_end_with_the_weights_of_one_rank_with_twice_the_batch(
    tmp_path, textures, monkeypatch
):
    tinier = tiny

    def without_dropout():
        network = tinier()
        network.body.drop = torch.nn.Identity()
        return network

    monkeypatch.setitem(run.__globals__, "tiny", without_dropout)
    one, two = (run(tmp_path / str(n), textures, plan(n, 10 // n)) for n in (1, 2))
    assert one[2] and two[2]
    assert_same(two[0], one[0], atol=1e-5)


def test_what_does_not_fit_runs_on_pictures_and_says_so(tmp_path, textures, whole, monkeypatch):
    monkeypatch.setattr("finetune.activations.KEPT_BYTES", 1000)
    network, lines = tiny(), []
    made, task = lesson(textures, network, n=31)
    transfer(network, task, made, plan(), (UPPER,), around(tmp_path / "none", plan()), say=lines.append)
    assert any("computed in each epoch" in line for line in lines)
    assert_same(network, whole[0], atol=0)


@pytest.mark.parametrize(
    ("plan_words", "phase_words", "views"),
    [
        ({}, {}, 1),
        ({}, {"augment": "light"}, 0),
        ({}, {"augment": "light", "views": 3}, 3),
        ({}, {"epochs": 1}, 0),
        ({}, {"epochs": 1, "steps": 40}, 1),
        ({}, {"learns": "head"}, 1),
        ({}, {"learns": "all"}, 0),
        ({}, {"teacher": 0.5}, 0),
        ({}, {"size": 16}, 0),
        ({"mixup": 0.2}, {}, 0),
        ({"cutmix": 1.0}, {}, 0),
        ({"cache": "off"}, {}, 0),
        ({"cache": "ram"}, {}, 0),
        ({"cache": "disk"}, {}, 1),
    ],
)
def test_only_what_gives_the_same_is_computed_once_unless_views_are_asked_for(plan_words, phase_words, views):
    assert views_of(plan(**plan_words), Phase(**{**vars(UPPER), **phase_words})) == views


def test_a_first_layer_that_gives_many_times_what_a_picture_takes_is_no_place_to_cut(tmp_path, textures, monkeypatch):
    monkeypatch.setattr(room, "LARGEST", 0.1)
    assert not run(tmp_path / "none", textures, plan())[2]
