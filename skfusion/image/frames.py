"""Where a DICOM plane or frame lies in the patient, as its header says.

Functions of pydicom's Dataset; DICOM PS3.3 C.7.6.2 (plane) and C.7.6.16 (frames).
"""

from __future__ import annotations

from typing import Any

import numpy as np

__all__ = [
    "along_normal",
    "frame_item",
    "frame_positions",
    "plane_position",
    "plane_spacing",
]


def frame_item(dataset: Any, frame: int, name: str) -> Any:
    """Return what a frame's functional group says, else what all frames share."""
    for groups, number in (
        ("PerFrameFunctionalGroupsSequence", frame),
        ("SharedFunctionalGroupsSequence", 0),
    ):
        sequence = dataset.get(groups)
        if sequence and number < len(sequence) and sequence[number].get(name):
            return sequence[number].get(name)[0]
    return None


def plane_spacing(dataset: Any) -> tuple[float, float] | None:
    """Distance of rows and of columns in mm; None where it is not stated.

    Of projections the spacing at the detector, which is larger than in the patient by
    the geometric magnification.
    """
    measures = frame_item(dataset, 0, "PixelMeasuresSequence")
    for source, name in (
        (measures, "PixelSpacing"),
        (dataset, "PixelSpacing"),
        (dataset, "ImagerPixelSpacing"),
        (dataset, "NominalScannedPixelSpacing"),
    ):
        value = None if source is None else source.get(name)
        found = _numbers(value, 2)
        if found is not None and min(found) > 0:
            return float(found[0]), float(found[1])
    return None


def plane_position(dataset: Any) -> tuple[np.ndarray, np.ndarray] | None:
    """Orientation (6 direction cosines) and position (x, y, z in mm) of a plane."""
    orientation = _numbers(dataset.get("ImageOrientationPatient"), 6)
    position = _numbers(dataset.get("ImagePositionPatient"), 3)
    if orientation is None or position is None:
        return None
    return orientation, position


def along_normal(orientation: np.ndarray, position: np.ndarray) -> float:
    """Place of a plane along its normal in mm, growing towards the patient's head."""
    return float(np.cross(orientation[:3], orientation[3:]) @ position)


def frame_positions(dataset: Any, n_frames: int) -> np.ndarray | None:
    """Place of each frame along the normal in mm; None where they have none."""
    offsets = _numbers(dataset.get("GridFrameOffsetVector"), n_frames)
    if offsets is not None:  # radiotherapy doses
        return offsets
    places, first = [], None
    for frame in range(n_frames):
        plane = frame_item(dataset, frame, "PlanePositionSequence")
        turned = frame_item(dataset, frame, "PlaneOrientationSequence")
        if plane is None or turned is None:
            return None
        position = _numbers(plane.get("ImagePositionPatient"), 3)
        orientation = _numbers(turned.get("ImageOrientationPatient"), 6)
        if position is None or orientation is None:
            return None
        first = orientation if first is None else first
        if not np.allclose(orientation, first, atol=1e-3):
            return None
        places.append(along_normal(orientation, position))
    return np.array(places)


def _numbers(value: Any, length: int) -> np.ndarray | None:
    try:
        numbers = np.array([float(number) for number in value])
    except (TypeError, ValueError):
        return None
    return numbers if len(numbers) == length and np.isfinite(numbers).all() else None
