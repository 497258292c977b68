"""What a user asked of a late fusion, checked before anything is fitted."""

from __future__ import annotations

from difflib import get_close_matches
from typing import Any

import numpy as np
from sklearn.metrics import get_scorer

from skfusion.fusion.calibration import METHODS
from skfusion.fusion.combination import RULES, VOTES, WEIGHTED
from skfusion.fusion.members import predictor_name
from skfusion.modality import Modality

__all__ = [
    "check_calibration",
    "check_probabilities",
    "check_rule",
    "given_weights",
]


def check_rule(
    aggregation: Any, weights: Any, *, known: tuple[str, ...], owner: str
) -> None:
    """Check the parameters `aggregation` and `weights` before anything is fitted.

    Parameters
    ----------
    aggregation, weights : any
        What the user gave.
    known : tuple of str
        Names of the rules that suit the task.
    owner : str
        Name of the estimator that asks, for the messages.

    Raises
    ------
    ValueError
        If the rule is unknown or does not suit the task, weights are of no use to it,
        or there is no scorer of that name.
    """
    if not callable(aggregation) and aggregation not in known:
        guess = get_close_matches(str(aggregation), known, n=1)
        hint = f" Did you mean {guess[0]!r}?" if guess else ""
        if aggregation in RULES:
            hint = " That rule combines classes, and there are none here."
        raise ValueError(
            f"{owner}: aggregation must be one of {known} or a callable, got "
            f"{aggregation!r}.{hint}"
        )
    if weights is None:
        return
    if aggregation not in WEIGHTED:
        raise ValueError(
            f"{owner}: weights are given but aggregation={aggregation!r} has no use "
            f"for them. Set aggregation to one of {[r for r in WEIGHTED if r in known]}"
            "."
        )
    if isinstance(weights, str):
        try:
            get_scorer(weights)
        except ValueError as error:
            raise ValueError(
                f"{owner}: weights={weights!r} is no scorer of scikit-learn. Give "
                "numbers, None, or a name of sklearn.metrics.get_scorer_names()."
            ) from error


def given_weights(weights: Any, names: list[str], *, owner: str) -> Any:
    """Check weights given by the user; return scorers and None as they are.

    Parameters
    ----------
    weights : dict, array-like of shape (n_members,), str, callable or None
        What the user gave.
    names : list of str
        Names of the members.
    owner : str
        Name of the estimator that asks, for the messages.

    Returns
    -------
    ndarray of shape (n_members,), str, callable or None
        Weights of sum 1.

    Raises
    ------
    ValueError
        If there is not one weight of 0 or more per member, or all are 0.

    Examples
    --------
    >>> from skfusion.fusion.late_settings import given_weights
    >>> given_weights({"ehr": 1, "cxr": 3}, ["cxr", "ehr"], owner="me").tolist()
    [0.75, 0.25]
    """
    if weights is None or isinstance(weights, str) or callable(weights):
        return weights
    if isinstance(weights, dict):
        if set(weights) != set(names):
            raise ValueError(
                f"{owner}: weights must name every modality once: expected "
                f"{sorted(names)}, got {sorted(weights)}."
            )
        weights = [weights[name] for name in names]
    values = np.asarray(weights, dtype=np.float64)
    # written so that NaN is refused too
    if values.shape != (len(names),) or not (values.min() >= 0 and values.sum() > 0):
        raise ValueError(
            f"{owner}: weights must be {len(names)} numbers of 0 or more, one per "
            f"modality and not all 0, got shape {values.shape}."
        )
    return values / values.sum()


def check_calibration(
    calibration: Any, final_calibration: Any, names: list[str], *, owner: str
) -> dict[str, str]:
    """Check the parameters `calibration` and `final_calibration`.

    Parameters
    ----------
    calibration : str, dict or None
        One method for all members, or one for each that is named.
    final_calibration : str or None
        Method for the fused prediction.
    names : list of str
        Names of the members.
    owner : str
        Name of the estimator that asks, for the messages.

    Returns
    -------
    dict of str to str
        The method of each member that is calibrated.

    Raises
    ------
    ValueError
        If a method or a member is unknown.

    Examples
    --------
    >>> from skfusion.fusion.late_settings import check_calibration
    >>> check_calibration("sigmoid", None, ["cxr", "ehr"], owner="me")
    {'cxr': 'sigmoid', 'ehr': 'sigmoid'}
    """
    if not isinstance(calibration, dict):
        calibration = dict.fromkeys(names, calibration)
    unknown = sorted(set(calibration) - set(names))
    if unknown:
        raise ValueError(
            f"{owner}: calibration names {unknown}, but the modalities are {names}."
        )
    asked = {f"calibration of {name!r}": m for name, m in calibration.items()}
    for what, method in (asked | {"final_calibration": final_calibration}).items():
        if method is not None and method not in METHODS:
            raise ValueError(
                f"{owner}: {what} must be None or one of {METHODS}, got {method!r}."
            )
    return {name: method for name, method in calibration.items() if method}


def check_probabilities(
    members: list[Modality],
    aggregation: Any,
    calibrations: dict[str, str],
    final_estimator: Any,
    *,
    owner: str,
) -> None:
    """Refuse classifiers without probabilities where these are needed.

    Parameters
    ----------
    members : list of Modality
        Unfitted members.
    aggregation : str or callable
        The rule.
    calibrations : dict of str to str
        The members that are calibrated, and how.
    final_estimator : estimator or None
        The meta-model of a stacking.
    owner : str
        Name of the estimator that asks, for the messages.

    Raises
    ------
    TypeError
        If a member, or the meta-model, has no ``predict_proba``.
    """
    name = aggregation if isinstance(aggregation, str) else "a callable"
    remedy = (
        "Wrap it in sklearn.calibration.CalibratedClassifierCV, or set "
        "aggregation='vote', which is content with decisions."
    )
    for member in members:
        needs = None if aggregation in VOTES else f"aggregation={name!r}"
        if member.name in calibrations:
            needs = f"calibration={calibrations[member.name]!r}"
        if needs and not hasattr(member.transformer, "predict_proba"):
            raise TypeError(
                f"{owner}: {member.label}: {predictor_name(member)} gives no "
                f"probabilities, which {needs} needs. {remedy}"
            )
    if (
        aggregation == "stacking"
        and final_estimator is not None
        and not hasattr(final_estimator, "predict_proba")
    ):
        raise TypeError(
            f"{owner}: final_estimator={type(final_estimator).__name__} gives no "
            "probabilities. Wrap it in sklearn.calibration.CalibratedClassifierCV, or "
            "choose another."
        )
