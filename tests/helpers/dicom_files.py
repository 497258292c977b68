"""DICOM files made by hand, with pydicom, for the tests."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

SERIES = generate_uid(entropy_srcs=["series"])


def dataset(
    pixels: np.ndarray, photometric: str = "MONOCHROME2", **tags: Any
) -> Dataset:
    """Make a dataset of (H, W), (N, H, W) or, if RGB, (H, W, 3) integer pixels."""
    made = Dataset()
    made.file_meta = FileMetaDataset()
    made.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    made.SOPClassUID = CTImageStorage
    made.SOPInstanceUID = generate_uid()
    made.SeriesInstanceUID = SERIES
    made.Modality = "CT"
    made.PatientName, made.PatientID = "Doe^Jane", "Doe-4711"
    colour = photometric in ("RGB", "YBR_FULL")
    made.Rows, made.Columns = pixels.shape[:2] if colour else pixels.shape[-2:]
    if pixels.ndim == 3 and not colour:
        made.NumberOfFrames = len(pixels)
    made.SamplesPerPixel = 3 if colour else 1
    if colour:
        made.PlanarConfiguration = 0
    made.PhotometricInterpretation = photometric
    made.BitsAllocated = made.BitsStored = 8 * pixels.itemsize
    made.HighBit = made.BitsStored - 1
    made.PixelRepresentation = int(pixels.dtype.kind == "i")
    made.PixelData = pixels.astype(pixels.dtype.newbyteorder("<")).tobytes()
    made["PixelData"].VR = "OW" if pixels.itemsize > 1 else "OB"
    for name, value in tags.items():
        setattr(made, name, value)
    return made


def as_bytes(made: Dataset) -> bytes:
    """Write a dataset as a file."""
    file = io.BytesIO()
    made.file_meta.MediaStorageSOPClassUID = made.SOPClassUID
    made.file_meta.MediaStorageSOPInstanceUID = made.SOPInstanceUID
    made.save_as(file, enforce_file_format=True)
    return file.getvalue()


def plane(number: int, place: float, **tags: Any) -> Dataset:
    """Make a slice of 4 x 5 pixels at a place along the body; its values say which."""
    pixels = np.full((4, 5), number, dtype=np.int16)
    defaults = {
        "ImageOrientationPatient": [1, 0, 0, 0, 1, 0],
        "ImagePositionPatient": [-7.0, -9.0, place],
        "PixelSpacing": [0.5, 0.25],
        "InstanceNumber": number,
        "RescaleSlope": 1,
        "RescaleIntercept": -1024,
    }
    return dataset(pixels, **(defaults | tags))


def write_series(folder: Any, planes: list[Dataset], names: list[str]) -> None:
    """Write slices under the names given."""
    folder.mkdir(exist_ok=True)
    for made, name in zip(planes, names, strict=True):
        (folder / name).write_bytes(as_bytes(made))
