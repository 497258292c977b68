"""Settings of a command: its options, a TOML file, and the files that it writes."""

from __future__ import annotations

import argparse
import itertools
import os
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from skfusion._dependencies import require
from skfusion._validation import did_you_mean
from skfusion.cli.parser import CHOICES
from skfusion.cli.problems import Problem, ProblemsError

__all__ = [
    "COMPARE_KEYS",
    "TABLE_KEYS",
    "check_no_input",
    "check_outputs",
    "engine_asked_for",
    "files_of_models",
    "read_settings",
]


# Kinds of values in the file, by key. Keys are parameters of `compare_fusion`, and
# options of the command line on the table and the output.
TEXT, TEXTS, WHOLE, NUMBER, FLAG, TABLE, ANY = (
    *("text", "a list of text", "a whole number", "a number", "true or false"),
    *("a table", "text or a number"),
)
REPEATS = "a whole number, 'auto', or a table of numbers by strategy"
MODELS = "a table of files by strategy"
COMPARE_KEYS = {
    "groups": TEXT,
    "cv": WHOLE,
    "n_repeats": REPEATS,
    "test": ANY,
    "sites": TEXT,
    "time": TEXT,
    "scoring": TEXTS,
    "strategies": TEXTS,
    "baselines": TEXT,
    "search": TABLE,
    "primary": TEXT,
    "smallest_gain": NUMBER,
    "margin": NUMBER,
    "quick": FLAG,
    "task": TEXT,
    "pos_label": ANY,
    "description": TEXT,
    "checkpoint": TEXT,
    "random_state": WHOLE,
    "n_jobs": WHOLE,
}
TABLE_KEYS = {
    "table": TEXT,
    "target": TEXT,
    "image": TEXTS,
    "ehr": TEXTS,
    "drop": TEXTS,
    "categories": TEXTS,
    "index_time": TEXT,
    "encoding": TEXT,
    "separator": TEXT,
    "decimal": TEXT,
    "sheet": TEXT,
    "independent_rows": FLAG,
    "infinite": TEXT,
    "text_numbers": TEXT,
    "dates": TEXT,
    "missing_images": TEXT,
    "unreadable_images": TEXT,
    "missing_outcome": TEXT,
    "outcome_case": TEXT,
    "missing_groups": TEXT,
    "id_case": TEXT,
    "skip_lines": WHOLE,
    "duplicate_columns": TEXT,
    "bad_lines": TEXT,
    "engine": TEXT,
}
OUTPUT_KEYS = {"html": TEXT, "json": TEXT, "save": TEXT}
MODEL_KEYS = {"save_model": MODELS, "embed_weights": FLAG}
KEYS = {**TABLE_KEYS, **COMPARE_KEYS, **OUTPUT_KEYS, **MODEL_KEYS}
MODALITY_KEYS = {"columns": ANY, "encoder": TEXT, "params": TABLE}
_TYPES: dict[str, tuple[type, ...]] = {
    TEXT: (str,),
    TEXTS: (str, list),
    WHOLE: (int,),
    NUMBER: (int, float),
    FLAG: (bool,),
    TABLE: (dict,),
}


def read_settings(
    arguments: argparse.Namespace, *, required: Iterable[str] = ("table", "target")
) -> dict[str, Any]:
    """Combine the options of a command with its TOML file.

    Parameters
    ----------
    arguments : Namespace
        Options of the command line, None where they were not given.
    required : iterable of str, default=("table", "target")
        Settings without which the command cannot run.

    Returns
    -------
    dict of str to object
        The setting of each key that was given. ``"modalities"`` is a dict of the
        tables of the file.

    Raises
    ------
    ProblemsError
        If the file has an unknown key or a value of another kind.
    FileNotFoundError
        If the file does not exist.
    ValueError
        If the file is not TOML, or there is no table or no outcome.

    Examples
    --------
    >>> from argparse import Namespace
    >>> from skfusion.cli.settings import read_settings
    >>> given = Namespace(table="cohort.csv", target="sick", cv=None, config=None)
    >>> read_settings(given)
    {'table': 'cohort.csv', 'target': 'sick'}
    """
    given = {
        key: value
        for key, value in vars(arguments).items()
        if key in KEYS and value is not None
    }
    from_file = _read_file(arguments.config) if arguments.config else {}
    if "modalities" in from_file and {"image", "ehr"} & set(given):
        del from_file["modalities"]  # options override the file
    if "engine" in given:
        for about in from_file.get("modalities", {}).values():
            about.get("params", {}).pop("engine", None)
    settings = {**from_file, **given}
    words = {"table": "a table", "target": "--target COLUMN"}
    for key in required:
        if key not in settings:
            where = "on the command line or in a --config FILE"
            raise ValueError(f"give {words[key]}, {where}")
    return settings


def engine_asked_for(
    settings: Mapping[str, Any], params: Mapping[str, Any]
) -> str | None:
    """Return the engine that the settings name for a modality, None for ``"auto"``.

    Parameters
    ----------
    settings : mapping of str to object
        Settings of the command.
    params : mapping of str to object
        Parameters of the modality in the file of settings, which come first.

    Returns
    -------
    str or None

    Examples
    --------
    >>> from skfusion.cli.settings import engine_asked_for
    >>> engine_asked_for({"engine": "torch"}, {"engine": "openvino"})
    'openvino'
    >>> engine_asked_for({"engine": "auto"}, {}) is None
    True
    """
    engine = params.get("engine", settings.get("engine", "auto"))
    return None if engine == "auto" else engine


def _read_file(path: str) -> dict[str, Any]:
    place = Path(path)
    if not place.is_file():
        raise FileNotFoundError(f"--config: file {path!r} does not exist")
    try:
        content = tomllib.loads(place.read_bytes().decode("utf-8-sig"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"--config: {place.name} is not TOML: {error}") from error
    problems = _problems_of(content)
    if problems:
        raise ProblemsError(problems, f"the file {place.name}")
    for key, kind in KEYS.items():
        if kind == TEXTS and isinstance(content.get(key), str):
            content[key] = [content[key]]
    if "table" in content:  # the file and its table lie side by side
        content["table"] = os.path.join(place.parent, content["table"])
    return content


def _problems_of(content: Mapping[str, Any]) -> list[Problem]:
    known = {**KEYS, "modalities": TABLE}
    problems = _unknown(content, known, "")
    for key, value in content.items():
        if key in known and not _fits(value, known[key]):
            kind = type(value).__name__
            problems.append(Problem(f"{key}: expected {known[key]}, got {kind}"))
        elif key in CHOICES and value not in CHOICES[key]:
            words = " or ".join(map(repr, CHOICES[key]))
            problems.append(Problem(f"{key}: expected {words}, got {value!r}"))
    modalities = content.get("modalities")
    for name, table in modalities.items() if isinstance(modalities, dict) else ():
        where = f"[modalities.{name}]"
        if not isinstance(table, dict):
            problems.append(Problem(f"{where}: expected a table with columns"))
            continue
        problems += _unknown(table, MODALITY_KEYS, f"{where} ")
        if not _are_columns(table.get("columns")):
            problems.append(
                Problem(f"{where}: columns must be a name or a list of names")
            )
        for key in ("encoder", "params"):
            if key in table and not _fits(table[key], MODALITY_KEYS[key]):
                text = f"{where} {key}: expected {MODALITY_KEYS[key]}"
                problems.append(Problem(text))
    if modalities and {"image", "ehr"} & set(content):
        problems.append(Problem("give either [modalities] or image and ehr, not both"))
    return problems


def _unknown(
    table: Mapping[str, Any], known: Mapping[str, Any], where: str
) -> list[Problem]:
    return [
        Problem(f"{where}{key}: there is no such key.{did_you_mean(key, list(known))}")
        for key in table
        if key not in known
    ]


def _fits(value: Any, kind: str) -> bool:
    if kind == REPEATS and isinstance(value, dict):
        return all(_fits(number, WHOLE) for number in value.values())
    if kind == MODELS:
        return isinstance(value, dict) and all(_fits(v, TEXT) for v in value.values())
    if kind in (ANY, REPEATS):
        return isinstance(value, str | int | float) and not isinstance(value, bool)
    if isinstance(value, bool) and kind != FLAG:
        return False
    if kind == TEXTS and isinstance(value, list):
        return all(isinstance(part, str) for part in value)
    return isinstance(value, _TYPES[kind])


def _are_columns(value: Any) -> bool:
    parts = value if isinstance(value, list) else [value]
    return len(parts) > 0 and all(isinstance(part, str) for part in parts)


# -- files that are written ------------------------------------------------------------


def check_outputs(outputs: Mapping[str, Any], inputs: Mapping[str, Any]) -> None:
    """Check that the results can be written, before a long run starts.

    Parameters
    ----------
    outputs : mapping of str to object
        Files to write: ``"html"``, ``"json"``, ``"save"``, and the files by strategy of
        ``"save_model"``. Other keys are ignored.
    inputs : mapping of str to object
        Settings of the command, which name the files that it reads: ``"table"``,
        ``"config"``, and ``"weights"`` of ``"modalities"``.

    Raises
    ------
    ValueError
        If a file is one that the command reads, or two results have one file.
    OSError
        If a file or its folder cannot be written.
    ImportError
        If the package that writes the report or a model is not installed.
    """
    named = _files_by_option(outputs)
    for option, name in named.items():
        path = Path(name)
        folder = path.resolve().parent
        if path.is_dir():
            raise IsADirectoryError(f"{option}: {name!r} is a folder, expected a file")
        if not folder.is_dir():
            raise FileNotFoundError(f"{option}: the folder of {name!r} does not exist")
        if not os.access(path if path.exists() else folder, os.W_OK):
            raise PermissionError(f"{option}: {name!r} is not writable")
    read = {"the table": inputs.get("table"), "--config": inputs.get("config")}
    for name, about in (inputs.get("modalities") or {}).items():
        read[f"weights of {name}"] = (about.get("params") or {}).get("weights")
    check_no_input(named, read)
    for (first, one), (second, other) in itertools.combinations(named.items(), 2):
        if _is_same(one, other):
            raise ValueError(f"{first} and {second} are the same file, expected two")


def files_of_models(value: Any) -> dict[str, str]:
    """Return the file of each model to save, by its strategy.

    Parameters
    ----------
    value : dict of str to str, list of (str, str) or None
        Setting ``save_model``: a table of the file of settings, or the values of the
        repeated option.

    Returns
    -------
    dict of str to str

    Raises
    ------
    ValueError
        If a strategy is named twice.

    Examples
    --------
    >>> from skfusion.cli.settings import files_of_models
    >>> files_of_models([["late", "late.skfusion"], ["early", "early.skfusion"]])
    {'late': 'late.skfusion', 'early': 'early.skfusion'}
    """
    if isinstance(value, Mapping):
        return dict(value)
    files: dict[str, str] = {}
    for strategy, file in value or ():
        if strategy in files:
            raise ValueError(
                f"--save-model names the strategy {strategy!r} twice, expected one "
                "file per strategy"
            )
        files[strategy] = file
    return files


def _files_by_option(outputs: Mapping[str, Any]) -> dict[str, str]:
    """Return the files to write, after a check that the packages for them are there."""
    if outputs.get("html"):
        require("jinja2", "report")
    models = files_of_models(outputs.get("save_model"))
    if models:
        require("skops", "persistence")
        require("safetensors", "persistence")
    elif outputs.get("embed_weights"):
        raise ValueError("--embed-weights needs a model to save, --save-model")
    results = {f"--{key}": outputs[key] for key in OUTPUT_KEYS if outputs.get(key)}
    return results | {f"--save-model {key}": file for key, file in models.items()}


def check_no_input(outputs: Mapping[str, Any], inputs: Mapping[str, Any]) -> None:
    """Check that no result replaces a file that is read, also by another name of it.

    Parameters
    ----------
    outputs : mapping of str to path
        Files to write, by their option.
    inputs : mapping of str to path or None
        Files to read, by what they are.

    Raises
    ------
    ValueError
        If a file to write is one to read, also through a link.

    Examples
    --------
    >>> from skfusion.cli.settings import check_no_input
    >>> check_no_input({"--out": "cases.csv"}, {"the table": "./cases.csv"})
    Traceback (most recent call last):
        ...
    ValueError: --out is the file of the table, which it would replace. Name another ...
    """
    for option, result in outputs.items():
        for what, given in inputs.items():
            if isinstance(given, str | os.PathLike) and _is_same(result, given):
                raise ValueError(
                    f"{option} is the file of {what}, which it would replace. Name "
                    "another file."
                )


def _is_same(one: Any, other: Any) -> bool:
    """Return whether two paths name one file, also if it does not exist yet."""
    try:
        if os.path.samefile(one, other):
            return os.path.isfile(one)  # a device may be both
    except (OSError, ValueError):
        pass
    folded = [os.path.normcase(os.path.realpath(path)) for path in (one, other)]
    return folded[0] == folded[1] and not os.path.exists(one)
