"""Attributes of DICOM headers: functional groups, lenient numbers, unit and geometry.

An enhanced multi-frame object keeps attributes such as the rescale, the window and the
position in functional groups instead of at the top of its header. Here, every attribute
is looked up in the groups of the frame, then in the shared groups, then at the top.
"""

from __future__ import annotations

import functools
import math
import re
from typing import Any

import numpy as np

from skfusion._dependencies import require

__all__ = ["Header", "along_normal"]


_SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"  # also its multi-frame classes
_NO_UNIT = ("", "US", "UNSPECIFIED", "NONE", "UNKNOWN")
_HOUNSFIELD = re.compile(r"(H[.\s]*U[.\s]*|HOUNSFIELD([\s_]*UNITS?)?)", re.IGNORECASE)
_GROUPS = ("PerFrameFunctionalGroupsSequence", "SharedFunctionalGroupsSequence")
# Other names of an attribute in functional groups.
_ALIASES = {
    "EchoTime": "EffectiveEchoTime",
    "XRayTubeCurrent": "XRayTubeCurrentInmA",
    "Exposure": "ExposureInmAs",
    "ImageLaterality": "FrameLaterality",
    "ImageType": "FrameType",
    "AcquisitionDateTime": "FrameAcquisitionDateTime",
    "TemporalPositionIdentifier": "TemporalPositionIndex",
    "AcquisitionNumber": "FrameAcquisitionNumber",
}


class Header:
    """Lenient access to the attributes of a pydicom Dataset.

    Parameters
    ----------
    dataset : pydicom.Dataset
        The dataset, which only `set` changes. Values are kept after their first use.

    Attributes
    ----------
    dataset : pydicom.Dataset
        As given.
    unreadable : list of str
        Keywords of attributes whose values could not be read so far. They count as
        absent.
    """

    def __init__(self, dataset: Any) -> None:
        self.dataset = dataset
        self.unreadable: list[str] = []
        self._groups: dict[tuple[str, int], dict[str, Any]] = {}
        self._values: dict[tuple[str, int], Any] = {}
        self._is_enhanced = any(name in dataset for name in _GROUPS)

    def value(self, name: str, frame: int = 0) -> Any:
        """Return the value of an attribute, or None if it is absent or unreadable."""
        key = (name, frame if self._is_enhanced else 0)
        if key not in self._values:
            self._values[key] = self._found(name, frame)
        return self._values[key]

    def set(self, name: str, value: Any) -> None:
        """Add an attribute to the dataset."""
        setattr(self.dataset, name, value)
        self._values = {key: v for key, v in self._values.items() if key[0] != name}

    def _found(self, name: str, frame: int) -> Any:
        for source in self._sources(name, frame):
            found = self._get(source, name)
            if found is not None and not _is_empty(found):
                return found
        alias = _ALIASES.get(name)
        if alias is not None:
            for source in self._sources(alias, frame):
                found = self._get(source, alias)
                if found is not None and not _is_empty(found):
                    return found
        return None

    def text(self, name: str, frame: int = 0) -> str:
        """Return an attribute as text, ``""`` if it is absent."""
        found = self.value(name, frame)
        if found is not None and not isinstance(found, str):
            found = found[0] if hasattr(found, "__getitem__") else found
        return "" if found is None else str(found).strip()

    def number(self, name: str, frame: int = 0) -> float | None:
        """Return an attribute, or its first value, as a finite number."""
        found = self._list(name, frame)
        return found[0] if found else None

    def numbers(
        self, name: str, length: int | None = None, frame: int = 0
    ) -> np.ndarray | None:
        """Return the values of an attribute as finite numbers.

        None if the attribute is absent, is not numeric, or has another length.
        """
        found = self._list(name, frame)
        if not found or length not in (None, len(found)):
            return None
        return np.array(found)

    def _list(self, name: str, frame: int) -> list[float] | None:
        found = self.value(name, frame)
        if found is None:
            return None
        many = [found] if isinstance(found, str | int | float) else found
        try:
            numbers = [_as_number(number) for number in many]
        except (TypeError, ValueError):
            self._note(name)
            return None
        return numbers if all(map(math.isfinite, numbers)) else None

    def item(self, name: str, frame: int = 0) -> Any:
        """Return the first item of a sequence, or None."""
        found = self.value(name, frame)
        return found[0] if found is not None and len(found) else None

    def spacing(self) -> tuple[float, float] | None:
        """Return the distance between rows and between columns in mm, if known.

        For projection radiographs this is the spacing at the detector. It exceeds the
        spacing in the patient by the geometric magnification.
        """
        for name in (
            "PixelSpacing",
            "ImagerPixelSpacing",
            "NominalScannedPixelSpacing",
        ):
            found = self.numbers(name, 2)
            if found is not None and min(found) > 0:
                return float(found[0]), float(found[1])
        return None

    def plane(self, frame: int = 0) -> tuple[np.ndarray, np.ndarray] | None:
        """Return the orientation (6 cosines) and position (x, y, z in LPS, mm)."""
        cosines = self.numbers("ImageOrientationPatient", 6, frame)
        position = self.numbers("ImagePositionPatient", 3, frame)
        if cosines is None or position is None:
            return None
        lengths = np.linalg.norm(cosines.reshape(2, 3), axis=1)
        skew = abs(float(cosines[:3] @ cosines[3:]))
        if not np.allclose(lengths, 1, atol=0.01) or skew > 0.01:
            self._note("ImageOrientationPatient")
            return None
        return cosines, position

    def unit(self) -> str | None:
        """Return the unit of the values after rescale, ``"HU"`` for Hounsfield units.

        CT without a stated unit is in Hounsfield units (DICOM PS3.3 C.8.2.1), unless
        it is a screenshot: a secondary capture, or 8 bits without a rescale.
        """
        if self.value("DoseGridScaling") is not None:
            return self.text("DoseUnits") or None
        stated = self.text("RescaleType") or self.text("Units")
        if _HOUNSFIELD.fullmatch(stated):
            return "HU"
        if stated.upper() not in _NO_UNIT:
            return stated
        slope, shift = self.number("RescaleSlope"), self.number("RescaleIntercept")
        is_ct = self.text("Modality") == "CT" and shift is not None
        is_screenshot = self.text("SOPClassUID").startswith(_SECONDARY_CAPTURE) or (
            (self.number("BitsStored") or 16) <= 8 and (slope, shift) in _IDENTITIES
        )
        return "HU" if is_ct and not is_screenshot else None

    def _note(self, name: str) -> None:
        if name not in self.unreadable:
            self.unreadable.append(name)

    def _sources(self, name: str, frame: int) -> list[Any]:
        """Return the places of an attribute, the most specific first."""
        if not self._is_enhanced:
            return [self.dataset]
        found = [
            index[name]
            for groups, number in zip(_GROUPS, (frame, 0), strict=True)
            if name in (index := self._index(groups, number))
        ]
        return [*found, self.dataset]

    def _index(self, groups: str, number: int) -> dict[str, Any]:
        """Return, for each attribute in functional groups, the item that holds it."""
        if groups not in self.dataset:
            return {}
        key = (groups, number)
        if key not in self._groups:
            self._groups[key] = self._indexed(groups, number)
        return self._groups[key]

    def _indexed(self, groups: str, number: int) -> dict[str, Any]:
        sequence = self._get(self.dataset, groups)
        if sequence is None or number >= len(sequence):
            return {}
        found: dict[str, Any] = {}
        keyword_for_tag = require("pydicom.datadict", "images").keyword_for_tag
        for tag in sequence[number].keys():  # noqa: SIM118 (a Dataset iterates elements)
            keyword = "" if tag.is_private else keyword_for_tag(tag)
            group = self._get(sequence[number], keyword) if keyword else None
            if group is None or isinstance(group, str) or not hasattr(group, "__len__"):
                continue
            if len(group) and hasattr(group[0], "keys"):
                found.setdefault(keyword, sequence[number])
                for inner in group[0].keys():  # noqa: SIM118
                    found.setdefault(keyword_for_tag(inner), group[0])
        return found

    def _get(self, source: Any, name: str) -> Any:
        tag = _tag(name)
        if tag is None or tag not in source:
            return None
        try:
            return source[tag].value
        except Exception:  # conversion of invalid values can raise any exception
            self._note(name)
            return None


_DECIMAL_COMMA = re.compile(r"^([+-]?\d+),(\d+)$")
_IDENTITIES = ((1.0, 0.0), (None, 0.0), (0.0, 0.0))


@functools.cache
def _tag(name: str) -> Any:
    """Return the tag of a keyword. Attributes are found faster by their tags."""
    number = require("pydicom.datadict", "images").tag_for_keyword(name)
    return None if number is None else require("pydicom.tag", "images").Tag(number)


def _as_number(value: Any) -> float:
    """Convert a value to a number, also if it is a text with a decimal comma."""
    if isinstance(value, str):
        value = _DECIMAL_COMMA.sub(r"\1.\2", value.strip())
    return float(value)


def _is_empty(value: Any) -> bool:
    return isinstance(value, str) and value == ""


def along_normal(orientation: np.ndarray, position: np.ndarray) -> float:
    """Return the position of a plane along its normal in mm, increasing to the head."""
    return float(np.cross(orientation[:3], orientation[3:]) @ position)
