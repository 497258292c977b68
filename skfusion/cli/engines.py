"""The engine of each column of images, which a command chooses and says."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from skfusion._dependencies import require
from skfusion.cli.console import say

if TYPE_CHECKING:
    from skfusion import ImageEmbedder

__all__ = ["engine_asked_for", "settle_engine"]


def engine_asked_for(
    settings: Mapping[str, Any], params: Mapping[str, Any]
) -> str | None:
    """Return the engine that the settings name for a modality, None for ``"auto"``.

    Parameters
    ----------
    settings : mapping of str to object
        Settings of the command.
    params : mapping of str to object
        Parameters of the modality in the file of settings, which come first.

    Returns
    -------
    str or None

    Examples
    --------
    >>> from skfusion.cli.engines import engine_asked_for
    >>> engine_asked_for({"engine": "torch"}, {"engine": "openvino"})
    'openvino'
    >>> engine_asked_for({"engine": "auto"}, {}) is None
    True
    """
    engine = params.get("engine", settings.get("engine", "auto"))
    return None if engine == "auto" else engine


def settle_engine(name: str, embedder: ImageEmbedder, cells: Any) -> None:
    """Choose the engine of a modality, set it, and say so if it is not usual.

    Parameters
    ----------
    name : str
        Name of the modality.
    embedder : ImageEmbedder
        Embedder, whose parameter `engine` is set.
    cells : Series of shape (n_samples,)
        Images of all rows.
    """
    from skfusion.image.embedding.engine_choice import choose_engine

    choice = choose_engine(embedder, cells)
    embedder.set_params(engine=choice.engine)
    if choice.is_fallback:
        say(f"{name}: torch computes the embeddings, because {choice.reason}")
    if choice.engine == "openvino":
        version = require("openvino", "openvino").__version__.partition("-")[0]
        how_near = ""
        if choice.difference is not None:
            how_near = f", to a relative difference of {choice.difference:.0e}"
        say(
            f"{name}: OpenVINO {version} computes the embeddings, because "
            f"{choice.reason}. They are those of torch{how_near}, and have keys of "
            "their own in the store. --engine torch uses torch instead."
        )
