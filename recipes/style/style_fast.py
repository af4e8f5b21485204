"""A net that paints photographs in one pass, trained for one painting (Johnson et al. 2016)

Lecture:
    Prisma: the same in one pass
Run:
    finetune run style_fast coco/train2017 --style painting.jpg --steps 40000 --out runs/painter
    finetune run style_fast holidays/ --painter runs/painter/model/painter.safetensors --out runs/holidays
Data:
    Any photographs to learn from; Johnson's are COCO's (https://cocodataset.org, train2017: 118,287, 18 GB; each under
    a licence of its own). Expected: a folder of them, and a painting by --style, or as style.jpg in the folder.
    The application is Prisma's; the method is Johnson's and not theirs, which was not published.
    A Study: `predict`, `evaluate` and resume have nothing to do here; --painter paints with a finished net.
Expect:
    Real data: photographs of a town that it never saw, in the manner of one of a gilded lamp, learned from 243 of ants
    and bees (--steps 800 --crop-size 128 --width 16 --size 400, SqueezeNet): the style distance is 0.46 (0.41 to 0.52),
    n = 9, one training; the photographs themselves, the baseline, are at 0.68 (0.58 to 0.79). Intervals are Student's,
    and each of the nine is nearer than it was. VGG's own weights were not at hand.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from PIL import Image

import finetune as ft

from .loss import Listener, StyleLoss, layers_of
from .net import Lesson, Painter, Progress, batches, judged, load_painter, painted, save_painter
from .pixels import files_of, picture, read, style_of

TAKES = ("accelerator", "devices", "strategy", "precision", "workers")


def style_fast(
    source: str,
    *,
    style: str | None = None,
    painter: str | None = None,
    show: str | None = None,
    backbone: str = "torchvision/vgg16",
    weights: str = "default",
    mean: float | None = None,
    std: float | None = None,
    content_layers: str | None = None,
    style_layers: str | None = None,
    style_weight: float = 10.0,
    variation_weight: float = 1.0,
    width: int = 32,
    crop_size: int = 256,
    size: int = 512,
    steps: int = 10_000,
    batch_size: int = 4,
    lr: float = 1e-3,
) -> ft.Study:
    """Trains a painter and shows what it has learned on the way, or paints with a finished one.

    Args:
        source: The photographs to learn from; with --painter those to paint.
        style: The painting.
        painter: The file of a finished painter, which then only paints.
        show: Photographs to be judged by, the first three of them as it learns; by default three of the source.
        backbone: The network whose layers judge; Johnson's is VGG-16.
        weights: Its weights: "default", "none" or a file.
        mean: What its weights want pictures normalised with, where the file cannot say it.
        std: Likewise.
        content_layers: Dotted names of its layers, with commas, instead of the known ones.
        style_layers: Likewise.
        style_weight: Of the manner against what is shown, which has 1, both relative to what is compared.
        variation_weight: Of the total variation, which smooths.
        width: Channels of the painter's first layer.
        crop_size: Side of the training squares in pixels.
        size: The longer side of what is shown, and of the painting.
        steps: Of training.
        batch_size: Squares a step.
        lr: Adam's rate.
    """
    net = ft.Backbone(backbone, weights=weights, mean=mean, std=std)
    layers = layers_of(net, content_layers, style_layers)

    def compare(studied: ft.Studied) -> dict[str, Any]:
        photos = {file.name: read(file, size) for file in files_of(show or source, most=None if painter or show else 3)}
        made, told = _trained(studied, photos) if painter is None else (load_painter(painter), {})
        pairs = []
        for name, photo in photos.items():
            image = painted(made, photo)
            image.save(studied.figures / f"{Path(name).stem}.png")
            pairs.append([ft.Panel(picture=picture(photo), title=name), ft.Panel(picture=image, title="painted")])
        ft.draw_sheet(studied.figures / "sheet.jpg", pairs[:6], title="Painted in one pass")
        return {"photographs": len(photos), **told}

    def _trained(studied: ft.Studied, photos: dict[str, Any]) -> tuple[Painter, dict[str, Any]]:
        listener, painting = Listener(net, (*layers.content, *layers.style)), read(style_of(source, style), size)
        loss = StyleLoss(listener, layers, painting, style_weight=style_weight, variation_weight=variation_weight)
        lesson = Lesson(Painter(width), loss, lr=lr)
        marks = [0, *(round(steps * share) for share in (0.02, 0.1, 0.3, 1))]
        progress = Progress(list(photos.values())[:3], marks)
        loader = batches(files_of(source), side=crop_size, batch_size=batch_size, steps=steps, seed=studied.seed,
                         workers=int(studied.words.get("workers") or 0))  # fmt: skip
        machine = {word: studied.words[word] for word in TAKES if word in studied.words}
        phase = ft.Phase(name="paint", epochs=1, steps=steps, norms="train", augment="none")
        ft.run_phases(lesson, (loader, None), ft.Plan(phases=(phase,), seed=studied.seed, gradient_clip=0, **machine),
                      callbacks=[progress])  # fmt: skip
        made = lesson.network.cpu().eval()
        save_painter(made, studied.folder / "model" / "painter.safetensors")
        note = f"{len(files_of(source))} photographs to learn from; judged by {net.name}, weights: {Path(weights).name}"
        ft.draw_sheet(studied.figures / "progress.jpg", progress.rows(), title="A net learns to paint", note=note)
        ft.draw_plots(studied.figures / "loss.png", [lesson.plot()], title="What the net learns")
        return made, {"steps": len(lesson.curve), **lesson.ends(), "shown": judged(loss.cpu(), made, photos)}

    return ft.Study(compare=compare, takes=TAKES)


def sample(folder: Path, seed: int) -> None:
    """Draws photographs of two textures, and a painting of a third."""
    for name, kind, drawn in (("0", 0, 0), ("1", 1, 1), ("2", 0, 2), ("3", 1, 3), ("style", 2, 4)):
        picture = Image.fromarray(ft.generated_picture(kind, seed=10 * seed + drawn, side=80))
        picture.save(folder / f"{name}.png")
