"""Who is taken how often, in which order, and by which rank."""

import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from finetune.data.samplers import EpochSampler, classes_of, draw_evenly, draw_in_groups, make_sampler
from finetune.data.sampling import POWERS
from finetune.errors import ConfigError

NAMES = (*POWERS, "m-per-class", "2-per-class")


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
    for name in NAMES:
        sampler = make_sampler(np.arange(count), targets, sampler=name, train=False, batch_size=4, seed=0)
        taken = shares(monkeypatch, world, sampler)
        assert sorted(row for share in taken for row in share) == list(range(count))


@pytest.mark.parametrize("count", [16, 24, 26, 33, 47])
@pytest.mark.parametrize("world", [2, 3])
@pytest.mark.parametrize("name", NAMES)
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


def in_groups(classes, epochs, *, group, step, seed=0):
    return [draw_in_groups(classes, group=group, step=step, seed=seed, epoch=epoch) for epoch in range(epochs)]


@given(tables(), st.integers(2, 5), st.integers(1, 4), st.integers(1, 4))
def test_in_groups_classes_and_their_pictures_are_taken_equally_often_over_epochs(classes, group, places, epochs):
    found = np.concatenate(in_groups(classes, epochs, group=group, step=group * places))
    groups = classes[found].reshape(-1, group)
    assert (groups == groups[:, :1]).all()
    had = [int((groups[:, 0] == name).sum()) for name in np.unique(classes)]
    assert max(had) - min(had) <= 1
    for name in np.unique(classes):
        often = np.bincount(found, minlength=len(classes))[classes == name]
        assert often.max() - often.min() <= 1


@given(tables(), st.integers(2, 5), st.integers(1, 4))
def test_no_class_has_two_groups_in_a_step_where_there_are_classes_enough(classes, group, places):
    several = len(np.unique(classes))
    for drawn in in_groups(classes, 3, group=group, step=group * places):
        assert (
            len(drawn) == max(group, len(classes) // (group * places) * group * places) or len(classes) < group * places
        )
        for start in range(0, len(drawn), group * places):
            step = classes[drawn[start : start + group * places : group]]
            assert len(set(step)) == min(len(step), several) or several < places


def test_steps_of_m_per_class_hold_p_classes_of_m_pictures_on_each_rank(monkeypatch):
    targets = np.repeat(np.arange(9), 7)
    sampler = make_sampler(np.arange(63), targets, sampler="m-per-class", train=True, batch_size=8, seed=0)
    for share in shares(monkeypatch, 2, sampler):
        assert len(share) == 24
        for start in range(0, 24, 8):
            _, counts = np.unique(targets[share[start : start + 8]], return_counts=True)
            assert counts.tolist() == [4, 4]


def test_an_epoch_of_m_per_class_can_begin_in_its_middle():
    targets = np.repeat(np.arange(5), 8)

    def rows(begin=None):
        sampler = make_sampler(np.arange(40), targets, sampler="m-per-class", train=True, batch_size=8, seed=3)
        sampler.set_epoch(2)
        if begin is not None:
            sampler.start_at(2, begin)
        return list(sampler)

    assert rows(begin=2) == rows()[16:]


def test_a_batch_that_is_no_multiple_of_the_pictures_of_a_class_is_refused():
    with pytest.raises(ConfigError, match="must be a multiple of that"):
        make_sampler(np.arange(8), np.arange(8) % 2, sampler="m-per-class", train=True, batch_size=6, seed=0)


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
