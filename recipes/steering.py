"""Steering: the angle of the wheel from what a camera sees; for research, never to drive by.

Lecture:
    Cars that drive themselves
Run:
    finetune run steering data/drive --out runs/steering
    finetune run steering data/drive --backbone finetune/pilotnet --weights none --epochs 30 --out runs/pilotnet
Data:
    A drive recorded with Udacity's simulator (https://github.com/udacity/self-driving-car-sim, MIT licence; a drive is
    its driver's own), SullyChen's (https://github.com/SullyChen/driving-datasets; no licence is stated), or comma's
    (https://github.com/commaai/research, CC BY-NC-SA 3.0; needs finetune[hdf]).
    Expected, one of
        data/drive/driving_log.csv  with center, left, right, steering, throttle, brake, speed; pictures in IMG/
        data/drive/data.txt  with lines `0.jpg 1.5` in degrees; pictures beside it
        data/drive/camera/NAME.h5 with frames in X, and log/NAME.h5 with steering_angle and cam1_ptr
    Each drive is cut into 12 stretches of neighbours: 6 train, 3 validate, 3 test, three moments apart. By chance
    frames a tenth of a second apart would be on both sides. Side cameras are for training alone, at plus or minus 0.2.
    A mirrored picture has the negated angle.
Expect:
    Too few to tell: rmse on 3 stretches of one drive, n = 60, one division; baseline: the mean .112 (.075 to .166). A
    probe on MobileNet v2 has .116 (.078 to .170), PilotNet from nothing with three cameras, 15 epochs, .113 (.086 to
    .207). With three cameras the probe is worse, .237 (.195 to .304): most angles of this drive are 0.

    Generated data: PilotNet from nothing, 25 epochs, on a drawn road: rmse .180, the mean .467, but nearest pixels
    .051, n = 30.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np
from PIL import Image, ImageDraw

import finetune as ft


def steering(
    source: str, *, backbone: str = "timm/resnet18.tv_in1k", cameras: Literal["one", "three"] = "one"
) -> ft.Recipe:
    """Says how far the wheel is turned.

    Args:
        source: The folder with the log, or with several drives in folders of their own.
        backbone: Any backbone of timm or torchvision; finetune/pilotnet with --weights none is NVIDIA's network.
        cameras: "three" adds the side cameras of training moments, with turned angles.
    """
    layout = "driving" if cameras == "one" else "driving-three-cameras"
    return ft.Recipe(
        # Neighbours look alike; that they are no copies on two sides is what the stretches are for.
        data=ft.Data(source=source, layout=layout, split="official", kind="number", copies="exact"),
        model=ft.Backbone(backbone, crop=None if "pilotnet" in backbone else "squish"),
        task=ft.Regress(),
        plan=ft.Plan(augment="light", mirror_target="negate"),
    )


def sample(folder: Path, seed: int) -> None:
    """Draws a road whose bend is the angle, as a simulator's log without a header."""
    (folder / "IMG").mkdir()
    rng = np.random.default_rng(seed)
    lines, bend = [], 0.0
    for number in range(180):
        bend = float(np.clip(bend + rng.normal(0, 0.25), -1, 1))
        names = []
        for camera, aside in (("center", 0.0), ("left", -0.3), ("right", 0.3)):
            road = Image.new("RGB", (100, 66), tuple(int(v) for v in rng.integers(90, 130, 3)))
            far = 50 + 40 * bend - 20 * aside
            near = 50 - 30 * aside
            edges = [(near - 30, 66), (near + 30, 66), (far + 4, 18), (far - 4, 18)]
            ImageDraw.Draw(road).polygon(edges, fill=(45, 45, 50))
            noisy = np.asarray(road, float) + rng.normal(0, 6, (66, 100, 3))
            names.append(f"IMG/{camera}_{number}.png")
            Image.fromarray(np.clip(noisy, 0, 255).astype(np.uint8)).save(folder / names[-1])
        lines.append(",".join([*names, f"{bend:.4f}", "0.3", "0", "30"]))
    (folder / "driving_log.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
