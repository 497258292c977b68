"""Items of TRIPOD+AI that a comparison has computed, and those left for the author.

The items are abridged in our own words. None is marked as done that the comparison did
not compute.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from skfusion.evaluation.report.protocol import Comparison

__all__ = ["Checklist", "ChecklistRow", "checklist"]


REFERENCE = (
    "Collins GS et al. (2024), TRIPOD+AI statement, BMJ 385:e078378. The items are "
    "abridged in our own words, so use the original for a submission. An item is "
    "ticked only if this comparison computed it."
)


@dataclass(frozen=True)
class ChecklistRow:
    """State of one item.

    Attributes
    ----------
    number, topic, words : str
        Number in TRIPOD+AI, topic, and what is to be reported.
    state : {"done", "part", "author"}
        Whether the page has it.
    anchor : str
        Section of the page, empty for the author.
    note : str
        What the page has, or what is left.
    """

    number: str
    topic: str
    words: str
    state: str
    anchor: str = ""
    note: str = ""

    @property
    def sign(self) -> str:
        """Tick, half-filled circle or open circle, which differ in grey."""
        return {"done": "\u2713", "part": "\u25d0", "author": "\u25cb"}[self.state]

    @property
    def status(self) -> str:
        """State in words."""
        return {
            "done": "in this report",
            "part": "in part",
            "author": "for the author",
        }[self.state]


@dataclass(frozen=True)
class Checklist:
    """Items with their states.

    Attributes
    ----------
    rows : list of ChecklistRow
        Items.
    caption : str
        Source of the items.
    """

    rows: list[ChecklistRow]
    caption: str = REFERENCE

    @property
    def summary(self) -> str:
        """Number of the items in each state."""
        states = [row.state for row in self.rows]
        return (
            f"{states.count('done')} of {len(states)} items are in this report, "
            f"{states.count('part')} in part, and {states.count('author')} are for "
            "the author"
        )


# Number, topic and words of an item, and the sections that can have it.
ITEMS: tuple[tuple[str, str, str], ...] = (
    ("1", "Title", "Model development or evaluation, the population, the outcome"),
    ("2", "Abstract", "Structured summary by the list for abstracts"),
    ("3a", "Background", "Medical context and rationale, models that exist"),
    ("3b", "Target population", "Patients, place in the care pathway, users"),
    ("3c", "Inequalities", "Known differences in health between groups of people"),
    ("4", "Objectives", "What is asked, and whether models are developed or evaluated"),
    ("5a", "Data sources", "Origin of all data and how well they represent patients"),
    ("5b", "Dates", "Start and end of recruitment and of follow-up"),
    ("6a", "Setting", "Kind, number and place of the centres"),
    ("6b", "Eligibility", "Criteria for patients to be included"),
    ("6c", "Treatments", "Treatments received and how they were handled"),
    ("7", "Data preparation", "Preprocessing and quality checks, also between groups"),
    ("8a", "Outcome", "Definition, time of assessment and rationale"),
    ("8b", "Outcome assessors", "Qualification and background, if judgement is needed"),
    ("8c", "Blinding to predictors", "Whether the outcome was assessed without them"),
    ("9a", "Choice of predictors", "How the initial predictors were chosen"),
    ("9b", "Predictors", "Definition, time and method of measurement"),
    ("9c", "Predictor assessors", "Qualification, if judgement is needed"),
    ("10", "Sample size", "How it was chosen and whether it suffices"),
    ("11", "Missing data", "How missing data were handled, and reasons to omit any"),
    ("12a", "Use of the data", "Which data develop and which evaluate the models"),
    ("12b", "Predictors in the analysis", "Form, scaling and transformation"),
    ("12c", "Models", "Type, all building steps, tuning and internal validation"),
    ("12d", "Heterogeneity", "How differences between clusters are treated"),
    ("12e", "Performance measures", "All measures and plots, and how models compare"),
    ("12f", "Updating", "Changes of the model after evaluation, such as recalibration"),
    ("12g", "Predictions", "How predictions of an evaluated model were computed"),
    ("13", "Class imbalance", "Methods against it and recalibration afterwards"),
    ("14", "Fairness", "Approaches to fairness and their rationale"),
    ("15", "Output", "What the model gives out, thresholds and their rationale"),
    ("16", "Training and evaluation", "Differences between both sets of data"),
    ("17", "Ethics", "Approval and consent"),
    ("18a", "Funding", "Sources and role of the funders"),
    ("18b", "Conflicts of interest", "Of all authors"),
    ("18c", "Protocol", "Where it can be found"),
    ("18d", "Registration", "Register and number"),
    ("18e", "Data sharing", "Availability of the data"),
    ("18f", "Code sharing", "Availability of the code of the analysis"),
    ("19", "Patients and public", "How they were involved"),
    ("20a", "Flow of patients", "Numbers, with and without the outcome, follow-up"),
    ("20b", "Characteristics", "Of the patients, by outcome, with missing data"),
    ("20c", "Comparison of the sets", "Development and evaluation data side by side"),
    ("21", "Numbers analysed", "Patients and events in each analysis"),
    ("22", "Model specification", "What others need to predict with the model"),
    ("23a", "Performance", "With confidence intervals, also for key subgroups"),
    ("23b", "Performance by cluster", "Results by site or other cluster"),
    ("24", "Results of updating", "Model and performance after updating"),
    ("25", "Interpretation", "Main results, fairness, and earlier studies"),
    ("26", "Limitations", "Representativeness, size, overfitting, missing data"),
    (
        "27a",
        "Poor or missing input",
        "What to do when input is absent or unusable",
    ),
    ("27b", "Users", "Interaction with the model and expertise that users need"),
    ("27c", "Next steps", "Future research, applicability, generalisability"),
)


def checklist(result: Comparison, sections: Collection[str]) -> Checklist:
    """Return the items of TRIPOD+AI with what the page has of each.

    Parameters
    ----------
    result : Comparison
        The comparison.
    sections : collection of str
        Anchors of the sections that the page has.

    Returns
    -------
    Checklist
    """
    found = _always(result) | _by_section(result, sections)
    return Checklist(
        [
            ChecklistRow(
                number, topic, f"{words}.", *found.get(number, ("author", "", ""))
            )
            for number, topic, words in ITEMS
        ]
    )


def _always(result: Comparison) -> dict[str, tuple[str, str, str]]:
    """Return the states of the items that every comparison computes."""
    design = result.settings_["design"]
    found = {
        "7": ("part", "cohort", "Transformers are listed, quality checks are not."),
        "9a": ("part", "cohort", "Columns are listed, their choice is not explained."),
        "11": ("part", "cohort", "Absent modalities are counted and their handling is "
               "described. Reasons are left."),
        "12a": ("done", "methods", ""),
        "12c": ("part", "settings", "Classes and splits are listed, the parameters of "
                "the estimators are not."),
        "12e": ("done", "methods", ""),
        "20a": ("part", "cohort", "Numbers are given, exclusions are not."),
        "21": ("done", "cohort", ""),
        "26": ("part", "methods", "Limits of the design only."),
    }  # fmt: skip
    if len(result.tests_) and result.tests_["detectable"].notna().any():
        found["10"] = ("part", "tests", "The detectable gain is given, not the choice.")
    if design == "sites":
        found |= {"12d": ("done", "methods", ""), "23b": ("done", "sites", "")}
    else:
        found["23a"] = ("part", "scores", "Subgroups were not given to this report.")
    if design == "test":
        found["16"] = ("part", "cohort", "Numbers of both sets only.")
    return found


def _by_section(
    result: Comparison, sections: Collection[str]
) -> dict[str, tuple[str, str, str]]:
    """Return the states of the items that depend on optional sections."""
    found: dict[str, tuple[str, str, str]] = {}
    if "characteristics" in sections:
        found["20b"] = ("done", "characteristics", "")
        found["11"] = ("part", "characteristics", "Missing cells and absent "
                       "modalities are counted. Reasons are left.")  # fmt: skip
    if "subgroups" in sections:
        if result.settings_["design"] != "sites":
            found["23a"] = ("done", "subgroups", "")
        found["14"] = ("part", "subgroups", "Performance by group, not its rationale.")
    if "operating" in sections:
        found["15"] = (
            *("part", "discrimination"),
            "The operating point is given, not its rationale.",
        )
    if "missing" in sections:
        found["27a"] = ("part", "missing", "Performance when a modality is absent.")
    return found
