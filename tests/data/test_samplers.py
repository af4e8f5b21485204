"""Who is taken how often, in which order, and by which rank."""

import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from finetune.data.samplers import POWERS, EpochSampler, classes_of, draw_evenly, make_sampler
from finetune.errors import ConfigError


def shares(monkeypatch, world, sampler, epoch=3):
    sampler.set_epoch(epoch)
    for rank in range(world):
        monkeypatch.setattr("finetune.data.samplers._rank_and_world", lambda rank=rank: (rank, world))
        share = list(sampler)
        assert len(sampler) == len(share) and all(told == epoch for _, told in share)
        yield [row for row, _ in share]


@pytest.mark.parametrize("count", [1, 2, 7, 16, 17, 33])
@pytest.mark.parametrize("world", [1, 2, 3])
def test_in_evaluation_each_row_is_taken_once_by_one_rank(monkeypatch, count, world):
    targets = np.arange(count) % 2
    for name in POWERS:
        sampler = make_sampler(np.arange(count), targets, sampler=name, train=False, batch_size=4, seed=0)
        taken = shares(monkeypatch, world, sampler)
        assert sorted(row for share in taken for row in share) == list(range(count))


@pytest.mark.parametrize("count", [16, 24, 26, 33, 47])
@pytest.mark.parametrize("world", [2, 3])
@pytest.mark.parametrize("name", POWERS)
def test_many_ranks_take_together_what_one_takes_in_each_step(monkeypatch, count, world, name):
    targets = (np.arange(count) % 5 == 0).astype(np.int64)

    def made(batch_size):
        return make_sampler(np.arange(count), targets, sampler=name, train=True, batch_size=batch_size, seed=0)

    (one,) = shares(monkeypatch, 1, made(4 * world))
    many = list(shares(monkeypatch, world, made(4)))
    assert len({len(share) for share in many}) == 1
    for step in range(count // (4 * world)):
        together = [row for share in many for row in share[4 * step : 4 * step + 4]]
        assert together == one[4 * world * step : 4 * world * (step + 1)]


@given(st.integers(1, 60), st.integers(1, 9), st.integers(1, 4))
def test_all_ranks_train_on_the_same_number_and_nearly_everything_is_seen(count, batch_size, world):
    sampler = EpochSampler(range(count), train=True, batch_size=batch_size, seed=0)
    parts = [sampler._share(rank, world) for rank in range(world)]
    assert len({len(part) for part in parts}) == 1 and len(parts[0]) >= 1
    assert len(set(np.concatenate(parts))) >= count - world


@st.composite
def tables(draw):
    sizes = draw(st.lists(st.integers(1, 30), min_size=1, max_size=6))
    return np.random.default_rng(draw(st.integers(0, 99))).permutation(np.repeat(np.arange(len(sizes)), sizes))


@given(tables(), st.sampled_from([0.0, 0.5, 1.0]), st.integers(1, 7), st.integers(0, 99))
def test_after_any_number_of_epochs_each_class_had_its_share_and_each_example_its_turn(classes, power, epochs, seed):
    n = len(classes)
    drawn = [draw_evenly(classes, power=power, seed=seed, epoch=epoch) for epoch in range(epochs)]
    assert all(len(places) == n for places in drawn)
    taken = np.bincount(np.concatenate(drawn), minlength=n)
    sizes = np.bincount(classes).astype(float)
    wanted = epochs * n * sizes**power / (sizes**power).sum()
    for name, number in enumerate(wanted):
        of_class = taken[classes == name]
        assert abs(of_class.sum() - number) < 1 + 1e-5
        assert of_class.max() - of_class.min() <= 1


def test_balanced_takes_each_class_equally_often_and_sqrt_by_its_square_root():
    targets = np.repeat([0, 1, 2], [64, 16, 4])
    for name, expected in (("balanced", [28, 28, 28]), ("sqrt", [48, 24, 12]), ("shuffle", [64, 16, 4])):
        sampler = make_sampler(np.arange(84), targets, sampler=name, train=True, batch_size=8, seed=0)
        assert np.bincount([targets[row] for row, _ in sampler]).tolist() == expected
        assert len(sampler) == 84


def test_only_the_rows_asked_for_are_taken():
    targets = np.repeat([0, 1], [50, 10])
    rows = np.r_[3:20, 52:56]
    sampler = make_sampler(rows, targets, sampler="balanced", train=True, batch_size=4, seed=0)
    seen = [row for row, _ in sampler]
    assert set(seen) <= set(rows) and set(range(52, 56)) <= set(seen)


def test_seed_and_epoch_decide_and_nothing_else():
    targets = np.repeat([0, 1], [20, 5])

    def order(seed, epoch):
        sampler = make_sampler(np.arange(25), targets, sampler="balanced", train=True, batch_size=4, seed=seed)
        sampler = pickle.loads(pickle.dumps(sampler))  # as it travels to a spawned rank
        sampler.set_epoch(epoch)
        return list(sampler)

    assert order(1, 2) == order(1, 2)
    assert order(1, 2) != order(2, 2)
    assert [row for row, _ in order(1, 2)] != [row for row, _ in order(1, 3)]


def test_a_batch_is_a_mixture_and_not_class_after_class():
    targets = np.repeat([0, 1], [80, 20])
    sampler = make_sampler(np.arange(100), targets, sampler="balanced", train=True, batch_size=10, seed=0)
    batches = np.array([targets[row] for row, _ in sampler]).reshape(10, 10)
    assert (batches.mean(axis=1) > 0).all() and (batches.mean(axis=1) < 1).all()


def test_of_several_labels_the_rarest_counts_and_none_is_a_class_of_its_own():
    labels = np.array([[1, 0, 0], [1, 1, 0], [1, 1, 1], [0, 0, 0], [1, 0, 0]], np.float32)
    assert classes_of(labels).tolist() == [0, 1, 2, 3, 0]


def test_numbers_and_unknown_names_are_refused():
    with pytest.raises(ConfigError, match="no classes to balance"):
        classes_of(np.array([0.5, 1.0], np.float32))
    with pytest.raises(ConfigError, match='Did you mean "balanced"'):
        make_sampler(np.arange(2), np.arange(2), sampler="balance", train=True, batch_size=1, seed=0)
