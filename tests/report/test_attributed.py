"""Integrated gradients add up, and occlusion takes away what it should."""

import builtins

import numpy as np
import pytest
import torch
from torch import nn

import finetune as ft
from finetune.report.attributed import captum, check_window, integrated_gradients, occlusion

pytest.importorskip("captum")


def smooth_net():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.Softplus(), nn.Flatten(), nn.Linear(4 * 6 * 6, 3)).eval()


def test_integrated_gradients_add_up_to_the_answer_less_that_of_the_baseline():
    net, pictures, answers = smooth_net(), torch.rand(3, 3, 8, 8), torch.tensor([2, 0, 1])
    baseline = torch.rand(1, 3, 1, 1)
    found = integrated_gradients(net, pictures, answers, baseline=baseline, steps=50)
    with torch.no_grad():
        apart = (net(pictures) - net(baseline.expand_as(pictures))).gather(1, answers[:, None])[:, 0].numpy()
    assert found.maps.shape == (3, 8, 8)
    assert found.maps.sum((1, 2)) == pytest.approx(apart, abs=1e-4) and np.abs(found.gap).max() < 1e-4


def test_what_few_steps_lack_is_told():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(1, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 36, 1)).eval()
    pictures, baseline = torch.rand(1, 1, 8, 8), torch.rand(1, 1, 8, 8)
    found = integrated_gradients(net, pictures, torch.tensor([0]), baseline=baseline, steps=2)
    with torch.no_grad():
        apart = float(net(pictures) - net(baseline))
    assert float(found.maps.sum()) - apart == pytest.approx(float(found.gap[0]), abs=1e-5) and found.gap[0] != 0


def test_integrated_gradients_of_a_linear_network_are_weight_times_difference():
    net, pictures = nn.Sequential(nn.Flatten(), nn.Linear(48, 2)), torch.rand(2, 3, 4, 4)
    found = integrated_gradients(net, pictures, torch.tensor([1, 1]), baseline=torch.tensor(0.25), steps=3)
    expected = (net[1].weight[1].detach() * (pictures.flatten(1) - 0.25)).reshape(2, 3, 4, 4).sum(1)
    assert np.allclose(found.maps, expected.numpy(), atol=1e-5)


def test_occlusion_of_a_linear_model_is_the_sum_of_what_the_square_takes_away():
    torch.manual_seed(1)
    weight, picture, fill = torch.randn(3, 12, 16), torch.randn(1, 3, 12, 16), 0.3
    found = occlusion(lambda many: (many * weight).sum((1, 2, 3)), picture, window=4, stride=4, fill=fill)[0]
    for row, column in np.ndindex(3, 4):
        box = (slice(None), slice(4 * row, 4 * row + 4), slice(4 * column, 4 * column + 4))
        taken = float((weight[box] * (picture[0][box] - fill)).sum())
        assert found[4 * row : 4 * row + 4, 4 * column : 4 * column + 4] == pytest.approx(taken, abs=1e-3)


def test_a_pixel_under_several_squares_has_their_mean():
    torch.manual_seed(2)
    weight, picture = torch.randn(1, 8, 8), torch.randn(1, 1, 8, 8)
    found = occlusion(lambda many: (many * weight).sum((1, 2, 3)), picture, window=4, stride=2)[0]
    falls, covered = np.zeros((8, 8)), np.zeros((8, 8))
    for top, left in np.ndindex(3, 3):
        box = (slice(2 * top, 2 * top + 4), slice(2 * left, 2 * left + 4))
        falls[box] += float((weight[0][box] * picture[0, 0][box]).sum())
        covered[box] += 1
    assert found == pytest.approx(falls / covered, abs=1e-4)


def test_a_classifier_of_bright_squares_falls_most_where_the_square_is():
    pictures = torch.zeros(2, 3, 32, 32)
    pictures[0, :, 16:24, 8:16] = 1
    pictures[1, :, 0:8, 24:32] = 1
    found = occlusion(lambda many: many.clamp(min=0).mean((1, 2, 3)), pictures, window=8, stride=8)
    assert [np.unravel_index(one.argmax(), one.shape) for one in found] == [(16, 8), (0, 24)]


@pytest.mark.parametrize(("window", "stride"), [(4, 5), (40, 4), (4, 0)])
def test_squares_that_leave_gaps_or_the_picture_are_refused(window, stride):
    with pytest.raises(ft.ConfigError, match="Expected 0 < stride <= window <= 32"):
        check_window(window, stride, 32)
    with pytest.raises(ft.ConfigError, match="Expected 0 < stride <= window <= 32"):
        occlusion(lambda many: many.sum((1, 2, 3)), torch.zeros(1, 3, 32, 32), window=window, stride=stride)


def test_without_captum_the_line_that_installs_it_is_told(monkeypatch):
    whole = builtins.__import__

    def missing(name, *args, **kwargs):
        if name.startswith("captum"):
            raise ImportError(name)
        return whole(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", missing)
    with pytest.raises(ft.ConfigError, match=r"pip install 'finetune\[explain\]'"):
        captum()
