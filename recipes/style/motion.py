"""From one frame of a film to the next: where things moved, and whether a painted film moves with them."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

import finetune as ft

Flow = Literal["raft", "dis", "none"]


def warp(previous: Tensor, flow: Tensor) -> Tensor:
    """A frame carried to where its things are in the next one.

    Args:
        previous: (1, C, H, W), the frame before.
        flow: (1, 2, H, W), for each pixel of the frame after how far to the right and downwards its thing lay in the
            frame before.

    Returns:
        (1, C, H, W); what came from outside repeats the rim.
    """
    height, width = previous.shape[2:]
    rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    x, y = columns.to(flow) + flow[0, 0], rows.to(flow) + flow[0, 1]
    grid = torch.stack([(2 * x + 1) / width - 1, (2 * y + 1) / height - 1], dim=-1)[None]
    return F.grid_sample(previous, grid, padding_mode="border", align_corners=False)


def reliable(flow: Tensor, back: Tensor | None = None) -> Tensor:
    """Where a flow can be believed: inside of the frame, not at the border of a motion, and seen in both frames.

    The thresholds are those of Sundaram et al. (2010), as Ruder et al. (2016) use them.

    Args:
        flow: (1, 2, H, W), from the frame after to the one before.
        back: The flow the other way round; without it what was uncovered is not known.

    Returns:
        (1, 1, H, W) of 0 and 1.
    """
    height, width = flow.shape[2:]
    rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    x, y = columns.to(flow) + flow[:, :1], rows.to(flow) + flow[:, 1:]
    good = (x >= 0) & (x <= width - 1) & (y >= 0) & (y <= height - 1)
    size = flow.square().sum(1, keepdim=True)
    across = F.pad(flow, (0, 1, 0, 0), mode="replicate").diff(dim=3)
    down = F.pad(flow, (0, 0, 0, 1), mode="replicate").diff(dim=2)
    good &= (across.square() + down.square()).sum(1, keepdim=True) <= 0.01 * size + 0.002
    if back is not None:
        carried = warp(back, flow)
        apart = (flow + carried).square().sum(1, keepdim=True)
        good &= apart <= 0.01 * (size + carried.square().sum(1, keepdim=True)) + 0.5
    return good.to(flow)


def temporal_loss(frame: Tensor, carried: Tensor, mask: Tensor) -> Tensor:
    """The short-term loss of Ruder et al. (2016): how far a frame is from the one before, carried along.

    Args:
        frame: (1, C, H, W).
        carried: The same, from `warp`.
        mask: (1, 1, H, W), as from `reliable`.

    Returns:
        The mean squared distance where the mask is 1.
    """
    distance = (mask * (frame - carried).square()).sum() / (mask.sum() * frame.shape[1]).clamp_min(1)
    return distance


class Motion:
    """Finds how things moved between two frames.

    Args:
        how: "raft" (Teed and Deng 2020, torchvision's small one), "dis" (Kroeger et al. 2016, OpenCV's, which needs no
            weights), or "none": nothing moves.
        weights: For raft: "default", or a file.

    Raises:
        ConfigError: raft with random weights, which know nothing of motion.
        WeightsError: They cannot be had.
    """

    def __init__(self, how: Flow, weights: str = "default") -> None:
        self.how = how
        if how == "raft":
            self.raft = _raft(weights)

    def __call__(self, after: Tensor, before: Tensor) -> Tensor:
        """(1, 2, H, W) pixels to the right and downwards, from one (1, 3, H, W) frame in 0..1 to the one before."""
        if self.how == "none":
            return torch.zeros_like(after[:, :2])
        if self.how == "dis":
            import cv2

            greys = [(frame[0].mean(0) * 255).to(torch.uint8).cpu().numpy() for frame in (after, before)]
            finder = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
            found = finder.calc(greys[0], greys[1], None)
            return torch.from_numpy(found).permute(2, 0, 1)[None].to(after)
        height, width = after.shape[2:]
        # RAFT looks at an eighth of the picture, in which it must see 16 places.
        rim = (0, max(128, width + -width % 8) - width, 0, max(128, height + -height % 8) - height)
        large = [F.pad(2 * frame - 1, rim, mode="replicate") for frame in (after, before)]
        with torch.no_grad():
            flow: Tensor = self.raft(*large)[-1]
        return flow[..., :height, :width]


def _raft(weights: str) -> torch.nn.Module:
    from torchvision.models.optical_flow import raft_small

    if weights == "none":
        raise ft.ConfigError(
            "RAFT with random weights knows nothing of motion. Expected --flow-weights FILE, or --flow dis, which "
            "needs no weights."
        )
    try:
        if weights == "default":
            return raft_small(weights="DEFAULT").eval()
        network = raft_small(weights=None)
        network.load_state_dict(torch.load(weights, map_location="cpu", weights_only=True))
    except Exception as error:  # a download and a foreign file fail in many ways
        raise ft.WeightsError(
            f"RAFT's weights ({weights}) cannot be had: {str(error).splitlines()[0]}. Expected --flow-weights "
            "FILE with torchvision's raft_small, or --flow dis, which needs none."
        ) from error
    return network.eval()


def given_flow(folder: Path, frame: Path, size: tuple[int, int]) -> Tensor:
    """A flow from a file that is called as its frame is: `.npy` (H, W, 2), or Middlebury's `.flo`.

    Args:
        folder: Where it lies.
        frame: The frame from which it leads to the one before.
        size: Height and width to which it is scaled, its lengths too.

    Raises:
        DataError: It is not there, or no flow.
    """
    npy, flo = folder / f"{frame.stem}.npy", folder / f"{frame.stem}.flo"
    try:
        if npy.is_file():
            array = np.load(npy, allow_pickle=False)
        else:
            content = flo.read_bytes()
            width, height = np.frombuffer(content, "<i4", 2, offset=4)
            array = np.frombuffer(content, "<f4", offset=12).reshape(height, width, 2)
        if array.ndim != 3 or array.shape[2] != 2:
            raise ValueError(f"its shape is {array.shape}")
    except (OSError, ValueError) as error:
        raise ft.DataError(
            f"There is no flow for {frame.name}: {error}. Expected {npy} (height x width x 2: pixels to the right and "
            "downwards, to where things were in the frame before) or a .flo file."
        ) from error
    flow = torch.from_numpy(array.astype(np.float32)).permute(2, 0, 1)[None]
    scale = torch.tensor([size[1] / array.shape[1], size[0] / array.shape[0]]).view(1, 2, 1, 1)
    return F.interpolate(flow, size=size, mode="bilinear", align_corners=False) * scale
