"""Evaluation transforms of torchvision, and of packages with the same steps."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from skfusion.image.networks.statements.statement import (
    PILLOW,
    REMEDY,
    REMEDY_FOR_RESIZING,
    Statement,
    as_floats_of,
    as_size,
    edge_of,
    make_statement,
    n_lengths,
    note_on_crop,
)

__all__ = ["CROP_STEPS", "RESIZE_STEPS", "of_preset", "of_steps"]


# Steps of a torchvision transform that change nothing here: grey is repeated, and
# pixels are scaled to [0, 1] in any case.
_NEUTRAL_STEPS = {
    *("PILToTensor", "ToImage", "ToPureTensor", "MaybePILToTensor"),
    *("RGB", "Grayscale", "_convert_to_rgb", "convert_to_rgb"),
}
_SCALING_STEPS = {"ToTensor", "ConvertImageDtype", "MaybeToTensor", "ToDtype"}
_TENSOR_STEPS = {"PILToTensor", "ToImage", "MaybePILToTensor"}
RESIZE_STEPS = {"Resize", "ResizeKeepRatio", "ResizeMaxSize"}
CROP_STEPS = {"CenterCrop", "CenterCropOrPad"}


def of_preset(preset: Any, where: str, notes: list[str]) -> Statement:
    """Read an evaluation transform that comes with the weights of torchvision.

    Parameters
    ----------
    preset : object
        The transform.
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
    interpolation = getattr(preset, "interpolation", "bilinear")
    read = make_statement(
        as_size(preset.crop_size, where),
        preset.mean,
        preset.std,
        interpolation,
        where,
        notes,
    )
    size = getattr(preset, "resize_size", None)
    mode = "squash" if n_lengths(size) == 2 else "crop"
    return replace(read, mode=mode, edge=edge_of(size, where), options=PILLOW)


def of_steps(steps: list[Any], where: str, notes: list[str]) -> Statement:
    """Read the steps of an evaluation transform of torchvision.

    Parameters
    ----------
    steps : list
        The steps, first to last.
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
    kinds = [getattr(step, "__name__", type(step).__name__) for step in steps]
    found: dict[str, list[Any]] = {"resize": [], "crop": [], "normalise": []}
    for kind, step in zip(kinds, steps, strict=True):
        _check_step(kind, step, where)
        for key, members in (
            ("resize", RESIZE_STEPS),
            ("crop", CROP_STEPS),
            ("normalise", {"Normalize"}),
        ):
            if kind in members:
                found[key].append(step)
    for key, same in found.items():
        if len(same) > 1:
            name = {"normalise": "Normalize", "crop": "CenterCrop"}.get(key, "Resize")
            raise ValueError(f"{where} has {len(same)} steps {name}; expected one.")
    mean, std = (0.0,), (1.0,)
    for step in found["normalise"]:
        mean, std = step.mean, step.std
    resize = next(iter(found["resize"]), None)
    interpolation = getattr(resize, "interpolation", "bilinear")
    read = make_statement(None, mean, std, interpolation, where, notes)
    crop = next(iter(found["crop"]), None)
    before = kinds[: next((i for i, k in enumerate(kinds) if k in RESIZE_STEPS), 0)]
    if CROP_STEPS & set(before):
        raise ValueError(f"{where} crops before it resizes. {REMEDY_FOR_RESIZING}")
    return replace(
        _with_steps(read, resize, crop, where, notes), options=_arithmetic_after(before)
    )


def _check_step(kind: str, step: Any, where: str) -> None:
    known = {*_NEUTRAL_STEPS, *_SCALING_STEPS, *RESIZE_STEPS, *CROP_STEPS}
    scales = kind != "ToDtype" or getattr(step, "scale", False)
    is_known = kind in known or kind == "Normalize" or "ConvertMode" in kind
    if not (is_known and scales):
        raise ValueError(
            f"{where} has the step {kind}, which is not understood. Expected an "
            "evaluation transform of Resize, CenterCrop, a conversion to a tensor "
            f"in [0, 1], and Normalize. Otherwise set {REMEDY}."
        )


def _arithmetic_after(before: list[str]) -> dict[str, Any]:
    """Return how images are resized after other steps: as floats, tensors or bytes."""
    if _SCALING_STEPS & set(before):
        return {"clip": False, "rescale_first": True}
    return {"clip": False} if _TENSOR_STEPS & set(before) else PILLOW


def _with_steps(
    read: Statement, resize: Any, crop: Any, where: str, notes: list[str]
) -> Statement:
    """Add the resizing of the steps of a transform."""
    if resize is None:
        if crop is None:
            return read
        raise ValueError(f"{where} crops and does not resize. {REMEDY_FOR_RESIZING}")
    given = getattr(resize, "size", None)
    given = getattr(resize, "max_size", None) if given is None else given
    longest = float(getattr(resize, "longest", 0.0))
    if type(resize).__name__ == "ResizeMaxSize":  # of open_clip, it pads
        longest = 1.0
    elif getattr(resize, "max_size", None) is not None:
        raise ValueError(f"{where} limits the longer edge. {REMEDY_FOR_RESIZING}")
    if longest not in (0.0, 1.0):
        raise ValueError(
            f"{where} resizes with longest={longest}; expected 0 or 1. "
            f"{REMEDY_FOR_RESIZING}"
        )
    is_pair = n_lengths(given) > 1 and type(resize).__name__ == "Resize"
    mode = "pad" if longest else ("squash" if is_pair else "crop")
    if crop is None:
        if mode == "crop":
            notes.append(note_on_crop(where))
        size, edge = as_size(given, where), None
    else:
        size, edge = as_size(crop.size, where), edge_of(given, where)
    filled = getattr(crop if crop is not None else resize, "fill", 0) or 0
    fill = tuple(value / 255 for value in as_floats_of(filled, "fill", where))
    return replace(read, size=size, mode=mode, edge=edge, fill=fill)
