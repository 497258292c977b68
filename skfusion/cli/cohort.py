"""Cohort of a command: its table checked as a whole, and its modalities."""

from __future__ import annotations

import importlib
import re
import warnings
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from sklearn.base import clone

from skfusion._validation import did_you_mean
from skfusion.cli.console import say
from skfusion.cli.problems import Problem, ProblemsError, option
from skfusion.cli.settings import engine_asked_for
from skfusion.cli.tables.cells import find_decimal
from skfusion.cli.tables.columns import (
    Findings,
    Table,
    dates_of,
    feature_of,
    ids_of,
    outcome_of,
)
from skfusion.cli.tables.encodings import repaired, strange_characters
from skfusion.cli.tables.files import RawTable, ReadOptions, read_raw
from skfusion.cli.tables.images import images_of
from skfusion.cohort import repeated_ids
from skfusion.modality import find_column_roles, is_identifier

__all__ = ["Cohort", "read_cohort", "read_image_columns"]


MOST_NAMES = 15
ENCODERS = {
    "ImageEmbedder": "skfusion.image",
    "RadiomicsEncoder": "skfusion.image",
    "TabularEncoder": "skfusion.ehr",
    "ComorbidityEncoder": "skfusion.ehr",
}
IMAGE_ENCODERS = ("ImageEmbedder", "RadiomicsEncoder")


@dataclass
class Cohort:
    """Checked table of a command.

    Attributes
    ----------
    X : DataFrame of shape (n_samples, n_columns)
        Columns of the modalities, and the columns of patients, sites and times.
    y : Series of shape (n_samples,) or None
        Outcome. None if it could not be read, which is among the problems.
    modalities : list of (str, transformer, columns)
        Modalities.
    groups : str, range or None
        Column of the patients, or a range of rows that are declared independent.
    name : str
        Name of the table.
    findings : Findings
        Problems that are left, and changes of the data.
    others : DataFrame of shape (n_samples, n_other_columns) or None
        Columns without a purpose, e.g. names and ids.
    engine_is_given : frozenset of str
        Modalities whose engine of embeddings the settings name.
    """

    X: pd.DataFrame
    y: pd.Series | None
    modalities: list[tuple[str, Any, Any]]
    groups: Any
    name: str
    findings: Findings
    others: pd.DataFrame | None = None
    engine_is_given: frozenset[str] = frozenset()

    def check(self, plan: Callable[[], Any] | None = None) -> Any:
        """Raise an error with all problems of the table and of a plan.

        Parameters
        ----------
        plan : callable or None, default=None
            Function that checks the further settings without a fit. What it raises is
            added to the list. It is not called without an outcome or modalities.

        Returns
        -------
        object
            Result of `plan`.

        Raises
        ------
        ProblemsError
            If there is a problem.
        """
        problems = list(self.findings.problems)
        result = None
        if plan is not None and self.y is not None and self.modalities:
            try:
                result = plan()
            except (ValueError, TypeError) as error:
                problems.append(Problem(_in_options(str(error))))
        if problems:
            raise ProblemsError(problems, self.name)
        for change in self.findings.changes:
            say(f"{self.name}: {change}")
        return result

    def check_several(self) -> None:
        """Raise a ValueError if there is one modality only."""
        if len(self.modalities) < 2:
            names = ", ".join(repr(name) for name, _, _ in self.modalities)
            raise ValueError(f"there is one modality only ({names}), expected two")

    def whole(self) -> pd.DataFrame:
        """Return all columns of the table except the outcome and those to exclude."""
        parts = [self.X] if self.others is None else [self.X, self.others]
        return pd.concat(parts, axis=1)

    def description(self, given: str | None) -> str | None:
        """Return the caveat of the results, with the changes of the table."""
        caveats = "; ".join(self.findings.caveats)
        changed = f"Changes of the table by options: {caveats}." if caveats else ""
        return " ".join(part for part in (given, changed) if part) or None

    def class_of(self, text: Any) -> Any:
        """Return the class of the outcome that an option names as text."""
        if text is None or self.y is None:
            return None
        found = [label for label in self.y.unique() if str(label) == str(text)]
        return found[0] if found else text


# Options of the parameters that messages of `compare_fusion` name.
_OPTIONS = {
    "pos_label": "--positive",
    "n_repeats": "--repeats",
    "random_state": "--seed",
    "smallest_gain": "--smallest-gain",
    "checkpoint": "--resume",
} | {
    key: f"--{key}"
    for key in ("cv", "groups", "test", "time", "sites", "scoring", "strategies")
    + ("primary", "margin", "quick", "task")
}
_PARAMETER = re.compile(rf"\b({'|'.join(_OPTIONS)})=")


def _in_options(message: str) -> str:
    """Return a message of a function in one line, with options for parameters."""
    line = " ".join(message.split()).removeprefix("compare_fusion: ")
    return _PARAMETER.sub(lambda found: f"{_OPTIONS[found[1]]} ", line)


def read_cohort(settings: Mapping[str, Any], *, asks_for_groups: bool = True) -> Cohort:
    r"""Read the table of a command and check all of it, before anything costly.

    Parameters
    ----------
    settings : mapping of str to object
        Settings from `skfusion.cli.settings.read_settings`.
    asks_for_groups : bool, default=True
        Whether ids that repeat are a problem if no groups were given.

    Returns
    -------
    Cohort
        Its method `check` raises an error with all problems.

    Raises
    ------
    ValueError, OSError, ImportError
        If the file cannot be read as a table.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> from skfusion.cli.cohort import read_cohort
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     table = pathlib.Path(folder, "cohort.csv")
    ...     _ = table.write_text("age,sick\n61,1\n48,0\n> 89,\n")
    ...     cohort = read_cohort({"table": table, "target": "sick", "ehr": ["age"]})
    >>> [problem.remedy for problem in cohort.findings.problems]
    ['--missing-outcome drop', '--text-numbers parse']
    """
    place = Path(settings["table"])
    raw, table = _read_table(settings)
    findings = table.findings
    if table.decimal == "," and not settings.get("decimal"):
        say(f"{place.name}: Numbers have a decimal comma.")
    modality_columns = _columns_of_modalities(settings)
    _check_names(table, settings, modality_columns)
    y = None
    if settings["target"] in raw.frame:
        y = outcome_of(table, settings["target"])
    kept = _keys(table, settings)
    groups = _groups(table, settings, asks=asks_for_groups)
    modalities = _modalities(table, raw, settings, modality_columns, kept)
    X = pd.DataFrame(kept, index=raw.frame.index)
    used = [column for column in (*X, settings["target"]) if column in raw.frame]
    table.note_encodings(used)
    _tell_null_words(table, place.name, used)
    names = [c for c in table.names if c not in (*used, *settings.get("drop", ()))]
    others = pd.DataFrame({c: table.typed(c).values for c in names}, index=X.index)
    rows = _rows(X, y, settings)
    X, others = _part(X, rows), _part(others, rows)
    if isinstance(groups, range):
        groups = range(len(X))
    if y is not None:
        y = _part(y, rows)
        y = None if y.nunique() < 2 else _as_simple(y)  # one value is listed
    if any(settings.get(key) and settings[key] not in X for key in ("sites", "time")):
        y = None  # there is no plan without them
    cohort = Cohort(
        *(X, y, modalities, groups, place.name, findings, others),
        engine_is_given=_with_engine(modality_columns, modalities, settings),
    )
    _check_encoders(cohort)
    return cohort


def read_image_columns(
    settings: Mapping[str, Any], part: Callable[[pd.Series], pd.Series | None]
) -> dict[str, tuple[Any, pd.Series]]:
    """Read the image columns of a table, of some of its rows.

    Parameters
    ----------
    settings : mapping of str to object
        Settings from `skfusion.cli.settings.read_settings`. Images are the columns of
        ``"image"``, or those of the modalities with an `ImageEmbedder`.
    part : callable
        Function of the cells of a column that returns a mask of the rows to read, or
        None for all.

    Returns
    -------
    dict of str to (ImageEmbedder, Series)
        An unfitted embedder and the absolute paths of each column.

    Raises
    ------
    ValueError
        If the settings name no image column.
    ProblemsError
        If a column or a file does not exist, or an image cannot be read.
    """
    _, table = _read_table(settings)
    listed = _columns_of_modalities(settings)
    given = listed or {
        name: {"columns": [name], "encoder": "ImageEmbedder", "scalar": True}
        for name in settings.get("image", [])
    }
    given = {n: a for n, a in given.items() if a.get("encoder") == "ImageEmbedder"}
    if not given:
        raise ValueError(
            "give --image COLUMN, or modalities with encoder = 'ImageEmbedder' in a "
            "--config FILE"
        )
    _check_names(table, settings, given if listed else {})
    folder = Path(settings["table"]).resolve().parent
    found = {}
    for name, about in given.items():
        for column in about["columns"]:
            embedder = _encoder(
                table, name, "ImageEmbedder", about.get("params", {}), settings
            )
            if column in table.frame and embedder is not None:
                mask = part(table.texts(column))
                some = table if mask is None else table.part(mask.to_numpy(dtype=bool))
                cells = some.texts(column)
                if cells.notna().any():
                    cells = images_of(some, column, folder)
                found[column] = (embedder, cells)
    if table.findings.problems:
        raise ProblemsError(table.findings.problems, Path(settings["table"]).name)
    return found


def _read_table(settings: Mapping[str, Any]) -> tuple[RawTable, Table]:
    """Read the file of a table, and say what was found out about it."""
    place = Path(settings["table"])
    raw = read_raw(place, ReadOptions(**_given(settings, ReadOptions)))
    decimal = settings.get("decimal") or find_decimal(raw.frame, raw.separator)
    table = Table(raw.frame, decimal, settings, is_text=bool(raw.separator))
    table.findings.problems += raw.problems
    for note in raw.notes:
        say(f"{place.name}: {note}")
    _check_headings(raw, table.findings, settings)
    return raw, table


def _given(settings: Mapping[str, Any], kind: Any) -> dict[str, Any]:
    """Return the settings that are fields of a dataclass."""
    return {k: settings.get(k) for k in kind.__dataclass_fields__}


def _check_headings(
    raw: RawTable, findings: Findings, settings: Mapping[str, Any]
) -> None:
    strange = [c for c in raw.frame.columns if strange_characters(str(c))]
    if not strange:
        return
    raw.frame.columns = [repaired(str(column)) for column in raw.frame.columns]
    text = f"{len(strange)} names of columns are in another encoding than the file"
    findings.settle(
        str(settings.get("encoding")).lower() == "mixed",
        Problem(text, "--encoding mixed"),
        f"{text} and were decoded again",
        "names of columns in another encoding were decoded again",
    )


# -- names of columns -----------------------------------------------------------------


def _columns_of_modalities(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return the tables of modalities of the file, with a list of columns each."""
    found = {}
    for name, about in settings.get("modalities", {}).items():
        columns = about["columns"]
        listed = [columns] if isinstance(columns, str) else list(columns)
        found[name] = {**about, "columns": listed, "scalar": isinstance(columns, str)}
    return found


def _check_names(
    table: Table, settings: Mapping[str, Any], modalities: Mapping[str, Any]
) -> None:
    """List columns that do not exist, and those with more than one purpose."""
    single = ("target", "groups", "time", "sites")
    purposes = {f"--{key}": [settings[key]] for key in single if settings.get(key)}
    purposes |= {f"--{key}": list(settings.get(key, ())) for key in ("image", "ehr")}
    purposes["--drop"] = list(settings.get("drop", ()))
    for name, about in modalities.items():
        purposes[f"[modalities.{name}]"] = about["columns"]
    known = list(table.frame.columns)
    first: dict[str, str] = {}
    for purpose, columns in purposes.items():
        for column in columns:
            if column not in known:
                _note_unknown(table, purpose, column)
            elif column in first and not _may_share(first[column], purpose):
                table.findings.problems.append(
                    Problem(
                        f"column {column!r} is named by {first[column]} and by "
                        f"{purpose}, name it once"
                    )
                )
            first.setdefault(column, purpose)
    for key in ("categories", "index_time"):
        value = settings.get(key) or []
        for column in [value] if isinstance(value, str) else list(value):
            if column not in known:
                _note_unknown(table, f"--{key.replace('_', '-')}", column)


def _may_share(first: str, second: str) -> bool:
    """Return whether a column can have two purposes: two modalities share columns."""
    return first.startswith("[") and second.startswith("[") and first != second


def _note_unknown(table: Table, purpose: str, column: str) -> None:
    names = [str(name) for name in table.frame.columns]
    shown = ", ".join(names[:MOST_NAMES])
    more = f" and {len(names) - MOST_NAMES} more" * (len(names) > MOST_NAMES)
    table.findings.problems.append(
        Problem(
            f"{purpose} names the column {column!r}, which is not in the table."
            f"{did_you_mean(column, names)} The table has the columns {shown}{more}"
        )
    )


# -- patients, sites, times -----------------------------------------------------------


def _keys(table: Table, settings: Mapping[str, Any]) -> dict[str, pd.Series]:
    """Return the columns of patients, sites and times."""
    kept: dict[str, pd.Series] = {}
    for key, read in (
        ("groups", lambda column: ids_of(table, column, "--groups")),
        ("sites", lambda column: ids_of(table, column, "--sites")),
        ("time", lambda column: dates_of(table, column)),
        ("index_time", lambda column: dates_of(table, column)),
    ):
        column = str(settings.get(key))
        if settings.get(key) and column in table.frame and column not in kept:
            kept[column] = read(column)
    return kept


def _groups(table: Table, settings: Mapping[str, Any], *, asks: bool) -> Any:
    """Return the column of the patients, and list ids that repeat without one."""
    if settings.get("groups"):  # a column that does not exist is listed
        known = settings["groups"] in table.frame
        return settings["groups"] if known else range(table.n_rows)
    aside = {settings["target"], *settings.get("drop", ()), *settings.get("image", ())}
    ids = {
        column: table.texts(column)
        for column in table.names
        if column not in aside and is_identifier(column, table.frame)
    }
    found = repeated_ids(pd.DataFrame(ids, index=table.frame.index, dtype=object))
    if settings.get("independent_rows"):
        if found:
            say(f"Rows are independent, although {', '.join(found)} repeat.")
        return range(table.n_rows)
    if found and asks:
        n_values = table.texts(found[0]).nunique()
        also = f" (as do {', '.join(found[1:])})" if found[1:] else ""
        table.findings.problems.append(
            Problem(
                f"column {found[0]!r}: looks like the id of a patient and repeats, "
                f"{n_values} values in {table.n_rows} rows{also}, but no --groups were "
                "given",
                option("--groups", found[0]),
                "--independent-rows",
            )
        )
    return None


# -- modalities -----------------------------------------------------------------------


def _modalities(
    table: Table,
    raw: RawTable,
    settings: Mapping[str, Any],
    given: Mapping[str, Any],
    kept: dict[str, pd.Series],
) -> list[tuple[str, Any, Any]]:
    """Return the modalities, and add their columns to those that are kept."""
    folder = Path(settings["table"]).parent
    if not given:
        given = _from_options(table, raw, settings)
    modalities = []
    for name, about in given.items():
        columns = [c for c in about["columns"] if c in table.frame]
        kind = about.get("encoder") or _usual_encoder(table, columns, about["scalar"])
        transformer = _encoder(table, name, kind, about.get("params", {}), settings)
        is_image = kind in IMAGE_ENCODERS
        features: list[str] = []
        for column in columns:
            if column not in kept:
                cells = (
                    images_of(table, column, folder)
                    if is_image
                    else feature_of(table, column)
                )
                if cells is None:
                    continue
                kept[column] = cells
            features.append(column)
        if transformer is None or not features:
            continue
        if kind == "TabularEncoder":
            features = _with_index_time(transformer, features, settings, kept)
        modalities.append((name, transformer, features[0] if is_image else features))
    return modalities


def _from_options(
    table: Table, raw: RawTable, settings: Mapping[str, Any]
) -> dict[str, dict[str, Any]]:
    """Return the modalities that --image and --ehr name, or all other columns."""
    images = settings.get("image", [])
    ehr = settings.get("ehr")
    if ehr is None:
        ehr = _other_columns(table, raw, settings)
    say(f"EHR columns: {', '.join(ehr) or 'none'}")
    found = {
        _name(column): {"columns": [column], "encoder": "ImageEmbedder", "scalar": True}
        for column in images
    }
    if ehr:
        name = "ehr" if "ehr" not in found else "ehr_table"
        found[name] = {"columns": ehr, "encoder": "TabularEncoder", "scalar": False}
    return found


def _name(column: str) -> str:
    """Return the name of the modality of a column; "__" separates parameters."""
    name = column
    while "__" in name:
        name = name.replace("__", "_")
    return name


def _other_columns(
    table: Table, raw: RawTable, settings: Mapping[str, Any]
) -> list[str]:
    """Return the columns that have no other purpose, and say what is left out."""
    keys = ("target", "groups", "time", "sites", "index_time")
    taken = {settings.get(key) for key in keys}
    taken |= {*settings.get("image", ()), *settings.get("drop", ())}
    cells = {c: table.typed(c).values for c in table.names if c not in taken}
    nameless = [column for column in raw.nameless if column in cells]
    numbered = [c for c in cells if c not in nameless and _counts_rows(cells[c])]
    roles = find_column_roles(pd.DataFrame(cells), [*nameless, *numbered])
    for what, columns in (
        ("as identifiers", roles.identifiers),
        ("as numbers of the rows", numbered),
        ("because they have no name", nameless),
        ("as image paths, not passed as --image", roles.images),
    ):
        if columns:
            say(f"Excluded {what}: {', '.join(map(str, columns))}")
    for column, found in roles.left_out.items():
        say(f"Excluded {column}, not passed as --image: {found.description}")
    known = {*roles.ehr, *roles.vectors}  # the encoder of the EHR takes vectors
    return [str(column) for column in cells if column in known]


def _counts_rows(cells: pd.Series) -> bool:
    """Return whether a column numbers the rows from 0 or 1, as an index does."""
    if not pd.api.types.is_integer_dtype(cells) or len(cells) < 3:
        return False
    values = cells.to_numpy()
    return bool(values[0] in (0, 1) and (np.diff(values) == 1).all())


def _usual_encoder(table: Table, columns: list[str], scalar: bool) -> str:
    if scalar and columns:
        cells = pd.DataFrame({columns[0]: table.texts(columns[0])})
        roles = find_column_roles(cells)
        if roles.images or roles.left_out:
            return "ImageEmbedder"
    return "TabularEncoder"


def _encoder(
    table: Table,
    name: str,
    kind: str,
    params: dict[str, Any],
    settings: Mapping[str, Any],
) -> Any:
    """Return an unfitted encoder, None if there is none, which is listed."""
    if kind == "passthrough":
        return kind
    module, _, class_name = f"{ENCODERS.get(kind, '')}.{kind}".rpartition(".")
    if kind.startswith("sklearn."):
        module, _, class_name = kind.rpartition(".")
    where = f"[modalities.{name}]"
    try:
        encoder = getattr(importlib.import_module(module), class_name)()
        known = encoder.get_params(deep=False)
    except (ImportError, AttributeError, TypeError, ValueError) as error:
        needs = f" {error}" if "pip install" in str(error) else ""
        near = did_you_mean(kind, [*ENCODERS, "passthrough"])
        table.findings.problems.append(
            Problem(
                f"{where} encoder {kind!r} cannot be used.{needs or near} Known are "
                f"{', '.join([*ENCODERS, 'passthrough'])}, and names of scikit-learn "
                "such as sklearn.preprocessing.StandardScaler"
            )
        )
        return None
    if kind == "ImageEmbedder":
        engine = engine_asked_for(settings, params)
        params = {k: v for k, v in params.items() if k != "engine"}
        params |= {} if engine is None else {"engine": engine}
    unknown = [key for key in params if key not in known]
    for key in unknown:
        text = f"{where} {kind} has no parameter {key!r}."
        table.findings.problems.append(Problem(text + did_you_mean(key, list(known))))
    encoder.set_params(**{k: v for k, v in params.items() if k in known})
    absent = settings.get("unreadable_images") == "absent"
    if absent and "on_error" in known and "on_error" not in params:
        encoder.set_params(on_error="missing")
    return encoder


def _with_engine(
    given: Mapping[str, Any],
    modalities: list[tuple[str, Any, Any]],
    settings: Mapping[str, Any],
) -> frozenset[str]:
    """Return the modalities whose engine of embeddings the settings name."""
    return frozenset(
        name
        for name, _, _ in modalities
        if engine_asked_for(settings, given.get(name, {}).get("params", {}))
    )


def _with_index_time(
    encoder: Any,
    features: list[str],
    settings: Mapping[str, Any],
    kept: Mapping[str, pd.Series],
) -> list[str]:
    """Return features with the index time if one of them is a date."""
    column = str(settings.get("index_time"))
    dates = [c for c in features if pd.api.types.is_datetime64_any_dtype(kept[c])]
    if column not in kept or not dates:
        return features
    encoder.set_params(index_time=column)
    return [*features, *([column] if column not in features else [])]


# -- rows, and what encoders refuse ---------------------------------------------------


def _tell_null_words(table: Table, name: str, columns: Iterable[str]) -> None:
    counts = {column: table.typed(column).n_null_words for column in columns}
    counts = {column: n for column, n in counts.items() if n}
    if counts:
        listed = ", ".join(f"{column} ({n})" for column, n in counts.items())
        say(f"{name}: Words for missing values, such as 'n/a', are missing: {listed}")


def _rows(
    X: pd.DataFrame, y: pd.Series | None, settings: Mapping[str, Any]
) -> np.ndarray:
    """Return the rows with an outcome, a patient and a site. Without any, all rows."""
    kept = np.ones(len(X), dtype=bool)
    if y is not None:
        kept &= y.notna().to_numpy(dtype=bool)
    for key in ("groups", "sites"):
        if settings.get(key) in X:
            kept &= X[settings[key]].notna().to_numpy(dtype=bool)
    return kept if kept.any() else np.ones(len(X), dtype=bool)


def _part(values: Any, rows: np.ndarray) -> Any:
    return values if rows.all() else values[rows].reset_index(drop=True)


def _as_simple(y: pd.Series) -> pd.Series:
    """Return an outcome with whole numbers as integers, and booleans as booleans."""
    y = y.infer_objects()
    if pd.api.types.is_float_dtype(y) and (y == np.floor(y)).all():
        return y.astype(np.int64)
    return y


def _check_encoders(cohort: Cohort) -> None:
    """List what the encoders refuse in `fit`, which reads no image."""
    for name, transformer, columns in cohort.modalities:
        if (
            isinstance(transformer, str)
            or cohort.findings.problems
            and (not isinstance(columns, list))
        ):
            continue
        part = cohort.X[columns]
        message = _refusal(transformer, part)
        if not message:
            continue
        alone = {}
        if isinstance(columns, list) and len(columns) > 1:
            usual = type(transformer)()
            alone = {c: _refusal(usual, part[[c]]) for c in columns}
        found = {c: text for c, text in alone.items() if text}
        for column, text in found.items():
            cohort.findings.problems.append(Problem(text, option("--drop", column)))
        if not found:
            cohort.findings.problems.append(Problem(f"modality {name!r}: {message}"))


def _refusal(transformer: Any, cells: Any) -> str:
    """Return why an encoder cannot be fitted, ``""`` if it can."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the run repeats them
        try:
            clone(transformer).fit(cells)
        except (ValueError, TypeError, OSError, ImportError) as error:
            return " ".join(str(error).split())
    return ""
