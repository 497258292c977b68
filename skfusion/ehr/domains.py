"""A store of events in, a modality for each domain of the record out, in one call.

The domains are those of Huang et al., "Multimodal fusion with deep neural networks for
leveraging CT imaging and electronic health record: a case-study in pulmonary embolism
detection", Scientific Reports 2020;10:22147: demographics, vital signs, laboratory
tests, inpatient and outpatient medication, diagnoses and procedures.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any

from sklearn.base import BaseEstimator

from skfusion.ehr.demographics import Demographics, has_demographics
from skfusion.ehr.events.store import EventStore
from skfusion.ehr.tabular.encoder import TabularEncoder
from skfusion.ehr.windows.event_windows import EventWindows

__all__ = ["DOMAINS", "domain_modalities"]


#: Name of a domain -> the codes that are of it, as the readers of hospital formats
#: begin them.
DOMAINS: dict[str, tuple[str, ...]] = {
    "vitals": ("VITAL//*",),
    "labs": ("LAB//*",),
    "inpatient_medication": ("MEDICATION//INPATIENT//*",),
    "outpatient_medication": ("MEDICATION//OUTPATIENT//*",),
    "diagnoses": ("DIAGNOSIS//*",),
    "procedures": ("PROCEDURE//*",),
}
_MEASURED = ("vitals", "labs")
_OF_CODES = ("present", "count", "since_last")


def domain_modalities(
    events: EventStore,
    *,
    demographics: Sequence[Any] | str | None = "events",
    domains: Mapping[str, Iterable[str]] | None = None,
    subject: str = "subject_id",
    time: str = "index_time",
    windows: tuple[Any, ...] = ("365d",),
    **settings: Any,
) -> list[tuple[str, BaseEstimator, list[Any]]]:
    """Make one modality of each domain of the record.

    Parameters
    ----------
    events : EventStore
        The events, of which the codes begin with their domain.
    demographics : sequence of labels, "events" or None, default="events"
        Columns of the cohort for a modality ``"demographics"``. "events" takes age, sex
        and the like out of the events, where there are any; None makes none.
    domains : mapping of str to patterns, default=None
        Domains and their codes; None takes `DOMAINS`.
    subject, time : str, default="subject_id" and "index_time"
        Columns of the cohort: whose events, and the moment of prediction.
    windows : tuple, default=("365d",)
        As in `EventWindows`; the study looked back one year.
    **settings
        Other parameters of `EventWindows`, for all domains. Without `aggs`, vital
        signs, laboratory tests and domains of your own get its default statistics, the
        other domains presence, count and time since the last event.

    Returns
    -------
    list of (str, transformer, columns)
        Modalities, for any fusion; add the images.

    Raises
    ------
    ValueError
        If the store has no code of any domain, or `demographics` is another text.

    Warns
    -----
    UserWarning
        Naming the domains of which the store has no code, which are left out.

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
    unknown = settings.get("unknown_subject", "error")
    made = _demographics(events, demographics, subject, time, unknown)
    n_before = len(made)
    absent = []
    for name, patterns in (DOMAINS if domains is None else domains).items():
        include = (patterns,) if isinstance(patterns, str) else tuple(patterns)
        if not any(fnmatchcase(c, p) for c in events.codes for p in include):
            absent.append(name)
            continue
        own = dict(settings)
        if name in DOMAINS and name not in _MEASURED:
            own.setdefault("aggs", _OF_CODES)
        encoder = EventWindows(
            events, subject=subject, time=time, windows=windows, include=include, **own
        )
        made.append((name, encoder, [subject, time]))
    if len(made) == n_before:
        raise ValueError(
            f"domain_modalities: none of the {len(events.codes)} codes of the store is "
            f"of a domain ({', '.join(absent)}); expected codes that begin with their "
            "domain, such as 'LAB//LOINC//718-7'. Pass domains= with your own patterns."
        )
    if absent:
        warnings.warn(
            f"domain_modalities: the store has no code of {', '.join(absent)}, which "
            "are left out.",
            UserWarning,
            stacklevel=2,
        )
    return made


def _demographics(
    events: EventStore, chosen: Any, subject: str, time: str, unknown_subject: str
) -> list[tuple[str, BaseEstimator, list[Any]]]:
    """Make a modality of columns or of events, or none."""
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
