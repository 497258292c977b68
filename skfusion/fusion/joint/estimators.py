"""Joint fusion that classifies: one network, the loss reaches every encoder.

How is in `skfusion.fusion.joint.base`, the network in `skfusion.fusion.joint.network`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.special import expit, log_expit, softmax
from sklearn.base import ClassifierMixin, RegressorMixin

from skfusion.cohort import TrainingData
from skfusion.fusion.joint.base import BaseJointFusion
from skfusion.fusion.joint.data import NetInputs
from skfusion.fusion.joint.network import JointNetwork
from skfusion.fusion.survival import SurvivalFusion
from skfusion.fusion.targets import ClassifierTarget, RegressorTarget

__all__ = ["JointFusionClassifier", "JointFusionRegressor", "JointFusionSurvival"]


class JointFusionClassifier(ClassifierTarget, ClassifierMixin, BaseJointFusion):
    """Classify with one network, encoders fine-tuned together (joint fusion).

    Each modality has an encoder; their representations are joined and a head
    predicts from them. The loss is propagated back into every encoder, which is what
    sets joint fusion apart from early fusion [1]_. For images the encoder is the
    backbone of their `ImageEmbedder`, trained from a chosen depth; for anything else
    it is a layer on the transformer's features.

    Parameters
    ----------
    modalities : list of (str, transformer, columns) or "auto", default="auto"
        The modalities, as in `ColumnTransformer`. With ``"auto"``, each column of
        images is a modality and the other columns are one EHR modality.
    join : str, nested tuple of str or callable, default="concat"
        How representations are joined: ``"concat"`` side by side; ``"sum"``;
        ``"gated"``, a gated multimodal unit; ``"low_rank"``, the products of features
        across modalities (bilinear for two); ``"film"``, one modality scaled and
        shifted by the others; ``"attention"``, transformer layers over one token per
        modality. Nested names of modalities join them gradually, inner groups first:
        ``(("ct", "cxr"), ("labs", "vitals"), "notes")``. A callable ``(n_modalities,
        width) -> torch.nn.Module`` makes a join of your own, from representations (B,
        M, D) and presence (B, M) to (B, J). See `skfusion.fusion.joint.joins`.
    join_params : dict or None, default=None
        Options of the join: ``rank`` (4) of ``"low_rank"``; ``conditioned`` (the first
        modality that brings a network, else the first) and ``bottleneck`` (half the
        width) of ``"film"``; ``heads`` (4) and ``layers`` (1) of ``"attention"``;
        ``replicate`` (1) of ``"concat"``, how often features that enter without an
        encoder stand side by side. A callable gets them as keywords.
    encoders : {"all", "networks"} or list of str, default="all"
        Which modalities have a trained encoder: all (joint fusion type I), those that
        bring a network (an `ImageEmbedder`, a `TorchEncoder`), or these. The features
        of the others enter the join as they are, standardised (type II), which only
        ``"concat"`` can take.
    hidden_dims : tuple of int, default=(64, 32)
        Width of each modality's representation, then of the head's hidden layers.
    dropout : float, default=0.2
        Share of features dropped before each layer in training.
    modality_dropout : float, default=0.1
        Share of present modalities hidden in training (one always stays), so that the
        learned token for an absent modality is worth something.
    loss : {"auto", "cross_entropy", "focal"} or callable, default="auto"
        ``"auto"`` is the cross-entropy, of each label for several labels. A callable
        ``(outputs, target)`` returns one value per row.
    loss_params : dict or None, default=None
        Options of the loss: ``gamma`` (2.0) of ``"focal"``.
    auxiliary_loss : float, default=0.0
        Above 0, each modality also predicts alone, by a layer on its representation,
        and this times the sum of their losses (each over the rows that have the
        modality) is added [2]_. `predict_modalities` gives their predictions.
    auxiliary_target : str or None, default=None
        Column with a second thing to predict from the joined representation [3]_. It
        is no feature and needed in `fit` only; rows without a value have no part in
        its loss. Text, booleans and two-valued numbers are classes, others numbers.
    class_weight : dict, "balanced" or None, default=None
        Weights of the classes in the loss.
    max_epochs : int, default=50
        Most passes over the training rows.
    batch_size : int, default=32
        Rows per step.
    lr : float, default=3e-3
        Learning rate of AdamW.
    training : TrainingSettings or None, default=None
        Settings of the training that rarely need to change, such as the patience of
        early stopping, the schedule of the learning rate, augmentation and callbacks.
        None is ``TrainingSettings()``. They can be set by name,
        e.g. ``training__patience``.
    device : str, default="auto"
        Torch device; ``"auto"`` takes CUDA, then MPS, then the CPU.
    missing : {"auto", "error", "complete_case"}, default="auto"
        What an absent modality does: a learned token stands for it, an error, or its
        row is dropped in `fit` with a warning (and refused in prediction).
    groups : str or None, default=None
        Name of the column with patient ids; it is no feature.
    n_jobs : int or None, default=None
        Number of modalities whose transformers are fitted at a time, by joblib. Torch
        threads are ``training__n_threads``.
    random_state : int, RandomState or None, default=None
        Seeds initial weights, dropout, batches and the validation split.
    verbose : int, default=0
        Not 0: print a line per epoch.

    Attributes
    ----------
    fusion_type_ : {"I", "II"}
        Joint fusion type I if every modality has a trained encoder, else type II.
    modalities_ : list of (str, fitted transformer, columns)
        The modalities that are used, inferred ones included.
    network_ : torch.nn.Module
        The trained network, on the CPU and in evaluation mode.
    history_ : list of dict
        Losses and duration (s) of every epoch, and what callbacks recorded.
    n_epochs_ : int
        Number of epochs trained.
    callbacks_ : list of (str, skorch callback)
        The copies of the callbacks of `training` that the fit used.
    classes_ : ndarray of shape (n_classes,)
        The class labels.
    supports_missing_ : dict of str to bool
        Whether the model has learned to do without the modality: it was absent or
        hidden in some training row, and ``missing="auto"``.
    n_features_in_ : int
        Number of columns that the modalities use.
    feature_names_in_ : ndarray of str of shape (n_features_in_,)
        Their names.

    See Also
    --------
    EarlyFusionClassifier : One model on the joined features.
    LateFusionClassifier : One model per modality, predictions combined.

    Notes
    -----
    Without images everything is computed in float64. The frozen trunk of a backbone is
    run through the embedder's store, so that folds, candidates of a search and epochs
    share its outputs.

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
            A cohort; modalities may be absent.

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
            A cohort; modalities may be absent.

        Returns
        -------
        ndarray of shape (n_samples,)
        """
        proba = self.predict_proba(X)
        return self._target.decide(proba)

    def _network_target(self, y: np.ndarray, weight: np.ndarray) -> np.ndarray:
        return y.astype(np.int64)

    def _from_network(self, outputs: np.ndarray) -> np.ndarray:
        return expit(outputs) if self._target.kind == "labels" else softmax(outputs, 1)


class JointFusionRegressor(RegressorTarget, RegressorMixin, BaseJointFusion):
    """Predict a number with one network, encoders fine-tuned together (joint fusion).

    Each modality has an encoder; their representations are joined and a head
    predicts from them. The loss is propagated back into every encoder, which is what
    sets joint fusion apart from early fusion [1]_. For images the encoder is the
    backbone of their `ImageEmbedder`, trained from a chosen depth; for anything else
    it is a layer on the transformer's features.

    Parameters
    ----------
    modalities : list of (str, transformer, columns) or "auto", default="auto"
        The modalities, as in `ColumnTransformer`. With ``"auto"``, each column of
        images is a modality and the other columns are one EHR modality.
    join : str, nested tuple of str or callable, default="concat"
        How representations are joined: ``"concat"`` side by side; ``"sum"``;
        ``"gated"``, a gated multimodal unit; ``"low_rank"``, the products of features
        across modalities (bilinear for two); ``"film"``, one modality scaled and
        shifted by the others; ``"attention"``, transformer layers over one token per
        modality. Nested names of modalities join them gradually, inner groups first:
        ``(("ct", "cxr"), ("labs", "vitals"), "notes")``. A callable ``(n_modalities,
        width) -> torch.nn.Module`` makes a join of your own, from representations (B,
        M, D) and presence (B, M) to (B, J). See `skfusion.fusion.joint.joins`.
    join_params : dict or None, default=None
        Options of the join: ``rank`` (4) of ``"low_rank"``; ``conditioned`` (the first
        modality that brings a network, else the first) and ``bottleneck`` (half the
        width) of ``"film"``; ``heads`` (4) and ``layers`` (1) of ``"attention"``;
        ``replicate`` (1) of ``"concat"``, how often features that enter without an
        encoder stand side by side. A callable gets them as keywords.
    encoders : {"all", "networks"} or list of str, default="all"
        Which modalities have a trained encoder: all (joint fusion type I), those that
        bring a network (an `ImageEmbedder`, a `TorchEncoder`), or these. The features
        of the others enter the join as they are, standardised (type II), which only
        ``"concat"`` can take.
    hidden_dims : tuple of int, default=(64, 32)
        Width of each modality's representation, then of the head's hidden layers.
    dropout : float, default=0.2
        Share of features dropped before each layer in training.
    modality_dropout : float, default=0.1
        Share of present modalities hidden in training (one always stays), so that the
        learned token for an absent modality is worth something.
    loss : {"auto", "squared_error", "huber"} or callable, default="auto"
        On the standardised target; ``"auto"`` is the squared error. A callable
        ``(outputs, target)`` returns one value per row.
    loss_params : dict or None, default=None
        Options of the loss: ``delta`` (1.0) of ``"huber"``, in standard deviations.
    auxiliary_loss : float, default=0.0
        Above 0, each modality also predicts alone, by a layer on its representation,
        and this times the sum of their losses (each over the rows that have the
        modality) is added [2]_. `predict_modalities` gives their predictions.
    auxiliary_target : str or None, default=None
        Column with a second thing to predict from the joined representation [3]_. It
        is no feature and needed in `fit` only; rows without a value have no part in
        its loss. Text, booleans and two-valued numbers are classes, others numbers.
    max_epochs : int, default=50
        Most passes over the training rows.
    batch_size : int, default=32
        Rows per step.
    lr : float, default=3e-3
        Learning rate of AdamW.
    training : TrainingSettings or None, default=None
        Settings of the training that rarely need to change, such as the patience of
        early stopping, the schedule of the learning rate, augmentation and callbacks.
        None is ``TrainingSettings()``. They can be set by name,
        e.g. ``training__patience``.
    device : str, default="auto"
        Torch device; ``"auto"`` takes CUDA, then MPS, then the CPU.
    missing : {"auto", "error", "complete_case"}, default="auto"
        What an absent modality does: a learned token stands for it, an error, or its
        row is dropped in `fit` with a warning (and refused in prediction).
    groups : str or None, default=None
        Name of the column with patient ids; it is no feature.
    n_jobs : int or None, default=None
        Number of modalities whose transformers are fitted at a time, by joblib. Torch
        threads are ``training__n_threads``.
    random_state : int, RandomState or None, default=None
        Seeds initial weights, dropout, batches and the validation split.
    verbose : int, default=0
        Not 0: print a line per epoch.

    Attributes
    ----------
    fusion_type_ : {"I", "II"}
        Joint fusion type I if every modality has a trained encoder, else type II.
    modalities_ : list of (str, fitted transformer, columns)
        The modalities that are used, inferred ones included.
    network_ : torch.nn.Module
        The trained network, on the CPU and in evaluation mode.
    history_ : list of dict
        Losses and duration (s) of every epoch, and what callbacks recorded.
    n_epochs_ : int
        Number of epochs trained.
    callbacks_ : list of (str, skorch callback)
        The copies of the callbacks of `training` that the fit used.
    supports_missing_ : dict of str to bool
        Whether the model has learned to do without the modality: it was absent or
        hidden in some training row, and ``missing="auto"``.
    n_features_in_ : int
        Number of columns that the modalities use.
    feature_names_in_ : ndarray of str of shape (n_features_in_,)
        Their names.

    See Also
    --------
    EarlyFusionRegressor : One model on the joined features.
    LateFusionRegressor : One model per modality, predictions combined.

    Notes
    -----
    Without images everything is computed in float64. The frozen trunk of a backbone is
    run through the embedder's store, so that folds, candidates of a search and epochs
    share its outputs.

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
            A cohort; modalities may be absent.

        Returns
        -------
        ndarray of float64 of shape (n_samples,)
        """
        return self._finish(*self._outputs(X))

    def _network_target(self, y: np.ndarray, weight: np.ndarray) -> np.ndarray:
        # The loss is a squared error, whose size must not depend on the target's unit.
        values = y.reshape(len(y), -1)
        self._center = np.average(values, axis=0, weights=weight)
        spread = np.sqrt(
            np.average((values - self._center) ** 2, axis=0, weights=weight)
        )
        self._spread = np.where(spread > 0, spread, 1.0)
        return ((values - self._center) / self._spread).astype(self._dtype)

    def _from_network(self, outputs: np.ndarray) -> np.ndarray:
        return outputs * self._spread + self._center


# Fewer events among the rows held out for early stopping say nothing about a slope.
FEWEST_EVENTS = 10


class JointFusionSurvival(SurvivalFusion, BaseJointFusion):
    """Predict censored times with one network, encoders fine-tuned together.

    Joint fusion [1]_ whose target is a time to an event. `predict` gives a risk,
    greater where the event is expected sooner.

    Parameters
    ----------
    modalities : list of (str, transformer, columns) or "auto", default="auto"
        The modalities, as in `ColumnTransformer`. With ``"auto"``, each column of
        images is a modality and the other columns are one EHR modality.
    join : str, nested tuple of str or callable, default="concat"
        How representations are joined: ``"concat"`` side by side; ``"sum"``;
        ``"gated"``, a gated multimodal unit; ``"low_rank"``, the products of features
        across modalities (bilinear for two); ``"film"``, one modality scaled and
        shifted by the others; ``"attention"``, transformer layers over one token per
        modality. Nested names of modalities join them gradually, inner groups first:
        ``(("ct", "cxr"), ("labs", "vitals"), "notes")``. A callable ``(n_modalities,
        width) -> torch.nn.Module`` makes a join of your own, from representations (B,
        M, D) and presence (B, M) to (B, J). See `skfusion.fusion.joint.joins`.
    join_params : dict or None, default=None
        Options of the join: ``rank`` (4) of ``"low_rank"``; ``conditioned`` (the first
        modality that brings a network, else the first) and ``bottleneck`` (half the
        width) of ``"film"``; ``heads`` (4) and ``layers`` (1) of ``"attention"``;
        ``replicate`` (1) of ``"concat"``, how often features that enter without an
        encoder stand side by side. A callable gets them as keywords.
    encoders : {"all", "networks"} or list of str, default="all"
        Which modalities have a trained encoder: all (joint fusion type I), those that
        bring a network (an `ImageEmbedder`, a `TorchEncoder`), or these. The features
        of the others enter the join as they are, standardised (type II), which only
        ``"concat"`` can take.
    hidden_dims : tuple of int, default=(64, 32)
        Width of each modality's representation, then of the head's hidden layers.
    dropout : float, default=0.2
        Share of features dropped before each layer in training.
    modality_dropout : float, default=0.1
        Share of present modalities hidden in training (one always stays), so that the
        learned token for an absent modality is worth something.
    loss : {"auto", "hazard", "cox"} or callable, default="auto"
        ``"hazard"``, which ``"auto"`` is: the likelihood of the hazards in intervals of
        time, a head with one output per interval [2]_, which gives the curves as well.
        ``"cox"``: Cox's partial likelihood within each mini-batch; choose a
        `batch_size` that holds some events.
    loss_params : dict or None, default=None
        Options of the loss: ``n_intervals`` (10) of ``"hazard"``, bounded by quantiles
        of the times of the events.
    auxiliary_loss : float, default=0.0
        Above 0, each modality also predicts alone, by a layer on its representation,
        and this times the sum of their losses (each over the rows that have the
        modality) is added [3]_. `predict_modalities` gives their predictions.
    auxiliary_target : str or None, default=None
        Column with a second thing to predict from the joined representation [4]_. It
        is no feature and needed in `fit` only; rows without a value have no part in
        its loss. Text, booleans and two-valued numbers are classes, others numbers.
    max_epochs : int, default=50
        Most passes over the training rows.
    batch_size : int, default=32
        Rows per step.
    lr : float, default=3e-3
        Learning rate of AdamW.
    training : TrainingSettings or None, default=None
        Settings of the training that rarely need to change, such as the patience of
        early stopping, the schedule of the learning rate, augmentation and callbacks.
        None is ``TrainingSettings()``. They can be set by name,
        e.g. ``training__patience``.
    device : str, default="auto"
        Torch device; ``"auto"`` takes CUDA, then MPS, then the CPU.
    missing : {"auto", "error", "complete_case"}, default="auto"
        What an absent modality does: a learned token stands for it, an error, or its
        row is dropped in `fit` with a warning (and refused in prediction).
    groups : str or None, default=None
        Name of the column with patient ids; it is no feature.
    n_jobs : int or None, default=None
        Number of modalities whose transformers are fitted at a time, by joblib. Torch
        threads are ``training__n_threads``.
    random_state : int, RandomState or None, default=None
        Seeds initial weights, dropout, batches and the validation split.
    verbose : int, default=0
        Not 0: print a line per epoch.

    Attributes
    ----------
    fusion_type_ : {"I", "II"}
        Joint fusion type I if every modality has a trained encoder, else type II.
    modalities_ : list of (str, fitted transformer, columns)
        The modalities that are used, inferred ones included.
    network_ : torch.nn.Module
        The trained network, on the CPU and in evaluation mode.
    history_ : list of dict
        Losses and duration (s) of every epoch, and what callbacks recorded.
    n_epochs_ : int
        Number of epochs trained.
    callbacks_ : list of (str, skorch callback)
        The copies of the callbacks of `training` that the fit used.
    supports_missing_ : dict of str to bool
        Whether the model has learned to do without the modality: it was absent or
        hidden in some training row, and ``missing="auto"``.
    n_features_in_ : int
        Number of columns that the modalities use.
    feature_names_in_ : ndarray of str of shape (n_features_in_,)
        Their names.

    See Also
    --------
    EarlyFusionSurvival : One model on the joined features.
    LateFusionSurvival : One model per modality, risks combined.

    Notes
    -----
    With ``loss="hazard"`` the hazard is constant within an interval, the risk is minus
    the mean time without an event up to the last interval's end, and beyond that end
    curves stay where they are. With ``"cox"`` the risk is the log hazard ratio, and
    the curves come from Cox's model of the risks of the rows held out for early
    stopping (of all rows where these had fewer than ten events).

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
        """Predict the risk of each case.

        Parameters
        ----------
        X : DataFrame or ndarray of shape (n_samples, n_columns)
            A cohort; modalities may be absent.

        Returns
        -------
        ndarray of float64 of shape (n_samples,)
            Greater where the event is expected sooner.
        """
        return self._finish(*self._outputs(X))

    def predict_survival_function(self, X: Any, times: Any) -> np.ndarray:
        """Predict the probability of no event by each time.

        Parameters
        ----------
        X : DataFrame or ndarray of shape (n_samples, n_columns)
            A cohort; modalities may be absent.
        times : array-like of shape (n_times,)
            Times from the index time, in the unit of `y`.

        Returns
        -------
        ndarray of shape (n_samples, n_times)
            As `sksurv.metrics.brier_score` takes it.
        """
        if not self._in_intervals:
            return super().predict_survival_function(X, times)
        outputs, presence = self._outputs(X)
        curves = np.exp(-self._hazard_at(outputs, np.asarray(times, dtype=np.float64)))
        nothing = ~presence.any(axis=1)
        if nothing.any():
            # no modality: the curve of the training data as a whole
            self._check_predictable(presence)
            curves[nothing] = self._curves.predict(
                np.full(nothing.sum(), self._curves.mean_), times
            )
        return curves

    @property
    def _in_intervals(self) -> bool:
        return self.loss in ("auto", "hazard")

    def _n_network_outputs(self) -> int:
        n_intervals = (self.loss_params or {}).get("n_intervals", 10)
        return int(n_intervals) if self._in_intervals else 1

    def _network_target(self, y: np.ndarray, weight: np.ndarray) -> np.ndarray:
        if not self._in_intervals:
            return np.column_stack([y["time"], y["event"]]).astype(self._dtype)
        n_intervals = self._n_network_outputs()
        shares = np.linspace(0, 1, n_intervals + 1)[1:]
        ends = np.quantile(y["time"][y["event"]], shares)
        # equal ends would leave an interval without time, hence without events
        self._ends = np.maximum.accumulate(ends)
        # an event on the end of an interval is in it, a censored row has survived it
        survived = np.where(
            y["event"],
            np.searchsorted(self._ends, y["time"], side="left"),
            np.searchsorted(self._ends, y["time"], side="right"),
        )
        return np.column_stack([survived, y["event"]]).astype(self._dtype)

    def _hazard_at(self, outputs: np.ndarray, times: np.ndarray) -> np.ndarray:
        """Return the cumulative hazard (n_samples, n_times)."""
        steps = -log_expit(-outputs.astype(np.float64))  # (n, K), -log(1 - h)
        cumulative = np.hstack([np.zeros((len(steps), 1)), np.cumsum(steps, axis=1)])
        knots = np.r_[0.0, self._ends]
        return np.stack([np.interp(times, knots, row) for row in cumulative])

    def _from_network(self, outputs: np.ndarray) -> np.ndarray:
        if not self._in_intervals:
            return outputs
        knots = np.r_[0.0, self._ends]
        survival = np.exp(-self._hazard_at(outputs, knots))
        return -np.trapezoid(survival, knots, axis=1)[:, None]

    def _finish_fit(
        self, inputs: NetInputs, data: TrainingData, validation: np.ndarray
    ) -> None:
        rows = validation
        if data.y["event"][rows].sum() < FEWEST_EVENTS:
            rows = np.arange(len(data.y))
        outputs = self._run(JointNetwork.__call__, inputs.rows(rows)).astype(np.float64)
        part = data.rows(rows)
        risk = self._from_network(outputs)[:, 0]
        self._set_curves(risk, part.y, part.sample_weight)
