"""A file of weights in, a network that holds them out; no code of the file is run."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping

import torch
from torch import Tensor, nn

from skfusion._dependencies import require

__all__ = ["load_weights_file", "reproducible_random"]


_RANDOM_SEED = 0


def load_weights_file(
    module: nn.Module,
    path: str | os.PathLike[str],
    name: str,
    *,
    ignore: str | None = None,
) -> None:
    """Load the state dict in a file into a module, without executing code.

    A checkpoint that holds the tensors under ``"state_dict"`` is understood.
    Files named ``.safetensors`` are read with that package.

    Parameters
    ----------
    module : torch.nn.Module
        Changed in place.
    path : path
        A file that `torch.save` or safetensors wrote.
    name : str
        Of the network, for messages.
    ignore : str or None, default=None
        Name of a submodule whose tensors may be missing or of another shape: the
        final layer that is dropped anyway.

    Raises
    ------
    ValueError
        If there is no such file, it holds something other than tensors, or its
        tensors do not fit; the message lists those that do not.
    """
    state = _read_state(path)
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
            f"The weights file {os.fspath(path)!r} does not fit the network {name} "
            f"({len(expected)} tensors). {'; '.join(found)}."
        )
    module.load_state_dict(state, strict=False)


def _read_state(path: str | os.PathLike[str]) -> dict[str, Tensor]:
    try:
        if os.fspath(path).endswith(".safetensors"):
            state = require("safetensors.torch", "torch").load_file(path)
        else:
            state = torch.load(path, map_location="cpu", weights_only=True)
    except ImportError:
        raise
    except FileNotFoundError as error:
        raise ValueError(
            f"weights={os.fspath(path)!r}: there is no such file. Expected 'DEFAULT', "
            "a name of published weights, None, or the path of a state dict."
        ) from error
    except Exception as error:  # bytes that are no pickle fail in any way
        raise ValueError(
            f"The weights file {os.fspath(path)!r} is no state dict that loads without "
            "executing code (truncated, of another kind, or holding other objects than "
            "tensors). Save it anew with torch.save(module.state_dict(), path)."
        ) from error
    if isinstance(state, Mapping) and isinstance(state.get("state_dict"), Mapping):
        state = state["state_dict"]
    if not (
        isinstance(state, Mapping)
        and all(isinstance(k, str) and isinstance(v, Tensor) for k, v in state.items())
    ):
        raise ValueError(
            f"The weights file {os.fspath(path)!r} holds {type(state).__name__}; "
            "expected a mapping from names to tensors, as module.state_dict() gives."
        )
    return dict(state)


@contextlib.contextmanager
def reproducible_random() -> Iterator[None]:
    """Draw random weights that are the same every time, and leave no trace."""
    # Networks draw on the CPU; torch.manual_seed would also reseed the accelerators.
    state = torch.random.get_rng_state()
    torch.default_generator.manual_seed(_RANDOM_SEED)
    try:
        yield
    finally:
        torch.random.set_rng_state(state)
