"""Disk-backed storage of timed events with `EventStore`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from skfusion._lazy import lazy_exports

if TYPE_CHECKING:
    from skfusion.ehr.events.store import EventStore as EventStore

__getattr__, __dir__, __all__ = lazy_exports(
    __name__,
    {
        "skfusion.ehr.events.store": ["EventStore"],
    },
)
