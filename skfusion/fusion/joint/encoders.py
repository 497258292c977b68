"""Torch encoders of numeric columns: `TorchEncoder` and sequence networks."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from typing import Any, Self

import numpy as np
import torch
from sklearn.base import (
    BaseEstimator,
    ClassNamePrefixFeaturesOutMixin,
    TransformerMixin,
)
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted, validate_data
from torch import Tensor, nn

from skfusion._fitting.modality_warnings import warn_of_modality
from skfusion._fitting.state import undone_on_failure
from skfusion._validation import check_number, check_option
from skfusion.exceptions import DataWarning
from skfusion.fusion.joint.grids import (
    N_CHANNELS,
    count_codes,
    is_event_grid,
    split_channels,
    takes_grid,
)
from skfusion.fusion.torch_runtime import ordinary_modes, seeded_torch, torch_threads
from skfusion.image.networks.freezing.parts import parameter_groups, trainable_names
from skfusion.image.networks.freezing.untrained import (
    frozen_note,
    obeys_owner,
    warn_untrained,
)

__all__ = ["GRUDEncoder", "SequenceTransformer", "TorchEncoder", "small_mlp"]


BATCH_SIZE = 1024
HIDDEN_WIDTH = 32


class TorchEncoder(ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator):
    """Transformer that applies a torch module to numeric columns.

    In joint fusion the module is the encoder of its modality and is trained together
    with the rest of the network. In all other uses its weights stay fixed, so that it
    is a frozen encoder.

    Parameters
    ----------
    module : torch.nn.Module, callable or None, default=None
        Module from ``(B, n_features_in_)`` to ``(B, n_features_out)``. It is copied
        and never changed. A callable ``module(n_features) -> torch.nn.Module`` creates
        a module for the number of columns. None creates a small network of two layers,
        which is only useful if it is trained, in joint fusion. A module for sequences
        begins with ``torch.nn.Unflatten``. `skfusion.fusion` provides the sequence
        networks ``GRUDEncoder`` and ``SequenceTransformer``.
    trainable : {"head", "last_block", "all"}, int or list of str, default="all"
        Part of the module that joint fusion trains: nothing (``"head"``), its last
        block, everything, a number of last blocks, or the layers below these names.
        With ``"all"``, parameters of `module` that do not require gradients stay
        frozen. In the trained part, dropout is on and batch norms follow the data. In
        the frozen part, dropout is off and batch norms keep their running statistics.
    lr_factor : float, default=1.0
        Factor of the learning rate of joint fusion for this module. Use less than 1 for
        a module with pretrained weights.
    standardize : {"auto"} or bool, default="auto"
        Whether columns are scaled to mean 0 and standard deviation 1 on the training
        rows before they are passed to the module. ``"auto"`` scales them unless they
        are a grid of events: the columns are the output of `EventGrid`, or the module
        or one of its submodules has the attribute ``takes_grid = True``, as
        ``GRUDEncoder`` and ``SequenceTransformer`` do. The values of a grid are
        already standardised, and its indicators of observed values are switches.
    random_state : int, RandomState or None, default=None
        Seed of the weights of a module that is created in `fit`.

    Attributes
    ----------
    module_ : torch.nn.Module
        The module, in evaluation mode.
    means_ : ndarray of shape (n_features_in_,)
        Mean of each column. It replaces missing values in rows with other values.
    scales_ : ndarray of shape (n_features_in_,)
        Divisor of each column, 1 if the columns are not standardised.
    standardized_ : bool
        Whether the columns are standardised.
    n_features_in_ : int
        Number of columns.
    feature_names_in_ : ndarray of str of shape (n_features_in_,)
        Names of the columns, if all are strings.

    See Also
    --------
    skfusion.ImageEmbedder : Transformer of images.
    skfusion.JointFusionClassifier : Estimator that trains the module.

    Warns
    -----
    FallbackWarning
        If a module that is created in `fit` has random weights that are not trained:
        outside of joint fusion, or in the frozen part. Also if parameters that
        `trainable` selects do not require gradients.
    DataWarning
        If ``standardize=True`` scales a grid of `EventGrid`.

    Notes
    -----
    A module that reads the channels of a grid (T, 3, C) declares it with the class
    attribute ``takes_grid = True``.

    A row in which every column is NaN is an absent modality. Its output is NaN.

    A layer without parameters, such as dropout, belongs to the part of the parameters
    before it, in the order of their registration.

    Examples
    --------
    A recurrent network over five visits with one measurement each:

    >>> import numpy as np
    >>> import torch
    >>> from torch import nn
    >>> from skfusion.fusion import TorchEncoder
    >>> class Recurrent(nn.Module):
    ...     def __init__(self):
    ...         super().__init__()
    ...         self.cell = nn.GRU(input_size=1, hidden_size=8, batch_first=True)
    ...
    ...     def forward(self, visits):  # (B, 5)
    ...         return self.cell(visits[:, :, None])[1][-1]  # (B, 8)
    >>> visits = np.random.default_rng(0).normal(size=(20, 5))
    >>> TorchEncoder(Recurrent()).fit_transform(visits).shape
    (20, 8)
    """

    __module__ = "skfusion.fusion"

    module_: nn.Module
    means_: np.ndarray
    scales_: np.ndarray
    _n_features_out: int

    def __init__(
        self,
        module: nn.Module | Callable[[int], nn.Module] | None = None,
        *,
        trainable: Any = "all",
        lr_factor: float = 1.0,
        standardize: bool | str = "auto",
        random_state: Any = None,
    ) -> None:
        self.module = module
        self.trainable = trainable
        self.lr_factor = lr_factor
        self.standardize = standardize
        self.random_state = random_state

    @undone_on_failure
    @ordinary_modes()
    def fit(self, X: Any, y: Any = None) -> Self:
        """Compute means and scales, create the module and check its output.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Numeric values. NaN is a missing value.
        y : ignored
            Not used, present for API consistency.

        Returns
        -------
        self
            The fitted encoder.

        Raises
        ------
        TypeError
            If `module` is neither a module nor a callable that returns one.
        ValueError
            If a parameter is invalid, the module does not map rows of these columns to
            one vector per row, or it takes a grid and ``standardize=True``.
        """
        values = self._check_values(X, reset=True)
        check_number(self.lr_factor, "lr_factor", "TorchEncoder", low=0)
        known = ~np.isnan(values)
        counts = np.maximum(known.sum(axis=0), 1)
        self.means_ = np.where(known, values, 0.0).sum(axis=0) / counts
        deviations = np.where(known, values - self.means_, 0.0)
        spread = np.sqrt((deviations**2).sum(axis=0) / counts)
        # Rounding gives a constant column a small spread without information.
        informative = spread > 1e-12 * np.maximum(np.abs(self.means_), 1e-300)
        self.module_, self._random = self._make_module(values.shape[1])
        self.standardized_ = self._is_to_standardize(values)
        self.scales_ = np.where(informative & self.standardized_, spread, 1.0)
        trainable_names(self.module_, self.trainable)  # raises for unknown names
        self._n_features_out = self._try_module(values.shape[1])
        if self._random:
            warn_untrained(
                f"TorchEncoder: {len(self._random)} of "
                f"{len(list(self.module_.parameters()))} weight tensors of the module "
                f"{type(self.module_).__name__} are random."
            )
        return self

    def transform(self, X: Any) -> np.ndarray:
        """Return the module's output for each row.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features_in_)
            Numeric values. NaN is a missing value.

        Returns
        -------
        ndarray of shape (n_samples, n_features_out)
            Values in the precision of the module. Rows without any value are NaN.
        """
        inputs = self.prepare(X)
        present = np.flatnonzero(~np.isnan(inputs).any(axis=1))
        outputs = np.full(
            (len(inputs), self._n_features_out), np.nan, dtype=inputs.dtype
        )
        with ordinary_modes(), torch.inference_mode(), torch_threads(1):
            for start in range(0, len(present), BATCH_SIZE):
                rows = present[start : start + BATCH_SIZE]
                outputs[rows] = self.module_(torch.from_numpy(inputs[rows])).numpy()
        bad = present[~np.isfinite(outputs[present]).all(axis=1)]
        if len(bad):  # NaN would mean that the modality is absent
            raise ValueError(
                f"TorchEncoder: the module {type(self.module_).__name__} returns NaN "
                f"or infinity for {len(bad)} of {len(inputs)} rows, first at row "
                f"position(s) {bad[:5].tolist()} of its input. Check its weights, and "
                "functions such as logarithms or divisions in it."
            )
        return outputs

    def prepare(self, X: Any) -> np.ndarray:
        """Return the inputs of the module, imputed and standardised.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features_in_)
            Numeric values. NaN is a missing value.

        Returns
        -------
        ndarray of shape (n_samples, n_features_in_)
            Values in the precision of the module. Rows without any value are NaN.
        """
        check_is_fitted(self, "module_")
        values = self._check_values(X, reset=False)
        gaps = np.isnan(values)
        filled = np.where(gaps, self.means_, values)
        if self.standardized_:
            filled = (filled - self.means_) / self.scales_
        filled[gaps.all(axis=1)] = np.nan
        # A fixed memory layout, because rounding in the kernels depends on it.
        return filled.astype(self.dtype, order="C", copy=False)

    @property
    def dtype(self) -> np.dtype:
        """Precision of the weights of the fitted module."""
        tensor = torch.empty(0, dtype=_precision(self.module_), device="cpu")
        return tensor.numpy().dtype

    def trainable_module(self) -> nn.Module:
        """Return a copy of the fitted module in which only `trainable` is trained.

        Returns
        -------
        torch.nn.Module
            Its frozen parameters do not require gradients.
        """
        module = copy.deepcopy(self.module_)
        names = self._trained_names()
        for name, parameter in module.named_parameters():
            parameter.requires_grad_(name in names)
        return module

    def trainable_blocks(self) -> list[list[str]]:
        """Return the names of the trainable parameters by block, from the input on.

        Returns
        -------
        list of list of str
        """
        names = self._trained_names()
        groups = parameter_groups(self.module_).values()
        blocks = [[name for name in group if name in names] for group in groups]
        return [block for block in blocks if block]

    def training_note(self) -> str:
        """Return a warning about parts that joint fusion does not train, or ''."""
        names = [name for name, _ in self.module_.named_parameters()]
        trained = self._trained_names()
        return frozen_note(
            type(self.module_).__name__,
            names,
            trained,
            self.trainable,
            kept=trainable_names(self.module_, self.trainable) - trained,
            random=self._random,
        )

    @property
    def is_untrained(self) -> bool:
        """Whether the module is known to have random weights."""
        return self.module is None or bool(getattr(self, "_random", ()))

    def _trained_names(self) -> set[str]:
        """Return the selected parameters that the user has not frozen."""
        selected = trainable_names(self.module_, self.trainable)
        if not obeys_owner(self.trainable):
            return selected
        named = self.module_.named_parameters()
        return {name for name, p in named if name in selected and p.requires_grad}

    def _is_to_standardize(self, values: np.ndarray) -> bool:
        """Return whether the columns are scaled, and refuse to scale a grid's."""
        if not isinstance(self.standardize, (bool, np.bool_)):
            check_option(self.standardize, "standardize", ("auto",), "TorchEncoder")
            return not takes_grid(self.module_) and not is_event_grid(values)
        if self.standardize:
            kind = type(self.module_).__name__
            if getattr(self.module_, "takes_grid", False):
                raise ValueError(
                    f"TorchEncoder: got standardize=True with the module {kind}, which "
                    "takes the grid of EventGrid. Its indicators of observed values "
                    "must stay 0 and 1. Set standardize='auto'."
                )
            if is_event_grid(values):
                warn_of_modality(
                    "standardised grid",
                    f"TorchEncoder: standardize=True scales the {values.shape[1]} "
                    f"columns of a grid of EventGrid for the module {kind}, so that "
                    "its indicators of observed values are no longer 0 and 1. Set "
                    "standardize='auto'.",
                    DataWarning,
                )
        return bool(self.standardize)

    def _check_values(self, X: Any, *, reset: bool) -> np.ndarray:
        values = validate_data(
            self, X, dtype=np.float64, ensure_all_finite=False, reset=reset
        )
        infinite = np.isinf(values)
        if infinite.any():
            names = getattr(self, "feature_names_in_", np.arange(values.shape[1]))
            found = names[infinite.any(axis=0)].tolist()
            more = f" and {len(found) - 5} more" if len(found) > 5 else ""
            raise ValueError(
                f"TorchEncoder: X contains infinity in {infinite.any(axis=1).sum()} of "
                f"{len(values)} rows, in column(s) {found[:5]}{more}."
            )
        return values

    def _make_module(self, n_features: int) -> tuple[nn.Module, tuple[str, ...]]:
        """Return the module and the names of its parameters with random weights.

        Random are those that differ between two seeds.
        """
        if isinstance(self.module, nn.Module):
            return copy.deepcopy(self.module).eval(), ()
        factory = small_mlp if self.module is None else self.module
        if not callable(factory):
            raise TypeError(
                "TorchEncoder: module must be a torch.nn.Module, a function that "
                f"creates one for the number of columns, or None, got {factory!r}."
            )
        seed = check_random_state(self.random_state).randint(np.iinfo(np.int32).max)
        module, other = (_created(factory, n_features, int(seed) + i) for i in (0, 1))
        names = dict(other.named_parameters())
        random = tuple(
            name
            for name, weights in module.named_parameters()
            if name not in names or not _are_equal(weights, names[name])
        )
        return module, random

    def _try_module(self, n_features: int) -> int:
        """Return the width of the output of the module for two rows of zeros."""
        kind = type(self.module_).__name__
        rows = torch.zeros(2, n_features, dtype=_precision(self.module_))
        try:
            with torch.inference_mode():
                output = self.module_(rows)
        except Exception as error:
            raise ValueError(
                f"TorchEncoder: the module {kind} fails on rows of {n_features} "
                f"columns: {error}. It must take a tensor (B, {n_features}). A "
                "function module(n_features) can create a module of this width."
            ) from error
        if not isinstance(output, Tensor) or output.ndim != 2 or len(output) != 2:
            is_tensor = isinstance(output, Tensor)
            what = tuple(output.shape) if is_tensor else type(output).__name__
            raise ValueError(
                f"TorchEncoder: the module {kind} turns 2 rows into {what}, expected "
                "one tensor of shape (2, n_features_out). Wrap it in a module that "
                "returns one vector per row."
            )
        return output.shape[1]

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        tags.transformer_tags.preserves_dtype = []
        return tags


def small_mlp(n_features: int) -> nn.Module:
    """Return the default module of `TorchEncoder`.

    Parameters
    ----------
    n_features : int
        Number of inputs.

    Returns
    -------
    torch.nn.Module
        Module from (B, n_features) to (B, 32) with one hidden layer of width 32.

    Examples
    --------
    >>> import torch
    >>> from skfusion.fusion.joint.encoders import small_mlp
    >>> small_mlp(5)(torch.zeros(2, 5, dtype=torch.float64)).shape
    torch.Size([2, 32])
    """
    return nn.Sequential(
        nn.Linear(n_features, HIDDEN_WIDTH, dtype=torch.float64),
        nn.ReLU(),
        nn.Linear(HIDDEN_WIDTH, HIDDEN_WIDTH, dtype=torch.float64),
        nn.ReLU(),
    )


def _created(
    factory: Callable[[int], nn.Module], n_features: int, seed: int
) -> nn.Module:
    with seeded_torch(seed):
        module = factory(n_features)
    if not isinstance(module, nn.Module):
        raise TypeError(
            f"TorchEncoder: module({n_features}) returned {type(module).__name__}, "
            "expected a torch.nn.Module."
        )
    return module.eval()


def _are_equal(first: Tensor, second: Tensor) -> bool:
    return first.shape == second.shape and torch.equal(first, second)


def _precision(module: nn.Module) -> torch.dtype:
    floats = (p.dtype for p in module.parameters() if p.is_floating_point())
    return next(floats, torch.float32)


class GRUDEncoder(nn.Module):
    """Gated recurrent unit with decay of missing values (GRU-D).

    A missing value is replaced by the last observed value [1]_. The latter decays with
    time towards the mean, which is 0 for standardised values. The hidden state decays
    with time as well.

    Parameters
    ----------
    n_features : int
        Number of inputs in a row: ``n_steps * 3 * n_codes``.
    n_steps : int
        Number of time steps T.
    width : int, default=32
        Width H of the hidden state and of the output.
    dropout : float, default=0.0
        Fraction of the output that is dropped in training.

    Raises
    ------
    ValueError
        If the inputs are not a grid with this number of steps, or, in `forward`, an
        indicator of an observed value is neither 0 nor 1 or a time since is negative.

    References
    ----------
    .. [1] Che Z et al. (2018). Recurrent neural networks for multivariate time series
       with missing values. Scientific Reports 8:6085.

    Examples
    --------
    `functools.partial` creates a callable for `TorchEncoder`, which sets the number of
    inputs in `fit`:

    >>> from functools import partial
    >>> import torch
    >>> from skfusion.fusion import GRUDEncoder, TorchEncoder
    >>> module = partial(GRUDEncoder, n_steps=6, width=8)
    >>> encoder = TorchEncoder(module)
    >>> module(6 * 3 * 2)(torch.zeros(20, 6 * 3 * 2)).shape  # 6 steps, 2 codes
    torch.Size([20, 8])
    """

    __module__ = "skfusion.fusion"

    #: `TorchEncoder` does not standardise the columns of a grid.
    takes_grid = True

    def __init__(
        self, n_features: int, n_steps: int, width: int = 32, dropout: float = 0.0
    ) -> None:
        super().__init__()
        self.n_steps = n_steps
        n_codes = count_codes(n_features, n_steps, "GRUDEncoder")
        # A value decays at one rate per code, the hidden state at a mixture of rates.
        self.value_decay = nn.Parameter(torch.zeros(2, n_codes))
        self.state_decay = nn.Linear(n_codes, width)
        self.cell = nn.GRUCell(2 * n_codes, width)
        self.dropout = nn.Dropout(dropout)
        nn.init.uniform_(self.value_decay[0], 0.0, 1.0)

    def forward(self, grid: Tensor) -> Tensor:
        """Return the last hidden state (B, H) for grids (B, T * 3 * C)."""
        value, observed, since = split_channels(grid, self.n_steps, "GRUDEncoder")
        weight, bias = self.value_decay
        value_decay = torch.exp(-torch.relu(weight * since + bias))  # (B, T, C)
        state_decay = torch.exp(-torch.relu(self.state_decay(since)))  # (B, T, H)
        last = torch.zeros_like(value[:, 0])  # (B, C)
        state = torch.zeros_like(state_decay[:, 0])  # (B, H)
        for step in range(self.n_steps):
            there = observed[:, step]
            # the observed value, or the decayed last one if it is missing
            filled = torch.where(there > 0, value[:, step], value_decay[:, step] * last)
            last = torch.where(there > 0, value[:, step], last)
            inputs = torch.cat([filled, there], dim=1)  # (B, 2 C)
            state = self.cell(inputs, state_decay[:, step] * state)
        return self.dropout(state)


class SequenceTransformer(nn.Module):
    """Small transformer over the time steps of a grid.

    Each step is a token [1]_. Steps without any observation are masked in the
    attention. The output is the representation of a learned first token.

    Parameters
    ----------
    n_features : int
        Number of inputs in a row: ``n_steps * 3 * n_codes``.
    n_steps : int
        Number of time steps T.
    width : int, default=32
        Width H of a token and of the output. It must be even and a multiple of
        `n_heads`.
    n_heads : int, default=4
        Number of attention heads.
    n_layers : int, default=2
        Number of layers.
    dropout : float, default=0.1
        Fraction that is dropped within each layer in training.

    Raises
    ------
    ValueError
        If the inputs are not a grid with this number of steps, or `width` is invalid.
        In `forward`, if an indicator of an observed value is neither 0 nor 1, or a time
        since is negative.

    See Also
    --------
    GRUDEncoder : Network with fewer weights and a decay of missing values.

    References
    ----------
    .. [1] Vaswani A et al. (2017). Attention is all you need. NeurIPS 30.

    Examples
    --------
    >>> import torch
    >>> from skfusion.fusion import SequenceTransformer
    >>> encoder = SequenceTransformer(6 * 3 * 2, n_steps=6, width=8)
    >>> encoder(torch.zeros(5, 36)).shape
    torch.Size([5, 8])
    """

    __module__ = "skfusion.fusion"

    #: `TorchEncoder` does not standardise the columns of a grid.
    takes_grid = True
    positions: Tensor

    def __init__(
        self,
        n_features: int,
        n_steps: int,
        width: int = 32,
        n_heads: int = 4,
        n_layers: int = 2,
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        self.n_steps = n_steps
        n_codes = count_codes(n_features, n_steps, "SequenceTransformer")
        if width % 2 or width % n_heads:
            raise ValueError(
                f"SequenceTransformer: width must be even and a multiple of "
                f"n_heads={n_heads}, got {width}."
            )
        self.embed = nn.Linear(N_CHANNELS * n_codes, width)
        self.summary = nn.Parameter(torch.zeros(width))
        self.register_buffer("positions", _waves(n_steps, width))
        layer = nn.TransformerEncoderLayer(
            width, n_heads, 2 * width, dropout, batch_first=True, norm_first=True
        )
        self.layers = nn.TransformerEncoder(
            layer, n_layers, nn.LayerNorm(width), enable_nested_tensor=False
        )

    def forward(self, grid: Tensor) -> Tensor:
        """Return the first token (B, H) for grids (B, T * 3 * C)."""
        value, observed, since = split_channels(
            grid, self.n_steps, "SequenceTransformer"
        )
        steps = torch.cat([value * observed, observed, since], dim=2)  # (B, T, 3 C)
        tokens = self.embed(steps) + self.positions  # (B, T, H)
        summary = self.summary.expand(len(grid), 1, -1)  # (B, 1, H)
        empty = observed.sum(dim=2) == 0  # (B, T)
        ignored = torch.cat([torch.zeros_like(empty[:, :1]), empty], dim=1)
        encoded = self.layers(
            torch.cat([summary, tokens], dim=1), src_key_padding_mask=ignored
        )
        return encoded[:, 0]


def _waves(n_steps: int, width: int) -> Tensor:
    """Return sines and cosines of decreasing frequency (T, H)."""
    step = torch.arange(n_steps)[:, None]  # (T, 1)
    frequency = torch.exp(torch.arange(0, width, 2) * (-math.log(1e4) / width))
    angle = step * frequency  # (T, H / 2)
    return torch.stack([angle.sin(), angle.cos()], dim=2).reshape(n_steps, width)
