"""Cats and dogs: two classes, with any pretrained backbone.

Lecture:
    Dogs vs. Cats, with VGG16
Run:
    finetune run dogs_vs_cats data/dogs-vs-cats --out runs/pets
Data:
    Kaggle's "Dogs vs. Cats" (https://www.kaggle.com/c/dogs-vs-cats/data, 25,000 pictures, 543 MB; its licence is the
    competition's rules). Expected: train/cat.0.jpg ... train/dog.12499.jpg.
Expect:
    Generated data: two textures are told apart.
"""

from __future__ import annotations

from pathlib import Path

from PIL import Image

import finetune as ft


def dogs_vs_cats(source: str, *, backbone: str = "timm/vgg16.tv_in1k") -> ft.Recipe:
    """Tells cats from dogs.

    Args:
        source: The unpacked folder of Kaggle's or Microsoft's archive.
        backbone: Any backbone of timm or torchvision; the lecture's is VGG16.
    """
    return ft.Recipe(
        data=ft.Data(source=source, label_from="^(cat|dog)"),
        model=ft.Backbone(backbone),
        task=ft.Classify(),
    )


def sample(folder: Path, seed: int) -> None:
    """Draws two textures in the layout of Kaggle's archive."""
    (folder / "train").mkdir()
    for number in range(24):
        for kind, name in enumerate(("cat", "dog")):
            picture = ft.generated_picture(kind, seed=seed * 1000 + number)
            Image.fromarray(picture).save(folder / "train" / f"{name}.{number}.jpg", quality=95)
