"""A film in the manner of a painting that does not flicker (Ruder et al. 2016)

Lecture:
    Artisto: a film in the manner of a painting
Run:
    finetune run style_video frames/ --style painting.jpg --out runs/film
    finetune run style_video frames/ --style painting.jpg --flow dis --out runs/film
Data:
    The frames of a film, yours or under a licence that lets you. Expected: a folder of pictures of one size, ordered by
    their names (ffmpeg -i film.mp4 frames/%05d.png), and a painting by --style, or as style.jpg among them.
    The application is Artisto's; the method is Ruder's and not theirs, which was not published.
    A Study: `predict`, `evaluate`, several devices and resume have nothing to do here.
Expect:
    Real data: 6 frames of a drive (--flow dis --size 320 --painted-steps 40, SqueezeNet): the warping error between
    frames is 0.00016 to 0.00019, n = 5 pairs; each frame painted for itself, the baseline, has 0.0067 to 0.0076, at the
    same style distance (0.24 and 0.26). RAFT's weights were not at hand.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

import finetune as ft

from .film import apart, paint_film, steps_between, steps_given, warping_error, write_film
from .loss import Listener, StyleLoss, layers_of
from .motion import Motion
from .pixels import files_of, picture, read, style_of


def style_video(
    source: str,
    *,
    style: str | None = None,
    flow: str = "raft",
    flow_weights: str = "default",
    backbone: str = "torchvision/vgg19",
    weights: str = "default",
    mean: float | None = None,
    std: float | None = None,
    content_layers: str | None = None,
    style_layers: str | None = None,
    style_weight: float = 10.0,
    variation_weight: float = 5.0,
    temporal_weight: float = 200.0,
    painted_steps: int = 100,
    size: int = 512,
    frames: int = 60,
) -> ft.Study:
    """Paints a film twice: each frame for itself, and held to the frame before where motion can be told.

    Args:
        source: The folder of frames.
        style: The painting.
        flow: How motion is found: "raft" (torchvision's), "dis" (OpenCV's, without weights), "none" (nothing moves), or
            a folder with a .npy or .flo file for each frame but the first, from it to the one before.
        flow_weights: RAFT's: "default" or a file.
        backbone: The network whose layers are listened to; Ruder's is VGG-19.
        weights: Its weights: "default", "none" or a file.
        mean: What its weights want pictures normalised with, where the file cannot say it.
        std: Likewise.
        content_layers: Dotted names of its layers, with commas, instead of the known ones.
        style_layers: Likewise.
        style_weight: Of the manner against what is shown, which has 1, both relative to what is compared.
        variation_weight: Of the total variation, which smooths.
        temporal_weight: Of the distance from the frame before, relative to the brightness of the film.
        painted_steps: Steps of L-BFGS a frame at most.
        size: The longer side of the result in pixels.
        frames: How many, the first ones.
    """
    net = ft.Backbone(backbone, weights=weights, mean=mean, std=std)
    layers = layers_of(net, content_layers, style_layers)
    given = Path(flow) if flow not in ("raft", "dis", "none") else None

    def compare(studied: ft.Studied) -> dict[str, Any]:
        files = files_of(source, most=frames)
        film, painting = [read(file, size) for file in files], read(style_of(source, style), size)
        if len(film) < 2 or len({frame.shape for frame in film}) > 1:
            raise ft.DataError(f"{source} holds no film. Expected two frames or more, all of one size.")
        steps = steps_given(given, files, film) if given else steps_between(film, Motion(flow, flow_weights))  # type: ignore[arg-type]
        loss = StyleLoss(Listener(net, (*layers.content, *layers.style)), layers, painting,
                         style_weight=style_weight, variation_weight=variation_weight)  # fmt: skip
        made = {"photographed": film}
        for name, weight in (("each for itself", 0.0), ("held together", temporal_weight)):
            made[name] = paint_film(film, steps, loss, temporal_weight=weight, painted_steps=painted_steps)
            write_film(studied.figures / f"{name.replace(' ', '-')}.gif", made[name])
        errors = {name: warping_error(shown, steps) for name, shown in made.items()}
        last = len(film) - 1
        rows = [[*(ft.Panel(picture=picture(shown[number]), title=f"{name}, frame {number + 1}")
                   for number in (last - 1, last)),
                 ft.Panel(picture=apart(shown, steps[-1], last), low=0, high=0.3, colours="magma",
                          title=f"what changed: warping error {np.mean(errors[name]):.2g}")]
                for name, shown in made.items()]  # fmt: skip
        note = f"{net.name}, weights: {Path(weights).name}; motion: {flow}; {len(film)} frames"
        ft.draw_sheet(studied.figures / "sheet.jpg", rows, title="A film in the manner of a painting", note=note)
        style_left = {name: float(np.mean([float(loss(frame, loss.content_of(frame))["style"]) for frame in shown]))
                      for name, shown in made.items()}  # fmt: skip
        return {"frames": len(film), "believed": float(np.mean([float(step.mask.mean()) for step in steps])),
                "warping error": errors, "style": style_left}  # fmt: skip

    return ft.Study(compare=compare)


def sample(folder: Path, seed: int) -> None:
    """Draws a texture that moves two pixels to the left in each frame, and a painting of another."""
    wide = ft.generated_picture(1, seed=seed, side=96)
    for number in range(3):
        Image.fromarray(wide[8:80, 2 * number : 2 * number + 80]).save(folder / f"{number:05d}.png")
    Image.fromarray(ft.generated_picture(2, seed=seed, side=80)).save(folder / "style.png")
