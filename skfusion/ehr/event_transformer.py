"""What transformers of events share: rows with a subject and an index time, tags.

Read next: `skfusion.ehr.windows`.
"""

from __future__ import annotations

from typing import Any

from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils import Tags

from skfusion.ehr.events import EventStore
from skfusion.ehr.window_cases import read_cases
from skfusion.ehr.window_rows import Cases

__all__ = ["EventTransformer"]


class EventTransformer(TransformerMixin, BaseEstimator):
    """A transformer with the parameters ``subject``, ``time``, ``unknown_subject``."""

    subject: str
    time: str
    unknown_subject: str

    def _cases(self, X: Any, store: EventStore) -> Cases:
        """Check a table of cases; windows end by ``gap``, if there is one, earlier."""
        return read_cases(
            X,
            store,
            subject=self.subject,
            time=self.time,
            gap=getattr(self, "gap", "0h"),
            unknown_subject=self.unknown_subject,
            owner=type(self).__name__,
        )

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array = False
        tags.input_tags.string = True
        tags.transformer_tags.preserves_dtype = []
        return tags
