"""Units of measurements: codes, values and units in, values in one unit a code out."""

from __future__ import annotations

import re
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

import numpy as np
import pandas as pd

from skfusion._validation import check_option
from skfusion.ehr.measurements.analytes import (
    ANALYTES,
    BASE_UNITS,
    UNIT_SPELLINGS,
    Analyte,
)

__all__ = ["Tally", "Units", "conversion", "plain_unit"]


NO_BOUNDS = (-np.inf, np.inf)


class Tally(NamedTuple):
    """How many values there are, of unknown units, and not plausible."""

    n: int = 0
    unknown: int = 0
    outside: int = 0

    def join(self, other: Tally) -> Tally:
        """Return what both counted."""
        return Tally(*(a + b for a, b in zip(self, other, strict=True)))


@dataclass(frozen=True)
class Units:
    """Convert measurements to one unit for each code, and tell what cannot be true.

    Parameters
    ----------
    codes : mapping of str to str or Analyte
        Code -> what it measures: the name of an entry of
        `skfusion.ehr.ANALYTES`, or an entry of your own.
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
    >>> from skfusion.ehr.measurements.units import Units
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
            check_option(getattr(self, parameter), parameter, allowed, "Units")
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
        >>> from skfusion.ehr.measurements.units import Units
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
        result, tally = self.convert(code, value, unit)
        self.warn(tally)
        return result

    def convert(
        self, code: pd.Series, value: pd.Series, unit: pd.Series
    ) -> tuple[pd.DataFrame, Tally]:
        """Convert measurements that are part of more, and count instead of warning.

        Parameters
        ----------
        code, value, unit : Series
            As in a call.

        Returns
        -------
        DataFrame of shape (n_events, 3)
            As in a call.
        Tally
            What `warn` needs; those of several parts can be joined.
        """
        result, status = self._convert(code, value, unit)
        unknown, outside = (status == kind for kind in ("unknown", "out of bounds"))
        if unknown.any() and self.on_unknown == "error":
            raise ValueError(
                f"Units: {unknown.sum()} of {len(code)} values have a unit that is not "
                f"known for their code, first at position {int(np.argmax(unknown))}. "
                "Units.report lists them; extend the Analyte, or pass "
                "on_unknown='split' or 'gap'."
            )
        return result, Tally(len(code), int(unknown.sum()), int(outside.sum()))

    def warn(self, tally: Tally) -> None:
        """Warn of what was counted, if there was anything.

        Parameters
        ----------
        tally : Tally
            As `convert` counts.
        """
        if tally.unknown or tally.outside:
            warnings.warn(
                f"Units: of {tally.n} values {tally.unknown} have an unknown unit "
                f"({'kept apart' if self.on_unknown == 'split' else 'now gaps'}) and "
                f"{tally.outside} are not plausible (now gaps). Units.report lists "
                "them.",
                stacklevel=3,
            )

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
        """Return converted measurements, and what became of each."""
        written = unit.astype(object).where(unit.notna(), "")
        code_number, codes = pd.factorize(code.to_numpy(object), use_na_sentinel=False)
        unit_number, units = pd.factorize(written.to_numpy(object))
        # each pair of code and unit is looked up once
        both, pairs = pd.factorize(code_number * len(units) + unit_number)
        rules = [
            self._rule(codes[pair // len(units)], units[pair % len(units)])
            for pair in pairs
        ]
        table = pd.DataFrame(rules, columns=list(_Rule._fields), dtype=object)
        kind = table["kind"].to_numpy()[both]
        numbers = value.to_numpy(np.float64, na_value=np.nan)
        factor, summand, low, high = (
            table[name].to_numpy(np.float64)[both]
            for name in ("factor", "summand", "low", "high")
        )
        numbers = numbers * factor + summand
        outside = (numbers < low) | (numbers > high)
        kind[outside] = "out of bounds"
        result = pd.DataFrame(
            {
                "code": table["code"].to_numpy()[both],
                "numeric_value": np.where(outside, np.nan, numbers),
                "unit": table["unit"].to_numpy()[both],
            },
            index=code.index,
        )
        return result, kind

    def _rule(self, code: Any, unit: str) -> _Rule:
        """Return what becomes of the values of one code in one unit."""
        analyte = self._analytes.get(code)
        kept = _Rule("not listed", code, unit or None)
        if analyte is None:
            return kept
        no_unit = not unit.strip()
        known = conversion(unit, analyte)
        if no_unit:
            known = (1.0, 0.0) if self.no_unit == "canonical" else None
        if known is None:
            policy = self.no_unit if no_unit else self.on_unknown
            if policy == "split":
                code = f"{code}//{plain_unit(unit) or 'no unit'}"
            factor = np.nan if policy == "gap" else 1.0
            return kept._replace(kind="unknown", code=code, factor=factor)
        same = plain_unit(unit) == plain_unit(analyte.unit)
        kind = "assumed" if no_unit else "canonical" if same else "converted"
        bounds = analyte.bounds if self.bounds else None
        return _Rule(kind, code, analyte.unit, *known, *(bounds or NO_BOUNDS))


class _Rule(NamedTuple):
    kind: str
    code: Any
    unit: str | None
    factor: float = 1.0
    summand: float = 0.0
    low: float = -np.inf
    high: float = np.inf


def plain_unit(unit: str) -> str:
    """Return a unit in the one spelling that the tables know, or in small letters.

    Examples
    --------
    >>> from skfusion.ehr.measurements.units import plain_unit
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
    >>> from skfusion.ehr.measurements.analytes import ANALYTES
    >>> from skfusion.ehr.measurements.units import conversion
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
