"""ImageNet in large minibatches: ResNet-50 from nothing, on as many devices as there are.

Lecture:
    ImageNet in an hour (Goyal et al. 2017) with ResNet-50
Run:
    finetune plan data/imagenet --num-nodes 32 --devices 8
    finetune run large_batch data/imagenet --num-nodes 32 --devices 8 --out runs/imagenet
Data:
    ImageNet (https://www.image-net.org, ILSVRC 2012: 1.28 million pictures, about 150 GB; its terms are a licence for
    research and teaching alone, which each person asks for).
    Expected
        data/imagenet/train/n01440764/*.JPEG ...  and  data/imagenet/val/n01440764/*.JPEG ...
    The archive of the validation part is flat: it has to be sorted into folders of classes first.
    Copies are not looked for among a million pictures; --copies find does.
Expect:
    Generated data: it runs; a test compares its rates with the paper's. ImageNet was not at hand: nothing was measured.
"""

from __future__ import annotations

from pathlib import Path

from PIL import Image

import finetune as ft


def large_batch(source: str, *, backbone: str = "timm/resnet50", epochs: int = 90) -> ft.Recipe:
    """Trains a network from random weights, at a rate that grows with the pictures a step.

    The rate is 0.1 for 256 pictures and scales with them; it rises from 0.1 over 5 epochs, falls to a tenth after a
    third, two thirds and eight ninths of the epochs; decay of 0.0001 is for weights alone, and the last scale of each
    residual block starts at 0.

    Args:
        source: The folder with train/ and val/.
        backbone: Any network of timm or torchvision; ResNet-50 is the paper's.
        epochs: Passes over the training pictures; 90 in the paper.
    """
    falls = tuple(epochs * share for share in (1 / 3, 2 / 3, 8 / 9))
    return ft.Recipe(
        data=ft.Data(source=source, copies="ignore"),
        model=ft.Backbone(backbone, weights="none"),
        task=ft.Classify(),
        plan=ft.Plan(
            method="full", epochs=epochs, optimizer="sgd", lr=0.1, scale_lr=True, reference_batch=256, batch_size=32,
            warmup_epochs=min(5.0, falls[0]), schedule="step", milestones=falls, weight_decay=1e-4, zero_gamma=True,
            norms="train", augment="standard", mixup=0.0, gradient_clip=0.0, settle="last",
        ),
    )  # fmt: skip


def sample(folder: Path, seed: int) -> None:
    """Draws four textures in ImageNet's layout."""
    for part, count in (("train", 40), ("val", 16)):
        for kind in range(4):
            (folder / part / f"n{kind:08}").mkdir(parents=True)
            for number in range(count):
                picture = ft.generated_picture(kind, seed=10_000 * seed + number + 5_000 * (part == "val"))
                Image.fromarray(picture).save(folder / part / f"n{kind:08}" / f"{number}.JPEG", quality=95)
