"""Headers of folders of DICOM files, against pydicom and on real files."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import textwrap
import time
import uuid
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pydicom
import pytest
from dicom_files import as_bytes, dataset, plane
from pydicom.data import get_testdata_file
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ImplicitVRLittleEndian,
)

from skfusion.cohorts import headers, scan_images
from skfusion.cohorts.dicom_times import acquired_at, date_time
from skfusion.cohorts.headers import read_headers
from skfusion.cohorts.image_table import COLUMNS
from skfusion.exceptions import DataWarning

PIXELS = np.zeros((4, 6), dtype=np.uint16)
ABOUT = {
    "PatientID": "p7",
    "StudyInstanceUID": "1.2",
    "SeriesInstanceUID": "1.2.3",
    "SeriesNumber": 3,
    "Modality": "DX",
    "StudyDate": "20240301",
    "StudyTime": "083000.25",
}


def write(path: Path, pixels=PIXELS, syntax=None, **tags) -> None:
    made = dataset(pixels, **(ABOUT | tags))
    if syntax is not None:
        made.file_meta.TransferSyntaxUID = syntax
        if syntax == ExplicitVRBigEndian:
            made.PixelData = pixels.astype(">u2").tobytes()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(as_bytes(made))


def scanned(folder: Path, **how) -> pd.DataFrame:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DataWarning)
        return scan_images(folder, **how)


def test_a_header_becomes_a_row(tmp_path):
    write(tmp_path / "a" / "x", ViewPosition="PA", BodyPartExamined="CHEST")
    images = scan_images(tmp_path)
    assert list(images.columns) == list(COLUMNS)
    row = images.iloc[0].to_dict()
    assert row["path"] == str(tmp_path / "a" / "x")
    expected = {
        "patient": "p7",
        "study": "1.2",
        "series": "1.2.3",
        "series_number": 3,
        "modality": "DX",
        "view": "PA",
        "laterality": None,
        "body_part": "CHEST",
        "acquired": pd.Timestamp("2024-03-01 08:30:00.25"),
        "rows": 4,
        "columns": 6,
        "instances": 1,
        "frames": 1,
    }
    assert {name: row[name] for name in expected} == expected
    assert images["available"].isna().all()
    assert images.attrs["scan"] == {"images": 1}


@pytest.mark.parametrize(
    "syntax",
    [ImplicitVRLittleEndian, DeflatedExplicitVRLittleEndian, ExplicitVRBigEndian],
)
def test_every_transfer_syntax_gives_the_same_row(tmp_path, syntax):
    write(tmp_path / "plain" / "x")
    write(tmp_path / "other" / "x", syntax=syntax)
    images = scan_images(tmp_path).drop(columns="path")
    pd.testing.assert_series_equal(images.iloc[0], images.iloc[1], check_names=False)


def test_a_file_without_a_preamble(tmp_path):
    made = dataset(PIXELS, **ABOUT)
    del made.file_meta
    pydicom.dcmwrite(
        tmp_path / "bare",
        made,
        implicit_vr=True,
        little_endian=True,
        enforce_file_format=False,
    )
    assert scan_images(tmp_path)["patient"].tolist() == ["p7"]


@pytest.mark.parametrize(
    ("charset", "name"),
    [("ISO_IR 192", "Müller-1"), ("ISO_IR 100", "Ñ7"), ("ISO 2022 IR 87", "患者7")],
)
def test_ids_in_other_character_sets(tmp_path, charset, name):
    charset = ["", charset] if "2022" in charset else charset
    write(tmp_path / "x", SpecificCharacterSet=charset, PatientID=name)
    assert scan_images(tmp_path)["patient"].tolist() == [name]


def test_names_of_files_in_any_alphabet(tmp_path):
    write(tmp_path / "Aufnahme für Müller" / "обр.dcm")
    write(tmp_path / "a b'c\"" / "C:\\x.dcm")
    paths = scan_images(tmp_path)["path"]
    assert all(map(os.path.exists, paths))
    assert len(paths) == 2


@pytest.mark.parametrize(
    ("header", "time"),
    [
        ({"StudyDate": "20240301", "StudyTime": "0830"}, "2024-03-01 08:30"),
        ({"StudyDate": "20240301", "StudyTime": "08"}, "2024-03-01 08:59:59.999999"),
        ({"StudyDate": "20240301"}, "2024-03-01 23:59:59.999999"),
        ({"StudyDate": "20240301", "StudyTime": "99"}, "2024-03-01 23:59:59.999999"),
        ({"StudyDate": "2024.03.01", "StudyTime": "08:30:01"}, "2024-03-01 08:30:01"),
        (
            {"StudyDate": "20240301", "StudyTime": "235960"},
            "2024-03-01 23:59:59.999999",
        ),
        (
            {"StudyDate": "20240301", "StudyTime": "083000.1234567"},
            "2024-03-01 08:30:00.123456",
        ),
        # The acquisition decides, without the time of another step.
        (
            {
                "StudyDate": "20240301",
                "StudyTime": "083000",
                "AcquisitionDate": "20240302",
            },
            "2024-03-02 23:59:59.999999",
        ),
        (
            {"AcquisitionDateTime": "20240302101112.5", "StudyDate": "20240301"},
            "2024-03-02 10:11:12.5",
        ),
        ({"AcquisitionDateTime": "202403"}, "2024-03-31 23:59:59.999999"),
        ({"StudyDate": "20240230"}, None),
        ({"StudyDate": "unknown", "StudyTime": "083000"}, None),
        ({}, None),
    ],
)
def test_times_are_never_too_early(header, time):
    found = acquired_at(lambda name: header.get(name, ""))
    wanted = None if time is None else (pd.Timestamp(time).as_unit("us")._value, None)
    assert found == wanted


@pytest.mark.parametrize(
    ("text", "offset"),
    [("+0530", 330), ("-0330", -210), ("+0000", 0), ("+0590", None), ("+1900", None)],
)
def test_offsets_of_times(text, offset):
    moment = date_time(f"20240301083000{text}")
    assert moment is not None
    assert moment[1] == offset
    values = {"TimezoneOffsetFromUTC": text, "StudyDate": "20240301"}
    found = acquired_at(lambda name: values.get(name, ""))
    assert found is not None
    assert found[1] == offset


def test_files_that_all_state_an_offset_are_in_utc(tmp_path):
    write(tmp_path / "a", TimezoneOffsetFromUTC="+0100")
    write(tmp_path / "b", TimezoneOffsetFromUTC="-0500")
    times = scan_images(tmp_path)["acquired"]
    assert times.dt.tz is not None
    assert [str(t) for t in times.dt.strftime("%H:%M")] == ["07:30", "13:30"]


def test_offsets_of_some_files_need_the_zone_of_the_others(tmp_path):
    write(tmp_path / "a", TimezoneOffsetFromUTC="+0000")
    write(tmp_path / "b")
    with pytest.warns(DataWarning, match="1 of 2 times state an offset"):
        times = scan_images(tmp_path)["acquired"]
    assert times.dt.tz is None
    times = scan_images(tmp_path, time_zone="Asia/Kolkata")["acquired"]
    assert times.dt.strftime("%H:%M").tolist() == ["08:30", "03:00"]


def test_what_is_no_image_is_counted_and_not_quoted(tmp_path):
    write(tmp_path / "good")
    whole = as_bytes(dataset(PIXELS, **ABOUT))
    (tmp_path / "Doe^Jane cut pixels").write_bytes(whole[:-10])
    (tmp_path / "cut header").write_bytes(whole[:300])
    (tmp_path / "empty").write_bytes(b"")
    (tmp_path / "notes.txt").write_text("Doe")
    (tmp_path / "picture.png").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(30))
    (tmp_path / ".DS_Store").write_bytes(b"hidden")
    shutil.copy(get_testdata_file("DICOMDIR"), tmp_path)
    shutil.copy(get_testdata_file("rtplan.dcm"), tmp_path)
    with pytest.warns(DataWarning) as caught:
        images = scan_images(tmp_path)
    assert len(images) == 1
    assert images.attrs["scan"] == {
        "images": 1,
        "unreadable: truncated": 2,
        "unreadable: empty": 1,
        "no image": 2,
        "format PNG": 1,
        "format no image format": 1,
    }
    assert len(caught) == 1
    text = str(caught[0].message)
    assert "read 1 of 8 files" in text
    assert "Doe" not in text


def test_headers_without_pixels_are_images(tmp_path):
    made = dataset(PIXELS, **ABOUT)
    del made.PixelData
    (tmp_path / "x").write_bytes(as_bytes(made))
    assert len(scan_images(tmp_path)) == 1


def test_slices_of_a_volume_are_one_image(tmp_path):
    for number in range(3):
        made = plane(number, 2.0 * number, **(ABOUT | {"Modality": "CT"}))
        made.AcquisitionDate, made.AcquisitionTime = "20240301", f"09{number:02}00"
        (tmp_path / "ct").mkdir(exist_ok=True)
        (tmp_path / "ct" / f"{number}").write_bytes(as_bytes(made))
    write(tmp_path / "dx" / "1")
    write(tmp_path / "dx" / "2")
    images = scan_images(tmp_path).set_index("path")
    volume = images.loc[str(tmp_path / "ct")]
    assert (volume["instances"], len(images)) == (3, 3)
    assert volume["acquired"] == pd.Timestamp("2024-03-01 09:02")  # when it is complete
    assert len(scan_images(tmp_path, volumes=False)) == 5
    # Beside another series, the folder is not the path of one image.
    write(tmp_path / "ct" / "other", SeriesInstanceUID="1.9", Modality="CT")
    with pytest.warns(DataWarning, match="1 series of several files share"):
        assert len(scan_images(tmp_path)) == 6


def test_slices_of_several_patients_are_no_volume(tmp_path):
    for number in range(4):  # a series whose UID was given twice
        write(tmp_path / f"{number}", Modality="CT", PatientID=f"p{number // 2}")
    with pytest.warns(DataWarning, match="1 series have files of several patients"):
        images = scan_images(tmp_path)
    assert images["patient"].tolist() == ["p0", "p0", "p1", "p1"]
    assert images["instances"].tolist() == [1] * 4


def test_patient_ids_can_be_replaced_before_anything_is_written(tmp_path):
    folder, index = tmp_path / "images", tmp_path / "index.jsonl"
    for i in range(3):
        write(folder / f"{i}", PatientID=f"Doe-{i % 2}")
    asked = []

    def keyed(name):
        asked.append(name)
        return hashlib.blake2b(name.encode(), key=b"secret", digest_size=8).hexdigest()

    images = scan_images(folder, patient=keyed, index=index)
    assert images["patient"].nunique() == 2
    assert sorted(asked) == ["Doe-0", "Doe-1"]
    assert "Doe" not in index.read_text()
    again = scan_images(folder, patient=keyed, index=index)
    pd.testing.assert_frame_equal(images, again)
    with pytest.raises(ValueError, match="another choice of patient="):
        scan_images(folder, index=index)
    assert scanned(folder, patient=None)["patient"].isna().all()
    numbers = {"Doe-0": 10, "Doe-1": 11}
    assert scan_images(folder, patient=numbers.get)["patient"].tolist() == [10, 11, 10]


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        (np.nan, None),
        (pd.NA, None),
        (pd.NaT, None),
        (" ", None),
        (0, 0),
        (np.int64(12), 12),
        (12.0, 12),
        (uuid.UUID(int=1), str(uuid.UUID(int=1))),
    ],
)
def test_what_a_callable_may_return(tmp_path, given, kept):
    folder, index = tmp_path / "images", tmp_path / "index.jsonl"
    write(folder / "a")
    write(folder / "b", PatientID="other")
    numbers = {"p7": given, "other": 1}
    if kept is None:
        with pytest.warns(DataWarning, match="1 of 2 images have no patient id"):
            images = scan_images(folder, patient=numbers.get, index=index)
    else:
        images = scan_images(folder, patient=numbers.get, index=index)
    assert images["patient"].tolist() == [kept, 1]
    again = scanned(folder, patient=numbers.get, index=index)
    pd.testing.assert_frame_equal(images, again)


def test_a_scan_is_resumed_with_the_same_function_of_patients(tmp_path):
    """Two keys of a hash would make two patients of one."""
    folder, index = tmp_path / "images", tmp_path / "index.jsonl"
    write(folder / "a", PatientID="")
    write(folder / "b")

    def keyed(key):
        return lambda name: f"{key}-{name}"

    first = scanned(folder, patient=keyed("one"), index=index)
    again = scanned(folder, patient=keyed("one"), index=index)
    pd.testing.assert_frame_equal(first, again)
    write(folder / "c")
    with pytest.raises(ValueError, match="patient gives another id than in the scan"):
        scanned(folder, patient=keyed("two"), index=index)
    third = scanned(folder, patient=keyed("one"), index=index)
    assert third["patient"].tolist() == [None, "one-p7", "one-p7"]


@pytest.mark.parametrize("given", [b"hash", True, 1.5, ("a",), float("inf")])
def test_what_a_callable_may_not_return(tmp_path, given):
    write(tmp_path / "a")
    with pytest.raises(TypeError, match="patient must return text, an integer or None"):
        scan_images(tmp_path, patient=lambda name: given)


def test_numbers_of_headers_that_are_none_are_counted(tmp_path):
    write(tmp_path / "a")
    content = (tmp_path / "a").read_bytes()
    assert content.count(b"IS\x02\x003 ") == 1
    (tmp_path / "b").write_bytes(content.replace(b"IS\x02\x003 ", b"IS\x02\x00x "))
    with pytest.warns(DataWarning, match="1 of 'series_number' of 2 images are no"):
        images = scan_images(tmp_path)
    assert images["series_number"].tolist() == [3, pd.NA]


def test_damaged_lines_of_an_index_are_counted(tmp_path, monkeypatch):
    folder, index = tmp_path / "images", tmp_path / "scan.jsonl"
    for i in range(6):
        write(folder / f"{i}", SeriesInstanceUID=f"1.{i}")
    first = scan_images(folder, index=index)
    about, *lines = index.read_text().splitlines()
    cells = json.loads(lines[2])
    lines[0] = lines[0][:30]  # damaged, and not by a kill
    lines[1] = "\0" * 40
    lines[2] = json.dumps([5, *cells[1:]])
    lines[3] = json.dumps([*cells[:3], [None] * len(cells[3]), ""])
    lines[5] = lines[5][:50]  # by a kill
    index.write_text("\n".join([about, *lines]))
    read = []
    original = headers._read
    monkeypatch.setattr(headers, "_read", lambda p: read.append(p) or original(p))
    with pytest.warns(DataWarning, match="4 lines of index are damaged"):
        again = scan_images(folder, index=index)
    pd.testing.assert_frame_equal(again, first)
    assert [os.path.basename(path) for path in read] == ["0", "1", "2", "3", "5"]
    # A line without an end, as of a kill after the last one.
    index.write_text(index.read_text().replace(lines[4] + "\n", "")[:-1])
    index.write_text("\n".join([about, lines[4]]))
    assert len(scan_images(folder, index=index)) == 6
    index.write_text(about)
    pd.testing.assert_frame_equal(scan_images(folder, index=index), first)
    read.clear()
    pd.testing.assert_frame_equal(scan_images(folder, index=index), first)
    assert read == []


def test_only_new_and_changed_files_are_read_again(tmp_path, monkeypatch):
    folder, index = tmp_path / "images", tmp_path / "images" / "scan.jsonl"
    for i in range(3):
        write(folder / f"{i}", SeriesInstanceUID=f"1.{i}")
    first = scan_images(folder, index=index)
    assert os.stat(index).st_mode & 0o077 == 0
    read = []
    original = headers._read
    monkeypatch.setattr(headers, "_read", lambda p: read.append(p) or original(p))
    pd.testing.assert_frame_equal(scan_images(folder, index=index), first)
    assert read == []
    write(folder / "1", PatientID="changed")
    write(folder / "3")
    os.remove(folder / "0")
    # A line that a kill has cut off.
    index.write_bytes(index.read_bytes() + b'["2", 12')
    again = scan_images(folder, index=index)
    assert [os.path.basename(path) for path in read] == ["1", "3"]
    assert again["patient"].tolist() == ["changed", "p7", "p7"]
    assert len(scan_images(folder, index=index)) == 3
    with pytest.raises(ValueError, match="another folder"):
        scan_images(tmp_path, index=index)
    other = tmp_path / "thesis.txt"
    other.write_text("a year of work\n")
    with pytest.raises(ValueError, match="other content, which was not changed"):
        scan_images(folder, index=other)
    assert other.read_text() == "a year of work\n"


def test_a_scan_that_is_killed_is_resumed(tmp_path):
    folder, index = tmp_path / "images", tmp_path / "scan.jsonl"
    write(folder / "0")
    content = (folder / "0").read_bytes()
    for i in range(1, 1500):
        (folder / f"{i}").write_bytes(content)
    code = textwrap.dedent(f"""
        import time
        from skfusion.cohorts import headers, scan, scan_images
        scan.CHUNK = 100
        original = headers._read
        headers._read = lambda path: time.sleep(0.002) or original(path)
        scan_images({str(folder)!r}, index={str(index)!r})
    """)
    process = subprocess.Popen([sys.executable, "-c", code])
    limit = time.monotonic() + 60
    while not index.exists() or index.stat().st_size < 30_000:
        assert process.poll() is None
        assert time.monotonic() < limit
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    n_noted = len(index.read_bytes().splitlines()) - 1
    assert 100 <= n_noted < 1500
    resumed = scan_images(folder, index=index)
    pd.testing.assert_frame_equal(resumed, scan_images(folder))
    n_lines = len(index.read_bytes().splitlines())
    assert n_lines <= 1500 + 3  # nothing that was noted is read again


def test_two_processes_give_the_same_table(tmp_path, monkeypatch):
    monkeypatch.setattr("skfusion.cohorts.scan.CHUNK", 5)
    for i in range(12):
        write(tmp_path / f"{i:02}", PatientID=f"{i}")
    pd.testing.assert_frame_equal(
        scan_images(tmp_path, n_jobs=2), scan_images(tmp_path)
    )


@pytest.mark.parametrize(
    ("folder", "how", "error", "message"),
    [
        ("absent", {}, FileNotFoundError, "a missing path"),
        ("file", {}, FileNotFoundError, "a file"),
        (".", {"patient": "hash"}, ValueError, "patient must be"),
        (".", {"time_zone": "Mars"}, ValueError, "time_zone"),
    ],
)
def test_what_is_wrong_is_told(tmp_path, folder, how, error, message):
    (tmp_path / "file").write_text("x")
    with pytest.raises(error, match=message):
        scan_images(tmp_path / folder, **how)


def test_an_empty_folder(tmp_path):
    images = scan_images(tmp_path)
    assert list(images.columns) == list(COLUMNS)
    assert len(images) == 0


def test_the_fast_walk_reads_what_pydicom_reads():
    """On the files of pydicom: of many vendors, syntaxes and errors."""
    root = Path(pydicom.data.__file__).parent / "test_files"
    files = sorted(str(path) for path in root.rglob("*") if path.is_file())
    n_fast = 0
    with headers.lenient():
        for path in files:
            with open(path, "rb", buffering=0) as file:
                head = file.read(1 << 15)
                size = os.path.getsize(path)
                try:
                    walk = headers._Walk(file, head, size)
                    fast = headers._shaped(walk.values().get)
                except Exception:  # what is left to pydicom
                    continue
                file.seek(0)
                assert fast == headers._with_pydicom(file, size), path
                n_fast += 1
    assert n_fast > 50
    assert len(read_headers(files)) == len(files)


def test_no_cut_of_a_file_raises(tmp_path):
    source = get_testdata_file("CT_small.dcm", read=False)
    content = Path(source).read_bytes()
    for cut in range(0, len(content), 997):
        (tmp_path / f"{cut:06}").write_bytes(content[:cut])
    (tmp_path / "whole").write_bytes(content)
    images = scanned(tmp_path)
    assert [os.path.basename(path) for path in images["path"]] == ["whole"]


def test_real_series_are_scanned(skfusion_data):
    images = scanned(skfusion_data / "images" / "dicom_series").set_index("path")
    images.index = [os.path.basename(path) for path in images.index]
    assert images.loc["ct_head_ge", "instances"] == 28
    assert images.loc["mr_t1_sagittal_supine", "instances"] == 35
    assert images.loc["6_1.dcm", "frames"] == 6
    assert images["modality"].tolist() == ["CT"] + ["MR"] * 6
    times = images.loc[["6_1.dcm", "6_2.dcm"], "acquired"]
    assert times.diff().iloc[1] == pd.Timedelta("0.5s")


def test_times_of_volumes_with_an_offset_are_in_utc(tmp_path):
    for number in range(3):
        tags = {"Modality": "CT", "TimezoneOffsetFromUTC": "+0100"}
        made = plane(number, 2.0 * number, **(ABOUT | tags))
        made.StudyTime = f"09{number:02}00"
        (tmp_path / f"{number}").write_bytes(as_bytes(made))
    images = scan_images(tmp_path)
    assert images["acquired"].tolist() == [pd.Timestamp("2024-03-01 08:02", tz="UTC")]
