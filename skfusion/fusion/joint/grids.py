"""Contract of grids of events, between `EventGrid` and the modules that read them.

A row is a grid (T, 3, C) of T time steps and C codes, flattened. The channels are the
value (0 if missing), an indicator of an observed value (0 or 1), and the time since the
last observed value (0 or more).
"""

from __future__ import annotations

import numpy as np
from torch import Tensor, nn

__all__ = ["count_codes", "is_event_grid", "split_channels", "takes_grid"]


N_CHANNELS = 3
# EventGrid adds up float32 fractions of the grid, one per step.
TOLERANCE = 1e-4


def takes_grid(module: nn.Module) -> bool:
    """Return whether a module reads the channels of a grid.

    Parameters
    ----------
    module : torch.nn.Module
        Its attribute ``takes_grid`` decides. Without this attribute, a module takes a
        grid if one of its submodules does.

    Returns
    -------
    bool

    Examples
    --------
    >>> from torch import nn
    >>> from skfusion.fusion import GRUDEncoder
    >>> from skfusion.fusion.joint.grids import takes_grid
    >>> takes_grid(nn.Sequential(GRUDEncoder(18, n_steps=6), nn.Linear(32, 4)))
    True
    >>> takes_grid(nn.Linear(18, 4))
    False
    """
    declared = getattr(module, "takes_grid", None)
    if declared is not None:
        return bool(declared)
    return any(getattr(part, "takes_grid", False) for part in module.modules())


def is_event_grid(values: np.ndarray) -> bool:
    """Return whether rows are grids as `EventGrid` returns them.

    A grid needs no marker, because its third channel follows from its second: the time
    since the last observed value increases by 1 / T per step and is reset after an
    observed value. Scaled or reordered grids do not have this property.

    Parameters
    ----------
    values : ndarray of shape (n_samples, n_features)
        The rows. Rows with NaN are ignored.

    Returns
    -------
    bool
        Always False for a single time step, which has no time since.

    Examples
    --------
    >>> import numpy as np
    >>> from skfusion.fusion.joint.grids import is_event_grid
    >>> grid = np.array([[[0.7], [1.0], [0.0]], [[0.0], [0.0], [0.5]]])  # (2, 3, 1)
    >>> is_event_grid(grid.reshape(1, -1)), is_event_grid(grid.reshape(1, -1) - 0.5)
    (True, False)
    """
    known = values[~np.isnan(values).any(axis=1)]
    n_cells, rest = divmod(values.shape[1], N_CHANNELS)
    if rest or not len(known):
        return False
    for n_steps in range(2, n_cells + 1):
        if n_cells % n_steps:
            continue
        # One row excludes almost every other number of steps.
        if _follows(known[:1], n_steps) and _follows(known, n_steps):
            return True
    return False


def _follows(values: np.ndarray, n_steps: int) -> bool:
    """Return whether grids of this number of steps are consistent."""
    cells = values.reshape(len(values), n_steps, N_CHANNELS, -1)
    value, observed, since = (cells[:, :, channel] for channel in range(N_CHANNELS))
    if not ((observed == 0) | (observed == 1)).all() or value[observed == 0].any():
        return False
    expected = np.where(observed[:, :-1] == 1, 0.0, since[:, :-1]) + 1 / n_steps
    return not since[:, 0].any() and bool(
        np.allclose(since[:, 1:], expected, rtol=0, atol=TOLERANCE)
    )


def count_codes(n_features: int, n_steps: int, owner: str) -> int:
    """Return the number of codes C of a grid.

    Parameters
    ----------
    n_features : int
        Number of inputs in a row.
    n_steps : int
        Number of time steps T.
    owner : str
        Name of the module, for error messages.

    Returns
    -------
    int

    Raises
    ------
    ValueError
        If the inputs are not a grid with this number of steps.
    """
    n_codes, rest = divmod(n_features, N_CHANNELS * n_steps)
    if rest or not n_codes:
        raise ValueError(
            f"{owner}: {n_features} inputs are not a grid of {n_steps} steps with "
            "value, presence and time since the last observation for each code. Set "
            "n_steps to that of the grid."
        )
    return n_codes


def split_channels(
    grid: Tensor, n_steps: int, owner: str
) -> tuple[Tensor, Tensor, Tensor]:
    """Return value, observed and time since the last observed value, each (B, T, C).

    Parameters
    ----------
    grid : Tensor of shape (B, T * 3 * C)
        Grids.
    n_steps : int
        Number of time steps T.
    owner : str
        Name of the module, for error messages.

    Returns
    -------
    tuple of Tensor

    Raises
    ------
    ValueError
        If an indicator is neither 0 nor 1, or a time since is negative. Indicators are
        read as switches, so a standardised one would be wrong without an error.

    Examples
    --------
    >>> import torch
    >>> from skfusion.fusion.joint.grids import split_channels
    >>> grid = torch.tensor([[7.0, 8.0, 1.0, 0.0, 0.0, 0.0]])  # one step of two codes
    >>> [channel.tolist() for channel in split_channels(grid, 1, "GRUDEncoder")]
    [[[[7.0, 8.0]]], [[[1.0, 0.0]]], [[[0.0, 0.0]]]]
    """
    cells = grid.reshape(len(grid), n_steps, N_CHANNELS, -1)
    value, observed, since = cells[:, :, 0], cells[:, :, 1], cells[:, :, 2]
    # The negated comparisons also refuse NaN.
    checks = (
        ("indicators that are neither 0 nor 1", (observed == 0) | (observed == 1)),
        ("negative times since the last observed value", since >= 0),
    )
    for what, valid in checks:
        if not bool(valid.all()):
            n_rows = int((~valid).flatten(1).any(dim=1).sum())
            raise ValueError(
                f"{owner}: got {what} in {n_rows} of {len(grid)} rows; expected the "
                f"grid of EventGrid, {n_steps} steps with value, indicator and time "
                "since for each code. Use TorchEncoder(standardize='auto'), leave out "
                "steps that scale or reorder the grid, and set n_steps to that of the "
                "grid."
            )
    return value, observed, since
