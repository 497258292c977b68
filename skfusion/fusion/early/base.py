"""Base class of early fusion: joined features and one estimator."""

from __future__ import annotations

from collections.abc import Iterable
from copy import copy
from dataclasses import replace
from typing import Any

import numpy as np
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import FunctionTransformer
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted

from skfusion._dependencies import loaded
from skfusion._fitting.state import undone_on_failure
from skfusion.blocks import Blocks, ModalityBlocks, weighted_means
from skfusion.cohort import TrainingData
from skfusion.fusion.base import BaseFusion, with_transformers
from skfusion.fusion.early.absence_copies import (
    add_absence_copies,
    copy_weight,
    sources_of_copies,
    warn_of_held_out_copies,
)
from skfusion.fusion.early.block_scaling import Balance, check_balance
from skfusion.fusion.early.joins import (
    Concatenation,
    check_joined,
    make_join,
    stacked,
)
from skfusion.fusion.early.model_features import ModelFeatures
from skfusion.fusion.early.named_features import FeatureNames, reads_names
from skfusion.fusion.early_stopping import EarlyStopping, check_fraction
from skfusion.fusion.inner_estimators import (
    accepts_nan,
    check_transformers,
    default_learner,
    fit_on_target,
    scores_of,
    seed,
    seeded,
    takes_float32,
    warn_of_unstored_values,
    with_enough_columns,
)
from skfusion.modality import Modality

__all__ = ["BaseEarlyFusion", "early_fusion_type", "keeps_columns", "with_learner"]


def early_fusion_type(modalities: Iterable[Modality]) -> str:
    """Return ``"I"`` if only original features are joined, else ``"II"``.

    Fusion type I joins original features. Fusion type II joins extracted features:
    measurements by software or a network, components, or predicted probabilities of a
    model (Huang et al., npj Digital Medicine 3:136, 2020). One modality with extracted
    features makes it type II. `keeps_columns` classifies each modality. Features that
    were extracted before they became columns of `X` count as original.

    Parameters
    ----------
    modalities : iterable of Modality
        Modalities with fitted transformers.

    Returns
    -------
    {"I", "II"}
    """
    return "I" if all(keeps_columns(modality) for modality in modalities) else "II"


def keeps_columns(modality: Modality) -> bool:
    """Return whether the output features of a fitted transformer are input columns.

    This holds if the name of every feature contains the name of a column, possibly with
    a prefix or suffix. Scaled, imputed, selected and one-hot encoded columns have such
    names: ``age``, ``missingindicator_age``, ``sex_female``. Features with new names
    (``emb0``, ``pca3``) or without names are extracted, as are predictions of a model.

    Parameters
    ----------
    modality : Modality
        Modality with its fitted transformer.

    Returns
    -------
    bool

    Examples
    --------
    >>> import pandas as pd
    >>> from sklearn.decomposition import PCA
    >>> from sklearn.preprocessing import StandardScaler
    >>> from skfusion.fusion.early.base import keeps_columns
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
    except AttributeError:  # the transformer or a step of a Pipeline gives no names
        return False
    columns = list(modality.columns)
    if not all(isinstance(column, str) for column in columns):
        columns = [f"x{i}" for i in range(len(columns))]  # default names, scikit-learn
    return all(
        any(f"_{column}_" in f"_{feature}_" for column in columns)
        for feature in features
    )


def _predicts(step: Any) -> bool:
    if isinstance(
        step, loaded("sklearn.feature_selection", "SelectorMixin")
    ):  # some selectors also have `predict`
        return False
    return isinstance(step, ModelFeatures) or hasattr(step, "predict")


class BaseEarlyFusion(BaseFusion):
    """Base class of early fusion estimators, fitted on the joined features."""

    _DEFAULTED = ("estimator",)
    _RENAMED = {"modality_dropout": "absence_copies"}
    _task: str

    @undone_on_failure
    def fit(
        self, X: Any, y: Any, sample_weight: Any = None, groups: Any = None
    ) -> BaseEarlyFusion:
        """Fit the transformers, join their features and fit the estimator.

        Parameters
        ----------
        X : DataFrame or ndarray of shape (n_samples, n_columns)
            Cohort, one row per case.
        y : array-like of shape (n_samples,)
            The target.
        sample_weight : array-like of shape (n_samples,) or None, default=None
            Weights of the rows, passed to the estimator.
            Only their ratios count: they are scaled to a mean of 1 over the rows of
            weight above 0.
        groups : array-like of shape (n_samples,) or None, default=None
            Patient ids, which override the column named by the parameter `groups`.
            They are passed to the estimator if its `fit` accepts them.

        Returns
        -------
        self
            The fitted estimator.
        """
        join = make_join(self.join, self.join_params, type(self).__name__)
        check_balance(self.balance, type(self).__name__)
        check_fraction(self.validation_fraction, type(self).__name__)
        data = self._start_fit(X, y, sample_weight, groups)
        estimator = self._estimator_of("estimator")
        self._target.check_learner(estimator, type(self).__name__)
        check_transformers(self._modalities, type(self).__name__)
        for modality in self._modalities:
            warn_of_unstored_values(modality, type(self).__name__)
        rng = check_random_state(self.random_state)
        self._blocks = ModalityBlocks(seeded(self._modalities, rng), self.n_jobs)
        blocks = self._blocks.fit_transform(
            data.X,
            data.y,
            data.sample_weight,
            data.groups,
            presence=data.presence,
        )
        # Unreadable images count as absent, and only the transformers detect them.
        self._learned = np.array([bool(v.shape[1]) for v in blocks.arrays.values()])
        kept = self._usable_rows(blocks.presence, self._learned)
        self._log(
            "; ".join(f"{k}: {v.shape[1]} features" for k, v in blocks.arrays.items())
        )
        data = replace(data.rows(kept), presence=blocks.presence[kept])
        self._target.summarise(data.y, data.sample_weight)
        shown = self._augment(data, estimator, rng)
        sources = sources_of_copies(data.presence)[: len(shown.y)]
        varies = np.asarray(~shown.presence.all(axis=0)) & self._learned
        self._flagged = np.flatnonzero(varies)
        self._set_support(varies | ~self._learned)
        self._in_float32 = takes_float32(estimator)
        joined = self._fit_join(join, blocks.arrays, kept[sources], shown, rng)
        self._imputer = None
        if not accepts_nan(estimator):
            from sklearn.impute import SimpleImputer  # which imports all learners

            imputer = SimpleImputer(keep_empty_features=True)
            self._imputer = imputer.set_output(transform="default").fit(joined)
            if shown.sample_weight is not None:  # which the imputer does not take
                self._imputer.statistics_ = weighted_means(joined, shown.sample_weight)
            joined = self._imputed(joined)
        self.modalities_ = with_transformers(
            self._blocks.modalities_, lambda modality: modality.transformer
        )
        estimator = with_enough_columns(estimator, joined.shape[1], self._task)
        learner = self._target.adapt(self._name_features(seed(estimator, rng)))
        self.estimator_ = fit_on_target(
            learner,
            self._as_input(joined),
            shown.y,
            self._target,
            sample_weight=shown.sample_weight,
            groups=shown.groups,
            stopping=EarlyStopping.of(
                self.validation_fraction, [estimator], rng, type(self).__name__
            ),
            sources=sources,
        )
        self.fusion_type_ = early_fusion_type(self._blocks.modalities_)
        self._n_features_out = joined.shape[1]
        self._finish_fit(data, joined[: len(data.y)])
        return self

    def _name_features(self, estimator: Any) -> Any:
        """Choose whether the estimator gets a DataFrame, and return the estimator."""
        names = self.get_feature_names_out()
        self._feature_names = None
        if not reads_names(estimator, names, self):
            return estimator
        self._feature_names = FeatureNames(names, estimator)
        return self._feature_names.translate(estimator)

    def _as_input(self, joined: np.ndarray) -> Any:
        """Return joined features in the form that the estimator was fitted on."""
        names = self._feature_names
        return joined if names is None else names.frame(joined)

    def _fit_join(
        self,
        join: Any,
        arrays: dict[str, np.ndarray],
        sources: np.ndarray,
        data: TrainingData,
        rng: np.random.RandomState,
    ) -> np.ndarray:
        """Fit the balance and the join, and return the joined training rows.

        `sources` are the rows of the blocks of the training rows and of the copies.
        The blocks are removed from `arrays`.
        """
        names = self._blocks.feature_names_
        if not self._learned.any():
            names = {**names, self._modalities[0].name: np.array(["constant"])}
        self._is_stacked = self.balance is None and isinstance(join, Concatenation)
        if not self._is_stacked:
            arrays = {
                name: np.where(data.presence[:, [j]], block[sources], np.nan)
                for j, (name, block) in enumerate(arrays.items())
            }
            sources = np.arange(len(data.y))
        blocks = self._with_features(arrays, data.presence)
        self._balance = Balance(self.balance).fit(blocks, names, data.sample_weight)
        self.join_ = join.fit(
            self._balance.apply(blocks),
            data.y,
            names=self._balance.feature_names_,
            target=self._target,
            sample_weight=data.sample_weight,
            random_state=rng,
        )
        del blocks
        return self._join(arrays, data.presence, sources)

    def _augment(
        self, data: TrainingData, estimator: Any, rng: np.random.RandomState
    ) -> TrainingData:
        """Add the copies with absent modalities that `absence_copies` requests."""
        owner = type(self).__name__
        weight = copy_weight(self.absence_copies, estimator, owner=owner)
        if self.missing != "auto" or len(self._modalities) < 2 or weight == 0:
            return data
        warn_of_held_out_copies(estimator, data, owner=owner)
        return add_absence_copies(data, weight, estimator, rng)

    def _finish_fit(self, data: TrainingData, joined: np.ndarray) -> None:
        """Fit additional parts of a task, none by default."""

    def transform(self, X: Any) -> np.ndarray:
        """Return the joined features that are the input of the estimator.

        Parameters
        ----------
        X : DataFrame or ndarray of shape (n_samples, n_columns)
            Cohort, one row per case.

        Returns
        -------
        ndarray of shape (n_samples, n_features)
            Joined blocks (concatenated by default), then a 0/1 presence flag for each
            modality that was absent in some training row.
        """
        arrays, presence = self._encode(X)
        return self._joined(arrays, presence, in_float32=False)

    def get_feature_names_out(self, input_features: Any = None) -> np.ndarray:
        """Return the names of the joined features.

        Parameters
        ----------
        input_features : ignored
            Not used, because `fit` sets the names.

        Returns
        -------
        ndarray of str of shape (n_features,)
            ``modality__feature`` for concatenated blocks or ``joined0`` and so on for
            another join, then ``modality__present``.
        """
        check_is_fitted(self, "modalities_")
        flags = [f"{self._modalities[j].name}__present" for j in self._flagged]
        names = [*self.join_.get_feature_names_out(), *flags]
        return np.asarray(names, dtype=object)

    def encode_modalities(self, X: Any) -> dict[str, np.ndarray]:
        """Return the features of each modality, the expensive part of a prediction.

        Parameters
        ----------
        X : DataFrame or ndarray of shape (n_samples, n_columns)
            Cohort, one row per case.

        Returns
        -------
        dict of str to ndarray of shape (n_samples, n_features_m)
            One block per modality, with NaN in rows where the modality is absent.
        """
        return self._encode(X)[0]

    def predict_encoded(self, Z: dict[str, np.ndarray]) -> np.ndarray:
        """Predict from the blocks that `encode_modalities` returned.

        Parameters
        ----------
        Z : dict of str to ndarray of shape (n_samples, n_features_m)
            One block per modality, where an all-NaN row is an absent modality.

        Returns
        -------
        ndarray of shape (n_samples, n_classes) or (n_samples,)
            Result of ``predict_proba`` (classifier) or ``predict`` (regressor).
        """
        return self._scores(*self._read_encoded(Z))

    def estimator_input(self, X: Any) -> Any:
        """Return the joined features in the form that `estimator_` was fitted on.

        Parameters
        ----------
        X : DataFrame or ndarray of shape (n_samples, n_columns)
            Cohort, one row per case.

        Returns
        -------
        ndarray or DataFrame of shape (n_samples, n_features)
            A DataFrame if the parameters of the estimator contain names of features.
        """
        return self._as_input(self._joined(*self._encode(X)))

    def join_encoded(self, Z: dict[str, np.ndarray]) -> Any:
        """Return the joined features of the blocks that `encode_modalities` returns.

        Parameters
        ----------
        Z : dict of str to ndarray of shape (n_samples, n_features_m)
            One block per modality. A row of NaN is an absent modality.

        Returns
        -------
        ndarray or DataFrame of shape (n_samples, n_features)
            The input of `estimator_`, as returned by `estimator_input`.
        """
        return self._as_input(self._joined(*self._read_encoded(Z)))

    def joined_columns(self) -> dict[str, list[slice]] | None:
        """Return the joined features of each modality, if none belongs to several.

        Returns
        -------
        dict of str to list of slice, or None
            Positions of the features and of the presence flag in the input of
            `estimator_`. None unless ``join="concat"``.
        """
        check_is_fitted(self, "modalities_")
        if type(self.join_) is not Concatenation or not self._learned.any():
            return None
        columns: dict[str, list[slice]] = {}
        start = 0
        names = self._balance.feature_names_
        for modality, has in zip(self._modalities, self._learned, strict=True):
            width = len(names[modality.name]) if has else 0
            columns[modality.name] = [slice(start, start + width)]
            start += width
        for place, j in enumerate(self._flagged, start=start):
            columns[self._modalities[j].name].append(slice(place, place + 1))
        return columns

    def joined_matrix(self, Z: dict[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        """Return what `predict_joined` predicts from, of encoded modalities.

        Parameters
        ----------
        Z : dict of str to ndarray of shape (n_samples, n_features_m)
            One block per modality. A row of NaN is an absent modality.

        Returns
        -------
        matrix : ndarray of shape (n_samples, n_features)
            The joined features, imputed if the estimator does not support NaN.
        presence : ndarray of bool of shape (n_samples, M)
            Whether each modality is present.
        """
        arrays, presence = self._read_encoded(Z)
        return self._joined(arrays, presence), presence

    def predict_joined(self, matrix: np.ndarray, presence: np.ndarray) -> np.ndarray:
        """Predict from joined features.

        Parameters
        ----------
        matrix : ndarray of shape (n_samples, n_features)
            Rows of `joined_matrix`, or rows whose modalities are from several of them.
        presence : ndarray of bool of shape (n_samples, M)
            Whether each modality is present.

        Returns
        -------
        ndarray of shape (n_samples, n_classes) or (n_samples,)
            Result of ``predict_proba`` (classifier) or ``predict`` (regressor).
        """
        return self._scores_of_joined(matrix, self._check_predictable(presence))

    def _read_encoded(
        self, Z: dict[str, np.ndarray]
    ) -> tuple[dict[str, np.ndarray], np.ndarray]:
        check_is_fitted(self, "modalities_")
        arrays = {name: np.asarray(Z[name]) for name in self._blocks.feature_names_}
        absent = [np.isnan(block).all(axis=1) for block in arrays.values()]
        return arrays, ~np.column_stack(absent)

    def _encode(self, X: Any) -> tuple[dict[str, np.ndarray], np.ndarray]:
        cohort = self._read_cohort(X)
        blocks = self._blocks.transform(cohort)
        self._warn_untrained(blocks.presence)
        return blocks.arrays, blocks.presence

    def _scores(
        self, arrays: dict[str, np.ndarray], presence: np.ndarray
    ) -> np.ndarray:
        nothing = self._check_predictable(presence)
        return self._scores_of_joined(self._joined(arrays, presence), nothing)

    def _scores_of_joined(self, joined: np.ndarray, nothing: np.ndarray) -> np.ndarray:
        """Return the predictions, which are the fallback in rows with no modality."""
        scores = scores_of(self.estimator_, self._as_input(joined), self._target)
        scores[nothing] = self._target.fallback
        return self._target.result(scores)

    def _joined(
        self,
        arrays: dict[str, np.ndarray],
        presence: np.ndarray,
        in_float32: bool | None = None,
    ) -> np.ndarray:
        joined = self._join(arrays, presence, in_float32=in_float32)
        return self._imputed(joined)

    def _imputed(self, joined: np.ndarray) -> np.ndarray:
        """Fill missing values if the learner does not take them."""
        imputer = self._imputer
        if imputer is None:
            return joined
        with np.errstate(over="ignore", invalid="ignore"):
            # Most matrices have none, which one pass tells.
            if joined.dtype.kind == "f" and np.isfinite(joined.sum()):
                return joined
        filled: np.ndarray = imputer.transform(joined)
        return filled

    def _with_features(
        self, arrays: dict[str, np.ndarray], presence: np.ndarray
    ) -> Blocks:
        """Return the blocks of the modalities of which something was learned."""
        if not self._learned.any():  # Estimators need a feature.
            constant = {self._modalities[0].name: np.zeros((len(presence), 1))}
            return Blocks(constant, presence[:, :1])
        known = zip(arrays.items(), self._learned, strict=True)
        return Blocks(
            {name: block for (name, block), has in known if has},
            presence[:, self._learned],
        )

    def _join(
        self,
        arrays: dict[str, np.ndarray],
        presence: np.ndarray,
        sources: np.ndarray | None = None,
        in_float32: bool | None = None,
    ) -> np.ndarray:
        """Join the blocks, which are removed from `arrays` if they are concatenated.

        `sources` are the rows of the blocks, all of them by default. The matrix is
        float32 by default if the estimator rounds its input to it.
        """
        if self._is_stacked and self._learned.any():
            learned = [
                name for name, has in zip(arrays, self._learned, strict=True) if has
            ]
            parts = {name: arrays.pop(name) for name in learned}
            arrays.clear()
            return stacked(
                parts,
                np.arange(len(presence)) if sources is None else sources,
                presence[:, self._learned],
                presence[:, self._flagged],
                in_float32=self._in_float32 if in_float32 is None else in_float32,
                names=self._blocks.feature_names_,
            )
        blocks = self._balance.apply(self._with_features(arrays, presence))
        joined = check_joined(
            self.join_.transform(blocks), len(presence), self.join_, type(self).__name__
        )
        return np.hstack([joined, presence[:, self._flagged]])

    def _default_of(self, name: str) -> Any:
        return default_learner(self._task)


def with_learner(fusion: BaseEarlyFusion, learner: Any) -> BaseEarlyFusion:
    """Return a copy of a fitted early fusion whose `predict_joined` asks a learner.

    Parameters
    ----------
    fusion : BaseEarlyFusion
        A fitted early fusion.
    learner : estimator
        Fitted learner, which receives the matrix of `predict_joined` as it is.

    Returns
    -------
    BaseEarlyFusion
        A shallow copy.
    """
    other = copy(fusion)
    other.estimator_ = learner
    other._feature_names = None
    return other
