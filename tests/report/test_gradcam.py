"""Grad-CAM finds the places that decide, in every family of networks, and changes with the weights."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from finetune.errors import ConfigError
from finetune.models.backbones import build
from finetune.models.options import Backbone
from finetune.report.gradcam import grad_cam, grad_cam_plus_plus, look
from finetune.report.places import places_of

FAMILIES = [
    ("timm/resnet18", {}), ("timm/mobilenetv2_035", {}), ("timm/efficientnet_b0", {}), ("timm/convnext_atto", {}),
    ("timm/vit_tiny_patch16_224", {"img_size": 64}), ("timm/deit_tiny_distilled_patch16_224", {"img_size": 64}),
    ("timm/swin_tiny_patch4_window7_224", {"img_size": 64, "window_size": 2, "depths": (1, 1, 1, 1)}),
    ("timm/regnetx_002", {}), ("timm/densenet121", {}), ("torchvision/squeezenet1_1", {}),
    ("torchvision/shufflenet_v2_x0_5", {}), ("timm/mixer_s16_224", {}),
]  # fmt: skip
QUICK = {"timm/resnet18", "timm/convnext_atto", "timm/vit_tiny_patch16_224", "timm/swin_tiny_patch4_window7_224"}


def net(name, args, seed):
    torch.manual_seed(seed)
    return build(Backbone(name, weights="none", args=args), 3).eval()


@pytest.mark.parametrize(
    ("name", "args"),
    [pytest.param(*one, marks=() if one[0] in QUICK else pytest.mark.thorough, id=one[0]) for one in FAMILIES],
)
def test_a_layer_with_places_is_found_and_other_weights_give_another_map(name, args):
    side = 224 if "mixer" in name else 64
    inputs = torch.rand(2, 3, side, side, generator=torch.Generator().manual_seed(0))
    networks = [net(name, args, seed) for seed in (0, 1)]
    for method in (grad_cam, grad_cam_plus_plus):
        one, other = (method(network, inputs, torch.tensor([0, 1])) for network in networks)
        assert one.shape == other.shape and one[0].size > 1 and one.min() >= 0 and one.max() <= 1
        assert not np.allclose(one, other)  # the sanity check of Adebayo et al. 2018


class Bright(nn.Module):
    """Answers with how bright the brightest channel is: what it looks at is known."""

    def __init__(self, sign=1.0):
        super().__init__()
        self.body = nn.AvgPool2d(8)
        self.head = nn.Linear(3, 1, bias=False)
        nn.init.constant_(self.head.weight, sign)

    def forward(self, x):
        return self.head(self.body(x).mean(dim=(2, 3)))


def test_a_planted_bright_square_is_where_the_map_is_bright():
    for row, column in ((0, 0), (2, 5), (7, 3)):
        picture = torch.zeros(1, 3, 64, 64)
        picture[:, :, 8 * row : 8 * row + 8, 8 * column : 8 * column + 8] = 1
        for method in (grad_cam, grad_cam_plus_plus):
            found = method(Bright(), picture, torch.tensor([0]))[0]
            assert np.unravel_index(found.argmax(), found.shape) == (row, column)
            assert found.max() == 1 and np.count_nonzero(found) == 1
            # What speaks against the answer is not shown.
            assert not method(Bright(-1.0), picture, torch.tensor([0])).any()


PLANTED = [
    ("timm/vit_tiny_patch16_224", {"img_size": 64, "depth": 2}, 64),
    ("timm/deit_tiny_distilled_patch16_224", {"img_size": 64, "depth": 2}, 64),
    ("timm/swin_tiny_patch4_window7_224", {"img_size": 64, "window_size": 2, "depths": (1, 1, 1, 1), "embed_dim": 32,
                                           "num_heads": (1, 2, 4, 8)}, 64),
    ("timm/convnext_atto", {"depths": (1, 1, 1, 1)}, 64), ("timm/mixer_s16_224", {"img_size": 64}, 64),
    ("timm/resnet10t", {}, 64), ("timm/regnetx_002", {}, 64), ("timm/mobilenetv2_035", {}, 128),
    ("timm/efficientnet_lite0", {}, 128), ("timm/densenet121", {"block_config": (1, 1, 1, 1)}, 128),
    ("torchvision/squeezenet1_1", {}, 128), ("torchvision/shufflenet_v2_x0_5", {}, 128),
]  # fmt: skip


def planted(count, side, seed):
    """Noise, in every other picture a bright square in one of the quarters; 1 where there is one, and the quarter."""
    chance, half, square = torch.Generator().manual_seed(seed), side // 2, side // 4 + side // 8
    pictures = 0.3 + 0.2 * torch.rand(count, 3, side, side, generator=chance)
    quarters, there = torch.randint(0, 2, (count, 2), generator=chance), torch.arange(count) % 2
    for picture, (row, column) in zip(pictures[1::2], quarters[1::2].tolist(), strict=True):
        top, left = half * row + side // 16, half * column + side // 16
        picture[:, top : top + square, left : left + square] = 1
    return pictures, there, quarters


def taught(name, args, side):
    """A network that has learned to tell whether there is a square; nobody told it where."""
    torch.manual_seed(0)
    network = build(Backbone(name, weights="none", args=args), 2).train()
    optimizer, loss = torch.optim.AdamW(network.parameters(), lr=1e-3), 1.0
    for step in range(60):
        pictures, there, _ = planted(16, side, step)
        now = functional.cross_entropy(network(pictures), there)
        optimizer.zero_grad()
        now.backward()
        optimizer.step()
        loss = 0.8 * loss + 0.2 * now.item()
        if loss < 0.12:
            break
    for norm in (one for one in network.modules() if isinstance(one, nn.BatchNorm2d)):
        norm.reset_running_stats()
        norm.momentum = None
    with torch.no_grad():  # statistics of the weights as they are now
        for step in range(4):
            network(planted(16, side, 100 + step)[0])
    return network.eval().requires_grad_(False)


@pytest.mark.parametrize(
    ("name", "args", "side"),
    [pytest.param(*one, marks=() if at < 4 else pytest.mark.thorough, id=one[0]) for at, one in enumerate(PLANTED)],
)
def test_in_every_family_a_square_that_the_answer_rests_on_is_where_the_map_is_highest(name, args, side):
    network, (pictures, there, quarters) = taught(name, args, side), planted(16, side, 999)
    with torch.no_grad():
        assert (network(pictures).argmax(1) == there).float().mean() > 0.9
    for method in (grad_cam, grad_cam_plus_plus):
        maps = torch.from_numpy(method(network, pictures[1::2], there[1::2]))[:, None]
        large = functional.interpolate(maps, size=(side, side), mode="bilinear")[:, 0].numpy()
        peaks = np.array([np.unravel_index(one.argmax(), one.shape) for one in large]) // (side // 2)
        right = (peaks == quarters[1::2].numpy()).all(axis=1).sum()
        assert right >= 6, f"{right} of 8; 2 would be chance"


class Pooled(nn.Module):
    """A convolution, ReLU and a head on the mean over places or the flat map."""

    def __init__(self, *, flat=False):
        super().__init__()
        torch.manual_seed(0)
        self.body = nn.Sequential(nn.Conv2d(3, 6, 5, stride=4), nn.ReLU())
        self.flat = flat
        self.head = nn.Linear(6 * 15 * 15 if flat else 6, 3)

    def forward(self, x):
        seen = self.body(x)
        return self.head(seen.flatten(1) if self.flat else seen.mean(dim=(2, 3)))


@pytest.mark.parametrize("flat", [False, True])
def test_grad_cam_is_captums_where_captum_has_it(flat):
    captum = pytest.importorskip("captum.attr")
    network, inputs, answers = Pooled(flat=flat).eval(), torch.rand(2, 3, 64, 64), torch.tensor([2, 0])
    theirs = captum.LayerGradCam(network, network.body[1]).attribute(inputs, target=answers, relu_attributions=True)
    theirs = theirs[:, 0].detach().numpy()
    assert np.allclose(grad_cam(network, inputs, answers, layer="body.1"), theirs / theirs.max((1, 2), keepdims=True))


def test_grad_cam_plus_plus_is_the_equation_of_its_paper_by_third_derivatives():
    """Equation 10 of the paper, with derivatives of Y = exp(y) by autograd; y is linear in the layer."""
    network, inputs = Pooled(flat=True).eval().double(), torch.rand(1, 3, 64, 64, dtype=torch.float64)
    maps = network.body(inputs).detach().requires_grad_(True)
    score = network.head(maps.flatten(1))[0, 1]
    (slope,) = torch.autograd.grad(score, maps)
    height = torch.exp(score).detach()
    first, second, third = height * slope, height * slope**2, height * slope**3
    share = second / (2 * second + third * maps.detach().sum((2, 3), keepdim=True))
    expected = ((share * first.clamp_min(0)).sum((2, 3), keepdim=True) * maps).sum(1).clamp_min(0)[0].detach()
    found = grad_cam_plus_plus(network, inputs, torch.tensor([1]), layer="body.1")[0]
    assert np.allclose(found, (expected / expected.max()).numpy(), atol=1e-5)


def test_a_layer_is_looked_at_by_name_and_one_without_places_is_refused():
    network, inputs, answers = Pooled().eval(), torch.rand(1, 3, 64, 64), torch.tensor([0])
    assert look(network, inputs, answers, layer="body.0").layer == "body.0"
    with pytest.raises(ValueError, match='"head" has no output with places'):
        look(network, inputs, answers, layer="head")
    with pytest.raises(ConfigError, match=r'There is no layer "boddy".*Did you mean "body'):
        grad_cam(network, inputs, answers, layer="boddy")


def test_channels_last_and_tokens_lie_on_the_picture_as_maps_do():
    values = torch.randn(2, 5, 3, 4)
    for shaped in (values, values.permute(0, 2, 3, 1), torch.cat([torch.zeros(2, 1, 5), values.flatten(2).mT], dim=1)):
        places = places_of(tuple(shaped.shape), aspect=0.75)
        assert torch.equal(places.maps(shaped), values)


def test_one_place_is_none_and_a_network_without_places_is_told():
    assert places_of((2, 512, 1, 1), 1.0) is None and places_of((2, 512), 1.0) is None
    with pytest.raises(ValueError, match="places"):
        look(nn.Sequential(nn.Flatten(), nn.Linear(12, 2)), torch.rand(1, 3, 2, 2), torch.tensor([0]))
