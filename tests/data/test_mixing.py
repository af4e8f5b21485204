"""Pictures and targets of a batch are mixed by one share."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from finetune.data.mixing import mix
from finetune.types import Batch


def batch(n=6, dtype=torch.uint8, target=None, size=16):
    made = torch.Generator().manual_seed(n)
    pictures = torch.randint(0, 256, (n, 3, size, size), generator=made, dtype=torch.uint8)
    target = torch.arange(n) % 4 if target is None else target
    return Batch(pictures if dtype == torch.uint8 else pictures / 255, target, torch.arange(n))


def mixed(what, *, mixup=0.0, cutmix=0.0, seed=(0, 0)):
    return mix(what, mixup=mixup, cutmix=cutmix, num_classes=4, seed=seed)


def share_of(made, n=6):
    """The share of its own class in the first target."""
    return float(made.target[0, 0])


def test_without_mixing_the_batch_is_handed_on_as_it_is():
    given_in = batch()
    assert mixed(given_in) is given_in


@pytest.mark.parametrize("words", [{"mixup": 1.0}, {"cutmix": 1.0}, {"mixup": 0.2, "cutmix": 1.0}])
@pytest.mark.parametrize("n", [1, 2, 5, 6])
def test_targets_become_shares_that_add_up_to_one(words, n):
    for seed in range(10):
        made = mixed(batch(n), **words, seed=(seed,))
        assert made.target.dtype == torch.float32 and made.target.shape == (n, 4)
        torch.testing.assert_close(made.target.sum(dim=1), torch.ones(n))
        assert (made.target >= 0).all()
        assert torch.equal(made.row, torch.arange(n))


def test_mixup_blends_pictures_in_0_to_1_by_the_share_of_their_targets():
    whole = batch()
    made = mixed(whole, mixup=1.0)
    share, pictures = share_of(made), whole.inputs / 255
    assert made.inputs.dtype == torch.float32 and 0 < share < 1
    torch.testing.assert_close(made.inputs[0], share * pictures[0] + (1 - share) * pictures[1])
    torch.testing.assert_close(made.inputs[1], share * pictures[1] + (1 - share) * pictures[0])
    assert made.target[0].tolist() == pytest.approx([share, 1 - share, 0, 0])
    torch.testing.assert_close(mixed(batch(dtype=torch.float32), mixup=1.0).inputs, made.inputs)


def test_a_network_sees_a_blend_on_the_scale_of_its_pictures():
    import finetune as ft

    network = ft.Backbone("finetune/lenet5", weights="none", in_chans=3).build(4).eval()
    same = batch(2, size=32)
    same = same._replace(inputs=same.inputs[:1].expand(2, -1, -1, -1).clone())
    with torch.no_grad():
        torch.testing.assert_close(network(mixed(same, mixup=1.0).inputs), network(same.inputs))


def test_cutmix_takes_every_pixel_from_one_of_two_and_counts_them_right():
    whole = batch(6, size=32)
    for seed in range(20):
        made = mixed(whole, cutmix=1.0, seed=(seed,))
        own, other = whole.inputs[0], whole.inputs[1]
        from_other = (made.inputs[0] != own).any(dim=0)
        assert made.inputs.dtype == torch.uint8
        assert torch.equal(made.inputs[0], torch.where(from_other, other, own))
        rows, columns = torch.nonzero(from_other, as_tuple=True)
        if len(rows):  # a box, all of it
            area = (rows.max() - rows.min() + 1) * (columns.max() - columns.min() + 1)
            assert len(rows) == area
        assert share_of(made) == pytest.approx(1 - len(rows) / 32**2, abs=1e-6)


def test_the_batch_itself_is_left_alone():
    whole = batch()
    before = whole.inputs.clone()
    mixed(whole, mixup=1.0), mixed(whole, cutmix=1.0)
    assert torch.equal(whole.inputs, before) and whole.target.dtype == torch.int64


def test_with_both_each_batch_takes_one_of_them():
    kinds = [mixed(batch(), mixup=1.0, cutmix=1.0, seed=(0, step)).inputs.dtype for step in range(200)]
    assert 60 < kinds.count(torch.uint8) < 140


def test_shares_follow_the_beta_distribution():
    shares = [share_of(mixed(batch(2, size=2), mixup=0.4, seed=(step,))) for step in range(500)]
    assert np.mean(shares) == pytest.approx(0.5, abs=0.06)
    assert np.var(shares) == pytest.approx(1 / (4 * (2 * 0.4 + 1)), abs=0.03)


def test_the_seed_decides_and_the_global_generators_are_left_alone():
    torch.manual_seed(0)
    np.random.seed(0)
    expected = torch.rand(1), np.random.rand()
    torch.manual_seed(0)
    np.random.seed(0)
    one, same, other = (mixed(batch(), mixup=1.0, cutmix=1.0, seed=(0, 1, step)) for step in (1, 1, 2))
    assert torch.equal(one.inputs, same.inputs) and not torch.equal(one.target, other.target)
    assert (torch.rand(1), np.random.rand()) == expected


def test_labels_and_numbers_are_blended_as_they_are():
    labels = torch.tensor([[1.0, 0.0], [1.0, 1.0]])
    made = mixed(batch(2, target=labels), mixup=1.0)
    assert made.target[0, 0] == 1 and made.target[0, 1] + made.target[1, 1] == pytest.approx(1)
    numbers = torch.tensor([10.0, 20.0])
    made = mixed(batch(2, target=numbers), mixup=1.0)
    assert made.target.shape == (2,) and made.target.sum() == pytest.approx(30)
    assert 10 <= made.target.min() <= made.target.max() <= 20


@given(st.integers(1, 4), st.integers(1, 3), st.integers(0, 50), st.sampled_from([(1.0, 0.0), (0.0, 1.0), (0.5, 0.5)]))
def test_ranks_with_even_batches_mix_as_one_rank_does(half, world, step, alphas):
    each, (mixup, cutmix) = 2 * half, alphas
    whole = batch(each * world, size=8)
    words = {"mixup": mixup, "cutmix": cutmix, "seed": (3, 0, step)}
    together = mixed(whole, **words)
    for rank in range(world):
        mine = slice(rank * each, (rank + 1) * each)
        made = mixed(Batch(*(part[mine] for part in whole)), **words)
        assert torch.equal(made.inputs, together.inputs[mine]) and torch.equal(made.target, together.target[mine])
