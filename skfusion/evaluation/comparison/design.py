"""Designs of a comparison: repeated folds, one held-out test set, or held-out sites.

The design decides what a comparison is about. Folds are about models trained in this
way, a test set is about the fitted models, and held-out sites are about these sites.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pandas as pd

from skfusion._validation import check_number, ids_of
from skfusion.cohort import column_of_role
from skfusion.evaluation.comparison.study import OWNER, Study
from skfusion.exceptions import DataWarning, warn_user
from skfusion.splits import outer_folds

__all__ = ["Design", "Split", "make_design"]


N_FOLDS = 5
FEWEST_FOLDS = 3
MOST_REPEATS = 10
# Patients of each class in a test fold. With fewer, its score says little.
FEWEST_PER_CLASS = 5
N_DRAWS = 20


@dataclass(frozen=True)
class Split:
    """Training and test rows of one fold.

    Attributes
    ----------
    repeat, fold : int
        Number of the repetition and of the fold in it, from 0.
    train, test : ndarray of int
        Row positions.
    site : str
        Name of the held-out site, otherwise empty.
    """

    repeat: int
    fold: int
    train: np.ndarray
    test: np.ndarray
    site: str = ""


@dataclass(frozen=True)
class Design:
    """Splits of a comparison.

    Attributes
    ----------
    kind : {"folds", "test", "sites"}
        Repeated cross-validation, one test set, or one held-out site at a time.
    splits : list of Split
        Splits in the order of repetitions. Arms with fewer repetitions use the first.
    n_folds, n_repeats : int
        Number of folds per repetition, and of repetitions.
    text : str
        Description for the report.
    is_automatic : bool
        Whether the number of repetitions may be reduced after the first fold.
    repeats_of : dict of str to int
        Number of repetitions of some fusions and their restrictions, by name.
    notes : list of str
        What differs from the request.
    """

    kind: str
    splits: list[Split]
    n_folds: int
    n_repeats: int
    text: str
    is_automatic: bool = False
    repeats_of: dict[str, int] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def first(self, n_repeats: int) -> Design:
        """Return the design with the first repetitions only."""
        splits = [split for split in self.splits if split.repeat < n_repeats]
        return replace(self, splits=splits, n_repeats=min(n_repeats, self.n_repeats))


def make_design(
    study: Study,
    *,
    cv: Any,
    n_repeats: Any,
    test: Any,
    sites: Any,
    time: Any,
    quick: bool,
    seed: int,
) -> Design:
    """Return the splits of a comparison.

    Parameters
    ----------
    study : Study
        Cohort.
    cv, n_repeats, test, sites, time, quick : any
        Parameters of `compare_fusion`.
    seed : int
        Seed of the folds.

    Returns
    -------
    Design

    Raises
    ------
    ValueError, TypeError
        If more than one design is requested, or the cohort is too small for it.
    """
    given = {"cv": cv, "test": test, "sites": sites}
    asked = [name for name, value in given.items() if value is not None]
    if len(asked) > 1:
        raise ValueError(
            f"{OWNER}: {' and '.join(asked)} exclude each other. Pass one of them."
        )
    if test is not None:
        return _test_set(study, test, time, seed)
    if sites is not None:
        return _site_folds(study, sites)
    if not isinstance(n_repeats, Mapping):
        return _folds(study, cv, _check_repeats(n_repeats, quick), seed)
    some = {
        name: _check_repeats(n, quick) or MOST_REPEATS for name, n in n_repeats.items()
    }
    return replace(
        _folds(study, cv, _check_repeats("auto", quick), seed), repeats_of=some
    )


def _check_repeats(n_repeats: Any, quick: bool) -> int | None:
    """Return the number of repetitions, None for an automatic one."""
    if quick:
        return 1
    if isinstance(n_repeats, str) and n_repeats == "auto":
        return None
    if (
        isinstance(n_repeats, bool)
        or not isinstance(n_repeats, (int, np.integer))
        or n_repeats < 1
    ):
        raise ValueError(
            f"{OWNER}: n_repeats must be 'auto' or an integer of at least 1, or a dict "
            f"of these by strategy, got {n_repeats!r}."
        )
    return int(n_repeats)


# -- repeated folds -------------------------------------------------------------------


def _folds(study: Study, cv: Any, n_repeats: int | None, seed: int) -> Design:
    is_number = cv is None or (
        isinstance(cv, (int, np.integer)) and not isinstance(cv, bool)
    )
    if not is_number:
        return _own_folds(study, cv, n_repeats, seed)
    repeats = MOST_REPEATS if n_repeats is None else n_repeats
    notes: list[str] = []
    n_folds = N_FOLDS if cv is None else int(cv)
    drawn = _draw(study, n_folds, repeats, seed)
    if cv is None and (drawn is None or not _has_enough(study, drawn)):
        n_folds = FEWEST_FOLDS
        drawn = _draw(study, n_folds, repeats, seed)
        if drawn is None:  # the error says why there are no folds
            drawn = [_one_repeat(study, n_folds, seed)]
        if not _has_enough(study, drawn):
            _refuse_few(study, n_folds)
        notes.append(
            f"{FEWEST_FOLDS} folds were used, because {N_FOLDS} folds would have test "
            f"sets with fewer than {FEWEST_PER_CLASS} patients of a class."
        )
    if drawn is None:  # the error of the user's number of folds
        drawn = [_one_repeat(study, n_folds, seed)]
    if cv is not None and not _has_enough(study, drawn):
        notes.append(
            f"Some test sets have fewer than {FEWEST_PER_CLASS} patients of a class, "
            "so their scores vary a lot."
        )
    splits = [
        Split(r, k, train, test)
        for r, folds in enumerate(drawn)
        for k, (train, test) in enumerate(folds)
    ]
    stratified = "stratified " if study.task.strata(study.y) is not None else ""
    patients = "" if study.groups is None else ", grouped by patient"
    text = f"{n_folds} {stratified}folds, shuffled{patients}"
    automatic = n_repeats is None
    return Design("folds", splits, n_folds, len(drawn), text, automatic, notes=notes)


def _one_repeat(study: Study, cv: Any, seed: int) -> list[Any]:
    strata = study.task.strata(study.y)
    return outer_folds(
        cv,
        study.y if strata is None else strata,
        study.groups,
        classifier=strata is not None,
        random_state=seed,
    )


def _draw(study: Study, n_folds: int, n_repeats: int, seed: int) -> list[Any] | None:
    """Draw the folds of each repetition, again if a test set has few of a class.

    Returns None if the folds cannot be made at all.
    """
    rng = np.random.RandomState(seed)
    seeds = [seed, *rng.randint(np.iinfo(np.int32).max, size=n_repeats * N_DRAWS)]
    drawn = []
    number = 0
    for _ in range(n_repeats):
        best, most = None, -1
        for _ in range(N_DRAWS):
            try:
                folds = _one_repeat(study, n_folds, int(seeds[number % len(seeds)]))
            except ValueError:
                folds = None
            number += 1
            fewest = -1 if folds is None else _fewest(study, folds)
            if fewest > most:
                best, most = folds, fewest
            if most >= FEWEST_PER_CLASS or not _can_vary(study):
                break
        if best is None:
            return None
        drawn.append(best)
    return drawn


def _can_vary(study: Study) -> bool:
    """Return whether other seeds can give test sets with other class counts."""
    return study.groups is not None and study.task.strata(study.y) is not None


def _fewest(study: Study, folds: list[Any]) -> int:
    """Return the smallest number of patients of a class in a test set."""
    strata = study.task.strata(study.y)
    if strata is None:
        return FEWEST_PER_CLASS
    return min(
        study.n_patients(test[strata[test] == number])
        for _, test in folds
        for number in np.unique(strata)
    )


def _has_enough(study: Study, drawn: list[Any]) -> bool:
    return all(_fewest(study, folds) >= FEWEST_PER_CLASS for folds in drawn)


def _refuse_few(study: Study, n_folds: int) -> None:
    strata = study.task.strata(study.y)
    assert strata is not None
    counts = {n: study.n_patients(np.flatnonzero(strata == n)) for n in set(strata)}
    rarest = min(counts, key=lambda n: counts[n])
    unit = "rows" if study.groups is None else "patients"
    raise ValueError(
        f"{OWNER}: there are {counts[rarest]} {unit} of "
        f"{study.task.name_of(int(rarest))} (in sorted order), but {n_folds} folds "
        f"with at least {FEWEST_PER_CLASS} {unit} of each class in the test set need "
        f"{n_folds * FEWEST_PER_CLASS} or more. Use more data, or pass cv="
        f"{min(n_folds, max(2, counts[rarest]))} to compare nevertheless."
    )


def _own_folds(study: Study, cv: Any, n_repeats: int | None, seed: int) -> Design:
    """Return the folds of a splitter or of the user."""
    shuffles = getattr(cv, "shuffle", False) and hasattr(cv, "random_state")
    if n_repeats is not None and n_repeats > 1 and not shuffles:
        raise ValueError(
            f"{OWNER}: n_repeats={n_repeats} needs cv as a number or a splitter with "
            f"shuffle=True, because {type(cv).__name__} gives the same folds each "
            "time."
        )
    repeats = (n_repeats or MOST_REPEATS) if shuffles else 1
    rng = np.random.RandomState(seed)
    seeds = [seed, *rng.randint(np.iinfo(np.int32).max, size=repeats)]
    splits = []
    for r in range(repeats):
        splitter = cv
        if shuffles and r > 0:
            import copy

            splitter = copy.copy(cv)
            splitter.random_state = int(seeds[r])
        folds = _one_repeat(study, splitter, int(seeds[r]))
        # The repetitions of a splitter such as RepeatedKFold follow one another.
        inside = getattr(cv, "n_repeats", 1)
        per_repeat = max(len(folds) // inside, 1)
        for number, (train, test) in enumerate(folds):
            repeat = r + number // per_repeat
            splits.append(Split(repeat, number % per_repeat, train, test))
    n_folds = 1 + max(split.fold for split in splits)
    kind = type(cv).__name__ if hasattr(cv, "split") else "given by the user"
    patients = "" if study.groups is None else ", no patient in two folds"
    return Design(
        "folds",
        splits,
        n_folds,
        1 + max(split.repeat for split in splits),
        f"{n_folds} folds ({kind}){patients}",
        is_automatic=bool(shuffles) and n_repeats is None,
    )


# -- one test set ---------------------------------------------------------------------


def _test_set(study: Study, test: Any, time: Any, seed: int) -> Design:
    notes: list[str] = []
    if isinstance(test, str):
        held_out, text = _rows_after(study, test, time)
    elif isinstance(test, (float, np.floating)):
        held_out, text = _random_rows(study, float(test), seed)
    else:
        held_out, text = _given_rows(study, test), "a test set given by the user"
    train = _other_patients(study, held_out)
    n_moved = int((~held_out).sum() - train.sum())
    if n_moved:
        notes.append(
            f"{n_moved} rows of patients in the test set were left out of the training "
            "set."
        )
    rows = np.flatnonzero(train), np.flatnonzero(held_out)
    _check_test_set(study, *rows)
    unit = "rows" if study.groups is None else "patients"
    text += f", {study.n_patients(rows[1])} {unit} that no model was trained on"
    return Design("test", [Split(0, 0, *rows)], 1, 1, text, notes=notes)


def _other_patients(study: Study, held_out: np.ndarray) -> np.ndarray:
    """Return the rows of patients without any row that is held out."""
    if study.groups is None:
        return ~held_out
    return ~np.isin(study.groups, study.groups[held_out])


def _check_test_set(study: Study, train: np.ndarray, test: np.ndarray) -> None:
    strata = study.task.strata(study.y)
    for rows, part in ((train, "training"), (test, "test")):
        if len(rows) < 2:
            raise ValueError(
                f"{OWNER}: the {part} set has {len(rows)} of {len(study.y)} rows, but "
                "at least 2 are needed. Check test=."
            )
        if strata is not None and len(np.unique(strata[rows])) < len(np.unique(strata)):
            raise ValueError(
                f"{OWNER}: a class is missing from the {part} set of {len(rows)} rows, "
                "so scores are undefined. Check test=, or use a larger part."
            )


def _random_rows(study: Study, fraction: float, seed: int) -> tuple[np.ndarray, str]:
    """Draw a share of the patients of each class."""
    check_number(
        fraction, "test", OWNER, low=0, high=1, exclude_low=True, exclude_high=True
    )
    n_rows = len(study.y)
    patients = np.arange(n_rows) if study.groups is None else study.groups
    strata = study.task.strata(study.y)
    strata = np.zeros(n_rows, dtype=int) if strata is None else strata
    # A patient with rows of several classes belongs to the rarest of them.
    rank = np.argsort(np.argsort(-np.bincount(strata)))
    order = np.lexsort((-rank[strata], patients))
    units, first = np.unique(patients[order], return_index=True)
    of_unit = strata[order][first]
    rng = np.random.RandomState(seed)
    held_out: list[Any] = []
    for number in np.unique(of_unit):
        members = rng.permutation(units[of_unit == number])
        held_out += members[: max(1, round(fraction * len(members)))].tolist()
    by_patient = "" if study.groups is None else " by patient"
    rows = np.isin(patients, held_out)
    return rows, f"a random test set of {fraction:.0%}{by_patient}"


def _rows_after(study: Study, test: str, time: Any) -> tuple[np.ndarray, str]:
    found = re.fullmatch(r"\s*after:\s*(.+)", test)
    if not found:
        raise ValueError(
            f"{OWNER}: test as text must be 'after:DATE', e.g. 'after:2023-01-01', got "
            f"{test!r}."
        )
    limit = pd.to_datetime(found[1])
    times = _times(study.X, time)
    if times.dt.tz is not None and limit.tzinfo is None:
        limit = limit.tz_localize(times.dt.tz)
    unknown = int(times.isna().sum())
    if unknown:
        raise ValueError(
            f"{OWNER}: the time is missing in {unknown} of {len(times)} rows, first at "
            f"row position(s) {np.flatnonzero(times.isna())[:5].tolist()}. Fill it, or "
            "leave these rows out."
        )
    return (times >= limit).to_numpy(), f"cases from {found[1]} on as the test set"


def _times(frame: pd.DataFrame, time: Any) -> pd.Series:
    if time is not None:
        return pd.to_datetime(frame[column_of_role(time, "time", frame, OWNER)])
    found = list(frame.select_dtypes(["datetime", "datetimetz"]).columns)
    if len(found) != 1:
        raise ValueError(
            f"{OWNER}: test='after:...' needs the column of the index time, but "
            f"{len(found)} columns have dates. Pass time= with its name."
        )
    return frame[found[0]]


def _given_rows(study: Study, test: Any) -> np.ndarray:
    values = np.asarray(test)
    n_rows = len(study.y)
    if values.ndim == 1 and values.dtype == bool and len(values) == n_rows:
        return values.copy()
    if values.ndim == 1 and values.dtype.kind in "iu" and len(values):
        if values.min() < 0 or values.max() >= n_rows:
            raise ValueError(
                f"{OWNER}: test contains row positions outside of 0 to {n_rows - 1}."
            )
        held_out = np.zeros(n_rows, dtype=bool)
        held_out[values] = True
        return held_out
    raise TypeError(
        f"{OWNER}: test must be a fraction, 'after:DATE', a boolean mask of {n_rows} "
        f"entries, or row positions, got {type(test).__name__} of shape {values.shape}."
    )


# -- sites ----------------------------------------------------------------------------


def _site_folds(study: Study, sites: Any) -> Design:
    """Hold out one site at a time."""
    names = _site_of_rows(study, sites)
    if len(pd.unique(names)) < 2:
        raise ValueError(f"{OWNER}: sites names one site, but at least 2 are needed.")
    notes = []
    splits = []
    n_moved = 0
    for number, site in enumerate(pd.unique(names)):
        test = names == site
        train = _other_patients(study, test)
        n_moved += int((~test).sum() - train.sum())
        rows = np.flatnonzero(train), np.flatnonzero(test)
        _check_site(study, *rows, number)
        splits.append(Split(0, number, *rows, site=str(site)))
    if n_moved:
        notes.append(
            f"{n_moved} training rows of patients who also have rows at the held-out "
            "site were left out."
        )
    text = f"one of {len(splits)} sites held out at a time"
    return Design("sites", splits, len(splits), 1, text, notes=notes)


def _site_of_rows(study: Study, sites: Any) -> np.ndarray:
    if isinstance(sites, str) or not isinstance(sites, Iterable):
        column = column_of_role(sites, "sites", study.X, OWNER)
        values = study.X[column]
    else:
        values = ids_of(sites)
    if len(values) != len(study.y) or values.isna().any():
        raise ValueError(
            f"{OWNER}: sites needs one site for each of {len(study.y)} rows, got "
            f"{len(values)} entries, {int(values.isna().sum())} of them missing."
        )
    return values.astype(str).to_numpy()


def _check_site(study: Study, train: np.ndarray, test: np.ndarray, number: int) -> None:
    strata = study.task.strata(study.y)
    for rows, part in ((train, "training"), (test, "test")):
        n_classes = 1 if strata is None else len(np.unique(strata[rows]))
        if not len(rows) or (strata is not None and n_classes < len(np.unique(strata))):
            raise ValueError(
                f"{OWNER}: with site number {number + 1} held out, a class is missing "
                f"from the {part} set of {len(rows)} rows, so scores are undefined. "
                "Merge small sites, or leave them out."
            )


def warn_of_small_sites(design: Design, study: Study) -> None:
    """Warn of sites with few patients, whose scores weigh as much as others."""
    sizes = [study.n_patients(split.test) for split in design.splits]
    few = sum(size < 30 for size in sizes)
    if few:
        warn_user(
            f"{OWNER}: {few} of {len(sizes)} sites have fewer than 30 patients, so "
            "their scores vary a lot.",
            DataWarning,
        )
