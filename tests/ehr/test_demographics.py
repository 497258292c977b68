"""Age and what else holds for a person, out of events, as they were known."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.model_selection import cross_validate

from skfusion import EarlyFusionClassifier, EventStore, TabularEncoder
from skfusion.ehr import Demographics, LeakageAudit

INDEX = pd.Timestamp("2020-06-01 12:00")


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("SKFUSION_CACHE", str(tmp_path))


def stored(rows):
    frame = pd.DataFrame(rows, columns=["subject_id", "time", "code"])
    frame["time"] = pd.to_datetime(frame["time"], format="ISO8601")
    return EventStore.from_frame(frame, no_time="static", date_only=None)


@pytest.fixture
def store():
    return stored(
        [
            (1, "1960-06-01 12:00", "MEDS_BIRTH"),
            (1, None, "GENDER//F"),
            (1, "2019-01-01 08:00", "RACE//A"),
            (1, "2020-05-01 08:00", "RACE//B"),
            (1, "2020-06-01 12:00", "RACE//C"),  # at the index time
            (1, "2021-01-01 08:00", "RACE//D"),
            (1, "2020-05-01 08:00", "LAB//crp"),
            (2, "1990-06-01 12:00", "MEDS_BIRTH"),
            (2, None, "GENDER//M"),
            (3, "2020-05-01 08:00", "LAB//crp"),
        ]
    )


def cases(*subjects):
    return pd.DataFrame({"subject_id": subjects, "index_time": INDEX})


def table(store, X, **parameters):
    """Return what the encoder is given."""
    encoder = TabularEncoder(scale=False, impute=None, min_frequency=None)
    demographics = Demographics(store, encoder=encoder, **parameters)
    return demographics.set_output(transform="pandas").fit_transform(X)


def test_ages_and_facts_are_those_known_before_the_index_time(store):
    X = cases(2, 1, 3, 1).assign(index_time=[INDEX, INDEX, INDEX, "2022-06-01"])
    X["index_time"] = pd.to_datetime(X["index_time"])
    found = table(store, X.set_index(pd.Index([5, 6, 7, 8])))
    assert found.index.tolist() == [5, 6, 7, 8]
    years = np.array([10958, 21915, np.nan, 22644.5]) / 365.25  # counted in days
    np.testing.assert_allclose(found["age"], years)
    races = found.filter(like="race_").drop(columns="race_missing", errors="ignore")
    named = races.idxmax(axis=1).where(races.any(axis=1))
    assert named[[6, 8]].tolist() == ["race_B", "race_D"]
    assert found["gender_F"].tolist() == [0, 1, 0, 1]
    assert found["gender_M"].tolist() == [1, 0, 0, 0]
    assert not {"race_A", "race_C"} & set(found)


def test_what_is_known_late_is_not_known_yet():
    frame = pd.DataFrame(
        {
            "subject_id": [1, 1, 2],
            "time": INDEX - pd.Timedelta("1D"),
            "available_time": INDEX + pd.to_timedelta([-1, 1, -1], unit="h"),
            "code": ["RACE//A", "RACE//B", "RACE//B"],
        }
    )
    found = table(EventStore.from_frame(frame), cases(1, 2))
    assert found["race_A"].tolist() == [1, 0]
    assert found["race_B"].tolist() == [0, 1]


def test_nothing_after_the_index_time_counts(store):
    X = cases(1, 2, 3)
    assert LeakageAudit(random_state=0).run(Demographics(store), X).passed
    # of births the first counts: a later one is an error of the record
    twice = pd.concat(
        [store.to_frame(), store.to_frame().assign(time=pd.Timestamp("2030-01-01"))]
    )
    with pytest.warns(UserWarning, match="8 of 16 events of 6 codes at midnight"):
        other = EventStore.from_frame(
            twice[["subject_id", "time", "code"]], no_time="drop"
        )
    np.testing.assert_array_equal(table(other, X)["age"], table(store, X)["age"])


def test_what_is_learned_is_learned_of_the_training_rows(store):
    fitted = Demographics(store).fit(cases(2, 3))
    assert "gender_F" not in fitted.get_feature_names_out()
    assert fitted.columns_ == ["age", "gender", "race"]
    assert fitted.transform(cases(1)).shape == (1, len(fitted.get_feature_names_out()))


def test_ages_that_would_be_negative_are_gaps(store):
    X = cases(1, 2, 2).assign(index_time=pd.Timestamp("1980-01-01"))
    message = r"birth after the index time in 2 of 3 rows \(row positions 1, 2\)"
    with pytest.warns(UserWarning, match=message):
        found = table(store, X)
    assert np.isnan(found["age"]).tolist() == [False, True, True]
    fitted = Demographics(store).fit(X[:1])
    with pytest.warns(UserWarning, match="1 of 1 rows"):
        fitted.transform(X[1:2])


@pytest.mark.parametrize(
    ("born", "index", "days"),
    [
        ("2024-07-02 12:00", "2024-03-01", 30),  # Of 60 days of the year so far.
        ("2023-07-02 12:00", "2023-01-21", 10),
        ("2024-05-16 12:00", "2024-05-11", 5),
        ("2024-02-15 12:00", "2024-02-03", 1),
        ("2024-07-02 12:00", "2024-07-12 12:00", 10),
        ("2024-07-02 12:00", "2024-01-01", 0),
    ],
)
def test_infants_of_a_birth_year_or_month_are_not_unborn(born, index, days):
    store = stored([(1, born, "MEDS_BIRTH")])
    X = cases(1).assign(index_time=pd.Timestamp(index))
    assert table(store, X)["age"][0] * 365.25 == pytest.approx(days)


@pytest.mark.parametrize(
    ("born", "index"),
    [
        ("2024-07-02 12:00", "2023-12-31"),  # The year before.
        ("2024-07-03 12:00", "2024-03-01"),  # A birth with its day.
        ("2024-05-16 12:00", "2024-04-30"),
    ],
)
def test_other_births_after_the_index_time_are_gaps(born, index):
    store = stored([(1, born, "MEDS_BIRTH"), (2, "2000-01-01 08:00", "MEDS_BIRTH")])
    X = cases(1, 2).assign(index_time=pd.Timestamp(index))
    with pytest.warns(UserWarning, match="birth after the index time in 1 of 2 rows"):
        found = table(store, X)
    assert np.isnan(found["age"]).tolist() == [True, False]


def test_the_newborn_are_of_age_zero_on_their_day():
    # of the date alone the time is the end of the day, behind the index time
    born = pd.DataFrame({"subject_id": [1, 2], "code": ["MEDS_BIRTH"] * 2})
    born["time"] = [INDEX.normalize(), pd.Timestamp("2000-01-01")]
    store = EventStore.from_frame(born)
    assert (store.to_frame()["time"] > INDEX).any()
    assert table(store, cases(1))["age"].tolist() == [0.0]
    before = cases(1, 2).assign(index_time=INDEX.normalize() - pd.Timedelta("1h"))
    with pytest.warns(UserWarning, match="birth after the index time in 1 of 2 rows"):
        assert np.isnan(table(store, before)["age"]).tolist() == [True, False]


def test_bad_input_says_why(store):
    none = stored([(1, "2020-01-01", "LAB//crp")])
    with pytest.raises(
        ValueError, match="got 1 codes in the store, but none of them is"
    ):
        Demographics(none).fit(cases(1))
    with pytest.raises(ValueError, match="subjects without events in 1 of 2 rows"):
        Demographics(store).fit(cases(1, 9))
    with pytest.raises(ValueError, match="unknown_subject must be one of"):
        Demographics(store, unknown_subject="skip").fit(cases(1))
    with pytest.raises(TypeError, match="Demographics: events must be an EventStore"):
        Demographics(store.to_frame()).fit(cases(1))
    found = table(store, cases(1, 9), unknown_subject="empty")
    assert np.isnan(found["age"]).tolist() == [False, True]


def test_in_a_fusion_with_weights_and_folds():
    rng = np.random.default_rng(0)
    n = 120
    born = INDEX - pd.to_timedelta(rng.uniform(20, 90, n) * 365.25, unit="D")
    rows = [(i, str(time), "MEDS_BIRTH") for i, time in enumerate(born)]
    rows += [(i, None, f"GENDER//{'FM'[i % 2]}") for i in range(n)]
    X = cases(*range(n)).assign(noise=rng.normal(size=n))
    age = (INDEX - born).days / 365.25
    y = (age + rng.normal(scale=5, size=n) > 55).astype(int)
    store = stored(rows)
    model = EarlyFusionClassifier(
        [
            ("demographics", Demographics(store), ["subject_id", "index_time"]),
            ("other", TabularEncoder(), ["noise"]),
        ],
        random_state=0,
    )
    scores = cross_validate(model, X, y, cv=3, scoring="roc_auc")["test_score"]
    assert scores.mean() > 0.9
    model.fit(X, y, sample_weight=rng.uniform(1, 2, n))
    assert clone(model).modalities[0][1].events is store
