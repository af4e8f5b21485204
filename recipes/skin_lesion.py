"""Skin lesions: seven diagnoses, each lesion on one side of the split.

Lecture:
    Skin cancer (Esteva et al. 2017) with Inception-v3
Run:
    finetune run skin_lesion data/ham10000 --out runs/skin
    finetune run skin_lesion data/ham10000 --taxonomy lesions --out runs/skin
    finetune run skin_lesion data/ham10000 --training esteva --devices 8 --out runs/skin
Data:
    HAM10000 (https://doi.org/10.7910/DVN/DBW86T): 10,015 dermatoscopic pictures; its makers state the licence
    CC BY-NC 4.0. Also read: the ground truth of the ISIC challenges, and the ISIC archive's metadata.csv.
    Expected, one of
        data/ham10000/HAM10000_metadata(.csv)  with lesion_id, image_id, dx; pictures in any folders beside it
        data/isic2018/ISIC2018_Task3_Training_GroundTruth.csv, ..._LesionGroupings.csv; pictures in folders beside
        data/isic/metadata.csv  with isic_id and target; pictures in images/
    --taxonomy FILE takes a tree of your own (docs/evaluation.md); "lesions" is the one in this file.
    Pictures of one lesion stay on one side. Judge by balanced accuracy: two thirds of HAM10000 are one class.
    Dermatoscopic pictures are not the clinical photographs of Esteva et al., whose data is not public. Not a medical
    device.
Expect:
    Real data: AUROC .832 (.778 to .882), .866 (.821 to .905) and .826 (.774 to .872), n = 300 each, benign or
    malignant, a probe on MobileNet v2, seeds 0 to 2; baseline: majority .500, nearest pixels .519 (.485 to .555), .600
    (.548 to .659) and .508 (.477 to .547). The intervals are percentiles of an earlier version. The sample names no
    lesions: only copies were kept on one side.
"""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Literal

from PIL import Image

import finetune as ft

LESIONS = {
    "lesion": {
        "benign": ["nv", "bkl", "df", "vasc"],
        "malignant": ["mel", {"keratinocytic": ["bcc", "scc", "akiec", "ak"]}],
        "unk": None,
    }
}
"""The diagnoses of HAM10000 and the ISIC challenges on a tree; the archive's two words are nodes of it. What may become
malignant (akiec, ak) stands with what is."""

KINDS = {"nv": 40, "mel": 16, "bkl": 16, "bcc": 12, "akiec": 12, "vasc": 12, "df": 12}


def skin_lesion(
    source: str, *, backbone: str = "timm/inception_v3.tf_in1k", training: Literal["today", "esteva"] = "today",
    taxonomy: str | None = None,
) -> ft.Recipe:  # fmt: skip
    """Names the diagnosis of a lesion.

    Args:
        source: The folder with the table and the pictures.
        backbone: Any backbone of timm or torchvision; Inception-v3 is the paper's.
        training: "today" is the library's own; "esteva" moves all layers at one rate from the start, with TensorFlow's
            RMSProp and turns by any angle, as the paper has it (its rates and lengths are unconfirmed here), and puts
            diagnoses of fewer than 1,000 pictures together on the tree.
        taxonomy: A tree of the diagnoses, at every node of which there is an answer: a file, or "lesions" for benign
            and malignant, which "esteva" takes by itself.
    """
    size = 1
    plan = ft.Plan(monitor="balanced_accuracy", augment="medical")
    if training == "esteva":
        taxonomy, size = taxonomy or "lesions", 1000
        plan = ft.Plan(
            monitor="balanced_accuracy", method="full", optimizer="rmsprop", lr=1e-3, layer_decay=1.0, epochs=90,
            schedule="step", milestones=(30, 60), step_factor=1 / 16, warmup=0, augment="any-angle", norms="train",
        )  # fmt: skip
    return ft.Recipe(
        data=ft.Data(source=source, layout="skin-lesions"),
        model=ft.Backbone(backbone),
        task=ft.Classify(
            class_weight="balanced", taxonomy=LESIONS if taxonomy == "lesions" else taxonomy, max_class_size=size
        ),
        plan=plan,
    )


def sample(folder: Path, seed: int) -> None:
    """Draws a texture for each diagnosis in HAM10000's layout, two pictures a lesion."""
    (folder / "HAM10000_images_part_1").mkdir()
    rows = []
    for kind, (name, count) in enumerate(KINDS.items()):
        for number in range(count):
            image = f"ISIC_{len(rows):07}"
            picture = Image.fromarray(ft.generated_picture(kind, seed=1_000 * seed + number))
            picture.save(folder / "HAM10000_images_part_1" / f"{image}.jpg", quality=95)
            rows.append((f"HAM_{kind}{number // 2:06}", image, name, "generated", "", "", ""))
    with (folder / "HAM10000_metadata.csv").open("w", newline="", encoding="utf-8") as file:
        header = ("lesion_id", "image_id", "dx", "dx_type", "age", "sex", "localization")
        csv.writer(file).writerows([header, *rows])
