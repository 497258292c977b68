"""Names of codes are kept with a store, and change nothing else."""

from __future__ import annotations

import json
import warnings

import numpy as np
import pandas as pd
import pytest

from skfusion import EventStore, EventWindows
from skfusion.ehr import CodeMap, Units, readable_names


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("SKFUSION_CACHE", str(tmp_path / "cache"))


def table() -> pd.DataFrame:
    return pd.DataFrame(
        {
            "subject_id": [1, 2] * 10,
            "time": pd.date_range("2020-01-01 01:10", periods=20, freq="7h"),
            "code": ["LAB//a", "LAB//b", "LAB//a", "X//c"] * 5,
            "numeric_value": np.arange(20.0),
            "unit": ["mg/dL", "drops"] * 10,
        }
    )


X = pd.DataFrame({"subject_id": [1, 2], "index_time": pd.Timestamp("2020-02-01")})
NAMES = {"LAB//a": "Anion Gap", "X//c": "Care", "LAB//other": "Other"}


@pytest.mark.parametrize(
    "given",
    [
        NAMES,
        {**NAMES, "LAB//b": None, "LAB//a": " Anion\n  Gap "},
        {**NAMES, "LAB//b": float("nan")},
        pd.Series({**NAMES, "LAB//b": ""}),
        pd.Series([*NAMES.values(), "Anion Gap"], [*NAMES, "LAB//a"]),
    ],
)
def test_names_of_the_codes_of_the_store(given):
    store = EventStore.from_frame(table(), labels=given)
    assert store.labels.to_dict() == {"LAB//a": "Anion Gap", "X//c": "Care"}
    assert (store.labels.name, store.labels.index.name) == ("label", "code")
    assert store.report()["label"].tolist() == ["Anion Gap", None, "Care"]
    store.verify()


def test_no_names():
    store = EventStore.from_frame(table())
    assert store.labels.empty
    assert store.labels.index.name == "code"
    assert "label" not in store.report()
    assert not (store.path / "labels.json").exists()
    assert EventStore.from_frame(table(), labels={}) == store


def test_names_change_no_feature():
    plain, named = (EventStore.from_frame(table(), labels=n) for n in (None, NAMES))
    assert plain != named  # in folders of their own
    first, second = (
        EventWindows(store, min_subjects=1).set_output(transform="pandas")
        for store in (plain, named)
    )
    pd.testing.assert_frame_equal(first.fit_transform(X), second.fit_transform(X))
    pd.testing.assert_frame_equal(plain.to_frame(), named.to_frame())


@pytest.mark.parametrize(
    ("labels", "error", "message"),
    [
        (["Anion Gap"], TypeError, "must be a mapping or a Series .* got list"),
        (pd.DataFrame({"a": [1]}), TypeError, "got DataFrame"),
        ({"LAB//a": 7}, TypeError, "must map codes to text, got int"),
    ],
)
def test_what_cannot_be_names(labels, error, message, tmp_path):
    with pytest.raises(error, match=message):
        EventStore.from_frame(table(), tmp_path / "store", labels=labels)
    assert not (tmp_path / "store").exists()


def test_names_that_miss_all_codes_are_said():
    with pytest.warns(UserWarning, match="none of the 1 codes in labels is a code"):
        EventStore.from_frame(table(), labels={"a": "Anion Gap"})


def test_the_first_of_several_names_counts_and_they_are_said():
    given = pd.Series(["One", "Two", "x"], ["LAB//a", "LAB//a", "none"])
    with pytest.warns(UserWarning, match="1 codes have several names"):
        store = EventStore.from_frame(table(), labels=given)
    assert store.labels.to_dict() == {"LAB//a": "One"}


def test_a_mapping_may_be_filled_while_events_are_read():
    names: dict[str, str] = {}

    def parts():
        yield table()
        names["LAB//b"] = "Later"

    assert EventStore.from_frame(parts(), labels=names).labels["LAB//b"] == "Later"


@pytest.mark.parametrize(
    "damage",
    [lambda c: b"", lambda c: c[:-4], lambda c: c.replace(b"Gap", b"Cap"), None],
)
def test_damaged_names_are_said_and_heal(damage, tmp_path):
    path = tmp_path / "store"
    store = EventStore.from_frame(table(), path, labels=NAMES)
    file = path / "labels.json"
    if damage is None:
        file.unlink()
    else:
        file.write_bytes(damage(file.read_bytes()))
    with pytest.raises(ValueError, match="changed since they were written"):
        EventStore(path).verify()
    for use in (lambda: EventStore(path).labels, lambda: EventStore(path).to_frame()):
        with pytest.raises(ValueError, match="changed since they were written"):
            use()
    healed = EventStore.from_frame(table(), path, labels=NAMES)
    assert healed == store
    assert healed.labels["LAB//a"] == "Anion Gap"


def test_damage_of_the_same_size_and_time_is_an_error_of_ours(tmp_path):
    import os

    path = tmp_path / "store"
    EventStore.from_frame(table(), path, labels=NAMES)
    file = path / "labels.json"
    state = file.stat()
    file.write_bytes(file.read_bytes().replace(b"Gap", b"Cap"))
    os.utime(file, ns=(state.st_atime_ns, state.st_mtime_ns))
    with pytest.raises(ValueError, match=r"changed since they were written"):
        _ = EventStore(path).labels
    with pytest.raises(ValueError, match="changed since they were written"):
        EventStore(path).verify()


def test_a_copied_folder_keeps_its_names(tmp_path):
    import shutil

    store = EventStore.from_frame(table(), tmp_path / "store", labels=NAMES)
    shutil.copytree(store.path, tmp_path / "copy", copy_function=shutil.copyfile)
    assert EventStore(tmp_path / "copy").labels["X//c"] == "Care"


def test_changes_of_events_keep_the_names():
    zoned = table().assign(time=table()["time"].dt.tz_localize("UTC"))
    store = EventStore.from_frame(zoned, labels=NAMES)
    kept = {"LAB//a": "Anion Gap", "X//c": "Care"}
    for other in (
        store.with_lags({"LAB//": "2h"}),
        store.with_time_zone("Europe/Berlin"),
        store.read_text(lambda texts: texts.to_frame("numeric_value")),
    ):
        assert other.labels.to_dict() == kept


MAPS = {
    "renamed": ({"LAB//a": "LAB//new"}, {"LAB//new": "Anion Gap", "X//c": "Care"}),
    "dropped": ({"LAB//a": None}, {"X//c": "Care"}),
    "of different names": ({"LAB//a": "LAB//n", "X//c": "LAB//n"}, {}),
    "with one without": ({"LAB//a": "LAB//n", "LAB//b": "LAB//n"}, {"X//c": "Care"}),
    "into a kept code": (
        {"LAB//a": "X//c"},
        {"X//c": "Care"},
    ),
    "to two": ({"LAB//a": ["LAB//n", "LAB//m"]}, {"X//c": "Care"}),
    "to itself and a group": (
        {"LAB//a": ["LAB//a", "GROUP"]},
        {"LAB//a": "Anion Gap", "X//c": "Care"},
    ),
    "by a function": (
        lambda codes: codes.str.lower(),
        {"lab//a": "Anion Gap", "x//c": "Care"},
    ),
    "by a map of groups": (
        CodeMap({"LAB//": lambda code: ("G",)}),
        {"X//c": "Care"},
    ),
}


@pytest.mark.parametrize(("mapping", "expected"), MAPS.values(), ids=MAPS)
def test_names_of_mapped_codes(mapping, expected):
    store = EventStore.from_frame(table(), labels=NAMES).map_codes(mapping)
    assert store.labels.to_dict() == expected
    store.verify()


def test_equal_names_are_the_name_of_the_code_they_become():
    same = {"LAB//a": "Glucose", "LAB//b": "Glucose"}
    store = EventStore.from_frame(table(), labels=same)
    merged = store.map_codes({"LAB//a": "LAB//g", "LAB//b": "LAB//g"})
    assert merged.labels.to_dict() == {"LAB//g": "Glucose"}


def test_codes_split_by_unit_have_the_name_of_the_code():
    labels = {"LAB//a": "Anion Gap", "LAB//b": "Base"}
    store = EventStore.from_frame(table(), labels=labels)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the unit that is no unit
        other = store.convert_units(Units({"LAB//b": "creatinine"}))
    assert "LAB//b//drops" in other.codes
    assert other.labels.to_dict() == {"LAB//a": "Anion Gap", "LAB//b//drops": "Base"}


def test_stores_are_united_with_their_names():
    one = EventStore.from_frame(table(), labels={"LAB//a": "Anion Gap"})
    two = EventStore.from_frame(
        table().assign(subject_id=3, code="LAB//z"), labels={"LAB//z": "Zinc"}
    )
    both = EventStore.from_frame(
        (store.to_frame() for store in (one, two)),
        labels=pd.concat([one.labels, two.labels]),
    )
    assert both.labels.to_dict() == {"LAB//a": "Anion Gap", "LAB//z": "Zinc"}


def test_a_store_without_names_of_an_earlier_version_is_read(tmp_path):
    store = EventStore.from_frame(table(), tmp_path / "store")
    words = json.loads((store.path / "words.json").read_text())
    assert "labels" not in words  # as they wrote it
    assert EventStore(store.path, store.fingerprint).labels.empty


def test_the_quality_report_shows_names():
    odd = table().assign(code="LAB//a")
    report = EventStore.from_frame(odd, labels=NAMES).quality()
    assert report.frame["reason"].str.startswith("Anion Gap (LAB//a) is in 2").any()


FEATURES = {
    "LAB//a__1d__mean": "Anion Gap (LAB//a) mean 1d",
    "labs__LAB//a__1d-30d__since_last": "labs__Anion Gap (LAB//a) since_last 1d-30d",
    "LAB//a": "Anion Gap (LAB//a)",
    "LAB//a__3__value": "Anion Gap (LAB//a) value 3",
    "LAB//b__1d__mean": "LAB//b__1d__mean",
    "LAB//a2__1d__mean": "LAB//a2__1d__mean",
    "*__1d__count": "*__1d__count",
    "odd__code__all__count": "Odd (odd__code) count all",
    "pipe__labs__odd__code__1d__count": "pipe__labs__Odd (odd__code) count 1d",
    "missingindicator_LAB//a__1d__slope": (
        "missingindicator_Anion Gap (LAB//a) slope 1d"
    ),
    "age": "age",
    "labs__present": "labs__present",
    "": "",
}


@pytest.mark.parametrize(("name", "shown"), FEATURES.items(), ids=FEATURES)
def test_feature_names_with_the_names_of_codes(name, shown):
    labels = {"LAB//a": "Anion Gap", "odd__code": "Odd", "code": "Wrong"}
    assert readable_names([name], labels) == [shown]
    assert readable_names([name], pd.Series(labels)) == [shown]
    assert readable_names([name], None) == readable_names([name], {}) == [name]


def test_labels_of_feature_names_are_checked():
    with pytest.raises(TypeError, match="readable_names: labels must be a mapping"):
        readable_names(["a"], ["Anion Gap"])
