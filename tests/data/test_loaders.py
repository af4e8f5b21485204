import pickle

import numpy as np
import pytest
import torch

from finetune.data.examples import read_examples
from finetune.data.labels import Labels
from finetune.data.loaders import PictureDataset, collate, make_loader, stream
from finetune.data.options import Data
from finetune.errors import UnreadableError
from finetune.types import Batch, ImageSpec

from .pictures import tree

SPEC = ImageSpec(size=(16, 16), mean=(0.5,) * 3, std=(0.5,) * 3)


@pytest.fixture
def examples(tmp_path):
    tree(tmp_path, [f"{name}/{n}.jpg" for name in ("cat", "dog") for n in range(8)])
    return read_examples(Data(source=str(tmp_path)))


def targets(examples):
    return Labels.from_targets(examples.kind, examples.targets).encode(examples.targets)


def loader(examples, **options):
    return make_loader(
        examples, targets(examples), SPEC, **{"batch_size": 5, "train": True, "policy": "light"} | options
    )


def epochs(made, count=2):
    batches = []
    for epoch in range(count):
        made.sampler.set_epoch(epoch)
        batches += list(made)
    return batches


@pytest.mark.parametrize("engine", ["albumentations", "torchvision"])
def test_a_picture_is_mirrored_exactly_where_its_target_is_negated(engine):
    ramp = np.linspace(0, 255, 32).astype(np.uint8)[None, :, None].repeat(32, 0).repeat(3, 2)
    examples = read_examples(Data(source=([ramp] * 6, [1.0, -2.0, 3.0, 4.0, -5.0, 0.5])))
    options = {"policy": "light", "seed": 1, "engine": engine}
    turned = PictureDataset(examples, targets(examples), SPEC, **options, negate=True)
    kept = PictureDataset(examples, targets(examples), SPEC, **options)
    signs = set()
    for place in [(row, epoch) for row in range(6) for epoch in range(20)]:
        picture, target, row = turned[place]
        same, given, _ = kept[place]
        sign = 1 if picture[:, :8].mean() < picture[:, 8:].mean() else -1
        assert target == sign * given and given == targets(examples)[row]
        np.testing.assert_array_equal(picture, same)
        signs.add(sign)
    assert signs == {1, -1}


def test_a_stream_keeps_order_and_gives_reasons(examples, tmp_path):
    (tmp_path / "cat/3.jpg").write_text("no picture")
    chunks = list(stream(examples, SPEC, batch_size=5, readers=3))
    assert [len(rows) + len(errors) for rows, _, errors in chunks] == [5, 5, 5, 1]
    assert np.concatenate([rows for rows, _, _ in chunks]).tolist() == [row for row in range(16) if row != 3]
    assert chunks[0][1].shape == (4, 3, 16, 16) and chunks[0][1].dtype == torch.uint8
    assert list(chunks[0][2]) == [3] and "no picture" in chunks[0][2][3]


def test_a_stream_of_nothing_readable_is_empty_and_not_wrong(examples, tmp_path):
    (tmp_path / "cat/3.jpg").write_text("no picture")
    ((rows, pictures, errors),) = stream(examples, SPEC, indices=[3])
    assert len(rows) == 0 and pictures.shape == (0, 3, 16, 16) and list(errors) == [3]


def test_a_stream_follows_the_rows_asked_for(examples):
    ((rows, pictures, _),) = stream(examples, SPEC, indices=[5, 2])
    whole = next(stream(examples, SPEC, batch_size=16))[1]
    assert rows.tolist() == [5, 2] and torch.equal(pictures, whole[[5, 2]])


def test_a_stream_does_not_depend_on_how_many_read(examples):
    one, four = (torch.cat([chunk[1] for chunk in stream(examples, SPEC, readers=n)]) for n in (1, 4))
    assert torch.equal(one, four)


def test_pictures_of_8_and_16_bits_share_a_batch():
    arrays = [np.full((16, 16, 3), 255, np.uint8), np.full((16, 16, 3), 65535, np.uint16)]
    ((_, pictures, _),) = stream(read_examples(Data(source=(arrays, ["a", "b"]))), SPEC)
    assert pictures.dtype == torch.float32 and torch.all(pictures == 1)


def test_training_does_not_depend_on_the_number_of_workers(examples):
    alone, two = epochs(loader(examples, workers=0)), epochs(loader(examples, workers=2))
    assert len(alone) == len(two) == 6
    for one, other in zip(alone, two, strict=True):
        assert isinstance(one, Batch) and all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


def test_each_epoch_has_its_own_order_and_its_own_pictures(examples):
    first, second = epochs(loader(examples, batch_size=16))
    assert sorted(first.row.tolist()) == sorted(second.row.tolist()) == list(range(16))
    assert first.row.tolist() != second.row.tolist()
    assert not torch.equal(first.inputs[first.row.argsort()], second.inputs[second.row.argsort()])


def test_the_seed_decides(examples):
    one, same, other = (epochs(loader(examples, seed=seed), 1)[0] for seed in (1, 1, 2))
    assert torch.equal(one.inputs, same.inputs) and not torch.equal(one.row, other.row)


def test_loading_leaves_the_global_generators_alone(examples):
    torch.manual_seed(0)
    np.random.seed(0)
    expected = torch.rand(1), np.random.rand()
    torch.manual_seed(0)
    np.random.seed(0)
    epochs(loader(examples), 1)
    assert (torch.rand(1), np.random.rand()) == expected


def test_evaluation_sees_what_a_stream_sees(examples):
    batches = list(loader(examples, train=False, batch_size=4))
    ((_, pictures, _),) = stream(examples, SPEC)
    assert torch.equal(torch.cat([batch.inputs for batch in batches]), pictures)
    assert torch.cat([batch.row for batch in batches]).tolist() == list(range(16))
    assert torch.cat([batch.target for batch in batches]).tolist() == [0] * 8 + [1] * 8


def test_a_last_batch_of_one_is_left_out_in_training_only(examples):
    assert [len(batch.row) for batch in loader(examples)] == [5, 5, 5]
    assert [len(batch.row) for batch in loader(examples, train=False)] == [5, 5, 5, 1]
    assert [len(batch.row) for batch in loader(examples, indices=[3])] == [1]
    assert len(loader(examples)) == 3


@pytest.mark.parametrize("workers", [0, 2])
def test_an_unreadable_picture_is_named(examples, tmp_path, workers):
    (tmp_path / "cat/3.jpg").write_text("no picture")
    with pytest.raises(UnreadableError, match=r"cat/3\.jpg: it is no picture") as caught:
        list(loader(examples, workers=workers))
    assert "Traceback" not in str(caught.value)


@pytest.mark.thorough
def test_a_dataset_travels_to_spawned_workers(examples):
    dataset = PictureDataset(examples, targets(examples), SPEC, policy="light", seed=0)
    before = dataset[(3, 1)]
    again = pickle.loads(pickle.dumps(dataset))[(3, 1)]
    np.testing.assert_array_equal(before[0], again[0])


@pytest.mark.parametrize("made", [np.array([1.5, 2.0], np.float32), np.eye(2, dtype=np.float32), np.array([0, 1])])
def test_targets_keep_their_type_and_shape(made):
    batch = collate([(np.zeros((4, 4, 3), np.uint8), made[row], row) for row in (0, 1)])
    np.testing.assert_array_equal(batch.target.numpy(), made)
    assert batch.target.numpy().dtype == made.dtype and batch.row.dtype == torch.int64


def test_a_loader_travels_to_another_process_and_gives_the_same_there(examples):
    import pickle

    here = loader(examples)
    there = pickle.loads(pickle.dumps(here))
    assert there.generator.initial_seed() == here.generator.initial_seed()
    for a, b in zip(here, there, strict=True):
        assert torch.equal(a.inputs, b.inputs) and torch.equal(a.row, b.row)


def test_batches_are_laid_out_as_the_network_takes_them(examples):
    batch = next(iter(loader(examples)))
    assert batch.inputs.shape == (5, 3, 16, 16) and batch.inputs.is_contiguous(memory_format=torch.channels_last)
    assert next(stream(examples, SPEC))[1].is_contiguous(memory_format=torch.channels_last)
