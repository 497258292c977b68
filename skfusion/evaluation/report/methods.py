"""Methods of a comparison in words: what it is about, how it was computed, its limits.

The sentences follow from the design and the claims, so that they can go into a paper.
"""

from __future__ import annotations

from typing import Any

from skfusion.evaluation.report.protocol import Comparison
from skfusion.evaluation.statistics.disclosure import count_text, without_small_counts

__all__ = ["about", "abstract", "declares_baselines", "methods"]


SEEDS = "Each repetition has other folds and other seeds of the estimators. "


def about(result: Comparison) -> str:
    """Return what the numbers of a comparison are about.

    Parameters
    ----------
    result : Comparison
        The comparison.

    Returns
    -------
    str
    """
    return without_small_counts(_about(result))


def _about(result: Comparison) -> str:
    settings = result.settings_
    unit = settings["unit"]
    if settings["design"] == "test":
        return (
            f"About these fitted models, on {settings['n_tested']:,} {unit} that none "
            "of them was trained on. Models that are trained again, and other "
            "hospitals, can differ."
        )
    if settings["design"] == "sites":
        return (
            f"About models that are trained at all sites but one, on about "
            f"{settings['n_trained']:,} {unit}, and tested at the other. The sites are "
            f"the {settings['n_folds']} sites of this cohort. The range over them does "
            "not say how a further site will be."
        )
    return (
        f"About models that are trained in this way on about {settings['n_trained']:,} "
        f"{unit} like these. It is not about one fitted model, not about a model that "
        "is trained on all rows, and not about other hospitals, scanners or years."
    )


def abstract(result: Comparison) -> str:
    """Return what was asked, how, and what was found, in three sentences.

    Parameters
    ----------
    result : Comparison
        The comparison.

    Returns
    -------
    str
    """
    return " ".join((_question(result), _design(result), _finding(result)))


def _question(result: Comparison) -> str:
    names = [modality["name"] for modality in result.cohort_["modalities"]]
    joined = ", ".join(names[:-1]) + f" and {names[-1]}" if names else "the modalities"
    outcome = {
        "binary": "the class",
        "multiclass": "the class",
        "multilabel": "the labels",
        "regression": "the target",
        "survival": "the time to the event",
    }[result.cohort_["task"]]
    if result.cohort_["task"] == "binary":
        outcome = f"class {result.cohort_['classes'][1]['label']}"
    return (
        f"This comparison asked whether a fusion of {joined} predicts {outcome} better "
        "than each of them alone."
    )


def _design(result: Comparison) -> str:
    settings, cohort = result.settings_, result.cohort_
    cases = f"{cohort['n_rows']:,} rows"
    if cohort["n_patients"] is not None:
        cases += f" of {cohort['n_patients']:,} patients"
    roles = result.strategies_["role"].tolist()
    n_fusions, n_singles = roles.count("fusion"), roles.count("single")
    fusions = f"{n_fusions} fusion{'s' * (n_fusions != 1)}"
    singles = f"{n_singles} single-modality model{'s' * (n_singles != 1)}"
    return (
        f"On {cases}, {fusions} and {singles} were fitted and scored on the same "
        f"splits: {settings['splits']}."
    )


def _finding(result: Comparison) -> str:
    primary = result.metrics_[0]
    table = result.scores_[result.scores_["metric"] == primary.name]
    scores = table.set_index("strategy")["estimate"]
    parts = []
    for role, words in (
        ("fusion", "the best fusion"),
        ("single", "the best single modality"),
    ):
        names = result.strategies_.index[result.strategies_["role"] == role]
        if not len(names):
            continue
        own = scores.loc[names]
        best = str(own.idxmax() if primary.greater_is_better else own.idxmin())
        text = primary.text(own[best]).replace("-", "\N{MINUS SIGN}")
        label = result.strategies_.loc[best, "label"]
        parts.append(f"{text} for {words}, {label!s}")
    shown = ", and ".join(parts)
    return f"The {primary.label} was {shown}." if parts else ""


def declares_baselines(result: Comparison) -> bool:
    """Return whether the user has declared which strategies are the baselines."""
    table = result.differences_
    if not len(table):
        return False
    matched = table.loc[table["relation"] == "matched", "reference"]
    return bool(result.strategies_.loc[matched, "fusion"].isna().any())


def methods(result: Comparison) -> list[tuple[str, str]]:
    """Return the methods as pairs of a title and a paragraph.

    Parameters
    ----------
    result : Comparison
        The comparison.

    Returns
    -------
    list of (str, str)
    """
    kind = result.settings_["design"]
    parts = [("Splits", _splits(result)), ("Scores", _scores(result))]
    parts += [("Single modalities", _singles(result))]
    if len(result.tests_):
        tests = {"folds": _fold_tests, "test": _test_set_tests, "sites": _site_tests}
        parts += [("Differences and tests", tests[kind](result))]
        parts += [("Claims", _claims(result))]
    if result.cohort_["task"] == "binary":
        parts += [("Curves", _curves(result))]
    parts += [("Assumptions", _assumptions(result)), ("Limits", _limits(kind))]
    return [(title, without_small_counts(text)) for title, text in parts]


def _curves(result: Comparison) -> str:
    is_sites = result.settings_["design"] == "sites"
    band = (
        "There is no band, because sites are not a sample of patients. "
        if is_sites
        else "Bands are pointwise 95% intervals from 1,000 bootstrap samples of "
        "patients with the fitted models. "
    )
    text = (
        "ROC and precision-recall curves are the means of the curves of the test sets. "
        + band
    )
    if is_sites:
        return text.strip()
    return text + (
        "Calibration intercept and slope are from a logistic regression of the outcome "
        "on the log-odds of the held-out probabilities, with standard errors by "
        "patient. Net benefit is the rate of true positives less that of false "
        "positives, weighted by the odds of the threshold." + _unit_of_rates(result)
    )


def _unit_of_rates(result: Comparison) -> str:
    n_patients = result.cohort_["n_patients"]
    if n_patients is None or n_patients == result.cohort_["n_rows"]:
        return ""
    return " All rates are of rows, of which a patient can have several."


def _splits(result: Comparison) -> str:
    settings, cohort = result.settings_, result.cohort_
    cases = f"{cohort['n_rows']:,} rows"
    if cohort["n_patients"] is not None:
        cases += f" of {cohort['n_patients']:,} patients"
    text = (
        f"The cohort has {cases}. Design: {settings['folds']}, seed "
        f"{settings['seed']}. All strategies were fitted and scored on the same "
        "splits, and everything that is learned, preprocessing included, was learned "
        "from the training set of a split. "
    )
    if cohort["n_patients"] is None:
        text += "No patients were given, so each row counts as one patient. "
    else:
        text += (
            "No patient is in the training and the test set of a split. The estimators "
            "receive the patients, so that their inner folds, such as those of "
            "searches, stacking and calibration, keep patients together. A warning "
            "names any that cannot. "
        )
    if "n_events" in cohort:
        n_rows, n_events = cohort["n_rows"], cohort["n_events"]
        events = count_text(n_events, n_rows)
        censored = count_text(n_rows - n_events, n_rows)
        text += f"Of the rows, {events} have an event and {censored} are censored. "
    if settings["design"] == "folds" and settings["n_repeats"] > 1:
        text += SEEDS
    return text.strip()


def _scores(result: Comparison) -> str:
    design, names = result.settings_["design"], [m.name for m in result.metrics_]
    has_auroc = result.cohort_["task"] == "binary" and "roc_auc" in names
    rest = "Other limits" if has_auroc else "Limits"
    survival = _survival_scores(names)
    if design == "sites":
        return (
            "Scores were computed within each site and averaged with equal weights. "
            f"{survival}"
        ).strip()
    if design == "test":
        text = f"Scores were computed on the test set. {survival}"
        if has_auroc:
            text += "Limits of the AUROC are on the logit scale, by DeLong's variance"
            text += _clustered(result) + ". "
        return f"{text}{rest} are percentiles of 2,000 bootstrap samples of patients."
    text = (
        "Scores were computed within each test fold and averaged, weighted by the "
        f"number of test patients. {survival}"
    )
    if has_auroc:
        text += (
            "Limits of the AUROC are on the logit scale, from the placements of the "
            "cases within their test folds, averaged over repetitions and clustered by "
            "patient. "
        )
    return text + (
        f"{rest} use the standard error of Nadeau and Bengio. Limits are within the "
        "range of the score."
    )


def _survival_scores(names: list[str]) -> str:
    """Return which concordance is computed, empty if none is."""
    if "concordance" not in names:
        return ""
    return (
        "The concordance is Harrell's index, which depends on the distribution of the "
        "censoring times (Uno's does not). "
    )


def _clustered(result: Comparison) -> str:
    n_patients = result.cohort_["n_patients"]
    repeated = n_patients is not None and n_patients < result.cohort_["n_rows"]
    return ", with patients as clusters (Obuchowski)" if repeated else ""


def _singles(result: Comparison) -> str:
    table = result.differences_
    matched = bool(len(table)) and (table["relation"] == "matched").any()
    if declares_baselines(result):
        return (
            "The user declared the single modalities as baselines. The comparison does "
            "not know whether they have the learner and the settings of the fusions. "
            f"{_searches(result)}A single modality whose data are absent predicts the "
            "average."
        )
    text = (
        "A fusion is compared with each single modality in its own learner, that is, "
        "with itself after all other modalities were dropped: the same learner, "
        "settings, calibration, treatment of absent modalities, seeds and search. "
        if matched
        else "No single modality is in the learner of a fusion, so a difference can be "
        "due to the learner. "
    )
    text += _searches(result)
    return text + "A single modality whose data are absent predicts the average."


def _searches(result: Comparison) -> str:
    """Return what was searched, by which score and on which inner folds."""
    searches = result.settings_.get("searches") or []
    parts = [
        f"{result.strategies_.loc[one['strategy'], 'label']}: {one['grid']}, by "
        f"{one['score']} on {one['folds']}"
        for one in searches
    ]
    if not parts and (result.chosen_ is None or not len(result.chosen_)):
        return ""
    text = "Parameters were searched in the training set of each split"
    return f"{text} ({'; '.join(parts)}). " if parts else f"{text}. "


def _fold_tests(result: Comparison) -> str:
    settings = result.settings_
    text = (
        "Differences are paired within the test folds. Training sets overlap, so the "
        "standard error is that of Nadeau and Bengio (Machine Learning "
        "52:239\u2013281, 2003) with sizes in patients. The t distribution has one "
        "degree of freedom less than there are test folds. "
    )
    if settings["quick"]:
        text += "The comparison was a quick one, so there are no tests. "
    return text + (
        "This correction is a heuristic. In simulated cohorts without a difference, "
        "such tests rejected in 0 to 8% at a nominal level of 5%. With a real gain and "
        "an unstable learner, the standard error was 17% too small."
    )


def _test_set_tests(result: Comparison) -> str:
    primary = result.metrics_[0]
    if primary.name == "roc_auc" and result.cohort_["task"] == "binary":
        return f"AUROCs were compared by DeLong's paired test{_clustered(result)}."
    return (
        "Differences were compared by a normal approximation with the standard error "
        "of 2,000 bootstrap samples of patients."
    )


def _site_tests(result: Comparison) -> str:
    return (
        "The difference of each site counts equally. From six sites on, p-values are "
        "from all changes of the signs of these differences. Below, there is no test."
    )


def _claims(result: Comparison) -> str:
    settings, primary = result.settings_, result.metrics_[0]
    n_fusions = int((result.tests_["outcome"] != "secondary").sum())
    above = "above" if primary.greater_is_better else "below"
    text = (
        f"The primary score is {primary.label}. A fusion helps if it is {above} every "
        "single modality of the comparison, each at a two-sided level of 5% "
        "(intersection-union test, which needs no adjustment over modalities), and if "
        "one of them is in its own learner. It is worse if it falls short of a single "
        "modality in its own learner, adjusted by Holm's method over the modalities. "
    )
    if settings["primary"] is not None:
        label = result.strategies_.loc[settings["primary"], "label"]
        text += (
            f"Only {label} was declared as primary, so its claims are not adjusted. "
        )
    elif n_fusions > 1:
        text += f"Both claims are adjusted by Holm's method over {n_fusions} fusions. "
    if result.tests_["detectable"].notna().any():
        text += (
            "The gain that is found with 80% follows from the standard error and not "
            "from the observed difference. "
        )
    for name, words in (
        ("smallest_gain", "The smallest gain that matters"),
        ("margin", "The margin of equivalence and non-inferiority"),
    ):
        if settings[name] is not None:
            text += f"{words} was declared as {primary.text(settings[name])}. "
    if settings["margin"] is None:
        text += "No margin was declared, so no statement of equality can be made. "
    return text + "All other scores are descriptive, and no interval is adjusted."


def _assumptions(result: Comparison) -> str:
    settings: dict[str, Any] = result.settings_
    text = (
        "Patients are independent of one another, from one population and in no order "
        "of time. "
    )
    if settings["design"] == "folds":
        k = settings["n_folds"]
        text += (
            f"Scores are those of models trained on {k - 1}/{k} of the patients, which "
            "is less than the whole cohort. "
        )
    return text + (
        "The authors have to confirm that scores, claims and thresholds were chosen "
        "before the results were seen."
    )


def _limits(kind: str) -> str:
    if kind == "test":
        return (
            "A test set that was used to choose a model no longer tests it. One test "
            "set does not show how much models vary that are trained again."
        )
    text = (
        "Without evidence of a difference, equality does not follow. The interval "
        "shows which differences remain possible. "
    )
    if kind == "sites":
        return text + "A few sites say little about all sites."
    return text + (
        "Support a claim about a model by one test on patients that were not part of "
        "this comparison."
    )
