"""DICOM files made for tests."""

from __future__ import annotations

import io
from typing import Any

import numpy as np


def dicom(pixels: np.ndarray, *, meta: bool = True, syntax: str = "1.2.840.10008.1.2.1", encoded: bytes | None = None,
          **tags: Any) -> bytes:  # fmt: skip
    """A file that stores `pixels`: (H, W), (H, W, 3) or, with NumberOfFrames, (frames, H, W); or what encodes them."""
    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.encaps import encapsulate
    from pydicom.uid import UID, SecondaryCaptureImageStorage, generate_uid

    dataset = Dataset()
    dataset.SOPClassUID = SecondaryCaptureImageStorage
    dataset.SOPInstanceUID = generate_uid()
    shape = pixels.shape[1:] if "NumberOfFrames" in tags else pixels.shape
    dataset.Rows, dataset.Columns = shape[:2]
    dataset.SamplesPerPixel = shape[2] if len(shape) == 3 else 1
    dataset.PhotometricInterpretation = "RGB" if len(shape) == 3 else "MONOCHROME2"
    if len(shape) == 3:
        dataset.PlanarConfiguration = 0
    dataset.BitsAllocated = dataset.BitsStored = 8 * pixels.dtype.itemsize
    dataset.HighBit = dataset.BitsStored - 1
    dataset.PixelRepresentation = int(pixels.dtype.kind == "i")
    for name, value in tags.items():
        setattr(dataset, name, value)
    if "BitsStored" in tags:
        dataset.HighBit = tags["BitsStored"] - 1
    dataset.PixelData = pixels.tobytes() + b"\0" * (pixels.nbytes % 2)
    dataset["PixelData"].VR = "OB" if pixels.dtype.itemsize == 1 else "OW"
    if UID(syntax).is_compressed and not UID(syntax).is_deflated:
        dataset.PixelData = encapsulate([encoded or b"rubbish!"])
        dataset["PixelData"].VR = "OB"
        dataset["PixelData"].is_undefined_length = True
    buffer = io.BytesIO()
    if meta:
        dataset.file_meta = FileMetaDataset()
        dataset.file_meta.TransferSyntaxUID = UID(syntax)
        dataset.save_as(buffer, enforce_file_format=True)
    else:
        dataset.save_as(buffer, implicit_vr=False, little_endian=True)
    return buffer.getvalue()
