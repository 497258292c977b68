"""What is compared: each modality alone, then early, late and joint fusion."""

from __future__ import annotations

import importlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from sklearn.base import clone, is_classifier, is_regressor

from skfusion.fusion.base import default_modalities
from skfusion.fusion.inner_estimators import ends_in_predictor, seed
from skfusion.modality import Modality, check_modalities

__all__ = [
    "STRATEGIES",
    "Strategy",
    "find_modalities",
    "from_estimators",
    "kind_of",
    "standard",
]


STRATEGIES = ("single", "early", "late", "joint")


@dataclass(frozen=True)
class Strategy:
    """One way to predict, an unfitted estimator.

    Attributes
    ----------
    name : str
        Its key in tables.
    label : str
        How reports write it.
    single : bool
        Whether it uses one modality only, and so is a baseline.
    estimator : estimator
        Seeded, not fitted.
    modality : str or None
        The modality of a baseline.
    """

    name: str
    label: str
    single: bool
    estimator: Any
    modality: str | None = None


def find_modalities(
    given: Any, X: pd.DataFrame, *, groups: str | None
) -> list[Modality]:
    """Resolve a list of triples, or ``"auto"``, against the cohort.

    Parameters
    ----------
    given : list of (str, estimator, columns) or "auto"
        The modalities.
    X : DataFrame of shape (n_samples, n_columns)
        The cohort.
    groups : str or None
        Name of the column with patient ids, which is no feature.

    Returns
    -------
    list of Modality

    Raises
    ------
    ValueError, TypeError
        As `skfusion.modality.check_modalities`.
    """
    if isinstance(given, str) and given == "auto":
        aside = () if groups is None else (groups,)
        given = default_modalities(X, aside, "compare_fusion", 5)
    return check_modalities(given, X, owner="compare_fusion", reserved=())


def standard(
    modalities: list[Modality],
    strategies: Iterable[str],
    *,
    classifier: bool,
    groups: str | None,
    random_state: int,
) -> list[Strategy]:
    """Build the usual strategies from one list of modalities.

    Parameters
    ----------
    modalities : list of Modality
        At least two.
    strategies : iterable of {"single", "early", "late", "joint"}
        Which to build.
    classifier : bool
        Classifiers, or regressors.
    groups : str or None
        Name of the column with patient ids.
    random_state : int
        Seed of every estimator.

    Returns
    -------
    list of Strategy

    Raises
    ------
    ValueError
        If a strategy is not known or not possible with these modalities.
    """
    wanted = _check_names(strategies)
    if len(modalities) < 2 and set(wanted) != {"single"}:
        raise ValueError(
            f"compare_fusion: {len(modalities)} modality was given or found "
            f"({modalities[0].name!r}), but fusion needs at least two."
        )
    triples = [_triple(modality) for modality in modalities]
    common: dict[str, Any] = {"groups": groups, "random_state": random_state}
    built = []
    if "single" in wanted:
        built += _baselines(triples, classifier=classifier, taken=wanted, **common)
    for name in ("early", "late", "joint"):
        if name not in wanted:
            continue
        if name != "late":
            _refuse_predictors(modalities, name)
        estimator = _fusion_class(name, classifier)(triples, **common)
        built.append(Strategy(name, f"{name} fusion", False, estimator))
    return built


def _check_names(strategies: Iterable[str]) -> list[str]:
    names = [strategies] if isinstance(strategies, str) else list(strategies)
    unknown = [name for name in names if name not in STRATEGIES]
    if unknown or not names:
        raise ValueError(
            f"compare_fusion: strategies must be some of {STRATEGIES}, got "
            f"{(unknown or names)!r}."
        )
    return names


def _triple(modality: Modality) -> tuple[str, Any, Any]:
    columns = modality.columns[0] if modality.scalar else list(modality.columns)
    return (modality.name, modality.transformer, columns)


def _fusion_class(name: str, classifier: bool) -> Any:
    # joint fusion is imported only when asked for: it loads torch
    module = importlib.import_module(f"skfusion.fusion.{name}.estimators")
    kind = "Classifier" if classifier else "Regressor"
    return getattr(module, f"{name.capitalize()}Fusion{kind}")


def _baselines(
    triples: list[tuple[str, Any, Any]],
    *,
    classifier: bool,
    taken: Iterable[str],
    groups: str | None,
    random_state: int,
) -> list[Strategy]:
    """Build late fusions of one modality: the members that late fusion would have."""
    late = _fusion_class("late", classifier)
    taken = set(taken)
    return [
        Strategy(
            f"{triple[0]} only" if triple[0] in taken else triple[0],
            f"{triple[0]} alone",
            True,
            late([triple], groups=groups, random_state=random_state),
            triple[0],
        )
        for triple in triples
    ]


def _refuse_predictors(modalities: list[Modality], name: str) -> None:
    for modality in modalities:
        if ends_in_predictor(modality.transformer):
            raise ValueError(
                f"compare_fusion: {modality.label} ends in a predictor, which {name} "
                "fusion cannot join with other features. Give the transformer alone, "
                "or compare strategies=('single', 'late'), or give a dict of "
                "estimators."
            )


def from_estimators(
    given: Mapping[str, Any],
    X: pd.DataFrame,
    *,
    baselines: bool,
    classifier: bool,
    groups: str | None,
    random_state: int,
) -> tuple[list[Strategy], list[Modality]]:
    """Take the user's estimators, and add the baselines that they lack.

    Parameters
    ----------
    given : dict of str to estimator
        The estimators; a fusion estimator of one modality is a baseline.
    X : DataFrame of shape (n_samples, n_columns)
        The cohort.
    baselines : bool
        Whether to add each modality alone, if no baseline is among the estimators.
    classifier : bool
        Classifiers, or regressors.
    groups : str or None
        Name of the column with patient ids.
    random_state : int
        Seed of what the user left unseeded.

    Returns
    -------
    strategies : list of Strategy
    modalities : list of Modality
        All that the estimators name, for the facts about the cohort.

    Raises
    ------
    ValueError
        If there is none.
    """
    if not given:
        raise ValueError(
            "compare_fusion: the dict of estimators is empty. Give at least one, "
            "{name: estimator}."
        )
    built: list[Strategy] = []
    known: dict[str, Modality] = {}
    for name, estimator in given.items():
        triples = _modalities_within(estimator)
        found = [] if triples is None else find_modalities(triples, X, groups=groups)
        for modality in found:
            known.setdefault(modality.name, modality)
        single = len(found) == 1
        # one generator each, so that an estimator's seed does not hang on the others
        ready = seed(clone(estimator), np.random.RandomState(random_state))
        only = found[0].name if single else None
        built.append(Strategy(str(name), str(name), single, ready, only))
    modalities = list(known.values())
    if baselines and not any(strategy.single for strategy in built):
        added = _baselines(
            [_triple(modality) for modality in modalities],
            classifier=classifier,
            taken=[strategy.name for strategy in built],
            groups=groups,
            random_state=random_state,
        )
        built = [*added, *built]
    return built, modalities


def kind_of(name: str, estimator: Any) -> str:
    """Tell whether an estimator of a dict is a classifier or a regressor.

    Parameters
    ----------
    name : str
        Its name, for the message.
    estimator : estimator
        What the user gave.

    Returns
    -------
    {"classifier", "regressor"}

    Raises
    ------
    TypeError
        If it is neither.
    """
    if hasattr(estimator, "fit") and hasattr(estimator, "get_params"):
        if is_classifier(estimator):
            return "classifier"
        if is_regressor(estimator):
            return "regressor"
    raise TypeError(
        f"compare_fusion: {name!r} must be a classifier or a regressor, got "
        f"{type(estimator).__name__}."
    )


def _modalities_within(estimator: Any) -> Any:
    # a search or a calibration holds the fusion estimator as its `estimator`
    while not hasattr(estimator, "modalities") and hasattr(estimator, "estimator"):
        estimator = estimator.estimator
    return getattr(estimator, "modalities", None)
