"""Scanned pages: which kind of document, and how much can be left to the machine.

Lecture:
    Knopka: a bookkeeper's documents
Run:
    finetune run document_image data/rvl-cdip --out runs/pages
    finetune evaluate runs/pages data/rvl-cdip --layout documents
Data:
    RVL-CDIP (https://adamharley.com/rvl-cdip): 400,000 grey pages of 16 kinds. No licence of its own is stated;
    the pages come from the tobacco industry's public archive. Published looks at it found wrong labels, copies of one
    page in both train and test, and private numbers of persons (arXiv 2306.12550): keep it to yourself.
    Expected, either of
        data/rvl-cdip/labels/train.txt, val.txt, test.txt with lines `imagesa/.../x.tif 11`, and images/imagesa/...
        data/pages/invoice/*.png, data/pages/receipt/*.png, ...  (a folder a kind)
    By default the lists are put together and divided anew, copies of a page on one side: the lists tear them apart,
    which flatters. --division official keeps them, and stops where copies leak (--allow-leaks goes on).
    The report tells how many pages can be left to the machine where 99 % of its answers are to be right
    (--least-precision); `predict` marks the others as abstained. It takes some hundred pages of validation to tell.
Expect:
    Too few to tell: thirty receipts are one kind, so they were read, looked through for copies, and no more. With grey
    copies of 15 of them at 70 % of the size and JPEG quality 60, n = 45: all 15 are found (.78 to 1.00), and no
    other of 990 pairs; equal pixels, the baseline, find none. By MobileNet v2's features each is nearest to its own.

    Generated data: drawn invoices, letters and tables are told apart on 18 of 18 pages, by a head on LeNet-5 with
    random weights, seeds 0 to 2; with --least-precision 0.9 all 18 are answered.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np
from PIL import Image, ImageDraw

import finetune as ft


def document_image(
    source: str, *, backbone: str = "timm/resnet50.tv_in1k", division: Literal["anew", "official"] = "anew",
    least_precision: float = 0.99,
) -> ft.Recipe:  # fmt: skip
    """Names the kind of a page.

    Args:
        source: The folder with RVL-CDIP's lists, or with a folder a kind.
        backbone: Any backbone of timm or torchvision; grey pages are given to it as three equal channels.
        division: "anew" keeps copies of a page on one side; "official" takes the lists as they are.
        least_precision: Share of the answers that is to be right; what is not sure enough for it is left to a person.
    """
    split = "official" if division == "official" else None
    return ft.Recipe(
        data=ft.Data(source=source, layout="documents", split=split, on_corrupt="skip"),
        model=ft.Backbone(backbone, crop="pad"),
        task=ft.Classify(label_smoothing=0.05, operate=f"any:precision>={least_precision:g}"),
        plan=ft.Plan(augment="documents"),
    )


def sample(folder: Path, seed: int) -> None:
    """Draws pages of three kinds: lines of text, a table, and an invoice with a box for the sum."""
    rng = np.random.default_rng(seed)
    for kind in ("invoice", "letter", "table"):
        (folder / kind).mkdir()
        for number in range(40):
            page = Image.new("L", (170, 220), int(rng.integers(235, 256)))
            draw = ImageDraw.Draw(page)
            top, left = (int(v) for v in rng.integers(8, 24, 2))
            if kind == "table":
                for x in range(left, 160, int(rng.integers(18, 30))):
                    draw.line((x, top, x, 205), fill=60, width=2)
            step = int(rng.integers(9, 14))
            for y in range(top, 205, step):
                if kind == "table":
                    draw.line((left, y, 158, y), fill=60, width=2)
                elif kind == "letter" or y < 120:
                    draw.line((left, y, int(rng.integers(90, 155)), y), fill=70, width=3)
            if kind == "invoice":
                draw.rectangle((90, 150, 158, 150 + int(rng.integers(25, 50))), outline=20, width=4)
                draw.rectangle((left, top, left + 40, top + 28), fill=40)
            speckled = np.asarray(page, float) + rng.normal(0, 9, (220, 170))
            Image.fromarray(np.clip(speckled, 0, 255).astype(np.uint8)).save(folder / kind / f"{number}.png")
