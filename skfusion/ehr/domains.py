"""Modalities for the clinical domains of an event store.

The domains are those of Huang et al., "Multimodal fusion with deep neural networks for
leveraging CT imaging and electronic health record: a case-study in pulmonary embolism
detection", Scientific Reports 10:22147 (2020): demographics, vital signs, laboratory
tests, inpatient and outpatient medication, diagnoses and procedures.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any

import numpy as np
import pandas as pd
from sklearn.base import BaseEstimator

from skfusion._validation import did_you_mean
from skfusion.ehr.demographics import BIRTH, FACTS, Demographics, has_demographics
from skfusion.ehr.events.store import EventStore
from skfusion.ehr.point_in_time.vocabulary import KINDS_OF_CODES, is_outcome
from skfusion.ehr.tabular.encoder import TabularEncoder
from skfusion.ehr.windows.event_windows import EventWindows
from skfusion.exceptions import DataWarning, warn_user

__all__ = ["DOMAINS", "FURTHER_DOMAINS", "domain_modalities"]


#: Name of a domain -> patterns of its codes, with the prefixes that the readers of
#: hospital formats use.
DOMAINS: dict[str, tuple[str, ...]] = {
    "vitals": ("VITAL//*",),
    "labs": ("LAB//*",),
    "inpatient_medication": ("MEDICATION//INPATIENT//*",),
    "outpatient_medication": ("MEDICATION//OUTPATIENT//*",),
    "diagnoses": ("DIAGNOSIS//*",),
    "procedures": ("PROCEDURE//*",),
}
#: Further domains of hospital formats, for ``domains={**DOMAINS, **FURTHER_DOMAINS}``.
FURTHER_DOMAINS: dict[str, tuple[str, ...]] = {
    "stays": KINDS_OF_CODES["stays"],
    "outputs": ("OUTPUT//*",),
    "microbiology": ("MICROBIOLOGY//*",),
    "observations": KINDS_OF_CODES["observations"],
    "devices": ("DEVICE//*",),
}
_MEASURED = ("vitals", "labs", "outputs", "observations")
_OF_CODES = ("present", "count", "since_last")
_OTHERS = "*"  # Key of the value for all other domains.


def domain_modalities(
    events: EventStore,
    *,
    demographics: Sequence[Any] | str | None = "events",
    domains: Mapping[str, Iterable[str]] | None = None,
    subject: str = "subject_id",
    time: str = "index_time",
    windows: Sequence[Any] | Mapping[str, Sequence[Any]] = ("365d",),
    **settings: Any,
) -> list[tuple[str, BaseEstimator, list[Any]]]:
    """Return one modality for each clinical domain of an event store.

    Parameters
    ----------
    events : EventStore
        The events, with codes that start with their domain.
    demographics : sequence of labels, "events" or None, default="events"
        Columns of the cohort table for a modality ``"demographics"``. "events" extracts
        age, sex and similar facts from the events, if available. None adds no such
        modality.
    domains : mapping of str to patterns, default=None
        Domain -> patterns of its codes. None uses `DOMAINS`. `FURTHER_DOMAINS` has
        more, such as stays.
    subject, time : str, default="subject_id" and "index_time"
        Columns of the cohort table with the subject and the index time.
    windows : tuple or mapping of str to tuple, default=("365d",)
        As in `EventWindows`. The default is the look-back of one year of the study. A
        mapping has the windows of each domain, such as
        ``{"labs": ("1d", "30d"), "*": ("365d",)}``, with ``"*"`` for all others.
        Domains that are not in a mapping without ``"*"`` have the default.
    **settings
        Other parameters of `EventWindows`, such as `min_subjects` or `aggs`, for all
        domains, or as a mapping by domain as for `windows` (but not `aggs_by_prefix`,
        which is a mapping by itself). Without `aggs`, vital signs, laboratory tests,
        outputs, observations and custom domains use its default statistics. The other
        domains of `DOMAINS` and `FURTHER_DOMAINS` use presence, count and time since
        the last event.

    Returns
    -------
    list of (str, transformer, columns)
        Modalities for any fusion estimator, to which images can be added.

    Raises
    ------
    ValueError
        If the store has no code of any domain, a mapping by domain has a name that is
        not a domain, or `demographics` is another text.

    Warns
    -----
    DataWarning
        If the store has no code of some domains, which are skipped, or if the default
        domains leave out codes of the store, with the numbers of events by prefix.

    Examples
    --------
    >>> import pandas as pd
    >>> from skfusion.ehr import EventStore, domain_modalities
    >>> events = pd.DataFrame({
    ...     "subject_id": [1, 1],
    ...     "code": ["LAB//LOINC//718-7", "DIAGNOSIS//ICD10CM//I26"],
    ...     "time": pd.to_datetime(["2026-01-02 08:00", "2026-01-03 09:00"]),
    ... })
    >>> store = EventStore.from_frame(events)
    >>> domains = {"labs": ("LAB//*",), "diagnoses": ("DIAGNOSIS//*",)}
    >>> made = domain_modalities(store, demographics=["age"], domains=domains)
    >>> [name for name, _, _ in made]
    ['demographics', 'labs', 'diagnoses']
    """
    chosen = DOMAINS if domains is None else domains
    by_domain = _ByDomain(chosen, {"windows": windows, **settings})
    unknown = by_domain.of("demographics").get("unknown_subject", "error")
    made = _demographics(events, demographics, subject, time, unknown)
    n_before = len(made)
    absent = []
    for name, patterns in chosen.items():
        include = (patterns,) if isinstance(patterns, str) else tuple(patterns)
        if not any(fnmatchcase(c, p) for c in events.codes for p in include):
            absent.append(name)
            continue
        own = {"windows": ("365d",), **by_domain.of(name)}
        is_further = FURTHER_DOMAINS.get(name) == include
        if (name in DOMAINS or is_further) and name not in _MEASURED:
            own.setdefault("aggs", _OF_CODES)
        encoder = EventWindows(
            events, subject=subject, time=time, include=include, **own
        )
        made.append((name, encoder, [subject, time]))
    if len(made) == n_before:
        raise ValueError(
            f"domain_modalities: got {len(events.codes)} codes in the store, none of "
            f"them of a domain ({', '.join(absent)}). Expected codes that start with "
            "their domain, such as 'LAB//LOINC//718-7'. Pass custom patterns as "
            "domains=."
        )
    if domains is None:
        _warn_of_others(events)
    if absent:
        warn_user(
            "domain_modalities: skipped domains without a code in the store: "
            f"{', '.join(absent)}.",
            DataWarning,
        )
    return made


N_SHOWN = 8


class _ByDomain:
    """Settings of `EventWindows`, some of which differ between domains."""

    def __init__(self, domains: Iterable[str], settings: Mapping[str, Any]) -> None:
        self._settings = settings
        known = [*domains, _OTHERS]
        for parameter, value in settings.items():
            if not self._differs(parameter):
                continue
            for name in value:
                if name not in known:
                    raise ValueError(
                        f"domain_modalities: the keys of {parameter} must be domains "
                        f"or '*', got {name!r}.{did_you_mean(str(name), known)} The "
                        f"domains are {', '.join(known[:-1])}."
                    )

    def _differs(self, parameter: str) -> bool:
        given = self._settings[parameter]
        return isinstance(given, Mapping) and parameter != "aggs_by_prefix"

    def of(self, domain: str) -> dict[str, Any]:
        """Return the settings of one domain."""
        found = {}
        for parameter, value in self._settings.items():
            if not self._differs(parameter):
                found[parameter] = value
            elif domain in value:
                found[parameter] = value[domain]
            elif _OTHERS in value:
                found[parameter] = value[_OTHERS]
        return found


def _warn_of_others(events: EventStore) -> None:
    """Warn about codes that no default domain takes, by prefix and share of events."""
    patterns = [pattern for domain in DOMAINS.values() for pattern in domain]
    codes = events.codes
    others = np.array(
        [
            not any(fnmatchcase(code, pattern) for pattern in patterns)
            and not is_outcome(code)
            and code.partition("//")[0] not in (BIRTH, *FACTS)
            for code in codes
        ]
    )
    if not others.any():
        return
    counts = np.bincount(events.files.column("code"), minlength=len(codes))
    prefixes = pd.Series([code.partition("//")[0] for code in codes])
    table = pd.Series(counts)[others].groupby(prefixes[others]).sum()
    table = table.sort_values(ascending=False, kind="stable")
    total = counts.sum()
    listed = [f"{name} ({n:,} events, {n / total:.1%})" for name, n in table.items()]
    more = f" and {len(listed) - N_SHOWN} more" if len(listed) > N_SHOWN else ""
    further = [
        name
        for name, some in FURTHER_DOMAINS.items()
        if any(fnmatchcase(f"{start}//", p) for start in table.index for p in some)
    ]
    hint = f" (FURTHER_DOMAINS has {', '.join(further)})" if further else ""
    warn_user(
        f"domain_modalities: {others.sum()} of {len(codes)} codes with "
        f"{table.sum() / total:.1%} of the events are in no domain: "
        f"{', '.join(listed[:N_SHOWN])}{more}. Pass domains= with patterns for them"
        f"{hint}, or with the domains of interest only.",
        DataWarning,
    )


def _demographics(
    events: EventStore, chosen: Any, subject: str, time: str, unknown_subject: str
) -> list[tuple[str, BaseEstimator, list[Any]]]:
    """Return the modality of demographics, from columns or events, or no modality."""
    if isinstance(chosen, str) and chosen != "events":
        raise ValueError(
            "domain_modalities: demographics must be columns of the cohort, 'events' "
            f"or None, got {chosen!r}."
        )
    if isinstance(chosen, str):
        if not has_demographics(events):
            return []
        encoder = Demographics(
            events, subject=subject, time=time, unknown_subject=unknown_subject
        )
        return [("demographics", encoder, [subject, time])]
    if chosen is None:
        return []
    return [("demographics", TabularEncoder(), list(chosen))]
