"""The data contract: triples, presence, blocks, and errors that say where."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from sklearn.compose import make_column_selector
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.preprocessing import FunctionTransformer, StandardScaler

from skfusion.blocks import ModalityBlocks
from skfusion.modality import (
    Modality,
    cell_presence,
    check_modalities,
    infer_columns,
    is_identifier,
    is_image_cell,
    presence_mask,
    select_columns,
)

X = pd.DataFrame(
    {
        "patient_id": ["a", "a", "b"],
        "cxr": ["1.png", None, "3.png"],
        "age": [60.0, 41.0, np.nan],
        "crp": [3.0, np.nan, np.nan],
        "note": ["fever and cough", "cough", None],
    }
)


def resolve(modalities, frame=X, reserved=("estimator",)):
    return check_modalities(
        modalities, frame, owner="EarlyFusionClassifier", reserved=reserved
    )


@pytest.mark.parametrize(
    ("columns", "labels", "scalar"),
    [
        ("age", ("age",), True),
        (2, ("age",), True),
        (-1, ("note",), True),
        (["crp", "age"], ("crp", "age"), False),
        ([2, 3], ("age", "crp"), False),
        (slice(2, 4), ("age", "crp"), False),
        (slice("age", "crp"), ("age", "crp"), False),
        ([False, False, True, True, False], ("age", "crp"), False),
        (make_column_selector(dtype_include="number"), ("age", "crp"), False),
        (pd.Index(["age"]), ("age",), False),
    ],
)
def test_columns_have_the_semantics_of_column_transformer(columns, labels, scalar):
    (modality,) = resolve([("ehr", StandardScaler(), columns)])
    assert modality.columns == labels
    assert modality.scalar == scalar
    part = modality.select(X)
    assert part.ndim == (1 if scalar else 2)


@pytest.mark.parametrize(
    ("modalities", "error", "words"),
    [
        ([], ValueError, "list of modalities is empty"),
        ("images", TypeError, "must be 'auto' or a list of triples"),
        (7, TypeError, "must be 'auto' or a list of triples"),
        ([("ehr", StandardScaler())], TypeError, "number 0 must be a triple.*length 2"),
        ([(3, StandardScaler(), "age")], TypeError, "non-empty string, got int"),
        (
            [("ehr", "scale", "age")],
            TypeError,
            "'ehr' needs a scikit-learn.*got 'scale'",
        ),
        ([("a__b", StandardScaler(), "age")], ValueError, "contains '__'"),
        ([("estimator", StandardScaler(), "age")], ValueError, "parameter's name"),
        ([("ehr", StandardScaler(), "agee")], ValueError, "'agee'.*mean 'age'.*5 col"),
        ([("ehr", StandardScaler(), [9])], ValueError, "'ehr' needs column 9"),
        ([("ehr", StandardScaler(), None)], ValueError, "'ehr' needs column None"),
        ([("ehr", StandardScaler(), True)], ValueError, "'ehr' needs column True"),
        ([("ehr", StandardScaler(), [["age"]])], ValueError, r"needs column \['age'\]"),
        ([("ehr", StandardScaler(), [True])], ValueError, "mask.*1 entries.*5 columns"),
        ([("ehr", "drop", "age")], ValueError, "all 1 modalities are 'drop'"),
        ([("ehr", StandardScaler(), [])], ValueError, "'ehr' selects no column"),
        ([("e", StandardScaler(), ["age", "age"])], ValueError, "more than once"),
    ],
)
def test_malformed_modalities_say_what_was_found(modalities, error, words):
    with pytest.raises(error, match=f"EarlyFusionClassifier: .*{words}"):
        resolve(modalities)


def test_names_are_unique_but_columns_may_be_shared():
    scaler = StandardScaler()
    with pytest.raises(ValueError, match="two modalities are named 'ehr'"):
        resolve([("ehr", scaler, "age"), ("ehr", scaler, "crp")])
    shared = resolve([("labs", scaler, ["crp", "age"]), ("ehr", scaler, ["age"])])
    assert [modality.columns for modality in shared] == [("crp", "age"), ("age",)]


def test_presence_is_not_the_same_as_a_gap():
    modalities = resolve(
        [("cxr", StandardScaler(), "cxr"), ("ehr", StandardScaler(), ["age", "crp"])]
    )
    expected = [[True, True], [False, True], [True, False]]
    np.testing.assert_array_equal(presence_mask(modalities, X), expected)


def test_presence_of_many_columns_is_that_of_each_column():
    rng = np.random.default_rng(0)
    n_rows = 30

    def gaps(values):
        drawn = rng.random(n_rows) > 0.6
        return [v if keep else None for v, keep in zip(values, drawn, strict=True)]

    frame = pd.DataFrame(
        {
            "number": gaps(rng.normal(size=n_rows)),
            "whole": pd.array(gaps(range(n_rows)), dtype="Int64"),
            "flag": pd.array(gaps([True] * n_rows), dtype="boolean"),
            "arrow": pd.array(
                gaps(map(float, range(n_rows))), dtype="float64[pyarrow]"
            ),
            "date": pd.to_datetime(gaps([pd.Timestamp("2024")] * n_rows)),
            "text": gaps(rng.choice(["", "cough"], n_rows)),
            "kind": pd.Categorical(gaps(rng.choice(["", "a"], n_rows))),
            "bag": pd.Series(gaps([[None], ["1.png"], []] * 10), dtype=object),
            ("a", 1): gaps(rng.normal(size=n_rows)),
        }
    )
    parts = [
        Modality("a", None, tuple(frame.columns[:5])),
        Modality("b", None, ("text", "number")),
        Modality("c", None, ("bag",), scalar=True),
        Modality("d", None, ("kind", ("a", 1))),
    ]
    expected = [
        np.any([cell_presence(frame[column]) for column in part.columns], axis=0)
        for part in parts
    ]
    found = presence_mask(parts, frame)
    np.testing.assert_array_equal(found, np.column_stack(expected))
    assert found.any(axis=0).all()
    assert not found.all()
    assert presence_mask(parts, frame.iloc[:0]).shape == (0, 4)
    assert presence_mask([], frame).shape == (n_rows, 0)


def test_empty_strings_and_empty_bags_are_absent():
    cells = pd.DataFrame({"cxr": ["a.png", "", None, [], ["a.png"], np.zeros((2, 2))]})
    modality = Modality("cxr", FunctionTransformer(), ("cxr",))
    expected = [True, False, False, False, True, True]
    assert presence_mask([modality], cells)[:, 0].tolist() == expected


@pytest.mark.parametrize(
    ("cell", "expected"),
    [
        ("scan.JPEG", True),
        ("study/scan.nii.gz", True),
        ("female", False),
        (b"\x89PNG\r\n", True),
        (b"plain text", False),
        (np.zeros((3, 4)), True),
        (np.zeros(3), False),
        (["a.png", "b.png"], True),
        (["a.png", "female"], False),
        (3.5, False),
    ],
)
def test_image_cells_are_told_from_others(cell, expected):
    assert is_image_cell(cell) is expected


def test_columns_are_inferred_with_care():
    images, ehr, identifiers = infer_columns(X)
    assert images == ["cxr"]
    assert ehr == ["age", "crp", "note"]
    assert identifiers == ["patient_id"]
    mixed = pd.DataFrame({"finding": ["a.png", "opacity"], "empty": [None, None]})
    with pytest.warns(UserWarning, match="'finding'.*1 of 2 inspected cells are not"):
        assert infer_columns(mixed) == (["finding"], ["empty"], [])


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        *((name, True) for name in ("id", "MRN", "hadm_id", "PatNr", "case", "UID")),
        *((name, True) for name in ("Study ID", "StudyInstanceUID", "patientid")),
        *((name, True) for name in ("accession number", "record_no", "study_key")),
        *((name, False) for name in ("age", "hospital", "study_arm", "visit")),
        *((name, False) for name in ("key", "covid", "patients_per_ward", "exams")),
    ],
)
def test_names_of_ids(name, expected):
    assert is_identifier(name, pd.DataFrame({name: [1, 2, 3]})) is expected


@pytest.mark.parametrize("name", ["study", "Exam", "series", "encounter", "stay"])
def test_words_that_can_be_categories_are_ids_if_they_have_many_values(name):
    ids = pd.DataFrame({name: [f"S{i // 4}" for i in range(200)]})
    assert is_identifier(name, ids)
    assert is_identifier(name, ids.iloc[:48])  # 12 of 48 rows
    trials = pd.DataFrame({name: ["A", "B", None, "C"] * 50})
    assert not is_identifier(name, trials)
    assert not is_identifier(name, trials.iloc[:0])


def test_blocks_fit_on_present_rows_only_and_leave_absent_ones_nan():
    modality = Modality("ehr", StandardScaler(), ("age", "crp"))
    frame = pd.DataFrame({"age": [1.0, 3.0, np.nan], "crp": [0.0, 2.0, np.nan]})
    blocks = ModalityBlocks([modality])
    fitted = blocks.fit_transform(frame)
    np.testing.assert_allclose(fitted.arrays["ehr"][:2], [[-1, -1], [1, 1]])
    assert np.isnan(fitted.arrays["ehr"][2]).all()
    assert list(blocks.feature_names_["ehr"]) == ["age", "crp"]
    again = blocks.transform(frame.iloc[[2, 0]].reset_index(drop=True))
    np.testing.assert_array_equal(again.presence[:, 0], [False, True])
    np.testing.assert_allclose(again.arrays["ehr"][1], [-1, -1])


def test_sparse_text_blocks_and_scalar_columns():
    blocks = ModalityBlocks([Modality("note", TfidfVectorizer(), ("note",), True)])
    fitted = blocks.fit_transform(X)
    assert list(blocks.feature_names_["note"]) == ["and", "cough", "fever"]
    assert fitted.arrays["note"].shape == (3, 3)
    np.testing.assert_array_equal(fitted.presence[:, 0], [True, True, False])


def test_weights_reach_the_transformers_that_take_them():
    frame = pd.DataFrame({"age": [0.0, 10.0]})
    blocks = ModalityBlocks([Modality("ehr", StandardScaler(), ("age",))])
    blocks.fit_transform(frame, sample_weight=np.array([3.0, 1.0]))
    assert blocks.modalities_[0].transformer.mean_ == [2.5]


def test_a_modality_that_is_nowhere_is_an_error():
    frame = pd.DataFrame({"cxr": [None, None]})
    with pytest.raises(ValueError, match="'cxr'.* is absent in all 2 rows"):
        ModalityBlocks([Modality("cxr", StandardScaler(), ("cxr",))]).fit_transform(
            frame
        )


def test_errors_of_a_transformer_name_the_modality():
    frame = pd.DataFrame({"age": ["sixty", "forty"]})
    with pytest.raises(
        ValueError, match=r"In modality 'ehr' \(StandardScaler on 'age'"
    ):
        ModalityBlocks([Modality("ehr", StandardScaler(), ("age",))]).fit_transform(
            frame
        )


def test_a_transformer_that_loses_rows_is_refused():
    loses = FunctionTransformer(lambda frame: frame.iloc[1:])
    with pytest.raises(ValueError, match=r"one row of features per case.*\(2, 1\)"):
        ModalityBlocks([Modality("ehr", loses, ("crp",))]).fit_transform(
            pd.DataFrame({"crp": [1.0, 2.0, 3.0]})
        )


ADJACENT = {
    "text": (list("abcd"), ["b", "c"]),
    "one": (list("abcd"), ["d"]),
    "all": (list("abcd"), list("abcd")),
    "apart": (list("abcd"), ["a", "c"]),
    "turned": (list("abcd"), ["c", "b"]),
    "numbers": ([3, 1, 0, 2], [1, 0]),
    "mixed": ([0, "a", ("x", 1), 2.5], ["a", ("x", 1)]),
    "pairs": (pd.MultiIndex.from_product([["a", "b"], [0, 1]]), [("a", 1), ("b", 0)]),
    "days": (pd.date_range("2020", periods=4), [pd.Timestamp("2020-01-02")]),
}


@pytest.mark.filterwarnings(r"ignore:\s*A value is trying to be set")  # pandas 2
@pytest.mark.parametrize("case", ADJACENT)
def test_selected_columns_are_those_of_pandas(case):
    columns, labels = ADJACENT[case]
    X = pd.DataFrame(np.arange(8.0).reshape(2, 4), columns=columns)
    found = select_columns(X, labels)
    pd.testing.assert_frame_equal(found, X[labels])
    found.iloc[0, 0] = -1.0
    assert X.to_numpy().min() == 0.0  # not the table itself


def test_a_column_that_is_not_there_is_an_error():
    X = pd.DataFrame(np.eye(2), columns=["a", "b"])
    for labels in (["z"], ["b", "z"], ["a", "b", "z"]):
        with pytest.raises(KeyError):
            select_columns(X, labels)
