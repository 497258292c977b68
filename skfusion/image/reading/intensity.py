"""Intensity scaling of decoded pixels: windows, lookup tables, ranges and z-scores.

Values are clipped only by a window, a fixed range or percentiles. The share of clipped
pixels is reported.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from skfusion.exceptions import DataWarning, warn_user
from skfusion.image.reading.files import ImageReadError
from skfusion.image.reading.geometry import Orientation

__all__ = [
    "Decoded",
    "LUMA",
    "LookupTable",
    "SCALINGS",
    "WINDOWS",
    "Window",
    "as_floats",
    "as_stored_bytes",
    "blocks",
    "check_intensity",
    "is_byte_scaled",
    "scaled",
]


SCALINGS = (
    *("auto", "window", "hounsfield", "percentile", "minmax", "zscore", "dtype"),
    "none",
)
#: (centre, width) in Hounsfield units, as commonly used for reading CT.
WINDOWS = {
    "lung": (-600.0, 1500.0),
    "bone": (400.0, 1800.0),
    "soft": (40.0, 400.0),
    "brain": (40.0, 80.0),
}
#: 12-bit range of CT, from air to dense bone. Metal lies above.
HOUNSFIELD = (-1024.0, 3071.0)
#: Weights of red, green and blue for conversion to grey (ITU-R BT.601).
LUMA = (0.299, 0.587, 0.114)
PERCENTILES = (0.5, 99.5)
_BLOCK = 1 << 16  # values that are converted to float64 at a time: within the caches
_SAMPLED = 1000  # pixels that are looked at first
_LEVEL_ERROR = 1e-3  # of a grey level; rounding of k / 255 to float32 is below 2e-5
_AIR = -900.0  # HU: smaller values occur in CT of any body part, and rarely elsewhere
_WIDE = 20.0  # units: values in [0, 1] are left with a twentieth of the contrast
_CLIPPED = 0.999  # share of pixels outside a window that makes the image useless


class Curve(Protocol):
    """Protocol of functions that map values to [0, 1]."""

    @property
    def limits(self) -> tuple[float, float]:
        """Values that are mapped to 0 and 1."""

    def __call__(self, values: np.ndarray) -> np.ndarray:
        """Map float64 values to [0, 1]."""


@dataclass(frozen=True)
class Window:
    """Intensity window: values below it are black, values above it white.

    Parameters
    ----------
    centre, width : float
        In the units of the image, e.g. Hounsfield units.
    function : {"LINEAR_EXACT", "LINEAR", "SIGMOID"}, default="LINEAR_EXACT"
        The formulas of DICOM PS3.3 C.11.2.1.2 and C.11.2.1.3, for an output from 0
        to 1. ``"LINEAR"`` is the default of DICOM headers. Its ramp is one unit
        narrower and half a unit lower.
    """

    centre: float
    width: float
    function: str = "LINEAR_EXACT"

    @property
    def limits(self) -> tuple[float, float]:
        """Values that are mapped to 0 and 1 (approximately, for a sigmoid)."""
        centre, width = self._ramp()
        return centre - width / 2, centre + width / 2

    def __call__(self, values: np.ndarray) -> np.ndarray:
        """Map values to [0, 1]."""
        centre, width = self._ramp()
        if self.function == "SIGMOID":
            # The exponential overflows beyond 700, where the result is 0 or 1.
            power = np.clip(-4 * (values - centre) / width, -700, 700)
            return 1 / (1 + np.exp(power))
        if width == 0:  # LINEAR with a width of 1 is defined as a step
            return (values > centre).astype(np.float64)
        return np.clip((values - centre) / width + 0.5, 0, 1)

    def _ramp(self) -> tuple[float, float]:
        if self.function == "LINEAR":
            return self.centre - 0.5, self.width - 1
        return self.centre, self.width


@dataclass(frozen=True, eq=False)
class LookupTable:
    """Value-of-interest table: the first value it maps, and its output in [0, 1]."""

    first: int
    table: np.ndarray

    @property
    def limits(self) -> tuple[float, float]:
        """First and last value of the table."""
        return float(self.first), float(self.first + len(self.table) - 1)

    def __call__(self, values: np.ndarray) -> np.ndarray:
        """Look values up, clipped to the range of the table."""
        index = np.clip(values - self.first, 0, len(self.table) - 1)
        return self.table[index.astype(np.intp)]


@dataclass
class Decoded:
    """Decoded image in its own units, as returned by the reader of a format.

    Attributes
    ----------
    pixels : ndarray
        Booleans, integers or floats, with the axes in `axes`.
    axes : str
        ``"YX"`` or ``"ZYX"``. ``"T"`` replaces ``"Z"`` if the planes are not known to
        be neighbours in space, and ``"C"`` is appended for colour.
    spacing : tuple of float or None
        In mm, along the spatial axes.
    type_range : tuple of float or None
        Smallest and largest value of the stored type. None uses the range of the dtype.
    window : Window, LookupTable or None
        Window or lookup table in the header.
    white_is_low : bool
        Whether small values are displayed as bright.
    valid : ndarray of bool or None
        False for padding of the scanner. None if there is no padding.
    affine : ndarray of shape (4, 4) or None
        From array indices (plane, row, column) to RAS mm. None if unknown.
    orientation : Orientation or None
        How the stored array was arranged for display. None if it was not changed.
    memory : ndarray of float32 or None
        Memory for the scaled values, of which the pixels are the end. None if the
        pixels are not to be overwritten.
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
    affine: np.ndarray | None = None
    orientation: Orientation | None = None
    memory: np.ndarray | None = None
    metadata: dict[str, Any] = field(default_factory=dict)

    def empty_floats(self) -> np.ndarray:
        """Return uninitialised float32 of the shape of the pixels.

        They may overlap with the pixels, of which later ones are not overwritten
        before earlier ones.
        """
        if self.memory is None:
            return np.empty(self.pixels.shape, dtype=np.float32)
        return self.memory.reshape(self.pixels.shape)


def check_intensity(window: Any, scaling: str) -> Window | None:
    """Check the parameters `window` and `scaling`, and return the window, if given.

    Raises
    ------
    ValueError
        If `scaling` or `window` is unknown, or if they contradict each other.
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
            "window already maps values to [0, 1]. Omit one of them."
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
    """Return whether scaling an image only divides its bytes by 255."""
    is_plain = image.pixels.dtype == np.uint8 and not image.white_is_low
    has_curve = image.window is not None and not image.axes.endswith("C")
    by_type = scaling == "dtype" or (scaling == "auto" and not has_curve)
    is_whole = image.type_range in (None, (0.0, 255.0)) and image.valid is None
    is_hounsfield = image.metadata.get("unit") == "HU"
    return is_plain and by_type and is_whole and window is None and not is_hounsfield


def as_floats(pixels: np.ndarray) -> np.ndarray:
    """Convert bytes to floats in [0, 1], and return floats unchanged."""
    if pixels.dtype != np.uint8:
        return pixels
    return pixels.astype(np.float32) / np.float32(255)


def as_stored_bytes(pixels: np.ndarray) -> np.ndarray:
    """Convert floats in [0, 1] that are 8-bit values divided by 255 back to bytes.

    Other floats, and bytes, are returned unchanged. An 8-bit image is thereby processed
    alike whether it comes as a file, as bytes, or as the floats of `read_image`.

    Parameters
    ----------
    pixels : ndarray of uint8 or float
        Pixels of an image.

    Returns
    -------
    ndarray of the same shape

    Examples
    --------
    >>> import numpy as np
    >>> from skfusion.image.reading.intensity import as_stored_bytes
    >>> as_stored_bytes(np.array([0.0, 51 / 255, 1.0]))
    array([  0,  51, 255], dtype=uint8)
    >>> as_stored_bytes(np.array([0.0, 0.5, 1.0]))
    array([0. , 0.5, 1. ])
    """
    if pixels.dtype.kind != "f" or not pixels.size:
        return pixels
    # A few pixels tell most other images apart without a pass over all of them.
    flat = pixels.reshape(-1)
    for part in (flat[:: max(1, flat.size // _SAMPLED)], pixels):
        if not ((part >= 0) & (part <= 1)).all():  # also NaN
            return pixels
        levels = part * np.float32(255)
        whole = np.rint(levels)
        if np.abs(levels - whole).max() > _LEVEL_ERROR:
            return pixels
    return whole.astype(np.uint8)


def scaled(image: Decoded, window: Any, scaling: str) -> np.ndarray:
    """Scale decoded pixels to float32, and record the scaling in the metadata.

    Parameters
    ----------
    image : Decoded
        The image. Added to its metadata are ``"value_range"``, ``"scaling"`` (with
        ``"auto"`` resolved), ``"limits"`` (the values mapped to 0 and 1, if defined)
        and ``"saturated"`` (the shares of pixels below and above them).
    window, scaling
        As in `skfusion.read_image`.

    Returns
    -------
    ndarray of the shape of the pixels, float32

    Raises
    ------
    ImageReadError
        If ``scaling="window"`` and there is no window, if a window is given for a
        colour image, or if a named window is not in the units of the image.
    """
    curve = _chosen_curve(image, window, scaling)
    values = image.pixels if image.valid is None else image.pixels[image.valid]
    image.metadata["value_range"] = (values.min().item(), values.max().item())
    low, high = (float(value) for value in image.metadata["value_range"])
    is_automatic = scaling == "auto"
    scaling = _resolved(image, curve, scaling, low, high)
    if is_automatic and scaling == "minmax":
        _warn_probable_ct(image, low)
    image.metadata["scaling"] = scaling
    if scaling == "zscore":
        return _standardised(image)
    if scaling == "none" or (scaling == "dtype" and _is_unbounded(image)):
        return _as_measured(image, low, high)
    if scaling in ("window", "hounsfield"):
        limits = HOUNSFIELD if scaling == "hounsfield" else curve.limits  # type: ignore[union-attr]
        _warn_already_scaled(image, limits, low, high)
    if scaling == "window":
        result = _curved(image, curve, low, high)  # type: ignore[arg-type]
        _warn_clipped(image, window)
        return result
    if scaling == "dtype":
        low, high = _type_range(image)
    elif scaling == "hounsfield":
        low, high = HOUNSFIELD
    elif scaling == "percentile":
        low, high = (float(v) for v in np.percentile(values, PERCENTILES))
    return _curved(image, _Ramp((low, high)), *image.metadata["value_range"])


def _chosen_curve(image: Decoded, window: Any, scaling: str) -> Curve | None:
    """Return the window that is given, else that of the header, and check its unit."""
    given = check_intensity(window, scaling)
    if image.axes.endswith("C"):
        if given is not None or scaling == "hounsfield":
            raise ImageReadError(
                "A window requires a grey image, got a colour image. Omit the window."
            )
        return None
    unit = image.metadata.get("unit")
    if isinstance(window, str) and unit not in (None, "HU"):
        raise ImageReadError(
            f"The window {window!r} is in Hounsfield units, but the image is in "
            f"{unit}. Pass window=(centre, width) in the units of the image, or None."
        )
    if scaling == "hounsfield" and unit not in (None, "HU"):
        raise ImageReadError(
            f"scaling='hounsfield' requires Hounsfield units, but the image is in "
            f"{unit}. Pass another scaling."
        )
    return image.window if given is None else given


def _warn_probable_ct(image: Decoded, low: float) -> None:
    """Warn of a probable CT in a format that does not state its unit."""
    is_stated = image.metadata.get("unit") is not None
    if is_stated or low > _AIR or image.metadata.get("format") == "DICOM":
        return
    sample = image.pixels.reshape(-1)[:: max(1, image.pixels.size // 10_000)]
    if image.axes.endswith("C") or not (sample == np.rint(sample)).all():
        return
    warn_user(
        f"The {image.metadata.get('format')} image is probably a CT: its smallest "
        f"value is {low:g}. The format does not state the unit, so the image is "
        "scaled from its own smallest to its largest value, and the same tissue "
        "differs between scans. If the values are Hounsfield units, pass "
        "scaling='hounsfield' (as for CT in DICOM) or a window.",
        DataWarning,
    )


def _warn_already_scaled(
    image: Decoded, limits: tuple[float, float], low: float, high: float
) -> None:
    """Warn of floats in [0, 1], as `read_image` returns, in a range of other units."""
    is_unit = image.pixels.dtype.kind == "f" and 0 <= low < high <= 1
    width = limits[1] - limits[0]
    if not is_unit or image.metadata.get("unit") is not None or width <= _WIDE:
        return
    warn_user(
        f"The {image.metadata.get('format')} image has values from {low:.3g} to "
        f"{high:.3g}, as after scaling by read_image, but is scaled from a range of "
        f"{width:g} units, so that almost no contrast is left. Pass the image in its "
        "units, or scaling='auto' and window=None.",
        DataWarning,
    )


def _warn_clipped(image: Decoded, window: Any) -> None:
    """Warn of a window that was meant for images in other units."""
    if window is None:
        return
    below, above = image.metadata["saturated"]
    is_bytes = image.pixels.dtype == np.uint8 and image.metadata.get("unit") is None
    if isinstance(window, str) and is_bytes:
        reason = "is in Hounsfield units, but the image has 8-bit pixels without a unit"
    elif max(below, above) >= _CLIPPED:
        reason = "does not fit the values of the image"
    else:
        return
    warn_user(
        f"The window {window!r} {reason}: {below:.0%} of the pixels are below it and "
        f"{above:.0%} above. Pass window=(centre, width) in the units of the image, or "
        "None.",
        DataWarning,
    )


def _resolved(image: Decoded, curve: Any, scaling: str, low: float, high: float) -> str:
    if scaling == "window" and curve is None:
        raise ImageReadError(
            "scaling='window' needs a window, but the header of the image has none. "
            "Pass window=(centre, width), or scaling='auto'."
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
    """Linear ramp from 0 to 1, constant outside its limits."""

    limits: tuple[float, float]

    def __call__(self, values: np.ndarray) -> np.ndarray:
        low, high = self.limits
        result = values - low
        result /= high - low if high > low else 1.0
        return np.clip(result, 0, 1, out=result)


def _curved(image: Decoded, curve: Curve, low: float, high: float) -> np.ndarray:
    bottom, top = curve.limits
    image.metadata["limits"] = (bottom, top)
    image.metadata["saturated"] = _saturated(image, bottom, top, low, high)
    result = image.empty_floats()
    for block in blocks(image.pixels.shape):
        # Computed in float64, because float32 would merge levels of deep integers.
        result[block] = curve(image.pixels[block].astype(np.float64))
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


def _standardised(image: Decoded) -> np.ndarray:
    mean, std = _moments(image)
    if image.white_is_low:
        std = -std
    result = image.empty_floats()
    for block in blocks(image.pixels.shape):
        result[block] = (image.pixels[block].astype(np.float64) - mean) / std
    if image.valid is not None:
        result[~image.valid] = result[image.valid].min()
    return result


def _moments(image: Decoded) -> tuple[float, float]:
    """Return mean and standard deviation (1 if it is 0), without a float64 copy."""
    everything = np.True_ if image.valid is None else image.valid
    mean = float(image.pixels.mean(dtype=np.float64, where=everything))
    n_values, total = 0, 0.0
    for block in blocks(image.pixels.shape):
        part = image.pixels[block]
        part = part.reshape(-1) if image.valid is None else part[image.valid[block]]
        total += float(np.square(part.astype(np.float64) - mean).sum())
        n_values += part.size
    return mean, math.sqrt(total / n_values) or 1.0


def _as_measured(image: Decoded, low: float, high: float) -> np.ndarray:
    result = image.empty_floats()
    for block in blocks(image.pixels.shape):
        # A copy, because the memory of the result may be that of the pixels.
        result[block] = image.pixels[block].astype(np.float32)
    if image.white_is_low:
        # Inverted within the range of the type, so that images stay comparable.
        ends = (low, high) if _is_unbounded(image) else _type_range(image)
        np.subtract(sum(ends), result, out=result)
    if image.valid is not None:
        result[~image.valid] = result[image.valid].min()
    return result


def blocks(shape: tuple[int, ...]) -> Iterator[tuple[slice, ...]]:
    """Split an array into parts of some ten thousand values, for float64 arithmetic.

    Parameters
    ----------
    shape : tuple of int
        Shape of the array: planes, rows and columns, or rows and columns, with or
        without channels.

    Yields
    ------
    tuple of slice
        Index of one part. The parts cover the array without overlap.

    Examples
    --------
    >>> from skfusion.image.reading.intensity import blocks
    >>> list(blocks((2, 3)))
    [(slice(0, 2, None),)]
    """
    inner = math.prod(shape[1:])
    if len(shape) < 3 or inner <= _BLOCK:
        length = max(1, _BLOCK // max(inner, 1))
        for start in range(0, shape[0], length):
            yield (slice(start, min(start + length, shape[0])),)
        return
    for first in range(shape[0]):
        for rest in blocks(shape[1:]):
            yield (slice(first, first + 1), *rest)
