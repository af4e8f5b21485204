"""The field of Simard et al., and the factor of two by which libraries differ from it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torchvision.transforms import v2

from finetune.data.elastic import expected_shift, field


def rms(shifts):
    return float(np.sqrt(np.mean(np.square(shifts))))


def test_the_papers_numbers_shift_a_pixel_by_1_384_pixels_either_way():
    assert expected_shift(34, 4) == pytest.approx(1.384, abs=5e-4)
    measured = [rms(field(seed, (28, 28), 34, 4)) for seed in range(400)]
    assert rms(measured) == pytest.approx(expected_shift(34, 4), rel=0.03)


@pytest.mark.parametrize(("alpha", "sigma"), [(34, 4), (8, 2), (36, 6)])
def test_the_field_is_as_strong_at_the_rim_as_in_the_middle(alpha, sigma):
    many = np.stack([field(seed, (29, 29), alpha, sigma) for seed in range(600)])
    for part in (many[..., 0, :], many[..., 14, 14], many[..., -1]):
        assert rms(part) == pytest.approx(expected_shift(alpha, sigma), rel=0.12)


def test_torchvisions_own_transform_bends_half_as_far():
    own = v2.ElasticTransform(alpha=34.0, sigma=4.0)
    torch.manual_seed(0)
    grids = [own.make_params([torch.zeros(1, 128, 128)])["displacement"] for _ in range(12)]
    shifts = rms(torch.stack(grids).numpy() * 128 / 2)  # its unit is half a side
    assert shifts == pytest.approx(expected_shift(34, 4) / 2, rel=0.08)


def test_one_seed_gives_one_field_and_neighbours_move_alike():
    first = field(3, (28, 28), 34, 4)
    assert np.array_equal(first, field(3, (28, 28), 34, 4))
    assert not np.array_equal(first, field(4, (28, 28), 34, 4))
    assert rms(np.diff(first, axis=2)) < 0.3 * rms(first)
