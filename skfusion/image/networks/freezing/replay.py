"""Cut of a network at the call of a module, for code that `torch.fx` cannot trace.

The trunk runs the network until the call of the module and returns its input. The tail
runs the same code with images of zeros: the modules before the call return what was
recorded, without computing it, and the call gets the stored input instead of its own.
All other code, such as a branch that asks for the mode, is run as it is.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from contextvars import ContextVar
from typing import Any

import torch
from torch import Tensor, nn

from skfusion.image.networks.outputs import relative_difference, run
from skfusion.image.networks.process_state import kept_random_state

__all__ = ["StoppedTrunk", "replayed_parts"]

TOLERANCE = 1e-4  # of a relative difference that is rounding

# The features of the tail that is running in this thread.
_features: ContextVar[Any] = ContextVar("skfusion_features", default=None)
# The value of the pixels that a tail passes to its code.
_fill: ContextVar[float] = ContextVar("skfusion_fill", default=0.0)


class StoppedTrunk(nn.Module):
    """Network that is run until one of its modules is called.

    Parameters
    ----------
    network : torch.nn.Module
        The network, which gets a hook.
    at : str
        Name of the module.
    """

    def __init__(self, network: nn.Module, at: str) -> None:
        super().__init__()
        self.network = network
        network.get_submodule(at).register_forward_pre_hook(_stop, with_kwargs=True)

    def forward(self, images: Tensor) -> Tensor:
        """Return the first tensor that the module is called with."""
        try:
            self.network(images)
        except _Stopped as stopped:
            return stopped.value
        raise RuntimeError("the module at the cut is not called")


def _replayed_tail(
    network: nn.Module,
    at: str,
    recorded: Mapping[str, Any],
    image_shape: Sequence[int],
) -> nn.Module:
    """Turn a network into its tail, with the same names of parameters.

    Parameters
    ----------
    network : torch.nn.Module
        The network, which gets hooks and loses the parameters of replaced modules.
    at : str
        Name of the module that is called with the features.
    recorded : mapping of str to object
        Output of each module that is called before.
    image_shape : tuple of int
        Shape of an image.

    Returns
    -------
    torch.nn.Module
        The network, whose input is the output of the trunk.
    """
    network.register_forward_pre_hook(_Begin(image_shape))
    network.register_forward_hook(_end, always_call=True)
    network.get_submodule(at).register_forward_pre_hook(_give, with_kwargs=True)
    for name, output in recorded.items():
        module = network.get_submodule(name)
        module.forward = _Recorded(output)
        for part in module.modules():
            for key, value in list(part.named_parameters(recurse=False)):
                # code may ask for the type and the device of the weights
                delattr(part, key)
                part.register_buffer(key, _empty_like(value), persistent=False)
    return network


class _Begin:
    """Hook of a tail, which replaces the features by images of one value."""

    def __init__(self, image_shape: Sequence[int]) -> None:
        self.image_shape = tuple(image_shape)

    def __call__(self, module: nn.Module, args: tuple[Tensor, ...]) -> tuple[Tensor]:
        (features,) = args
        _features.set(features)
        one = features.new_full((), _fill.get())
        return (one.expand(len(features), *self.image_shape),)


def _end(module: nn.Module, args: Any, output: Any) -> None:
    _features.set(None)


class _Stopped(Exception):
    """End of a run, with the input of the module at the cut."""

    def __init__(self, value: Tensor) -> None:
        super().__init__()
        self.value = value


class _Recorded:
    """Function that returns a recorded output for a batch of any size."""

    def __init__(self, output: Any) -> None:
        self.output = output

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return _for_batch(self.output, len(_features.get()))


class _PerImage:
    """Shape and type of an output that has the images as its first axis."""

    def __init__(self, value: Tensor, n_images: int) -> None:
        self.rows = len(value) // n_images
        self.shape = tuple(value.shape[1:])
        self.dtype = value.dtype


def replayed_parts(
    network: nn.Module, names: set[str], images: Tensor
) -> tuple[nn.Module, nn.Module, str] | None:
    """Cut a network at the latest call for which the two parts give its output.

    Parameters
    ----------
    network : torch.nn.Module
        The network in evaluation mode.
    names : set of str
        Names of the parameters that are trained.
    images : torch.Tensor of shape (B, C, H, W)
        Example images, at least two.

    Returns
    -------
    (torch.nn.Module, torch.nn.Module, str) or None
        The two parts, which are copies, and the name of the module at the cut. None if
        no cut is found.

    Examples
    --------
    >>> import torch
    >>> from torch import nn
    >>> from skfusion.image.networks.freezing.replay import replayed_parts
    >>> net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Conv2d(4, 2, 3)).eval()
    >>> images = torch.rand(2, 3, 8, 8)
    >>> trunk, tail, at = replayed_parts(net, {"1.weight", "1.bias"}, images)
    >>> at
    '1'
    >>> torch.equal(tail(trunk(images)), net(images))
    True
    """
    expected = run(network, images)
    for at in _candidates(network, names, images):
        recorded = _recorded_before(network, at, images)
        if not recorded or _trains_any(network, recorded, names):
            continue
        trunk = StoppedTrunk(copy.deepcopy(network), at).eval()
        tail = _replayed_tail(copy.deepcopy(network), at, recorded, images.shape[1:])
        try:
            found = run(tail, run(trunk, images))
        except Exception:  # the code between the modules can raise any exception
            continue
        is_tensor = isinstance(found, Tensor)
        if not is_tensor or relative_difference(found, expected) > TOLERANCE:
            continue
        if _trains_on_features_alone(tail, run(trunk, images)):
            return trunk, tail, at
    return None


def _trains_on_features_alone(tail: nn.Module, features: Tensor) -> bool:
    """Return whether a tail in training mode uses nothing from before the cut.

    Code of the training mode could read the images, or a feature that is not computed.
    """
    training = copy.deepcopy(tail).train()
    outputs = []
    for fill in (0.0, 1.0):
        token = _fill.set(fill)
        try:
            with kept_random_state():
                torch.manual_seed(0)
                outputs.append(run(training, features))
        except Exception:  # the code of a network can raise any exception
            return False
        finally:
            _fill.reset(token)
    one, other = outputs
    is_tensor = isinstance(one, Tensor) and isinstance(other, Tensor)
    return is_tensor and bool(torch.isfinite(one).all()) and torch.equal(one, other)


def _candidates(network: nn.Module, names: set[str], images: Tensor) -> Iterator[str]:
    """Iterate over the modules around the first trained one, from inside out."""
    trained = {name.rpartition(".")[0] for name in names}
    for name, _ in _calls(network, images):
        if name in trained:
            while name:  # the root itself cannot be cut off
                yield name
                name = name.rpartition(".")[0]
            return


def _calls(network: nn.Module, images: Tensor) -> list[tuple[str, bool]]:
    """Return the calls of modules and their ends (False), in order."""
    found: list[tuple[str, bool]] = []
    handles = []
    for name, module in network.named_modules():

        def before(*_: Any, name: str = name) -> None:
            found.append((name, True))

        def after(*_: Any, name: str = name) -> None:
            found.append((name, False))

        handles.append(module.register_forward_pre_hook(before))
        handles.append(module.register_forward_hook(after))
    try:
        run(network, images)
    finally:
        for handle in handles:
            handle.remove()
    return found


def _recorded_before(network: nn.Module, at: str, images: Tensor) -> dict[str, Any]:
    """Return the outputs of the outermost modules that end before the cut.

    Empty if one of them is called again, if the module at the cut is called more than
    once, or if an output is neither one for each image nor the same for all images.
    """
    calls = _calls(network, images)
    starts = [name for name, is_start in calls if is_start]
    if starts.count(at) != 1:
        return {}
    before = calls[: calls.index((at, True))]
    outer: list[str] = []
    depth = 0
    ended = {name for name, is_start in before if not is_start}
    for name, is_start in before:
        if name not in ended:
            continue  # around the cut
        depth += 1 if is_start else -1
        if is_start and depth == 1:
            outer.append(name)
    if any(starts.count(name) != 1 for name in outer):
        return {}
    one, more = images[:1].flip(-1) + 1, torch.cat([images[:1], images[:1], images[1:]])
    first, second = (_outputs_of(network, outer, batch) for batch in (one, more))
    try:
        return {
            name: _common(first[name], second[name], len(one), len(more))
            for name in outer
        }
    except _NotRecordable:
        return {}


def _outputs_of(
    network: nn.Module, names: Sequence[str], images: Tensor
) -> dict[str, Any]:
    found: dict[str, Any] = {}
    handles = []
    for name in names:

        def after(module: Any, args: Any, output: Any, name: str = name) -> None:
            found[name] = output

        handles.append(network.get_submodule(name).register_forward_hook(after))
    try:
        run(network, images)
    finally:
        for handle in handles:
            handle.remove()
    return found


class _NotRecordable(Exception):
    """An output depends on the images in another way than row by row."""


def _common(one: Any, other: Any, n_one: int, n_other: int) -> Any:
    """Return what two outputs for different images have in common."""
    if isinstance(one, Tensor) and isinstance(other, Tensor):
        if one.shape == other.shape and torch.equal(one, other):
            return one.clone()  # not an inference tensor
        n_rows = (len(one) / n_one, len(other) / n_other) if one.ndim else (0.5, 0.5)
        if n_rows[0] == n_rows[1] == int(n_rows[0]):
            return _PerImage(one, n_one)
    elif type(one) in (tuple, list) and type(one) is type(other):
        pairs = zip(one, other, strict=True)
        return type(one)(_common(a, b, n_one, n_other) for a, b in pairs)
    elif isinstance(one, dict) and type(one) is type(other) and [*one] == [*other]:
        # also an output of Hugging Face, a dict whose keys are its arguments
        common = {key: _common(one[key], other[key], n_one, n_other) for key in one}
        return type(one)(**common)
    elif isinstance(one, bool | int | float | str | type(None)) and one == other:
        return one
    raise _NotRecordable


def _for_batch(output: Any, n_images: int) -> Any:
    if isinstance(output, _PerImage):
        # NaN if there is one, so that a later use of the value shows in the output
        features = _features.get()
        value = torch.nan if output.dtype.is_floating_point else 0
        one = torch.full((), value, dtype=output.dtype, device=features.device)
        return one.expand(n_images * output.rows, *output.shape)
    if isinstance(output, Tensor):
        return output.to(_features.get().device)
    if isinstance(output, dict):
        parts = {key: _for_batch(part, n_images) for key, part in output.items()}
        return type(output)(**parts)
    if type(output) in (tuple, list):
        return type(output)(_for_batch(part, n_images) for part in output)
    return output


def _empty_like(parameter: Tensor) -> Tensor:
    return torch.empty(0, dtype=parameter.dtype, device=parameter.device)


def _trains_any(
    network: nn.Module, replaced: Mapping[str, Any], names: set[str]
) -> bool:
    """Return whether a module that is not computed has trained or shared parameters."""
    inside = {
        id(parameter)
        for name in replaced
        for parameter in network.get_submodule(name).parameters()
    }
    named = dict(network.named_parameters())
    return any(id(named[name]) in inside for name in names)


def _stop(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    for value in (*args, *kwargs.values()):
        if isinstance(value, Tensor):
            raise _Stopped(value)
    raise RuntimeError("the module at the cut has no tensor as its input")


def _give(
    module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    features = _features.get()
    for i, value in enumerate(args):
        if isinstance(value, Tensor):
            return (*args[:i], features, *args[i + 1 :]), kwargs
    for key, value in kwargs.items():
        if isinstance(value, Tensor):
            return args, {**kwargs, key: features}
    raise RuntimeError("the module at the cut has no tensor as its input")
