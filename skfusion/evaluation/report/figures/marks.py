"""Marks of the strategies of a comparison, the same in all figures and on the page."""

from __future__ import annotations

from skfusion._figures.style import STRATEGY_MARKS
from skfusion.evaluation.report.protocol import Comparison

__all__ = ["references_of", "shown_fusions", "strategy_marks"]


KINDS = ("early", "joint", "late")
OTHERS = tuple(name for name in STRATEGY_MARKS if name.startswith("other"))


def strategy_marks(result: Comparison) -> dict[str, str]:
    """Return the name of the mark of each strategy, a key of `STRATEGY_MARKS`.

    Single modalities have one mark. The first early, joint and late fusion have the
    mark of their kind, and further fusions those that are left, in their order.

    Parameters
    ----------
    result : Comparison
        The comparison.

    Returns
    -------
    dict of str to str
        Also for fusions without a modality, which have the mark of their fusion.
    """
    found: dict[str, str] = {}
    table = result.strategies_
    fusions = table.index[table["role"] == "fusion"]
    for name in map(str, fusions):
        kind = _kind_of(name, str(table.loc[name, "estimator"]))
        if kind is not None and kind not in found.values():
            found[name] = kind
    left = [name for name in OTHERS if name not in found.values()]
    rest = [str(name) for name in fusions if str(name) not in found]
    for number, name in enumerate(rest):
        found[name] = left[number % len(left)]
    for name, role, fusion in zip(
        table.index, table["role"], table["fusion"], strict=True
    ):
        if role == "single":
            found[str(name)] = "single"
        elif role == "without":
            found[str(name)] = found.get(str(fusion), "other1")
    return found


def _kind_of(name: str, estimator: str) -> str | None:
    """Return the kind of a fusion by its class, or by its name in a pipeline."""
    for text in (estimator.lower(), name.lower()):
        for kind in KINDS:
            if text.startswith(kind):
                return kind
    return None


def shown_fusions(result: Comparison) -> list[str]:
    """Return the fusions of a comparison, or its single modalities without any."""
    table = result.strategies_
    fusions = table.index[table["role"] == "fusion"]
    return [str(name) for name in (fusions if len(fusions) else table.index)]


def references_of(result: Comparison) -> dict[str, str]:
    """Return the best single modality by the primary score, for each tested fusion."""
    tests = result.tests_
    if not len(tests):
        return {}
    return {
        str(fusion): str(reference)
        for fusion, reference in zip(tests["strategy"], tests["reference"], strict=True)
    }
