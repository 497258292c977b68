"""The command line, in-process: what it prints, writes, refuses and returns."""

from __future__ import annotations

import contextlib
import io
import subprocess
import sys
import tempfile
import warnings

import numpy as np
import pandas as pd
import pytest
from PIL import Image

import skfusion
from skfusion import EventStore, EventWindows
from skfusion.cli.main import main
from skfusion.cli.parser import make_parser, size
from skfusion.store import working_folders
from skfusion.store.embedding_store import EmbeddingStore

N_PATIENTS = 24


@pytest.fixture(scope="module")
def cohort(tmp_path_factory):
    """A table beside a folder of tiny images, a bright half and a dark half."""
    folder = tmp_path_factory.mktemp("cohort")
    (folder / "scans").mkdir()
    rng = np.random.default_rng(0)
    rows = []
    for i in range(2 * N_PATIENTS):
        sick = i % 4 in (0, 3)
        pixels = rng.integers(0, 120, (24, 24)) + (100 if sick else 0)
        name = f"scans/scan_{i}.png"
        Image.fromarray(pixels.astype(np.uint8)).save(folder / name)
        age = 50 + 10 * sick + 8 * rng.normal()
        rows.append(
            {
                "patient_id": f"MRN-{i // 2}",
                "scan": name if i != 5 else None,
                "age": round(age, 1),
                "sex": "fm"[i % 2],
                "sick": int(sick),
                "score": age + 5 * sick,
            }
        )
    pd.DataFrame(rows).to_csv(folder / "cohort.csv", index=False)
    return folder / "cohort.csv"


@pytest.fixture(scope="module")
def compared(cohort, tmp_path_factory):
    """What one comparison, on the command line, printed and wrote."""
    report = tmp_path_factory.mktemp("out") / "report.html"
    options = [
        *("--image", "scan", "--target", "sick", "--groups", "patient_id"),
        *("--drop", "score", "--cv", "2", "--repeats", "1", "--out", str(report)),
        # Joint fusion takes most of the time and has tests of its own.
        *("--strategies", "single", "early", "late"),
    ]
    out, err = io.StringIO(), io.StringIO()
    with (
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
        warnings.catch_warnings(),
    ):
        warnings.simplefilter("always")
        code = main(["compare", str(cohort), *options])
    return code, out.getvalue(), err.getvalue(), report


def refused(capsys, *arguments):
    """Run what must fail; return the error."""
    code = main([str(argument) for argument in arguments])
    out, err = capsys.readouterr()
    assert code == 2
    assert out == ""
    assert "Traceback" not in err
    before, error, message = err.partition("skfusion: error: ")
    assert error
    return message.strip()


# -- compare ----------------------------------------------------------------------


@pytest.mark.long
def test_compare_prints_the_table_and_says_where_the_report_is(compared):
    code, out, err, report = compared
    assert code == 0, err
    for label in ("scan alone", "ehr alone", "early fusion", "late fusion"):
        assert label in out
    assert "48 rows of 24 patients" in out
    assert "scan is absent in 1 of 48 rows" in out
    assert out.strip().endswith(f"Report: {report}")


def test_compare_says_which_columns_it_takes_without_progress_in_a_pipe(compared):
    err = compared[2]
    assert "EHR columns: age, sex\n" in err
    assert err.count("fits") == 1  # the line at the start
    assert "\r" not in err
    assert "Embed" not in err


def test_no_strategy_meets_an_absence_that_it_has_not_learned(compared):
    # the one absent image is in the test part of one fold
    assert "never in the training" not in compared[2]


def test_compare_writes_a_report_without_patients(compared):
    page = compared[3].read_text(encoding="utf-8")
    assert "scan alone" in page
    assert "MRN" not in page
    assert "scan_" not in page


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (["--image", "xray"], "--image names the column 'xray'"),
        (["--image", "scam"], "Did you mean 'scan'? The table has the columns"),
        (["--groups", "mrn"], "--groups names the column 'mrn'"),
        (["--ehr", "age", "sick"], "named by --target and by --ehr"),
        (["--image", "scan", "--cv", "40"], "40 folds need at least as many patients"),
        (["--image", "scan", "--scoring", "roc_auk"], "--scoring 'roc_auk' is nei"),
        (["--image", "scan", "--positive", "yes"], "'yes' is not a class of y"),
        (["--out", "no/such/folder/report.html"], "folder of 'no/such/folder/rep"),
        (["--ehr", "age", "--drop", "age"], "named by --ehr and by --drop"),
    ],
)
def test_compare_refuses_before_it_computes(change, message, cohort, capsys):
    base = ["compare", cohort, "--target", "sick", "--groups", "patient_id"]
    assert message in refused(capsys, *base, *change)


def test_compare_needs_two_modalities(cohort, capsys, tmp_path):
    line = refused(
        capsys,
        *("compare", cohort, "--target", "sick", "--groups", "patient_id"),
        *("--drop", "scan", "--out", tmp_path / "report.html"),
    )
    assert (
        "1 modality was given or found ('ehr'), but fusion needs at least two" in line
    )


def test_compare_refuses_lost_images_and_unreadable_ones(capsys, tmp_path):
    table = tmp_path / "cohort.csv"
    rows = "\n".join(f"secret.png,{i},{i % 2}" for i in range(20))
    table.write_text(f"scan,age,sick\n{rows}\n")
    base = ["compare", table, "--image", "scan", "--target", "sick"]
    base += ["--out", tmp_path / "report.html", "--cv", 3]
    line = refused(capsys, *base)
    assert "the files of 20 of 20 cells do not exist" in line
    assert "--missing-images absent" in line
    assert "no image is left" in line
    assert "secret" not in line
    (tmp_path / "secret.png").write_text("no image at all")
    line = refused(capsys, *base)
    assert "'scan': the files of 20 of 20 cells are no images" in line
    assert "--unreadable-images absent" in line
    assert "secret" not in line


def test_compare_without_table_or_with_an_unknown_outcome(capsys, tmp_path):
    line = refused(capsys, "compare", tmp_path / "none.csv", "--target", "sick")
    assert "none.csv' does not exist" in line
    table = tmp_path / "cohort.csv"
    rows = "\n".join(f"{i},{i % 3},{'' if i == 7 else i % 2}" for i in range(20))
    table.write_text(f"age,dose,sick\n{rows}\n")
    line = refused(
        capsys,
        *("compare", table, "--target", "sick", "--out", tmp_path / "report.html"),
    )
    assert "the outcome is missing in 1 of 20 rows" in line
    assert "--missing-outcome drop" in line


def test_debug_shows_the_traceback(capsys, tmp_path):
    for place in (["--debug", "compare"], ["compare", "--debug"]):
        code = main([*place, str(tmp_path / "none.csv"), "--target", "y"])
        _, err = capsys.readouterr()
        assert code == 2
        assert "Traceback" in err
        assert "none.csv' does not exist" in err.strip().split("\n")[-1]


def test_an_unreadable_pixel_is_a_failed_run_and_not_wrong_use(capsys, tmp_path):
    """The header is that of an image, so that only its decoding can fail."""
    rng = np.random.default_rng(0)
    for i in range(20):
        image = Image.fromarray(rng.integers(0, 255, (24, 24), dtype=np.uint8))
        image.save(tmp_path / f"{i}.png")
    whole = (tmp_path / "3.png").read_bytes()
    (tmp_path / "3.png").write_bytes(whole[: len(whole) // 2])
    rows = "\n".join(f"{i}.png,{i % 7},{i % 2}" for i in range(20))
    (tmp_path / "cohort.csv").write_text(f"scan,dose,sick\n{rows}\n")
    command = ["compare", str(tmp_path / "cohort.csv"), "--image", "scan"]
    command += ["--target", "sick", "--cv", "2", "--html", str(tmp_path / "r.html")]
    assert main([*command, "--strategies", "late"]) == 1
    out, err = capsys.readouterr()
    line = err.strip().split("\n")[-1]
    assert line.startswith("skfusion: error: ")
    assert "row position 3" in line
    assert "--unreadable-images absent" in line
    assert not (tmp_path / "r.html").exists()


# -- demo -------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_demo_compares_all_strategies_on_real_data(tmp_path, capsys):
    pytest.importorskip("skfusion.datasets")
    report = tmp_path / "demo.html"
    assert main(["demo", "--quick", "--out", str(report)]) == 0
    out, err = capsys.readouterr()
    for label in ("image alone", "ehr alone", "early fusion", "late fusion", "joint"):
        assert label in out
    assert "nodules of" in err
    assert "LIDC" in report.read_text(encoding="utf-8")


def test_demo_finds_out_early_that_it_cannot_write(capsys, tmp_path):
    assert "is a folder" in refused(capsys, "demo", "--out", tmp_path)


# -- cache ------------------------------------------------------------------------


@pytest.fixture
def store(tmp_path):
    store = EmbeddingStore(tmp_path / "store")
    store.put_many({f"key{i}": np.zeros(250, dtype=np.float32) for i in range(5)})
    return store


def test_cache_info_prune_clear(store, tmp_path, capsys):
    path = ["--path", str(tmp_path / "store")]
    assert main(["cache", "info", *path]) == 0
    out = capsys.readouterr().out
    assert "entries:   5" in out
    assert "computed:  5" in out
    assert main(["cache", "prune", "--max-size", "2.5KB", *path]) == 0
    assert "3 embeddings removed, 2 left" in capsys.readouterr().out
    assert store.info()["entries"] == 2
    assert main(["cache", "clear", *path]) == 0
    assert "2 embeddings removed" in capsys.readouterr().out
    assert store.info()["entries"] == 0


@pytest.mark.parametrize("action", [["clear"], ["prune", "--max-size", "0"], ["info"]])
@pytest.mark.filterwarnings("ignore:.*:UserWarning")
def test_cache_does_not_claim_what_it_could_not_do(tmp_path, capsys, action):
    """A store of another schema is left alone, and nobody is told otherwise."""
    (tmp_path / "embeddings-v1.sqlite").mkdir()
    assert main(["cache", *action, "--path", str(tmp_path)]) == 2
    shown = capsys.readouterr()
    assert "cannot be used and was not changed" in shown.err
    assert "removed" not in shown.out


def test_cache_clear_removes_damaged_copies(store, tmp_path):
    damaged = tmp_path / "store" / "embeddings-v1.sqlite.corrupt-20260101-000000-1"
    damaged.write_bytes(b"embeddings")
    assert main(["cache", "clear", "--path", str(tmp_path / "store")]) == 0
    assert not damaged.exists()


def test_cache_knows_events_and_their_features(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("SKFUSION_CACHE", str(tmp_path))
    who = pd.DataFrame(
        {"subject_id": ["Jane"], "time": [pd.Timestamp("2024-05-01 8:10")]}
    )
    store = EventStore.from_frame(who.assign(code="a"))
    X = pd.DataFrame({"subject_id": ["Jane"], "index_time": pd.Timestamp("2024-06-01")})
    EventWindows(store, min_subjects=1).prepare(X)
    (tmp_path / "events" / "mine").mkdir()
    (tmp_path / "events" / "mine" / "notes.txt").write_text("keep me")
    assert main(["cache", "info"]) == 0
    out = capsys.readouterr().out
    assert "1 event stores" in out
    assert "1 prepared features" in out
    assert main(["cache", "prune", "--max-size", "0"]) == 0
    assert "1 event stores" in capsys.readouterr().out
    store.verify()
    assert main(["cache", "clear"]) == 0
    assert "1 event stores removed" in capsys.readouterr().out
    assert [p.name for p in (tmp_path / "events").iterdir()] == ["mine"]
    assert not any((tmp_path / "windows").iterdir())
    assert not any(
        b"Jane" in p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()
    )


def test_cache_removes_temporary_folders_of_killed_processes(
    tmp_path, monkeypatch, capsys
):
    """They contain copies of the tables of patients."""
    monkeypatch.setenv("SKFUSION_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with working_folders.temporary_folder() as mine:
        code = (
            "import os\n"
            "from skfusion.store.working_folders import temporary_folder\n"
            "with temporary_folder() as folder:\n"
            "    (folder / 'person-0.csv').write_text('Jane')\n"
            "    os._exit(0)"
        )
        subprocess.run([sys.executable, "-c", code], check=True)
        assert len(list(tmp_path.rglob("person-0.csv"))) == 1
        assert main(["cache", "clear"]) == 0
        assert "1 temporary folders of killed processes" in capsys.readouterr().out
        assert [path for path in tmp_path.iterdir() if path.name != "cache"] == [mine]


def test_cache_takes_the_default_store(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("SKFUSION_CACHE", str(tmp_path / "mine"))
    assert main(["cache", "info"]) == 0
    assert capsys.readouterr().out == f"{tmp_path / 'mine'}: the store is empty\n"
    assert not (tmp_path / "mine").exists()


@pytest.mark.parametrize(
    ("text", "n_bytes"),
    [("0", 0), ("500", 500), ("2GB", 2 * 10**9), ("1.5 kb", 1500), ("3M", 3 * 10**6)],
)
def test_sizes(text, n_bytes):
    assert size(text) == n_bytes


# -- the program ------------------------------------------------------------------


def test_version(capsys):
    with pytest.raises(SystemExit) as caught:
        main(["--version"])
    assert caught.value.code == 0
    assert capsys.readouterr().out == f"skfusion {skfusion.__version__}\n"


def test_help_without_a_command(capsys):
    assert main([]) == 0
    assert "demo" in capsys.readouterr().out


@pytest.mark.parametrize(
    "arguments",
    [
        ["fuse"],
        ["cache"],
        ["cache", "prune", "--max-size", "big"],
        ["compare", "cohort.csv", "--infinite", "drop"],
    ],
)
def test_wrong_usage_exits_with_2(arguments, capsys):
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2
    assert "error: " in capsys.readouterr().err


def test_exit_codes_are_in_every_help(capsys):
    for command in ([], ["compare"], ["explain"], ["demo"]):
        with pytest.raises(SystemExit):
            main([*command, "--help"])
        out = capsys.readouterr().out
        for line in ("0    done", "1    the run failed", "2    wrong use", "130  inte"):
            assert line in out


def test_an_interrupt_exits_with_130(monkeypatch, capsys):
    def interrupt(arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr("skfusion.cli.cache.run", interrupt)
    assert main(["cache", "info"]) == 130
    assert capsys.readouterr().err == "skfusion: error: interrupted\n"


def test_a_command_needs_a_table_and_an_outcome(capsys):
    assert "a table" in refused(capsys, "compare", "--target", "sick")
    assert "--target COLUMN" in refused(capsys, "compare", "cohort.csv")


def test_a_fault_of_the_program_is_told_from_an_error(monkeypatch, capsys):
    def fail(arguments):
        raise RuntimeError("two\nlines")

    monkeypatch.setattr("skfusion.cli.cache.run", fail)
    assert main(["cache", "info"]) == 1
    err = capsys.readouterr().err
    assert err == (
        "skfusion: error: RuntimeError: two lines (run again with --debug to show "
        "the traceback)\n"
    )


def test_cli_module_loads_nothing_heavy():
    code = "import skfusion.cli.main, sys; print('numpy' in sys.modules)"
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert result.stdout == "False\n"


@pytest.mark.parametrize(
    "ehr", [["--ehr", "age", "sex"], ["--ehr", "age", "--ehr", "sex"]]
)
def test_columns_can_be_listed_or_named_one_by_one(ehr):
    required = ["compare", "cohort.csv", "--image", "scan", "--target", "sick"]
    arguments = make_parser().parse_args(
        [*required, *ehr, "--drop", "a", "--drop", "b"]
    )
    assert arguments.ehr == ["age", "sex"]
    assert arguments.drop == ["a", "b"]
