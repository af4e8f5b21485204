from __future__ import annotations

import pytest
import torch

from finetune.errors import WeightsError
from finetune.models.options import Backbone
from finetune.models.small import MLP800, MLP2500, LeNet5


@pytest.mark.parametrize(("net", "count"), [(LeNet5, 61_706), (MLP800, 636_010), (MLP2500, 12_115_010)])
def test_the_sizes_are_those_of_the_lecture(net, count):
    assert sum(p.numel() for p in net().parameters()) == count


@pytest.mark.parametrize(("name", "side"), [("finetune/lenet5", 32), ("finetune/mlp800", 28), ("lenet5", 32)])
def test_they_look_at_grey_pictures_unless_asked_otherwise(name, side):
    assert Backbone(name, weights="none").build(10).spec.to_dict() == {
        "size": [side, side], "mean": [0.5], "std": [0.5], "interpolation": "bilinear", "crop_pct": 1.0,
        "crop_mode": "crop",
    }  # fmt: skip
    coloured = Backbone(name, weights="none", in_chans=3).build(10)
    assert coloured(torch.zeros(2, 3, side, side)).shape == (2, 10)


def test_they_have_no_published_weights():
    with pytest.raises(WeightsError, match="--weights none"):
        Backbone("finetune/lenet5").build(10)


@pytest.mark.parametrize("net", ["lenet5", "mlp800", "mlp2500"])
def test_they_learn(net):
    torch.manual_seed(0)
    network = Backbone(net, weights="none").build(2)
    inputs = torch.rand(32, 1, *network.spec.size) * 0.5
    target = torch.arange(32) % 2
    inputs[target == 1, :, :14] += 0.5
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-3)
    for _ in range(30):
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(network(inputs), target).backward()
        optimizer.step()
    assert (network.eval()(inputs).argmax(1) == target).all()


def test_pilotnet_has_the_papers_size_and_sees_the_road_in_yuv():
    from finetune.models.small import PilotNet

    net = PilotNet()
    assert sum(p.numel() for p in net.parameters()) == 252_219
    assert net.fc1.in_features == 1152
    grey = torch.full((1, 3, 66, 200), 0.5)
    yuv = torch.nn.functional.conv2d(grey, net.yuv)
    torch.testing.assert_close(yuv[:, 0], grey[:, 0])
    torch.testing.assert_close(yuv[:, 1:], torch.zeros(1, 2, 66, 200), atol=1e-4, rtol=0)
    built = Backbone("finetune/pilotnet", weights="none").build(1)
    assert built.spec.size == (66, 200) and built(torch.zeros(2, 3, 66, 200)).shape == (2, 1)
