"""Columns that a fusion takes, in fit and in prediction: as ColumnTransformer."""

from __future__ import annotations

import pickle
from types import MappingProxyType

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import ColumnTransformer, make_column_selector
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.multioutput import ClassifierChain
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, MaxAbsScaler, StandardScaler

from skfusion import (
    EarlyFusionClassifier,
    JointFusionClassifier,
    JointFusionRegressor,
    LateFusionClassifier,
    ModalityImportance,
    TabularEncoder,
    compare_fusion,
)
from skfusion.fusion import TrainingSettings
from skfusion.inspection import explain_features

KINDS = (EarlyFusionClassifier, LateFusionClassifier, JointFusionClassifier)
N_ROWS = 60
TOLERANCE = 1e-5  # of the solver of the logistic regression
SCALE = StandardScaler()


def make(kind: type, modalities="auto", **parameters):
    """Return a fusion that is quick to fit."""
    quick = {}
    if kind is EarlyFusionClassifier:
        quick = {"estimator": LogisticRegression()}
    if kind is JointFusionClassifier:
        quick = {"max_epochs": 2}
    return kind(modalities, random_state=0, **(quick | parameters))


@pytest.fixture
def X() -> pd.DataFrame:
    rng = np.random.default_rng(0)
    X = pd.DataFrame(rng.normal(size=(N_ROWS, 4)), columns=list("abcd"))
    return X.assign(patient_id=np.repeat(np.arange(N_ROWS // 2), 2))


@pytest.fixture
def y(X) -> np.ndarray:
    return (X["a"] + X["c"] > 0).astype(int).to_numpy()


TWO = [("m", SCALE, ["a", "b"]), ("n", SCALE, ["c"])]


# ------------------------------------------------------------- n_features_in_


@pytest.mark.parametrize("kind", KINDS)
def test_attributes_describe_the_whole_table(kind, X, y):
    model = make(kind, TWO, groups="patient_id").fit(X, y)
    columns = ColumnTransformer(TWO).fit(X)
    assert model.n_features_in_ == columns.n_features_in_ == 5
    assert model.feature_names_in_.tolist() == columns.feature_names_in_.tolist()
    expected = model.predict_proba(X)
    for table in (
        X[["c", "a", "b"]],  # another order, without unused columns
        X.assign(later="x")[["later", "d", "b", "c", "a"]],
    ):
        np.testing.assert_array_equal(model.predict_proba(table), expected)
    with pytest.raises(ValueError, match="'n' needs column 'c'"):
        model.set_params(missing="error").predict(X[["a", "b"]])


@pytest.mark.parametrize("kind", KINDS)
def test_arrays_of_which_some_columns_are_used(kind, X, y):
    A = X.to_numpy()
    model = make(kind, [("m", SCALE, [0, 1]), ("n", SCALE, [-2])]).fit(A, y)
    assert model.n_features_in_ == A.shape[1]
    assert model.predict(A).shape == (N_ROWS,)
    changed = A.copy()
    changed[:, 2] += 100  # not used
    np.testing.assert_array_equal(model.predict_proba(changed), model.predict_proba(A))
    with pytest.raises(ValueError, match="X has 3 features, but .* expecting 5"):
        model.predict(A[:, [0, 1, 3]])


def test_an_array_for_a_model_of_a_table_and_the_other_way(X, y):
    table, array = X.drop(columns="patient_id"), X.to_numpy()[:, :4]
    of_table = make(EarlyFusionClassifier, TWO).fit(table, y)
    expected = of_table.predict_proba(table)
    with pytest.warns(UserWarning, match="does not have valid feature names"):
        np.testing.assert_array_equal(of_table.predict_proba(array), expected)
    numbered = [("m", SCALE, [0, 1]), ("n", SCALE, [2])]
    of_array = make(EarlyFusionClassifier, numbered).fit(array, y)
    np.testing.assert_array_equal(of_array.predict_proba(array), expected)
    with pytest.warns(UserWarning, match="fitted without feature names"):
        np.testing.assert_array_equal(of_array.predict_proba(table), expected)
    frame = pd.DataFrame(array)
    np.testing.assert_array_equal(of_array.predict_proba(frame), expected)
    with pytest.raises(ValueError, match="numbered, but not in order"):
        of_array.predict(frame[[3, 2, 1, 0]])


def test_estimators_around_a_fusion_that_look_at_the_number_of_columns(X, y):
    A = X.to_numpy()[:, :4]
    inner = make(EarlyFusionClassifier, [("m", SCALE, [0]), ("n", SCALE, [2])])
    labels = np.column_stack([y, A[:, 0] > 0]).astype(int)
    # A chain appends the labels before to the columns.
    chain = ClassifierChain(inner).fit(A, labels)
    assert chain.predict(A).shape == labels.shape
    fitted = FrozenEstimator(inner.fit(A, y))
    assert fitted.n_features_in_ == A.shape[1]
    assert CalibratedClassifierCV(fitted).fit(A, y).n_features_in_ == A.shape[1]


def test_explanations_of_an_array_of_which_some_columns_are_used(X, y):
    A = X.to_numpy()[:, :4]
    three = [("m", SCALE, [0, 2]), ("n", "passthrough", [3])]
    model = make(LateFusionClassifier, three).fit(A[:40], y[:40])
    for method in ("linear", "columns"):
        found = explain_features(model, A[40:], background=A[:40], method=method)
        assert found["m"].shape == (20, 2)
    importance = ModalityImportance(model, background=A[:40], random_state=0)
    assert list(importance.explain(A[40:]).modalities) == ["m", "n"]
    assert list(importance.score(A[40:], y[40:]).modalities) == ["m", "n"]


@pytest.mark.parametrize("kind", KINDS)
def test_diagrams_and_copies_with_strings_for_transformers(kind, X, y):
    given = [("m", "passthrough", ["a"]), ("n", "drop", ["b"]), ("o", SCALE, ["c"])]
    model = make(kind, given)
    assert "passthrough" in model._repr_html_()
    assert clone(model).get_params()["n"] == "drop"
    fitted = model.fit(X.drop(columns="patient_id"), y)
    assert "Passthrough" in fitted._repr_html_()
    again = pickle.loads(pickle.dumps(fitted))
    np.testing.assert_array_equal(again.predict_proba(X), fitted.predict_proba(X))
    with pytest.raises(ValueError, match="'m' is 'passthrough', which has no param"):
        model.set_params(m__with_mean=False)
    model.set_params(m=StandardScaler(), m__with_mean=False)
    assert model.get_params()["m__with_mean"] is False


def test_joint_fusion_of_numbers_as_they_are(X, y):
    model = make(JointFusionClassifier, [("m", "passthrough", ["a", "b"])])
    with pytest.raises(ValueError, match="transformer instead of 'passthrough'"):
        model.fit(X.drop(columns="patient_id"), y)
    encoded = model.set_params(encoders=["m"]).fit(X.drop(columns="patient_id"), y)
    assert encoded.fusion_type_ == "I"


@pytest.mark.parametrize("kind", KINDS)
def test_auto_is_strict_but_for_columns_set_aside(kind, X, y):
    model = make(kind, groups="patient_id").fit(X, y)
    assert model.n_features_in_ == 5
    expected = model.predict_proba(X)
    without = X.drop(columns="patient_id")
    np.testing.assert_array_equal(model.predict_proba(without), expected)
    with pytest.raises(ValueError, match="must be in the same order"):
        model.predict(X[list("dcba")])
    with pytest.raises(ValueError, match="unseen at fit time:\n- later"):
        model.predict(without.assign(later=1.0))
    with pytest.raises(ValueError, match="yet now missing:\n- c"):
        model.predict(without.drop(columns="c"))


def test_an_auxiliary_target_may_be_absent_in_prediction(X, y):
    model = JointFusionRegressor(
        "auto", auxiliary_target=3, groups=4, max_epochs=1, random_state=0
    ).fit(X, y.astype(float))
    assert model.modalities_[0][2] == ["a", "b", "c"]
    without = X[["a", "b", "c"]]
    np.testing.assert_array_equal(model.predict(without), model.predict(X))


# ------------------------------------------- modalities without their columns


@pytest.mark.parametrize("kind", KINDS)
def test_a_modality_without_any_column_is_absent(kind, X, y):
    gaps = X.copy()
    gaps.loc[::4, "c"] = np.nan
    model = make(kind, TWO).fit(gaps.drop(columns="patient_id"), y)
    with pytest.warns(UserWarning, match="no column of modality 'n'.*all 60 rows") as w:
        found = model.predict_proba(X[["b", "a"]])
    assert len(w) == 1
    np.testing.assert_array_equal(found, model.predict_proba(X.assign(c=np.nan)))
    with pytest.warns(UserWarning, match="no column of modality 'n'"):
        assert not model.presence(X[["a", "b"]])["n"].any()
    with pytest.raises(ValueError, match="'m' needs column 'b'"):  # one of two
        model.predict(X[["a", "c"]])
    with pytest.raises(ValueError, match="'m' needs column 'a'"):  # nothing at all
        model.predict(X[["d"]])


def test_an_image_that_a_served_case_lacks(X, y):
    image = [np.full((8, 8), i, dtype=np.uint8) for i in range(N_ROWS)]
    encode = FunctionTransformer(lambda cells: np.array([[c.mean()] for c in cells]))
    modalities = [("cxr", encode, "scan"), ("ehr", SCALE, ["a", "b"])]
    table = X.assign(scan=image)[["a", "b", "scan"]]
    table.loc[::5, "scan"] = None
    model = make(LateFusionClassifier, modalities).fit(table, y)
    case = pd.DataFrame([{"a": 0.5, "b": -1.0}])
    with pytest.warns(UserWarning, match=r"no column of modality 'cxr' .*'scan'"):
        found = model.predict_proba(case)
    np.testing.assert_array_equal(found, model.predict_proba(case.assign(scan=None)))


# ------------------------------------------------------- passthrough and drop


@pytest.mark.parametrize("kind", KINDS)
def test_passthrough_uses_numbers_as_they_are(kind, X, y):
    table = X.drop(columns="patient_id")
    identity = FunctionTransformer(feature_names_out="one-to-one")
    parameters = {}
    if kind is JointFusionClassifier:
        parameters = {"encoders": ["n"]}  # passed through: joined without an encoder
    by_hand = make(
        kind, [("m", identity, ["a", "b"]), ("n", SCALE, ["c"])], **parameters
    )
    model = make(kind, [("m", "passthrough", ["a", "b"]), ("n", SCALE, ["c"])])
    expected = by_hand.fit(table, y).predict_proba(table)
    found = model.fit(table, y).predict_proba(table)
    np.testing.assert_allclose(found, expected, atol=1e-12)
    assert model.presence(table.assign(a=np.nan, b=np.nan))["m"].sum() == 0
    with pytest.raises(ValueError, match=r"'m'.*column 'b' is not numeric"):
        model.fit(table.assign(b="high"), y)


def test_features_of_passthrough(X, y):
    table = X.assign(a=X["a"].where(X["a"] > 0), flag=X["b"] > 0)
    model = make(
        EarlyFusionClassifier, [("m", "passthrough", ["a", "flag"])], missing="auto"
    )
    with pytest.warns(UserWarning, match="looks like a patient id"):
        model.fit(table, y)
    assert model.get_feature_names_out().tolist() == ["m__a", "m__flag"]
    assert model.fusion_type_ == "I"
    block = model.encode_modalities(table)["m"]
    np.testing.assert_array_equal(block[:, 0], table["a"])
    assert set(block[:, 1]) == {0.0, 1.0}


def test_sparse_columns_that_are_passed_through(X, y):
    zeros = pd.DataFrame(
        {n: pd.arrays.SparseArray(np.maximum(X[n], 0), fill_value=0.0) for n in "ab"}
    )
    member = make_pipeline(MaxAbsScaler(), LogisticRegression())
    model = LateFusionClassifier([("m", "passthrough", ["a", "b"])], estimator=member)
    dense = pd.DataFrame({n: np.asarray(zeros[n]) for n in "ab"})
    expected = model.fit(dense, y).predict_proba(dense)
    np.testing.assert_allclose(model.fit(zeros, y).predict_proba(zeros), expected)


@pytest.mark.parametrize("kind", KINDS)
def test_a_dropped_modality_does_not_exist(kind, X, y):
    table = X.drop(columns="patient_id")
    model = make(kind, [*TWO, ("o", SCALE, ["d"])]).set_params(m="drop").fit(table, y)
    assert [name for name, *_ in model.modalities_] == ["n", "o"]
    assert model.presence(table).columns.tolist() == ["n", "o"]
    assert set(model.supports_missing_) == {"n", "o"}
    assert model.n_features_in_ == 4
    left = make(kind, [("n", SCALE, ["c"]), ("o", SCALE, ["d"])]).fit(table, y)
    expected = left.predict_proba(table)
    np.testing.assert_array_equal(model.predict_proba(table), expected)
    np.testing.assert_array_equal(model.predict_proba(table[["d", "c"]]), expected)
    # Its name stays a parameter.
    assert model.get_params()["m"] == "drop"
    model.set_params(m=StandardScaler(with_mean=False)).fit(table, y)
    assert model.get_params()["m__with_mean"] is False
    assert [name for name, *_ in model.modalities_] == ["m", "n", "o"]


@pytest.mark.parametrize("kind", KINDS)
def test_ablation_in_a_grid(kind, X, y):
    grid = {"m": [StandardScaler(), "drop", "passthrough"]}
    search = GridSearchCV(make(kind, TWO), grid, cv=2, error_score="raise")
    search.fit(X.drop(columns="patient_id"), y)
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_but_dropped_modalities(kind, X, y):
    model = make(kind, [("m", "drop", ["a"]), ("n", "drop", ["b"])])
    with pytest.raises(ValueError, match="all 2 modalities are 'drop'"):
        model.fit(X.drop(columns="patient_id"), y)


def test_options_by_modality_may_name_a_dropped_one(X, y):
    table = X.drop(columns="patient_id")
    three = [(name, SCALE, [name]) for name in "abc"]

    def late(**parameters):
        model = make(LateFusionClassifier, three, aggregation="weighted", **parameters)
        return model.set_params(a="drop").fit(table, y)

    np.testing.assert_allclose(late(weights=[5, 1, 3]).weights_, [0.25, 0.75])
    by_name = {"a": 5, "b": 1, "c": 3}
    np.testing.assert_allclose(late(weights=by_name).weights_, [0.25, 0.75])
    np.testing.assert_allclose(late(weights={"b": 1, "c": 3}).weights_, [0.25, 0.75])
    assert set(late(calibration={"a": "sigmoid", "b": "sigmoid"}).calibrators_) == {"b"}
    with pytest.raises(ValueError, match="weights must be 3 numbers"):
        late(weights=[1, 3])  # a list keeps the place of the dropped one
    with pytest.raises(ValueError, match="weights must name every modality"):
        late(weights={"a": 5, "b": 1})


@pytest.mark.parametrize(
    ("parameters", "left"),
    [
        ({"join": (("a", "b"), "c")}, {"join": ("b", "c")}),
        ({"join": ("a", ("b", "c"))}, {"join": (("b", "c"),)}),
        ({"encoders": ["a", "b"]}, {"encoders": ["b"]}),
        (
            {"join": "film", "join_params": {"conditioned": "a"}},
            {"join": "film"},
        ),
    ],
)
def test_options_of_joint_fusion_may_name_a_dropped_one(parameters, left, X, y):
    table = X.drop(columns="patient_id")
    three = [(name, SCALE, [name]) for name in "abc"]
    model = make(JointFusionClassifier, three, **parameters).set_params(a="drop")
    two = make(JointFusionClassifier, three[1:], **left)
    np.testing.assert_array_equal(
        model.fit(table, y).predict_proba(table), two.fit(table, y).predict_proba(table)
    )
    assert model.get_params()["join"] == parameters.get("join", "concat")


def test_importance_of_a_model_with_a_dropped_modality(X, y):
    table = X.drop(columns="patient_id")
    three = [(name, SCALE, [name]) for name in "abc"]
    model = make(LateFusionClassifier, three, aggregation="weighted", weights=[5, 1, 3])
    model.set_params(b="drop").fit(table[30:], y[30:])
    importance = ModalityImportance(model, background=table[30:], random_state=0)
    explanation = importance.explain(table[:30])
    assert list(explanation.modalities) == ["a", "c"]
    scores = importance.refit(table, y, cv=2)
    assert list(scores.modalities) == ["a", "c"]


@pytest.mark.long
def test_comparisons_with_passthrough_and_drop(X, y):
    table = X.drop(columns="patient_id")
    given = [("m", "passthrough", ["a", "b"]), *TWO[1:], ("o", "drop", ["d"])]
    strategies = ("single", "late")
    found = compare_fusion(given, table, y, strategies=strategies, cv=2, random_state=0)
    assert found.strategies_.index.tolist() == ["m in late", "n in late", "late"]
    with pytest.raises(ValueError, match="fusion needs at least two"):
        compare_fusion([TWO[0], ("n", "drop", ["c"])], table, y, strategies=strategies)
    model = make(LateFusionClassifier, [("m", "drop", ["a"])])
    with pytest.raises(ValueError, match="all 1 modalities are 'drop'"):
        compare_fusion({"late": model}, table, y)


# ---------------------------------------------------- integers as columns


def test_integers_are_positions_as_in_column_transformer(X, y):
    numbered = pd.DataFrame(X.to_numpy()[:, :4], columns=[10, 20, 30, 40])
    # only positions
    model = make(EarlyFusionClassifier, [("m", SCALE, [1, -1])]).fit(numbered, y)
    assert model.modalities_[0][2] == [20, 40]
    columns = ColumnTransformer([("m", SCALE, [1, -1])]).fit_transform(numbered)
    np.testing.assert_allclose(model.encode_modalities(numbered)["m"], columns)
    # only labels
    model = make(EarlyFusionClassifier, [("m", SCALE, [40, 10])]).fit(numbered, y)
    assert model.modalities_[0][2] == [40, 10]


@pytest.mark.parametrize(
    "columns", [[0, 1], 3, [3], make_column_selector(dtype_include="number")]
)
def test_integers_that_are_positions_and_labels_of_different_columns(columns, X, y):
    turned = pd.DataFrame(X.to_numpy()[:, :4])[[3, 2, 1, 0]]
    model = make(EarlyFusionClassifier, [("m", SCALE, columns)])
    with pytest.raises(ValueError, match=r"'m' needs column .*also the label of"):
        model.fit(turned, y)
    # Masks and slices are not labels.
    for clear in ([True, False, False, False], slice(0, 1)):
        model = make(EarlyFusionClassifier, [("m", SCALE, clear)]).fit(turned, y)
        assert model.modalities_[0][2] == [3]


@pytest.mark.slow
def test_comparisons_of_numbered_columns_that_are_not_in_order(X, y):
    turned = pd.DataFrame(X.to_numpy()[:, :4])[[3, 2, 1, 0]]
    mask = [True, True, False, False]
    given = [("m", SCALE, mask), ("n", SCALE, [not used for used in mask])]
    found = compare_fusion(
        given, turned, y, strategies=("single", "late"), cv=2, random_state=0
    )
    by_name = compare_fusion(
        [("m", SCALE, ["3", "2"]), ("n", SCALE, ["1", "0"])],
        turned.set_axis([str(label) for label in turned.columns], axis=1),
        y,
        strategies=("single", "late"),
        cv=2,
        random_state=0,
    )
    pd.testing.assert_frame_equal(found.scores_, by_name.scores_)


# ------------------------------------------------------------------- groups


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("column", [4, -1])
def test_groups_by_position_are_no_feature(kind, column, X, y):
    for table in (X.to_numpy(), pd.DataFrame(X.to_numpy()), X):
        model = make(kind, groups=column).fit(table, y)
        assert len(model.modalities_[0][2]) == 4
    with pytest.raises(ValueError, match="'patient_id' is the groups column"):
        make(kind, [("m", SCALE, ["a", "patient_id"])], groups=column).fit(X, y)
    with pytest.raises(ValueError, match="is the groups column and cannot"):
        make(kind, [("m", SCALE, [0, 4])], groups=column).fit(X.to_numpy(), y)


def test_groups_that_are_an_integer_label(X, y):
    numbered = pd.DataFrame(X.to_numpy(), columns=[10, 20, 30, 40, 50])
    model = make(EarlyFusionClassifier, groups=50).fit(numbered, y)
    assert model.modalities_[0][2] == [10, 20, 30, 40]
    turned = pd.DataFrame(X.to_numpy())[[4, 3, 2, 1, 0]]
    with pytest.raises(ValueError, match=r"groups= names column 4.*column 0"):
        make(EarlyFusionClassifier, groups=4).fit(turned, y)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("values", [list, pd.Series, np.asarray])
def test_ids_in_place_of_a_column(kind, values, X, y):
    model = make(kind, TWO, groups=values(X["patient_id"]))
    with pytest.raises(TypeError, match=r"groups must be the name.*fit\(X, y, groups="):
        model.fit(X, y)


@pytest.mark.parametrize("kind", KINDS)
def test_a_feature_that_is_the_patient(kind, X, y):
    ids = X["patient_id"].to_numpy()
    table = X.drop(columns="patient_id").assign(
        PatientNumber=7000 + 3 * ids,
        text=[f"P{i}" for i in ids],
        baseline=np.random.default_rng(1).normal(size=N_ROWS)[ids],  # a measurement
        stage=ids % 4,
    )
    model = make(kind, [("m", SCALE, make_column_selector(dtype_include="number"))])
    with pytest.warns(UserWarning, match="column 'PatientNumber' of modality 'm'") as w:
        model.fit(table, y, groups=ids)
    assert len(w) == 1
    with pytest.warns(UserWarning, match="column 'text' of modality 'm'"):
        make(kind, [("m", TabularEncoder(), ["a", "text"])]).fit(table, y, groups=ids)
    with pytest.warns(UserWarning, match="column 4 of modality 'ehr'"):
        make(kind).fit(X.to_numpy(), y, groups=ids)
    # One row per patient: any numbers differ between all patients.
    make(kind, [("m", SCALE, ["a", "PatientNumber"])]).fit(
        table.iloc[::2], y[::2], groups=ids[::2]
    )


# ------------------------------------------------------------ infinite values


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("transformer", [SCALE, FunctionTransformer(), "passthrough"])
def test_infinite_cells_are_located(kind, transformer, X, y):
    table = X.drop(columns="patient_id")
    bad = table.copy()
    bad.loc[[3, 7], "b"] = np.inf
    bad.loc[7, "a"] = np.inf
    modalities = [("m", transformer, ["a", "b"]), ("n", SCALE, ["c"])]
    message = r"modality 'm'.*'a' \(1 rows\), 'b' \(2 rows\).*\[3, 7\].*Replace"
    model = make(kind, modalities)
    with pytest.raises(ValueError, match=message):
        model.fit(bad, y)
    by_position = [("m", transformer, [0, 1]), ("n", SCALE, [2])]
    with pytest.raises(
        ValueError, match=message.replace("'a'", "0").replace("'b'", "1")
    ):
        make(kind, by_position).fit(bad.to_numpy(), y)
    model.fit(table, y)
    with pytest.raises(ValueError, match=message):
        model.predict(bad)
    unused = table.assign(d=np.inf)
    np.testing.assert_array_equal(
        model.predict_proba(unused), model.predict_proba(table)
    )


def test_a_transformer_that_takes_infinite_cells(X, y):
    bad = X.assign(a=X["a"].where(X["a"] < 1, np.inf))

    def cap(cells):
        return np.clip(cells, -1, 1)

    for kind in KINDS:
        model = make(kind, [("m", FunctionTransformer(cap), ["a"]), *TWO[1:]])
        model.set_params(groups="patient_id").fit(bad, y)
        assert np.isfinite(model.predict_proba(bad)).all()


@pytest.mark.parametrize("kind", KINDS)
def test_a_set_of_columns_is_in_the_order_of_the_table(kind, X, y):
    """The order of a set of text differs between processes."""

    class Reversed(set):
        def __iter__(self):
            return iter(sorted(super().__iter__(), reverse=True))

    outputs = [
        make(kind, [("m", SCALE, columns), ("n", SCALE, ["d"])], groups="patient_id")
        .fit(X, y)
        .predict_proba(X)
        for columns in (["a", "b", "c"], Reversed("cab"), frozenset("bca"))
    ]
    np.testing.assert_array_equal(outputs[0], outputs[1])
    np.testing.assert_array_equal(outputs[0], outputs[2])


@pytest.mark.parametrize("kind", KINDS)
def test_a_structured_array_is_refused_without_its_values(kind, X, y):
    records = X.assign(name="Jane Doe").to_records(index=False)
    for array in (records, np.asarray(records)):
        with pytest.raises(TypeError, match=r"got a structured array") as caught:
            make(kind, TWO).fit(array, y)
        assert "Jane" not in str(caught.value)


# --------------------------------------------------------------------- weights


def test_weights_in_a_series_are_those_of_its_index(X, y):
    def late(weights):
        model = make(LateFusionClassifier, TWO, aggregation="weighted", weights=weights)
        return model.fit(X.drop(columns="patient_id"), y).weights_

    by_name = {"n": 3.0, "m": 1.0}
    for weights in (by_name, MappingProxyType(by_name), pd.Series(by_name)):
        np.testing.assert_allclose(late(weights), [0.25, 0.75])
    np.testing.assert_allclose(late(pd.Series([3.0, 1.0])), [0.75, 0.25])
    with pytest.raises(ValueError, match="weights must name every modality once"):
        late(pd.Series(by_name).rename({"n": "N"}))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "class_weight", [{"Sick": 50}, {0: 1, 1: 50}, {"sick": 2, "will": 1}]
)
def test_weights_of_classes_that_do_not_exist(kind, class_weight, X, y):
    table, labels = X.drop(columns="patient_id"), np.where(y, "sick", "well")
    model = make(kind, TWO, class_weight=class_weight)
    with pytest.raises(ValueError, match="which are no classes of y"):
        model.fit(table, labels)
    with pytest.raises(ValueError, match="are not in class_weight"):
        LogisticRegression(class_weight=class_weight).fit(table, labels)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("weight", [-5.0, np.nan, np.inf])
def test_weights_of_classes_are_finite_and_not_negative(kind, weight, X, y):
    model = make(kind, TWO, class_weight={0: 1.0, 1: weight}, groups="patient_id")
    with pytest.raises(ValueError, match="class_weight must have finite weights of 0"):
        model.fit(X, y)


@pytest.mark.parametrize("kind", KINDS)
def test_weights_of_more_classes_than_a_fold_has(kind, X, y):
    table, labels = X.drop(columns="patient_id"), np.where(y, "sick", "well")
    more = {"sick": 3.0, "well": 1.0, "rare": 9.0}
    found = make(kind, TWO, class_weight=more).fit(table, labels)
    weights = np.where(y, 3.0, 1.0)
    expected = make(kind, TWO).fit(table, labels, sample_weight=weights)
    np.testing.assert_allclose(
        found.predict_proba(table), expected.predict_proba(table)
    )


@pytest.mark.parametrize("kind", KINDS)
def test_balanced_classes_leave_rows_of_weight_zero_out(kind, X, y):
    table = X.drop(columns="patient_id")
    table.loc[::3, "a"] = np.nan  # imputed by a mean
    weights = (np.random.default_rng(0).random(N_ROWS) < 0.6) * 1.0
    kept = weights > 0
    found = make(kind, TWO, class_weight="balanced")
    found.fit(table, y, sample_weight=weights)
    expected = make(kind, TWO, class_weight="balanced").fit(table[kept], y[kept])
    np.testing.assert_allclose(
        found.predict_proba(table), expected.predict_proba(table), atol=1e-10
    )


@pytest.mark.parametrize("kind", KINDS)
def test_balanced_weights_equal_repeated_rows(kind, X, y):
    table = X.drop(columns="patient_id")
    times = np.random.default_rng(0).integers(0, 4, N_ROWS)
    quick = {}
    if kind is JointFusionClassifier:  # one batch: its steps do not depend on order
        quick = {"batch_size": 1000, "dropout": 0.0, "modality_dropout": 0.0}
        quick["training"] = TrainingSettings(validation_fraction=0)
    table.loc[::3, "a"] = np.nan  # imputed by a mean
    weighted = make(kind, TWO, class_weight="balanced", **quick)
    weighted.fit(table, y, sample_weight=times)
    rows = np.repeat(np.arange(N_ROWS), times)
    repeated = make(kind, TWO, class_weight="balanced", **quick)
    # Weights are relative, so a penalty sees the number of different rows.
    times_more = times[times > 0].mean()
    if kind is EarlyFusionClassifier:
        repeated.set_params(estimator__C=1 / times_more)
    if kind is LateFusionClassifier:
        repeated.set_params(estimator__model__C=0.01 / times_more)
    repeated.fit(table.iloc[rows], y[rows])
    np.testing.assert_allclose(
        weighted.predict_proba(table), repeated.predict_proba(table), atol=TOLERANCE
    )


@pytest.mark.parametrize("kind", [EarlyFusionClassifier, LateFusionClassifier])
def test_balanced_labels_leave_rows_of_weight_zero_out(kind, X, y):
    table = X.drop(columns="patient_id")
    labels = np.column_stack([y, X["b"] > 0.5]).astype(int)
    weights = (np.random.default_rng(0).random(N_ROWS) < 0.6) * 1.0
    kept = weights > 0
    found = make(kind, TWO, class_weight="balanced")
    found.fit(table, labels, sample_weight=weights)
    expected = make(kind, TWO, class_weight="balanced").fit(table[kept], labels[kept])
    np.testing.assert_allclose(
        found.predict_proba(table), expected.predict_proba(table), atol=1e-10
    )


def test_balanced_classes_of_the_rows_that_the_policy_leaves(X, y):
    table = X.drop(columns="patient_id")
    table.loc[(y == 1) & (X["d"] > 0), "c"] = np.nan
    complete = table["c"].notna().to_numpy()
    for kind in (EarlyFusionClassifier, LateFusionClassifier):
        model = make(kind, TWO, class_weight="balanced", missing="complete_case")
        with pytest.warns(UserWarning, match="drops"):
            model.fit(table, y)
        expected = make(kind, TWO, class_weight="balanced")
        expected.fit(table[complete], y[complete])
        np.testing.assert_allclose(
            model.predict_proba(table[complete]),
            expected.predict_proba(table[complete]),
            atol=1e-10,
        )


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("weight", [-1.0, 0, np.nan, np.inf, "2", True])
def test_a_single_weight_is_checked(kind, weight, X, y):
    with pytest.raises(ValueError, match="sample_weight must be a number above 0"):
        make(kind, TWO, groups="patient_id").fit(X, y, sample_weight=weight)


@pytest.mark.parametrize("kind", KINDS)
def test_a_single_weight_is_that_of_all_rows(kind, X, y):
    table = X.drop(columns="patient_id")
    found = make(kind, TWO).fit(table, y, sample_weight=np.float32(2))
    expected = make(kind, TWO).fit(table, y, sample_weight=np.full(N_ROWS, 2.0))
    np.testing.assert_array_equal(
        found.predict_proba(table), expected.predict_proba(table)
    )
