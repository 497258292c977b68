"""Preprocessing that a module states, in the terms of the packages it comes from.

The statements of skfusion, Hugging Face, timm, open_clip, torchvision and
torchxrayvision are recognised by their attributes, without importing these packages.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any

from torch import nn

from skfusion.image.networks.preprocessing import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    KINETICS_MEAN,
    KINETICS_STD,
    Preprocessing,
    VolumePreprocessing,
)
from skfusion.image.networks.statements.configurations import (
    CROP_KEYS,
    INTERPOLATION_KEYS,
    MEAN_KEYS,
    RESIZE_KEYS,
    SIZE_KEYS,
    STD_KEYS,
    of_configuration,
)
from skfusion.image.networks.statements.processors import (
    notes_on_processor,
    of_processor,
)
from skfusion.image.networks.statements.statement import (
    REMEDY,
    REMEDY_FOR_RESIZING,
    Statement,
    get,
    given_of,
)
from skfusion.image.networks.statements.transforms import (
    CROP_STEPS,
    RESIZE_STEPS,
    of_preset,
    of_steps,
)

__all__ = ["refused_calls", "stated_preprocessing", "with_resize"]


_UNDERSTOOD = (
    "a Preprocessing or VolumePreprocessing of skfusion.image, an image processor of "
    "Hugging Face, a dict with mean, std, size and interpolation (as of timm and "
    "open_clip), or an evaluation transform of torchvision"
)
_REMEDY_FOR_VOLUMES = (
    "module.preprocessing = "
    "skfusion.image.VolumePreprocessing(input_size, depth, mean, std)"
)
# Attributes in which timm and open_clip state the preprocessing of a network.
_CONFIGS = ("preprocess_cfg", "pretrained_cfg", "default_cfg")


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
            f"before it passes them on: {REMEDY}."
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
        raise ValueError(f"{where} {read.refused} {REMEDY_FOR_RESIZING}")
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


def _for_images(read: Statement, side: int) -> Preprocessing:
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


def _side_of(read: Statement, where: str) -> int | None:
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
    read: Statement, side: int | None, depth: int, where: str
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
        if get(config, MEAN_KEYS) is not None and get(config, STD_KEYS) is not None:
            keys = (*SIZE_KEYS, "mean", "std", *INTERPOLATION_KEYS)
            kind = RESIZE_KEYS if key == "preprocess_cfg" else CROP_KEYS
            library = dict.fromkeys(kind[:1]) | {"interpolation": "bicubic"}
            return key, library | given_of(config, (*keys, *kind))
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


def _guess_note(name: str, what: str, side: int, remedy: str = REMEDY) -> str:
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


def _numbers_of(statement: Any, where: str, notes: list[str]) -> Statement:
    statement = getattr(statement, "image_processor", statement)
    of_timm = getattr(statement, "data_config", None)  # of its wrapper in transformers
    if isinstance(of_timm, Mapping) and get(of_timm, MEAN_KEYS) is not None:
        return of_configuration(of_timm, where, notes)
    if isinstance(statement, Mapping):
        if "do_normalize" in statement or "image_processor_type" in statement:
            return of_processor(statement, where, notes)
        return of_configuration(statement, where, notes)
    if hasattr(statement, "image_mean") and hasattr(statement, "image_std"):
        return of_processor(statement, where, notes)
    if all(hasattr(statement, key) for key in ("crop_size", "mean", "std")):
        return of_preset(statement, where, notes)
    steps = getattr(statement, "transforms", None)
    single = {*RESIZE_STEPS, *CROP_STEPS, "Normalize"}
    if steps is None and type(statement).__name__ in single:
        steps = [statement]
    if isinstance(steps, Iterable):
        return of_steps(list(steps), where, notes)
    raise TypeError(f"{where} must be {_UNDERSTOOD}, got {type(statement).__name__}.")


def _for_channels(
    read: Statement, n_channels: int | None, where: str, notes: list[str]
) -> Statement:
    """Adapt the number of channels of a statement to the network."""
    lengths = {len(read.mean), len(read.std)}
    if lengths == {1} and n_channels != 1:
        return replace(read, mean=read.mean * 3, std=read.std * 3)
    if lengths == {3} and n_channels == 1:
        notes.append(
            f"{where} states three channels, but the network has one. Their averages "
            f"are used. State them to be certain: {REMEDY}."
        )
        mean, std, fill = (
            (sum(values) / len(values),) for values in (read.mean, read.std, read.fill)
        )
        return replace(read, mean=mean, std=std, fill=fill)
    return read
