"""One call gives a modality of each domain, which any fusion takes beside images."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from skfusion import (
    EarlyFusionClassifier,
    EventStore,
    JointFusionClassifier,
    LateFusionClassifier,
)
from skfusion.ehr import DOMAINS, FURTHER_DOMAINS, domain_modalities

CODES = {
    "vitals": "VITAL//LOINC//8867-4",
    "labs": "LAB//LOINC//718-7",
    "inpatient_medication": "MEDICATION//INPATIENT//RxNorm//7052",
    "outpatient_medication": "MEDICATION//OUTPATIENT//RxNorm//7052",
    "diagnoses": "DIAGNOSIS//ICD10CM//I26",
    "procedures": "PROCEDURE//CPT4//71275",
}
INDEX = pd.Timestamp("2026-06-01")
N = 40


def make_store(codes) -> EventStore:
    rng = np.random.default_rng(0)
    n = N * 12
    return EventStore.from_frame(
        pd.DataFrame(
            {
                "subject_id": np.repeat(np.arange(N), 12),
                "time": INDEX
                - pd.to_timedelta(rng.uniform(1, 300, n), unit="D").floor("us"),
                "code": rng.choice(codes, n),
                "numeric_value": rng.normal(size=n),
            }
        )
    )


@pytest.fixture(scope="module")
def store() -> EventStore:
    return make_store(list(CODES.values()))


@pytest.fixture
def cohort() -> tuple[pd.DataFrame, np.ndarray]:
    rng = np.random.default_rng(1)
    X = pd.DataFrame({"subject_id": np.arange(N), "index_time": INDEX})
    X["age"], X["scan"] = rng.normal(60, 9, N), rng.normal(size=N)
    return X, np.arange(N) % 2


def test_each_domain_has_its_own_modality_and_codes(store, cohort):
    made = domain_modalities(store, demographics=["age"], min_subjects=1)
    assert [name for name, _, _ in made] == ["demographics", *DOMAINS]
    for name, encoder, columns in made[1:]:
        assert columns == ["subject_id", "index_time"]
        encoder.fit(cohort[0][columns])
        assert encoder.codes_ == [CODES[name]]
        names = " ".join(encoder.get_feature_names_out())
        assert ("__mean" in names) == (name in ("vitals", "labs"))
        assert encoder.windows == ("365d",)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("strategy", ["early", "late", "joint"])
def test_every_fusion_takes_them_beside_another_modality(store, cohort, strategy):
    X, y = cohort
    modalities = [
        *domain_modalities(store, demographics=["age"], min_subjects=1),
        ("image", StandardScaler(), ["scan"]),
    ]
    linear = LogisticRegression(max_iter=500)
    model = {
        "early": EarlyFusionClassifier(modalities, estimator=linear),
        "late": LateFusionClassifier(modalities),
        "joint": JointFusionClassifier(modalities, max_epochs=1, random_state=0),
    }[strategy]
    probabilities = model.fit(X, y).predict_proba(X)
    assert np.isfinite(probabilities).all()
    assert list(model.presence(X).columns) == [name for name, _, _ in modalities]


def test_demographics_are_those_of_the_events_unless_columns_are_named(cohort):
    X, y = cohort
    people = pd.DataFrame({"subject_id": np.arange(N), "code": "MEDS_BIRTH"})
    people["time"] = INDEX - pd.to_timedelta(365 * (20 + 40 * y), unit="D")
    labs = people.assign(code=CODES["labs"], time=INDEX - pd.Timedelta("9D"))
    store = EventStore.from_frame(pd.concat([people, labs]))
    only = {"labs": DOMAINS["labs"]}
    made = domain_modalities(store, domains=only, subject="subject_id")
    assert [name for name, _, _ in made] == ["demographics", "labs"]
    model = EarlyFusionClassifier(made, estimator=LogisticRegression()).fit(X, y)
    assert model.score(X, y) == 1
    for chosen, names in ((None, ["labs"]), (["age"], ["demographics", "labs"])):
        made = domain_modalities(store, demographics=chosen, domains=only)
        assert [name for name, _, _ in made] == names
    assert made[0][2] == ["age"]
    with pytest.raises(ValueError, match="demographics must be columns of the cohort"):
        domain_modalities(store, demographics="age")


def test_settings_reach_every_domain(store):
    made = domain_modalities(store, windows=("30d", None), aggs=("last",), gap="1h")
    for _, encoder, _ in made:
        assert (encoder.windows, encoder.aggs, encoder.gap) == (
            ("30d", None),
            ("last",),
            "1h",
        )


def test_domains_without_codes_are_named():
    store = make_store([CODES["labs"], CODES["vitals"]])
    with pytest.warns(
        UserWarning, match="without a code .*: inpatient_medication, outpatient_"
    ):
        made = domain_modalities(store)
    assert [name for name, _, _ in made] == ["vitals", "labs"]
    blood = domain_modalities(store, domains={"blood": "LAB//LOINC//718*"})
    assert [name for name, _, _ in blood] == ["blood"]
    with pytest.raises(
        ValueError, match="got 2 codes in the store, none of them of a domain"
    ):
        domain_modalities(store, demographics=["age"], domains={"notes": ("NOTE//*",)})


def test_codes_of_no_domain_are_counted_unless_domains_are_given(tmp_path):
    codes = ["LAB//a", "LAB//a", "ICU//MICU", "OUTPUT//urine", "OUTPUT//stool"]
    codes += ["GENDER//F", "MEDS_DEATH", "MEDS_BIRTH"]
    events = pd.DataFrame({"subject_id": 1, "code": codes})
    events["time"] = pd.Timestamp("2024-01-02 05:10")
    store = EventStore.from_frame(events, tmp_path / "store")
    with pytest.warns(UserWarning, match="domain_modalities") as caught:
        domain_modalities(store)
    texts = [str(one.message) for one in caught]
    assert len(texts) == 2
    assert "3 of 7 codes with 37.5% of the events are in no domain" in texts[0]
    assert "OUTPUT (2 events, 25.0%), ICU (1 events, 12.5%)" in texts[0]
    assert "FURTHER_DOMAINS has stays, outputs" in texts[0]
    domain_modalities(store, domains={"labs": ("LAB//*",)})


def settings(made, parameter):
    return {name: getattr(encoder, parameter) for name, encoder, _ in made}


def test_settings_by_domain(store):
    made = domain_modalities(
        store,
        demographics=None,
        windows={"labs": ("1d", "30d"), "*": (None,)},
        min_subjects={"labs": 0.1, "diagnoses": 3},
        aggs={"vitals": ("mean",), "procedures": ("count",)},
        aggs_by_prefix={"LAB//": ("last",)},
    )
    windows = dict.fromkeys(DOMAINS, (None,)) | {"labs": ("1d", "30d")}
    assert settings(made, "windows") == windows
    least = dict.fromkeys(DOMAINS, 10) | {"labs": 0.1, "diagnoses": 3}
    assert settings(made, "min_subjects") == least
    found = settings(made, "aggs")
    plain = settings(domain_modalities(store, demographics=None), "aggs")
    assert found == plain | {"vitals": ("mean",), "procedures": ("count",)}
    assert set(map(str, settings(made, "aggs_by_prefix").values())) == {
        "{'LAB//': ('last',)}"
    }


def test_domains_without_windows_of_their_own_have_the_default(store):
    made = domain_modalities(store, demographics=None, windows={"labs": ("1d",)})
    default = dict.fromkeys(DOMAINS, ("365d",))
    assert settings(made, "windows") == default | {"labs": ("1d",)}


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"windows": {"lab": ("1d",)}}, r"windows must be domains .* Did you mean"),
        ({"min_subjects": {"demographics": 3}}, "got 'demographics'"),
        ({"aggs": {"LAB//": ("mean",)}}, "The domains are vitals, labs"),
        ({"windows": {"labs": ("1d",)}, "domains": {"all": ("*",)}}, "got 'labs'"),
    ],
)
def test_settings_of_unknown_domains_are_refused(store, given, message):
    with pytest.raises(ValueError, match=message):
        domain_modalities(store, demographics=None, **given)


def test_settings_of_a_domain_without_codes_are_legal(tmp_path):
    events = pd.DataFrame({"subject_id": [1], "code": "LAB//a", "time": INDEX})
    store = EventStore.from_frame(events, tmp_path / "store")
    with pytest.warns(UserWarning, match="skipped domains without a code"):
        (labs,) = domain_modalities(store, windows={"vitals": ("1d",), "*": ("7d",)})
    assert labs[1].windows == ("7d",)


def test_further_domains_of_stays_and_outputs(tmp_path):
    codes = ["LAB//a", "ICU//MICU", "VISIT//EW", "OUTPUT//MIMIC//1", "CHART//MIMIC//2"]
    events = pd.DataFrame({"subject_id": 1, "code": codes, "time": INDEX})
    store = EventStore.from_frame(events, tmp_path / "store")
    with pytest.warns(UserWarning, match="skipped domains") as caught:
        made = domain_modalities(store, domains={**DOMAINS, **FURTHER_DOMAINS})
    assert len(caught) == 1
    assert list(settings(made, "aggs")) == ["labs", "stays", "outputs", "observations"]
    assert settings(made, "aggs")["stays"] == ("present", "count", "since_last")
    assert "mean" in settings(made, "aggs")["outputs"]
    own = domain_modalities(store, domains={"stays": ("ICU//*",)})
    assert "mean" in settings(own, "aggs")["stays"]  # as any custom domain
