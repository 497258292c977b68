"""Encoding of diagnosis codes as comorbidities with `ComorbidityEncoder`."""

from __future__ import annotations

import re
from typing import Any, Self

import numpy as np
import pandas as pd
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils import Tags
from sklearn.utils.validation import check_is_fitted, validate_data

from skfusion._fitting.state import undone_on_failure
from skfusion._validation import check_option
from skfusion.cohort import as_pandas
from skfusion.ehr.codes.comorbidity import CHARLSON, ELIXHAUSER, VERSIONS, bare_code
from skfusion.ehr.tabular.cells import NUMBERS, known_cells
from skfusion.ehr.tabular.columns import split_cell
from skfusion.exceptions import DataWarning, warn_user

__all__ = ["ComorbidityEncoder"]


# Codes without a dot, in upper case. National versions extend those of ICD-10.
_SHAPES = {
    "icd9": re.compile(r"(?:\d{3}\d{0,2}|V\d{2}\d{0,2}|E\d{3}\d?)"),
    "icd10": re.compile(r"[A-Z]\d[0-9A-Z][0-9A-Z]{0,4}[-+*!#]?"),
}
_JOINED = re.compile(r"[,;|\s]")
INDICES = {"charlson": CHARLSON, "elixhauser": ELIXHAUSER}


class ComorbidityEncoder(TransformerMixin, BaseEstimator):
    """Transformer of diagnosis codes to Charlson or Elixhauser comorbidities.

    The encoder learns nothing from the data. The definitions are those of Quan et al.
    2005 [1]_.

    Parameters
    ----------
    index : {"charlson", "elixhauser"}, default="charlson"
        The comorbidity index that defines the conditions.
    version : {"icd10", "icd9"}, default="icd10"
        The classification of the codes. ``"icd9"`` is ICD-9-CM.
    separator : str or None, default="&"
        Separator of the codes in a text cell. None is for cells that are lists or
        contain one code. A prefix that ends in ``//``, as of event codes, is ignored.
    weights : str or None, default=None
        Weights of the conditions in the score. Charlson has ``"charlson"`` [2]_ (the
        default) and ``"quan"`` [3]_. Elixhauser has ``"van_walraven"`` [4]_.
    flags : bool, default=True
        Whether each condition is a 0/1 column in addition to the score.

    Attributes
    ----------
    n_features_in_ : int
        Number of columns seen in `fit`.
    feature_names_in_ : ndarray of str of shape (n_features_in_,)
        Names of the columns seen in `fit`, if all are strings.

    Notes
    -----
    Use diagnoses that were coded before the index time. Diagnoses of the current stay
    are coded at discharge and may leak the outcome.

    References
    ----------
    .. [1] Quan H et al. (2005). Coding algorithms for defining comorbidities in
       ICD-9-CM and ICD-10 administrative data. Medical Care 43:1130-1139.
    .. [2] Charlson ME et al. (1987). A new method of classifying prognostic
       comorbidity in longitudinal studies. Journal of Chronic Diseases 40:373-383.
    .. [3] Quan H et al. (2011). Updating and validating the Charlson comorbidity index
       and score. American Journal of Epidemiology 173:676-682.
    .. [4] van Walraven C et al. (2009). A modification of the Elixhauser comorbidity
       measures into a point system for hospital death. Medical Care 47:626-633.

    Examples
    --------
    >>> import pandas as pd
    >>> from skfusion.ehr import ComorbidityEncoder
    >>> X = pd.DataFrame({"icd": ["I50.9&E11.2", "I10", None]})
    >>> ComorbidityEncoder(flags=False).fit_transform(X).ravel().tolist()
    [3.0, 0.0, 0.0]
    """

    __module__ = "skfusion.ehr"

    def __init__(
        self,
        index: str = "charlson",
        *,
        version: str = "icd10",
        separator: str | None = "&",
        weights: str | None = None,
        flags: bool = True,
    ) -> None:
        self.index = index
        self.version = version
        self.separator = separator
        self.weights = weights
        self.flags = flags

    @undone_on_failure
    def fit(self, X: Any, y: Any = None) -> Self:
        """Validate the parameters and the columns.

        Parameters
        ----------
        X : DataFrame of shape (n_samples, n_columns)
            Cells of codes. The cells of one row belong to one case.
        y : ignored
            Present for API consistency.

        Returns
        -------
        self
            The fitted encoder.

        Raises
        ------
        ValueError
            If a parameter is not among its options.
        TypeError
            If a cell is of an unknown type, such as dict, or an ICD-9 code is a number,
            which has lost its leading zeros.
        """
        choices: dict[str, Any] = {"index": list(INDICES), "version": list(VERSIONS)}
        if self.index in INDICES:
            choices["weights"] = [None, *INDICES[self.index].weights]
        for name, allowed in choices.items():
            check_option(getattr(self, name), name, allowed, "ComorbidityEncoder")
        self._cells(X, reset=True)
        self._n_features_out = len(self.get_feature_names_out())
        return self

    def transform(self, X: Any) -> np.ndarray:
        """Encode the codes as conditions and a score.

        Parameters
        ----------
        X : DataFrame of shape (n_samples, n_columns)
            Cells of codes.

        Returns
        -------
        ndarray of float64 of shape (n_samples, n_features)
            The conditions (if `flags`), then the score.

        Warns
        -----
        DataWarning
            If most codes do not look like codes of the classification.
        """
        check_is_fitted(self)
        index = INDICES[self.index]
        rows = self._cells(X, reset=False)
        split = [
            set[str]().union(*(split_cell(cell, self.separator) for cell in row))
            for row in rows
        ]
        if any(isinstance(cell, str) for row in rows for cell in row):
            self._warn_unusual([code for row in split for code in row])
        # Codes of events have prefixes, such as DIAGNOSIS//ICD10CM//I509.
        codes = [{None, *(code.rpartition("//")[2] for code in row)} for row in split]
        owners = np.repeat(np.arange(len(codes)), [len(row) for row in codes])
        column = pd.Series([code for row in codes for code in row], index=owners)
        flags = index.flags(column, self.version)
        score = index.score(flags, self.weights).to_numpy(np.float64)
        return np.column_stack([flags, score]) if self.flags else score[:, None]

    def get_feature_names_out(self, input_features: Any = None) -> np.ndarray:
        """Return the names of the conditions, then ``<index>_score``.

        Parameters
        ----------
        input_features : ignored
            Present for API consistency. All columns are encoded together.

        Returns
        -------
        ndarray of str of shape (n_features,)
        """
        check_is_fitted(self, "n_features_in_")
        conditions = INDICES[self.index].conditions if self.flags else []
        names = [f"{self.index}_{name}" for name in [*conditions, "score"]]
        return np.asarray(names, dtype=object)

    def _cells(self, X: Any, *, reset: bool) -> np.ndarray:
        frame = as_pandas(X, "ComorbidityEncoder")
        if frame is not None:
            validate_data(self, frame, reset=reset, skip_check_array=True)
            columns = [known_cells(frame[c], "ComorbidityEncoder") for c in frame]
            for column in columns:
                self._check_numbers(column)
            return pd.concat(columns, axis=1).to_numpy(dtype=object)
        return validate_data(
            self, X, reset=reset, dtype=None, ensure_all_finite="allow-nan"
        )

    def _check_numbers(self, column: pd.Series) -> None:
        """Refuse ICD-9 codes that were converted to numbers, which have lost zeros."""
        there = column.notna()
        is_number = there & column.map(lambda cell: isinstance(cell, NUMBERS))
        if self.version == "icd9" and is_number.any():
            raise TypeError(
                f"ComorbidityEncoder: got {is_number.sum()} numbers in column "
                f"{column.name!r}, first at row position {int(np.argmax(is_number))}; "
                "expected ICD-9 codes as text. Numbers have lost their leading zeros: "
                "042 is HIV, and 42 is not a diagnosis. Read the column as text, e.g. "
                "with dtype=str."
            )

    def _warn_unusual(self, codes: list[str]) -> None:
        """Warn if most codes are not of the classification, or are several in one."""
        bare = [code.rpartition("//")[2] for code in codes]
        n_joined = sum(_JOINED.search(code.strip()) is not None for code in bare)
        n_other = sum(
            _SHAPES[self.version].fullmatch(bare_code(c)) is None for c in bare
        )
        if not codes or n_other <= len(codes) / 2:
            return
        other = "icd9" if self.version == "icd10" else "icd10"
        n_of_other = sum(
            _SHAPES[other].fullmatch(bare_code(c)) is not None for c in bare
        )
        hints = []
        if n_joined:
            hints.append(
                f"{n_joined} contain a comma, semicolon, space or bar. Pass it as "
                f"separator= (it is {self.separator!r})"
            )
        if n_of_other > len(codes) / 2:
            hints.append(f"{n_of_other} look like version={other!r}")
        more = f" {'. '.join(hints)}." if hints else ""
        warn_user(
            f"ComorbidityEncoder: {n_other} of {len(codes)} codes do not look like "
            f"version={self.version!r}, and mark no condition.{more}",
            DataWarning,
        )

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        tags.input_tags.string = True
        tags.input_tags.categorical = True
        tags.transformer_tags.preserves_dtype = []
        return tags
