"""Scaling and replication of narrow feature blocks, the `balance` of early fusion.

An image yields about a thousand features and a record about a dozen. A model that
treats all features equally gives the record little weight. Yoo (2019) replicated and
scaled the clinical features, and this module implements both methods.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import chain
from typing import Any

import numpy as np

from skfusion._validation import check_option
from skfusion.blocks import Blocks

__all__ = ["Balance", "check_balance"]


BALANCES = (None, "scale", "replicate")


def check_balance(balance: str | None, owner: str) -> None:
    """Raise ValueError if the value of `balance` is unknown."""
    check_option(balance, "balance", BALANCES, owner)


class Balance:
    """Equal weights of the feature blocks, by scaling or replication.

    ``"scale"`` multiplies each block by one factor, so that all blocks have the largest
    total variance. ``"replicate"`` concatenates copies of a narrow block until its
    width is closest to that of the widest block. For a linear model with a ridge
    penalty, r copies are equivalent to a factor of the square root of r.

    Parameters
    ----------
    how : {"scale", "replicate"} or None
        Method. None leaves the blocks unchanged.

    Attributes
    ----------
    factors_ : dict of str to float
        Factor of each block.
    copies_ : dict of str to int
        Number of times that each block is repeated.
    feature_names_ : dict of str to ndarray of str
        Names of the features. The names of copies end in ``__copy2`` and so on.

    Examples
    --------
    >>> import numpy as np
    >>> from skfusion.blocks import Blocks
    >>> from skfusion.fusion.early.block_scaling import Balance
    >>> blocks = Blocks({"ct": np.eye(4), "ehr": np.arange(8.0).reshape(4, 2)},
    ...                 np.ones((4, 2), dtype=bool))
    >>> names = {"ct": list("abcd"), "ehr": ["age", "bmi"]}
    >>> balance = Balance("replicate").fit(blocks, names)
    >>> balance.apply(blocks).arrays["ehr"].shape
    (4, 4)
    >>> balance.feature_names_["ehr"].tolist()
    ['age', 'bmi', 'age__copy2', 'bmi__copy2']
    """

    def __init__(self, how: str | None) -> None:
        self.how = how

    def fit(
        self,
        blocks: Blocks,
        names: Mapping[str, Any],
        sample_weight: np.ndarray | None = None,
    ) -> Balance:
        """Compute the factor or the number of copies of each block.

        Parameters
        ----------
        blocks : Blocks
            One block per modality. Missing values are ignored.
        names : mapping of str to array of str
            Names of the features of each block.
        sample_weight : ndarray of shape (n_samples,) or None, default=None
            Weights of the rows in the variances.
        """
        self.factors_ = dict.fromkeys(blocks.arrays, 1.0)
        self.copies_ = dict.fromkeys(blocks.arrays, 1)
        if self.how == "scale":
            totals = {
                name: _total_variance(block, sample_weight)
                for name, block in blocks.arrays.items()
            }
            largest = max(totals.values())
            # A constant block has no information, so its scale does not matter.
            self.factors_ = {
                name: (largest / total) ** 0.5 if total > 0 else 1.0
                for name, total in totals.items()
            }
        elif self.how == "replicate":
            widths = {name: block.shape[1] for name, block in blocks.arrays.items()}
            widest = max(widths.values())
            self.copies_ = {
                name: round(widest / width) if width else 1
                for name, width in widths.items()
            }
        self.feature_names_ = {
            name: _copied_names(names[name], n) for name, n in self.copies_.items()
        }
        return self

    def apply(self, blocks: Blocks) -> Blocks:
        """Return the scaled or replicated blocks, with absent blocks still NaN.

        Parameters
        ----------
        blocks : Blocks
            Blocks with the same widths as in `fit`.

        Returns
        -------
        Blocks
        """
        if self.how is None:
            return blocks
        arrays = {
            name: np.tile(block * self.factors_[name], (1, self.copies_[name]))
            for name, block in blocks.arrays.items()
        }
        return Blocks(arrays, blocks.presence)


def _copied_names(names: Iterable[str], n_copies: int) -> np.ndarray:
    copied = [[f"{x}__copy{i}" for x in names] for i in range(2, n_copies + 1)]
    return np.asarray([*names, *chain.from_iterable(copied)], dtype=object)


def _total_variance(block: np.ndarray, sample_weight: np.ndarray | None) -> float:
    """Return the sum of the (weighted) column variances, ignoring missing values."""
    weight = np.ones(len(block)) if sample_weight is None else sample_weight
    here = ~np.isnan(block)
    share = here * weight[:, None]
    total = share.sum(axis=0)
    share = share / np.where(total > 0, total, 1.0)
    values = np.where(here, block, 0.0)
    mean = (share * values).sum(axis=0)
    variance = (share * (values - mean) ** 2).sum(axis=0)
    constant = variance <= (1e-10 * np.abs(mean)) ** 2  # up to rounding errors
    return float(variance[~constant].sum())
