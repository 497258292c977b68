"""Comorbidity indices of Charlson and Elixhauser, computed from diagnosis codes.

The definitions for ICD-9-CM and ICD-10 are those of Quan et al. 2005 [1]_.

References
----------
.. [1] Quan H et al. (2005). Coding algorithms for defining comorbidities in ICD-9-CM
   and ICD-10 administrative data. Medical Care 43:1130-1139.
.. [2] Charlson ME et al. (1987). A new method of classifying prognostic comorbidity in
   longitudinal studies. Journal of Chronic Diseases 40:373-383.
.. [3] Quan H et al. (2011). Updating and validating the Charlson comorbidity index and
   score. American Journal of Epidemiology 173:676-682.
.. [4] Elixhauser A et al. (1998). Comorbidity measures for use with administrative
   data. Medical Care 36:8-27.
.. [5] van Walraven C et al. (2009). A modification of the Elixhauser comorbidity
   measures into a point system for hospital death. Medical Care 47:626-633.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import pandas as pd

from skfusion._validation import check_option
from skfusion.ehr.codes.comorbidity_tables import (
    CHARLSON_CODES,
    CHARLSON_WEIGHTS,
    ELIXHAUSER_CODES,
    ELIXHAUSER_WEIGHTS,
)

__all__ = ["CHARLSON", "ComorbidityIndex", "ELIXHAUSER", "bare_code", "expand_codes"]


VERSIONS = ("icd9", "icd10")


@dataclass(frozen=True)
class ComorbidityIndex:
    """Comorbidity index, defined by conditions, their codes and weights.

    Parameters
    ----------
    name : str
        Name of the index in messages.
    definitions : mapping of str to mapping of str to str
        Condition -> ``"icd9"`` and ``"icd10"`` -> codes in the format of
        `expand_codes`. A diagnosis has the condition if it starts with one of them.
    weights : mapping of str to mapping of str to int
        Name of a set of weights -> condition -> weight, 0 for other conditions.
    supersedes : mapping of str to str
        Severe form of a condition -> mild form, which is then not counted.

    See Also
    --------
    skfusion.ehr.ComorbidityEncoder : Transformer for the cells of a table.

    Examples
    --------
    >>> import pandas as pd
    >>> from skfusion.ehr import CHARLSON
    >>> codes = pd.Series(["I50.9", "E11.2", "E11.9", "I10"], index=list("aaab"))
    >>> flags = CHARLSON.flags(codes, version="icd10")
    >>> flags.columns[flags.loc["a"]].tolist()
    ['congestive_heart_failure', 'diabetes', 'diabetes_complicated']
    >>> CHARLSON.score(flags).to_dict()
    {'a': 3, 'b': 0}
    """

    __module__ = "skfusion.ehr"

    name: str
    definitions: Mapping[str, Mapping[str, str]]
    weights: Mapping[str, Mapping[str, int]]
    supersedes: Mapping[str, str]

    @property
    def conditions(self) -> list[str]:
        """Return the names of the conditions, in the order of the publication."""
        return list(self.definitions)

    def conditions_of(self, code: Any, version: str = "icd10") -> list[str]:
        """Return the conditions of one diagnosis code.

        Parameters
        ----------
        code : str
            A diagnosis code, with or without a dot.
        version : {"icd9", "icd10"}, default="icd10"
            Classification of the code. ``"icd9"`` is ICD-9-CM.

        Returns
        -------
        list of str

        Examples
        --------
        >>> from skfusion.ehr import ELIXHAUSER
        >>> ELIXHAUSER.conditions_of("I11.0")
        ['congestive_heart_failure', 'hypertension_complicated']
        """
        check_option(version, "version", VERSIONS, self.name)
        bare = bare_code(code)
        return [
            condition
            for condition, codes in self.definitions.items()
            if bare.startswith(expand_codes(codes[version]))
        ]

    def flags(self, codes: pd.Series, version: str = "icd10") -> pd.DataFrame:
        """Return the conditions of each patient.

        Parameters
        ----------
        codes : Series of str
            One diagnosis per row, with the patient in the index. A null adds no
            condition, but keeps the patient.
        version : {"icd9", "icd10"}, default="icd10"
            Classification of the codes.

        Returns
        -------
        DataFrame of bool of shape (n_patients, n_conditions)
            One row for each distinct value of the index, in order of appearance.
        """
        patient, patients = pd.factorize(codes.index, use_na_sentinel=False)
        code, different = pd.factorize(codes)  # Nulls are -1.
        meanings = np.zeros((len(different) + 1, len(self.conditions)), dtype=bool)
        for row, name in enumerate(different):
            meant = self.conditions_of(name, version)
            meanings[row] = [condition in meant for condition in self.conditions]
        found = np.zeros((len(patients), len(self.conditions)), dtype=bool)
        np.logical_or.at(found, patient, meanings[code])
        return pd.DataFrame(found, index=patients, columns=self.conditions)

    def score(self, flags: pd.DataFrame, weights: str | None = None) -> pd.Series:
        """Return the weighted sum of the conditions.

        Parameters
        ----------
        flags : DataFrame of bool
            One column for each condition, as returned by `flags`.
        weights : str or None, default=None
            Name of the weights. `CHARLSON` has ``"charlson"`` (1987, the default) and
            ``"quan"`` (2011). `ELIXHAUSER` has ``"van_walraven"`` (2009).

        Returns
        -------
        Series of int64
            Score, which counts only the severe form of a disease with two forms.

        Raises
        ------
        ValueError
            If `weights` is not among the options, or columns are missing.
        """
        name = next(iter(self.weights)) if weights is None else weights
        check_option(name, "weights", self.weights, self.name)
        missing = [part for part in self.conditions if part not in flags.columns]
        if missing:
            raise ValueError(
                f"{self.name}: flags must have all {len(self.conditions)} conditions, "
                f"got {len(missing)} missing, first {missing[0]!r}."
            )
        counted = flags[self.conditions].astype(bool)
        for severe, mild in self.supersedes.items():
            counted[mild] &= ~counted[severe]
        weight = pd.Series(self.weights[name]).reindex(self.conditions, fill_value=0)
        return counted.astype("int64").mul(weight).sum(axis=1).astype("int64")


def bare_code(code: Any) -> str:
    """Return a code in upper case without dots and spaces, such as ``"I509"``.

    Examples
    --------
    >>> from skfusion.ehr import bare_code
    >>> bare_code(" i50.9 ")
    'I509'
    """
    return str(code).replace(".", "").replace(" ", "").upper()


@cache
def expand_codes(codes: str) -> tuple[str, ...]:
    """Expand ranges of codes into a tuple of codes.

    Parameters
    ----------
    codes : str
        Codes separated by spaces. The range ``"4254-4259"`` expands to six codes.

    Returns
    -------
    tuple of str

    Examples
    --------
    >>> from skfusion.ehr import expand_codes
    >>> expand_codes("I099 I20-I22")
    ('I099', 'I20', 'I21', 'I22')
    """
    expanded: list[str] = []
    for part in codes.split():
        first, _, last = part.partition("-")
        expanded += _between(first, last or first)
    return tuple(expanded)


def _between(first: str, last: str) -> Iterable[str]:
    letter = first[0] if first[0].isalpha() else ""
    width = len(first) - len(letter)
    numbers = range(int(first[len(letter) :]), int(last[len(letter) :]) + 1)
    return (f"{letter}{number:0{width}d}" for number in numbers)


CHARLSON = ComorbidityIndex(
    "Charlson",
    CHARLSON_CODES,
    CHARLSON_WEIGHTS,
    {
        "liver_disease_severe": "liver_disease_mild",
        "diabetes_complicated": "diabetes",
        "metastatic_cancer": "cancer",
    },
)
ELIXHAUSER = ComorbidityIndex(
    "Elixhauser",
    ELIXHAUSER_CODES,
    ELIXHAUSER_WEIGHTS,
    {
        "hypertension_complicated": "hypertension",
        "diabetes_complicated": "diabetes",
        "metastatic_cancer": "solid_tumor",
    },
)
