"""Numbers of stated preprocessing, and the usual forms in which packages give them."""

from __future__ import annotations

import numbers
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from skfusion.image.networks.preprocessing import INTERPOLATIONS

__all__ = [
    "PILLOW",
    "REMEDY",
    "REMEDY_FOR_RESIZING",
    "Statement",
    "as_floats_of",
    "as_size",
    "edge_of",
    "get",
    "given_of",
    "make_statement",
    "n_lengths",
    "note_on_crop",
]


REMEDY = "module.preprocessing = skfusion.image.Preprocessing(input_size, mean, std)"
REMEDY_FOR_RESIZING = (
    "Choose resize='squash', 'crop' or 'pad', or set the attribute preprocessing to a "
    "skfusion.image.Preprocessing."
)
# What Pillow does with the bytes of an image in the pipelines of timm, open_clip and
# torchvision. Their floats are resized by torch, without clipping.
PILLOW = {"resampler": "pillow", "clip": False}
_INTERPOLATION_OF_PILLOW = {
    **{0: "nearest", 1: "lanczos", 2: "bilinear", 3: "bicubic", 4: "box"},
    5: "hamming",
}
# Interpolations that a Preprocessing does not offer, and the nearest that it does.
_REPLACED = {
    **{"nearest-exact": "nearest", "random": "bilinear"},
    **{"lanczos": "bicubic", "box": "bilinear", "hamming": "bilinear"},
    "area": "bilinear",
}


@dataclass(frozen=True)
class Statement:
    """Numbers of a statement. None is not stated."""

    size: tuple[int, int] | None
    mean: tuple[float, ...]
    std: tuple[float, ...]
    interpolation: str = "bilinear"
    # How the image becomes a square, see `Preprocessing`. An edge is in pixels, or a
    # share of it is cropped.
    mode: str = "squash"
    edge: int | None = None
    crop_pct: float | None = None
    fill: tuple[float, ...] = (0.0,)
    options: dict[str, Any] = field(default_factory=dict)
    # Why the resizing has no equivalent.
    refused: str = ""


def make_statement(
    size: tuple[int, int] | None,
    mean: Any,
    std: Any,
    interpolation: Any,
    where: str,
    notes: list[str],
) -> Statement:
    """Check the numbers of a statement.

    Parameters
    ----------
    size : (int, int) or None
        Height and width in pixels.
    mean, std : float or sequence of floats
        Mean and standard deviation, for images in [0, 1].
    interpolation : str, int or enum
        Interpolation, also by the numbers of Pillow.
    where : str
        Name of the statement, for messages.
    notes : list of str
        Warnings. What is replaced is added.

    Returns
    -------
    Statement

    Raises
    ------
    ValueError
        If it is incomplete or has no equivalent.
    """
    means, stds = as_floats_of(mean, "mean", where), as_floats_of(std, "std", where)
    if max(means) > 1:
        raise ValueError(
            f"{where} states mean={means}; expected numbers for images in [0, 1]. "
            "Divide mean and std by the largest pixel value, e.g. 255."
        )
    value = getattr(interpolation, "value", interpolation)
    name = str(_INTERPOLATION_OF_PILLOW.get(value, value))
    if name in _REPLACED:
        if name in ("lanczos", "box", "hamming", "area"):
            notes.append(
                f"{where} states interpolation={name!r}, which is replaced with "
                f"{_REPLACED[name]!r}."
            )
        name = _REPLACED[name]
    if name not in INTERPOLATIONS:
        raise ValueError(
            f"{where} states interpolation={name!r}; expected one of "
            f"{', '.join((*INTERPOLATIONS, *_REPLACED))}."
        )
    return Statement(size, means, stds, name)


def as_floats_of(given: Any, what: str, where: str) -> tuple[float, ...]:
    """Convert one or several numbers to floats.

    Parameters
    ----------
    given : float or sequence of floats
        What is stated.
    what : str
        Name of the numbers, for the message.
    where : str
        Name of the statement, for messages.

    Returns
    -------
    tuple of float

    Raises
    ------
    ValueError
        If `given` is something else.
    """
    values = [given] if isinstance(given, numbers.Real) else given
    try:
        return tuple(float(value) for value in values)
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"{where} states {what} of type {type(given).__name__}; expected one or "
            "three numbers."
        ) from error


def as_size(given: Any, where: str) -> tuple[int, int] | None:
    """Return height and width in pixels from any of the usual forms of a size.

    Parameters
    ----------
    given : int, sequence, mapping, object or None
        Pixels, (height, width), or something with height and width or with the length
        of an edge.
    where : str
        Name of the statement, for messages.

    Returns
    -------
    (int, int) or None

    Raises
    ------
    ValueError
        If `given` is something else.
    """
    if given is None:
        return None
    if isinstance(given, numbers.Integral):
        return int(given), int(given)
    if isinstance(given, Sequence) and not isinstance(given, str):
        values = [int(value) for value in given]
        if values and len(values) <= 4:
            return values[-2:][0], values[-1]
    height, width = get(given, ("height",)), get(given, ("width",))
    if height is not None and width is not None:
        return int(height), int(width)
    side = get(given, ("shortest_edge", "longest_edge"))
    if side is not None:
        return int(side), int(side)
    raise ValueError(
        f"{where} states a size of type {type(given).__name__} that is not understood; "
        "expected a number of pixels, (height, width) or a dict of both."
    )


def get(holder: Any, keys: Iterable[str]) -> Any:
    """Return the first entry or attribute that is not None.

    Parameters
    ----------
    holder : object
        Mapping, or object with attributes.
    keys : iterable of str
        Names, first to last.

    Returns
    -------
    object
        None if there is none.
    """
    found = given_of(holder, keys)
    return next(iter(found.values()), None)


def given_of(holder: Any, keys: Iterable[str]) -> dict[str, Any]:
    """Return the entries or attributes that are not None.

    Parameters
    ----------
    holder, keys : object, iterable of str
        As in `get`.

    Returns
    -------
    dict
    """

    def one(key: str) -> Any:
        if isinstance(holder, Mapping):
            return holder.get(key)
        return getattr(holder, key, None)

    return {key: one(key) for key in keys if one(key) is not None}


def n_lengths(size: Any) -> int:
    """Return the number of lengths in a size: 1 for a number."""
    return len(size) if isinstance(size, Sequence) else 1


def edge_of(size: Any, where: str) -> int | None:
    """Return the length to which edges are resized before a square is cropped.

    Parameters
    ----------
    size : object
        As in `as_size`.
    where : str
        Name of the statement, for messages.

    Returns
    -------
    int or None

    Raises
    ------
    ValueError
        If height and width differ.
    """
    found = as_size(size, where)
    if found is not None and found[0] != found[1]:
        raise ValueError(
            f"{where} resizes to {found[0]} x {found[1]} pixels; expected a square or "
            f"one edge. {REMEDY_FOR_RESIZING}"
        )
    return None if found is None else found[0]


def note_on_crop(where: str) -> str:
    """Return the warning about a resized shorter edge without a crop after it."""
    return (
        f"{where} resizes the shorter edge and does not crop. The centre is "
        "cropped, because the input must be square."
    )
