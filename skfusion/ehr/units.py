"""Units of measurements: codes, values and units in, values in one unit a code out.

Read next: `skfusion.ehr.analytes`, the table of laboratory values and vital signs.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import pandas as pd

from skfusion.ehr.analytes import (
    ANALYTES,
    BASE_UNITS,
    UNIT_SPELLINGS,
    Analyte,
)

__all__ = ["Units", "conversion", "plain_unit"]

OUTPUT = ["code", "numeric_value", "unit"]


@dataclass(frozen=True)
class Units:
    """Convert measurements to one unit for each code, and tell what cannot be true.

    Parameters
    ----------
    codes : mapping of str to str or Analyte
        Code -> what it measures: the name of an entry of
        `skfusion.ehr.analytes.ANALYTES`, or an entry of your own.
    on_unknown : {"split", "gap", "error"}, default="split"
        What becomes of a value whose unit is not known for its code: its code gets the
        unit appended (``"creatinine//drops"``), so that it never mixes with others; its
        value becomes a gap; or an error is raised.
    no_unit : {"canonical", "split", "gap"}, default="canonical"
        What becomes of a value without a unit: it is taken to be in the canonical one.
    bounds : bool, default=True
        Whether values outside the plausible ones of an analyte become gaps.

    Notes
    -----
    Codes that are not in `codes` stay as they are; `report` shows which of them come
    in several units. A gap still is an event: something was measured then.

    Examples
    --------
    >>> import pandas as pd
    >>> from skfusion.ehr.units import Units
    >>> units = Units({"LAB//creatinine": "creatinine"})
    >>> code = pd.Series(["LAB//creatinine"] * 3)
    >>> value = pd.Series([1.0, 88.4, 2.0])
    >>> unit = pd.Series(["mg/dL", "umol/L", "drops"])
    >>> units(code[:2], value[:2], unit[:2]).round(3)
                  code  numeric_value   unit
    0  LAB//creatinine            1.0  mg/dL
    1  LAB//creatinine            1.0  mg/dL
    >>> units.report(code, value, unit)["unknown"].sum()
    np.int64(1)
    """

    codes: Mapping[str, str | Analyte]
    on_unknown: Literal["split", "gap", "error"] = "split"
    no_unit: Literal["canonical", "split", "gap"] = "canonical"
    bounds: bool = True
    _analytes: Mapping[str, Analyte] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Look the names up, once."""
        for parameter, allowed in (
            ("on_unknown", ("split", "gap", "error")),
            ("no_unit", ("canonical", "split", "gap")),
        ):
            if getattr(self, parameter) not in allowed:
                raise ValueError(
                    f"Units: {parameter} must be one of {allowed}, got "
                    f"{getattr(self, parameter)!r}."
                )
        analytes = {}
        for code, analyte in self.codes.items():
            if not isinstance(analyte, Analyte) and analyte not in ANALYTES:
                raise ValueError(
                    f"Units: there is no analyte {analyte!r}. Pass an Analyte, or one "
                    f"of {sorted(ANALYTES)}."
                )
            analytes[code] = (
                analyte if isinstance(analyte, Analyte) else ANALYTES[analyte]
            )
        object.__setattr__(self, "_analytes", analytes)

    @classmethod
    def loinc(cls, prefix: str = "", **parameters: Any) -> Units:
        """Return units of the LOINC codes in the table of analytes.

        Parameters
        ----------
        prefix : str, default=""
            What LOINC codes begin with in the events, such as ``"LOINC//"``.
        **parameters
            Those of the class.

        Returns
        -------
        Units

        Examples
        --------
        >>> from skfusion.ehr.units import Units
        >>> Units.loinc("LOINC//").codes["LOINC//2160-0"]
        'creatinine'
        """
        codes = {
            prefix + code: name
            for name, analyte in ANALYTES.items()
            for code in analyte.loinc
        }
        return cls(codes, **parameters)

    def __call__(
        self, code: pd.Series, value: pd.Series, unit: pd.Series
    ) -> pd.DataFrame:
        """Convert measurements.

        Parameters
        ----------
        code : Series of str of shape (n_events,)
            What was measured.
        value : Series of float of shape (n_events,)
            The numbers; NaN is a gap.
        unit : Series of str of shape (n_events,)
            Their units in any usual spelling; null or empty where there is none.

        Returns
        -------
        DataFrame of shape (n_events, 3)
            ``code``, ``numeric_value``, ``unit``, with the index of `code`.

        Raises
        ------
        ValueError
            If a unit is unknown and ``on_unknown="error"``.
        """
        result, status = self._convert(code, value, unit)
        n_unknown = int((status == "unknown").sum())
        n_outside = int((status == "out of bounds").sum())
        if n_unknown and self.on_unknown == "error":
            first = int(np.argmax(status == "unknown"))
            raise ValueError(
                f"Units: {n_unknown} of {len(code)} values have a unit that is not "
                f"known for their code, first at position {first}. Units.report lists "
                "them; extend the Analyte, or pass on_unknown='split' or 'gap'."
            )
        if n_unknown or n_outside:
            warnings.warn(
                f"Units: of {len(code)} values {n_unknown} have an unknown unit "
                f"({'kept apart' if self.on_unknown == 'split' else 'now gaps'}) and "
                f"{n_outside} are not plausible (now gaps). Units.report lists them.",
                stacklevel=2,
            )
        return result

    def report(
        self, code: pd.Series, value: pd.Series, unit: pd.Series
    ) -> pd.DataFrame:
        """Count what would become of measurements.

        Parameters
        ----------
        code, value, unit : Series
            As in a call.

        Returns
        -------
        DataFrame
            For each code and unit: ``n`` values and how many are ``canonical``,
            ``converted``, ``assumed`` (no unit), ``unknown``, ``out of bounds`` or of a
            code that is ``not listed``.
        """
        _, status = self._convert(code, value, unit)
        plain = unit.map(plain_unit, na_action="ignore").fillna("")
        kinds = [
            "canonical",
            "converted",
            "assumed",
            "unknown",
            "out of bounds",
            "not listed",
        ]
        table = pd.crosstab([code.to_numpy(), plain.to_numpy()], status)
        table = table.reindex(columns=kinds, fill_value=0)
        table.insert(0, "n", table.sum(axis=1))
        table.index.names = ["code", "unit"]
        table.columns.name = None
        return table

    def _convert(
        self, code: pd.Series, value: pd.Series, unit: pd.Series
    ) -> tuple[pd.DataFrame, np.ndarray]:
        result = pd.DataFrame(
            {
                "code": code.astype(object).to_numpy(),
                "numeric_value": value.to_numpy(np.float64, na_value=np.nan),
                "unit": unit.astype(object).where(unit.notna(), None).to_numpy(),
            },
            index=code.index,
        )
        status = np.full(len(code), "not listed", dtype=object)
        rows = result.groupby(
            [result["code"], result["unit"].fillna("")], sort=False
        ).indices
        for key, group in rows.items():
            name, written = map(str, key)  # type: ignore[call-overload]
            analyte, places = self._analytes.get(name), np.asarray(group)
            if analyte is not None:
                values = result["numeric_value"].to_numpy()[places]
                values, kinds = self._convert_group(analyte, written, values)
                status[places] = kinds
                self._write(result, places, (name, written), analyte, values, kinds)
        return result, status

    def _convert_group(
        self, analyte: Analyte, written: str, values: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return converted values, and what became of each."""
        if not written.strip():
            known = (1.0, 0.0) if self.no_unit == "canonical" else None
            kind = "assumed" if known else "unknown"
        else:
            known = conversion(written, analyte)
            kind = "converted" if known else "unknown"
            if known == (1.0, 0.0):
                kind = "canonical"
        kinds = np.full(len(values), kind, dtype=object)
        if known is None:
            return values, kinds
        values = values * known[0] + known[1]
        if self.bounds and analyte.bounds is not None:
            low, high = analyte.bounds
            outside = (values < low) | (values > high)
            kinds[outside] = "out of bounds"
            values = np.where(outside, np.nan, values)
        return values, kinds

    def _write(
        self,
        result: pd.DataFrame,
        places: np.ndarray,
        key: tuple[str, str],
        analyte: Analyte,
        values: np.ndarray,
        kinds: np.ndarray,
    ) -> None:
        name, written = key
        positions = {column: j for j, column in enumerate(OUTPUT)}
        if kinds[0] != "unknown":
            result.iloc[places, positions["numeric_value"]] = values
            result.iloc[places, positions["unit"]] = analyte.unit
            return
        policy = self.on_unknown if written.strip() else self.no_unit
        if policy == "gap":
            result.iloc[places, positions["numeric_value"]] = np.nan
        elif policy == "split":
            suffix = plain_unit(written) or "no unit"
            result.iloc[places, positions["code"]] = f"{name}//{suffix}"


def plain_unit(unit: str) -> str:
    """Return a unit in the one spelling that the tables know, or in small letters.

    Examples
    --------
    >>> from skfusion.ehr.units import plain_unit
    >>> [plain_unit(unit) for unit in ("MM HG", "mm[Hg]", "K/uL", "10*9/L", "µmol/l")]
    ['mmhg', 'mmhg', '10^9/l', '10^9/l', 'umol/l']
    """
    small = re.sub(r"\s+", "", unit.lower()).replace("µ", "u").replace("μ", "u")
    small = small.replace("mcg", "ug").replace("*", "^")
    return UNIT_SPELLINGS.get(small, small)


def conversion(unit: str, analyte: Analyte) -> tuple[float, float] | None:
    """Return how a unit becomes the canonical one of an analyte.

    Parameters
    ----------
    unit : str
        A unit in any usual spelling.
    analyte : Analyte
        What was measured.

    Returns
    -------
    (float, float) or None
        Factor and summand: ``canonical = factor * value + summand``. None where the
        unit is unknown, or does not measure this.

    Examples
    --------
    >>> from skfusion.ehr.analytes import ANALYTES
    >>> from skfusion.ehr.units import conversion
    >>> factor, _ = conversion("mmol/L", ANALYTES["glucose"])
    >>> round(factor, 2)
    18.02
    >>> conversion("mmHg", ANALYTES["glucose"])
    """
    source, target = plain_unit(unit), plain_unit(analyte.unit)
    if source == target:
        return 1.0, 0.0
    if source in analyte.conversions:
        return analyte.conversions[source]
    if source not in BASE_UNITS or target not in BASE_UNITS:
        return None
    kind, factor, summand = BASE_UNITS[source]
    target_kind, target_factor, target_summand = BASE_UNITS[target]
    ratio = _between_kinds(kind, target_kind, analyte)
    if ratio is None:
        return None
    return factor * ratio / target_factor, (summand - target_summand) / target_factor


def _between_kinds(source: str, target: str, analyte: Analyte) -> float | None:
    """Return what turns g/L, mol/L or eq/L into one another."""
    per_mole: dict[str, float | None] = {
        "mass concentration": analyte.molar_mass,
        "substance concentration": 1.0,
        "charge concentration": analyte.charge,
    }
    if source == target:
        return 1.0
    amounts = per_mole.get(source), per_mole.get(target)
    if amounts[0] is None or amounts[1] is None:
        return None
    return amounts[1] / amounts[0]
