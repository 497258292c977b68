"""The manifest of a model file: what is in it, readable without making anything."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import platform
import re
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from typing import Any

import numpy as np
import pandas as pd

import skfusion
from skfusion._fitting.pipelines import last_step
from skfusion._validation import did_you_mean
from skfusion.fusion.base import BaseFusion
from skfusion.persistence.archive import Archive, ModelFileError
from skfusion.persistence.dtypes import (
    dates_in_dtype,
    in_dtype,
    is_whole,
    is_zoned,
    kind_of,
)

__all__ = [
    "MANIFEST",
    "ModelDescription",
    "absent_packages",
    "check_versions",
    "fusions_in",
    "make_manifest",
    "read_manifest",
]

MANIFEST = "manifest.json"
GRAPH = "estimator.skops"
FORMAT = "skfusion-model"
#: Version of the format. Increment it when an older version cannot read a new file.
VERSION = 1
LARGEST_MANIFEST = 16 * 1024**2
#: Distributions whose versions are written if they are in use, by module.
_PACKAGES = {
    "lightgbm": ("lightgbm",),
    "numpy": ("numpy",),
    "pandas": ("pandas",),
    "scipy": ("scipy",),
    "sklearn": ("scikit-learn",),
    "skops": ("skops",),
    "timm": ("timm",),
    "torch": ("torch",),
    "torchvision": ("torchvision",),
    "transformers": ("transformers",),
    "xgboost": ("xgboost-cpu", "xgboost"),
}
_ALWAYS = ("numpy", "pandas", "scipy", "sklearn", "skops")
_KEYS = {"format", "version", "versions", "parts", "model", "encoders", "stores"}
_KINDS_OF_CELLS = {
    "Demographics": "event key",
    "EventGrid": "event key",
    "EventNotes": "event key",
    "EventWindows": "event key",
    "ImageEmbedder": "image",
    "RadiomicsEncoder": "image",
    "TextEmbedder": "text",
    "VectorColumns": "vector",
}


@dataclass(frozen=True)
class ModelDescription:
    """Description of a model file, found without making any of its objects.

    Attributes
    ----------
    kind : str
        Class of the model.
    task : str or None
        ``"classes"``, ``"labels"``, ``"numbers"`` or ``"survival"``. None for a
        transformer.
    classes : list or None
        Classes of a classifier.
    modalities : list of dict
        Name, transformer and columns of each modality.
    columns : list of dict
        Name, kind of cells, dtype of the training table and modality of each column.
    training : dict
        Number of training rows, where it is known.
    encoders : list of dict
        Name and fingerprint of each network that embeds, and whether its weights are
        in the file.
    stores : list of dict
        Stores that the model refers to, events by their fingerprint.
    versions : dict of str to str
        Versions with which the model was saved.
    names : list of str
        Classes and functions that the file names.
    untrusted : list of str
        Those that `load` refuses, unless they are in its parameter `trusted`.
    problems : list of str
        Reasons for which `load` refuses the file here, such as versions.
    size : int
        Size of the file in bytes.
    sha256 : str
        Digest of the whole file, which a person can sign or compare. The digests
        inside the file detect damage, not intent.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from skfusion import TabularEncoder
    >>> from skfusion.persistence import inspect_model, save
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder) / "encoder.skfusion"
    ...     _ = save(TabularEncoder().fit([[1.0], [2.0]]), path)
    ...     description = inspect_model(path)
    >>> description.kind, description.untrusted, description.problems
    ('skfusion.ehr.TabularEncoder', [], [])
    """

    __module__ = "skfusion.persistence"

    kind: str
    task: str | None
    classes: list[Any] | None
    modalities: list[dict[str, Any]]
    columns: list[dict[str, Any]]
    training: dict[str, Any]
    encoders: list[dict[str, Any]]
    stores: list[dict[str, Any]]
    versions: dict[str, str]
    names: list[str]
    untrusted: list[str]
    problems: list[str]
    size: int
    sha256: str

    def to_frame(self, rows: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
        """Return records as a table with the columns and dtypes of the training.

        Parameters
        ----------
        rows : sequence of mapping of str to any
            Values by the name of the column, e.g. from JSON. What is left out or None
            is missing. Dates are text in ISO 8601.

        Returns
        -------
        DataFrame of shape (n_rows, n_columns)

        Raises
        ------
        ValueError
            If a row has an unknown column, or a value is no number or date where the
            training had numbers or dates.

        Examples
        --------
        >>> import tempfile
        >>> from pathlib import Path
        >>> import pandas as pd
        >>> import skfusion
        >>> X = pd.DataFrame({"crp": range(40), "age": range(40, 80)})
        >>> model = skfusion.LateFusionClassifier(
        ...     [("lab", "passthrough", ["crp"]), ("who", "passthrough", ["age"])]
        ... ).fit(X, X["crp"] > 19)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     description = skfusion.save(model, Path(folder) / "model.skfusion")
        >>> description.to_frame([{"age": 63}])
           crp  age
        0  NaN   63
        """
        known = [str(entry["name"]) for entry in self.columns]
        for row in rows:
            for name in row:
                if name not in known:
                    hint = did_you_mean(str(name), known)
                    raise ValueError(
                        f"got the column {name!r}, which the model does not use.{hint} "
                        f"Columns are {', '.join(known)}."
                    )
        return pd.DataFrame(
            {
                entry["name"]: _cells(entry, [row.get(name) for row in rows])
                for name, entry in zip(known, self.columns, strict=True)
            }
        )

    def __str__(self) -> str:
        lines = [f"{self.kind}, {self.size:,} bytes, SHA-256 {self.sha256}"]
        if self.task is not None:
            lines.append(f"task: {self.task}")
        if self.classes is not None:
            lines.append(f"classes: {', '.join(map(str, self.classes))}")
        for modality in self.modalities:
            columns = ", ".join(map(str, modality["columns"]))
            lines.append(
                f"modality {modality['name']}: {modality['transformer']} of {columns}"
            )
        for encoder in self.encoders:
            where = "in the file" if encoder.get("embedded") else "not in the file"
            lines.append(
                f"encoder {encoder['name']}: fingerprint "
                f"{str(encoder['fingerprint'])[:12]}, weights {where}"
            )
        for store in self.stores:
            lines.append(f"store: {' '.join(map(str, store.values()))}")
        versions = ", ".join(f"{name} {v}" for name, v in self.versions.items())
        lines.append(f"saved with: {versions}")
        if self.untrusted:
            lines.append(f"not trusted: {', '.join(self.untrusted)}")
        lines += [f"refused here: {problem}" for problem in self.problems]
        return "\n".join(lines)


def _cells(entry: Mapping[str, Any], values: list[Any]) -> pd.Series:
    """Return the cells of a column with the dtype of the training."""
    dtype = str(entry["dtype"])
    is_date = entry["kind"] == "date" or kind_of(dtype or "object") == "date"
    # The key of a case is a number in a table with numbers.
    is_number = entry["kind"] == "number" or kind_of(dtype or "object") == "number"
    if not is_date and not is_number:
        cells = pd.Series(np.empty(len(values), dtype=object))
        for i, value in enumerate(values):  # a list is one cell
            cells.iat[i] = value
        return cells
    allowed = str if is_date else int | float
    wrong = [
        v
        for v in values
        if v is not None and (isinstance(v, bool) or not isinstance(v, allowed))
    ]
    zoned = " with a time zone" if is_zoned(dtype) else " without a time zone"
    expected = f"dates as text in ISO 8601{zoned}" if is_date else "numbers"
    try:
        if wrong:
            raise ValueError
        if is_date:
            return dates_in_dtype(values, dtype or "datetime64[ns]")
        # Keys of cases may be larger than what a float has.
        numbers = pd.Series(values, dtype=object if is_whole(dtype) else float)
    except (ValueError, TypeError, OverflowError) as error:
        raise ValueError(
            f"column {entry['name']!r} has values that are no {expected}, as the "
            f"training had (dtype {dtype or 'unknown'})."
        ) from error
    return in_dtype(numbers, dtype, entry["name"])


# -- writing --------------------------------------------------------------------------


def make_manifest(
    model: Any, parts: Mapping[str, bytes], facts: Mapping[str, list[Any]]
) -> bytes:
    """Return the manifest of a model as JSON.

    Parameters
    ----------
    model : estimator
        The fitted model.
    parts : mapping of str to bytes
        The other parts of the file.
    facts : mapping of str to list
        Encoders and stores.
    """
    content = {
        "format": FORMAT,
        "version": VERSION,
        "versions": _versions(),
        "model": _described(model),
        "encoders": facts.get("encoders", []),
        "stores": facts.get("stores", []),
        "parts": {
            name: {"size": len(part), "sha256": hashlib.sha256(part).hexdigest()}
            for name, part in parts.items()
        },
    }
    return json.dumps(content, indent=1).encode()


def _versions() -> dict[str, str]:
    found = {"skfusion": skfusion.__version__, "python": platform.python_version()}
    for module in _PACKAGES:
        if module not in sys.modules and module not in _ALWAYS:
            continue
        version = _installed(module)
        if version is not None:
            found[module] = version
    return found


def _installed(module: str) -> str | None:
    """Return the version of the distribution that provides a module, if any does."""
    if module == "skfusion":
        return skfusion.__version__
    for name in _PACKAGES.get(module, ()):
        try:
            return metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return None


def _described(model: Any) -> dict[str, Any]:
    kind = type(model)
    described: dict[str, Any] = {
        "class": f"{kind.__module__}.{kind.__qualname__}",
        "task": None,
        "classes": _plain_classes(getattr(model, "classes_", None)),
        "modalities": [],
        "columns": _outer_columns(model),
        "training": {},
    }
    fusion = next(fusions_in(model), None)
    if fusion is None:
        return described
    described["task"] = fusion.target_.kind
    rows = getattr(fusion, "_training_rows", None)
    if rows is not None:
        described["training"]["n_rows"] = rows.n_rows
    described["modalities"] = [
        {
            "name": modality.name,
            "transformer": _name_of(modality.transformer),
            "columns": [_plain(column) for column in modality.columns],
        }
        for modality in fusion.modality_specs()
    ]
    inner = _columns(fusion)
    outer = {entry["name"] for entry in described["columns"]}
    if model is fusion or not outer or outer >= {e["name"] for e in inner}:
        described["columns"] = inner
    return described


def fusions_in(model: Any) -> Iterator[Any]:
    """Yield the fitted fusions in a model, the outermost first.

    Parameters
    ----------
    model : estimator
        A fitted fusion, or an estimator around one.

    Yields
    ------
    estimator
        A fitted fusion.
    """
    waiting, seen = [model], set()
    while waiting:
        part = waiting.pop(0)
        if id(part) in seen:
            continue
        seen.add(id(part))
        if isinstance(part, BaseFusion):
            if hasattr(part, "modalities_"):
                yield part
        elif isinstance(part, list | tuple):
            waiting.extend(part)
        elif hasattr(part, "get_params") or hasattr(part, "estimator"):
            waiting.extend(vars(part).values())


def _columns(fusion: BaseFusion) -> list[dict[str, Any]]:
    dtypes = getattr(fusion, "_dtypes", {})
    entries = []
    for modality in fusion.modality_specs():
        cells = _KINDS_OF_CELLS.get(type(last_step(modality.transformer)).__name__)
        for column in modality.columns:
            dtype = dtypes.get(column, "")
            entries.append(
                {
                    "name": _plain(column),
                    "kind": cells or kind_of(dtype) if dtype else "category",
                    "dtype": dtype,
                    "modality": modality.name,
                }
            )
    return entries


def _outer_columns(model: Any) -> list[dict[str, Any]]:
    names = getattr(model, "feature_names_in_", ())
    return [{"name": _plain(n), "kind": "", "dtype": "", "modality": ""} for n in names]


def _name_of(transformer: Any) -> str:
    last = last_step(transformer)
    return last if isinstance(last, str) else type(last).__name__


def _plain(value: Any) -> Any:
    value = value.item() if isinstance(value, np.generic) else value
    return value if isinstance(value, str | int | float | bool) else str(value)


def _plain_classes(classes: Any) -> list[Any] | None:
    if classes is None:
        return None
    if isinstance(classes, list):  # one array per label
        return [_plain_classes(part) for part in classes]
    return [_plain(value) for value in np.asarray(classes)]


# -- reading --------------------------------------------------------------------------


def read_manifest(archive: Archive) -> dict[str, Any]:
    """Return the manifest of a file, which is checked.

    Parameters
    ----------
    archive : Archive
        The file.

    Raises
    ------
    ModelFileError
        If the file is no model, has a newer format, or other parts than its manifest.
    """
    if MANIFEST not in archive.names:
        raise ModelFileError(
            f"the file is refused: it has no {MANIFEST}, so it is no file of a model "
            "that skfusion.save wrote."
        )
    if archive.size(MANIFEST) > LARGEST_MANIFEST:
        raise ModelFileError(f"the file is refused: its {MANIFEST} is too large.")
    try:
        content = json.loads(archive.read(MANIFEST))
    except (ValueError, RecursionError) as error:
        raise ModelFileError(
            f"the file is refused: its {MANIFEST} is no JSON."
        ) from error
    is_model = isinstance(content, dict) and content.get("format") == FORMAT
    version = content.get("version") if is_model else None
    if type(version) is not int or version < 1:
        raise ModelFileError(
            f"the file is refused: its {MANIFEST} is not that of a model."
        )
    if version > VERSION:
        raise ModelFileError(
            f"the file has format {version}, and this version of skfusion reads "
            f"formats up to {VERSION}. Update skfusion to load it."
        )
    if not _has_shape(content):
        raise ModelFileError(f"the file is refused: its {MANIFEST} is not complete.")
    _check_parts(content["parts"], archive)
    return content


def _has_shape(content: dict[str, Any]) -> bool:
    return (
        set(content) >= _KEYS
        and all(
            isinstance(content[key], dict) for key in ("versions", "parts", "model")
        )
        and all(isinstance(content[key], list) for key in ("encoders", "stores"))
        and all(isinstance(text, str) for text in content["versions"].values())
        and isinstance(content["model"].get("class"), str)
        and all(
            isinstance(part, dict)
            and type(part.get("size")) is int
            and isinstance(part.get("sha256"), str)
            for part in content["parts"].values()
        )
    )


def _check_parts(parts: dict[str, Any], archive: Archive) -> None:
    found = [name for name in archive.names if name != MANIFEST]
    missing = sorted(set(parts) - set(found))
    extra = sorted(set(found) - set(parts))
    if missing or GRAPH not in parts:
        raise ModelFileError(
            f"the file is refused: the part {(missing or [GRAPH])[0]!r} is missing."
        )
    if extra:
        raise ModelFileError(
            f"the file is refused: its manifest does not know the part {extra[0]!r}."
        )
    for name, about in parts.items():
        if archive.size(name) != about["size"]:
            raise ModelFileError(
                f"the file is refused: the part {name!r} has {archive.size(name):,} "
                f"bytes, its manifest declares {about['size']:,}."
            )


def check_versions(versions: Mapping[str, str]) -> tuple[list[str], list[str]]:
    """Compare the versions of a file with the installed ones.

    Parameters
    ----------
    versions : mapping of str to str
        Version by module, from a manifest.

    Returns
    -------
    problems : list of str
        Reasons to refuse the file: another major version.
    notes : list of str
        Other differences, with which predictions may differ.

    Examples
    --------
    >>> from skfusion.persistence.manifest import check_versions
    >>> check_versions({"numpy": "1.20.3"})[0]
    ['numpy 1.20.3 (here ...)']
    """
    problems, notes = [], []
    for module, saved in sorted(versions.items()):
        here = _installed(module)
        if here is None:
            continue  # the error of its import says what is absent
        difference = f"{module} {saved} (here {here})"
        if _numbers(saved)[:1] != _numbers(here)[:1]:
            problems.append(difference)
        elif module in _DECIDING and _numbers(saved)[:2] != _numbers(here)[:2]:
            notes.append(difference)
    return problems, notes


def absent_packages(names: Sequence[str], versions: Mapping[str, str]) -> list[str]:
    """Return why a file cannot be loaded here, for each package that is not installed.

    Parameters
    ----------
    names : sequence of str
        Classes and functions that the file names.
    versions : mapping of str to str
        Version by module, from a manifest.

    Examples
    --------
    >>> from skfusion.persistence.manifest import absent_packages
    >>> absent_packages(["no_such_package.Net", "numpy.mean"], {})
    ['the package no_such_package is not installed here, which 1 of the classes ...']
    """
    roots = Counter(name.partition(".")[0] for name in names)
    return [
        f"the package {root}{f' {versions[root]}' if root in versions else ''} is not "
        f"installed here, which {n} of the classes and functions of the file are from."
        for root, n in sorted(roots.items())
        if not _is_importable(root)
    ]


def _is_importable(package: str) -> bool:
    try:
        return importlib.util.find_spec(package) is not None
    except ValueError:  # a module that was made without a file
        return sys.modules.get(package) is not None


#: Packages whose minor versions may change a prediction.
_DECIDING = ("lightgbm", "skfusion", "sklearn", "torch", "torchvision", "xgboost")


def _numbers(version: str) -> list[str]:
    return re.findall(r"\d+", version.partition("+")[0])
