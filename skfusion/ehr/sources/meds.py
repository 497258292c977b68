"""Reader of events from a Medical Event Data Standard (MEDS) data set."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd

from skfusion._dependencies import require
from skfusion._paths import expanded_path
from skfusion.ehr.sources.shaping import EVENT_COLUMNS
from skfusion.exceptions import DataWarning, warn_user

__all__ = ["read_meds"]


REQUIRED = ("subject_id", "time", "code")


def read_meds(
    source: str | os.PathLike[str],
    *,
    labels: dict[str, str] | None = None,
    chunk_size: int = 500_000,
) -> Iterator[pd.DataFrame]:
    """Read events from a MEDS data set.

    Parameters
    ----------
    source : str or PathLike
        Folder of the data set (with a subfolder ``data``), folder of Parquet files, or
        a single Parquet file.
    labels : dict or None, default=None
        Dictionary to which the names of codes are added: the column ``description`` of
        ``metadata/codes.parquet`` of the data set. Names that it already has are kept.
    chunk_size : int, default=500_000
        Maximum number of events in a chunk.

    Yields
    ------
    DataFrame
        ``subject_id``, ``time`` (NaT for static events), ``code``, and, if present,
        ``numeric_value``, ``available_time``, ``unit``, ``text_value``.

    Raises
    ------
    FileNotFoundError
        If there is no Parquet file.
    ValueError
        If a file is damaged or truncated, or lacks a column.

    Warns
    -----
    DataWarning
        If the names of codes cannot be read.

    Notes
    -----
    MEDS 0.4 records when an event happened, not when it became available. Add an
    ``available_time`` to delayed events, or use `skfusion.EventStore.with_lags`.

    Examples
    --------
    >>> import pandas as pd, tempfile
    >>> from pathlib import Path
    >>> from skfusion.ehr import read_meds
    >>> events = pd.DataFrame({"subject_id": [1], "code": ["LAB//LOINC//718-7"],
    ...                        "time": pd.to_datetime(["2024-05-01 08:00"])})
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     events.to_parquet(Path(folder, "0.parquet"))
    ...     print(sum(len(chunk) for chunk in read_meds(folder)))
    1
    """
    place = expanded_path(source)
    if place.is_file():
        files = [place]
    else:
        data = place / "data"
        folder = data if data.is_dir() else place
        # rglob raises its own errors for some paths that do not exist (Python 3.13).
        found = folder.rglob("*.parquet") if folder.is_dir() else ()
        files = sorted(path for path in found if path.is_file())
    if not files:
        raise FileNotFoundError(
            f"read_meds: got a path without Parquet files, {place}. A MEDS data set "
            "has them in its folder 'data'."
        )
    arrow, parquet = require("pyarrow", "ehr"), require("pyarrow.parquet", "ehr")
    if labels is not None:
        for code, name in _names(place, arrow, parquet).items():
            labels.setdefault(code, name)
    return _chunks(files, chunk_size, arrow, parquet)


def _names(place: Path, arrow: Any, parquet: Any) -> dict[str, str]:
    """Return the descriptions of codes of a data set."""
    # The events are in its folder `data`, or in a folder of that.
    folders = (place, *place.parents[:3])
    found = (folder / "metadata" / "codes.parquet" for folder in folders)
    file = next((path for path in found if path.is_file()), None)
    if file is None:
        return {}
    wanted = ["code", "description"]
    try:
        if not {*wanted} <= {*parquet.read_schema(file).names}:
            return {}
        table = parquet.read_table(file, columns=wanted)
        codes, names = (table.column(name).to_pylist() for name in wanted)
    except (arrow.ArrowInvalid, OSError) as error:
        warn_user(
            "read_meds: the names of codes in metadata/codes.parquet cannot be read "
            f"({type(error).__name__}), so that the codes have none. The file is "
            "damaged or truncated. Copy it again.",
            DataWarning,
        )
        return {}
    return {
        code: name
        for code, name in zip(codes, names, strict=True)
        if isinstance(code, str) and isinstance(name, str)
    }


def _chunks(
    files: list[Path], chunk_size: int, arrow: Any, parquet: Any
) -> Iterator[pd.DataFrame]:
    for number, place in enumerate(files, start=1):
        where = f"read_meds: file {number} of {len(files)} ({place.name})"
        try:
            file = parquet.ParquetFile(place)
            names = file.schema_arrow.names
        except (arrow.ArrowInvalid, OSError) as error:
            raise _damaged(where, error) from None
        with file:
            missing = [name for name in REQUIRED if name not in names]
            if missing:
                raise ValueError(
                    f"{where} must have the columns {missing}, got {names}. Rename the "
                    f"columns to the MEDS names: {', '.join(EVENT_COLUMNS)}."
                )
            wanted = [name for name in EVENT_COLUMNS if name in names]
            batches = file.iter_batches(chunk_size, columns=wanted)
            while True:
                try:
                    batch = next(batches, None)
                except (arrow.ArrowInvalid, OSError) as error:
                    raise _damaged(where, error) from None
                if batch is None:
                    break
                yield batch.to_pandas()


def _damaged(where: str, error: Exception) -> ValueError:
    return ValueError(
        f"{where} is damaged or truncated ({type(error).__name__}). No events were "
        "stored. Copy the file again."
    )
