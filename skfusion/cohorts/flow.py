"""Flow charts of cohorts: who is left out, and why."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from skfusion._dependencies import require
from skfusion._figures.style import LABEL_SIZE, theme_of
from skfusion._figures.texts import plain_texts, wrap_sentence
from skfusion._validation import check_number
from skfusion.evaluation.statistics.disclosure import (
    MIN_CELL,
    WITHHELD,
    count_text,
    shown_counts,
)

__all__ = ["ATTRIBUTE", "FlowChart", "Step", "check_same_rows", "flow_chart"]


#: Key of the counts in the attributes of a table of cases.
ATTRIBUTE = "flow"
# Sizes of the figure in inches.
_WIDTH, _BOX, _ASIDE, _GAP, _LINE = 7.2, 3.0, 3.4, 0.28, 0.17
_PADDING, _EDGE = 0.12, 0.1
_NOT_SHOWN = "number withheld"
_REMEDY = (
    "Leave out rows where they are counted, e.g. by make_cases(..., exclude={'have no "
    "film in time': lambda c: link_images(c, films, ...)['image'].isna()}), or pass "
    "the whole table."
)


@dataclass(frozen=True)
class Step:
    """A box of a flow chart, and what is left out after it.

    Parameters
    ----------
    text : str
        What is counted, e.g. ``"hospital stays"``.
    n : int
        Number of rows.
    n_patients : int
        Number of their patients.
    left_out : mapping of str to int
        Reasons and numbers of rows of this box that the next one does not have.
    """

    text: str
    n: int
    n_patients: int
    left_out: Mapping[str, int]


@dataclass(frozen=True)
class FlowChart:
    """Numbers of cases and patients after each exclusion.

    Small counts are neither printed nor drawn. Use `flow_chart` to create one.

    Parameters
    ----------
    steps : sequence of Step
        The boxes from the source to the cases.
    parts : mapping of str to int
        Parts of the cases, such as those with the outcome and those with an image.
    min_cell : int, default=10
        Smallest count that is printed, except 0.

    Examples
    --------
    >>> from skfusion.cohorts import FlowChart
    >>> from skfusion.cohorts.flow import Step
    >>> print(FlowChart([Step("stays", 300, 200, {"are short": 40, "have no end": 3}),
    ...                  Step("cases", 257, 180, {})], {"died": 24}))
    FlowChart
      stays: 300 of 200 patients
        left out: are short (number withheld)
        left out: <10 have no end
      cases: 257 of 180 patients
        died: 24
    """

    __module__ = "skfusion.cohorts"

    steps: Sequence[Step]
    parts: Mapping[str, int]
    min_cell: int = MIN_CELL

    def __post_init__(self) -> None:
        check_number(self.min_cell, "min_cell", "FlowChart", low=1, integer=True)

    def to_frame(self) -> pd.DataFrame:
        """Return the counts as text, without those below `min_cell`.

        Returns
        -------
        DataFrame
            ``kind`` (``"box"``, ``"left out"`` or ``"part"``), ``what``, ``n`` and
            ``n_patients``. A count is ``"<10"`` if it is small, and ``"withheld"`` if a
            small one would follow from it.
        """
        columns = ["kind", "what", "n", "n_patients"]
        return pd.DataFrame(self._rows(), columns=columns)

    def _rows(self) -> list[tuple[str, str, str, str]]:
        rows = []
        for step, (n, n_patients, left_out) in zip(
            self.steps, self._shown(), strict=True
        ):
            rows.append(("box", step.text, n, n_patients))
            rows += [("left out", text, count, "") for text, count in left_out.items()]
        if self.steps:
            total = self.steps[-1].n
            for text, size in self.parts.items():
                part = count_text(size, total, self.min_cell)
                rows.append(("part", text, part, ""))
        return rows

    def _shown(self) -> list[tuple[str, str, dict[str, str]]]:
        """Return the counts of each box as text, from which no small one follows.

        The last box is always shown, since the number of cases is in every other table.
        If a reason hides a small count that would follow from the boxes before it and
        after it, the boxes before it are withheld.
        """
        found: list[tuple[str, str, dict[str, str]]] = []
        is_open = True
        for place in range(len(self.steps) - 1, -1, -1):
            step = self.steps[place]
            counts = list(step.left_out.values())
            shown: list[int | str] = list(counts)
            if place + 1 < len(self.steps):
                after = self.steps[place + 1].n
                *shown, rest = shown_counts([*counts, after], self.min_cell)
                is_open = is_open and rest == after
                if rest != after:  # only the box is withheld, not the reasons
                    shown = [
                        f"<{self.min_cell}" if 0 < n < self.min_cell else n
                        for n in counts
                    ]
            n = count_text(step.n, min_cell=self.min_cell) if is_open else WITHHELD
            patients = count_text(step.n_patients, min_cell=self.min_cell)
            texts = [f"{one:,}" if isinstance(one, int) else one for one in shown]
            left_out = dict(zip(step.left_out, texts, strict=True))
            found.append((n, patients if is_open else WITHHELD, left_out))
        return found[::-1]

    def __str__(self) -> str:
        lines = ["FlowChart"]
        for kind, what, n, n_patients in self._rows():
            if kind == "box":
                lines.append(f"  {what}: {_of_patients(n, n_patients)}")
            elif kind == "left out":
                lines.append(f"    left out: {_counted(n, what)}")
            else:
                lines.append(f"    {what}: {n}")
        return "\n".join(lines)

    __repr__ = __str__

    def _repr_html_(self) -> str:
        return self.to_frame().to_html(index=False)

    def plot(self, ax: Any = None) -> Any:
        """Draw the chart, with a note on counts that are not shown.

        Parameters
        ----------
        ax : matplotlib Axes or None, default=None
            Axes to draw on. None creates a new figure with the right height.

        Returns
        -------
        matplotlib Axes

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        """
        pyplot = require("matplotlib.pyplot", "report")
        boxes = self._boxes()
        note = _wrapped(self._note(), _WIDTH)
        height = sum(_height(box, aside) for box, aside in boxes)
        height += _lines(note) * _LINE if note else 0
        if ax is None:
            # One unit of the axes is an inch, to which texts are wrapped.
            figure = pyplot.figure(figsize=(_WIDTH + 2 * _EDGE, height + 2 * _EDGE))
            ax = figure.add_axes((0, 0, 1, 1))
        ax.set_xlim(-_EDGE, _WIDTH + _EDGE)
        ax.set_ylim(height + _EDGE, -_EDGE)
        ax.set_axis_off()
        top, last = 0.0, None
        for box, aside in boxes:
            bottom = top + _lines(box) * _LINE + 2 * _PADDING
            if last is not None:
                self._arrow(ax, (_BOX / 2, last), (_BOX / 2, top))
            self._box(ax, 0, top, _BOX, box)
            last = bottom
            if aside:
                middle = bottom + _GAP / 2
                size = _lines(aside) * _LINE + 2 * _PADDING
                place = middle + size / 2
                left = _WIDTH - _ASIDE
                self._box(ax, left, middle, _ASIDE, aside)
                self._arrow(ax, (_BOX / 2, place), (left, place))
            top += _height(box, aside)
        if note:
            ax.text(
                0,
                top,
                note,
                va="top",
                ha="left",
                fontsize=LABEL_SIZE,
                color=theme_of(ax).secondary,
                linespacing=1.25,
            )
        plain_texts(ax)
        return ax

    def _note(self) -> str:
        """Return what the counts mean that are no numbers, empty without any."""
        shown = {count for row in self._rows() for count in row[2:]}
        low, notes = self.min_cell, []
        if any(count.startswith("<") for count in shown):
            notes.append(f"<{low}: from 1 to {low - 1}.")
        if any(count.startswith(">") for count in shown):
            notes.append(f">: all but 1 to {low - 1} cases.")
        if WITHHELD in shown:
            notes.append(f"Number withheld: a number below {low} would follow from it.")
        return " ".join(notes)

    def _boxes(self) -> list[tuple[str, str]]:
        """Return the text of each box, and of what is left out after it."""
        boxes: list[list[str]] = []
        for kind, what, n, n_patients in self._rows():
            if kind == "box":
                head = f"{what}\n{_of_patients(n, n_patients)}"
                boxes.append([_wrapped(head, _BOX), ""])
            elif kind == "part":
                boxes[-1][0] += "\n" + _wrapped(f"{what}: {n}", _BOX)
            else:
                start = boxes[-1][1] + "\n" if boxes[-1][1] else "left out\n"
                boxes[-1][1] = start + _wrapped(_counted(n, what), _ASIDE)
        return [(box, aside) for box, aside in boxes]

    @staticmethod
    def _box(ax: Any, left: float, top: float, width: float, text: str) -> None:
        from matplotlib.patches import Rectangle

        theme = theme_of(ax)
        height = _lines(text) * _LINE + 2 * _PADDING
        ax.add_patch(
            Rectangle(
                (left, top),
                width,
                height,
                facecolor=theme.surface,
                edgecolor=theme.secondary,
                linewidth=1,
            )
        )
        ax.text(
            left + _PADDING,
            top + height / 2,
            text,
            va="center",
            ha="left",
            fontsize=LABEL_SIZE,
            color=theme.ink,
            linespacing=1.25,
        )

    @staticmethod
    def _arrow(ax: Any, start: tuple[float, float], end: tuple[float, float]) -> None:
        theme = theme_of(ax)
        ax.annotate(
            "",
            end,
            xytext=start,
            arrowprops={
                "arrowstyle": "-|>",
                "color": theme.secondary,
                "shrinkA": 0,
                "shrinkB": 0,
            },
        )


def _of_patients(n: str, n_patients: str) -> str:
    return _NOT_SHOWN if n == WITHHELD else f"{n} of {n_patients} patients"


def _counted(n: str, what: str) -> str:
    return f"{what} ({_NOT_SHOWN})" if n == WITHHELD else f"{n} {what}"


def _wrapped(text: str, width: float) -> str:
    inside = width - 2 * _PADDING
    return "\n".join(wrap_sentence(part, inside) for part in text.split("\n"))


def _lines(text: str) -> int:
    return text.count("\n") + 1


def _height(box: str, aside: str) -> float:
    """Return the height of a box with its gap, in which the reasons are."""
    gap = _GAP
    if aside:
        gap += _lines(aside) * _LINE + 2 * _PADDING
    return _lines(box) * _LINE + 2 * _PADDING + gap


def flow_chart(cases: Any, *, min_cell: int = MIN_CELL) -> FlowChart:
    """Return the flow chart of a table that `make_cases` returned.

    Parameters
    ----------
    cases : DataFrame
        The table, also after `link_images`. Its attributes, `DataFrame.attrs`, hold the
        counts.
    min_cell : int, default=10
        Smallest count that is printed, except 0.

    Returns
    -------
    FlowChart

    Raises
    ------
    ValueError
        If the table was not made by `make_cases`, has lost its attributes in a merge,
        or does not have the rows that were counted. Leave out rows with ``exclude`` of
        `make_cases`, which counts them. Another order and further columns are fine.

    Examples
    --------
    >>> import pandas as pd
    >>> from skfusion.cohorts import flow_chart, make_cases
    >>> start = pd.date_range("2024-03-01", periods=40)
    >>> stays = pd.DataFrame({
    ...     "stay_id": range(40), "subject_id": range(40), "start": start,
    ...     "end": start + pd.to_timedelta([20] * 15 + [60] * 25, "h"), "died": False})
    >>> print(flow_chart(make_cases(stays, after="24h", outcome=None)))
    FlowChart
      hospital stays: 40 of 40 patients
        left out: 15 ended before the index time
      cases: 25 of 25 patients
    """
    known = getattr(cases, "attrs", {}).get(ATTRIBUTE)
    if not known:
        raise ValueError(
            "flow_chart: got a table without counts of exclusions. Pass the table that "
            "make_cases returned, before a merge that drops its attributes."
        )
    steps = [Step(**step) for step in known["steps"]]
    check_same_rows(steps[-1].n, len(cases), "flow_chart", "chart", _REMEDY)
    if "subject_id" in cases:
        n_patients = cases["subject_id"].nunique()
        if n_patients != steps[-1].n_patients:
            raise ValueError(
                f"flow_chart: this table has {n_patients} patients, the chart counts "
                f"{steps[-1].n_patients}, since rows were changed after the count. "
                f"{_REMEDY}"
            )
    return FlowChart(steps, known["parts"], min_cell)


def check_same_rows(
    n_counted: int, n_rows: int, owner: str, what: str, remedy: str
) -> None:
    """Compare the number of rows of a table with the one that its attributes count.

    Raises
    ------
    ValueError
        If they differ, because pandas copies the attributes to every part of a table.
    """
    if n_counted != n_rows:
        raise ValueError(
            f"{owner}: this table has {n_rows} rows, the {what} counts {n_counted}, "
            f"since rows were added or left out after the count. {remedy}"
        )
