"""A second thing to predict, which shapes the representation: its column, encoded.

The head that predicts it is in `skfusion.fusion.networks`, its loss in
`skfusion.fusion.losses`.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from pandas.api.types import is_bool_dtype, is_numeric_dtype

__all__ = ["AuxiliaryTarget"]


class AuxiliaryTarget:
    """Classes or numbers of a column, in which some values may be unknown.

    Text, categories and booleans are classes, as are numbers of two distinct values;
    other numbers are numbers.

    Parameters
    ----------
    values : Series of shape (n_samples,)
        The training rows of the column.
    owner : str
        Name of the estimator, for the messages.

    Attributes
    ----------
    kind : {"classes", "numbers"}
        What it is.
    n_outputs : int
        Number of classes, or 1.
    encoded : ndarray of shape (n_samples,)
        Class numbers (int64, -1 where unknown), or standardised numbers (float64, NaN
        where unknown).

    Raises
    ------
    ValueError
        If less than two distinct values are known, or a number is infinite.

    Examples
    --------
    >>> import pandas as pd
    >>> from skfusion.fusion.auxiliary_target import AuxiliaryTarget
    >>> stage = AuxiliaryTarget(pd.Series(["II", None, "I"], name="stage"), "me")
    >>> stage.kind, stage.n_outputs, stage.encoded.tolist()
    ('classes', 2, [1, -1, 0])
    """

    def __init__(self, values: pd.Series, owner: str) -> None:
        known = values.dropna()
        n_values = known.nunique()
        if n_values < 2:
            raise ValueError(
                f"{owner}: auxiliary_target={values.name!r} has {n_values} distinct "
                f"value(s) in {len(known)} of {len(values)} training rows that have "
                "one, so there is nothing to learn from it. Leave it out."
            )
        numeric = is_numeric_dtype(values) and not is_bool_dtype(values)
        if numeric and n_values > 2:
            self.kind, self.n_outputs = "numbers", 1
            numbers = values.to_numpy(dtype=np.float64, na_value=np.nan)
            if np.isinf(numbers).any():
                raise ValueError(
                    f"{owner}: auxiliary_target={values.name!r} holds infinity in "
                    f"{np.isinf(numbers).sum()} of {len(values)} rows."
                )
            self.encoded = (numbers - np.nanmean(numbers)) / np.nanstd(numbers)
        else:
            self.kind, self.n_outputs = "classes", n_values
            classes = sorted(known.unique(), key=str)
            codes = pd.Categorical(values, categories=classes).codes
            self.encoded = np.asarray(codes, dtype=np.int64)
