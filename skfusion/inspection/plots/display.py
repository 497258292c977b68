"""Displays of modality contributions, with the API of scikit-learn's displays.

Plotting requires matplotlib.
"""

from __future__ import annotations

from typing import Any, Protocol, Self

import numpy as np
import pandas as pd

from skfusion._dependencies import require
from skfusion._validation import check_option
from skfusion.inspection.plots.drawing import (
    draw_bars,
    draw_matrix,
    draw_plane,
    draw_swarm,
    draw_triangle,
    draw_waterfall,
)

__all__ = ["ModalityDisplay", "ModalityScoresDisplay"]


KINDS = ("share", "waterfall", "beeswarm", "interactions", "outcome")
SCORE_KINDS = ("bars", "interactions")


class _Explanation(Protocol):
    """Attributes of a `ModalityExplanation` that are plotted."""

    @property
    def modalities(self) -> tuple[str, ...]: ...

    @property
    def values(self) -> np.ndarray: ...

    @property
    def base_values(self) -> Any: ...

    @property
    def presence(self) -> pd.DataFrame: ...

    @property
    def output(self) -> str: ...

    @property
    def classes(self) -> Any: ...

    @property
    def outcome(self) -> Any: ...

    @property
    def coalition_values(self) -> Any: ...

    @property
    def interactions(self) -> dict[tuple[str, str], np.ndarray]: ...

    def share(self, kind: str = ..., *, groups: Any = ...) -> pd.DataFrame: ...


class _Scores(Protocol):
    """Attributes of `ModalityScores` that are plotted."""

    @property
    def modalities(self) -> tuple[str, ...]: ...

    @property
    def estimate(self) -> np.ndarray: ...

    @property
    def interactions(self) -> dict[tuple[str, str], float]: ...

    @property
    def game(self) -> str: ...

    @property
    def scoring(self) -> str: ...

    @property
    def confidence_level(self) -> float: ...

    def to_frame(self) -> pd.DataFrame: ...


class ModalityDisplay:
    """Visualization of the contributions of modalities to predictions.

    Use `from_explanation` or `from_estimator` to create a display. The method
    `from_estimator` is defined in `skfusion.inspection.modalities.importance`.

    Parameters
    ----------
    explanation : ModalityExplanation
        The explanation to plot.

    Attributes
    ----------
    ax_ : matplotlib Axes
        Axes of the plot.
    figure_ : matplotlib Figure
        Figure of the axes.

    Examples
    --------
    >>> from sklearn.preprocessing import StandardScaler
    >>> from skfusion import LateFusionClassifier
    >>> from skfusion.inspection import ModalityDisplay
    >>> from skfusion.datasets import make_fusion_cohort
    >>> cohort = make_fusion_cohort(n_samples=400, random_state=0)
    >>> model = LateFusionClassifier(
    ...     [("image", StandardScaler(), cohort.image_columns),
    ...      ("ehr", StandardScaler(), cohort.ehr_columns)],
    ... ).fit(cohort.data[:200], cohort.target[:200])
    >>> display = ModalityDisplay.from_estimator(
    ...     model, cohort.data[200:], kind="beeswarm", background=cohort.data[:200])
    >>> [label.get_text() for label in display.ax_.get_yticklabels()]
    ['image', 'ehr']
    """

    __module__ = "skfusion.inspection"

    def __init__(self, explanation: _Explanation) -> None:
        self.explanation = explanation

    @classmethod
    def from_explanation(
        cls,
        explanation: _Explanation,
        *,
        kind: str = "share",
        case: int = 0,
        output: Any = None,
        groups: Any = None,
        ax: Any = None,
    ) -> Self:
        """Plot an explanation.

        Parameters
        ----------
        explanation : ModalityExplanation
            Result of `ModalityImportance.explain`.
        kind, case, output, groups, ax
            See `plot`.

        Returns
        -------
        ModalityDisplay
        """
        return cls(explanation).plot(
            kind, case=case, output=output, groups=groups, ax=ax
        )

    def plot(
        self,
        kind: str = "share",
        *,
        case: int = 0,
        output: Any = None,
        groups: Any = None,
        ax: Any = None,
    ) -> Self:
        """Plot the contributions of the modalities.

        Parameters
        ----------
        kind : {"share", "waterfall", "beeswarm", "interactions", "outcome"}, \
                default="share"
            Type of the plot. ``"share"`` shows shares with bootstrap confidence
            intervals. ``"waterfall"`` shows the contributions to one prediction.
            ``"beeswarm"`` shows the contributions in all cases. ``"interactions"``
            shows the contributions of single modalities and the interactions of pairs.
            ``"outcome"`` shows two modalities in a plane, or the shares of three in a
            triangle, by outcome.
        case : int, default=0
            Row position of the case of ``"waterfall"``.
        output : class label, int or None, default=None
            The output to plot, of several. None selects the first output, and for
            ``"share"`` all outputs.
        groups : array-like of shape (n,) or None, default=None
            Patient ids, for the confidence intervals of ``"share"``.
        ax : matplotlib Axes or None, default=None
            Axes to plot on. None creates a new figure.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            If `kind`, `case` or `output` is unknown, or the plot does not support this
            number of modalities.
        ImportError
            If matplotlib is not installed.
        """
        check_option(kind, "kind", KINDS, "ModalityDisplay")
        names = self.explanation.modalities
        if kind == "outcome" and len(names) not in (2, 3):
            raise ValueError(
                "kind='outcome' plots two modalities in a plane or three in a "
                f"triangle, but there are {len(names)}. Use kind='beeswarm'."
            )
        number = self._output_number(output)
        n_cases = len(self.explanation.values)
        if not -n_cases <= case < n_cases:
            raise ValueError(
                f"case={case} is not a row position, because there are {n_cases} cases."
            )
        row = 0.85 if kind == "beeswarm" else 0.5
        height = 1.1 + row * (len(names) + (2 if kind == "waterfall" else 0))
        square = kind in ("interactions", "outcome")
        size = (5.4, 4.4) if square else (6.4, max(height, 2.2))
        self.figure_, self.ax_ = axes_for(ax, size)
        if kind == "share":
            self._plot_share(groups)
        else:
            getattr(self, f"_plot_{kind}")(number, case)
        return self

    def _plot_share(self, groups: Any) -> None:
        found = self.explanation
        if len(found.values) > 1:
            table = found.share(groups=groups)[["share", "low", "high"]]
        else:
            table = found.share("abs")[["share"]]
        table = table.rename(columns={"share": "estimate"})
        draw_bars(self.ax_, table, f"relative contribution to the {found.output}")

    def _plot_waterfall(self, number: int, case: int) -> None:
        found = self.explanation
        there = found.presence.to_numpy()[case]
        names = [
            name if here else f"{name} (absent)"
            for name, here in zip(found.modalities, there, strict=True)
        ]
        draw_waterfall(
            self.ax_,
            names,
            self._values(number)[case],
            float(np.atleast_1d(found.base_values)[number]),
            self._label(number),
            as_probability=found.output.startswith("log-odds of "),
        )

    def _plot_beeswarm(self, number: int, case: int) -> None:
        found = self.explanation
        draw_swarm(
            self.ax_,
            found.modalities,
            self._values(number),
            f"contribution to the {self._label(number)}",
            outcome=found.outcome,
            presence=found.presence.to_numpy(),
        )

    def _plot_interactions(self, number: int, case: int) -> None:
        found = self.explanation
        if found.coalition_values is None:
            raise ValueError(
                "kind='interactions' needs all sets of modalities, but permutations of "
                f"{len(found.modalities)} were sampled. Use kind='share'."
            )
        sizes = np.abs(self._values(number)).mean(axis=0)
        pairs = {
            pair: np.abs(value.reshape(len(value), -1)[:, number]).mean()
            for pair, value in found.interactions.items()
        }
        names, label = (
            found.modalities,
            f"mean absolute contribution to the {self._label(number)}",
        )
        table = pair_table(names, sizes, pairs)
        draw_matrix(self.ax_, names, table, label, signed=False)

    def _plot_outcome(self, number: int, case: int) -> None:
        found, values = self.explanation, self._values(number)
        if len(found.modalities) == 2:
            label = self._label(number)
            draw_plane(self.ax_, found.modalities, values, label, found.outcome)
        else:
            draw_triangle(self.ax_, found.modalities, values, found.outcome)

    def _output_number(self, output: Any) -> int:
        classes = self.explanation.classes
        if output is None:
            return 0
        if classes is None or output not in classes:
            known = (
                "there is only one output"
                if classes is None
                else f"the outputs are {classes}"
            )
            raise ValueError(f"output={output!r} is unknown: {known}.")
        return list(classes).index(output)

    def _values(self, number: int) -> np.ndarray:
        values = self.explanation.values
        return values if values.ndim == 2 else values[:, :, number]

    def _label(self, number: int) -> str:
        found = self.explanation
        if found.classes is None:
            return found.output
        return f"{found.output} of {found.classes[number]}"


class ModalityScoresDisplay:
    """Visualization of the contributions of modalities to a score.

    Use `from_scores` to create a display.

    Parameters
    ----------
    scores : ModalityScores
        The scores to plot.

    Attributes
    ----------
    ax_ : matplotlib Axes
        Axes of the plot.
    figure_ : matplotlib Figure
        Figure of the axes.

    Examples
    --------
    >>> from sklearn.preprocessing import StandardScaler
    >>> from skfusion import LateFusionClassifier, ModalityImportance
    >>> from skfusion.datasets import make_fusion_cohort
    >>> cohort = make_fusion_cohort(n_samples=400, random_state=0)
    >>> X, y = cohort.data, cohort.target
    >>> model = LateFusionClassifier(
    ...     [("image", StandardScaler(), cohort.image_columns),
    ...      ("ehr", StandardScaler(), cohort.ehr_columns)],
    ... ).fit(X[:200], y[:200])
    >>> scores = ModalityImportance(model, background=X[:200]).score(X[200:], y[200:])
    >>> scores.plot().ax_.get_xlabel()
    'contribution to AUROC (95 % CI)'
    """

    __module__ = "skfusion.inspection"

    def __init__(self, scores: _Scores) -> None:
        self.scores = scores

    @classmethod
    def from_scores(
        cls, scores: _Scores, *, kind: str = "bars", ax: Any = None
    ) -> Self:
        """Plot scores.

        Parameters
        ----------
        scores : ModalityScores
            Result of `ModalityImportance.score` or `refit`.
        kind, ax
            See `plot`.

        Returns
        -------
        ModalityScoresDisplay
        """
        return cls(scores).plot(kind, ax=ax)

    def plot(self, kind: str = "bars", *, ax: Any = None) -> Self:
        """Plot the contributions of the modalities.

        Parameters
        ----------
        kind : {"bars", "interactions"}, default="bars"
            Type of the plot. ``"bars"`` shows the contributions with their confidence
            intervals. ``"interactions"`` shows a matrix with the contributions on the
            diagonal and the interactions of pairs below it.
        ax : matplotlib Axes or None, default=None
            Axes to plot on. None creates a new figure.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            If `kind` is unknown, or is ``"interactions"`` and sets of modalities were
            sampled.
        ImportError
            If matplotlib is not installed.
        """
        check_option(kind, "kind", SCORE_KINDS, "ModalityScoresDisplay")
        found = self.scores
        names = found.modalities
        if kind == "interactions" and len(names) > 1 and not found.interactions:
            raise ValueError(
                "kind='interactions' needs all sets of modalities, but permutations of "
                f"{len(names)} were sampled. Use kind='bars'."
            )
        bars = kind == "bars"
        size = (6.4, max(2.2, 1.1 + 0.5 * len(names))) if bars else (5.4, 4.4)
        self.figure_, self.ax_ = axes_for(ax, size)
        again = ", retrained" if found.game == "retrain" else ""
        if bars:
            level = f"{100 * found.confidence_level:g} % CI{again}"
            label = f"contribution to {found.scoring} ({level})"
            draw_bars(self.ax_, found.to_frame(), label)
        else:
            table = pair_table(names, found.estimate, found.interactions)
            label = f"contribution to {found.scoring}{again}"
            draw_matrix(self.ax_, names, table, label, signed=True)
        return self


def axes_for(ax: Any, size: tuple[float, float]) -> tuple[Any, Any]:
    """Return the figure and the axes to plot on, by default new ones of a given size.

    The size is in inches.
    """
    pyplot = require("matplotlib.pyplot", "report")
    if ax is None:
        return pyplot.subplots(figsize=size, layout="constrained")
    return ax.figure, ax


def pair_table(
    names: tuple[str, ...], alone: np.ndarray, pairs: dict[tuple[str, str], Any]
) -> np.ndarray:
    """Return a matrix of contributions (diagonal) and interactions (below it)."""
    table = pd.DataFrame(np.diag(alone), index=list(names), columns=list(names))
    for (first, second), value in pairs.items():
        table.loc[second, first] = float(value)
    return table.to_numpy()
