"""Shares of the modalities in several models, explained in the same way."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

from skfusion.inspection.modalities.results import ModalityExplanation
from skfusion.inspection.models import OWNER

__all__ = ["share_table"]


def share_table(
    explanations: Mapping[str, ModalityExplanation], kind: str = "centred_abs"
) -> pd.DataFrame:
    """Return the shares of the modalities in several models.

    Parameters
    ----------
    explanations : dict of str to ModalityExplanation
        Explanations of the same cases by the same background, by name of the model.
    kind : str, default="centred_abs"
        As in `ModalityExplanation.share`.

    Returns
    -------
    DataFrame
        By model and modality, as described in `ModalityImportance.table`.

    Raises
    ------
    ValueError
        If the models differ in their modalities or in the explained classes.

    Examples
    --------
    >>> import numpy as np
    >>> import pandas as pd
    >>> from skfusion.inspection import ModalityExplanation
    >>> from skfusion.inspection.modalities.comparison import share_table
    >>> found = ModalityExplanation(
    ...     np.array([[1.0, 0.0], [0.0, 1.0]]), np.zeros(()), ("image", "ehr"),
    ...     "log-odds of 1", "link", None, None, {}, None,
    ...     pd.DataFrame(True, index=[0, 1], columns=["image", "ehr"]))
    >>> share_table({"early": found})["share"].to_dict()
    {('early', 'image'): 0.5, ('early', 'ehr'): 0.5}
    """
    first = next(iter(explanations.values()))
    for name, found in explanations.items():
        if set(found.modalities) != set(first.modalities):
            raise ValueError(
                f"{OWNER}: {name!r} has the modalities {sorted(found.modalities)}, but "
                f"the first model has {sorted(first.modalities)}. Compare models of "
                "the same modalities."
            )
        if found.classes != first.classes or _class_of(found) != _class_of(first):
            raise ValueError(
                f"{OWNER}: {name!r} explains the {found.output} of "
                f"{found.classes or 'one output'}, but the first model the "
                f"{first.output} of {first.classes or 'one output'}. Compare models of "
                "the same classes."
            )
    tables = {}
    for name, found in explanations.items():
        table = found.share(kind)
        sizes = np.abs(found.values).mean(axis=0)
        sizes = sizes.sum(axis=1) if sizes.ndim > 1 else sizes
        table.insert(3, "mean_abs", sizes)
        table["output"] = found.output
        tables[name] = table.loc[list(first.modalities)]
    return pd.concat(tables, names=["model"])


def _class_of(found: ModalityExplanation) -> str:
    """Return the output of a classifier. The scales of risks differ by model."""
    kinds = ("log-odds", "probability")
    return found.output if found.output.startswith(kinds) else ""
