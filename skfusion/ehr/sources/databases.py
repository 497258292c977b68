"""Chunked SQL queries on databases and on folders of table files."""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Protocol, Self

import pandas as pd

from skfusion._dependencies import require

__all__ = ["DuckTables", "SqlTables", "Tables", "open_tables"]


VECTOR = 2048  # Rows of a vector, the unit in which duckdb returns results.
ENDINGS = (".csv", ".csv.gz", ".parquet")


class Tables(Protocol):
    """Interface of named tables that can be queried with SQL."""

    def columns(self, table: str) -> list[str]:
        """Return the column names in lower case, or none for a missing table."""

    def chunks(self, query: str, table: str) -> Iterator[pd.DataFrame]:
        """Yield the result of a query in chunks, with lower-case column names."""

    def close(self) -> None:
        """Release the resources opened by this object."""


class DuckTables:
    """Tables read with duckdb, from a duckdb file or from CSV and Parquet files.

    Parameters
    ----------
    connection : duckdb.DuckDBPyConnection or None
        The connection. None opens an in-memory database.
    owner : str
        Name of the reader for messages.
    chunk_size : int
        Approximate number of rows in a chunk.
    opened_here : bool, default=True
        Whether `close` closes the connection.
    """

    def __init__(
        self,
        connection: Any | None,
        owner: str,
        chunk_size: int,
        opened_here: bool = True,
    ) -> None:
        self._duckdb = require("duckdb", "ehr")
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        if connection is None:
            # Spill files would otherwise be written into the working directory.
            self._folder = tempfile.TemporaryDirectory(prefix="skfusion-")
            connection = self._duckdb.connect(
                config={"temp_directory": self._folder.name}
            )
        self._connection = connection
        self._owner = owner
        self._vectors = max(1, chunk_size // VECTOR)
        self._opened_here = opened_here

    @classmethod
    def of_folder(cls, folder: Path, owner: str, chunk_size: int) -> Self:
        """Open a folder with one CSV (plain or gzip) or Parquet file for each table.

        Raises
        ------
        ValueError
            If there is no table file, or a table has two files.
        """
        found: dict[str, Path] = {}
        for place in sorted(folder.rglob("*")):
            name = place.name.lower()
            if not name.endswith(ENDINGS) or name.startswith("."):
                continue
            table = name.partition(".")[0]
            if table in found:
                raise ValueError(
                    f"{owner}: got two files of the table {table!r}, "
                    f"{found[table].name} and {place.name} (below "
                    f"{place.parent.name}). Keep one."
                )
            found[table] = place
        if not found:
            raise ValueError(
                f"{owner}: got a folder without tables. Expected files such as "
                "person.csv, PATIENTS.csv.gz or labevents.parquet, in the folder or "
                "its subfolders."
            )
        tables = cls(None, owner, chunk_size)
        for table, place in found.items():
            tables._add(table, place)
        return tables

    def _add(self, table: str, place: Path) -> None:
        path = str(place).replace("'", "''")
        if place.name.lower().endswith(".parquet"):
            source = f"read_parquet('{path}')"
        else:  # Read as text, because inferred types depend on the sampled rows.
            source = f"read_csv('{path}', header=true, delim=',', quote='\"', "
            source += "escape='\"', all_varchar=true)"
        try:
            self._connection.execute(f'CREATE VIEW "{table}" AS SELECT * FROM {source}')
        except self._duckdb.Error as error:
            raise self._unreadable(error, table, 0) from None

    def columns(self, table: str) -> list[str]:
        """Return the column names in lower case, or none for a missing table."""
        try:
            self._connection.execute(f"SELECT * FROM {table} LIMIT 0")
        except self._duckdb.CatalogException:
            return []
        return [entry[0].lower() for entry in self._connection.description]

    def chunks(self, query: str, table: str) -> Iterator[pd.DataFrame]:
        """Yield the result of a query in chunks, with lower-case column names."""
        n_rows = 0
        while True:
            try:
                if not n_rows:
                    self._connection.execute(query)
                chunk = self._connection.fetch_df_chunk(self._vectors)
            except self._duckdb.Error as error:
                raise self._unreadable(error, table, n_rows) from None
            if chunk.empty:
                return
            n_rows += len(chunk)
            yield chunk.rename(columns=str.lower)

    def _unreadable(self, error: Exception, table: str, n_rows: int) -> ValueError:
        """Return an error without the message of duckdb, which contains cells."""
        line = re.search(r"[Ll]ine:? (\d+)", str(error))
        return ValueError(
            f"{self._owner}: table {table!r} cannot be read"
            + (f" at line {line[1]}" if line else f" after {n_rows:,} rows")
            + f" ({type(error).__name__}). The file is damaged, truncated, or does "
            "not match its file name. No events were stored."
        )

    def close(self) -> None:
        """Release the resources opened by this object."""
        if self._opened_here:
            self._connection.close()
        if self._folder is not None:
            self._folder.cleanup()


class SqlTables:
    """Tables read through a connection of DB-API 2.0 or SQLAlchemy.

    Parameters
    ----------
    execute : callable
        Function of a query that returns the column names and a result to fetch from.
    owner : str
        Name of the reader for messages.
    chunk_size : int
        Number of rows in a chunk.
    rollback, close : callable
        Functions that roll back a failed transaction and release the connection.
    """

    def __init__(
        self,
        execute: Callable[[str], tuple[list[str], Any]],
        owner: str,
        chunk_size: int,
        *,
        rollback: Callable[[], Any],
        close: Callable[[], Any],
    ) -> None:
        self._execute, self._owner, self._size = execute, owner, chunk_size
        self._rollback, self._close = rollback, close

    @classmethod
    def of_dbapi(cls, connection: Any, owner: str, chunk_size: int) -> Self:
        """Create tables that are read with a DB-API 2.0 cursor."""

        def execute(query: str) -> tuple[list[str], Any]:
            cursor = connection.cursor()
            cursor.arraysize = chunk_size
            cursor.execute(query)
            return [entry[0] for entry in cursor.description], cursor

        rollback = getattr(connection, "rollback", _nothing)
        return cls(execute, owner, chunk_size, rollback=rollback, close=_nothing)

    @classmethod
    def of_sqlalchemy(cls, source: Any, owner: str, chunk_size: int) -> Self:
        """Create tables read with SQLAlchemy, with streaming if supported."""
        is_engine = hasattr(source, "connect")
        connection = source.connect() if is_engine else source

        def execute(query: str) -> tuple[list[str], Any]:
            result = connection.exec_driver_sql(
                query, execution_options={"stream_results": True}
            )
            return list(result.keys()), result

        return cls(
            execute,
            owner,
            chunk_size,
            rollback=connection.rollback,
            close=connection.close if is_engine else _nothing,
        )

    def columns(self, table: str) -> list[str]:
        """Return the column names in lower case, or none for a missing table."""
        try:  # Catalogues differ between databases, but this query works in all.
            names, result = self._execute(f"SELECT * FROM {table} WHERE 1 = 0")
            result.close()
        except Exception:  # The exception classes depend on the driver.
            self._recover()
            return []
        return [name.lower() for name in names]

    def _recover(self) -> None:
        """Restore the connection after a failed query.

        Some databases require a rollback. Others do not, and there a rollback would
        discard the user's uncommitted changes.
        """
        try:
            _, result = self._execute("SELECT 1")
            result.close()
        except Exception:  # The exception classes depend on the driver.
            self._rollback()

    def chunks(self, query: str, table: str) -> Iterator[pd.DataFrame]:
        """Yield the result of a query in chunks, with lower-case column names.

        Raises
        ------
        ConnectionError
            If the database fails at the start of the query or during the fetch.
        """
        names: list[str] = []
        result: Any = None
        n_rows = 0
        while True:
            try:
                if result is None:
                    names, result = self._execute(query)
                rows = result.fetchmany(self._size)
            except Exception as error:  # Depends on the driver, may contain cells.
                raise ConnectionError(
                    f"{self._owner}: the database failed while reading table "
                    f"{table!r}, after {n_rows:,} rows ({type(error).__name__}). "
                    "No events were stored. Connect again and repeat."
                ) from None
            if not rows:
                result.close()
                return
            n_rows += len(rows)
            yield pd.DataFrame.from_records(
                [tuple(row) for row in rows], columns=[name.lower() for name in names]
            )

    def close(self) -> None:
        """Release the resources opened by this object."""
        self._close()


def _nothing() -> None:
    """Do nothing."""


def open_tables(source: Any, owner: str, chunk_size: int) -> Tables:
    """Open a connection, a duckdb file, or a folder of tables.

    Parameters
    ----------
    source : connection, engine, str or PathLike
        A connection of duckdb or DB-API 2.0, a connection or engine of SQLAlchemy, a
        duckdb file, or a folder of CSV or Parquet files named after the tables.
    owner : str
        Name of the reader for messages.
    chunk_size : int
        Approximate number of rows in a chunk.

    Returns
    -------
    Tables

    Raises
    ------
    TypeError
        If `source` is of another type.
    FileNotFoundError
        If the file or folder does not exist.
    ValueError
        If the file is not a duckdb file, or the folder has no tables.
    """
    if isinstance(source, str | os.PathLike):
        place = Path(source).expanduser()
        if place.is_dir():
            return DuckTables.of_folder(place, owner, chunk_size)
        if not place.is_file():
            raise FileNotFoundError(f"{owner}: got a missing path, {place}.")
        duckdb = require("duckdb", "ehr")
        try:
            return DuckTables(duckdb.connect(place, read_only=True), owner, chunk_size)
        except duckdb.Error as error:
            raise ValueError(
                f"{owner}: got a file that duckdb cannot open, {place} "
                f"({type(error).__name__}). Pass a duckdb file, a folder of CSV or "
                "Parquet files, or a connection."
            ) from None
    if hasattr(source, "fetch_df_chunk"):
        return DuckTables(source, owner, chunk_size, opened_here=False)
    if hasattr(source, "exec_driver_sql") or hasattr(source, "execution_options"):
        return SqlTables.of_sqlalchemy(source, owner, chunk_size)
    if hasattr(source, "cursor"):
        return SqlTables.of_dbapi(source, owner, chunk_size)
    raise TypeError(
        f"{owner}: source must be a connection of DB-API 2.0, SQLAlchemy or duckdb, a "
        f"duckdb file or a folder of tables, got {type(source).__name__}."
    )
