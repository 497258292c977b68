"""Search for the files of known tables in a folder, and dialects of CSV files."""

from __future__ import annotations

import codecs
import gzip
import os
import re
import shutil
import zlib
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from skfusion.exceptions import DataWarning, warn_user

__all__ = [
    "Dialect",
    "dialect_of",
    "find_tables",
    "literal",
    "other_tables",
    "quoted",
    "transcoded",
    "warn_of_unread",
]


ENDINGS = (".csv", ".csv.gz", ".tsv", ".tsv.gz", ".parquet")
HEAD = 1 << 16  # Bytes of a file that determine its dialect.
UTF_8 = "utf-8"
_N_SHOWN = 8  # Tables in a warning.
_PART = re.compile(r"part|\d")  # How names of part files begin.


class Dialect(NamedTuple):
    """Encoding, delimiter and quote character of a CSV file."""

    encoding: str
    delimiter: str
    quote: str


def find_tables(
    folder: Path, known: Collection[str], owner: str
) -> dict[str, list[Path]]:
    """Return the files of each known table in a folder and its subfolders.

    A table is a file such as ``person.csv``, or a folder of part files such as
    ``person/part-0000.parquet``. Everything else is ignored.

    Parameters
    ----------
    folder : Path
        The folder. Links to folders are not followed.
    known : collection of str
        Names of tables in lower case.
    owner : str
        Name of the reader for messages.

    Returns
    -------
    dict of str to list of Path
        More than one path for a folder of part files.

    Raises
    ------
    ValueError
        If there is no table, a table occurs twice, or part files are of two formats.
    """
    found: dict[str, list[Path]] = {}
    for table, paths in _tables_below(folder, frozenset(known), owner):
        if table in found:
            names = [
                (each[0].parent if len(each) > 1 else each[0]).relative_to(folder)
                for each in (found[table], paths)
            ]
            raise ValueError(
                f"{owner}: got two files of the table {table!r}, {names[0]} and "
                f"{names[1]}. Keep one."
            )
        found[table] = paths
    if not found:
        raise ValueError(
            f"{owner}: got a folder without tables. Expected files such as "
            "person.csv, PATIENTS.csv.gz or labevents.parquet, or folders of part "
            "files such as person/part-0000.parquet, in the folder or its subfolders."
        )
    return found


def other_tables(folder: Path, known: Collection[str]) -> dict[str, int]:
    """Return the names and sizes of table files that `find_tables` ignores.

    Parameters
    ----------
    folder : Path
        The folder, searched with its subfolders.
    known : collection of str
        Names of tables in lower case, whose files and folders are not listed.

    Returns
    -------
    dict of str to int
        Name in lower case -> bytes, in the order of the names. A folder of part files
        has the name of the folder only if all of its files are numbered parts.
    """
    found: Counter[str] = Counter()
    for path in folder.iterdir():
        name = _stem(path)
        if _is_hidden(path) or name in known or (path.is_dir() and path.is_symlink()):
            continue
        if path.is_dir():
            inner = other_tables(path, known)
            is_parts = bool(inner) and all(_PART.match(table) for table in inner)
            found.update({name: sum(inner.values())} if is_parts else inner)
        elif path.name.lower().endswith(ENDINGS):
            found[name] += path.stat().st_size
    return dict(sorted(found.items()))


def warn_of_unread(
    folder: str | os.PathLike[str], tables: Mapping[str, int], owner: str
) -> None:
    """Warn about tables of a folder that are not read, with their shares of the bytes.

    Parameters
    ----------
    folder : str or PathLike
        The folder.
    tables : mapping of str to int
        Name -> bytes of the tables that are not read, as by `other_tables`.
    owner : str
        Name of the reader.

    Warns
    -----
    DataWarning
        If there are such tables.
    """
    if not tables:
        return
    total = max(1, sum(other_tables(Path(folder), ()).values()))
    ranked = sorted(tables, key=lambda name: -tables[name])
    listed = [f"{name} ({tables[name] / total:.1%})" for name in ranked[:_N_SHOWN]]
    more = f" and {len(ranked) - _N_SHOWN} more" if len(ranked) > _N_SHOWN else ""
    warn_user(
        f"{owner}: did not read {len(ranked)} tables with "
        f"{sum(tables.values()) / total:.1%} of the bytes of the folder, which have no "
        f"events in the store: {', '.join(listed)}{more}. Set tables= to silence this "
        "warning.",
        DataWarning,
    )


def _tables_below(
    folder: Path, known: frozenset[str], owner: str
) -> Iterator[tuple[str, list[Path]]]:
    for path in sorted(folder.iterdir()):
        table = _stem(path)
        if _is_hidden(path):
            continue
        if path.is_dir():
            if path.is_symlink():
                continue
            parts = _parts(path, known, owner) if table in known else []
            if parts:
                yield table, parts
            else:
                yield from _tables_below(path, known, owner)
        elif table in known and path.name.lower().endswith(ENDINGS):
            yield table, [path]


def _stem(path: Path) -> str:
    return path.name.lower().partition(".")[0]


def _is_hidden(path: Path) -> bool:
    """Return whether writers of tables use the path for something other than rows."""
    return path.name.startswith((".", "_"))


def _parts(folder: Path, known: frozenset[str], owner: str) -> list[Path]:
    """Return the part files of a table, or none if the folder has other tables."""
    table = _stem(folder)
    if (folder / "_delta_log").is_dir():
        raise ValueError(
            f"{owner}: got a Delta table, {folder.name}, whose files include deleted "
            "rows. Export it as Parquet, or pass a connection to a database."
        )
    files = sorted(
        path
        for path in folder.rglob("*")
        if path.name.lower().endswith(ENDINGS)
        and path.is_file()
        and not any(_is_hidden(Path(part)) for part in path.relative_to(folder).parts)
    )
    if any(_stem(path) in known - {table} for path in files):
        return []
    if len({path.suffix.lower() == ".parquet" for path in files}) > 1:
        raise ValueError(
            f"{owner}: got part files of the table {table!r} in two formats, CSV and "
            "Parquet. Keep one."
        )
    return files


def quoted(text: str) -> str:
    """Return a text as SQL."""
    return "'" + text.replace("'", "''") + "'"


def literal(path: Path) -> str:
    """Return a path as an SQL text that duckdb does not expand as a pattern.

    Examples
    --------
    >>> from pathlib import PurePosixPath
    >>> from skfusion.ehr.sources.table_files import literal
    >>> print(literal(PurePosixPath("/data/g*/it's.csv")))
    '/data/g[*]/it''s.csv'
    """
    return quoted(re.sub(r"([*?\[])", r"[\1]", str(path)))


def dialect_of(
    path: Path,
    owner: str,
    *,
    encoding: str | None = None,
    delimiter: str | None = None,
    is_vocabulary: bool = False,
) -> Dialect:
    """Return the dialect of a CSV file.

    Parameters
    ----------
    path : Path
        The file, plain or gzipped.
    owner : str
        Name of the reader for messages.
    encoding : str or None, default=None
        Encoding of files without a byte order mark. None is UTF-8, or UTF-16 if the
        header has null bytes.
    delimiter : str or None, default=None
        The delimiter. None is the most frequent one of comma, semicolon, tab and bar in
        the header.
    is_vocabulary : bool, default=False
        Whether the table is of an OMOP vocabulary. Athena separates these by tabs and
        writes quotes as they are.
    """
    opened: Any = gzip.open if path.name.lower().endswith(".gz") else open
    try:
        with opened(path, "rb") as file:
            head = file.read(HEAD)
    except (OSError, EOFError, zlib.error) as error:
        raise ValueError(
            f"{owner}: {path.name} cannot be read ({type(error).__name__}). The file "
            "is damaged, truncated, or does not match its file name."
        ) from None
    encoding = _encoding(head, encoding)
    header = head.decode(encoding, errors="replace").lstrip("\ufeff")
    header = header.partition("\n")[0].rstrip("\r")
    if delimiter is None:
        names = re.sub(r'"[^"]*"', "", header)
        delimiter = max(",;\t|", key=names.count)
    unquoted = is_vocabulary and delimiter == "\t" and '"' not in header
    return Dialect(encoding, delimiter, "" if unquoted else '"')


def _encoding(head: bytes, given: str | None) -> str:
    if head.startswith(codecs.BOM_UTF8):
        return UTF_8
    if head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "utf-16"
    if given is None and b"\0" in head[:2]:
        return "utf-16-be" if head[0] == 0 else "utf-16-le"
    return UTF_8 if given is None else codecs.lookup(given).name


def transcoded(path: Path, encoding: str, place: Path, owner: str) -> Path:
    """Write a CSV file in UTF-8 to a place and return the place."""
    opened: Any = gzip.open if path.name.lower().endswith(".gz") else open
    try:
        with (
            opened(path, "rt", encoding=encoding, newline="") as old,
            open(place, "w", encoding=UTF_8, newline="") as new,
        ):
            os.chmod(place, 0o600)  # It contains patient data.
            shutil.copyfileobj(old, new, HEAD)
    except (UnicodeError, EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise ValueError(
            f"{owner}: {path.name} cannot be read as {encoding} "
            f"({type(error).__name__}). Set encoding= to that of the file."
        ) from None
    return place
