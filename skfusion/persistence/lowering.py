"""A model taken apart: the graph of its objects with stand-ins, and the parts beside.

The graph is not copied. Only the objects on the way to a stand-in are replaced, by
shallow copies with other attributes.
"""

from __future__ import annotations

import enum
import functools
import importlib
import json
import sys
import types
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pandas as pd
from scipy import sparse
from sklearn.base import BaseEstimator

from skfusion._dependencies import require
from skfusion.persistence import learners, replaced, stores
from skfusion.persistence.archive import ModelFileError
from skfusion.persistence.parts import PartSink
from skfusion.persistence.stand_ins import (
    BOUND_METHODS,
    LONGEST_AXIS,
    BoundMethod,
    Cells,
    Column,
    EnumMember,
    Frozen,
    Instance,
    Labels,
    Masked,
    Moment,
    NumberType,
    Pairs,
    Plain,
    Scalar,
    Sparse,
    State,
    Table,
)

__all__ = ["Lowering"]


_ATOMS = frozenset([type(None), bool, int, float, str, bytes, bytearray, slice])
_IN_JSON = frozenset([type(None), bool, int, float, str])
_LONG = 16
_USUAL_STATES = (object.__getstate__, BaseEstimator.__getstate__)


class Lowering:
    """Conversion of a model to objects that skops can hold.

    Parameters
    ----------
    sink : PartSink
        Receives the weights, boosters and facts.
    """

    def __init__(self, sink: PartSink) -> None:
        self.sink = sink
        self._made: dict[int, Any] = {}
        self._alive: list[Any] = []
        self._open: set[int] = set()
        self._path: list[str] = []

    def lower(self, part: Any) -> Any:
        """Return an object without anything that skops cannot hold.

        Parameters
        ----------
        part : any
            A model or a part of it.

        Returns
        -------
        any
            The object itself if nothing in it changes.

        Raises
        ------
        ModelFileError
            If something cannot be saved. The message says where it is and why.
        """
        if type(part) in _ATOMS:
            return part
        key = id(part)
        if key in self._made:
            return self._made[key]
        if key in self._open:
            raise self.error(
                f"a {type(part).__name__} contains itself. Break the circle before "
                "the model is saved"
            )
        self._open.add(key)
        try:
            made = self._convert(part)
        except RecursionError:
            raise self.error("it is nested too deeply") from None
        finally:
            self._open.discard(key)
        self.remember(part, made)
        return made

    def remember(self, part: Any, made: Any) -> None:
        """Let `made` stand for `part` wherever it occurs."""
        self._alive.append(part)  # so that no other object gets its identity
        self._made[id(part)] = made

    @contextmanager
    def at(self, place: str) -> Iterator[None]:
        """Add a step to the place that messages name."""
        self._path.append(place)
        yield
        self._path.pop()

    def error(self, reason: str) -> ModelFileError:
        """Return an error that names the place in the model."""
        where = "".join(self._path[-8:]).lstrip(".")
        place = f" (at {where})" if where else ""
        return ModelFileError(f"save: the model cannot be saved{place}: {reason}.")

    def _convert(self, part: Any) -> Any:
        for holds, convert in _CONVERSIONS:
            if holds(part):
                return convert(self, part)
        special = self._special(part)
        if special is not None:
            return special
        return self._object(part)

    def _special(self, part: Any) -> Any:
        """Return the stand-in of a network, a booster or a store, or None."""
        for found in (stores.lowered(part, self), learners.lowered(part, self)):
            if found is not None:
                return found
        if "torch" not in sys.modules:
            return None
        from skfusion.persistence import networks

        return networks.lowered(part, self)

    # -- containers ---------------------------------------------------------------

    def items(self, values: Any) -> list[Any]:
        """Return the elements of a sequence, each lowered."""
        made = []
        for i, value in enumerate(values):
            with self.at(f"[{i}]"):
                made.append(self.lower(value))
        return made

    def attributes(self, values: dict[str, Any]) -> dict[str, Any]:
        """Return the values of a dict of attributes, each lowered."""
        made = {}
        for name, value in values.items():
            with self.at(f".{name}"):
                made[name] = self.lower(value)
        return made

    def _sequence(self, part: Any) -> Any:
        made = self.items(part)
        if all(new is old for new, old in zip(made, part, strict=True)):
            return part
        if isinstance(part, tuple):
            return getattr(type(part), "_make", tuple)(made)
        return type(part)(made)

    def _tuple(self, part: tuple[Any, ...]) -> Any:
        if hasattr(type(part), "_fields"):
            self._check_importable(type(part))
            return self._sequence(part)
        # A subclass such as torch.Size is as good as its elements.
        return self._sequence(part if type(part) is tuple else tuple(part))

    def _list(self, part: list[Any]) -> Any:
        if type(part) is not list:
            raise self.error(f"{_named(type(part))} is a subclass of list")
        if len(part) > _LONG and all(type(value) in _IN_JSON for value in part):
            return Plain(json.dumps(part))
        return self._sequence(part)

    def _set(self, part: Any) -> Any:
        items = self.items(sorted(part, key=lambda item: (str(type(item)), repr(item))))
        if type(part) is set and all(type(item) in _ATOMS for item in items):
            return part
        return Frozen(items) if isinstance(part, frozenset) else set(items)

    def _dict(self, part: dict[Any, Any]) -> Any:
        if type(part) is not dict:
            self._check_importable(type(part))
        factory = getattr(part, "default_factory", None)
        if factory is not None or not all(type(key) is str for key in part):
            keys = self.items(part)
            values = [self._value(key, value) for key, value in part.items()]
            return Pairs(self.lower(type(part)), keys, values, self.lower(factory))
        made = {key: self._value(key, value) for key, value in part.items()}
        if all(made[key] is part[key] for key in part):
            return part
        if type(part) is dict:
            return made
        new = type(part).__new__(type(part))
        new.update(made)
        return new

    def _value(self, key: Any, value: Any) -> Any:
        with self.at(f"[{key!r}]" if isinstance(key, str) else "[...]"):
            return self.lower(value)

    # -- numpy and pandas ---------------------------------------------------------

    def _array(self, part: np.ndarray) -> Any:
        if isinstance(part, np.ma.MaskedArray):
            return self._masked(part)
        if part.dtype.kind == "O":
            return Cells(list(part.shape), self._list(part.ravel().tolist()))
        if part.dtype.hasobject or part.dtype.kind == "T":
            raise self.error(f"an array of {part.dtype} has no fixed form on disk")
        # A memory map or a matrix is an array of the same values.
        return part if type(part) is np.ndarray else np.array(part, subok=False)

    def _masked(self, part: Any) -> Masked:
        data, mask = np.asarray(part.data), np.ma.getmaskarray(part)
        fill = part.fill_value
        if data.dtype.kind == "O":  # what is masked has no meaning
            data = data.copy()
            data[mask] = None
        return Masked(self.lower(data), self.lower(mask), self.lower(fill))

    def _scalar(self, part: np.generic) -> Any:
        return Scalar(np.asarray(part))

    def _dtype(self, part: Any) -> Any:
        try:
            same = pd.api.types.pandas_dtype(str(part)) == part
        except (TypeError, ValueError):
            same = False
        if not same:
            raise self.error(f"the dtype {part} cannot be made from its name")
        return NumberType(str(part))

    def _sparse(self, part: Any) -> Sparse:
        if max(part.shape) > LONGEST_AXIS:
            raise self.error(
                f"a sparse matrix has an axis of {max(part.shape):,}, more than "
                f"{LONGEST_AXIS:,}"
            )
        rows = part.tocsr()
        return Sparse(
            part.format,
            isinstance(part, sparse.sparray),
            list(part.shape),
            rows.data,
            rows.indices,
            rows.indptr,
        )

    def _moment(self, part: Any) -> Any:
        if part is pd.NaT or part is pd.NA:
            return Moment("NaT" if part is pd.NaT else "NA")
        number = int(part.to_numpy().view(np.int64))
        if isinstance(part, pd.Timedelta):
            return Moment("Timedelta", number, part.unit)
        zone = None if part.tz is None else str(part.tz)
        return Moment("Timestamp", number, part.unit, zone)

    def _index(self, part: pd.Index) -> Labels:
        names = self.items(part.names)
        if isinstance(part, pd.RangeIndex):
            return Labels("RangeIndex", [part.start, part.stop, part.step], names)
        if isinstance(part, pd.MultiIndex):
            levels = [part.get_level_values(i) for i in range(part.nlevels)]
            columns = [self._column(level) for level in levels]
            return Labels("MultiIndex", columns, names)
        frequency = getattr(part, "freqstr", None)  # of dates and durations
        return Labels("Index", self._column(part), names, frequency)

    def _column(self, part: Any) -> Column:
        """Return the values of an index or a series."""
        kind = part.dtype
        if isinstance(kind, pd.CategoricalDtype):
            codes = pd.Categorical(part).codes
            categories = self.lower(kind.categories)
            return Column(np.asarray(codes), None, categories, kind.ordered)
        if isinstance(kind, np.dtype):
            return Column(self.lower(part.to_numpy()), NumberType(str(kind)))
        values = np.asarray(part.array.astype(object), dtype=object)
        return Column(self.lower(values), self._dtype(kind))

    def _table(self, part: Any) -> Table:
        index = self.lower(part.index)
        if isinstance(part, pd.Series):
            return Table([self._column(part)], index, None, self.lower(part.name))
        columns = [self._column(part.iloc[:, j]) for j in range(part.shape[1])]
        return Table(columns, index, self.lower(part.columns))

    # -- code ---------------------------------------------------------------------

    def _code(self, part: Any) -> Any:
        if isinstance(part, types.MethodType):
            owner, name = part.__self__, part.__func__.__name__
            if isinstance(owner, BaseEstimator) and name in BOUND_METHODS:
                return BoundMethod(self.lower(owner), name)
            raise self.error(
                f"the method {part.__func__.__qualname__} is bound to an object. Use "
                "a function of a module that can be imported"
            )
        self._check_importable(part)
        return part

    def _partial(self, part: Any) -> Any:
        if type(part) is not functools.partial or vars(part):
            raise self.error("only a plain functools.partial can be saved")
        function, arguments = self.lower(part.func), self.lower(part.args)
        keywords = self.lower(part.keywords)
        new = (function, arguments, keywords)
        old = (part.func, part.args, part.keywords)
        if all(a is b for a, b in zip(new, old, strict=True)):
            return part
        raise self.error("an argument of a functools.partial is no plain value")

    def _check_importable(self, part: Any) -> None:
        """Check that a class or function is found under its name by another process."""
        module: Any = getattr(part, "__module__", None)
        name = getattr(part, "__name__", "")
        if isinstance(part, np.ufunc):
            return  # of numpy or scipy, which skops knows
        if module is None:
            module = getattr(getattr(part, "__self__", None), "__name__", "builtins")
        qualified = getattr(part, "__qualname__", name)
        if name == "<lambda>" or "<locals>" in qualified:
            raise self.error(
                f"{qualified} of {module} is defined inside a function, so that no "
                "other process can import it. Define it at the top of a module"
            )
        if module in ("__main__", "__mp_main__"):
            raise self.error(
                f"{qualified} is defined in the script or notebook itself, so that no "
                "other process can import it. Put it into a module"
            )
        try:
            found = getattr(importlib.import_module(module), name, None)
        except ImportError:
            found = None
        if found is not part:
            raise self.error(
                f"{module}.{qualified} cannot be imported under this name. Put it at "
                "the top of a module"
            )

    def _enum(self, part: enum.Enum) -> EnumMember:
        return EnumMember(self.lower(type(part)), part.name)

    # -- other objects ------------------------------------------------------------

    def _object(self, part: Any) -> Any:
        kind = type(part)
        self._check_importable(kind)
        slots = _slots_of(kind)
        if slots:
            values = {
                name: getattr(part, name) for name in slots if hasattr(part, name)
            }
            values.update(getattr(part, "__dict__", {}))
            return Instance(self.lower(kind), self.attributes(values))
        if not hasattr(part, "__dict__"):
            return self._opaque(part)
        if type(part).__getstate__ not in _USUAL_STATES:
            return self._stated(part)
        own = vars(part)
        made = self.attributes(own | replaced.changed_attributes(part, self))
        if len(made) == len(own) and all(made[name] is own[name] for name in own):
            return part
        new = object.__new__(kind)
        new.__dict__.update(made)
        return new

    def _stated(self, part: Any) -> Any:
        """Return the state that an object hands to its copies."""
        state = part.__getstate__()
        if not isinstance(state, dict):
            return self._opaque(part)
        state.pop("_sklearn_version", None)  # the manifest has it
        return State(self.lower(type(part)), self.attributes(state))

    def _opaque(self, part: Any) -> Any:
        """Return an object that skops takes apart by itself, such as a tree."""
        io = require("skops.io", "persistence")
        try:
            io.dumps(part)
        except Exception as failure:
            raise self.error(
                f"an object of type {_named(type(part))} has no form without pickle "
                f"({type(failure).__name__})"
            ) from failure
        return part


def _slots_of(kind: type) -> list[str]:
    names: list[str] = []
    for base in kind.__mro__:
        found = vars(base).get("__slots__", ())
        names += [found] if isinstance(found, str) else list(found)
    return [name for name in names if name not in ("__dict__", "__weakref__")]


def _named(kind: type) -> str:
    return f"{kind.__module__}.{kind.__qualname__}"


def _is(*kinds: Any) -> Callable[[Any], bool]:
    return lambda part: isinstance(part, kinds)


_CODE = (
    type,
    types.FunctionType,
    types.BuiltinFunctionType,
    types.MethodType,
    np.ufunc,
    type(np.mean),  # functions of numpy that dispatch
)
#: What is converted how. The first entry that holds decides.
_CONVERSIONS: list[tuple[Callable[[Any], bool], Callable[[Lowering, Any], Any]]] = [
    (_is(enum.Enum), Lowering._enum),
    (_is(np.generic), Lowering._scalar),
    (_is(np.ndarray), Lowering._array),
    (_is(np.dtype, pd.api.extensions.ExtensionDtype), Lowering._dtype),
    (_is(*_CODE), Lowering._code),
    (_is(functools.partial), Lowering._partial),
    (sparse.issparse, Lowering._sparse),
    (
        lambda part: (
            isinstance(part, pd.Timestamp | pd.Timedelta)
            or part is pd.NaT
            or part is pd.NA
        ),
        Lowering._moment,
    ),
    (_is(pd.Index), Lowering._index),
    (_is(pd.DataFrame, pd.Series), Lowering._table),
    (_is(tuple), Lowering._tuple),
    (_is(list), Lowering._list),
    (_is(set, frozenset), Lowering._set),
    (_is(dict), Lowering._dict),
]
