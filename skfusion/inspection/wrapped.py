"""Fusions inside calibrated, thresholded, frozen, voting and stacked models.

The whole estimator predicts, and its fusions encode the modalities once. Stand-ins of
the fusions predict from what was encoded.
"""

from __future__ import annotations

from collections.abc import Mapping
from copy import copy
from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import TransformedTargetRegressor
from sklearn.ensemble import (
    StackingClassifier,
    StackingRegressor,
    VotingClassifier,
    VotingRegressor,
)
from sklearn.pipeline import Pipeline
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import check_is_fitted

from skfusion._fitting.pipelines import is_passthrough
from skfusion.fusion.base import BaseFusion
from skfusion.fusion.restriction import fusions_within
from skfusion.inspection.models import (
    OWNER,
    FusionModel,
    Parts,
    TableModel,
    find_model,
    same_predictions,
)

__all__ = ["WrappedFusion", "find_any_model"]

VOTES = (VotingClassifier, VotingRegressor)
STACKS = (StackingClassifier, StackingRegressor)


@dataclass
class Leaf:
    """A fitted fusion inside an estimator, and the steps before it.

    Attributes
    ----------
    fusion : early, late or joint fusion
        The fusion.
    steps : list of Pipeline
        Fitted steps that the table passes before it.
    """

    fusion: Any
    steps: list[Any]

    def inside(self, table: Any) -> Any:
        """Return a table as the fusion receives it."""
        for steps in self.steps:
            table = steps.transform(table)
        return table


@dataclass
class EncodedRows:
    """Encoded modalities of rows, which pass through an estimator as its input.

    Attributes
    ----------
    parts : list of dict of str to ndarray
        The modalities of each fusion.
    shape : tuple of int
        Number of rows, and 1.
    """

    parts: list[dict[str, np.ndarray]]
    shape: tuple[int, int]

    def __len__(self) -> int:
        return self.shape[0]


class _StandIn(BaseEstimator):
    """A fusion that predicts from encoded rows."""

    def __init__(self, fusion: Any, place: int) -> None:
        self.fusion = fusion
        self.place = place

    def __sklearn_is_fitted__(self) -> bool:
        return True


def _decides(stand_in: _StandIn) -> bool:
    return hasattr(stand_in.fusion, "decision_function")


class _ClassifierStandIn(ClassifierMixin, _StandIn):
    def __init__(self, fusion: Any, place: int) -> None:
        super().__init__(fusion, place)
        self.classes_ = fusion.classes_

    def predict_proba(self, X: EncodedRows) -> np.ndarray:
        return self.fusion.predict_encoded(X.parts[self.place])

    @available_if(_decides)
    def decision_function(self, X: EncodedRows) -> np.ndarray:
        return self.fusion.decision_encoded(X.parts[self.place])


class _RegressorStandIn(RegressorMixin, _StandIn):
    def predict(self, X: EncodedRows) -> np.ndarray:
        return self.fusion.predict_encoded(X.parts[self.place])


class WrappedFusion(FusionModel):
    """Fitted estimator around one or several fusions.

    Parameters
    ----------
    estimator : estimator
        The fitted estimator.

    Raises
    ------
    TypeError
        If a part of the estimator that predicts is no fusion, or the estimator is of a
        kind whose parts cannot predict from encoded modalities.
    """

    def __init__(self, estimator: Any) -> None:
        self.estimator = estimator
        self.leaves: list[Leaf] = []
        self._whole = self._shadow(estimator, [])
        fusions = [leaf.fusion for leaf in self.leaves]
        names = [name for fusion in fusions for name, *_ in fusion.modalities_]
        self.modalities = tuple(dict.fromkeys(names))
        target = fusions[0].target_
        self.kind = target.kind
        self.labels = getattr(estimator, "classes_", None)
        self.n_outputs = target.n_outputs
        self.supports_missing: Mapping[str, bool] = {
            name: all(fusion.supports_missing_.get(name, True) for fusion in fusions)
            for name in self.modalities
        }
        self.receives_table = not any(leaf.steps for leaf in self.leaves)

    def _shadow(self, estimator: Any, steps: list[Any]) -> Any:
        """Return a copy of a fitted estimator with stand-ins of its fusions."""
        if isinstance(estimator, BaseFusion):
            kinds = {"classes": _ClassifierStandIn, "numbers": _RegressorStandIn}
            kind = kinds.get(estimator.target_.kind)
            if kind is None:
                raise TypeError(
                    f"{OWNER}: {type(estimator).__name__} inside another model cannot "
                    "be explained for this kind of outcome. Explain the fusion itself."
                )
            self.leaves.append(Leaf(estimator, steps))
            return kind(estimator, len(self.leaves) - 1)
        if isinstance(estimator, Pipeline):
            before = estimator[:-1]
            more = not all(is_passthrough(step) for _, step in before.steps)
            return self._shadow(estimator[-1], [*steps, before] if more else steps)
        within = same_predictions(estimator)
        if within is not None:
            return self._shadow(within, steps)
        shadow = copy(estimator)
        if isinstance(estimator, CalibratedClassifierCV):
            shadow.calibrated_classifiers_ = []
            for part in estimator.calibrated_classifiers_:
                calibrated = copy(part)
                calibrated.estimator = self._shadow(part.estimator, steps)
                shadow.calibrated_classifiers_.append(calibrated)
            return shadow
        if isinstance(estimator, TransformedTargetRegressor):
            shadow.regressor_ = self._shadow(estimator.regressor_, steps)
            return shadow
        stacks = isinstance(estimator, STACKS) and not estimator.passthrough
        if isinstance(estimator, VOTES) or stacks:
            shadow.estimators_ = [
                self._shadow(part, steps) for part in estimator.estimators_
            ]
            return shadow
        raise TypeError(
            f"{OWNER}: {type(self.estimator).__name__} does not define modalities, "
            f"because {type(estimator).__name__} inside it is no fusion. Pass the "
            "columns of each modality, as in modalities={'image': [...], 'ehr': "
            "[...]}, or use an early, late or joint fusion."
        )

    def columns_by_modality(self) -> dict[str, list[Any]]:
        """Return the columns of each modality in the table of the user.

        Raises
        ------
        ValueError
            If a step before a fusion changes the table, so that its columns are not
            those of the user.
        """
        if not self.receives_table:
            raise ValueError(
                f"{type(self.estimator).__name__}: a step before a fusion changes the "
                "table, so the columns of the modalities are not those of X. Pass the "
                "columns of X, as in modalities={'image': [...], 'ehr': [...]}."
            )
        found: dict[str, dict[Any, None]] = {name: {} for name in self.modalities}
        for leaf in self.leaves:
            for spec in leaf.fusion.modality_specs():
                found[spec.name].update(dict.fromkeys(spec.columns))
        return {name: list(columns) for name, columns in found.items()}

    def transformer_of(self, name: str) -> Any:
        """Return a fitted transformer of a modality."""
        return next(
            transformer
            for leaf in self.leaves
            for other, transformer, _ in leaf.fusion.modalities_
            if other == name
        )

    # -- cases --------------------------------------------------------------------

    def encode(self, X: Any) -> tuple[Parts, np.ndarray]:
        """Return the encoded modalities of all fusions and their presence (n, M)."""
        encoded = [
            leaf.fusion.encode_modalities(leaf.inside(X)) for leaf in self.leaves
        ]
        self._widths: list[dict[str, int]] = [
            {name: np.asarray(part).shape[1] for name, part in parts.items()}
            for parts in encoded
        ]
        self._types = [
            {name: np.asarray(part).dtype for name, part in parts.items()}
            for parts in encoded
        ]
        parts = {
            name: np.hstack([own[name] for own in encoded if name in own])
            for name in self.modalities
        }
        present = [~np.isnan(part).all(axis=1) for part in parts.values()]
        return parts, np.column_stack(present)

    def join(self, parts: Parts) -> None:
        """Return None, because several fusions may receive the rows."""
        return

    def predict(self, parts: Any) -> np.ndarray:
        """Return probabilities or numeric predictions (n, n_outputs)."""
        n_rows = len(next(iter(parts.values())))
        starts = dict.fromkeys(parts, 0)
        split: list[dict[str, np.ndarray]] = []
        for widths, types in zip(self._widths, self._types, strict=True):
            own = {}
            for name, width in widths.items():
                start = starts[name]
                block = parts[name][:, start : start + width]
                own[name] = np.ascontiguousarray(block, dtype=types[name])
                starts[name] = start + width
            split.append(own)
        rows = EncodedRows(split, (n_rows, 1))
        if self.kind == "classes":
            if not hasattr(self._whole, "predict_proba"):
                raise TypeError(
                    f"{OWNER}: {type(self.estimator).__name__} has no predict_proba. "
                    "Use voting='soft', or wrap the learners in "
                    "sklearn.calibration.CalibratedClassifierCV."
                )
            predicted = self._whole.predict_proba(rows)
        else:
            predicted = self._whole.predict(rows)
        predicted = np.asarray(predicted, dtype=np.float64)
        return predicted.reshape(len(predicted), -1)

    def presence(self, X: Any) -> np.ndarray:
        """Return whether each modality is present in each case (n, M)."""
        tables = [leaf.fusion.presence(leaf.inside(X)) for leaf in self.leaves]
        found = [
            np.any([table[name] for table in tables if name in table], axis=0)
            for name in self.modalities
        ]
        return np.column_stack(found)

    @property
    def repeated_rows(self) -> float:
        """Share of the training rows that are equal to another one."""
        return max(leaf.fusion.repeated_training_rows() for leaf in self.leaves)

    def training_rows(self, X: Any) -> np.ndarray | None:
        """Return which cases are training rows of a fusion, None if not known."""
        known = [leaf.fusion.training_rows(leaf.inside(X)) for leaf in self.leaves]
        if any(found is None for found in known):
            return None
        return np.any(known, axis=0)


def find_any_model(
    estimator: Any, modalities: Any, *tables: Any
) -> tuple[FusionModel | TableModel, list[Any]]:
    """Wrap an estimator as `find_model` does, also one around fusions.

    Parameters
    ----------
    estimator, modalities, *tables
        As in `skfusion.inspection.models.find_model`.

    Returns
    -------
    model : FusionModel or TableModel
    tables : list
        Inputs of the model.

    Raises
    ------
    TypeError
        If the estimator has no modalities and `modalities` is None.
    """
    if modalities is None and not _is_fusion(estimator) and fusions_within(estimator):
        check_is_fitted(estimator)
        return WrappedFusion(estimator), list(tables)
    return find_model(estimator, modalities, *tables)


def _is_fusion(estimator: Any) -> bool:
    """Return whether `find_model` finds the fusion: inside searches and a pipeline."""
    estimator = getattr(estimator, "best_estimator_", estimator)
    if isinstance(estimator, Pipeline):
        estimator = estimator[-1]
    return isinstance(estimator, BaseFusion)
