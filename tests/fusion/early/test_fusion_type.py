"""Early fusion of type I or II: whether features are columns or were extracted."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from sklearn.compose import ColumnTransformer
from sklearn.decomposition import PCA
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.ensemble import RandomForestClassifier
from sklearn.feature_selection import RFE, SelectFromModel, VarianceThreshold
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, StandardScaler

from skfusion import EarlyFusionClassifier, EarlyFusionRegressor, TabularEncoder
from skfusion.feature_selection import GiniSelector, MRMRSelector
from skfusion.fusion import ModelFeatures
from skfusion.survival import EarlyFusionSurvival

FOREST = RandomForestClassifier(5, random_state=0)
ORIGINAL = [
    StandardScaler(),
    TabularEncoder(),
    VarianceThreshold(),
    GiniSelector(1),
    MRMRSelector(1),
    SelectFromModel(FOREST),
    RFE(FOREST),
    FunctionTransformer(),
    FunctionTransformer(np.exp, feature_names_out="one-to-one"),
    OneHotEncoder(handle_unknown="ignore"),
    make_pipeline(SimpleImputer(add_indicator=True), StandardScaler(), GiniSelector(1)),
    ColumnTransformer(
        [("first", StandardScaler(), ["proba"])], remainder="passthrough"
    ),
]
EXTRACTED = [
    PCA(1),
    LinearDiscriminantAnalysis(),
    ModelFeatures(LogisticRegression(), cv=2),  # named "proba_1", after no column
    make_pipeline(StandardScaler(), ModelFeatures(LogisticRegression(), cv=2)),
    make_pipeline(StandardScaler(), PCA(1)),
    FunctionTransformer(lambda X: X @ np.ones((2, 1))),  # names nothing
]


@pytest.fixture
def table():
    rng = np.random.default_rng(0)
    X = pd.DataFrame(rng.normal(size=(40, 3)), columns=["proba", "crp", "bmi"])
    X.loc[3, "proba"] = X["proba"].mean()
    return X, np.arange(40) % 2


def fitted_type(transformer, X, y):
    columns = list(X.columns)
    model = EarlyFusionClassifier(
        [("labs", transformer, columns[:2]), ("ehr", StandardScaler(), columns[2:])],
        estimator=LogisticRegression(),
    )
    return model.fit(X, y).fusion_type_


@pytest.mark.parametrize("transformer", ORIGINAL, ids=lambda t: type(t).__name__)
def test_original_features_are_type_i(transformer, table):
    assert fitted_type(transformer, *table) == "I"


@pytest.mark.parametrize("transformer", EXTRACTED, ids=lambda t: type(t).__name__)
def test_extracted_features_are_type_ii(transformer, table):
    assert fitted_type(transformer, *table) == "II"


def test_columns_without_names_are_judged_alike(table):
    X, y = table
    unnamed = X.set_axis([0, 1, 2], axis=1)
    assert fitted_type(StandardScaler(), unnamed, y) == "I"
    assert fitted_type(EXTRACTED[-1], unnamed, y) == "II"
    model = EarlyFusionClassifier(estimator=LogisticRegression())
    assert model.fit(X.to_numpy(), y).fusion_type_ == "I"


def test_embedded_images_are_type_ii(cohort, make):
    model = make(EarlyFusionClassifier).fit(cohort.X, cohort.y)
    assert model.fusion_type_ == "II"
    alone = make(EarlyFusionClassifier, modalities=cohort.modalities[1:])
    assert alone.fit(cohort.X, cohort.y).fusion_type_ == "I"


def test_the_other_tasks_say_it_too(table):
    X, y = table
    assert EarlyFusionRegressor().fit(X, X["crp"]).fusion_type_ == "I"
    times = np.array(
        [(True, time) for time in 1.0 + y], dtype=[("event", bool), ("time", float)]
    )
    assert EarlyFusionSurvival(cv=None).fit(X, times).fusion_type_ == "I"
