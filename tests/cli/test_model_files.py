"""Models that the command compare fits on all rows and writes."""

from __future__ import annotations

import contextlib
import io
import warnings

import numpy as np
import pandas as pd
import pytest
from PIL import Image

pytest.importorskip("skops", reason="the extra persistence is not installed")

import skfusion  # noqa: E402
from skfusion import compare_fusion  # noqa: E402
from skfusion.cli.compare import write_models  # noqa: E402
from skfusion.cli.main import main  # noqa: E402
from skfusion.image import RadiomicsEncoder  # noqa: E402

N = 60
STUDY = """
table = "cases.csv"
target = "sick"
groups = "patient"
cv = 2
n_repeats = 1
strategies = ["single", "late"]
scoring = ["roc_auc"]

[modalities.photo]
columns = "photo"
encoder = "RadiomicsEncoder"

[modalities.clinic]
columns = ["age", "sex"]

[save_model]
late = "LATE"
"photo in late" = "PHOTO"
"""


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """A table with photos, and the settings of a comparison of it."""
    folder = tmp_path_factory.mktemp("study")
    rng = np.random.default_rng(0)
    sick = np.arange(N) % 2
    for i in range(N):
        pixels = rng.integers(0, 120, (16, 16)) + 60 * sick[i]
        Image.fromarray(pixels.astype(np.uint8)).save(folder / f"photo {i}.png")
    frame = pd.DataFrame(
        {
            "patient": [f"MRN-{i}" for i in range(N)],
            "photo": [f"photo {i}.png" if i != 3 else None for i in range(N)],
            "age": rng.integers(30, 90, N),
            "sex": rng.choice(["f", "m", "ünbekannt"], N),
            "sick": np.where(sick, "yes", "no"),
        }
    )
    frame.to_csv(folder / "cases.csv", index=False)
    late, photo = folder / "late.skfusion", folder / "photo.skfusion"
    text = STUDY.replace("LATE", late.as_posix()).replace("PHOTO", photo.as_posix())
    (folder / "study.toml").write_text(text, encoding="utf-8")
    return folder, frame


@pytest.fixture(scope="module")
def printed(study):
    """What the command compare printed."""
    folder, out = study[0], io.StringIO()
    with contextlib.redirect_stdout(out), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        code = main(
            [
                *("compare", "--config", str(folder / "study.toml")),
                *("--positive", "yes", "--html", str(folder / "report.html")),
                *("--n-jobs", "1"),
            ]
        )
    assert code == 0
    return out.getvalue()


@pytest.mark.long
def test_the_file_predicts_like_the_final_estimator(study, printed, tmp_path, capsys):
    folder, frame = study
    cases = frame.drop(columns="sick").sample(frac=1, random_state=0)
    cases.to_csv(folder / "new.csv", index=False)
    paths = frame["photo"].map(lambda name: str(folder / name), na_action="ignore")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        compared = compare_fusion(
            [
                ("photo", RadiomicsEncoder(), ["photo"]),
                ("clinic", skfusion.TabularEncoder(), ["age", "sex"]),
            ],
            frame.drop(columns="sick").assign(photo=paths),
            frame["sick"],
            groups="patient",
            cv=2,
            n_repeats=1,
            strategies=("single", "late"),
            scoring="roc_auc",
            pos_label="yes",
            random_state=0,
        )
    X = frame.drop(columns="sick").assign(photo=paths).loc[cases.index]
    for strategy, name in (("late", "late"), ("photo in late", "photo")):
        out = tmp_path / f"{name}.csv"
        model = folder / f"{name}.skfusion"
        command = ["predict", str(model), str(folder / "new.csv"), "--out", str(out)]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a row without the photo
            assert main(command) == 0, capsys.readouterr().err
            wanted = compared.final_estimator(strategy).predict_proba(X)
        found = pd.read_csv(out)
        np.testing.assert_allclose(found.filter(like="probability"), wanted, rtol=1e-9)


@pytest.mark.long
def test_what_was_written_is_printed(study, printed):
    folder = study[0]
    assert f"Model late: {folder / 'late.skfusion'}" in printed
    assert f"Model photo in late: {folder / 'photo.skfusion'}" in printed
    assert f"fitted on all {N} rows. No score of the comparison is about" in printed
    assert "no network whose weights another machine would need" in printed


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--save-model", "lat", "a.skfusion"], "names 'lat', which is not compared"),
        (["--save-model", "joint", "a.skfusion"], "names 'joint', which is not comp"),
        (["--save-model", "late", "cases.csv"], "--save-model late is the file of the"),
        (["--save-model", "late", "no/late"], "--save-model late: the folder of"),
        (["--save-model", "late", "."], "is a folder, expected a file"),
        (
            ["--save-model", "late", "a", "--save-model", "late", "b"],
            "names the strategy 'late' twice",
        ),
        (
            ["--save-model", "late", "a", "--save-model", "early", "./a"],
            "--save-model late and --save-model early are the same file",
        ),
        (
            ["--save-model", "late", "a", "--json", "a"],
            "are the same file",
        ),
        (["--embed-weights"], "--embed-weights needs a model to save, --save-model"),
    ],
)
def test_wrong_settings_are_refused_before_the_run(
    study, options, said, capsys, monkeypatch
):
    folder = study[0]
    monkeypatch.chdir(folder)
    before = set(folder.iterdir())
    table = (folder / "cases.csv").read_bytes()
    command = ["compare", "cases.csv", "--image", "photo", "--target", "sick"]
    command += ["--positive", "yes", "--independent-rows", "--drop", "patient"]
    command += ["--strategies", "single", "early", "late", *options]
    assert main(command) == 2
    assert said in capsys.readouterr().err
    assert set(folder.iterdir()) == before
    assert (folder / "cases.csv").read_bytes() == table


@pytest.mark.parametrize("line", ["save_model = 'a'", "[save_model]\nlate = 3"])
def test_a_settings_file_needs_a_table_of_files(line, tmp_path, capsys):
    path = tmp_path / "study.toml"
    path.write_text(f"table = 'a.csv'\ntarget = 'sick'\n{line}\n")
    assert main(["compare", "--config", str(path)]) == 2
    said = capsys.readouterr().err
    assert "save_model: expected a table of files by strategy" in said


def test_the_extra_is_asked_for_before_the_run(study, capsys, monkeypatch):
    def absent(module, extra):
        if module == "skops":
            raise ImportError(f'pip install "skfusion[{extra}]"')

    monkeypatch.setattr("skfusion.cli.settings.require", absent)
    config = ["compare", "--config", str(study[0] / "study.toml")]
    assert main([*config, "--positive", "yes"]) == 2
    assert "skfusion[persistence]" in capsys.readouterr().err


class Comparison:
    """What `write_models` needs of a comparison."""

    cohort_ = {"n_rows": 1234}

    def __init__(self, model):
        self.model = model

    def final_estimator(self, strategy):
        return self.model


@pytest.mark.parametrize("embed_weights", [False, True])
def test_the_place_of_the_weights_is_printed(tmp_path, capsys, embed_weights):
    pytest.importorskip("torch", reason="the extra torch is not installed")
    photos = np.random.default_rng(0).integers(0, 255, (6, 16, 16), dtype=np.uint8)
    embedder = skfusion.ImageEmbedder(
        "resnet18", weights=None, input_size=32, store=None, engine="torch"
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        embedder.fit(list(photos))
    write_models(
        Comparison(embedder), {"x": tmp_path / "x"}, embed_weights=embed_weights
    )
    out = capsys.readouterr().out
    assert "fitted on all 1,234 rows" in out
    assert ("weights of its networks are in the file" in out) == embed_weights
    assert ("weights of resnet18 are not in the file" in out) != embed_weights
