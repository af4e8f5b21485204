"""The identities by which the deconvnet is known to be right."""

import warnings

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

import finetune as ft
from finetune.report.deconvnet import deconvnet, deconvolved, traced_back


def linear_net():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.MaxPool2d(3, 2, 1), nn.Conv2d(4, 5, 3), nn.ReLU(inplace=True))


class Functional(nn.Module):
    """The same rectifications as functions, one of them in place."""

    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def forward(self, x):
        for at, layer in enumerate(self.inner):
            x = (F.relu(x, inplace=True) if at % 4 else torch.relu(x)) if isinstance(layer, nn.ReLU) else layer(x)
        return x


def rectified_net(*, inplace=False):
    torch.manual_seed(1)
    body = [nn.Conv2d(3, 6, 3), nn.ReLU(inplace), nn.MaxPool2d(2), nn.Conv2d(6, 8, 3), nn.ReLU(inplace)]
    return nn.Sequential(*body, nn.Flatten(), nn.Linear(8 * 7 * 7, 4)).eval()


def test_where_nothing_was_rectified_below_the_deconvnet_is_the_gradient_though_pools_overlap():
    net, picture = linear_net(), torch.randn(1, 3, 20, 20)
    pixels = picture.clone().requires_grad_(True)
    net[2](net[1](net[0](pixels)))[0, 3].max().backward()
    assert torch.allclose(traced_back(net, picture, "2", 3), pixels.grad)


def test_the_backward_signal_is_rectified_and_the_forward_mask_is_not_used():
    inputs = torch.tensor([[-2.0, -1.0, 1.0, 3.0]], requires_grad=True)
    net, weights = nn.Sequential(nn.ReLU()), torch.tensor([5.0, -4.0, -3.0, 2.0])
    with deconvnet():
        (net(inputs) * weights).sum().backward()
    assert inputs.grad.tolist() == [[5, 0, 0, 2]]
    assert F.relu(torch.tensor([-1.0])).item() == 0, "afterwards a ReLU is a ReLU"


def test_relus_that_are_functions_are_rectified_as_those_that_are_layers():
    net, picture = rectified_net(), torch.randn(2, 3, 20, 20)
    one = deconvolved(net, picture, torch.tensor([0, 3]))
    assert torch.equal(one, deconvolved(Functional(net), picture, torch.tensor([0, 3])))
    assert not torch.allclose(one, _gradient(net, picture, torch.tensor([0, 3])))


def _gradient(net, picture, answers):
    pixels = picture.clone().requires_grad_(True)
    net(pixels).gather(1, answers[:, None]).sum().backward()
    return pixels.grad


def test_it_is_captums_where_captum_has_it():
    captum = pytest.importorskip("captum.attr")
    net, picture, answers = rectified_net(), torch.randn(3, 3, 20, 20), torch.tensor([2, 0, 1])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that it sets hooks on ReLUs
        theirs = captum.Deconvolution(net).attribute(picture.clone().requires_grad_(True), target=answers)
    assert torch.allclose(deconvolved(net, picture, answers), theirs, atol=1e-6)


def test_relu6_keeps_its_answer_and_hands_on_the_rectified_signal():
    inputs = torch.tensor([[-1.0, 3.0, 9.0]], requires_grad=True)
    with deconvnet():
        answer = nn.ReLU6()(inputs)
        (answer * torch.tensor([2.0, -1.0, 4.0])).sum().backward()
    assert answer.tolist() == [[0, 3, 6]] and inputs.grad.tolist() == [[2, 0, 4]]


@pytest.mark.parametrize("other", [nn.GELU(), nn.SiLU(), nn.Hardswish(), nn.Tanh(), nn.LeakyReLU()])
def test_networks_with_other_activations_have_no_deconvnet(other):
    with pytest.raises(ft.ConfigError, match="ReLUs alone"):
        deconvolved(nn.Sequential(nn.Flatten(), nn.ReLU(), other), torch.rand(1, 1, 2, 2), torch.tensor([0]))


def test_what_cannot_be_looked_at_is_said():
    with pytest.raises(ft.ConfigError, match='There is no layer "nine"'):
        traced_back(linear_net(), torch.zeros(1, 3, 20, 20), "nine", 0)
    with pytest.raises(ft.ConfigError, match="has none"):
        deconvolved(nn.Flatten(), torch.zeros(1, 3, 20, 20), torch.tensor([0]))


def test_a_bright_square_leads_to_the_answer_of_a_network_that_looks_for_brightness():
    net = nn.Sequential(nn.Conv2d(3, 1, 8, stride=8, bias=False), nn.ReLU(), nn.MaxPool2d(4), nn.Flatten())
    nn.init.constant_(net[0].weight, 1.0)
    picture = torch.zeros(1, 3, 32, 32)
    picture[..., 16:24, 8:16] = 1
    found = deconvolved(net, picture, torch.tensor([0]))[0].sum(0)
    inside = np.zeros((32, 32), bool)
    inside[16:24, 8:16] = True
    assert (found.numpy()[inside] > 0).all() and not found.numpy()[~inside].any()
