"""Explanation of predictions by the features of each modality.

The result is one `shap.Explanation` per modality. Features of different modalities are
not ranked together, because sums of absolute values favour many columns. With the same
signal in 1 and in 512 columns, they assign 96 % to the 512 columns. For the
contributions of modalities, see `skfusion.ModalityImportance`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from sklearn.pipeline import Pipeline

from skfusion._dependencies import require
from skfusion._fitting.pipelines import (
    is_passthrough,
    is_sampler,
    scatter_rows,
    transform_steps,
    unreadable_rows,
)
from skfusion._validation import check_option
from skfusion.ehr.events.labels import readable_names
from skfusion.ehr.naming import find_labels
from skfusion.fusion.base import BaseFusion
from skfusion.fusion.early.base import BaseEarlyFusion
from skfusion.fusion.early.joins import Concatenation
from skfusion.fusion.late.base import BaseLateFusion
from skfusion.inspection.features.closed_form import (
    Contributions,
    learner_contributions,
)
from skfusion.inspection.features.sampling import explain_columns
from skfusion.inspection.models import rows_with_modality, unwrap_estimator

__all__ = ["explain_features"]


METHODS = ("auto", "tree", "linear", "columns")


def explain_features(
    estimator: Any,
    X: Any,
    *,
    modalities: Sequence[str] | Mapping[str, Sequence[Any]] | None = None,
    background: Any = None,
    method: str = "auto",
    n_background: int = 50,
    random_state: Any = 0,
    labels: Mapping[str, str] | pd.Series | str | None = "auto",
) -> dict[str, Any]:
    """Explain predictions by the features of each modality.

    Parameters
    ----------
    estimator : estimator
        A fitted early, late or joint fusion, a search or `Pipeline` around one, or any
        model of a table whose columns are those of `modalities`.
    X : DataFrame or ndarray of shape (n_samples, n_columns)
        The cases to explain, which should be held-out cases.
    modalities : list of str, dict of str to list of column labels, or None
        The modalities of a fusion to explain. None selects all modalities. For any
        other model, the columns of each modality.
    background : DataFrame or ndarray of shape (n, n_columns) or None, default=None
        Cases whose values replace unknown features, preferably training data. None
        uses `X`. Trees do not need a background.
    method : {"auto", "tree", "linear", "columns"}, default="auto"
        ``"tree"`` and ``"linear"`` compute Shapley values of the features that the
        learner receives. ``"columns"`` computes those of the modality's columns in
        `X`, for any model. ``"auto"`` uses the first one that supports the model.
    n_background : int, default=50
        Number of background cases that ``"columns"`` uses, drawn at random.
    random_state : int, RandomState or None, default=0
        Seed of the random draws of ``"columns"``.
    labels : mapping, Series, "auto" or None, default="auto"
        Code -> name, for the names of features of events: the feature
        ``LAB//MIMIC//50868__1d__mean`` is shown as
        ``Anion Gap (LAB//MIMIC//50868) mean 1d``. "auto" takes the names of the event
        store of each modality (`skfusion.ehr.EventStore.labels`). Features of codes
        without a name keep theirs, and None keeps all.

    Returns
    -------
    dict of str to shap.Explanation
        One explanation per modality, for the plots of shap. The shape of ``values`` is
        (n_samples, n_features_m[, n_outputs]). In each explanation, ``base_values``
        (n_samples[, n_outputs]) plus the values sum to the explained output.
        ``base_values`` include the contributions of the other modalities. Rows of a
        late fusion in which the modality is absent are NaN.

    Raises
    ------
    ValueError
        If `method` or a modality is unknown, or `method` does not support the model.
    TypeError
        If `labels` is of another type.

    Notes
    -----
    The sum of the contributions depends on the model and the method:

    - *early fusion*: all features are players of one game. Their contributions sum to
      the output of ``estimator_``: log-odds for boosted trees and linear classifiers,
      probabilities for a random forest, predictions for regressors. A presence flag is
      a feature of its modality.
    - *late fusion*: the contributions of the features of a modality sum to the output
      of its member, before calibration and combination.
    - ``"columns"``: the columns of one modality are the players, given the case's
      values of the other modalities. Their contributions sum to the log-odds of the
      prediction (of the member, in late fusion). They are exact for up to 8 columns.
      For more columns, permutations are sampled [2]_.

    For the regions of an image, see `skfusion.explain_images`.

    References
    ----------
    .. [1] Lundberg S M et al. (2020). From local explanations to global understanding
       with explainable AI for trees. Nature Machine Intelligence 2:56.
    .. [2] Castro J, Gomez D, Tejada J (2009). Polynomial calculation of the Shapley
       value based on sampling. Computers & Operations Research 36:1726.

    Examples
    --------
    >>> from sklearn.preprocessing import StandardScaler
    >>> from skfusion import LateFusionClassifier
    >>> from skfusion.datasets import make_fusion_cohort
    >>> from skfusion.inspection.features.explain import explain_features
    >>> cohort = make_fusion_cohort(n_samples=400, random_state=0)
    >>> model = LateFusionClassifier(
    ...     [("image", StandardScaler(), cohort.image_columns),
    ...      ("ehr", StandardScaler(), cohort.ehr_columns)],
    ... ).fit(cohort.data, cohort.target)
    >>> explanation = explain_features(model, cohort.data)["ehr"]
    >>> explanation.shape, explanation.feature_names[0]
    ((400, 8), 'ehr_0')
    """
    check_option(method, "method", METHODS, "explain_features")
    find_labels(labels, None, "explain_features")  # Before the computation.
    background = X if background is None else background
    estimator, X, background = unwrap_estimator(estimator, X, background)
    columns = _columns_of(estimator, X, modalities)
    explained: dict[str, Any] = {}
    if method != "columns" and isinstance(estimator, BaseLateFusion):
        explained = _explain_members(estimator, X, background, method, list(columns))
    elif method != "columns" and not isinstance(estimator, BaseFusion):
        explained = _explain_table(estimator, X, background, method, columns)
    elif method != "columns" and isinstance(estimator, BaseEarlyFusion):
        explained = _explain_joined(estimator, X, background, method, list(columns))
    missing = [name for name in columns if name not in explained]
    if missing and method in ("tree", "linear"):
        raise ValueError(
            f"explain_features: method={method!r} does not support the learner that "
            f"{type(estimator).__name__} uses for modality {missing[0]!r}. Use "
            "method='auto', which falls back to 'columns'."
        )
    for name in missing:
        explained[name] = explain_columns(
            estimator, X, background, name, columns[name], n_background, random_state
        )
    for name in columns:
        part = _transformer_of(estimator, name)
        found = find_labels(labels, part, "explain_features")
        names = explained[name].feature_names
        explained[name].feature_names = readable_names(names, found)
    return {name: explained[name] for name in columns}


def _transformer_of(estimator: Any, name: str) -> Any:
    """Return the fitted transformer of a modality, or the model of a table."""
    if not isinstance(estimator, BaseFusion):
        return estimator
    return next(part for other, part, _ in estimator.modalities_ if other == name)


def _columns_of(estimator: Any, X: Any, modalities: Any) -> dict[str, list[Any]]:
    if not isinstance(estimator, BaseFusion):
        if not isinstance(modalities, Mapping):
            raise ValueError(
                f"explain_features: {type(estimator).__name__} does not define "
                "modalities. Pass modalities={name: [columns], ...}."
            )
        frame = pd.DataFrame(X)
        for name, columns in modalities.items():
            unknown = [column for column in columns if column not in frame.columns]
            if unknown:
                raise ValueError(
                    f"explain_features: modality {name!r} contains column "
                    f"{unknown[0]!r}, which X does not have."
                )
        return {name: list(columns) for name, columns in modalities.items()}
    known = {
        name: [columns] if np.isscalar(columns) else list(columns)
        for name, _, columns in estimator.modalities_
    }
    wanted = list(known if modalities is None else modalities)
    unknown = [name for name in wanted if name not in known]
    if unknown:
        raise ValueError(
            f"explain_features: {unknown[0]!r} is not a modality of "
            f"{type(estimator).__name__}. Its modalities are {list(known)}."
        )
    return {name: known[name] for name in wanted}


def _explain_joined(
    estimator: BaseEarlyFusion, X: Any, background: Any, method: str, wanted: list[str]
) -> dict[str, Any]:
    """Explain the concatenated features, grouped by the modality in their names."""
    if not isinstance(estimator.join_, Concatenation):
        return {}  # other joins mix the features of several modalities
    names = estimator.get_feature_names_out()
    learner, Z, kept = _reach_learner(
        estimator.estimator_, estimator.estimator_input(X), names
    )
    if kept is None or not set(kept) <= set(names):
        return {}  # a step mixes features, and therefore modalities
    _, others, _ = _reach_learner(
        estimator.estimator_, estimator.estimator_input(background), names
    )
    found = learner_contributions(learner, Z, others, method)
    if found is None:
        return {}
    parts = np.array([name.partition("__")[::2] for name in kept], dtype=object)
    values = np.asarray(Z)
    return {
        name: _explanation(
            found, values, parts[:, 1], np.flatnonzero(parts[:, 0] == name)
        )
        for name in wanted
    }


def _explain_table(
    estimator: Any,
    X: Any,
    background: Any,
    method: str,
    columns: Mapping[str, Sequence[Any]],
) -> dict[str, Any]:
    names = pd.DataFrame(X).columns.to_numpy()
    learner, Z, kept = _reach_learner(estimator, X, names)
    if kept is None or not set(kept) <= set(names):
        return {}
    _, others, _ = _reach_learner(estimator, background, names)
    found = learner_contributions(learner, Z, others, method)
    if found is None:
        return {}
    return {
        name: _explanation(
            found, np.asarray(Z), kept, np.flatnonzero([k in labels for k in kept])
        )
        for name, labels in columns.items()
    }


def _explain_members(
    estimator: BaseLateFusion, X: Any, background: Any, method: str, wanted: list[str]
) -> dict[str, Any]:
    explained = {}
    for name, member, columns in estimator.modalities_:
        if name not in wanted or isinstance(member, BaseFusion):
            continue
        rows, cases = rows_with_modality(estimator, X, name)
        _, reference = rows_with_modality(estimator, background, name)
        learner, Z, names = _reach_learner(member, cases[columns], None)
        others = _reach_learner(member, reference[columns], None)[1]
        readable = ~unreadable_rows(Z)
        Z, others = np.asarray(Z)[readable], np.asarray(others)
        others = others[~unreadable_rows(others)]
        found = learner_contributions(learner, Z, others, method)
        if found is None:
            continue
        if names is None:
            names = np.array([f"x{j}" for j in range(Z.shape[1])], dtype=object)
        everything = np.arange(len(names))
        explained[name] = _explanation(
            found, Z, names, everything, rows[readable], len(X)
        )
    return explained


def _reach_learner(
    model: Any, X: Any, names: np.ndarray | None
) -> tuple[Any, Any, np.ndarray | None]:
    """Transform X by the steps of a pipeline before its final learner.

    Returns the learner, its input features and their names. The names are None if a
    step does not provide them.
    """
    if not isinstance(model, Pipeline):
        return model, X, names
    for _, step in model.steps[:-1]:
        if is_passthrough(step) or is_sampler(step):
            continue
        X, names = transform_steps(step, X), _names_behind(step, names)
    return _reach_learner(model.steps[-1][1], X, names)


def _names_behind(step: Any, names: np.ndarray | None) -> np.ndarray | None:
    try:
        return np.asarray(step.get_feature_names_out(names), dtype=object)
    except (AttributeError, ValueError):  # the step, or a nested one, has no names
        return None


def _explanation(
    found: Contributions,
    Z: np.ndarray,
    names: np.ndarray,
    columns: np.ndarray,
    rows: np.ndarray | None = None,
    n_rows: int = 0,
) -> Any:
    """Return the explanation of some columns, and add the others to the base."""
    values = found.values[:, columns]
    rest = np.delete(found.values, columns, axis=1).sum(axis=1)
    parts = [values, found.base + rest, Z[:, columns]]
    if rows is not None:
        parts = [scatter_rows(part, rows, n_rows) for part in parts]
    return require("shap", "explain").Explanation(
        parts[0], parts[1], parts[2], feature_names=[str(n) for n in names[columns]]
    )
