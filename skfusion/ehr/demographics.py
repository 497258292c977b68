"""Demographics: rows with a subject and an index time in, age, sex and the like out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Self

import numpy as np
import pandas as pd
from sklearn.base import clone
from sklearn.utils.validation import check_is_fitted, has_fit_parameter, validate_data

from skfusion.ehr.events.columns import DAY, NO_TIME
from skfusion.ehr.events.store import EventStore, as_store
from skfusion.ehr.point_in_time.cases import CHOICES, EventTransformer, check_choices
from skfusion.ehr.point_in_time.visibility import row_chunks
from skfusion.ehr.tabular.encoder import TabularEncoder

__all__ = ["Demographics", "has_demographics"]


BIRTH = "MEDS_BIRTH"
FACTS = ("GENDER", "RACE", "ETHNICITY")
YEAR = 365.25 * DAY  # in microseconds
SEPARATOR = "//"


class Demographics(EventTransformer):
    """Take age, sex and what else holds for a person out of the events.

    The age is that at the index time, in years, from the first event ``MEDS_BIRTH``. A
    fact is what follows its name in a code, such as ``F`` in ``GENDER//F``: one without
    a time holds always, one with a time from then on, and of several the latest that
    was available before the index time counts.

    Parameters
    ----------
    events : EventStore or path, default=None
        The events, as `EventStore.from_omop` and its sisters read them.
    subject, time : str, default="subject_id" and "index_time"
        Columns of `X`: whose events, and the moment of prediction.
    facts : tuple of str, default=("GENDER", "RACE", "ETHNICITY")
        What codes of facts begin with. Those of which the store has no code are left
        out.
    encoder : transformer or None, default=None
        What makes numbers of the table of age and facts; None is a `TabularEncoder`.
    unknown_subject : {"error", "empty"}, default="error"
        What becomes of subjects that the store does not have.

    Attributes
    ----------
    encoder_ : transformer
        The fitted encoder.
    columns_ : list of str
        Columns of the table that it was given: ``"age"`` and the facts in small
        letters.
    n_features_in_ : int
        Number of columns of `X`.
    feature_names_in_ : ndarray of str
        Their names.

    See Also
    --------
    TabularEncoder : For columns of the cohort.

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

    def fit(self, X: Any, y: Any = None, sample_weight: Any = None) -> Self:
        """Learn categories, the typical age and its scale.

        Parameters
        ----------
        X : DataFrame of shape (n_samples, n_columns)
            With a column of subjects and one of index times.
        y : array-like of shape (n_samples,), default=None
            Handed to the encoder.
        sample_weight : array-like of shape (n_samples,) or None, default=None
            Handed to the encoder, if it takes weights.

        Returns
        -------
        self
            The fitted transformer.

        Raises
        ------
        ValueError
            If the store has no births and no facts, somebody is born a day or more
            after the index time, or see `transform`.
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
        """Encode age and facts.

        Parameters
        ----------
        X : DataFrame of shape (n_samples, n_columns)
            With a column of subjects and one of index times.

        Returns
        -------
        ndarray of shape (n_samples, n_features)
            What the encoder makes.

        Raises
        ------
        ValueError
            If a column or an index time is missing, time zones are mixed, subjects are
            unknown (see `unknown_subject`), or somebody is born a day or more after
            the index time.
        TypeError
            If ids or times are of another kind than in the events.
        """
        check_is_fitted(self)
        validate_data(self, X, reset=False, skip_check_array=True)
        store = as_store(self.events, type(self).__name__)
        return self.encoder_.transform(self._table(X, store))

    def get_feature_names_out(self, input_features: Any = None) -> np.ndarray:
        """Return the names that the encoder gives.

        Parameters
        ----------
        input_features : ignored
            Present for the API.

        Returns
        -------
        ndarray of str of shape (n_features,)
        """
        check_is_fitted(self)
        return self.encoder_.get_feature_names_out()

    def _known_columns(self, store: EventStore) -> list[str]:
        """Return the age and those facts that the store has codes of."""
        kinds = _kinds(store.codes, self.facts)
        there = [name for i, name in enumerate((BIRTH, *self.facts)) if i in kinds]
        if not there:
            raise ValueError(
                f"Demographics: none of the {len(store.codes)} codes of the store is "
                f"{BIRTH!r} or begins with {' or '.join(map(repr, self.facts))} and "
                f"{SEPARATOR!r}. Pass facts= with what yours begin with, or encode "
                "columns of the cohort by TabularEncoder."
            )
        return ["age" if name == BIRTH else name.lower() for name in there]

    def _table(self, X: Any, store: EventStore) -> pd.DataFrame:
        """Return age and facts of each row."""
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
        age = births["end"] - births["time"]
        # a birth of which the date is known is stored at the end of its day
        unborn = births.loc[age <= -DAY, "row"].to_numpy()
        if len(unborn):
            places = ", ".join(map(str, unborn[:5]))
            raise ValueError(
                f"Demographics: the subjects of {len(unborn)} of {n_rows} rows (row "
                f"positions {places}) are born after the index time, so that their age "
                f"would be negative. Correct {self.time!r} or the events {BIRTH!r}, or "
                "drop these rows."
            )
        ages = np.full(n_rows, np.nan)
        ages[births["row"]] = age.clip(lower=0) / YEAR
        return ages


def has_demographics(store: EventStore) -> bool:
    """Tell whether a store has births, or any of the usual facts."""
    return bool(_kinds(store.codes, FACTS))


def _kinds(codes: Sequence[str], facts: Sequence[str]) -> dict[int, np.ndarray]:
    """Return the codes of births (0) and of each fact (1, ...), where there are any."""
    words = pd.Series(codes, dtype=object)
    chosen = [words == BIRTH]
    chosen += [words.str.startswith(name + SEPARATOR) for name in facts]
    places = (np.flatnonzero(part) for part in chosen)
    return {kind: place for kind, place in enumerate(places) if len(place)}


def _personal_events(
    store: EventStore, subject: np.ndarray, kinds: dict[int, np.ndarray]
) -> pd.DataFrame:
    """Return births and facts of some subjects, in the order of time."""
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
