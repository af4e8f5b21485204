"""How often the highest place of an explanation lies on what the answer rests on, where that is known.

Run: python benchmarks/explained.py [--pictures 240] [--epochs 12] [--sheet docs/pictures/explain.jpg]

Pieces of scikit-learn's two photographs, in every other one a bright square: whoever tells these from the others has
nothing else to go by. A ResNet and a ViT learn it from random weights, and are explained on 40 pieces with a square
that they did not see. Chance is the share of the picture on which a hit is counted. Times are of this machine.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from sklearn.datasets import load_sample_images

import finetune as ft
from finetune.report.explained import SIGNED, over_picture, overlaid

SIDE, SQUARE, MARGIN, ASKED = 96, 24, 8, 40
NETWORKS: dict[str, tuple[dict[str, Any], tuple[str, ...]]] = {
    "ResNet": ({"backbone": "timm/resnet10t"}, ("grad-cam", "grad-cam++", "grad-cam layer3", "grad-cam++ layer3",
                                                "occlusion", "integrated-gradients", "deconvnet")),
    "ViT": ({"backbone": "timm/vit_tiny_patch16_224", "backbone_arg": {"depth": 4, "patch_size": 8}},
            ("grad-cam", "grad-cam++", "occlusion", "integrated-gradients", "roll-out")),
}  # fmt: skip
"""A network each, and the methods with the layers that are asked for."""


def pieces(folder: Path, count: int, rng: np.random.Generator) -> dict[Path, tuple[int, int]]:
    """Writes pieces of the photographs; those with a square and where it lies."""
    photographs, where = load_sample_images().images, {}
    for number in range(count):
        photograph, kind = photographs[number // 2 % 2], ("plain", "square")[number % 2]
        top, left = (int(rng.integers(0, high - SIDE + 1)) for high in photograph.shape[:2])
        piece = photograph[top : top + SIDE, left : left + SIDE].copy()
        file = folder / kind / f"{number:04d}.png"
        if kind == "square":
            row, column = (int(one) for one in rng.integers(0, SIDE - SQUARE + 1, 2))
            piece[row : row + SQUARE, column : column + SQUARE] = (255, 225, 40)
            where[file] = (row, column)
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(piece).save(file)
    return where


def hit(one: ft.Explanation, place: tuple[int, int]) -> bool:
    """Whether the highest place of a map, as it is laid over the picture, lies on the square or just beside it."""
    heat = over_picture(one.map, one.method)
    large = np.asarray(Image.fromarray(heat.astype(np.float32)).resize((SIDE, SIDE), Image.Resampling.BICUBIC))
    peak = np.unravel_index(large.argmax(), large.shape)
    return all(low - MARGIN <= at < low + SQUARE + MARGIN for at, low in zip(peak, place, strict=True))


def chance(where: dict[Path, tuple[int, int]]) -> float:
    """The mean share of the picture within the margin of the square."""
    spans = [[min(SIDE, low + SQUARE + MARGIN) - max(0, low - MARGIN) for low in place] for place in where.values()]
    return float(np.mean([high * wide for high, wide in spans]) / SIDE**2)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--pictures", type=int, default=240)
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--sheet", type=Path)
    options = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as place:
        pieces(Path(place) / "learn", options.pictures, np.random.default_rng(0))
        where = pieces(Path(place) / "ask", 2 * ASKED, np.random.default_rng(1))
        print(f"chance: {chance(where):.2f}")
        for name, (words, methods) in NETWORKS.items():
            model = ft.fit(Path(place) / "learn", **words, weights="none", input_size=SIDE, method="full", lr=1e-3,
                           epochs=options.epochs, augment="none", copies="exact", test=0, accelerator="cpu",
                           out=Path(place) / name, verbose=False)  # fmt: skip
            right = (model.predict(list(where))["label"] == "square").mean()
            print(f"{name}: right on {right:.2f} of the {ASKED}")
            row: list[tuple[str, ft.Explanation]] = []
            for method in methods:
                start = time.perf_counter()
                words = dict(zip(("method", "layer"), method.split(), strict=False))
                about = {} if method == "roll-out" else {"answer": "square"}
                found = model.explain(list(where), **words, **about, accelerator="cpu")
                seconds = (time.perf_counter() - start) / ASKED
                hits = np.mean([hit(one, place) for one, place in zip(found, where.values(), strict=True)])
                print(f"  {method:22s} on the square: {hits:.2f}   {seconds:.3f} s a picture")
                row.append((method, found[0]))
            rows.append(row)
    if options.sheet is not None:
        ft.draw_sheet(
            options.sheet,
            [panels(name, row) for name, row in zip(NETWORKS, rows, strict=True)],
            title='"square", as two networks that learned it see it and as each method shows it',
            note="Yellow, or red: speaks for the answer; blue: against it. Photograph: scikit-learn (CC BY 2.0).",
        )


def panels(name: str, row: list[tuple[str, ft.Explanation]]) -> list[ft.Panel]:
    """The picture, and the map of each method over it."""
    large = np.asarray(Image.fromarray(row[0][1].picture).resize((384, 384), Image.Resampling.BICUBIC))
    found = [ft.Panel(picture=large, title=f"{name}: {row[0][1].value:.0%} sure")]
    for method, one in row:
        heat = over_picture(one.map, one.method)
        found.append(ft.Panel(picture=overlaid(large, heat, signed=one.method in SIGNED), title=method))
    return found


if __name__ == "__main__":
    main()
