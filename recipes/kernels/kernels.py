"""Kernels drawn: blur, edge, sharpen, what a convolution is, mean and maximum subsampling

Lecture:
    Convolution kernels, edge and blur; subsampling
Run:
    finetune run kernels --out runs/kernels
    finetune run kernels --picture photo.jpg --out runs/kernels
Data:
    Any picture; by default china.jpg, which comes with scikit-learn (CC BY 2.0, danielbuechele on Flickr).
    A Study that fits nothing: devices, resume, `predict` and `evaluate` have nothing to do here.
Expect:
    Generated data: the example gives -63 as networks compute it and +63 as mathematics does; blurs and sharpening sum
    to 1, edges to 0; a maximum of 8 x 8 makes china.jpg brighter (188 of 255 for 145), a mean does not (145).
"""

from __future__ import annotations

from typing import Any

from sklearn.datasets import load_sample_image

import finetune as ft

from .by_hand import KERNELS, PATCH, convolve, correlate, in_place, subsample


def kernels(*, picture: str | None = None, side: int = 8) -> ft.Study:
    """Draws what kernels and subsampling make of a picture.

    Args:
        picture: Any picture; by default one that comes with scikit-learn.
        side: Of the squares of subsampling, in pixels.
    """

    def compare(studied: ft.Studied) -> dict[str, Any]:
        colour = load_sample_image("china.jpg") if picture is None else ft.read_image(picture)
        grey = colour[..., :3].astype(float) @ (0.299, 0.587, 0.114)
        made = {name: correlate(grey, kernel) for name, kernel in KERNELS.items()}
        sobel = KERNELS["left to right"]
        mean, most = subsample(grey, side, "mean"), subsample(grey, side, "max")

        def panel(name: str, title: str, reach: float = 0) -> ft.Panel:
            return ft.Panel(picture=made[name], title=f"{name}: {title}", low=-reach, high=reach or 255)

        away = grey - in_place(grey, made["Gaussian blur"])
        rows = [
            [ft.Panel(picture=colour, title="the picture"), ft.Panel(picture=grey, title="in grey", low=0, high=255),
             ft.Panel(picture=mean, title=f"mean of {side} x {side}", low=0, high=255, smooth=False),
             ft.Panel(picture=most, title=f"maximum of {side} x {side}", low=0, high=255, smooth=False)],
            [panel("box blur", "sums to 1"), panel("Gaussian blur", "sums to 1"),
             ft.Panel(picture=away, title="what the blur took away"), panel("sharpen", "sums to 1")],
            [panel("edge", "sums to 0", 255), panel("left to right", "sums to 0", 400),
             ft.Panel(picture=convolve(grey, sobel), title="the same turned: signs change", low=-400, high=400),
             panel("top to bottom", "sums to 0", 400)],
        ]  # fmt: skip
        ft.draw_sheet(studied.figures / "kernels.jpg", rows, title="What kernels see",
                      note="Grey of edges and differences is 0; brighter is positive, darker negative.")  # fmt: skip
        minus, plus = float(correlate(PATCH, sobel)[0, 0]), float(convolve(PATCH, sobel)[0, 0])
        ft.draw_sheet(studied.figures / "example.png", [[
            ft.Panel(picture=PATCH, title="pixels", write=".0f", smooth=False, low=0, high=80),
            ft.Panel(picture=sobel, title="kernel", write=".0f", smooth=False, low=-4, high=4),
            ft.Panel(picture=PATCH * sobel, title=f"products: their sum is {minus:.0f}", write=".0f", smooth=False,
                     low=-110, high=110),
            ft.Panel(picture=PATCH * sobel[::-1, ::-1], title=f"kernel turned: {plus:+.0f}", write=".0f", smooth=False,
                     low=-110, high=110),
        ]], title="One place of a convolution", note="Networks lay the kernel on as it is.", width=1200)  # fmt: skip
        sums = {name: float(kernel.sum()) for name, kernel in KERNELS.items()}
        bright = {"picture": float(grey.mean()), "mean": float(mean.mean()), "max": float(most.mean())}
        return {"sums": sums, "correlation": minus, "convolution": plus, "brightness": bright}

    return ft.Study(compare=compare)
