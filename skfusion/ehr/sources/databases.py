"""A database or a folder of tables in, what a query finds out, chunk by chunk."""

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


VECTOR = 2048  # rows that duckdb hands out at a time
ENDINGS = (".csv", ".csv.gz", ".parquet")


class Tables(Protocol):
    """Tables with names and columns that SQL reads."""

    def columns(self, table: str) -> list[str]:
        """Return the columns in small letters, none where there is no such table."""

    def chunks(self, query: str, table: str) -> Iterator[pd.DataFrame]:
        """Yield what a query finds, its columns in small letters."""

    def close(self) -> None:
        """Give back what was opened here."""


class DuckTables:
    """Tables that duckdb reads: its own files, or CSV and Parquet.

    Parameters
    ----------
    connection : duckdb.DuckDBPyConnection or None
        Where to ask; None opens one in memory.
    owner : str
        Who reads, for messages.
    chunk_size : int
        About how many rows a chunk has.
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
            # what does not fit into memory goes there, and not into the working folder
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
            If there is none, or two files are of one table.
        """
        found: dict[str, Path] = {}
        for place in sorted(folder.rglob("*")):
            name = place.name.lower()
            if not name.endswith(ENDINGS) or name.startswith("."):
                continue
            table = name.partition(".")[0]
            if table in found:
                raise ValueError(
                    f"{owner}: the folder has two files of the table {table!r}, "
                    f"{found[table].name} and {place.name} (below "
                    f"{place.parent.name}). Keep one."
                )
            found[table] = place
        if not found:
            raise ValueError(
                f"{owner}: the folder holds no table. Expected files such as "
                "person.csv, PATIENTS.csv.gz or labevents.parquet, in it or below."
            )
        tables = cls(None, owner, chunk_size)
        for table, place in found.items():
            tables._add(table, place)
        return tables

    def _add(self, table: str, place: Path) -> None:
        path = str(place).replace("'", "''")
        if place.name.lower().endswith(".parquet"):
            source = f"read_parquet('{path}')"
        else:  # all as text, as types that are guessed change with the rows
            source = f"read_csv('{path}', header=true, delim=',', quote='\"', "
            source += "escape='\"', all_varchar=true)"
        try:
            self._connection.execute(f'CREATE VIEW "{table}" AS SELECT * FROM {source}')
        except self._duckdb.Error as error:
            raise self._unreadable(error, table, 0) from None

    def columns(self, table: str) -> list[str]:
        """Return the columns in small letters, none where there is no such table."""
        try:
            self._connection.execute(f"SELECT * FROM {table} LIMIT 0")
        except self._duckdb.CatalogException:
            return []
        return [entry[0].lower() for entry in self._connection.description]

    def chunks(self, query: str, table: str) -> Iterator[pd.DataFrame]:
        """Yield what a query finds, its columns in small letters."""
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
        """Return what to say without the message of duckdb, which holds cells."""
        line = re.search(r"[Ll]ine:? (\d+)", str(error))
        return ValueError(
            f"{self._owner}: table {table!r} cannot be read"
            + (f" at line {line[1]}" if line else f" after {n_rows:,} rows")
            + f" ({type(error).__name__}): the file is damaged, cut off, or not what "
            "its name says. Nothing was kept."
        )

    def close(self) -> None:
        """Give back what was opened here."""
        if self._opened_here:
            self._connection.close()
        if self._folder is not None:
            self._folder.cleanup()


class SqlTables:
    """Tables behind a connection of DB-API 2.0 or SQLAlchemy.

    Parameters
    ----------
    execute : callable
        Given a query it returns the names of the columns and something to fetch from.
    owner : str
        Who reads, for messages.
    chunk_size : int
        How many rows a chunk has.
    rollback, close : callable
        What ends a transaction that failed, and what gives back a connection.
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
        """Read by a cursor."""

        def execute(query: str) -> tuple[list[str], Any]:
            cursor = connection.cursor()
            cursor.arraysize = chunk_size
            cursor.execute(query)
            return [entry[0] for entry in cursor.description], cursor

        rollback = getattr(connection, "rollback", _nothing)
        return cls(execute, owner, chunk_size, rollback=rollback, close=_nothing)

    @classmethod
    def of_sqlalchemy(cls, source: Any, owner: str, chunk_size: int) -> Self:
        """Read by an engine or a connection, streaming where the database can."""
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
        """Return the columns in small letters, none where there is no such table."""
        try:  # catalogues differ between databases, this does not
            names, result = self._execute(f"SELECT * FROM {table} WHERE 1 = 0")
            result.close()
        except Exception:  # each driver has exceptions of its own
            self._recover()
            return []
        return [name.lower() for name in names]

    def _recover(self) -> None:
        """Go on after a query that failed.

        Some databases do nothing more before a rollback. Others do, and what the user
        has not committed yet must not be lost there.
        """
        try:
            _, result = self._execute("SELECT 1")
            result.close()
        except Exception:  # as above
            self._rollback()

    def chunks(self, query: str, table: str) -> Iterator[pd.DataFrame]:
        """Yield what a query finds, its columns in small letters.

        Raises
        ------
        ConnectionError
            If the database fails, at once or in the middle.
        """
        names: list[str] = []
        result: Any = None
        n_rows = 0
        while True:
            try:
                if result is None:
                    names, result = self._execute(query)
                rows = result.fetchmany(self._size)
            except Exception as error:  # as above; its message may hold cells
                raise ConnectionError(
                    f"{self._owner}: the database failed while table {table!r} was "
                    f"read, after {n_rows:,} rows ({type(error).__name__}). Nothing "
                    "was kept: connect again and repeat."
                ) from None
            if not rows:
                result.close()
                return
            n_rows += len(rows)
            yield pd.DataFrame.from_records(
                [tuple(row) for row in rows], columns=[name.lower() for name in names]
            )

    def close(self) -> None:
        """Give back what was opened here."""
        self._close()


def _nothing() -> None:
    """Do nothing."""


def open_tables(source: Any, owner: str, chunk_size: int) -> Tables:
    """Open a connection, a file of duckdb, or a folder of tables.

    Parameters
    ----------
    source : connection, engine, str or PathLike
        A connection of duckdb or DB-API 2.0, a connection or an engine of SQLAlchemy, a
        file of duckdb, or a folder of CSV or Parquet files named like the tables.
    owner : str
        Who reads, for messages.
    chunk_size : int
        About how many rows a chunk has.

    Returns
    -------
    Tables

    Raises
    ------
    TypeError
        If it is something else.
    FileNotFoundError
        If there is no such file or folder.
    ValueError
        If the file is not one of duckdb, or the folder has no tables.
    """
    if isinstance(source, str | os.PathLike):
        place = Path(source).expanduser()
        if place.is_dir():
            return DuckTables.of_folder(place, owner, chunk_size)
        if not place.is_file():
            raise FileNotFoundError(f"{owner}: there is no file or folder {place}.")
        duckdb = require("duckdb", "ehr")
        try:
            return DuckTables(duckdb.connect(place, read_only=True), owner, chunk_size)
        except duckdb.Error as error:
            raise ValueError(
                f"{owner}: {place} is no file that duckdb opens "
                f"({type(error).__name__}). Pass a file of duckdb, a folder of CSV or "
                "Parquet files, or a connection."
            ) from None
    if hasattr(source, "fetch_df_chunk"):
        return DuckTables(source, owner, chunk_size, opened_here=False)
    if hasattr(source, "exec_driver_sql") or hasattr(source, "execution_options"):
        return SqlTables.of_sqlalchemy(source, owner, chunk_size)
    if hasattr(source, "cursor"):
        return SqlTables.of_dbapi(source, owner, chunk_size)
    raise TypeError(
        f"{owner}: expected a connection of DB-API 2.0, SQLAlchemy or duckdb, a file "
        f"of duckdb or a folder of tables, got {type(source).__name__}."
    )
