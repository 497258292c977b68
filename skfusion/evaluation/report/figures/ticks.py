"""Round values along an axis of the page."""

from __future__ import annotations

import math

__all__ = ["round_values"]


MOST = 5


def round_values(
    lowest: float, highest: float, *, sign: bool = False
) -> list[tuple[float, str]]:
    """Return about five round values of a range, and their texts.

    Parameters
    ----------
    lowest, highest : float
        Ends of the range.
    sign : bool, default=False
        Whether positive values have a plus.

    Returns
    -------
    list of (float, str)

    Examples
    --------
    >>> from skfusion.evaluation.report.figures.ticks import round_values
    >>> [text for _, text in round_values(0.0, 1.0)]
    ['0.0', '0.2', '0.4', '0.6', '0.8', '1.0']
    """
    width = highest - lowest
    power = 10.0 ** math.floor(math.log10(width / MOST))
    step = next(
        power * factor
        for factor in (1, 2, 2.5, 5, 10)
        if width / power / factor <= MOST
    )
    decimals = max(
        0, -math.floor(math.log10(step)) + (1 if "25" in f"{step:.6g}" else 0)
    )
    first, last = math.ceil(lowest / step), math.floor(highest / step)
    found = []
    for number in range(first, last + 1):
        value = number * step
        text = f"{value:{'+' if sign and number else ''},.{decimals}f}"
        found.append((value, text.replace("-", "\N{MINUS SIGN}")))
    return found
