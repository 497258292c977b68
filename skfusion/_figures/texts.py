"""Texts of all figures: numbers, names of users, and fonts that have their letters.

Matplotlib is imported inside the functions that need it, because it is optional.
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from skfusion._figures.style import LABEL_SIZE
from skfusion.exceptions import FallbackWarning, warn_user

__all__ = [
    "NAME_WIDTH",
    "font_families",
    "format_interval",
    "format_number",
    "plain_texts",
    "text_width",
    "true_minus",
    "wrap_name",
    "wrap_names",
    "wrap_sentence",
]


NAME_WIDTH, NAME_LINES = 22, 3  # in letters, and lines


def format_number(value: float, decimals: int = 2, *, sign: bool = False) -> str:
    """Write a number, with the minus sign of the axes of matplotlib.

    Examples
    --------
    >>> from skfusion._figures.texts import format_number
    >>> format_number(0.126, sign=True), format_number(-1.5, 1) == "-1.5"
    ('+0.13', False)
    >>> format_number(float("nan"))
    'n/a'
    """
    if math.isnan(value):
        return "n/a"
    text = f"{value:+.{decimals}f}" if sign else f"{value:.{decimals}f}"
    # A number that is rounded to 0 has no sign.
    text = text if float(text) != 0 else f"{0:.{decimals}f}"
    return text.replace("-", "\N{MINUS SIGN}")


def true_minus(text: str) -> str:
    """Return a text in which negative numbers have the minus sign of `format_number`.

    Examples
    --------
    >>> from skfusion._figures.texts import true_minus
    >>> true_minus("-0.5 (-1 to 2), 2023-01-01") == "-0.5 (-1 to 2), 2023-01-01"
    False
    """
    return _NEGATIVE.sub("\N{MINUS SIGN}", text)


# A hyphen before a number, and not within a date or a word.
_NEGATIVE = re.compile(r"(?<![\w.)])-(?=\d)")


def format_interval(
    value: float, low: float | None = None, high: float | None = None
) -> str:
    """Write an estimate and, if given, its confidence limits.

    Examples
    --------
    >>> from skfusion._figures.texts import format_interval
    >>> format_interval(0.82, 0.62, 1.0)
    '0.82 (0.62 to 1.00)'
    """
    if low is None or high is None or math.isnan(value):
        return format_number(value)
    return f"{format_number(value)} ({format_number(low)} to {format_number(high)})"


def wrap_name(name: str, width: int = NAME_WIDTH, n_lines: int = NAME_LINES) -> str:
    """Break a name into lines, with an ellipsis for what does not fit.

    Parameters
    ----------
    name : str
        The name.
    width : int, default=22
        Maximum width of a line, in letters. A Chinese letter is as wide as two.
    n_lines : int, default=3
        Maximum number of lines.

    Returns
    -------
    str
        The lines. They end behind a space, an underscore or a hyphen if possible.

    Examples
    --------
    >>> from skfusion._figures.texts import wrap_name
    >>> wrap_name("computed_tomography_pulmonary_angiogram").splitlines()
    ['computed_tomography_', 'pulmonary_angiogram']
    """
    lines: list[str] = []
    rest = " ".join(str(name).split())
    while rest and len(lines) < n_lines:
        line = _first_line(rest, width)
        rest = rest[len(line) :].lstrip()
        lines.append(line.rstrip())
    if rest:
        kept = lines[-1]
        while kept and _columns(kept) > width - 1:
            kept = kept[:-1]
        lines[-1] = kept.rstrip() + "\N{HORIZONTAL ELLIPSIS}"
    return "\n".join(lines)


def wrap_names(
    names: Sequence[str], width: int = NAME_WIDTH, n_lines: int = NAME_LINES
) -> list[str]:
    """Break names into lines, and number names that would look the same.

    These are names that are equal once they are cut, and names with letters that no
    installed font has, which are drawn as boxes.
    """
    wrapped = [wrap_name(name, width, n_lines) for name in names]
    alike = [wrapped.count(lines) > 1 for lines in wrapped]
    lacking = _missing_letters("".join(map(str, names)))[1]
    for place, name in enumerate(names):
        if alike[place] or lacking.intersection(str(name)):
            wrapped[place] = wrap_name(f"{place + 1}. {name}", width, n_lines)
    return wrapped


def wrap_sentence(text: str, inches: float, size: float = LABEL_SIZE) -> str:
    """Break a text into lines of a width in inches."""
    words, lines = str(text).split(" "), [""]
    for word in words:
        longer = f"{lines[-1]} {word}".strip()
        if lines[-1] and text_width(longer, size) > inches:
            lines.append(word)
        else:
            lines[-1] = longer
    widths = [text_width(line, size) for line in lines]
    # A word that is too long is broken like a name.
    return "\n".join(
        line
        if width <= inches
        else wrap_name(line, max(4, int(inches / width * _columns(line))))
        for line, width in zip(lines, widths, strict=True)
    )


def _first_line(text: str, width: int) -> str:
    """Return the letters of the first line, up to a good place for a break."""
    columns, good = 0, 0
    for end, letter in enumerate(text):
        columns += _columns(letter)
        if columns > width + (letter == " "):
            return text[: good if good > width // 3 else end]
        if letter in " _-/.,;:)":
            good = end + 1
    return text


def _columns(text: str) -> int:
    """Return the width of a text in letters."""
    wide = sum(unicodedata.east_asian_width(letter) in "WF" for letter in text)
    return len(text) + wide


def text_width(text: str, size: float) -> float:
    """Return the width of the longest line of a text in inches, as drawn."""
    from matplotlib.font_manager import FontProperties
    from matplotlib.textpath import text_to_path

    families, _ = _missing_letters(text)
    prop = FontProperties(size=size, family=families or None)
    lines = [line for line in str(text).split("\n") if line]
    widths = [
        text_to_path.get_text_width_height_descent(line, prop, ismath=False)[0]
        for line in lines
    ]
    return max(widths, default=0.0) / 72.0


# Families of fonts with Chinese, Japanese and Korean letters, on Linux, macOS and
# Windows. Other fonts are searched if none of them is installed.
WIDE_FAMILIES = (
    *("Noto Sans CJK SC", "Noto Sans CJK JP", "Noto Sans SC", "Source Han Sans SC"),
    *("WenQuanYi Micro Hei", "WenQuanYi Zen Hei", "PingFang SC", "Hiragino Sans GB"),
    *("Microsoft YaHei", "SimHei", "Arial Unicode MS", "Droid Sans Fallback"),
)
#: Font of matplotlib with a box for every letter.
LAST_RESORT = "Last Resort High-Efficiency"


def font_families(texts: Iterable[str]) -> list[str] | None:
    """Return the families of fonts that have all letters of some texts.

    Parameters
    ----------
    texts : iterable of str
        The texts of a figure.

    Returns
    -------
    list of str or None
        None if the present font has all letters.

    Warns
    -----
    FallbackWarning
        If no installed font has some of the letters, which are drawn as boxes.
    """
    families, lacking = _missing_letters("".join(texts))
    if lacking:
        warn_user(
            f"No installed font has {len(lacking)} of the letters of this figure, such "
            f"as U+{ord(min(lacking)):04X} "
            f"({unicodedata.name(min(lacking), 'unnamed').lower()}), so they are drawn "
            "as boxes. Install a font that has them, such as Noto Sans CJK, and "
            "restart Python. Names with boxes are numbered in the order of the "
            "modalities.",
            FallbackWarning,
        )
    return families or None


def _missing_letters(text: str) -> tuple[list[str], set[str]]:
    """Return the families needed for a text, and the letters that none of them has."""
    from matplotlib import rcParams
    from matplotlib.font_manager import FontProperties, findfont, fontManager

    letters = {letter for letter in text if ord(letter) > 126}
    if not letters:
        return [], set()
    present = findfont(FontProperties())
    lacking = {letter for letter in letters if ord(letter) not in _charmap(present)}
    if not lacking:
        return [], set()
    families = list(rcParams["font.family"])
    installed = {font.name: font.fname for font in fontManager.ttflist}
    rest = sorted(set(installed) - set(WIDE_FAMILIES) - {LAST_RESORT})
    for family in (*WIDE_FAMILIES, *rest):
        if not lacking:
            break
        known = _charmap(installed[family]) if family in installed else {}
        found = {letter for letter in lacking if ord(letter) in known}
        if found:
            families.append(family)
            lacking -= found
    if lacking and LAST_RESORT in installed:
        families.append(LAST_RESORT)
    return families, lacking


_CHARMAPS: dict[str, frozenset[int]] = {}


def _charmap(path: str) -> frozenset[int]:
    """Return the letters of a font."""
    from matplotlib.font_manager import get_font

    if path not in _CHARMAPS:
        _CHARMAPS[path] = frozenset(get_font(path).get_charmap())
    return _CHARMAPS[path]


def plain_texts(axis: Any, given: Iterable[Any] = ()) -> None:
    """Make matplotlib draw the texts of axes as they are, in fonts that have them.

    Names of users may contain ``$`` or ``_``, which are no formulae.

    Parameters
    ----------
    axis : matplotlib Axes
        The axes.
    given : iterable of matplotlib Text
        Texts that were there before, which are left alone.

    Warns
    -----
    FallbackWarning
        As in `font_families`.
    """
    kept = {id(text) for text in given}
    texts = [text for text in _texts_of(axis) if id(text) not in kept]
    families = font_families(text.get_text() for text in texts)
    for text in texts:
        text.set_parse_math(False)
        if families is not None and _missing_letters(text.get_text())[0]:
            text.set_fontfamily(families)
            # Fonts for many letters often have one weight only.
            text.set_fontweight("normal")


def _texts_of(axis: Any) -> Iterator[Any]:
    from matplotlib.text import Text

    yield from axis.findobj(lambda artist: isinstance(artist, Text))
