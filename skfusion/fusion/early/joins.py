"""Joins of early fusion: concatenation and pooling of feature blocks.

A new join is a class with the methods of `Pool`, an entry of `OPTIONS` and a line in
`make_join`. The gated unit is in `skfusion.fusion.early.gated_unit`, because it needs
torch.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, clone

from skfusion._dependencies import TORCH_PACKAGES, named_extra
from skfusion._fitting.state import undone_on_failure
from skfusion._validation import check_option, did_you_mean, is_every_row
from skfusion.blocks import Blocks, check_finite_block

__all__ = ["Concatenation", "OPTIONS", "Pool", "check_joined", "make_join", "stacked"]


# Keys that `join_params` may contain for each join.
OPTIONS: dict[str, tuple[str, ...]] = {
    "concat": (),
    "pool": ("pooling",),
    "gated": ("n_units", "weight_decay", "max_iter"),
}
POOLINGS = ("mean", "max", "min", "sum")
CHUNK_ROWS = 4_096


def make_join(join: Any, params: Mapping[str, Any] | None, owner: str) -> Any:
    """Return the unfitted join that the parameter `join` selects.

    Parameters
    ----------
    join : str or join object
        A key of `OPTIONS`, or an object with the methods ``fit``, ``transform`` and
        ``get_feature_names_out`` of `Pool`. An object is cloned.
    params : mapping or None
        Options of a named join.
    owner : str
        Name of the estimator, for error messages.

    Returns
    -------
    join object

    Raises
    ------
    ValueError
        If the join or an option is unknown.
    TypeError
        If `join` is neither a name nor a join object.

    Examples
    --------
    >>> from skfusion.fusion.early.joins import make_join
    >>> make_join("pool", {"pooling": "max"}, "EarlyFusionClassifier")
    Pool(pooling='max')
    """
    given = dict(params or {})
    if not isinstance(join, str):
        needed = ("fit", "transform", "get_feature_names_out", "get_params")
        lacking = [name for name in needed if not hasattr(join, name)]
        if isinstance(join, type) or lacking:
            raise TypeError(
                f"{owner}: join must be a name or an object with "
                f"{', '.join(needed)} (see skfusion.fusion.early.joins.Pool), got "
                f"{join if isinstance(join, type) else type(join).__name__}."
            )
        if given:
            raise ValueError(
                f"{owner}: join_params are the options of a named join. Set the "
                f"parameters of the given {type(join).__name__} directly."
            )
        return clone(join)
    check_option(join, "join", OPTIONS, owner, also="a join object")
    for option in given:
        if option not in OPTIONS[join]:
            raise ValueError(
                f"{owner}: join={join!r} has no option {option!r} in join_params."
                f"{did_you_mean(option, OPTIONS[join])} Its options are: "
                f"{', '.join(OPTIONS[join]) or 'none'}."
            )
    if join == "gated":
        with named_extra(TORCH_PACKAGES, "torch", f"{owner}(join={join!r})"):
            from skfusion.fusion.early.gated_unit import GatedUnit

        return GatedUnit(**given)
    return Pool(**given) if join == "pool" else Concatenation()


def check_joined(joined: Any, n_rows: int, join: Any, owner: str) -> np.ndarray:
    """Return the output of a join after checking that it has one row per case."""
    joined = np.asarray(joined)
    if joined.ndim != 2 or len(joined) != n_rows or joined.dtype.kind != "f":
        raise ValueError(
            f"{owner}: the join {type(join).__name__} must return one row of floats "
            f"per case, ({n_rows}, n_features), got {joined.shape} of {joined.dtype}."
        )
    return joined


def stacked(
    arrays: dict[str, np.ndarray],
    sources: np.ndarray,
    presence: np.ndarray,
    flags: np.ndarray,
    *,
    in_float32: bool = False,
    names: Mapping[str, Any] | None = None,
) -> np.ndarray:
    """Write blocks, the copies of their rows and flags into one matrix.

    Nothing but the matrix is allocated, and a block is released when it is written, so
    that the features are in memory once.

    Parameters
    ----------
    arrays : dict of str to ndarray of shape (n_rows, n_features_m)
        One block per modality. The blocks are removed from it.
    sources : ndarray of int of shape (n_samples,)
        Row of the blocks of each row of the matrix. The rows of absence copies are
        behind all others.
    presence : ndarray of bool of shape (n_samples, M)
        Presence of each modality. The others are NaN.
    flags : ndarray of shape (n_samples, n_flags)
        Last columns of the matrix.
    in_float32 : bool, default=False
        Whether the matrix is float32. Otherwise it has the widest type of the blocks.
    names : mapping of str to array of str, or None, default=None
        Names of the features, for an error about numbers beyond float32.

    Returns
    -------
    ndarray of shape (n_samples, n_features + n_flags)

    Raises
    ------
    ValueError
        If a number is beyond float32 and the matrix is float32.

    Examples
    --------
    >>> import numpy as np
    >>> from skfusion.fusion.early.joins import stacked
    >>> blocks = {"ct": np.array([[1.0], [2.0]]), "ehr": np.array([[5.0], [6.0]])}
    >>> presence = np.array([[True, True], [True, True], [False, True]])
    >>> stacked(blocks, np.array([0, 1, 1]), presence, presence[:, :1])
    array([[ 1.,  5.,  1.],
           [ 2.,  6.,  1.],
           [nan,  6.,  0.]])
    """
    kind = np.float32 if in_float32 else np.result_type(*arrays.values())
    n_originals = len(np.unique(sources))
    width = sum(block.shape[1] for block in arrays.values())
    matrix = np.empty((len(sources), width + flags.shape[1]), dtype=kind)
    matrix[:, width:] = flags
    start = 0
    for j, name in enumerate(list(arrays)):
        block = arrays.pop(name)
        out = matrix[:, start : start + block.shape[1]]
        start += block.shape[1]
        with np.errstate(over="ignore"):  # see below
            _write_rows(block, sources, presence[:, j], out)
        if block.dtype != kind:
            try:
                check_finite_block(
                    out[:n_originals],
                    () if names is None else names[name],
                    sources[:n_originals],
                )
            except ValueError as error:
                raise ValueError(f"In modality {name!r}: {error}") from None
    return matrix


def _write_rows(
    block: np.ndarray, sources: np.ndarray, present: np.ndarray, out: np.ndarray
) -> None:
    """Write rows of a block, and NaN for absent ones, some thousand at a time."""
    for first in range(0, len(sources), CHUNK_ROWS):
        chunk = slice(first, first + CHUNK_ROWS)
        rows = sources[chunk]
        start = int(rows[0])
        is_run = is_every_row(rows - start, len(rows))
        out[chunk] = block[start : start + len(rows)] if is_run else block[rows]
        absent = ~present[chunk]
        if absent.any():
            out[chunk][absent] = np.nan


class Concatenation(BaseEstimator):
    """Concatenation of the feature blocks, where an absent block is NaN.

    Examples
    --------
    >>> import numpy as np
    >>> from skfusion.blocks import Blocks
    >>> from skfusion.fusion.early.joins import Concatenation
    >>> blocks = Blocks({"ct": np.ones((1, 2)), "ehr": np.zeros((1, 1))},
    ...                 np.array([[True, True]]))
    >>> join = Concatenation().fit(blocks, names={"ct": ["a", "b"], "ehr": ["age"]})
    >>> join.transform(blocks), join.get_feature_names_out().tolist()
    (array([[1., 1., 0.]]), ['ct__a', 'ct__b', 'ehr__age'])
    """

    @undone_on_failure
    def fit(
        self,
        blocks: Blocks,
        y: np.ndarray | None = None,
        *,
        names: Mapping[str, Any],
        **learning: Any,
    ) -> Concatenation:
        """Store the names of the features.

        Parameters
        ----------
        blocks : Blocks
            One block per modality.
        y : ndarray of n_samples rows or None, default=None
            Ignored.
        names : mapping of str to array of str
            Names of the features of each block.
        **learning : any
            Ignored: the target, the weights and the generator.

        Returns
        -------
        self
            The fitted join.
        """
        self._names = [f"{name}__{x}" for name in blocks.arrays for x in names[name]]
        return self

    def transform(self, blocks: Blocks) -> np.ndarray:
        """Return the concatenated blocks.

        Parameters
        ----------
        blocks : Blocks
            One block per modality.

        Returns
        -------
        ndarray of shape (n_samples, n_features)
        """
        return np.hstack(list(blocks.arrays.values()))

    def get_feature_names_out(self) -> np.ndarray:
        """Return ``modality__feature`` for every feature."""
        return np.asarray(self._names, dtype=object)


class Pool(BaseEstimator):
    """Feature-wise pooling of equally wide blocks over the modalities present.

    The first features of all modalities become one feature, and so on. Features at the
    same position should therefore have the same meaning, such as one measurement in
    two scans. Pooling discards interactions between modalities.

    Parameters
    ----------
    pooling : {"mean", "max", "min", "sum"}, default="mean"
        Statistic of the values that are present.

    Examples
    --------
    >>> import numpy as np
    >>> from skfusion.blocks import Blocks
    >>> from skfusion.fusion.early.joins import Pool
    >>> blocks = Blocks({"left": np.array([[1.0, 5.0], [np.nan, np.nan]]),
    ...                  "right": np.array([[3.0, 4.0], [7.0, 8.0]])},
    ...                 np.array([[True, True], [False, True]]))
    >>> Pool("max").fit(blocks).transform(blocks)
    array([[3., 5.],
           [7., 8.]])
    """

    def __init__(self, pooling: str = "mean") -> None:
        self.pooling = pooling

    @undone_on_failure
    def fit(self, blocks: Blocks, y: np.ndarray | None = None, **learning: Any) -> Pool:
        """Check that the blocks are equally wide.

        Parameters
        ----------
        blocks : Blocks
            One block per modality.
        y : ndarray of n_samples rows or None, default=None
            Ignored.
        **learning : any
            Ignored: the target, the weights, the generator, the names.

        Returns
        -------
        self
            The fitted join.

        Raises
        ------
        ValueError
            If the widths differ, or `pooling` is unknown.
        """
        check_option(self.pooling, "pooling", POOLINGS, "Pool")
        widths = {name: block.shape[1] for name, block in blocks.arrays.items()}
        if len(set(widths.values())) > 1:
            found = ", ".join(f"{name} has {width}" for name, width in widths.items())
            raise ValueError(
                "join='pool' needs the same number of features in every modality, but "
                f"{found}. Reduce the wide modalities to the same number of features, "
                f"e.g. by PCA({min(widths.values())}) as the last step of their "
                "Pipelines, or use join='concat' or 'gated', which support any width."
            )
        self._width = next(iter(widths.values()))
        return self

    def transform(self, blocks: Blocks) -> np.ndarray:
        """Return the pooled features.

        Parameters
        ----------
        blocks : Blocks
            One block per modality.

        Returns
        -------
        ndarray of shape (n_samples, n_features)
            Pooled features, NaN where no modality has a value.
        """
        stacked = np.stack(list(blocks.arrays.values()))  # (M, n_samples, n_features)
        if self.pooling == "max":
            return np.fmax.reduce(stacked)
        if self.pooling == "min":
            return np.fmin.reduce(stacked)
        count = (~np.isnan(stacked)).sum(axis=0)
        total = np.where(count > 0, np.nansum(stacked, axis=0), np.nan)
        return total / np.maximum(count, 1) if self.pooling == "mean" else total

    def get_feature_names_out(self) -> np.ndarray:
        """Return ``joined0``, ``joined1`` and so on."""
        return np.asarray([f"joined{i}" for i in range(self._width)], dtype=object)
