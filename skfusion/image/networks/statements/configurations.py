"""Configurations of timm and open_clip, and dicts with the same keys."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from skfusion.image.networks.statements.statement import (
    PILLOW,
    Statement,
    as_floats_of,
    as_size,
    get,
    make_statement,
)

__all__ = [
    "CROP_KEYS",
    "INTERPOLATION_KEYS",
    "MEAN_KEYS",
    "RESIZE_KEYS",
    "SIZE_KEYS",
    "STD_KEYS",
    "of_configuration",
]


SIZE_KEYS = ("input_size", "size", "image_size", "crop_size")
MEAN_KEYS, STD_KEYS = ("mean", "image_mean"), ("std", "image_std")
INTERPOLATION_KEYS = ("interpolation", "resample")
RESIZE_KEYS = ("resize_mode", "fill_color")  # of open_clip
CROP_KEYS = ("crop_pct", "crop_mode")  # of timm
_CROPPING_KEYS = {"mode", *RESIZE_KEYS, *CROP_KEYS}
_MODES = {
    **{"shortest": "crop", "longest": "pad", "squash": "squash"},
    **{"center": "crop", "border": "pad"},
}
_TIMM_CROP_PCT = 0.875  # where it is not stated
_KNOWN_KEYS = {
    *(*SIZE_KEYS, *MEAN_KEYS, *STD_KEYS, *INTERPOLATION_KEYS),
    *_CROPPING_KEYS,
}


def of_configuration(
    given: Mapping[Any, Any], where: str, notes: list[str]
) -> Statement:
    """Read the configuration of timm or open_clip, or a dict with such keys.

    Parameters
    ----------
    given : mapping
        The configuration.
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
    of_timm = "architecture" in given or "first_conv" in given
    unknown = [] if of_timm else sorted(map(str, set(given) - _KNOWN_KEYS))
    if unknown:
        raise ValueError(
            f"{where} has the unknown keys {', '.join(unknown)}; expected mean, std, "
            "size and interpolation."
        )
    missing = [keys[0] for keys in (MEAN_KEYS, STD_KEYS) if get(given, keys) is None]
    if missing:
        raise ValueError(
            f"{where} has no {' and no '.join(missing)}; expected mean, std, size and "
            "interpolation."
        )
    interpolation = get(given, INTERPOLATION_KEYS) or "bilinear"
    of_open_clip = any(key in given for key in RESIZE_KEYS)
    if of_open_clip and str(interpolation) == "random":
        interpolation = "bicubic"  # as in its evaluation
    read = make_statement(
        as_size(get(given, SIZE_KEYS), where),
        get(given, MEAN_KEYS),
        get(given, STD_KEYS),
        interpolation,
        where,
        notes,
    )
    if of_open_clip:
        return _with_resize_mode(read, given, where)
    is_cropped = of_timm or any(key in given for key in CROP_KEYS)
    return _with_crop_mode(read, given, where) if is_cropped else read


def _with_resize_mode(
    read: Statement, given: Mapping[Any, Any], where: str
) -> Statement:
    """Add the resizing of open_clip."""
    mode = str(get(given, ("resize_mode",)) or "shortest")
    if mode not in ("shortest", "longest", "squash"):
        raise ValueError(
            f"{where} states resize_mode={mode!r}; expected 'shortest', 'longest' or "
            "'squash'."
        )
    fill = as_floats_of(get(given, ("fill_color",)) or 0, "fill_color", where)
    return replace(
        read,
        mode=_MODES[mode],
        fill=tuple(value / 255 for value in fill),
        options=PILLOW,
    )


def _with_crop_mode(read: Statement, given: Mapping[Any, Any], where: str) -> Statement:
    """Add the resizing of timm. Its borders have the mean colour."""
    mode = str(get(given, ("crop_mode",)) or "center")
    if mode not in ("center", "border", "squash"):
        raise ValueError(
            f"{where} states crop_mode={mode!r}; expected 'center', 'border' or "
            "'squash'."
        )
    return replace(
        read,
        mode=_MODES[mode],
        crop_pct=float(get(given, ("crop_pct",)) or _TIMM_CROP_PCT),
        fill=tuple(round(255 * value) / 255 for value in read.mean)
        if mode == "border"
        else (0.0,),
        options=PILLOW,
    )
