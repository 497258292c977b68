"""Cohort tables of the command line: reading, column checks and image paths."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd

from skfusion._image_cells.recognition import is_url
from skfusion._paths import explain_missing

__all__ = ["check_columns", "read_cohort", "resolve_paths"]


MOST_NAMES = 15


def read_cohort(path: str | os.PathLike[str]) -> pd.DataFrame:
    r"""Read a cohort table with one row per case.

    Parameters
    ----------
    path : str or PathLike
        Path of a ``.csv`` or ``.tsv`` file with a header.

    Returns
    -------
    DataFrame of shape (n_samples, n_columns)

    Raises
    ------
    ValueError
        If the file is not a table, or has no rows.
    FileNotFoundError
        If the file does not exist.

    Examples
    --------
    >>> import tempfile, pathlib
    >>> from skfusion.cli.tables import read_cohort
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     table = pathlib.Path(folder, "cohort.csv")
    ...     _ = table.write_text("age,outcome\n61,1\n48,0\n")
    ...     read_cohort(table).shape
    (2, 2)
    """
    # Absolute, because pandas would replace a folder named "~user".
    place = Path(os.path.abspath(path))
    if not place.is_file():
        raise FileNotFoundError(f"file {os.fspath(path)!r} does not exist")
    try:
        X = pd.read_csv(place, sep="\t" if place.suffix.lower() == ".tsv" else ",")
    except ValueError as error:  # includes parser and Unicode errors
        raise ValueError(f"{place.name} cannot be read as a table: {error}") from error
    if len(X) == 0:
        raise ValueError(f"{place.name} has a header but no rows")
    return X


def check_columns(X: pd.DataFrame, named: Mapping[str, Sequence[str]]) -> None:
    """Check that columns exist and that each has one purpose only.

    Parameters
    ----------
    X : DataFrame of shape (n_samples, n_columns)
        Cohort table.
    named : dict of str to list of str
        Column names by purpose, which is the name of an option.

    Raises
    ------
    ValueError
        If a column does not exist or is named twice.
    """
    purposes: dict[str, str] = {}
    for purpose, columns in named.items():
        for column in columns:
            if column not in X.columns:
                shown = ", ".join(map(str, X.columns[:MOST_NAMES]))
                more = X.shape[1] - MOST_NAMES
                raise ValueError(
                    f"{purpose} names the column {column!r}, which is not in the "
                    "table. The table has the columns "
                    f"{shown}{f' and {more} more' if more > 0 else ''}"
                )
            if column in purposes:
                raise ValueError(
                    f"column {column!r} is named by {purposes[column]} and by "
                    f"{purpose}. Name it once"
                )
            purposes[column] = purpose


def resolve_paths(cells: pd.Series, folder: str | os.PathLike[str]) -> pd.Series:
    """Return the image paths of a column as absolute paths.

    Parameters
    ----------
    cells : Series of shape (n_samples,)
        Paths of files or of folders with a DICOM series, absolute or relative to
        `folder`. An empty cell is an absent image. URLs are not changed.
    folder : str or PathLike
        Folder of the table.

    Returns
    -------
    Series of shape (n_samples,)
        Absolute paths, None for absent images.

    Raises
    ------
    FileNotFoundError
        If the file or folder of a cell does not exist.
    """
    base = Path(folder).resolve()
    paths = [None if pd.isna(cell) or cell == "" else str(cell) for cell in cells]
    paths = [path if not path or is_url(path) else str(base / path) for path in paths]
    lost = [
        i
        for i, path in enumerate(paths)
        if path and not is_url(path) and not os.path.exists(path)
    ]
    if lost:
        why = explain_missing(str(cells.iloc[lost[0]]))
        if why.startswith(" Relative"):  # not from the working directory, see below
            why = ""
        raise FileNotFoundError(
            f"column {cells.name!r}: the files of {len(lost)} of {len(paths)} cells do "
            f"not exist, first at row position(s) {lost[:5]}.{why} Relative paths are "
            "looked up from the folder of the table. Leave a cell empty if there is no "
            "image"
        )
    return pd.Series(paths, index=cells.index, dtype=object, name=cells.name)
