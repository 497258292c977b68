"""Strategies of a comparison: single modalities and early, late and joint fusion."""

from __future__ import annotations

import importlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from sklearn.base import clone, is_classifier, is_regressor

from skfusion._dependencies import TORCH_PACKAGES, is_installed, named_extra
from skfusion.exceptions import FallbackWarning, warn_user
from skfusion.fusion.base import default_modalities
from skfusion.fusion.inner_estimators import ends_in_predictor, seed
from skfusion.modality import Modality, check_modalities

__all__ = [
    "STRATEGIES",
    "Strategy",
    "available",
    "find_modalities",
    "from_estimators",
    "kind_of",
    "standard",
]


STRATEGIES = ("single", "early", "late", "joint")


def available(strategies: Iterable[str] | None) -> list[str]:
    """Return the names of the strategies to build.

    Parameters
    ----------
    strategies : iterable of str, str or None
        The user's choice. None selects all that the installed packages allow.

    Returns
    -------
    list of str

    Warns
    -----
    FallbackWarning
        If joint fusion is left out, because torch is not installed and the user did
        not choose.
    """
    if strategies is not None:
        return [strategies] if isinstance(strategies, str) else list(strategies)
    needed = ("torch", "skorch")
    absent = [package for package in needed if not is_installed(package)]
    if not absent:
        return list(STRATEGIES)
    warn_user(
        "compare_fusion: joint fusion is left out, because the package "
        f"{absent[0]!r} is not installed. Install it with: pip install "
        '"skfusion[torch]", or pass strategies=("single", "early", "late").',
        FallbackWarning,
    )
    return [name for name in STRATEGIES if name != "joint"]


@dataclass(frozen=True)
class Strategy:
    """Strategy of a comparison with its unfitted estimator.

    Attributes
    ----------
    name : str
        Key in tables.
    label : str
        Name in reports.
    single : bool
        Whether the strategy is a baseline, which uses one modality only.
    estimator : estimator
        Unfitted estimator with a seed.
    modality : str or None
        Modality of a baseline.
    """

    name: str
    label: str
    single: bool
    estimator: Any
    modality: str | None = None


def find_modalities(given: Any, X: pd.DataFrame, *, groups: Any) -> list[Modality]:
    """Resolve a list of triples or ``"auto"`` to the modalities of a cohort.

    Parameters
    ----------
    given : list of (str, estimator, columns) or "auto"
        Modalities.
    X : DataFrame of shape (n_samples, n_columns)
        Cohort.
    groups : column label or None
        Label of the column with patient ids, which is not used as a feature.

    Returns
    -------
    list of Modality

    Raises
    ------
    ValueError, TypeError
        As in `skfusion.modality.check_modalities`.
    """
    if isinstance(given, str) and given == "auto":
        aside = () if groups is None else (groups,)
        given = default_modalities(X, aside, "compare_fusion")
    return check_modalities(given, X, owner="compare_fusion", reserved=())


def standard(
    modalities: list[Modality],
    strategies: Iterable[str] | None,
    *,
    classifier: bool,
    groups: Any,
    random_state: int,
) -> list[Strategy]:
    """Build the default strategies from a list of modalities.

    Parameters
    ----------
    modalities : list of Modality
        Modalities. Fusion requires at least two.
    strategies : iterable of {"single", "early", "late", "joint"} or None
        Strategies to build. None builds all that the installed packages allow.
    classifier : bool
        Whether to build classifiers instead of regressors.
    groups : column label or None
        Label of the column with patient ids.
    random_state : int
        Seed of every estimator.

    Returns
    -------
    list of Strategy

    Raises
    ------
    ValueError
        If a strategy is unknown or not possible with these modalities.
    """
    wanted = _check_names(strategies)
    if len(modalities) < 2 and set(wanted) != {"single"}:
        raise ValueError(
            f"compare_fusion: {len(modalities)} modality was given or found "
            f"({modalities[0].name!r}), but fusion needs at least two."
        )
    triples = [modality.as_triple() for modality in modalities]
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


def _check_names(strategies: Iterable[str] | None) -> list[str]:
    names = available(strategies)
    unknown = [name for name in names if name not in STRATEGIES]
    if unknown or not names:
        raise ValueError(
            f"compare_fusion: strategies must be some of {STRATEGIES}, got "
            f"{(unknown or names)!r}."
        )
    return names


def _fusion_class(name: str, classifier: bool) -> Any:
    # Joint fusion loads torch and is therefore imported only if requested.
    with named_extra(TORCH_PACKAGES, "torch", f"{name.capitalize()} fusion"):
        module = importlib.import_module(f"skfusion.fusion.{name}.estimators")
    kind = "Classifier" if classifier else "Regressor"
    return getattr(module, f"{name.capitalize()}Fusion{kind}")


def _baselines(
    triples: list[tuple[str, Any, Any]],
    *,
    classifier: bool,
    taken: Iterable[str],
    groups: Any,
    random_state: int,
) -> list[Strategy]:
    """Build a late fusion of each single modality as a baseline."""
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
                "fusion cannot join with other features. Pass the transformer without "
                "the predictor, compare strategies=('single', 'late'), or pass a dict "
                "of estimators."
            )


def from_estimators(
    given: Mapping[str, Any],
    X: pd.DataFrame,
    *,
    baselines: bool,
    classifier: bool,
    groups: Any,
    random_state: int,
) -> tuple[list[Strategy], list[Modality]]:
    """Build strategies from estimators, and add baselines if there are none.

    Parameters
    ----------
    given : dict of str to estimator
        Estimators by name. A fusion estimator of one modality is a baseline.
    X : DataFrame of shape (n_samples, n_columns)
        Cohort.
    baselines : bool
        Whether to add each modality alone if none of the estimators is a baseline.
    classifier : bool
        Whether to build classifiers instead of regressors.
    groups : column label or None
        Label of the column with patient ids.
    random_state : int
        Seed of estimators whose `random_state` is None.

    Returns
    -------
    strategies : list of Strategy
    modalities : list of Modality
        Modalities of all estimators, for the description of the cohort.

    Raises
    ------
    ValueError
        If `given` is empty.
    """
    if not given:
        raise ValueError(
            "compare_fusion: the dict of estimators is empty. Pass at least one, "
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
        # A separate generator makes the seed independent of the other estimators.
        ready = seed(clone(estimator), np.random.RandomState(random_state))
        only = found[0].name if single else None
        built.append(Strategy(str(name), str(name), single, ready, only))
    modalities = list(known.values())
    if baselines and not any(strategy.single for strategy in built):
        added = _baselines(
            [modality.as_triple() for modality in modalities],
            classifier=classifier,
            taken=[strategy.name for strategy in built],
            groups=groups,
            random_state=random_state,
        )
        built = [*added, *built]
    return built, modalities


def kind_of(name: str, estimator: Any) -> str:
    """Return whether an estimator of a dict is a classifier or a regressor.

    Parameters
    ----------
    name : str
        Key of the estimator, for the error message.
    estimator : estimator
        Estimator of the dict.

    Returns
    -------
    {"classifier", "regressor"}

    Raises
    ------
    TypeError
        If the estimator is neither.
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
    # A search or a calibrator contains the fusion estimator as its `estimator`.
    while not hasattr(estimator, "modalities") and hasattr(estimator, "estimator"):
        estimator = estimator.estimator
    return getattr(estimator, "modalities", None)
