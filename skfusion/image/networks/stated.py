"""Preprocessing that a module states, in the terms of the packages it comes from.

The statements of skfusion, Hugging Face, timm, open_clip, torchvision and
torchxrayvision are recognised by their attributes, without importing these packages.
"""

from __future__ import annotations

import contextlib
import math
import numbers
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
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
from skfusion.image.networks.processors import notes_on_processor

__all__ = ["refused_calls", "stated_preprocessing", "with_resize"]


_UNDERSTOOD = (
    "a Preprocessing or VolumePreprocessing of skfusion.image, an image processor of "
    "Hugging Face, a dict with mean, std, size and interpolation (as of timm and "
    "open_clip), or an evaluation transform of torchvision"
)
_REMEDY = "module.preprocessing = skfusion.image.Preprocessing(input_size, mean, std)"
_REMEDY_FOR_RESIZING = (
    "Choose resize='squash', 'crop' or 'pad', or set the attribute preprocessing to a "
    "skfusion.image.Preprocessing."
)
_REMEDY_FOR_VOLUMES = (
    "module.preprocessing = "
    "skfusion.image.VolumePreprocessing(input_size, depth, mean, std)"
)
# Attributes in which timm and open_clip state the preprocessing of a network.
_CONFIGS = ("preprocess_cfg", "pretrained_cfg", "default_cfg")
_SIZE_KEYS = ("input_size", "size", "image_size", "crop_size")
_MEAN_KEYS, _STD_KEYS = ("mean", "image_mean"), ("std", "image_std")
_INTERPOLATION_KEYS = ("interpolation", "resample")
_RESIZE_KEYS = ("resize_mode", "fill_color")  # of open_clip
_CROP_KEYS = ("crop_pct", "crop_mode")  # of timm
_CROPPING_KEYS = {"mode", *_RESIZE_KEYS, *_CROP_KEYS}
_MODES = {
    **{"shortest": "crop", "longest": "pad", "squash": "squash"},
    **{"center": "crop", "border": "pad"},
}
# What Pillow does with the bytes of an image in the pipelines of timm, open_clip and
# torchvision. Their floats are resized by torch, without clipping.
_PILLOW = {"resampler": "pillow", "clip": False}
_TIMM_CROP_PCT = 0.875  # where it is not stated
_CONVNEXT_LARGE = 384  # from this size on, ConvNeXT images are not cropped
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
# Steps of a torchvision transform that change nothing here: grey is repeated, and
# pixels are scaled to [0, 1] in any case.
_NEUTRAL_STEPS = {
    *("PILToTensor", "ToImage", "ToPureTensor", "MaybePILToTensor"),
    *("RGB", "Grayscale", "_convert_to_rgb", "convert_to_rgb"),
}
_SCALING_STEPS = {"ToTensor", "ConvertImageDtype", "MaybeToTensor", "ToDtype"}
_TENSOR_STEPS = {"PILToTensor", "ToImage", "MaybePILToTensor"}
_RESIZE_STEPS = {"Resize", "ResizeKeepRatio", "ResizeMaxSize"}
_CROP_STEPS = {"CenterCrop", "CenterCropOrPad"}


@dataclass(frozen=True)
class _Numbers:
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


def stated_preprocessing(
    module: nn.Module,
    input_size: int | None,
    depth: int | None,
    resize: str = "auto",
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
    resize : {"auto", "squash", "crop", "pad"}, default="auto"
        Way of resizing that replaces the stated one.

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
        guess, warned = _guess(module, input_size, depth)
        return with_resize(guess, resize), warned
    place, statement = found
    if place and "." in place:
        notes.append(
            f"The preprocessing of the backbone {name} is taken from its submodule "
            f"{place.rpartition('.')[0]!r}. State it if {name} changes the images "
            f"before it passes them on: {_REMEDY}."
        )
    where = f"{name}.{place}"
    if isinstance(statement, Preprocessing | VolumePreprocessing):
        own = _own(statement, input_size, depth, where)
        return with_resize(own, resize), tuple(notes)
    read = _numbers_of(statement, where, notes)
    read = _for_channels(read, _n_channels(module), where, notes)
    side = input_size if input_size is not None else _side_of(read, where)
    if depth is not None:
        volumes = _for_volumes(read, side, depth, where)
        return with_resize(volumes, resize), tuple(notes)
    if read.refused and resize == "auto":
        raise ValueError(f"{where} {read.refused} {_REMEDY_FOR_RESIZING}")
    side = int(side or _side_of_config(module) or 224)
    chosen = _for_images(read, side)
    if resize == "auto" and input_size is None:
        notes.extend(notes_on_processor(statement, chosen, where))
    return with_resize(chosen, resize), tuple(notes)


def with_resize(
    preprocessing: Preprocessing | VolumePreprocessing, resize: str
) -> Preprocessing | VolumePreprocessing:
    """Replace the way of resizing, without a margin that is cropped.

    Parameters
    ----------
    preprocessing : Preprocessing or VolumePreprocessing
        Stated preprocessing.
    resize : {"auto", "squash", "crop", "pad"}
        ``"auto"`` changes nothing.

    Returns
    -------
    Preprocessing or VolumePreprocessing

    Raises
    ------
    ValueError
        If volumes are to be cropped or padded.
    """
    if resize == "auto":
        return preprocessing
    if isinstance(preprocessing, VolumePreprocessing):
        if resize == "squash":
            return preprocessing
        raise ValueError(
            f"resize={resize!r} is for images; volumes are resized as a whole. Use "
            "resize='auto'."
        )
    return replace(preprocessing, resize_mode=resize, resize_size=None)


def _for_images(read: _Numbers, side: int) -> Preprocessing:
    """Return the preprocessing to a size, which may be another than the stated one."""
    edge = read.edge
    if read.crop_pct is not None:
        edge = math.floor(side / read.crop_pct)
    elif edge is not None and read.size is not None and read.size[0] != side:
        edge = round(edge * side / read.size[0])
    return Preprocessing(
        side,
        read.mean,
        read.std,
        read.interpolation,
        resize_mode=read.mode,
        resize_size=None if edge == side else edge,
        fill=read.fill,
        **read.options,
    )


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
            f"{where} states an input of {height} x {width} pixels, but the input must "
            "be square. Pass input_size=... if the network accepts a square "
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
            kind = _RESIZE_KEYS if key == "preprocess_cfg" else _CROP_KEYS
            library = dict.fromkeys(kind[:1]) | {"interpolation": "bicubic"}
            return key, library | _given(config, (*keys, *kind))
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
        return _of_preset(statement, where, notes)
    steps = getattr(statement, "transforms", None)
    single = {*_RESIZE_STEPS, *_CROP_STEPS, "Normalize"}
    if steps is None and type(statement).__name__ in single:
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
    interpolation = _get(given, _INTERPOLATION_KEYS) or "bilinear"
    of_open_clip = any(key in given for key in _RESIZE_KEYS)
    if of_open_clip and str(interpolation) == "random":
        interpolation = "bicubic"  # as in its evaluation
    read = _numbers(
        _size(_get(given, _SIZE_KEYS), where),
        _get(given, _MEAN_KEYS),
        _get(given, _STD_KEYS),
        interpolation,
        where,
        notes,
    )
    if of_open_clip:
        return _with_resize_mode(read, given, where)
    is_cropped = of_timm or any(key in given for key in _CROP_KEYS)
    return _with_crop_mode(read, given, where) if is_cropped else read


def _with_resize_mode(read: _Numbers, given: Mapping[Any, Any], where: str) -> _Numbers:
    """Add the resizing of open_clip."""
    mode = str(_get(given, ("resize_mode",)) or "shortest")
    if mode not in ("shortest", "longest", "squash"):
        raise ValueError(
            f"{where} states resize_mode={mode!r}; expected 'shortest', 'longest' or "
            "'squash'."
        )
    fill = _floats(_get(given, ("fill_color",)) or 0, "fill_color", where)
    return replace(
        read,
        mode=_MODES[mode],
        fill=tuple(value / 255 for value in fill),
        options=_PILLOW,
    )


def _with_crop_mode(read: _Numbers, given: Mapping[Any, Any], where: str) -> _Numbers:
    """Add the resizing of timm. Its borders have the mean colour."""
    mode = str(_get(given, ("crop_mode",)) or "center")
    if mode not in ("center", "border", "squash"):
        raise ValueError(
            f"{where} states crop_mode={mode!r}; expected 'center', 'border' or "
            "'squash'."
        )
    return replace(
        read,
        mode=_MODES[mode],
        crop_pct=float(_get(given, ("crop_pct",)) or _TIMM_CROP_PCT),
        fill=tuple(round(255 * value) / 255 for value in read.mean)
        if mode == "border"
        else (0.0,),
        options=_PILLOW,
    )


def _of_preset(preset: Any, where: str, notes: list[str]) -> _Numbers:
    """Read an evaluation transform that comes with the weights of torchvision."""
    interpolation = getattr(preset, "interpolation", "bilinear")
    read = _numbers(
        _size(preset.crop_size, where),
        preset.mean,
        preset.std,
        interpolation,
        where,
        notes,
    )
    size = getattr(preset, "resize_size", None)
    mode = "squash" if _n_lengths(size) == 2 else "crop"
    return replace(read, mode=mode, edge=_edge(size, where), options=_PILLOW)


def _n_lengths(size: Any) -> int:
    return len(size) if isinstance(size, Sequence) else 1


def _edge(size: Any, where: str) -> int | None:
    """Return the length to which edges are resized before a square is cropped."""
    found = _size(size, where)
    if found is not None and found[0] != found[1]:
        raise ValueError(
            f"{where} resizes to {found[0]} x {found[1]} pixels; expected a square or "
            f"one edge. {_REMEDY_FOR_RESIZING}"
        )
    return None if found is None else found[0]


def _of_processor(processor: Any, where: str, notes: list[str]) -> _Numbers:
    """Read an image processor of Hugging Face, or its settings."""
    for key in ("rescale_offset", "do_flip_channel_order"):
        if _get(processor, (key,)):
            raise ValueError(
                f"{where} has {key}=True, which has no equivalent. Set a "
                "skfusion.image.Preprocessing with the resulting mean and std."
            )
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
    interpolation = "bilinear" if resample is None else resample
    read = _numbers(None, mean, std, interpolation, where, notes)
    return _with_processor_size(read, processor, where, notes)


def _with_processor_size(
    read: _Numbers, processor: Any, where: str, notes: list[str]
) -> _Numbers:
    """Add the resizing of an image processor of Hugging Face."""
    crops = bool(_get(processor, ("do_center_crop",)))
    size = _get(processor, ("size",))
    target = _get(processor, ("crop_size",)) if crops else size
    shortest, longest = _get(size, ("shortest_edge",)), _get(size, ("longest_edge",))
    keeps_ratio = shortest is not None and _get(size, ("height",)) is None
    if (
        isinstance(size, numbers.Integral) and crops
    ):  # of releases before sizes had keys
        keeps_ratio = _get(processor, ("default_to_square",)) is not True
    read = replace(
        read,
        size=_size(target, where),
        mode="crop" if keeps_ratio else "squash",
        options=_arithmetic_of(processor),
        refused=_refused_by_processor(processor, longest),
    )
    share = _get(processor, ("crop_pct",))
    if keeps_ratio and share is not None and not crops:  # ConvNeXT
        if shortest < _CONVNEXT_LARGE:
            return replace(read, crop_pct=float(share))
        return replace(read, mode="squash")
    if _get(processor, ("do_resize",)) is False:
        notes.append(
            f"{where} states do_resize=False. Images are resized to the input size."
        )
    elif crops and size is not None:
        return replace(read, edge=_edge(size, where))
    elif keeps_ratio:
        notes.append(
            f"{where} resizes the shorter edge and does not crop. The centre is "
            "cropped, because the input must be square."
        )
    return read


def _refused_by_processor(processor: Any, longest: Any) -> str:
    if longest is not None or _get(_get(processor, ("size",)), ("max_height",)):
        return "limits the longer edge of the image, which gives inputs of any shape."
    if _get(processor, ("do_pad",)):
        return "pads the image at the right and at the bottom."
    return ""


def _arithmetic_of(processor: Any) -> dict[str, Any]:
    """Return what a processor of Hugging Face resizes with, and in which order."""
    name = type(processor).__name__
    if isinstance(processor, Mapping):
        name = str(processor.get("image_processor_type", ""))
    options: dict[str, Any] = {"clip": False, "crop_rounding": "down"}
    if name.startswith("DINOv3"):
        return options | {"rescale_first": True}
    stated = _get(processor, ("backend",))
    of_class = isinstance(processor, Mapping) or name.endswith("Fast")
    is_torch = stated == "torchvision" if isinstance(stated, str) else of_class
    return options if is_torch else options | {"resampler": "pillow"}


def _of_steps(steps: list[Any], where: str, notes: list[str]) -> _Numbers:
    """Read the steps of an evaluation transform of torchvision."""
    kinds = [getattr(step, "__name__", type(step).__name__) for step in steps]
    found: dict[str, list[Any]] = {"resize": [], "crop": [], "normalise": []}
    for kind, step in zip(kinds, steps, strict=True):
        _check_step(kind, step, where)
        for key, members in (
            ("resize", _RESIZE_STEPS),
            ("crop", _CROP_STEPS),
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
    read = _numbers(None, mean, std, interpolation, where, notes)
    crop = next(iter(found["crop"]), None)
    before = kinds[: next((i for i, k in enumerate(kinds) if k in _RESIZE_STEPS), 0)]
    if _CROP_STEPS & set(before):
        raise ValueError(f"{where} crops before it resizes. {_REMEDY_FOR_RESIZING}")
    return replace(
        _with_steps(read, resize, crop, where, notes), options=_arithmetic_after(before)
    )


def _check_step(kind: str, step: Any, where: str) -> None:
    known = {*_NEUTRAL_STEPS, *_SCALING_STEPS, *_RESIZE_STEPS, *_CROP_STEPS}
    scales = kind != "ToDtype" or getattr(step, "scale", False)
    is_known = kind in known or kind == "Normalize" or "ConvertMode" in kind
    if not (is_known and scales):
        raise ValueError(
            f"{where} has the step {kind}, which is not understood. Expected an "
            "evaluation transform of Resize, CenterCrop, a conversion to a tensor "
            f"in [0, 1], and Normalize. Otherwise set {_REMEDY}."
        )


def _arithmetic_after(before: list[str]) -> dict[str, Any]:
    """Return how images are resized after other steps: as floats, tensors or bytes."""
    if _SCALING_STEPS & set(before):
        return {"clip": False, "rescale_first": True}
    return {"clip": False} if _TENSOR_STEPS & set(before) else _PILLOW


def _with_steps(
    read: _Numbers, resize: Any, crop: Any, where: str, notes: list[str]
) -> _Numbers:
    """Add the resizing of the steps of a transform."""
    if resize is None:
        if crop is None:
            return read
        raise ValueError(f"{where} crops and does not resize. {_REMEDY_FOR_RESIZING}")
    given = getattr(resize, "size", None)
    given = getattr(resize, "max_size", None) if given is None else given
    longest = float(getattr(resize, "longest", 0.0))
    if type(resize).__name__ == "ResizeMaxSize":  # of open_clip, it pads
        longest = 1.0
    elif getattr(resize, "max_size", None) is not None:
        raise ValueError(f"{where} limits the longer edge. {_REMEDY_FOR_RESIZING}")
    if longest not in (0.0, 1.0):
        raise ValueError(
            f"{where} resizes with longest={longest}; expected 0 or 1. "
            f"{_REMEDY_FOR_RESIZING}"
        )
    is_pair = _n_lengths(given) > 1 and type(resize).__name__ == "Resize"
    mode = "pad" if longest else ("squash" if is_pair else "crop")
    if crop is None:
        if mode == "crop":
            notes.append(
                f"{where} resizes the shorter edge and does not crop. The centre is "
                "cropped, because the input must be square."
            )
        size, edge = _size(given, where), None
    else:
        size, edge = _size(crop.size, where), _edge(given, where)
    filled = getattr(crop if crop is not None else resize, "fill", 0) or 0
    fill = tuple(value / 255 for value in _floats(filled, "fill", where))
    return replace(read, size=size, mode=mode, edge=edge, fill=fill)


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
        mean, std, fill = (
            (sum(values) / len(values),) for values in (read.mean, read.std, read.fill)
        )
        return replace(read, mean=mean, std=std, fill=fill)
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
