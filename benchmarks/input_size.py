"""Features of three sizes of the same pictures: what a larger input than the weights' own is worth.

    python benchmarks/input_size.py --sets hymenoptera cats_dogs --networks torchvision timm --sizes 224 256 288

A logistic regression answers each third of the pictures from the others, its penalty chosen by folds of those; groups
stay on one side, and the division is drawn three times. Pictures are reduced as the weights' own preprocessing says,
to a square crop of 0.875 of the shorter side. Needs scikit-learn and the shared weights alone.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence

import numpy as np
import torch
from PIL import Image, ImageOps
from quality_sets import Row, parts, root
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, StratifiedGroupKFold

MOST, BATCH, CROP = 600, 32, 0.875
DIVISIONS = 3
Features = Callable[[torch.Tensor], torch.Tensor]


def mobilenet_of_torchvision() -> Features:
    from torchvision.models import mobilenet_v2

    network = mobilenet_v2()
    network.load_state_dict(torch.load(root() / "weights" / "mobilenet_v2.torchvision.pth", weights_only=True))
    return lambda pictures: network.eval().features(pictures * 2 - 1).mean((2, 3))


def mobilenet_of_timm() -> Features:
    import timm
    from safetensors.torch import load_file

    network = timm.create_model("mobilenetv2_100", pretrained=False)
    network.load_state_dict(load_file(root() / "weights" / "mobilenetv2_100.timm.safetensors"))
    network.reset_classifier(0)
    mean, std = (torch.tensor(network.default_cfg[word]).view(-1, 1, 1) for word in ("mean", "std"))
    return lambda pictures: network.eval()((pictures - mean) / std)


NETWORKS = {"torchvision": mobilenet_of_torchvision, "timm": mobilenet_of_timm}


def picture(path: str, size: int) -> np.ndarray:
    """(3, size, size) in [0, 1]."""
    image = ImageOps.exif_transpose(Image.open(path)).convert("RGB")
    scale = size / CROP / min(image.size)
    width, height = (max(size, round(side * scale)) for side in image.size)
    left, top = (width - size) // 2, (height - size) // 2
    image = image.resize((width, height), Image.Resampling.BILINEAR).crop((left, top, left + size, top + size))
    return np.asarray(image).transpose(2, 0, 1) / np.float32(255)


@torch.inference_mode()
def features(rows: Sequence[Row], of: Features, size: int) -> np.ndarray:
    found = []
    for start in range(0, len(rows), BATCH):
        pixels = np.stack([picture(row.path, size) for row in rows[start : start + BATCH]])
        found.append(of(torch.from_numpy(pixels).contiguous(memory_format=torch.channels_last)).numpy())
    values = np.concatenate(found)
    return values / np.sqrt((values**2).mean())


def judged(values: np.ndarray, label: np.ndarray, unit: np.ndarray, seed: int) -> tuple[float, float]:
    """Accuracy and log loss of held-out answers."""
    right, lost = [], []
    for train, test in StratifiedGroupKFold(3, shuffle=True, random_state=seed).split(values, label, unit):
        search = GridSearchCV(
            LogisticRegression(max_iter=3000), {"C": np.logspace(-4, 1, 6)}, scoring="neg_log_loss",
            cv=StratifiedGroupKFold(4, shuffle=True, random_state=seed),
        ).fit(values[train], label[train], groups=unit[train])  # fmt: skip
        answer = search.predict_proba(values[test])
        place = np.searchsorted(search.classes_, label[test])
        right += list(answer.argmax(axis=1) == place)
        lost += list(-np.log(answer[np.arange(len(place)), place]))
    return float(np.mean(right)), float(np.mean(lost))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sets", nargs="+", default=["hymenoptera", "cats_dogs", "isic_lesions", "chest_xray"])
    parser.add_argument("--networks", nargs="+", default=list(NETWORKS), choices=list(NETWORKS))
    parser.add_argument("--sizes", nargs="+", type=int, default=[224, 256, 288])
    asked = parser.parse_args()
    torch.set_num_threads(1)
    for network in asked.networks:
        of = NETWORKS[network]()
        for name in asked.sets:
            divided = parts(name, 0, most=None, test_most=None)
            rows = sorted([*divided.train, *divided.test], key=lambda row: row.path)
            rows = [rows[i] for i in sorted(np.random.default_rng(0).permutation(len(rows))[:MOST])]
            label, unit = np.array([row.label for row in rows]), np.array([row.unit for row in rows])
            side = np.median([min(Image.open(row.path).size) for row in rows])
            print(f"{name}, {network}, {len(rows)} pictures, median of the shorter side {side:g}")
            for size in asked.sizes:
                values = features(rows, of, size)
                found = [judged(values, label, unit, seed) for seed in range(DIVISIONS)]
                accuracy, loss = np.mean(found, axis=0)
                losses = ", ".join(f"{lost:.3f}" for _, lost in found)
                print(f"  {size}: accuracy {accuracy:.3f}, log loss {loss:.3f} ({losses})", flush=True)


if __name__ == "__main__":
    main()
