"""Image columns of a table: paths, absent files and headers."""

from __future__ import annotations

import os
import warnings
from pathlib import Path

import pandas as pd

from skfusion._image_cells.recognition import is_url
from skfusion._paths import explain_missing
from skfusion.cli.problems import Problem
from skfusion.cli.tables.columns import Table
from skfusion.image.reading.files import ImageReadError
from skfusion.image.reading.metadata import read_metadata

__all__ = ["images_of", "resolve_paths"]


def images_of(
    table: Table,
    column: str,
    folder: str | os.PathLike[str],
    *,
    may_be_empty: bool = False,
) -> pd.Series:
    """Return the images of a column as absolute paths, None for absent ones.

    Parameters
    ----------
    table : Table
        Table with the column.
    column : str
        Column of paths of files, or of folders with a DICOM series. An empty cell is an
        absent image.
    folder : str or PathLike
        Folder of the table, from which relative paths are looked up.
    may_be_empty : bool, default=False
        Whether all images may be absent, which leaves nothing to learn from.

    Returns
    -------
    Series of shape (n_samples,)
        Paths. Files that do not exist or are no images are absent, and are settled by
        an option or listed among the problems of the table.
    """
    cells = table.texts(column)
    paths = resolve_paths(cells, folder)
    n_cells = int(paths.notna().sum())
    absent = paths.map(_is_lost).to_numpy(dtype=bool)
    if absent.any():
        why = explain_missing(str(cells[absent].iloc[0]))
        why = "" if why.startswith(" Relative") else why  # not to the working folder
        what = f"column {column!r}: the files of {absent.sum()} of {n_cells} cells do "
        table.findings.settle(
            table.settings.get("missing_images"),
            Problem(
                f"{what}not exist.{why} Relative paths are looked up from the folder "
                "of the table",
                "--missing-images absent",
            ),
            f"{what}not exist and count as absent images",
            f"files of {column!r} that do not exist count as absent",
        )
        paths = paths.mask(absent, None)
    unreadable = paths.isin(_unreadable(paths)).to_numpy(dtype=bool)
    if unreadable.any():
        what = f"column {column!r}: the files of {unreadable.sum()} of {n_cells} cells "
        table.findings.settle(
            table.settings.get("unreadable_images"),
            Problem(
                f"{what}are no images that can be read", "--unreadable-images absent"
            ),
            f"{what}are no images and count as absent",
            f"files of {column!r} that are no images count as absent",
        )
        paths = paths.mask(unreadable, None)
    if not may_be_empty and not paths.notna().any():
        table.findings.problems.append(
            Problem(f"column {column!r}: no image is left", other="another --image")
        )
    return paths.astype(object).where(paths.notna(), None)


def resolve_paths(cells: pd.Series, folder: str | os.PathLike[str]) -> pd.Series:
    """Return the paths of a column as absolute paths. URLs are not changed.

    Examples
    --------
    >>> import pandas as pd
    >>> from skfusion.cli.tables.images import resolve_paths
    >>> resolve_paths(pd.Series(["a.png", None, "s3://b/c.png"]), "/data").tolist()
    ['/data/a.png', None, 's3://b/c.png']
    """
    base = Path(folder).resolve()
    known = cells.astype(object).where(cells.notna(), None)
    paths = [
        cell if cell is None or is_url(cell) else str(base / cell) for cell in known
    ]
    return pd.Series(paths, index=cells.index, dtype=object, name=cells.name)


def _is_lost(path: str | None) -> bool:
    return path is not None and not is_url(path) and not os.path.exists(path)


def _unreadable(paths: pd.Series) -> list[str]:
    """Return the files whose first bytes or headers are not those of an image."""
    files = [path for path in paths.dropna().unique() if not is_url(path)]
    bad = []
    start = 0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # embedding the images will repeat them
        while start < len(files):
            try:
                read_metadata(files[start:])
            except ImageReadError as error:
                start += int(error.row or 0)
                bad.append(files[start])
                start += 1
            else:
                break
    return bad
