"""Problems of a table or of a command, collected before anything is computed."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

__all__ = [
    "USER_ERRORS",
    "Problem",
    "ProblemsError",
    "RunError",
    "failures_of_the_run",
    "option",
]


# Errors with a message for the user. All others are reported as program errors.
USER_ERRORS = (ValueError, TypeError, OSError, ImportError)


@dataclass(frozen=True)
class Problem:
    """Something that stops a run, with the option that settles it.

    Attributes
    ----------
    text : str
        What was found, with the column and the count. It has no values of cells.
    remedy : str
        Options that settle it, as typed on the command line. ``""`` if none does.
    other : str
        What else can be done.
    """

    text: str
    remedy: str = ""
    other: str = ""

    def lines(self, number: int) -> list[str]:
        """Return the problem as numbered lines of text."""
        ways = [way for way in (self.remedy, self.other) if way]
        lines = [f"{number:>3}. {self.text}"]
        return [*lines, f"     Settled by: {', or '.join(ways)}"] if ways else lines


def option(name: str, *values: str) -> str:
    """Return an option in the spelling of a shell.

    Examples
    --------
    >>> from skfusion.cli.problems import option
    >>> option("--drop", "date of birth")
    "--drop 'date of birth'"
    """
    return " ".join([name, *map(shlex.quote, values)])


class ProblemsError(ValueError):
    """All problems of a table or of a command.

    Parameters
    ----------
    problems : sequence of Problem
        The problems, at least one.
    where : str
        What has them, such as the name of the table.

    Examples
    --------
    >>> from skfusion.cli.problems import Problem, ProblemsError
    >>> found = Problem("column 'crp': 2 cells are infinite", "--infinite as-missing")
    >>> print(ProblemsError([found], "cohort.csv"))
    1 problem in cohort.csv, nothing was computed
      1. column 'crp': 2 cells are infinite
         Settled by: --infinite as-missing
    Run the same command with: --infinite as-missing
    """

    def __init__(self, problems: Sequence[Problem], where: str) -> None:
        self.problems = list(problems)
        self.where = where
        super().__init__(self._text())

    def _text(self) -> str:
        n = len(self.problems)
        plural = "s" * (n > 1)
        lines = [f"{n} problem{plural} in {self.where}, nothing was computed"]
        for number, problem in enumerate(self.problems, 1):
            lines += problem.lines(number)
        remedies = dict.fromkeys(p.remedy for p in self.problems if p.remedy)
        left = [str(i) for i, p in enumerate(self.problems, 1) if not p.remedy]
        if remedies:
            also = f", after correcting {', '.join(left)}" if left else ""
            lines.append(f"Run the same command with: {' '.join(remedies)}{also}")
        return "\n".join(lines)


class RunError(RuntimeError):
    """Error of a run whose table and settings were found to be right."""


@contextmanager
def failures_of_the_run() -> Iterator[None]:
    """Mark errors with a message for the user as failures of the run.

    Raises
    ------
    RunError
        In place of such an error.
    """
    try:
        yield
    except USER_ERRORS as error:
        raise RunError(str(error)) from error
