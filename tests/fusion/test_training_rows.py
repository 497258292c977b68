"""Fusions recognise the rows that they were fitted on, in whatever form."""

from __future__ import annotations

import copy
import gc
import pickle
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, StandardScaler

from skfusion import EarlyFusionClassifier, JointFusionClassifier, LateFusionClassifier
from skfusion.fusion import training_rows
from skfusion.fusion.training_rows import TrainingRows, digest_rows
from skfusion.modality import COPIES_ON_WRITE, Modality

# Of the rows in `test_keys_of_stored_models_stay_the_same`.
KEYS = [
    [13063296298860960455, 15983529683433455338, 667309337986063591],
    [0, 0, 0],
    [14493252414313530520, 13428840556855222938, 6492136721246201864],
]
MODALITIES = [
    ("image", StandardScaler(), ["a", "b"]),
    ("ehr", StandardScaler(), ["c", "d"]),
]


def cohort(n_rows=120, seed=0):
    rng = np.random.default_rng(seed)
    X = pd.DataFrame(rng.normal(size=(n_rows, 4)), columns=list("abcd"))
    X.loc[::7, ["a", "b"]] = np.nan
    X["unused"] = np.arange(n_rows)
    return X, (rng.random(n_rows) < 0.5).astype(int)


FUSIONS = {
    "early": EarlyFusionClassifier(MODALITIES, estimator=LogisticRegression()),
    "late": LateFusionClassifier(MODALITIES),
    "joint": JointFusionClassifier(MODALITIES, max_epochs=1, random_state=0),
}
FORMS = {
    "copy": lambda X: X.copy(),
    "float32": lambda X: X.astype("float32"),
    "objects": lambda X: X.astype(object),
    "nullable": lambda X: X.convert_dtypes(),
    "shuffled": lambda X: X.sample(frac=1, random_state=0),
    "subset": lambda X: X.iloc[3:9],
    "one row": lambda X: X.iloc[[5]],
    "index": lambda X: X.set_axis([f"p{i}" for i in range(len(X))]),
    "columns turned": lambda X: X[X.columns[::-1]],
    "other columns": lambda X: X.drop(columns="unused").assign(z=1),
    "repeated": lambda X: pd.concat([X, X]),
    "without image": lambda X: X.assign(a=np.nan, b=np.nan),
}


@pytest.mark.parametrize("strategy", FUSIONS)
def test_training_rows_are_recognised_in_any_form(strategy):
    X, y = cohort()
    model = clone(FUSIONS[strategy]).fit(X, y)
    for form in FORMS.values():
        assert model.training_rows(form(X)).all()
    new = cohort(seed=1)[0]
    assert not model.training_rows(new).any()
    mixed = pd.concat([X[:10], new[:30]])
    assert model.training_rows(mixed).tolist() == [True] * 10 + [False] * 30
    for same in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert same.training_rows(X).all()
    assert not hasattr(clone(model), "_training_rows")


def test_arrays_and_frames_of_polars():
    X, y = cohort()
    table = X[list("abcd")]
    triples = [("image", StandardScaler(), [0, 1]), ("ehr", StandardScaler(), [2, 3])]
    model = EarlyFusionClassifier(triples, estimator=LogisticRegression())
    model.fit(table.to_numpy(), y)
    assert model.training_rows(table.to_numpy(np.float32)[::2]).all()
    polars = pytest.importorskip("polars")
    model = clone(FUSIONS["early"]).fit(polars.from_pandas(X), y)
    assert model.training_rows(X).all()
    assert model.training_rows(polars.from_pandas(X[:4])).all()


def test_refitting_forgets_the_rows_of_before():
    X, y = cohort()
    model = clone(FUSIONS["early"]).fit(X[:60], y[:60])
    assert model.training_rows(X).tolist() == [True] * 60 + [False] * 60
    model.fit(X[60:], y[60:])
    assert model.training_rows(X).tolist() == [False] * 60 + [True] * 60
    del model._training_rows  # fitted by an older version
    assert model.training_rows(X) is None


def test_rows_that_were_dropped_are_no_training_rows():
    X, y = cohort()
    model = clone(FUSIONS["early"]).set_params(missing="complete_case")
    with pytest.warns(UserWarning, match="drops 18 of 120 rows"):
        model.fit(X, y)
    complete = X["a"].notna()
    assert model._training_rows.keys.shape == (complete.sum(), 2)
    assert model._training_rows.found(model._modalities, X[complete]).all()


def cells_digest(cells, other):
    kept = [Modality("m", FunctionTransformer(), ("cell",))]
    frame, again = (pd.DataFrame({"cell": list(part)}) for part in (cells, other))
    return TrainingRows(kept, frame).found(kept, again).tolist()


def test_cells_of_other_kinds():
    text = ["m", "f", "m", "x"]
    assert cells_digest(text, text) == [True] * 4
    assert cells_digest(text, ["y", "m"]) == [False, True]
    assert cells_digest(text, pd.Categorical(text)) == [True] * 4
    assert cells_digest(text, pd.array(text, dtype="string")) == [True] * 4
    assert cells_digest([1, "a", None], [1.0]) == [True]  # a column of numbers now
    assert cells_digest(["scan/1.png"], [Path("scan/1.png")]) == [True]
    images = [np.arange(12).reshape(3, 4) + i for i in range(3)]
    assert cells_digest(images, [images[1].astype(np.uint8)]) == [True]
    assert cells_digest(images, [images[1].T, images[1] + 9]) == [False, False]
    times = pd.date_range("2024-01-01", periods=4, freq="s")
    assert cells_digest(times, times.astype(object)) == [True] * 4
    assert cells_digest(times, times + pd.Timedelta("9s")) == [False] * 4
    ids = [30_000_001, 30_000_003]  # equal with 32 bits
    assert cells_digest(ids, [30_000_002, 30_000_003]) == [False, True]
    assert cells_digest([[1, 2], {"k": "v"}], [{"k": "v"}, [1.0, 2]]) == [True, True]
    assert cells_digest([0.0, 1.0], [-0.0]) == [True]


def test_few_values_tell_no_rows_apart():
    rng = np.random.default_rng(0)
    X = pd.DataFrame({"sex": rng.choice(["f", "m"], 90), "a": rng.normal(size=90)})
    y = np.arange(90) % 2
    model = EarlyFusionClassifier(
        [("scan", StandardScaler(), ["a"]), ("sex", OneHotEncoder(), ["sex"])],
        estimator=LogisticRegression(),
    ).fit(X, y)
    new = X.assign(a=rng.normal(size=90))
    assert not model.training_rows(new).any()
    assert model.training_rows(X.assign(sex="f")).all()
    assert model._training_rows.repeated() == 0.0


def test_a_digest_contains_no_value_and_is_salted():
    X, y = cohort()
    first, second = (clone(FUSIONS["early"]).fit(X, y) for _ in range(2))
    assert pickle.dumps(first._training_rows) == pickle.dumps(second._training_rows)
    assert first._training_rows.keys.dtype == np.uint64
    assert first._training_rows.keys.nbytes == 8 * 2 * len(X)
    other = clone(FUSIONS["early"]).fit(X[1:], y[1:])._training_rows
    assert not np.isin(other.keys[other.keys > 0], first._training_rows.keys).any()


def test_keys_of_stored_models_stay_the_same():
    # Models in files have these keys.
    X = pd.DataFrame({"scan": ["a.png", None, "ä.png"], "age": [1.5, np.nan, -0.0]})
    parts = [Modality("i", None, ("scan",), True), Modality("e", None, ("age",))]
    keys = digest_rows([*parts, Modality("b", None, ("scan", "age"))], X, b"salt")
    assert keys.tolist() == KEYS


@pytest.mark.parametrize("n_cells", [1, 7, 1000])
def test_keys_do_not_depend_on_chunks(monkeypatch, n_cells):
    X, _ = cohort(30)
    X["text"] = [f"t{i}" for i in range(30)]
    parts = [Modality("m", None, ("a", "text")), Modality("b", None, ("b", "c", "d"))]
    wanted = digest_rows(parts, X, b"salt")
    monkeypatch.setattr("skfusion.fusion.training_rows.CHUNK_CELLS", n_cells)
    np.testing.assert_array_equal(digest_rows(parts, X, b"salt"), wanted)
    known = TrainingRows(parts, X)
    assert known.found(parts, X.iloc[::-1]).all()
    assert len(known.keys) == 30
    assert digest_rows(parts, X.iloc[:0], b"salt").shape == (0, 2)


def test_the_salt_depends_on_the_rows():
    X, _ = cohort(150)
    parts = [Modality("m", None, ("a", "b"))]
    salt = TrainingRows(parts, X).salt
    assert TrainingRows(parts, X.copy()).salt == salt
    assert TrainingRows(parts, X.iloc[1:]).salt != salt
    assert TrainingRows(parts, X.assign(a=X["a"] + 1)).salt != salt


# ------------------------------------------------------------ keys computed later


postponing = pytest.mark.skipif(
    not COPIES_ON_WRITE, reason="before pandas 3, keys are computed by fit"
)


def is_postponed(model):
    return model._training_rows._digest is None


def changed_frame(X):
    X.loc[:, "a"] = 0.0
    X["b"] = 1.0
    X.iloc[3] = 9.0


def changed_array(X):
    X += 1.0


@postponing
@pytest.mark.parametrize("strategy", FUSIONS)
@pytest.mark.parametrize(
    ("form", "change"),
    [
        (lambda X: X, changed_frame),
        (lambda X: X[list("dcba")], changed_frame),
        (lambda X: X.to_numpy(copy=True), changed_array),
        (lambda X: X.to_numpy(np.float32, copy=True), changed_array),
    ],
)
def test_later_changes_of_the_table_do_not_change_the_keys(strategy, form, change):
    X, y = cohort()
    X = form(X[list("abcd")])
    original = X.copy()
    model = clone(FUSIONS[strategy])
    if isinstance(X, np.ndarray):
        model.set_params(
            modalities=[
                (n, t, [2 * k, 2 * k + 1]) for k, (n, t, _) in enumerate(MODALITIES)
            ]
        )
    model.fit(X, y)
    assert is_postponed(model)
    change(X)
    assert model.training_rows(original).all()
    assert not is_postponed(model)
    assert model._training_rows._postponed is None


@postponing
def test_cells_that_can_change_are_read_by_fit():
    X, y = cohort()
    X["c"] = [np.full(3, row / 120) for row in range(120)]
    original = X.copy()
    original["c"] = [cell.copy() for cell in X["c"]]
    model = EarlyFusionClassifier(
        [("scan", FunctionTransformer(np.vstack), "c"), MODALITIES[0]],
        estimator=HistGradientBoostingClassifier(max_iter=1),
    ).fit(X, y)
    assert not is_postponed(model)
    for cell in X["c"]:
        cell += 1.0
    assert model.training_rows(original).all()


@postponing
def test_tables_are_kept_up_to_a_limit(monkeypatch):
    X, y = cohort()
    monkeypatch.setattr(training_rows, "MOST_POSTPONED_BYTES", 120 * 4 * 8 * 2)
    monkeypatch.setattr(training_rows, "_waiting", {})
    models = [clone(FUSIONS["early"]).fit(X, y) for _ in range(3)]
    assert [is_postponed(model) for model in models] == [False, True, True]
    large = pd.concat([X] * 3, ignore_index=True)
    assert not is_postponed(clone(FUSIONS["early"]).fit(large, np.tile(y, 3)))
    assert is_postponed(models[1])  # which a table that is itself too large leaves
    del models[1]
    gc.collect()
    models.append(clone(FUSIONS["early"]).fit(X, y))
    assert [is_postponed(model) for model in models] == [False, True, True]
    assert models[-1].training_rows(X).all()
    assert len(training_rows._waiting) == 1


@postponing
def test_a_larger_table_is_not_kept_for_a_few_of_its_columns(monkeypatch):
    X, y = cohort()
    large = pd.concat([X[list("abcd")]] * 100, axis=1)
    large = large.set_axis([*"abcd", *(f"z{i}" for i in range(396))], axis=1).copy()
    monkeypatch.setattr(training_rows, "MOST_POSTPONED_BYTES", 120 * 8 * 100)
    assert is_postponed(clone(FUSIONS["early"]).fit(X, y))
    for table in (large, large.iloc[:100], large[list("abcd")].copy()):
        model = clone(FUSIONS["early"]).fit(table, y[: len(table)])
        assert is_postponed(model) is (table.shape[1] == 4)
        assert model.training_rows(table).sum() == len(table)


@postponing
@pytest.mark.parametrize(
    "copied", [copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))]
)
def test_a_copy_has_keys_and_no_table(copied):
    X, y = cohort()
    X["c"] = [f"name of patient {row}" for row in range(120)]
    model = EarlyFusionClassifier(
        [MODALITIES[0], ("ehr", OneHotEncoder(handle_unknown="ignore"), ["c"])],
        estimator=LogisticRegression(),
    ).fit(X, y)
    assert is_postponed(model)
    again = copied(model)
    assert again.training_rows(X).all()
    assert b"name of patient" not in pickle.dumps(again._training_rows)
    assert again._training_rows.n_rows == 120


def test_an_object_of_a_version_that_computed_keys_at_once_is_read():
    X, _ = cohort(30)
    parts = [Modality("m", None, ("a", "b"))]
    rows = TrainingRows(parts, X)
    older = TrainingRows.__new__(TrainingRows)
    older.__setstate__({"salt": rows.salt, "keys": rows.keys})
    assert older.found(parts, X).sum() == X["a"].notna().sum()
