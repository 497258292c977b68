"""Explanations as objects of shap, with what belongs to their cases.

This module imports shap. It is only imported where an object of shap is created, so the
games do not need shap.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
import pandas as pd
import shap

__all__ = ["FeatureExplanation", "ModalityShapExplanation"]


def _as_drawn(name: str) -> str:
    """Return a name that the plots of shap draw as it is.

    Matplotlib would take what is between two dollar signs for a formula.
    """
    return name.replace("$", r"\$") if name.count("$") > 1 else name


class _Tracked(shap.Explanation):
    """Explanation that knows which cases, features and outputs are left in it.

    Indexing and shap's own methods make copies, in which attributes of a subclass would
    be lost or would belong to other cases. The positions of what is left follow every
    index, so the attributes are taken by position on access.
    """

    def __init__(self, values: np.ndarray, **parts: Any) -> None:
        if parts.get("feature_names") is not None:
            parts["feature_names"] = [_as_drawn(n) for n in parts["feature_names"]]
        super().__init__(values, **parts)
        self._positions = [np.arange(size) for size in values.shape]
        #: The axes that are left. An integer index removes one.
        self._axes = list(range(values.ndim))

    def __copy__(self) -> Any:
        # The method of shap returns a plain shap.Explanation, and fails on the values
        # of one case and one of several outputs.
        copied = type(self).__new__(type(self))
        copied.__dict__.update(self.__dict__)
        parts = {**self._s._objects, **self._s._aliases}
        # An operation that data do not support sets them to None, without axes.
        parts = {k: None if part.o is None else part for k, part in parts.items()}
        copied._s = type(self._s).from_slicer(**parts)
        copied.op_history = list(self.op_history)
        copied._positions, copied._axes = list(self._positions), list(self._axes)
        return copied

    def __getitem__(self, item: Any) -> Any:
        indices = self._indices_of(item)
        found = super().__getitem__(tuple(indices))
        positions, axes = list(self._positions), []
        for axis, index in zip(self._axes, indices, strict=True):
            kept = positions[axis][index]
            if kept.ndim:
                axes.append(axis)
            positions[axis] = np.atleast_1d(kept)
        found._positions, found._axes = positions, axes
        return found

    def _indices_of(self, item: Any) -> list[Any]:
        """Return one index of positions for each axis that is left."""
        given = list(item) if isinstance(item, tuple) else [item]
        if len([index for index in given if index is not Ellipsis]) > len(self._axes):
            raise IndexError(
                f"Got {len(given)} indices, but the explanation has {len(self._axes)} "
                "axes: cases, modalities or features, and outputs if several."
            )
        at = next((i for i, index in enumerate(given) if index is Ellipsis), len(given))
        n_filled = len(self._axes) - len(given) + (at < len(given))
        given[at : at + 1] = [slice(None)] * n_filled
        return [
            self._index_of(index, axis)
            for index, axis in zip(given, self._axes, strict=True)
        ]

    def _index_of(self, index: Any, axis: int) -> Any:
        """Return an index of names, or of shap's own kinds, as one of positions."""
        if hasattr(index, "apply") and not isinstance(index, (pd.Series, pd.DataFrame)):
            index = index.apply(self)  # an operation such as shap.Explanation.abs
        if isinstance(index, shap.Explanation):
            index = index.values
        if isinstance(index, str):
            return self._number_of(index, axis)
        if isinstance(index, slice):
            return index
        array = np.asarray(index)
        if array.dtype.kind in "UO" and array.ndim:
            return [self._number_of(name, axis) for name in array.tolist()]
        size = len(self._positions[axis])
        if array.dtype.kind == "b":
            if array.shape != (size,):
                raise IndexError(
                    f"The mask has the shape {array.shape}, but the axis has {size} "
                    "entries."
                )
            return np.flatnonzero(array).tolist()
        # The slicer of shap takes lists and integers of Python only.
        return array.astype(int).tolist() if array.size else []

    def _number_of(self, name: Any, axis: int) -> int:
        names = self._names_of(axis)
        for known in (name, _as_drawn(str(name))):
            if known in names:
                return names.index(known)
        raise KeyError(f"{name!r} is not among {names}.")

    def _names_of(self, axis: int) -> list[str]:
        """Return the names along an axis, of those that are left."""
        names = self.feature_names if axis == 1 else self.output_names
        return [names] if isinstance(names, str) else list(names)

    def _taken(self, whole: np.ndarray, axes: Sequence[int]) -> np.ndarray:
        """Return what is left of an array, some of whose axes are those of values."""
        for number, axis in enumerate(axes):
            whole = np.take(whole, self._positions[axis], axis=number)
        gone = tuple(n for n, axis in enumerate(axes) if axis not in self._axes)
        return whole.squeeze(axis=gone)


class FeatureExplanation(_Tracked):
    """Contributions of the features of one modality, for the plots of shap.

    It is made by `skfusion.explain_features` and by the method ``features`` of an
    explanation of modalities.

    Parameters
    ----------
    values : ndarray of shape (n_explained, n_features[, n_outputs])
        Shapley values of the features.
    rows : ndarray of int of shape (n_explained,)
        Row positions, in the table that was explained, of the cases that have the
        modality.
    output : str
        Description of the explained output, such as ``"log-odds of 1"``.
    **parts : any
        Parameters of `shap.Explanation`.

    Attributes
    ----------
    rows : ndarray of int of shape (n_explained,)
        As above, of the cases that are left after indexing.
    output : str
        As above.

    Examples
    --------
    >>> import numpy as np
    >>> from skfusion.inspection.shap_objects import FeatureExplanation
    >>> found = FeatureExplanation(
    ...     np.eye(2), rows=np.array([4, 7]), output="log-odds of 1",
    ...     base_values=np.zeros(2), feature_names=["age", "sex"])
    >>> found[found.values[:, 1] > 0].rows.tolist()
    [7]
    """

    def __init__(
        self, values: np.ndarray, *, rows: np.ndarray, output: str, **parts: Any
    ) -> None:
        super().__init__(values, **parts)
        self.output = output
        self._rows = np.asarray(rows)

    @property
    def rows(self) -> Any:
        """Row positions of the explained cases."""
        return self._taken(self._rows, (0,))

    def __repr__(self) -> str:
        n_cases, n_features = (len(part) for part in self._positions[:2])
        return (
            f"FeatureExplanation({n_cases} cases, {n_features} features, {self.output})"
        )


class _Explanation(Protocol):
    """What is taken from an explanation of modalities."""

    @property
    def values(self) -> np.ndarray: ...

    @property
    def base_values(self) -> np.ndarray: ...

    @property
    def standard_errors(self) -> np.ndarray | None: ...

    @property
    def modalities(self) -> tuple[str, ...]: ...

    @property
    def output(self) -> str: ...

    @property
    def classes(self) -> tuple[Any, ...] | None: ...

    @property
    def presence(self) -> pd.DataFrame: ...

    @property
    def interactions(self) -> dict[tuple[str, str], np.ndarray]: ...

    def __getitem__(self, rows: Any) -> Any: ...

    def select_output(self, output: Any) -> Any: ...


class ModalityShapExplanation(_Tracked):
    """Contributions of modalities to predictions, as a `shap.Explanation`.

    The features of shap are the modalities. Every plot of shap draws it. All that
    belongs to a case follows an index: ``e[:10]``, ``e[mask]``, ``e[..., "cancer"]``
    and ``e[0, :, "cancer"]``.

    Parameters
    ----------
    explanation : ModalityExplanation
        The explanation of n cases, M modalities and C outputs.

    Attributes
    ----------
    values : ndarray of shape (n, M[, C])
        Shapley values, in the unit of `output`.
    base_values : ndarray of shape (n[, C])
        Prediction without any modality, the same for all cases.
    display_data : ndarray of str of shape (n, M)
        ``"present"`` or ``"absent"``, which shap's plots of a case show as the value.
    data : ndarray of shape (n, M)
        1 if the modality is present and 0 if it is absent, the colour of shap's plots
        of many cases.
    feature_names : list of str
        The modalities.
    output_names : list of str
        The classes, for several outputs.
    explanation : ModalityExplanation
        The explanation of the cases and outputs that are left.
    output : str
        Description of the explained output, such as ``"log-odds of 1"``.
    presence : DataFrame of bool of shape (n, M)
        Whether a modality is present in a case.
    patients : ndarray of shape (n,) or None
        Patient of each case, if known.
    outcome : ndarray of shape (n,) or None
        The outcome, if it was passed.
    interactions : dict of (str, str) to ndarray of shape (n[, C])
        Shapley interaction index of each pair of the modalities that are left.

    Examples
    --------
    >>> from sklearn.preprocessing import StandardScaler
    >>> from skfusion import EarlyFusionClassifier, ModalityImportance
    >>> from skfusion.datasets import make_fusion_cohort
    >>> cohort = make_fusion_cohort(n_samples=300, random_state=0)
    >>> train, test = cohort.data[:200], cohort.data[200:]
    >>> model = EarlyFusionClassifier(
    ...     [("image", StandardScaler(), cohort.image_columns),
    ...      ("ehr", StandardScaler(), cohort.ehr_columns)],
    ... ).fit(train, cohort.target[:200])
    >>> shap_values = ModalityImportance(model, background=train)(test)
    >>> shap_values
    ModalityShapExplanation(100 cases, 2 modalities, log-odds of 1)
    >>> shap_values[:10, "image"].shape, shap_values[:10].presence.shape
    ((10,), (10, 2))
    """

    def __init__(self, explanation: _Explanation) -> None:
        values, base = explanation.values, np.asarray(explanation.base_values)
        classes = explanation.classes
        there = explanation.presence.to_numpy()
        super().__init__(
            values,
            base_values=np.array(np.broadcast_to(base, (len(values), *base.shape))),
            # Some plots of shap need numbers: they colour by them.
            data=there.astype(np.float64),
            display_data=np.where(there, "present", "absent"),
            feature_names=list(explanation.modalities),
            output_names=None if classes is None else [str(c) for c in classes],
            error_std=explanation.standard_errors,
        )
        self._whole = explanation

    @property
    def explanation(self) -> Any:
        """Explanation of the cases and outputs that are left, with all modalities."""
        axes = tuple(range(self._whole.values.ndim))
        left = self._taken(self._whole.values, axes)
        if left.shape != np.shape(self.values) or not np.array_equal(
            left, self.values, equal_nan=True
        ):
            raise ValueError(
                "The values were changed by an operation such as abs or mean, so they "
                "are no contributions of cases any more. Call this on the explanation "
                "before the operation."
            )
        found = self._whole[self._positions[0]]
        if len(axes) > 2 and len(self._positions[2]) < self._whole.values.shape[2]:
            found = found.select_output(self._positions[2].tolist())
        return found

    @property
    def output(self) -> str:
        """Description of the explained output."""
        whole, left = self._whole, self._positions[2:]
        if whole.classes is None or len(left[0]) > 1:
            return whole.output
        return f"{whole.output} of {whole.classes[int(left[0][0])]}"

    @property
    def presence(self) -> pd.DataFrame:
        """Whether a modality is present in a case."""
        return self._whole.presence.iloc[self._positions[0], self._positions[1]]

    @property
    def patients(self) -> Any:
        """Patient of each case, if known."""
        return self.explanation.patients

    @property
    def outcome(self) -> Any:
        """The outcome, if it was passed."""
        return self.explanation.outcome

    @property
    def interactions(self) -> dict[tuple[str, str], np.ndarray]:
        """Shapley interaction index of each pair of modalities."""
        left = {self._whole.modalities[j] for j in self._positions[1]}
        axes = (0, 2) if self._whole.values.ndim > 2 else (0,)
        return {
            pair: self._taken(value, axes)
            for pair, value in self._whole.interactions.items()
            if left.issuperset(pair)
        }

    def share(self, *args: Any, **options: Any) -> pd.DataFrame:
        """Return the relative contribution of each modality over the cases.

        Parameters
        ----------
        *args, **options : any
            See `skfusion.inspection.ModalityExplanation.share`.

        Returns
        -------
        DataFrame
            The rows of the modalities that are left. Shares are those among all
            modalities.
        """
        table = self.explanation.share(*args, **options)
        left = [self._whole.modalities[j] for j in self._positions[1]]
        return table[table.index.get_level_values("modality").isin(left)]

    def features(self, modality: str, **options: Any) -> Any:
        """Explain the same cases by the features of one modality.

        Parameters
        ----------
        modality : str
            Name of the modality.
        **options : any
            See `skfusion.inspection.ModalityExplanation.features`.

        Returns
        -------
        FeatureExplanation
        """
        return self.explanation.features(modality, **options)

    def plot(self, kind: str = "share", **options: Any) -> Any:
        """Plot the contributions.

        Parameters
        ----------
        kind : str, default="share"
            Type of the plot.
        **options : any
            See `skfusion.inspection.ModalityDisplay.plot`.

        Returns
        -------
        ModalityDisplay
        """
        return self.explanation.plot(kind, **options)

    def __repr__(self) -> str:
        n_cases, n_modalities = (len(part) for part in self._positions[:2])
        return (
            f"ModalityShapExplanation({n_cases} cases, {n_modalities} modalities, "
            f"{self.output})"
        )
