from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps

import finetune as ft
from finetune.data.examples import read_examples
from finetune.data.options import Data
from finetune.data.policies import policy
from finetune.features import run_over
from finetune.training.mirrored import LOOKED_AT, UPRIGHT, keep_left_and_right, mirrored_features, some_of_each
from finetune.training.phase import Phase
from tests.made import QUICK
from tests.training.tiny import lesson, state, tiny

PHASES = (
    Phase(name="probe", learns="head", on="features", views=4, augment="light"),
    Phase(name="fine-tune", epochs=2, augment="standard"),
    Phase(name="blurred", epochs=1, augment="documents"),
)
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def saws(tmp_path_factory):
    """Brightness that rises slowly and falls at once, or the other way round: one class is the other one mirrored."""
    folder, rng = tmp_path_factory.mktemp("saws"), np.random.default_rng(0)
    for name, turn in (("rising", 1), ("falling", -1)):
        (folder / name).mkdir()
        for i in range(24):
            saw = (np.arange(48) + rng.integers(8)) % 8 * 30
            pixels = np.clip(np.tile(saw, (40, 1))[..., None] + rng.normal(0, 9, (40, 48, 3)), 0, 255).astype(np.uint8)
            Image.fromarray(np.ascontiguousarray(pixels[:, ::turn])).save(folder / name / f"{i}.png")
    return folder


def told(folder, asked=None, phases=PHASES, network=None):
    network = network or tiny(2)
    what, task = lesson(folder, network)
    before = state(network)
    found = keep_left_and_right(network, task, what, phases, asked or ft.Plan(accelerator="cpu"), CPU)
    assert all(torch.equal(before[name], tensor) for name, tensor in network.state_dict().items())
    return found


def test_where_mirrored_pictures_are_other_things_no_phase_mirrors_and_the_line_says_why(saws):
    phases, line = told(saws)
    assert "left and right have a meaning" in line and "mirror" not in policy(UPRIGHT).does
    assert phases == tuple(replace(phase, augment=UPRIGHT) for phase in PHASES)


def test_a_run_says_so_and_trains_that_way_and_a_policy_that_was_named_stays(saws, tmp_path):
    words = {**QUICK, "method": "lp-ft", "epochs": 1, "batch_size": 8}
    plans = {}
    for name, more in (("open", {}), ("named", {"augment": "standard"})):
        ft.fit(saws, **words, **more, out=tmp_path / name)
        plans[name] = (tmp_path / name / "report.md").read_text()
    assert "left and right have a meaning" in plans["open"] and "standard" not in plans["open"]
    assert "left and right have a meaning" not in plans["named"] and "standard" in plans["named"]


def test_where_mirrored_pictures_are_the_same_things_the_plan_stays(textures):
    assert told(textures, network=tiny(3)) == (PHASES, None)


@pytest.mark.parametrize("said", [{"augment": "standard"}, {"phases": PHASES}])
def test_what_was_asked_for_is_done_all_the_same(saws, said):
    assert told(saws, ft.Plan(accelerator="cpu", **said)) == (PHASES, None)


def test_phases_without_features_or_without_mirrors_stay(saws, monkeypatch):
    monkeypatch.setattr("finetune.training.mirrored.mirrored_features", None)  # whoever looks now fails
    for phases in (PHASES[1:], PHASES[2:], (replace(PHASES[0], views=0, augment="none"),)):
        assert told(saws, phases=phases) == (phases, None)


def test_too_few_pictures_cannot_tell(saws):
    network = tiny(2)
    what, task = lesson(saws, network)
    what = replace(what, train=what.train[[0, -1]])
    assert keep_left_and_right(network, task, what, PHASES, ft.Plan(accelerator="cpu"), CPU) == (PHASES, None)


def test_mirrored_features_are_those_of_mirrored_files(saws, tmp_path):
    for file in saws.glob("*/*.png"):
        (tmp_path / file.parent.name).mkdir(exist_ok=True)
        ImageOps.mirror(Image.open(file)).save(tmp_path / file.parent.name / file.name)
    here, there = (read_examples(Data(source=str(folder))) for folder in (saws, tmp_path))
    network = tiny(2)
    found, expected = mirrored_features(network, here, CPU), run_over(network, there, what="features").values
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def test_of_each_class_some_are_looked_at_and_of_no_class_one_alone():
    target = np.repeat(np.arange(40), [1, 300, *[9] * 38])
    rows = np.flatnonzero(np.arange(len(target)) % 4 > 0)
    chosen = some_of_each(target, rows, seed=1)
    counts = np.bincount(target[chosen], minlength=40)
    assert len(chosen) <= LOOKED_AT and set(chosen) <= set(rows) and counts[0] == 0 and (counts[1:] >= 2).all()
    assert np.array_equal(chosen, some_of_each(target, rows, seed=1))
    assert len(some_of_each(np.arange(500), np.arange(500), seed=0)) == 0


@pytest.mark.parametrize("name, means", [("hymenoptera/train", False), ("digits", True)])
def test_real_photographs_may_be_mirrored_and_real_digits_may_not(shared_data, shared_weights, tmp_path, name, means):
    import gzip

    folder = shared_data / name
    if means:
        folder = tmp_path
        pixels, labels = (gzip.decompress(f.read_bytes()) for f in sorted((shared_data / "mnist_t10k").glob("*.gz")))
        for i, digit in enumerate(np.frombuffer(pixels, np.uint8, offset=16).reshape(-1, 28, 28)[:200]):
            (folder / str(labels[8 + i])).mkdir(exist_ok=True)
            Image.fromarray(digit).save(folder / str(labels[8 + i]) / f"{i}.png")
    weights = str(shared_weights / "mobilenet_v2.torchvision.pth")
    network = ft.Backbone("torchvision/mobilenet_v2", weights=weights, mean=0.5, std=0.5, input_size=128).build(
        10 if means else 2
    )
    phases, line = told(folder, network=network)
    assert (phases != PHASES, line is not None) == (means, means)
