"""Encoders of texts by name, from a folder, or as a function."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np

from skfusion._dependencies import TORCH_PACKAGES, named_extra
from skfusion._validation import did_you_mean
from skfusion.text.callables import CallableEncoder
from skfusion.text.word_vectors import WordVectors

__all__ = ["TextEncoder", "is_fixed", "make_encoder"]

HUB = "hf:"
_NAMES = ("wordllama",)


class TextEncoder(Protocol):
    """Function from texts to vectors, with an identifier for a store.

    Attributes
    ----------
    name : str
        Name for messages.
    n_features : int
        Length of a vector.
    fingerprint : str
        Digest of everything that a vector depends on besides its text.
    not_stored : str
        Why vectors cannot be stored, otherwise empty.
    """

    @property
    def name(self) -> str:
        """Name for messages."""

    @property
    def n_features(self) -> int:
        """Length of a vector."""

    @property
    def fingerprint(self) -> str:
        """Digest of everything that a vector depends on besides its text."""

    @property
    def not_stored(self) -> str:
        """Why vectors cannot be stored, otherwise empty."""

    def __call__(self, texts: list[str]) -> np.ndarray:
        """Return the vectors of some texts, float32 of shape (n, n_features)."""


def make_encoder(
    encoder: Any,
    *,
    encoder_params: Mapping[str, Any] | None = None,
    window_size: int = 256,
    stride: int = 64,
    batch_size: int = 32,
    device: Any = "auto",
) -> TextEncoder:
    """Make the encoder that the parameters of `TextEmbedder` describe.

    Parameters
    ----------
    encoder, encoder_params, window_size, stride, batch_size, device : any
        As in `TextEmbedder`.

    Returns
    -------
    TextEncoder

    Raises
    ------
    ImportError
        If a package is not installed.
    ValueError
        If the name is unknown, the network is neither in the cache nor can be
        downloaded, or the parameters do not fit it.
    TypeError
        If `encoder` is neither text nor callable.

    Examples
    --------
    >>> import numpy as np
    >>> from skfusion.text.encoders import make_encoder
    >>> def lengths(texts):
    ...     return np.array([[len(text), text.count(" ")] for text in texts])
    >>> make_encoder(lengths).n_features
    2
    """
    if isinstance(encoder, os.PathLike):
        encoder = os.fspath(encoder)
    if isinstance(encoder, str):
        is_folder = os.path.isdir(encoder)
        if encoder.startswith(HUB) or is_folder:
            with named_extra(TORCH_PACKAGES, "torch", f"encoder={encoder!r}"):
                from skfusion.text.hugging_face import HuggingFaceEncoder

            return HuggingFaceEncoder(
                f"{HUB}{encoder}" if is_folder else encoder,
                params=dict(encoder_params or {}),
                window_size=window_size,
                stride=stride,
                batch_size=batch_size,
                device=device,
            )
        _check_no_params(encoder_params)
        if encoder == "wordllama":
            return WordVectors()
        raise ValueError(
            f"TextEmbedder: unknown encoder {encoder!r}. Expected 'wordllama', "
            "'hf:ORG/NAME', a folder of Hugging Face, or a function of texts."
            f"{did_you_mean(encoder, _NAMES)}"
        )
    if callable(encoder) and not isinstance(encoder, type):
        _check_no_params(encoder_params)
        return CallableEncoder(encoder)
    raise TypeError(
        "TextEmbedder: encoder must be 'wordllama', 'hf:ORG/NAME', a folder or a "
        f"function from a list of texts to an array, got {type(encoder).__name__}."
    )


def is_fixed(encoder: Any) -> bool:
    """Return whether the name of an encoder says which vectors it returns.

    Files in a folder and the state of a function can change without a change of the
    parameter.
    """
    if not isinstance(encoder, str):
        return False
    return not os.path.isdir(encoder.removeprefix(HUB))


def _check_no_params(params: Any) -> None:
    if params:
        raise ValueError(
            f"TextEmbedder: encoder_params has {len(params)} entries, but only "
            "encoders of Hugging Face ('hf:ORG/NAME' or a folder) take any. Use None."
        )
