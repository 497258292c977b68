"""Event tables of many types, cases and settings, most of which fit.

Run as ``python fuzz_events.py SEED N_CASES``. It prints a JSON object with the number
of cases that fit, their share, the refusals by the beginning of their message, the
slowest case in seconds and what is not as documented.
"""

from __future__ import annotations

import datetime
import decimal
import json
import os
import re
import sys
import tempfile
import time
import traceback
import uuid
import warnings
from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import scipy.sparse
from sklearn.base import clone

from skfusion import EventStore, EventWindows
from skfusion.ehr import EventGrid, domain_modalities
from skfusion.ehr.windows.kernel import STATISTICS

START = pd.Timestamp("2021-03-01 00:20")
ZONES = ("UTC", "Europe/Berlin", "America/New_York", "Asia/Kolkata")
OWNERS = "EventStore|EventWindows|EventGrid|domain_modalities|Demographics"
LIMIT = float(np.finfo(np.float32).max)
EXTREMES = (
    *(0.0, -0.0, 1e-45, 1e-38, 1e30, -1e30, 9.9e29, 1.1e30, LIMIT, -LIMIT, 3e38),
    *(1e39, 1.7e308, -1.7e308, np.inf, -np.inf, np.nan, 5e-324, 2.0**53, 2.0**63),
)


def pick(rng: np.random.Generator, choices: Any) -> Any:
    return list(choices)[int(rng.integers(len(choices)))]


def mostly_good(rng: np.random.Generator, names: list[str], n_refused: int) -> str:
    """Return a kind of column, rarely one of the last ones, which are refused."""
    n_good = len(names) - n_refused
    return pick(rng, names[n_good:] if rng.random() < 0.05 else names[:n_good])


# -- columns --------------------------------------------------------------------------


def ids(rng: np.random.Generator, n_people: int) -> tuple[str, list[Any], Any]:
    """Return a name, the ids of people and a dtype (None to leave it to pandas)."""
    big = 2**62 + rng.choice(10**6, n_people, replace=False)
    words = ["Jörg", "a b", "x" * 200, "1.0", "nan", "", "\U0001f600", "O'Brien", "a,b"]
    kinds: dict[str, Callable[[], tuple[list[Any], Any]]] = {
        "int64": lambda: (list(range(n_people)), "int64"),
        "int32": lambda: (list(range(-3, n_people - 3)), "int32"),
        "uint64": lambda: ([int(i) for i in big], "uint64"),
        "Int64": lambda: ([int(i) for i in big], "Int64"),
        "objects": lambda: ([int(i) for i in big], object),
        "int64[pyarrow]": lambda: (list(range(n_people)), "int64[pyarrow]"),
        "text": lambda: ([f"p{i}" for i in range(n_people)], object),
        "string": lambda: ([f"{i:04d}" for i in range(n_people)], "string"),
        "string[pyarrow]": lambda: (
            [f"{i:04d}" for i in range(n_people)],
            "string[pyarrow]",
        ),
        "UUIDs": lambda: (
            [str(uuid.UUID(bytes=rng.bytes(16))) for _ in range(n_people)],
            None,
        ),
        "odd text": lambda: (
            (words + [f"{w}{i}" for i in range(n_people) for w in words])[:n_people],
            object,
        ),
        "category": lambda: ([f"c{i}" for i in range(n_people)], "category"),
        "category of int": lambda: (list(range(n_people)), "category"),
        "decimal": lambda: (
            [decimal.Decimal(int(i)) for i in range(n_people)],
            object,
        ),
        # These are refused.
        "float": lambda: ([float(i) for i in range(n_people)], "float64"),
        "too big": lambda: ([2**63 + i for i in range(n_people)], "uint64"),
        "mixed": lambda: ([i if i % 2 else f"p{i}" for i in range(n_people)], object),
        "UUID objects": lambda: (
            [uuid.UUID(bytes=rng.bytes(16)) for _ in range(n_people)],
            object,
        ),
    }
    n_good = len(kinds) - 4
    odd = rng.random() < 0.05
    name = list(kinds)[
        int(rng.integers(n_good, len(kinds)) if odd else rng.integers(n_good))
    ]
    return name, *kinds[name]()


def in_zone(day: str, zone: str | None) -> pd.Timestamp:
    """Return the start of a day, which pytz has not in every zone of long ago."""
    start = pd.Timestamp(day).as_unit("us")
    if zone is None:
        return start
    return start.tz_localize(zone, ambiguous=True, nonexistent="shift_forward")


def times(rng: np.random.Generator, n: int, zone: str | None) -> tuple[str, pd.Series]:
    """Return a name and a column of times."""
    minutes = rng.integers(0, 60 * 24 * 200, n)
    column = pd.Series(START + pd.to_timedelta(minutes, unit="min"))
    if rng.random() < 0.15:
        column = column.dt.floor("D")
    if zone is not None:
        column = column.dt.tz_localize(
            zone, ambiguous=True, nonexistent="shift_forward"
        )
    us = column.dt.as_unit("us")
    inner = "us" if zone is None else f"us, tz={zone}"
    far = pick(rng, ["9999-12-31", "0001-01-01", "1677-01-01", "2262-06-01"])
    kinds: dict[str, Callable[[], pd.Series]] = {
        **{unit: lambda u=unit: column.dt.as_unit(u) for unit in ("ns", "ms", "s")},
        "us": lambda: us,
        "objects": lambda: pd.Series([t.to_pydatetime() for t in us], dtype=object),
        "dates": lambda: pd.Series([t.date() for t in us], dtype=object),
        "arrow": lambda: us.astype(f"timestamp[{inner}][pyarrow]"),
        "far": lambda: us.where(us.index > 0, in_zone(far, zone)),
        # These are refused.
        "text": lambda: column.astype(str).astype(object),
        "number": lambda: pd.Series(minutes),
        "lists": lambda: pd.Series([[1]] * n, dtype=object),
        "time of day": lambda: pd.Series([datetime.time(8)] * n, dtype=object),
        "period": lambda: us.dt.tz_localize(None).dt.to_period("D"),
        "out of range": lambda: pd.Series(
            np.full(n, "300000-01-01", dtype="datetime64[s]")
        ),
    }
    kind = mostly_good(rng, list(kinds), n_refused=6)
    if kind == "dates" and zone is not None:
        kind = "us"
    return kind, kinds[kind]()


def codes(rng: np.random.Generator, n: int) -> tuple[str, pd.Series]:
    """Return a name and a column of codes."""
    usual = ["LAB//a", "LAB//b", "VITAL//hr", "DIAGNOSIS//I10", "PROCEDURE//x"]
    odd = [
        *("__", "a__b", "**", "LAB//[x]", "DEATH", "MEDS_BIRTH", "", " ", "a\nb", "ü"),
        *("Ü", "\u212b", "\xc5", "<b>", "LAB//a ", "lab//A", "1d", "x" * 300, "a\0b"),
    ]
    words = usual if rng.random() < 0.6 else usual + odd
    if rng.random() < 0.02:
        words = [*words, "*"]  # Refused with totals.
    column = pd.Series(rng.choice(np.array(words, dtype=object), n), dtype=object)
    kind = pick(rng, ["object", "category", "string", "string[pyarrow]", "str"])
    if rng.random() < 0.03:
        kind = pick(rng, ["numbers", "null", "lists", "bytes"])
        made = {
            "numbers": lambda: pd.Series(range(n)),
            "null": lambda: column.where(rng.random(n) < 0.5, None),
            "lists": lambda: pd.Series([["a"]] * n, dtype=object),
            "bytes": lambda: pd.Series([b"a"] * n, dtype=object),
        }
        return kind, made[kind]()
    return kind, column.astype(kind)


def values(rng: np.random.Generator, n: int) -> tuple[str, pd.Series]:
    """Return a name and a column of numeric values."""
    plain = pd.Series(rng.normal(size=n) * 10.0 ** rng.integers(-3, 6))
    gaps = plain.where(rng.random(n) < 0.7)
    huge = rng.choice(EXTREMES, n)
    kinds: dict[str, Callable[[], pd.Series]] = {
        "float64": lambda: gaps,
        "float32": lambda: gaps.astype("float32"),
        "float16": lambda: gaps.clip(-6e4, 6e4).astype("float16"),
        "int8": lambda: pd.Series(rng.integers(-9, 9, n), dtype="int8"),
        "uint64": lambda: pd.Series(rng.integers(0, 2**63, n), dtype="uint64"),
        "bool": lambda: pd.Series(rng.random(n) < 0.5),
        "boolean": lambda: pd.Series(rng.random(n) < 0.5).astype("boolean"),
        "Float64": lambda: gaps.astype("Float64"),
        "Int64": lambda: (
            pd.Series(rng.integers(0, 99, n)).astype("Int64").where(rng.random(n) < 0.6)
        ),
        "double[pyarrow]": lambda: gaps.astype("double[pyarrow]"),
        "decimals": lambda: gaps.map(
            lambda v: decimal.Decimal(repr(v)), na_action="ignore"
        ).astype(object),
        "objects": lambda: gaps.astype(object),
        "constant": lambda: pd.Series(np.full(n, pick(rng, EXTREMES))),
        "extreme": lambda: pd.Series(huge),
        "extreme objects": lambda: pd.Series(list(huge), dtype=object),
        "near the limit": lambda: pd.Series(
            rng.choice([-1.0, 1.0], n) * rng.uniform(1e29, 1.2e30, n)
        ),
        "tiny": lambda: pd.Series(rng.uniform(0, 1e-44, n)),
        "all null": lambda: pd.Series([None] * n, dtype=object),
        "category": lambda: pd.Series(rng.integers(0, 3, n)).astype("category"),
        "sparse": lambda: gaps.astype("Sparse[float]"),
        "huge ints": lambda: pd.Series([10**400] + [1] * (n - 1), dtype=object),
        "huge decimals": lambda: pd.Series(
            [decimal.Decimal("1e5000"), decimal.Decimal("sNaN")][:n]
            + [decimal.Decimal("nan")] * (n - 2),
            dtype=object,
        ),
        # These are refused.
        "text": lambda: plain.astype(str).astype(object),
        "complex": lambda: pd.Series(plain.to_numpy() + 1j),
        "complex objects": lambda: pd.Series([1j] * n, dtype=object),
        "lists": lambda: pd.Series([[1.0]] * n, dtype=object),
        "timedelta": lambda: pd.to_timedelta(pd.Series(range(n)), unit="h"),
    }
    n_good = len(kinds) - 5
    odd = rng.random() < 0.05
    name = list(kinds)[
        int(rng.integers(n_good, len(kinds)) if odd else rng.integers(n_good))
    ]
    return name, kinds[name]()


def available(rng: np.random.Generator, time: pd.Series) -> pd.Series:
    """Return times of availability for a column of times of pandas."""
    is_usual = pd.api.types.is_datetime64_any_dtype(time) and "[u" in str(time.dtype)
    if not is_usual:
        return time
    later = time + pd.to_timedelta(rng.integers(0, 48, len(time)), unit="h")
    return later.where(rng.random(len(time)) < 0.8)


# -- tables and settings --------------------------------------------------------------


def events(rng: np.random.Generator) -> tuple[str, pd.DataFrame, list[Any], Any, Any]:
    """Return a description, a table of events, the ids, their dtype and the zone."""
    n = int(pick(rng, [1, 2, 5, 40, 150, 400]))
    n_people = int(rng.integers(1, 13))
    zone = pick(rng, ZONES) if rng.random() < 0.3 else None
    id_kind, people, dtype = ids(rng, n_people)
    chosen = [people[i] for i in rng.integers(0, n_people, n)]
    made = {"subject_id": pd.Series(chosen, dtype=dtype)}
    time_kind, made["time"] = times(rng, n, zone)
    code_kind, made["code"] = codes(rng, n)
    value_kind = "none"
    if rng.random() < 0.9:
        value_kind, made["numeric_value"] = values(rng, n)
    optional: dict[str, Callable[[], pd.Series]] = {
        "available_time": lambda: available(rng, made["time"]),
        "unit": lambda: pd.Series(rng.choice(["g", "mg", "", "µmol/L"], n)),
        "text_value": lambda: pd.Series(rng.choice(["<0.1", "neg", "3"], n)),
        "other": lambda: pd.Series([{"a": 1}] * n, dtype=object),
    }
    for name, column in optional.items():
        if rng.random() < 0.3:
            made[name] = column()
    frame = pd.DataFrame(made)
    frame = rearranged(rng, frame[list(rng.permutation(list(frame)))])
    about = f"ids {id_kind}, times {time_kind} {zone}, codes {code_kind}, {value_kind}"
    return about, frame, people, dtype, zone


def rearranged(rng: np.random.Generator, frame: pd.DataFrame) -> pd.DataFrame:
    """Return a table with duplicates, another index, or fewer or repeated columns."""
    n = len(frame)
    if rng.random() < 0.2:
        frame = pd.concat([frame, frame.iloc[: n // 2]], ignore_index=True)
    if rng.random() < 0.1:
        frame.index = pd.Index(rng.integers(0, 3, len(frame)))
    if rng.random() < 0.02:
        frame = frame.iloc[:0]
    if rng.random() < 0.02:
        frame = frame.drop(columns=pick(rng, ["code", "time", "subject_id"]))
    if rng.random() < 0.02 and "code" in frame:
        frame = pd.concat([frame, frame[["code"]]], axis=1)
    return frame


def cases(
    rng: np.random.Generator, people: list[Any], dtype: Any, zone: str | None
) -> pd.DataFrame:
    """Return rows of the people at random times, in another order of columns."""
    n = int(rng.integers(1, 30))
    when = START + pd.to_timedelta(rng.integers(0, 60 * 24 * 260, n), unit="min")
    column = pd.Series(when)
    if zone is not None:
        column = column.dt.tz_localize(
            zone, ambiguous=True, nonexistent="shift_forward"
        )
    chosen = [people[i] for i in rng.integers(0, len(people), n)]
    made = {"index_time": column, "subject_id": pd.Series(chosen, dtype=dtype)}
    names = list(rng.permutation(list(made)))
    return pd.DataFrame(made)[names]


def window_settings(rng: np.random.Generator) -> dict[str, Any]:
    lengths = ["1h", "1d", "7d", "30d", "90d", "365d"]
    chosen = sorted(rng.choice(len(lengths), int(rng.integers(1, 4)), replace=False))
    windows: list[Any] = [lengths[i] for i in chosen]
    if rng.random() < 0.4:
        windows.append(None)
    aggs = rng.choice(STATISTICS, int(rng.integers(1, len(STATISTICS))), replace=False)
    totals = [name for name in ("count", "n_codes", "history") if rng.random() < 0.5]
    return {
        "windows": tuple(windows),
        "nested": bool(rng.random() < 0.7),
        "aggs": tuple(map(str, aggs)),
        "totals": tuple(totals),
        "min_subjects": pick(rng, [1, 1, 1, 2, 0.3]),
        "max_codes": pick(rng, [None, None, 2]),
        "closed": pick(rng, ["left", "right"]),
        "gap": pick(rng, ["0h", "0h", "3h", "2d"]),
        "clip": pick(rng, [None, None, None, (0.05, 0.95)]),
        "exclude": pick(rng, ["outcomes", None, ("VITAL//*",)]),
        "aggs_by_prefix": pick(rng, [None, None, {"LAB//": ("std", "slope", "range")}]),
        "output": pick(rng, ["dense", "dense", "sparse"]),
        "engine": pick(rng, ["auto", "numpy"]),
        "unknown_subject": "empty",
        "shared_subjects": "ignore",
    }


def transformers(rng: np.random.Generator, store: EventStore) -> list[Any]:
    """Return one or several transformers of the events."""
    settings = window_settings(rng)
    kind = rng.integers(10)
    if kind < 6:
        return [EventWindows(store, **settings)]
    if kind < 8:
        shared = ("min_subjects", "max_codes", "closed", "gap", "exclude")
        some = {name: settings[name] for name in shared}
        how = {"unknown_subject": "empty", "shared_subjects": "ignore"}
        steps = {"step": "1d", "horizon": pick(rng, ["2d", "30d"])}
        steps["aggregation"] = pick(rng, ["mean", "last"])
        return [EventGrid(store, **some, **how, **steps)]
    settings.pop("windows")
    settings["output"] = "dense"
    made = domain_modalities(store, windows=("30d", "365d"), **settings)
    return [transformer for _, transformer, _ in made]


# -- what must hold -------------------------------------------------------------------


class Finding(Exception):
    """Something is not as documented."""


def dense(result: Any) -> np.ndarray:
    if scipy.sparse.issparse(result):
        result = result.copy()
        if not np.isfinite(result.data).all():
            raise Finding("a stored cell of a sparse output is not finite")
        result = result.toarray()
    if isinstance(result, pd.DataFrame):
        numbers = result.select_dtypes("number")
        return numbers.to_numpy(np.float64)
    return np.asarray(result, dtype=np.float64)


def check(transformer: Any, X: pd.DataFrame, rng: np.random.Generator) -> None:
    """Fit and transform, and raise a `Finding` for what is not as documented."""
    fitted = clone(transformer).fit(X)
    result = dense(fitted.transform(X))
    if np.isinf(result).any():
        raise Finding("an infinite feature")
    names = list(fitted.get_feature_names_out())
    if len(set(names)) != len(names):
        raise Finding("names of features are not unique")
    if result.ndim == 2 and result.shape[1] > len(names):
        raise Finding("more features than names")
    order = rng.permutation(len(X))
    again = dense(fitted.transform(X.iloc[order]))
    if not np.array_equal(again, result[order], equal_nan=True):
        raise Finding("features depend on the order of rows")
    other = dense(clone(transformer).fit(X.iloc[order]).transform(X))
    if not np.allclose(other, result, rtol=1e-5, atol=1e-7, equal_nan=True):
        raise Finding("the fit depends on the order of rows")


def one_case(rng: np.random.Generator, folder: str) -> str:
    """Run one case and return "fit" or why it was refused."""
    about, frame, people, dtype, zone = events(rng)
    X = cases(rng, people, dtype, zone)
    stage = "store"
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            no_time = pick(rng, ["error", "static", "drop"])
            date_only = pick(rng, ["end_of_day", "end_of_day", "midnight", None])
            how = {"no_time": no_time, "date_only": date_only}
            store = EventStore.from_frame(frame, os.path.join(folder, "store"), **how)
            store.to_frame(), store.report(), store.quality()
            for transformer in transformers(rng, store):
                stage = type(transformer).__name__
                check(transformer, X, rng)
            outcome = "fit"
        except Finding as finding:
            raise Finding(f"{finding} ({stage}; {about})") from None
        except (ValueError, TypeError) as error:
            message = str(error)
            if not re.match(rf"({OWNERS}):", message):
                raise Finding(f"{error!r} ({stage}; {about}) {place(error)}") from None
            outcome = message[:60]
        except Exception as error:
            raise Finding(f"{error!r} ({stage}; {about}) {place(error)}") from None
    for warning in caught:
        text = str(warning.message)
        if not re.match(rf"({OWNERS})[: ]", text):
            raise Finding(f"warning {text!r} ({stage}; {about})")
    return outcome


def place(error: Exception) -> str:
    frame = traceback.extract_tb(error.__traceback__)
    ours = [f for f in frame if "skfusion" in f.filename] or frame
    return f"at {os.path.basename(ours[-1].filename)}:{ours[-1].lineno}"


def fuzz(seed: int, n_cases: int) -> dict[str, Any]:
    """Run random cases, and collect what is not as documented."""
    refused: Counter[str] = Counter()
    unexpected, slowest, n_fit = [], 0.0, 0
    for case in range(n_cases):
        rng = np.random.default_rng([seed, case])
        start = time.perf_counter()
        with tempfile.TemporaryDirectory() as folder:
            try:
                outcome = one_case(rng, folder)
                n_fit += outcome == "fit"
                refused.update([outcome] * (outcome != "fit"))
            except Finding as finding:
                unexpected.append(f"case {case}: {finding}"[:400])
        slowest = max(slowest, time.perf_counter() - start)
    return {
        "n_cases": n_cases,
        "fit": n_fit,
        "share": round(n_fit / n_cases, 3),
        "refused": dict(refused.most_common()),
        "slowest": round(slowest, 2),
        "unexpected": unexpected,
    }


if __name__ == "__main__":
    print(json.dumps(fuzz(int(sys.argv[1]), int(sys.argv[2])), indent=1))
