from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import finetune as ft
import finetune.activations as room
import finetune.data.samplers as samplers
from finetune.activations import activations
from finetune.data.examples import read_examples
from finetune.data.labels import Labels
from finetune.data.loaders import make_loader
from finetune.data.options import Data
from finetune.errors import UnreadableError
from finetune.models.cut import cut
from tests.made import class_folders
from tests.models.official import pictures
from tests.training.tiny import tiny as own

TRAIN = np.array([0, 1, 2, 4, 6, 7, 8, 10, 11, 13, 14])


def tiny(seed: int = 0):
    torch.manual_seed(seed)
    net = ft.Backbone("timm/test_resnet", weights="none", input_size=64).build(3)
    with torch.no_grad():
        for layer in net.modules():  # timm begins with blocks that add nothing, and then nothing in them learns
            if isinstance(layer, nn.BatchNorm2d):
                nn.init.ones_(layer.weight)
        net.train()(pictures(net.spec, count=16))  # statistics that are not those of a fresh one
    return net.eval()


def divided(net, lowest: str = "layer4"):
    names = [stage.name for stage in net.stages]
    found = cut(net, net.stages[names.index(lowest) :], pictures(net.spec, count=2))
    assert found is not None
    return found


@pytest.fixture
def examples(tmp_path):
    return read_examples(Data(source=str(class_folders(tmp_path / "pictures", count=5))))


@pytest.fixture
def target(examples):
    return Labels.from_targets("class", examples.targets).encode(examples.targets)


def silent(line: str) -> None:
    pass


def trained(net, loader, features, epochs: int):
    """The probabilities after some epochs of layer4 and head, dropout on, norms frozen; the network has the weights."""
    moving = [p for n, p in net.named_parameters() if n.startswith(("body.layer4", "head"))]
    optimizer = torch.optim.SGD(moving, lr=0.05, momentum=0.9)
    torch.manual_seed(5)
    net.train()
    for layer in net.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.eval()
    for epoch in range(epochs):
        loader.sampler.set_epoch(epoch)
        for batch in loader:
            optimizer.zero_grad()
            logits = net.head(nn.functional.dropout(features(batch.inputs), 0.2))
            nn.functional.cross_entropy(logits, batch.target).backward()
            optimizer.step()
    return net.eval()


def both(examples, target, tmp_path, *, policy="none", views=1, epochs=3, precision="float32", sampler="shuffle"):
    whole, upper = tiny(), tiny()
    words = {"batch_size": 4, "train": True, "seed": 7, "indices": TRAIN, "sampler": sampler}
    trained(whole, make_loader(examples, target, whole.spec, policy=policy, **words), whole.features, epochs)
    at = divided(upper)
    with activations(
        at,
        examples,
        TRAIN,
        say=silent,
        policy=policy,
        views=views,
        seed=7,
        precision=precision,
        cache=tmp_path / "kept",
    ) as kept:
        trained(upper, kept.loader(examples, target, **words), at.upper, epochs)
    for layer in ("body.layer4.0.conv1.weight", "head.weight"):
        moved = (whole.get_parameter(layer) - tiny().get_parameter(layer)).abs().max()
        assert moved > 3e-4, "nothing was learned, so nothing was compared"
    return whole, upper


def assert_same_weights(a, b):
    for name, tensor in a.state_dict().items():
        torch.testing.assert_close(b.state_dict()[name], tensor, rtol=0, atol=1e-5)


@pytest.mark.parametrize("sampler", ["shuffle", "balanced"])
def test_on_activations_in_32_bits_training_ends_with_the_weights_of_training_on_pictures(
    examples, target, tmp_path, sampler
):
    assert_same_weights(*both(examples, target, tmp_path, sampler=sampler))


def test_on_activations_in_16_bits_probabilities_are_within_a_thousandth_and_the_first_class_the_same(
    examples, target, tmp_path
):
    whole, upper = both(examples, target, tmp_path, precision="float16")
    batch = next(iter(make_loader(examples, target, whole.spec, batch_size=15, train=False)))
    with torch.no_grad():
        one, other = (net(batch.inputs).softmax(1) for net in (whole, upper))
    assert (one - other).abs().max() < 1e-3 and torch.equal(one.argmax(1), other.argmax(1))
    assert not torch.equal(one, other)


def test_with_as_many_versions_as_epochs_training_sees_the_pictures_that_it_would_have_seen(examples, target, tmp_path):
    assert_same_weights(*both(examples, target, tmp_path, policy="light", views=3, epochs=3))


def batches(loader, epoch: int):
    loader.sampler.set_epoch(epoch)
    return list(loader)


def test_epochs_go_round_through_the_versions(examples, target, tmp_path):
    net = tiny()
    found = divided(net)
    words = {"batch_size": 11, "train": False}
    with activations(
        found,
        examples,
        TRAIN,
        say=silent,
        policy="light",
        views=2,
        seed=3,
        precision="float32",
        cache=tmp_path / "kept",
    ) as kept:
        seen = [batches(kept.loader(examples, target, **words), epoch)[0] for epoch in range(4)]
    varied = make_loader(examples, target, net.spec, policy="light", seed=3, batch_size=11, train=True, indices=TRAIN)
    for epoch in range(2):
        batch = batches(varied, epoch)[0]
        order = torch.argsort(batch.row)
        expected = found.lower(batch.inputs)[order]
        torch.testing.assert_close(seen[epoch].inputs, expected, rtol=1e-4, atol=1e-4)
    assert torch.equal(seen[0].inputs, seen[2].inputs) and torch.equal(seen[1].inputs, seen[3].inputs)
    assert not torch.allclose(seen[0].inputs, seen[1].inputs)


@pytest.mark.parametrize("train", [True, False])
@pytest.mark.parametrize("world", [1, 2])
def test_batches_hold_the_examples_that_batches_of_pictures_hold_on_every_rank(
    examples, target, tmp_path, monkeypatch, world, train
):
    net = tiny()
    words = {"batch_size": 3, "train": train, "seed": 2, "sampler": "sqrt"}
    with activations(divided(net), examples, TRAIN, say=silent, cache=tmp_path / "kept") as kept:
        for rank in range(world):
            monkeypatch.setattr(samplers, "_rank_and_world", lambda rank=rank: (rank, world))
            for epoch in (0, 1):
                expected = batches(make_loader(examples, target, net.spec, indices=TRAIN, **words), epoch)
                got = batches(kept.loader(examples, target, **words), epoch)
                assert len(got) == len(expected) > 0
                for a, b in zip(got, expected, strict=True):
                    assert torch.equal(a.row, b.row) and torch.equal(a.target, b.target)
                    assert a.inputs.shape == (len(b.row), *divided(net).shape) and a.inputs.dtype == torch.float16


def test_a_loader_travels_to_another_process_without_the_numbers(examples, target, tmp_path):
    with activations(divided(tiny()), examples, TRAIN, say=silent, cache=tmp_path / "kept") as kept:
        loader = kept.loader(examples, target, batch_size=4, train=True)
        first = batches(loader, 1)
        carried = pickle.dumps(loader)
        assert len(carried) < 10_000
        for a, b in zip(first, batches(pickle.loads(carried), 1), strict=True):
            assert torch.equal(a.inputs, b.inputs) and torch.equal(a.row, b.row)


def test_what_is_known_is_not_computed_again(examples, tmp_path, monkeypatch):
    words = {"say": silent, "cache": tmp_path / "kept", "policy": "light", "views": 2}
    done: list[int] = []
    with activations(divided(tiny()), examples, TRAIN, progress=done.append, **words) as kept:
        first = np.load(kept.path)
    assert sum(done) == 2 * len(TRAIN)
    net = tiny()
    torch.nn.init.ones_(net.body.layer4[0].conv1.weight)  # above the cut
    monkeypatch.setattr(room, "view_loader", None)  # whoever reads a picture now fails
    with activations(divided(net), examples, TRAIN, **words) as again:
        assert np.array_equal(np.load(again.path), first)
    for change in ({"seed": 1}, {"views": 3}, {"policy": "standard"}, {"precision": "float32"}):
        with pytest.raises(TypeError):
            activations(divided(tiny()), examples, TRAIN, **words | change)
    with pytest.raises(TypeError):  # the same pictures at other rows are varied otherwise
        activations(divided(tiny()), examples, TRAIN[::-1], **words)
    for net, lowest in ((tiny(seed=1), "layer4"), (tiny(), "layer3")):
        with pytest.raises(TypeError):
            activations(divided(net, lowest), examples, TRAIN, **words)
    assert len(list((tmp_path / "kept").iterdir())) == 1


def test_more_than_the_bound_is_not_kept_and_said(examples, tmp_path):
    found, lines = divided(tiny()), []
    need = 2 * len(TRAIN) * int(np.prod(found.shape))
    words = {"say": lines.append, "cache": tmp_path / "kept"}
    assert activations(found, examples, TRAIN, bound=need, **words) is None  # the file's header is more
    assert "in each epoch" in lines[0] and "layer3" in lines[0] and "MiB" in lines[0]
    assert not list((tmp_path / "kept").iterdir())
    with activations(found, examples, TRAIN, bound=need + 128, **words) as kept:
        assert kept.path.stat().st_size == need + 128
        assert str(kept.path) in lines[1] and f"{need / 2**20:,.1f} of at most" in lines[1]


def test_a_network_of_ones_own_is_computed_for_one_run_since_its_code_may_change(examples, target, tmp_path):
    net = own()
    found = cut(net, [stage for stage in net.stages if stage.name in ("conv2", "head")], pictures(net.spec, count=2))
    assert found is not None
    with activations(found, examples, TRAIN, say=silent, cache=tmp_path / "kept") as kept:
        assert len(batches(kept.loader(examples, target, batch_size=4, train=False), 0)) == 3
    assert not list((tmp_path / "kept").iterdir())


def test_numbers_that_half_precision_does_not_hold_are_not_kept_and_said(examples, tmp_path):
    net, lines = tiny(), []
    with torch.no_grad():
        net.body.layer3[-1].bn3.weight.fill_(1e6)
    assert activations(divided(net), examples, TRAIN, say=lines.append, cache=tmp_path / "kept") is None
    assert "infinite" in lines[0]
    assert not list((tmp_path / "kept").iterdir())
    with activations(
        divided(net), examples, TRAIN, say=lines.append, precision="float32", cache=tmp_path / "kept"
    ) as kept:
        assert np.isfinite(np.load(kept.path)).all()


@pytest.mark.parametrize("policy", ["none", "light"])
def test_a_picture_that_cannot_be_read_is_named_and_nothing_is_left(examples, tmp_path, policy):
    Path(examples.table["source"][4]).write_bytes(b"no picture")
    with pytest.raises(UnreadableError, match=str(examples.table["id"][4])):
        activations(divided(tiny()), examples, TRAIN, say=silent, policy=policy, cache=tmp_path / "kept")
    assert not list((tmp_path / "kept").iterdir())
