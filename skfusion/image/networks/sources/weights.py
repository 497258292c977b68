"""Safe loading of weights files and reproducible random weights."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from skfusion._dependencies import require
from skfusion.image.networks.process_state import kept_random_state

__all__ = [
    "first_line",
    "had_weights",
    "load_state",
    "load_weights_file",
    "no_file",
    "reproducible_random",
]


_RANDOM_SEED = 0


def load_weights_file(
    module: nn.Module,
    path: str | os.PathLike[str],
    name: str,
    *,
    ignore: str | None = None,
) -> None:
    """Load the state dict in a file into a module, without executing code.

    A checkpoint with the tensors under the key ``"state_dict"`` is supported. Files
    with the suffix ``.safetensors`` are read with the safetensors package.

    Parameters
    ----------
    module : torch.nn.Module
        The network, changed in place.
    path : path
        A file written by `torch.save` or safetensors.
    name : str
        Name of the network, for messages.
    ignore : str or None, default=None
        Name of a submodule whose tensors may be missing or of another shape, for a
        final layer that is removed later.

    Raises
    ------
    ValueError
        If the file does not exist, contains other objects than tensors, or its tensors
        do not match the network. The message lists tensors that do not match.
    """
    load_state(module, _read_state(path), path, name, ignore=ignore)


def first_line(error: Exception) -> str:
    """Return the first line of the message of an error."""
    return (str(error).strip().splitlines() or [""])[0]


def had_weights(name: str, build: Callable[[], Any]) -> Any:
    """Build a network with downloaded weights, or raise an error with the remedy.

    Parameters
    ----------
    name : str
        Name of the network, for the message.
    build : callable
        Function without arguments.

    Returns
    -------
    object
        What `build` returns.

    Raises
    ------
    ValueError
        If `build` fails.
    """
    try:
        return build()
    except Exception as error:  # each client has different exceptions
        raise ValueError(
            f"The weights of {name!r} are not on this machine and cannot be downloaded "
            f"({type(error).__name__}: {first_line(error)}). Download them elsewhere "
            "and pass their path as weights=..., or use weights=None for random "
            "weights."
        ) from error


def load_state(
    module: nn.Module,
    state: Any,
    path: str | os.PathLike[str],
    name: str,
    *,
    ignore: str | None = None,
) -> None:
    """Load the content of a file of weights into a module.

    Parameters
    ----------
    module : torch.nn.Module
        The network, changed in place.
    state : object
        The content, a mapping from names to tensors or one with a ``"state_dict"``.
    path : path
        The file, for messages.
    name : str
        Name of the network, for messages.
    ignore : str or None, default=None
        As in `load_weights_file`.

    Raises
    ------
    ValueError
        If `state` is something else, or its tensors do not match the network.
    """
    state = _checked_state(state, path)
    expected = module.state_dict()
    if ignore is not None:
        prefix = f"{ignore}."
        state = {k: v for k, v in state.items() if not k.startswith(prefix)}
        expected = {k: v for k, v in expected.items() if not k.startswith(prefix)}
    problems = {
        "missing": [key for key in expected if key not in state],
        "unexpected": [key for key in state if key not in expected],
        "of another shape": [
            f"{key} (got {tuple(state[key].shape)}, expected {tuple(value.shape)})"
            for key, value in expected.items()
            if key in state and state[key].shape != value.shape
        ],
    }
    found = [
        f"{len(keys)} {kind}: {', '.join(keys[:5])}{', ...' if len(keys) > 5 else ''}"
        for kind, keys in problems.items()
        if keys
    ]
    if found:
        raise ValueError(
            f"The weights file {os.fspath(path)!r} does not match the network {name} "
            f"({len(expected)} tensors). {'; '.join(found)}."
        )
    module.load_state_dict(state, strict=False)


def _read_state(path: str | os.PathLike[str]) -> Any:
    try:
        if os.fspath(path).endswith(".safetensors"):
            state = require("safetensors.torch", "torch").load_file(path)
        else:
            state = torch.load(path, map_location="cpu", weights_only=True)
    except ImportError:
        raise
    except FileNotFoundError as error:
        raise no_file(path) from error
    except Exception as error:  # damaged pickles raise any exception
        raise ValueError(
            f"The weights file {os.fspath(path)!r} is not a state dict that loads "
            "without executing code (it is truncated, has another format, or contains "
            "other objects than tensors). Save it again with "
            "torch.save(module.state_dict(), path)."
        ) from error
    return state


def no_file(path: str | os.PathLike[str]) -> ValueError:
    """Return the error about a file of weights that does not exist."""
    return ValueError(
        f"weights={os.fspath(path)!r}: the file does not exist. Expected "
        "'DEFAULT', a name of published weights, None, or the path of a state dict."
    )


def _checked_state(state: Any, path: str | os.PathLike[str]) -> dict[str, Tensor]:
    if isinstance(state, Mapping) and isinstance(state.get("state_dict"), Mapping):
        state = state["state_dict"]
    if not (
        isinstance(state, Mapping)
        and all(isinstance(k, str) and isinstance(v, Tensor) for k, v in state.items())
    ):
        raise ValueError(
            f"The weights file {os.fspath(path)!r} contains {type(state).__name__}; "
            "expected a mapping from names to tensors, as returned by "
            "module.state_dict()."
        )
    return dict(state)


@contextlib.contextmanager
def reproducible_random() -> Iterator[None]:
    """Draw the same random weights every time, and restore the generator state."""
    # Networks are initialised on the CPU. torch.manual_seed would also reseed the GPUs.
    with kept_random_state():
        torch.default_generator.manual_seed(_RANDOM_SEED)
        yield
