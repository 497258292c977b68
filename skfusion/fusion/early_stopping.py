"""Early stopping of boosted trees inside a fusion: which learners stop, and on what.

XGBoost, LightGBM and CatBoost stop early if `fit` gets rows for validation
(``eval_set``). A fusion holds out these rows itself, by patient, because only the
fusion knows the transformed features of the rows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from importlib import import_module
from typing import Any

import numpy as np
from sklearn.utils.validation import has_fit_parameter

from skfusion._fitting.metadata import library_of_trees, takes_validation_rows
from skfusion._fitting.parameters import own_params
from skfusion._validation import check_number
from skfusion.fusion.estimator_kinds import estimators_inside, last_step
from skfusion.splits import validation_rows

__all__ = [
    "EarlyStopping",
    "Evaluation",
    "check_fraction",
    "check_stopping",
    "evaluation_arguments",
    "stops_early",
    "without_stopping",
]


# Names of the parameter in XGBoost, LightGBM (with its aliases) and CatBoost.
_ROUNDS = (
    "early_stopping_rounds",
    "early_stopping_round",
    "early_stopping",
    "n_iter_no_change",
    "od_wait",
    "od_pval",
    "use_best_model",
)
_WEIGHTS = ("sample_weight_eval_set", "eval_sample_weight")
_KINDS = ("cat_features", "text_features", "embedding_features")  # of CatBoost


@dataclass(frozen=True)
class Evaluation:
    """Rows on which a learner that stops early is evaluated.

    Attributes
    ----------
    X : array-like of shape (n_samples, n_features)
        Features.
    y : ndarray of shape (n_samples,) or (n_samples, n_outputs)
        Target.
    sample_weight : ndarray of shape (n_samples,) or None
        Weights of the rows.
    """

    X: Any
    y: np.ndarray
    sample_weight: np.ndarray | None = None

    def output(self, j: int) -> Evaluation:
        """Return the rows with one of several outputs as the target."""
        return replace(self, y=self.y[:, j])


@dataclass(frozen=True)
class EarlyStopping:
    """Choice of the validation rows of learners that stop early.

    Attributes
    ----------
    fraction : float
        Share of the rows, or of the patients, that are held out.
    seed : int
        Seed of the choice.
    owner : str
        Name of the fusion estimator, for error messages.

    Examples
    --------
    >>> import numpy as np
    >>> from skfusion.fusion.early_stopping import EarlyStopping
    >>> stopping = EarlyStopping(0.2, 0, "EarlyFusionClassifier")
    >>> len(stopping.rows(np.tile([0, 1], 40), None, n_rows=80))
    16
    """

    fraction: float
    seed: int
    owner: str

    @classmethod
    def of(
        cls,
        fraction: Any,
        learners: Iterable[Any],
        rng: np.random.RandomState,
        owner: str,
    ) -> EarlyStopping | None:
        """Return the choice of rows if some learner stops early, else None.

        The seed is drawn only then, so that it does not change other fits.
        """
        if not any(stops_early(learner) for learner in learners):
            return None
        return cls(float(fraction), int(rng.randint(np.iinfo(np.int32).max)), owner)

    def rows(
        self, strata: np.ndarray | None, groups: np.ndarray | None, *, n_rows: int
    ) -> np.ndarray:
        """Return the positions of the rows held out, none if there are too few."""
        return validation_rows(
            self.fraction,
            strata,
            groups,
            n_rows=n_rows,
            random_state=self.seed,
            owner=self.owner,
        )


def check_fraction(fraction: Any, owner: str) -> None:
    """Raise ValueError if `validation_fraction` is not a number from 0 to 0.5."""
    check_number(fraction, "validation_fraction", owner, low=0, high=0.5)


def stops_early(estimator: Any) -> bool:
    """Return whether the last step of an estimator needs rows to stop early.

    Parameters
    ----------
    estimator : estimator
        Learner, or a `Pipeline` that ends in it.

    Returns
    -------
    bool

    Examples
    --------
    >>> from sklearn.linear_model import LogisticRegression
    >>> from skfusion.fusion.early_stopping import stops_early
    >>> from skfusion.survival import XGBoostSurvival
    >>> stops_early(LogisticRegression())
    False
    >>> stops_early(XGBoostSurvival(early_stopping_rounds=5))
    True
    """
    last = last_step(estimator)
    if has_fit_parameter(last, "evaluation"):  # one learner per output
        return stops_early(last.estimator)
    if not takes_validation_rows(last) or not hasattr(last, "get_params"):
        return False
    params = own_params(last)
    return bool(_stopping_params(params) or _stopping_callbacks(params))


def _stopping_params(params: dict[str, Any]) -> list[str]:
    return [
        name
        for name in _ROUNDS
        if params.get(name) is not None and float(params[name]) > 0
    ]


def _stopping_callbacks(params: dict[str, Any]) -> list[Any]:
    found = params.get("callbacks") or []
    return [each for each in found if type(each).__name__ == "EarlyStopping"]


def check_stopping(estimator: Any, where: str) -> None:
    """Raise an error if a learner that stops early is inside another estimator.

    Parameters
    ----------
    estimator : estimator
        Learner that the user has passed.
    where : str
        Beginning of the message.

    Raises
    ------
    ValueError
        If a search, a calibration or an ensemble contains such a learner, because it
        passes no rows for validation on.
    """
    last = last_step(estimator)
    inside = [nested for nested in estimators_inside(last) if nested is not last]
    for nested in inside:
        if stops_early(nested):
            name = type(nested).__name__
            raise ValueError(
                f"{where}: {name} stops early, which needs rows for validation, and "
                f"{type(last).__name__} passes none to it. Search over the fusion "
                f"itself, or fit {name} in {type(last).__name__} without early "
                "stopping."
            )


def without_stopping(estimator: Any) -> Any:
    """Return an unfitted estimator whose last step does not stop early, set in place.

    Parameters
    ----------
    estimator : estimator
        Clone of the learner, which is changed.
    """
    last = last_step(estimator)
    if has_fit_parameter(last, "evaluation"):
        without_stopping(last.estimator)
        return estimator
    params = own_params(last)
    # LightGBM passes None on to its library, which does not know it.
    none = 0 if library_of_trees(last) == "lightgbm" else None
    changed: dict[str, Any] = dict.fromkeys(_stopping_params(params), none)
    stopping = _stopping_callbacks(params)
    if stopping:
        changed["callbacks"] = [
            each for each in params["callbacks"] if each not in stopping
        ] or None
    last.set_params(**changed)
    return estimator


def evaluation_arguments(
    estimator: Any, evaluation: Evaluation | None
) -> dict[str, Any]:
    """Return the arguments of `fit` with the rows for validation.

    Parameters
    ----------
    estimator : estimator
        Learner that stops early.
    evaluation : Evaluation or None
        Rows for validation. None gives no arguments.

    Returns
    -------
    dict of str to any
    """
    if evaluation is None:
        return {}
    if has_fit_parameter(estimator, "evaluation"):
        return {"evaluation": evaluation}
    special = _LIBRARIES.get(library_of_trees(estimator))
    if special is not None:
        return special(estimator, evaluation)
    arguments: dict[str, Any] = {"eval_set": [(evaluation.X, evaluation.y)]}
    for name in _WEIGHTS:
        if evaluation.sample_weight is not None and has_fit_parameter(estimator, name):
            arguments[name] = [evaluation.sample_weight]
    return arguments


def _of_lightgbm(_: Any, evaluation: Evaluation) -> dict[str, Any]:
    arguments: dict[str, Any] = {"eval_X": (evaluation.X,), "eval_y": (evaluation.y,)}
    if not has_fit_parameter(import_module("lightgbm").LGBMModel, "eval_X"):  # < 4.7
        arguments = {"eval_set": [(evaluation.X, evaluation.y)]}
    if evaluation.sample_weight is not None:
        arguments["eval_sample_weight"] = [evaluation.sample_weight]
    return arguments


def _of_xgboost(_: Any, evaluation: Evaluation) -> dict[str, Any]:
    arguments: dict[str, Any] = {"eval_set": [(evaluation.X, evaluation.y)]}
    if evaluation.sample_weight is not None:
        arguments["sample_weight_eval_set"] = [evaluation.sample_weight]
    return {**arguments, "verbose": False}  # else it prints a line per tree


def _of_catboost(estimator: Any, evaluation: Evaluation) -> dict[str, Any]:
    # A Pool carries the weights, but does not know which columns are no numbers.
    params = own_params(estimator)
    kinds = {name: list(params[name]) for name in _KINDS if params.get(name)}
    pool = import_module("catboost").Pool(
        evaluation.X, evaluation.y, weight=evaluation.sample_weight, **kinds
    )
    return {"eval_set": pool}


_LIBRARIES: dict[str | None, Callable[[Any, Evaluation], dict[str, Any]]] = {
    "xgboost": _of_xgboost,
    "lightgbm": _of_lightgbm,
    "catboost": _of_catboost,
}
