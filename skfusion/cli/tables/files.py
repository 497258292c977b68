"""Files of cohort tables: formats, separators and headers."""

from __future__ import annotations

import csv
import gzip
import io
import os
import re
import sys
import zipfile
import zlib
from collections import Counter
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pandas as pd

from skfusion._dependencies import is_installed, require
from skfusion.cli.problems import Problem
from skfusion.cli.tables.encodings import decode

__all__ = ["RawTable", "ReadOptions", "read_raw"]


SEPARATORS = {",": "comma", ";": "semicolon", "\t": "tab", "|": "vertical bar"}
LINES_INSPECTED = 50
TITLE_SHARE = 0.5  # of lines that are longer than the first, which is a title then
_SEPARATOR_LINE = re.compile(r'\s*"?sep=(.)"?\s*', re.IGNORECASE)  # written by Excel
_UNNAMED = re.compile(r"Unnamed: \d+(?:_level_\d+)?")
_SAVE_AS = "Save it as CSV UTF-8 in the program that wrote it"
_REFUSED = {
    ".xls": f"an old Excel file. {_SAVE_AS}, or as .xlsx.",
    ".ods": f"an OpenDocument table. {_SAVE_AS}.",
    ".sas7bdat": "a SAS file. Export it as CSV, or convert it with pandas.read_sas.",
    ".xpt": "a SAS file. Export it as CSV, or convert it with pandas.read_sas.",
    ".dta": "a Stata file. Export it as CSV, or convert it with pandas.read_stata.",
    ".sav": "an SPSS file. Export it as CSV, or convert it with pandas.read_spss.",
    ".rds": "an R object. Export it with write.csv.",
    ".json": "a JSON file. Export it as CSV, or convert it with pandas.read_json.",
    ".zip": "a zip archive. Unpack it.",
}


@dataclass(frozen=True)
class ReadOptions:
    """Options of the command line on how a file is read.

    Attributes
    ----------
    encoding, separator, sheet : str or None
        Encoding, separator of fields and sheet. None recognises them.
    duplicate_columns : {"number"} or None
        Whether repeated names of columns get numbers.
    bad_lines : {"skip"} or None
        Whether lines with too many fields are left out.
    skip_lines : int or None
        Number of lines above the header.
    """

    encoding: str | None = None
    separator: str | None = None
    sheet: str | None = None
    duplicate_columns: str | None = None
    bad_lines: str | None = None
    skip_lines: int | None = None


@dataclass
class RawTable:
    """Table with the cells of its file.

    Attributes
    ----------
    frame : DataFrame of shape (n_samples, n_columns)
        Cells. Those of a text file are text, ``""`` for an empty one.
    notes : list of str
        What was recognised or left out.
    problems : list of Problem
        What stops a run.
    separator : str
        Separator of the fields of a text file, ``""`` for other files.
    is_mixed : bool
        Whether the text is in two encodings.
    nameless : list of str
        Columns without a name in the file.
    """

    frame: pd.DataFrame
    notes: list[str] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    separator: str = ""
    is_mixed: bool = False
    nameless: list[str] = field(default_factory=list)


def read_raw(path: str | os.PathLike[str], options: ReadOptions) -> RawTable:
    r"""Read a table without a conversion of its cells.

    Parameters
    ----------
    path : str or PathLike
        CSV, TSV, Parquet, Feather or Excel (.xlsx) file with a header, or the gzip file
        of one. The content decides the format.
    options : ReadOptions
        How the file is read.

    Returns
    -------
    RawTable

    Raises
    ------
    ValueError
        If the file is not a table, or has no rows.
    FileNotFoundError
        If the file does not exist.
    ImportError
        If the package that reads the format is not installed.

    Examples
    --------
    >>> import tempfile, pathlib
    >>> from skfusion.cli.tables.files import ReadOptions, read_raw
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     table = pathlib.Path(folder, "cohort.csv")
    ...     _ = table.write_text("age;outcome\n61;1\n48;0\n")
    ...     raw = read_raw(table, ReadOptions())
    >>> raw.frame.shape, raw.notes
    ((2, 2), ['Fields are separated by semicolon.'])
    """
    # Absolute, because pandas would replace a folder named "~user".
    place = Path(os.path.abspath(path))
    if place.is_dir():
        raise ValueError(f"{os.fspath(path)!r} is a folder, expected a table")
    if not place.is_file():
        raise FileNotFoundError(f"file {os.fspath(path)!r} does not exist")
    data, suffix = _unpacked(place)
    kind = _kind_of(data, suffix, place.name)
    try:
        if kind == "text":
            raw = _read_text(data, suffix, options)
        elif kind == "excel":
            raw = _read_excel(data, place.name, options)
        else:
            raw = _read_columns(data, kind, options)
    except (ValueError, zipfile.BadZipFile, csv.Error) as error:
        raise ValueError(f"{place.name} cannot be read as a table: {error}") from error
    if raw.frame.shape[1] == 0:
        raise ValueError(f"{place.name} cannot be read as a table: it is empty")
    if len(raw.frame) == 0:
        raise ValueError(f"{place.name} has a header but no rows")
    expected = {"parquet": (".parquet", ".pq"), "feather": (".feather", ".arrow")}
    if suffix not in expected.get(kind, (suffix,)):
        raw.notes.insert(0, f"Read as {kind.capitalize()}, which the content is.")
    return raw


def _unpacked(place: Path) -> tuple[bytes, str]:
    """Return the content of a file and its suffix, without gzip."""
    data = place.read_bytes()
    name = place.name.lower()
    if data[:2] == b"\x1f\x8b":
        try:
            data = gzip.decompress(data)
        except (OSError, EOFError, zlib.error) as error:
            raise ValueError(f"{place.name} is a damaged gzip file: {error}") from error
        name = name.removesuffix(".gz")
    return data, Path(name).suffix


def _kind_of(data: bytes, suffix: str, name: str) -> str:
    if data[:4] == b"PAR1":
        return "parquet"
    if data[:6] == b"ARROW1" or data[:4] == b"FEA1":
        return "feather"
    if data[:4] == b"PK\x03\x04" and _is_workbook(data):
        return "excel"
    refused = ".xls" if data[:4] == b"\xd0\xcf\x11\xe0" else suffix
    refused = ".zip" if data[:2] == b"PK" and refused not in _REFUSED else refused
    if refused in _REFUSED:
        raise ValueError(f"{name} is {_REFUSED[refused]}")
    if suffix in (".parquet", ".pq", ".feather", ".arrow", ".xlsx", ".xlsm"):
        raise ValueError(
            f"{name} is damaged or has a wrong suffix: the content is no {suffix} file"
        )
    return "text"


def _is_workbook(data: bytes) -> bool:
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            return "xl/workbook.xml" in archive.namelist()
    except zipfile.BadZipFile:
        return False


def _read_columns(data: bytes, kind: str, options: ReadOptions) -> RawTable:
    require("pyarrow", "ehr")
    buffer = io.BytesIO(data)
    try:
        read = pd.read_parquet if kind == "parquet" else pd.read_feather
        frame = read(buffer)
    except OSError as error:  # pyarrow's errors of damaged files
        raise ValueError(str(error)) from error
    frame = frame.reset_index(drop=isinstance(frame.index, pd.RangeIndex))
    names = [str(column) for column in frame.columns]
    raw = RawTable(frame, nameless=[n for n in names if _UNNAMED.fullmatch(n)])
    raw.frame = frame.set_axis(_unique(names, options, raw), axis=1)
    return raw


# -- Excel ----------------------------------------------------------------------------


def _read_excel(data: bytes, name: str, options: ReadOptions) -> RawTable:
    if not is_installed("openpyxl"):
        raise ImportError(
            f"{name} is an Excel file, which needs the package 'openpyxl'. Install it "
            "with: pip install openpyxl. Or save the sheet as CSV UTF-8 in Excel."
        )
    book = pd.ExcelFile(io.BytesIO(data), engine="openpyxl")
    sheet = options.sheet or book.sheet_names[0]
    if sheet not in book.sheet_names:
        raise ValueError(
            f"there is no sheet {sheet!r}. The sheets are {book.sheet_names}"
        )
    cells = pd.read_excel(
        book, sheet_name=sheet, header=None, dtype=object, keep_default_na=False
    )
    rows = [
        ["" if cell is None or cell != cell else cell for cell in row]
        for row in cells.itertuples(index=False)
    ]
    raw = _table_of(rows, options)
    raw.notes.insert(0, f"Read as Excel, sheet {sheet!r}.")
    if len(book.sheet_names) > 1 and options.sheet is None:
        others = len(book.sheet_names) - 1
        raw.notes.append(f"{others} other sheets are not read. Pass --sheet NAME.")
    return raw


# -- text -----------------------------------------------------------------------------


def _read_text(data: bytes, suffix: str, options: ReadOptions) -> RawTable:
    decoded = decode(data, options.encoding)
    text = decoded.text.lstrip("\ufeff")
    declared = _SEPARATOR_LINE.fullmatch(text.partition("\n")[0])
    if declared:
        text = text.partition("\n")[2]
    usual = "\t" if suffix in (".tsv", ".tab") else ","
    given = options.separator or (declared[1] if declared else None)
    separator = given or _find_separator(text, usual)
    csv.field_size_limit(min(sys.maxsize, 2**31 - 1))
    rows: list[list[Any]] = list(csv.reader(io.StringIO(text), delimiter=separator))
    raw = _table_of(rows, replace(options, separator=separator))
    raw.separator, raw.is_mixed = separator, decoded.is_mixed
    raw.problems = [*decoded.problems, *raw.problems]
    if separator != usual and not options.separator:
        words = SEPARATORS.get(separator, repr(separator))
        raw.notes.insert(0, f"Fields are separated by {words}.")
    raw.notes = [*decoded.notes, *raw.notes]
    return raw


def _find_separator(text: str, usual: str) -> str:
    """Return the separator that splits the first lines into the most equal rows."""
    lines = io.StringIO(text)
    head = "".join(line for _, line in zip(range(LINES_INSPECTED), lines, strict=False))
    best, best_score = usual, (0.0, 0)
    for separator in sorted(SEPARATORS, key=lambda candidate: candidate != usual):
        rows = [
            row for row in csv.reader(io.StringIO(head), delimiter=separator) if row
        ]
        # The most usual length, because a title can stand above the header.
        n_fields = Counter(map(len, rows)).most_common(1)[0][0] if rows else 0
        if n_fields < 2:
            continue
        equal = sum(len(row) == n_fields for row in rows) / len(rows)
        score = (round(equal, 1), n_fields)
        if score > best_score:
            best, best_score = separator, score
    return best


# -- rows -----------------------------------------------------------------------------


def _table_of(rows: list[list[Any]], options: ReadOptions) -> RawTable:
    """Return rows as a table. The first row that is not empty is the header."""
    rows = rows[options.skip_lines or 0 :]
    filled = [row for row in rows if any(map(_is_filled, row))]
    if not filled:
        return RawTable(pd.DataFrame())
    header, *body = filled
    names = [str(cell).strip().strip("\ufeff\xa0") for cell in header]
    names = names[: _n_named(header, body)]
    raw = RawTable(pd.DataFrame())
    if names[0] and _has_row_names(body, len(names)):
        names = ["", *names]
        raw.notes.append("The first field of each line is taken as its row name.")
    n_gaps = sum(len(row) > 1 and not any(map(_is_filled, row)) for row in rows)
    if n_gaps:
        raw.notes.append(f"{n_gaps} lines without content are left out.")
    body = _whole_lines(body, len(names), options, raw)
    names = [name or f"Unnamed: {i}" for i, name in enumerate(names)]
    raw.nameless += [
        n for n in names if _UNNAMED.fullmatch(n) and n not in raw.nameless
    ]
    names = _unique(names, options, raw)
    columns = list(zip(*body, strict=True)) if body else [()] * len(names)
    raw.frame = pd.DataFrame(
        {
            name: pd.Series(list(cells), dtype=object)
            for name, cells in zip(names, columns, strict=True)
        }
    )
    return raw


def _whole_lines(
    body: list[list[Any]], n_columns: int, options: ReadOptions, raw: RawTable
) -> list[list[Any]]:
    """Return lines of one length, and note those that are longer or shorter."""
    long = {i for i, row in enumerate(body) if _width(row) > n_columns}
    if len(long) > TITLE_SHARE * len(body):
        raw.problems.append(
            Problem(
                f"the first line is no header: it has {n_columns} fields, but "
                f"{len(long)} of {len(body)} lines have more",
                other="--skip-lines N for N lines above the header",
            )
        )
        return [(row + [""] * n_columns)[:n_columns] for row in body]
    if long and options.bad_lines == "skip":
        raw.notes.append(f"{len(long)} lines with too many fields are left out.")
    elif long:
        raw.problems.append(
            Problem(
                f"{len(long)} of {len(body)} lines have more fields than the header "
                f"({n_columns}), first at row position {min(long)}",
                "--bad-lines skip",
            )
        )
    kept = [row for i, row in enumerate(body) if i not in long]
    n_short = sum(len(row) < n_columns for row in kept)
    if n_short:
        raw.notes.append(f"{n_short} lines end early. Their last cells are missing.")
    mark, n_marks = options.separator or ",", max(1, n_columns - 2)
    n_swallowed = sum(_spans_lines(cell, mark, n_marks) for row in kept for cell in row)
    if n_swallowed:
        raw.notes.append(
            f"{n_swallowed} cells contain lines that look like rows. If a quotation "
            "mark is not closed, rows are lost."
        )
    return [(row + [""] * n_columns)[:n_columns] for row in kept]


def _unique(names: list[str], options: ReadOptions, raw: RawTable) -> list[str]:
    """Return names of columns with numbers where they repeat, and report these."""
    names, repeated = _numbered(names)
    if not repeated:
        return names
    words = ", ".join(f"{name!r} ({n} times)" for name, n in repeated.items())
    if options.duplicate_columns == "number":
        raw.notes.append(f"Repeated names of columns get numbers: {words}.")
    else:
        raw.problems.append(
            Problem(
                f"names of columns occur more than once: {words}",
                "--duplicate-columns number",
                "other names in the table",
            )
        )
    return names


def _is_filled(cell: Any) -> bool:
    return not isinstance(cell, str) or bool(cell.strip())


def _width(row: list[Any]) -> int:
    """Return the number of fields up to the last that is not empty."""
    return max((i + 1 for i, cell in enumerate(row) if _is_filled(cell)), default=0)


def _n_named(header: list[Any], body: list[list[Any]]) -> int:
    """Return the number of columns with a name, or with an empty name and content."""
    widths = [width for row in body if (width := _width(row)) <= len(header)]
    return max(_width(header), *widths, 0)


def _has_row_names(body: list[list[Any]], n_names: int) -> bool:
    """Return whether most lines have one field more than the header, as R writes."""
    longer = sum(_width(row) == n_names + 1 for row in body)
    return n_names > 1 and longer > 0.5 * len(body)


def _spans_lines(cell: Any, separator: str, n_separators: int) -> bool:
    """Return whether a cell contains a line that looks like a row of the table."""
    if not isinstance(cell, str) or "\n" not in cell:
        return False
    return any(line.count(separator) >= n_separators for line in cell.split("\n")[1:])


def _numbered(names: list[str]) -> tuple[list[str], dict[str, int]]:
    """Return names with a number from the second of equal ones, and the repeated."""
    counts = Counter(names)
    repeated = {name: n for name, n in counts.items() if n > 1}
    seen: Counter[str] = Counter()
    taken = set(names)
    found = []
    for name in names:
        seen[name] += 1
        unique = name
        while seen[name] > 1 and unique in taken:
            unique = f"{name}_{seen[name]}"
            seen[name] += unique in taken
        taken.add(unique)
        found.append(unique)
    return found, repeated
