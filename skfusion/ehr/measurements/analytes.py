"""Table of laboratory values and vital signs with units and plausible bounds.

Molar masses convert mass to substance concentrations. Most bounds are those beyond
which benchmarks on MIMIC discard a value [1]_ [2]_. A saturation or a haematocrit is at
most 100 %, and a body weight at most 700 kg. The conversion of HbA1c is that of [3]_,
NGSP = 0.09148 IFCC + 2.152.

References
----------
.. [1] Harutyunyan H et al. (2019). Multitask learning and benchmarking with clinical
   time series data. Scientific Data 6:96.
.. [2] Wang S et al. (2020). MIMIC-Extract: a data extraction, preprocessing, and
   representation pipeline for MIMIC-III. CHIL '20.
.. [3] Nathan DM et al. (2008). Translating the A1C assay into estimated average glucose
   values. Diabetes Care 31:1473-1478.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

__all__ = ["ANALYTES", "Analyte", "BASE_UNITS", "NO_UNIT_WORDS", "UNIT_SPELLINGS"]


@dataclass(frozen=True)
class Analyte:
    """Measured quantity with its canonical unit, bounds and conversions.

    Parameters
    ----------
    unit : str
        The canonical unit.
    bounds : (float, float) or None, default=None
        Least and greatest plausible value in the canonical unit.
    molar_mass : float or None, default=None
        Molar mass in g/mol, for mass and substance concentrations.
    charge : float or None, default=None
        Charge of the ion, for mmol and mEq.
    loinc : tuple of str, default=()
        LOINC codes of the analyte.
    conversions : mapping of str to (float, float)
        Other units in any usual spelling -> factor and summand of the conversion to
        the canonical unit. They come before the conversions by dimension.

    Examples
    --------
    >>> from skfusion.ehr import Analyte, conversion
    >>> dimer = Analyte("ng/mL", conversions={"ng/mL FEU": (0.5, 0.0)})
    >>> conversion("ng/ml feu", dimer)
    (0.5, 0.0)
    """

    __module__ = "skfusion.ehr"

    unit: str
    bounds: tuple[float, float] | None = None
    molar_mass: float | None = None
    charge: float | None = None
    loinc: tuple[str, ...] = ()
    conversions: Mapping[str, tuple[float, float]] = field(default_factory=dict)


# Normalised unit -> dimension, and factor and summand to the base unit.
BASE_UNITS: dict[str, tuple[str, float, float]] = {
    **{
        unit: ("mass concentration", grams_per_litre, 0.0)
        for unit, grams_per_litre in {
            "g/dl": 10.0,
            "g/l": 1.0,
            "mg/ml": 1.0,
            "mg/dl": 1e-2,
            "mg/l": 1e-3,
            "ug/ml": 1e-3,
            "ug/dl": 1e-5,
            "ug/l": 1e-6,
            "ng/ml": 1e-6,
            "ng/dl": 1e-8,
            "ng/l": 1e-9,
            "pg/ml": 1e-9,
        }.items()
    },
    **{
        unit: ("substance concentration", moles_per_litre, 0.0)
        for unit, moles_per_litre in {
            "mol/l": 1.0,
            "mmol/l": 1e-3,
            "umol/l": 1e-6,
            "nmol/l": 1e-9,
            "pmol/l": 1e-12,
        }.items()
    },
    "meq/l": ("charge concentration", 1e-3, 0.0),
    "10^12/l": ("number concentration", 1e12, 0.0),
    "10^9/l": ("number concentration", 1e9, 0.0),
    "/ul": ("number concentration", 1e6, 0.0),
    "/l": ("number concentration", 1.0, 0.0),
    "u/l": ("catalytic concentration", 1.0, 0.0),
    "ukat/l": ("catalytic concentration", 60.0, 0.0),
    "nkat/l": ("catalytic concentration", 0.06, 0.0),
    "mmhg": ("pressure", 1.0, 0.0),
    "kpa": ("pressure", 7.50062, 0.0),
    "cel": ("temperature", 1.0, 0.0),
    "[degf]": ("temperature", 5 / 9, -160 / 9),
    "k": ("temperature", 1.0, -273.15),
    "cm": ("length", 1.0, 0.0),
    "mm": ("length", 0.1, 0.0),
    "m": ("length", 100.0, 0.0),
    "[in_i]": ("length", 2.54, 0.0),
    "[ft_i]": ("length", 30.48, 0.0),
    "kg": ("mass", 1.0, 0.0),
    "g": ("mass", 1e-3, 0.0),
    "[lb_av]": ("mass", 0.45359237, 0.0),
    "[oz_av]": ("mass", 0.45359237 / 16, 0.0),
    "1": ("share", 1.0, 0.0),
    "%": ("share", 0.01, 0.0),
    "/min": ("rate", 1.0, 0.0),
    "s": ("duration", 1.0, 0.0),
    "min": ("duration", 60.0, 0.0),
}

_OTHER_SPELLINGS = {
    "10^12/l": "10^6/ul m/ul mil/ul mio/ul million/ul tpt/l t/l /pl 10^6/cmm tera/l",
    "10^9/l": "10^3/ul k/ul thou/ul thousand/ul thous/ul tsd/ul gpt/l /nl 10^3/cmm "
    "giga/l",
    "/ul": "cells/ul cell/ul #/ul 1/ul",
    "g/dl": "gm/dl gms/dl gram/dl grams/dl g% gm% g/100ml gm/100ml",
    "mg/dl": "mg% mg/100ml",
    "umol/l": "mcmol/l umoles/l micromol/l",
    "u/l": "iu/l [iu]/l units/l unit/l int._unit/l ie/l e/l",
    "ukat/l": "microkat/l",
    "nkat/l": "nanokat/l",
    "mmhg": "mm[hg] torr mm/hg",
    "cel": "c degc °c deg.c celsius degreescelsius degc. degree_celsius degreesc "
    "degreec ℃",
    "[degf]": "f degf °f deg.f fahrenheit degreesfahrenheit degreesf degreef ℉",
    "[in_i]": "in inch inches",
    "[ft_i]": "ft feet foot",
    "[lb_av]": "lb lbs pound pounds",
    "[oz_av]": "oz ounce ounces",
    "kg": "kilogram kilograms kgs",
    "cm": "centimeter centimeters centimetre centimetres",
    "g": "gm gms gram grams",
    "mm": "millimeter millimeters millimetre millimetres",
    "%": "percent pct vol% %ngsp %hb %ofhb",
    "1": "fraction ratio inr l/l ph [ph]",
    "/min": "bpm beats/min beats/minute {beats}/min {breaths}/min breaths/min "
    "breaths/minute breath/min insp/min 1/min per_minute permin br/min",
    "s": "sec secs second seconds sec. s.",
    "min": "minute minutes",
    "meq/l": "meq/liter mequiv/l meq/l. mval/l",
    "mmol/l": "mmol/liter mm/l mmoles/l millimole/l",
}
#: Words that state that there is no unit. They are not the unit 1 of fractions.
NO_UNIT_WORDS = frozenset(
    ("", "none", "n/a", "na", "nan", "null", "nil", "unit", "units", "unitless")
    + ("no_units", "no_unit", "nounit", "nounits", "unknown", "unspecified", "-", "--")
    + ("n.a.", "notapplicable", ".", "?")
)
# Any spelling in lower case without spaces -> normalised unit.
UNIT_SPELLINGS = {
    other: plain
    for plain, others in _OTHER_SPELLINGS.items()
    for other in others.split()
}

ANALYTES: dict[str, Analyte] = {
    "heart_rate": Analyte("/min", (0, 390), loinc=("8867-4",)),
    "respiratory_rate": Analyte("/min", (0, 330), loinc=("9279-1",)),
    "systolic_pressure": Analyte("mmHg", (0, 375), loinc=("8480-6",)),
    "diastolic_pressure": Analyte("mmHg", (0, 375), loinc=("8462-4",)),
    "mean_pressure": Analyte("mmHg", (0, 375), loinc=("8478-0",)),
    "temperature": Analyte("Cel", (14.2, 47), loinc=("8310-5",)),
    "oxygen_saturation": Analyte("%", (0, 100), loinc=("2708-6", "59408-5")),
    "inspired_oxygen": Analyte("%", (20, 100), loinc=("3150-0",)),
    "weight": Analyte("kg", (0, 700), loinc=("29463-7",)),
    "height": Analyte("cm", (0, 275), loinc=("8302-2",)),
    "glucose": Analyte("mg/dL", (0, 2200), 180.156, loinc=("2345-7", "2339-0")),
    "creatinine": Analyte("mg/dL", (0, 66), 113.12, loinc=("2160-0",)),
    # Concentration of nitrogen, with two atoms in a molecule of urea.
    "urea_nitrogen": Analyte("mg/dL", (0, 275), 28.014, loinc=("3094-0",)),
    "sodium": Analyte("mmol/L", (0, 250), 22.990, 1, loinc=("2951-2",)),
    "potassium": Analyte("mmol/L", (0, 15), 39.098, 1, loinc=("2823-3",)),
    "chloride": Analyte("mmol/L", (0, 200), 35.453, 1, loinc=("2075-0",)),
    "bicarbonate": Analyte("mmol/L", (0, 66), None, 1, loinc=("1963-8", "2028-9")),
    "calcium": Analyte("mg/dL", None, 40.078, 2, loinc=("17861-6",)),
    "magnesium": Analyte("mg/dL", (0, 22), 24.305, 2, loinc=("19123-9",)),
    # Concentration of phosphorus.
    "phosphate": Analyte("mg/dL", (0, 22), 30.974, loinc=("2777-1",)),
    "albumin": Analyte("g/dL", loinc=("1751-7",)),
    "bilirubin": Analyte("mg/dL", (0, 66), 584.66, loinc=("1975-2",)),
    "alanine_aminotransferase": Analyte("U/L", (0, 11000), loinc=("1742-6",)),
    "aspartate_aminotransferase": Analyte("U/L", (0, 22000), loinc=("1920-8",)),
    "alkaline_phosphatase": Analyte("U/L", (0, 4000), loinc=("6768-6",)),
    "lactate_dehydrogenase": Analyte("U/L", (0, 35000), loinc=("2532-0",)),
    "lactate": Analyte("mmol/L", (0, 33), 90.08, loinc=("2524-7",)),
    "c_reactive_protein": Analyte("mg/L", loinc=("1988-5",)),
    "uric_acid": Analyte("mg/dL", None, 168.11, loinc=("3084-1",)),
    "cholesterol": Analyte("mg/dL", (0, 660), 386.65, loinc=("2093-3",)),
    "hdl_cholesterol": Analyte("mg/dL", None, 386.65, loinc=("2085-9",)),
    "ldl_cholesterol": Analyte("mg/dL", None, 386.65, loinc=("13457-7", "2089-1")),
    # Molar mass of triolein, as usual for all triglycerides.
    "triglycerides": Analyte("mg/dL", None, 885.4, loinc=("2571-8",)),
    # Molar mass of the monomer, a quarter of the molecule.
    "hemoglobin": Analyte("g/dL", (0, 30), 16114.0, loinc=("718-7",)),
    "hemoglobin_a1c": Analyte(
        "%", loinc=("4548-4",), conversions={"mmol/mol": (0.09148, 2.152)}
    ),
    "hematocrit": Analyte("%", (0, 100), loinc=("4544-3", "20570-8")),
    "white_cells": Analyte("10^9/L", (0, 1100), loinc=("6690-2",)),
    "red_cells": Analyte("10^12/L", loinc=("789-8",)),
    "platelets": Analyte("10^9/L", (0, 2200), loinc=("777-3",)),
    "prothrombin_time": Analyte("s", (0, 150), loinc=("5902-2",)),
    "thromboplastin_time": Analyte("s", (0, 150), loinc=("3173-2", "14979-9")),
    "inr": Analyte("1", loinc=("6301-6",)),
    "ph": Analyte("1", (6.3, 10), loinc=("2744-1",)),
    "oxygen_pressure": Analyte("mmHg", (0, 770), loinc=("2703-7",)),
    "carbon_dioxide_pressure": Analyte("mmHg", (0, 220), loinc=("2019-8",)),
    "troponin_i": Analyte("ng/mL", (0, 575), loinc=("10839-9",)),
    "troponin_t": Analyte("ng/mL", (0, 24), loinc=("6598-7",)),
}
