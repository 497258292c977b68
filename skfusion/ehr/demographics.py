"""Age, sex and similar facts from events, with `Demographics`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Self

import numpy as np
import pandas as pd
from sklearn.base import clone
from sklearn.utils.validation import check_is_fitted, has_fit_parameter, validate_data

from skfusion._fitting.state import undone_on_failure
from skfusion.ehr.events.columns import DAY, NO_TIME
from skfusion.ehr.events.store import EventStore, as_store
from skfusion.ehr.point_in_time.cases import CHOICES, EventTransformer, check_choices
from skfusion.ehr.point_in_time.visibility import row_chunks
from skfusion.ehr.tabular.encoder import TabularEncoder
from skfusion.exceptions import DataWarning, warn_user

__all__ = ["Demographics", "has_demographics"]


BIRTH = "MEDS_BIRTH"
FACTS = ("GENDER", "RACE", "ETHNICITY")
YEAR = 365.25 * DAY  # A year in microseconds.
SEPARATOR = "//"


class Demographics(EventTransformer):
    """Transformer that extracts age, sex and similar facts from events.

    The age is the age at the index time in years, from the first event ``MEDS_BIRTH``.
    A birth at noon of the middle day of a year or month is one of which only the year
    or month is known, and if the index time is before it in that year or month, it is
    in the middle of the part before the index time.
    The value of a fact follows its name in the code, such as ``F`` in ``GENDER//F``. A
    fact without a time is always valid, and a fact with a time is valid from then on.
    Of several values, the latest one available before the index time is used.

    Parameters
    ----------
    events : EventStore or path, default=None
        The events, with the codes that `EventStore.from_omop` and the other readers
        use.
    subject, time : str, default="subject_id" and "index_time"
        Columns of `X` with the subject and the index time.
    facts : tuple of str, default=("GENDER", "RACE", "ETHNICITY")
        Code prefixes of the facts. Facts without a code in the store are skipped.
    encoder : transformer or None, default=None
        Encoder of the table of age and facts. None is a `TabularEncoder`.
    unknown_subject : {"error", "empty"}, default="error"
        Treatment of subjects that are not in the store.

    Attributes
    ----------
    encoder_ : transformer
        The fitted encoder.
    columns_ : list of str
        Columns of the encoded table: ``"age"`` and the facts in lower case.
    n_features_in_ : int
        Number of columns of `X`.
    feature_names_in_ : ndarray of str
        Names of the columns of `X`.

    See Also
    --------
    TabularEncoder : Encoder of columns of the cohort table.

    Examples
    --------
    >>> import pandas as pd
    >>> from skfusion.ehr import Demographics, EventStore, TabularEncoder
    >>> events = pd.DataFrame({
    ...     "subject_id": [1, 1, 2, 2],
    ...     "time": pd.to_datetime(["1960-05-01", None, "1990-05-01", None]),
    ...     "code": ["MEDS_BIRTH", "GENDER//F", "MEDS_BIRTH", "GENDER//M"],
    ... })
    >>> store = EventStore.from_frame(events, no_time="static")
    >>> X = pd.DataFrame({"subject_id": [2, 1],
    ...                   "index_time": pd.Timestamp("2020-05-01")})
    >>> Demographics(store, encoder=TabularEncoder(scale=False)).set_output(
    ...     transform="pandas").fit_transform(X).round(1)
        age  gender_F  gender_M
    0  30.0       0.0       1.0
    1  60.0       1.0       0.0
    """

    __module__ = "skfusion.ehr"

    def __init__(
        self,
        events: Any = None,
        *,
        subject: str = "subject_id",
        time: str = "index_time",
        facts: Sequence[str] = FACTS,
        encoder: Any = None,
        unknown_subject: str = "error",
    ) -> None:
        self.events = events
        self.subject = subject
        self.time = time
        self.facts = facts
        self.encoder = encoder
        self.unknown_subject = unknown_subject

    @undone_on_failure
    def fit(self, X: Any, y: Any = None, sample_weight: Any = None) -> Self:
        """Fit the encoder on the age and the facts of the rows.

        Parameters
        ----------
        X : DataFrame of shape (n_samples, n_columns)
            Cohort table with a column of subjects and one of index times.
        y : array-like of shape (n_samples,), default=None
            Passed to the encoder.
        sample_weight : array-like of shape (n_samples,) or None, default=None
            Passed to the encoder, if it supports weights.

        Returns
        -------
        self
            The fitted transformer.

        Raises
        ------
        ValueError
            If the store has no births and no facts, or for the reasons given in
            `transform`.

        Warns
        -----
        DataWarning
            If a birth is a day or more after the index time, so that the age is
            missing.
        """
        check_choices(self, {"unknown_subject": CHOICES["unknown_subject"]})
        store = as_store(self.events, type(self).__name__)
        validate_data(self, X, skip_check_array=True)
        self.columns_ = self._known_columns(store)
        encoder = TabularEncoder() if self.encoder is None else clone(self.encoder)
        weights = {}
        if sample_weight is not None and has_fit_parameter(encoder, "sample_weight"):
            weights["sample_weight"] = sample_weight
        self.encoder_ = encoder.fit(self._table(X, store), y, **weights)
        return self

    def transform(self, X: Any) -> Any:
        """Encode the age and the facts of the rows.

        Parameters
        ----------
        X : DataFrame of shape (n_samples, n_columns)
            Cohort table with a column of subjects and one of index times.

        Returns
        -------
        ndarray of shape (n_samples, n_features)
            Output of the encoder.

        Raises
        ------
        ValueError
            If a column or an index time is missing, time zones are mixed, or subjects
            are unknown (see `unknown_subject`).
        TypeError
            If ids or times are of another dtype than in the events.

        Warns
        -----
        DataWarning
            If a birth is a day or more after the index time, so that the age is
            missing.
        """
        check_is_fitted(self)
        validate_data(self, X, reset=False, skip_check_array=True)
        store = as_store(self.events, type(self).__name__)
        return self.encoder_.transform(self._table(X, store))

    def get_feature_names_out(self, input_features: Any = None) -> np.ndarray:
        """Return the feature names of the encoder.

        Parameters
        ----------
        input_features : ignored
            Present for API consistency.

        Returns
        -------
        ndarray of str of shape (n_features,)
        """
        check_is_fitted(self)
        return self.encoder_.get_feature_names_out()

    def _known_columns(self, store: EventStore) -> list[str]:
        """Return the columns of the age and of the facts with codes in the store."""
        kinds = _kinds(store.codes, self.facts)
        there = [name for i, name in enumerate((BIRTH, *self.facts)) if i in kinds]
        if not there:
            raise ValueError(
                f"Demographics: got {len(store.codes)} codes in the store, but none of "
                f"them is {BIRTH!r} or starts with "
                f"{' or '.join(map(repr, self.facts))} and {SEPARATOR!r}. Pass facts= "
                "with the prefixes of the store, or encode columns of the cohort table "
                "with TabularEncoder."
            )
        return ["age" if name == BIRTH else name.lower() for name in there]

    def _table(self, X: Any, store: EventStore) -> pd.DataFrame:
        """Return a table of the age and the facts of each row."""
        cases = self._cases(X, store)
        kinds = _kinds(store.codes, self.facts)
        found = _personal_events(store, cases.subject, kinds)
        rows = pd.DataFrame({"subject": cases.subject, "end": cases.end})
        rows["row"] = np.arange(len(rows))
        pairs = rows.merge(found, on="subject")
        births = pairs[(pairs["kind"] == 0) & (pairs["time"] != NO_TIME)]
        facts = pairs[(pairs["kind"] > 0) & (pairs["known"] < pairs["end"])]
        facts = facts.drop_duplicates(["row", "kind"], keep="last")
        words = pd.Series(store.codes, dtype=object)
        table = pd.DataFrame({"age": self._ages(births, len(rows))})
        for kind, name in enumerate(self.facts, start=1):
            some = facts[facts["kind"] == kind]
            named = words[some["code"]].str[len(name) + len(SEPARATOR) :]
            column = pd.Series(named.to_numpy(), index=some["row"], dtype="string")
            table[name.lower()] = column.reindex(table.index)
        return table[self.columns_].set_index(rows.index)

    def _ages(self, births: pd.DataFrame, n_rows: int) -> np.ndarray:
        births = births.drop_duplicates("row", keep="first")
        row, end = births["row"].to_numpy(), births["end"].to_numpy()
        age = end - births["time"].to_numpy()
        since = end - _interval_starts(births["time"].to_numpy())
        # A birth in the year or month of the index time is in its part before it.
        age = np.where((age < 0) & (since >= 0), since // 2, age)
        # A birth with a date only is stored at the end of its day.
        unborn = age <= -DAY
        if unborn.any():
            places = ", ".join(map(str, np.sort(row[unborn])[:5]))
            warn_user(
                f"{type(self).__name__}: got a birth after the index time in "
                f"{unborn.sum()} of {n_rows} rows (row positions {places}). Their age "
                f"is missing. Correct {self.time!r} or the events {BIRTH!r}.",
                DataWarning,
            )
        ages = np.full(n_rows, np.nan)
        ages[row[~unborn]] = age[~unborn].clip(min=0) / YEAR
        return ages


def _interval_starts(births: np.ndarray) -> np.ndarray:
    """Return the start of the year or month that a birth stands for, or the birth.

    A birth at noon of the middle day of a year or month is one of which only the year
    or the month is known.
    """
    times = births.astype("datetime64[us]")
    starts = times.copy()
    for unit in ("M", "Y"):
        first = times.astype(f"datetime64[{unit}]")
        following = first + np.timedelta64(1, unit)
        start, stop = (part.astype("datetime64[h]") for part in (first, following))
        middle = (start + (stop - start) // 2).astype("datetime64[D]")
        noon = middle.astype("datetime64[h]") + np.timedelta64(12, "h")
        starts = np.where(times == noon, start.astype(times.dtype), starts)
    return starts.astype(np.int64)


def has_demographics(store: EventStore) -> bool:
    """Return whether a store has births or any of the default facts.

    Examples
    --------
    >>> import pandas as pd
    >>> from skfusion.ehr import EventStore, has_demographics
    >>> events = pd.DataFrame({
    ...     "subject_id": [1], "code": ["MEDS_BIRTH"],
    ...     "time": [pd.Timestamp("1960-05-01")],
    ... })
    >>> has_demographics(EventStore.from_frame(events))
    True
    """
    return bool(_kinds(store.codes, FACTS))


def _kinds(codes: Sequence[str], facts: Sequence[str]) -> dict[int, np.ndarray]:
    """Return the positions of the codes of births (0) and of each fact (1, ...)."""
    words = pd.Series(codes, dtype=object)
    chosen = [words == BIRTH]
    chosen += [words.str.startswith(name + SEPARATOR) for name in facts]
    places = (np.flatnonzero(part) for part in chosen)
    return {kind: place for kind, place in enumerate(places) if len(place)}


def _personal_events(
    store: EventStore, subject: np.ndarray, kinds: dict[int, np.ndarray]
) -> pd.DataFrame:
    """Return births and facts of some subjects, in order of time."""
    kind_of = np.full(len(store.codes), -1)
    for kind, places in kinds.items():
        kind_of[places] = kind
    names = ("subject", "code", "kind", "time", "known")
    none = pd.DataFrame({name: np.zeros(0, dtype=np.int64) for name in names})
    parts = _parts(store, np.unique(subject[subject >= 0]), kind_of)
    return pd.concat([none, *parts], ignore_index=True)


def _parts(
    store: EventStore, subjects: np.ndarray, kind_of: np.ndarray
) -> Iterator[pd.DataFrame]:
    files = store.files
    for some in row_chunks(files, subjects):
        owner = subjects[some]
        start, stop = files.offsets[owner], files.offsets[owner + 1]
        code = files.take("code", start, stop).astype(np.int64)
        chosen = np.flatnonzero(kind_of[code] >= 0)
        time = files.take("time", start, stop)[chosen]
        known = time
        if "available" in files.columns:
            stated = files.take("available", start, stop)[chosen]
            known = np.where(stated == NO_TIME, time, stated)
        yield pd.DataFrame(
            {
                "subject": np.repeat(owner, stop - start)[chosen],
                "code": code[chosen],
                "kind": kind_of[code[chosen]],
                "time": time,
                "known": known,
            }
        )
