"""Drives as comma's archive holds them."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np


def comma_drive(folder: Path, name: str = "2016-01-30", *, frames: int = 60, moments: int = 5) -> None:
    """The picture of frame n is as bright as n, and the wheel is turned by n degrees when it is first seen."""
    for part in ("camera", "log"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    seen = np.repeat(np.arange(frames), moments)
    with h5py.File(folder / "camera" / f"{name}.h5", "w") as camera:
        camera["X"] = np.broadcast_to(np.arange(frames, dtype=np.uint8)[:, None, None, None], (frames, 3, 8, 16))
    with h5py.File(folder / "log" / f"{name}.h5", "w") as log:
        log["cam1_ptr"] = seen.astype(np.float64)
        log["steering_angle"] = np.where(np.arange(len(seen)) % moments == 0, seen, 1e6).astype(np.float64)
