"""Tables of a duckdb connection, or of CSV and Parquet files in a folder."""

from __future__ import annotations

import codecs
import csv
import os
import re
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple, Self

import pandas as pd

from skfusion._dependencies import require
from skfusion.ehr.sources.table_files import (
    Dialect,
    dialect_of,
    find_tables,
    literal,
    quoted,
    transcoded,
)
from skfusion.exceptions import DataWarning, warn_user
from skfusion.store.working_folders import temporary_folder

__all__ = ["DuckTables", "FileLayout"]


VECTOR = 2048  # Rows of a vector, the unit in which duckdb returns results.
MISSING = -(2**63) + 1  # Replaces null, beside which pandas has floats.
ZONED = "TIMESTAMP WITH TIME ZONE"
TOO_WIDE = ("HUGEINT", "UHUGEINT", "UBIGINT", "DECIMAL")  # Not exact in pandas.
NOT_WHOLE = "not a whole number: "
# Words that programs write for null, in columns that cannot hold a text.
NULL_WORDS = ", ".join(
    f"'{word}'"
    for word in (
        *("", "NA", "N/A", "NULL", "null", "Null", r"\N", "NaN", "nan", "None", "<NA>"),
    )
)
NOT_TEXT = re.compile(
    r".*(_id|date|time|_of_birth|_as_number|valuenum|itemid|amount|_version|error)|"
    r"dob|dod|anchor_age|anchor_year|cancelreason|dose_val_rx"
)


class FileLayout(NamedTuple):
    """Tables and columns that are expected in a folder, and the dialect of its files.

    `vocabulary` names tables of an OMOP vocabulary, `dictionaries` tables of names of
    codes, and `whole` the columns that are converted to integers.
    """

    known: frozenset[str]
    vocabulary: frozenset[str] = frozenset()
    whole: frozenset[str] = frozenset()
    encoding: str | None = None
    delimiter: str | None = None
    dictionaries: frozenset[str] = frozenset()

    def check(self, owner: str) -> Self:
        """Raise an error for an unknown encoding or delimiter."""
        try:
            codecs.lookup(self.encoding or "utf-8")
        except (LookupError, TypeError):
            raise ValueError(
                f"{owner}: encoding must be the name of an encoding such as "
                f"'latin-1', got {self.encoding!r}."
            ) from None
        given = self.delimiter
        if given is not None and not (isinstance(given, str) and len(given) == 1):
            raise ValueError(
                f"{owner}: delimiter must be one character, got {given!r}."
            )
        return self


def _identifier(name: str) -> str:
    """Return an SQL identifier in quotes."""
    return '"' + name.replace('"', '""') + '"'


def _whole(column: str, kind: str, name: str) -> str:
    """Return an SQL expression of an exact 64-bit integer."""
    if kind in ("DOUBLE", "FLOAT"):
        right = f"{column} = trunc({column}) AND abs({column}) < {2**53}"
        given = f"{column} IS NULL OR isnan({column})"
    else:
        column = f"CAST({column} AS VARCHAR)"
        decimal = f"TRY_CAST({column} AS DECIMAL(38, 9))"
        # The cast of text rounds, which must not make one id of two.
        plain = " AND ".join(f"NOT contains({column}, '{sign}')" for sign in ".eE")
        right = (
            f"TRY_CAST({column} AS BIGINT) IS NOT NULL AND (({plain}) OR "
            f"{decimal} = floor({decimal}))"
        )
        given = f"{_not_null(column)} IS NULL"
    return (
        f"CASE WHEN {right} THEN CAST({column} AS BIGINT) WHEN {given} THEN NULL "
        f"ELSE error('{NOT_WHOLE}{name.lower()}') END"
    )


def _not_null(column: str) -> str:
    """Return an SQL expression of a text that is null for `NULL_WORDS`.

    Numbers and dates begin with a character before the colon, which is fast to see.
    """
    return (
        f"CASE WHEN {column} > ' ' AND {column} < ':' THEN {column} "
        f"WHEN {column} NOT IN ({NULL_WORDS}) THEN {column} END"
    )


class DuckTables:
    """Tables read with duckdb, from a duckdb file or from CSV and Parquet files.

    Parameters
    ----------
    connection : duckdb.DuckDBPyConnection or None
        The connection. None opens an in-memory database, which downloads nothing.
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
        self._open = ExitStack()
        self._folder: Path | None = None
        if connection is None:
            # Spill files would otherwise be written into the working directory.
            self._folder = self._open.enter_context(temporary_folder()).resolve()
            config = {
                "temp_directory": str(self._folder),
                "autoinstall_known_extensions": "false",
            }
            connection = self._duckdb.connect(config=config)
        self._connection = connection
        self._owner = owner
        self._vectors = max(1, chunk_size // VECTOR)
        self._opened_here = opened_here
        self._columns: dict[str, list[str]] = {}
        self._texts: dict[str, tuple[Path, Dialect]] = {}  # First CSV file of a table.
        self._whole: frozenset[str] = frozenset()

    @classmethod
    def of_folder(
        cls, folder: Path, owner: str, chunk_size: int, layout: FileLayout
    ) -> Self:
        """Open a folder of the files of known tables.

        The connection can read no other file, and no other table name is used.

        Raises
        ------
        ValueError
            If there is no table file, a table has two files, or a file is damaged.
        """
        found = {  # Links are followed here, because duckdb compares real paths.
            table: [path.resolve() for path in paths]
            for table, paths in find_tables(folder, layout.known, owner).items()
        }
        tables = cls(None, owner, chunk_size)
        try:
            tables._restrict_to([path for paths in found.values() for path in paths])
            for table, paths in found.items():
                if table in layout.dictionaries:
                    tables._add_dictionary(table, paths, layout)
                else:
                    tables._add(table, paths, layout)
        except BaseException:
            tables.close()
            raise
        return tables

    @classmethod
    def of_file(cls, place: Path, owner: str, chunk_size: int) -> Self:
        """Open a duckdb file, whose views can read no other file.

        Raises
        ------
        duckdb.Error
            If the file is not one of duckdb, or another process writes to it.
        """
        tables = cls(None, owner, chunk_size)
        try:
            tables._attach(place)
            tables._restrict_to([])
        except BaseException:
            tables.close()
            raise
        return tables

    def _attach(self, place: Path) -> None:
        """Make the tables of a duckdb file those of the connection."""
        # Absolute, and of a type, because duckdb reads a name such as "md:a" as an
        # address, and downloads an extension for a file of sqlite.
        source = f"ATTACH {quoted(os.path.abspath(place))}"
        how = "(READ_ONLY, TYPE DUCKDB)"
        try:
            self._connection.execute(f"{source} {how}")
        except self._duckdb.BinderException:  # A name of duckdb, such as "memory".
            self._connection.execute(f"{source} AS source {how}")
        row = self._connection.execute(
            "SELECT database_name FROM duckdb_databases() "
            "WHERE NOT internal AND path IS NOT NULL"
        ).fetchone()
        self._connection.execute(f"USE {_identifier(row[0])}")

    def _restrict_to(self, files: Sequence[Path]) -> None:
        """Forbid the access to other files, and the change of this setting."""
        assert self._folder is not None
        # Paths are compared as they are written, so that escaped ones are needed too.
        try:
            for setting, places in (("paths", files), ("directories", [self._folder])):
                texts = [t for p in places for t in (quoted(str(p)), literal(p))]
                self._connection.execute(f"SET allowed_{setting}=[{', '.join(texts)}]")
        except self._duckdb.CatalogException:
            if files:
                return  # Older versions of duckdb can only forbid all files.
        self._connection.execute("SET enable_external_access=false")
        self._connection.execute("SET lock_configuration=true")

    def _add(self, table: str, paths: list[Path], layout: FileLayout) -> None:
        """Create a view of the files of a table."""
        is_csv = paths[0].suffix.lower() != ".parquet"
        if is_csv:
            source = self._csv(table, paths, layout)
        else:
            union = ", union_by_name=true" if len(paths) > 1 else ""
            source = f"read_parquet([{', '.join(map(literal, paths))}]{union})"
        try:
            names = self._described(f"SELECT * FROM {source}")
            self._columns[table] = [name.lower() for name, _ in names]
            cleaned = ", ".join(
                f"{expression} AS {_identifier(name)}"
                for name, kind in names
                if (expression := self._cleaned(name, kind, layout))
            )
            cleaned = f" REPLACE ({cleaned})" if cleaned else ""
            self._connection.execute(
                f"CREATE VIEW {_identifier(table)} AS SELECT *{cleaned} FROM {source}"
            )
        except self._duckdb.Error as error:
            raise self._unreadable(error, table, 0) from None
        self._whole |= layout.whole

    def _add_dictionary(
        self, table: str, paths: list[Path], layout: FileLayout
    ) -> None:
        """Create a view of a table of names, which events do not need.

        Warns
        -----
        DataWarning
            If it cannot be read, so that it is as if it were absent.
        """
        try:
            self._add(table, paths, layout)
        except ValueError as error:
            self._columns.pop(table, None)
            warn_user(f"{error} Codes have no names of it.", DataWarning)

    def _csv(self, table: str, paths: list[Path], layout: FileLayout) -> str:
        """Return the SQL source of CSV files, after conversion to UTF-8."""
        assert self._folder is not None
        dialect = None
        places = []
        for number, path in enumerate(paths):
            dialect = dialect_of(
                path,
                self._owner,
                encoding=layout.encoding,
                delimiter=layout.delimiter,
                is_vocabulary=table in layout.vocabulary,
            )
            if dialect.encoding != "utf-8":
                copy = self._folder / f"{table}-{number}.csv"
                path = transcoded(path, dialect.encoding, copy, self._owner)
            places.append(path)
        assert dialect is not None
        self._texts[table] = places[0], dialect
        union = ", union_by_name=true" if len(places) > 1 else ""
        quote = quoted(dialect.quote)
        columns = ""
        if table in layout.dictionaries and len(places) == 1:
            # Types are not inferred anyway, and looking for them takes longer than
            # reading the few names that are used.
            names = self._header(places[0], dialect)
            kinds = ", ".join(f"{quoted(name)}: 'VARCHAR'" for name in names)
            columns = f", auto_detect=false, columns={{{kinds}}}"
        # Read as text, because inferred types depend on the sampled rows.
        return (
            f"read_csv([{', '.join(map(literal, places))}], header=true, "
            f"delim={quoted(dialect.delimiter)}, quote={quote}, escape={quote}, "
            f"all_varchar=true{union}{columns})"
        )

    def _header(self, path: Path, dialect: Dialect) -> list[str]:
        """Return the column names of a CSV file."""
        try:
            head = pd.read_csv(
                path,
                sep=dialect.delimiter,
                quoting=csv.QUOTE_MINIMAL if dialect.quote else csv.QUOTE_NONE,
                dtype=str,
                nrows=0,
            )
        except ValueError as error:  # Also of pandas' parser, and of UTF-8.
            raise self._unreadable(error, path.name.partition(".")[0], 0) from None
        return [str(name) for name in head.columns]

    @staticmethod
    def _cleaned(name: str, kind: str, layout: FileLayout) -> str | None:
        """Return an SQL expression of a column in its right type, or None as it is."""
        column = _identifier(name)
        if name.lower() in layout.whole:
            return _whole(column, kind, name)
        if kind == "VARCHAR" and NOT_TEXT.fullmatch(name.lower()):
            return _not_null(column)
        return None

    def _described(self, query: str) -> list[tuple[str, str]]:
        """Return the names and types of the columns of a query."""
        rows = self._connection.execute(f"DESCRIBE {query}").fetchall()
        return [(row[0], row[1]) for row in rows]

    def columns(self, table: str) -> list[str]:
        """Return the column names in lower case, or none for a missing table."""
        if table not in self._columns:
            try:
                described = self._described(f"SELECT * FROM {table}")
            except self._duckdb.CatalogException:
                described = []
            except self._duckdb.Error as error:
                raise self._unreadable(error, table, 0) from None
            self._columns[table] = [name.lower() for name, _ in described]
        return self._columns[table]

    def materialize(self, name: str, query: str, table: str) -> int:
        """Create a table from a query on a table, and return how many rows it lacks."""
        counts = " - ".join(f"(SELECT count(*) FROM {n})" for n in (table, name))
        try:
            self._connection.execute(f"CREATE TEMP TABLE {name} AS {query}")
            row = self._connection.execute(f"SELECT {counts}").fetchone()
        except self._duckdb.Error as error:
            raise self._unreadable(error, table, 0) from None
        return int(row[0])

    def number(self, expression: str) -> str:
        """Return an SQL expression of a number, which may be stored as text."""
        return f"TRY_CAST({expression} AS DOUBLE)"

    def values(self, table: str, columns: Sequence[str]) -> str:
        """Return an SQL query of the numbers in columns, which reads a table once."""
        cells = ", ".join(map(self.number, columns))
        return f"SELECT unnest([{cells}]) FROM {table}"

    def sample(self, table: str, columns: Sequence[str]) -> pd.DataFrame:
        """Return one value of each column, from the first rows of a table."""
        if table in self._texts:  # Much faster than a query.
            path, dialect = self._texts[table]
            head = pd.read_csv(
                path,
                sep=dialect.delimiter,
                quoting=csv.QUOTE_MINIMAL if dialect.quote else csv.QUOTE_NONE,
                dtype=str,
                nrows=VECTOR,
                usecols=lambda name: name.lower() in columns,
            ).rename(columns=str.lower)
            return head.bfill()[:1]
        names = ", ".join(f"max({name}) AS {name}" for name in columns)
        inner = f"SELECT {', '.join(columns)} FROM {table} LIMIT {VECTOR}"
        return next(self.chunks(f"SELECT {names} FROM ({inner}) t", table))

    def chunks(self, query: str, table: str) -> Iterator[pd.DataFrame]:
        """Yield the result of a query in chunks, with lower-case column names."""
        n_rows = 0
        wide: dict[str, str] = {}
        while True:
            try:
                if not n_rows:
                    query, wide = self._exact(query, table)
                    self._connection.execute(query)
                chunk = self._connection.fetch_df_chunk(self._vectors)
            except self._duckdb.Error as error:
                raise self._unreadable(error, table, n_rows) from None
            if chunk.empty:
                return
            n_rows += len(chunk)
            for name, kind in wide.items():
                missing = chunk[name] == MISSING
                if kind == ZONED:
                    times = pd.to_datetime(chunk[name].mask(missing, 0), unit="us")
                    times = times.astype("datetime64[us]").mask(missing)
                    chunk[name] = times.dt.tz_localize("UTC")
                elif missing.any():
                    chunk[name] = chunk[name].astype("Int64").mask(missing)
            yield chunk.rename(columns=str.lower)

    def _exact(self, query: str, table: str) -> tuple[str, dict[str, str]]:
        """Return a query whose integers do not become floats beside nulls.

        The second value has the columns in which a number replaces null, with their
        types. Times with a time zone are such numbers as well.
        """
        name = table.rpartition(".")[2]
        if name in self._texts:  # All but these are text, and a description is slow.
            kinds = [(c, "BIGINT") for c in self._whole if f" AS {c}" in query]
        else:
            kinds = self._described(query)
        changes = []
        for column, kind in kinds:
            c = _identifier(column)
            if kind == "BIGINT":
                changes.append(f"coalesce({c}, {MISSING}) AS {c}")
            elif kind == ZONED:
                changes.append(f"coalesce(epoch_us({c}), {MISSING}) AS {c}")
            elif kind.startswith(TOO_WIDE):
                changes.append(f"CAST({c} AS VARCHAR) AS {c}")
        if changes:
            query = f"SELECT * REPLACE ({', '.join(changes)}) FROM ({query}) q"
        return query, {c: kind for c, kind in kinds if kind in ("BIGINT", ZONED)}

    def _unreadable(self, error: Exception, table: str, n_rows: int) -> ValueError:
        """Return an error without the message of duckdb, which contains cells."""
        text = str(error)
        column = re.search(rf"{NOT_WHOLE}(\w+)", text)
        if column:
            return ValueError(
                f"{self._owner}: {table}.{column[1]}: got cells that are not integers "
                "of 64 bits, or too large for a float column. No events were stored."
            )
        if "utf-8" in text.lower() or "unicode" in text.lower():
            return ValueError(
                f"{self._owner}: table {table!r} is not encoded in UTF-8. No events "
                "were stored. Set encoding=, for instance to 'latin-1'."
            )
        if isinstance(error, self._duckdb.PermissionException):
            return ValueError(
                f"{self._owner}: table {table!r} is a view of other files, which are "
                "not read. No events were stored. Copy it into a table, or pass a "
                "connection of duckdb.connect."
            )
        line = re.search(r"[Ll]ine:? (\d+)", text)
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
        self._open.close()
