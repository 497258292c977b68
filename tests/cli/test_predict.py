"""The command that predicts the rows of a table with a saved model."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from sklearn.calibration import CalibratedClassifierCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler

pytest.importorskip("skops", reason="the extra persistence is not installed")

import skfusion  # noqa: E402
from skfusion.cli.main import main  # noqa: E402
from skfusion.cli.predict import predictions  # noqa: E402
from skfusion.image import RadiomicsEncoder  # noqa: E402

N = 60
MODALITIES = [
    ("who", skfusion.TabularEncoder(), ["age", "sex"]),
    ("lab", skfusion.TabularEncoder(), ["crp"]),
]


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """A table, and the file of a model that was fitted to it."""
    folder = tmp_path_factory.mktemp("study")
    rng = np.random.default_rng(0)
    sick = np.arange(N) % 2
    frame = pd.DataFrame(
        {
            "patient": [f"MRN-{i}" for i in range(N)],
            "age": rng.integers(30, 90, N),
            "sex": rng.choice(["f", "m", "ünbekannt"], N),
            "crp": np.where(
                np.arange(N) % 7 == 0, np.nan, rng.exponential(5, N) + sick
            ),
        }
    )
    model = skfusion.LateFusionClassifier(MODALITIES, random_state=0)
    model.fit(frame, np.where(sick, "yes", "no"))
    skfusion.save(model, folder / "model.skfusion")
    return folder, frame, model


def predict(folder, table, out, *options):
    command = ["predict", str(folder / "model.skfusion"), str(table), "--out", str(out)]
    return main([*command, *map(str, options)])


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".parquet"])
@pytest.mark.parametrize("chunk", [7, 1000])
def test_predictions_keep_the_order_and_the_ids(study, tmp_path, capsys, suffix, chunk):
    folder, frame, model = study
    shuffled = frame.sample(frac=1, random_state=0)
    table, out = tmp_path / f"cases{suffix}", tmp_path / f"found{suffix}"
    if suffix == ".parquet":
        shuffled.to_parquet(table, index=False)
    else:
        shuffled.to_csv(table, index=False, sep="\t" if suffix == ".tsv" else ",")
    assert predict(folder, table, out, "--id", "patient", "--chunk", chunk) == 0
    read = {".parquet": pd.read_parquet, ".csv": pd.read_csv, ".tsv": pd.read_table}
    found = read[suffix](out)
    assert found["row"].tolist() == list(range(1, N + 1))
    assert found["patient"].tolist() == shuffled["patient"].tolist()
    expected = model.predict_proba(shuffled)
    np.testing.assert_allclose(
        found[["probability_no", "probability_yes"]], expected, rtol=1e-12
    )
    assert found["prediction"].tolist() == model.predict(shuffled).tolist()
    absent = found["absent"].fillna("")
    assert (absent == np.where(shuffled["crp"].isna(), "lab", "")).all()
    out_text, err = capsys.readouterr()
    assert "MRN-" not in out_text + err
    assert f"{int(frame['crp'].isna().sum())} rows lack a modality" in err
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(
        [table.name, out.name]
    )


def test_one_row_of_which_a_whole_modality_is_absent(study, tmp_path, capsys):
    folder, frame, model = study
    table, out = tmp_path / "cases.csv", tmp_path / "found.csv"
    frame.head(1)[["sex", "age"]].to_csv(table, index=False)
    assert predict(folder, table, out) == 0
    found = pd.read_csv(out)
    expected = model.predict_proba(frame.head(1).assign(crp=np.nan))
    np.testing.assert_allclose(found["probability_yes"], expected[:, 1], rtol=1e-12)
    assert found["absent"].tolist() == ["lab"]
    assert "'crp' are not in the table" in capsys.readouterr().err


def test_values_that_the_training_had_not_are_said_by_row(study, tmp_path, capsys):
    folder, frame, _ = study
    table, out = tmp_path / "cases.csv", tmp_path / "found.csv"
    new = frame.head(4).assign(sex=["F", "female", "", "männlich"])
    new.to_csv(table, index=False)
    assert predict(folder, table, out, "--chunk", 2) == 0
    unseen = pd.read_csv(out)["unseen"].fillna("").tolist()
    assert unseen == ["", "sex", "", "sex"]
    err = capsys.readouterr().err
    assert "column 'sex': 2 cells have a value that the training had not" in err
    assert "female" not in err


def test_a_column_of_two_modalities_is_marked_for_either():
    X = pd.DataFrame({"sex": ["f", "m"] * 20, "crp": np.arange(40.0)})
    model = skfusion.LateFusionClassifier(
        [
            ("who", skfusion.TabularEncoder(), ["sex"]),
            ("lab", skfusion.TabularEncoder(), ["sex", "crp"]),
        ],
        random_state=0,
    ).fit(X, np.arange(40) > 19)
    new = pd.DataFrame({"sex": ["f", "x", None], "crp": [1.0, np.nan, 2.0]}, [5, 5, 6])
    (found,) = predictions(model, new, chunk=10)
    assert found["unseen"].tolist() == ["", "sex", ""]


@pytest.mark.filterwarnings("ignore:.*no modality at all")
def test_steps_before_the_fusion_may_return_an_array():
    X = pd.DataFrame({"age": np.arange(40.0) % 7, "crp": np.arange(40.0)})
    model = skfusion.LateFusionClassifier(
        [
            ("who", skfusion.TabularEncoder(), [0]),
            ("lab", skfusion.TabularEncoder(), [1]),
        ],
        random_state=0,
    )
    model = make_pipeline(StandardScaler(), model).fit(X, np.arange(40) > 19)
    new = pd.DataFrame({"age": [1.0, 2.0, np.nan], "crp": [np.nan, 3.0, np.nan]})
    (found,) = predictions(model, new, chunk=10)
    assert found["absent"].tolist() == ["lab", "", "who; lab"]
    assert found["unseen"].tolist() == [""] * 3


@pytest.mark.filterwarnings("ignore:.*most values were not seen")
@pytest.mark.parametrize("in_pipeline", [False, True])
def test_a_value_that_any_fold_of_a_calibration_knows_is_not_marked(in_pipeline):
    X = pd.DataFrame({"sex": ["f", "m"] * 20, "crp": np.arange(40.0)})
    X.loc[[0, 17, 39], "sex"] = ["a", "b", "c"]  # each in one fold only
    X["drugs"] = ["aspirin; insulin", "aspirin"] * 20
    model = skfusion.LateFusionClassifier(
        [
            ("who", skfusion.TabularEncoder(min_frequency=None), ["sex"]),
            ("lab", skfusion.TabularEncoder(multivalued={"drugs": ";"}), ["drugs"]),
        ],
        random_state=0,
    )
    if in_pipeline:
        model = make_pipeline(FunctionTransformer(), model)
    calibrated = CalibratedClassifierCV(model, cv=4).fit(X, np.arange(40) > 19)
    new = X.head(5).assign(
        sex=["a", "b", "c", "x", None],
        drugs=["insulin", "aspirin;heparin", None, "heparin", "aspirin"],
    )
    (found,) = predictions(calibrated, new, chunk=10)
    assert found["unseen"].tolist() == ["", "drugs", "", "sex; drugs", ""]


def test_new_cases_may_all_lack_an_image(tmp_path, capsys):
    rng = np.random.default_rng(0)
    for i in range(20):
        pixels = rng.integers(0, 256, (16, 16), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"{i}.png")
    frame = pd.DataFrame(
        {"photo": [str(tmp_path / f"{i}.png") for i in range(20)], "age": range(20)}
    )
    model = skfusion.LateFusionClassifier(
        [
            ("photo", RadiomicsEncoder(("first_order",)), "photo"),
            ("who", "passthrough", ["age"]),
        ],
        random_state=0,
    ).fit(frame, np.arange(20) % 2)
    skfusion.save(model, tmp_path / "model.skfusion")
    table, out = tmp_path / "cases.csv", tmp_path / "found.csv"
    for cells in (["", ""], ["gone.png", ""]):
        pd.DataFrame({"photo": cells, "age": [3, 5]}).to_csv(table, index=False)
        options = ["--missing-images", "absent"] if any(cells) else []
        assert predict(tmp_path, table, out, *options) == 0, capsys.readouterr().err
        found = pd.read_csv(out)
        assert found["absent"].tolist() == ["photo", "photo"]
        expected = model.predict_proba(frame.iloc[[3, 5]].assign(photo=None))
        np.testing.assert_allclose(found["probability_1"], expected[:, 1], rtol=1e-12)


def test_all_problems_are_listed_and_nothing_is_written(study, tmp_path, capsys):
    folder, frame, _ = study
    table, out = tmp_path / "cases.csv", tmp_path / "found.csv"
    bad = frame.astype({"age": object, "crp": object}).drop(columns="sex")
    bad.loc[2, "age"] = "> 89"
    bad.loc[[3, 4], "crp"] = np.inf
    bad.to_csv(table, index=False)
    assert predict(folder, table, out, "--id", "pateint") == 2
    err = capsys.readouterr().err
    assert "4 problems in cases.csv, nothing was computed" in err
    for text in (
        "column 'sex', which the model uses, is not in the table",
        "column 'age': 1 of 60 cells are text among numbers",
        "column 'crp': 2 of 51 cells are infinite",
        "--id pateint: no such column in the table. Did you mean 'patient'?",
    ):
        assert text in err
    assert "--drop" not in err
    assert "--categories" not in err
    assert not out.exists()
    options = ("--infinite", "as-missing", "--text-numbers", "parse")
    frame["sex"].to_frame().join(bad).to_csv(table, index=False)
    assert predict(folder, table, out, *options) == 0
    assert len(pd.read_csv(out)) == N


def test_wrong_kinds_of_cells_and_wrong_options(study, tmp_path, capsys):
    folder, frame, _ = study
    table = tmp_path / "cases.csv"
    frame.assign(crp="high").to_csv(table, index=False)
    assert predict(folder, table, tmp_path / "found.csv") == 2
    assert "expected numbers as in the training" in capsys.readouterr().err
    for out, options, words in (
        ("found.txt", (), "--out must be a file in one of .csv, .tsv, .parquet"),
        ("no/found.csv", (), "the folder of --out does not exist"),
        ("found.csv", ("--chunk", 0), "--chunk must be at least 1"),
    ):
        assert predict(folder, table, tmp_path / out, *options) == 2
        assert words in capsys.readouterr().err
    assert predict(tmp_path, table, tmp_path / "found.csv") == 2
    assert "no file of a model at this path" in capsys.readouterr().err


def test_a_failing_chunk_leaves_no_file(study, tmp_path, capsys, monkeypatch):
    folder, frame, _ = study
    table, out = tmp_path / "cases.csv", tmp_path / "found.csv"
    frame.to_csv(table, index=False)
    usual = skfusion.LateFusionClassifier.predict_proba

    def fails_later(self, X):
        if X["age"].index[0] >= 40:
            raise ValueError("the disk is full")
        return usual(self, X)

    monkeypatch.setattr(skfusion.LateFusionClassifier, "predict_proba", fails_later)
    assert predict(folder, table, out, "--chunk", 20) == 1
    assert "the disk is full" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == [table]


def test_numbers_of_a_regression_and_untrusted_classes(tmp_path, capsys):
    from sklearn.tree import DecisionTreeRegressor

    X = pd.DataFrame(np.random.default_rng(0).normal(size=(40, 2)), columns=["a", "b"])
    model = skfusion.EarlyFusionRegressor(
        [("a", "passthrough", ["a"]), ("b", "passthrough", ["b"])],
        estimator=DecisionTreeRegressor(max_depth=2),
    ).fit(X, X["a"] * 2)
    skfusion.save(model, tmp_path / "model.skfusion")
    table, out = tmp_path / "cases.csv", tmp_path / "found.csv"
    X.to_csv(table, index=False)
    assert predict(tmp_path, table, out) == 2
    assert "sklearn.tree._tree.Tree" in capsys.readouterr().err
    assert predict(tmp_path, table, out, "--trust", "sklearn.tree._tree.Tree") == 0
    np.testing.assert_allclose(pd.read_csv(out)["prediction"], model.predict(X))


# -- where the result goes ------------------------------------------------------------


@pytest.fixture
def cases(study, tmp_path):
    """A folder with a table and another name of it, by a link of each kind."""
    _, frame, _ = study
    frame.head(5).to_csv(tmp_path / "cases.csv", index=False)
    (tmp_path / "soft.csv").symlink_to(tmp_path / "cases.csv")
    (tmp_path / "hard.csv").hardlink_to(tmp_path / "cases.csv")
    return tmp_path


@pytest.mark.parametrize("name", ["cases.csv", "./cases.csv", "soft.csv", "hard.csv"])
def test_the_table_is_never_the_result(study, cases, capsys, monkeypatch, name):
    folder, _, _ = study
    before = (cases / "cases.csv").read_bytes()
    monkeypatch.chdir(cases)
    assert predict(folder, cases / "cases.csv", name) == 2
    assert "--out is the file of the table" in capsys.readouterr().err
    assert (cases / "cases.csv").read_bytes() == before


def test_the_model_is_never_the_result(study, cases, capsys):
    folder, _, _ = study
    model = folder / "model.skfusion"
    (cases / "model.csv").symlink_to(model)
    before = model.read_bytes()
    assert predict(folder, cases / "cases.csv", cases / "model.csv") == 2
    assert "--out is the file of the model" in capsys.readouterr().err
    assert model.read_bytes() == before


def test_a_link_stays_and_the_file_that_it_names_is_replaced(study, cases):
    folder, _, _ = study
    (cases / "results").mkdir()
    kept = cases / "results" / "kept.csv"
    kept.write_text("old")
    kept.chmod(0o640)
    (cases / "out.csv").symlink_to(kept)
    assert predict(folder, cases / "cases.csv", cases / "out.csv") == 0
    assert (cases / "out.csv").is_symlink()
    assert len(pd.read_csv(kept)) == 5
    assert kept.stat().st_mode & 0o777 == 0o640
    assert [path.name for path in (cases / "results").iterdir()] == ["kept.csv"]


def test_an_error_at_the_end_leaves_no_file(study, cases, monkeypatch):
    import pyarrow.parquet

    folder, _, _ = study

    def full(self):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(pyarrow.parquet.ParquetWriter, "close", full)
    before = set(cases.iterdir())
    assert predict(folder, cases / "cases.csv", cases / "out.parquet") == 1
    assert set(cases.iterdir()) == before
    monkeypatch.undo()
    monkeypatch.setattr("skfusion._paths.os.replace", lambda *_: full(None))
    assert predict(folder, cases / "cases.csv", cases / "out.csv") == 1
    assert set(cases.iterdir()) == before


# -- what rows lack, if a step makes the columns --------------------------------------


def renamed(frame):
    return frame.rename(columns={"CRP": "crp"}).drop(columns="site")


@pytest.mark.parametrize("kind", ["pipeline", "search", "calibrated"])
def test_absent_modalities_behind_steps_that_make_the_columns(study, kind):
    from sklearn.calibration import CalibratedClassifierCV
    from sklearn.model_selection import GridSearchCV
    from sklearn.pipeline import make_pipeline

    from skfusion.cli.predict import predictions

    _, frame, _ = study
    X = frame.drop(columns="patient").rename(columns={"crp": "CRP"}).assign(site="a")
    y = np.arange(N) % 2
    fusion = skfusion.LateFusionClassifier(MODALITIES, random_state=0)
    model = make_pipeline(FunctionTransformer(renamed), fusion)
    if kind == "search":
        model = GridSearchCV(
            model, {"latefusionclassifier__aggregation": ["mean"]}, cv=2
        )
    if kind == "calibrated":
        model = CalibratedClassifierCV(model, cv=2)
    found = pd.concat(predictions(model.fit(X, y), X, chunk=25))
    assert (found["absent"] == np.where(X["CRP"].isna(), "lab", "")).all()
