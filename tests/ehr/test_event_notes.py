"""`EventNotes`: the texts that a row may see, compared with a plain loop."""

from __future__ import annotations

import pickle

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler

from skfusion import EarlyFusionClassifier, EventStore, TextEmbedder
from skfusion.ehr import EventGrid, EventNotes, EventWindows, with_events
from skfusion.exceptions import DataWarning, LeakageWarning

CASE = ["subject_id", "index_time"]
HOUR = pd.Timedelta("1h")


def table(seed=0, n=400, zone=None):
    """Events at full hours, some without a text, some available later."""
    rng = np.random.default_rng(seed)
    start = pd.Timestamp("2024-01-01", tz=zone)
    time = start + pd.to_timedelta(rng.integers(0, 60, n), "h")
    late = time + pd.to_timedelta(rng.choice([0, 5, 30], n), "h")
    frame = pd.DataFrame(
        {
            "subject_id": rng.integers(0, 12, n),
            "time": time,
            "available_time": late,
            "code": rng.choice(["NOTE//radiology", "NOTE//nurse", "LAB//crp"], n),
            "numeric_value": rng.normal(size=n),
            "text_value": [f"text {i}" for i in range(n)],
        }
    )
    frame.loc[rng.random(n) < 0.3, "text_value"] = None
    return frame


def cases(seed=1, n=80, zone=None):
    rng = np.random.default_rng(seed)
    start = pd.Timestamp("2024-01-01", tz=zone)
    hours = pd.to_timedelta(rng.integers(0, 90, n), "h")
    return pd.DataFrame(
        {"subject_id": rng.integers(0, 12, n), "index_time": start + hours}
    )


def store_of(frame):
    return EventStore.from_frame(frame, date_only=None)


def by_hand(frame, X, *, closed, gap, window, limit, codes):
    """The texts of each row, from the definition."""
    answers = []
    ordered = frame.sort_values("time", kind="stable")
    for subject, moment in zip(X["subject_id"], X["index_time"], strict=True):
        end = moment - gap
        part = ordered[ordered["subject_id"] == subject]
        part = part[part["text_value"].notna() & part["code"].isin(codes)]
        if closed == "left":
            seen = (part["time"] < end) & (part["available_time"] < end)
            inside = part["time"] >= end - window if window is not None else True
        else:
            seen = (part["time"] <= end) & (part["available_time"] <= end)
            inside = part["time"] > end - window if window is not None else True
        answers.append(part[seen & inside]["text_value"].tolist()[::-1][:limit])
    return answers


@pytest.mark.parametrize("closed", ["left", "right"])
@pytest.mark.parametrize(
    ("gap", "window", "limit", "zone"),
    [
        (0, None, None, None),
        (0, 24, 3, None),
        (6, 24, None, "Europe/Berlin"),
        (6, None, 1, None),
    ],
)
def test_texts_are_those_of_the_definition(closed, gap, window, limit, zone):
    frame, X = table(zone=zone), cases(zone=zone)
    length = None if window is None else window * HOUR
    notes = EventNotes(
        store_of(frame),
        include=["NOTE//*"],
        window=length,
        gap=gap * HOUR,
        closed=closed,
        max_notes=limit,
        shared_subjects="ignore",
    )
    found = notes.fit_transform(X)
    expected = by_hand(
        frame,
        X,
        closed=closed,
        gap=gap * HOUR,
        window=length,
        limit=limit,
        codes=["NOTE//radiology", "NOTE//nurse"],
    )
    assert found.shape == (len(X), 1)
    assert list(found[:, 0]) == expected
    assert sum(map(len, expected)) > 60
    assert notes.n_rows_without_notes_ == sum(not row for row in expected) > 0
    assert notes.codes_ == ["NOTE//nurse", "NOTE//radiology"]


def test_later_events_change_nothing():
    """A text after the index time, or available after it, has no effect."""
    frame, X = table(), cases().head(1)
    moment, subject = X.iloc[0]["index_time"], X.iloc[0]["subject_id"]
    later = pd.DataFrame(
        {
            "subject_id": subject,
            "time": [moment, moment + HOUR, moment - HOUR],
            "available_time": [moment, moment + HOUR, moment],
            "code": "NOTE//radiology",
            "numeric_value": np.nan,
            "text_value": ["now", "later", "written now"],
        }
    )
    before = EventNotes(store_of(frame)).fit_transform(X)[0, 0]
    after = EventNotes(store_of(pd.concat([frame, later]))).fit_transform(X)[0, 0]
    assert after == before
    closed = EventNotes(store_of(pd.concat([frame, later])), closed="right")
    assert set(closed.fit_transform(X)[0, 0]) >= {"now", "written now"}


def test_times_come_with_the_texts():
    frame, X = table(zone="UTC"), cases(zone="UTC")
    notes = EventNotes(store_of(frame), with_times=True, max_notes=None)
    time_of = frame.set_index("text_value")["time"]
    found = [pair for row in notes.fit_transform(X)[:, 0] for pair in row]
    assert len(found) > 100
    for text, time in found:
        assert abs(time - time_of[text]) <= pd.Timedelta("1us")


def test_rows_may_be_in_any_order():
    frame, X = table(), cases()
    notes = EventNotes(store_of(frame), shared_subjects="ignore").fit(X)
    order = np.random.default_rng(2).permutation(len(X))
    expected = notes.transform(X)[order, 0]
    assert list(notes.transform(X.iloc[order])[:, 0]) == list(expected)


def test_what_reveals_the_outcome_is_left_out():
    frame = table()
    frame["code"] = frame["code"].replace("NOTE//nurse", "NOTE//DISCHARGE")
    with pytest.warns(DataWarning, match="left out 1 of 2 codes"):
        notes = EventNotes(store_of(frame), include=["NOTE//*"]).fit(cases())
    assert notes.codes_ == ["NOTE//radiology"]


def test_rows_of_training_subjects_at_other_times_are_noticed():
    notes = EventNotes(store_of(table())).fit(cases().head(40))
    with pytest.warns(LeakageWarning, match="rows of subjects of the training rows"):
        notes.transform(cases().tail(40))


def test_a_store_without_texts_is_refused():
    frame = table().drop(columns="text_value")
    with pytest.raises(ValueError, match="no event of the store has a text, of 400"):
        EventNotes(store_of(frame)).fit(cases())


def test_a_cohort_without_any_text_is_noticed():
    with pytest.warns(DataWarning, match="no text is visible in any of the 80 rows"):
        EventNotes(store_of(table()), include=["NOTES//*"]).fit(cases())


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"window": "0h"}, "window must be a positive time"),
        ({"max_notes": 0}, "max_notes"),
        ({"closed": "both"}, "closed"),
        ({"gap": "-1h"}, "gap must not be negative"),
        ({"unknown_subject": "skip"}, "unknown_subject"),
    ],
)
def test_parameters_are_checked(parameters, message):
    with pytest.raises(ValueError, match=message):
        EventNotes(store_of(table()), **parameters).fit(cases())


def test_unknown_subjects_have_no_notes():
    X = pd.concat([cases().head(3), cases().head(1).assign(subject_id=99)])
    notes = EventNotes(store_of(table()), unknown_subject="empty").fit(X)
    assert notes.transform(X)[3, 0] == []


def test_it_is_a_scikit_learn_transformer():
    notes = EventNotes(store_of(table())).set_output(transform="pandas")
    X = cases().set_axis(range(100, 180))
    found = notes.fit_transform(X)
    assert list(found.columns) == ["notes"]
    assert list(found.index) == list(X.index)
    copy = pickle.loads(pickle.dumps(notes))
    pd.testing.assert_frame_equal(copy.transform(X), found)
    assert clone(notes).get_params() == notes.get_params()


def fever_counts(texts):
    return np.array([[text.count("fever"), len(text)] for text in texts])


def test_notes_of_events_are_a_modality(tmp_path):
    n = 60
    rng = np.random.default_rng(0)
    y = np.arange(n) % 2
    start = pd.Timestamp("2024-01-10 06:00")
    early = pd.DataFrame(
        {
            "subject_id": range(n),
            "time": start,
            "code": "NOTE//admission",
            "text_value": np.where(y, "fever and cough", "no complaints"),
        }
    ).iloc[:-6]
    late = early.assign(time=start + pd.Timedelta("9h"), text_value="fever later")
    other = early.assign(code="LAB//crp", text_value=None)
    store = EventStore.from_frame(pd.concat([early, late, other]), date_only=None)
    X = pd.DataFrame(
        {
            "subject_id": range(n),
            "index_time": start + pd.Timedelta("6h"),
            "age": rng.normal(size=n),
        }
    )
    steps = [
        ("notes", EventNotes(store, unknown_subject="empty")),
        ("embed", TextEmbedder(fever_counts, store=tmp_path)),
    ]
    model = EarlyFusionClassifier(
        [("note", Pipeline(steps), CASE), ("age", StandardScaler(), ["age"])],
        estimator=LogisticRegression(),
    ).fit(X, y)
    np.testing.assert_array_equal(model.predict(X)[:-6], y[:-6])
    new = EventStore.from_frame(
        early.head(1).assign(subject_id=1000, text_value="fever and cough")
    )
    case = X.head(1).assign(subject_id=1000)
    assert with_events(model, new).predict(case)[0] == 1


@pytest.mark.parametrize("name", ["include", "exclude"])
@pytest.mark.parametrize("kind", [EventGrid, EventNotes, EventWindows])
def test_a_single_pattern_is_refused_in_the_name_of_the_transformer(kind, name):
    message = rf"^{kind.__name__}: {name} must be a tuple of patterns .* 'LAB//\*'"
    with pytest.raises(ValueError, match=message):
        kind(store_of(table()), **{name: "LAB//*"}).fit(cases())


@pytest.mark.parametrize("kind", [EventGrid, EventNotes, EventWindows])
def test_a_fit_needs_a_row(kind):
    with pytest.raises(ValueError, match=rf"^{kind.__name__}: X must have at least 1"):
        kind(store_of(table())).fit(cases().head(0))
