"""A photograph in the manner of a painting, by moving its pixels (Gatys et al. 2016)

Lecture:
    Prisma: pictures in the manner of a painting
Run:
    finetune run style_image photos/ --style starry-night.jpg --out runs/painted
    finetune run style_image photo.jpg --style painting.jpg --backbone torchvision/squeezenet1_0 --out runs/painted
Data:
    Any photographs and any painting, yours or under a licence that lets you. Expected: one picture, or a folder of
    them; a file style.jpg or style.png among them is the painting where --style names none.
    The application is Prisma's; the method is Gatys' and not theirs, which was not published.
    A Study: `predict` and `evaluate` have nothing to do here, resume neither, and it runs on one device.
Expect:
    Real data: 4 photographs in the manner of one (--size 384 --painted-steps 120, SqueezeNet): the style distance falls
    to 0.10 to 0.25, n = 4; the photographs themselves, the baseline, are at 0.84 to 2.37. VGG's own weights were not
    at hand.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from PIL import Image

import finetune as ft

from .loss import Listener, StyleLoss, layers_of
from .pixels import files_of, noise, paint, picture, read, style_of, write


def style_image(
    source: str,
    *,
    style: str | None = None,
    backbone: str = "torchvision/vgg19",
    weights: str = "default",
    mean: float | None = None,
    std: float | None = None,
    content_layers: str | None = None,
    style_layers: str | None = None,
    style_weight: float | None = None,
    variation_weight: float = 5.0,
    distance: Literal["relative", "paper"] = "relative",
    start: Literal["content", "noise"] = "content",
    painted_steps: int = 200,
    size: int = 512,
) -> ft.Study:
    """Paints each picture of a folder anew.

    Args:
        source: A photograph, or a folder of them.
        style: The painting.
        backbone: The network whose layers are listened to; the paper's is VGG-19. Known are vgg16, vgg19, squeezenet1_0
            and squeezenet1_1, of others name the layers.
        weights: Its weights: "default", "none" or a file.
        mean: What its weights want pictures normalised with, where the file cannot say it.
        std: Likewise.
        content_layers: Dotted names of its layers, with commas, instead of the known ones.
        style_layers: Likewise.
        style_weight: Of the manner against what is shown, which has 1; by default 10, and its 1000 with the paper's.
        variation_weight: Of the total variation, which smooths; the paper has none.
        distance: "relative" to the size of what is compared, so that weights mean the same for every network, or the
            "paper"'s sums.
        start: From the photograph, as the authors' code does, or from noise, as the paper does.
        painted_steps: Steps of L-BFGS at most; the paper's is 500.
        size: The longer side of the result in pixels.
    """
    net = ft.Backbone(backbone, weights=weights, mean=mean, std=std)
    layers = layers_of(net, content_layers, style_layers)
    weight = style_weight if style_weight is not None else 1000.0 if distance == "paper" else 10.0

    def compare(studied: ft.Studied) -> dict[str, Any]:
        files, painting = files_of(source), read(style_of(source, style), size)
        listener = Listener(net, (*layers.content, *layers.style))
        loss = StyleLoss(listener, layers, painting, style_weight=weight, variation_weight=variation_weight,
                         paper=distance == "paper")  # fmt: skip
        metrics: dict[str, Any] = {}
        rows, curves = [], {}
        for file in files:
            photo = read(file, size)
            content = loss.content_of(photo)
            first = photo if start == "content" else noise(photo, studied.seed)
            painted, curve = paint(loss.towards(content), first, steps=painted_steps, name=file.name)
            write(studied.figures / f"{file.stem}.png", painted)
            final = {part: float(value) for part, value in loss(painted, content).items()}
            metrics[file.name] = {"start": curve[0], "end": final, "evaluations": len(curve)}
            curves[file.name] = (range(len(curve)), [at["loss"] for at in curve])
            lost = f"painted: style distance {curve[0]['style']:.3g} to {final['style']:.3g}"
            rows.append([ft.Panel(picture=picture(photo), title=file.name),
                         ft.Panel(picture=picture(painting), title="the painting"),
                         ft.Panel(picture=picture(painted), title=lost)])  # fmt: skip
        note = f"{net.name}, weights: {Path(weights).name}; {painted_steps} steps of L-BFGS, style weight {weight:g}"
        ft.draw_sheet(studied.figures / "sheet.jpg", rows[:6], title="In the manner of a painting", note=note)
        ft.draw_plots(studied.figures / "loss.png", [ft.Plot(curves=curves, x="evaluation", y="loss", log="y")],
                      title="What L-BFGS makes of the loss")  # fmt: skip
        return metrics

    return ft.Study(compare=compare)


def sample(folder: Path, seed: int) -> None:
    """Draws a scene of two textures, and a painting of a third."""
    for name, kind in (("content", 0), ("style", 2)):
        Image.fromarray(ft.generated_picture(kind, seed=seed, side=96)).save(folder / f"{name}.png")
