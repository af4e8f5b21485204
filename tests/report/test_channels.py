"""Filters, and the pictures to which a channel answers most."""

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import finetune as ft
from finetune.report.channels import channel_maps, channel_peaks, draw_filters, first_filters, strongest
from tests.report.test_deconvnet import linear_net


def test_the_strongest_pictures_are_those_with_the_highest_answers():
    net = linear_net()
    pictures = torch.randn(15, 3, 20, 20, generator=torch.Generator().manual_seed(0))
    peaks = channel_peaks(net, "2", pictures)
    with torch.no_grad():
        assert torch.equal(peaks, net[2](net[1](net[0](pictures))).amax((2, 3)))
    found = strongest(peaks, channels=5, most=9)
    assert sorted(found) == [0, 1, 2, 3, 4]
    for channel, nine in found.items():
        own = peaks[:, channel].numpy()
        assert [number for _, number in nine] == list(np.argsort(-own)[:9])
        assert [value for value, _ in nine] == pytest.approx(sorted(own)[:-10:-1])


def test_the_channel_that_stands_out_is_the_one_that_answers_to_few_pictures():
    peaks = torch.rand(40, 3)
    peaks[:2, 1] = 50.0
    assert list(strongest(peaks, channels=1, most=2)) == [1]


def test_layers_with_maps_with_tokens_and_without_places_all_have_channels():
    class Tokens(nn.Module):
        def forward(self, x):
            return x.flatten(2).transpose(1, 2)

    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 5, 4, stride=4), Tokens(), nn.Flatten(), nn.Linear(80, 2))
    pictures = torch.rand(2, 3, 16, 16)
    maps, tokens = channel_maps(net, "0", pictures), channel_maps(net, "1", pictures)
    assert maps.shape == (2, 5, 4, 4) and torch.equal(maps, tokens)
    assert channel_maps(net, "3", pictures).shape == (2, 2, 1, 1)


def test_what_has_no_channels_is_refused():
    net = nn.Sequential(nn.Conv2d(3, 4, 1), nn.Unflatten(2, (1, 5)), nn.Flatten())
    with pytest.raises(ft.ConfigError, match='There is no layer "7"'):
        channel_peaks(net, "7", torch.zeros(1, 3, 5, 5))
    with pytest.raises(ft.ConfigError, match="has no channels and places"):
        channel_peaks(net, "1", torch.zeros(1, 3, 5, 5))


def test_filters_are_each_stretched_and_drawn_side_by_side(tmp_path):
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 20, 5), nn.ReLU())
    filters = first_filters(net)
    assert filters.shape == (20, 5, 5, 3)
    assert (filters.min((1, 2, 3)) == 0).all() and (filters.max((1, 2, 3)) == 255).all()
    assert draw_filters(tmp_path / "f.png", net, title="First layer") == 20
    with Image.open(tmp_path / "f.png") as drawn:
        assert drawn.width == 1200
    assert first_filters(nn.Conv2d(1, 2, 3)).shape == (2, 3, 3, 3)
    with pytest.raises(ft.ConfigError, match="no first convolution"):
        first_filters(nn.Linear(3, 3))
