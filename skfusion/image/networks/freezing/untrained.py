"""Warnings about networks whose random weights nothing trains."""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Iterator
from contextvars import ContextVar
from typing import Any

from skfusion._fitting.pipelines import warn_of_modality
from skfusion.exceptions import FallbackWarning

__all__ = ["frozen_note", "obeys_owner", "trained_elsewhere", "warn_untrained"]


_is_trained: ContextVar[bool] = ContextVar("is_trained", default=False)


@contextlib.contextmanager
def trained_elsewhere() -> Iterator[None]:
    """Do not warn about random weights, because the caller trains them afterwards."""
    token = _is_trained.set(True)
    try:
        yield
    finally:
        _is_trained.reset(token)


def warn_untrained(message: str) -> None:
    """Warn that a transformer computes features with random weights.

    Parameters
    ----------
    message : str
        Description of the network and its weights.
    """
    if _is_trained.get():
        return
    warn_of_modality(
        "random weights",
        f"{message} Nothing trains them here, so the features are random projections. "
        "Use a network with trained weights, or train it in joint fusion.",
        FallbackWarning,
    )


def obeys_owner(trainable: Any) -> bool:
    """Return whether parameters without gradients in the user's module stay frozen.

    Names, numbers and ``"last_block"`` select layers explicitly.
    """
    return isinstance(trainable, str) and trainable in ("auto", "all")


def frozen_note(
    name: str,
    names: Collection[str],
    trained: Collection[str],
    trainable: Any,
    *,
    kept: Collection[str] = (),
    random: Collection[str] = (),
    tell: bool = False,
) -> str:
    """Describe the parts of a network that joint fusion does not train.

    Parameters
    ----------
    name : str
        Name of the network.
    names, trained : collection of str
        Its parameters, and those that are trained.
    trainable : any
        The parameter `trainable` of the transformer, as the user passed it.
    kept : collection of str, default=()
        Parameters that `trainable` selects, but that do not require gradients in the
        module of the user.
    random : collection of str, default=()
        Parameters with random weights.
    tell : bool, default=False
        Whether frozen parameters are described in any case, because the user did not
        choose them.

    Returns
    -------
    str
        Text of a warning, empty if there is nothing to tell.
    """
    frozen = set(names) - set(trained)
    n_random = len(frozen & set(random))
    if n_random:
        return (
            f"the weights of the network {name} are random, and {n_random} of its "
            f"{len(names)} weight tensors stay so, because trainable={trainable!r} "
            "freezes them. Pass trainable='all', or use trained weights."
        )
    if kept:
        return (
            f"{len(kept)} of {len(names)} weight tensors of the module {name} stay "
            f"frozen, although trainable={trainable!r} selects them, because they do "
            "not require gradients. Call requires_grad_(True) on what should be "
            "trained, or list the names of the layers to train in trainable."
        )
    if tell and frozen:
        return (
            f"joint fusion trains {len(trained)} of {len(names)} weight tensors of the "
            f"module {name}, the last block of a network with trained weights. The "
            "others stay frozen. Pass trainable='all' for a module without trained "
            "weights, or trainable='last_block' if this is intended."
        )
    return ""
