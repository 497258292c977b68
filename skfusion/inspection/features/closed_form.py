"""Closed-form Shapley values of the features of trees and linear models.

For other models, see `skfusion.inspection.features.sampling`.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from skfusion._dependencies import require

__all__ = ["Contributions", "learner_contributions"]


class Contributions(NamedTuple):
    """Contributions of the features of each row to a model's output.

    Attributes
    ----------
    values : ndarray of float64 of shape (n_samples, n_features[, n_outputs])
        Shapley values. The last axis is omitted for a single output, as for two
        classes.
    base : ndarray of float64 of shape () or (n_outputs,)
        Output of the model when no feature is known.
    """

    values: np.ndarray
    base: np.ndarray


def learner_contributions(
    learner: Any, X: Any, background: Any, method: str = "auto"
) -> Contributions | None:
    """Compute Shapley values of a learner's features in closed form, if available.

    Parameters
    ----------
    learner : estimator
        A fitted estimator that is not a `Pipeline`.
    X : ndarray or DataFrame of shape (n_samples, n_features)
        Rows to explain, in the form in which the learner receives them.
    background : ndarray or DataFrame of shape (n_background, n_features)
        Rows whose mean replaces the unknown features of a linear model. Trees use the
        distribution of the training rows that is stored in their nodes.
    method : {"auto", "tree", "linear"}, default="auto"
        Closed form to use. ``"auto"`` uses the one that supports the learner.

    Returns
    -------
    Contributions or None
        Contributions on the additive scale of the learner: the margin of boosted trees
        and linear classifiers, the probability of a random forest. None if `method`
        does not support the learner.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.linear_model import LinearRegression
    >>> from skfusion.inspection.features.closed_form import learner_contributions
    >>> X = np.array([[0.0, 0.0], [1.0, 0.0], [0.0, 2.0]])
    >>> model = LinearRegression().fit(X, X @ [3.0, 1.0])
    >>> learner_contributions(model, X, X).values.round(3).tolist()[1]
    [2.0, -0.667]
    """
    if method in ("auto", "tree"):
        found = _boosted(learner, X) or _shap_trees(learner, X)
        if found is not None or method == "tree":
            return found
    return _linear(learner, X, background)


def _boosted(learner: Any, X: Any) -> Contributions | None:
    """Compute TreeSHAP values with XGBoost's own implementation."""
    if hasattr(learner, "booster_") and hasattr(learner, "aft_scale"):
        booster, sign = learner.booster_, -1.0 if learner.loss == "aft" else 1.0
    elif hasattr(learner, "get_booster"):
        booster, sign = learner.get_booster(), 1.0
    else:
        return None
    xgboost = require("xgboost", "xgboost")
    missing = getattr(learner, "missing", None)
    data = xgboost.DMatrix(
        X,
        missing=np.nan if missing is None else missing,
        nthread=learner.n_jobs or 1,
        enable_categorical=bool(getattr(learner, "enable_categorical", False)),
    )
    best = booster.attributes().get("best_iteration")
    rounds = (0, 0 if best is None else int(best) + 1)
    found = booster.predict(data, pred_contribs=True, iteration_range=rounds)
    found = sign * found.astype(np.float64)  # (n, d + 1) or (n, C, d + 1)
    if found.ndim == 3:
        found = found.transpose(0, 2, 1)
    return Contributions(found[:, :-1], found[0, -1])


def _shap_trees(learner: Any, X: Any) -> Contributions | None:
    shap = require("shap", "explain")
    if not shap.TreeExplainer.supports_model_with_masker(learner, None):
        return None
    explainer = shap.TreeExplainer(learner, feature_perturbation="tree_path_dependent")
    values = np.asarray(explainer(X).values, dtype=np.float64)
    base = np.asarray(explainer.expected_value, dtype=np.float64)
    if values.ndim == 3 and values.shape[2] == 2 and hasattr(learner, "classes_"):
        return Contributions(values[:, :, 1], base[1])
    return Contributions(values, base.reshape(values.shape[2:]))


def _linear(learner: Any, X: Any, background: Any) -> Contributions | None:
    weights = getattr(learner, "coef_", None)
    if weights is None:
        return None
    names = getattr(X, "columns", None)
    X = np.asarray(X, dtype=np.float64)
    weights = np.asarray(weights, dtype=np.float64)
    weights = weights[0] if weights.ndim == 2 and len(weights) == 1 else weights
    if weights.ndim > 2 or weights.shape[-1] != X.shape[1]:
        return None
    mean = np.asarray(background, dtype=np.float64).mean(axis=0)
    shifted = X - mean
    values = shifted * weights if weights.ndim == 1 else shifted[..., None] * weights.T
    ask = getattr(learner, "decision_function", learner.predict)
    rows: Any = np.vstack([X, mean])
    rows = rows if names is None else pd.DataFrame(rows, columns=names)
    answers = np.asarray(ask(rows), dtype=np.float64)
    if answers.shape != (len(X) + 1, *values.shape[2:]):
        answers = answers.reshape(len(X) + 1, -1).squeeze(axis=1)
    # A model with coefficients need not be additive, for example a Poisson regression.
    adds_up = np.allclose(answers[-1] + values.sum(axis=1), answers[:-1], rtol=1e-6)
    return Contributions(values, answers[-1]) if adds_up else None
