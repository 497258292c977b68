"""Files of models that ``skfusion compare`` fits after the comparison."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from skfusion._dependencies import require
from skfusion._validation import did_you_mean
from skfusion.cli.console import show
from skfusion.cli.problems import option

__all__ = ["check_strategies", "files_of_models", "write_models"]


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
    >>> from skfusion.cli.model_files import files_of_models
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


def check_strategies(files: Iterable[str], compared: Iterable[str]) -> None:
    """Check before a run that every model to save is of a strategy of the comparison.

    Parameters
    ----------
    files : iterable of str
        Strategies whose models are asked for.
    compared : iterable of str
        Strategies of the comparison, its single modalities among them.

    Raises
    ------
    ValueError
        If a strategy is not compared.

    Examples
    --------
    >>> from skfusion.cli.model_files import check_strategies
    >>> check_strategies(["early"], ["ehr in late", "late"])
    Traceback (most recent call last):
        ...
    ValueError: --save-model names 'early', which is not compared, expected one of ...
    """
    known = list(compared)
    for strategy in files:
        if strategy not in known:
            raise ValueError(
                f"--save-model names {strategy!r}, which is not compared, expected one "
                f"of {', '.join(map(repr, known))}.{did_you_mean(strategy, known)}"
            )


def write_models(
    result: Any, files: Mapping[str, str], *, embed_weights: bool = False
) -> None:
    """Fit strategies on all rows of a comparison, write them, and print what they are.

    Parameters
    ----------
    result : FusionComparison
        The comparison.
    files : mapping of str to path
        File of each model, by its strategy.
    embed_weights : bool, default=False
        Whether the files contain the weights of named networks.

    Raises
    ------
    ModelFileError
        If a part of a model has no form without pickle.
    OSError
        If a file cannot be written.
    """
    for strategy, file in files.items():
        model = result.final_estimator(strategy)
        about = require("skfusion.persistence", "persistence").save(
            model, file, embed_weights=embed_weights
        )
        show(f"\nModel {strategy}: {Path(file).resolve()}")
        n_rows = result.cohort_["n_rows"]
        show(
            f"It was fitted on all {n_rows:,} rows. No score of the comparison is "
            "about this fit."
        )
        show(_words_of_weights(about.encoders))
        if about.untrusted:
            show(f"skfusion predict needs {option('--trust', *about.untrusted)}")


def _words_of_weights(encoders: list[dict[str, Any]]) -> str:
    """Return whether the weights of the networks of a model are in its file."""
    if not encoders:
        return "It has no network whose weights another machine would need."
    absent = [one["name"] for one in encoders if not one.get("embedded")]
    if not absent:
        return "The weights of its networks are in the file."
    names = ", ".join(dict.fromkeys(absent))
    return (
        f"The weights of {names} are not in the file: a machine that predicts needs "
        "them, or use --embed-weights."
    )
