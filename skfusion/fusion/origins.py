"""Fitted transformers in; the type of early fusion out, in the words of the review."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from sklearn.feature_selection import SelectorMixin
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import FunctionTransformer

from skfusion.fusion.model_features import ModelFeatures
from skfusion.modality import Modality

__all__ = ["early_fusion_type", "keeps_columns"]


def early_fusion_type(modalities: Iterable[Modality]) -> str:
    """Return ``"I"`` where only original features are joined, else ``"II"``.

    Type I joins original features; type II extracted ones: measured by software or by
    a network, reduced to components, or a model's predicted probabilities (Huang et
    al., npj Digital Medicine 3:136, 2020). One modality with extracted features makes
    it type II. `keeps_columns` says how a modality is judged; what was measured before
    it became a column of the table cannot be known, and counts as original.

    Parameters
    ----------
    modalities : iterable of Modality
        With their fitted transformers.

    Returns
    -------
    {"I", "II"}
    """
    return "I" if all(keeps_columns(modality) for modality in modalities) else "II"


def keeps_columns(modality: Modality) -> bool:
    """Tell whether a fitted transformer hands on the columns that it was given.

    It does where every feature bears the name of a column, alone or with something
    before or after it, as scaled, filled, chosen and one-hot encoded columns do:
    ``age``, ``missingindicator_age``, ``sex_female``. Features with names of their own
    (``emb0``, ``pca3``) or none are extracted, and so is whatever a model predicts.

    Parameters
    ----------
    modality : Modality
        With its fitted transformer.

    Returns
    -------
    bool

    Examples
    --------
    >>> import pandas as pd
    >>> from sklearn.decomposition import PCA
    >>> from sklearn.preprocessing import StandardScaler
    >>> from skfusion.fusion.origins import keeps_columns
    >>> from skfusion.modality import Modality
    >>> X = pd.DataFrame({"age": [40.0, 60.0], "bmi": [20.0, 30.0]})
    >>> [keeps_columns(Modality("ehr", transformer.fit(X), ("age", "bmi")))
    ...  for transformer in (StandardScaler(), PCA(1))]
    [True, False]
    """
    transformer = modality.transformer
    steps = [transformer]
    if isinstance(transformer, Pipeline):
        steps = [step for _, step in transformer.steps]
    if any(_predicts(step) for step in steps):
        return False
    if isinstance(transformer, FunctionTransformer) and transformer.func is None:
        return True
    try:
        features = transformer.get_feature_names_out()
    except AttributeError:  # it, or a step of a Pipeline, names nothing
        return False
    columns = list(modality.columns)
    if not all(isinstance(column, str) for column in columns):
        columns = [f"x{i}" for i in range(len(columns))]  # as scikit-learn names them
    return all(
        any(f"_{column}_" in f"_{feature}_" for column in columns)
        for feature in features
    )


def _predicts(step: Any) -> bool:
    if isinstance(step, SelectorMixin):  # some can predict too, but choose columns
        return False
    return isinstance(step, ModelFeatures) or hasattr(step, "predict")
