"""Gated multimodal unit, the learned join of early fusion.

The weights are trained with torch. The fitted weights and the transformation are NumPy.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from scipy.special import expit
from sklearn.base import BaseEstimator
from torch import Tensor
from torch.nn import functional

from skfusion._fitting.state import undone_on_failure
from skfusion._validation import check_number
from skfusion.blocks import Blocks
from skfusion.fusion.inner_estimators import BlockScaler
from skfusion.fusion.losses import cox_loss
from skfusion.fusion.targets import Target
from skfusion.fusion.torch_runtime import ordinary_modes, torch_threads

__all__ = ["GatedUnit"]


class GatedUnit(BaseEstimator):
    r"""Join of feature blocks by a gated multimodal unit.

    Each modality m has a hidden vector :math:`h_m = \tanh(W_m x_m + b_m)` and a gate
    :math:`z_m = \sigma(V_m [x_1, \dots, x_M] + c_m)`. The joined vector is
    :math:`h = \sum_m z_m h_m` [1]_. The gate of one modality depends on the others, so
    h can represent their interactions. The gate of an absent modality is closed. In the
    gates of the others, its features are 0, which is their mean.

    The weights are trained with a linear head on h, which is discarded afterwards. The
    estimator of the fusion is then fitted on h. Because the weights are trained on the
    same rows, h fits them better than new rows. `weight_decay` limits this difference.

    Parameters
    ----------
    n_units : int, default=16
        Width of h.
    weight_decay : float, default=0.01
        Half of this value times the sum of the squared weights is added to the mean
        loss.
    max_iter : int, default=200
        Maximum number of iterations of L-BFGS over all rows.

    Attributes
    ----------
    n_iter_ : int
        Number of evaluations of the loss.
    loss_ : float
        Final value of the loss, including the penalty.

    References
    ----------
    .. [1] Arevalo J et al. (2017). Gated multimodal units for information fusion.
       arXiv:1702.01992.

    Examples
    --------
    >>> from sklearn.linear_model import LogisticRegression
    >>> import numpy as np
    >>> from sklearn.preprocessing import StandardScaler
    >>> from skfusion import EarlyFusionClassifier
    >>> X = np.random.default_rng(0).normal(size=(300, 2))
    >>> y = X[:, 0] * X[:, 1] > 0  # an interaction of both modalities
    >>> modalities = [("a", StandardScaler(), [0]), ("b", StandardScaler(), [1])]
    >>> model = EarlyFusionClassifier(
    ...     modalities, estimator=LogisticRegression(), join="gated",
    ...     join_params={"n_units": 8}, random_state=0,
    ... )
    >>> bool(model.fit(X[:200], y[:200]).score(X[200:], y[200:]) > 0.85)
    True
    """

    def __init__(
        self,
        n_units: int = 16,
        *,
        weight_decay: float = 0.01,
        max_iter: int = 200,
    ) -> None:
        self.n_units = n_units
        self.weight_decay = weight_decay
        self.max_iter = max_iter

    @undone_on_failure
    @ordinary_modes()
    def fit(
        self,
        blocks: Blocks,
        y: np.ndarray,
        *,
        target: Target,
        sample_weight: np.ndarray | None,
        random_state: np.random.RandomState,
        **learning: Any,
    ) -> GatedUnit:
        """Fit the weights on the training rows.

        Parameters
        ----------
        blocks : Blocks
            One block per modality. Each block is standardised and divided by the square
            root of its width, so that wide blocks do not dominate. A missing value
            becomes 0, which is the mean.
        y : ndarray of n_samples rows
            Encoded target.
        target : Target
            Prediction task of `y`.
        sample_weight : ndarray of shape (n_samples,) or None
            Weights of the rows in the loss.
        random_state : RandomState
            Generator of the initial weights.
        **learning : any
            Ignored: the names of the features.

        Returns
        -------
        self
            The fitted join.

        Raises
        ------
        ValueError
            If a parameter is out of range.
        """
        self._check_parameters()
        weights = np.ones(len(y)) if sample_weight is None else sample_weight
        self._scalers = {}
        for j, (name, block) in enumerate(blocks.arrays.items()):
            here = blocks.presence[:, j]
            self._scalers[name] = _Standardised(block[here], weights[here])
        inputs = self._inputs(blocks)
        parameters = self._first_weights(
            [x.shape[1] for x in inputs], _head_width(target), random_state
        )
        with torch_threads(1):
            self._train(inputs, blocks.presence, parameters, _loss(y, target, weights))
        return self

    def transform(self, blocks: Blocks) -> np.ndarray:
        """Return the joined vector h of each row.

        Parameters
        ----------
        blocks : Blocks
            One block per modality.

        Returns
        -------
        ndarray of float64 of shape (n_samples, n_units)
            Joined features, 0 in rows without any modality.
        """
        inputs = self._inputs(blocks)
        together = np.hstack(inputs)
        joined = np.zeros((len(together), self.n_units))
        for j, x in enumerate(inputs):
            hidden = np.tanh(_affine(x, *self._hidden[j]))
            gate = expit(_affine(together, *self._gates[j]))
            joined += gate * hidden * blocks.presence[:, [j]]
        return joined

    def get_feature_names_out(self) -> np.ndarray:
        """Return ``joined0``, ``joined1`` and so on."""
        return np.asarray([f"joined{i}" for i in range(self.n_units)], dtype=object)

    # -- training -----------------------------------------------------------------

    def _inputs(self, blocks: Blocks) -> list[np.ndarray]:
        return [
            np.where(blocks.presence[:, [j]], self._scalers[name](block), 0.0)
            for j, (name, block) in enumerate(blocks.arrays.items())
        ]

    def _first_weights(
        self, widths: list[int], n_outputs: int, random_state: np.random.RandomState
    ) -> list[Tensor]:
        """Draw W, b, V and c of each modality, then the weights of the head."""
        k = self.n_units
        shapes = [shape for width in widths for shape in ((width, k), (sum(widths), k))]
        scales = [*[1.0] * len(shapes), k**-0.5]
        parameters = []
        for (n_in, n_out), scale in zip([*shapes, (k, n_outputs)], scales, strict=True):
            drawn = random_state.normal(0, scale, size=(n_in, n_out))
            parameters += [torch.tensor(drawn), torch.zeros(n_out, dtype=torch.float64)]
        return [parameter.requires_grad_() for parameter in parameters]

    def _train(
        self,
        inputs: list[np.ndarray],
        presence: np.ndarray,
        parameters: list[Tensor],
        loss_of: Callable[[Tensor], Tensor],
    ) -> None:
        tensors = [torch.from_numpy(x) for x in inputs]
        together = torch.cat(tensors, dim=1)
        masks = torch.from_numpy(presence.astype(np.float64))
        *units, head_weight, head_bias = parameters
        optimizer = torch.optim.LBFGS(
            parameters, max_iter=self.max_iter, line_search_fn="strong_wolfe"
        )

        def closure() -> Tensor:
            optimizer.zero_grad()
            joined = torch.zeros((len(masks), self.n_units), dtype=torch.float64)
            for j, x in enumerate(tensors):
                w, b, v, c = units[4 * j : 4 * j + 4]
                gate = torch.sigmoid(together @ v + c) * masks[:, j : j + 1]
                joined = joined + gate * torch.tanh(x @ w + b)
            penalty = sum((p**2).sum() for p in parameters[::2])
            loss = loss_of(joined @ head_weight + head_bias)
            loss = loss + self.weight_decay / 2 * penalty
            loss.backward()
            return loss

        optimizer.step(closure)
        self.loss_ = float(closure().detach())
        self.n_iter_ = int(optimizer.state[parameters[0]]["func_evals"])
        found = [parameter.detach().numpy() for parameter in units]
        self._hidden = [(found[i], found[i + 1]) for i in range(0, len(found), 4)]
        self._gates = [(found[i + 2], found[i + 3]) for i in range(0, len(found), 4)]

    def _check_parameters(self) -> None:
        for name in ("n_units", "max_iter"):
            check_number(getattr(self, name), name, "GatedUnit", low=1, integer=True)
        check_number(self.weight_decay, "weight_decay", "GatedUnit", low=0)


class _Standardised:
    """Scaler of a block to mean 0 and total variance 1, with NaN replaced by 0."""

    def __init__(self, block: np.ndarray, weights: np.ndarray) -> None:
        self._scaler = BlockScaler().fit(block, sample_weight=weights)
        self._width = max(1, int((self._scaler.var_ > 0).sum()))

    def __call__(self, block: np.ndarray) -> np.ndarray:
        scaled = self._scaler.transform(block.astype(np.float64))
        return np.nan_to_num(scaled, nan=0.0) / np.sqrt(self._width)


def _affine(x: np.ndarray, weight: np.ndarray, bias: np.ndarray) -> np.ndarray:
    return x @ weight + bias


def _head_width(target: Target) -> int:
    return 1 if target.kind == "survival" else target.n_outputs


def _loss(
    y: np.ndarray, target: Target, weights: np.ndarray
) -> Callable[[Tensor], Tensor]:
    """Return the function that computes the mean loss of the outputs of the head."""
    share = torch.from_numpy(weights / weights.sum())
    if target.kind == "classes":
        classes = torch.from_numpy(y.astype(np.int64))
        return lambda out: (
            share * functional.cross_entropy(out, classes, reduction="none")
        ).sum()
    if target.kind == "survival":
        rows = np.flatnonzero(weights > 0)  # the others are in no risk set
        times = np.column_stack([y["time"], y["event"]])[rows].astype(np.float64)
        known, part = torch.from_numpy(times), share[rows]
        # The loss is that of an event, so that the penalty does not depend on the share
        # of rows that are censored.
        per_event = len(rows) / float(part @ known[:, 1])
        return lambda out: per_event * cox_loss(out[rows], known, part)
    values = torch.from_numpy(y.reshape(len(y), -1).astype(np.float64))
    if target.kind == "labels":
        return lambda out: (
            share
            * functional.binary_cross_entropy_with_logits(
                out, values, reduction="none"
            ).mean(dim=1)
        ).sum()
    mean = (share[:, None] * values).sum(dim=0)
    spread = (share[:, None] * (values - mean) ** 2).sum(dim=0).sqrt()
    scaled = (values - mean) / spread.clamp(min=torch.finfo(torch.float64).tiny)
    return lambda out: (share * ((out - scaled) ** 2).mean(dim=1)).sum() / 2
