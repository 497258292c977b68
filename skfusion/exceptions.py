"""Categories of the warnings of skfusion, so that each can be filtered by itself."""

from __future__ import annotations

import sys
import warnings

__all__ = [
    "DataWarning",
    "FallbackWarning",
    "LeakageWarning",
    "LostImagesWarning",
]

# Packages between a call of the user and the code that warns.
PASSED_THROUGH = ("skfusion", "sklearn", "joblib")


class DataWarning(UserWarning):
    """Warning about the data: rows, cells, codes or modalities that are not used.

    Examples
    --------
    >>> import warnings
    >>> from skfusion.exceptions import DataWarning
    >>> warnings.filterwarnings("ignore", category=DataWarning)
    >>> warnings.filterwarnings("default", category=DataWarning)
    """


class LostImagesWarning(DataWarning):
    """Warning about images that count as missing: unreadable, or without an embedding.

    Examples
    --------
    >>> import warnings
    >>> from skfusion.exceptions import LostImagesWarning
    >>> warnings.filterwarnings("error", category=LostImagesWarning)
    >>> warnings.filterwarnings("default", category=LostImagesWarning)
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


def warn_user(message: str, category: type[Warning]) -> None:
    """Issue a warning that is attributed to the code of the user.

    Python shows a warning once for each line that it is attributed to. A number of
    stack levels would depend on what is between the user and the place that warns, such
    as a search of scikit-learn.

    Parameters
    ----------
    message : str
        The message.
    category : type of Warning
        Category of the warning.
    """
    level, frame = 1, sys._getframe(0)
    while frame.f_back is not None:
        name = str(frame.f_globals.get("__name__", ""))
        if name.partition(".")[0] not in PASSED_THROUGH:
            break
        level, frame = level + 1, frame.f_back
    warnings.warn(message, category, stacklevel=level)
