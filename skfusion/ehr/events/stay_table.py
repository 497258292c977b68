"""Table of stays in the folder of a store: validation, writing and reading."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from skfusion._validation import did_you_mean
from skfusion.ehr.events.columns import as_ids, as_pandas, no_id
from skfusion.ehr.events.sealing import parsed
from skfusion.ehr.sources.stays.vocabulary import (
    COLUMNS,
    DISCHARGES,
    KINDS,
    is_repeated,
)

__all__ = ["STAY_FILES", "checked_stays", "stay_digest", "stays_from", "write_stays"]


#: Files of the table: numbers, and the words to which they refer.
STAY_FILES = ("stays.bin", "stay_words.json")
VERSION = 1
REQUIRED = ("stay_id", "subject_id", "start", "end")
ROW = np.dtype(
    [
        *((name, "<i8") for name in ("subject", "stay", "parent", "start", "end")),
        *((name, "<i4") for name in ("source_kind", "source_discharge")),
        *((name, "i1") for name in ("has_parent", "kind", "died", "discharged")),
    ]
)
UNKNOWN = -1


def checked_stays(frame: Any, owner: str = "EventStore") -> pd.DataFrame:
    """Return a table of stays with all columns, after validation.

    Parameters
    ----------
    frame : DataFrame of pandas, polars or pyarrow
        Columns ``stay_id``, ``subject_id``, ``start`` and ``end``, and optionally the
        others of `EventStore.stays`.
    owner : str, default="EventStore"
        Name of the class or function for messages.

    Returns
    -------
    DataFrame
        The columns of `EventStore.stays`, in the order of the rows.

    Raises
    ------
    ValueError
        If a column is missing, a stay has no subject, id or start, is repeated, ends
        before it starts, or has an unknown kind or destination. Also if only some
        times have a time zone.
    TypeError
        If a column has the wrong dtype.
    """
    table = as_pandas(frame)
    missing = [name for name in REQUIRED if name not in table.columns]
    if missing:
        hint = "".join(did_you_mean(name, list(map(str, table))) for name in missing)
        raise ValueError(
            f"{owner}: stays must have the columns {missing}, got "
            f"{list(map(str, table.columns))}.{hint}"
        )
    for name in ("stay_id", "subject_id"):
        _refuse(no_id(table[name]), f"no {name}", owner)
    _refuse(table["start"].isna(), "no start", owner)
    stays = pd.DataFrame(
        {name: as_ids(table[name], name, owner) for name in ("stay_id", "subject_id")},
        index=table.index,
    )
    stays["kind"] = (
        _words(table, "kind", KINDS, owner).fillna("hospital").infer_objects()
    )
    for name in ("start", "end"):
        stays[name] = _times(table[name], name, owner)
    if (
        stays["start"].dt.tz is None
        and stays["end"].dt.tz is not None
        or (stays["start"].dt.tz is not None and stays["end"].dt.tz is None)
    ):
        raise ValueError(
            f"{owner}: got a time zone in only one of the columns 'start' and 'end' of "
            "stays, so that lengths may be wrong by hours. Set the time zone of both."
        )
    _refuse(stays["end"] < stays["start"], "an end before the start", owner)
    stays["parent_id"] = _parents(table, stays["stay_id"], owner)
    stays["died"] = _flags(table, owner)
    stays["discharged_to"] = _words(table, "discharged_to", DISCHARGES, owner)
    for name in ("source_kind", "source_discharge"):
        stays[name] = _words(table, name, None, owner)
    _refuse(is_repeated(stays, keep="first"), "the id of another stay", owner)
    return stays[list(COLUMNS)].reset_index(drop=True)


def _refuse(wrong: pd.Series | np.ndarray, what: str, owner: str) -> None:
    if wrong.any():
        places = ", ".join(map(str, np.flatnonzero(wrong)[:5]))
        raise ValueError(
            f"{owner}: got {int(wrong.sum())} of {len(wrong)} stays with {what} (row "
            f"positions {places}). Correct or drop them."
        )


def _words(
    table: pd.DataFrame, name: str, allowed: tuple[str, ...] | None, owner: str
) -> pd.Series:
    """Return a column of text, null where the table has nothing."""
    if name not in table:
        return pd.Series(None, index=table.index, dtype=object)
    column = table[name].astype(object)
    column = column.where(column.notna(), None)
    if allowed is None:
        return column.map(str, "ignore").infer_objects()
    unknown = column.notna() & ~column.isin(allowed)
    if unknown.any():
        raise ValueError(
            f"{owner}: {name} of stays has {int(unknown.sum())} of {len(column)} cells "
            f"other than {', '.join(map(repr, allowed))} or null. Map them to these "
            f"words, and keep yours in 'source_{name.partition('d_')[0]}'."
        )
    return column.infer_objects()


def _times(column: pd.Series, name: str, owner: str) -> pd.Series:
    if column.isna().all() and not pd.api.types.is_datetime64_any_dtype(column):
        column = pd.Series(pd.NaT, index=column.index, dtype="datetime64[us]")
    if not pd.api.types.is_datetime64_any_dtype(column):
        raise TypeError(
            f"{owner}: column {name!r} of stays must contain times, got "
            f"{column.dtype}. Convert it with pandas.to_datetime."
        )
    if column.dt.tz is None:
        return column.astype("datetime64[us]")
    return column.dt.tz_convert("UTC").astype("datetime64[us, UTC]")


def _parents(table: pd.DataFrame, ids: pd.Series, owner: str) -> pd.Series:
    """Return the ids of parents with the type of the ids of stays."""
    is_text = not pd.api.types.is_integer_dtype(ids)
    kind = object if is_text else "Int64"
    nothing: Any = None if is_text else pd.NA
    found = pd.Series(nothing, index=table.index, dtype=kind)
    if "parent_id" not in table or table["parent_id"].isna().all():
        return found
    known = table["parent_id"].dropna()
    given = as_ids(known, "parent_id", owner)
    if (given.dtype == object) != is_text:
        raise TypeError(
            f"{owner}: stay_id and parent_id of stays must be both text or both "
            "integers. Convert them to one type."
        )
    found.loc[known.index] = given
    return found


def _flags(table: pd.DataFrame, owner: str) -> pd.Series:
    if "died" not in table:
        return pd.Series(pd.NA, index=table.index, dtype="boolean")
    column = table["died"]
    try:
        return column.astype("boolean")
    except (TypeError, ValueError):
        raise TypeError(
            f"{owner}: died of stays must be True, False, 0, 1 or null, got "
            f"{column.dtype}."
        ) from None


def write_stays(folder: Path, stays: pd.DataFrame) -> str:
    """Write a table of stays into a folder and return the digest of its files.

    Parameters
    ----------
    folder : Path
        The folder.
    stays : DataFrame
        The columns of `EventStore.stays`.
    """
    rows = np.zeros(len(stays), dtype=ROW)
    words: dict[str, Any] = {"version": VERSION, "n_stays": len(stays)}
    words["zone"] = stays["start"].dt.tz is not None
    rows["subject"], words["subjects"] = _numbered(stays["subject_id"])
    has_parent = stays["parent_id"].notna().to_numpy(bool)
    rows["has_parent"] = has_parent
    # pandas 2 warns of empty parts, whose type counts from pandas 3 on.
    parents = [stays["parent_id"][has_parent]] if has_parent.any() else []
    both = pd.concat([stays["stay_id"], *parents])
    numbers, words["ids"] = _numbered(both)
    rows["stay"], rows["parent"][has_parent] = np.split(numbers, [len(stays)])
    for name in ("start", "end"):
        rows[name] = _microseconds(stays[name])
    for name, column, known in (
        ("kind", "kind", KINDS),
        ("discharged", "discharged_to", DISCHARGES),
        ("source_kind", "source_kind", None),
        ("source_discharge", "source_discharge", None),
    ):
        cells = stays[column].astype(object)
        listed = sorted(set(cells.dropna())) if known is None else list(known)
        rows[name] = pd.Index(listed, dtype=object).get_indexer(pd.Index(cells))
        words[name] = listed
    died = stays["died"].astype("boolean")
    rows["died"] = died.astype("Int8").fillna(UNKNOWN).to_numpy(np.int8)
    rows.tofile(folder / STAY_FILES[0])
    (folder / STAY_FILES[1]).write_text(json.dumps(words), encoding="utf-8")
    return stay_digest(*((folder / name).read_bytes() for name in STAY_FILES))


def _numbered(ids: pd.Series) -> tuple[np.ndarray, list[str] | None]:
    """Return integers as they are, and text as positions in a list."""
    if pd.api.types.is_integer_dtype(ids) or not len(ids):
        return ids.to_numpy(np.int64), None
    numbers, different = pd.factorize(ids.to_numpy(object))
    return numbers.astype(np.int64), list(different)


def _microseconds(times: pd.Series) -> np.ndarray:
    if times.dt.tz is not None:
        times = times.dt.tz_convert("UTC").dt.tz_localize(None)
    return times.to_numpy("datetime64[us]").view(np.int64)


def stay_digest(*contents: bytes) -> str:
    """Return the digest of the contents of `STAY_FILES`."""
    return hashlib.blake2b(b"".join(contents), digest_size=16).hexdigest()


def stays_from(numbers: bytes, texts: bytes) -> pd.DataFrame:
    """Return the table of stays from the contents of `STAY_FILES`.

    Raises
    ------
    ValueError
        If the contents are of another version.
    """
    words = parsed(texts)
    n_bytes = ROW.itemsize * words.get("n_stays", 0)
    if words.get("version") != VERSION or len(numbers) != n_bytes:
        raise ValueError("stays of another version")
    return _table(np.frombuffer(numbers, ROW), words)


def _table(rows: np.ndarray, words: dict[str, Any]) -> pd.DataFrame:
    def named(name: str) -> np.ndarray:
        return np.array([*words[name], None], dtype=object)[rows[name]]

    def ids(name: str, listed: list[str] | None) -> np.ndarray:
        if listed is None:
            return rows[name].astype(np.int64)
        return np.array([*listed, None], dtype=object)[rows[name]]

    parent = pd.Series(ids("parent", words["ids"]))
    parent = parent.astype("Int64" if words["ids"] is None else object)
    lacks = rows["has_parent"] == 0
    parent = parent.mask(lacks, pd.NA if words["ids"] is None else None)
    died = pd.array(rows["died"] == 1, dtype="boolean")
    died[rows["died"] == UNKNOWN] = pd.NA
    table = pd.DataFrame(
        {
            "stay_id": ids("stay", words["ids"]),
            "subject_id": ids("subject", words["subjects"]),
            "kind": named("kind"),
            "start": _as_times(rows["start"], words["zone"]),
            "end": _as_times(rows["end"], words["zone"]),
            "parent_id": parent,
            "died": died,
            "discharged_to": named("discharged"),
            "source_kind": named("source_kind"),
            "source_discharge": named("source_discharge"),
        }
    )
    return table[list(COLUMNS)]


def _as_times(times: np.ndarray, zone: bool) -> pd.Series:
    # The integer of a null is that of NaT.
    column = pd.Series(np.ascontiguousarray(times).view("datetime64[us]"))
    return column.dt.tz_localize("UTC") if zone else column
