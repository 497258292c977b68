"""EventWindows among other estimators, and against what must not get in."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pandas as pd
import pytest
import scipy.sparse
from sklearn.base import clone
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, StratifiedGroupKFold, cross_validate
from sklearn.pipeline import FeatureUnion, make_pipeline
from sklearn.preprocessing import StandardScaler

from skfusion import (
    EarlyFusionClassifier,
    EventStore,
    EventWindows,
    LateFusionClassifier,
    TabularEncoder,
)
from skfusion.ehr import (
    FURTHER_DOMAINS,
    EventGrid,
    ObservedScaler,
    Units,
    domain_modalities,
    parse_feature,
)
from skfusion.ehr.point_in_time import visibility
from skfusion.ehr.windows.kernel import STATISTICS
from skfusion.exceptions import DataWarning, LeakageWarning

START = pd.Timestamp("2023-01-01")
HOUR = pd.Timedelta("1h")


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("SKFUSION_CACHE", str(tmp_path / "cache"))


def events(n_subjects=60, per_subject=40, seed=0):
    rng = np.random.default_rng(seed)
    n = n_subjects * per_subject
    return pd.DataFrame(
        {
            "subject_id": rng.permutation(
                np.repeat(np.arange(n_subjects), per_subject)
            ),
            "time": START + pd.to_timedelta(rng.integers(1, 400 * 1440, n), unit="min"),
            "code": rng.choice(["LAB//a", "LAB//b", "VISIT", "DIAGNOSIS//x"], n),
            "numeric_value": np.where(rng.random(n) < 0.8, rng.normal(size=n), np.nan),
        }
    )


def cases(n=120, n_subjects=60, seed=1):
    rng = np.random.default_rng(seed)
    return pd.DataFrame(
        {
            "subject_id": rng.integers(0, n_subjects, n),
            "index_time": START + pd.to_timedelta(rng.integers(30, 400, n), unit="D"),
            "age": rng.normal(60, 10, n),
        }
    )


def windows(store, **parameters):
    default = {"windows": ("30d", None), "shared_subjects": "ignore"}
    return EventWindows(store, **{**default, **parameters})


@pytest.fixture
def store():
    return EventStore.from_frame(events())


# what must not get in


def test_nothing_from_the_index_time_on_changes_a_feature(store):
    X, table = cases(), events()
    fitted = windows(store, aggs=STATISTICS).fit(X)
    wanted = fitted.transform(X)
    first = X.groupby("subject_id")["index_time"].min()
    rng = np.random.default_rng(0)
    later = (table["time"] >= table["subject_id"].map(first)).to_numpy()
    assert 300 < later.sum() < len(table)
    added = pd.DataFrame(
        {
            "subject_id": np.repeat(first.index, 2),
            "time": np.repeat(first.to_numpy(), 2)
            + pd.to_timedelta(np.tile([0, 1], len(first)), unit="h"),
            "code": "LAB//a",
            "numeric_value": 1e6,
        }
    )
    perturbed = table.copy()
    perturbed.loc[later, "numeric_value"] = rng.normal(size=later.sum()) * 1e3
    rows = (X["index_time"] == X["subject_id"].map(first)).to_numpy()
    for changed in (perturbed, pd.concat([table, added]), table[~later]):
        other = clone(fitted).set_params(events=EventStore.from_frame(changed))
        other.__dict__.update({k: v for k, v in vars(fitted).items() if k != "events"})
        found = other.transform(X[rows])
        np.testing.assert_array_equal(found, wanted[rows])


@pytest.mark.parametrize(("closed", "count"), [("left", 0), ("right", 1)])
def test_an_event_at_the_index_time(closed, count):
    when = START + HOUR
    frame = pd.DataFrame({"subject_id": [1, 1], "time": when, "code": "a"})
    frame.loc[1, "time"] = when - HOUR / 2
    X = pd.DataFrame({"subject_id": [1], "index_time": [when]})
    found = windows(
        EventStore.from_frame(frame),
        aggs=("count",),
        totals=(),
        min_subjects=1,
        closed=closed,
    ).fit_transform(X)
    assert found[0].tolist() == [1 + count] * 2


def test_what_is_known_late_and_what_is_in_the_gap_are_not_seen():
    frame = pd.DataFrame(
        {
            "subject_id": 1,
            "time": START + pd.to_timedelta([1, 2, 3], unit="h"),
            "available_time": START + pd.to_timedelta([1, 9, 3], unit="h"),
            "code": "a",
            "numeric_value": [1.0, 2.0, 3.0],
        }
    )
    X = pd.DataFrame({"subject_id": [1], "index_time": [START + 5 * HOUR]})
    part = windows(
        EventStore.from_frame(frame),
        windows=(None,),
        aggs=("last",),
        totals=(),
        min_subjects=1,
    )
    assert part.fit_transform(X).item() == 3.0
    assert part.set_params(gap="3h").fit_transform(X).item() == 1.0
    lagged = EventStore.from_frame(frame).with_lags({"a": "3h"})
    assert part.set_params(gap="0h", events=lagged).fit_transform(X).item() == 1.0


def test_dates_of_the_index_day_are_not_seen():
    day = pd.Timestamp("2023-05-05")
    frame = pd.DataFrame({"subject_id": 1, "time": [day, day], "code": ["date", "x"]})
    frame.loc[1, "time"] = day + HOUR
    X = pd.DataFrame({"subject_id": [1], "index_time": [day + 12 * HOUR]})
    part = windows(EventStore.from_frame(frame), min_subjects=1).fit(X)
    assert part.codes_ == ["x"]


def test_what_is_learned_is_learned_of_the_training_rows(store):
    X, table = cases(), events()
    train = X["subject_id"] < 40
    only = EventStore.from_frame(table[table["subject_id"] < 40])
    whole, part = (
        windows(s, clip=(0.05, 0.95), min_subjects=12).fit(X[train])
        for s in (store, only)
    )
    assert whole.codes_ == part.codes_
    np.testing.assert_array_equal(whole.code_counts_, part.code_counts_)
    np.testing.assert_array_equal(whole.clip_bounds_, part.clip_bounds_)
    np.testing.assert_array_equal(whole.transform(X[train]), part.transform(X[train]))


def test_codes_of_outcomes_are_left_out_unless_asked_for():
    table = events()
    table.loc[::5, "code"] = "MEDS_DEATH"
    table.loc[1::5, "code"] = "HOSPITAL_DISCHARGE//home"
    store = EventStore.from_frame(table)
    with pytest.warns(UserWarning, match="left out 2 of .*'MEDS_DEATH'") as caught:
        found = windows(store).fit(cases()).codes_
    assert len(caught) == 1
    assert not {"MEDS_DEATH", "HOSPITAL_DISCHARGE//home"} & set(found)
    everything = windows(store, exclude=None).fit(cases())
    assert {"MEDS_DEATH", "HOSPITAL_DISCHARGE//home"} <= set(everything.codes_)
    labs = windows(store, include=("LAB//*",)).fit(cases())
    assert labs.codes_ == ["LAB//a", "LAB//b"]


# the four failures of the reference tool, by name


def simple(rows, **parameters):
    frame = pd.DataFrame(rows, columns=["hours", "numeric_value"])
    frame["time"] = START + pd.to_timedelta(frame["hours"], unit="h")
    frame = frame.assign(subject_id=1, code="x")
    X = pd.DataFrame({"subject_id": [1], "index_time": [START + 24 * HOUR]})
    part = windows(
        EventStore.from_frame(frame), min_subjects=1, totals=(), **parameters
    ).set_output(transform="pandas")
    return part.fit_transform(X).iloc[0].to_dict()


def test_empty_values_do_not_empty_the_statistics():
    found = simple([(1, np.nan), (2, 4.0)], windows=(None,), aggs=("mean", "count"))
    assert found == {"x__all__count": 2.0, "x__all__mean": 4.0}


def test_the_last_measurement_is_not_lost():
    found = simple([(1, 3.0), (23, 8.0)], windows=(None,), aggs=("last", "count"))
    assert found == {"x__all__count": 2.0, "x__all__last": 8.0}


def test_the_minimum_is_of_what_was_measured_and_no_implicit_zero():
    found = simple([(20, 5.0), (23, 7.0)], windows=("2h", "6h"), aggs=("min",))
    assert found == {"x__2h__min": 7.0, "x__6h__min": 5.0}


def test_windows_hang_on_the_index_time_and_not_on_the_last_event():
    found = simple([(1, 5.0)], windows=("2h", None), aggs=("count", "mean"))
    assert found["x__2h__count"] == 0
    assert np.isnan(found["x__2h__mean"])
    assert found["x__all__count"] == 1


# the same bits, whatever is beside a row


def test_rows_do_not_depend_on_one_another(store, monkeypatch):
    X = cases()
    part = windows(store, aggs=STATISTICS).fit(X)
    wanted = part.transform(X)
    order = np.random.default_rng(0).permutation(len(X))
    np.testing.assert_array_equal(part.transform(X.iloc[order]), wanted[order])
    alone = np.concatenate([part.transform(X.iloc[[i]]) for i in range(len(X))])
    np.testing.assert_array_equal(alone, wanted)
    twice = part.transform(pd.concat([X, X]))
    np.testing.assert_array_equal(twice, np.concatenate([wanted, wanted]))
    monkeypatch.setattr(visibility, "CHUNK", 50)
    np.testing.assert_array_equal(part.transform(X), wanted)
    np.testing.assert_array_equal(part.set_params(n_jobs=2).transform(X), wanted)


def test_bands_beside_one_another_sum_to_nested_windows(store):
    X = cases()
    nested, bands = (
        windows(
            store, windows=("7d", "90d", None), aggs=("count",), nested=nested
        ).fit_transform(X)
        for nested in (True, False)
    )
    n = 4 * 3
    sums = bands[:, :n].reshape(len(X), 4, 3).cumsum(axis=2).reshape(len(X), n)
    np.testing.assert_array_equal(nested[:, :n], sums)


# a transformer among others


def test_sparse_is_dense_and_keeps_measured_zeros():
    table = events()
    table.loc[::4, "numeric_value"] = 0.0
    X, store = cases(), EventStore.from_frame(table)
    dense = windows(store).fit_transform(X)
    sparse = windows(store, output="sparse").fit_transform(X)
    assert scipy.sparse.issparse(sparse)
    assert sparse.dtype == np.float32
    filled = np.full(sparse.shape, np.nan, dtype=np.float32)
    coo = sparse.tocoo()
    filled[coo.row, coo.col] = coo.data
    names = windows(store).fit(X).get_feature_names_out()
    counted = [parse_feature(n).statistic in ("count", "n_codes") for n in names]
    filled[:, counted] = np.nan_to_num(filled[:, counted])
    np.testing.assert_array_equal(filled, dense)
    assert (coo.data == 0).any()
    scaled = ObservedScaler().fit_transform(sparse)
    assert scaled.shape[0] == len(X)


def test_names_are_read_back_and_output_is_named(store):
    part = windows(store, aggs=("count", "mean")).set_output(transform="pandas")
    found = part.fit_transform(cases())
    assert list(found.columns) == list(part.get_feature_names_out())
    for name in found.columns:
        feature = parse_feature(name)
        assert "__".join(feature) == name
        assert feature.code in [*part.codes_, "*"]
    with pytest.raises(ValueError, match="must be <code>"):
        parse_feature("age")


def test_prefixes_have_their_own_statistics(store):
    part = windows(
        store,
        windows=(None,),
        aggs=("mean",),
        aggs_by_prefix={"LAB//": ("last",), "LAB//b": ("min", "max")},
        totals=(),
    ).fit(cases())
    found = {tuple(parse_feature(n)[::2]) for n in part.get_feature_names_out()}
    assert found == {
        ("LAB//a", "last"),
        ("LAB//b", "min"),
        ("LAB//b", "max"),
        ("VISIT", "mean"),
        ("DIAGNOSIS//x", "mean"),
    }


def test_statistics_of_codes_that_the_store_does_not_have(store):
    part = windows(store, aggs_by_prefix={"LABS//": ("last",), "LAB//": ("min",)})
    message = r"'LABS//' \(did you mean 'LAB//'\?\), so these entries of aggs_by"
    with pytest.warns(UserWarning, match=message):
        part.fit(cases())


def test_the_commonest_codes_are_taken(store):
    every = windows(store, min_subjects=1).fit(cases())
    two = windows(store, min_subjects=1, max_codes=2).fit(cases())
    ranked = sorted(zip(-every.code_counts_, every.codes_, strict=True))
    assert two.codes_ == sorted(code for _, code in ranked[:2])


def test_pickles_are_small_and_work(store):
    part = windows(store)
    assert len(pickle.dumps(part)) < 2000
    part.fit(cases())
    content = pickle.dumps(part)
    assert len(content) < 100_000
    np.testing.assert_array_equal(
        pickle.loads(content).transform(cases()), part.transform(cases())
    )
    assert clone(part).events is store
    assert copy.deepcopy(part).events is store


def labels(X):
    part = windows(EventStore.from_frame(events()), windows=(None,), aggs=("count",))
    counts = part.fit_transform(X)[:, 0]
    return (counts > np.median(counts)).astype(int)


@pytest.mark.long
def test_a_search_over_windows_beside_another_modality(store):
    X = cases()
    y, groups = labels(X), X["subject_id"]
    model = LateFusionClassifier(
        [
            (
                "events",
                make_pipeline(windows(store, windows=("7d",)), ObservedScaler()),
                ["subject_id", "index_time"],
            ),
            ("age", StandardScaler(), ["age"]),
        ],
        estimator=LogisticRegression(max_iter=1000),
        groups="subject_id",
    )
    grid = {
        "events__eventwindows__windows": [("7d",), (None,)],
    }
    searches = [
        GridSearchCV(
            model, grid, scoring="roc_auc", cv=StratifiedGroupKFold(3), n_jobs=n_jobs
        ).fit(X, y, groups=groups)
        for n_jobs in (1, 2)
    ]
    one, two = (search.cv_results_["mean_test_score"] for search in searches)
    np.testing.assert_array_equal(one, two)
    assert searches[0].best_params_["events__eventwindows__windows"] == (None,)
    scores = cross_validate(
        model,
        X,
        y,
        groups=groups,
        cv=StratifiedGroupKFold(3),
        scoring=["roc_auc", "neg_log_loss"],
    )
    assert np.isfinite(scores["test_roc_auc"]).all()


def test_the_subjects_of_events_may_be_the_groups_and_no_feature(store):
    X = cases()
    y = labels(X)
    keys = ["subject_id", "index_time"]
    for transformer in (windows(store), make_pipeline("passthrough", windows(store))):
        model = EarlyFusionClassifier(
            [("events", transformer, keys), ("age", TabularEncoder(), ["age"])],
            estimator=HistGradientBoostingClassifier(max_iter=5),
            groups="subject_id",
        ).fit(X, y)
        assert model.predict_proba(X).shape == (120, 2)
    with pytest.raises(ValueError, match="is the groups column"):
        clone(model).set_params(events=TabularEncoder()).fit(X, y)


def test_in_column_transformers_and_unions(store):
    X = cases()
    columns = ["subject_id", "index_time"]
    both = ColumnTransformer(
        [("events", windows(store), columns), ("age", TabularEncoder(), ["age"])]
    )
    alone = windows(store).fit_transform(X)
    found = both.fit_transform(X)
    np.testing.assert_array_equal(found[:, : alone.shape[1]], alone)
    union = FeatureUnion([("a", windows(store)), ("b", windows(store, nested=False))])
    assert union.fit_transform(X).shape[1] == 2 * alone.shape[1]


# what is said when something is wrong


def test_subjects_on_both_sides_of_a_split_are_counted(store):
    X = cases()
    part = windows(store, shared_subjects="warn").fit(X[:80])
    shared = X["subject_id"][80:].isin(X["subject_id"][:80]).sum()
    with pytest.warns(UserWarning, match=f"{shared} of 40 rows of subjects"):
        part.transform(X[80:])
    part.transform(X[:80])  # the training rows themselves: no warning


@pytest.mark.parametrize("closed", ["left", "right"])
@pytest.mark.parametrize("known", [START, pd.NaT])
def test_cohorts_that_are_before_their_events_are_warned_of(closed, known):
    who = np.arange(8)
    frame = pd.DataFrame({"subject_id": who, "time": START + HOUR, "code": "a"})
    static = frame.assign(time=known, code="b")  # before, or without time
    static = static[(static["subject_id"] < 3) | static["time"].isna()]
    store = EventStore.from_frame(
        pd.concat([frame, static]), no_time="static", date_only=None
    )
    X = pd.DataFrame({"subject_id": who, "index_time": START + 2 * HOUR})
    X.loc[2:6, "index_time"] = START + HOUR / 2
    part = windows(store, aggs=("count",), min_subjects=1, closed=closed)
    n_early = 5 if pd.isna(known) else 4
    if pd.isna(known):
        with pytest.warns(
            UserWarning, match=f"got {n_early} of 8 training rows with an"
        ):
            part.fit(X)
    else:
        part.fit(X)  # no more than half
    assert part.n_rows_without_events_ == n_early


def test_rows_that_see_nothing_are_counted_and_unknown_subjects_said(store):
    X = cases()
    X.loc[[2, 5], "index_time"] = START - HOUR
    part = windows(store).fit(X)
    assert part.n_rows_without_events_ == 2
    found = pd.DataFrame(part.transform(X), columns=part.get_feature_names_out())
    assert found.loc[2].fillna(0).eq(0).all()
    X.loc[7, "subject_id"] = 999
    with pytest.raises(
        ValueError, match=r"subjects without events in 1 of 120 rows \(row positi"
    ):
        part.transform(X)
    empty = windows(store, unknown_subject="empty").fit(X)
    assert empty.n_rows_without_events_ == 3


def change(name, value):
    def changed(X):
        return X.assign(**{name: value(X[name])})

    return changed


@pytest.mark.parametrize(
    ("changed", "error", "message"),
    [
        (lambda X: X.to_numpy(), TypeError, "must be a DataFrame"),
        (
            lambda X: X.drop(columns="index_time"),
            ValueError,
            "must have a column 'index_time'",
        ),
        (
            change("index_time", lambda c: c.where(c.index != 3)),
            ValueError,
            r"null in column 'index_time' in 1 of 120 rows \(row positions 3\)",
        ),
        (
            change("index_time", lambda c: c.astype(str)),
            TypeError,
            "must contain times",
        ),
        (
            change("index_time", lambda c: c.dt.tz_localize("UTC")),
            ValueError,
            "time zone",
        ),
        (change("subject_id", lambda c: c.astype(str)), TypeError, "int64"),
        (lambda X: X.iloc[:0], ValueError, "X must have at least 1 row, got 0"),
    ],
)
def test_rows_that_are_no_cases(store, changed, error, message):
    with pytest.raises(error, match=message):
        windows(store).fit(changed(cases()))


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"windows": ()}, "windows must be a tuple"),
        ({"windows": "30d"}, "windows must be a tuple"),
        ({"windows": ("-1d",)}, "must be a positive time"),
        ({"windows": ("a month",)}, "must be a positive time"),
        ({"windows": ("24h", "1d")}, "the same length twice"),
        ({"aggs": ("means",)}, "did you mean|Did you mean"),
        ({"aggs": "mean"}, "aggs must be a tuple"),
        ({"totals": ("sum",)}, "unknown statistic 'sum' in totals"),
        ({"include": "LAB//*"}, "include must be a tuple"),
        ({"closed": "both"}, "closed must be one of"),
        ({"gap": "-1h"}, "negative"),
        ({"clip": (0.9, 0.1)}, "must be two increasing quantiles"),
        ({"min_subjects": 0}, "an integer of 1 or more"),
        ({"min_subjects": 1.5}, "min_subjects must be an integer"),
        ({"max_codes": 0.5}, "max_codes must be an integer"),
    ],
)
def test_parameters_that_make_no_sense(store, parameters, message):
    with pytest.raises(ValueError, match=message):
        windows(store, **parameters).fit(cases())


def test_events_must_be_a_store(store):
    with pytest.raises(TypeError, match="events must be an EventStore"):
        windows(events()).fit(cases())
    by_path = windows(store.path).fit_transform(cases())
    np.testing.assert_array_equal(by_path, windows(store).fit_transform(cases()))


def test_very_many_features_are_warned_of():
    rng = np.random.default_rng(0)
    n = 20_000
    table = pd.DataFrame(
        {
            "subject_id": rng.integers(0, 50, n),
            "time": START + pd.to_timedelta(rng.integers(1, 10_000, n), unit="min"),
            "code": [f"code-{i}" for i in rng.integers(0, 10_000, n)],
        }
    )
    X = pd.DataFrame(
        {"subject_id": np.arange(3_000) % 50, "index_time": START + 400 * 24 * HOUR}
    )
    with pytest.warns(UserWarning, match=r"codes with \d+ features.*GiB"):
        windows(EventStore.from_frame(table), min_subjects=1).fit(X)


@pytest.mark.parametrize(
    ("code", "is_one"),
    [
        ("death", True),
        ("Hospital_Expire_Flag//1", True),
        ("discharge//died", True),
        ("TRANSFER_TO//discharge//UNK", True),
        ("MEDS_DEATH", True),
        ("in-hospital death", False),  # A text, not a name.
        ("OUTCOME//IN_HOSPITAL_DEATH", True),
        ("DRG//HCFA//470", True),
        ("Hospital Discharge//home", True),
        ("DX//VAGINAL DISCHARGE", False),
        ("MICRO//EYE DISCHARGE", False),
        ("ICU_DISCHARGE", False),
        ("DX//SUDDEN CARDIAC DEATH", False),
        ("VITAL//EXPIRED_TIDAL_VOLUME", False),
        ("VITAL//DEAD_SPACE", False),
        ("LAB//DRGX", False),
    ],
)
def test_outcomes_are_whole_parts_of_a_code(code, is_one):
    table = pd.DataFrame({"subject_id": 1, "time": START + HOUR, "code": [code, "x"]})
    X = pd.DataFrame({"subject_id": [1], "index_time": START + 24 * HOUR})
    part = windows(EventStore.from_frame(table), min_subjects=1)
    if is_one:
        with pytest.warns(UserWarning, match="left out 1 of 2 codes"):
            assert part.fit(X).codes_ == ["x"]
        both = ("outcomes", "x//*")
        with (
            pytest.warns(UserWarning, match="left out 1 of 2 codes"),
            pytest.warns(LeakageWarning, match=r"1 of 1 patterns in exclude.*'x//\*'"),
        ):
            assert part.set_params(exclude=both).fit(X).codes_ == ["x"]
        assert part.set_params(exclude=(code,)).fit(X).codes_ == ["x"]
    else:
        assert part.fit(X).codes_ == sorted([code, "x"])


@pytest.mark.parametrize("kind", [EventWindows, EventGrid])
def test_patterns_that_match_no_code_are_counted(kind):
    table = pd.DataFrame(
        {"subject_id": 1, "time": START + HOUR, "code": ["LAB//a", "x"]}
    )
    X = pd.DataFrame({"subject_id": [1], "index_time": START + 24 * HOUR})
    settings = {"min_subjects": 1, "shared_subjects": "ignore"}
    if kind is EventGrid:
        settings |= {"horizon": "72h", "step": "24h"}
    part = kind(EventStore.from_frame(table), **settings)
    wanted = (
        r"1 of 2 patterns in include, .* no code: 'LBA//\*'. Did you mean 'LAB//\*'"
    )
    with pytest.warns(DataWarning, match=wanted):
        part.set_params(include=("LBA//*", "x")).fit(X)
    with pytest.warns(LeakageWarning, match=r"1 of 1 patterns in exclude"):
        part.set_params(include=None, exclude=("LBA//*",)).fit(X)
    assert part.codes_ == ["LAB//a", "x"]
    part.set_params(include=(*FURTHER_DOMAINS["stays"], "*"), exclude=("outcomes",))
    with pytest.warns(DataWarning, match=r"5 of 6 patterns in include"):
        part.fit(X)


def test_the_domains_of_the_package_may_lack_some_kinds_of_codes():
    table = pd.DataFrame({"subject_id": 1, "time": START + HOUR, "code": ["ICU//MICU"]})
    X = pd.DataFrame({"subject_id": [1], "index_time": START + 24 * HOUR})
    domains = {"stays": FURTHER_DOMAINS["stays"]}
    (stays,) = domain_modalities(
        EventStore.from_frame(table), domains=domains, min_subjects=1
    )
    assert stays[1].fit(X).codes_ == ["ICU//MICU"]


def test_maps_of_none_of_the_codes_are_warned_of():
    table = pd.DataFrame(
        {"subject_id": 1, "time": START, "code": ["LAB//a"], "numeric_value": 1.0}
    )
    store = EventStore.from_frame(table)
    wanted = r"none of the 1 codes of the store .*'LBA//a'.*Did you mean 'LAB//a'"
    with pytest.warns(DataWarning, match=f"map_codes: {wanted}"):
        assert store.map_codes({"LBA//a": "x"}).codes == ["LAB//a"]
    with pytest.warns(DataWarning, match=f"convert_units: {wanted}"):
        store.convert_units(Units({"LBA//a": "hemoglobin"}))
    assert store.map_codes({"LAB//a": "x", "LBA//a": "y"}).codes == ["x"]
    assert store.map_codes({}).codes == ["LAB//a"]
