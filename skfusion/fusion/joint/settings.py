"""Settings of the training of a joint network that rarely need to change."""

from __future__ import annotations

from typing import Any

from sklearn.base import BaseEstimator

from skfusion._validation import check_number, check_option
from skfusion.fusion.joint.augmentation import batch_augmentation
from skfusion.fusion.joint.callbacks import check_callbacks
from skfusion.fusion.torch_runtime import PRECISIONS

__all__ = ["TrainingSettings"]


class TrainingSettings(BaseEstimator):
    """Settings of the training of a joint network that rarely need to change.

    They are the parameter `training` of `JointFusionClassifier`,
    `JointFusionRegressor` and `JointFusionSurvival`. A search reaches them by name,
    e.g. ``training__patience``, also where `training` is None.

    Parameters
    ----------
    patience : int, default=5
        Number of epochs without a better validation loss before training stops. With
        `unfreeze_every`, they are counted once all blocks are trained.
    validation_fraction : float, default=0.15
        Share of the rows (of the patients, where groups are given) that are held out
        for early stopping and for the choice of the epoch. No rows are held out if
        there are fewer than 40. Transformers that use the target, such as selectors,
        are not fitted on these rows either.
    weight_decay : float, default=1e-2
        Weight decay of AdamW. It does not act on biases, on the weights of norms and
        on the tokens for absent modalities.
    encoder_lr_factor : float, default=0.1
        Factor of the learning rate for the layers of an image backbone. A
        `TorchEncoder` has its own factor, `lr_factor`.
    encoder_lr_decay : float, default=1.0
        Factor of the learning rate for each further block from the output of an
        encoder. Howard and Ruder [1]_ use 0.38.
    unfreeze_every : int or None, default=None
        Number of epochs between two steps of gradual unfreezing [1]_. Training begins
        with the last of the trainable blocks of each encoder and adds one more at each
        step. None trains all of them from the start. A `max_epochs` that ends before
        the last step causes a warning.
    scheduler : None, "cosine", "plateau" or skorch LRScheduler, default=None
        Schedule of the learning rates: a cosine over `max_epochs`, or a tenth whenever
        the validation loss stops improving.
    gradient_clip : float or None, default=None
        Largest norm of the gradient of a step.
    augmentation : None, "default" or callable, default=None
        Random changes of the training images. Validation and prediction use the
        unchanged images. ``"default"`` is `ImageAugmentation`: small shifts, rotations,
        zooms and changes of exposure, no flips. A callable takes an image (3, H, W),
        usually in [0, 1], and returns an image of the same shape, e.g. a transform of
        torchvision. Its draws from torch are seeded. With augmentation, the frozen
        trunk of a backbone is run in every epoch.
    test_time_views : int, default=0
        Number of changed images, by `augmentation`, over which the outputs of the
        network are averaged in prediction, in addition to the unchanged image. The
        changes are the same for every image and in every run.
    precision : {"auto", "float32", "bfloat16", "float16"}, default="auto"
        Precision of most of the network in training (autocast). ``"auto"`` is float32,
        and on a GPU bfloat16 (float16 where it is not supported) if there are images.
        Weights, losses and predictions are float32 or float64.
    callbacks : list of (str, skorch callback) or None, default=None
        Additional skorch callbacks, e.g. checkpoints or scores of every epoch. Each fit
        uses copies. A callback that raises ends the fit, which leaves the estimator
        unchanged.
    auxiliary_target_weight : float, default=1.0
        Factor of the loss of the auxiliary target.
    n_threads : int, default=1
        Number of torch threads in training and prediction. The last digits of the
        trained weights depend on it.

    References
    ----------
    .. [1] Howard J, Ruder S (2018). Universal language model fine-tuning for text
       classification. ACL.

    Examples
    --------
    >>> from sklearn.preprocessing import StandardScaler
    >>> from skfusion import JointFusionClassifier
    >>> from skfusion.fusion import TrainingSettings
    >>> model = JointFusionClassifier(
    ...     [("ehr", StandardScaler(), ["age", "crp"])],
    ...     training=TrainingSettings(patience=10, scheduler="cosine"))
    >>> model.set_params(training__patience=20).training.patience
    20
    """

    __module__ = "skfusion.fusion"

    def __init__(
        self,
        *,
        patience: int = 5,
        validation_fraction: float = 0.15,
        weight_decay: float = 1e-2,
        encoder_lr_factor: float = 0.1,
        encoder_lr_decay: float = 1.0,
        unfreeze_every: int | None = None,
        scheduler: Any = None,
        gradient_clip: float | None = None,
        augmentation: Any = None,
        test_time_views: int = 0,
        precision: str = "auto",
        callbacks: Any = None,
        auxiliary_target_weight: float = 1.0,
        n_threads: int = 1,
    ) -> None:
        self.patience = patience
        self.validation_fraction = validation_fraction
        self.weight_decay = weight_decay
        self.encoder_lr_factor = encoder_lr_factor
        self.encoder_lr_decay = encoder_lr_decay
        self.unfreeze_every = unfreeze_every
        self.scheduler = scheduler
        self.gradient_clip = gradient_clip
        self.augmentation = augmentation
        self.test_time_views = test_time_views
        self.precision = precision
        self.callbacks = callbacks
        self.auxiliary_target_weight = auxiliary_target_weight
        self.n_threads = n_threads

    def check(self, estimator_name: str) -> None:
        """Check the parameters before anything is computed.

        Parameters
        ----------
        estimator_name : str
            Name of the fusion estimator, for the messages.

        Raises
        ------
        ValueError
            If a parameter is out of range.
        TypeError
            If a callback is not a skorch callback or cannot be copied.
        """
        check_number(
            self.validation_fraction,
            "validation_fraction",
            estimator_name,
            low=0,
            high=1,
            exclude_high=True,
        )
        for name in ("patience", "n_threads"):
            value = getattr(self, name)
            check_number(value, name, estimator_name, low=1, integer=True)
        for name in (
            *("encoder_lr_factor", "encoder_lr_decay", "weight_decay"),
            "auxiliary_target_weight",
        ):
            check_number(getattr(self, name), name, estimator_name, low=0)
        if self.unfreeze_every is not None:
            check_number(
                self.unfreeze_every,
                "unfreeze_every",
                estimator_name,
                low=1,
                integer=True,
                also="None",
            )
        if self.gradient_clip is not None:
            check_number(
                self.gradient_clip,
                "gradient_clip",
                estimator_name,
                low=0,
                exclude_low=True,
                also="None",
            )
        check_option(self.precision, "precision", PRECISIONS, estimator_name)
        self._check_views(estimator_name)
        check_callbacks(self.callbacks, self.scheduler, estimator_name)

    def _check_views(self, estimator_name: str) -> None:
        augment = batch_augmentation(self.augmentation, estimator_name)
        views = self.test_time_views
        check_number(views, "test_time_views", estimator_name, low=0, integer=True)
        if views and augment is None:
            raise ValueError(
                f"{estimator_name}: test_time_views={views} needs an augmentation, got "
                "augmentation=None. Pass augmentation='default' or a callable."
            )
