"""The identities by which deconvnet, occlusion and the strongest pictures are known to be right."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from finetune._recipes.visualize.looking import (
    as_picture,
    deconvnet,
    first_filters,
    occlusion,
    peak_of,
    strongest,
    traced_back,
)
from torch import nn

import finetune as ft


def linear_net():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.MaxPool2d(3, 2, 1), nn.Conv2d(4, 5, 3), nn.ReLU(inplace=True))


def test_where_nothing_was_rectified_below_the_deconvnet_is_the_gradient_though_pools_overlap():
    net, picture = linear_net(), torch.randn(1, 3, 20, 20)
    pixels = picture.clone().requires_grad_(True)
    net[2](net[1](net[0](pixels)))[0, 3].max().backward()
    assert torch.allclose(traced_back(net, picture, "2", 3), pixels.grad)


def test_the_backward_signal_is_rectified_and_the_forward_mask_is_not_used():
    inputs = torch.tensor([[-2.0, -1.0, 1.0, 3.0]], requires_grad=True)
    net, weights = nn.Sequential(nn.ReLU()), torch.tensor([5.0, -4.0, -3.0, 2.0])
    with deconvnet(net):
        (net(inputs) * weights).sum().backward()
    assert inputs.grad.tolist() == [[5, 0, 0, 2]]
    assert type(net[0]) is nn.ReLU, "the network is as it was"


def test_occlusion_of_a_linear_model_is_the_sum_of_what_the_square_takes_away():
    torch.manual_seed(1)
    weight, picture, fill = torch.randn(3, 12, 16), torch.randn(1, 3, 12, 16), 0.3
    found = occlusion(lambda many: (many * weight).sum((1, 2, 3)), picture, window=4, stride=2, fill=fill)
    assert found.shape == (5, 7)
    for row, column in np.ndindex(found.shape):
        box = (slice(None), slice(2 * row, 2 * row + 4), slice(2 * column, 2 * column + 4))
        assert found[row, column] == pytest.approx(float((weight[box] * (picture[0][box] - fill)).sum()), abs=1e-3)


def test_a_classifier_of_bright_squares_falls_most_where_the_square_is():
    picture = torch.zeros(1, 3, 32, 32)
    picture[..., 16:24, 8:16] = 1
    found = occlusion(lambda many: many.clamp(min=0).mean((1, 2, 3)), picture, window=8, stride=8)
    assert np.unravel_index(found.argmax(), found.shape) == (2, 1)


@pytest.mark.parametrize(("window", "stride"), [(4, 5), (40, 4), (4, 0)])
def test_squares_that_leave_gaps_or_the_picture_are_refused(window, stride):
    with pytest.raises(ft.ConfigError, match="Expected 0 < stride <= window <= 32"):
        occlusion(lambda many: many.sum((1, 2, 3)), torch.zeros(1, 3, 32, 32), window=window, stride=stride)


def test_the_strongest_pictures_are_those_with_the_highest_answers():
    net = linear_net()
    pictures = [torch.randn(1, 3, 20, 20, generator=torch.Generator().manual_seed(n)) for n in range(15)]
    found = strongest(net, "2", 5, pictures, most=9)
    assert sorted(found) == [0, 1, 2, 3, 4]
    for channel, nine in found.items():
        with torch.no_grad():
            peaks = np.array([float(peak_of(net, "2", channel)(one)) for one in pictures])
        assert [number for _, number in nine] == list(np.argsort(-peaks)[:9])
        assert [value for value, _ in nine] == pytest.approx(sorted(peaks)[:-10:-1])


def test_what_cannot_be_looked_at_is_said():
    with pytest.raises(ft.ConfigError, match="There is no layer 'nine'"):
        traced_back(linear_net(), torch.zeros(1, 3, 20, 20), "nine", 0)
    with pytest.raises(ft.ConfigError, match="needs ReLUs that are layers"), deconvnet(nn.Sequential(nn.GELU())):
        pass
    with pytest.raises(ft.ConfigError, match="no first convolution"):
        first_filters(nn.Linear(3, 3))


def test_signals_are_grey_where_there_are_none():
    signal = torch.zeros(1, 3, 4, 4)
    signal[0, 0, 1, 2], signal[0, 2, 3, 3] = 2, -2
    drawn = as_picture(signal)
    assert set(np.unique(drawn)) == {0, 127, 255} and drawn[1, 2, 0] == 255 and drawn[3, 3, 2] == 0
