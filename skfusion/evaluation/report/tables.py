"""Tables of a comparison as text, for the page and for Markdown."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from skfusion.evaluation.metrics import Metric, format_p
from skfusion.evaluation.report.counts import as_text, shown_cohort, shown_sizes
from skfusion.evaluation.report.protocol import Comparison, signed, with_limits
from skfusion.evaluation.statistics.disclosure import count_text
from skfusion.evaluation.statistics.multiplicity import holm_adjust

__all__ = [
    "Cell",
    "Table",
    "calibration_table",
    "chosen_table",
    "claim_table",
    "difference_table",
    "estimator_table",
    "fold_table",
    "modality_table",
    "removal_table",
    "repetition_table",
    "score_table",
    "site_table",
]


MOST_COLUMNS = 12
DASH = "\N{EN DASH}"
# Widths below which a table scrolls, in rem. The page has 68.
WIDTHS = (30, 45, 60, 80, 110, 160)
ROLES = {
    "fusion": "fusion",
    "single": "single modality",
    "without": "fusion without a modality",
}
OUTCOMES = {
    "helps": "above each single modality",
    "unmatched": "above its own single modalities, but not above the best of all",
    "worse": "worse than a single modality in the same learner",
    "equivalent": "equivalent within the margin",
    "noninferior": "not inferior by more than the margin",
    "too few": "too few patients to tell",
    "unclear": "not shown to be above each single modality",
    "untested": "not tested",
    "secondary": "descriptive, because another fusion was declared as primary",
}


@dataclass(frozen=True)
class Cell:
    """Text of a cell, with a small addition such as an interval.

    Attributes
    ----------
    text : str
        Main text.
    small : str
        Addition.
    strong : bool
        Whether the cell is emphasised.
    mark : str
        Role of a strategy whose marker precedes the text.
    """

    text: str
    small: str = ""
    strong: bool = False
    mark: str = ""


@dataclass(frozen=True)
class Table:
    """Table with a caption.

    Attributes
    ----------
    caption : str
        What the table shows.
    columns : list of str
        Headings. A heading that begins with ``"#"`` is that of numbers.
    rows : list of list of Cell
        Cells. The first cell of a row is its heading.
    """

    caption: str
    columns: list[str]
    rows: list[list[Cell]]

    @property
    def headings(self) -> list[tuple[str, bool]]:
        """Headings, and whether a column has numbers."""
        return [(name.removeprefix("#"), name.startswith("#")) for name in self.columns]

    @property
    def width(self) -> int:
        """Width in rem below which the table scrolls."""
        wanted = 10.0
        for j, (name, numeric) in enumerate(self.headings[1:], start=1):
            if numeric:
                wanted += 8.2 if any(row[j].small for row in self.rows) else 5.6
            else:
                longest = max((len(row[j].text) for row in self.rows), default=0)
                wanted += min(max(5.0, 0.5 * max(longest, len(name))), 11.0)
        return next((width for width in WIDTHS if width >= wanted), WIDTHS[-1])


def modality_table(result: Comparison) -> Table | None:
    """Return the modalities with their columns, None if they are not known."""
    cohort = shown_cohort(result.cohort_)
    n_rows = cohort["n_rows"]
    rows = []
    for modality in cohort["modalities"]:
        columns = modality["columns"]
        shown = ", ".join(columns[:MOST_COLUMNS])
        if len(columns) > MOST_COLUMNS:
            shown += f" and {len(columns) - MOST_COLUMNS} more"
        n_present = modality["n_present"]
        is_hidden = isinstance(n_present, str) or isinstance(n_rows, str)
        share = "" if is_hidden else f"{n_present / n_rows:.1%}"
        rows.append(
            [
                Cell(modality["name"]),
                Cell(as_text(n_present), share),
                Cell(shown, f"({modality['transformer']})"),
            ]
        )
    if not rows:
        return None
    caption = (
        f"Modalities, and the number of the {as_text(n_rows)} rows that have them."
    )
    return Table(caption, ["Modality", "#Present", "Columns"], rows)


def _texts(result: Comparison, column: str) -> dict[str, str]:
    """Return a column of the strategies by their names."""
    values = result.strategies_[column]
    return {str(name): str(value) for name, value in values.items()}


# -- scores ---------------------------------------------------------------------------


def score_table(result: Comparison, roles: Collection[str]) -> Table | None:
    """Return the scores of the strategies with some roles, None if there are none."""
    settings = result.settings_
    shown = result.strategies_[result.strategies_["role"].isin(roles)]
    if not len(shown):
        return None
    frame = result.to_frame().loc[shown.index]
    rows = []
    for name, strategy in shown.iterrows():
        cells = [Cell(strategy["label"], mark=strategy["role"])]
        for metric in result.metrics_:
            values = frame[metric.name]
            best = values["estimate"].max()
            if not metric.greater_is_better:
                best = values["estimate"].min()
            value, low, high = values.loc[str(name)]
            text = metric.text(value).replace("-", "\N{MINUS SIGN}")
            strong = bool(value == best)
            cells.append(Cell(text, with_limits(metric, low, high), strong))
        rows.append(cells)
    caption = {
        "folds": "Mean over the test folds, weighted by their patients, with an "
        "unadjusted 95% confidence interval.",
        "test": "Score on the test set with an unadjusted 95% confidence interval.",
        "sites": "Mean over the held-out sites, which count equally. There is no "
        "interval, see the scores by site.",
    }[settings["design"]]
    caption += " The best value of each column is bold, which is not a test."
    return Table(caption, ["Strategy", *_numbers(result.metrics_)], rows)


def _numbers(metrics: Iterable[Metric]) -> list[str]:
    return [f"#{metric.heading}" for metric in metrics]


def repetition_table(result: Comparison) -> Table | None:
    """Return the spread of the primary score over repetitions and folds."""
    if result.settings_["n_repeats"] < 2:
        return None
    primary = result.metrics_[0]
    folds = _folds_of(result, primary)
    rows = []
    for name, label in _texts(result, "label").items():
        part = folds[folds["strategy"] == name]
        means = [
            np.average(group["score"], weights=group["patients_test"])
            for _, group in part.groupby("repeat")
        ]
        within = part.groupby("repeat")["score"].std(ddof=1).mean()
        over = np.std(means, ddof=1) if len(means) > 1 else np.nan
        rows.append(
            [
                Cell(label, mark=_texts(result, "role")[name]),
                Cell(str(len(means))),
                Cell(_or_dash(primary, over)),
                Cell(f"{primary.text(min(means))} to {primary.text(max(means))}"),
                Cell(_or_dash(primary, within)),
            ]
        )
    caption = (
        f"Spread of {primary.label}. A repetition has other folds and other seeds of "
        "the estimators. Its spread is not that of another sample of patients."
    )
    columns = [
        "Strategy",
        "#Repetitions",
        "#SD of their means",
        "#Range of their means",
        "#SD over the folds of one",
    ]
    return Table(caption, columns, rows)


def _or_dash(metric: Metric, value: float) -> str:
    return DASH if np.isnan(value) else metric.text(value)


def _folds_of(result: Comparison, metric: Metric) -> pd.DataFrame:
    return result.folds_[result.folds_["metric"] == metric.name]


def fold_table(result: Comparison) -> Table:
    """Return the primary score of each strategy on each test set."""
    primary = result.metrics_[0]
    folds = _folds_of(result, primary)
    wide = folds.pivot(index=["repeat", "fold"], columns="strategy", values="score")
    sizes = shown_sizes(folds).drop_duplicates(["repeat", "fold"])
    sizes = sizes.set_index(["repeat", "fold"])
    rows = []
    for place in wide.index:
        size = sizes.loc[place]
        first = f"{place[0] + 1}.{place[1] + 1}"
        if result.settings_["design"] == "sites":
            first = str(size["site"])
        scores = wide.loc[place, list(result.strategies_.index)]
        rows.append(
            [
                Cell(first),
                *(Cell(as_text(size[name])) for name in _SIZES),
                *(Cell(_or_dash(primary, value)) for value in scores),
            ]
        )
    heading = {"folds": "Repetition.fold", "test": "Test set", "sites": "Site"}
    labels = [f"#{label}" for label in result.strategies_["label"]]
    unit = result.settings_["unit"]
    columns = [
        heading[result.settings_["design"]],
        f"#Training {unit}",
        f"#Test {unit}",
        *labels,
    ]
    return Table(f"{primary.heading} on each test set.", columns, rows)


_SIZES = ("patients_train", "patients_test")


def site_table(result: Comparison) -> Table | None:
    """Return the scores and differences of the fusions by held-out site."""
    if result.settings_["design"] != "sites" or not len(result.tests_):
        return None
    primary = result.metrics_[0]
    folds = _folds_of(result, primary)
    wide = folds.pivot(index="fold", columns="strategy", values="score")
    sizes = shown_sizes(folds).drop_duplicates("fold").set_index("fold")
    labels = _texts(result, "label")
    tests = result.tests_.to_dict("records")
    rows = []
    for fold in wide.index:
        cells = [
            Cell(str(sizes.loc[fold, "site"])),
            *(Cell(as_text(sizes.loc[fold, name])) for name in _SIZES),
        ]
        for test in tests:
            value = wide.loc[fold, test["strategy"]]
            gain = value - wide.loc[fold, test["reference"]]
            cells.append(Cell(primary.text(value), signed(primary, gain)))
        rows.append(cells)
    unit = result.settings_["unit"]
    columns = ["Site", f"#Training {unit}", f"#Test {unit}"]
    columns += [f"#{labels[test['strategy']]}" for test in tests]
    named = "; ".join(
        f"{labels[test['strategy']]} from {labels[test['reference']]}" for test in tests
    )
    caption = (
        f"{primary.heading} of each fusion by held-out site, and its difference from "
        f"the best single modality of all sites ({named})."
    )
    return Table(caption, columns, rows)


# -- differences ----------------------------------------------------------------------


def difference_table(result: Comparison) -> Table | None:
    """Return the differences of each fusion from each single modality."""
    table = result.differences_
    if not len(table):
        return None
    table = table[table["relation"] != "without"]
    if not len(table):
        return None
    labels = _texts(result, "label")
    rows = []
    for (fusion, reference), part in table.groupby(
        ["strategy", "reference"], sort=False
    ):
        # The learner is last, so that a phone shows the first difference.
        cells = [
            Cell(labels[str(fusion)], mark="fusion"),
            Cell(labels[str(reference)]),
            *_difference_cells(result, part),
            _p_cell(part),
            Cell(_relation(result, part.iloc[0])),
        ]
        rows.append(cells)
    columns = ["Fusion", "Minus", *_numbers(result.metrics_), "#p, not adjusted", "In"]
    caption = (
        "Paired differences from single modalities in the same learner or in another "
        f"one, {_limits_in_words(result)}. The p-value is that of the first score. It "
        "is not adjusted, so no claim rests on a single row."
    )
    return Table(caption, columns, rows)


def _limits_in_words(result: Comparison) -> str:
    if result.settings_["design"] == "sites":
        return "as means over sites, which have no confidence interval"
    return "with unadjusted 95% confidence intervals"


def _p_cell(part: pd.DataFrame) -> Cell:
    return Cell(_p(part["p"].iloc[0]))


def _p(value: float) -> str:
    if np.isnan(value):
        return DASH
    return format_p(value).removeprefix("p ").removeprefix("= ")


def _difference_cells(result: Comparison, part: pd.DataFrame) -> list[Cell]:
    by_metric = part.set_index("metric")
    cells = []
    for metric in result.metrics_:
        row: Any = by_metric.loc[metric.name]
        value, low, high = row["estimate"], row["low"], row["high"]
        limits = with_limits(metric, low, high, sign=True)
        cells.append(Cell(signed(metric, value), limits))
    return cells


def _relation(result: Comparison, row: Any) -> str:
    if row["relation"] == "other":
        return "another learner"
    if pd.isna(result.strategies_.loc[row["reference"], "fusion"]):
        return "declared baseline"
    return "same learner"


def removal_table(result: Comparison) -> Table | None:
    """Return the differences of each fusion from itself without a modality."""
    table = result.differences_
    if not len(table) or not (table["relation"] == "without").any():
        return None
    table = table[table["relation"] == "without"]
    labels, modality = _texts(result, "label"), _texts(result, "modality")
    primary = result.metrics_[0]
    rows = []
    for fusion, own in table.groupby("strategy", sort=False):
        tested = own[own["metric"] == primary.name]
        adjusted = holm_adjust(tested["p"])
        for reference, p in zip(tested["reference"], adjusted, strict=True):
            part = own[own["reference"] == reference]
            rows.append(
                [
                    Cell(modality[str(reference)]),
                    Cell(labels[str(fusion)], mark="fusion"),
                    *_difference_cells(result, part),
                    Cell(_p(p)),
                ]
            )
    columns = ["Modality", "In", *_numbers(result.metrics_)]
    columns.append("#p, Holm over modalities")
    caption = (
        "What each modality adds to the others: the fusion minus the same fusion "
        f"without it, {_limits_in_words(result)}."
    )
    return Table(caption, columns, rows)


def claim_table(result: Comparison) -> Table | None:
    """Return what the tests show for each fusion by the primary score."""
    tests = result.tests_
    if not len(tests):
        return None
    settings, primary = result.settings_, result.metrics_[0]
    labels = _texts(result, "label")
    n_tested = int((tests["outcome"] != "secondary").sum())
    columns = ["Fusion", "#Difference", "Outcome", "Best single modality"]
    columns += ["#p, helps", "#p, worse", "#Detectable gain"]
    if settings["smallest_gain"] is not None:
        gain = primary.text(settings["smallest_gain"])
        columns += [f"#{settings['unit'].capitalize()} for {gain}"]
    if settings["margin"] is not None:
        margin = primary.text(settings["margin"])
        columns += [f"#p, equivalent ({margin})", f"#p, not inferior ({margin})"]
    rows = []
    for row in tests.to_dict("records"):
        limits = with_limits(primary, row["low"], row["high"], sign=True)
        cells = [
            Cell(labels[row["strategy"]], mark="fusion"),
            Cell(signed(primary, row["estimate"]), limits),
            _outcome_cell(row, labels),
            Cell(labels[row["reference"]]),
            Cell(_p(row["p_helps_holm"])),
            Cell(_p(row["p_worse_holm"])),
            Cell(_or_dash(primary, row["detectable"])),
        ]
        if settings["smallest_gain"] is not None:
            needed = row["n_needed"]
            cells.append(Cell(DASH if np.isnan(needed) else f"{needed:,.0f}"))
        if settings["margin"] is not None:
            cells += [Cell(_p(row["p_equivalent"])), Cell(_p(row["p_noninferior"]))]
        rows.append(cells)
    above = "above" if primary.greater_is_better else "below"
    holm = f" Both are adjusted by Holm's method over {n_tested} fusions."
    caption = (
        f"Tests of {primary.label}. Differences are from the best of all single "
        f"modalities, {_limits_in_words(result)}. Helps: p-value of "
        f"being {above} each single modality. Worse: p-value of falling short of one "
        f"in the same learner.{holm if n_tested > 1 else ''} A smaller gain than the "
        "detectable one had less than an 80% chance of being found."
    )
    return Table(caption, columns, rows)


def _outcome_cell(row: Any, labels: dict[str, str]) -> Cell:
    text = OUTCOMES[row["outcome"]]
    if row["outcome"] == "worse":
        text = f"worse than {labels[row['worse_than']]}, in the same learner"
    if row["outcome"] == "unmatched" and not row["n_matched"]:
        text = "above each single modality, but none is in the same learner"
    return Cell(text, f"({row['reason'].rstrip('.')})" if row["reason"] else "")


# -- calibration, searches, estimators ------------------------------------------------


def calibration_table(result: Comparison, *, main: bool | None = None) -> Table | None:
    """Return the calibration of the strategies, None without two classes.

    With `main`, the table has the fusions and the best single modalities only. With
    ``main=False``, it has the others.
    """
    if result.cohort_["task"] != "binary" or result.settings_["design"] == "sites":
        return None
    frame = result.calibration().set_index("strategy")
    references = set(result.tests_["reference"]) if len(result.tests_) else set()
    rows = []
    for name, label in _texts(result, "label").items():
        role = _texts(result, "role")[name]
        is_main = role == "fusion" or name in references
        if role == "without" or (main is not None and is_main != main):
            continue
        record: Any = frame.loc[name]
        cells = [Cell(label, record["reason"], mark=role)]
        for part in ("intercept", "slope", "in_the_large", "observed_expected"):
            value, low, high = (record[f"{part}{end}"] for end in ("", "_low", "_high"))
            cells.append(
                Cell(_two(value), f"{_two(low)} to {_two(high)}" if low == low else "")
            )
        rows.append(cells)
    if not rows:
        return None
    clipped = int(frame["n_clipped"].sum())
    caption = (
        "Calibration of the held-out probabilities with unadjusted 95% confidence "
        "intervals by patient. Good calibration has an intercept of 0, a slope of 1 "
        "and a ratio of 1. With a slope below 1, the probabilities are too extreme. "
        "With a slope above 1, they are not extreme enough, as averages of several "
        "models often are. Recalibration mends both, such as final_calibration of a "
        "late fusion or CalibratedClassifierCV around any fusion."
    )
    if clipped:
        caption += (
            f" {count_text(clipped)} probabilities of 0 or 1 were moved by 0.000001."
        )
    columns = ["Strategy", "#Intercept", "#Slope", "#Intercept at slope 1"]
    return Table(caption, [*columns, "#Observed : expected events"], rows)


def _two(value: float) -> str:
    if np.isnan(value):
        return DASH
    text = f"{value:.2f}"
    text = text.removeprefix("-") if float(text) == 0 else text
    return text.replace("-", "\N{MINUS SIGN}")


def chosen_table(result: Comparison) -> Table | None:
    """Return how often a search has chosen each value."""
    if not len(result.chosen_):
        return None
    labels = _texts(result, "label")
    rows = []
    for (name, parameter), part in result.chosen_.groupby(
        ["strategy", "parameter"], sort=False
    ):
        counts = part["value"].value_counts()
        text = ", ".join(f"{value} ({n} times)" for value, n in counts.items())
        rows.append([Cell(labels[str(name)]), Cell(str(parameter)), Cell(text)])
    caption = "Values that searches chose in the training sets of the splits."
    return Table(caption, ["Strategy", "Parameter", "Values"], rows)


def estimator_table(result: Comparison) -> Table:
    """Return the estimators and their times."""
    folds = _folds_of(result, result.metrics_[0])
    seconds = folds.groupby("strategy")["seconds"].mean()
    rows = []
    for name, strategy in result.strategies_.iterrows():
        mean = seconds[str(name)]
        text = f"{mean:.1f}" if mean >= 1 else f"{mean:.2f}"
        if str(strategy["estimator"]).startswith("member of"):
            text = DASH  # it is fitted with its fusion
        rows.append(
            [
                Cell(strategy["label"], mark=strategy["role"]),
                Cell(ROLES[strategy["role"]]),
                Cell(strategy["estimator"]),
                Cell(strategy.get("learner", DASH)),
                Cell(str(strategy["n_repeats"])),
                Cell(text),
            ]
        )
    columns = ["Strategy", "Role", "Estimator", "Learner", "#Repetitions"]
    caption = "Estimators, and what learns inside them."
    return Table(caption, [*columns, "#Seconds per fit"], rows)
