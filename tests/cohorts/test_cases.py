"""Cases with index times and outcomes, and the flow charts of their exclusions."""

from __future__ import annotations

import json
import warnings

import numpy as np
import pandas as pd
import pytest

from skfusion import EventStore
from skfusion.cohorts import (
    FlowChart,
    flow_chart,
    link_images,
    link_report,
    make_cases,
)
from skfusion.cohorts.flow import Step
from skfusion.ehr import cases_from_stays
from skfusion.exceptions import DataWarning

pytestmark = pytest.mark.filterwarnings(
    "ignore:make_cases:skfusion.exceptions.DataWarning"
)
START = pd.Timestamp("2024-03-01 06:00")


def at(hours):
    return START + pd.to_timedelta(hours, "h")


@pytest.fixture(scope="module")
def store():
    stays = pd.DataFrame(
        {
            "stay_id": [1, 2, 3, 4, 5, 6],
            "subject_id": [1, 1, 2, 3, 4, 5],
            "kind": ["hospital"] * 5 + ["outpatient"],
            "start": at([0, 500, 0, 0, 0, 0]),
            "end": at([100, 700, 20, 300, 60, 2]),
            "died": [False, False, False, True, False, False],
        }
    )
    events = pd.DataFrame(
        {
            "subject_id": [1, 1, 1, 2, 3, 3, 4, 4, 5],
            "time": at([1, 30, 1000, 5, 10, 300, 23, 24, 1]),
            "code": [
                *("LAB//ddimer", "DIAGNOSIS//I26", "LAB//x", "LAB//ddimer"),
                *("LAB//ddimer", "MEDS_DEATH", "DIAGNOSIS//I26", "LAB//x"),
                "LAB//ddimer",
            ],
        }
    )
    return EventStore.from_frame(events, stays=stays, date_only=None)


def test_stays_become_the_cases_of_cases_from_stays(store):
    cases = make_cases(store, after="24h")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DataWarning)
        wanted = cases_from_stays(store, after="24h")
    pd.testing.assert_frame_equal(cases[wanted.columns], wanted, check_flags=False)
    assert cases["outcome"].tolist() == wanted["died"].tolist()
    assert cases["outcome"].dtype == bool


@pytest.mark.parametrize(
    ("outcome", "horizon", "wanted"),
    [
        # Cases: stay 1 and 2 of subject 1, stay 4 of subject 3, stay 5 of subject 4.
        ("died", None, [False, False, True, False]),
        ("died", "11d", [False, False, False, False]),  # death after 11.5 days
        ("died", "276h", [False, False, False, False]),  # which is at its end
        ("died", "12d", [False, False, True, False]),
        ("stay", "3d", [True, True, True, False]),
        (["died", "stay"], "20d", [False, False, True, False]),
        ("DIAGNOSIS//I26", "1d", [True, False, False, False]),
        ("DIAGNOSIS//*", None, [True, False, False, False]),
        # An event at the index time is not visible, and counts.
        ("LAB//x", "1d", [False, False, False, True]),
        (["DIAGNOSIS//*", "died"], "12d", [True, False, True, False]),
    ],
)
def test_outcomes(store, outcome, horizon, wanted):
    cases = make_cases(store, after="24h", outcome=outcome, horizon=horizon)
    assert cases["stay_id"].tolist() == [1, 2, 4, 5]
    assert cases["outcome"].tolist() == wanted


def test_exclusions_are_counted_in_order(store):
    cases = make_cases(
        store,
        after="24h",
        outcome="DIAGNOSIS//*",
        prior="drop",
        exclude={"are of subject 3": lambda table: table["subject_id"] == 3},
        first_only=True,
    )
    assert cases["stay_id"].tolist() == [1]
    chart = flow_chart(cases, min_cell=1)
    assert [step.n for step in chart.steps] == [5, 1]
    assert list(chart.steps[0].left_out.items()) == [
        ("ended before the index time", 1),
        ("had the outcome before the index time", 2),  # stays 2 and 5
        ("are of subject 3", 1),
    ]
    for step, after in zip(chart.steps, chart.steps[1:], strict=False):
        assert step.n - sum(step.left_out.values()) == after.n
    json.dumps(cases.attrs)


def test_a_record_that_ends_early(store):
    how = {"after": "24h", "outcome": "DIAGNOSIS//*", "horizon": "30d"}
    with pytest.warns(DataWarning, match="cases without the outcome have no event"):
        kept = make_cases(store, **how)
    dropped = make_cases(store, unobserved="drop", **how)
    assert kept["stay_id"].tolist() == [1, 2, 4, 5]
    assert dropped["stay_id"].tolist() == [1]
    reasons = flow_chart(dropped).steps[0].left_out
    assert reasons["are not observed until the horizon"] == 3


@pytest.mark.parametrize("which", ["first", "all"])
def test_index_times_from_events(store, which):
    how = {"after": "2h", "which": which, "outcome": None}
    cases = make_cases(store, "LAB//*", **how)
    first = cases.drop_duplicates("subject_id")
    assert first["subject_id"].tolist() == [1, 2, 3, 4, 5]
    assert first["index_time"].tolist() == list(at([3, 7, 12, 26, 3]))
    # The stay in which the index time is, of the kind.
    assert first["stay_id"].tolist() == [1, 3, 4, 5, pd.NA]
    assert len(cases) == (5 if which == "first" else 6)
    assert "outcome" not in cases


def test_given_index_times(store):
    given = pd.DataFrame(
        {"subject_id": [3, 1], "index_time": at([30, 40]), "age": [70, 80]}
    )
    cases = make_cases(store, given, outcome="died", horizon="30d")
    assert cases["age"].tolist() == [80, 70]
    assert cases["index_time"].tolist() == list(at([40, 30]))
    assert cases["outcome"].tolist() == [False, True]


def test_subjects_of_given_index_times(store):
    """Floats beside nulls are integers, blank text is no subject."""
    given = pd.DataFrame({"subject_id": [3.0, np.nan, 99], "index_time": at([30] * 3)})
    with pytest.warns(DataWarning, match="1 of 2 rows of index are of subjects"):
        cases = make_cases(store, given, outcome=None)
    assert cases["subject_id"].tolist() == [3, 99]
    assert flow_chart(cases).steps[0].left_out == {"have no subject or time": 1}
    text = EventStore.from_frame(
        pd.DataFrame({"subject_id": ["a"], "time": at([1]), "code": ["LAB//x"]})
    )
    given["subject_id"] = ["a ", " ", "nan"]
    cases = make_cases(text, given, outcome=None)
    assert cases["subject_id"].tolist() == ["a"]
    assert flow_chart(cases).steps[0].left_out == {"have no subject or time": 2}


def test_columns_that_are_replaced_are_told_and_functions_change_nothing(store):
    given = pd.DataFrame({"subject_id": [3], "index_time": at([30]), "outcome": [7]})
    exclude = {"x": lambda table: table.pop("kind").isna()}
    with pytest.warns(
        DataWarning, match=r"the columns \['outcome'\] of index are repl"
    ):
        cases = make_cases(store, given, exclude=exclude)
    assert cases["outcome"].tolist() == [True]
    assert cases["kind"].tolist() == ["hospital"]


def test_an_unknown_outcome_is_left_out_and_told():
    stays = pd.DataFrame(
        {
            "stay_id": range(3),
            "subject_id": range(3),
            "start": [START] * 3,
            "end": at([50, 60, 70]),
            "died": pd.array([True, None, False], "boolean"),
        }
    )
    with pytest.warns(DataWarning, match="left out 1 cases whose outcome"):
        cases = make_cases(stays)
    assert cases["outcome"].tolist() == [True, False]


def deaths_store(died, ends, codes=("LAB//x",) * 4, times=(1, 1, 1, 1)):
    n = len(died)
    stays = pd.DataFrame(
        {
            "stay_id": range(n),
            "subject_id": range(n),
            "start": [START] * n,
            "end": at(ends),
            "died": pd.array(died, "boolean"),
        }
    )
    events = {"subject_id": range(4), "time": at(times), "code": codes}
    return EventStore.from_frame(pd.DataFrame(events), stays=stays, date_only=None)


def test_an_unknown_death_within_a_horizon_is_no_survival():
    store = deaths_store([True, None, False, None], [50, 60, 70, 24 * 40])
    with pytest.warns(DataWarning, match="left out 1 cases whose outcome"):
        cases = make_cases(store, horizon="30d")
    # The last patient is in the stay for longer than the horizon, and so alive.
    assert cases["subject_id"].tolist() == [0, 2, 3]
    assert cases["outcome"].tolist() == [True, False, False]
    given = pd.DataFrame({"subject_id": range(4), "index_time": at([30, 30, 30, 30])})
    with pytest.warns(DataWarning, match="left out 1 cases whose outcome"):
        same = make_cases(store, given, horizon="30d")
    assert same["outcome"].tolist() == [True, False, False]
    with pytest.warns(DataWarning, match="left out 2 cases whose outcome"):
        make_cases(store, outcome="died")


def test_deaths_of_events_and_of_stays_complete_each_other():
    store = deaths_store(
        [True, None, False, None],
        [50, 60, 70, 80],
        ("LAB//x", "MEDS_DEATH", "MEDS_DEATH", "LAB//x"),
        (1, 100, 24 * 60, 1),
    )
    with pytest.warns(DataWarning, match="left out 1 cases whose outcome"):
        cases = make_cases(store, horizon="30d")
    assert cases["subject_id"].tolist() == [0, 1, 2]
    assert cases["outcome"].tolist() == [True, True, False]


def test_a_later_stay_of_unknown_end_and_open_stays():
    stays = pd.DataFrame(
        {
            "stay_id": range(5),
            "subject_id": [0, 0, 1, 2, 3],
            "start": at([0, 200, 0, 0, 0]),
            "end": at([50, 250, 60, np.nan, 60]),
            "died": pd.array([False, None, False, False, True], "boolean"),
        }
    )
    events = pd.DataFrame(
        {"subject_id": range(4), "time": at([1] * 4), "code": "LAB//x"}
    )
    store = EventStore.from_frame(events, stays=stays, date_only=None)
    index = pd.DataFrame({"subject_id": range(4), "index_time": at([30] * 4)})
    with pytest.warns(DataWarning, match="left out 2 cases whose outcome"):
        cases = make_cases(store, index, horizon="30d")
    assert cases["subject_id"].tolist() == [1, 3]
    kept = make_cases(store, index, horizon="2d")
    assert kept["subject_id"].tolist() == [0, 1, 3]
    with pytest.warns(DataWarning, match="left out 2 cases whose outcome"):
        open_ = make_cases(store, open_stays="keep")  # stays 1 and 3
    assert open_["stay_id"].tolist() == [0, 2, 4]


def test_answers_of_exclude_are_aligned_by_their_index(store):
    how = {"outcome": None}
    is_first = make_cases(
        store, exclude={"x": lambda t: (t["stay_id"] == 1).sort_index(ascending=False)}
    )
    assert 1 not in is_first["stay_id"].tolist()
    with pytest.raises(TypeError, match="must return True or False"):
        make_cases(store, exclude={"x": lambda t: t["kind"]}, **how)
    with pytest.raises(ValueError, match="1 nulls"):
        make_cases(store, exclude={"x": lambda t: (t["stay_id"] == 1)[1:]}, **how)


@pytest.mark.parametrize(
    ("how", "error", "message"),
    [
        ({"outcome": "stay"}, ValueError, "'stay' needs horizon"),
        ({"outcome": "DIAGNOSIS//Z*"}, ValueError, "matches none of the"),
        ({"outcome": []}, ValueError, "must not be empty"),
        ({"index": "NOTHING//*"}, ValueError, "matches none of the"),
        ({"index": pd.DataFrame({"subject": [1]})}, ValueError, "index must have"),
        ({"index": "LAB//*", "at_least": "2d"}, ValueError, "at_least"),
        ({"after": 24}, ValueError, "after must be a duration"),
        ({"horizon": "-1d"}, ValueError, "not be negative"),
        ({"which": "last"}, ValueError, "which"),
        ({"after": "99d"}, ValueError, "no stay of kind"),
        ({"exclude": {"x": lambda table: [True]}}, ValueError, "for each of the"),
        (
            {"exclude": {"x": lambda table: table["died"] >= 0}},
            ValueError,
            "no case remains",
        ),
        ({"kind": "ICU"}, ValueError, "kind"),
        (
            {"index": pd.DataFrame({"subject_id": ["1"], "index_time": at([1])})},
            TypeError,
            "subjects are text in index and integers in the events",
        ),
        (
            {
                "index": pd.DataFrame(
                    [[1, START, 2, 3]], columns=["subject_id", "index_time", "x", "x"]
                )
            },
            ValueError,
            r"columns \['x'\] more than once",
        ),
        ({"exclude": {"x": lambda table: True}}, ValueError, "got 1 values"),
    ],
)
def test_what_is_wrong_is_told(store, how, error, message):
    with pytest.raises(error, match=message):
        make_cases(store, **how)


def test_index_times_with_a_zone_need_events_with_a_zone(store):
    given = pd.DataFrame({"subject_id": [1], "index_time": at([30])})
    given["index_time"] = given["index_time"].dt.tz_localize("UTC")
    with pytest.raises(ValueError, match="with_time_zone"):
        make_cases(store, given, outcome=None)


def test_at_least_beyond_the_index_time_is_told(store):
    with pytest.warns(DataWarning, match="selected by a future"):
        make_cases(store, after="24h", at_least="3d")


def every_count(frame):
    return [int(n.replace(",", "")) for n in frame["n"] if n.replace(",", "").isdigit()]


@pytest.mark.parametrize("seed", range(40))
def test_no_small_count_follows_from_a_flow_chart(seed):
    """All numbers that agree with what is printed leave small counts open."""
    rng = np.random.default_rng(seed)
    sizes = rng.choice([0, 1, 3, 9, 10, 40, 200], size=(2, rng.integers(1, 4)))
    n = int(sizes.sum() + rng.choice([12, 300]))
    steps = []
    for k, parts in enumerate(sizes):
        left_out = {f"reason {k}{i}": int(part) for i, part in enumerate(parts)}
        steps.append(Step(f"box {k}", n, n, left_out))
        n -= int(parts.sum())
    steps.append(Step("cases", n, n, {}))
    frame = FlowChart(steps, {"died": 3}).to_frame()
    assert not set(every_count(frame)) & set(range(1, 10))
    shown = [s == "withheld" for s in frame.loc[frame["kind"] == "box", "n"]]
    assert not shown[-1]
    for place, step in enumerate(steps[:-1]):
        texts = frame.set_index("what")["n"]
        hidden = {r: v for r, v in step.left_out.items() if not texts[r][0].isdigit()}
        small = {r: v for r, v in hidden.items() if 0 < v < 10}
        if small and not shown[place] and not shown[place + 1]:
            # Their sum is known. Each of them can still be any number from 1 to 9.
            rest, others = sum(hidden.values()), len(hidden) - len(small)
            assert rest - (len(small) - 1) - 10 * others >= 9
            assert others or rest - 1 <= 9 * (len(small) - 1)


def test_a_flow_chart_without_small_counts_shows_everything():
    chart = FlowChart(
        [Step("stays", 3000, 900, {"ended": 40}), Step("cases", 2960, 880, {})],
        {"died": 300, "with ct": 2955},
    )
    assert chart.to_frame()["n"].tolist() == ["3,000", "40", "2,960", "300", ">2,950"]
    assert "<table" in chart._repr_html_()


@pytest.mark.parametrize("min_cell", [0, -1, "5", 2.5])
def test_the_smallest_count_is_checked(store, min_cell):
    cases = make_cases(store, outcome=None)
    with pytest.raises(ValueError, match="FlowChart: min_cell must be an integer"):
        flow_chart(cases, min_cell=min_cell)


def test_a_flow_chart_of_other_rows_is_refused(store):
    cases = make_cases(store, outcome=None)
    for table in (cases[:2], pd.concat([cases, cases]), cases[cases["stay_id"] < 0]):
        n = len(table)
        with pytest.raises(ValueError, match=f"has {n} rows, the chart counts 4, .*ex"):
            flow_chart(table)
    drawn = cases.iloc[[0, 0, 0, 0]]  # as many rows, of fewer patients
    with pytest.raises(ValueError, match="has 1 patients, the chart counts 3"):
        flow_chart(drawn)
    more = cases.assign(age=50).sort_values("index_time", ascending=False)
    assert str(flow_chart(more)) == str(flow_chart(cases))


def test_a_complete_case_cohort_is_counted(store):
    films = pd.DataFrame({"patient": [1, 4], "path": ["a", "b"]})
    films["available"] = START
    on = ("subject_id", "patient")
    reason = "have no film in time"
    cases = make_cases(
        store,
        after="24h",
        exclude={reason: lambda c: link_images(c, films, on)["image"].isna()},
    )
    linked = link_images(cases, films, on)
    assert linked["image"].tolist() == ["a", "a", "b"]
    chart = flow_chart(linked)
    assert chart.steps[0].left_out[reason] == 1
    assert chart.parts["with image"] == len(linked) == 3
    assert link_report(linked).cases["linked"] == 3


def test_the_flow_chart_is_drawn():
    pyplot = pytest.importorskip("matplotlib.pyplot")
    chart = FlowChart(
        [
            Step(
                "hospital stays",
                3000,
                900,
                {
                    "ended before the index time, also by a transfer to elsewhere": 40,
                    "have $no_end$": 3,
                    "are of minors": 200,
                },
            ),
            Step("cases", 2757, 880, {}),
        ],
        {"outcome: died within 30 days": 300},
    )
    axis = chart.plot()
    texts = [text.get_text() for text in axis.texts if text.get_text()]
    assert len(axis.patches) >= 3
    assert "hospital stays\n3,000 of 900 patients" in texts
    assert any("<10 have $no_end$" in text for text in texts)
    assert not any("3 have" in text for text in texts)
    axis.figure.canvas.draw()
    boxes = [patch.get_window_extent() for patch in axis.patches[:3]]
    notes = [text for text in axis.texts if text.get_text().startswith("<10: from 1")]
    assert len(notes) == 1
    below = notes[0].get_window_extent()
    assert below.y1 <= min(box.y0 for box in boxes) + 1
    assert below.y0 >= axis.figure.bbox.y0
    for text in axis.texts:
        if text.get_text() and text not in notes:
            inside = text.get_window_extent()
            assert any(
                box.x0 <= inside.x0
                and inside.x1 <= box.x1
                and box.y0 - 1 <= inside.y0
                and inside.y1 <= box.y1 + 1
                for box in boxes
            ), text.get_text()
    pyplot.close(axis.figure)


def test_withheld_numbers_are_sentences_with_a_note():
    pyplot = pytest.importorskip("matplotlib.pyplot")
    steps = [
        Step("stays", 300, 200, {"ended early": 40, "have no end": 3}),
        Step("cases", 257, 180, {}),
    ]
    chart = FlowChart(steps, {"died": 24, "with ct": 250})
    assert "left out: ended early (number withheld)" in str(chart)
    axis = chart.plot()
    texts = " ".join(text.get_text() for text in axis.texts)
    assert "ended early (number withheld)" in " ".join(texts.split())
    assert "Number withheld: a number below 10 would follow from it." in texts
    assert ">: all but 1 to 9 cases." in texts
    pyplot.close(axis.figure)
    axis = FlowChart(steps, {"died": 24}, min_cell=1).plot()  # all are shown
    assert not any("from 1" in text.get_text() for text in axis.texts)
    pyplot.close(axis.figure)


@pytest.mark.parametrize(
    ("outcome", "horizon", "text"),
    [
        (["died", "stay"], "2d", "died within, or still in hospital after, 2 days"),
        ("stay", "1d", "still in hospital after 1 day"),
        (iter(["died"]), "36h", "died within 1.5 days"),
        (["stay", "LAB//x"], "2d", "LAB//x within, or still in hospital after, 2 days"),
        ("died", None, "died"),
    ],
)
def test_the_outcome_in_the_flow_chart(store, outcome, horizon, text):
    cases = make_cases(store, after="24h", outcome=outcome, horizon=horizon)
    assert next(iter(flow_chart(cases).parts)) == f"outcome: {text}"


def test_early_deaths_are_no_short_stays():
    """A table of stays, two of which end by death within the horizon."""
    start = pd.Series([START] * 6)
    stays = pd.DataFrame({"stay_id": range(6), "subject_id": range(6), "start": start})
    stays["end"] = at([30, 40, 50, 400, 400, 60])
    stays["died"] = [True, False, True, True, False, False]
    stays["kind"] = "hospital"
    how = {"after": "24h", "horizon": "7d"}
    with pytest.warns(DataWarning, match=r"2 cases died in the stay .*'died', 'stay'"):
        cases = make_cases(stays, outcome="stay", **how)
    assert cases["outcome"].sum() == 2
    early = {"died early": lambda c: c["died"].fillna(False) & ~c["outcome"]}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        left = make_cases(stays, outcome="stay", exclude=early, **how)
        none = make_cases(stays[stays["stay_id"] != 0][3:], outcome="stay", **how)
    assert flow_chart(left, min_cell=1).steps[0].left_out == {"died early": 2}
    assert len(none) == 2
    # For index times of a table, and for stays in intensive care.
    events = pd.DataFrame({"subject_id": [0, 3], "time": START, "code": "LAB//x"})
    record = EventStore.from_frame(events, stays=stays.iloc[[0, 3]].assign(kind="icu"))
    given = pd.DataFrame({"subject_id": [0, 3], "index_time": at([20, 20])})
    with pytest.warns(DataWarning, match="1 cases died in the stay"):
        cases = make_cases(record, given, kind="icu", outcome="stay", horizon="7d")
    assert flow_chart(cases).parts == {"outcome: still in the stay after 7 days": 1}


def test_what_is_unknown_of_discharged_patients_is_told(store):
    how = {"after": "24h", "outcome": ["died", "stay"], "horizon": "40d"}
    told = (
        "2 cases without the outcome have no event after the horizon.*2 of them were "
        "discharged within the horizon, of whom the length of the stay is known, and "
        "only a death after discharge is unknown.*raises its rate"
    )
    with pytest.warns(DataWarning, match=told):
        make_cases(store, **how)
    first = {"are of subject 1": lambda table: table["subject_id"] == 1}
    with pytest.warns(DataWarning, match="1 cases without .*1 of them were discharged"):
        make_cases(store, exclude=first, **how)
    how["outcome"] = "DIAGNOSIS//*"
    with pytest.warns(DataWarning, match="only an event of the outcome after"):
        make_cases(store, **how)


def test_links_are_added_to_the_flow_chart(store):
    cases = make_cases(store, after="24h")
    images = pd.DataFrame({"patient": [1], "path": ["a"], "available": [START]})
    linked = link_images(cases, images, on=("subject_id", "patient"), column="ct")
    assert flow_chart(linked).parts == {"outcome: died": 1, "with ct": 2}
    assert "ct" not in json.dumps(cases.attrs)
    with pytest.raises(ValueError, match="make_cases"):
        flow_chart(pd.DataFrame())


@pytest.mark.parametrize("name", ["mimic", "fhir", "omop"])
def test_the_same_lines_for_every_source(name, skfusion_data, tmp_path):
    ehr = skfusion_data / "ehr"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if name == "mimic":
            store = EventStore.from_mimic(ehr / "mimic4_demo", tmp_path / "s")
        elif name == "fhir":
            store = EventStore.from_fhir(
                ehr / "mimic4_demo_fhir", tmp_path / "s", time_zone="America/New_York"
            )
        else:
            import zipfile

            (archive,) = (ehr / "synthea27nj_omop").glob("*.zip")
            zipfile.ZipFile(archive).extractall(tmp_path / "omop")
            store = EventStore.from_omop(tmp_path / "omop", tmp_path / "s")
    kind = "hospital" if name != "omop" else "outpatient"
    after = "24h" if name != "omop" else "0h"
    how = {"after": after, "kind": kind, "outcome": ["died", "stay"], "horizon": "7D"}
    cases = make_cases(store, **how)
    chart = flow_chart(cases, min_cell=1)
    assert cases["stay_id"].notna().all()
    assert set(cases["kind"]) <= {kind, "observation"}
    assert chart.steps[-1].n == len(cases)
    if name != "omop":
        assert (chart.steps[0].n, len(cases), cases["outcome"].sum()) == (275, 245, 82)
