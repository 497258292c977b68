"""Decoded pixels in, float32 intensities out: windows and the other scalings.

Nothing is clipped unless a window or a percentile asks for it, and how much was is
reported.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from skfusion.image.reading.files import ImageReadError

__all__ = [
    "Decoded",
    "LUMA",
    "LookupTable",
    "SCALINGS",
    "WINDOWS",
    "Window",
    "as_floats",
    "check_intensity",
    "is_byte_scaled",
    "scaled",
]


SCALINGS = ("auto", "window", "percentile", "minmax", "zscore", "dtype", "none")
#: (centre, width) in Hounsfield units, as they are usual for reading CT.
WINDOWS = {
    "lung": (-600.0, 1500.0),
    "bone": (400.0, 1800.0),
    "soft": (40.0, 400.0),
    "brain": (40.0, 80.0),
}
#: What 12 bits hold of a CT: from air to dense bone; metal lies above.
HOUNSFIELD = (-1024.0, 3071.0)
#: Weights of red, green and blue in grey (ITU-R BT.601).
LUMA = (0.299, 0.587, 0.114)
PERCENTILES = (0.5, 99.5)


class Curve(Protocol):
    """What takes values to [0, 1]."""

    @property
    def limits(self) -> tuple[float, float]:
        """The values that become 0 and 1."""

    def __call__(self, values: np.ndarray) -> np.ndarray:
        """Take float64 values to [0, 1]."""


@dataclass(frozen=True)
class Window:
    """A window: values below it are black, values above it white.

    Parameters
    ----------
    centre, width : float
        In the units of the image, e.g. Hounsfield units.
    function : {"LINEAR_EXACT", "LINEAR", "SIGMOID"}, default="LINEAR_EXACT"
        The formulas of DICOM PS3.3 C.11.2.1.2 and C.11.2.1.3, for an output from 0
        to 1. ``"LINEAR"`` is what a header means that names none: its ramp is one
        unit narrower and half a unit lower.
    """

    centre: float
    width: float
    function: str = "LINEAR_EXACT"

    @property
    def limits(self) -> tuple[float, float]:
        """The values that become 0 and 1; a sigmoid is only near them there."""
        centre, width = self._ramp()
        return centre - width / 2, centre + width / 2

    def __call__(self, values: np.ndarray) -> np.ndarray:
        """Take values to [0, 1]."""
        centre, width = self._ramp()
        if self.function == "SIGMOID":
            # beyond 700 the exponential overflows, where the result is 0 or 1 anyway
            power = np.clip(-4 * (values - centre) / width, -700, 700)
            return 1 / (1 + np.exp(power))
        if width == 0:  # a step, as LINEAR with a width of 1 is defined
            return (values > centre).astype(np.float64)
        return np.clip((values - centre) / width + 0.5, 0, 1)

    def _ramp(self) -> tuple[float, float]:
        if self.function == "LINEAR":
            return self.centre - 0.5, self.width - 1
        return self.centre, self.width


@dataclass(frozen=True, eq=False)
class LookupTable:
    """A value-of-interest table: the first value it maps, and its output in [0, 1]."""

    first: int
    table: np.ndarray

    @property
    def limits(self) -> tuple[float, float]:
        """The first and the last value of the table."""
        return float(self.first), float(self.first + len(self.table) - 1)

    def __call__(self, values: np.ndarray) -> np.ndarray:
        """Look values up; those beyond an end take the value there."""
        index = np.clip(values - self.first, 0, len(self.table) - 1)
        return self.table[index.astype(np.intp)]


@dataclass
class Decoded:
    """What the reader of a format hands over: values that have a meaning.

    Attributes
    ----------
    pixels : ndarray
        Booleans, integers or floats, of the layout that `axes` names.
    axes : str
        ``"YX"`` or ``"ZYX"``, with ``"T"`` for ``"Z"`` where the planes are not known
        to be neighbours in space, and a ``"C"`` behind for colour.
    spacing : tuple of float or None
        In mm, along the spatial axes.
    type_range : tuple of float or None
        Smallest and largest value that could be stored; None takes the dtype's.
    window : Window, LookupTable or None
        What the header proposes.
    white_is_low : bool
        Whether small values are meant to be bright.
    valid : ndarray of bool or None
        False where the scanner padded; None where it did not.
    metadata : dict
        As in `MedicalImage`.
    """

    pixels: np.ndarray
    axes: str = "YX"
    spacing: tuple[float, ...] | None = None
    type_range: tuple[float, float] | None = None
    window: Window | LookupTable | None = None
    white_is_low: bool = False
    valid: np.ndarray | None = None
    metadata: dict[str, Any] = field(default_factory=dict)


def check_intensity(window: Any, scaling: str) -> Window | None:
    """Check what a user asks for; give the window, if one was given.

    Raises
    ------
    ValueError
        If `scaling` or `window` is unknown, or both say how to scale.
    """
    if not isinstance(scaling, str) or scaling not in SCALINGS:
        raise ValueError(
            f"scaling={scaling!r} is unknown; choose one of {', '.join(SCALINGS)}."
        )
    if window is None:
        return None
    if scaling not in ("auto", "window"):
        raise ValueError(
            f"window={window!r} and scaling={scaling!r} contradict each other: a "
            "window takes values to [0, 1] by itself. Leave one of them out."
        )
    pair = WINDOWS.get(window) if isinstance(window, str) else window
    try:
        centre, width = (float(value) for value in pair)  # type: ignore[union-attr]
    except (TypeError, ValueError):
        centre = width = np.nan
    if not (np.isfinite(centre) and np.isfinite(width) and width > 0):
        raise ValueError(
            f"window={window!r} is unknown; choose one of {', '.join(WINDOWS)}, or a "
            "pair (centre, width) with a positive width."
        )
    return Window(centre, width)


def is_byte_scaled(image: Decoded, window: Any, scaling: str) -> bool:
    """Tell whether scaling an image would do no more than divide its bytes by 255."""
    is_plain = image.pixels.dtype == np.uint8 and not image.white_is_low
    has_curve = image.window is not None and not image.axes.endswith("C")
    by_type = scaling == "dtype" or (scaling == "auto" and not has_curve)
    is_whole = image.type_range in (None, (0.0, 255.0)) and image.valid is None
    is_hounsfield = image.metadata.get("unit") == "HU"
    return is_plain and by_type and is_whole and window is None and not is_hounsfield


def as_floats(pixels: np.ndarray) -> np.ndarray:
    """Take bytes to [0, 1]; leave floats."""
    if pixels.dtype != np.uint8:
        return pixels
    return pixels.astype(np.float32) / np.float32(255)


def scaled(image: Decoded, window: Any, scaling: str) -> np.ndarray:
    """Take decoded pixels to float32, and note in the metadata how.

    Parameters
    ----------
    image : Decoded
        Its metadata gain ``"value_range"``, ``"scaling"`` (what ``"auto"`` came to),
        ``"limits"`` (the values that became 0 and 1, where there are such) and
        ``"saturated"`` (the share of pixels below and above them).
    window, scaling
        As in `skfusion.read_image`.

    Returns
    -------
    ndarray of the shape of the pixels, float32

    Raises
    ------
    ImageReadError
        If ``scaling="window"`` and there is none, or the image is in colour or not in
        the units of a window that was named.
    """
    given = check_intensity(window, scaling)
    curve = image.window if given is None else given
    if image.axes.endswith("C"):
        if given is not None:
            raise ImageReadError(
                "A window is for grey images, and this one is in colour; leave it out."
            )
        curve = None
    unit = image.metadata.get("unit")
    if isinstance(window, str) and unit not in (None, "HU"):
        raise ImageReadError(
            f"The window {window!r} is in Hounsfield units, and the image in {unit}; "
            "pass window=(centre, width) in its own units, or None."
        )
    values = image.pixels if image.valid is None else image.pixels[image.valid]
    low, high = float(values.min()), float(values.max())
    image.metadata["value_range"] = (values.min().item(), values.max().item())
    scaling = _resolved(image, curve, scaling, low, high)
    image.metadata["scaling"] = scaling
    if scaling == "zscore":
        return _standardised(image, values)
    if scaling == "none" or (scaling == "dtype" and _is_unbounded(image)):
        return _as_measured(image, low, high)
    if scaling == "window":
        return _curved(image, curve, low, high)  # type: ignore[arg-type]
    if scaling == "dtype":
        low, high = _type_range(image)
    elif scaling == "hounsfield":
        low, high = HOUNSFIELD
    elif scaling == "percentile":
        low, high = (float(v) for v in np.percentile(values, PERCENTILES))
    return _curved(image, _Ramp((low, high)), *image.metadata["value_range"])


def _resolved(image: Decoded, curve: Any, scaling: str, low: float, high: float) -> str:
    if scaling == "window" and curve is None:
        raise ImageReadError(
            "scaling='window' needs a window, and the header of the image names none; "
            "pass window=(centre, width), or scaling='auto'."
        )
    if scaling != "auto":
        return scaling
    if image.metadata.get("unit") == "HU" and curve is image.window:
        return "hounsfield"
    if curve is not None:
        return "window"
    dtype = image.pixels.dtype
    unit_floats = dtype.kind == "f" and low >= 0 and high <= 1
    return "dtype" if dtype in (bool, np.uint8) or unit_floats else "minmax"


def _is_unbounded(image: Decoded) -> bool:
    return image.type_range is None and image.pixels.dtype.kind in "bf"


def _type_range(image: Decoded) -> tuple[float, float]:
    if image.type_range is not None:
        return image.type_range
    if image.pixels.dtype.kind == "b":
        return 0.0, 1.0
    limits = np.iinfo(image.pixels.dtype)
    return float(limits.min), float(limits.max)


@dataclass(frozen=True)
class _Ramp:
    """A straight line from 0 to 1, flat outside."""

    limits: tuple[float, float]

    def __call__(self, values: np.ndarray) -> np.ndarray:
        low, high = self.limits
        return np.clip((values - low) / (high - low if high > low else 1.0), 0, 1)


def _curved(image: Decoded, curve: Curve, low: float, high: float) -> np.ndarray:
    bottom, top = curve.limits
    image.metadata["limits"] = (bottom, top)
    image.metadata["saturated"] = _saturated(image, bottom, top, low, high)
    result = np.empty(image.pixels.shape, dtype=np.float32)
    for plane, out in _planes(image, result):
        # float64 in between: float32 would merge levels of deep integers
        out[...] = curve(plane.astype(np.float64))
    if image.white_is_low:
        np.subtract(1, result, out=result)
    if image.valid is not None:
        result[~image.valid] = 0
    return result


def _saturated(
    image: Decoded, bottom: float, top: float, low: float, high: float
) -> tuple[float, float]:
    if low >= bottom and high <= top:
        return 0.0, 0.0
    values = image.pixels if image.valid is None else image.pixels[image.valid]
    n_below, n_above = (values < bottom).sum(), (values > top).sum()
    return float(n_below / values.size), float(n_above / values.size)


def _standardised(image: Decoded, values: np.ndarray) -> np.ndarray:
    mean = float(values.mean(dtype=np.float64))
    std = float(values.std(dtype=np.float64)) or 1.0
    if image.white_is_low:
        std = -std
    result = np.empty(image.pixels.shape, dtype=np.float32)
    for plane, out in _planes(image, result):
        out[...] = (plane.astype(np.float64) - mean) / std
    if image.valid is not None:
        result[~image.valid] = result[image.valid].min()
    return result


def _as_measured(image: Decoded, low: float, high: float) -> np.ndarray:
    result = np.array(image.pixels, dtype=np.float32, order="C")
    if image.white_is_low:
        # within the range of the type, so that images of a cohort stay comparable
        ends = (low, high) if _is_unbounded(image) else _type_range(image)
        np.subtract(sum(ends), result, out=result)
    if image.valid is not None:
        result[~image.valid] = result[image.valid].min()
    return result


def _planes(
    image: Decoded, result: np.ndarray
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Go plane by plane: a volume in float64 would need three times its memory."""
    if image.axes[0] == "Y":
        yield image.pixels, result
    else:
        yield from zip(image.pixels, result, strict=True)
