"""A search over a fusion model embeds each image once, whatever it tries."""

from __future__ import annotations

import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, StratifiedGroupKFold

from skfusion import EarlyFusionClassifier, EmbeddingStore, ImageEmbedder

GRID = {
    "estimator__C": [0.01, 1.0],
    "ehr__scale": [True, False],
}


@pytest.mark.parametrize("n_jobs", [1, 2])
@pytest.mark.long
def test_a_search_embeds_every_image_once_and_a_second_one_none(
    n_jobs, cohort, make, tmp_path
):
    folder = tmp_path / "store"
    embedder = ImageEmbedder(input_size=32, store=folder)
    model = make(
        EarlyFusionClassifier,
        modalities=[("cxr", embedder, "scan"), cohort.modalities[1]],
        estimator=LogisticRegression(max_iter=1000),
    )
    store = EmbeddingStore(folder)
    for _ in range(2):
        search = GridSearchCV(
            model, GRID, cv=StratifiedGroupKFold(5), scoring="roc_auc", n_jobs=n_jobs
        ).fit(cohort.X, cohort.y, groups=cohort.groups)
        assert len(search.cv_results_["params"]) == 4
        assert search.n_splits_ == 5
        assert store.info()["computed"] == len(cohort.y)


@pytest.mark.long
def test_another_backbone_is_another_set_of_embeddings(cohort, make, tmp_path):
    folder = tmp_path / "store"
    embedder = ImageEmbedder(input_size=32, store=folder)
    modalities = [("cxr", embedder, "scan"), cohort.modalities[1]]
    learner = LogisticRegression(max_iter=1000)
    model = make(EarlyFusionClassifier, modalities=modalities, estimator=learner)
    search = GridSearchCV(
        model,
        {"cxr__pooling": ["mean"], "cxr__input_size": [32, 48]},
        cv=StratifiedGroupKFold(3),
    ).fit(cohort.X, cohort.y, groups=cohort.groups)
    assert EmbeddingStore(folder).info()["computed"] == 2 * len(cohort.y)
    assert search.best_params_["cxr__input_size"] in (32, 48)
