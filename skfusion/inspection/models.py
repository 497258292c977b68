"""Common interface to fitted models, and the output of them that is explained.

A fusion estimator encodes its modalities once and predicts from the encoded
modalities. For any other estimator, the modalities are groups of columns.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from scipy.special import expit, logit, logsumexp
from sklearn.base import is_classifier
from sklearn.frozen import FrozenEstimator
from sklearn.model_selection import (
    FixedThresholdClassifier,
    TunedThresholdClassifierCV,
)
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import FunctionTransformer
from sklearn.utils.validation import check_is_fitted

from skfusion._fitting.pipelines import is_passthrough
from skfusion._validation import check_option
from skfusion.cohort import as_pandas
from skfusion.exceptions import DataWarning, warn_user
from skfusion.fusion.base import BaseFusion
from skfusion.fusion.restriction import fusions_within
from skfusion.fusion.survival import ConcordanceScore
from skfusion.modality import Modality, check_modalities, presence_mask

__all__ = [
    "FusionModel",
    "JoinedRows",
    "Output",
    "Parts",
    "Question",
    "TableModel",
    "class_log_odds",
    "class_log_odds_of_logits",
    "class_margins",
    "class_margins_of_logits",
    "explained_class",
    "find_model",
    "log_odds",
    "make_output",
    "receives_table",
    "same_predictions",
    "predicts_risks",
    "rows_with_modality",
    "scale_of_risk",
    "warn_of_alphabet",
    "unwrap_estimator",
    "warn_of_alphabet",
]


def unwrap_estimator(estimator: Any, *tables: Any) -> tuple[Any, ...]:
    """Return the fusion or the model inside searches, pipelines and frozen models.

    Parameters
    ----------
    estimator : estimator
        A fitted estimator.
    tables : DataFrame, ndarray or None
        Inputs of the estimator.

    Returns
    -------
    estimator, *tables
        A `Pipeline` is returned unchanged unless it ends in a fusion. In that case the
        tables are transformed by the steps before the fusion.
    """
    check_is_fitted(estimator)
    within = same_predictions(estimator)
    if within is not None:
        return unwrap_estimator(within, *tables)
    if isinstance(estimator, Pipeline) and isinstance(estimator[-1], BaseFusion):
        before = estimator[:-1]
        through = (None if t is None else before.transform(t) for t in tables)
        return estimator[-1], *(through if len(before) else tables)
    return estimator, *tables


def same_predictions(estimator: Any) -> Any:
    """Return the estimator whose probabilities a search or threshold passes on.

    Parameters
    ----------
    estimator : estimator
        A fitted estimator.

    Returns
    -------
    estimator or None
        None if the estimator has predictions of its own.
    """
    if hasattr(estimator, "best_estimator_"):
        return estimator.best_estimator_
    if isinstance(estimator, FrozenEstimator):
        return estimator.estimator
    if isinstance(estimator, (FixedThresholdClassifier, TunedThresholdClassifierCV)):
        return getattr(estimator, "estimator_", estimator.estimator)
    return None


def receives_table(estimator: Any, prefix: str) -> bool:
    """Return whether a part of an estimator receives the table of the user itself.

    Parameters
    ----------
    estimator : estimator
        A pipeline, search, calibrator, frozen or voting model, or the part itself.
    prefix : str
        Prefix of the parameters of the part, such as ``"estimator__fusion__"``.

    Returns
    -------
    bool
        False if a step of a `Pipeline` before the part changes the table.
    """
    for name in prefix.split("__")[:-1]:
        if isinstance(estimator, Pipeline):
            names = [step for step, _ in estimator.steps]
            before = estimator.steps[: names.index(name)]
            if not all(is_passthrough(step) for _, step in before):
                return False
        estimator = estimator.get_params(deep=True)[name]
    return True


def rows_with_modality(
    estimator: BaseFusion, X: Any, name: str
) -> tuple[np.ndarray, pd.DataFrame]:
    """Return the rows in which a modality is present, and their cases.

    Parameters
    ----------
    estimator : early, late or joint fusion
        A fitted fusion.
    X : DataFrame or ndarray of shape (n_samples, n_columns)
        The cohort.
    name : str
        Name of the modality.

    Returns
    -------
    rows : ndarray of int
        Row positions.
    cases : DataFrame of shape (len(rows), n_columns)
        The columns that the estimator uses.

    Raises
    ------
    ValueError
        If the modality is absent in all rows.
    """
    frame = estimator.read_cohort(X)
    rows = np.flatnonzero(estimator.presence(X)[name])
    if len(rows) == 0:
        raise ValueError(
            f"Modality {name!r} is absent in all {len(frame)} rows, so it cannot be "
            "explained. Leave it out, or pass rows in which it is present."
        )
    return rows, frame.iloc[rows].reset_index(drop=True)


SMALLEST = 1e-12  # the log-odds of a probability of 0 are not finite
LARGEST_LOG_ODDS = float(logit(1 - SMALLEST))


def log_odds(probabilities: np.ndarray) -> np.ndarray:
    """Return the log-odds of probabilities clipped to [1e-12, 1 - 1e-12].

    Examples
    --------
    >>> import numpy as np
    >>> from skfusion.inspection.models import log_odds
    >>> log_odds(np.array([[0.5], [0.75]])).round(4).tolist()
    [[0.0], [1.0986]]
    """
    clipped = np.clip(np.asarray(probabilities, np.float64), SMALLEST, 1 - SMALLEST)
    return logit(clipped)


def class_margins(probabilities: np.ndarray) -> np.ndarray:
    """Return the margins of class probabilities, on which contributions are additive.

    Parameters
    ----------
    probabilities : ndarray of shape (n_samples, n_classes)
        Probabilities of mutually exclusive classes.

    Returns
    -------
    ndarray of float64 of shape (n_samples, n_classes)
        For two classes, the log-odds of each. For more than two classes, the logarithms
        of the probabilities minus their mean over the classes.

    Examples
    --------
    >>> import numpy as np
    >>> from skfusion.inspection.models import class_margins
    >>> class_margins(np.array([[0.25, 0.75]])).round(4).tolist()
    [[-1.0986, 1.0986]]
    """
    if probabilities.shape[1] == 2:
        return log_odds(probabilities)
    return class_margins_of_logits(np.log(np.maximum(probabilities, SMALLEST)))


def class_margins_of_logits(logits: Any) -> Any:
    """Return the margins of the logits (n_samples, n_classes) of a softmax."""
    if logits.shape[1] == 2:
        return logits - logits[:, [1, 0]]
    return logits - logits.mean(1)[:, None]


def class_log_odds(probabilities: np.ndarray) -> np.ndarray:
    """Return the log-odds of each class against all others.

    Parameters
    ----------
    probabilities : ndarray of shape (n_samples, n_classes)
        Probabilities of mutually exclusive classes.

    Returns
    -------
    ndarray of float64 of shape (n_samples, n_classes)
        ``log(P / (1 - P))``, within the log-odds of 1e-12 and 1 - 1e-12.

    Examples
    --------
    >>> import numpy as np
    >>> from skfusion.inspection.models import class_log_odds
    >>> class_log_odds(np.array([[0.5, 0.25, 0.25]])).round(4).tolist()
    [[0.0, -1.0986, -1.0986]]
    """
    if probabilities.shape[1] == 2:
        return log_odds(probabilities)
    P = np.asarray(probabilities, dtype=np.float64)
    # The sum of the others is exact where 1 - P is rounded to 0.
    others = np.stack([np.delete(P, c, 1).sum(axis=1) for c in range(P.shape[1])], 1)
    odds = np.log(np.maximum(P, SMALLEST)) - np.log(np.maximum(others, SMALLEST))
    return np.clip(odds, -LARGEST_LOG_ODDS, LARGEST_LOG_ODDS)


def class_log_odds_of_logits(logits: np.ndarray) -> np.ndarray:
    """Return the log-odds of each class from the logits (n, C) of a softmax."""
    columns = range(logits.shape[1])
    others = [logsumexp(np.delete(logits, c, 1), axis=1) for c in columns]
    return logits - np.stack(others, axis=1)


OWNER = "ModalityImportance"
Parts = dict[str, Any]


@dataclass(frozen=True)
class JoinedRows:
    """Rows in the form that the learner of a model receives.

    Attributes
    ----------
    matrix : ndarray of shape (n, n_columns)
        The joined modalities.
    presence : ndarray of bool of shape (n, M)
        Whether each modality is present.
    columns : dict of str to list of slice or of list of int
        Columns of each modality. Each column belongs to one modality.
    """

    matrix: np.ndarray
    presence: np.ndarray
    columns: Mapping[str, list[Any]]

    def __len__(self) -> int:
        return len(self.matrix)


def _column(outputs: np.ndarray, column: int | None) -> np.ndarray:
    return outputs if column is None else outputs[:, [column]]


class FusionModel:
    """Fitted early, late or joint fusion whose modalities are encoded once.

    Parameters
    ----------
    estimator : early, late or joint fusion
        A fitted fusion.
    receives_table : bool, default=True
        Whether no step is before the fusion.
    """

    def __init__(self, estimator: Any, receives_table: bool = True) -> None:
        self.estimator = estimator
        self.modalities = tuple(name for name, *_ in estimator.modalities_)
        target = estimator.target_
        self.kind: str = target.kind
        self.labels = getattr(target, "classes", None)
        self.n_outputs: int = target.n_outputs
        #: Whether the model was trained with the modality absent, by modality.
        self.supports_missing: Mapping[str, bool] = estimator.supports_missing_
        #: Whether the fusion receives the table of the user, not that of a step before.
        self.receives_table = receives_table

    @property
    def repeated_rows(self) -> float:
        """Share of the training rows that are equal to another one."""
        return self.estimator.repeated_training_rows()

    def presence(self, X: Any) -> np.ndarray:
        """Return whether each modality is present in each case (n, M)."""
        return self.estimator.presence(X)[list(self.modalities)].to_numpy()

    def training_rows(self, X: Any) -> np.ndarray | None:
        """Return which cases are training rows, or None if this is not known."""
        return self.estimator.training_rows(X)

    def encode(self, X: Any) -> tuple[Parts, np.ndarray]:
        """Return the encoded modalities of the cases and their presence (n, M)."""
        encoded = self.estimator.encode_modalities(X)
        parts = {name: np.asarray(encoded[name]) for name in self.modalities}
        present = [~np.isnan(part).all(axis=1) for part in parts.values()]
        return parts, np.column_stack(present)

    def join(self, parts: Parts) -> JoinedRows | None:
        """Return rows as the learner receives them, None if modalities share columns.

        `predict` and `margins` also take these rows, without joining them again.
        """
        columns = self.estimator.joined_columns()
        if columns is None:
            return None
        matrix, presence = self.estimator.joined_matrix(parts)
        return JoinedRows(matrix, presence, columns)

    def predict(self, parts: Parts | JoinedRows) -> np.ndarray:
        """Return probabilities, numeric predictions or risks (n, n_outputs)."""
        if isinstance(parts, JoinedRows):
            found = self.estimator.predict_joined(parts.matrix, parts.presence)
        else:
            found = self.estimator.predict_encoded(parts)
        predicted = np.asarray(found, dtype=np.float64)
        return predicted.reshape(len(predicted), -1)

    def margins(
        self, parts: Parts | JoinedRows, column: int | None = None
    ) -> np.ndarray:
        """Return log-odds, numeric predictions or risks (n, n_outputs).

        If `column` is given, only this output is returned (n, 1).
        """
        predicted = self.predict(parts)
        if self.kind == "classes" and predicted.shape[1] > 2:
            return _column(class_log_odds(predicted), column)
        wanted = _column(predicted, column)
        return log_odds(wanted) if self.kind in ("classes", "labels") else wanted


class TableModel:
    """Fitted estimator of a table whose modalities are groups of columns.

    Parameters
    ----------
    estimator : estimator
        A fitted estimator.
    modalities : dict of str to list of column labels or positions
        The columns of each modality.
    """

    supports_missing: Mapping[str, bool] = {}
    receives_table = True
    repeated_rows = 0.0

    def __init__(self, estimator: Any, modalities: Mapping[str, Any]) -> None:
        check_is_fitted(estimator)
        self.estimator = estimator
        self.columns = dict(modalities)
        self.modalities = tuple(self.columns)
        self.labels = None
        self.has_probabilities = hasattr(estimator, "predict_proba")
        self._margin_is_log_odds: bool | None = None
        self.kind = "numbers"
        if is_classifier(estimator):
            self.kind, self.labels = "classes", np.asarray(estimator.classes_)

    def presence(self, X: Any) -> np.ndarray:
        """Return whether each modality is present in each case (n, M)."""
        return presence_mask(*self.read(X))

    def training_rows(self, X: Any) -> np.ndarray | None:
        """Return None, because an estimator of a table does not know its rows."""
        return None

    def read(self, X: Any) -> tuple[list[Modality], pd.DataFrame]:
        """Return the modalities with their columns, and the table of the cases."""
        frame = as_pandas(X, OWNER)
        table = pd.DataFrame(np.asarray(X)) if frame is None else frame
        table = self._without_unused(table)
        return self.resolve(table), table.reset_index(drop=True)

    def _without_unused(self, table: pd.DataFrame) -> pd.DataFrame:
        """Return a table without the columns that no fusion inside the model uses."""
        used: set[Any] = set()
        for prefix, fusion in fusions_within(self.estimator).items():
            if isinstance(fusion.modalities, str) or not receives_table(
                self.estimator, prefix
            ):
                return table  # Its columns are not known.
            found = check_modalities(fusion.modalities, table, owner=OWNER, reserved=())
            used.update(column for m in found for column in m.columns)
        return table[[c for c in table.columns if c in used]] if used else table

    def encode(self, X: Any) -> tuple[Parts, np.ndarray]:
        """Return the columns of each modality and their presence (n, M)."""
        self._is_frame = as_pandas(X, OWNER) is not None
        resolved, table = self.read(X)
        self._order = list(table.columns)
        parts: Parts = {m.name: table[list(m.columns)] for m in resolved}
        if not self._is_frame:
            parts = {name: part.to_numpy() for name, part in parts.items()}
        return parts, presence_mask(resolved, table)

    def resolve(self, table: pd.DataFrame) -> list[Modality]:
        """Check that each column of a table belongs to exactly one modality."""
        triples = [(k, FunctionTransformer(), c) for k, c in self.columns.items()]
        triples = [(k, t, [c] if np.isscalar(c) else c) for k, t, c in triples]
        found = check_modalities(triples, table, owner=OWNER, reserved=())
        named = [column for modality in found for column in modality.columns]
        shared = {column for column in named if named.count(column) > 1}
        rest = [column for column in table.columns if column not in named]
        if shared or rest:
            what = "are in several modalities" if shared else "are in no modality"
            which = sorted(map(str, shared or rest))
            raise ValueError(
                f"{OWNER}: {len(which)} of {table.shape[1]} columns of X {what}: "
                f"{which[:5]}. Assign each column of X to exactly one modality, so "
                "that its contribution is counted once."
            )
        self._positions = [list(table.columns).index(column) for column in named]
        return found

    def join(self, parts: Parts) -> None:
        """Return None, because an estimator of a table receives the table."""
        return

    def predict(self, parts: Parts | JoinedRows) -> np.ndarray:
        """Return probabilities or numeric predictions (n, n_outputs)."""
        X = self.table(parts)
        if self.kind != "classes":
            predicted = np.asarray(self.estimator.predict(X), dtype=np.float64)
        elif hasattr(self.estimator, "predict_proba"):
            predicted = np.asarray(self.estimator.predict_proba(X), dtype=np.float64)
        else:
            raise TypeError(
                f"{OWNER}: {type(self.estimator).__name__} has no predict_proba. "
                "Use output='link' and scoring='roc_auc' if it has a "
                "decision_function, or wrap it in "
                "sklearn.calibration.CalibratedClassifierCV."
            )
        return predicted.reshape(len(predicted), -1)

    def margins(
        self, parts: Parts | JoinedRows, column: int | None = None
    ) -> np.ndarray:
        """Return log-odds or numeric predictions (n, n_outputs).

        For a classifier without probabilities, it is the decision function. If `column`
        is given, only this output is returned (n, 1).
        """
        return _column(self._margins(parts), column)

    def _margins(self, parts: Parts | JoinedRows) -> np.ndarray:
        if self.kind != "classes":
            return self.predict(parts)
        if not hasattr(self.estimator, "decision_function"):
            return class_log_odds(self.predict(parts))
        X = self.table(parts)
        margin = np.asarray(self.estimator.decision_function(X), dtype=np.float64)
        if margin.ndim == 1:
            margin = np.column_stack([-margin, margin])
        elif self.has_probabilities:
            margin = class_log_odds_of_logits(margin)
        if not self.has_probabilities:
            return margin
        # The decision function is exact, while probabilities close to 1 are rounded.
        # It need not be the log-odds, as in support vector machines.
        if self._margin_is_log_odds is None:
            predicted = self.predict(parts)
            self._margin_is_log_odds = margin.shape == predicted.shape and bool(
                np.allclose(expit(margin), predicted, atol=1e-6)
            )
        return (
            margin if self._margin_is_log_odds else class_log_odds(self.predict(parts))
        )

    def table(self, parts: Parts | JoinedRows) -> Any:
        """Return the input of the estimator, which `JoinedRows` contain."""
        if isinstance(parts, JoinedRows):
            return parts.matrix
        if self._is_frame:
            return pd.concat(list(parts.values()), axis=1)[self._order]
        joined = np.concatenate(list(parts.values()), axis=1)
        if self._positions == sorted(self._positions):
            return joined
        ordered = np.empty_like(joined)
        ordered[:, self._positions] = joined
        return ordered

    def table_columns(self, parts: Parts) -> dict[str, list[int]]:
        """Return the positions of the columns of each modality in the table."""
        ends = np.cumsum([0, *(part.shape[1] for part in parts.values())])
        return {
            name: self._positions[first:last]
            for name, first, last in zip(parts, ends[:-1], ends[1:], strict=True)
        }


@dataclass(frozen=True)
class Question:
    """Outputs of a model on a scale, as a function of its modalities.

    Attributes
    ----------
    model : FusionModel or TableModel
        The model.
    scale : {"link", "proba", "custom"}
        Whether to ask for margins, such as log-odds, for predictions, or for a function
        of predictions.
    column : int or None, default=None
        The only output that is asked for. None asks for all.
    function : callable or None, default=None
        The function of predictions (n, n_outputs).
    """

    model: FusionModel | TableModel
    scale: str
    column: int | None = None
    function: Callable[[np.ndarray], Any] | None = None

    def __call__(self, rows: Any) -> np.ndarray:
        """Return the outputs (n, C) of encoded modalities or of `JoinedRows`."""
        if self.function is not None:
            values = self.function(self.model.predict(rows))
            found = np.asarray(values, dtype=np.float64)
            return found.reshape(len(found), -1)
        if self.scale == "link":
            return self.model.margins(rows, self.column)
        return _column(self.model.predict(rows), self.column)


@dataclass(frozen=True)
class Output:
    """Output of a model that is explained.

    Attributes
    ----------
    name : str
        Description of the output.
    scale : {"link", "proba", "custom"}
        Scale of the output.
    classes : tuple or None
        Class or label of each of several outputs. None for a single output.
    ask : callable
        Maps the modalities of n cases to their outputs (n, C).
    """

    name: str
    scale: str
    classes: tuple[Any, ...] | None
    ask: Callable[[Parts], np.ndarray]


def find_model(
    estimator: Any, modalities: Any, *tables: Any
) -> tuple[FusionModel | TableModel, list[Any]]:
    """Wrap an estimator in the common interface, with its inputs.

    Parameters
    ----------
    estimator : estimator
        A fitted estimator. A search, and a `Pipeline` that ends in a fusion, are
        unwrapped.
    modalities : dict of str to list of column labels, or None
        The columns of each modality. None for a fusion, which defines its modalities.
    tables : DataFrame, ndarray or None
        Inputs of the estimator.

    Returns
    -------
    model : FusionModel or TableModel
    tables : list
        Inputs of the model, transformed by the steps of a `Pipeline` before a fusion.

    Raises
    ------
    NotFittedError
        If the estimator is not fitted.
    TypeError
        If the estimator is not a fusion and `modalities` is None, or if `modalities` is
        not a dict.
    """
    if modalities is None:
        inner, *inside = unwrap_estimator(estimator, *tables)
        if isinstance(inner, BaseFusion):
            direct = all(
                receives_table(estimator, prefix)
                for prefix in fusions_within(estimator)
            )
            return FusionModel(inner, direct), inside
        raise TypeError(
            f"{OWNER}: {type(inner).__name__} does not define modalities. Pass the "
            "columns of each, as in modalities={'image': [...], 'ehr': [...]}, or use "
            "an early, late or joint fusion."
        )
    if not isinstance(modalities, Mapping) or not modalities:
        raise TypeError(
            f"{OWNER}: modalities must be a dict from names to columns, got "
            f"{type(modalities).__name__}. Leave it at None for a fusion."
        )
    return TableModel(estimator, modalities), list(tables)


def make_output(
    model: FusionModel | TableModel, output: Any, pos_label: Any = None
) -> Output:
    """Return the output of a model that is explained.

    Parameters
    ----------
    model : FusionModel or TableModel
        The model.
    output : {"link", "proba"} or callable
        Log-odds (numeric predictions and risks are not transformed), probabilities, or
        a function of the predictions (n, n_outputs).
    pos_label : class label or None, default=None
        The class, or the label of several, to explain alone. None explains the second
        of two classes, and each of more classes or labels.

    Returns
    -------
    Output

    Raises
    ------
    ValueError
        If the output is unknown, or is ``"proba"`` for a regression. If `pos_label` is
        not a class of the model.
    """
    if callable(output):
        name = getattr(output, "__name__", "output")
        _refuse_class(pos_label, "output= is a function")
        question = Question(model, "custom", function=output)
        return Output(name, "custom", None, question)
    check_option(
        output, "output", ("link", "proba"), OWNER, also="a function of the predictions"
    )
    if model.kind in ("numbers", "survival"):
        if output == "proba":
            raise ValueError(
                f"{OWNER}: output='proba' needs a classifier, but the estimator "
                "predicts numbers. Leave output='link', which does not transform them."
            )
        _refuse_class(pos_label, "the estimator predicts numbers")
        survival = model.kind == "survival" or predicts_risks(model.estimator)
        name = scale_of_risk(model.estimator) if survival else "prediction (unit of y)"
        return Output(name, "link", None, Question(model, "link"))
    assert model.labels is not None  # noqa: S101 - true of classifiers
    labels = model.labels.tolist()
    what = "log-odds" if output == "link" else "probability"
    if output == "link" and not getattr(model, "has_probabilities", True):
        what = "decision function"
    exclusive = model.kind == "classes"
    number = explained_class(labels, pos_label, OWNER, exclusive=exclusive)
    if number is None:
        return Output(what, output, tuple(labels), Question(model, output))
    question = Question(model, output, number)
    return Output(f"{what} of {labels[number]}", output, None, question)


def _refuse_class(pos_label: Any, because: str) -> None:
    if pos_label is not None:
        raise ValueError(
            f"{OWNER}: pos_label={pos_label!r} chooses a class, but {because}. Leave "
            "pos_label=None."
        )


def explained_class(
    labels: list[Any], pos_label: Any, owner: str, *, exclusive: bool = True
) -> int | None:
    """Return the number of the class that is explained alone.

    Parameters
    ----------
    labels : list
        The classes, or the labels if they are not exclusive.
    pos_label : class label or None
        The class that the user chose.
    owner : str
        Name of the caller, for messages.
    exclusive : bool, default=True
        Whether the classes are mutually exclusive, so that the second of two tells all.

    Returns
    -------
    int or None
        None if each class is explained.

    Raises
    ------
    ValueError
        If `pos_label` is not among the labels.

    Examples
    --------
    >>> from skfusion.inspection.models import explained_class
    >>> explained_class(["cancer", "healthy"], "cancer", "explain")
    0
    """
    if pos_label is not None:
        if pos_label not in labels:
            raise ValueError(
                f"{owner}: pos_label={pos_label!r} is not a class of the model, whose "
                f"classes are {labels}. Pass one of them."
            )
        return labels.index(pos_label)
    return 1 if exclusive and len(labels) == 2 else None


def warn_of_alphabet(classes: Any, pos_label: Any, owner: str) -> None:
    """Warn if the alphabet chooses which of two classes is explained.

    Parameters
    ----------
    classes : array-like or None
        The classes of the model. None for numbers.
    pos_label : class label or None
        The class that the user chose.
    owner : str
        Name of the caller, for the message.

    Warns
    -----
    DataWarning
        If the two classes are text and `pos_label` is None.
    """
    labels = [] if classes is None else list(np.asarray(classes).tolist())
    text = len(labels) == 2 and all(isinstance(label, str) for label in labels)
    if text and pos_label is None:
        first, second = labels
        warn_user(
            f"{owner}: the two classes are text, so the explained class is the last "
            f"one in alphabetical order, {second!r}. Contributions are positive if "
            f"they raise its probability. Choose it with pos_label={first!r} or "
            f"pos_label={second!r}.",
            DataWarning,
        )


def predicts_risks(estimator: Any) -> bool:
    """Return whether an estimator is a survival model, of skfusion or scikit-survival.

    Examples
    --------
    >>> from sklearn.linear_model import LinearRegression
    >>> from skfusion.inspection.models import predicts_risks
    >>> from skfusion.survival import XGBoostSurvival
    >>> predicts_risks(XGBoostSurvival()), predicts_risks(LinearRegression())
    (True, False)
    """
    if isinstance(estimator, Pipeline):
        estimator = estimator.steps[-1][1]
    return isinstance(estimator, ConcordanceScore) or hasattr(
        estimator, "predict_survival_function"
    )


def scale_of_risk(estimator: Any) -> str:
    """Return what a survival model predicts, if this is known.

    Parameters
    ----------
    estimator : survival estimator
        A fitted fusion or learner.

    Returns
    -------
    str
        ``"log hazard"`` for Cox's model in any form. Other models predict negative
        times, averages of standardised risks, or a risk without a unit.

    Examples
    --------
    >>> from skfusion.inspection.models import scale_of_risk
    >>> from skfusion.fusion.survival import CoxRidge, XGBoostSurvival
    >>> scale_of_risk(CoxRidge()), scale_of_risk(XGBoostSurvival(loss="aft"))
    ('log hazard', 'negative log time')
    """
    if isinstance(estimator, Pipeline):
        return scale_of_risk(estimator.steps[-1][1])
    for inner in ("final_estimator_", "estimator_"):
        if getattr(estimator, inner, None) is not None:
            return scale_of_risk(getattr(estimator, inner))
    if hasattr(estimator, "aggregation"):  # late fusion averages standardised risks
        return "standardised risk"
    loss = getattr(estimator, "loss", None)
    if loss == "aft":
        return "negative log time"
    if hasattr(estimator, "network_") and loss in ("auto", "hazard"):
        return "negative mean time to the event"
    if loss == "cox" or "Cox" in type(estimator).__name__:
        return "log hazard"
    return "risk"
