"""Joint fusion estimators for classification, regression and survival analysis."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from scipy.optimize import minimize
from scipy.special import expit, log_expit, softmax
from sklearn.base import ClassifierMixin, RegressorMixin
from torch import Tensor

from skfusion.cohort import TrainingData
from skfusion.fusion.joint.base import BaseJointFusion
from skfusion.fusion.joint.data import NetInputs
from skfusion.fusion.joint.network import JointNetwork
from skfusion.fusion.losses import hazard_loss
from skfusion.fusion.survival import SurvivalFusion, as_functions, check_times
from skfusion.fusion.targets import ClassifierTarget, RegressorTarget

__all__ = ["JointFusionClassifier", "JointFusionRegressor", "JointFusionSurvival"]


class JointFusionClassifier(ClassifierTarget, ClassifierMixin, BaseJointFusion):
    """Joint fusion classifier, one network with jointly trained encoders.

    Each modality has an encoder. The representations are joined, and a head predicts
    from the joined vector. The loss is propagated back into every encoder, which
    distinguishes joint fusion from early fusion [1]_. For images the encoder is the
    backbone of their `ImageEmbedder`, trained from a chosen depth. For other data it
    is a layer on the features of the transformer.

    Parameters
    ----------
    modalities : list of (str, transformer, columns) or "auto", default="auto"
        Modalities as triples, in the form of `ColumnTransformer`, with integers as
        positions of columns. ``"passthrough"`` uses numeric columns as they are, and
        ``"drop"`` leaves a modality out. With ``"auto"``, each column of images or
        vectors is one modality and all other columns are one EHR modality.
    join : str, nested tuple of str or callable, default="concat"
        Join of the representations. ``"concat"`` concatenates them, ``"sum"`` adds
        them. ``"gated"`` is a gated multimodal unit. ``"low_rank"`` forms products of
        features across modalities (bilinear for two). ``"film"`` scales and shifts one
        modality by the others. ``"attention"`` applies transformer layers to one token
        per modality. Nested modality names define a gradual join, inner groups first:
        ``(("ct", "cxr"), ("labs", "vitals"), "notes")``. A callable ``(n_modalities,
        width) -> torch.nn.Module`` creates a custom join, from representations (B, M,
        D) and presence (B, M) to (B, J). See `skfusion.fusion.joint.joins`.
    join_params : dict or None, default=None
        Options of the join. ``"low_rank"`` has ``rank`` (4). ``"film"`` has
        ``conditioned`` (the first modality with a network, else the first) and
        ``bottleneck`` (half the width). ``"attention"`` has ``heads`` (4) and
        ``layers`` (1). ``"concat"`` has ``replicate`` (1), the number of copies of
        features without an encoder. A callable receives them as keyword arguments.
    encoders : {"all", "networks"} or list of str, default="all"
        Modalities with a trained encoder: all but ``"passthrough"`` (joint fusion type
        I), those with a network (an `ImageEmbedder` or a `TorchEncoder`), or the named
        ones. The features of the others enter the join standardised but without an
        encoder (type II), which only ``"concat"`` supports.
    hidden_dims : tuple of int, default=(64, 32)
        Width of each representation, followed by those of the head's hidden layers.
    dropout : float, default=0.2
        Fraction of the features that are dropped before each layer in training.
    modality_dropout : float, default=0.1
        Fraction of the present modalities that are dropped in training, so that the
        tokens for absent modalities are learned. One modality always stays.
    loss : {"auto", "cross_entropy", "focal"} or callable, default="auto"
        Loss of the task. ``"auto"`` is the cross-entropy (of each label for several
        labels). A callable ``(outputs, target)`` returns one value per row.
    loss_params : dict or None, default=None
        Options of the loss: ``gamma`` (2.0) of ``"focal"``.
    auxiliary_loss : float, default=0.0
        Weight of the sum of the single-modality losses, which is added to the loss
        [2]_. Above 0, each modality also predicts alone, with a layer on its
        representation. Its loss is computed over the rows with the modality.
        `predict_modalities` returns these predictions.
    auxiliary_target : str, int or None, default=None
        Column of an auxiliary target, predicted from the joined representation [3]_.
        It is not a feature and is only needed in `fit`. Rows without a value do not
        contribute to its loss. Text, booleans and numbers with two distinct values are
        classes. Other numbers are regression targets.
    class_weight : dict, "balanced" or None, default=None
        Weights of the classes in the loss by label. Classes that a dict omits have
        weight 1. ``"balanced"`` weights each class by the inverse of its share of the
        sample weights.
    max_epochs : int, default=50
        Maximum number of passes over the training rows.
    batch_size : int, default=32
        Number of rows per batch. With unequal weights, e.g. of a rare class, each
        optimisation step averages the gradients of several batches. It then is as
        precise as one batch of rows of equal weight, if ten steps or more remain in an
        epoch.
    lr : float, default=3e-3
        Learning rate of AdamW.
    training : TrainingSettings or None, default=None
        Settings of the training that rarely need to change, such as the patience of
        early stopping, the schedule of the learning rate, augmentation and callbacks.
        None is ``TrainingSettings()``. They can be set by name,
        e.g. ``training__patience``.
    device : str, default="auto"
        Torch device. ``"auto"`` selects CUDA, then MPS, then the CPU.
    missing : {"auto", "error", "complete_case"}, default="auto"
        Treatment of an absent modality. ``"auto"`` uses a learned token. ``"error"``
        raises an error. ``"complete_case"`` drops its row in `fit` with a warning and
        raises an error in prediction.
    groups : str, int or None, default=None
        Name or position of the column with patient ids, which is not a feature.
    n_jobs : int or None, default=None
        Number of modalities whose transformers are fitted in parallel with joblib. The
        number of torch threads is ``training__n_threads``.
    random_state : int, RandomState or None, default=None
        Seed of the initial weights, dropout, batches and the validation split.
    verbose : int, default=0
        If positive, print one line per epoch.

    Attributes
    ----------
    fusion_type_ : {"I", "II"}
        Joint fusion type I if every modality has a trained encoder, else type II.
    modalities_ : list of (str, fitted transformer, columns)
        The modalities used, including inferred ones.
    network_ : torch.nn.Module
        The trained network, on the CPU and in evaluation mode.
    history_ : list of dict
        Losses and duration (s) of each epoch, and values recorded by callbacks.
    n_epochs_ : int
        Number of epochs trained.
    callbacks_ : list of (str, skorch callback)
        Copies of the callbacks of `training` that were used in `fit`.
    classes_ : ndarray of shape (n_classes,)
        The class labels.
    supports_missing_ : dict of str to bool
        Whether the model was trained with the modality absent. This requires
        ``missing="auto"`` and training rows in which it was absent or dropped.
    n_features_in_ : int
        Number of columns of `X` in `fit`, including those that no modality uses.
    feature_names_in_ : ndarray of str of shape (n_features_in_,)
        Names of these columns, if all are strings.

    See Also
    --------
    EarlyFusionClassifier : One model on the joined features.
    LateFusionClassifier : One model per modality with combined predictions.

    Notes
    -----
    Without images all computations use float64. The outputs of the frozen trunk of a
    backbone are kept in the embedder's store. They are shared by folds, candidates of
    a search and epochs.

    References
    ----------
    .. [1] Huang S-C et al. (2020). Fusion of medical imaging and electronic health
       records using deep learning. npj Digital Medicine 3:136.
    .. [2] Kawahara J et al. (2019). Seven-point checklist and skin lesion
       classification using multitask multimodal neural nets. IEEE J Biomed Health
       Inform 23:538-546.
    .. [3] Spasov S et al. (2019). A parameter-efficient deep learning approach to
       predict conversion from mild cognitive impairment to Alzheimer's disease.
       NeuroImage 189:276-287.

    Examples
    --------
    >>> from sklearn.preprocessing import StandardScaler
    >>> from skfusion import JointFusionClassifier
    >>> from skfusion.datasets import make_fusion_cohort
    >>> cohort = make_fusion_cohort(n_samples=400, random_state=0)
    >>> model = JointFusionClassifier(
    ...     [("image", StandardScaler(), cohort.image_columns),
    ...      ("ehr", StandardScaler(), cohort.ehr_columns)],
    ...     max_epochs=5, random_state=0,
    ... ).fit(cohort.data, cohort.target)
    >>> model.transform(cohort.data).shape
    (400, 128)
    """

    __module__ = "skfusion.fusion"

    def __init__(
        self,
        modalities: Any = "auto",
        *,
        join: Any = "concat",
        join_params: Any = None,
        encoders: Any = "all",
        hidden_dims: Any = (64, 32),
        dropout: float = 0.2,
        modality_dropout: float = 0.1,
        loss: Any = "auto",
        loss_params: Any = None,
        auxiliary_loss: float = 0.0,
        auxiliary_target: Any = None,
        class_weight: Any = None,
        max_epochs: int = 50,
        batch_size: int = 32,
        lr: float = 3e-3,
        training: Any = None,
        device: str = "auto",
        missing: str = "auto",
        groups: str | None = None,
        n_jobs: int | None = None,
        random_state: Any = None,
        verbose: int = 0,
    ) -> None:
        self.modalities = modalities
        self.join = join
        self.join_params = join_params
        self.encoders = encoders
        self.hidden_dims = hidden_dims
        self.dropout = dropout
        self.modality_dropout = modality_dropout
        self.loss = loss
        self.loss_params = loss_params
        self.auxiliary_loss = auxiliary_loss
        self.auxiliary_target = auxiliary_target
        self.class_weight = class_weight
        self.max_epochs = max_epochs
        self.batch_size = batch_size
        self.lr = lr
        self.training = training
        self.device = device
        self.missing = missing
        self.groups = groups
        self.n_jobs = n_jobs
        self.random_state = random_state
        self.verbose = verbose

    def predict_proba(self, X: Any) -> np.ndarray:
        """Predict the probability of each class.

        Parameters
        ----------
        X : DataFrame or ndarray of shape (n_samples, n_columns)
            Cohort, one row per case. Modalities may be absent.

        Returns
        -------
        ndarray of float64 of shape (n_samples, n_classes)
        """
        return self._finish(*self._outputs(X))

    def predict(self, X: Any) -> np.ndarray:
        """Predict the class of each case.

        Parameters
        ----------
        X : DataFrame or ndarray of shape (n_samples, n_columns)
            Cohort, one row per case. Modalities may be absent.

        Returns
        -------
        ndarray of shape (n_samples,)
        """
        proba = self.predict_proba(X)
        return self._target.decide(proba)

    def decision_function(self, X: Any) -> np.ndarray:
        """Compute the logits of the predicted probabilities.

        Parameters
        ----------
        X : DataFrame or ndarray of shape (n_samples, n_columns)
            Cohort, one row per case. Modalities may be absent.

        Returns
        -------
        ndarray of float64 of shape (n_samples,) or (n_samples, n_classes)
            Log-odds of the second of two classes. Log-probabilities of three or more
            classes, in the order of `classes_`. Log-odds of each of several labels.
        """
        proba = self.predict_proba(X)
        return self._target.logits(proba)

    def _network_target(self, y: np.ndarray, weight: np.ndarray) -> np.ndarray:
        return y.astype(np.int64)

    def _from_network(self, outputs: np.ndarray) -> np.ndarray:
        return expit(outputs) if self._target.kind == "labels" else softmax(outputs, 1)


class JointFusionRegressor(RegressorTarget, RegressorMixin, BaseJointFusion):
    """Joint fusion regressor, one network with jointly trained encoders.

    Each modality has an encoder. The representations are joined, and a head predicts
    from the joined vector. The loss is propagated back into every encoder, which
    distinguishes joint fusion from early fusion [1]_. For images the encoder is the
    backbone of their `ImageEmbedder`, trained from a chosen depth. For other data it
    is a layer on the features of the transformer.

    Parameters
    ----------
    modalities : list of (str, transformer, columns) or "auto", default="auto"
        Modalities as triples, in the form of `ColumnTransformer`, with integers as
        positions of columns. ``"passthrough"`` uses numeric columns as they are, and
        ``"drop"`` leaves a modality out. With ``"auto"``, each column of images or
        vectors is one modality and all other columns are one EHR modality.
    join : str, nested tuple of str or callable, default="concat"
        Join of the representations. ``"concat"`` concatenates them, ``"sum"`` adds
        them. ``"gated"`` is a gated multimodal unit. ``"low_rank"`` forms products of
        features across modalities (bilinear for two). ``"film"`` scales and shifts one
        modality by the others. ``"attention"`` applies transformer layers to one token
        per modality. Nested modality names define a gradual join, inner groups first:
        ``(("ct", "cxr"), ("labs", "vitals"), "notes")``. A callable ``(n_modalities,
        width) -> torch.nn.Module`` creates a custom join, from representations (B, M,
        D) and presence (B, M) to (B, J). See `skfusion.fusion.joint.joins`.
    join_params : dict or None, default=None
        Options of the join. ``"low_rank"`` has ``rank`` (4). ``"film"`` has
        ``conditioned`` (the first modality with a network, else the first) and
        ``bottleneck`` (half the width). ``"attention"`` has ``heads`` (4) and
        ``layers`` (1). ``"concat"`` has ``replicate`` (1), the number of copies of
        features without an encoder. A callable receives them as keyword arguments.
    encoders : {"all", "networks"} or list of str, default="all"
        Modalities with a trained encoder: all but ``"passthrough"`` (joint fusion type
        I), those with a network (an `ImageEmbedder` or a `TorchEncoder`), or the named
        ones. The features of the others enter the join standardised but without an
        encoder (type II), which only ``"concat"`` supports.
    hidden_dims : tuple of int, default=(64, 32)
        Width of each representation, followed by those of the head's hidden layers.
    dropout : float, default=0.2
        Fraction of the features that are dropped before each layer in training.
    modality_dropout : float, default=0.1
        Fraction of the present modalities that are dropped in training, so that the
        tokens for absent modalities are learned. One modality always stays.
    loss : {"auto", "squared_error", "huber"} or callable, default="auto"
        Loss on the standardised target. ``"auto"`` is the squared error. A callable
        ``(outputs, target)`` returns one value per row.
    loss_params : dict or None, default=None
        Options of the loss: ``delta`` (1.0) of ``"huber"``, in standard deviations.
    auxiliary_loss : float, default=0.0
        Weight of the sum of the single-modality losses, which is added to the loss
        [2]_. Above 0, each modality also predicts alone, with a layer on its
        representation. Its loss is computed over the rows with the modality.
        `predict_modalities` returns these predictions.
    auxiliary_target : str, int or None, default=None
        Column of an auxiliary target, predicted from the joined representation [3]_.
        It is not a feature and is only needed in `fit`. Rows without a value do not
        contribute to its loss. Text, booleans and numbers with two distinct values are
        classes. Other numbers are regression targets.
    max_epochs : int, default=50
        Maximum number of passes over the training rows.
    batch_size : int, default=32
        Number of rows per batch. With unequal weights, e.g. of a rare class, each
        optimisation step averages the gradients of several batches. It then is as
        precise as one batch of rows of equal weight, if ten steps or more remain in an
        epoch.
    lr : float, default=3e-3
        Learning rate of AdamW.
    training : TrainingSettings or None, default=None
        Settings of the training that rarely need to change, such as the patience of
        early stopping, the schedule of the learning rate, augmentation and callbacks.
        None is ``TrainingSettings()``. They can be set by name,
        e.g. ``training__patience``.
    device : str, default="auto"
        Torch device. ``"auto"`` selects CUDA, then MPS, then the CPU.
    missing : {"auto", "error", "complete_case"}, default="auto"
        Treatment of an absent modality. ``"auto"`` uses a learned token. ``"error"``
        raises an error. ``"complete_case"`` drops its row in `fit` with a warning and
        raises an error in prediction.
    groups : str, int or None, default=None
        Name or position of the column with patient ids, which is not a feature.
    n_jobs : int or None, default=None
        Number of modalities whose transformers are fitted in parallel with joblib. The
        number of torch threads is ``training__n_threads``.
    random_state : int, RandomState or None, default=None
        Seed of the initial weights, dropout, batches and the validation split.
    verbose : int, default=0
        If positive, print one line per epoch.

    Attributes
    ----------
    fusion_type_ : {"I", "II"}
        Joint fusion type I if every modality has a trained encoder, else type II.
    modalities_ : list of (str, fitted transformer, columns)
        The modalities used, including inferred ones.
    network_ : torch.nn.Module
        The trained network, on the CPU and in evaluation mode.
    history_ : list of dict
        Losses and duration (s) of each epoch, and values recorded by callbacks.
    n_epochs_ : int
        Number of epochs trained.
    callbacks_ : list of (str, skorch callback)
        Copies of the callbacks of `training` that were used in `fit`.
    supports_missing_ : dict of str to bool
        Whether the model was trained with the modality absent. This requires
        ``missing="auto"`` and training rows in which it was absent or dropped.
    n_features_in_ : int
        Number of columns of `X` in `fit`, including those that no modality uses.
    feature_names_in_ : ndarray of str of shape (n_features_in_,)
        Names of these columns, if all are strings.

    See Also
    --------
    EarlyFusionRegressor : One model on the joined features.
    LateFusionRegressor : One model per modality with combined predictions.

    Notes
    -----
    Without images all computations use float64. The outputs of the frozen trunk of a
    backbone are kept in the embedder's store. They are shared by folds, candidates of
    a search and epochs.

    References
    ----------
    .. [1] Huang S-C et al. (2020). Fusion of medical imaging and electronic health
       records using deep learning. npj Digital Medicine 3:136.
    .. [2] Kawahara J et al. (2019). Seven-point checklist and skin lesion
       classification using multitask multimodal neural nets. IEEE J Biomed Health
       Inform 23:538-546.
    .. [3] Spasov S et al. (2019). A parameter-efficient deep learning approach to
       predict conversion from mild cognitive impairment to Alzheimer's disease.
       NeuroImage 189:276-287.

    Examples
    --------
    >>> import numpy as np
    >>> from skfusion import JointFusionRegressor
    >>> X = np.random.default_rng(0).normal(size=(200, 4))
    >>> model = JointFusionRegressor(random_state=0).fit(X, X[:, 0] - X[:, 3])
    >>> model.score(X, X[:, 0] - X[:, 3]) > 0.9
    True
    """

    __module__ = "skfusion.fusion"

    def __init__(
        self,
        modalities: Any = "auto",
        *,
        join: Any = "concat",
        join_params: Any = None,
        encoders: Any = "all",
        hidden_dims: Any = (64, 32),
        dropout: float = 0.2,
        modality_dropout: float = 0.1,
        loss: Any = "auto",
        loss_params: Any = None,
        auxiliary_loss: float = 0.0,
        auxiliary_target: Any = None,
        max_epochs: int = 50,
        batch_size: int = 32,
        lr: float = 3e-3,
        training: Any = None,
        device: str = "auto",
        missing: str = "auto",
        groups: str | None = None,
        n_jobs: int | None = None,
        random_state: Any = None,
        verbose: int = 0,
    ) -> None:
        self.modalities = modalities
        self.join = join
        self.join_params = join_params
        self.encoders = encoders
        self.hidden_dims = hidden_dims
        self.dropout = dropout
        self.modality_dropout = modality_dropout
        self.loss = loss
        self.loss_params = loss_params
        self.auxiliary_loss = auxiliary_loss
        self.auxiliary_target = auxiliary_target
        self.max_epochs = max_epochs
        self.batch_size = batch_size
        self.lr = lr
        self.training = training
        self.device = device
        self.missing = missing
        self.groups = groups
        self.n_jobs = n_jobs
        self.random_state = random_state
        self.verbose = verbose

    def predict(self, X: Any) -> np.ndarray:
        """Predict the target of each case.

        Parameters
        ----------
        X : DataFrame or ndarray of shape (n_samples, n_columns)
            Cohort, one row per case. Modalities may be absent.

        Returns
        -------
        ndarray of float64 of shape (n_samples,)
        """
        return self._finish(*self._outputs(X))

    def score_outputs(self, outputs: Tensor) -> Tensor:
        """Return the outputs of the network in the unit of the target.

        Parameters
        ----------
        outputs : Tensor of shape (n_rows, n_outputs)
            Outputs of `network_`, in float64.

        Returns
        -------
        Tensor of shape (n_rows, n_outputs)
        """
        spread, centre = (
            torch.from_numpy(np.asarray(value, np.float64))
            for value in (self._spread, self._center)
        )
        return outputs * spread + centre

    def _network_target(self, y: np.ndarray, weight: np.ndarray) -> np.ndarray:
        # The size of the squared error must not depend on the unit of the target.
        values = y.reshape(len(y), -1)
        self._center = np.average(values, axis=0, weights=weight)
        spread = np.sqrt(
            np.average((values - self._center) ** 2, axis=0, weights=weight)
        )
        self._spread = np.where(spread > 0, spread, 1.0)
        return ((values - self._center) / self._spread).astype(self._dtype)

    def _from_network(self, outputs: np.ndarray) -> np.ndarray:
        return outputs * self._spread + self._center


# With fewer events among the held-out rows, Cox's model of the risks is unreliable.
FEWEST_EVENTS = 10
# Standard deviation of the prior of the factor of the outputs, and its limits.
PRIOR_OF_SLOPE, SLOPES = 1.0, (0.1, 10.0)


class JointFusionSurvival(SurvivalFusion, BaseJointFusion):
    """Joint fusion survival model, one network with jointly trained encoders.

    The target of this joint fusion [1]_ is a censored time to an event. `predict`
    returns a risk, which is greater if the event is expected sooner.

    Parameters
    ----------
    modalities : list of (str, transformer, columns) or "auto", default="auto"
        Modalities as triples, in the form of `ColumnTransformer`, with integers as
        positions of columns. ``"passthrough"`` uses numeric columns as they are, and
        ``"drop"`` leaves a modality out. With ``"auto"``, each column of images or
        vectors is one modality and all other columns are one EHR modality.
    join : str, nested tuple of str or callable, default="concat"
        Join of the representations. ``"concat"`` concatenates them, ``"sum"`` adds
        them. ``"gated"`` is a gated multimodal unit. ``"low_rank"`` forms products of
        features across modalities (bilinear for two). ``"film"`` scales and shifts one
        modality by the others. ``"attention"`` applies transformer layers to one token
        per modality. Nested modality names define a gradual join, inner groups first:
        ``(("ct", "cxr"), ("labs", "vitals"), "notes")``. A callable ``(n_modalities,
        width) -> torch.nn.Module`` creates a custom join, from representations (B, M,
        D) and presence (B, M) to (B, J). See `skfusion.fusion.joint.joins`.
    join_params : dict or None, default=None
        Options of the join. ``"low_rank"`` has ``rank`` (4). ``"film"`` has
        ``conditioned`` (the first modality with a network, else the first) and
        ``bottleneck`` (half the width). ``"attention"`` has ``heads`` (4) and
        ``layers`` (1). ``"concat"`` has ``replicate`` (1), the number of copies of
        features without an encoder. A callable receives them as keyword arguments.
    encoders : {"all", "networks"} or list of str, default="all"
        Modalities with a trained encoder: all but ``"passthrough"`` (joint fusion type
        I), those with a network (an `ImageEmbedder` or a `TorchEncoder`), or the named
        ones. The features of the others enter the join standardised but without an
        encoder (type II), which only ``"concat"`` supports.
    hidden_dims : tuple of int, default=(64, 32)
        Width of each representation, followed by those of the head's hidden layers.
    dropout : float, default=0.2
        Fraction of the features that are dropped before each layer in training.
    modality_dropout : float, default=0.1
        Fraction of the present modalities that are dropped in training, so that the
        tokens for absent modalities are learned. One modality always stays.
    loss : {"auto", "hazard", "cox"} or callable, default="auto"
        ``"hazard"`` is the likelihood of hazards that are constant in time intervals,
        with one output of the head per interval [2]_, and the exact time that each row
        spent in them. It also provides the survival curves. ``"cox"``
        is Cox's partial likelihood within each mini-batch, which requires a
        `batch_size` that contains some events. ``"auto"`` is ``"hazard"``.
    loss_params : dict or None, default=None
        Options of the loss: ``n_intervals`` (10) of ``"hazard"``. The intervals are
        bounded by quantiles of the event times, and quantiles that are equal bound one
        interval.
    auxiliary_loss : float, default=0.0
        Weight of the sum of the single-modality losses, which is added to the loss
        [3]_. Above 0, each modality also predicts alone, with a layer on its
        representation. Its loss is computed over the rows with the modality.
        `predict_modalities` returns these predictions.
    auxiliary_target : str, int or None, default=None
        Column of an auxiliary target, predicted from the joined representation [4]_.
        It is not a feature and is only needed in `fit`. Rows without a value do not
        contribute to its loss. Text, booleans and numbers with two distinct values are
        classes. Other numbers are regression targets.
    max_epochs : int, default=50
        Maximum number of passes over the training rows.
    batch_size : int, default=32
        Number of rows per batch. With unequal weights, e.g. of a rare class, each
        optimisation step averages the gradients of several batches. It then is as
        precise as one batch of rows of equal weight, if ten steps or more remain in an
        epoch.
    lr : float, default=3e-3
        Learning rate of AdamW.
    training : TrainingSettings or None, default=None
        Settings of the training that rarely need to change, such as the patience of
        early stopping, the schedule of the learning rate, augmentation and callbacks.
        None is ``TrainingSettings()``. They can be set by name,
        e.g. ``training__patience``.
    device : str, default="auto"
        Torch device. ``"auto"`` selects CUDA, then MPS, then the CPU.
    missing : {"auto", "error", "complete_case"}, default="auto"
        Treatment of an absent modality. ``"auto"`` uses a learned token. ``"error"``
        raises an error. ``"complete_case"`` drops its row in `fit` with a warning and
        raises an error in prediction.
    groups : str, int or None, default=None
        Name or position of the column with patient ids, which is not a feature.
    n_jobs : int or None, default=None
        Number of modalities whose transformers are fitted in parallel with joblib. The
        number of torch threads is ``training__n_threads``.
    random_state : int, RandomState or None, default=None
        Seed of the initial weights, dropout, batches and the validation split.
    verbose : int, default=0
        If positive, print one line per epoch.

    Attributes
    ----------
    fusion_type_ : {"I", "II"}
        Joint fusion type I if every modality has a trained encoder, else type II.
    modalities_ : list of (str, fitted transformer, columns)
        The modalities used, including inferred ones.
    network_ : torch.nn.Module
        The trained network, on the CPU and in evaluation mode.
    history_ : list of dict
        Losses and duration (s) of each epoch, and values recorded by callbacks.
    n_epochs_ : int
        Number of epochs trained.
    callbacks_ : list of (str, skorch callback)
        Copies of the callbacks of `training` that were used in `fit`.
    supports_missing_ : dict of str to bool
        Whether the model was trained with the modality absent. This requires
        ``missing="auto"`` and training rows in which it was absent or dropped.
    n_features_in_ : int
        Number of columns of `X` in `fit`, including those that no modality uses.
    feature_names_in_ : ndarray of str of shape (n_features_in_,)
        Names of these columns, if all are strings.

    See Also
    --------
    EarlyFusionSurvival : One model on the joined features.
    LateFusionSurvival : One model per modality with combined risks.

    Notes
    -----
    With ``loss="hazard"`` the hazard is constant within an interval. A row that is
    censored within an interval counts for the part of the interval in which it was
    observed. An event counts as being between the previous distinct time of an event
    and its own, so that rounded times give the survival curve of Kaplan and Meier. The
    head starts at the hazards of all training rows together. A network that is trained
    with dropout predicts risks that are too close together. After the training, the
    weights of the head are therefore multiplied by one factor, which maximises the
    likelihood of the rows held out for early stopping, if these have ten events or
    more. Then the biases of the head are set to their maximum likelihood estimates over
    all training rows, so that as many events are predicted in each interval as were
    observed. The risk is the negative mean time without an event up to the end of the
    last interval, which is the last event. The survival curves are constant beyond that
    end.

    With ``loss="cox"`` the risk is the log hazard ratio. The survival curves are those
    of Cox's model. Its coefficient is fitted to the risks of the rows held out for
    early stopping, or of all rows if fewer than ten events are held out. Its baseline
    hazard is fitted to the risks of all rows.

    Transformers that learn from `y` get martingale residuals instead of the times: a
    number per row, greater where the event came sooner than expected. This suits steps
    such as ``SelectKBest(f_regression)``. `GiniSelector`, `MRMRSelector`,
    `GeneticSelector`, estimators of scikit-survival and estimators that contain them
    get the times. So do estimators with the attribute ``takes_survival_times = True``,
    which declares that their `fit` reads a structured `y` with the fields ``event`` and
    ``time``. A step that needs classes is refused.

    All rows are at risk from time 0 on, because `y` has no entry time. With delayed
    entry (left truncation), e.g. if only patients who survived up to a later visit were
    recruited, the early hazards are underestimated. Count the times from the entry.

    References
    ----------
    .. [1] Huang S-C et al. (2020). Fusion of medical imaging and electronic health
       records using deep learning. npj Digital Medicine 3:136.
    .. [2] Gensheimer MF, Narasimhan B (2019). A scalable discrete-time survival model
       for neural networks. PeerJ 7:e6257.
    .. [3] Kawahara J et al. (2019). Seven-point checklist and skin lesion
       classification using multitask multimodal neural nets. IEEE J Biomed Health
       Inform 23:538-546.
    .. [4] Spasov S et al. (2019). A parameter-efficient deep learning approach to
       predict conversion from mild cognitive impairment to Alzheimer's disease.
       NeuroImage 189:276-287.

    Examples
    --------
    >>> import numpy as np
    >>> from skfusion.survival import JointFusionSurvival
    >>> X = np.random.default_rng(0).normal(size=(200, 4))
    >>> y = np.array([(True, time) for time in np.exp(X[:, 0])],
    ...              dtype=[("event", bool), ("time", float)])
    >>> model = JointFusionSurvival(max_epochs=10, random_state=0).fit(X, y)
    >>> model.predict_survival_function(X, times=[0.5, 1, 2]).shape
    (200, 3)
    """

    __module__ = "skfusion.survival"

    def __init__(
        self,
        modalities: Any = "auto",
        *,
        join: Any = "concat",
        join_params: Any = None,
        encoders: Any = "all",
        hidden_dims: Any = (64, 32),
        dropout: float = 0.2,
        modality_dropout: float = 0.1,
        loss: Any = "auto",
        loss_params: Any = None,
        auxiliary_loss: float = 0.0,
        auxiliary_target: Any = None,
        max_epochs: int = 50,
        batch_size: int = 32,
        lr: float = 3e-3,
        training: Any = None,
        device: str = "auto",
        missing: str = "auto",
        groups: str | None = None,
        n_jobs: int | None = None,
        random_state: Any = None,
        verbose: int = 0,
    ) -> None:
        self.modalities = modalities
        self.join = join
        self.join_params = join_params
        self.encoders = encoders
        self.hidden_dims = hidden_dims
        self.dropout = dropout
        self.modality_dropout = modality_dropout
        self.loss = loss
        self.loss_params = loss_params
        self.auxiliary_loss = auxiliary_loss
        self.auxiliary_target = auxiliary_target
        self.max_epochs = max_epochs
        self.batch_size = batch_size
        self.lr = lr
        self.training = training
        self.device = device
        self.missing = missing
        self.groups = groups
        self.n_jobs = n_jobs
        self.random_state = random_state
        self.verbose = verbose

    def score_outputs(self, outputs: Tensor) -> Tensor:
        """Return the risk that `predict` gives, from the outputs of the network.

        Parameters
        ----------
        outputs : Tensor of shape (n_rows, n_outputs)
            Outputs of `network_`, in float64.

        Returns
        -------
        Tensor of shape (n_rows, 1)
            The log hazard ratio, or minus the mean time without an event up to the
            end of the last interval.
        """
        if not self._in_intervals:
            return outputs
        hazard = torch.nn.functional.softplus(outputs)
        after = torch.exp(-torch.cumsum(hazard, dim=1))
        before = torch.cat([torch.ones_like(after[:, :1]), after[:, :-1]], dim=1)
        width = torch.from_numpy(np.diff(self._ends, prepend=0.0))
        # The mean survival in an interval, whose limit for no hazard is `before`.
        passed = hazard > 1e-9
        usual = torch.where(passed, hazard, 1.0)
        mean = before * torch.where(passed, -torch.expm1(-usual) / usual, 1.0)
        return -(width * mean).sum(dim=1, keepdim=True)

    def predict(self, X: Any) -> np.ndarray:
        """Predict the risk of each case.

        Parameters
        ----------
        X : DataFrame or ndarray of shape (n_samples, n_columns)
            Cohort, one row per case. Modalities may be absent.

        Returns
        -------
        ndarray of float64 of shape (n_samples,)
            Risk, greater if the event is expected sooner.
        """
        return self._finish(*self._outputs(X))

    def predict_survival_function(self, X: Any, times: Any = None) -> np.ndarray:
        """Predict the probability of survival without an event up to each time.

        Parameters
        ----------
        X : DataFrame or ndarray of shape (n_samples, n_columns)
            Cohort, one row per case. Modalities may be absent.
        times : array-like of shape (n_times,) or None, default=None
            Times from the index time, in the unit of `y`. None returns functions, as in
            scikit-survival.

        Returns
        -------
        ndarray of shape (n_samples, n_times) or (n_samples,)
            Probabilities, in the form that `sksurv.metrics.brier_score` accepts.
            Without `times`, one function of time per row, with the attributes ``x``,
            ``y`` and ``domain``.
        """
        if not self._in_intervals:
            return super().predict_survival_function(X, times)
        if times is None:
            return self._survival_functions(X)
        times = check_times(times, type(self).__name__)
        outputs, presence = self._outputs(X)
        curves = np.exp(-self._hazard_at(outputs, times))
        nothing = ~presence.any(axis=1)
        if nothing.any():
            # Rows without any modality receive the curve of the mean training risk.
            self._check_predictable(presence)
            curves[nothing] = self._curves.predict(
                np.full(nothing.sum(), self._curves.mean_), times
            )
        return curves

    def _survival_functions(self, X: Any) -> np.ndarray:
        """Return a function of time per row, step functions without any modality."""
        knots = np.unique(np.r_[0.0, self._ends])
        outputs, presence = self._outputs(X)
        curves = np.exp(-self._hazard_at(outputs, knots))
        functions = as_functions(knots, curves, constant_hazard=True)
        nothing = np.flatnonzero(~presence.any(axis=1))
        if len(nothing):
            self._check_predictable(presence)
            times = self._curves.times_
            average = np.full(len(nothing), self._curves.mean_)
            functions[nothing] = as_functions(
                times, self._curves.predict(average, times)
            )
        return functions

    @property
    def _in_intervals(self) -> bool:
        return self.loss in ("auto", "hazard")

    def _n_network_outputs(self) -> int:
        return len(self._ends) if self._in_intervals else 1

    def _check_weighted(self, data: TrainingData) -> None:
        problem = self._target.problem(data.y)
        if problem:
            raise ValueError(
                f"{type(self).__name__}: {problem} in the {len(data.y)} rows with a "
                "sample_weight greater than 0, so there is no event to learn from. "
                "Give events a weight greater than 0."
            )

    def _network_target(self, y: np.ndarray, weight: np.ndarray) -> np.ndarray:
        if not self._in_intervals:
            return np.column_stack([y["time"], y["event"]]).astype(self._dtype)
        n_intervals = int((self.loss_params or {}).get("n_intervals", 10))
        event, time = y["event"], _after_start(y)
        distinct, place = np.unique(time[event], return_inverse=True)
        share = np.cumsum(np.bincount(place, weight[event]))
        shares = np.linspace(0, 1, n_intervals + 1)[1:-1]
        # The tolerance lets weights that differ by a factor give the same quantiles.
        quantiles = np.searchsorted(share / share[-1], shares - 1e-9)
        self._ends = np.unique(np.r_[distinct[quantiles], distinct[-1]])
        target = self._in_interval_units(time, event)
        nothing = np.zeros((len(y), len(self._ends)))
        self._start = _best_offsets(nothing, target, weight)
        return target.astype(self._dtype)

    def _in_interval_units(self, time: np.ndarray, event: np.ndarray) -> np.ndarray:
        """Return the target of `hazard_loss`."""
        knots = np.r_[0.0, self._ends]
        numbers = np.arange(len(knots))
        # An event at the end of an interval is in it.
        interval = np.searchsorted(self._ends, time, side="left")
        position = np.interp(time, knots, numbers)
        times = np.unique(time[event])
        previous = np.r_[0.0, times][np.searchsorted(times, time, side="left")]
        since = np.maximum(np.interp(previous, knots, numbers), interval)
        return np.column_stack(
            [
                np.where(event, since, position),
                np.where(event, interval, -1),
                np.where(event, position - since, 0.0),
            ]
        )

    def _prepare_network(self, network: JointNetwork) -> None:
        if not self._in_intervals:
            return
        with torch.no_grad():
            for head in (network.head[-1], *network.modality_heads):
                head.bias.copy_(torch.from_numpy(self._start))

    def _hazard_at(self, outputs: np.ndarray, times: np.ndarray) -> np.ndarray:
        """Return the cumulative hazard (n_samples, n_times)."""
        steps = -log_expit(-outputs.astype(np.float64))  # (n, K), -log(1 - h)
        cumulative = np.hstack([np.zeros((len(steps), 1)), np.cumsum(steps, axis=1)])
        knots = np.r_[0.0, self._ends]
        return np.stack([np.interp(times, knots, row) for row in cumulative])

    def _from_network(self, outputs: np.ndarray) -> np.ndarray:
        return self.score_outputs(torch.from_numpy(outputs)).numpy()

    def _finish_fit(
        self, inputs: NetInputs, data: TrainingData, validation: np.ndarray
    ) -> None:
        weight = data.sample_weight
        weight = np.ones(len(data.y)) if weight is None else weight
        outputs = self._run(JointNetwork.__call__, inputs).astype(np.float64)
        rows = validation
        are_few = data.y["event"][rows].sum() < FEWEST_EVENTS
        if self._in_intervals:
            target = self._in_interval_units(_after_start(data.y), data.y["event"])
            slope = 1.0
            if not are_few:
                slope = _best_slope(outputs[rows], target[rows], weight[rows])
            offsets = _best_offsets(slope * outputs, target, weight)
            last: Any = self.network_.head[-1]
            with torch.no_grad():
                last.weight *= slope
                last.bias *= slope
                last.bias += torch.from_numpy(offsets).to(last.bias)
            outputs = slope * outputs + offsets
        if are_few:
            rows = np.arange(len(data.y))
        risk = self._from_network(outputs)[:, 0]
        self._set_curves(risk[rows], data.y[rows], weight[rows])
        self._curves.fit_baseline(risk, data.y, weight)


def _after_start(y: np.ndarray) -> np.ndarray:
    """Return the times, where an event at time 0 has the first later time.

    It was before this time, by which it was seen.
    """
    time = y["time"]
    first = time[time > 0].min(initial=np.inf)
    at_start = y["event"] & (time == 0)
    return np.where(at_start, first if np.isfinite(first) else 1.0, time)


def _best_offsets(
    outputs: np.ndarray, target: np.ndarray, weight: np.ndarray
) -> np.ndarray:
    """Return what, added to each output, maximises the likelihood of the hazards.

    The hazards of all rows together then are the observed ones in each interval. The
    likelihood is the product of those of the intervals and is concave.

    Parameters
    ----------
    outputs : ndarray of float64 of shape (n_samples, n_intervals)
        Outputs of the network.
    target : ndarray of float64 of shape (n_samples, 3)
        Target of `hazard_loss`.
    weight : ndarray of shape (n_samples,)
        Weights of the rows.

    Returns
    -------
    ndarray of float64 of shape (n_intervals,)
    """
    finite = np.isfinite(outputs).all(axis=1)  # others raise an error in prediction
    outputs, target, weight = outputs[finite], target[finite], weight[finite]
    if not len(outputs):
        return np.zeros(outputs.shape[1])
    low = torch.full((outputs.shape[1],), -30.0, dtype=torch.float64)
    high = -low
    fixed, rows, weights = (
        torch.from_numpy(np.ascontiguousarray(array, dtype=np.float64))
        for array in (outputs, target, weight)
    )
    for _ in range(50):
        middle = ((low + high) / 2).requires_grad_()
        total = (hazard_loss(fixed + middle, rows) * weights).sum()
        (slope,) = torch.autograd.grad(total, middle)
        middle = middle.detach()
        high, low = (
            torch.where(slope > 0, middle, high),
            torch.where(slope > 0, low, middle),
        )
    return np.asarray(((low + high) / 2).numpy())


def _best_slope(outputs: np.ndarray, target: np.ndarray, weight: np.ndarray) -> float:
    """Return the factor of all outputs that maximises the likelihood of the hazards.

    The offset of each interval is estimated as well. The likelihood is concave. A
    normal prior of the factor, with mean 1, keeps it near 1 where the rows say little.

    Parameters
    ----------
    outputs : ndarray of float64 of shape (n_samples, n_intervals)
        Outputs of the network for rows that it was not trained on.
    target : ndarray of float64 of shape (n_samples, 3)
        Target of `hazard_loss`.
    weight : ndarray of shape (n_samples,)
        Weights of the rows, of any unit.

    Returns
    -------
    float
        Above 1 if the outputs are too close together.
    """
    used = np.isfinite(outputs).all(axis=1) & (weight > 0)
    if not used.any():
        return 1.0
    outputs, target, weight = outputs[used], target[used], weight[used]
    middle = outputs.mean(axis=0)
    centred, rows, weights = (
        torch.from_numpy(np.ascontiguousarray(array, dtype=np.float64))
        for array in (outputs - middle, target, weight / weight.mean())
    )

    def loss(parameters: np.ndarray) -> tuple[float, np.ndarray]:
        values = torch.from_numpy(parameters).requires_grad_()
        row_losses = hazard_loss(values[0] * centred + values[1:], rows)
        total = (weights * row_losses).sum()
        total = total + (values[0] - 1) ** 2 / (2 * PRIOR_OF_SLOPE**2)
        (gradient,) = torch.autograd.grad(total, values)
        return float(total.detach()), gradient.numpy()

    found = minimize(
        loss,
        np.r_[1.0, middle],
        jac=True,
        method="L-BFGS-B",
        bounds=[SLOPES, *[(-30.0, 30.0)] * len(middle)],
    )
    return float(found.x[0])
