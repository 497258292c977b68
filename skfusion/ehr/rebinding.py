"""Prediction for events of other subjects than those of the training: `with_events`."""

from __future__ import annotations

import copy
import os
import sys
import types
from collections.abc import Iterator, Mapping
from itertools import groupby
from typing import Any

import numpy as np
import pandas as pd
from sklearn.base import BaseEstimator

from skfusion._validation import did_you_mean
from skfusion.ehr.events.store import EventStore, as_store
from skfusion.ehr.point_in_time.cases import EventTransformer
from skfusion.ehr.point_in_time.other_events import (
    warn_of_other_codes,
    warn_of_other_units,
)

__all__ = ["with_events"]

Events = EventStore | str | os.PathLike[str]


def with_events(model: Any, events: Events | Mapping[str, Events]) -> Any:
    """Return a copy of a fitted model that reads other events.

    A fitted model reads the store of its training. Subjects who arrive later are in
    another store. The copy predicts for them with everything that was learned: codes,
    encoders, weights and boosters are shared with `model`, not copied, and `model`
    itself is not changed.

    Parameters
    ----------
    model : estimator
        A fitted fusion estimator, an event transformer (`EventWindows`, `EventGrid`,
        `Demographics`), or any estimator that contains one, such as a `Pipeline`, a
        search, a calibrated or a stacked model.
    events : EventStore, path or mapping of str to EventStore or path
        The other events. A mapping gives the events of some modalities or steps by
        name, and the others keep their events.

    Returns
    -------
    estimator
        The copy, of the type of `model`. Its parameters contain the new events, too.

    Raises
    ------
    TypeError
        If `events` is of another type.
    ValueError
        If no part of `model` reads events, or a name of the mapping is not the name of
        such a part.

    Warns
    -----
    DataWarning
        If the other events have none of the codes that a part has learned, but others
        in their place, or if values of a learned code have another unit.

    See Also
    --------
    EventStore.from_frame : Events of new subjects from a table.

    Notes
    -----
    A code that was learned and does not occur in the new events is a code without
    events, as for any subject. Codes that occur in the new events only are ignored.
    Prepared features (`EventWindows.prepare`) are those of the training events. The
    copy computes its features from the new events.

    Examples
    --------
    >>> import numpy as np
    >>> import pandas as pd
    >>> from skfusion import EarlyFusionClassifier, EventStore
    >>> from skfusion.ehr import domain_modalities, with_events
    >>> events = pd.DataFrame({
    ...     "subject_id": np.arange(60),
    ...     "time": pd.Timestamp("2024-01-10 06:00"),
    ...     "code": "LAB//crp",
    ...     "numeric_value": np.arange(60.0),
    ... })
    >>> X = pd.DataFrame({
    ...     "subject_id": np.arange(60), "index_time": pd.Timestamp("2024-01-10 12:00")
    ... })
    >>> y = np.arange(60) > 30
    >>> labs = domain_modalities(EventStore.from_frame(events),
    ...                          domains={"labs": ("LAB//*",)})
    >>> model = EarlyFusionClassifier(labs, random_state=0).fit(X, y)
    >>> arrived = EventStore.from_frame(events.tail(1).assign(subject_id=1000))
    >>> case = X.tail(1).assign(subject_id=1000)
    >>> with_events(model, arrived).predict(case)
    array([ True])
    """
    places = _EventPlaces(model)
    if not places.names:
        raise ValueError(
            f"with_events: got {type(model).__name__}, and no part of it reads events. "
            "Pass a fitted model with EventWindows, EventGrid or Demographics."
        )
    if isinstance(events, Mapping):
        stores = _by_place(events, places.names)
    else:
        stores = dict.fromkeys(places.names, as_store(events, "with_events"))
    parts = [(*places.named_part(key), store) for key, store in stores.items()]
    warn_of_other_codes(parts, "with_events")
    warn_of_other_units(parts, "with_events")
    return places.rebuilt(stores)


def _by_place(
    events: Mapping[str, Events], places: Mapping[int, tuple[str, ...]]
) -> dict[int, EventStore]:
    """Return the events of each transformer from those by name."""
    known = sorted({name for path in places.values() for name in path})
    stores = {}
    for name, given in events.items():
        if name not in known:
            raise ValueError(
                f"with_events: got events for {name!r}, and no part of this name reads "
                f"events.{did_you_mean(str(name), known)} Names are {known}."
            )
        stores[name] = as_store(given, "with_events")
    chosen = {}
    for key, path in places.items():
        # The outermost name is that of the modality, the others are those of its steps.
        found = [stores[name] for name in path if name in stores]
        if found:
            chosen[key] = found[0]
    return chosen


class _EventPlaces:
    """Event transformers inside a model, and the objects on the way to them.

    Attributes
    ----------
    names : dict of int to tuple of str
        Identity of each event transformer -> the names of the modalities and steps
        that contain it, from outside.
    """

    def __init__(self, model: Any) -> None:
        self.names: dict[int, tuple[str, ...]] = {}
        self._model = model
        self._parents: dict[int, list[int]] = {}
        self._alive: dict[int, Any] = {}
        self._explore(model)

    def _explore(self, model: Any) -> None:
        # No recursion, because linked structures can be deeper than Python's stack.
        waiting: list[tuple[Any, tuple[str, ...]]] = [(model, ())]
        self._alive[id(model)] = model
        while waiting:
            owner, path = waiting.pop()
            if isinstance(owner, EventTransformer):
                self.names[id(owner)] = path
                continue
            for name, part in _named_parts(owner):
                if _is_leaf(part):
                    continue
                self._parents.setdefault(id(part), []).append(id(owner))
                if id(part) not in self._alive:
                    self._alive[id(part)] = part
                    waiting.append((part, (*path, name) if name else path))

    def named_part(self, key: int) -> tuple[str, Any]:
        """Return an event transformer and its name in messages."""
        part, path = self._alive[key], self.names[key]
        places = " / ".join(repr(name) for name, _ in groupby(path))
        return f"{type(part).__name__}{f' of {places}' if places else ''}", part

    def rebuilt(self, events: Mapping[int, Any]) -> Any:
        """Return the model with copies of the parts that lead to changed transformers.

        Parameters
        ----------
        events : mapping of int to EventStore
            Identity of each transformer to change -> its new events.
        """
        changed, waiting = set(events), list(events)
        while waiting:
            for parent in self._parents.get(waiting.pop(), ()):
                if parent not in changed:
                    changed.add(parent)
                    waiting.append(parent)
        return _rebuilt(self._model, changed, events, {})


def _rebuilt(
    part: Any, changed: set[int], events: Mapping[int, Any], made: dict[int, Any]
) -> Any:
    """Return the copy of a part, or the part itself if nothing in it changes."""
    if id(part) not in changed:
        return part
    if id(part) in made:
        return made[id(part)]

    def again(child: Any) -> Any:
        return _rebuilt(child, changed, events, made)

    if isinstance(part, tuple):
        children = [again(child) for child in part]
        # A named tuple is made from its elements.
        make = getattr(type(part), "_make", tuple)
        return made.setdefault(id(part), make(children))
    new = made[id(part)] = _shallow_copy(part)
    for key, child in _items(part):
        new[key] = again(child)
    for name, child in _attributes(part).items():
        object.__setattr__(new, name, again(child))
    if id(part) in events:
        new.events = events[id(part)]
    return new


def _items(part: Any) -> list[tuple[Any, Any]]:
    """Return the keys and elements of a container that can be changed."""
    if isinstance(part, dict):
        return list(part.items())
    if isinstance(part, np.ndarray):
        return list(np.ndenumerate(part))
    return list(enumerate(part)) if isinstance(part, list) else []


def _shallow_copy(part: Any) -> Any:
    """Return a copy of a container, or an instance without attributes."""
    if isinstance(part, dict | list | np.ndarray):
        return copy.copy(part)
    # Not `copy.copy`: an object may have a `__getstate__` that drops attributes.
    return object.__new__(type(part))


def _named_parts(owner: Any) -> Iterator[tuple[str | None, Any]]:
    """Return the parts of an object, with the name that the object gives them."""
    if isinstance(owner, dict):
        for key, part in owner.items():
            yield (key if isinstance(key, str) else None), part
    elif isinstance(owner, list | tuple | np.ndarray):
        # A triple of a fusion, a step of a pipeline: the first element is the name.
        first = owner[0] if isinstance(owner, tuple) and len(owner) > 1 else None
        for part in owner.ravel() if isinstance(owner, np.ndarray) else owner:
            yield (first if isinstance(first, str) else None), part
    attributes = _attributes(owner)
    name = None
    if not isinstance(owner, BaseEstimator):
        # The description of a modality or of a member of late fusion.
        name = attributes.get("name")
    for part in attributes.values():
        yield (name if isinstance(name, str) else None), part


def _attributes(part: Any) -> dict[str, Any]:
    """Return the attributes of an instance, those in slots included."""
    found = dict(getattr(part, "__dict__", {}))
    for kind in type(part).__mro__:
        slots = vars(kind).get("__slots__", ())
        for name in (slots,) if isinstance(slots, str) else slots:
            if name not in ("__dict__", "__weakref__") and hasattr(part, name):
                found[name] = getattr(part, name)
    return found


_ATOMS = (str, bytes, int, float, complex, bool, type(None), np.generic, type)
_CODE = (types.ModuleType, types.FunctionType, types.MethodType)
_TABLES = (pd.DataFrame, pd.Series, pd.Index, EventStore)
# Packages whose objects contain no estimator: they are shared without a look inside.
_FOREIGN = ("torch", "pandas", "numpy", "scipy", "polars", "pyarrow", "builtins")


def _is_leaf(part: Any) -> bool:
    """Return whether a part is shared without a look inside."""
    if isinstance(part, _ATOMS + _CODE + _TABLES):
        return True
    if isinstance(part, np.ndarray):
        return part.dtype != object
    if isinstance(part, dict | list | tuple):
        return False
    if isinstance(part, BaseEstimator):
        return False
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(part, torch.nn.Module | torch.Tensor):
        return True
    return type(part).__module__.partition(".")[0] in _FOREIGN
