"""What looks like this? A shop's nearest products, and how often they are the right ones

Lecture:
    The shop for lamps: what looks like this
Run:
    finetune run visual_similarity data/Stanford_Online_Products --kind lamp --out runs/lamps
    finetune run visual_similarity data/Stanford_Online_Products --kind lamp --learn --out runs/learned
    finetune run visual_similarity data/products --query new/lamp.jpg --out runs/lamps
Data:
    Stanford Online Products (https://cvgl.stanford.edu/projects/lifted_struct), 120,053 pictures of 22,634 products of
    12 kinds, lamps among them. No clear licence is stated.
    Expected, one of
        data/Stanford_Online_Products/Ebay_train.txt, Ebay_test.txt, lamp_final/*.JPG, ...
        data/products/PRODUCT/*.jpg      (a folder a product)
        data/pictures/*.jpg              (no products: nothing is measured, the sheet is drawn)
    The features of a frozen backbone are the recommender; --learn goes on with metric learning (`finetune[embed]`), on
    products that are not those it is measured on: Stanford's lists, or 70, 15 and 15 % of the folders. Without it a
    Study that fits nothing, and of Stanford's lists the products for testing are searched.
Expect:
    Real data: CIFAR-10 in folders, MobileNet v2 at 96 pixels, learned from 4 classes and looked for among 4 others
    (--learn --validation 0.2 --test 0.4 --input-size 96 --epochs 4), n = 1,200 pictures: MAP@R .324 (.316 to .333) with
    seed 0 and .249 (.241 to .256) with seed 1; baseline: .296 (.288 to .305) and .192 (.186 to .198) by frozen
    features. Recall at 1 changed by -.009 (-.031 to .014), which is nothing that can be told, and by .041 (.005 to
    .073), from .744 and .627. A seed draws other classes, and four of them say little of others.

    Real data: ants and bees, frozen: recall at 1 .937 (.908 to .957), MAP@R .610 (.594 to .627), n = 396; baseline:
    grey pixels .543 (.493 to .592) and .276 (.269 to .282). Learned from both kinds (128 pixels, 4 epochs, seed 0) and
    looked for on validation, which chose the epoch, n = 153: MAP@R .632 (.595 to .667), baseline: .407 (.388 to .428)
    by frozen features; recall at 1 .876 (.824 to .928) and .810 (.752 to .869). Known kinds are no new products. What
    is said of --learn has percentile intervals, of an earlier version.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image

import finetune as ft

ENDINGS = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff")


def visual_similarity(
    source: str, *, backbone: str = "timm/convnext_tiny.fb_in22k_ft_in1k", weights: str = "default",
    mean: float | None = None, std: float | None = None, kind: str | None = None, query: str | None = None,
    queries: int = 5, k: int = 9, learn: bool = False,
) -> ft.Study:  # fmt: skip
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
        learn: Whether to go on with metric learning, and to search by what it gives; words of `fit` are for it.
    """
    net = ft.Backbone(backbone, weights=weights, mean=mean, std=std)
    stanford = (Path(source) / "Ebay_test.txt").is_file()
    data = ft.Data(source=source, layout="products" if stanford else None)
    only = ({"side": "test"} | ({"kind": kind} if kind else {})) if stanford else {}

    known = _stanford(Path(source), kind) if stanford else ft.Data(source=source, kind="class")
    embedded = replace(net, head=ft.EmbeddingHead())
    recipes = {"learned": ft.Recipe(data=known, model=embedded, task=ft.Embed())} if learn else {}

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
        model = studied.models.get("learned")
        found = ft.neighbours(model or net, asked, among=among, only=only, k=k)
        found.write(studied.figures)
        told = {"searched": found.pictures, "asked": len(found.queries)}
        if model is not None:
            part = "test" if "test" in model.metrics else "validation"
            beside = model.metrics["baselines"][part]
            return {"learned": model.metrics[part], **beside, "gain": model.metrics["gain"], "part": part,
                    **model.metrics["retrieval"][part], **told}  # fmt: skip
        return {**(ft.retrieval(net, data, only=only, seed=studied.seed) if labelled else {}), **told}

    return ft.Study(compare=compare, recipes=recipes)


def _stanford(root: Path, kind: str | None) -> ft.Data:
    """Stanford's lists as a table; of one kind alone where it is named."""
    lists = [pd.read_csv(root / f"Ebay_{side}.txt", sep=r"\s+", dtype=str).assign(split=side)
             for side in ("train", "test")]  # fmt: skip
    table = pd.concat(lists)[["path", "class_id", "split"]]
    if kind:
        table = table[table["path"].str.startswith(f"{kind}_final/")]
    return ft.Data(source=table, image="path", target="class_id", split="split", root=str(root), kind="class")


def sample(folder: Path, seed: int) -> None:
    """Draws two dozen products, four pictures each, which differ in phase, light and a little turn."""
    for number in range(24):
        (folder / f"product-{number:02d}").mkdir()
        for view in range(4):
            drawn = ft.generated_picture(number, seed=100 * seed + view, side=96)
            Image.fromarray(drawn).save(folder / f"product-{number:02d}" / f"{view}.png")
