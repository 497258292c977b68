"""Batched encoding of image columns by a network, with an embedding store.

Each distinct image is read once, and only if the store does not contain its result.
Threads read ahead while the network computes.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

import numpy as np
import torch
from torch import Tensor, nn

from skfusion._progress import progress
from skfusion.exceptions import LostImagesWarning, warn_user
from skfusion.image.cells.column import ImageColumn, ahead
from skfusion.image.cells.volumes import Reading, pool_slices
from skfusion.image.embedding.lookup import Lookup, look_up
from skfusion.image.networks.folding import name_of
from skfusion.image.networks.inference import (
    Network,
    OpenVINONetwork,
    make_network,
    resolve_device,
)
from skfusion.image.networks.preprocessing import Preprocessing, VolumePreprocessing
from skfusion.image.reading.files import ImageReadError
from skfusion.image.reading.read import content_digest
from skfusion.store.embedding_store import EmbeddingStore, Work, missing_from

__all__ = ["encode_cells"]


T = TypeVar("T")

_READING = Reading()
#: Shape of the output for one image, by network and preprocessing.
_SHAPES: WeakKeyDictionary[nn.Module, dict[Any, tuple[int, ...]]] = WeakKeyDictionary()
_BATCHES_PER_LEASE = 4  # largest loss of work if a process is killed


def encode_cells(
    cells: Iterable[Any],
    module: nn.Module,
    preprocessing: Preprocessing | VolumePreprocessing,
    fingerprint: str,
    *,
    store: EmbeddingStore | None = None,
    batch_size: int = 32,
    reading: Reading = _READING,
    device: str | torch.device = "auto",
    n_jobs: int | None = None,
    on_error: str = "raise",
    verbose: int = 0,
    column: object = None,
    engine: str = "torch",
    precision: str = "auto",
    fold: bool = True,
    positions: np.ndarray | None = None,
    lookup: Lookup | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Apply a network to a column of images, with results kept in a store.

    Images of equal content are computed once. The result for an image does not depend
    on the other images, except for rounding in the last digits.

    Parameters
    ----------
    cells : iterable of n cells
        Inputs of `skfusion.read_image`, or missing values.
    module : torch.nn.Module
        Network in evaluation mode, from (B, 3, H, W) to (B, *shape). It is a backbone,
        or the trunk of a split backbone.
    preprocessing : Preprocessing or VolumePreprocessing
        Preprocessing for the weights of the network. `VolumePreprocessing` passes whole
        volumes to the network.
    fingerprint : str
        Identifier of network, cut and preprocessing in the store, and of the prepared
        network in this process. Empty if the network has no identifier; there must be
        no store then.
    store : EmbeddingStore or None, default=None
        Store of the results. None computes every distinct image.
    batch_size : int, default=32
        Number of images per forward pass, at most 4 on a CPU, where this is fastest.
    reading : Reading, default=Reading()
        Options for the conversion of a cell to planes, and for the pooling of the
        planes of a volume. They are part of the keys of the store.
    device : str or torch.device, default="auto"
        ``"auto"`` selects CUDA, then MPS, then the CPU.
    n_jobs : int or None, default=None
        Number of threads that read images ahead of the network. None is 1 outside a
        `joblib.parallel_config` context.
    on_error : {"raise", "missing"}, default="raise"
        ``"missing"`` treats images that are unreadable, or whose output is not finite,
        as absent, with a warning for each of the two.
    verbose : int, default=0
        If positive, show the progress on standard error.
    column : object, default=None
        Label of the column, used in messages.
    engine, precision : str
        As in `skfusion.image.networks.inference.make_network`. They are part of the
        keys of the store.
    fold : bool, default=True
        Whether batch norms are folded into the preceding convolutions, which is faster
        and rounds differently.
    positions : ndarray of shape (n,) or None, default=None
        Row positions of the cells in the user's table, used in messages.
    lookup : Lookup or None, default=None
        Result of `look_up` for the same arguments, if it is known.

    Returns
    -------
    values : ndarray of shape (n, *shape), float32
        NaN in the rows without an image.
    presence : ndarray of shape (n,), bool
        True where the image is present and readable.

    Raises
    ------
    ImageReadError
        If an image cannot be read and `on_error` is ``"raise"``. The message gives the
        column and the row position.
    TypeError
        If a cell cannot be an image.
    ValueError
        If `module` is in training mode, `device` is not available, or the network
        returns NaN or infinity for an image and `on_error` is ``"raise"``.

    Examples
    --------
    >>> import numpy as np
    >>> from skfusion.image.networks.backbones import build_backbone
    >>> from skfusion.image.embedding.encode import encode_cells
    >>> net = build_backbone(input_size=32)
    >>> cells = [np.zeros((40, 30), dtype=np.uint8), None]
    >>> values, presence = encode_cells(
    ...     cells, net.module, net.preprocessing, net.fingerprint
    ... )
    >>> values.shape, presence
    ((2, 1280), array([ True, False]))
    """
    _check_evaluation_mode(module)
    lookup = lookup or look_up(
        cells,
        fingerprint,
        store=store,
        reading=reading,
        n_jobs=n_jobs,
        on_error=on_error,
        column=column,
        engine=engine,
        precision=precision,
        fold=fold,
        positions=positions,
    )
    images, rows_of = lookup.images, lookup.rows_of
    where = resolve_device(device)
    not_finite = _NotFinite(images, rows_of, module)
    chunk_size = _BATCHES_PER_LEASE * batch_size
    matrix = lookup.rows()
    with missing_from(
        store, rows_of, chunk_size=chunk_size, receive=matrix.receive
    ) as work:
        title = "Embed images" if column is None else f"Embed images of {column!r}"
        total = len(work.missing)
        with progress(total, verbose=verbose, title=title, unit="image") as advance:
            if work.missing:
                network = make_network(
                    module,
                    where,
                    batch_size,
                    engine=engine,
                    precision=precision,
                    fold=fold,
                    example=functools.partial(preprocessing.example, 2),
                    key=(fingerprint, preprocessing) if fingerprint else "",
                )
                pixels = functools.partial(
                    images.read_ahead,
                    _reader(lookup, reading, preprocessing, store),
                    rows_of=rows_of.__getitem__,
                    n_jobs=n_jobs,
                    n_ahead=2 * network.batch_size,
                )
                pooling = reading.slice_pooling
                _compute_missing(work, network, pixels, pooling, not_finite, advance)
    images.warn()
    not_finite.warn()
    values = matrix.filled(lambda: _shape_of_one(module, preprocessing))
    presence = images.presence()
    presence[not_finite.rows] = False
    return values, presence


def _reader(
    lookup: Lookup,
    reading: Reading,
    preprocessing: Preprocessing | VolumePreprocessing,
    store: EmbeddingStore | None,
) -> Callable[[str], Tensor]:
    """Return the function from a key to the pixels of its image."""

    def read(key: str) -> Tensor:
        cell = lookup.images.cells[lookup.rows_of[key][0]]
        pixels = _pixels(cell, reading, preprocessing)
        if store is not None:
            _check_unchanged(cell, key, store)
        return pixels

    return read


def _compute_missing(
    work: Work,
    network: Network | OpenVINONetwork,
    pixels: Callable[[list[str]], Iterator[tuple[str, Tensor]]],
    pooling: str | int,
    not_finite: _NotFinite,
    advance: Callable[[int], None],
) -> None:
    """Compute the arrays of all keys that are missing, and put them into the store."""
    encode = functools.partial(_encode_batch, network, pooling)
    for keys in work:
        batches = _batches(pixels(keys), network.batch_size)
        for encoded in _computed_ahead(network, encode, batches):
            work.collect(not_finite.checked(encoded))
            advance(len(encoded))


class _NotFinite:
    """Images for which the network returns NaN, the sign of an absent image, or inf."""

    def __init__(
        self, images: ImageColumn, rows_of: dict[str, list[int]], module: nn.Module
    ) -> None:
        self.rows: list[int] = []
        self._images, self._rows_of = images, rows_of
        self._name = name_of(module)

    def checked(self, arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Return the finite arrays, and note or refuse the others."""
        bad = [key for key, array in arrays.items() if not np.isfinite(array).all()]
        self.rows += [row for key in bad for row in self._rows_of[key]]
        if bad and self._images.on_error == "raise":
            raise ValueError(
                f"{self._message()} Check the network, or pass on_error='missing' to "
                "treat these images as missing."
            )
        return {key: array for key, array in arrays.items() if key not in bad}

    def warn(self) -> None:
        """Issue one warning with the number of images."""
        if self.rows:
            text = f"{self._message()} They are treated as missing and not stored."
            warn_user(text, LostImagesWarning)

    def _message(self) -> str:
        positions = self._images.positions[sorted(self.rows)].tolist()
        first = ", ".join(map(str, positions[:5])) + ", ..." * (len(positions) > 5)
        return (
            f"The network {self._name} returns NaN or infinity for {len(positions)} of "
            f"the {len(self._images.cells)} images of {self._images.place} (row "
            f"positions {first})."
        )


def _check_evaluation_mode(module: nn.Module) -> None:
    if any(part.training for part in module.modules()):
        raise ValueError(
            "The network is in training mode, where an embedding depends on the other "
            "images of its batch. Call module.eval() first."
        )


def _computed_ahead(
    network: Network | OpenVINONetwork,
    encode: Callable[[list[tuple[str, Tensor]]], dict[str, np.ndarray]],
    batches: Iterable[list[tuple[str, Tensor]]],
) -> Iterator[dict[str, np.ndarray]]:
    """Encode batches in order, with the number of threads of the network."""
    n_workers, one_core = network.n_workers, network.is_parallel
    for _, encoded in ahead(
        encode, batches, n_workers, n_workers + 1, one_core=one_core
    ):
        yield encoded.result()


def _encode_batch(
    network: Network | OpenVINONetwork,
    pooling: str | int,
    batch: list[tuple[str, Tensor]],
) -> dict[str, np.ndarray]:
    """Apply a network to the planes of a batch, and pool the planes of each image."""
    planes = torch.cat([pixels for _, pixels in batch])
    passes = [network(part) for part in planes.split(network.batch_size)]
    ends = np.cumsum([len(pixels) for _, pixels in batch])[:-1]
    parts = np.split(np.concatenate(passes), ends)
    return {
        key: pool_slices(part, pooling)
        for (key, _), part in zip(batch, parts, strict=True)
    }


def _shape_of_one(
    module: nn.Module, preprocessing: Preprocessing | VolumePreprocessing
) -> tuple[int, ...]:
    # A service asks again for each row without an image.
    shapes = _SHAPES.setdefault(module, {})
    if preprocessing not in shapes:
        with torch.inference_mode():
            shapes[preprocessing] = tuple(module(preprocessing.blank(1))[0].shape)
    return shapes[preprocessing]


def _pixels(
    cell: Any, reading: Reading, preprocessing: Preprocessing | VolumePreprocessing
) -> Tensor:
    """Read a cell as the planes of an image, or as one whole volume."""
    if isinstance(preprocessing, VolumePreprocessing):
        return preprocessing([reading.image(cell)])
    return preprocessing(reading.planes(cell))


def _check_unchanged(cell: Any, key: str, store: EmbeddingStore) -> None:
    """Raise an error if the digest of a file differs from the digest in its key."""
    if not isinstance(cell, str | os.PathLike):
        return
    if not key.endswith(content_digest(cell, store.digest_file)):
        raise ImageReadError(
            "The image file changed while it was being read. Run again when no process "
            "writes to it."
        )


def _batches(items: Iterable[T], size: int) -> Iterator[list[T]]:
    batch: list[T] = []
    for item in items:
        batch.append(item)
        if len(batch) == size:
            yield batch
            batch = []
    if batch:
        yield batch
