"""What looks like this? A shop's nearest products, and how often they are the right ones

Lecture:
    The shop for lamps: what looks like this
Run:
    finetune run visual_similarity data/Stanford_Online_Products --kind lamp --out runs/lamps
    finetune run visual_similarity data/products --query new/lamp.jpg --out runs/lamps
Data:
    Stanford Online Products (https://cvgl.stanford.edu/projects/lifted_struct), 120,053 pictures of 22,634 products of
    12 kinds, lamps among them. No clear licence is stated.
    Expected, one of
        data/Stanford_Online_Products/Ebay_train.txt, Ebay_test.txt, lamp_final/*.JPG, ...
        data/products/PRODUCT/*.jpg      (a folder a product)
        data/pictures/*.jpg              (no products: nothing is measured, the sheet is drawn)
    The features of a frozen backbone are the recommender. A Study that fits nothing: devices, resume, `predict` and
    `evaluate` have nothing to do here. Of Stanford's lists the products for testing are searched.
Expect:
    Real data: ants and bees, a picture finds one of its own kind first (recall at 1) by MobileNet v2's features .937
    (.907 to .958), by MAP@R .610 (.594 to .628), n = 396, no seed but that of the intervals, which draw pictures;
    baseline: grey pixels .543 (.491 to .594) and .276 (.269 to .282). Two kinds are no products: of a shop expect
    figures of its own. The intervals of MAP@R are percentiles of an earlier version.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

import finetune as ft

ENDINGS = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff")


def visual_similarity(
    source: str,
    *,
    backbone: str = "timm/convnext_tiny.fb_in22k_ft_in1k",
    weights: str = "default",
    mean: float | None = None,
    std: float | None = None,
    kind: str | None = None,
    query: str | None = None,
    queries: int = 5,
    k: int = 9,
) -> ft.Study:
    """Finds the pictures nearest to some pictures by features, and measures how often they are of the same product.

    Args:
        source: Stanford's folder, a folder of products, or one of pictures alone.
        backbone: Any backbone; it stays as it is.
        weights: Its weights: "default", "none" or a file.
        mean: What its weights want pictures normalised with, where the file cannot say it.
        std: Likewise.
        kind: Of Stanford's kinds one alone: lamp.
        query: A picture, or a folder of some, to find neighbours of; by default some of the source.
        queries: How many of the source.
        k: How many neighbours of each.
    """
    net = ft.Backbone(backbone, weights=weights, mean=mean, std=std)
    stanford = (Path(source) / "Ebay_test.txt").is_file()
    data = ft.Data(source=source, layout="products" if stanford else None)
    only = ({"side": "test"} | ({"kind": kind} if kind else {})) if stanford else {}

    def compare(studied: ft.Studied) -> dict[str, Any]:
        files = sorted(file for file in Path(source).rglob("*") if file.suffix.lower() in ENDINGS)
        if not files:
            raise ft.DataError(f"There are no pictures in {source}. Expected a folder of pictures.")
        labelled = stanford or any(file.parent != Path(source) for file in files)
        among = data if labelled else source
        if kind:
            files = [file for file in files if file.parent.name.removesuffix("_final") == kind]
        order = np.random.default_rng(studied.seed).permutation(len(files))
        asked = query or [str(files[at]) for at in order[:queries]]
        found = ft.neighbours(net, asked, among=among, only=only, k=k)
        found.write(studied.figures)
        metrics = ft.retrieval(net, data, only=only, seed=studied.seed) if labelled else {}
        return {**metrics, "searched": found.pictures, "asked": len(found.queries)}

    return ft.Study(compare=compare)


def sample(folder: Path, seed: int) -> None:
    """Draws two dozen products, four pictures each, which differ in phase, light and a little turn."""
    for number in range(24):
        (folder / f"product-{number:02d}").mkdir()
        for view in range(4):
            drawn = ft.generated_picture(number, seed=100 * seed + view, side=96)
            Image.fromarray(drawn).save(folder / f"product-{number:02d}" / f"{view}.png")
