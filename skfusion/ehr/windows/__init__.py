"""Statistics of events in time windows relative to the index time."""

from __future__ import annotations

from typing import TYPE_CHECKING

from skfusion._lazy import lazy_exports

if TYPE_CHECKING:
    from skfusion.ehr.windows.event_windows import EventWindows as EventWindows
    from skfusion.ehr.windows.plan import parse_feature as parse_feature
    from skfusion.ehr.windows.prepared import PreparedWindows as PreparedWindows

__getattr__, __dir__, __all__ = lazy_exports(
    __name__,
    {
        "skfusion.ehr.windows.event_windows": ["EventWindows"],
        "skfusion.ehr.windows.plan": ["parse_feature"],
        "skfusion.ehr.windows.prepared": ["PreparedWindows"],
    },
)
