"""Encoders of time series with gaps: pure torch, no scikit-learn and no tables.

What they read is a grid: for each step of time and each code the value, whether it
was observed, and how long ago it last was. B is the batch size, T the number of steps,
C of codes, H the width. Read next: `skfusion.fusion.torch_encoder`, which makes them
part of a joint net.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

__all__ = ["GRUDEncoder", "SequenceTransformer"]

#: Channels of a cell: value, observed (0 or 1), time since it last was.
N_CHANNELS = 3


class GRUDEncoder(nn.Module):
    """A gated recurrent unit whose memory of what it does not see decays: GRU-D [1]_.

    A value that is missing is replaced by the last one, which fades towards the mean
    (0, as values are standardised) the longer ago it was. So does the hidden state.

    Parameters
    ----------
    n_features : int
        Number of inputs in a row: ``n_steps * 3 * n_codes``.
    n_steps : int
        Number of steps of time T.
    width : int, default=32
        Width H of the hidden state, and of the output.
    dropout : float, default=0.0
        Share of the output that is dropped in training.

    Raises
    ------
    ValueError
        If the inputs are no grid of that many steps.

    References
    ----------
    .. [1] Che Z et al. (2018). Recurrent neural networks for multivariate time series
       with missing values. Scientific Reports 8:6085.

    Examples
    --------
    With `functools.partial` it is a module for `TorchEncoder`, which knows the number
    of inputs in `fit`:

    >>> from functools import partial
    >>> import numpy as np
    >>> from skfusion import TorchEncoder
    >>> from skfusion.fusion import GRUDEncoder
    >>> grids = np.random.default_rng(0).random((20, 6 * 3 * 2))  # 6 steps, 2 codes
    >>> module = partial(GRUDEncoder, n_steps=6, width=8)
    >>> TorchEncoder(module, standardize=False).fit_transform(grids).shape
    (20, 8)
    """

    def __init__(
        self, n_features: int, n_steps: int, width: int = 32, dropout: float = 0.0
    ) -> None:
        super().__init__()
        self.n_steps = n_steps
        n_codes = _n_codes(n_features, n_steps, "GRUDEncoder")
        # one rate of decay per code for its value, any mixture for the hidden state
        self.value_decay = nn.Parameter(torch.zeros(2, n_codes))
        self.state_decay = nn.Linear(n_codes, width)
        self.cell = nn.GRUCell(2 * n_codes, width)
        self.dropout = nn.Dropout(dropout)
        nn.init.uniform_(self.value_decay[0], 0.0, 1.0)

    def forward(self, grid: Tensor) -> Tensor:
        """Return the last hidden state (B, H) for grids (B, T * 3 * C)."""
        value, observed, since = _channels(grid, self.n_steps)  # (B, T, C) each
        weight, bias = self.value_decay
        value_decay = torch.exp(-torch.relu(weight * since + bias))  # (B, T, C)
        state_decay = torch.exp(-torch.relu(self.state_decay(since)))  # (B, T, H)
        last = torch.zeros_like(value[:, 0])  # (B, C)
        state = torch.zeros_like(state_decay[:, 0])  # (B, H)
        for step in range(self.n_steps):
            there = observed[:, step]
            # the value itself where it is there, else what is left of the last one
            filled = torch.where(there > 0, value[:, step], value_decay[:, step] * last)
            last = torch.where(there > 0, value[:, step], last)
            inputs = torch.cat([filled, there], dim=1)  # (B, 2 C)
            state = self.cell(inputs, state_decay[:, step] * state)
        return self.dropout(state)


class SequenceTransformer(nn.Module):
    """A small transformer over the steps of a grid.

    Each step is a token; steps in which nothing was observed are left out of the
    attention. The output is that of a learned first token.

    Parameters
    ----------
    n_features : int
        Number of inputs in a row: ``n_steps * 3 * n_codes``.
    n_steps : int
        Number of steps of time T.
    width : int, default=32
        Width H of a token, and of the output; even, a multiple of `n_heads`.
    n_heads : int, default=4
        Number of attention heads.
    n_layers : int, default=2
        Number of layers.
    dropout : float, default=0.1
        Share that is dropped in training within each layer.

    Raises
    ------
    ValueError
        If the inputs are no grid of that many steps, or the width does not fit.

    See Also
    --------
    GRUDEncoder : Fewer weights, and gaps fade with time.

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
        n_codes = _n_codes(n_features, n_steps, "SequenceTransformer")
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
        value, observed, since = _channels(grid, self.n_steps)  # (B, T, C) each
        steps = torch.cat([value * observed, observed, since], dim=2)  # (B, T, 3 C)
        tokens = self.embed(steps) + self.positions  # (B, T, H)
        summary = self.summary.expand(len(grid), 1, -1)  # (B, 1, H)
        empty = observed.sum(dim=2) == 0  # (B, T)
        ignored = torch.cat([torch.zeros_like(empty[:, :1]), empty], dim=1)
        encoded = self.layers(
            torch.cat([summary, tokens], dim=1), src_key_padding_mask=ignored
        )
        return encoded[:, 0]


def _n_codes(n_features: int, n_steps: int, owner: str) -> int:
    n_codes, rest = divmod(n_features, N_CHANNELS * n_steps)
    if rest or not n_codes:
        raise ValueError(
            f"{owner}: {n_features} inputs are no grid of {n_steps} steps with value, "
            "presence and time since last for each code. Is n_steps that of the "
            "grid?"
        )
    return n_codes


def _channels(grid: Tensor, n_steps: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return value, observed and since, each (B, T, C)."""
    cells = grid.reshape(len(grid), n_steps, N_CHANNELS, -1)
    return cells[:, :, 0], cells[:, :, 1], cells[:, :, 2]


def _waves(n_steps: int, width: int) -> Tensor:
    """Return sines and cosines of falling frequency (T, H)."""
    step = torch.arange(n_steps)[:, None]  # (T, 1)
    frequency = torch.exp(torch.arange(0, width, 2) * (-math.log(1e4) / width))
    angle = step * frequency  # (T, H / 2)
    return torch.stack([angle.sin(), angle.cos()], dim=2).reshape(n_steps, width)
