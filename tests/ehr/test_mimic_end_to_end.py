"""Death in hospital from what was known 24 hours after admission, on real MIMIC-IV."""

from __future__ import annotations

import warnings

import numpy as np
import pandas as pd
import pytest
from sklearn.model_selection import StratifiedGroupKFold, cross_val_score

from skfusion import EarlyFusionClassifier, EventStore, LateFusionClassifier
from skfusion.ehr import LeakageAudit, domain_modalities


@pytest.fixture(scope="module")
def study(request, tmp_path_factory):
    folder = request.getfixturevalue("skfusion_data") / "ehr" / "mimic4_demo"
    if not folder.is_dir():
        pytest.skip("SKFUSION_DATA has no ehr/mimic4_demo")
    path = tmp_path_factory.mktemp("mimic") / "store"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what is left out is tested by the readers
        store = EventStore.from_mimic(folder, path=path)
    times = ["admittime", "dischtime"]
    stays = pd.read_csv(folder / "hosp" / "admissions.csv.gz", parse_dates=times)
    stays["index_time"] = stays["admittime"] + pd.Timedelta("24h")
    stays = stays[stays["dischtime"] > stays["index_time"]].reset_index(drop=True)
    died = stays["hospital_expire_flag"].to_numpy()
    return store, stays[["subject_id", "index_time"]], died


@pytest.mark.filterwarnings("ignore::UserWarning")  # rare codes and domains of a fold
@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # of scaling an empty column
@pytest.mark.parametrize("strategy", [EarlyFusionClassifier, LateFusionClassifier])
@pytest.mark.slow
def test_the_default_domains_are_cross_validated(study, strategy):
    store, X, died = study
    assert (len(X), died.sum()) == (245, 14)
    model = strategy(domain_modalities(store), groups="subject_id", random_state=0)
    scores = cross_val_score(
        model,
        X,
        died,
        groups=X["subject_id"],
        cv=StratifiedGroupKFold(3),
        scoring="roc_auc",
        error_score="raise",
    )
    assert np.isfinite(scores).all()
    assert scores.mean() > 0.6
    model.fit(X, died)
    probability = model.predict_proba(X[:1])[:, 1]  # one patient
    assert 0 <= probability[0] <= 1


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_the_features_are_audited(study):
    store, X, died = study
    model = EarlyFusionClassifier(
        domain_modalities(store), groups="subject_id", random_state=0
    )
    audit = LeakageAudit(n_rows=40, random_state=0).run(model, X, died)
    assert audit.passed
