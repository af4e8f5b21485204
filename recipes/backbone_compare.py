"""Backbones compared: the lecture's four families and today's, by how many labels they need.

Lecture:
    Pretrained networks: AlexNet, VGG, Inception, ResNet
Run:
    finetune run backbone_compare data/hymenoptera --out runs/backbones
    finetune run backbone_compare data/pets --backbones resnet50,vgg16=vgg16.pth --labels 5,20,80 --out runs/backbones
Data:
    Any folder of class folders; by hand or from a collection under its own licence (the author's sample, ants and bees,
    states none).
    Expected data/NAME/CLASS/*.jpg, or the same inside train/ and val/ (which are put together and divided anew).
    A Study: each fit is a run folder in fits/, `figures/backbones.png` shows accuracy over the labels a class. Figures
    of one division and one choice of labels: --seed makes another.
Expect:
    Real data: ants and bees, a probe on 5, 20 and 60 labels a class: MobileNet v2 .933 (.871 to .966), .924 (.860 to
    .961), .950 (.893 to .977); SqueezeNet 1.0 .807 (.726 to .868), .849 (.774 to .902), .849 (.774 to .902);
    MobileNet v2 from random weights .529 (.440 to .617), .622 (.531 to .705), .672 (.583 to .751); n = 119, seed 0;
    baseline: majority .487 (.397 to .578), nearest pixels .454, .546 and .563.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image

import finetune as ft

FAMILIES = (
    "torchvision/alexnet,timm/vgg16.tv_in1k,timm/inception_v3.tf_in1k,timm/resnet50.tv_in1k,"
    "timm/convnext_tiny.fb_in22k_ft_in1k,timm/vit_small_patch14_dinov2.lvd142m"
)
PARTS = ("train", "val", "validation", "test")


def backbone_compare(
    source: str, *, backbones: str = FAMILIES, labels: str = "5,20,80", methods: str = "probe,lp-ft", seed: int = 0
) -> ft.Study:
    """Fits each backbone by each method to each number of labels, and draws accuracy over labels.

    Args:
        source: A folder of class folders.
        backbones: Names with commas; NAME=FILE reads weights of one's own, NAME=none starts from random numbers, and
            NAME=FILE:0.5 says what their pictures were normalised by (mean and std).
        labels: Numbers of labelled pictures a class.
        methods: Methods of fit, each with what the data decides for it.
        seed: Chooses the pictures of each part, and seeds the training.
    """
    table = divided(Path(source), seed)
    counts = [int(count) for count in labels.split(",")]
    recipes = {}
    for word in backbones.split(","):
        name, _, own = word.partition("=")
        weights, _, norm = own.partition(":")
        short = name.split("/")[-1] + (" random" if weights == "none" else "")
        known = {"mean": float(norm), "std": float(norm)} if norm else {}
        net = ft.Backbone(name, weights=weights or "default", **known)
        for method in methods.split(","):
            for count in counts:
                few = table[(table["split"] != "train") | (table["place"] < count)]
                recipes[f"{short} {method} {count}"] = ft.Recipe(
                    data=ft.Data(source=few, image="image", target="target", split="split", copies="exact"),
                    model=net, task=ft.Classify(), plan=ft.Plan(method=method, seed=seed),
                )  # fmt: skip

    def compare(studied: ft.Studied) -> dict[str, Any]:
        found = {name: model.metrics["test"]["accuracy"] for name, model in studied.models.items()}
        curves = {}
        for line in dict.fromkeys(name.rpartition(" ")[0] for name in found):
            points = [found[f"{line} {count}"] for count in counts]
            curves[line] = (counts, *([point[of] for point in points] for of in ("value", "low", "high")))
        plot = ft.Plot(curves=curves, x="labelled pictures a class", y="accuracy on the test part")
        note = f"{next(iter(found.values()))['n']} test pictures of {Path(source).name}; bands are 95 % intervals."
        ft.draw_plots(studied.figures / "backbones.png", [plot], columns=1, title="What a backbone needs", note=note)
        return {"accuracy": found}

    return ft.Study(recipes=recipes, compare=compare)


def divided(folder: Path, seed: int) -> pd.DataFrame:
    """All pictures with a part each: of every class 30 % test, 15 % choose, and the others in a random order."""
    kinds = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff")
    files = sorted(path for path in folder.glob("**/*") if path.suffix.lower() in kinds)
    classes = sorted({path.parent.name for path in files} - set(PARTS))
    rng = np.random.default_rng(seed)
    rows = []
    for name in classes:
        own = [path for path in files if path.parent.name == name]
        test, choose = round(0.3 * len(own)), round(0.45 * len(own))
        for place, at in enumerate(rng.permutation(len(own))):
            part = "test" if place < test else "validation" if place < choose else "train"
            rows.append((str(own[at].absolute()), name, part, place - choose))
    return pd.DataFrame(rows, columns=["image", "target", "split", "place"])


def sample(folder: Path, seed: int) -> None:
    """Draws three textures in class folders."""
    for kind in range(3):
        (folder / f"kind-{kind}").mkdir()
        for number in range(40):
            picture = ft.generated_picture(kind, seed=1_000 * seed + number)
            Image.fromarray(picture).save(folder / f"kind-{kind}" / f"{number}.png")
