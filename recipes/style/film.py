"""Painting a film frame by frame, each for itself or held to the one before (Ruder et al. 2016)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from .loss import StyleLoss
from .motion import Motion, given_flow, reliable, temporal_loss, warp
from .pixels import paint, picture


@dataclass(frozen=True, kw_only=True)
class Step:
    """What joins a frame to the one before.

    Args:
        flow: (1, 2, H, W), from the frame to the one before.
        mask: (1, 1, H, W), where it can be believed.
    """

    flow: Tensor
    mask: Tensor

    def carried(self, before: Tensor) -> Tensor:
        """The frame before, (1, 3, H, W), carried to where its things are now."""
        return warp(before, self.flow)


def steps_between(frames: Sequence[Tensor], motion: Motion) -> list[Step]:
    """How each frame but the first follows from the one before, as a method finds it in both directions."""
    steps = []
    for before, after in pairwise(frames):
        flow, back = motion(after, before), motion(before, after)
        steps.append(Step(flow=flow, mask=reliable(flow, back)))
    return steps


def steps_given(folder: Path, files: Sequence[Path], frames: Sequence[Tensor]) -> list[Step]:
    """The same, from files."""
    size = (int(frames[0].shape[2]), int(frames[0].shape[3]))
    flows = [given_flow(folder, file, size) for file in files[1:]]
    return [Step(flow=flow, mask=reliable(flow)) for flow in flows]


def paint_film(
    frames: Sequence[Tensor], steps: Sequence[Step], loss: StyleLoss, *, temporal_weight: float, painted_steps: int,
    told: Callable[[str], None] = lambda line: None,
) -> list[Tensor]:  # fmt: skip
    """Paints each frame.

    Args:
        frames: Each (1, 3, H, W) in 0..1.
        steps: Between them, one fewer.
        loss: The painting.
        temporal_weight: Of the distance from the painted frame before, carried along, relative to the mean square of
            the photographs; 0 paints each frame for itself.
        painted_steps: Of L-BFGS a frame.
        told: Is told of each frame.

    Returns:
        The painted frames.
    """
    done: list[Tensor] = []
    for number, frame in enumerate(frames):
        towards, start = loss.towards(loss.content_of(frame)), frame
        if number and temporal_weight:
            mask, carried = steps[number - 1].mask, steps[number - 1].carried(done[-1])
            start = mask * carried + (1 - mask) * frame
            towards = _held(towards, carried, mask, temporal_weight / float(frame.square().mean()))
        painted, curve = paint(towards, start, steps=painted_steps, name=f"frame {number + 1}")
        done.append(painted)
        told(f"frame {number + 1} of {len(frames)}: loss {curve[0]['loss']:.4g} to {curve[-1]['loss']:.4g}")
    return done


def _held(
    towards: Callable[[Tensor], dict[str, Tensor]], carried: Tensor, mask: Tensor, weight: float
) -> Callable[[Tensor], dict[str, Tensor]]:
    """A loss with the temporal one added."""

    def loss(pixels: Tensor) -> dict[str, Tensor]:
        parts = towards(pixels)
        parts["temporal"] = temporal_loss(pixels, carried, mask)
        parts["loss"] = parts["loss"] + weight * parts["temporal"]
        return parts

    return loss


def warping_error(frames: Sequence[Tensor], steps: Sequence[Step]) -> list[float]:
    """For each pair of frames the mean squared distance of the second from the first, carried along, where that holds.

    Args:
        frames: Each (1, 3, H, W) in 0..1.
        steps: Between them.

    Returns:
        One number a pair; 0 is a film whose things keep their colours.
    """
    pairs = zip(frames, frames[1:], steps, strict=False)
    return [float(temporal_loss(after, step.carried(before), step.mask)) for before, after, step in pairs]


def write_film(file: Path, frames: Sequence[Tensor], *, seconds: float = 0.2) -> None:
    """Writes frames (1, 3, H, W) as an animated GIF."""
    images = [Image.fromarray(picture(frame)) for frame in frames]
    images[0].save(file, save_all=True, append_images=images[1:], duration=round(1000 * seconds), loop=0)


def apart(frames: Sequence[Tensor], step: Step, number: int) -> np.ndarray:
    """(H, W): where a frame differs from the one before, carried along; 0 where that cannot be said."""
    difference = step.mask * (frames[number] - step.carried(frames[number - 1])).abs()
    array: np.ndarray = torch.mean(difference, dim=1)[0].cpu().numpy()
    return array
