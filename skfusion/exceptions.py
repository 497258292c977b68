"""Categories of the warnings of skfusion, so that each can be filtered by itself."""

from __future__ import annotations

__all__ = ["DataWarning", "FallbackWarning", "LeakageWarning"]


class DataWarning(UserWarning):
    """Warning about the data: rows, cells, codes or modalities that are not used.

    Examples
    --------
    >>> import warnings
    >>> from skfusion.exceptions import DataWarning
    >>> warnings.filterwarnings("ignore", category=DataWarning)
    >>> warnings.filterwarnings("default", category=DataWarning)
    """


class LeakageWarning(UserWarning):
    """Warning about information that a prediction cannot have.

    Such as outcomes among the features, or one patient on both sides of a split.

    Examples
    --------
    >>> import warnings
    >>> from skfusion.exceptions import LeakageWarning
    >>> warnings.filterwarnings("error", category=LeakageWarning)
    >>> warnings.filterwarnings("default", category=LeakageWarning)
    """


class FallbackWarning(UserWarning):
    """Warning about something else than what was asked for.

    Such as equal weights where weights could not be learned, or slower code.

    Examples
    --------
    >>> import warnings
    >>> from skfusion.exceptions import FallbackWarning
    >>> warnings.filterwarnings("error", category=FallbackWarning)
    >>> warnings.filterwarnings("default", category=FallbackWarning)
    """
