"""A cohort in a file: read it, find its images, check the columns that are named."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd

__all__ = ["check_columns", "read_cohort", "resolve_paths"]


MOST_NAMES = 15


def read_cohort(path: str | os.PathLike[str]) -> pd.DataFrame:
    r"""Read a table with one row per case.

    Parameters
    ----------
    path : str or PathLike
        A ``.csv`` or ``.tsv`` file with a header.

    Returns
    -------
    DataFrame of shape (n_samples, n_columns)

    Raises
    ------
    ValueError
        If the file is no table, or has no rows.
    FileNotFoundError
        If there is no such file.

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
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {str(path)!r}")
    try:
        X = pd.read_csv(path, sep="\t" if path.suffix.lower() == ".tsv" else ",")
    except ValueError as error:  # pandas' and Unicode's own errors are ValueErrors
        raise ValueError(f"{path.name} cannot be read as a table: {error}") from error
    if len(X) == 0:
        raise ValueError(f"{path.name} has a header but no rows")
    return X


def check_columns(X: pd.DataFrame, named: Mapping[str, Sequence[str]]) -> None:
    """Check that columns exist, and that each is named for one purpose only.

    Parameters
    ----------
    X : DataFrame of shape (n_samples, n_columns)
        The table.
    named : dict of str to list of str
        Purpose to column names.

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
                    f"{purpose} names the column {column!r}, which the table does not "
                    f"have; it has {shown}{f' and {more} more' if more > 0 else ''}"
                )
            if column in purposes:
                raise ValueError(
                    f"column {column!r} is named by {purposes[column]} and by "
                    f"{purpose}; name it once"
                )
            purposes[column] = purpose


def resolve_paths(cells: pd.Series, folder: str | os.PathLike[str]) -> pd.Series:
    """Make the image paths of a column absolute.

    Parameters
    ----------
    cells : Series of shape (n_samples,)
        Paths, relative to `folder` or absolute; an empty cell is an absent image.
    folder : str or PathLike
        The folder of the table.

    Returns
    -------
    Series of shape (n_samples,)
        None where there is no image.

    Raises
    ------
    FileNotFoundError
        If a cell names no file.
    """
    base = Path(folder).resolve()
    paths = [
        None if pd.isna(cell) or cell == "" else str(base / str(cell)) for cell in cells
    ]
    lost = [i for i, path in enumerate(paths) if path and not os.path.isfile(path)]
    if lost:
        raise FileNotFoundError(
            f"column {cells.name!r}: {len(lost)} of {len(paths)} cells name no file, "
            f"first at row position(s) {lost[:5]}. Paths are relative to the folder of "
            "the table; leave a cell empty where there is no image"
        )
    return pd.Series(paths, index=cells.index, dtype=object, name=cells.name)
