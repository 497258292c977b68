"""A comparison as Markdown and as JSON, without predictions."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pandas as pd

import skfusion
from skfusion.evaluation.report import tables
from skfusion.evaluation.report.counts import (
    disclosed,
    shown_cohort,
    shown_settings,
    shown_sizes,
)
from skfusion.evaluation.report.methods import about, methods
from skfusion.evaluation.report.protocol import Comparison
from skfusion.evaluation.report.tables import Cell, Table
from skfusion.evaluation.statistics.disclosure import shown_counts

__all__ = ["as_json", "as_markdown"]


FRAMES = ("scores_", "differences_", "tests_", "chosen_")
SPECIAL = "\\`*_{}[]<>#|~"


def as_markdown(result: Comparison) -> str:
    """Return the verdict, the notes, the main tables and the methods as Markdown.

    Parameters
    ----------
    result : Comparison
        Comparison to write.

    Returns
    -------
    str
    """
    result = disclosed(result)
    verdict = result.verdict_
    parts = [f"## {_escaped(verdict.headline)}", _escaped(verdict.details)]
    if result.notes_:
        parts.append("\n".join(f"- {_escaped(note)}" for note in result.notes_))
    for heading, table in (
        ("Scores", tables.score_table(result, tuple(tables.ROLES))),
        ("Tests", tables.claim_table(result)),
        ("Scores by site", tables.site_table(result)),
        ("Differences", tables.difference_table(result)),
        ("What each modality adds to the others", tables.removal_table(result)),
        ("Calibration", tables.calibration_table(result)),
        ("Chosen parameters", tables.chosen_table(result)),
    ):
        if table is not None:
            parts += [f"### {heading}", _escaped(table.caption), _table(table)]
    parts += ["### Methods", _escaped(about(result))]
    parts += [f"**{title}.** {_escaped(text)}" for title, text in methods(result)]
    return "\n\n".join(parts) + "\n"


def _table(table: Table) -> str:
    headings = [_escaped(name) for name, _ in table.headings]
    rule = ["---:" if numeric else "---" for _, numeric in table.headings]
    lines = [headings, rule, *([_text(cell) for cell in row] for row in table.rows)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _text(cell: Cell) -> str:
    small = cell.small
    if small and not small.startswith("("):
        small = f"({small})"
    return _escaped(f"{cell.text} {small}".strip())


def _escaped(text: str) -> str:
    """Return text on one line, where no character has a meaning in Markdown."""
    one_line = " ".join(str(text).split())
    return "".join(f"\\{c}" if c in SPECIAL else c for c in one_line)


def as_json(result: Comparison) -> str:
    """Return the verdict, the tables and the settings as JSON.

    Parameters
    ----------
    result : Comparison
        Comparison to write.

    Returns
    -------
    str
    """
    result = disclosed(result)
    verdict = result.verdict_
    found: dict[str, Any] = {
        "skfusion": skfusion.__version__,
        "verdict": {
            "outcome": verdict.outcome,
            "headline": verdict.headline,
            "details": verdict.details,
        },
        "notes": list(result.notes_),
        "cohort": shown_cohort(result.cohort_),
        "settings": shown_settings(result.settings_),
        "strategies": _records(result.strategies_.reset_index()),
    }
    for name in FRAMES:
        found[name.removesuffix("_")] = _records(getattr(result, name))
    found["folds"] = _records(shown_sizes(result.folds_))
    if result.cohort_["task"] == "binary":
        calibration = _records(result.calibration())
        for record in calibration:
            record["n_clipped"] = shown_counts([record["n_clipped"]])[0]
        found["calibration"] = calibration
    return json.dumps(_plain(found), ensure_ascii=False, allow_nan=False, indent=1)


def _records(frame: pd.DataFrame) -> list[dict[Any, Any]]:
    return frame.to_dict("records")


def _plain(value: Any) -> Any:
    """Return a value of JSON, with None for numbers that are not finite."""
    if isinstance(value, dict):
        return {str(key): _plain(part) for key, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(part) for part in value]
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float):
        return value if np.isfinite(value) else None
    if value is None or isinstance(value, (bool, int, str)):
        return value
    return str(value)
