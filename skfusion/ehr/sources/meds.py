"""A data set in the Medical Event Data Standard in, chunks of events out."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd

from skfusion._dependencies import require
from skfusion.ehr.sources.shaping import EVENT_COLUMNS

__all__ = ["read_meds"]


REQUIRED = ("subject_id", "time", "code")


def read_meds(
    source: str | os.PathLike[str], *, chunk_size: int = 500_000
) -> Iterator[pd.DataFrame]:
    """Read a MEDS data set.

    Parameters
    ----------
    source : str or PathLike
        Folder of the data set (with a folder ``data``), a folder of Parquet files, or
        one such file.
    chunk_size : int, default=500_000
        Most events of a chunk.

    Yields
    ------
    DataFrame
        ``subject_id``, ``time`` (NaT for what holds always), ``code``, and what the
        files have of ``numeric_value``, ``available_time``, ``unit``, ``text_value``.

    Raises
    ------
    FileNotFoundError
        If there is no Parquet file.
    ValueError
        If a file is damaged or cut off, or lacks a column.

    Notes
    -----
    MEDS 0.4 says when something happened, not when it was known; give events that were
    known later an ``available_time``, or use `skfusion.EventStore.with_lags`.

    Examples
    --------
    >>> import pandas as pd, tempfile
    >>> from pathlib import Path
    >>> from skfusion.ehr.sources import read_meds
    >>> events = pd.DataFrame({"subject_id": [1], "code": ["LAB//LOINC//718-7"],
    ...                        "time": pd.to_datetime(["2024-05-01 08:00"])})
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     events.to_parquet(Path(folder, "0.parquet"))
    ...     print(sum(len(chunk) for chunk in read_meds(folder)))
    1
    """
    place = Path(source).expanduser()
    if place.is_file():
        files = [place]
    else:
        data = place / "data"
        files = sorted((data if data.is_dir() else place).rglob("*.parquet"))
    if not files:
        raise FileNotFoundError(
            f"read_meds: there is no Parquet file at {place}. A MEDS data set has them "
            "in its folder 'data'."
        )
    arrow, parquet = require("pyarrow", "ehr"), require("pyarrow.parquet", "ehr")
    return _chunks(files, chunk_size, arrow, parquet)


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
                    f"{where} has no column {missing}; it has {names}. Rename yours to "
                    f"the names of MEDS: {', '.join(EVENT_COLUMNS)}."
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
        f"{where} is damaged or cut off ({type(error).__name__}). Nothing was kept: "
        "copy it again."
    )
