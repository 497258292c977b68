"""Plain objects that stand for what skops cannot hold, or not exactly.

A dict with keys that are no strings, an object array or a table of pandas would come
back different or not at all. A stand-in holds its content as strings, numbers, lists
and arrays, and makes it again.
"""

from __future__ import annotations

import enum
import json
from collections import defaultdict
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import pandas as pd
from scipy import sparse
from sklearn.base import BaseEstimator

from skfusion.persistence.archive import ModelFileError
from skfusion.persistence.parts import PartSource

__all__ = [
    "BOUND_METHODS",
    "LONGEST_AXIS",
    "BoundMethod",
    "Cells",
    "Column",
    "EnumMember",
    "Frozen",
    "Instance",
    "Labels",
    "Masked",
    "Moment",
    "NumberType",
    "Pairs",
    "Plain",
    "Scalar",
    "Sparse",
    "StandIn",
    "State",
    "Table",
]


#: Longest axis of a sparse matrix. Some formats keep a number for each row or column.
LONGEST_AXIS = 2**27
#: Methods of an estimator that a part of a model may hold. They change nothing.
BOUND_METHODS = ("decision_function", "predict", "predict_proba", "transform")


class StandIn:
    """Base class of the stand-ins.

    Attributes
    ----------
    needs_more_than_the_file : bool
        Whether `restore` depends on what is installed or stored on the machine, so that
        its errors are not those of a damaged file.
    """

    needs_more_than_the_file: ClassVar[bool] = False

    def restore(self, source: PartSource) -> Any:
        """Return the object that this one replaces.

        The attributes were restored before.

        Parameters
        ----------
        source : PartSource
            The parts of the file, and what it is loaded with.
        """
        raise NotImplementedError


def _checked(value: Any, kind: type | tuple[type, ...], what: str) -> Any:
    """Return a value of the file, which may hold anything."""
    if not isinstance(value, kind):
        raise ModelFileError(
            f"the file is refused: {what} is of type {type(value).__name__}. It was "
            "damaged or changed."
        )
    return value


@dataclass
class Plain(StandIn):
    """A list of many strings and numbers, as JSON."""

    text: Any

    def restore(self, source: PartSource) -> list[Any]:
        """Return the list."""
        found = json.loads(_checked(self.text, str, "a list"))
        return list(_checked(found, list, "a list"))


@dataclass
class Scalar(StandIn):
    """A scalar of numpy, in an array without axes."""

    array: Any

    def restore(self, source: PartSource) -> Any:
        """Return the scalar."""
        array = _checked(self.array, np.ndarray, "a number")
        return array.reshape(())[()]


@dataclass
class NumberType(StandIn):
    """A dtype of numpy or pandas that its name describes."""

    name: Any

    def restore(self, source: PartSource) -> Any:
        """Return the dtype."""
        return pd.api.types.pandas_dtype(_checked(self.name, str, "a dtype"))


@dataclass
class Pairs(StandIn):
    """A dict whose keys are not all strings, or which makes values by itself."""

    kind: Any
    keys: Any
    values: Any
    factory: Any = None

    def restore(self, source: PartSource) -> Any:
        """Return the dict."""
        if not (isinstance(self.kind, type) and issubclass(self.kind, dict)):
            raise ModelFileError("the file is refused: a dict is of another type.")
        made = self.kind()
        made.update(zip(self.keys, self.values, strict=True))
        if isinstance(made, defaultdict):
            made.default_factory = self.factory
        return made


@dataclass
class Cells(StandIn):
    """An object array."""

    shape: Any
    items: Any

    def restore(self, source: PartSource) -> np.ndarray:
        """Return the array."""
        items = _checked(self.items, list, "the cells of an array")
        flat = np.empty(len(items), dtype=object)
        for i, item in enumerate(items):
            flat[i] = item
        return flat.reshape(tuple(self.shape))


@dataclass
class Masked(StandIn):
    """A masked array."""

    data: Any
    mask: Any
    fill_value: Any

    def restore(self, source: PartSource) -> Any:
        """Return the masked array."""
        return np.ma.MaskedArray(self.data, self.mask, fill_value=self.fill_value)


@dataclass
class Sparse(StandIn):
    """A sparse matrix or array, by the entries of its CSR form."""

    form: Any
    is_array: Any
    shape: Any
    data: Any
    indices: Any
    indptr: Any

    def restore(self, source: PartSource) -> Any:
        """Return the matrix, whose indices are checked."""
        if max(self.shape) > LONGEST_AXIS:
            raise ModelFileError(
                f"the file is refused: a sparse matrix of shape {tuple(self.shape)} "
                "would need more memory than its entries."
            )
        kind = sparse.csr_array if self.is_array else sparse.csr_matrix
        made = kind((self.data, self.indices, self.indptr), shape=tuple(self.shape))
        made.check_format(full_check=True)
        return made.asformat(_checked(self.form, str, "a sparse format"))


@dataclass
class Frozen(StandIn):
    """A frozenset."""

    items: Any

    def restore(self, source: PartSource) -> frozenset[Any]:
        """Return the frozenset."""
        return frozenset(self.items)


@dataclass
class EnumMember(StandIn):
    """A member of an enumeration."""

    kind: Any
    name: Any

    def restore(self, source: PartSource) -> Any:
        """Return the member."""
        if not (isinstance(self.kind, type) and issubclass(self.kind, enum.Enum)):
            raise ModelFileError("the file is refused: an enumeration is none.")
        return self.kind[self.name]


@dataclass
class Moment(StandIn):
    """A time or a duration of pandas, or one of its marks for missing values."""

    kind: Any
    value: Any = 0
    unit: Any = "ns"
    zone: Any = None

    _MARKS: ClassVar[dict[str, Any]] = {"NaT": pd.NaT, "NA": pd.NA}

    def restore(self, source: PartSource) -> Any:
        """Return the time, the duration or the mark."""
        if self.kind in self._MARKS:
            return self._MARKS[self.kind]
        if self.kind == "Timedelta":
            return pd.Timedelta(np.timedelta64(self.value, self.unit))
        time = pd.Timestamp(np.datetime64(self.value, self.unit))
        if self.zone is None:
            return time
        return time.tz_localize("UTC").tz_convert(self.zone)


@dataclass
class Labels(StandIn):
    """An index of pandas."""

    kind: Any
    values: Any
    names: Any
    frequency: Any = None

    def restore(self, source: PartSource) -> pd.Index:
        """Return the index."""
        if self.kind == "RangeIndex":
            start, stop, step = self.values
            return pd.RangeIndex(start, stop, step, name=self.names[0])
        if self.kind == "MultiIndex":
            levels = [column.values_of() for column in self.values]
            return pd.MultiIndex.from_arrays(levels, names=self.names)
        made = pd.Index(self.values.values_of(), name=self.names[0])
        if self.frequency is not None:
            made.freq = self.frequency
        return made


@dataclass
class Column(StandIn):
    """The values of a column of pandas, with their dtype."""

    values: Any
    dtype: Any
    categories: Any = None
    ordered: Any = False

    def values_of(self) -> Any:
        """Return the values as an array of numpy or pandas."""
        if self.categories is not None:
            kind = pd.CategoricalDtype(self.categories, ordered=bool(self.ordered))
            return pd.Categorical.from_codes(self.values, dtype=kind)
        if isinstance(self.dtype, np.dtype):
            return self.values
        return pd.array(self.values, dtype=self.dtype)

    def restore(self, source: PartSource) -> Any:
        """Return the stand-in itself, which a table or an index reads."""
        return self


@dataclass
class Table(StandIn):
    """A frame or a series of pandas."""

    columns: Any
    index: Any
    labels: Any
    name: Any = None

    def restore(self, source: PartSource) -> Any:
        """Return the frame, or the series if it has no labels of columns."""
        arrays = [column.values_of() for column in self.columns]
        if self.labels is None:
            return pd.Series(arrays[0], index=self.index, name=self.name)
        frame = pd.DataFrame(dict(enumerate(arrays)), index=self.index)
        frame.columns = self.labels
        return frame


@dataclass
class Instance(StandIn):
    """An object with slots, by its class and its attributes."""

    kind: Any
    attributes: Any

    def restore(self, source: PartSource) -> Any:
        """Return the object, made without calling its class."""
        kind = _checked(self.kind, type, "a class")
        made = object.__new__(kind)
        for name, value in self.attributes.items():
            object.__setattr__(made, name, value)
        return made


@dataclass
class State(StandIn):
    """An object by the state that it hands to its copies."""

    kind: Any
    state: Any

    def restore(self, source: PartSource) -> Any:
        """Return the object with this state."""
        kind = _checked(self.kind, type, "a class")
        made = object.__new__(kind)
        if hasattr(made, "__setstate__"):
            made.__setstate__(self.state)
        else:
            made.__dict__.update(self.state)
        return made


@dataclass
class BoundMethod(StandIn):
    """A method of an estimator that predicts or transforms."""

    owner: Any
    name: Any

    def restore(self, source: PartSource) -> Any:
        """Return the method."""
        if self.name not in BOUND_METHODS or not isinstance(self.owner, BaseEstimator):
            raise ModelFileError("the file is refused: it has an unknown method.")
        return getattr(self.owner, self.name)
