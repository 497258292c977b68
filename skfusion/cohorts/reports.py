"""Report of `link_images`: cases without an image, and images without a case."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from skfusion._validation import check_number, did_you_mean
from skfusion.cohorts.flow import check_same_rows
from skfusion.evaluation.statistics.disclosure import (
    MIN_CELL,
    count_text,
    shown_counts,
)

__all__ = ["ATTRIBUTE", "CASES", "IMAGES", "LinkReport", "link_report"]


#: Key of the counts in the attributes of a linked table.
ATTRIBUTE = "links"
#: Parts of the cases, which add up to all cases.
CASES = {
    "linked": "with an image",
    "no_key": "without a patient or an index time",
    "no_image": "whose patient has no image",
    "unknown_time": "whose images have no known time",
    "too_late": "whose images are all at or after the index time",
    "too_early": "whose images are all before the window",
    "not_selected": "of which select chose no image",
}
#: Parts of the images, which add up to all images.
IMAGES = {
    "of_cases": "of a patient with a case",
    "of_others": "of patients without a case",
    "no_patient": "without a patient",
    "no_path": "without a path",
    "no_time": "without a known time",
    "repeated": "listed twice",
}
# Further counts of cases, of which one case can be in several.
_ALSO = {
    "several": "with several images before the index time",
    "several_studies": "with images of several studies before the index time",
    "near_before": "with an image within {near} before the index time",
    "near_after": "with an image within {near} after the index time",
}
_ASSUMED = "assumed available at acquisition"


@dataclass(frozen=True)
class LinkReport:
    """Counts of the cases and images of a linked table.

    Small counts are not printed, see `to_frame`. Use `link_report` to create one.

    Parameters
    ----------
    cases : mapping of str to int
        Cases with an image, and those without by the reason.
    images : mapping of str to int
        Images of patients with a case, and those that were not used by the reason.
    also : mapping of str to int or None
        Cases with several images or studies, and near the border. None is not known.
    shared : int
        Number of paths that are listed for several patients.
    near : str
        Distance from the index time that counts as near.
    min_cell : int, default=10
        Smallest count that is printed, except 0.
    assumed : int, default=0
        Number of images of which the availability is not known.
    delay : str, default="0"
        Time after their acquisition at which these are assumed to be available.

    Examples
    --------
    >>> import pandas as pd
    >>> from skfusion.cohorts import link_images, link_report
    >>> cases = pd.DataFrame({"patient": [7, 9],
    ...                       "index_time": pd.to_datetime(["2024-03-02 06:00"] * 2)})
    >>> images = pd.DataFrame({
    ...     "patient": [7], "path": ["7.dcm"],
    ...     "available": pd.to_datetime(["2024-03-01 08:00"])})
    >>> linked = link_images(cases, images, on="patient", index_time="index_time")
    >>> link_report(linked).cases["linked"]
    1
    """

    __module__ = "skfusion.cohorts"

    cases: Mapping[str, int]
    images: Mapping[str, int]
    also: Mapping[str, int | None]
    shared: int
    near: str
    min_cell: int = MIN_CELL
    assumed: int = 0
    delay: str = "0"

    def __post_init__(self) -> None:
        check_number(self.min_cell, "min_cell", "LinkReport", low=1, integer=True)

    def to_frame(self) -> pd.DataFrame:
        """Return the counts as text, without those below `min_cell`.

        Returns
        -------
        DataFrame
            ``of`` (cases or images), ``what`` and ``count``, which is ``"<10"`` for
            small counts, and ``"withheld"`` where a small one would follow from the
            others.
        """
        return pd.DataFrame(self._rows(), columns=["of", "what", "count"])

    def _rows(self) -> list[tuple[str, str, str]]:
        rows: list[tuple[str, str, str]] = []
        for kind, words, counts in (
            ("cases", CASES, self.cases),
            ("images", IMAGES, self.images),
        ):
            total = sum(counts.values())
            shown = shown_counts([counts[key] for key in words], self.min_cell)
            rows.append((kind, "all", count_text(total, min_cell=self.min_cell)))
            for text, count in zip(words.values(), shown, strict=True):
                rows.append((kind, text, _text(count)))
        total = sum(self.cases.values())
        for key, text in _ALSO.items():
            n = self.also[key]
            count = "unknown" if n is None else count_text(n, total, self.min_cell)
            rows.append(("cases", text.format(near=self.near), count))
        shared = count_text(self.shared, min_cell=self.min_cell)
        rows.append(("images", "paths that several patients have", shared))
        total = sum(self.images.values())
        assumed = count_text(self.assumed, total, self.min_cell)
        text = _ASSUMED if self.delay == "0" else f"{_ASSUMED} + {self.delay}"
        rows.append(("images", text, assumed))
        return rows

    def __str__(self) -> str:
        shown = [
            (of, what, count)
            for of, what, count in self._rows()
            if count not in ("0", "unknown") or what == "all"
        ]
        width = max(len(what) for _, what, _ in shown)
        last = max(len(count) for *_, count in shown)
        lines = [f"  {of:<6}  {what:<{width}}  {n:>{last}}" for of, what, n in shown]
        return "\n".join(["LinkReport", *lines])

    __repr__ = __str__

    def _repr_html_(self) -> str:
        return self.to_frame().to_html(index=False)


def _text(count: int | str) -> str:
    return f"{count:,}" if isinstance(count, int) else count


def link_report(
    linked: Any, column: str | None = None, *, min_cell: int = MIN_CELL
) -> LinkReport:
    """Return the report of a table that `link_images` returned.

    Parameters
    ----------
    linked : DataFrame
        The table. Its attributes, `DataFrame.attrs`, hold the counts.
    column : str or None, default=None
        Column of images, if several were linked. None is the only one.
    min_cell : int, default=10
        Smallest count that is printed, except 0.

    Returns
    -------
    LinkReport

    Raises
    ------
    ValueError
        If the table was not made by `link_images`, has lost its attributes in a merge,
        has no such column of images, or does not have the rows that were counted.

    Examples
    --------
    >>> import pandas as pd
    >>> from skfusion.cohorts import link_images, link_report
    >>> times = pd.to_datetime(["2024-03-02 06:00"] * 40)
    >>> cases = pd.DataFrame({"patient": range(40), "index_time": times})
    >>> images = pd.DataFrame({
    ...     "patient": range(25), "path": [f"{i}.dcm" for i in range(25)],
    ...     "available": times[:25] - pd.Timedelta("3h")})
    >>> linked = link_images(cases, images, on="patient", index_time="index_time")
    >>> print(link_report(linked))
    LinkReport
      cases   all                         40
      cases   with an image               25
      cases   whose patient has no image  15
      images  all                         25
      images  of a patient with a case    25
    """
    known = getattr(linked, "attrs", {}).get(ATTRIBUTE) or {}
    if not known:
        raise ValueError(
            "link_report: got a table without counts of links. Pass the table that "
            "link_images returned, before a merge that drops its attributes."
        )
    if column is None and len(known) > 1:
        raise ValueError(
            f"link_report: got a table with the linked columns {list(known)}. Set "
            "column to one of them."
        )
    name = next(iter(known)) if column is None else column
    if name not in known:
        raise ValueError(
            f"link_report: got no links of the column {name!r}."
            f"{did_you_mean(name, list(known))} Linked columns are {list(known)}."
        )
    found = LinkReport(**known[name], min_cell=min_cell)
    check_same_rows(
        sum(found.cases.values()),
        len(linked),
        "link_report",
        "report",
        "Pass the whole table that link_images returned, or link the images to the "
        "cases that remain.",
    )
    return found
