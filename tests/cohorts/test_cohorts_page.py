"""The page about cohorts, run as printed on a real record and made images."""

from __future__ import annotations

import doctest
import json
import os
import re
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from dicom_files import as_bytes, dataset

from skfusion import EventStore
from skfusion.cohorts import flow_chart, link_images, make_cases
from skfusion.exceptions import DataWarning

pytest.importorskip("duckdb")

PAGE = Path(__file__).parents[2] / "docs" / "cohorts.md"
FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
MOST_LINES = 20
ZONE = "America/New_York"


def examples() -> list[doctest.Example]:
    text = PAGE.read_text(encoding="utf-8")
    return [
        example
        for block in re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL)
        for example in doctest.DocTestParser().get_examples(block)
    ]


def test_the_story_takes_at_most_twenty_lines():
    lines = [line for part in examples() for line in part.source.splitlines()]
    assert 12 < len(lines) <= MOST_LINES, "\n".join(lines)


@pytest.fixture
def archive(skfusion_data, tmp_path, monkeypatch):
    """The record, and a made radiograph with its ImagingStudy for most stays."""
    export = tmp_path / "export"
    export.mkdir()
    for path in (skfusion_data / "ehr" / "mimic4_demo_fhir").iterdir():
        os.symlink(path, export / path.name)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SKFUSION_CACHE", str(tmp_path / "cache"))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        stays = EventStore.from_fhir("export", time_zone=ZONE).stays("hospital")
    rng = np.random.default_rng(0)
    studies = []
    for number, stay in enumerate(stays.sample(frac=0.8, random_state=0).itertuples()):
        taken = stay.start + pd.Timedelta(float(rng.uniform(-10, 40)), "h")
        uid = f"1.2.{number}"
        made = dataset(
            rng.integers(0, 4095, (64, 64), dtype=np.uint16),
            PatientID=f"MRN{number:04}",
            StudyInstanceUID=uid,
            SeriesInstanceUID=f"{uid}.1",
            Modality="DX",
            StudyDate=taken.strftime("%Y%m%d"),
            StudyTime=taken.strftime("%H%M%S"),
        )
        place = tmp_path / "archive" / f"{number:04}" / "1.dcm"
        place.parent.mkdir(parents=True)
        place.write_bytes(as_bytes(made))
        zoned = taken.tz_localize(ZONE, ambiguous=True, nonexistent="shift_forward")
        studies.append(
            {
                "resourceType": "ImagingStudy",
                "status": "available",
                "subject": {"reference": f"Patient/{stay.subject_id}"},
                "started": zoned.floor("s").isoformat(),
                "identifier": [{"system": "urn:dicom:uid", "value": f"urn:oid:{uid}"}],
                "series": [{"uid": f"{uid}.1", "modality": {"code": "DX"}}],
            }
        )
    lines = "\n".join(map(json.dumps, studies))
    (export / "ImagingStudy.ndjson").write_text(lines)
    return tmp_path


@pytest.mark.data
@pytest.mark.timeout(500)
@pytest.mark.filterwarnings("ignore")  # what is left out, rare codes of folds
def test_the_page_runs_as_printed(archive):
    pytest.importorskip("torch")
    pyplot = pytest.importorskip("matplotlib.pyplot")
    test = doctest.DocTest(examples(), {}, "cohorts.md", str(PAGE), 0, None)
    said: list[str] = []
    runner = doctest.DocTestRunner(optionflags=FLAGS)
    runner.run(test, out=said.append, clear_globs=False)
    pyplot.close("all")
    assert not said, "".join(said)
    seen = test.globs["X"]["image"].notna().sum()
    assert 100 < seen < 230
    assert (archive / "scan.jsonl").exists()


def test_films_without_headers_as_printed(tmp_path, monkeypatch):
    """The blocks of the page without a prompt, with a number that starts with 0."""
    text = PAGE.read_text(encoding="utf-8")
    blocks = re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL)
    films, complete = [block for block in blocks if ">>>" not in block]
    monkeypatch.chdir(tmp_path)
    numbers = {"a": "0012345", "b": "0012346", "c": None}
    (tmp_path / "export").mkdir()
    (tmp_path / "export" / "Patient.ndjson").write_text(
        "\n".join(
            json.dumps(
                {"resourceType": "Patient", "id": person}
                | (
                    {
                        "identifier": [
                            {"system": "urn:hospital:mrn", "value": number},
                            {"system": "urn:other", "value": "0012345"},
                        ]
                    }
                    if number
                    else {}
                )
            )
            for person, number in numbers.items()
        )
    )
    (tmp_path / "films.csv").write_text(
        "mrn,path,acquired\n0012345,films/a.png,2024-03-01 08:30\n"
        "0012346,films/b.png,2024-03-02 07:30\n999,films/c.png,2024-03-01 08:30\n"
    )
    start = pd.Timestamp("2024-03-01 08:00")
    stays = pd.DataFrame({"stay_id": range(3), "subject_id": list(numbers)})
    stays = stays.assign(start=start, end=start + pd.Timedelta("30d"), died=False)
    events = pd.DataFrame({"subject_id": list("abc"), "time": start, "code": "LAB//x"})
    events.loc[3] = ["a", start + pd.Timedelta("60d"), "MEDS_DEATH"]
    names = {
        "store": EventStore.from_frame(events, stays=stays.assign(kind="hospital")),
        "make_cases": make_cases,
        "link_images": link_images,
        "flow_chart": flow_chart,
    }
    exec(films, names)
    assert names["mapping"] == {"0012345": "a", "0012346": "b"}
    with pytest.warns(DataWarning, match="1 without a patient"):
        exec(complete, names)
    # The film of b is there in time only without the delay of two hours.
    assert names["linked"]["image"].tolist() == ["films/a.png"]
    left_out = names["chart"].steps[0].left_out
    assert left_out == {"have no film in time": 2}
