"""Explanation of predictions by the features of each modality.

The result is one `shap.Explanation` per modality. Features of different modalities are
not ranked together, because sums of absolute values favour many columns. With the same
signal in 1 and in 512 columns, they assign 96 % to the 512 columns. For the
contributions of modalities, see `skfusion.ModalityImportance`.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from sklearn.pipeline import Pipeline

from skfusion._dependencies import require
from skfusion._fitting.pipelines import (
    is_passthrough,
    is_sampler,
    transform_steps,
    unreadable_rows,
)
from skfusion._validation import check_option
from skfusion.ehr.events.labels import readable_names
from skfusion.ehr.naming import find_labels
from skfusion.fusion.base import BaseFusion
from skfusion.fusion.early.base import BaseEarlyFusion
from skfusion.fusion.early.joins import Concatenation
from skfusion.fusion.late.base import BaseLateFusion
from skfusion.fusion.restriction import fusions_within
from skfusion.inspection.features.closed_form import (
    Contributions,
    learner_contributions,
)
from skfusion.inspection.features.raw_values import raw_values
from skfusion.inspection.features.sampling import explain_columns
from skfusion.inspection.features.scales import choose_class, scale_of
from skfusion.inspection.models import (
    explained_class,
    rows_with_modality,
    unwrap_estimator,
    warn_of_alphabet,
)
from skfusion.inspection.wrapped import WrappedFusion

__all__ = ["explain_features", "treeshap_sums"]


OWNER = "explain_features"
METHODS = ("auto", "tree", "linear", "columns")


class _Part(NamedTuple):
    """Contributions of the features of one modality, before a class is chosen.

    Attributes
    ----------
    found : Contributions
        Contributions of the features, with a base value for each row.
    names : ndarray of str of shape (n_features,)
        Names of the features.
    inputs : ndarray of shape (n_explained, n_features)
        Values of the features, as the learner gets them.
    rows : ndarray of int of shape (n_explained,)
        Row positions of the explained cases.
    scale : str
        The scale of the explained output.
    """

    found: Contributions
    names: np.ndarray
    inputs: np.ndarray
    rows: np.ndarray
    scale: str


def explain_features(
    estimator: Any,
    X: Any,
    *,
    modalities: Sequence[str] | Mapping[str, Sequence[Any]] | None = None,
    background: Any = None,
    method: str = "auto",
    n_background: int = 50,
    random_state: Any = 0,
    labels: Mapping[str, str] | pd.Series | str | None = "auto",
    pos_label: Any = None,
) -> dict[str, Any]:
    """Explain predictions by the features of each modality.

    Parameters
    ----------
    estimator : estimator
        A fitted early, late or joint fusion, an estimator around one or several (a
        search, `Pipeline`, calibrated, thresholded, frozen, voting or stacked model),
        or any model of a table whose columns are those of `modalities`.
    X : DataFrame or ndarray of shape (n_samples, n_columns)
        The cases to explain, which should be held-out cases.
    modalities : list of str, dict of str to list of column labels, or None
        The modalities of a fusion to explain. None selects all modalities. For any
        other model, the columns of each modality.
    background : DataFrame or ndarray of shape (n, n_columns) or None, default=None
        Cases whose values replace unknown features, preferably training data. None
        uses `X`. Trees do not need a background.
    method : {"auto", "tree", "linear", "columns"}, default="auto"
        ``"tree"`` and ``"linear"`` compute Shapley values of the features that the
        learner receives. ``"columns"`` computes those of the modality's columns in
        `X`, for any model. ``"auto"`` uses the first one that supports the model.
    n_background : int, default=50
        Number of background cases that ``"columns"`` uses, drawn at random.
    random_state : int, RandomState or None, default=0
        Seed of the random draws of ``"columns"``.
    labels : mapping, Series, "auto" or None, default="auto"
        Code -> name, for the names of features of events: the feature
        ``LAB//MIMIC//50868__1d__mean`` is shown as
        ``Anion Gap (LAB//MIMIC//50868) mean 1d``. "auto" takes the names of the event
        store of each modality (`skfusion.ehr.EventStore.labels`). Features of codes
        without a name keep theirs, and None keeps all.

    pos_label : class label or None, default=None
        The class that is explained, alone. None explains the second of two classes, and
        each of more classes. If the two classes are text, None follows the alphabet,
        with a warning.

    Returns
    -------
    dict of str to FeatureExplanation
        One `shap.Explanation` per modality, for the plots of shap. The shape of
        ``values`` is (n_explained, n_features_m[, n_classes]), and the classes are its
        ``output_names``. Its attribute ``output`` names the explained output and its
        scale. In late fusion, and with ``"columns"``, the explained cases are those
        that have the modality. Their positions in `X` are the attribute ``rows``.
        ``data`` and ``display_data`` contain the cells of the table, in the unit of the
        table, wherever a feature is one column of it. For the category of a column
        (one-hot), ``display_data`` contains the category of the case. Other features,
        such as principal components, have the values that the learner gets.

    Raises
    ------
    ValueError
        If `method`, a modality or `pos_label` is unknown, or `method` does not support
        the model.
    TypeError
        If `labels` is of another type.

    Warns
    -----
    DataWarning
        If the two classes are text and `pos_label` is None.

    Notes
    -----
    In each explanation, ``base_values`` plus the values sum to the explained output.
    The base value, which shap's waterfall calls E[f(X)], is not the mean prediction. It
    is a number of the case: the output without the features of this modality, that
    is, including the contributions of the other modalities in early fusion.

    The explained output depends on the model and the method:

    - *early fusion*: all features are players of one game. Their contributions sum to
      the output of ``estimator_``: log-odds for boosted trees and linear classifiers,
      probabilities for a random forest, predictions for regressors. Boosted trees and
      linear classifiers of three or more classes have one score per class, before the
      softmax. A presence flag is a feature of its modality.
    - *late fusion*: the contributions of the features of a modality sum to the output
      of its member, before calibration and combination.
    - ``"columns"``: the columns of one modality are the players, given the case's
      values of the other modalities. Their contributions sum to the log-odds of the
      prediction (of the member, in late fusion). They are exact for up to 8 columns.
      For more columns, permutations are sampled [2]_. Calibrated, voting and stacked
      models, which have a prediction of their own, are explained in this way, as a
      whole. Searches, frozen and thresholded models have the probabilities of what is
      inside, which is explained.

    For the regions of an image, see `skfusion.explain_images`.

    References
    ----------
    .. [1] Lundberg S M et al. (2020). From local explanations to global understanding
       with explainable AI for trees. Nature Machine Intelligence 2:56.
    .. [2] Castro J, Gomez D, Tejada J (2009). Polynomial calculation of the Shapley
       value based on sampling. Computers & Operations Research 36:1726.

    Examples
    --------
    >>> from sklearn.preprocessing import StandardScaler
    >>> from skfusion import LateFusionClassifier
    >>> from skfusion.datasets import make_fusion_cohort
    >>> from skfusion import explain_features
    >>> cohort = make_fusion_cohort(n_samples=400, random_state=0)
    >>> model = LateFusionClassifier(
    ...     [("image", StandardScaler(), cohort.image_columns),
    ...      ("ehr", StandardScaler(), cohort.ehr_columns)],
    ... ).fit(cohort.data, cohort.target)
    >>> explanation = explain_features(model, cohort.data)["ehr"]
    >>> explanation.shape, explanation.feature_names[0]
    ((400, 8), 'ehr_0')
    """
    check_option(method, "method", METHODS, OWNER)
    find_labels(labels, None, OWNER)  # Before the computation.
    require("shap", "explain")
    background = X if background is None else background
    estimator, X, background = unwrap_estimator(estimator, X, background)
    if not isinstance(modalities, Mapping):
        estimator = _wrapped(estimator)
    classes = _classes_of(estimator)
    number = None
    if classes is not None:
        exclusive = getattr(getattr(estimator, "target_", None), "kind", "") != "labels"
        number = explained_class(classes, pos_label, OWNER, exclusive=exclusive)
        warn_of_alphabet(classes, pos_label, OWNER)
    elif pos_label is not None:
        raise ValueError(
            f"{OWNER}: pos_label={pos_label!r} chooses a class, but the estimator "
            "predicts numbers. Leave pos_label=None."
        )
    columns = _columns_of(estimator, X, modalities)
    explained = _closed_forms(estimator, X, background, method, columns)
    missing = [name for name in columns if name not in explained]
    if missing and method in ("tree", "linear"):
        raise ValueError(
            f"explain_features: method={method!r} does not support the learner that "
            f"{_name_of(estimator)} uses for modality {missing[0]!r}. Use "
            "method='auto', which falls back to 'columns'."
        )
    for name in missing:
        game = explain_columns(
            estimator, X, background, name, columns[name], n_background, random_state
        )
        names = np.array([str(column) for column in columns[name]], dtype=object)
        explained[name] = _Part(game.found, names, game.cells, game.rows, game.scale)
    table = _table_of(estimator, X)
    return {
        name: _finished(
            explained[name],
            table[columns[name]] if len(columns[name]) else table.iloc[:, :0],
            classes,
            number,
            find_labels(labels, _transformer_of(estimator, name), OWNER),
        )
        for name in columns
    }


def _wrapped(estimator: Any) -> Any:
    """Return an estimator, and one around fusions with their modalities."""
    inside = not isinstance(estimator, BaseFusion) and fusions_within(estimator)
    return WrappedFusion(estimator) if inside else estimator


def treeshap_sums(estimator: Any, X: Any, modalities: Any = None) -> pd.Series:
    """Return the sums of the absolute TreeSHAP values of the features by modality.

    The sums depend on the number of columns, see `skfusion.ModalityImportance`.

    Parameters
    ----------
    estimator : estimator
        A fitted early fusion with trees, or trees of a table.
    X : DataFrame or ndarray of shape (n_samples, n_columns)
        The cases.
    modalities : list of str, dict of str to list of column labels, or None
        As in `explain_features`.

    Returns
    -------
    Series of shape (M,)
        Means over the cases (and sums over the outputs), by modality.

    Raises
    ------
    ValueError
        If the features of the modalities are not those of one model of trees.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.tree import DecisionTreeRegressor
    >>> from skfusion.inspection.features.explain import treeshap_sums
    >>> X = np.array([[0.0, 1.0], [1.0, 1.0]])
    >>> model = DecisionTreeRegressor().fit(X, [0.0, 4.0])
    >>> treeshap_sums(model, X, {"image": [0], "ehr": [1]}).to_dict()
    {'image': 2.0, 'ehr': 0.0}
    """
    estimator, X = unwrap_estimator(estimator, X)
    if not isinstance(modalities, Mapping):
        estimator = _wrapped(estimator)
    columns = _columns_of(estimator, X, modalities)
    found = {}
    if not isinstance(estimator, BaseLateFusion):
        found = _closed_forms(estimator, X, X, "tree", columns)
    if set(found) != set(columns):
        raise ValueError(
            "method='treeshap_sum' needs one model of trees of the features of all "
            f"modalities, which {_name_of(estimator)} is not. Use an early fusion "
            "with trees, or method='game', which supports any model."
        )
    sums = {}
    for name, part in found.items():
        by_feature = np.abs(part.found.values).mean(axis=0)
        sums[name] = float(by_feature.sum())
    return pd.Series(sums).rename_axis("modality")


def _closed_forms(
    estimator: Any, X: Any, background: Any, method: str, columns: dict[str, list[Any]]
) -> dict[str, _Part]:
    """Return the modalities whose features have contributions in closed form."""
    if method == "columns" or isinstance(estimator, WrappedFusion):
        return {}
    if isinstance(estimator, BaseLateFusion):
        return _explain_members(estimator, X, background, method, list(columns))
    if isinstance(estimator, BaseEarlyFusion):
        return _explain_joined(estimator, X, background, method, list(columns))
    if isinstance(estimator, BaseFusion):
        return {}
    return _explain_table(estimator, X, background, method, columns)


def _name_of(estimator: Any) -> str:
    if isinstance(estimator, WrappedFusion):
        estimator = estimator.estimator
    return type(estimator).__name__


def _classes_of(estimator: Any) -> list[Any] | None:
    if isinstance(estimator, WrappedFusion):
        estimator = estimator.estimator
    source = estimator.target_ if isinstance(estimator, BaseFusion) else estimator
    name = "classes" if isinstance(estimator, BaseFusion) else "classes_"
    classes = getattr(source, name, None)
    return None if classes is None else np.asarray(classes).tolist()


def _table_of(estimator: Any, X: Any) -> pd.DataFrame:
    if isinstance(estimator, BaseFusion):
        return estimator.read_cohort(X).reset_index(drop=True)
    return pd.DataFrame(X).reset_index(drop=True)


def _finished(
    part: _Part,
    table: pd.DataFrame,
    classes: list[Any] | None,
    number: int | None,
    labels: Any,
) -> Any:
    """Return the explanation of a modality, with names of classes and raw values."""
    found, names = choose_class(part.found, classes, number, part.scale)
    output = part.scale if names is not None else _output_name(part, classes, number)
    data, display = raw_values(part.names, part.inputs, table.iloc[part.rows])
    objects = importlib.import_module("skfusion.inspection.shap_objects")
    return objects.FeatureExplanation(
        found.values,
        rows=part.rows,
        output=output,
        base_values=np.array(
            np.broadcast_to(found.base, (len(found.values), *found.values.shape[2:]))
        ),
        data=data,
        display_data=display,
        feature_names=readable_names([str(name) for name in part.names], labels),
        output_names=names,
    )


def _output_name(part: _Part, classes: list[Any] | None, number: int | None) -> str:
    if classes is None or number is None:
        return part.scale
    return f"{part.scale} of {classes[number]}"


def _transformer_of(estimator: Any, name: str) -> Any:
    """Return the fitted transformer of a modality, or the model of a table."""
    if isinstance(estimator, WrappedFusion):
        return estimator.transformer_of(name)
    if not isinstance(estimator, BaseFusion):
        return estimator
    return next(part for other, part, _ in estimator.modalities_ if other == name)


def _columns_of(estimator: Any, X: Any, modalities: Any) -> dict[str, list[Any]]:
    if not isinstance(estimator, (BaseFusion, WrappedFusion)):
        if not isinstance(modalities, Mapping):
            raise ValueError(
                f"explain_features: {type(estimator).__name__} does not define "
                "modalities. Pass modalities={name: [columns], ...}."
            )
        frame = pd.DataFrame(X)
        for name, columns in modalities.items():
            unknown = [column for column in columns if column not in frame.columns]
            if unknown:
                raise ValueError(
                    f"explain_features: modality {name!r} contains column "
                    f"{unknown[0]!r}, which X does not have."
                )
        return {name: list(columns) for name, columns in modalities.items()}
    if isinstance(estimator, WrappedFusion):
        known = estimator.columns_by_modality()
    else:
        known = {
            name: [columns] if np.isscalar(columns) else list(columns)
            for name, _, columns in estimator.modalities_
        }
    wanted = list(known if modalities is None else modalities)
    unknown = [name for name in wanted if name not in known]
    if unknown:
        raise ValueError(
            f"explain_features: {unknown[0]!r} is not a modality of "
            f"{_name_of(estimator)}. Its modalities are {list(known)}."
        )
    return {name: known[name] for name in wanted}


def _explain_joined(
    estimator: BaseEarlyFusion, X: Any, background: Any, method: str, wanted: list[str]
) -> dict[str, _Part]:
    """Explain the concatenated features, grouped by the modality in their names."""
    if not isinstance(estimator.join_, Concatenation):
        return {}  # other joins mix the features of several modalities
    names = estimator.get_feature_names_out()
    learner, Z, kept = _reach_learner(
        estimator.estimator_, estimator.estimator_input(X), names
    )
    if kept is None or not set(kept) <= set(names):
        return {}  # a step mixes features, and therefore modalities
    _, others, _ = _reach_learner(
        estimator.estimator_, estimator.estimator_input(background), names
    )
    found = learner_contributions(learner, Z, others, method)
    if found is None:
        return {}
    parts = np.array([name.partition("__")[::2] for name in kept], dtype=object)
    scale = scale_of(learner, Z, found)
    return {
        name: _columns_only(
            found,
            np.asarray(Z),
            parts[:, 1],
            np.flatnonzero(parts[:, 0] == name),
            scale,
        )
        for name in wanted
    }


def _explain_table(
    estimator: Any,
    X: Any,
    background: Any,
    method: str,
    columns: Mapping[str, Sequence[Any]],
) -> dict[str, _Part]:
    names = pd.DataFrame(X).columns.to_numpy()
    learner, Z, kept = _reach_learner(estimator, X, names)
    if kept is None or not set(kept) <= set(names):
        return {}
    _, others, _ = _reach_learner(estimator, background, names)
    found = learner_contributions(learner, Z, others, method)
    if found is None:
        return {}
    scale = scale_of(learner, Z, found)
    return {
        name: _columns_only(
            found,
            np.asarray(Z),
            kept,
            np.flatnonzero([k in labels for k in kept]),
            scale,
        )
        for name, labels in columns.items()
    }


def _explain_members(
    estimator: BaseLateFusion, X: Any, background: Any, method: str, wanted: list[str]
) -> dict[str, _Part]:
    explained = {}
    for name, member, columns in estimator.modalities_:
        if name not in wanted or isinstance(member, BaseFusion):
            continue
        rows, cases = rows_with_modality(estimator, X, name)
        _, reference = rows_with_modality(estimator, background, name)
        learner, Z, names = _reach_learner(member, cases[columns], None)
        others = _reach_learner(member, reference[columns], None)[1]
        readable = ~unreadable_rows(Z)
        Z, others = np.asarray(Z)[readable], np.asarray(others)
        others = others[~unreadable_rows(others)]
        found = learner_contributions(learner, Z, others, method)
        if found is None:
            continue
        if names is None:
            names = np.array([f"x{j}" for j in range(Z.shape[1])], dtype=object)
        explained[name] = _columns_only(
            found,
            Z,
            names,
            np.arange(len(names)),
            scale_of(learner, Z, found),
            rows[readable],
        )
    return explained


def _reach_learner(
    model: Any, X: Any, names: np.ndarray | None
) -> tuple[Any, Any, np.ndarray | None]:
    """Transform X by the steps of a pipeline before its final learner.

    Returns the learner, its input features and their names. The names are None if a
    step does not provide them.
    """
    if not isinstance(model, Pipeline):
        return model, X, names
    for _, step in model.steps[:-1]:
        if is_passthrough(step) or is_sampler(step):
            continue
        X, names = transform_steps(step, X), _names_behind(step, names)
    return _reach_learner(model.steps[-1][1], X, names)


def _names_behind(step: Any, names: np.ndarray | None) -> np.ndarray | None:
    try:
        return np.asarray(step.get_feature_names_out(names), dtype=object)
    except (AttributeError, ValueError):  # the step, or a nested one, has no names
        return None


def _columns_only(
    found: Contributions,
    Z: np.ndarray,
    names: np.ndarray,
    columns: np.ndarray,
    scale: str,
    rows: np.ndarray | None = None,
) -> _Part:
    """Return the contributions of some columns, and add the others to the base."""
    rest = np.delete(found.values, columns, axis=1).sum(axis=1)
    rows = np.arange(len(Z)) if rows is None else rows
    own = Contributions(found.values[:, columns], found.base + rest)
    return _Part(own, names[columns], Z[:, columns], rows, scale)
