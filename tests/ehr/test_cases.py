"""Cases from stays: index time, exclusions with their numbers, and outcomes."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from skfusion import EventStore
from skfusion.ehr import cases_from_stays


def hours(*numbers):
    start = pd.Timestamp("2024-05-01 08:00")
    return pd.DatetimeIndex(
        [pd.NaT if n is None else start + pd.Timedelta(n, "h") for n in numbers]
    )


def stays(lengths, **columns):
    n = len(lengths)
    made = {
        "stay_id": np.arange(100, 100 + n),
        "subject_id": np.arange(n),
        "start": hours(*[0] * n),
        "end": hours(*lengths),
        "died": [False] * n,
        "discharged_to": ["home"] * n,
    }
    return pd.DataFrame(made | columns)


def test_a_case_is_still_there_at_its_index_time():
    given = stays(
        [48, 24, 24.5, 3, 3, None], died=[True, False, False, True, False, None]
    )
    given["discharged_to"] = ["died", "home", "home", "died", "home", None]
    with pytest.warns(UserWarning, match="left out") as caught:
        cases = cases_from_stays(given, after="24h")
    assert [str(w.message) for w in caught] == [
        "cases_from_stays: left out 4 of 6 stays (2 ended before the index time, 1 "
        "ended by death before the index time, 1 have no end)."
    ]
    assert cases["stay_id"].tolist() == [100, 102]
    assert (cases["index_time"] == pd.Timestamp("2024-05-02 08:00")).all()
    assert cases["died"].dtype == bool
    assert cases["died"].tolist() == [True, False]
    assert cases["discharged_to"].tolist() == ["died", "home"]
    assert cases["remaining_days"].tolist() == [1.0, 0.5 / 24]
    assert cases.attrs["left_out"] == {
        "ended before the index time": 2,
        "ended by death before the index time": 1,
        "have no end": 1,
    }


def test_nothing_is_said_if_nobody_is_left_out():
    cases = cases_from_stays(stays([30, 40]), after=pd.Timedelta("24h"))
    assert cases.attrs["left_out"] == {}
    assert len(cases) == 2


def test_open_stays_are_kept_for_prediction():
    given = stays([None, 30], died=[None, False], discharged_to=[None, "home"])
    with pytest.warns(UserWarning, match="does not say whether .* in 1 of 2 cases"):
        cases = cases_from_stays(given, open_stays="keep")
    assert cases["died"].isna().tolist() == [True, False]
    assert cases["remaining_days"].isna().tolist() == [True, False]
    assert cases["discharged_to"].isna().tolist() == [True, False]


def test_unknown_deaths_are_counted_and_stay_unknown():
    with pytest.warns(UserWarning, match="in 2 of 3 cases"):
        cases = cases_from_stays(stays([30, 40, 50], died=[None, True, None]))
    assert cases["died"].dtype == "boolean"
    assert cases["died"].tolist() == [pd.NA, True, pd.NA]


def test_a_longer_stay_selects_by_the_future():
    with pytest.warns(UserWarning, match="1 are shorter than at_least.*selected by a"):
        cases = cases_from_stays(stays([30, 72]), after="24h", at_least="2d")
    assert cases["stay_id"].tolist() == [101]
    with pytest.raises(ValueError, match="at_least must not be shorter than after="):
        cases_from_stays(stays([30, 72]), after="2d", at_least="24h")


def test_the_first_case_of_a_patient_is_not_always_the_first_stay():
    given = stays([3, 30, 40], subject_id=[7, 7, 7])
    given["start"] += pd.to_timedelta([0, 100, 200], "h")
    given["end"] += pd.to_timedelta([0, 100, 200], "h")
    with pytest.warns(UserWarning, match="1 ended .*, 1 are later cases of a patient"):
        cases = cases_from_stays(given, first_only=True)
    assert cases["stay_id"].tolist() == [101]
    assert cases.attrs["left_out"]["are later cases of a patient"] == 1


def test_kinds():
    given = stays([30, 40, 50], kind=["hospital", "observation", "icu"])
    assert cases_from_stays(given)["kind"].tolist() == ["hospital", "observation"]
    assert cases_from_stays(given, kind="icu")["stay_id"].tolist() == [102]
    with pytest.raises(ValueError, match="kind must be one of"):
        cases_from_stays(given, kind="ICU")
    with pytest.raises(ValueError, match="no stay of kind 'home'.*hospital 1"):
        cases_from_stays(given, kind="home")


def test_a_death_on_the_ward_after_intensive_care():
    """Parents are stays of the same patient, also if ids are numbered by patient."""
    given = stays(
        [80, 80, 40, 40, 40],
        stay_id=[1, 1, 5, 5, 6],
        subject_id=[7, 8, 7, 8, 9],
        kind=["hospital", "hospital", "icu", "icu", "icu"],
        parent_id=pd.array([None, None, 1, 1, 1], dtype="Int64"),
        died=[True, False, False, False, False],
    )
    cases = cases_from_stays(given, kind="icu")
    assert cases["died"].tolist() == [False, False, False]
    assert cases["died_in_hospital"].tolist() == [True, False, pd.NA]
    given["kind"] = given["kind"].replace({"icu": "outpatient"})
    with pytest.warns(UserWarning, match="whether the patient died"):
        visits = cases_from_stays(
            given.assign(parent_id=None, died=[True, False, None, None, True]),
            kind="outpatient",
        )
    assert visits["died_in_hospital"].isna().all()
    whole = cases_from_stays(given)
    assert whole["died_in_hospital"].tolist() == [True, False]


def test_a_store_gives_the_cases_of_its_table(tmp_path):
    events = pd.DataFrame(
        {
            "subject_id": ["p0", "p1"],
            "time": pd.Timestamp("2024-05-01 09:10", tz="Europe/Berlin"),
            "code": "LAB//a",
        }
    )
    given = stays([30, 40], subject_id=["p0", "p1"], stay_id=["a", "b"])
    for name in ("start", "end"):
        given[name] = given[name].dt.tz_localize("Europe/Berlin")
    store = EventStore.from_frame(events, tmp_path / "store", stays=given)
    cases = cases_from_stays(store)
    assert cases["stay_id"].tolist() == ["a", "b"]
    assert cases["index_time"][0] == pd.Timestamp("2024-05-02 06:00", tz="UTC")
    pd.testing.assert_frame_equal(cases, cases_from_stays(store.stays()))
    assert cases["remaining_days"].tolist() == [6 / 24, 16 / 24]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"after": "soon"}, "after must be a duration such as '24h'"),
        ({"after": "-1h"}, "after must not be negative"),
        ({"at_least": "x"}, "at_least must be a duration"),
        ({"after": "900h"}, r"no stay .* is a case \(1 ended before the index time\)"),
        ({"open_stays": "yes"}, "open_stays must be one of"),
    ],
)
def test_bad_parameters(options, message):
    with pytest.raises(ValueError, match=message):
        cases_from_stays(stays([30]), **options)


def test_bad_tables():
    with pytest.raises(TypeError, match="must be an EventStore or a table of stays"):
        cases_from_stays([1, 2])
    with pytest.raises(ValueError, match="with the id of another stay"):
        cases_from_stays(stays([30, 40], stay_id=[1, 1], subject_id=[7, 7]))
    with pytest.raises(ValueError, match="with an end before the start"):
        cases_from_stays(stays([30, -40]))


def test_the_hour_of_summer_time_is_an_hour():
    """The index time is a duration after the start, whatever clocks show."""
    given = stays([48])
    given["start"] = pd.DatetimeIndex(["2024-03-30 12:00"], tz="Europe/Berlin")
    given["end"] = pd.DatetimeIndex(["2024-04-02 12:00"], tz="Europe/Berlin")
    cases = cases_from_stays(given)
    assert cases["index_time"][0] == pd.Timestamp("2024-03-31 13:00+02:00")
