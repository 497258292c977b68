"""Engines and precisions of inference, which need no network to be known."""

from __future__ import annotations

from typing import Any

from skfusion._dependencies import require
from skfusion._validation import check_option

__all__ = ["ENGINES", "PRECISIONS", "check_engine", "engine_key"]


ENGINES = ("torch", "openvino")
PRECISIONS = ("auto", "float32", "bfloat16")


def check_engine(owner: str, engine: Any, precision: Any) -> None:
    """Check the engine and precision, with the estimator name `owner` in messages.

    Raises
    ------
    ValueError
        If `engine` or `precision` is unknown.
    ImportError
        If OpenVINO is requested but not installed.
    """
    for name, value, allowed in (
        ("engine", engine, ENGINES),
        ("precision", precision, PRECISIONS),
    ):
        check_option(value, name, allowed, owner)
    if engine == "openvino":
        require("openvino", "openvino")


def engine_key(engine: str, precision: str) -> str:
    """Return the non-default engine and precision as a part of store keys.

    Embeddings of different engines or precisions are stored under different keys.

    Examples
    --------
    >>> from skfusion.image.networks.engines import engine_key
    >>> engine_key("torch", "auto"), engine_key("torch", "bfloat16")
    ('', ' torch bfloat16')
    """
    precision = "float32" if precision == "auto" else precision
    is_default = (engine, precision) == ("torch", "float32")
    return "" if is_default else f" {engine} {precision}"
