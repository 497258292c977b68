"""Blocks of unlike width in, blocks of like weight out.

An image gives a thousand features and the record a dozen, so that a model which treats
features alike hardly sees the record. Yoo (2019) replicated and scaled the clinical
features; both are here.
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
    """Raise ValueError if there is no such balance."""
    check_option(balance, "balance", BALANCES, owner)


class Balance:
    """Give all blocks the weight of the heaviest.

    ``"scale"`` multiplies each block by one number, so that all have the total variance
    of the one that varies most; ``"replicate"`` puts as many copies of a narrow block
    side by side as come nearest to the width of the widest. For a linear model with a
    ridge penalty, r copies are the same as a factor of the root of r.

    Parameters
    ----------
    how : {"scale", "replicate"} or None
        None changes nothing.

    Attributes
    ----------
    factors_ : dict of str to float
        What each block is multiplied by.
    copies_ : dict of str to int
        How often each block stands there.
    feature_names_ : dict of str to ndarray of str
        Names of the features, those of copies ending in ``__copy2`` and so on.

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
        """Learn the factor or the number of copies of each block.

        Parameters
        ----------
        blocks : Blocks
            One block per modality; gaps do not count.
        names : mapping of str to array of str
            Names of their features.
        sample_weight : ndarray of shape (n_samples,) or None, default=None
            Weights in the variances.
        """
        self.factors_ = dict.fromkeys(blocks.arrays, 1.0)
        self.copies_ = dict.fromkeys(blocks.arrays, 1)
        if self.how == "scale":
            totals = {
                name: _total_variance(block, sample_weight)
                for name, block in blocks.arrays.items()
            }
            largest = max(totals.values())
            # a block that does not vary says nothing, whatever its size
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
        """Return the blocks, scaled or replicated; an absent one stays NaN.

        Parameters
        ----------
        blocks : Blocks
            Blocks as wide as in `fit`.

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
    """Return the sum of the (weighted) variances of the columns, gaps left out."""
    weight = np.ones(len(block)) if sample_weight is None else sample_weight
    here = ~np.isnan(block)
    share = here * weight[:, None]
    total = share.sum(axis=0)
    share = share / np.where(total > 0, total, 1.0)
    values = np.where(here, block, 0.0)
    mean = (share * values).sum(axis=0)
    variance = (share * (values - mean) ** 2).sum(axis=0)
    constant = variance <= (1e-10 * np.abs(mean)) ** 2  # but for rounding
    return float(variance[~constant].sum())
