"""Networks with real weights know real pictures: layout, preprocessing and classifier all at once."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from finetune.models.options import Backbone
from finetune.models.weights import read_state


def picture(path, spec):
    with Image.open(path) as opened:
        image = opened.convert("RGB")
    kernel = Image.Resampling.BICUBIC if spec.interpolation == "bicubic" else Image.Resampling.BILINEAR
    scale = spec.resize / min(image.size)
    image = image.resize((round(image.width * scale), round(image.height * scale)), kernel)
    left, top = (image.width - spec.size[1]) // 2, (image.height - spec.size[0]) // 2
    image = image.crop((left, top, left + spec.size[1], top + spec.size[0]))
    return torch.from_numpy(np.array(image)).permute(2, 0, 1)


def accuracy(backbone, shared_data, shared_weights, most):
    """Top-1 with the file's own classifier in the place of the fresh one."""
    names = (shared_weights / "imagenet_labels.txt").read_text(encoding="utf-8").splitlines()
    labels = names[1:]  # the first is the background, which these weights do not have
    network = backbone.build(len(labels)).eval()
    state = read_state(backbone.weights)
    own = {n: state[f"{network.head_path}.{n}"].reshape(p.shape) for n, p in network.head.named_parameters()}
    network.head.load_state_dict(own)
    files = sorted((shared_data / "imagenet_sample").glob("n*"))[:: 200 // most]
    right = 0
    with torch.inference_mode():
        for start in range(0, len(files), 25):
            batch = files[start : start + 25]
            answers = network(torch.stack([picture(f, network.spec) for f in batch])).argmax(1).tolist()
            right += sum(_means(labels[a], f.stem) for a, f in zip(answers, batch, strict=True))
    return right / len(files)


def _means(label, stem):
    """The file is called nXXXXXXXX_first_name, the label lists all names of the class."""
    name = stem.partition("_")[2].replace("_", " ").lower()
    return label.partition(",")[0].strip().lower() == name


@pytest.mark.parametrize(
    ("name", "file", "options", "least"),
    [
        ("torchvision/mobilenet_v2", "mobilenet_v2.torchvision.pth", {"mean": 0.5, "std": 0.5}, 0.70),
        ("torchvision/squeezenet1_0", "squeezenet1_0.torchvision.pth", {}, 0.55),
        (
            "timm/mobilenetv2_100",
            "mobilenetv2_100.timm.safetensors",
            {"mean": 0.5, "std": 0.5, "args": {"pad_type": "same"}},
            0.70,
        ),
    ],
)
def test_real_weights_know_real_pictures(name, file, options, least, shared_data, shared_weights):
    backbone = Backbone(name, weights=str(shared_weights / file), **options)
    assert accuracy(backbone, shared_data, shared_weights, 50) >= least
