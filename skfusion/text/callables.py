"""Functions of the user as encoders of texts, with keys for a store."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any

import numpy as np

from skfusion._dependencies import is_installed

__all__ = ["CallableEncoder", "called"]

_VERSION = "callable 1"
_PROBES = ("No acute findings.", "Shortness of breath for two days, cough.")
_TOLERANCE = 1e-4  # of rounding in batches of another size
# What is known about the functions of this process, by their fingerprints.
_probed: dict[str, tuple[int, str]] = {}


class CallableEncoder:
    """Function from a list of texts to an array (n, d), checked with two fixed texts.

    Parameters
    ----------
    function : callable
        The function. An attribute ``fingerprint`` (str) identifies it. Otherwise, its
        code and everything that it refers to is described.

    Attributes
    ----------
    name : str
        Name of the function, for messages.
    n_features : int
        Length of a vector.
    fingerprint : str
        Identifier in a store.
    not_stored : str
        Why vectors cannot be stored, otherwise empty.

    Raises
    ------
    TypeError, ValueError
        If the function does not return one finite vector per text.
    """

    def __init__(self, function: Callable[[list[str]], Any]) -> None:
        self.function = function
        kind = type(function)
        self.name = getattr(function, "__qualname__", kind.__qualname__)
        stated = getattr(function, "fingerprint", None)
        if isinstance(stated, str) and stated:
            self.fingerprint = _digest("stated", stated)
            if self.fingerprint not in _probed:
                _probed[self.fingerprint] = self._probe()
            self.n_features, self.not_stored = _probed[self.fingerprint]
            return
        self.fingerprint, unknown = _described(function)
        if self.fingerprint in _probed and not unknown:
            self.n_features, self.not_stored = _probed[self.fingerprint]
            return
        self.n_features, problem = self._probe()
        if not unknown:
            unknown = self._settle()
        self.not_stored = problem or unknown
        if not unknown:
            _probed[self.fingerprint] = self.n_features, problem

    def __call__(self, texts: list[str]) -> np.ndarray:
        """Return the vectors of some texts, float32 of shape (n, d)."""
        return called(self.function, texts, self.name)

    def _settle(self) -> str:
        """Take the state after the first call, or return why there is no such state.

        What is loaded or compiled in the first call is there in all others.
        """
        after, unknown = _described(self.function)
        if after != self.fingerprint and not unknown:
            self._probe()
            self.fingerprint = after
            after, unknown = _described(self.function)
        if after != self.fingerprint and not unknown:
            return "changes when it is called"
        return unknown

    def _probe(self) -> tuple[int, str]:
        """Return the length of a vector, and why vectors cannot be stored."""
        both = self(list(_PROBES))
        if not np.isfinite(both).all():
            raise ValueError(
                f"TextEmbedder: the encoder {self.name} returns NaN or infinity for an "
                "example text. Expected one finite vector per text."
            )
        alone = self([_PROBES[0]])
        if alone.shape[1] != both.shape[1]:
            raise ValueError(
                f"TextEmbedder: the encoder {self.name} returns vectors of length "
                f"{alone.shape[1]} for one text and {both.shape[1]} for two. Expected "
                "one length. An encoder that learns from its texts, e.g. "
                "fit_transform, must be fitted before."
            )
        scale = max(float(np.abs(both).max()), 1e-12)
        if np.abs(alone[0] - both[0]).max() > _TOLERANCE * scale:
            return both.shape[1], "gives a text another vector beside other texts"
        return both.shape[1], ""


def called(
    function: Callable[[list[str]], Any], texts: list[str], name: str
) -> np.ndarray:
    """Call an encoder and check the shape of its result.

    Parameters
    ----------
    function : callable
        The encoder.
    texts : list of n str
        The texts.
    name : str
        Name of the encoder, for messages.

    Returns
    -------
    ndarray of float32 of shape (n, d)

    Raises
    ------
    TypeError
        If the result is not numeric.
    ValueError
        If it does not have one vector per text.
    """
    result = function(texts)
    if hasattr(result, "detach"):  # a tensor, maybe on a GPU
        result = result.detach().cpu()
    if hasattr(result, "toarray"):  # a sparse matrix
        result = result.toarray()
    try:
        found = np.asarray(result, dtype=np.float32)
    except (TypeError, ValueError):
        raise TypeError(
            f"TextEmbedder: the encoder {name} returns {type(result).__name__}, which "
            "is no numeric array. Expected an array of shape (n_texts, n_features)."
        ) from None
    if found.ndim != 2 or len(found) != len(texts) or not found.shape[1]:
        raise ValueError(
            f"TextEmbedder: the encoder {name} returns an array of shape "
            f"{found.shape} for {len(texts)} texts; expected ({len(texts)}, "
            "n_features)."
        )
    return found


def _digest(*parts: str) -> str:
    return hashlib.sha256(repr((_VERSION, *parts)).encode()).hexdigest()


def _described(function: Any) -> tuple[str, str]:
    """Return the digest of all that a function refers to, and why it is incomplete."""
    if not is_installed("torch"):
        return "", "has no attribute fingerprint, and torch is not installed"
    from torch import nn

    from skfusion.image.networks.description import describe_module

    holder = nn.Module()
    holder.encoder = function
    if isinstance(function, nn.Module):
        holder = function
    description = describe_module(holder)
    if description.unknown:
        parts = ", ".join(description.unknown[:3])
        return "", f"contains {parts}, which cannot be part of the key of the store"
    return _digest("described", description.digest()), ""
