"""Names of codes of the events that a model reads."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from typing import Any

import pandas as pd

from skfusion.ehr.events.labels import check_labels
from skfusion.ehr.events.store import EventStore
from skfusion.ehr.point_in_time.cases import EventTransformer
from skfusion.ehr.windows.prepared import PreparedWindows

__all__ = ["find_labels", "stores_of"]


def stores_of(model: Any) -> dict[str, EventStore]:
    """Return the event stores among the parameters of a model.

    Parameters
    ----------
    model : estimator
        Any estimator. Objects without parameters have no stores.

    Returns
    -------
    dict of str to EventStore
        The stores by the names of the parameters. Of prepared features, it is the store
        of their events.
    """
    if not hasattr(model, "get_params"):
        return {}
    return {
        name: value.store if isinstance(value, PreparedWindows) else value
        for name, value in model.get_params(deep=True).items()
        if isinstance(value, EventStore | PreparedWindows)
    }


def find_labels(
    labels: Mapping[str, str] | pd.Series | str | None, model: Any, owner: str
) -> dict[str, str]:
    """Return names of codes as given, or those of the events that a model reads.

    Parameters
    ----------
    labels : mapping, Series, "auto" or None
        Code -> name. "auto" takes the names of all stores of the model. None are no
        names.
    model : estimator
        The model.
    owner : str
        Name of the function for the error message.

    Returns
    -------
    dict of str to str
        Code -> name.

    Raises
    ------
    TypeError
        If `labels` is of another type.
    """
    if isinstance(labels, str):
        if labels != "auto":
            raise TypeError(
                f"{owner}: labels must be a mapping or a Series of the names of codes, "
                f"'auto' or None, got {labels!r}."
            )
        found: dict[str, str] = {}
        for store in _stores_read_by(model):
            try:
                found = {**store.files.labels, **found}
            except FileNotFoundError:  # The model can be elsewhere than its events.
                continue
        return found
    check_labels(labels, owner)
    return {} if labels is None else dict(labels)


def _stores_read_by(model: Any) -> Iterator[EventStore]:
    """Yield the stores of a model, also of transformers with the path of a store."""
    yield from stores_of(model).values()
    if not hasattr(model, "get_params"):
        return
    for part in (model, *model.get_params(deep=True).values()):
        given = getattr(part, "events", None)
        if isinstance(part, EventTransformer) and isinstance(given, str | os.PathLike):
            yield EventStore(given)
