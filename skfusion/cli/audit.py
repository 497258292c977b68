"""Command ``skfusion audit``: leakage in a cohort table."""

from __future__ import annotations

import argparse

from skfusion.cli.cohort import read_cohort
from skfusion.cli.console import progress_level, show, write_json
from skfusion.cli.problems import failures_of_the_run
from skfusion.cli.settings import check_outputs, read_settings
from skfusion.evaluation import audit_cohort

__all__ = ["run"]


def run(arguments: argparse.Namespace) -> None:
    """Search all columns of the table for leakage, and print the findings.

    Parameters
    ----------
    arguments : Namespace
        Options of the command line.

    Raises
    ------
    ProblemsError
        If the table or a setting has a problem.
    """
    settings = read_settings(arguments)
    read = {**settings, "config": arguments.config}
    check_outputs({"json": settings.get("json")}, read)
    cohort = read_cohort(settings, asks_for_groups=False)
    cohort.check()
    with failures_of_the_run():
        found = audit_cohort(
            cohort.whole(),
            cohort.y,
            groups=cohort.groups,
            cv=settings.get("cv"),
            modalities=cohort.modalities,
            sites=settings.get("sites"),
            index_time=settings.get("index_time"),
            task=settings.get("task", "auto"),
            pos_label=cohort.class_of(settings.get("pos_label")),
            random_state=settings.get("random_state", 0),
            verbose=progress_level(),
        )
        show(str(found))
        write_json(settings.get("json"), found.to_dict())
