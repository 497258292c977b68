"""Displays of modality contributions, with the API of scikit-learn's displays.

Plotting requires matplotlib.
"""

from __future__ import annotations

from typing import Any, Protocol, Self

import numpy as np
import pandas as pd

from skfusion._dependencies import require
from skfusion._figures.style import LABEL_SIZE, NAME_SIZE
from skfusion._figures.texts import (
    NAME_WIDTH,
    format_interval,
    plain_texts,
    text_width,
    wrap_name,
    wrap_names,
    wrap_sentence,
)
from skfusion._validation import check_option
from skfusion.inspection.plots.drawing import (
    CELL,
    draw_bars,
    draw_dots,
    draw_matrix,
    draw_models,
    draw_plane,
    draw_sizes,
    draw_swarm,
    draw_triangle,
    draw_waterfall,
    null_handle,
    write_above,
    write_label,
)

__all__ = ["FoldImportanceDisplay", "ModalityDisplay", "ModalityScoresDisplay"]


KINDS = ("share", "waterfall", "beeswarm", "interactions", "outcome")
SCORE_KINDS = ("bars", "interactions", "subsets")
LIMITS = ["estimate", "low", "high"]  # columns of what is drawn with an interval
FOLD_KINDS = ("share", "contribution")
# More sets than this are drawn by their number of modalities, without their names.
MOST_NAMED_SETS = 15
# Inches of the axes without names and figures, and of a row of one line.
BARS, SQUARE, ROW, SWARM = 2.8, 3.2, 0.42, 0.75
LEAST = 2.2  # for the lines of a caption


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
    def patients(self) -> Any: ...

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
    def set_order(self) -> np.ndarray: ...

    @property
    def set_method(self) -> str: ...

    @property
    def game(self) -> str: ...

    @property
    def scoring(self) -> str: ...

    @property
    def method(self) -> str: ...

    @property
    def confidence_level(self) -> float: ...

    @property
    def n_cases(self) -> int | None: ...

    @property
    def coalitions(self) -> Any: ...

    def to_frame(self) -> pd.DataFrame: ...

    def subsets(self) -> pd.DataFrame: ...


class _Labelled:
    """Display that can write the label of its x-axis again."""

    ax_: Any
    _x_label: str

    def fit_label(self) -> None:
        """Write the label of the x-axis again, in lines as wide as the axes are now.

        Other axes of a figure, which are drawn later, can make them narrower.
        """
        before = [text for text in _texts(self.ax_) if text is not self.ax_.xaxis.label]
        write_label(self.ax_, self._x_label, None)
        plain_texts(self.ax_, before)


class ModalityDisplay(_Labelled):
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
        case_label: str | None = None,
        output: Any = None,
        groups: Any = None,
        ax: Any = None,
    ) -> Self:
        """Plot an explanation.

        Parameters
        ----------
        explanation : ModalityExplanation
            Result of `ModalityImportance.explain`.
        kind, case, case_label, output, groups, ax
            See `plot`.

        Returns
        -------
        ModalityDisplay
        """
        return cls(explanation).plot(
            kind,
            case=case,
            case_label=case_label,
            output=output,
            groups=groups,
            ax=ax,
        )

    def plot(
        self,
        kind: str = "share",
        *,
        case: int = 0,
        case_label: str | None = None,
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
            intervals, and a tick at the null share if it was computed.
            ``"waterfall"`` shows the contributions to one prediction. ``"beeswarm"``
            shows the contributions in all cases. ``"interactions"`` shows the
            contributions of single modalities and the interactions of pairs.
            ``"outcome"`` shows two modalities in a plane, or the shares of three in a
            triangle, by outcome.
        case : int, default=0
            Row position of the case of ``"waterfall"``.
        case_label : str or None, default=None
            Name of the case in the title of ``"waterfall"``. None is its row position.
        output : class label, int or None, default=None
            The output to plot, of several. None selects the first output, which the
            caption says, and for ``"share"`` all outputs.
        groups : array-like of shape (n,) or None, default=None
            Patient ids, for the confidence intervals of ``"share"``. None uses those of
            the explanation, if it has any.
        ax : matplotlib Axes or None, default=None
            Axes to plot on. None creates a new figure, as wide as the names need. For
            given axes, use a figure with ``layout="constrained"``, which makes room for
            the names.

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
        self._names = wrap_names(names)
        self._is_chosen = output is not None
        self._groups = groups
        self._case, self._case_label = case % n_cases, case_label
        draw = {
            "share": self._plot_share,
            "waterfall": self._plot_waterfall,
            "beeswarm": self._plot_beeswarm,
            "interactions": self._plot_interactions,
            "outcome": self._plot_outcome,
        }[kind]
        draw(number, ax)
        return self

    def _plot_share(self, number: int, ax: Any) -> None:
        found = self.explanation
        n_cases = len(found.values)
        kind = "centred_abs" if n_cases > 1 else "abs"
        table = found.share(kind, groups=self._groups)
        patients = found.patients if self._groups is None else self._groups
        unit = "cases" if patients is None else "patients"
        absent = (table["n_present"] < n_cases).any()
        notes = [
            f"present in {there} of {n_cases}" if absent else ""
            for there in table["n_present"]
        ]
        caption = f"{int(table['n_patients'].iloc[0])} {unit}"
        nulls = table["null_share"].to_numpy() if "null_share" in table else None
        columns = ["share", "low", "high"] if n_cases > 1 else ["share"]
        if n_cases > 1:
            caption += (
                f". 95% intervals: bootstrap over {unit}, for this model and background"
            )
        table = table[columns].rename(columns={"share": "estimate"})
        table.index = pd.Index(self._names)
        self.figure_, self.ax_, width = _bar_axes(ax, table, notes)
        before = _texts(self.ax_)
        label = f"share of contributions to the {found.output}"
        if found.classes is not None:
            label += f" of all {len(found.classes)} outputs"
        self._x_label = label
        draw_bars(
            self.ax_, table, label, width=width, notes=notes, whole=True, nulls=nulls
        )
        handles = [] if nulls is None else [null_handle(self.ax_)]
        write_above(self.ax_, caption, handles, width)
        plain_texts(self.ax_, before)

    def _plot_waterfall(self, number: int, ax: Any) -> None:
        found, case = self.explanation, self._case
        there = found.presence.to_numpy()[case]
        values = self._values(number)[case]
        order = np.argsort(-np.abs(values), kind="stable")
        names = [self._names[j] if there[j] else _absent(self._names[j]) for j in order]
        shown = ["base value", *names, "prediction"]
        self.figure_, self.ax_, width = _row_axes(ax, shown, ROW, extra=0.7)
        before = _texts(self.ax_)
        draw_waterfall(
            self.ax_,
            names,
            values[order],
            float(np.atleast_1d(found.base_values)[number]),
            self._label(number),
            width=width,
            as_probability=found.output.startswith("log-odds"),
        )
        title = self._case_label or f"case in row {case}"
        if found.outcome is not None and np.ndim(found.outcome) == 1:
            actual = found.outcome[case]
            title += (
                ""
                if np.shape(actual) or found.outcome.dtype.names
                else (f", outcome {actual}")
            )
        caption = ". ".join(filter(None, [title, self._others(number)]))
        write_above(self.ax_, caption, [], width)
        plain_texts(self.ax_, before)

    def _plot_beeswarm(self, number: int, ax: Any) -> None:
        found = self.explanation
        self.figure_, self.ax_, width = _row_axes(ax, self._names, SWARM, extra=0.9)
        before = _texts(self.ax_)
        handles = draw_swarm(
            self.ax_,
            self._names,
            self._values(number),
            f"contribution to the {self._label(number)}",
            width=width,
            outcome=found.outcome,
            presence=found.presence.to_numpy(),
        )
        self._write_cases(number, handles, width)
        plain_texts(self.ax_, before)

    def _plot_interactions(self, number: int, ax: Any) -> None:
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
        table = pair_table(found.modalities, sizes, pairs)
        label = f"mean absolute contribution to the {self._label(number)}"
        caption = f"{MATRIX}. {len(found.values)} cases"
        caption = ". ".join(filter(None, [caption, self._others(number)]))
        found_axes = _matrix_axes(ax, self._names, label, caption)
        self.figure_, self.ax_, width = found_axes
        before = _texts(self.ax_)
        draw_matrix(self.ax_, self._names, table, label, width=width, signed=False)
        write_above(self.ax_, caption, [], width)
        plain_texts(self.ax_, before)

    def _plot_outcome(self, number: int, ax: Any) -> None:
        found, values = self.explanation, self._values(number)
        self.figure_, self.ax_, width = _square_axes(ax)
        before = _texts(self.ax_)
        if len(found.modalities) == 2:
            label = self._label(number)
            handles = draw_plane(
                self.ax_, self._names, values, label, found.outcome, width=width
            )
            self._write_cases(number, handles, width)
        else:
            handles = draw_triangle(self.ax_, self._names, values, found.outcome)
            what = f"shares of the absolute contributions to the {self._label(number)}"
            self._write_cases(number, handles, width, what)
        plain_texts(self.ax_, before)

    def _write_cases(
        self, number: int, handles: list[Any], width: float | None, what: str = ""
    ) -> None:
        n_cases = f"{len(self.explanation.values)} cases"
        caption = ". ".join(filter(None, [what, n_cases, self._others(number)]))
        write_above(self.ax_, caption, handles, width)

    def _others(self, number: int) -> str:
        """Return that there are other outputs, if the user did not choose one."""
        classes = self.explanation.classes
        if classes is None or self._is_chosen:
            return ""
        return (
            f"{wrap_name(str(classes[number]), 40, 1)} is the first of {len(classes)} "
            "outputs: choose with output="
        )

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


class ModalityScoresDisplay(_Labelled):
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
    'contribution to AUROC (95% CI)'
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
        kind : {"bars", "interactions", "subsets"}, default="bars"
            Type of the plot. ``"bars"`` shows the contributions with their confidence
            intervals. ``"interactions"`` shows a matrix with the contributions on the
            diagonal and the interactions of pairs below it. ``"subsets"`` shows the
            score of each set of modalities with its confidence interval. More than 15
            sets are shown by their number of modalities, without intervals.
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
        draw = {
            "bars": self._plot_bars,
            "interactions": self._plot_interactions,
            "subsets": self._plot_subsets,
        }[kind]
        before = draw(ax, wrap_names(names))
        plain_texts(self.ax_, before)
        return self

    def _plot_bars(self, ax: Any, shown: list[str]) -> list[Any]:
        found = self.scores
        # The names of the columns say what the limits are conditional on.
        table = found.to_frame().iloc[:, :3].set_axis(LIMITS, axis=1)
        table.index = pd.Index(shown)
        self.figure_, self.ax_, width = _bar_axes(ax, table, [])
        before = _texts(self.ax_)
        level = f"{100 * found.confidence_level:g}% CI{self._again}"
        label = f"contribution to {found.scoring} ({level})"
        self._x_label = label
        draw_bars(self.ax_, table, label, width=width)
        write_above(self.ax_, self._intervals, [], width)
        return before

    def _plot_interactions(self, ax: Any, shown: list[str]) -> list[Any]:
        found = self.scores
        values = pair_table(found.modalities, found.estimate, found.interactions)
        label = f"contribution to {found.scoring}{self._again}"
        self.figure_, self.ax_, width = _matrix_axes(ax, shown, label, MATRIX)
        before = _texts(self.ax_)
        draw_matrix(self.ax_, shown, values, label, width=width, signed=True)
        write_above(self.ax_, MATRIX, [], width)
        return before

    def _plot_subsets(self, ax: Any, shown: list[str]) -> list[Any]:
        found = self.scores
        table = found.subsets()
        chance = float(table["score"].iloc[0])
        table = table[table["n_modalities"] > 0]
        label = f"{found.scoring} from a set of modalities{self._again}"
        if len(table) > MOST_NAMED_SETS:
            self.figure_, self.ax_ = axes_for(ax, SQUARE + 1.4, SQUARE)
            before = _texts(self.ax_)
            draw_sizes(self.ax_, table, chance, label)
            caption = f"{len(table)} sets of {len(shown)} modalities. Line: mean. "
            caption += "Dashed: chance"
            write_above(self.ax_, caption, [], SQUARE if ax is None else None)
            return before
        members = found.coalitions[found.set_order][1:]
        names = [_set_name(inside, shown) for inside in members]
        notes = [
            f"present in {there} of {found.n_cases}"
            if found.n_cases is not None and there < found.n_cases
            else ""
            for there in table.get("n_present", [found.n_cases or 0] * len(table))
        ]
        table = table.iloc[:, 1:4].set_axis(LIMITS, axis=1)
        table.index = pd.Index(names)
        self.figure_, self.ax_, width = _bar_axes(ax, table, notes)
        before = _texts(self.ax_)
        draw_dots(self.ax_, table, chance, label, width=width, notes=notes)
        method = found.set_method or found.method
        caption = f"{100 * found.confidence_level:g}% intervals: {method}"
        write_above(self.ax_, f"{caption}. Dashed: chance", [], width)
        return before

    @property
    def _again(self) -> str:
        return ", retrained" if self.scores.game == "retrain" else ""

    @property
    def _intervals(self) -> str:
        found = self.scores
        return f"{100 * found.confidence_level:g}% intervals: {found.method}"


def _set_name(members: np.ndarray, names: list[str]) -> str:
    """Return the name of a set, by what is not in it if that is shorter."""
    inside = [name for name, there in zip(names, members, strict=True) if there]
    if len(inside) == len(names) > 2:
        return "all"
    if len(inside) == len(names) - 1 > 2:
        return f"all without\n{names[int(np.flatnonzero(~members)[0])]}"
    return " +\n".join(inside)


class _FoldImportance(Protocol):
    """Attributes of a `FoldImportance` that are plotted."""

    @property
    def models(self) -> pd.DataFrame: ...

    @property
    def scores(self) -> pd.DataFrame: ...

    @property
    def scoring(self) -> str: ...

    @property
    def output(self) -> str: ...

    @property
    def cases(self) -> str: ...

    def to_frame(self) -> pd.DataFrame: ...


class FoldImportanceDisplay:
    """Visualization of the importance of modalities over the models of folds.

    Use `from_importance` to create a display.

    Parameters
    ----------
    importance : FoldImportance
        The importance to plot.

    Attributes
    ----------
    ax_ : matplotlib Axes
        Axes of the plot.
    figure_ : matplotlib Figure
        Figure of the axes.

    Examples
    --------
    >>> from sklearn.preprocessing import StandardScaler
    >>> from skfusion import compare_fusion
    >>> from skfusion.datasets import make_fusion_cohort
    >>> from skfusion.inspection import FoldImportanceDisplay
    >>> cohort = make_fusion_cohort(n_samples=150, random_state=0)
    >>> comparison = compare_fusion(
    ...     [("image", StandardScaler(), cohort.image_columns),
    ...      ("ehr", StandardScaler(), cohort.ehr_columns)],
    ...     cohort.data, cohort.target, strategies=("single", "late"), cv=3,
    ...     n_repeats=1, scoring="roc_auc", random_state=0)
    >>> found = comparison.importance(n_background=20)
    >>> display = FoldImportanceDisplay.from_importance(found)
    >>> [label.get_text() for label in display.ax_.get_yticklabels()]
    ['image', 'ehr']
    """

    __module__ = "skfusion.inspection"

    def __init__(self, importance: _FoldImportance) -> None:
        self.importance = importance

    @classmethod
    def from_importance(
        cls, importance: _FoldImportance, *, kind: str = "share", ax: Any = None
    ) -> Self:
        """Plot the importance over the models.

        Parameters
        ----------
        importance : FoldImportance
            Result of `skfusion.evaluation.FusionComparison.importance`.
        kind, ax
            See `plot`.

        Returns
        -------
        FoldImportanceDisplay
        """
        return cls(importance).plot(kind, ax=ax)

    def plot(self, kind: str = "share", *, ax: Any = None) -> Self:
        """Plot the mean and the range over the models, with a dot for each model.

        Parameters
        ----------
        kind : {"share", "contribution"}, default="share"
            Shares of the contributions to the predictions, or contributions to the
            score.
        ax : matplotlib Axes or None, default=None
            Axes to plot on. None creates a new figure.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            If `kind` is unknown, or is ``"contribution"`` without an outcome.
        ImportError
            If matplotlib is not installed.
        """
        check_option(kind, "kind", FOLD_KINDS, "FoldImportanceDisplay")
        found = self.importance
        table = found.to_frame()
        if kind == "contribution" and table[kind].isna().all():
            raise ValueError(
                "kind='contribution' needs the scores of the models, but no outcome "
                "was passed, or no score is defined. Use kind='share'."
            )
        columns = [kind, f"{kind}_lowest", f"{kind}_highest"]
        nulls = None
        if kind == "share" and "null_share" in table:
            nulls = table["null_share"].to_numpy()
        rows = table[columns].set_axis(LIMITS, axis=1)
        rows.index = pd.Index(_names_of_rows(list(table.index)), dtype=object)
        by_model = found.models.groupby(["strategy", "modality"], sort=False)[kind]
        dots = [by_model.get_group(place).to_numpy() for place in table.index]
        self.figure_, self.ax_, width = _bar_axes(ax, rows, [])
        before = _texts(self.ax_)
        label = f"contribution to {found.scoring}"
        if kind == "share":
            label = f"share of contributions to the {found.output}"
        draw_models(self.ax_, rows, dots, label, width=width, nulls=nulls)
        n_models = int(table["n_models"].max())
        caption = (
            f"Mean and range of {n_models} models (no confidence interval). "
            f"Explained: {found.cases}"
        )
        handles = [] if nulls is None else [null_handle(self.ax_)]
        write_above(self.ax_, caption, handles, width)
        plain_texts(self.ax_, before)
        return self


def _names_of_rows(places: list[tuple[Any, Any]]) -> list[str]:
    """Return the names of the modalities, with those of several strategies."""
    modalities = list(dict.fromkeys(name for _, name in places))
    shown = dict(zip(modalities, wrap_names(list(map(str, modalities))), strict=True))
    if len({strategy for strategy, _ in places}) == 1:
        return [shown[name] for _, name in places]
    return [
        f"{shown[name]}\n({wrap_name(str(strategy), NAME_WIDTH - 2, 1)})"
        for strategy, name in places
    ]


MATRIX = "Diagonal: modality. Below: interaction of two"


def _absent(name: str) -> str:
    """Return the name of a modality that is absent, within the width of names."""
    fits = len(name.split("\n")[-1]) + len(" (absent)") <= NAME_WIDTH
    return f"{name}{' ' if fits else chr(10)}(absent)"


def _texts(axis: Any) -> list[Any]:
    """Return the texts that a user wrote on axes before."""
    from matplotlib.text import Text

    found = axis.findobj(lambda artist: isinstance(artist, Text))
    return [text for text in found if text.get_text()]


def axes_for(ax: Any, width: float, height: float) -> tuple[Any, Any]:
    """Return the figure and the axes to plot on, by default new ones of a size.

    The size is in inches.
    """
    pyplot = require("matplotlib.pyplot", "report")
    if ax is None:
        return pyplot.subplots(figsize=(width, height), layout="constrained")
    return ax.figure, ax


def _height(names: list[str], row: float) -> float:
    """Return the height of rows in inches, which follows the lines of the names."""
    return sum(max(row, 0.17 * (name.count("\n") + 1) + 0.12) for name in names)


def _row_axes(
    ax: Any, names: list[str], row: float, *, extra: float, right: float = 0.0
) -> tuple[Any, Any, float | None]:
    """Return the figure, its axes for named rows, and their width without the names."""
    left = max(text_width(name, NAME_SIZE) for name in names)
    height = _height(names, row) + 0.75 + extra
    figure, axis = axes_for(ax, left + BARS + right + 0.35, max(height, 1.8))
    return figure, axis, BARS if ax is None else None


def _bar_axes(
    ax: Any, table: pd.DataFrame, notes: list[str]
) -> tuple[Any, Any, float | None]:
    """Return the figure, its axes for bars beside numbers, and their width."""
    figures = [format_interval(*map(float, row)) for row in table.to_numpy()]
    right = max(text_width(text, LABEL_SIZE) for text in [*figures, *notes]) + 0.15
    return _row_axes(ax, list(table.index), ROW, extra=0.35, right=right)


def _matrix_axes(
    ax: Any, names: list[str], label: str, caption: str
) -> tuple[Any, Any, float | None]:
    """Return the figure, its axes for a matrix, and their width."""
    width = max(CELL * len(names), LEAST)
    left = max(text_width(name, NAME_SIZE) for name in names)
    below = 0.75 * left if left > 0.95 * width / len(names) else 0.2
    below += max(name.count("\n") for name in names) * 0.15
    texts = wrap_sentence(label, width, NAME_SIZE), wrap_sentence(caption, width)
    lines = sum(text.count("\n") + 1 for text in texts)
    cells = width if len(names) > 1 else CELL
    size = (left + width + 1.0, cells + below + 0.16 * lines + 0.6)
    figure, axis = axes_for(ax, *size)
    return figure, axis, width if ax is None else None


def _square_axes(ax: Any) -> tuple[Any, Any, float | None]:
    """Return the figure, its square axes, and their width."""
    figure, axis = axes_for(ax, SQUARE + 1.2, SQUARE + 1.4)
    return figure, axis, SQUARE if ax is None else None


def pair_table(
    names: tuple[str, ...], alone: np.ndarray, pairs: dict[tuple[str, str], Any]
) -> np.ndarray:
    """Return a matrix of contributions (diagonal) and interactions (below it)."""
    table = pd.DataFrame(np.diag(alone), index=list(names), columns=list(names))
    for (first, second), value in pairs.items():
        table.loc[second, first] = float(value)
    return table.to_numpy()
