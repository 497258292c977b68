"""A diagnosis in, its group by CCS, CCSR, chapter or block out, through icd-mappings.

Read next: `skfusion.ehr.codes`, which asks for whole columns.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from skfusion._dependencies import require
from skfusion.ehr.comorbidity import bare_code

__all__ = ["IcdGroups"]

# The steps of icd-mappings from a classification to groups. From ICD-10 to CCS it only
# leads through ICD-9, and there 30 % of 72,000 codes come out otherwise than in AHRQ's
# own table of 2019: that way is closed.
ROUTES = {
    ("icd9", "ccs"): ("ccs",),
    ("icd9", "ccsr"): ("icd10", "ccsr"),
    ("icd9", "chapter"): ("chapter",),
    ("icd10", "ccsr"): ("ccsr",),
    ("icd10", "chapter"): ("chapter",),
    ("icd10", "block"): ("block",),
}


@dataclass(frozen=True)
class IcdGroups:
    """A function from one diagnosis to the group that it belongs to.

    Parameters
    ----------
    version : {"icd9", "icd10"}
        Which classification, in its US edition (CM).
    target : {"ccs", "ccsr", "chapter", "block"}
        Which groups; blocks are of ICD-10 only.

    Raises
    ------
    ValueError
        If nothing leads from one to the other.
    ImportError
        If icd-mappings is not installed.

    Examples
    --------
    >>> from skfusion.ehr.icd import IcdGroups
    >>> IcdGroups("icd9", "ccs")("428.0"), IcdGroups("icd10", "chapter")("I50.9")
    (('108',), ('I00-I99',))
    """

    version: str
    target: str

    def __post_init__(self) -> None:
        """Refuse what leads nowhere, and miss the package early."""
        if (self.version, self.target) not in ROUTES:
            ways = [target for version, target in ROUTES if version == self.version]
            raise ValueError(
                f"IcdGroups: there is no way from {self.version} to {self.target!r}; "
                f"there is one to {ways}."
            )
        _mapper()

    def __call__(self, code: str) -> Sequence[str]:
        """Return the group of a code, or nothing."""
        bare = bare_code(code)
        # a national edition has longer codes than the US one
        for length in range(len(bare), min(len(bare), 3) - 1, -1):
            group = self._follow(bare[:length])
            if group is not None:
                return (group,)
        return ()

    def _follow(self, code: str) -> str | None:
        source, found = self.version, code
        for target in ROUTES[self.version, self.target]:
            found = _mapper().map(found, source, target)
            if not found:
                return None
            source = target
        return str(found).partition(" | ")[0]  # a chapter loses its title


@cache
def _mapper() -> Any:
    return require("icdmappings", "ehr").Mapper()
