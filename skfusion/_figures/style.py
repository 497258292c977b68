"""Colours and sizes of all figures.

Matplotlib is imported inside the functions that need it, because it is optional.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

import numpy as np

__all__ = [
    "DARK",
    "LABEL_SIZE",
    "LIGHT",
    "NAME_SIZE",
    "SMALLEST_SIZE",
    "STRATEGY_MARKS",
    "StrategyMark",
    "Theme",
    "contrast",
    "css_variables",
    "ink_on",
    "theme_of",
]


@dataclass(frozen=True)
class Theme:
    """Colours on one background.

    Attributes
    ----------
    ink, secondary, grid, surface : str
        Texts and main lines, quieter texts, lines of the grid, and the background.
    towards, away : str
        Contributions that raise and lower the output.
    towards_pale, away_pale : str
        The same behind other marks, such as an interval.
    single, early, joint, late : str
        Strategies. `late` is for marks and lines only, not for text.
    """

    ink: str
    secondary: str
    grid: str
    surface: str
    towards: str
    away: str
    towards_pale: str
    away_pale: str
    single: str
    early: str
    joint: str
    late: str

    @property
    def diverging(self) -> tuple[str, ...]:
        """Colours of a scale of signed values, symmetric about 0."""
        pale = (self.away_pale, self.surface, self.towards_pale)
        return (self.away, *pale, self.towards)

    @property
    def sequential(self) -> tuple[str, ...]:
        """Colours of a scale of values that are not negative."""
        return (self.surface, self.towards_pale, self.towards)


LIGHT = Theme(
    ink="#1B2028",
    secondary="#5A6473",
    grid="#DDE1E6",
    surface="#FFFFFF",
    towards="#1C47AD",
    away="#B33E14",
    towards_pale="#B9CBF0",
    away_pale="#F3C5B0",
    single="#33383F",
    early="#1C47AD",
    joint="#B33E14",
    late="#0CA78F",
)
DARK = Theme(
    ink="#E6E9EE",
    secondary="#A3ADBB",
    grid="#2B323B",
    surface="#14181E",
    towards="#8AADFF",
    away="#F0906A",
    towards_pale="#2A3F73",
    away_pale="#6B3420",
    single="#D5DAE1",
    early="#8AADFF",
    joint="#F0906A",
    late="#35CDB4",
)


@dataclass(frozen=True)
class StrategyMark:
    """How a strategy is drawn: colour, marker, fill and line differ.

    Attributes
    ----------
    colour : {"single", "early", "joint", "late"}
        Colour in a `Theme`.
    marker : str
        Marker of matplotlib.
    filled : bool
        Whether the marker is filled.
    dashes : tuple of float
        Lengths of dashes and gaps of lines, empty for a solid line.
    """

    colour: str
    marker: str
    filled: bool
    dashes: tuple[float, ...] = ()


# Further strategies of the same kind, or of an unknown one, take the last ones.
STRATEGY_MARKS = {
    "single": StrategyMark("single", "o", False),
    "early": StrategyMark("early", "s", True),
    "joint": StrategyMark("joint", "D", True),
    "late": StrategyMark("late", "^", True, (5.0, 2.0)),
    "single2": StrategyMark("single", "<", False, (1.5, 1.5)),
    "single3": StrategyMark("single", ">", False, (6.0, 2.0)),
    "other1": StrategyMark("early", "v", False, (1.5, 1.5)),
    "other2": StrategyMark("joint", "P", False, (6.0, 2.0, 1.5, 2.0)),
    "other3": StrategyMark("late", "X", False, (3.0, 1.0)),
    "other4": StrategyMark("single", "v", True, (8.0, 3.0)),
}
# Points, so that nothing is smaller than 6.5 points in print.
NAME_SIZE, LABEL_SIZE, SMALLEST_SIZE = 9.0, 8.0, 6.5


def contrast(first: Any, second: Any) -> float:
    """Return the contrast ratio of two colours, as defined by the WCAG.

    Examples
    --------
    >>> from skfusion._figures.style import contrast
    >>> round(contrast("#FFFFFF", "#000000"), 1)
    21.0
    """
    from matplotlib.colors import to_rgb

    def luminance(colour: Any) -> float:
        parts = np.array(to_rgb(colour))
        linear = np.where(
            parts <= 0.04045, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4
        )
        return float(linear @ [0.2126, 0.7152, 0.0722])

    low, high = sorted((luminance(first), luminance(second)))
    return (high + 0.05) / (low + 0.05)


def ink_on(colour: Any) -> str:
    """Return the ink of a text on a colour: the one with the larger contrast.

    Examples
    --------
    >>> from skfusion._figures.style import ink_on
    >>> ink_on("#B9CBF0"), ink_on("#1C47AD")
    ('#1B2028', '#FFFFFF')
    """
    return max((LIGHT.ink, LIGHT.surface), key=lambda ink: contrast(ink, colour))


def theme_of(axis: Any) -> Theme:
    """Return the colours for the background of matplotlib axes."""
    from matplotlib.colors import to_rgba

    face = to_rgba(axis.get_facecolor())
    if face[3] < 0.5:  # transparent: the colour of the figure is seen
        face = to_rgba(axis.figure.get_facecolor())
    return DARK if contrast(face[:3], "#FFFFFF") > contrast(face[:3], "k") else LIGHT


def css_variables(theme: Theme) -> str:
    """Return the colours of a theme as custom properties of CSS.

    Examples
    --------
    >>> from skfusion._figures.style import LIGHT, css_variables
    >>> css_variables(LIGHT).split("; ")[:2]
    ['--ink: #1B2028', '--secondary: #5A6473']
    """
    names = [field.name for field in fields(theme)]
    return "; ".join(
        f"--{name.replace('_', '-')}: {getattr(theme, name)}" for name in names
    )
