"""Properties of early, joint and late fusion, Table 2 of Huang et al. (2020)."""

from __future__ import annotations

import pandas as pd

__all__ = ["CITATION", "FOOTNOTES", "strategy_properties"]


#: The review whose table and guidelines this package follows.
CITATION = (
    "Huang SC, Pareek A, Seyyedi S, Banerjee I, Lungren MP. Fusion of medical imaging "
    "and electronic health records using deep learning: a systematic review and "
    "implementation guidelines. npj Digital Medicine 3:136, 2020. "
    "doi:10.1038/s41746-020-00341-z"
)
TITLE = "Properties of the fusion strategies (Table 2 of Huang et al. 2020)"
#: Footnotes of the table, in our words.
FOOTNOTES = {
    "a": (
        "Some joint architectures can handle missing data, such as the multi-modal "
        "multi-task network of Kawahara et al."
    ),
    "b": (
        "Early fusion needs several models to be trained if the image features are "
        "extracted by a CNN."
    ),
}
_STRATEGIES = ("early", "joint", "late")
# Whether early, joint and late fusion have the property, and the footnote of a cell.
_TABLE: dict[str, tuple[tuple[bool, bool, bool], dict[str, str]]] = {
    "Able to make predictions when not all modalities are present": (
        (False, False, True),
        {"joint": "a"},
    ),
    "Able to model interactions between features from different modalities": (
        (True, True, False),
        {},
    ),
    "Able to learn more compatible features from each modality": (
        (False, True, False),
        {},
    ),
    "Does not necessarily require a large amount of training data": (
        (False, False, True),
        {},
    ),
    "Does not require training multiple models": (
        (True, True, False),
        {"early": "b"},
    ),
    "Does not necessarily require meticulous designing efforts": (
        (True, False, True),
        {},
    ),
    "Flexibility to join input at different levels of abstraction": (
        (False, True, False),
        {},
    ),
}


def strategy_properties() -> pd.DataFrame:
    """Return the properties of early, joint and late fusion.

    The table is Table 2 of the systematic review of Huang et al. [1]_, cell by cell.
    It describes the strategies in general. The estimators of skfusion go beyond it
    where their documentation says so, e.g. early and joint fusion predict rows with
    missing modalities.

    Returns
    -------
    DataFrame of shape (7, 4)
        One row per property, with the columns ``early``, ``joint`` and ``late`` (bool)
        and ``footnotes``, the marks of the cells that have one, such as
        ``"joint: a"``. Its ``attrs`` hold ``title``, ``footnotes`` (text by mark) and
        ``citation``.

    References
    ----------
    .. [1] Huang SC, Pareek A, Seyyedi S, Banerjee I, Lungren MP (2020). Fusion of
       medical imaging and electronic health records using deep learning: a systematic
       review and implementation guidelines. npj Digital Medicine 3:136.
       doi:10.1038/s41746-020-00341-z

    Examples
    --------
    >>> from skfusion.evaluation import strategy_properties
    >>> table = strategy_properties()
    >>> print(table.loc["Does not require training multiple models"].to_string())
    early            True
    joint            True
    late            False
    footnotes    early: b
    >>> table.attrs["footnotes"]["a"][:43]
    'Some joint architectures can handle missing'
    """
    rows = [
        [*cells, ", ".join(f"{name}: {mark}" for name, mark in marks.items())]
        for cells, marks in _TABLE.values()
    ]
    table = pd.DataFrame(
        rows,
        index=pd.Index(list(_TABLE), name="property"),
        columns=[*_STRATEGIES, "footnotes"],
    )
    table.attrs = {
        "title": TITLE,
        "footnotes": dict(FOOTNOTES),
        "citation": CITATION,
    }
    return table
