"""Vectors by id from a file of NumPy or a Parquet file."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from skfusion._dependencies import require
from skfusion._paths import expanded_path
from skfusion.vectors.cells import holds_vectors, stack_bags, with_arrays

__all__ = ["read_embeddings"]

_OWNER = "read_embeddings"


def read_embeddings(
    path: str | os.PathLike[str], ids: str | None = None
) -> pd.DataFrame:
    """Read vectors by id from an ``.npz`` or a Parquet file.

    Parameters
    ----------
    path : str or PathLike
        Path of the file. An ``.npz`` file has an array of ids (n,) and a matrix
        (n, length), or one vector for each id under its name. It is read without
        pickle. A Parquet file has a column of ids, and one column of vectors or one
        numeric column for each element.
    ids : str or None, default=None
        Name of the array or column of ids. None takes the index that pandas has stored,
        or the only array of one dimension or column of text.

    Returns
    -------
    DataFrame of shape (n, 1)
        The column ``"embedding"`` of vectors, indexed by id. ``X.join(embeddings,
        on="image_id")`` adds it to a table. Cases without a vector are then missing.

    Raises
    ------
    ValueError
        If the file has another suffix or arrangement, contains Python objects, or an id
        is missing or occurs more than once, or vectors have several lengths.
    FileNotFoundError
        If the file does not exist.
    ImportError
        If pyarrow is not installed (Parquet only).

    See Also
    --------
    skfusion.vectors.VectorColumns : Transformer from columns of vectors to a matrix.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> import numpy as np
    >>> from skfusion import read_embeddings
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     file = Path(folder, "embeddings.npz")
    ...     np.savez(file, ids=["a", "b"], embeddings=np.eye(2, 3))
    ...     read_embeddings(file).loc["b", "embedding"]
    array([0., 1., 0.])
    """
    file = expanded_path(path)
    suffix = file.suffix.lower()
    if not file.exists():
        raise FileNotFoundError(f"{_OWNER}: the {suffix} file does not exist.")
    if suffix == ".npz":
        keys, cells = _from_arrays(_read_npz(file), ids)
    elif suffix in (".parquet", ".pq"):
        keys, cells = _from_table(_read_parquet(file), ids)
    else:
        raise ValueError(
            f"{_OWNER}: got a file with the suffix {suffix!r}; expected '.npz' or "
            "'.parquet'. Save the vectors with numpy.savez(path, ids=ids, "
            "embeddings=matrix)."
        )
    index = pd.Index(keys, name=ids or getattr(keys, "name", None))
    _check_ids(index)
    frame = pd.DataFrame({"embedding": pd.Series(cells, index, dtype=object)})
    stack_bags(frame["embedding"], None, _OWNER)
    return frame


def _read_npz(file: Any) -> dict[str, np.ndarray]:
    with np.load(file, allow_pickle=False) as archive:
        try:
            return {name: archive[name] for name in archive.files}
        except ValueError as error:
            raise ValueError(
                f"{_OWNER}: the file contains Python objects, which are not read, "
                "because they can execute code. Save ids as text or numbers, and "
                "vectors as a matrix of floats."
            ) from error


def _from_arrays(arrays: Mapping[str, np.ndarray], ids: str | None) -> tuple[Any, Any]:
    shapes = ", ".join(
        f"{name} {array.shape}" for name, array in list(arrays.items())[:4]
    )
    matrices = [name for name, a in arrays.items() if a.ndim == 2 and name != ids]
    if not matrices and ids is None:
        return list(arrays), _objects(list(arrays.values()))
    if ids is None:
        flat = [name for name, array in arrays.items() if array.ndim == 1]
        if len(flat) == 1:
            ids = flat[0]
    elif ids not in arrays:
        raise ValueError(
            f"{_OWNER}: the file has no array {ids!r}. It has {len(arrays)} arrays."
        )
    if ids is None or len(matrices) != 1:
        raise ValueError(
            f"{_OWNER}: expected one array of ids (n,) and one matrix (n, length), got "
            f"{len(arrays)} arrays, such as {shapes}. Name the array of ids with ids=."
        )
    keys, matrix = arrays[ids], arrays[matrices[0]]
    if len(keys) != len(matrix) or keys.ndim != 1:
        raise ValueError(
            f"{_OWNER}: the ids have the shape {keys.shape} and the matrix "
            f"{matrix.shape}; expected one id for each row."
        )
    return keys, _objects(list(matrix))


def _read_parquet(file: Any) -> pd.DataFrame:
    require("pyarrow", "ehr")
    return pd.read_parquet(file, engine="pyarrow")


def _from_table(table: pd.DataFrame, ids: str | None) -> tuple[Any, Any]:
    if ids is not None and ids in table.columns:
        table = table.set_index(ids)
    elif ids is not None and table.index.name != ids:
        raise ValueError(
            f"{_OWNER}: the file has no column {ids!r}. It has {table.shape[1]} "
            "columns."
        )
    elif ids is None and isinstance(table.index, pd.RangeIndex):
        texts = [
            label
            for label in table.columns
            if not pd.api.types.is_numeric_dtype(table[label])
            and not holds_vectors(table[label])
        ]
        if len(texts) != 1:
            raise ValueError(
                f"{_OWNER}: {len(texts)} of {table.shape[1]} columns can be the ids; "
                "expected one. Name it with ids=."
            )
        table = table.set_index(texts[0])
    vectors = [label for label in table.columns if holds_vectors(table[label])]
    others = [label for label in table.columns if label not in vectors]
    if len(vectors) == 1 and not others:
        return table.index, with_arrays(table[vectors[0]]).to_numpy(dtype=object)
    numeric = all(pd.api.types.is_numeric_dtype(table[label]) for label in others)
    if vectors or not others or not numeric:
        raise ValueError(
            f"{_OWNER}: expected one column of vectors or only numeric columns beside "
            f"the ids, got {len(vectors)} columns of vectors and {len(others)} others. "
            "Save only the ids and the vectors."
        )
    return table.index, _objects(list(table.to_numpy()))


def _objects(vectors: list[np.ndarray]) -> np.ndarray:
    cells = np.empty(len(vectors), dtype=object)
    for row, vector in enumerate(vectors):
        cells[row] = vector
    return cells


def _check_ids(index: pd.Index) -> None:
    n_missing = int(np.sum(index.isna()))
    n_repeated = int(np.sum(index.duplicated()))
    if n_missing or n_repeated:
        raise ValueError(
            f"{_OWNER}: {n_missing} of {len(index)} ids are missing and {n_repeated} "
            "occur more than once; expected one vector for each id."
        )
