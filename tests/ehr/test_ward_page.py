"""The page of the worked study, run as printed, and its model in a new process."""

from __future__ import annotations

import doctest
import os
import re
import subprocess
import sys
import textwrap
import warnings
from pathlib import Path

import joblib
import numpy as np
import pandas as pd
import pytest

from skfusion import EarlyFusionClassifier, EventStore
from skfusion.ehr import LeakageAudit, cases_from_stays, domain_modalities, with_events

pytest.importorskip("duckdb")

PAGE = Path(__file__).parents[2] / "docs" / "ward.md"
MOST_LINES = 20
FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


def examples(text: str) -> list[doctest.Example]:
    """Return the statements of all blocks of a page with their output."""
    blocks = re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL)
    return [
        example
        for block in blocks
        for example in doctest.DocTestParser().get_examples(block)
    ]


def parts() -> tuple[list[doctest.Example], list[doctest.Example]]:
    """Return the statements of the training, and those of the new process."""
    text = PAGE.read_text(encoding="utf-8")
    training, _, new = text.partition("## A new patient")
    return examples(training), examples(new)


def test_the_story_takes_twenty_lines():
    """Lines that only look at a result are not needed for it."""
    statements = [example.source for part in parts() for example in part]
    looks = ("len(", "list(", "cases.attrs", "round(")
    lines = [
        line
        for source in statements
        if not source.startswith(("import ", "from ", *looks))
        for line in source.splitlines()
    ]
    # From FHIR, two lines take the place of the first two.
    lines = [line for line in lines if not line.startswith(("export =", "same ="))]
    assert 15 < len(lines) <= MOST_LINES, "\n".join(lines)


def to_today(folder: Path, target: Path, stay: int, subject: int) -> None:
    """Copy the tables with one patient, who has another id and is still there."""
    for path in folder.rglob("*.csv.gz"):
        table = pd.read_csv(path, dtype=str)
        if "subject_id" in table:
            table = table[table["subject_id"] == str(subject)].assign(subject_id="1")
        if path.name == "admissions.csv.gz":
            table = table[table["hadm_id"] == str(stay)].assign(
                dischtime=None, deathtime=None, discharge_location=None
            )
        place = target / path.relative_to(folder)
        place.parent.mkdir(parents=True, exist_ok=True)
        table.to_csv(place, index=False)


@pytest.fixture
def ward(skfusion_data, tmp_path, monkeypatch):
    """A folder with the data under the names of the page."""
    data = skfusion_data / "ehr"
    os.symlink(data / "mimic4_demo", tmp_path / "mimic-iv-demo")
    os.symlink(data / "mimic4_demo_fhir", tmp_path / "mimic-iv-fhir-demo")
    to_today(data / "mimic4_demo", tmp_path / "today", stay=24181354, subject=10004235)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SKFUSION_CACHE", str(tmp_path / "cache"))
    return tmp_path


def in_new_process(code: str) -> str:
    code = "import warnings\nwarnings.simplefilter('ignore')\n" + code
    run = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr
    return run.stdout


@pytest.mark.data
@pytest.mark.timeout(500)
@pytest.mark.filterwarnings("ignore")  # what is left out, rare codes of folds
def test_the_page_runs_as_printed(ward):
    training, new = parts()
    test = doctest.DocTest(training, {}, "ward.md", str(PAGE), 0, None)
    runner = doctest.DocTestRunner(optionflags=FLAGS)
    said: list[str] = []
    runner.run(test, out=said.append, clear_globs=False)
    assert not said, "".join(said)
    names = [name for name, *_ in test.globs["record"]]
    assert list(test.globs["shares"].index) == names
    *lines, last = (example.source for example in new)
    out = in_new_process("".join(lines) + f"print({last.strip()})")
    assert doctest.OutputChecker().check_output(new[-1].want, out, FLAGS)


def split(store: EventStore, subject, folder: Path) -> tuple[EventStore, EventStore]:
    """Return stores of the other subjects and of one, with their stays."""
    stays = store.stays()
    made = []
    for name, ids in (
        ("others", store.subjects.drop(subject)),
        ("arrived", pd.Index([subject])),
    ):
        path = folder / name
        mine = stays[stays["subject_id"].isin(ids)]
        events = store.of_subjects(ids)
        options = {"no_time": "static", "date_only": None, "stays": mine}
        made.append(EventStore.from_frame(events, path, **options))
    return made[0], made[1]


@pytest.mark.data
@pytest.mark.timeout(500)
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("source", ["tables", "fhir"])
def test_a_held_out_patient_in_a_new_process(ward, source):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if source == "tables":
            store = EventStore.from_mimic("mimic-iv-demo", "all")
        else:
            zone = "America/New_York"
            store = EventStore.from_fhir("mimic-iv-fhir-demo", "all", time_zone=zone)
    cases = cases_from_stays(store, after="24h")
    assert (len(cases), cases["died"].sum()) == (245, 14)
    subject = cases["subject_id"].value_counts().index[0]
    others, arrived = split(store, subject, ward)
    assert subject not in others.subjects
    train = cases[cases["subject_id"] != subject].reset_index(drop=True)
    X, y = train[["subject_id", "index_time"]], train["died"]
    record = domain_modalities(others, windows=("1d", "365d"), max_codes=20)
    model = EarlyFusionClassifier(record, groups="subject_id", random_state=0)
    model.fit(X, y)
    assert LeakageAudit(n_rows=30, random_state=0).run(model, X, y).passed
    joblib.dump(model, "ward.joblib")
    now = cases_from_stays(arrived, after="24h")
    expected = with_events(model, arrived).predict_proba(
        now[["subject_id", "index_time"]]
    )
    # The features of a subject do not depend on the others in the store.
    whole = with_events(model, store).predict_proba(now[["subject_id", "index_time"]])
    np.testing.assert_array_equal(expected, whole)
    os.rename("others", "archive")  # The store of the training is not needed.
    out = in_new_process(
        textwrap.dedent("""
        import joblib
        from skfusion import EventStore
        from skfusion.ehr import cases_from_stays, with_events
        arrived = EventStore("arrived")
        now = cases_from_stays(arrived, after="24h")
        ready = with_events(joblib.load("ward.joblib"), arrived)
        print(ready.predict_proba(now[["subject_id", "index_time"]]).tolist())
        """)
    )
    np.testing.assert_array_equal(np.array(eval(out)), expected)
    assert len(expected) == len(now) > 1
    assert ((expected > 0) & (expected < 1)).all()
