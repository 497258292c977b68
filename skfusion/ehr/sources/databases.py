"""Chunked SQL queries on databases, and the choice of how a source is read."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from typing import Any, Protocol, Self

import pandas as pd

from skfusion._dependencies import require
from skfusion._paths import expanded_path
from skfusion.ehr.sources.duckdb_tables import DuckTables, FileLayout

__all__ = ["SqlTables", "Tables", "open_tables"]


class Tables(Protocol):
    """Interface of named tables that can be queried with SQL."""

    def columns(self, table: str) -> list[str]:
        """Return the column names in lower case, or none for a missing table."""

    def number(self, expression: str) -> str:
        """Return an SQL expression of a number, which may be stored as text."""

    def values(self, table: str, columns: Sequence[str]) -> str:
        """Return an SQL query of all numbers in columns of a table."""

    def sample(self, table: str, columns: Sequence[str]) -> pd.DataFrame:
        """Return some values of columns, from which their type can be seen."""

    def chunks(self, query: str, table: str) -> Iterator[pd.DataFrame]:
        """Yield the result of a query in chunks, with lower-case column names."""

    def close(self) -> None:
        """Release the resources opened by this object."""


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

    def number(self, expression: str) -> str:
        """Return the expression, because columns of databases have types."""
        return expression

    def values(self, table: str, columns: Sequence[str]) -> str:
        """Return an SQL query of all numbers in columns of a table."""
        return " UNION ".join(f"SELECT {column} FROM {table}" for column in columns)

    def sample(self, table: str, columns: Sequence[str]) -> pd.DataFrame:
        """Return the values of one person."""
        query = (
            f"SELECT {', '.join(columns)} FROM {table} WHERE person_id = "
            f"(SELECT MIN(person_id) FROM {table})"
        )
        chunks = self.chunks(query, table)
        try:
            return next(chunks, pd.DataFrame(columns=list(columns)))
        finally:
            chunks.close()  # type: ignore[attr-defined]

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
        try:
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
                    return
                n_rows += len(rows)
                # Objects, because integers beside nulls would become floats.
                yield pd.DataFrame(
                    {
                        name.lower(): pd.Series(cells, dtype=object)
                        for name, cells in zip(
                            names, zip(*rows, strict=True), strict=True
                        )
                    }
                )
        finally:
            if result is not None:
                _closed(result)

    def close(self) -> None:
        """Release the resources opened by this object."""
        self._close()


def _nothing() -> None:
    """Do nothing."""


def _closed(result: Any) -> None:
    """Close a result, also one of a connection that was lost."""
    with suppress(Exception):  # The exception classes depend on the driver.
        result.close()


def open_tables(source: Any, owner: str, chunk_size: int, layout: FileLayout) -> Tables:
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
    layout : FileLayout
        Tables that are expected in a folder, and the dialect of its files.

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
        place = expanded_path(source)
        if place.is_dir():
            return DuckTables.of_folder(place, owner, chunk_size, layout)
        if not place.is_file():
            raise FileNotFoundError(f"{owner}: got a missing path, {place}.")
        duckdb = require("duckdb", "ehr")
        try:
            return DuckTables.of_file(place, owner, chunk_size)
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
