"""Estimators restricted to some of their modalities, whatever is around the fusion.

A matched baseline is the same procedure on fewer modalities. This includes the steps
before the fusion, a search with its candidates, and a calibration.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator
from typing import Any

from sklearn.base import clone
from sklearn.frozen import FrozenEstimator

from skfusion.fusion.base import BaseFusion

__all__ = ["fusions_within", "restricted_to"]

SPACES = ("param_grid", "param_distributions", "search_spaces")


def fusions_within(estimator: Any) -> dict[str, Any]:
    """Return the fusion estimators inside an estimator.

    Parameters
    ----------
    estimator : estimator
        A fusion, or an estimator with fusions in its parameters, such as a `Pipeline`,
        a search, a calibrated classifier or a voting classifier.

    Returns
    -------
    dict of str to estimator
        Each fusion by the prefix of its parameters, such as ``"estimator__"``. The
        prefix of the estimator itself is ``""``. A fusion that is a transformer of
        another fusion is not listed.

    Examples
    --------
    >>> from sklearn.calibration import CalibratedClassifierCV
    >>> from skfusion import LateFusionClassifier
    >>> from skfusion.fusion.restriction import fusions_within
    >>> list(fusions_within(CalibratedClassifierCV(LateFusionClassifier())))
    ['estimator__']
    """
    return dict(_walk(estimator, ""))


def _walk(estimator: Any, prefix: str) -> Iterator[tuple[str, Any]]:
    if isinstance(estimator, BaseFusion):
        yield prefix, estimator
    elif hasattr(estimator, "get_params") and not isinstance(estimator, type):
        for name, value in estimator.get_params(deep=False).items():
            for key, part in _parts(name, value):
                yield from _walk(part, f"{prefix}{key}__")


def _parts(name: str, value: Any) -> Iterator[tuple[str, Any]]:
    """Yield a parameter, or the entries of a list of steps, by name."""
    if isinstance(value, (list, tuple)):
        # The steps of a Pipeline and the estimators of a VotingClassifier are
        # parameters by their own names.
        for entry in value:
            if isinstance(entry, (list, tuple)) and len(entry) > 1:
                yield str(entry[0]), entry[1]
    else:
        yield name, value


def restricted_to(estimator: Any, names: Collection[str]) -> Any:
    """Return an unfitted clone of an estimator that uses only some modalities.

    Parameters
    ----------
    estimator : estimator
        A fusion, or an estimator around one or more fusions. It may be fitted.
    names : collection of str
        Names of the modalities to keep.

    Returns
    -------
    estimator
        Clone with the same parameters. The other modalities are ``"drop"``, so that
        parameters with one entry per modality keep their order. The candidates of a
        search do without the parameters of dropped modalities.

    Raises
    ------
    ValueError
        If there is no fusion in the estimator, a name is unknown, no name is given, or
        a part without modalities would see all columns.

    Examples
    --------
    >>> from sklearn.model_selection import GridSearchCV
    >>> from sklearn.preprocessing import StandardScaler
    >>> from skfusion import EarlyFusionClassifier
    >>> from skfusion.fusion.restriction import restricted_to
    >>> fusion = EarlyFusionClassifier(
    ...     [("image", StandardScaler(), ["mm"]), ("ehr", StandardScaler(), ["age"])])
    >>> search = GridSearchCV(
    ...     fusion, {"image__with_std": [True, False], "missing": ["auto"]})
    >>> alone = restricted_to(search, ["ehr"])
    >>> alone.param_grid
    {'missing': ['auto']}
    >>> [(name, step) for name, step, _ in alone.estimator.modalities]
    [('image', 'drop'), ('ehr', StandardScaler())]
    """
    kept = set(names)
    known: dict[str, None] = {}
    for fusion in fusions_within(estimator).values():
        known.update(dict.fromkeys(_listed(fusion)))
    owner = type(estimator).__name__
    if not known:
        raise ValueError(
            f"{owner}: there is no fusion with a list of modalities inside, so it "
            "cannot be restricted to some of them."
        )
    unknown = kept - set(known)
    if unknown or not kept:
        raise ValueError(
            f"{owner}: the modalities to keep must be some of {list(known)}, got "
            f"{sorted(unknown) or list(names)}."
        )
    return _restricted(estimator, kept)


def _listed(fusion: Any) -> list[str]:
    if isinstance(fusion.modalities, str):  # "auto" is known after fit only
        if not hasattr(fusion, "modalities_"):
            raise ValueError(
                f"{type(fusion).__name__}: modalities={fusion.modalities!r} is "
                "resolved in fit. Fit it, or pass the list of modalities."
            )
        return list(fusion.listed_modalities())
    return [entry[0] for entry in fusion.modalities]


def _restricted(estimator: Any, kept: set[str]) -> Any:
    if isinstance(estimator, BaseFusion):
        return _restricted_fusion(estimator, kept)
    if isinstance(estimator, FrozenEstimator):
        raise ValueError(
            "FrozenEstimator: a frozen fusion cannot be fitted on fewer modalities. "
            "Pass the estimator without FrozenEstimator."
        )
    changed: dict[str, Any] = {}
    for name, value in estimator.get_params(deep=False).items():
        if isinstance(value, (list, tuple)) and any(
            fusions_within(part) for _, part in _parts(name, value)
        ):
            changed[name] = _restricted_list(estimator, name, value, kept)
        elif fusions_within(value):
            changed[name] = _restricted(value, kept)
    copy = clone(estimator).set_params(**changed)
    return _with_fewer_candidates(copy, estimator, kept)


def _restricted_list(estimator: Any, name: str, value: Any, kept: set[str]) -> Any:
    parts = []
    for entry in value:
        part = entry[1]
        if fusions_within(part):
            part = _restricted(part, kept)
        elif name == "estimators" and part != "drop":
            raise ValueError(
                f"{type(estimator).__name__}: {entry[0]!r} in {name} has no list of "
                "modalities, so it would see the columns of all of them. Use "
                "estimators with modalities only."
            )
        parts.append(type(entry)((entry[0], part, *entry[2:])))
    return type(value)(parts)


def _restricted_fusion(fusion: Any, kept: set[str]) -> Any:
    triples = fusion.modalities
    if isinstance(triples, str):
        found = {m.name: m.as_triple() for m in fusion.modality_specs()}
        triples = [found.get(n, (n, "drop", [])) for n in fusion.listed_modalities()]
    changed: dict[str, Any] = {"modalities": _dropped(triples, kept)}
    if "encoders" in fusion.get_params(deep=False):
        changed["encoders"] = _encoders(fusion, kept)
    return clone(fusion).set_params(**changed)


def _dropped(triples: Any, kept: set[str]) -> list[tuple[str, Any, Any]]:
    return [
        (name, part, columns) if name in kept else (name, "drop", [])
        for name, part, columns in triples
    ]


def _encoders(fusion: Any, kept: set[str]) -> Any:
    """Return the encoders of a joint fusion, of which at least one must be trained."""
    given = fusion.encoders
    if not isinstance(given, str):
        return [name for name in given if name in kept] or "all"
    if given == "networks" and not set(fusion.network_modalities()) & kept:
        return "all"
    return given


def _with_fewer_candidates(copy: Any, before: Any, kept: set[str]) -> Any:
    """Take the parameters of dropped modalities from the candidates of a search."""
    given = before.get_params(deep=False)
    name = next((name for name in SPACES if given.get(name) is not None), None)
    if name is None or not hasattr(before, "estimator"):
        return copy
    fusions = fusions_within(before.estimator)
    gone = [
        prefix + modality
        for prefix, fusion in fusions.items()
        for modality in _listed(fusion)
        if modality not in kept
    ]
    lists = {f"{prefix}modalities" for prefix in fusions}

    def reduced(space: dict[str, Any]) -> dict[str, Any]:
        return {
            key: [_dropped(triples, kept) for triples in values]
            if key in lists
            else values
            for key, values in space.items()
            if not any(key == part or key.startswith(f"{part}__") for part in gone)
        }

    spaces = given[name]
    fewer: Any = (
        [reduced(space) for space in spaces]
        if isinstance(spaces, (list, tuple))
        else reduced(spaces)
    )
    copy.set_params(**{name: fewer})
    return _with_possible_draws(copy, fewer)


def _with_possible_draws(search: Any, spaces: Any) -> Any:
    """Draw no more candidates than there are in a random search over lists."""
    n_iter = search.get_params(deep=False).get("n_iter")
    every = spaces if isinstance(spaces, list) else [spaces]
    values = [v for space in every for v in space.values()]
    if n_iter is None or not all(isinstance(v, (list, tuple)) for v in values):
        return search
    n_candidates = sum(math.prod(map(len, space.values())) for space in every)
    return search.set_params(n_iter=min(n_iter, max(n_candidates, 1)))
