"""What users get wrong, and what they are told: each with its own words."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from skfusion import (
    EarlyFusionClassifier,
    EarlyFusionRegressor,
    ImageEmbedder,
    JointFusionClassifier,
    LateFusionClassifier,
    TabularEncoder,
)
from skfusion.store.embedding_store import EmbeddingStore
from skfusion.store.sqlite_file import StoreWarning

KINDS = (EarlyFusionClassifier, LateFusionClassifier, JointFusionClassifier)


def with_scan(cohort, row, value):
    X = cohort.X.copy()
    X.at[row, "scan"] = value
    return X


def picture(path, size=(16, 16)):
    Image.new("L", size, 128).save(path)
    return path


def test_a_column_that_is_not_there(cohort, make):
    modalities = [cohort.modalities[0], ("ehr", TabularEncoder(), ["agee", "sex"])]
    with pytest.raises(ValueError, match=r"'ehr' needs column 'agee'.*mean 'age'\?"):
        make(EarlyFusionClassifier, modalities=modalities).fit(cohort.X, cohort.y)
    model = make(EarlyFusionClassifier).fit(cohort.X, cohort.y)
    with pytest.raises(ValueError, match="'ehr' needs column 'sex'"):
        model.predict(cohort.X.drop(columns="sex"))


@pytest.mark.parametrize("kind", KINDS)
def test_no_modality_and_one_name_twice(kind, cohort, make):
    with pytest.raises(ValueError, match="list of modalities is empty"):
        make(kind, modalities=[]).fit(cohort.X, cohort.y)
    twice = [("ehr", TabularEncoder(), "age"), ("ehr", TabularEncoder(), "sex")]
    with pytest.raises(ValueError, match="two modalities are named 'ehr'"):
        make(kind, modalities=twice).fit(cohort.X, cohort.y)


def truncated(folder):
    whole = picture(folder / "whole.png", (64, 64)).read_bytes()
    (folder / "half.png").write_bytes(whole[: len(whole) // 2])
    return folder / "half.png"


def empty(folder):
    (folder / "empty.png").write_bytes(b"")
    return folder / "empty.png"


def text(folder):
    (folder / "text.png").write_text("This is no image, whatever its name says.")
    return folder / "text.png"


def bomb(folder):
    """A PNG whose header claims 60,000 x 60,000 pixels."""
    data = bytearray(picture(folder / "bomb.png").read_bytes())
    data[16:24] = (60_000).to_bytes(4, "big") * 2
    import zlib

    data[29:33] = zlib.crc32(data[12:29]).to_bytes(4, "big")
    (folder / "bomb.png").write_bytes(bytes(data))
    return folder / "bomb.png"


def nowhere(folder):
    return folder / "nowhere.png"


@pytest.mark.parametrize("make_bad", [truncated, empty, text, bomb, nowhere])
def test_a_bad_image_is_named_by_row_and_never_by_path(
    make_bad, cohort, make, tmp_path
):
    bad = str(make_bad(tmp_path))
    with pytest.raises(ValueError, match=r"'cxr'.*'scan'.*row position 5") as caught:
        make(EarlyFusionClassifier).fit(with_scan(cohort, 5, bad), cohort.y)
    assert bad not in str(caught.value)
    assert tmp_path.name not in str(caught.value)


@pytest.mark.parametrize("kind", KINDS)
def test_the_row_is_that_of_the_cohort_although_others_are_absent(
    kind, cohort, make, tmp_path
):
    X = with_scan(cohort, 9, str(empty(tmp_path)))
    X.loc[[0, 1, 2], "scan"] = None
    with pytest.raises(ValueError, match="row position 9"):
        make(kind).fit(X, cohort.y)


@pytest.mark.parametrize("kind", KINDS)
def test_all_images_absent_in_fit(kind, cohort, make):
    X = cohort.X.assign(scan=None)
    with pytest.raises(ValueError, match="'cxr'.* is absent in all 48 rows"):
        make(kind).fit(X, cohort.y)


@pytest.mark.filterwarnings("ignore:.*cannot be read")
@pytest.mark.parametrize("kind", KINDS)
def test_all_images_unreadable_in_fit(kind, cohort, make, tmp_path):
    X = cohort.X.assign(scan=str(empty(tmp_path)))
    model = make(kind).set_params(cxr__on_error="missing")
    with pytest.raises(ValueError, match="'cxr'.*(in all|none of the) 48 rows"):
        model.fit(X, cohort.y)


@pytest.mark.parametrize("kind", KINDS)
def test_targets_that_cannot_be_learned(kind, cohort, make):
    unknown = cohort.y.astype(float)
    unknown[[2, 7]] = np.nan
    with pytest.raises(ValueError, match=r"y contains NaN in 2 of 48 rows.*\[2, 7\]"):
        make(kind).fit(cohort.X, unknown)
    with pytest.raises(ValueError, match="y contains one class only"):
        make(kind).fit(cohort.X, np.zeros(48, int))
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        make(kind).fit(cohort.X, cohort.y[:-1])


def test_numbers_are_asked_for_in_regression(cohort, make):
    with pytest.raises(ValueError, match="y must contain numbers"):
        make(EarlyFusionRegressor).fit(cohort.X, np.repeat("high", 48))


def test_a_class_missing_from_a_fold(cohort, make):
    y = cohort.y.copy()
    y[:] = 0
    y[[0, 1]] = 1  # both rows of one patient
    with pytest.raises(ValueError, match="class number 1 .* has 1 patient only"):
        make(LateFusionClassifier, aggregation="stacking").fit(cohort.X, y)


@pytest.mark.parametrize("kind", KINDS)
def test_groups_that_cannot_be_used(kind, cohort, make):
    X = cohort.X.copy()
    X.loc[[4, 6], "patient_id"] = None
    with pytest.raises(ValueError, match=r"missing in 2 of 48 rows.*\[4, 6\]"):
        make(kind).fit(X, cohort.y)
    with pytest.raises(ValueError, match="groups= names column 'mrn'"):
        make(kind, groups="mrn").fit(cohort.X, cohort.y)
    with pytest.raises(ValueError, match="groups has 3 entries but X has 48 rows"):
        make(kind).fit(cohort.X, cohort.y, groups=[1, 2, 3])
    modalities = [("ehr", TabularEncoder(), ["age", "patient_id"])]
    with pytest.raises(
        ValueError, match="'patient_id' is the groups column and cannot"
    ):
        make(kind, modalities=modalities).fit(cohort.X, cohort.y)


def test_one_patient_for_grouped_folds(cohort, make):
    X = cohort.X.assign(patient_id="P0")
    with pytest.raises(ValueError, match="got 1 patients"):
        make(LateFusionClassifier, aggregation="stacking").fit(X, cohort.y)


@pytest.mark.parametrize("kind", KINDS)
def test_a_repeated_patient_id_without_groups_warns(kind, cohort, make):
    with pytest.warns(
        UserWarning, match=r"'patient_id' looks like.*48 rows, 24 values"
    ):
        make(kind, groups=None).fit(cohort.X, cohort.y)


@pytest.mark.parametrize("kind", KINDS)
def test_weights_and_policies_that_make_no_sense(kind, cohort, make):
    for weights, words in (
        (np.zeros(48), "all entries of sample_weight are zero"),
        (-np.ones(48), "Negative values in sample_weight at 48 rows"),
        (np.ones(3), r"sample_weight.shape == \(3,\), expected \(48,\)"),
    ):
        with pytest.raises(ValueError, match=words):
            make(kind).fit(cohort.X, cohort.y, sample_weight=weights)
    with pytest.raises(ValueError, match="missing must be one of.*got 'drop'"):
        make(kind, missing="drop").fit(cohort.X, cohort.y)


def test_a_modality_that_was_never_absent_in_training_warns(cohort, make):
    model = make(EarlyFusionClassifier, absence_copies=0.0)
    model.fit(cohort.X, cohort.y)
    with pytest.warns(
        UserWarning, match="cxr absent in 1 of 48 rows, but never in the"
    ):
        model.predict(with_scan(cohort, 3, None))


def test_two_columns_of_one_name(cohort, make):
    X = pd.concat([cohort.X, cohort.X[["age"]]], axis=1)
    with pytest.raises(ValueError, match="more than one column named 'age'"):
        make(EarlyFusionClassifier).fit(X, cohort.y)


def with_store(cohort, make, store):
    embedder = ImageEmbedder(input_size=32, store=store)
    modalities = [("cxr", embedder, "scan"), cohort.modalities[1]]
    return make(EarlyFusionClassifier, modalities=modalities)


@pytest.mark.long
def test_a_corrupt_store_costs_a_warning_and_no_result(cohort, make, tmp_path):
    expected = with_store(cohort, make, None).fit(cohort.X, cohort.y)
    store = tmp_path / "store"
    with_store(cohort, make, store).fit(cohort.X, cohort.y)
    EmbeddingStore(store).close()
    for file in store.iterdir():
        file.write_bytes(b"no database " * 100)
    with pytest.warns(StoreWarning):
        found = with_store(cohort, make, store).fit(cohort.X, cohort.y)
    np.testing.assert_allclose(
        found.predict_proba(cohort.X), expected.predict_proba(cohort.X), atol=1e-5
    )


def test_a_store_that_cannot_be_written_falls_back_to_memory(cohort, make, tmp_path):
    (tmp_path / "file").write_text("a file where a folder should be")
    model = with_store(cohort, make, tmp_path / "file" / "store")
    with pytest.warns(StoreWarning, match="memory"):
        model.fit(cohort.X, cohort.y)
    assert np.isfinite(model.predict_proba(cohort.X)).all()
