"""Cats and dogs: two classes, with VGG16 as in the lecture or any other backbone.

Lecture:
    Dogs vs. Cats on VGG16
Run:
    finetune run dogs_vs_cats data/dogs-vs-cats --out runs/pets
    finetune run dogs_vs_cats data/dogs-vs-cats --backbone convnext_tiny --out runs/pets
Data:
    Kaggle's "Dogs vs. Cats" (https://www.kaggle.com/c/dogs-vs-cats/data): 25,000 pictures. Or Microsoft's archive of
    the same, some files of which are no pictures (https://www.microsoft.com/download, "Kaggle Cats and Dogs Dataset").
    No licence is stated beside the rules of the competition.
    Expected, either of
        data/dogs-vs-cats/train/cat.0.jpg ... dog.12499.jpg
        data/dogs-vs-cats/PetImages/Cat/0.jpg ... PetImages/Dog/12499.jpg
    By default the lecture's division holds: numbers 0 to 8749 of each class train, to 10624 validate, the rest test.
    Files that cannot be read are counted and named, and left out.
Expect:
    Real data: accuracy .985 (.955 to .995), n = 200, a probe on MobileNet v2, 600 other pictures to learn from, one
    division that came with the sample; baseline: majority .500 (.432 to .568), nearest pixels .550 (.480 to .618).
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from PIL import Image

import finetune as ft


def dogs_vs_cats(
    source: str, *, backbone: str = "timm/vgg16.tv_in1k", division: Literal["official", "random"] = "official"
) -> ft.Recipe:
    """Tells cats from dogs.

    Args:
        source: The folder of Kaggle's or Microsoft's unpacked archive.
        backbone: Any backbone of timm or torchvision; VGG16 is the lecture's.
        division: The lecture's by the number in the file's name (or the folders' where they name parts), or random.
    """
    split = "official" if division == "official" else None
    return ft.Recipe(
        data=ft.Data(source=source, layout="pets", split=split, on_corrupt="skip"),
        model=ft.Backbone(backbone),
        task=ft.Classify(),
    )


def sample(folder: Path, seed: int) -> None:
    """Draws two textures in Kaggle's layout, with numbers in all three parts of the lecture's division."""
    (folder / "train").mkdir()
    for place, start in enumerate((0, 8_750, 10_625)):
        for number in range(start, start + (20 if place == 0 else 8)):
            for kind, name in enumerate(("cat", "dog")):
                picture = ft.generated_picture(kind, seed=100_000 * seed + number)
                Image.fromarray(picture).save(folder / "train" / f"{name}.{number}.jpg", quality=95)
