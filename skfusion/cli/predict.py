"""Command ``skfusion predict``: the predictions of a saved model for a table."""

from __future__ import annotations

import argparse
import re
import warnings
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

import numpy as np
import pandas as pd
from sklearn.pipeline import Pipeline

from skfusion._dependencies import require
from skfusion._paths import whole_file
from skfusion._progress import progress
from skfusion._validation import did_you_mean
from skfusion.cli.console import progress_level, say
from skfusion.cli.problems import (
    Problem,
    ProblemsError,
    failures_of_the_run,
    option,
)
from skfusion.cli.settings import check_no_input
from skfusion.cli.tables.cells import find_decimal
from skfusion.cli.tables.columns import Table, dates_of, numbers_of
from skfusion.cli.tables.files import ReadOptions, read_raw
from skfusion.cli.tables.images import images_of
from skfusion.ehr import TabularEncoder
from skfusion.fusion.base import BaseFusion
from skfusion.persistence import ModelDescription, inspect_model, load
from skfusion.persistence.dtypes import in_dtype, is_whole, kind_of
from skfusion.persistence.manifest import fusions_in

__all__ = ["predictions", "run"]


SUFFIXES = (".csv", ".tsv", ".parquet")
OTHER_OPTIONS = ("--drop", "--categories", "--index-time", "another --image")


def run(arguments: argparse.Namespace) -> None:
    """Predict each row of a table, in its order, and write a file.

    Parameters
    ----------
    arguments : Namespace
        Options of the command line.

    Raises
    ------
    ProblemsError
        If the table has a problem, before the first prediction.
    ValueError
        If an option is wrong, or the model is refused.
    """
    settings = {k: v for k, v in vars(arguments).items() if v is not None}
    out = Path(arguments.out)
    _check_output(out, arguments.chunk)
    read = {"the table": arguments.table, "the model": arguments.model}
    check_no_input({"--out": out}, read)
    described = inspect_model(arguments.model)
    table, X = _read(settings, described)
    ids = _ids(table, settings.get("id", ()), X)
    _check(table, Path(arguments.table).name)
    model = load(
        arguments.model, trusted=arguments.trust or (), store=arguments.store or None
    )
    n_incomplete, unseen = 0, Counter[str]()
    with failures_of_the_run(), _Writer(out) as writer:
        chunks = predictions(model, X, arguments.chunk, verbose=progress_level())
        for found in chunks:
            n_incomplete += int((found["absent"] != "").sum())
            for names in found["unseen"]:
                unseen.update(filter(None, names.split("; ")))
            numbers = pd.Series(found.index + 1, index=found.index, name="row")
            writer.write(pd.concat([numbers, ids.loc[found.index], found], axis=1))
    say(f"{len(X):,} predictions: {out.resolve()}")
    if n_incomplete:
        say(f"{n_incomplete:,} rows lack a modality, see the column 'absent'")
    for column, n_cells in unseen.items():
        say(
            f"column {column!r}: {n_cells:,} cells have a value that the training had "
            "not and that the model ignores, see the column 'unseen'"
        )


def predictions(
    model: Any, X: pd.DataFrame, chunk: int, *, verbose: int = 0
) -> Iterator[pd.DataFrame]:
    """Yield the predictions of a table, some rows at a time.

    Parameters
    ----------
    model : estimator
        A fitted model.
    X : DataFrame of shape (n_samples, n_columns)
        The cases.
    chunk : int
        Number of rows at a time.
    verbose : int, default=0
        If positive, show the progress on standard error.

    Yields
    ------
    DataFrame of shape (n_rows, n_outputs)
        The prediction, the probability of each class, the names of the modalities that
        are absent (``absent``), and those of the columns with a category that the
        training had not (``unseen``), with the index of the rows.

    Examples
    --------
    >>> import numpy as np
    >>> import pandas as pd
    >>> from skfusion import LateFusionClassifier
    >>> from skfusion.cli.predict import predictions
    >>> X = pd.DataFrame(np.arange(80.0).reshape(40, 2), columns=["crp", "age"])
    >>> model = LateFusionClassifier(
    ...     [("lab", "passthrough", ["crp"]), ("who", "passthrough", ["age"])]
    ... ).fit(X, np.arange(40) > 19)
    >>> parts = list(predictions(model, X.assign(crp=np.nan), chunk=30))
    >>> [len(part) for part in parts], parts[1]["absent"].unique().tolist()
    ([30, 10], ['lab'])
    """
    with progress(len(X), verbose=verbose, title="Predict", unit="row") as advance:
        for start in range(0, len(X), chunk):
            rows = X.iloc[start : start + chunk]
            found = _outputs(model, rows)
            yield found.assign(**_remarks(model, rows))
            advance(len(rows))


def _outputs(model: Any, rows: pd.DataFrame) -> pd.DataFrame:
    if hasattr(model, "predict_proba"):
        shares = model.predict_proba(rows)
        if isinstance(shares, np.ndarray) and shares.ndim == 2:
            labels = np.asarray(model.classes_)
            if labels.ndim == 1 and len(labels) == shares.shape[1]:
                return _with_probabilities(model.predict(rows), shares, labels, rows)
    if not hasattr(model, "predict"):
        raise ValueError(
            f"the model is a {type(model).__name__}, which predicts nothing"
        )
    values = np.asarray(model.predict(rows))
    if values.ndim == 1:
        return pd.DataFrame({"prediction": values}, index=rows.index)
    names = [f"prediction_{j}" for j in range(values.shape[1])]
    return pd.DataFrame(values, index=rows.index, columns=names)


def _with_probabilities(
    labels: Any, shares: np.ndarray, classes: np.ndarray, rows: pd.DataFrame
) -> pd.DataFrame:
    found = pd.DataFrame({"prediction": np.asarray(labels).tolist()}, index=rows.index)
    for label, share in zip(classes.tolist(), shares.T, strict=True):
        found[f"probability_{label}"] = share
    return found


def _remarks(model: Any, rows: pd.DataFrame) -> dict[str, list[str]]:
    """Return what each row lacks, and which of its categories are ignored, as text."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # as the prediction warned
        fusions = list(_rows_of_fusions(model, rows))
        if not fusions:
            return dict.fromkeys(("absent", "unseen"), [""] * len(rows))
        fusion, seen = fusions[0]
        absent = ~fusion.presence(seen)
        unseen = _unseen(fusions)
    return {"absent": _names_where(absent), "unseen": _names_where(unseen)}


def _unseen(fusions: list[tuple[Any, Any]]) -> pd.DataFrame:
    """Return which cells have a category that no fusion has seen in its training.

    A calibrated model has a fusion for each fold, of which each saw other rows.
    """
    marks: dict[Any, np.ndarray] = {}
    for fusion, seen in fusions:
        for column, own in _unseen_by(fusion, seen).items():
            marks[column] = marks[column] & own if column in marks else own
    return pd.DataFrame(marks, index=range(len(fusions[0][1])), dtype=bool)


def _unseen_by(fusion: Any, seen: Any) -> dict[Any, np.ndarray]:
    """Return which cells of a column have a category that an encoder has not seen.

    Encoders behind other steps, and those of a fusion within the fusion, are left out.
    """
    marks: dict[Any, np.ndarray] = {}
    table = fusion.read_cohort(seen)  # steps before the fusion may return an array
    there = fusion.presence(seen)
    for name, encoder, columns in fusion.modalities_:
        while isinstance(encoder, Pipeline):
            encoder = encoder.steps[0][1]
        here = there[name].to_numpy(dtype=bool)
        if isinstance(encoder, TabularEncoder) and here.any():
            found = encoder.find_unseen(table.loc[here, columns])
            for column in found:  # which several modalities may have
                marked = marks.setdefault(column, np.zeros(len(seen), dtype=bool))
                marked[here] |= found[column].to_numpy()
    return marks


def _names_where(marks: pd.DataFrame) -> list[str]:
    """Return the names of the marked columns of each row, as one text."""
    return [
        "; ".join(str(n) for n, is_marked in zip(marks, row, strict=True) if is_marked)
        for row in marks.to_numpy(dtype=bool)
    ]


def _rows_of_fusions(model: Any, rows: Any) -> Iterator[tuple[Any, Any]]:
    """Yield the fusions in a model with the rows that they get, the first one first.

    The steps before a fusion in a pipeline may make the columns that it uses.
    """
    if isinstance(model, BaseFusion):
        yield model, rows
    elif isinstance(model, Pipeline):
        for _, step in model.steps:
            if next(fusions_in(step), None) is not None:
                yield from _rows_of_fusions(step, rows)
                return
            if hasattr(step, "transform"):
                rows = step.transform(rows)
    else:
        for part in _parts_of(model):
            if next(fusions_in(part), None) is not None:
                yield from _rows_of_fusions(part, rows)


def _parts_of(model: Any) -> list[Any]:
    return list(model) if isinstance(model, list | tuple) else [*vars(model).values()]


# -- the table ------------------------------------------------------------------------


def _read(
    settings: Mapping[str, Any], described: ModelDescription
) -> tuple[Table, pd.DataFrame]:
    """Read the columns that a model uses, each as it was in the training."""
    place = Path(settings["table"])
    options = {k: settings.get(k) for k in ReadOptions.__dataclass_fields__}
    raw = read_raw(place, ReadOptions(**options))
    decimal = settings.get("decimal") or find_decimal(raw.frame, raw.separator)
    table = Table(raw.frame, decimal, settings, is_text=bool(raw.separator))
    table.findings.problems += raw.problems
    for note in raw.notes:
        say(f"{place.name}: {note}")
    columns = {str(entry["name"]): entry for entry in described.columns}
    if not columns:
        raise ValueError("the model was fitted without names of columns, expected some")
    left_out = _missing(table, described)
    X = pd.DataFrame(index=raw.frame.index)
    for name, entry in columns.items():
        if name in raw.frame:
            X[name] = _values(table, name, entry, place.parent)
        elif name in left_out:
            X[name] = pd.Series(None, index=X.index, dtype=object)
    table.note_encodings([name for name in columns if name in raw.frame])
    return table, X


def _missing(table: Table, described: ModelDescription) -> set[str]:
    """List columns that are missing, and return those of modalities that may be."""
    there = set(table.names)
    whole = {
        column
        for modality in described.modalities
        for column in map(str, modality["columns"])
        if not there & set(map(str, modality["columns"]))
    }
    for entry in described.columns:
        name = str(entry["name"])
        if name in there or (name in whole and len(whole) < len(described.columns)):
            continue
        hint = did_you_mean(name, sorted(there))
        table.findings.problems.append(
            Problem(
                f"column {name!r}, which the model uses, is not in the table.{hint}"
            )
        )
    if whole and len(whole) < len(described.columns):
        listed = ", ".join(map(repr, sorted(whole)))
        say(f"columns {listed} are not in the table: their modalities are absent")
    return whole


def _values(table: Table, name: str, entry: Mapping[str, Any], folder: Path) -> Any:
    kind, dtype = entry["kind"], str(entry["dtype"])
    if kind == "image":
        return images_of(table, name, folder, may_be_empty=True)
    if kind == "text":
        return table.texts(name)
    if kind == "vector" and table.is_text:
        table.findings.problems.append(
            Problem(f"column {name!r}: vectors need a table in Parquet or Feather")
        )
    cells = kind_of(dtype or "object")
    if kind == "date" or cells == "date":
        return dates_of(table, name)
    if kind == "number" or (kind == "event key" and cells == "number"):
        return _numbers(table, name, dtype)
    if kind in ("category", "event key"):
        return table.words(name)
    return table.typed(name).values


def _numbers(table: Table, name: str, dtype: str) -> pd.Series:
    found = table.typed(name)
    if is_whole(dtype) and found.kind == "text" and _are_whole(found.values):
        # Long keys, which a float would round, are read as text.
        return in_dtype(found.values.map(int, na_action="ignore"), dtype, name)
    if found.kind != "number" and found.n_filled:
        table.findings.problems.append(
            Problem(
                f"column {name!r}: {found.n_filled} cells are of kind {found.kind}, "
                "expected numbers as in the training"
            )
        )
        return found.values
    values = numbers_of(table, name)
    return in_dtype(values, dtype, name)


def _are_whole(cells: pd.Series) -> bool:
    return all(re.fullmatch(r"[+-]?\d+", str(cell).strip()) for cell in cells.dropna())


def _ids(table: Table, names: Sequence[str], X: pd.DataFrame) -> pd.DataFrame:
    """Return the columns that are copied to the output."""
    kept = pd.DataFrame(index=X.index)
    for name in names:
        if name in table.names:
            kept[name] = table.texts(name)
        else:
            hint = did_you_mean(name, table.names)
            table.findings.problems.append(
                Problem(f"{option('--id', name)}: no such column in the table.{hint}")
            )
    return kept


def _check(table: Table, name: str) -> None:
    """Raise an error with all problems, and tell what options changed."""
    problems = [_for_prediction(problem) for problem in table.findings.problems]
    if problems:
        raise ProblemsError(problems, name)
    for change in table.findings.changes:
        say(f"{name}: {change}")


def _for_prediction(problem: Problem) -> Problem:
    """Return a problem without the options that choose columns for a fit."""

    def known(text: str) -> str:
        return "" if any(word in text for word in OTHER_OPTIONS) else text

    other = problem.other.partition(", or --categories")[0]
    return replace(problem, remedy=known(problem.remedy), other=known(other))


# -- the output -----------------------------------------------------------------------


def _check_output(out: Path, chunk: int) -> None:
    if out.suffix.lower() not in SUFFIXES:
        raise ValueError(
            f"--out must be a file in one of {', '.join(SUFFIXES)}, got {out.suffix!r}"
        )
    if not out.resolve().parent.is_dir():
        raise FileNotFoundError("the folder of --out does not exist")
    if chunk < 1:
        raise ValueError(f"--chunk must be at least 1, got {chunk}")


class _Writer:
    """File of predictions that is written chunk by chunk, and is complete or absent."""

    def __init__(self, out: Path) -> None:
        self._out = out
        self._is_parquet = out.suffix.lower() == ".parquet"
        self._separator = "\t" if out.suffix.lower() == ".tsv" else ","
        self._parquet: Any = None
        self._is_new = True

    def __enter__(self) -> Self:
        with ExitStack() as opened:
            self._unfinished = opened.enter_context(whole_file(self._out))
            opened.callback(self._close)
            self._opened = opened.pop_all()
        return self

    def write(self, rows: pd.DataFrame) -> None:
        """Append rows."""
        if not self._is_parquet:
            rows.to_csv(
                self._unfinished,
                mode="w" if self._is_new else "a",
                header=self._is_new,
                sep=self._separator,
                index=False,
                encoding="utf-8",
                lineterminator="\n",
            )
        else:
            arrow, parquet = (
                require(name, "ehr") for name in ("pyarrow", "pyarrow.parquet")
            )
            if self._parquet is None:
                part = arrow.Table.from_pandas(rows, preserve_index=False)
                self._parquet = parquet.ParquetWriter(self._unfinished, part.schema)
            schema = self._parquet.schema
            part = arrow.Table.from_pandas(rows, schema=schema, preserve_index=False)
            self._parquet.write_table(part)
        self._is_new = False

    def __exit__(self, *error: Any) -> None:
        self._opened.__exit__(*error)

    def _close(self) -> None:
        if self._parquet is not None:
            self._parquet.close()
