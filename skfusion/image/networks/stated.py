"""Preprocessing that a module states, in the terms of the packages it comes from.

The statements of skfusion, Hugging Face, timm, open_clip, torchvision and
torchxrayvision are recognised by their attributes, without importing these packages.
"""

from __future__ import annotations

import contextlib
import numbers
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from torch import nn

from skfusion.image.networks.preprocessing import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    INTERPOLATIONS,
    KINETICS_MEAN,
    KINETICS_STD,
    Preprocessing,
    VolumePreprocessing,
)

__all__ = ["refused_calls", "stated_preprocessing"]


_UNDERSTOOD = (
    "a Preprocessing or VolumePreprocessing of skfusion.image, an image processor of "
    "Hugging Face, a dict with mean, std, size and interpolation (as of timm and "
    "open_clip), or an evaluation transform of torchvision"
)
_REMEDY = "module.preprocessing = skfusion.image.Preprocessing(input_size, mean, std)"
_REMEDY_FOR_VOLUMES = (
    "module.preprocessing = "
    "skfusion.image.VolumePreprocessing(input_size, depth, mean, std)"
)
# Attributes in which timm and open_clip state the preprocessing of a network.
_CONFIGS = ("preprocess_cfg", "pretrained_cfg", "default_cfg")
_SIZE_KEYS = ("input_size", "size", "image_size", "crop_size")
_MEAN_KEYS, _STD_KEYS = ("mean", "image_mean"), ("std", "image_std")
_INTERPOLATION_KEYS = ("interpolation", "resample")
# Whole images are resized, so settings of the cropping have no effect.
_CROPPING_KEYS = {"mode", "resize_mode", "fill_color", "crop_pct", "crop_mode"}
_KNOWN_KEYS = {
    *(*_SIZE_KEYS, *_MEAN_KEYS, *_STD_KEYS, *_INTERPOLATION_KEYS),
    *_CROPPING_KEYS,
}
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
# Steps of a torchvision transform that change nothing here: whole images are resized,
# grey is repeated, and pixels are scaled to [0, 1] in any case.
_NEUTRAL_STEPS = {
    *("ToTensor", "PILToTensor", "ToImage", "ToPureTensor", "ToDtype"),
    *("ConvertImageDtype", "MaybeToTensor", "MaybePILToTensor", "RGB", "Grayscale"),
    *("_convert_to_rgb", "convert_to_rgb"),
}
_SIZE_STEPS = {"Resize", "CenterCrop", "ResizeKeepRatio", "ResizeMaxSize"}


@dataclass(frozen=True)
class _Numbers:
    """Numbers of a statement. None is not stated."""

    size: tuple[int, int] | None
    mean: tuple[float, ...]
    std: tuple[float, ...]
    interpolation: str = "bilinear"


def stated_preprocessing(
    module: nn.Module, input_size: int | None, depth: int | None
) -> tuple[Preprocessing | VolumePreprocessing, tuple[str, ...]]:
    """Return the preprocessing that a module states, or a guess with its reason.

    Parameters
    ----------
    module : torch.nn.Module
        The network. Its attribute ``preprocessing`` comes first, then
        ``preprocess_cfg``, ``pretrained_cfg`` and ``default_cfg``, and the class for
        torchxrayvision. If it has none of these, those of its submodules are used.
    input_size : int or None
        Size that replaces the stated one.
    depth : int or None
        Number of slices, for networks for volumes.

    Returns
    -------
    preprocessing : Preprocessing or VolumePreprocessing
        Preprocessing for `module`.
    notes : tuple of str
        Warnings about what is guessed or replaced.

    Raises
    ------
    TypeError
        If the attribute ``preprocessing`` has another type.
    ValueError
        If a statement is incomplete, or has no equivalent.

    Examples
    --------
    >>> from torch import nn
    >>> from skfusion.image.networks.stated import stated_preprocessing
    >>> net = nn.Conv2d(3, 4, 3)
    >>> net.preprocessing = {"size": 64, "mean": [0.5] * 3, "std": [0.5] * 3}
    >>> stated_preprocessing(net, None, None)[0].input_size
    64
    """
    notes: list[str] = []
    name = type(module).__name__
    found = _statement(module)
    if found is None:
        return _guess(module, input_size, depth)
    place, statement = found
    if place and "." in place:
        notes.append(
            f"The preprocessing of the backbone {name} is taken from its submodule "
            f"{place.rpartition('.')[0]!r}. State it if {name} changes the images "
            f"before it passes them on: {_REMEDY}."
        )
    where = f"{name}.{place}"
    if isinstance(statement, Preprocessing | VolumePreprocessing):
        return _own(statement, input_size, depth, where), tuple(notes)
    read = _numbers_of(statement, where, notes)
    read = _for_channels(read, _n_channels(module), where, notes)
    side = input_size if input_size is not None else _side_of(read, where)
    if depth is not None:
        return _for_volumes(read, side, depth, where), tuple(notes)
    side = int(side or _side_of_config(module) or 224)
    chosen = Preprocessing(side, read.mean, read.std, read.interpolation)
    return chosen, tuple(notes)


@contextlib.contextmanager
def refused_calls(module: nn.Module) -> Iterator[None]:
    """Raise an error if a module calls the transform that it states.

    Its images would be normalised twice. A transform of torchvision is a module, so
    that ``nn.Sequential`` makes it a layer when it becomes an attribute.

    Raises
    ------
    ValueError
        If the attribute ``preprocessing`` of `module` is called.
    """
    own = getattr(module, "preprocessing", None)

    def refuse(*_arguments: Any) -> None:
        raise ValueError(
            f"{type(module).__name__} calls its attribute preprocessing, which would "
            "normalise the images twice, because it also states how they are prepared. "
            "Give the attribute another name, or wrap an nn.Sequential."
        )

    if not isinstance(own, nn.Module):
        yield
        return
    handle = own.register_forward_pre_hook(refuse)
    try:
        yield
    finally:
        handle.remove()


def _side_of(read: _Numbers, where: str) -> int | None:
    if read.size is None:
        return None
    height, width = read.size
    if height != width:
        raise ValueError(
            f"{where} states an input of {height} x {width} pixels, but images are "
            "resized to squares. Pass input_size=... if the network accepts a square "
            "input."
        )
    return height


def _for_volumes(
    read: _Numbers, side: int | None, depth: int, where: str
) -> VolumePreprocessing:
    if len(read.mean) != 3:
        raise ValueError(
            f"{where} states {len(read.mean)} channels; networks for volumes have 3. "
            "Set a VolumePreprocessing."
        )
    mean, std = ((v[0], v[1], v[2]) for v in (read.mean, read.std))
    return VolumePreprocessing(int(side or 112), int(depth), mean, std)


def _statement(module: nn.Module) -> tuple[str, Any] | None:
    """Return the outermost statement of a module, with the attribute it is in."""
    parts = sorted(module.named_modules(), key=lambda item: _depth(item[0]))
    for name, part in parts:
        found = _statement_of(part)
        if found is not None:
            return ".".join(filter(None, (name, found[0]))), found[1]
    return None


def _depth(name: str) -> int:
    return name.count(".") + 1 if name else 0


def _statement_of(module: nn.Module) -> tuple[str, Any] | None:
    own = getattr(module, "preprocessing", None)
    if own is not None:
        return "preprocessing", own
    for key in _CONFIGS:
        config = getattr(module, key, None)
        if _get(config, _MEAN_KEYS) is not None and _get(config, _STD_KEYS) is not None:
            keys = (*_SIZE_KEYS, "mean", "std", *_INTERPOLATION_KEYS)
            return key, {"interpolation": "bicubic"} | _given(config, keys)
    if type(module).__module__.partition(".")[0] == "torchxrayvision":
        # It expects pixels in [-1024, 1024].
        side = 512 if "512" in str(getattr(module, "weights", None)) else 224
        return "", {"size": side, "mean": (0.5,), "std": (1 / 2048,)}
    return None


def _own(
    stated: Preprocessing | VolumePreprocessing,
    input_size: int | None,
    depth: int | None,
    where: str,
) -> Preprocessing | VolumePreprocessing:
    expected = Preprocessing if depth is None else VolumePreprocessing
    if not isinstance(stated, expected):
        kind = "images" if depth is None else "volumes"
        raise TypeError(
            f"{where} is a {type(stated).__name__}, but the network is used for "
            f"{kind}. Set a {expected.__name__}, or change volume='slices' or '3d'."
        )
    size = stated.input_size if input_size is None else int(input_size)
    if isinstance(stated, VolumePreprocessing):
        assert depth is not None
        return replace(stated, input_size=size, depth=int(depth))
    return replace(stated, input_size=size)


# -- guesses -------------------------------------------------------------------------


def _guess(
    module: nn.Module, input_size: int | None, depth: int | None
) -> tuple[Preprocessing | VolumePreprocessing, tuple[str, ...]]:
    """Return the usual preprocessing where nothing is stated, and a warning."""
    name = type(module).__name__
    if depth is not None:
        side = int(input_size or 112)
        volume = VolumePreprocessing(side, int(depth), KINETICS_MEAN, KINETICS_STD)
        what = "the mean and standard deviation of Kinetics-400"
        note = _guess_note(name, what, side, remedy=_REMEDY_FOR_VOLUMES)
        return volume, (note,)
    side = int(input_size or _side_of_config(module) or 224)
    if _n_channels(module) == 1:
        guess = Preprocessing(side, (0.5,), (0.5,))
        return guess, (_guess_note(name, "grey pixels in [-1, 1]", side),)
    guess = Preprocessing(side, IMAGENET_MEAN, IMAGENET_STD)
    what = "the mean and standard deviation of ImageNet"
    return guess, (_guess_note(name, what, side),)


def _guess_note(name: str, what: str, side: int, remedy: str = _REMEDY) -> str:
    return (
        f"The module {name} does not state its preprocessing, so {what} and an input "
        f"of {side} pixels are a guess. State it: {remedy}."
    )


def _n_channels(module: nn.Module) -> int | None:
    """Return the number of input channels of the first convolution."""
    first = next((p for p in module.modules() if isinstance(p, nn.Conv2d)), None)
    return None if first is None else first.in_channels


def _side_of_config(module: nn.Module) -> int | None:
    """Return the size in the configuration of a Hugging Face network."""
    for part in module.modules():
        side = getattr(getattr(part, "config", None), "image_size", None)
        if isinstance(side, int) and not isinstance(side, bool):
            return side
    return None


# -- statements of other packages ----------------------------------------------------


def _numbers_of(statement: Any, where: str, notes: list[str]) -> _Numbers:
    statement = getattr(statement, "image_processor", statement)
    if isinstance(statement, Mapping):
        if "do_normalize" in statement or "image_processor_type" in statement:
            return _of_processor(statement, where, notes)
        return _of_dict(statement, where, notes)
    if hasattr(statement, "image_mean") and hasattr(statement, "image_std"):
        return _of_processor(statement, where, notes)
    if all(hasattr(statement, key) for key in ("crop_size", "mean", "std")):
        crop = _size(statement.crop_size, where)
        interpolation = getattr(statement, "interpolation", "bilinear")
        return _numbers(
            crop, statement.mean, statement.std, interpolation, where, notes
        )
    steps = getattr(statement, "transforms", None)
    if steps is None and type(statement).__name__ in (*_SIZE_STEPS, "Normalize"):
        steps = [statement]
    if isinstance(steps, Iterable):
        return _of_steps(list(steps), where, notes)
    raise TypeError(f"{where} must be {_UNDERSTOOD}, got {type(statement).__name__}.")


def _of_dict(given: Mapping[Any, Any], where: str, notes: list[str]) -> _Numbers:
    of_timm = "architecture" in given or "first_conv" in given
    unknown = [] if of_timm else sorted(map(str, set(given) - _KNOWN_KEYS))
    if unknown:
        raise ValueError(
            f"{where} has the unknown keys {', '.join(unknown)}; expected mean, std, "
            "size and interpolation."
        )
    missing = [keys[0] for keys in (_MEAN_KEYS, _STD_KEYS) if _get(given, keys) is None]
    if missing:
        raise ValueError(
            f"{where} has no {' and no '.join(missing)}; expected mean, std, size and "
            "interpolation."
        )
    return _numbers(
        _size(_get(given, _SIZE_KEYS), where),
        _get(given, _MEAN_KEYS),
        _get(given, _STD_KEYS),
        _get(given, _INTERPOLATION_KEYS) or "bilinear",
        where,
        notes,
    )


def _of_processor(processor: Any, where: str, notes: list[str]) -> _Numbers:
    """Read an image processor of Hugging Face, or its settings."""
    for key in ("rescale_offset", "do_flip_channel_order"):
        if _get(processor, (key,)):
            raise ValueError(
                f"{where} has {key}=True, which has no equivalent. Set a "
                "skfusion.image.Preprocessing with the resulting mean and std."
            )
    crops = _get(processor, ("do_center_crop",))
    size = _get(processor, ("crop_size",) if crops else ("size",))
    resample = _get(processor, ("resample",))
    mean: Any = (0.0,)
    std: Any = (1.0,)
    if _get(processor, ("do_normalize",)) is not False:
        mean, std = _get(processor, ("image_mean",)), _get(processor, ("image_std",))
        if mean is None or std is None:
            raise ValueError(f"{where} has no image_mean or no image_std.")
    # Its images are in [0, 255] before rescaling, those of skfusion in [0, 1].
    factor = 1.0
    if _get(processor, ("do_rescale",)) is not False:
        factor = _get(processor, ("rescale_factor",)) or 1 / 255
    mean, std = _floats(mean, "mean", where), _floats(std, "std", where)
    if _get(processor, ("include_top",)):  # EfficientNet divides twice
        std = tuple(value**2 for value in std)
    scale = 255 * factor
    if abs(scale - 1) > 1e-6:
        mean = tuple(value / scale for value in mean)
        std = tuple(value / scale for value in std)
    found = _size(size, where)
    interpolation = "bilinear" if resample is None else resample
    return _numbers(found, mean, std, interpolation, where, notes)


def _of_steps(steps: list[Any], where: str, notes: list[str]) -> _Numbers:
    """Read the steps of an evaluation transform of torchvision."""
    size: tuple[int, int] | None = None
    interpolation: Any = "bilinear"
    normalised: list[tuple[Any, Any]] = []
    for step in steps:
        kind = getattr(step, "__name__", type(step).__name__)
        if kind in _SIZE_STEPS:
            size = _size(step.size, where)
            interpolation = getattr(step, "interpolation", interpolation)
        elif kind == "Normalize":
            normalised.append((step.mean, step.std))
        elif (
            kind == "ToDtype"
            and not getattr(step, "scale", False)
            or not (kind in _NEUTRAL_STEPS or "ConvertMode" in kind)
        ):
            raise ValueError(
                f"{where} has the step {kind}, which is not understood. Expected an "
                "evaluation transform of Resize, CenterCrop, a conversion to a tensor "
                f"in [0, 1], and Normalize. Otherwise set {_REMEDY}."
            )
    if len(normalised) > 1:
        raise ValueError(
            f"{where} has {len(normalised)} steps Normalize; expected one."
        )
    mean, std = normalised[0] if normalised else ((0.0,), (1.0,))
    return _numbers(size, mean, std, interpolation, where, notes)


# -- numbers -------------------------------------------------------------------------


def _numbers(
    size: tuple[int, int] | None,
    mean: Any,
    std: Any,
    interpolation: Any,
    where: str,
    notes: list[str],
) -> _Numbers:
    means, stds = _floats(mean, "mean", where), _floats(std, "std", where)
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
    return _Numbers(size, means, stds, name)


def _for_channels(
    read: _Numbers, n_channels: int | None, where: str, notes: list[str]
) -> _Numbers:
    """Adapt the number of channels of a statement to the network."""
    lengths = {len(read.mean), len(read.std)}
    if lengths == {1} and n_channels != 1:
        return replace(read, mean=read.mean * 3, std=read.std * 3)
    if lengths == {3} and n_channels == 1:
        notes.append(
            f"{where} states three channels, but the network has one. Their averages "
            f"are used. State them to be certain: {_REMEDY}."
        )
        mean, std = sum(read.mean) / 3, sum(read.std) / 3
        return replace(read, mean=(mean,), std=(std,))
    return read


def _floats(given: Any, what: str, where: str) -> tuple[float, ...]:
    values = [given] if isinstance(given, numbers.Real) else given
    try:
        return tuple(float(value) for value in values)
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"{where} states {what} of type {type(given).__name__}; expected one or "
            "three numbers."
        ) from error


def _size(given: Any, where: str) -> tuple[int, int] | None:
    """Return height and width in pixels from any of the usual forms of a size."""
    if given is None:
        return None
    if isinstance(given, numbers.Integral):
        return int(given), int(given)
    if isinstance(given, Sequence) and not isinstance(given, str):
        values = [int(value) for value in given]
        if values and len(values) <= 4:
            return values[-2:][0], values[-1]
    height, width = _get(given, ("height",)), _get(given, ("width",))
    if height is not None and width is not None:
        return int(height), int(width)
    side = _get(given, ("shortest_edge", "longest_edge"))
    if side is not None:
        return int(side), int(side)
    raise ValueError(
        f"{where} states a size of type {type(given).__name__} that is not understood; "
        "expected a number of pixels, (height, width) or a dict of both."
    )


def _get(holder: Any, keys: Iterable[str]) -> Any:
    """Return the first entry or attribute that is not None."""
    found = _given(holder, keys)
    return next(iter(found.values()), None)


def _given(holder: Any, keys: Iterable[str]) -> dict[str, Any]:
    def one(key: str) -> Any:
        if isinstance(holder, Mapping):
            return holder.get(key)
        return getattr(holder, key, None)

    return {key: one(key) for key in keys if one(key) is not None}
