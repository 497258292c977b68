"""Modalities of a cohort: validation, inference of columns and presence.

A cohort is a table with one row per case. A *modality* is a named part of it. It is
given as a triple ``(name, transformer_or_estimator, columns)``, as in scikit-learn's
`ColumnTransformer`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import numpy as np
import pandas as pd

from skfusion._fitting.passthrough import Passthrough
from skfusion._image_cells.recognition import (
    CellInspection,
    cell_presence,
    inspect_cells,
    is_image_cell,
    may_hold_objects,
)
from skfusion._validation import did_you_mean
from skfusion.exceptions import DataWarning, warn_user
from skfusion.vectors.cells import are_float_vectors
from skfusion.vectors.columns import expanded

__all__ = [
    "ColumnLabels",
    "ColumnRoles",
    "Modality",
    "cell_presence",
    "check_modalities",
    "find_column_roles",
    "infer_columns",
    "infer_modality_columns",
    "is_dropped",
    "is_identifier",
    "is_image_cell",
    "missing_column_message",
    "names_patient",
    "one_label",
    "presence_mask",
    "select_columns",
]

# Strings that ColumnTransformer takes in place of a transformer.
PLACEHOLDERS = ("passthrough", "drop")
# Names of ids: an ending, or a person or case with or without a word for a number.
ID_ENDING = re.compile(r"id|uid|uuid|guid|mrn|pid|ssn|.*_(?:id|uid|uuid|guid|mrn|key)")
ID_OWNER = re.compile(
    r"(?:patient|pat|subject|person|participant|case|accession|medical_record|record"
    r"|hospital|study|exam|examination|series|encounter|admission|stay)"
    r"(?:_?(?:id|ids|uid|no|nr|num|number|code|key|identifier))"
)
ID_WORDS = ("patient", "subject", "person", "participant", "case", "accession")
# Words for a unit below the patient, which are also words for a category.
UNIT_WORDS = (
    "study",
    "exam",
    "examination",
    "series",
    "encounter",
    "admission",
    "stay",
)
MOST_UNITS = 30  # different values of a category; an id has more
FEWEST_UNITS, UNIT_SHARE = 10, 0.2  # of an id in a small table
# Before pandas 3, a change of some columns could change the table that they are from.
COPIES_ON_WRITE = int(pd.__version__.partition(".")[0]) >= 3


@dataclass(frozen=True)
class ColumnLabels:
    """Column labels of a modality that are not read as positions.

    Attributes
    ----------
    labels : tuple of column labels
        Labels of the columns.
    scalar : bool
        Whether the transformer receives a 1-D `Series`.
    """

    labels: tuple[Any, ...]
    scalar: bool = False


@dataclass(frozen=True)
class Modality:
    """Named part of a cohort table.

    Attributes
    ----------
    name : str
        Name of the modality and prefix of its features and parameters.
    transformer : estimator
        Transformer, or an estimator that ends in a predictor (late fusion only).
    columns : tuple of column labels
        Labels of the columns of the cohort that belong to the modality.
    scalar : bool
        Whether the columns were given as a scalar. The transformer then receives a
        1-D `Series` instead of a frame.
    """

    name: str
    transformer: Any
    columns: tuple[Any, ...]
    scalar: bool = False

    def select(self, X: pd.DataFrame) -> pd.DataFrame | pd.Series:
        """Return the columns of the modality: a series if `scalar`, else a frame."""
        return X[self.columns[0]] if self.scalar else select_columns(X, self.columns)

    def as_triple(self) -> tuple[str, Any, Any]:
        """Return ``(name, transformer, columns)``, which any table resolves alike."""
        columns: Any = ColumnLabels(self.columns, self.scalar)
        if all(isinstance(column, str) for column in self.columns):
            columns = self.columns[0] if self.scalar else list(self.columns)
        return (self.name, self.transformer, columns)

    @property
    def label(self) -> str:
        """Name, transformer and columns of the modality, as used in messages."""
        columns = ", ".join(repr(column) for column in self.columns[:3])
        more = f" and {len(self.columns) - 3} more" if len(self.columns) > 3 else ""
        kind = type(self.transformer).__name__
        return f"modality {self.name!r} ({kind} on {columns}{more})"


def check_modalities(
    modalities: Iterable[Any], X: pd.DataFrame, *, owner: str, reserved: Iterable[str]
) -> list[Modality]:
    """Check triples against a cohort and resolve their columns.

    Parameters
    ----------
    modalities : list of (str, estimator, columns)
        The second element is an estimator, ``"passthrough"`` or ``"drop"``. The
        columns are a label (scalar string or position), a list of labels, a slice, a
        boolean mask or a callable that takes `X`. Integers are positions, as in
        `ColumnTransformer`. They can be labels if the table has no such positions. A
        column can belong to several modalities.
    X : DataFrame of shape (n_samples, n_columns)
        The cohort.
    owner : str
        Name of the estimator, used in error messages.
    reserved : iterable of str
        Names that a modality cannot have, i.e. the parameters of the estimator.

    Returns
    -------
    list of Modality
        The modalities that are not dropped. ``"passthrough"`` is a transformer that
        returns numeric columns unchanged. The columns of a dropped modality are not
        resolved and need not exist. If a column has vectors, a `VectorColumns` is put
        before a transformer of a matrix.

    Raises
    ------
    ValueError
        If the list is empty, all modalities are dropped, a name is used twice or is
        not allowed, a column does not exist, or integers are positions of some columns
        and labels of others.
    TypeError
        If an entry is not a triple, or its second element is not an estimator.

    Examples
    --------
    >>> import pandas as pd
    >>> from sklearn.preprocessing import StandardScaler
    >>> from skfusion.modality import check_modalities
    >>> X = pd.DataFrame({"age": [61, 48], "crp": [3.0, 12.0], "site": ["a", "b"]})
    >>> triples = [("labs", StandardScaler(), ["age", "crp"]), ("site", "drop", [2])]
    >>> found = check_modalities(
    ...     triples, X, owner="EarlyFusionClassifier", reserved=()
    ... )
    >>> [(modality.name, modality.columns) for modality in found]
    [('labs', ('age', 'crp'))]
    """
    entries = _check_triples(modalities, owner=owner, reserved=set(reserved))
    resolved: list[Modality] = []
    kinds = {kind: may_hold_objects(kind) for kind in set(X.dtypes)}
    objects = {label for label, kind in X.dtypes.items() if kinds[kind]}
    for name, transformer, columns in entries:
        if is_dropped(transformer):
            continue
        if isinstance(transformer, str):
            transformer = Passthrough()
        labels, scalar = _resolve_columns(columns, X, owner=owner, name=name)
        cells = [X[label] for label in labels if label in objects]
        transformer = expanded(transformer, cells)
        resolved.append(Modality(name, transformer, labels, scalar))
    if not resolved:
        raise ValueError(
            f"{owner}: all {len(entries)} modalities are 'drop', so there is nothing "
            "to learn from. Give at least one of them a transformer."
        )
    return resolved


def is_dropped(transformer: Any) -> bool:
    """Return whether the second element of a triple is ``"drop"``."""
    return isinstance(transformer, str) and transformer == "drop"


def _check_triples(
    modalities: Iterable[Any], *, owner: str, reserved: set[str]
) -> list[tuple[str, Any, Any]]:
    if isinstance(modalities, str) or not isinstance(modalities, Iterable):
        raise TypeError(
            f"{owner}: modalities must be 'auto' or a list of triples (name, "
            f"transformer, columns), got {type(modalities).__name__}."
        )
    entries = list(modalities)
    if not entries:
        raise ValueError(
            f"{owner}: the list of modalities is empty. Give at least one triple "
            "(name, transformer, columns), or modalities='auto'."
        )
    names: set[str] = set()
    for position, entry in enumerate(entries):
        if not isinstance(entry, (tuple, list)) or len(entry) != 3:
            raise TypeError(
                f"{owner}: modality number {position} must be a triple (name, "
                f"transformer, columns), got {type(entry).__name__}"
                + (f" of length {len(entry)}." if hasattr(entry, "__len__") else ".")
            )
        name, transformer, _ = entry
        _check_name(name, owner=owner, taken=names, reserved=reserved)
        names.add(name)
        if isinstance(transformer, str) and transformer in PLACEHOLDERS:
            continue
        if not hasattr(transformer, "fit") or not hasattr(transformer, "get_params"):
            found = type(transformer).__name__
            found = repr(transformer) if isinstance(transformer, str) else found
            raise TypeError(
                f"{owner}: modality {name!r} needs a scikit-learn transformer or "
                "estimator, 'passthrough' or 'drop' as its second element, got "
                f"{found}."
            )
    return [(name, transformer, columns) for name, transformer, columns in entries]


def _check_name(name: Any, *, owner: str, taken: set[str], reserved: set[str]) -> None:
    if not isinstance(name, str) or not name:
        raise TypeError(
            f"{owner}: the name of a modality must be a non-empty string, got "
            f"{type(name).__name__}."
        )
    if name in taken:
        raise ValueError(
            f"{owner}: two modalities are named {name!r}. Names must be unique: they "
            "are the prefix of features and parameters."
        )
    if "__" in name or name in reserved:
        why = "contains '__'" if "__" in name else "is also a parameter's name"
        raise ValueError(
            f"{owner}: modality name {name!r} {why}, so its parameters cannot be "
            "set. Choose another name."
        )


def _resolve_columns(
    columns: Any, X: pd.DataFrame, *, owner: str, name: str
) -> tuple[tuple[Any, ...], bool]:
    where = f"modality {name!r} needs"
    if callable(columns):
        columns = columns(X)
    if isinstance(columns, ColumnLabels):
        for label in columns.labels:
            if label not in X.columns:
                raise ValueError(
                    missing_column_message(label, X, owner=owner, name=name)
                )
        return columns.labels, columns.scalar
    several = hasattr(columns, "__iter__") and not isinstance(columns, (str, bytes))
    scalar = not several and not isinstance(columns, slice)
    if scalar:
        labels = [one_label(columns, X, owner=owner, where=where)]
    elif isinstance(columns, slice):
        labels = _slice_labels(columns, X)
    else:
        parts = _in_order(columns, X)
        if parts and all(isinstance(part, (bool, np.bool_)) for part in parts):
            labels = _masked_labels(parts, X, owner=owner, name=name)
        else:
            labels = _labels(parts, X, owner=owner, where=where)
    if not labels:
        raise ValueError(
            f"{owner}: modality {name!r} selects no column of X. Select at least one "
            f"of its {X.shape[1]} columns."
        )
    if len(set(labels)) < len(labels):
        raise ValueError(f"{owner}: modality {name!r} names a column more than once.")
    return tuple(labels), scalar


def _in_order(columns: Any, X: pd.DataFrame) -> list[Any]:
    if not isinstance(columns, (set, frozenset)):
        return list(columns)
    # The order of a set of text differs between processes.
    places = {label: place for place, label in enumerate(X.columns)}
    return sorted(columns, key=lambda part: (places.get(part, len(places)), str(part)))


def _slice_labels(columns: slice, X: pd.DataFrame) -> list[Any]:
    if isinstance(columns.start, str) or isinstance(columns.stop, str):
        return list(X.loc[:, columns].columns)
    return list(X.columns[columns])


def _masked_labels(
    mask: list[Any], X: pd.DataFrame, *, owner: str, name: str
) -> list[Any]:
    if len(mask) != X.shape[1]:
        raise ValueError(
            f"{owner}: the boolean mask of modality {name!r} has {len(mask)} entries, "
            f"but X has {X.shape[1]} columns."
        )
    return list(X.columns[np.asarray(mask, dtype=bool)])


def one_label(column: Any, X: pd.DataFrame, *, owner: str, where: str) -> Any:
    """Return the label of one column that is given by its label or its position.

    Parameters
    ----------
    column : column label or int
        An integer is a position, as in `ColumnTransformer`. It can be a label if the
        table has no such position.
    X : DataFrame of shape (n_samples, n_columns)
        The cohort.
    owner : str
        Name of the estimator, used in error messages.
    where : str
        Begin of the message, e.g. ``"groups= names"``.

    Returns
    -------
    column label

    Raises
    ------
    ValueError
        If the column does not exist, or an integer is the position of one column and
        the label of another.

    Examples
    --------
    >>> import pandas as pd
    >>> from skfusion.modality import one_label
    >>> X = pd.DataFrame({"age": [61, 48], "patient_id": [1, 1]})
    >>> one_label(-1, X, owner="EarlyFusionClassifier", where="groups= names")
    'patient_id'
    """
    return _labels([column], X, owner=owner, where=where)[0]


def _labels(
    columns: list[Any], X: pd.DataFrame, *, owner: str, where: str
) -> list[Any]:
    """Return labels, where all integers are positions or all are labels."""
    numbers = [column for column in columns if _is_integer(column)]
    n_columns = X.shape[1]
    as_labels = [label for label in numbers if _is_label(label, X)]
    by_position = all(-n_columns <= number < n_columns for number in numbers)
    by_label = len(as_labels) == len(numbers)
    if numbers and by_position and by_label:
        differ = [n for n in numbers if X.columns[int(n)] != n]
        if differ:
            label = X.columns.tolist()[int(differ[0])]  # a number of Python
            raise ValueError(
                f"{owner}: {where} column {differ[0]!r}, which is the position of "
                f"column {label!r} and also the label of another "
                "column. Integers are positions, as in ColumnTransformer. Make the "
                "labels text, X.columns = X.columns.astype(str), and name the columns."
            )
    found = []
    for column in columns:
        if _is_integer(column) and by_position:
            found.append(X.columns[int(column)])
        elif _is_label(column, X):
            found.append(column)
        else:
            message = missing_column_message(column, X, owner=owner, name="")
            raise ValueError(message.replace("modality '' needs", where))
    return found


def _is_integer(column: Any) -> bool:
    return isinstance(column, (int, np.integer)) and not isinstance(column, bool)


def _is_label(column: Any, X: pd.DataFrame) -> bool:
    if isinstance(column, bool):  # equal to 0 or 1, which can be labels
        return any(label is column for label in X.columns)
    try:
        return column in X.columns
    except TypeError:  # not hashable
        return False


def missing_column_message(
    column: Any, X: pd.DataFrame, *, owner: str, name: str
) -> str:
    """Return the error message for a column that `X` does not contain.

    The message lists the columns of `X` and suggests a similar name.
    """
    known = [str(label) for label in X.columns]
    shown = ", ".join(repr(label) for label in known[:10])
    more = f" and {len(known) - 10} more" if len(known) > 10 else ""
    return (
        f"{owner}: modality {name!r} needs column {column!r}, which X does not have."
        f"{did_you_mean(column, known)} X has {len(known)} columns: {shown}{more}."
    )


@dataclass(frozen=True)
class ColumnRoles:
    """Columns of a cohort by their role in ``modalities="auto"``.

    Attributes
    ----------
    images, vectors, ehr, identifiers : list of column labels
        Columns of images, columns of vectors, EHR columns and identifiers, in the order
        of the cohort.
    left_out : dict of column label to CellInspection
        Columns of paths that are not images, and of a minority of images.
    mixed : dict of column label to CellInspection
        Columns of images with cells that are not images.
    """

    images: list[Any] = field(default_factory=list)
    vectors: list[Any] = field(default_factory=list)
    ehr: list[Any] = field(default_factory=list)
    identifiers: list[Any] = field(default_factory=list)
    left_out: dict[Any, CellInspection] = field(default_factory=dict)
    mixed: dict[Any, CellInspection] = field(default_factory=dict)

    def warn(self, estimator_name: str) -> None:
        """Warn of the columns that are left out, and of images among other cells."""
        for column, found in self.left_out.items():
            warn_user(
                f"{estimator_name}: column {column!r} is left out of the inferred "
                f"modalities: {found.description}, and paths are not used as "
                "categories. Relative paths are looked up from the working directory. "
                "Correct the cells, or name the modalities instead of using 'auto', "
                f"with an ImageEmbedder for {column!r} if it has images.",
                DataWarning,
            )
        for column, found in self.mixed.items():
            warn_user(
                f"{estimator_name}: column {column!r} is inferred to be a column of "
                f"images, but {found.n_cells - found.n_images} of {found.n_cells} "
                "inspected cells are not images. Set them to None, or name the "
                "modalities instead of using 'auto'.",
                DataWarning,
            )


def find_column_roles(X: pd.DataFrame, aside: Iterable[Any] = ()) -> ColumnRoles:
    """Find the columns of images, vectors, the EHR and identifiers, without warnings.

    Parameters
    ----------
    X : DataFrame of shape (n_samples, n_columns)
        The cohort.
    aside : iterable of column labels
        Columns with another role, such as the groups.

    Returns
    -------
    ColumnRoles

    Examples
    --------
    >>> import pandas as pd
    >>> from skfusion.modality import find_column_roles
    >>> X = pd.DataFrame({"cxr": ["a.png", "b.png"], "age": [4, 9]})
    >>> find_column_roles(X, aside=["age"]).images
    ['cxr']
    """
    aside = set(aside)
    roles = ColumnRoles()
    for column in X.columns:
        if column in aside:
            continue
        if is_identifier(column, X):
            roles.identifiers.append(column)
            continue
        if are_float_vectors(X[column]):
            roles.vectors.append(column)
            continue
        found = inspect_cells(X[column])
        if found.is_image_column:
            roles.images.append(column)
            if found.n_images < found.n_cells:
                roles.mixed[column] = found
        elif found.has_paths:
            roles.left_out[column] = found
        else:
            roles.ehr.append(column)
    return roles


def infer_columns(X: pd.DataFrame) -> tuple[list[Any], list[Any], list[Any]]:
    """Split the columns of a cohort into images, EHR and identifiers.

    Up to 50 non-missing cells of a column are inspected. A column contains images if
    at least half of them are images (see `is_image_cell`), with a warning if some are
    not. A column of other paths, or with fewer images, is in none of the three lists,
    with a warning. An identifier is a column with a name such as ``patient_id`` or
    ``mrn``. It is not used as a feature. Columns of vectors are EHR columns.

    Parameters
    ----------
    X : DataFrame of shape (n_samples, n_columns)
        The cohort.

    Returns
    -------
    images, ehr, identifiers : list of column labels

    Warns
    -----
    DataWarning
        If a column is left out, or a column of images has other cells.

    Examples
    --------
    >>> import pandas as pd
    >>> from skfusion.modality import infer_columns
    >>> X = pd.DataFrame({"patient_id": [1, 2], "cxr": ["a.png", None], "age": [4, 9]})
    >>> infer_columns(X)
    (['cxr'], ['age'], ['patient_id'])
    """
    roles = find_column_roles(X)
    roles.warn("infer_columns")
    ehr = {*roles.ehr, *roles.vectors}
    return roles.images, [c for c in X.columns if c in ehr], roles.identifiers


def infer_modality_columns(
    X: pd.DataFrame, *, aside: Iterable[Any], estimator_name: str
) -> dict[str, tuple[str, list[Any]]]:
    """Group the columns of a cohort into modalities, as ``modalities="auto"`` does.

    Each column of images and each column of vectors of floats is one modality with the
    name of the column. The other columns are one modality, ``"ehr"`` (``"ehr_table"``
    if a column of images or vectors has that name). Identifiers and paths that are not
    images are left out, with a warning.

    Parameters
    ----------
    X : DataFrame of shape (n_samples, n_columns)
        The cohort.
    aside : iterable of column labels
        Columns with another role, such as the groups.
    estimator_name : str
        Name of the estimator or function, used in the warning.

    Returns
    -------
    dict of str to (str, list of column labels)
        Kind of each modality, ``"image"``, ``"vector"`` or ``"ehr"``, and its columns.

    Raises
    ------
    ValueError
        If no column is left for a modality.

    Warns
    -----
    DataWarning
        As in `infer_columns`, and if identifiers are left out.

    Examples
    --------
    >>> import pandas as pd
    >>> from skfusion.modality import infer_modality_columns
    >>> X = pd.DataFrame({"cxr": ["a.png", None], "age": [4, 9], "crp": [1, 2]})
    >>> infer_modality_columns(X, aside=(), estimator_name="compare_fusion")
    {'cxr': ('image', ['cxr']), 'ehr': ('ehr', ['age', 'crp'])}
    """
    roles = find_column_roles(X, aside)
    roles.warn(estimator_name)
    if roles.identifiers:
        warn_user(
            f"{estimator_name}: modalities='auto' leaves out the identifier column(s) "
            f"{roles.identifiers}. Name the modalities to use them as features.",
            DataWarning,
        )
    found = {str(column): ("image", [column]) for column in roles.images}
    found |= {str(column): ("vector", [column]) for column in roles.vectors}
    if roles.ehr:
        found["ehr_table" if "ehr" in found else "ehr"] = ("ehr", roles.ehr)
    if not found:
        raise ValueError(
            f"{estimator_name}: modalities='auto' finds no column of images or "
            f"vectors and no EHR column among the {X.shape[1]} columns of X. Name the "
            "modalities."
        )
    return found


def is_identifier(label: Any, X: pd.DataFrame) -> bool:
    """Return whether a column has the name of an id.

    Parameters
    ----------
    label : column label
        Label of the column. ``"PatientID"`` and ``"Patient ID"`` are read as
        ``"patient_id"``.
    X : DataFrame of shape (n_samples, n_columns)
        Table with the column. A name such as ``"study"`` or ``"exam"`` can also be that
        of a category, so it is an id only if it has many different values.

    Returns
    -------
    bool

    Examples
    --------
    >>> import pandas as pd
    >>> from skfusion.modality import is_identifier
    >>> X = pd.DataFrame({"study": range(200), "patientNo": 1, "age": range(200)})
    >>> [is_identifier(label, X) for label in X]
    [True, True, False]
    >>> is_identifier("study", X % 3)
    False
    """
    is_id, may_be_id = _read_label(str(label))
    if is_id or not may_be_id or X[label].ndim != 1:
        return is_id
    known = X[label].dropna()
    n_values = len(pd.unique(known.map(repr) if known.dtype == object else known))
    enough = max(FEWEST_UNITS, UNIT_SHARE * len(known))
    return n_values > MOST_UNITS or n_values >= enough


@lru_cache(maxsize=10_000)  # every fit reads the same labels
def _read_label(label: str) -> tuple[bool, bool]:
    """Return whether a label is that of an id, and whether it can be one."""
    name = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|[\s.-]+", "_", label).lower().strip("_")
    is_id = ID_ENDING.fullmatch(name) or ID_OWNER.fullmatch(name)
    return name in ID_WORDS or is_id is not None, name in UNIT_WORDS


def names_patient(label: Any) -> bool:
    """Return whether the name of an id is that of a patient, not of a finer unit.

    Examples
    --------
    >>> from skfusion.modality import names_patient
    >>> names_patient("SUBJECT_ID"), names_patient("study_id")
    (True, False)
    """
    words = ("patient", "subject", "participant")
    return any(word in str(label).lower() for word in words)


def select_columns(X: pd.DataFrame, labels: Sequence[Any]) -> pd.DataFrame:
    """Return columns of a table, without a copy if they are adjacent.

    Parameters
    ----------
    X : DataFrame of shape (n_samples, n_columns)
        A table. Its labels are unique.
    labels : sequence of length n
        Labels of the columns.

    Returns
    -------
    DataFrame of shape (n_samples, n)

    Examples
    --------
    >>> import numpy as np
    >>> import pandas as pd
    >>> from skfusion.modality import select_columns
    >>> X = pd.DataFrame(np.eye(3), columns=list("abc"))
    >>> list(select_columns(X, ["b", "c"]).columns)
    ['b', 'c']
    """
    labels = list(labels)
    start = _first_place(labels, X.columns) if COPIES_ON_WRITE else None
    if start is not None and len(labels) == X.shape[1]:
        return X.copy(deep=False)  # several times faster
    if start is not None:
        return X.iloc[:, start : start + len(labels)]
    return X[labels]


def _first_place(labels: list[Any], columns: pd.Index) -> int | None:
    """Return the position of the first label if the others follow it, else None."""
    # `get_loc` would build a table of the labels of this one index.
    known = columns.tolist()
    if not labels or labels[0] not in known:
        return None
    start = known.index(labels[0])
    return start if known[start : start + len(labels)] == labels else None


def presence_mask(modalities: Sequence[Modality], X: pd.DataFrame) -> np.ndarray:
    """Return which modalities are present in each row.

    A modality is absent in a row if all its cells are null.

    Parameters
    ----------
    modalities : list of Modality
        The modalities, M in number.
    X : DataFrame of shape (n_samples, n_columns)
        The cohort.

    Returns
    -------
    ndarray of bool of shape (n_samples, M)
        True where the modality is present.
    """
    # All columns together, because pandas takes long for each of many columns.
    filled = X.notna().to_numpy(dtype=bool)
    position: dict[Any, int] = {column: j for j, column in enumerate(X.columns)}
    kinds = {kind: may_hold_objects(kind) for kind in X.dtypes.unique()}
    used = {column for modality in modalities for column in modality.columns}
    if any(kinds.values()):
        filled = filled.copy()  # pandas may return a read-only view
        for column, kind in X.dtypes.items():
            if kinds[kind] and column in used:  # Text and lists can be empty.
                filled[:, position[column]] = cell_presence(X[column])
    mask = [
        filled[:, [position[column] for column in modality.columns]].any(axis=1)
        for modality in modalities
    ]
    return np.column_stack(mask) if mask else np.zeros((len(X), 0), dtype=bool)
