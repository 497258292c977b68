"""Files that a command writes, checked before it reads or computes anything."""

from __future__ import annotations

import itertools
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from skfusion._dependencies import require

__all__ = ["check_no_input", "check_outputs"]


OUTPUTS = ("html", "json", "save")


def check_outputs(outputs: Mapping[str, Any], inputs: Mapping[str, Any]) -> None:
    """Check that the results can be written, before a long run starts.

    Parameters
    ----------
    outputs : mapping of str to object
        Files to write: ``"html"``, ``"json"`` and ``"save"``. Other keys are ignored.
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
        If the package that writes the report is not installed.
    """
    if outputs.get("html"):
        require("jinja2", "report")
    named = {f"--{key}": outputs[key] for key in OUTPUTS if outputs.get(key)}
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
    >>> from skfusion.cli.outputs import check_no_input
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
