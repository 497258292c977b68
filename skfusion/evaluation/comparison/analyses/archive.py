"""Comparisons in a file: a zip archive of JSON and arrays of NumPy, without pickles.

Nothing in the file is executed. Each part has a digest, without which it is not read.
"""

from __future__ import annotations

import hashlib
import io
import json
import math
import os
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any, BinaryIO, NoReturn

import numpy as np
import pandas as pd

import skfusion
from skfusion._paths import write_whole
from skfusion.evaluation.comparison.verdict import Verdict
from skfusion.evaluation.metrics import Metric, resolve_metrics

__all__ = ["read_archive", "write_archive"]


OWNER = "load_comparison"
FORMAT = "skfusion comparison"
VERSION = 1
FRAMES = (
    *("scores_", "differences_", "tests_", "folds_", "predictions_"),
    *("chosen_", "spread_", "strategies_"),
)
OF_METRIC = ("name", "label", "greater_is_better", "lowest", "highest", "needs_labels")
# Marks of values that JSON does not have. Keys of the tables never begin like this.
TUPLE, FLOAT = "__tuple__", "__float__"
EARLIEST = (
    1980,
    1,
    1,
    0,
    0,
    0,
)  # of a zip archive, so that equal results give equal files


def write_archive(result: Any, path: str | os.PathLike[str]) -> None:
    """Write a comparison to a file, which is replaced as a whole.

    Parameters
    ----------
    result : FusionComparison
        Comparison.
    path : str or PathLike
        File.

    Raises
    ------
    TypeError
        If a value is neither text nor a number, such as a class label that is a date.
    """
    parts: dict[str, bytes] = {}
    frames = {}
    for name in FRAMES:
        frames[name], arrays = _pack(getattr(result, name), name)
        buffer = io.BytesIO()
        np.savez(buffer, allow_pickle=False, **arrays)
        parts[f"{name}.npz"] = buffer.getvalue()
    metrics = [{key: getattr(m, key) for key in OF_METRIC} for m in result.metrics_]
    about = {
        "verdict": asdict(result.verdict_),
        "cohort": result.cohort_,
        "settings": result.settings_,
        "notes": list(result.notes_),
        "metrics": metrics,
        "frames": frames,
    }
    parts["result.json"] = _as_json(about)
    manifest = {
        "format": FORMAT,
        "version": VERSION,
        "skfusion": skfusion.__version__,
        "sha256": {name: _digest(content) for name, content in parts.items()},
    }
    parts = {"manifest.json": _as_json(manifest), **parts}
    write_whole(path, lambda file: _pack_parts(file, parts), is_private=False)


def _pack_parts(file: BinaryIO, parts: Mapping[str, bytes]) -> None:
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in parts.items():
            archive.writestr(zipfile.ZipInfo(name, EARLIEST), content)


def read_archive(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Read the attributes of a comparison from a file.

    Parameters
    ----------
    path : str or PathLike
        File that `write_archive` has written.

    Returns
    -------
    dict
        Arguments of `FusionComparison`, without its estimators and cohort.

    Raises
    ------
    ValueError
        If the file is not such a file, is damaged, or is of a newer version.
    """
    try:
        with zipfile.ZipFile(path) as file:
            parts = {name: file.read(name) for name in file.namelist()}
    except (zipfile.BadZipFile, zipfile.LargeZipFile, EOFError, OSError) as error:
        if isinstance(error, OSError) and not isinstance(error, zipfile.BadZipFile):
            raise
        _refuse("it is not a zip archive")
    try:
        manifest = json.loads(parts["manifest.json"])
        is_ours, version = manifest["format"] == FORMAT, int(manifest["version"])
        digests = dict(manifest["sha256"])
    except (KeyError, TypeError, ValueError):
        _refuse("it has no manifest of a comparison")
    if not is_ours:
        _refuse("it has no manifest of a comparison")
    if version > VERSION:
        raise ValueError(
            f"{OWNER}: the file has version {version} of the format, but this release "
            f"reads versions up to {VERSION}. Install a newer release of skfusion."
        )
    for name, digest in digests.items():
        if name not in parts or _digest(parts[name]) != digest:
            _refuse("a part of it is damaged")
    if not {"result.json", *(f"{name}.npz" for name in FRAMES)} <= set(digests):
        _refuse("a part of it is missing")
    try:
        return _attributes(_from_json(parts["result.json"]), parts)
    except (KeyError, TypeError, AttributeError):
        _refuse("a part of it is missing")


def _attributes(about: Mapping[str, Any], parts: Mapping[str, bytes]) -> dict[str, Any]:
    frames = {
        name: _unpack(about["frames"][name], parts[f"{name}.npz"]) for name in FRAMES
    }
    cohort = about["cohort"]
    return {
        **frames,
        "metrics_": [_metric(record, cohort) for record in about["metrics"]],
        "verdict_": Verdict(**about["verdict"]),
        "cohort_": cohort,
        "settings_": about["settings"],
        "notes_": about["notes"],
        "context_": None,
    }


def _refuse(reason: str) -> NoReturn:
    raise ValueError(
        f"{OWNER} needs a file that FusionComparison.save has written, but {reason}. "
        "Save the comparison again."
    )


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


# -- tables ---------------------------------------------------------------------------


def _pack(frame: pd.DataFrame, name: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return a table as a description with its texts, and its columns of numbers."""
    arrays: dict[str, Any] = {}
    columns = []
    for number, label in enumerate(frame.columns):
        values = frame.iloc[:, number]
        column: dict[str, Any] = {"label": str(label), "dtype": str(values.dtype)}
        if isinstance(values.dtype, np.dtype) and values.dtype.kind in "biuf":
            arrays[f"c{number}"] = values.to_numpy()
        else:
            column["cells"] = [_plain(cell, name) for cell in values.tolist()]
        columns.append(column)
    index: Any = None
    if not isinstance(frame.index, pd.RangeIndex):
        cells = [_plain(cell, name) for cell in frame.index.tolist()]
        index = {"name": frame.index.name, "cells": cells}
    about = {"n_rows": len(frame), "columns": columns, "index": index}
    return about, arrays


def _unpack(about: Mapping[str, Any], content: bytes) -> pd.DataFrame:
    with np.load(io.BytesIO(content), allow_pickle=False) as file:
        arrays = {name: file[name] for name in file.files}
    parts = []
    for number, column in enumerate(about["columns"]):
        values = column.get("cells")
        if values is None:
            values = arrays[f"c{number}"]
        parts.append(pd.Series(values, dtype=column["dtype"]))
    frame = pd.DataFrame(dict(enumerate(parts)), index=range(about["n_rows"]))
    frame.columns = pd.Index([column["label"] for column in about["columns"]])
    if about["index"] is not None:
        cells, name = about["index"]["cells"], about["index"]["name"]
        frame.index = pd.Index(cells, name=name)
    return frame


# -- metrics --------------------------------------------------------------------------


def _metric(record: Mapping[str, Any], cohort: Mapping[str, Any]) -> Metric:
    """Return a metric, with its function if it is known by its name."""
    task = cohort["task"]
    is_classes = task in ("binary", "multiclass")
    n_classes = len(cohort["classes"]) if is_classes else None
    try:
        (known,) = resolve_metrics(
            record["name"], n_classes, kind="classes" if is_classes else task
        )
    except ValueError:
        return Metric(**record, score=_not_saved)
    if {key: getattr(known, key) for key in OF_METRIC} == dict(record):
        return known
    return Metric(**record, score=_not_saved)


def _not_saved(*_: Any) -> float:
    raise ValueError(
        f"{OWNER}: the function of this score was given by the user and is not in the "
        "file. Its values are in the tables."
    )


# -- JSON -----------------------------------------------------------------------------


def _as_json(value: Any) -> bytes:
    text = json.dumps(_plain(value, "the comparison"), ensure_ascii=False)
    return text.encode("utf-8")


def _from_json(content: bytes) -> Any:
    return json.loads(content.decode("utf-8"), object_hook=_restored)


def _plain(value: Any, where: str) -> Any:
    """Return a value of JSON, with marks for tuples and numbers that are not finite."""
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if value is pd.NA:
        return None
    if isinstance(value, float):
        return value if math.isfinite(value) else {FLOAT: repr(value)}
    if isinstance(value, Mapping):
        return {str(key): _plain(part, where) for key, part in value.items()}
    if isinstance(value, tuple):
        return {TUPLE: [_plain(part, where) for part in value]}
    if isinstance(value, Sequence):
        return [_plain(part, where) for part in value]
    raise TypeError(
        f"FusionComparison.save: {where} contains an object of type "
        f"{type(value).__name__}, but only text and numbers can be saved. Use class "
        "labels that are text or numbers."
    )


def _restored(value: dict[str, Any]) -> Any:
    if set(value) == {TUPLE}:
        return tuple(value[TUPLE])
    if set(value) == {FLOAT}:
        return float(value[FLOAT])
    return value
