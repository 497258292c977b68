"""Command ``skfusion advise``: an order of attempts for a cohort table."""

from __future__ import annotations

import argparse

from skfusion.cli.cohort import read_cohort
from skfusion.cli.console import show, write_json
from skfusion.cli.problems import failures_of_the_run
from skfusion.cli.settings import check_outputs, read_settings
from skfusion.evaluation import advise, describe_cohort

__all__ = ["run"]


def run(arguments: argparse.Namespace) -> None:
    """Describe the cohort, and print in which order to try strategies.

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
    cohort = read_cohort(settings)
    cohort.check(lambda: cohort.check_several())
    how = {
        "groups": cohort.groups,
        "task": settings.get("task", "auto"),
        "pos_label": cohort.class_of(settings.get("pos_label")),
        "random_state": settings.get("random_state", 0),
    }
    with failures_of_the_run():
        described = describe_cohort(cohort.modalities, cohort.X, cohort.y, **how)
        advice = advise(cohort.modalities, cohort.X, cohort.y, **how)
        show(f"{described}\n\n{advice}")
        content = {"description": described.to_dict(), "advice": advice.to_dict()}
        write_json(settings.get("json"), content)
