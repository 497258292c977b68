"""Builders of stores that are killed at random moments, or that race.

Run as ``python kill_builds.py WHAT KINDS FOLDER SEED N``. WHAT is ``kill`` or ``race``,
and KINDS are sources of events, or ``prepare``, separated by commas. It prints a JSON
object by kind with the number of kills that hit, the states that they left, and what
was left behind. The processes are forks of this one, so that
importing takes no time between kills.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from skfusion import EventStore, EventWindows
from skfusion.ehr.windows.prepared import PreparedWindows

N = 10_000
N_PEOPLE = 200


def times(rng: np.random.Generator, n: int) -> pd.Series:
    minutes = rng.integers(0, 1_000_000, n)
    return pd.Series(pd.Timestamp("2023-01-01") + pd.to_timedelta(minutes, unit="min"))


def table(n: int = N) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    return pd.DataFrame(
        {
            "subject_id": rng.integers(0, N_PEOPLE, n),
            "time": times(rng, n),
            "code": rng.choice(["a", "b", "c"], n),
            "numeric_value": rng.normal(size=n),
        }
    )


def omop(folder: Path) -> None:
    events, person = table(), np.arange(N_PEOPLE)
    pd.DataFrame(
        {"person_id": person, "gender_concept_id": 8507, "year_of_birth": 1950}
    ).to_csv(folder / "person.csv", index=False)
    pd.DataFrame(
        {
            "measurement_id": np.arange(N),
            "person_id": events["subject_id"],
            "measurement_concept_id": 3016723,
            "measurement_date": events["time"].dt.date,
            "measurement_datetime": events["time"],
            "value_as_number": events["numeric_value"],
            # Encoded so that the reader writes a copy in UTF-8.
            "measurement_source_value": "Größe",
        }
    ).to_csv(folder / "measurement.csv", index=False, encoding="latin-1")


def mimic(folder: Path) -> None:
    events, person = table(), np.arange(N_PEOPLE)
    (folder / "hosp").mkdir()
    for name, columns in {
        "patients": {
            "subject_id": person,
            "gender": "F",
            "anchor_age": 60,
            "anchor_year": 2150,
            "dod": None,
        },
        "admissions": {
            "subject_id": person,
            "hadm_id": person,
            "admittime": "2150-03-01 10:00:00",
            "dischtime": "2150-03-05 12:00:00",
            "deathtime": None,
            "admission_type": "URGENT",
            "discharge_location": "HOME",
            "race": "WHITE",
        },
        "labevents": {
            "subject_id": events["subject_id"],
            "itemid": 50912,
            "charttime": events["time"],
            "storetime": events["time"],
            "value": events["numeric_value"],
            "valuenum": events["numeric_value"],
            "valueuom": "mg/dL",
        },
    }.items():
        pd.DataFrame(columns).to_csv(folder / "hosp" / f"{name}.csv", index=False)


def fhir(folder: Path) -> None:
    events = table(5000)
    with open(folder / "Observation.ndjson", "w", encoding="utf-8") as file:
        for subject, when, value in zip(
            events["subject_id"], events["time"], events["numeric_value"], strict=True
        ):
            code = {"system": "http://loinc.org", "code": "718-7"}
            observation = {
                "resourceType": "Observation",
                "status": "final",
                "subject": {"reference": f"Patient/p{subject}"},
                "code": {"coding": [code]},
                "effectiveDateTime": f"{when.isoformat()}Z",
                "valueQuantity": {"value": value, "unit": "g/dL"},
            }
            file.write(json.dumps(observation) + "\n")


def builder(
    kind: str, folder: Path
) -> tuple[Callable[[Path], Any], Callable[..., Any]]:
    """Return what builds at a path, and what checks the result there."""
    source = folder / "source"
    source.mkdir()
    if kind == "prepare":
        how = {"min_subjects": 1, "engine": "numpy", "exclude": None}
        windows = EventWindows(EventStore.from_frame(table(), folder / "events"), **how)
        when = pd.date_range("2023-02-01", periods=N_PEOPLE, freq="3D")
        X = pd.DataFrame({"subject_id": np.arange(N_PEOPLE), "index_time": when})
        return lambda path: windows.prepare(X, path=path), PreparedWindows
    if kind == "frame":
        return lambda path: EventStore.from_frame(table(), path), EventStore
    {"omop": omop, "mimic": mimic, "fhir": fhir}[kind](source)
    reader = getattr(EventStore, f"from_{kind}")
    how = {"encoding": "latin-1"} if kind == "omop" else {}
    return lambda path: reader(source, path, **how), EventStore


def fork(work: Callable[[], Any]) -> int:
    child = os.fork()
    if child:
        return child
    try:
        work()
    except BaseException as error:
        print(repr(error), file=sys.stderr)
        os._exit(1)
    os._exit(0)


def ended_well(child: int) -> bool:
    return os.waitpid(child, 0)[1] == 0


def kill(kind: str, folder: Path, seed: int, n_kills: int) -> dict[str, Any]:
    """Kill builders, look at the path after each, and let the last one finish."""
    rng = np.random.default_rng(seed)
    build, opened = builder(kind, folder)
    target = folder / "built" / "store"
    seconds = float("inf")
    for _ in range(2):  # The shorter time, as a busy machine would let kills miss.
        shutil.rmtree(target, ignore_errors=True)
        start = time.perf_counter()
        assert ended_well(fork(lambda: build(target)))
        seconds = min(seconds, time.perf_counter() - start)
    wanted = opened(target)
    facts: dict[str, Any] = {"killed": 0, "absent": 0, "whole": 0, "leftovers": 0}
    for _ in range(n_kills):
        shutil.rmtree(target, ignore_errors=True)
        child = fork(lambda: build(target))
        # Most kills while files are written, which is at the end.
        time.sleep(seconds * rng.uniform(0.1, 1.0))
        os.kill(child, signal.SIGKILL)
        facts["killed"] += os.WIFSIGNALED(os.waitpid(child, 0)[1])
        facts["leftovers"] += len(left_behind(folder))
        if target.exists():
            found = opened(target)
            found.verify()
            assert found == wanted
            facts["whole"] += 1
        else:
            facts["absent"] += 1
    assert ended_well(fork(lambda: build(target)))
    opened(target, wanted.fingerprint).verify()
    return facts | {"left": left_behind(folder)}


def race(kind: str, folder: Path, seed: int, n_rounds: int) -> dict[str, Any]:
    """Let three processes build the same at the same time."""
    build, opened = builder(kind, folder)
    target = folder / "built" / "store"
    failed = 0
    for _ in range(n_rounds):
        shutil.rmtree(target, ignore_errors=True)
        children = [fork(lambda: build(target)) for _ in range(3)]
        failed += sum(not ended_well(child) for child in children)
        opened(target).verify()
    return {"failed": failed, "left": left_behind(folder)}


def left_behind(folder: Path) -> list[str]:
    """Return the names of unfinished and of temporary folders."""
    places = [folder / "built", Path(tempfile.gettempdir())]
    names = [
        path.name for place in places if place.exists() for path in place.iterdir()
    ]
    return [name for name in names if name != "store"]


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    what, kinds, folder, seed, number = sys.argv[1:]
    function = {"kill": kill, "race": race}[what]
    found = {}
    for kind in kinds.split(","):
        place = Path(folder, kind)
        Path(place, "temporary").mkdir(parents=True)
        tempfile.tempdir = str(place / "temporary")
        found[kind] = function(kind, place, int(seed), int(number))
    print(json.dumps(found))
