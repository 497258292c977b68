"""Mean outputs of tree ensembles over a background, without mixed rows.

A leaf is reached by a mixed row if each modality fulfils the conditions on the path to
the leaf that compare its features. Which modalities of a row do so is a set, and one
pass of a row through all trees finds the sets of all leaves. A case in coalition S,
mixed with a background row, reaches a leaf if the set of the case contains S and that
of the background row contains the other modalities. The raw scores of all pairs of
cases and background rows are then one matrix product per coalition. Where the output
is the raw score, background rows can be averaged before the product.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from copy import copy
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from skfusion.fusion.early.base import BaseEarlyFusion, with_learner
from skfusion.inspection.modalities.withheld.mixing import CHUNK_BYTES, CHUNK_ROWS
from skfusion.inspection.modalities.withheld.tree_ensembles import (
    TreeEnsemble,
    TreeLearner,
    read_trees,
)
from skfusion.inspection.models import (
    LARGEST_LOG_ODDS,
    FusionModel,
    JoinedRows,
    Parts,
    Question,
    TableModel,
)
from skfusion.inspection.wrapped import WrappedFusion

__all__ = ["leaf_sets", "tree_means"]


# Learners add up in single precision, and round predictions to it.
LARGEST_GAP = 1e-5
LARGEST_SINGLE_LOG_ODDS = 15.0

# A set of modalities is one integer.
MOST_MODALITIES = 64

# Reading the trees takes as long as predicting about as many rows.
FEWEST_ROWS = 20_000
MOST_BYTES = 4 * CHUNK_BYTES

# Nanoseconds that a pair of rows takes per leaf of the product and per level of a tree
# of the learner, and those of a case per leaf, whatever the number of pairs.
PAIR_TIME, LEVEL_TIME, CASE_TIME = 0.05, 5.0, 2.0


def tree_means(
    model: FusionModel | TableModel,
    parts: Parts,
    background: Parts,
    coalitions: np.ndarray,
    ask: Callable[[Any], np.ndarray],
    full: np.ndarray,
    other: np.ndarray,
) -> np.ndarray | None:
    """Average the output of a tree ensemble over background values, if possible.

    Parameters
    ----------
    model : FusionModel or TableModel
        The model.
    parts : dict of str to array of n rows
        The encoded modalities of the cases.
    background : dict of str to array of K rows
        The encoded modalities of the background cases.
    coalitions : ndarray of bool of shape (n_coalitions, M)
        The modalities that are taken from the case.
    ask : callable
        Maps encoded modalities to outputs (n, C).
    full, other : ndarray of shape (n, C) and (K, C)
        Outputs of the cases and of the background cases.

    Returns
    -------
    ndarray of float64 of shape (n_coalitions, n, C) or None
        The mean outputs. They differ from those of mixed rows by rounding errors of the
        sums over the trees. None if the learner has no trees of a known kind, if its
        predictions of the cases are not the sums over its trees, or if the trees have
        so many leaves that mixed rows are faster.
    """
    n_coalitions, n_modalities = coalitions.shape
    if len(full) * len(other) * n_coalitions < FEWEST_ROWS:
        return None
    if not isinstance(ask, Question) or n_modalities > MOST_MODALITIES:
        return None
    game = _read_game(model, parts, background, ask)
    if game is None or not game.reproduces(full, other):
        return None
    averaged = game.is_sum()
    if not game.is_affordable(averaged):
        return None
    return game.means(coalitions, averaged)


@dataclass(frozen=True)
class _Game:
    """Trees, with the cases and the background rows as their input.

    Attributes
    ----------
    learner : TreeLearner
        The trees.
    base : ndarray of float64 of shape (C,)
        Raw score besides the trees.
    ask : Question
        Asks for outputs of raw scores, which are the matrix of `JoinedRows`.
    own, other : JoinedRows of n and K rows
        The cases and the background rows.
    owners : ndarray of int of shape (n_features,)
        Number of the modality of each feature.
    """

    learner: TreeLearner
    base: np.ndarray
    ask: Question
    own: JoinedRows
    other: JoinedRows
    owners: np.ndarray

    def reproduces(self, full: np.ndarray, other: np.ndarray) -> bool:
        """Return whether the sums over the trees give the outputs of the model.

        Parameters
        ----------
        full, other : ndarray of shape (n, C) and (K, C)
            Outputs of the cases and of the background rows.
        """
        for rows, expected in ((self.own, full), (self.other, other)):
            scores = self.base + _whole_sums(self.learner.trees, rows.matrix)
            outputs = self._outputs(scores, rows.presence)
            if outputs.shape != expected.shape:
                return False
            allowed = LARGEST_GAP * np.maximum(1.0, np.abs(expected))
            if self._asks_for_log_odds():  # of rounded probabilities
                precision = np.finfo(self.learner.precision).eps
                allowed = allowed + 8 * precision * np.exp(np.abs(expected))
            with np.errstate(invalid="ignore"):  # of infinite predictions
                is_equal = np.abs(outputs - expected) <= allowed
            if not is_equal.all():
                return False
        return True

    def is_sum(self) -> bool:
        """Return whether the output of a mean raw score is the mean output."""
        model = self.ask.model
        if self.ask.scale == "custom":
            return False
        if isinstance(model, FusionModel):
            shared = self.own.presence.astype(int) @ self.other.presence.T.astype(int)
            if not (shared > 0).all():  # a row without modalities has the average
                return False
        if self.learner.link == "identity":
            return not self._asks_for_log_odds()
        if self.learner.link != "sigmoid" or not self._asks_for_log_odds():
            return False
        is_single = self.learner.precision is np.float32
        limit = LARGEST_SINGLE_LOG_ODDS if is_single else LARGEST_LOG_ODDS - 0.1
        return bool((_largest_sums(self.learner.trees, self.base) < limit).all())

    def is_affordable(self, averaged: bool) -> bool:
        """Return whether the sums take less time than predictions of mixed rows.

        They also need memory for each pair of a leaf and a background row.
        """
        trees, K = self.learner.trees, len(self.other)
        n_leaves = np.count_nonzero(trees.values[trees.leaves()])  # by output
        if 8 * n_leaves * K > MOST_BYTES:
            return False
        learner = LEVEL_TIME * K * len(trees.roots) * max(1, len(trees.levels()))
        per_leaf = CASE_TIME + (0.0 if averaged else PAIR_TIME * K)
        return bool(per_leaf * n_leaves < learner)

    def means(self, coalitions: np.ndarray, averaged: bool) -> np.ndarray:
        """Return the mean outputs of coalitions.

        Parameters
        ----------
        coalitions : ndarray of bool of shape (n_coalitions, M)
            The modalities that are taken from the case.
        averaged : bool
            Whether to average raw scores of background rows instead of their outputs.

        Returns
        -------
        ndarray of float64 of shape (n_coalitions, n, C)
        """
        trees, n_modalities = self.learner.trees, coalitions.shape[1]
        outside = leaf_sets(trees, self.other.matrix, self.owners, n_modalities)
        n_leaves, K = outside.shape
        most = CHUNK_BYTES // (8 * n_leaves)
        step = max(1, most if averaged else min(most, CHUNK_ROWS // K))
        found: list[np.ndarray] = []
        for cases in _slices(len(self.own), 8 * most // outside.itemsize):
            matrix, presence = self.own.matrix[cases], self.own.presence[cases]
            inside = leaf_sets(trees, matrix, self.owners, n_modalities)
            chunk = []
            for members in coalitions:
                within, away = _codes(members, outside.dtype)
                factors = self._factors(_contains(outside, away), averaged)
                means = []
                for rows in _slices(len(matrix), step):
                    scores = self.base.astype(factors[0][1].dtype) + np.stack(
                        [
                            _contains(inside[leaves, rows], within).astype(side.dtype).T
                            @ side
                            for leaves, side in factors
                        ],
                        axis=2,
                    )
                    there = presence[rows][:, None]
                    if not averaged:
                        there = np.where(members, there, self.other.presence)
                    flat = (part.reshape(-1, part.shape[2]) for part in (scores, there))
                    outputs = self._outputs(*flat)
                    means.append(outputs.reshape(*scores.shape[:2], -1).mean(axis=1))
                chunk.append(np.concatenate(means))
            found.append(np.array(chunk))
        return np.concatenate(found, axis=1)

    def _factors(
        self, reachable: np.ndarray, averaged: bool
    ) -> list[tuple[Any, np.ndarray]]:
        """Return the leaves of each output, and what background rows add there.

        Parameters
        ----------
        reachable : ndarray of bool of shape (n_leaves, K)
            Whether a background row fulfils its conditions.
        averaged : bool
            Whether to average the background rows.

        Returns
        -------
        list of (ndarray of int or slice, ndarray of shape (n_used, K))
            One pair per output. K is 1 if background rows are averaged.
        """
        trees = self.learner.trees
        found: list[tuple[Any, np.ndarray]] = []
        is_used = reachable.any(axis=1)
        for values in trees.values[trees.leaves()].T:
            leaves: Any = np.flatnonzero(is_used & (values != 0))
            if 2 * len(leaves) > len(values):
                leaves = slice(None)  # faster than a selection of most of them
            if averaged:
                side = (values * reachable.mean(axis=1))[leaves, None]
            else:
                side = values[leaves, None].astype(self.learner.precision)
                side = side * reachable[leaves]
            found.append((leaves, side))
        return found

    def _outputs(self, scores: np.ndarray, presence: np.ndarray) -> np.ndarray:
        return self.ask(JoinedRows(scores, presence, self.own.columns))

    def _asks_for_log_odds(self) -> bool:
        return self.ask.scale == "link" and self.ask.model.kind in ("classes", "labels")


def leaf_sets(
    trees: TreeEnsemble, X: np.ndarray, owners: np.ndarray, n_modalities: int
) -> np.ndarray:
    """Return which modalities of a row fulfil the conditions on the path to a leaf.

    Parameters
    ----------
    trees : TreeEnsemble
        The trees.
    X : ndarray of shape (n, n_features)
        Rows.
    owners : ndarray of int of shape (n_features,)
        Number of the modality of each feature.
    n_modalities : int
        Number of modalities, M, at most 64.

    Returns
    -------
    ndarray of unsigned int of shape (n_leaves, n)
        Bit m is set if modality m of the row fulfils all conditions on its features. A
        modality without conditions fulfils them.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.tree import DecisionTreeRegressor
    >>> from skfusion.inspection.modalities.withheld.tree_ensembles import read_trees
    >>> from skfusion.inspection.modalities.withheld.tree_sums import leaf_sets
    >>> X = np.array([[0, 0], [0, 1], [1, 0], [1, 1]])
    >>> trees = read_trees(DecisionTreeRegressor().fit(X, [0, 1, 5, 9])).trees
    >>> trees.values[trees.leaves()].ravel().tolist()
    [0.0, 1.0, 5.0, 9.0]
    >>> leaf_sets(trees, X[:1], np.array([0, 1]), 2).ravel().tolist()
    [3, 1, 2, 0]
    """
    kind = np.min_scalar_type((1 << n_modalities) - 1)
    leaves, levels = trees.leaves(), trees.levels()
    bits = np.left_shift(kind.type(1), owners.astype(kind))[trees.feature]
    found = np.empty((len(leaves), len(X)), dtype=kind)
    for rows in _slices(len(X), CHUNK_BYTES // (8 * len(trees.left))):
        columns = np.ascontiguousarray(trees.as_input(X[rows]).T)
        sets = np.full(
            (len(trees.left), columns.shape[1]), kind.type(-1 + (1 << n_modalities))
        )
        for nodes in levels:
            values, threshold = columns[trees.feature[nodes]], trees.threshold[nodes]
            compare = np.less_equal if trees.equal_left else np.less
            left = compare(values, threshold[:, None])
            left |= np.isnan(values) & trees.missing_left[nodes][:, None]
            whole = sets[nodes]
            rest = whole & ~bits[nodes][:, None]
            sets[trees.left[nodes]] = np.where(left, whole, rest)
            sets[trees.right[nodes]] = np.where(left, rest, whole)
        found[:, rows] = sets[leaves]
    return found


def _whole_sums(trees: TreeEnsemble, X: np.ndarray) -> np.ndarray:
    """Return the sums over the trees (n, C) for rows that are not mixed."""
    everything = np.zeros(X.shape[1], dtype=int)
    values = trees.values[trees.leaves()]
    found = []
    for rows in _slices(len(X), CHUNK_BYTES // (8 * len(values))):
        reached = leaf_sets(trees, X[rows], everything, 1)
        found.append(reached.T.astype(np.float64) @ values)
    return np.concatenate(found)


def _largest_sums(trees: TreeEnsemble, base: np.ndarray) -> np.ndarray:
    """Return a bound of the size of raw scores (C,) of any row."""
    leaves = trees.leaves()
    starts = np.searchsorted(leaves, trees.roots)
    values = trees.values[leaves]
    highest = np.maximum.reduceat(values, starts).sum(axis=0)
    lowest = np.minimum.reduceat(values, starts).sum(axis=0)
    return np.maximum(highest + base, -lowest - base)


def _codes(members: np.ndarray, kind: np.dtype) -> tuple[Any, Any]:
    """Return the modalities of a coalition, and the others, as integers."""
    own, other = (
        kind.type(sum(1 << int(j) for j in np.flatnonzero(part)))
        for part in (members, ~members)
    )
    return own, other


def _contains(sets: np.ndarray, code: Any) -> np.ndarray:
    return (sets & code) == code


def _slices(length: int, step: int) -> Iterator[slice]:
    for start in range(0, length, max(1, step)):
        yield slice(start, min(start + max(1, step), length))


def _read_game(
    model: FusionModel | TableModel, parts: Parts, background: Parts, ask: Question
) -> _Game | None:
    """Return the trees of a model with its input, None if they are not known."""
    if isinstance(model, WrappedFusion):
        return None
    as_input: Callable[[Any], Any]
    if isinstance(model, TableModel):
        fusion, estimator, as_input = None, model.estimator, model.table
    elif isinstance(model.estimator, BaseEarlyFusion):
        fusion = model.estimator
        estimator, as_input = fusion.estimator_, fusion.join_encoded
    else:
        return None
    learner = read_trees(estimator)
    own, other = (_rows_of(model, table) for table in (parts, background))
    if learner is None or own is None or other is None:
        return None
    owners = np.full(own.matrix.shape[1], -1)
    for number, name in enumerate(model.modalities):
        for part in own.columns[name]:
            owners[part] = number
    compared = [learner.trees.feature[nodes] for nodes in learner.trees.levels()]
    if any((owners[features] < 0).any() for features in compared):
        return None
    inputs = [as_input(table) for table in (parts, background)]
    base = _constant(learner, inputs, [own.matrix, other.matrix])
    if base is None:
        return None
    shadow = copy(model)
    by_scores = learner.of_scores
    shadow.estimator = by_scores if fusion is None else with_learner(fusion, by_scores)
    return _Game(learner, base, replace(ask, model=shadow), own, other, owners)


def _rows_of(model: FusionModel | TableModel, parts: Parts) -> JoinedRows | None:
    """Return the input of a learner as an array, None if it has other than numbers."""
    if isinstance(model, FusionModel):
        return model.join(parts)
    table = model.table(parts)
    if isinstance(table, pd.DataFrame):
        kinds = [getattr(kind, "numpy_dtype", kind) for kind in table.dtypes]
    else:
        kinds = [table.dtype]
    if not all(isinstance(kind, np.dtype) and kind.kind in "biuf" for kind in kinds):
        return None
    if isinstance(table, pd.DataFrame):
        table = table.to_numpy(dtype=np.float64, na_value=np.nan)
    columns = {name: [part] for name, part in model.table_columns(parts).items()}
    there = np.ones((len(table), len(model.modalities)), dtype=bool)
    return JoinedRows(table, there, columns)


def _constant(
    learner: TreeLearner, inputs: list[Any], matrices: list[np.ndarray]
) -> np.ndarray | None:
    """Return what raw scores contain besides the trees, None if it is no constant."""
    pairs = [
        (learner.scores(X), _whole_sums(learner.trees, matrix))
        for X, matrix in zip(inputs, matrices, strict=True)
    ]
    if any(scores.shape != sums.shape for scores, sums in pairs):
        return None
    rest = np.concatenate([scores - sums for scores, sums in pairs])
    base = np.median(rest, axis=0)
    allowed = LARGEST_GAP * np.maximum(1.0, _largest_sums(learner.trees, base))
    is_constant = (np.abs(rest - base) <= allowed).all()
    return np.asarray(base) if is_constant else None
