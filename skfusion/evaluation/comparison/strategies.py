"""Arms of a comparison: fusion strategies and their matched single modalities.

A matched single modality is the same estimator with the other modalities dropped. It
has the same learner, settings, calibration, missing-modality policy and search.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import pandas as pd
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV

from skfusion._dependencies import TORCH_PACKAGES, is_installed, named_extra
from skfusion._fitting.patient_folds import PatientFolds
from skfusion._validation import check_option
from skfusion.evaluation.comparison.study import OWNER, Task
from skfusion.evaluation.metrics import Metric, SearchScore
from skfusion.exceptions import FallbackWarning, warn_user
from skfusion.fusion.base import BaseFusion, default_modalities
from skfusion.fusion.inner_estimators import ends_in_predictor
from skfusion.fusion.restriction import fusions_within, restricted_to
from skfusion.modality import Modality, check_modalities

__all__ = [
    "STRATEGIES",
    "Strategy",
    "available",
    "check_arm_names",
    "find_modalities",
    "from_estimators",
    "standard",
    "with_baselines",
    "with_searches",
]


STRATEGIES = ("single", "early", "late", "joint")
BASELINES = ("matched", "default")
# Columns of the table of predictions, where each strategy has a column as well.
RESERVED = ("row", "repeat", "fold", "group", "y", "event", "time")
# Rules of a late fusion that return the prediction of a member if it is the only one.
RULES_WITHOUT_FIT = ("mean", "weighted", "max", "min", "median", "product")


@dataclass(frozen=True)
class Strategy:
    """Arm of a comparison with its unfitted estimator.

    Attributes
    ----------
    name : str
        Key in tables.
    label : str
        Name in reports.
    role : {"fusion", "single", "without"}
        A fusion, a single modality, or a fusion without one of three or more
        modalities.
    estimator : estimator or None
        Unfitted estimator. None if the predictions are those of a member of the late
        fusion `fusion`, which is fitted anyway.
    modality : str or None
        Modality of a single, or the modality that is left out.
    fusion : str or None
        Name of the fusion of which this arm is a restriction.
    """

    name: str
    label: str
    role: str
    estimator: Any
    modality: str | None = None
    fusion: str | None = None

    @property
    def trains_network(self) -> bool:
        """Whether a joint network is trained, which takes long."""
        # The module of a public class is that of the package that exports it.
        return any(
            kind.__module__.startswith("skfusion.fusion.joint")
            for part in fusions_within(self.estimator).values()
            for kind in type(part).__mro__
        )


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
        f"{OWNER}: joint fusion is left out, because the package "
        f"{absent[0]!r} is not installed. Install it with: pip install "
        '"skfusion[torch]", or pass strategies=("single", "early", "late").',
        FallbackWarning,
    )
    return [name for name in STRATEGIES if name != "joint"]


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
        given = default_modalities(X, aside, OWNER)
    return check_modalities(given, X, owner=OWNER, reserved=())


def standard(
    modalities: list[Modality],
    strategies: Iterable[str] | None,
    *,
    task: Task,
    groups: Any,
) -> list[Strategy]:
    """Build the fusions of a list of modalities, or the single modalities alone.

    Parameters
    ----------
    modalities : list of Modality
        Modalities. Fusion requires at least two.
    strategies : iterable of {"single", "early", "late", "joint"} or None
        Strategies to build. None builds all that the installed packages allow.
    task : Task
        Kind of the outcome.
    groups : column label or None
        Label of the column with patient ids.

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
            f"{OWNER}: {len(modalities)} modality was given or found "
            f"({modalities[0].name!r}), but fusion needs at least two."
        )
    triples = [modality.as_triple() for modality in modalities]
    if set(wanted) == {"single"}:
        return default_singles(triples, task, groups)
    built = []
    for name in ("early", "late", "joint"):
        if name not in wanted:
            continue
        if name != "late":
            _refuse_predictors(modalities, name)
        estimator = _fusion_class(name, task)(triples, groups=groups)
        built.append(Strategy(name, f"{name} fusion", "fusion", estimator))
    return built


def _check_names(strategies: Iterable[str] | None) -> list[str]:
    names = available(strategies)
    unknown = [name for name in names if name not in STRATEGIES]
    if unknown or not names:
        raise ValueError(
            f"{OWNER}: strategies must be some of {STRATEGIES}, got "
            f"{(unknown or names)!r}."
        )
    return names


def _fusion_class(name: str, task: Task) -> Any:
    # Joint fusion loads torch and is therefore imported only if requested.
    with named_extra(TORCH_PACKAGES, "torch", f"{name.capitalize()} fusion"):
        module = importlib.import_module(f"skfusion.fusion.{name}.estimators")
    kinds = {"regression": "Regressor", "survival": "Survival"}
    kind = kinds.get(task.kind, "Classifier")
    return getattr(module, f"{name.capitalize()}Fusion{kind}")


def default_singles(
    triples: list[tuple[str, Any, Any]], task: Task, groups: Any
) -> list[Strategy]:
    """Return a late fusion of each modality alone, with the default learner."""
    late = _fusion_class("late", task)
    return [
        Strategy(
            triple[0],
            f"{triple[0]} alone",
            "single",
            late([triple], groups=groups),
            triple[0],
        )
        for triple in triples
    ]


def _refuse_predictors(modalities: list[Modality], name: str) -> None:
    for modality in modalities:
        if ends_in_predictor(modality.transformer):
            raise ValueError(
                f"{OWNER}: {modality.label} ends in a predictor, which {name} "
                "fusion cannot join with other features. Pass the transformer without "
                "the predictor, compare strategies=('single', 'late'), or pass a dict "
                "of estimators."
            )


def from_estimators(
    given: Mapping[str, Any], X: pd.DataFrame, *, groups: Any
) -> tuple[list[Strategy], list[Modality]]:
    """Build arms from estimators.

    Parameters
    ----------
    given : dict of str to estimator
        Estimators by name. A fusion of one modality is a single modality.
    X : DataFrame of shape (n_samples, n_columns)
        Cohort.
    groups : column label or None
        Label of the column with patient ids.

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
            f"{OWNER}: the dict of estimators is empty. Pass at least one, "
            "{name: estimator}."
        )
    built: list[Strategy] = []
    known: dict[str, Modality] = {}
    for name, estimator in given.items():
        ready, found = _with_modalities(estimator, X, groups)
        for modality in found:
            known.setdefault(modality.name, modality)
        role = "single" if len(found) == 1 else "fusion"
        only = found[0].name if role == "single" else None
        built.append(Strategy(str(name), str(name), role, ready, only))
    return built, list(known.values())


def _with_modalities(
    estimator: Any, X: pd.DataFrame, groups: Any
) -> tuple[Any, list[Modality]]:
    """Return a clone with a list of modalities in each fusion, and the modalities."""
    ready = clone(estimator)
    known: dict[str, Modality] = {}
    for prefix, fusion in fusions_within(ready).items():
        found = find_modalities(fusion.modalities, X, groups=groups)
        if isinstance(fusion.modalities, str):
            triples = [modality.as_triple() for modality in found]
            ready.set_params(**{f"{prefix}modalities": triples})
        known.update({m.name: m for m in found})
    return ready, list(known.values())


def with_searches(
    strategies: list[Strategy],
    search: Any,
    metric: Metric,
    *,
    task: Task,
    has_groups: bool,
) -> list[Strategy]:
    """Put a grid search around the fusions that have a grid.

    Parameters
    ----------
    strategies : list of Strategy
        Fusions and single modalities.
    search : dict of str to dict or list of dict, or None
        Parameter grid by name of the strategy.
    metric : Metric
        Primary metric, which the search optimises.
    task : Task
        Kind of the outcome.
    has_groups : bool
        Whether the inner folds keep patients together.

    Returns
    -------
    list of Strategy

    Raises
    ------
    ValueError
        If a name is not that of a strategy.
    """
    if search is None:
        return strategies
    unknown = set(search) - {s.name for s in strategies}
    if not isinstance(search, Mapping) or unknown:
        raise ValueError(
            f"{OWNER}: search must be a dict with a parameter grid by strategy, got "
            f"{sorted(map(str, unknown))}. The strategies are "
            f"{[s.name for s in strategies]}."
        )
    cv = PatientFolds(5, shuffle=True) if has_groups else 5
    scoring = SearchScore(metric, task.classes)
    if metric.name == "integrated_brier":
        raise ValueError(
            f"{OWNER}: search cannot optimise the integrated Brier score. Put "
            "'concordance' first in scoring."
        )
    return [
        replace(
            s,
            estimator=GridSearchCV(s.estimator, search[s.name], scoring=scoring, cv=cv),
        )
        if s.name in search
        else s
        for s in strategies
    ]


def with_baselines(
    strategies: list[Strategy],
    modalities: list[Modality],
    baselines: Any,
    *,
    task: Task,
    groups: Any,
) -> list[Strategy]:
    """Add single modalities, and fusions without one of three or more modalities.

    Parameters
    ----------
    strategies : list of Strategy
        Fusions, and single modalities of the user.
    modalities : list of Modality
        Modalities of the cohort.
    baselines : {"matched", "default"}, list of str or None
        Parameter of `compare_fusion`.
    task : Task
        Kind of the outcome.
    groups : column label or None
        Label of the column with patient ids.

    Returns
    -------
    list of Strategy
        Single modalities come first.

    Raises
    ------
    ValueError
        If `baselines` is invalid.
    """
    if baselines is None:
        return strategies
    if not isinstance(baselines, str):
        return _declared(strategies, list(baselines))
    check_option(
        baselines,
        "baselines",
        BASELINES,
        OWNER,
        also="None or a list of names of single modalities",
    )
    taken = {strategy.name for strategy in strategies}
    added: list[Strategy] = []
    if baselines == "default":
        triples = [modality.as_triple() for modality in modalities]
        added = [
            replace(s, name=s.label) if s.name in taken else s
            for s in default_singles(triples, task, groups)
        ]
    else:
        for strategy in strategies:
            if strategy.role == "fusion":
                added += _restrictions(strategy, task)
    singles = [s for s in strategies if s.role == "single"]
    fusions = [s for s in strategies if s.role == "fusion"]
    added_singles = [s for s in added if s.role == "single"]
    without = [s for s in added if s.role == "without"]
    return [*singles, *added_singles, *fusions, *without]


def _declared(strategies: list[Strategy], names: list[str]) -> list[Strategy]:
    """Return the arms where those of the list are single modalities."""
    unknown = set(names) - {strategy.name for strategy in strategies}
    if unknown:
        raise ValueError(
            f"{OWNER}: baselines contains {sorted(unknown)}, but the estimators are "
            f"{[s.name for s in strategies]}."
        )
    return [
        replace(s, role="single", modality=s.modality or s.name, fusion="")
        if s.name in names
        else s
        for s in strategies
    ]


def _restrictions(strategy: Strategy, task: Task) -> list[Strategy]:
    """Return a fusion with each modality alone, and without each of them."""
    names: dict[str, None] = {}
    for fusion in fusions_within(strategy.estimator).values():
        names.update(
            dict.fromkeys(m for m, part, _ in fusion.modalities if part != "drop")
        )
    has_members = _has_single_members(strategy.estimator, task)
    built = [
        Strategy(
            f"{name} in {strategy.name}",
            f"{name} alone ({strategy.label})",
            "single",
            None if has_members else restricted_to(strategy.estimator, [name]),
            name,
            strategy.name,
        )
        for name in names
    ]
    if len(names) < 3:
        return built
    return built + [
        Strategy(
            f"{strategy.name} without {name}",
            f"{strategy.label} without {name}",
            "without",
            restricted_to(strategy.estimator, [n for n in names if n != name]),
            name,
            strategy.name,
        )
        for name in names
    ]


def check_arm_names(strategies: Iterable[Strategy]) -> None:
    """Check that strategies have different names, and no name of a table's column.

    Raises
    ------
    ValueError
        If a name occurs twice or is reserved.
    """
    names = [strategy.name for strategy in strategies]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ValueError(
            f"{OWNER}: {len(twice)} names stand for several strategies, the first is "
            f"{twice[0]!r}. A fusion restricted to a modality is named 'MODALITY in "
            "FUSION', and without a modality 'FUSION without MODALITY'. Rename the "
            "estimators of the dict."
        )
    reserved = [name for name in names if name in RESERVED]
    if reserved:
        raise ValueError(
            f"{OWNER}: {reserved[0]!r} cannot be the name of a strategy, because the "
            f"table of predictions has a column of this name. Reserved are {RESERVED}."
        )


def _has_single_members(estimator: Any, task: Task) -> bool:
    """Return whether the members of a late fusion are its single modalities.

    They are fitted anyway. This is the case if the fusion of one member is the member:
    not with a meta-model, votes, ranks or a final calibration. Members of a survival
    analysis have no survival curves.
    """
    return (
        isinstance(estimator, BaseFusion)
        and getattr(estimator, "aggregation", None) in RULES_WITHOUT_FIT
        and getattr(estimator, "final_calibration", None) is None
        and task.kind != "survival"
    )
