"""Chest X-rays: findings as labels or classes, each patient on one side of the split.

Lecture:
    Medical pictures
Run:
    finetune run chest_xray data/nih --division official --out runs/chest
    finetune run chest_xray data/chest_xray --out runs/pneumonia
Data:
    NIH ChestX-ray14 (https://nihcc.app.box.com/v/ChestXray-NIHCC): 112,120 pictures of 30,805 patients, 14 findings
    that a program read from reports. Its README asks that the NIH be named; no licence by name is stated.
    Expected, one of
        data/nih/Data_Entry_2017_v2020.csv, train_val_list.txt, test_list.txt, images_001/images/*.png ...
        data/chest_xray/NORMAL/*.jpeg, data/chest_xray/PNEUMONIA/person1_bacteria_1.jpeg ...  (patients in the names)
        data/chestmnist.npz  (MedMNIST, CC BY 4.0), which needs no patients: its division is given
    Left and right differ in a chest: nothing is mirrored unless --augment says so. Not a medical device.
Expect:
    Real data: accuracy .983 (.882 to .998), .933 (.830 to .976) and .983 (.882 to .998), n = 60 each, NORMAL or
    PNEUMONIA by patient, a probe on MobileNet v2, seeds 0 to 2; baseline: majority .500 (.372 to .628). Nearest pixels
    are nearly as good (.933, .917, .867), so that this sample says little of what a backbone adds.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np
from PIL import Image

import finetune as ft

HEADER = (
    "Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age,Patient Gender,View Position,"
    "OriginalImage[Width,Height],OriginalImagePixelSpacing[x,y]"
)
FINDINGS = ("Cardiomegaly", "Effusion", "Hernia")


def chest_xray(
    source: str, *, backbone: str = "timm/densenet121.tv_in1k", division: Literal["anew", "official"] = "anew"
) -> ft.Recipe:
    """Names the findings of a chest X-ray.

    Args:
        source: The folder with the NIH's table or with class folders, or MedMNIST's .npz file.
        backbone: Any backbone of timm or torchvision; DenseNet-121 is what CheXNet used.
        division: "official" keeps the NIH's lists or the folders' parts; "anew" divides by patient.
    """
    packed = source.endswith(".npz")
    split = "official" if division == "official" and not packed else None
    return ft.Recipe(
        data=ft.Data(source=source, layout=None if packed else "chest-xrays", split=split),
        model=ft.Backbone(backbone),
        plan=ft.Plan(augment="documents"),
    )


def sample(folder: Path, seed: int) -> None:
    """Draws findings as textures laid over each other, in the NIH's layout, two pictures a patient."""
    (folder / "images_001" / "images").mkdir(parents=True)
    rng = np.random.default_rng(seed)
    lines = [HEADER]
    for number in range(160):
        has = rng.random(len(FINDINGS)) < 0.4
        layers = [ft.generated_picture(9, seed=1_000 * seed + number)]
        layers += [ft.generated_picture(k, seed=1_000 * seed + number) for k in range(len(FINDINGS)) if has[k]]
        name = f"{number // 2:08}_{number % 2:03}.png"
        picture = np.mean(layers, axis=0).astype(np.uint8)
        Image.fromarray(picture).convert("L").save(folder / "images_001" / "images" / name)
        labels = "|".join(name for name, present in zip(FINDINGS, has, strict=True) if present) or "No Finding"
        lines.append(f"{name},{labels},{number % 2},{number // 2},50,F,PA,48,48,0.1,0.1")
    (folder / "Data_Entry_2017_v2020.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
