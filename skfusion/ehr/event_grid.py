"""EventGrid: rows with a subject and an index time in, grids of their events out.

Read next: `skfusion.ehr.grid`, the arithmetic.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, Self

import numpy as np
import pandas as pd
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils import Tags
from sklearn.utils.validation import check_is_fitted, validate_data

from skfusion.ehr.durations import as_duration
from skfusion.ehr.grid import CHANNELS, GridEvents, bin_events, steps_before

__all__ = ["EventGrid"]

# rows at a time, so that what is counted in 64 bit stays small
CHUNK = 512
SIDES: tuple[Literal["left"], Literal["right"]] = ("left", "right")


class EventGrid(TransformerMixin, BaseEstimator):
    """Put the events before an index time on a grid of time steps and codes.

    Each cell holds the value (standardised by the training rows, 0 where there is
    none), whether there is one, and for which share of the grid there had been none
    before. `skfusion.fusion.GRUDEncoder` and ``SequenceTransformer`` read such grids,
    so that records are trained together with images.

    Parameters
    ----------
    events : EventStore
        The events: an immutable handle, shared by clones. All that is asked of it is
        ``of_subjects(subjects)``, a DataFrame of the events of some subjects.
    subject, time : str, default="subject_id" and "index_time"
        Columns of `X` that hold whose events, and the moment of prediction.
    horizon, step : str or timedelta, default="48h" and "1h"
        How far the grid reaches back, and the length of a step. The horizon is a
        multiple of the step.
    codes : sequence of str or None, default=None
        Codes of the grid. None takes those of most training subjects.
    min_subjects : int, default=10
        In how many subjects of the training rows a code must be seen.
    max_codes : int or None, default=50
        Most codes.
    aggregation : {"mean", "last"}, default="mean"
        Which number stands for several of one code in one step. For codes that never
        have a number in the training rows it is how many events there are.
    closed : {"left", "right"}, default="left"
        Whether an event available exactly at the end of the grid is left out.
    gap : str or timedelta, default="0h"
        The grid ends this long before the index time.

    Attributes
    ----------
    codes_ : list of str
        The codes, in the order of the grid.
    counted_ : ndarray of bool of shape (n_codes,)
        Those without numbers.
    mean_, scale_ : ndarray of shape (n_codes,)
        What values are standardised with.
    n_steps_ : int
        Number of steps of time.
    n_features_in_ : int
        Number of columns.
    feature_names_in_ : ndarray of str of shape (n_features_in_,)
        Their names.

    Notes
    -----
    A row without any event on its grid is NaN: an absent modality.

    Examples
    --------
    >>> from functools import partial
    >>> from sklearn.pipeline import make_pipeline
    >>> from skfusion import EventGrid, TorchEncoder
    >>> from skfusion.fusion import GRUDEncoder
    >>> def labs_modality(store):
    ...     grid = EventGrid(store, horizon="48h", step="2h")
    ...     encoder = TorchEncoder(partial(GRUDEncoder, n_steps=24), standardize=False)
    ...     return "labs", make_pipeline(grid, encoder), ["subject_id", "index_time"]
    """

    def __init__(
        self,
        events: Any = None,
        *,
        subject: str = "subject_id",
        time: str = "index_time",
        horizon: Any = "48h",
        step: Any = "1h",
        codes: Sequence[str] | None = None,
        min_subjects: int = 10,
        max_codes: int | None = 50,
        aggregation: str = "mean",
        closed: str = "left",
        gap: Any = "0h",
    ) -> None:
        self.events = events
        self.subject = subject
        self.time = time
        self.horizon = horizon
        self.step = step
        self.codes = codes
        self.min_subjects = min_subjects
        self.max_codes = max_codes
        self.aggregation = aggregation
        self.closed = closed
        self.gap = gap

    def fit(self, X: pd.DataFrame, y: Any = None) -> Self:
        """Learn codes, means and deviations from what the training rows may see.

        Parameters
        ----------
        X : DataFrame of shape (n_samples, n_columns)
            With a column of subjects and one of index times.
        y : ignored
            Present for the API.

        Returns
        -------
        self
            The fitted grid.

        Raises
        ------
        ValueError
            If a parameter makes no sense, a column or an index time is missing, or no
            code is seen in enough subjects.
        """
        self._check_parameters()
        rows = self._rows(X, reset=True)
        visible = self._visible(rows)
        self.codes_ = self._choose_codes(rows, visible)
        visible = visible[visible["code"].isin(self.codes_)]
        numbers = visible.groupby("code")["numeric_value"].count()
        self.counted_ = numbers.reindex(self.codes_, fill_value=0).to_numpy() == 0
        totals = np.zeros((3, len(self.codes_)))
        for start in range(0, len(rows), CHUNK):
            grid = self._bin(visible, start, min(start + CHUNK, len(rows)))
            value, seen = grid[:, :, 0].astype(np.float64), grid[:, :, 1]
            totals += [(part * seen).sum(axis=(0, 1)) for part in (1, value, value**2)]
        number = np.maximum(totals[0], 1)
        self.mean_ = totals[1] / number
        spread = np.sqrt(np.maximum(totals[2] / number - self.mean_**2, 0))
        # rounding leaves constant values a spread that is no information
        self.scale_ = np.where(spread > 1e-6 * np.abs(self.mean_), spread, 1.0)
        # a count is always the mean where it is always 1: then it is left as it is
        self.mean_ = np.where(self.counted_, 0.0, self.mean_)
        return self

    def transform(self, X: pd.DataFrame) -> np.ndarray:
        """Return the grids of rows.

        Parameters
        ----------
        X : DataFrame of shape (n_samples, n_columns)
            With a column of subjects and one of index times.

        Returns
        -------
        ndarray of float32 of shape (n_samples, n_steps * 3 * n_codes)
            Step by step, the earliest first: values, presences, times since.
        """
        check_is_fitted(self)
        rows = self._rows(X, reset=False)
        visible = self._visible(rows)
        visible = visible[visible["code"].isin(self.codes_)]
        width = self.n_steps_ * len(CHANNELS) * len(self.codes_)
        result = np.full((len(rows), width), np.nan, dtype=np.float32)
        for start in range(0, len(rows), CHUNK):
            grid = self._bin(visible, start, min(start + CHUNK, len(rows)))
            seen = grid[:, :, 1]
            grid[:, :, 0] = (grid[:, :, 0] - self.mean_) / self.scale_ * seen
            there = np.flatnonzero(seen.any(axis=(1, 2)))
            result[start + there] = grid[there].reshape(len(there), width)
        return result

    def get_feature_names_out(self, input_features: Any = None) -> np.ndarray:
        """Return the names ``<code>__<steps before the end>__<channel>``.

        Parameters
        ----------
        input_features : ignored
            Present for the API.

        Returns
        -------
        ndarray of str of shape (n_features,)
        """
        check_is_fitted(self)
        names = [
            f"{code}__{self.n_steps_ - 1 - step}__{channel}"
            for step in range(self.n_steps_)
            for channel in CHANNELS
            for code in self.codes_
        ]
        return np.asarray(names, dtype=object)

    def _check_parameters(self) -> None:
        for name, allowed in (
            ("aggregation", ("mean", "last")),
            ("closed", ("left", "right")),
        ):
            if getattr(self, name) not in allowed:
                raise ValueError(
                    f"EventGrid: {name} must be one of {allowed}, got "
                    f"{getattr(self, name)!r}."
                )
        if self.events is None:
            raise ValueError("EventGrid: events must be an EventStore, got None.")
        horizon, step = as_duration(self.horizon), as_duration(self.step)
        if not pd.Timedelta(0) < step <= horizon or horizon % step:
            raise ValueError(
                f"EventGrid: horizon={self.horizon!r} must be a positive multiple of "
                f"step={self.step!r}."
            )
        self.n_steps_ = int(horizon / step)

    def _rows(self, X: pd.DataFrame, *, reset: bool) -> pd.DataFrame:
        """Return subject and end of the grid of each row, numbered."""
        if not isinstance(X, pd.DataFrame):
            raise TypeError(
                f"EventGrid: X must be a DataFrame with the columns {self.subject!r} "
                f"and {self.time!r}, got {type(X).__name__}."
            )
        validate_data(self, X, reset=reset, skip_check_array=True)
        for column in (self.subject, self.time):
            if column not in X.columns:
                raise ValueError(
                    f"EventGrid: X has no column {column!r}; it has {list(X.columns)}."
                )
        time = X[self.time]
        if not pd.api.types.is_datetime64_any_dtype(time):
            raise ValueError(
                f"EventGrid: column {self.time!r} must hold times, found {time.dtype}. "
                "Convert it with pandas.to_datetime."
            )
        if time.isna().any():
            places = np.flatnonzero(time.isna())
            raise ValueError(
                f"EventGrid: column {self.time!r} is null in {len(places)} of "
                f"{len(X)} rows, first at row position {places[0]}."
            )
        end = (time - as_duration(self.gap)).reset_index(drop=True)
        return pd.DataFrame({"subject_id": X[self.subject].to_numpy(), "end": end})

    def _visible(self, rows: pd.DataFrame) -> pd.DataFrame:
        """Return row, step, code and number of what each row may see on its grid."""
        subjects = pd.Index(rows["subject_id"].unique())
        events = self.events.of_subjects(subjects)
        events = events[events["time"].notna()]
        _check_zones(rows["end"], events["time"])
        owner = subjects.get_indexer(pd.Index(events["subject_id"]))
        time = events["time"].to_numpy("datetime64[us]")
        order = np.lexsort((time, owner))  # stable: ties stay in the order of the file
        end = rows["end"].to_numpy("datetime64[us]")
        first, last = self._slices(
            subjects.get_indexer(pd.Index(rows["subject_id"])),
            end,
            owner[order],
            time[order],
        )
        n_events = last - first
        row = np.repeat(np.arange(len(rows)), n_events)
        shift = np.repeat(
            first - np.concatenate([[0], n_events.cumsum()[:-1]]), n_events
        )
        part = events.iloc[order[np.arange(len(row)) + shift]]
        known = part["time"]
        if "available_time" in part:
            known = part["available_time"].fillna(known)
        available, ends = known.to_numpy("datetime64[us]"), end[row]
        seen = available <= ends if self.closed == "right" else available < ends
        length = np.timedelta64(as_duration(self.step).value, "ns")
        step = steps_before(
            part["time"].to_numpy("datetime64[us]"), ends, length, self.n_steps_
        )
        visible = part[["subject_id", "code", "numeric_value"]].assign(
            row=row, step=step
        )
        return visible[seen]

    def _slices(
        self, wanted: np.ndarray, end: np.ndarray, owner: np.ndarray, time: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return where in the sorted events each row's grid begins and ends."""
        begin = end - as_duration(self.horizon).to_timedelta64()
        starts, stops = (np.searchsorted(owner, wanted, side) for side in SIDES)
        first, last = starts.copy(), stops.copy()
        for i, (start, stop) in enumerate(zip(starts, stops, strict=True)):
            history = time[start:stop]
            first[i] = start + np.searchsorted(history, begin[i], "left")
            last[i] = start + np.searchsorted(history, end[i], "right")
        return first, last

    def _choose_codes(self, rows: pd.DataFrame, visible: pd.DataFrame) -> list[str]:
        if self.codes is not None:
            return list(self.codes)
        subjects = visible.groupby("code")["subject_id"].nunique()
        often = subjects[subjects >= self.min_subjects].sort_index()
        often = often.sort_values(ascending=False, kind="stable")[: self.max_codes]
        if not len(often):
            raise ValueError(
                f"EventGrid: none of {len(subjects)} codes is on the grids of at least "
                f"min_subjects={self.min_subjects} of the "
                f"{rows['subject_id'].nunique()} subjects of the training rows."
            )
        return sorted(often.index)

    def _bin(self, visible: pd.DataFrame, start: int, stop: int) -> np.ndarray:
        """Return grids (n, T, 3, C) of the rows from `start` to `stop`."""
        first, last = np.searchsorted(visible["row"], [start, stop])
        part = visible.iloc[first:last]
        code = pd.Index(self.codes_).get_indexer(pd.Index(part["code"]))
        events = GridEvents(
            part["row"].to_numpy() - start,
            part["step"].to_numpy(),
            code,
            part["numeric_value"].to_numpy(np.float64),
        )
        shape = (stop - start, self.n_steps_, len(self.codes_))
        return bin_events(events, shape, self.aggregation, self.counted_)

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array = False
        tags.input_tags.string = True
        tags.transformer_tags.preserves_dtype = []
        return tags


def _check_zones(end: pd.Series, time: pd.Series) -> None:
    if (end.dt.tz is None) != (time.dt.tz is None):
        with_zone, without = "events", "index times"
        if time.dt.tz is None:
            with_zone, without = without, with_zone
        raise ValueError(
            f"EventGrid: the {with_zone} have a time zone and the {without} have none, "
            "so that hours may lie between them. Give both one."
        )
