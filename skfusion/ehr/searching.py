"""Searches over the windows of all event modalities of a model."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import pandas as pd
from sklearn.base import clone
from sklearn.pipeline import Pipeline

from skfusion._fitting.pipelines import is_passthrough
from skfusion.ehr.windows.event_windows import EventWindows

__all__ = ["prepare_modalities", "windows_grid"]


def windows_grid(
    model: Any, candidates: Iterable[Sequence[Any]]
) -> list[dict[str, list[Any]]]:
    """Return a grid for a search of one setting of windows for all event modalities.

    The parameters of a product, with one list of windows for each modality, would have
    a candidate for each combination: 729 for three settings in six modalities. The
    returned grid has one candidate for each setting.

    Parameters
    ----------
    model : estimator
        The model of the search: a fusion estimator, or any estimator around one or
        around an `EventWindows`, such as a `Pipeline`.
    candidates : iterable of tuple
        Settings of the parameter ``windows`` of `EventWindows`, such as
        ``[("1d",), ("1d", "365d")]``.

    Returns
    -------
    list of dict of str to list
        Value of ``param_grid`` of `GridSearchCV`: one dict for each candidate, which
        sets the windows of each `EventWindows` in the model. Other parameters can be
        added to each dict, as in ``[{**one, "groups": [...]} for one in grid]``.

    Raises
    ------
    ValueError
        If the model has no `EventWindows` among its parameters, or there is no
        candidate.
    TypeError
        If a candidate is not a sequence of windows.

    See Also
    --------
    prepare_modalities : Features computed once for all candidates and folds.

    Examples
    --------
    >>> import numpy as np
    >>> import pandas as pd
    >>> from sklearn.model_selection import GridSearchCV
    >>> from skfusion import EarlyFusionClassifier, EventStore
    >>> from skfusion.ehr import domain_modalities, prepare_modalities, windows_grid
    >>> events = pd.DataFrame({
    ...     "subject_id": np.arange(60),
    ...     "time": pd.Timestamp("2024-01-10 06:00"),
    ...     "code": np.tile(["LAB//crp", "LAB//hb", "DIAGNOSIS//J18"], 20),
    ...     "numeric_value": np.arange(60.0),
    ... })
    >>> X = pd.DataFrame({
    ...     "subject_id": np.arange(60), "index_time": pd.Timestamp("2024-01-10 12:00")
    ... })
    >>> domains = {"labs": ("LAB//*",), "diagnoses": ("DIAGNOSIS//*",)}
    >>> store = EventStore.from_frame(events)
    >>> modalities = domain_modalities(store, domains=domains, min_subjects=1)
    >>> candidates = [("1d",), ("1d", "365d")]
    >>> prepared = prepare_modalities(modalities, X, windows=candidates)
    >>> model = EarlyFusionClassifier(prepared, random_state=0)
    >>> windows_grid(model, candidates)
    [{'labs__windows': [('1d',)], 'diagnoses__windows': [('1d',)]},
     {'labs__windows': [('1d', '365d')], 'diagnoses__windows': [('1d', '365d')]}]
    >>> search = GridSearchCV(model, windows_grid(model, candidates), cv=2)
    >>> search.fit(X, np.arange(60) > 30).cv_results_["params"][0]
    {'diagnoses__windows': ('1d',), 'labs__windows': ('1d',)}
    """
    names = [
        f"{name}__windows" if name else "windows"
        for name, part in {"": model, **model.get_params(deep=True)}.items()
        if isinstance(part, EventWindows)
    ]
    if not names:
        raise ValueError(
            f"windows_grid: got {type(model).__name__} without an EventWindows among "
            "its parameters. Pass the model of the search, with its modalities."
        )
    settings = list(candidates)
    if not settings:
        raise ValueError("windows_grid: candidates must have at least 1 entry, got 0.")
    for windows in settings:
        if isinstance(windows, str) or not isinstance(windows, Sequence):
            raise TypeError(
                "windows_grid: each candidate must be a tuple of windows such as "
                f"('1d', '365d'), got {windows!r}."
            )
    return [{name: [windows] for name in names} for windows in settings]


def prepare_modalities(
    modalities: Iterable[tuple[str, Any, Any]],
    X: pd.DataFrame,
    *,
    windows: Sequence[Any] | None = None,
    aggs: Sequence[str] = (),
) -> list[tuple[str, Any, Any]]:
    """Compute the event features of modalities once for all settings of a search.

    Parameters
    ----------
    modalities : list of (str, transformer, columns)
        Modalities, such as those of `domain_modalities`.
    X : DataFrame of shape (n_samples, n_columns)
        All rows of the search. Other rows are computed when they are transformed.
    windows : tuple, list of tuples or None, default=None
        Windows of the search, or its candidates such as ``[("1d",), ("1d", "365d")]``,
        in addition to those of each transformer.
    aggs : tuple of str, default=()
        Statistics of the search, in addition to those of each transformer.

    Returns
    -------
    list of (str, transformer, columns)
        The same modalities, with clones of their transformers. Each `EventWindows`,
        also as the first step of a `Pipeline`, is the result of `EventWindows.prepare`.
        Other transformers are the same.

    Raises
    ------
    ValueError
        If no modality has an `EventWindows`, or one cannot be prepared, such as with
        `clip`.
    TypeError
        If `modalities` is not a list, such as a model.

    See Also
    --------
    windows_grid : A grid of one setting of windows for all modalities.
    with_events : A fitted model that reads other events.

    Notes
    -----
    A row without a subject or an index time, in which a modality is absent, is not
    computed.

    Examples
    --------
    >>> import pandas as pd
    >>> from skfusion import EventStore
    >>> from skfusion.ehr import domain_modalities, prepare_modalities
    >>> store = EventStore.from_frame(pd.DataFrame({
    ...     "subject_id": [1, 2], "code": "LAB//crp", "numeric_value": [40.0, 10.0],
    ...     "time": pd.to_datetime(["2024-05-01 09:00", "2024-05-09 09:30"]),
    ... }))
    >>> X = pd.DataFrame({
    ...     "subject_id": [1, 2], "index_time": pd.Timestamp("2024-05-10 12:00")
    ... })
    >>> labs = domain_modalities(store, domains={"labs": ("LAB//*",)}, min_subjects=1)
    >>> prepared = prepare_modalities(labs, X, windows=("1d", "30d"))
    >>> prepared[0][1].events
    PreparedWindows(2 rows, 24 features)
    """
    given: Any = modalities
    if isinstance(given, str) or not isinstance(given, Iterable):
        kind = type(given).__name__
        raise TypeError(
            "prepare_modalities: modalities must be a list of (name, transformer, "
            f"columns), got {kind}. Pass the modalities of the model, and the returned "
            "list to the model."
        )
    if not isinstance(X, pd.DataFrame):
        raise ValueError(
            f"prepare_modalities: X must be a DataFrame, got {type(X).__name__}."
        )
    lengths = None if windows is None else list(dict.fromkeys(_lengths(windows)))
    made: list[tuple[str, Any, Any]] = []
    n_prepared = 0
    for name, transformer, columns in modalities:
        first = _first_step(transformer)
        if not isinstance(first, EventWindows):
            made.append((name, transformer, columns))
            continue
        keys = [key for key in (first.subject, first.time) if key in X]
        try:
            prepared = first.prepare(X.dropna(subset=keys), windows=lengths, aggs=aggs)
        except (ValueError, TypeError) as error:
            error.args = (f"In modality {name!r}: {error}",)
            raise
        made.append((name, _with_first_step(transformer, prepared), columns))
        n_prepared += 1
    if not n_prepared:
        raise ValueError(
            f"prepare_modalities: got {len(made)} modalities, and none of them has an "
            "EventWindows. Only its features can be prepared."
        )
    return made


def _lengths(windows: Any) -> Iterator[Any]:
    """Yield the windows of a setting, or of several."""
    if isinstance(windows, str):
        yield windows
        return
    for entry in windows:
        if isinstance(entry, list | tuple):
            yield from entry
        else:
            yield entry


def _first_step(transformer: Any) -> Any:
    """Return the transformer that receives the columns of the modality."""
    if isinstance(transformer, Pipeline):
        steps = (step for _, step in transformer.steps if not is_passthrough(step))
        return _first_step(next(steps, None))
    return transformer


def _with_first_step(transformer: Any, prepared: Any) -> Any:
    """Return a clone of a transformer with another first step."""
    if not isinstance(transformer, Pipeline):
        return prepared
    copy = clone(transformer)
    for number, (name, step) in enumerate(copy.steps):
        if not is_passthrough(step):
            copy.steps[number] = (name, _with_first_step(step, prepared))
            break
    return copy
