"""Notes of a column: input validation, and the distinct texts with their digests."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd

from skfusion._validation import refuse_unknown_table
from skfusion.image.cells.bags import Bags, unpack
from skfusion.store.rows import Rows

__all__ = ["NoteColumn", "as_notes", "note_cells"]

OWNER = "TextEmbedder"


@dataclass(frozen=True)
class NoteColumn:
    """Notes of a column, with the rows that they belong to.

    Attributes
    ----------
    bags : Bags
        The notes of each row. A row without any note contributes one missing value.
    name : object
        Label of the column, None if unknown.
    """

    bags: Bags
    name: object

    @cached_property
    def presence(self) -> np.ndarray:
        """Return which notes are present, as a bool array."""
        present = [isinstance(note, str) for note in self.bags.images]
        return np.array(present, dtype=bool)

    @property
    def place(self) -> str:
        """Return the column in words, for messages."""
        return "X" if self.name is None else f"column {self.name!r}"

    @cached_property
    def rows_of(self) -> dict[str, list[int]]:
        """Return the positions of the notes of each distinct text."""
        rows: dict[str, list[int]] = {}
        for i in np.flatnonzero(self.presence):
            rows.setdefault(self.bags.images[i], []).append(int(i))
        return rows

    @cached_property
    def digests(self) -> dict[str, str]:
        """Return the distinct texts by their digests, which do not contain them."""
        return {text_digest(text): text for text in self.rows_of}

    def rows(self, key_of: Callable[[str], str]) -> Rows:
        """Return the matrix of the notes, to be filled with the vectors of keys.

        Parameters
        ----------
        key_of : callable
            Function from the digest of a text to its key.

        Returns
        -------
        Rows
        """
        rows_of = {
            key_of(digest): self.rows_of[text] for digest, text in self.digests.items()
        }
        return Rows(len(self.bags.images), rows_of)


def text_digest(text: str) -> str:
    """Return the SHA-256 of a text, 64 hexadecimal digits."""
    # Texts that were decoded with "surrogateescape" are no valid UTF-8.
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def as_notes(X: Any) -> NoteColumn:
    """Return the notes of one column.

    Parameters
    ----------
    X : one column of n notes
        As in `TextEmbedder.fit`.

    Returns
    -------
    NoteColumn

    Raises
    ------
    ValueError
        If `X` is not one column.
    TypeError
        If `X` is a single text, or a cell is neither text, a list of texts nor missing.

    Examples
    --------
    >>> from skfusion.text.cells import as_notes
    >>> notes = as_notes(["No effusion.", None, ["Cough.", "No effusion."], " "])
    >>> notes.bags.rows, notes.presence
    (array([0, 1, 2, 2, 3]), array([ True, False,  True,  True, False]))
    >>> len(notes.rows_of)
    2
    """
    cells, name = note_cells(X)
    bags = unpack([_as_bag(cell) for cell in cells])
    notes = [_missing_if_blank(note) for note in bags.images]
    column = NoteColumn(replace(bags, images=notes), name)
    wrong = [i for i, note in enumerate(notes) if not _is_text_or_missing(note)]
    if wrong:
        rows = np.unique(bags.rows[wrong])
        raise TypeError(
            f"{OWNER}: got {type(notes[wrong[0]]).__name__} in {column.place}, row "
            f"position {rows[0]} ({len(rows)} of {len(cells)} rows); expected text, a "
            "list of texts or of pairs of a text and a datetime, or a missing value. "
            "Convert other cells to text, and times with pandas.Timestamp."
        )
    return column


def note_cells(X: Any) -> tuple[list[Any], object]:
    """Return the cells of one column of notes, and the label of the column.

    Examples
    --------
    >>> import pandas as pd
    >>> from skfusion.text.cells import note_cells
    >>> note_cells(pd.Series(["Cough.", "Fever."], name="note"))
    (['Cough.', 'Fever.'], 'note')
    """
    if isinstance(X, str | bytes | os.PathLike):
        raise TypeError(
            f"{OWNER} takes a column of texts, got a single {type(X).__name__}. Pass "
            "it in a list."
        )
    refuse_unknown_table(X, OWNER)
    if type(X).__module__.partition(".")[0] == "pyarrow":
        X = X.to_pandas()
    if isinstance(X, np.ndarray) and X.dtype.kind == "U":
        # NumPy writes NaN as a text beside texts.
        lost = X == "nan"
        X = X.astype(object)
        X[lost] = None
    shape: Any = getattr(X, "shape", None)
    if hasattr(X, "columns"):  # a frame of pandas or polars
        if shape[1] != 1:
            raise ValueError(
                f"{OWNER} takes one column of texts, got {shape[1]} columns. Use a "
                "separate TextEmbedder for each column."
            )
        name = X.columns[0]
        return list(X[name]), name
    if isinstance(X, list | tuple) or (shape is not None and len(shape) == 1):
        return list(X), getattr(X, "name", None)
    if isinstance(X, np.ndarray) and X.ndim == 2 and X.shape[1] == 1:
        return list(X[:, 0]), None
    found = type(X).__name__ + ("" if shape is None else f" of shape {shape}")
    raise ValueError(
        f"{OWNER} takes one column of texts: a Series, a list, or a frame or array "
        f"with one column; got {found}."
    )


def _as_bag(cell: Any) -> Any:
    """Return the lists of NumPy, pandas, polars and Arrow as lists of Python."""
    if isinstance(cell, np.ndarray):
        return cell.tolist()
    if isinstance(cell, pd.Series | pd.Index) or hasattr(cell, "to_list"):
        return list(cell)
    if type(cell).__module__.partition(".")[0] == "pyarrow" and hasattr(cell, "as_py"):
        return cell.as_py()
    return cell


def _missing_if_blank(note: Any) -> Any:
    return None if isinstance(note, str) and not note.strip() else note


def _is_text_or_missing(note: Any) -> bool:
    if isinstance(note, str) or note is None:
        return True
    return bool(np.ndim(note) == 0 and pd.api.types.is_scalar(note) and pd.isna(note))
