"""One vocabulary of the kinds of stays and of where patients are discharged to."""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache
from typing import Any, Literal

import numpy as np
import pandas as pd

from skfusion._validation import check_option

__all__ = [
    "COLUMNS",
    "DISCHARGES",
    "HOSPITAL_KINDS",
    "KINDS",
    "discharge_of_code",
    "discharge_of_words",
    "is_repeated",
    "of_kind",
    "parents_of",
    "says_nothing",
]


#: Columns of a table of stays.
COLUMNS = (
    *("stay_id", "subject_id", "kind", "start", "end", "parent_id", "died"),
    *("discharged_to", "source_kind", "source_discharge"),
)
#: Kinds of stays. A unit is a part of a hospital stay that is not an ICU.
KINDS = (
    *("hospital", "observation", "icu", "emergency", "unit"),
    *("outpatient", "home", "virtual", "other"),
)
#: Kinds of which a patient is in a hospital. Observation differs by its billing only.
HOSPITAL_KINDS = ("hospital", "observation")
#: Where patients go at the end of a stay.
DISCHARGES = (
    *("home", "home_care", "skilled_facility", "rehabilitation", "long_term_care"),
    *("psychiatric", "hospice", "other_hospital", "against_advice", "admitted"),
    *("died", "other"),
)
# Texts that state no destination. A patient who is still there has none yet.
_NOTHING = frozenset(
    (
        *("", "na", "n a", "none", "null", "nan", "unk", "unknown", "not available"),
        *("information not available", "not applicable", "no information", "missing"),
        *("no matching concept", "still patient", "still in hospital", "unspecified"),
        *("not recorded", "not stated", "not known"),
    )
)
# Words of a text -> destination, of which the first match holds. The texts are those of
# MIMIC, of the discharge status of American bills (UB-04), and of OMOP and SNOMED CT.
_RULES = tuple(
    (re.compile(rf"\b(?:{words})\b"), destination)
    for words, destination in (
        (r"alive|not (?:dead|died|expired|deceased)", "other"),
        (r"died|dead|death|expired?|deceased|morgue|funeral|verstorben", "died"),
        (
            r"against (?:medical )?advi\w*|ama|eloped?|elopement|absconded|absent "
            r"without leave|left without|self discharged?|discontinued care",
            "against_advice",
        ),
        (r"hospice", "hospice"),
        (r"rehab|rehabilitation", "rehabilitation"),
        (r"psych|psychiatric|psychiatry|mental", "psychiatric"),
        (r"long term|ltach?|ltch|chronic", "long_term_care"),
        (
            r"skilled|snf|nursing|icf|intermediate care facility|custodial|assisted "
            r"living|care home|residential home|swing bed",
            "skilled_facility",
        ),
        (r"home health\w*|home (?:with )?(?:home )?iv|home care", "home_care"),
        (r"admitted|admission|admit", "admitted"),
        (
            r"hospitals?|acute|short term|healthcare facility|health care facility|"
            r"other facility|transfer|transferred|disch? tran|federal hc|"
            r"critical access",
            "other_hospital",
        ),
        (r"homeless|shelter|court|law|prison|jail|police|correctional", "other"),
        (r"home|self care", "home"),
        (r"other|lodging|foster", "other"),
    )
)


def _numbers(**codes: str) -> dict[str, str]:
    return {code: name for name, text in codes.items() for code in text.split()}


# Patient discharge status of the National Uniform Billing Committee. The codes from 81
# are those of the same places with a planned readmission.
_BILLS = _numbers(
    home="01 81",
    other_hospital="02 05 43 66 82 85 88 94",
    skilled_facility="03 04 61 64 83 84 89 92",
    home_care="06 08 86",
    against_advice="07",
    admitted="09",
    died="20 40 41 42",
    hospice="50 51",
    rehabilitation="62 90",
    long_term_care="63 91",
    psychiatric="65 93",
    other="21 69 70 87 95",
)
_BILL_SYSTEMS = ("v2-0112", "v2/0112", ".12.112", ".6.301.5")
_FHIR = {
    **{"home": "home", "alt-home": "home", "other-hcf": "other_hospital"},
    **{"hosp": "hospice", "long": "long_term_care", "aadvice": "against_advice"},
    **{"exp": "died", "psy": "psychiatric", "rehab": "rehabilitation"},
    **{"snf": "skilled_facility", "oth": "other"},
}
# Reasons of discharge of German hospitals (paragraph 301 SGB V), without their last
# digit. The same numbers mean other things on American bills. A treatment that ended
# regularly (01) names no place, which is home as a rule.
_GERMAN = _numbers(
    home="01 02 03 14 21 28",
    against_advice="04 15",
    other_hospital="06 08 18 29",
    psychiatric="13",
    died="07",
    rehabilitation="09",
    skilled_facility="10",
    hospice="11",
    other="05 12 16 17 19 20 22 23 24 25 26 27 30",
)


def says_nothing(words: Any) -> bool:
    """Return whether a cell is null or states that the destination is not known."""
    if words is None or words is pd.NA or (isinstance(words, float) and words != words):
        return True
    return _plain(str(words)) in _NOTHING


def _plain(words: str) -> str:
    return " ".join(re.sub(r"[^a-z0-9]+", " ", words.lower()).split())


@lru_cache(maxsize=10_000)
def discharge_of_words(words: str) -> str | None:
    """Return the destination that a text means, or None if it is not understood.

    Parameters
    ----------
    words : str
        Text of a source, such as a name of a location.

    Returns
    -------
    str or None
        One of `DISCHARGES`.

    Examples
    --------
    >>> from skfusion.ehr.sources.stays.vocabulary import discharge_of_words
    >>> discharge_of_words("REHAB/DISTINCT PART HOSP"), discharge_of_words("SNF")
    ('rehabilitation', 'skilled_facility')
    >>> discharge_of_words("ward 7") is None
    True
    """
    plain = _plain(words)
    for pattern, destination in _RULES:
        if pattern.search(plain):
            return destination
    return None


def discharge_of_code(system: str, code: str) -> str | None:
    """Return the destination that a code of a known code system means, or None.

    Parameters
    ----------
    system : str
        URI of the code system.
    code : str
        The code. Numbers of an unknown system are not understood, because the same
        numbers mean different things in different countries.

    Examples
    --------
    >>> from skfusion.ehr.sources.stays.vocabulary import discharge_of_code
    >>> discharge_of_code("https://www.nubc.org/CodeSystem/PatDischargeStatus", "07")
    'against_advice'
    >>> discharge_of_code("http://fhir.de/CodeSystem/dkgev/Entlassungsgrund", "079")
    'died'
    """
    place = system.strip().lower().rstrip("/")
    text = code.strip().lower()
    if place.endswith("discharge-disposition") and text in _FHIR:
        return _FHIR[text]
    if "entlassungsgrund" in place:
        return _GERMAN.get(text[:2])
    if "nubc" in place or place.endswith(_BILL_SYSTEMS):
        return _BILLS.get(text.zfill(2))
    return None


def of_kind(stays: pd.DataFrame, kind: str | Iterable[str], owner: str) -> pd.DataFrame:
    """Return the stays of some kinds.

    Parameters
    ----------
    stays : DataFrame
        Stays with the column ``kind``.
    kind : str or iterable of str
        Kinds among `KINDS`. ``"hospital"`` includes stays for observation.
    owner : str
        Name of the function for the error message.

    Returns
    -------
    DataFrame

    Raises
    ------
    ValueError
        If a kind is unknown.
    """
    wanted = {kind} if isinstance(kind, str) else set(kind)
    for name in wanted:
        check_option(name, "kind", KINDS, owner)
    if "hospital" in wanted:
        wanted.update(HOSPITAL_KINDS)
    return stays[stays["kind"].isin(wanted)]


def is_repeated(stays: pd.DataFrame, keep: Literal["first", "last"]) -> pd.Series:
    """Return which stays repeat another one.

    Ids are those of the source, which may number the stays of each subject, and whole
    stays, their parts and emergency stays independently.
    """
    kind = stays["kind"].replace({"observation": "hospital"})
    key = stays[["subject_id", "stay_id"]]
    key = key.assign(kind=kind, part=stays["parent_id"].notna())
    return key.duplicated(keep=keep)


def parents_of(stays: pd.DataFrame) -> np.ndarray:
    """Return the row of the stay of which each one is a part, -1 without one.

    A part belongs to a whole stay of the same subject, with a stay in hospital before
    other stays of the same id.
    """
    is_whole = stays["parent_id"].isna().to_numpy(bool)
    rows = np.flatnonzero(is_whole)
    not_first = ~stays["kind"].isin(HOSPITAL_KINDS).to_numpy(bool)[rows]
    rows = rows[np.argsort(not_first, kind="stable")]
    columns = stays["subject_id"].astype(object), stays["stay_id"].astype(object)
    whole = pd.MultiIndex.from_arrays([column.iloc[rows] for column in columns])
    first = ~whole.duplicated()
    found = np.full(len(stays), -1)
    if not is_whole.all():
        wanted = pd.MultiIndex.from_arrays(
            [columns[0][~is_whole], stays["parent_id"].astype(object)[~is_whole]]
        )
        place = whole[first].get_indexer(wanted)
        found[~is_whole] = np.where(place >= 0, np.append(rows[first], -1)[place], -1)
    return found
