"""Units of laboratory values and vital signs, and conversion between them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

import numpy as np
import pandas as pd

from skfusion._validation import check_option
from skfusion.ehr.measurements.analytes import (
    ANALYTES,
    BASE_UNITS,
    NO_UNIT_WORDS,
    UNIT_SPELLINGS,
    Analyte,
)
from skfusion.exceptions import DataWarning, warn_user

__all__ = ["Tally", "Units", "conversion", "plain_unit", "states_no_unit"]


NO_BOUNDS = (-np.inf, np.inf)


class Tally(NamedTuple):
    """Counts of values, of unknown units and of implausible values.

    Examples
    --------
    >>> import pandas as pd
    >>> from skfusion.ehr import Units
    >>> units = Units({"LAB//creatinine": "creatinine"})
    >>> _, tally = units.convert(
    ...     pd.Series(["LAB//creatinine"] * 2), pd.Series([1.0, 900.0]),
    ...     pd.Series(["drops", "mg/dL"]))
    >>> tally
    Tally(n=2, unknown=1, outside=1)
    """

    n: int = 0
    unknown: int = 0
    outside: int = 0

    def join(self, other: Tally) -> Tally:
        """Return the sum of two tallies."""
        return Tally(*(a + b for a, b in zip(self, other, strict=True)))


Tally.__module__ = "skfusion.ehr"  # a NamedTuple cannot set it in its body


@dataclass(frozen=True)
class Units:
    """Conversion of values to one unit per code, with plausibility bounds.

    Parameters
    ----------
    codes : mapping of str to str or Analyte
        Code -> name of an entry of `skfusion.ehr.ANALYTES`, or a custom `Analyte`.
    on_unknown : {"split", "gap", "error"}, default="split"
        Treatment of a value whose unit is unknown for its code. "split" appends the
        unit to the code (``"creatinine//drops"``), so that it never mixes with others.
        "gap" sets the value to NaN. "error" raises an error.
    no_unit : {"canonical", "split", "gap"}, default="canonical"
        Treatment of a value without a unit, or with a word that states this, such as
        "N/A" or "unitless". "canonical" assumes the canonical unit.
    bounds : bool, default=True
        Whether values outside the plausible bounds of an analyte are set to NaN.

    Notes
    -----
    Codes that are not in `codes` are kept unchanged. `report` shows which of them have
    several units. A value set to NaN is still an event, because a measurement was made.

    Examples
    --------
    >>> import pandas as pd
    >>> from skfusion.ehr import Units
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

    __module__ = "skfusion.ehr"

    codes: Mapping[str, str | Analyte]
    on_unknown: Literal["split", "gap", "error"] = "split"
    no_unit: Literal["canonical", "split", "gap"] = "canonical"
    bounds: bool = True
    _analytes: Mapping[str, Analyte] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Validate the parameters and resolve the names of analytes."""
        for parameter, allowed in (
            ("on_unknown", ("split", "gap", "error")),
            ("no_unit", ("canonical", "split", "gap")),
        ):
            check_option(getattr(self, parameter), parameter, allowed, "Units")
        analytes = {}
        for code, analyte in self.codes.items():
            if not isinstance(analyte, Analyte) and analyte not in ANALYTES:
                raise ValueError(
                    f"Units: got an unknown analyte {analyte!r}. Pass an Analyte, or "
                    f"one of {sorted(ANALYTES)}."
                )
            analytes[code] = (
                analyte if isinstance(analyte, Analyte) else ANALYTES[analyte]
            )
        object.__setattr__(self, "_analytes", analytes)

    @classmethod
    def loinc(cls, prefix: str = "", **parameters: Any) -> Units:
        """Create units for the LOINC codes in the table of analytes.

        Parameters
        ----------
        prefix : str, default=""
            Prefix of LOINC codes in the events, such as ``"LOINC//"``.
        **parameters
            Parameters of the class.

        Returns
        -------
        Units

        Examples
        --------
        >>> from skfusion.ehr import Units
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
        """Convert values and warn about unknown units and implausible values.

        Parameters
        ----------
        code : Series of str of shape (n_events,)
            Codes of the measurements.
        value : Series of float of shape (n_events,)
            Values, with NaN for missing values.
        unit : Series of str of shape (n_events,)
            Units in any usual spelling, null or empty for a missing unit.

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
        """Convert values and return counts instead of a warning.

        Parameters
        ----------
        code, value, unit : Series
            As in `__call__`.

        Returns
        -------
        DataFrame of shape (n_events, 3)
            As in `__call__`.
        Tally
            Input of `warn`. Tallies of several parts can be joined.
        """
        result, status = self._convert(code, value, unit)
        unknown, outside = (status == kind for kind in ("unknown", "out of bounds"))
        if unknown.any() and self.on_unknown == "error":
            raise ValueError(
                f"Units: got {unknown.sum()} of {len(code)} values with a unit that is "
                "unknown for their code, first at position "
                f"{int(np.argmax(unknown))}. Units.report lists them. Extend the "
                "Analyte, or pass on_unknown='split' or 'gap'."
            )
        return result, Tally(len(code), int(unknown.sum()), int(outside.sum()))

    def warn(self, tally: Tally) -> None:
        """Warn about unknown units and implausible values, if there are any.

        Parameters
        ----------
        tally : Tally
            Counts returned by `convert`.
        """
        if tally.unknown or tally.outside:
            warn_user(
                f"Units: of {tally.n} values, got {tally.unknown} with an unknown unit "
                f"({'split by unit' if self.on_unknown == 'split' else 'set to NaN'}) "
                f"and {tally.outside} implausible values (set to NaN). Units.report "
                "lists them.",
                DataWarning,
            )

    def report(
        self, code: pd.Series, value: pd.Series, unit: pd.Series
    ) -> pd.DataFrame:
        """Return counts of the conversions that would be made.

        Parameters
        ----------
        code, value, unit : Series
            As in `__call__`.

        Returns
        -------
        DataFrame
            For each code and unit: the number ``n`` of values, and how many are
            ``canonical``, ``converted``, ``assumed`` (no unit), ``unknown``,
            ``out of bounds`` or of a code that is ``not listed``.
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

    def status(self, code: pd.Series, value: pd.Series, unit: pd.Series) -> np.ndarray:
        """Return what would happen to each value, as in the columns of `report`.

        Parameters
        ----------
        code, value, unit : Series
            As in `__call__`.

        Returns
        -------
        ndarray of str of shape (n_events,)
        """
        return self._convert(code, value, unit)[1]

    def _convert(
        self, code: pd.Series, value: pd.Series, unit: pd.Series
    ) -> tuple[pd.DataFrame, np.ndarray]:
        """Return converted values and the conversion status of each."""
        written = unit.astype(object).where(unit.notna(), "")
        code_number, codes = pd.factorize(code.to_numpy(object), use_na_sentinel=False)
        unit_number, units = pd.factorize(written.to_numpy(object))
        # Each distinct pair of code and unit is looked up once.
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
        """Return the conversion rule of one code and unit."""
        analyte = self._analytes.get(code)
        kept = _Rule("not listed", code, unit or None)
        if analyte is None:
            return kept
        no_unit = states_no_unit(unit)
        known = conversion(unit, analyte)
        if no_unit:
            known = (1.0, 0.0) if self.no_unit == "canonical" else None
        if known is None:
            policy = self.no_unit if no_unit else self.on_unknown
            if policy == "split":
                code = f"{code}//{'no unit' if no_unit else plain_unit(unit)}"
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


_SUPERSCRIPTS = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹⁻", "0123456789-")
# Rules of spelling, applied in this order to a unit in lower case without spaces.
_RULES = (
    (re.compile(r"\{[^}]*\}|\(calc\.?\)|\[calc\]"), ""),  # annotations of UCUM
    (re.compile(r"mcg|µg|μg"), "ug"),
    (re.compile(r"µ|μ"), "u"),
    (re.compile(r"/(mcl|cumm|cmm|mm\^?3)\b"), "/ul"),
    (re.compile(r"^(mcl|cumm|cmm|mm\^?3)$"), "ul"),
    # 10*9, 10**9, x10^9, x10e9, 10(9) and 10e9 are 10^9.
    (re.compile(r"^[x×]?10(?:\*\*?|\^|e|exp)?\(?(3|6|9|12)\)?(?=/)"), r"10^\1"),
)


def plain_unit(unit: str) -> str:
    """Return a unit in normalised spelling, or in lower case if it is unknown.

    Examples
    --------
    >>> from skfusion.ehr import plain_unit
    >>> [plain_unit(unit) for unit in ("MM HG", "mm[Hg]", "K/uL", "10*9/L", "µmol/l")]
    ['mmhg', 'mmhg', '10^9/l', '10^9/l', 'umol/l']
    """
    small = re.sub(r"\s+", "", unit.lower())
    if small in UNIT_SPELLINGS:
        return UNIT_SPELLINGS[small]
    small = re.sub(r"(?<=10)([⁰¹²³⁴⁵⁶⁷⁸⁹]+)", r"^\1", small).translate(_SUPERSCRIPTS)
    for pattern, replacement in _RULES:
        small = pattern.sub(replacement, small)
    return UNIT_SPELLINGS.get(small, small)


def states_no_unit(unit: str) -> bool:
    """Return whether a unit is empty, or a word such as ``"N/A"`` or ``"unitless"``.

    Examples
    --------
    >>> from skfusion.ehr.measurements.units import states_no_unit
    >>> states_no_unit("N/A"), states_no_unit("fraction")
    (True, False)
    """
    return re.sub(r"\s+", "", unit.lower()) in NO_UNIT_WORDS


def conversion(unit: str, analyte: Analyte) -> tuple[float, float] | None:
    """Return the conversion of a unit to the canonical unit of an analyte.

    Parameters
    ----------
    unit : str
        A unit in any usual spelling.
    analyte : Analyte
        The measured analyte.

    Returns
    -------
    (float, float) or None
        Factor and summand: ``canonical = factor * value + summand``. None if the unit
        is unknown or has the wrong dimension.

    Examples
    --------
    >>> from skfusion.ehr import ANALYTES, conversion
    >>> factor, _ = conversion("mmol/L", ANALYTES["glucose"])
    >>> round(factor, 2)
    18.02
    >>> conversion("mmHg", ANALYTES["glucose"])
    """
    source, target = plain_unit(unit), plain_unit(analyte.unit)
    if source == "g/l" and BASE_UNITS.get(target, ("",))[0] == "number concentration":
        source = "10^9/l"  # giga per litre, which no cells weigh
    if source == target:
        return 1.0, 0.0
    for spelling, stated in analyte.conversions.items():
        if plain_unit(spelling) == source:
            return stated
    if source not in BASE_UNITS or target not in BASE_UNITS:
        return None
    kind, factor, summand = BASE_UNITS[source]
    target_kind, target_factor, target_summand = BASE_UNITS[target]
    ratio = _between_kinds(kind, target_kind, analyte)
    if ratio is None:
        return None
    return factor * ratio / target_factor, (summand - target_summand) / target_factor


def _between_kinds(source: str, target: str, analyte: Analyte) -> float | None:
    """Return the factor between mass, substance and charge concentrations."""
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
