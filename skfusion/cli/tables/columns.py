"""Columns of a cohort by their purpose, with every problem and its remedy.

A problem is settled by an option, or listed. The checks go on as if it were settled, so
that one run lists all problems.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from skfusion.cli.problems import Problem, option
from skfusion.cli.tables.cells import (
    MISSING_WORDS,
    TypedColumn,
    as_dates,
    typed_column,
)
from skfusion.cli.tables.encodings import repaired, strange_characters
from skfusion.ehr.tabular.words import word_of

__all__ = ["Findings", "Table", "dates_of", "feature_of", "ids_of", "outcome_of"]


# Shares of the cells of a text column from which it is dates, or numbers among words.
DATE_SHARE = 0.5
MIXED_SHARE = 0.1
TEXT_NUMBERS = "--text-numbers parse"
INFINITE = "--infinite as-missing"


@dataclass
class Findings:
    """Problems of a table, and the changes that options asked for.

    Attributes
    ----------
    problems : list of Problem
        Problems that no option settles yet.
    changes : list of str
        Changes of the data that options asked for, with counts.
    caveats : list of str
        The changes without counts, for results that are published.
    """

    problems: list[Problem] = field(default_factory=list)
    changes: list[str] = field(default_factory=list)
    caveats: list[str] = field(default_factory=list)

    def settle(self, chosen: Any, problem: Problem, change: str, caveat: str) -> None:
        """Note a change if an option was chosen, else list the problem."""
        if chosen:
            self.changes.append(change)
            self.caveats.append(caveat)
        else:
            self.problems.append(problem)


class Table:
    """Cells of a table, whose columns are typed when they are used.

    Parameters
    ----------
    frame : DataFrame of shape (n_samples, n_columns)
        Cells as they are in the file.
    decimal : {".", ","}
        Decimal separator of numbers in text.
    settings : mapping of str to object
        Settings of the command, among them the options that settle problems.
    is_text : bool
        Whether all cells of the file are text.
    """

    def __init__(
        self,
        frame: pd.DataFrame,
        decimal: str,
        settings: Mapping[str, Any],
        is_text: bool,
    ) -> None:
        self.frame = frame
        self.decimal = decimal
        self.settings = settings
        self.is_text = is_text
        self.findings = Findings()
        self._typed: dict[str, TypedColumn] = {}
        self._n_strange: dict[str, int] = {}

    def part(self, rows: Any) -> Table:
        """Return some rows as a table with the same findings."""
        frame = self.frame[rows]
        other = Table(frame, self.decimal, self.settings, self.is_text)
        other.findings = self.findings
        return other

    def typed(self, column: str) -> TypedColumn:
        """Return a column by type."""
        if column not in self._typed:
            self._read_again(column)
            self._typed[column] = typed_column(self.frame[column], self.decimal)
        return self._typed[column]

    def _read_again(self, column: str) -> None:
        """Repair cells in another encoding, and count them."""
        cells = self.frame[column]
        if not (
            pd.api.types.is_object_dtype(cells) or pd.api.types.is_string_dtype(cells)
        ):
            return
        texts = {cell for cell in cells if isinstance(cell, str)}
        strange = {t: repaired(t) for t in texts if strange_characters(t)}
        if not strange:
            return
        self._n_strange[column] = int(cells.isin(list(strange)).sum())
        self.frame[column] = cells.map(
            lambda cell: strange.get(cell, cell) if isinstance(cell, str) else cell
        )

    def note_encodings(self, columns: Iterable[str]) -> None:
        """Settle or list the cells of columns that are in another encoding."""
        for column in columns:
            n_strange = self._n_strange.get(column, 0)
            if not n_strange:
                continue
            what = f"column {column!r}: {n_strange} of {self.n_rows} cells are in "
            what += "another encoding than the rest of the file"
            self.findings.settle(
                str(self.settings.get("encoding")).lower() == "mixed",
                Problem(what, "--encoding mixed", option("--drop", column)),
                f"{what} and were decoded again",
                f"cells of {column!r} in another encoding were decoded again",
            )

    def words(self, column: str) -> pd.Series:
        """Return the cells of a column as words, with whole numbers as integers."""
        texts = self.texts(column)
        return _mapped(texts, word_of)

    def texts(self, column: str) -> pd.Series:
        """Return the cells of a column as text, None where they are missing."""
        self.typed(column)
        cells = self.frame[column].astype(object)
        texts = cells.map(lambda cell: "" if pd.isna(cell) else str(cell).strip())
        known = texts.map(lambda text: text.casefold() not in MISSING_WORDS)
        return texts.astype(object).where(known.to_numpy(dtype=bool), None)

    @property
    def names(self) -> list[str]:
        """Names of the columns."""
        return [str(name) for name in self.frame.columns]

    @property
    def n_rows(self) -> int:
        """Number of rows."""
        return len(self.frame)


def _mapped(cells: pd.Series, function: Callable[[Any], Any]) -> pd.Series:
    """Return cells after a function, None where they are missing."""
    known = cells.notna()
    mapped = cells[known].map(function).astype(object)
    return mapped.reindex(cells.index).where(known, None)


# -- features -------------------------------------------------------------------------


def feature_of(table: Table, column: str) -> pd.Series | None:
    """Return an EHR column, or None if it cannot be one.

    Examples
    --------
    >>> import pandas as pd
    >>> from skfusion.cli.tables.columns import Table, feature_of
    >>> cells = pd.DataFrame({"age": ["63", "> 89", "71"]})
    >>> table = Table(cells, ".", {"text_numbers": "parse"}, is_text=True)
    >>> feature_of(table, "age").tolist()
    [63.0, 89.0, 71.0]
    """
    if column in table.settings.get("categories", ()):
        return table.words(column).astype("category")
    found = table.typed(column)
    if found.kind == "number":
        return numbers_of(table, column)
    mostly_dates = found.n_dates > DATE_SHARE * found.n_filled
    if found.kind == "date" or (found.kind == "text" and mostly_dates):
        return _date_feature(table, column)
    share = found.n_numbers / max(found.n_filled, 1)
    if found.kind == "text" and share >= MIXED_SHARE:
        table.findings.problems.append(
            Problem(
                f"column {column!r}: mixed types, {found.n_numbers} of "
                f"{found.n_filled} cells are numbers and the others are words",
                option("--categories", column),
                option("--drop", column),
            )
        )
    return found.values


def numbers_of(table: Table, column: str) -> pd.Series:
    """Return the numbers of a column, with text and infinity settled or listed."""
    found = table.typed(column)
    values = found.values
    n_infinite = int(found.infinite.sum())
    if n_infinite:
        what = f"column {column!r}: {n_infinite} of {found.n_filled} cells are infinite"
        table.findings.settle(
            table.settings.get("infinite"),
            Problem(f"{what} or beyond 1e150", INFINITE, option("--drop", column)),
            f"{what} and were set to missing",
            f"infinite cells of {column!r} count as missing",
        )
        values = values.astype(float).mask(found.infinite)
    return _without_text(table, column, values)


def _without_text(table: Table, column: str, values: pd.Series) -> pd.Series:
    found = table.typed(column)
    is_text = found.odd
    kinds = dict(found.kinds_of_odd)
    if not table.is_text:  # the file has types, and these numbers are text in it
        cells = table.frame[column]
        as_text = cells.map(lambda cell: isinstance(cell, str)).to_numpy(dtype=bool)
        as_text = as_text & (found.values.notna().to_numpy() | found.infinite)
        if as_text.any():
            kinds["plain numbers stored as text"] = int(as_text.sum())
            is_text = is_text | as_text
    if not kinds:
        return values
    choice = table.settings.get("text_numbers")
    n_text = int(is_text.sum())
    listed = ", ".join(f"{count} {kind}" for kind, count in kinds.items())
    what = f"column {column!r}: {n_text} of {found.n_filled} cells are text"
    parsed = values.astype(float).mask(found.odd, found.parsed)
    n_lost = int((found.odd & parsed.isna().to_numpy()).sum())
    done = "were set to missing"
    if choice == "parse":
        done = "were read as numbers, a bound as the number"
        done += f", and {n_lost} of them are missing" if n_lost else ""
    table.findings.settle(
        choice,
        Problem(
            f"{what} among numbers ({listed})",
            TEXT_NUMBERS,
            f"--text-numbers as-missing, or {option('--categories', column)}",
        ),
        f"{what} ({listed}), which {done}",
        f"text among the numbers of {column!r} was "
        + ("read as numbers" if choice == "parse" else "set to missing"),
    )
    if choice == "as-missing":
        return values.astype(float).mask(is_text)
    return parsed


def _date_feature(table: Table, column: str) -> pd.Series | None:
    if table.settings.get("index_time"):
        return dates_of(table, column)
    table.findings.problems.append(
        Problem(
            f"column {column!r}: contains dates, which are encoded as days from an "
            "index time",
            option("--drop", column),
            "--index-time COLUMN",
        )
    )
    return None


def dates_of(table: Table, column: str) -> pd.Series:
    """Return the dates of a column, with doubtful cells settled or listed."""
    found = table.typed(column)
    is_other = found.kind not in ("text", "date")
    if is_other or (found.kind == "text" and not found.n_dates):
        table.findings.problems.append(
            Problem(f"column {column!r}: contains no dates, expected dates")
        )
        return pd.Series(pd.NaT, index=table.frame.index, name=column)
    dates, n_lost, is_ambiguous = as_dates(found.values, table.settings.get("dates"))
    if is_ambiguous:
        table.findings.problems.append(
            Problem(
                f"column {column!r}: day and month of its dates may be exchanged",
                "--dates day-first",
                "--dates month-first",
            )
        )
    if n_lost:
        what = f"column {column!r}: {n_lost} of {found.n_filled} cells are no dates"
        table.findings.settle(
            table.settings.get("text_numbers"),
            Problem(f"{what}, but others are", TEXT_NUMBERS, option("--drop", column)),
            f"{what} and were set to missing",
            f"cells of {column!r} that are no dates count as missing",
        )
    return dates


# -- outcome and ids ------------------------------------------------------------------


def outcome_of(table: Table, column: str) -> pd.Series:
    """Return the outcome, with missing cells where rows are to be left out.

    Examples
    --------
    >>> import pandas as pd
    >>> from skfusion.cli.tables.columns import Table, outcome_of
    >>> cells = pd.DataFrame({"sick": ["1", "0", "", "1"]})
    >>> table = Table(cells, ".", {}, is_text=True)
    >>> outcome_of(table, "sick").tolist()
    [1.0, 0.0, nan, 1.0]
    >>> table.findings.problems[0].remedy
    '--missing-outcome drop'
    """
    found = table.typed(column)
    values = found.values
    if column in table.settings.get("categories", ()):
        values = _one_case(table, column, table.words(column))
    elif found.kind == "number":
        values = numbers_of(table, column)
    elif found.kind == "date":
        table.findings.problems.append(
            Problem(f"column {column!r}: the outcome contains dates")
        )
    elif found.kind == "text":
        values = _one_case(table, column, values)
    missing = values.isna().to_numpy(dtype=bool)
    if missing.any():
        what = f"column {column!r}: the outcome is missing in {missing.sum()} of "
        table.findings.settle(
            table.settings.get("missing_outcome"),
            Problem(f"{what}{len(values)} rows", "--missing-outcome drop"),
            f"{what}{len(values)} rows, which were left out",
            "rows without an outcome were left out",
        )
    n_values = values[~missing].nunique()
    if n_values < 2:
        table.findings.problems.append(
            Problem(
                f"column {column!r}: the outcome has {n_values} different "
                f"value{'s' * (n_values != 1)} in {(~missing).sum()} rows, expected at "
                "least two",
                other="another --target COLUMN",
            )
        )
    return values


def _one_case(table: Table, column: str, values: pd.Series) -> pd.Series:
    """Merge classes that differ in capital letters only, or list them."""
    counts = values.value_counts()
    spelled: dict[str, str] = {}
    for word in counts.index:  # the most frequent first
        spelled.setdefault(str(word).casefold(), word)
    n_further = len(counts) - len(spelled)
    if not n_further:
        return values
    what = f"column {column!r}: {n_further} of {len(counts)} classes of the outcome "
    table.findings.settle(
        table.settings.get("outcome_case"),
        Problem(
            f"{what}differ from another one in capital letters only",
            "--outcome-case merge",
        ),
        f"{what}were merged, which differ in capital letters only",
        "classes of the outcome that differ in capital letters only were merged",
    )
    return _mapped(values, lambda word: spelled[str(word).casefold()])


def ids_of(table: Table, column: str, option: str) -> pd.Series:
    """Return the ids of a column as words, with missing ones settled or listed."""
    ids = table.words(column)
    n_missing = int(ids.isna().sum())
    if n_missing:
        what = f"column {column!r}: the id ({option}) is missing in {n_missing} of "
        table.findings.settle(
            table.settings.get("missing_groups"),
            Problem(f"{what}{len(ids)} rows", "--missing-groups drop"),
            f"{what}{len(ids)} rows, which were left out",
            f"rows without {column!r} were left out",
        )
    folded = _mapped(ids, str.casefold)
    n_further = ids.nunique() - folded.nunique()
    if n_further:
        choice = table.settings.get("id_case")
        what = f"column {column!r}: {n_further} of {ids.nunique()} ids ({option}) "
        table.findings.settle(
            choice,
            Problem(
                f"{what}differ from another one in capital letters only",
                "--id-case merge",
                "--id-case keep",
            ),
            f"{what}that differ in capital letters only: {choice}",
            f"ids of {column!r} that differ in capital letters only: {choice}",
        )
        return ids if choice == "keep" else folded
    return ids
