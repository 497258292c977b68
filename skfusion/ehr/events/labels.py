"""Names of codes: those that a source keeps beside its codes, and how they are shown.

A name is text of a dictionary, such as "Anion Gap" for ``LAB//MIMIC//50868``. It has no
influence on features, which are named by codes.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from skfusion.exceptions import DataWarning, warn_user

__all__ = [
    "LABELS",
    "as_series_of_labels",
    "carried_labels",
    "check_labels",
    "labels_digest",
    "labels_of_codes",
    "readable_names",
    "write_labels",
]


#: File of the names in the folder of a store.
LABELS = "labels.json"
SEPARATOR = "__"  # Between the parts of a feature name.
INDICATOR = "missingindicator_"  # Before the feature in names of MissingIndicator.


def check_labels(labels: Any, owner: str) -> None:
    """Raise a TypeError if names of codes are neither a mapping nor a Series."""
    if labels is None or isinstance(labels, Mapping | pd.Series):
        return
    raise TypeError(
        f"{owner}: labels must be a mapping or a Series of the names of codes, such as "
        f"{{'LAB//MIMIC//50868': 'Anion Gap'}}, got {type(labels).__name__}."
    )


def labels_of_codes(
    labels: Mapping[str, Any] | pd.Series | None, codes: Iterable[str], owner: str
) -> dict[str, str]:
    """Return the names of some codes, without those that have none.

    Parameters
    ----------
    labels : mapping, Series or None
        Code -> name. Null and empty names are none. Of several names of a code in a
        Series, the first one counts.
    codes : iterable of str
        The codes.
    owner : str
        Name of the class for messages.

    Returns
    -------
    dict of str to str
        The names on one line, in the order of the codes as text.

    Raises
    ------
    TypeError
        If a name is not text.

    Warns
    -----
    DataWarning
        If no name is that of a code, or some codes have several names.
    """
    if labels is None or not len(labels):
        return {}
    if isinstance(labels, pd.Series):
        labels = _first_names(labels, set(codes := list(codes)), owner)
    found: dict[str, str] = {}
    known = sorted(code for code in set(codes) if code in labels)
    for code in known:
        name = labels[code]
        if not isinstance(name, str):
            if name is None or name is pd.NA or name != name:  # NaN
                continue
            raise TypeError(
                f"{owner}: labels must map codes to text, got "
                f"{type(name).__name__}. Convert the names with astype(str)."
            )
        line = " ".join(name.split())
        if line and line != code:
            found[code] = line
    if not known:
        warn_user(
            f"{owner}: none of the {len(labels)} codes in labels is a code of the "
            "events. The keys must be whole codes, such as 'LAB//MIMIC//50868'.",
            DataWarning,
        )
    return found


def _first_names(labels: pd.Series, codes: set[str], owner: str) -> dict[str, Any]:
    """Return the first name of each code of a Series."""
    if labels.index.has_duplicates:
        some = labels[labels.index.isin(codes)].dropna()
        several = int((some.groupby(level=0).nunique() > 1).sum())
        if several:
            warn_user(
                f"{owner}: {several} codes have several names in labels. The first one "
                "is used.",
                DataWarning,
            )
        labels = labels.dropna()
        labels = labels[~labels.index.duplicated()]
    return dict(labels)


def as_series_of_labels(labels: Mapping[str, str]) -> pd.Series:
    """Return names as a Series with the index ``code`` and the name ``label``."""
    index = pd.Index(list(labels), name="code", dtype=object)
    return pd.Series(list(labels.values()), index, name="label", dtype=object)


def write_labels(folder: Path, labels: Mapping[str, str]) -> str:
    """Write names into the folder of a store, and return their digest."""
    content = json.dumps(labels, ensure_ascii=False).encode()
    (folder / LABELS).write_bytes(content)
    return labels_digest(content)


def labels_digest(content: bytes) -> str:
    """Return the digest of the file of names."""
    return hashlib.blake2b(content, digest_size=16).hexdigest()


def carried_labels(
    labels: Mapping[str, str],
    moves: Mapping[str, Sequence[str]],
    *,
    is_split: bool = False,
) -> dict[str, str]:
    """Return the names of codes after codes were replaced.

    A code that is kept keeps its name. A new code takes the name of the codes that
    become it, if all of them have the same one, and if each of them becomes this code
    only.

    Parameters
    ----------
    labels : mapping of str to str
        Code -> name.
    moves : mapping of str to sequence of str
        Each code -> the codes that replace it.
    is_split : bool, default=False
        Whether the codes that replace a code are parts of it, which take its name also
        if there are several.

    Returns
    -------
    dict of str to str
    """
    names: dict[str, set[str | None]] = {}
    for old, new in moves.items():
        is_one = is_split or len(set(new)) == 1
        for code in new:
            names.setdefault(code, set()).add(labels.get(old) if is_one else None)
    found = {}
    for code, some in names.items():
        kept = code in moves.get(code, ())
        name = labels.get(code) if kept else some.pop() if len(some) == 1 else None
        if name is not None:
            found[code] = name
    return found


def readable_names(
    names: Iterable[Any], labels: Mapping[str, str] | pd.Series | None
) -> list[str]:
    """Return feature names with the names of their codes.

    Parameters
    ----------
    names : iterable of str
        Names of features of `EventWindows` or `EventGrid`, also after the prefix of a
        modality (``"labs__"``), or codes. Names of other features are kept.
    labels : mapping, Series or None
        Code -> name, such as `EventStore.labels`. Features of codes without a name are
        kept.

    Returns
    -------
    list of str
        ``"<label> (<code>) <statistic> <window>"`` for each feature whose code has a
        name.

    Examples
    --------
    >>> from skfusion.ehr import readable_names
    >>> labels = {"LAB//MIMIC//50868": "Anion Gap"}
    >>> readable_names(["LAB//MIMIC//50868__1d__mean", "age"], labels)
    ['Anion Gap (LAB//MIMIC//50868) mean 1d', 'age']
    """
    check_labels(labels, "readable_names")
    if labels is None or not len(labels):
        return [str(name) for name in names]
    known = dict(labels)
    return [_readable(str(name), known) for name in names]


def _readable(name: str, labels: Mapping[str, str]) -> str:
    parts = name.split(SEPARATOR)
    n = len(parts)
    # A code may contain the separator, so that the longest one is taken.
    spans = ((i, i + size) for size in range(n, 0, -1) for i in range(n - size + 1))
    for start, stop in spans:
        given = SEPARATOR.join(parts[start:stop])
        code = given if given in labels else given.removeprefix(INDICATOR)
        label = labels.get(code)
        if isinstance(label, str) and label:
            before = "".join(part + SEPARATOR for part in parts[:start])
            before += given.removesuffix(code)
            shown = f"{before}{label} ({code})"
            return " ".join([shown, *reversed(parts[stop:])])
    return name
