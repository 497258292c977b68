"""Drill-down: which features inside one modality a prediction rests on.

A fitted model and a cohort in, one `shap.Explanation` per modality out. Features of
different modalities are never put into one ranking: with the same signal in 1 and in
512 columns, the sum of their absolute values gives the 512 columns 96 %. What the
modalities contribute is for `skfusion.ModalityImportance`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from sklearn.pipeline import Pipeline

from skfusion._dependencies import require
from skfusion._validation import check_option
from skfusion.fusion.base import BaseFusion
from skfusion.fusion.early.base import BaseEarlyFusion
from skfusion.fusion.early.joins import Concatenation
from skfusion.fusion.late.base import BaseLateFusion
from skfusion.inspection.features.closed_form import (
    Contributions,
    learner_contributions,
)
from skfusion.inspection.features.sampling import explain_columns
from skfusion.inspection.models import having, unwrapped
from skfusion.pipelines import (
    is_passthrough,
    is_sampler,
    scatter_rows,
    transform_steps,
    unreadable_rows,
)

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
) -> dict[str, Any]:
    """Explain predictions by the features inside each modality.

    Parameters
    ----------
    estimator : estimator
        A fitted early, late or joint fusion, a search or `Pipeline` around one, or any
        model of a table whose columns are those of `modalities`.
    X : DataFrame or ndarray of shape (n_samples, n_columns)
        The cases to explain; rows that the model has not been trained on.
    modalities : list of str, dict of str to list of column labels, or None
        The modalities of a fusion to explain; None is all. For any other model: the
        columns of each modality.
    background : DataFrame or ndarray of shape (n, n_columns) or None, default=None
        Cases that stand for a feature that is not known, best from the training data.
        None takes `X`. Trees need none.
    method : {"auto", "tree", "linear", "columns"}, default="auto"
        ``"tree"`` and ``"linear"`` compute Shapley values of the features that the
        learner is given, ``"columns"`` of the modality's columns in `X`, for any model.
        ``"auto"`` is the first that the model allows.
    n_background : int, default=50
        Cases of the background that ``"columns"`` uses, drawn at random.
    random_state : int, RandomState or None, default=0
        Seed of the draws of ``"columns"``.

    Returns
    -------
    dict of str to shap.Explanation
        For each modality ``values`` of shape (n_samples, n_features_m[, n_outputs]),
        which shap's plots take. Each adds up on its own: ``base_values`` (n_samples[,
        n_outputs]) hold what is predicted without the modality's features, other
        modalities included. Rows of a late fusion that lack the modality are NaN.

    Raises
    ------
    ValueError
        If `method` or a modality is unknown, or the model does not allow `method`.

    Notes
    -----
    What adds up to what:

    - *early fusion*: all features are players of one game, and add up to the output
      of ``estimator_``: log-odds for boosted trees and linear classifiers,
      probabilities for a random forest, numbers for regressors. A presence flag counts
      as a feature of its modality.
    - *late fusion*: the features of a modality add up to the output of its own member,
      before calibration and combination.
    - ``"columns"``: the columns of one modality are the players, in each case beside
      the case's own values of the other modalities; they add up to the log-odds of the
      prediction (of the member, in late fusion). Exact up to 8 columns, sampled
      permutations beyond [2]_.

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
    background = X if background is None else background
    estimator, X, background = unwrapped(estimator, X, background)
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
            f"explain_features: method={method!r} does not fit what "
            f"{type(estimator).__name__} predicts modality {missing[0]!r} from. Use "
            "method='auto', which falls back on 'columns'."
        )
    for name in missing:
        explained[name] = explain_columns(
            estimator, X, background, name, columns[name], n_background, random_state
        )
    return {name: explained[name] for name in columns}


def _columns_of(estimator: Any, X: Any, modalities: Any) -> dict[str, list[Any]]:
    if not isinstance(estimator, BaseFusion):
        if not isinstance(modalities, Mapping):
            raise ValueError(
                f"explain_features: {type(estimator).__name__} has no modalities of "
                "its own. Pass modalities={name: [columns], ...}."
            )
        frame = pd.DataFrame(X)
        for name, columns in modalities.items():
            unknown = [column for column in columns if column not in frame.columns]
            if unknown:
                raise ValueError(
                    f"explain_features: modality {name!r} names column "
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
            f"explain_features: {unknown[0]!r} is no modality of "
            f"{type(estimator).__name__}. They are {list(known)}."
        )
    return {name: known[name] for name in wanted}


def _explain_joined(
    estimator: BaseEarlyFusion, X: Any, background: Any, method: str, wanted: list[str]
) -> dict[str, Any]:
    """Explain the joined features, which the names of the modalities tell apart."""
    if not isinstance(estimator.join_, Concatenation):
        return {}  # a joined feature is of several modalities
    names = estimator.get_feature_names_out()
    learner, Z, kept = _reach_learner(
        estimator.estimator_, estimator.transform(X), names
    )
    if kept is None or not set(kept) <= set(names):
        return {}  # a step mixes features, and with them the modalities
    _, others, _ = _reach_learner(
        estimator.estimator_, estimator.transform(background), names
    )
    found = learner_contributions(learner, Z, others, method)
    if found is None:
        return {}
    parts = np.array([name.partition("__")[::2] for name in kept], dtype=object)
    return {
        name: _explanation(found, Z, parts[:, 1], np.flatnonzero(parts[:, 0] == name))
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
        rows, cases = having(estimator, X, name)
        _, reference = having(estimator, background, name)
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
    """Go through the steps of a pipeline to the learner at its end.

    Returns the learner, the features that it is given, and their names (None where a
    step does not say).
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
    except (AttributeError, ValueError):  # it, or a step in it, names nothing
        return None


def _explanation(
    found: Contributions,
    Z: np.ndarray,
    names: np.ndarray,
    columns: np.ndarray,
    rows: np.ndarray | None = None,
    n_rows: int = 0,
) -> Any:
    """Return the explanation of some columns; the others become part of the base."""
    values = found.values[:, columns]
    rest = np.delete(found.values, columns, axis=1).sum(axis=1)
    parts = [values, found.base + rest, Z[:, columns]]
    if rows is not None:
        parts = [scatter_rows(part, rows, n_rows) for part in parts]
    return require("shap", "explain").Explanation(
        parts[0], parts[1], parts[2], feature_names=[str(n) for n in names[columns]]
    )
