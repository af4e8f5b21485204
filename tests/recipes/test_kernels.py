from __future__ import annotations

import numpy as np
import pytest
import torch
from finetune._recipes.kernels.by_hand import EDGE, IDENTITY, KERNELS, PATCH, convolve, correlate, subsample
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.signal import convolve2d


def test_the_example_is_minus_63_as_networks_compute_it_and_plus_63_turned():
    sobel = KERNELS["left to right"]
    assert correlate(PATCH, sobel).tolist() == [[-63]]
    assert convolve(PATCH, sobel).tolist() == [[63]]
    theirs = torch.nn.functional.conv2d(torch.tensor(PATCH)[None, None], torch.tensor(sobel)[None, None])
    assert theirs.item() == -63


@settings(max_examples=20)
@given(st.integers(0, 1000), st.sampled_from(sorted(KERNELS)))
def test_laying_on_is_torchs_convolution_and_turned_it_is_that_of_mathematics(seed, name):
    picture = np.random.default_rng(seed).normal(size=(9, 12))
    theirs = torch.nn.functional.conv2d(torch.tensor(picture)[None, None], torch.tensor(KERNELS[name])[None, None])
    assert np.allclose(correlate(picture, KERNELS[name]), theirs[0, 0])
    assert np.allclose(convolve(picture, KERNELS[name]), convolve2d(picture, KERNELS[name], mode="valid"))


def test_blurs_sum_to_1_edges_to_0_and_sharpening_adds_the_edge():
    for name in ("box blur", "Gaussian blur", "sharpen"):
        assert KERNELS[name].sum() == pytest.approx(1)
    for name in ("edge", "left to right", "top to bottom"):
        assert KERNELS[name].sum() == 0
    assert np.array_equal(KERNELS["sharpen"], IDENTITY + EDGE)
    even = np.full((8, 8), 90.0)
    assert np.allclose(correlate(even, KERNELS["box blur"]), 90) and not correlate(even, EDGE).any()


@settings(max_examples=20)
@given(st.integers(0, 1000), st.integers(1, 4))
def test_subsampling_is_torchs_pooling(seed, side):
    picture = np.random.default_rng(seed).normal(size=(9, 11))
    tensor = torch.tensor(picture)[None, None]
    assert np.allclose(subsample(picture, side, "mean"), torch.nn.functional.avg_pool2d(tensor, side)[0, 0])
    assert np.allclose(subsample(picture, side, "max"), torch.nn.functional.max_pool2d(tensor, side)[0, 0])
