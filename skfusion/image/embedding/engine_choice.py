"""The engine that embeds a column of images soonest, given what is stored already."""

from __future__ import annotations

import platform
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from skfusion._dependencies import is_installed
from skfusion.image.cells.bags import unpack
from skfusion.image.cells.column import as_cells
from skfusion.image.embedding.embedder import ImageEmbedder
from skfusion.image.embedding.lookup import look_up
from skfusion.image.networks.engines import ENGINES
from skfusion.image.reading.files import is_missing
from skfusion.store.embedding_store import resolve_store

if TYPE_CHECKING:
    from skfusion.image.networks.backbones import Backbone

__all__ = ["EngineChoice", "choose_engine"]


# Images from which compiling a network takes less than OpenVINO saves. Measured on one
# core for efficientnet_lite0, resnet18, densenet121, convnext_tiny and vit_b_16:
# compiling takes 2 to 12 s, and OpenVINO saves 4 to 90 ms an image.
FEWEST_IMAGES = 500
# Largest relative difference from torch. That of efficientnet_lite0 was 3e-6 to 4e-6,
# and a much larger one is more than rounding.
LARGEST_DIFFERENCE = 1e-4
# Images that are looked up to find out which engine embedded a column.
SAMPLE = 512
# Share of stored embeddings by torch from which the others by torch take less time.
MOST = 0.5
# OpenVINO was measured on these processors only.
MACHINES = ("x86_64", "AMD64")


@dataclass(frozen=True)
class EngineChoice:
    """An engine, and why it was chosen.

    Attributes
    ----------
    engine : {"torch", "openvino"}
        The engine.
    reason : str
        Why, as a part of a sentence.
    difference : float or None
        For a network that OpenVINO compiled, the greatest difference of its outputs
        from those of torch, relative to the greatest output. None if no network was
        compiled.
    is_fallback : bool
        Whether torch was chosen because OpenVINO failed.
    """

    engine: str
    reason: str
    difference: float | None = None
    is_fallback: bool = False


def choose_engine(embedder: ImageEmbedder, X: Any) -> EngineChoice:
    """Choose the engine for all images of a column.

    Embeddings of different engines have different keys in a store, and one column is
    embedded by one engine. An engine that embedded most of the images in the store is
    chosen again. Otherwise, it is OpenVINO if it is installed, the embeddings are
    computed in float32 on an x86 processor, and so many are left that compiling the
    network pays. The network is compiled in that case, and is kept for `embedder`.

    Parameters
    ----------
    embedder : ImageEmbedder
        Embedder, whose parameter `engine` is ignored. It is not changed.
    X : one column of n images
        As in `ImageEmbedder.fit`.

    Returns
    -------
    EngineChoice

    Examples
    --------
    >>> import numpy as np
    >>> from skfusion import ImageEmbedder
    >>> from skfusion.image.embedding.engine_choice import choose_engine
    >>> images = [np.zeros((48, 64), dtype=np.uint8), None]
    >>> choose_engine(ImageEmbedder(input_size=32, store=None), images).engine
    'torch'
    """
    reason = _excluded(embedder)
    if reason:
        return EngineChoice("torch", reason)
    images = [cell for cell in unpack(as_cells(X)[0]).images if not is_missing(cell)]
    backbone = embedder.build()
    if backbone.not_stored:
        return EngineChoice("torch", backbone.not_stored)
    shares = {
        engine: _share_stored(embedder, backbone, engine, images) for engine in ENGINES
    }
    if shares["openvino"] == 1 > shares["torch"]:
        return EngineChoice("openvino", "it computed those in the store")
    if shares["openvino"] <= shares["torch"]:
        if shares["torch"] >= MOST:
            return EngineChoice("torch", "it computed those in the store")
        if len(images) * (1 - shares["torch"]) < FEWEST_IMAGES:
            reason = f"compiling the network pays from {FEWEST_IMAGES} images"
            return EngineChoice("torch", reason)
    return _compiled(embedder, backbone)


def _excluded(embedder: ImageEmbedder) -> str:
    """Return why OpenVINO is not considered, ``""`` if it is."""
    if not is_installed("openvino"):
        return "OpenVINO is not installed"
    if platform.machine() not in MACHINES:
        return f"OpenVINO was not measured on {platform.machine()}"
    if embedder.precision == "bfloat16":
        return "precision='bfloat16'"
    if resolve_store(embedder.store) is None:
        return "there is no store"
    from skfusion.image.networks.inference import resolve_device

    device = resolve_device(embedder.device).type
    return "" if device == "cpu" else f"the device is {device}"


def _share_stored(
    embedder: ImageEmbedder, backbone: Backbone, engine: str, images: Sequence[Any]
) -> float:
    """Return which share of a sample of the images an engine has embedded."""
    step = -(-len(images) // SAMPLE) or 1
    store = resolve_store(embedder.store)
    assert store is not None
    lookup = look_up(
        images[::step],
        backbone.fingerprint,
        store=store,
        reading=embedder.reading,
        n_jobs=embedder.n_jobs,
        on_error="missing",  # the embedder tells of them
        engine=engine,
        precision=embedder.precision,
    )
    found = store.get_many(lookup.rows_of)
    return len(found) / max(len(lookup.rows_of), 1)


def _compiled(embedder: ImageEmbedder, backbone: Backbone) -> EngineChoice:
    """Compile a network, and choose OpenVINO if its outputs are those of torch."""
    import torch

    from skfusion.image.networks.inference import OpenVINONetwork, make_network

    try:
        network = make_network(
            backbone.module,
            torch.device("cpu"),
            embedder.batch_size,
            engine="openvino",
            precision=embedder.precision,
            example=partial(backbone.preprocessing.example, 2),
            # The key of `encode_cells`, which finds the network by it.
            key=(backbone.fingerprint, backbone.preprocessing),
        )
    except (ValueError, ImportError, OSError, RuntimeError) as error:
        first = str(error).splitlines()[0] if str(error) else type(error).__name__
        return EngineChoice("torch", f"OpenVINO failed: {first}", is_fallback=True)
    assert isinstance(network, OpenVINONetwork)
    difference = network.difference
    if difference > LARGEST_DIFFERENCE:
        reason = f"the outputs of OpenVINO differ by {difference:.0e} from torch's"
        return EngineChoice("torch", reason, difference, is_fallback=True)
    return EngineChoice("openvino", "it is installed and faster", difference)
