import pytest

import finetune as ft
from finetune.training.depth import LITTLE, lowest_to_move


def stages(name):
    """The network, and what share of its weights lies below each stage."""
    network = ft.Backbone(name, weights="none").build(3)
    sizes = {n: p.numel() for n, p in network.named_parameters()}
    held = [sum(sizes[n] for n in stage.parameters) for stage in network.stages[:-1]]
    below = {stage.name: sum(held[:at]) / sum(held) for at, stage in enumerate(network.stages[:-1])}
    return network, below


@pytest.mark.parametrize("name", [
    "timm/test_resnet", "timm/test_vit", "timm/test_convnext", "torchvision/resnet18", "torchvision/mobilenet_v2",
    "finetune/lenet5",
])  # fmt: skip
def test_no_more_than_a_little_lies_below_and_with_the_next_stage_more_would(name):
    network, below = stages(name)
    lowest = lowest_to_move(network)
    names = list(below)
    assert below[lowest] <= LITTLE
    assert lowest == names[-1] or below[names[names.index(lowest) + 1]] > LITTLE


@pytest.mark.parametrize(
    "name, lowest",
    [
        ("torchvision/resnet18", "layer2"),
        ("torchvision/mobilenet_v2", "features.5"),
        ("torchvision/alexnet", "features.3"),
    ],
)
def test_networks_that_people_know(name, lowest):
    # Of AlexNet's weights 95 % lie in two linear layers: by them three of its five convolutions would be a little.
    assert lowest_to_move(ft.Backbone(name, weights="none").build(3)) == lowest
