"""Nodes of the trees of fitted learners, in one form for all libraries.

The output of boosted trees and of forests is a function of a sum over the trees. The
terms of the sum are values of leaves. A *raw score* is this sum.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from copy import copy
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from scipy.special import expit, softmax
from sklearn.ensemble import (
    ExtraTreesClassifier,
    ExtraTreesRegressor,
    GradientBoostingClassifier,
    GradientBoostingRegressor,
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    RandomForestClassifier,
    RandomForestRegressor,
)
from sklearn.tree import (
    DecisionTreeClassifier,
    DecisionTreeRegressor,
    ExtraTreeClassifier,
    ExtraTreeRegressor,
)

from skfusion.fusion.per_output import ClassifierPerLabel, RegressorPerNumber
from skfusion.fusion.survival import XGBoostSurvival
from skfusion.inspection.models import same_predictions

__all__ = ["TreeEnsemble", "TreeLearner", "read_trees"]


# The types themselves, because a subclass may predict something else.
XGBOOST = {"XGBClassifier", "XGBRFClassifier", "XGBRegressor", "XGBRFRegressor"}
SINGLE = {
    DecisionTreeClassifier,
    DecisionTreeRegressor,
    ExtraTreeClassifier,
    ExtraTreeRegressor,
}
FORESTS = {
    ExtraTreesClassifier,
    ExtraTreesRegressor,
    RandomForestClassifier,
    RandomForestRegressor,
}
GRADIENT = {GradientBoostingClassifier, GradientBoostingRegressor}
HISTOGRAM = {HistGradientBoostingClassifier, HistGradientBoostingRegressor}

# Predictions as functions of the raw score.
XGBOOST_LINKS = {
    "binary:logistic": "sigmoid",
    "count:poisson": "exp",
    "multi:softmax": "softmax",
    "multi:softprob": "softmax",
    "reg:absoluteerror": "identity",
    "reg:gamma": "exp",
    "reg:logistic": "sigmoid",
    "reg:pseudohubererror": "identity",
    "reg:quantileerror": "identity",
    "reg:squarederror": "identity",
    "reg:squaredlogerror": "identity",
    "reg:tweedie": "exp",
}
LINKS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "doubled": lambda scores: expit(2.0 * scores),  # of exponential loss
    "identity": lambda scores: scores,
    "exp": np.exp,
    "sigmoid": expit,
    "softmax": lambda scores: softmax(scores, axis=1),
}


@dataclass(frozen=True)
class TreeEnsemble:
    """Nodes of all trees of a learner.

    Attributes
    ----------
    left, right : ndarray of int of shape (n_nodes,)
        Children of each node, -1 for leaves.
    feature : ndarray of int of shape (n_nodes,)
        Feature that is compared.
    threshold : ndarray of float of shape (n_nodes,)
        What it is compared with. Smaller values go left.
    missing_left : ndarray of bool of shape (n_nodes,)
        Whether missing values go left.
    roots : ndarray of int of shape (n_trees,)
        Root of each tree.
    values : ndarray of float64 of shape (n_nodes, C)
        Values of the leaves.
    input_type : type
        Precision to which the learner rounds features.
    equal_left : bool
        Whether a value that is equal to the threshold goes left.
    missing : float
        Value that stands for a missing one, besides NaN.
    """

    left: np.ndarray
    right: np.ndarray
    feature: np.ndarray
    threshold: np.ndarray
    missing_left: np.ndarray
    roots: np.ndarray
    values: np.ndarray
    input_type: type
    equal_left: bool = True
    missing: float = np.nan

    def levels(self) -> list[np.ndarray]:
        """Return the nodes that have children, from the roots down.

        Returns
        -------
        list of ndarray of int
            Nodes of the same distance from their roots.
        """
        found, nodes = [], self.roots
        while len(nodes := nodes[self.left[nodes] >= 0]):
            found.append(nodes)
            nodes = np.concatenate([self.left[nodes], self.right[nodes]])
        return found

    def leaves(self) -> np.ndarray:
        """Return the nodes without children, in the order of their numbers."""
        children = [
            np.concatenate([self.left[nodes], self.right[nodes]])
            for nodes in self.levels()
        ]
        nodes = np.concatenate([self.roots, *children])
        return np.sort(nodes[self.left[nodes] < 0])

    def as_input(self, X: Any) -> np.ndarray:
        """Return features (n, n_features) as the nodes compare them."""
        with np.errstate(over="ignore"):  # infinite, as for the learner
            rounded: np.ndarray = np.asarray(X, dtype=self.input_type)
        if np.isnan(self.missing):
            return rounded
        return np.where(rounded == self.input_type(self.missing), np.nan, rounded)


@dataclass(frozen=True)
class TreeLearner:
    """A fitted learner whose raw scores are sums over trees.

    Attributes
    ----------
    trees : TreeEnsemble
        The trees.
    link : {"exp", "identity", "sigmoid", "softmax", "doubled"}
        Predictions as a function of the raw scores.
    scores : callable
        Maps the input of the learner to the raw scores (n, C) by its own methods. They
        differ from the sum over the trees by a constant.
    of_scores : estimator
        The learner as a function of raw scores (n, C), which replace its input.
    precision : type
        Precision in which the learner adds up the trees.
    """

    trees: TreeEnsemble
    link: str
    scores: Callable[[Any], np.ndarray]
    of_scores: Any
    precision: type = np.float64


def read_trees(learner: Any) -> TreeLearner | None:
    """Return the trees of a fitted learner.

    Parameters
    ----------
    learner : estimator
        A fitted learner, which may be inside a search or a frozen estimator.

    Returns
    -------
    TreeLearner or None
        None if the learner is not of a known kind, or has nodes that compare anything
        but one number with a threshold.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.tree import DecisionTreeRegressor
    >>> from skfusion.inspection.modalities.withheld.tree_ensembles import read_trees
    >>> X = np.array([[0.0], [1.0], [2.0], [3.0]])
    >>> found = read_trees(DecisionTreeRegressor(max_depth=1).fit(X, [1, 1, 5, 5]))
    >>> found.trees.threshold[found.trees.roots].tolist(), found.link
    ([1.5], 'identity')
    """
    kind = type(learner)
    within = same_predictions(learner)
    if within is not None:
        return _around(learner, within)
    if kind in (ClassifierPerLabel, RegressorPerNumber):
        return _side_by_side(learner)
    if kind is XGBoostSurvival:
        return _xgboost_survival(learner)
    if kind.__module__ == "xgboost.sklearn" and kind.__name__ in XGBOOST:
        return _xgboost(learner)
    if kind in SINGLE or kind in FORESTS:
        return _forest(learner)
    if kind in GRADIENT:
        return _gradient_boosting(learner)
    return _histogram_boosting(learner) if kind in HISTOGRAM else None


# -- XGBoost -----------------------------------------------------------------------


def _xgboost(learner: Any) -> TreeLearner | None:
    model = _saved(learner.get_booster())
    link = XGBOOST_LINKS.get(model["objective"]["name"])
    best = getattr(learner, "best_iteration", None)
    missing = np.nan if learner.missing is None else float(learner.missing)
    trees = _booster_trees(model, best, missing)
    if trees is None or link is None:
        return None

    def scores(X: Any) -> np.ndarray:
        return _columns(learner.predict(X, output_margin=True))

    return TreeLearner(trees, link, scores, _of_scores(learner, link), np.float32)


def _xgboost_survival(learner: XGBoostSurvival) -> TreeLearner | None:
    trees = _booster_trees(_saved(learner.booster_), None, np.nan)
    if trees is None:
        return None
    if learner.loss == "aft":  # the risk is the negative log time
        trees = replace(trees, values=-trees.values)

    def scores(X: Any) -> np.ndarray:
        return _columns(learner.predict(X))

    of_scores = _of_scores(learner, "identity")
    return TreeLearner(trees, "identity", scores, of_scores, np.float32)


def _saved(booster: Any) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(booster.save_raw(raw_format="json"))["learner"]
    return found


def _booster_trees(
    saved: dict[str, Any], best: int | None, missing: float
) -> TreeEnsemble | None:
    """Read the format that XGBoost documents for its files."""
    inside = saved["gradient_booster"]
    weights = inside.get("weight_drop")  # of the booster "dart"
    model = inside.get("gbtree", inside).get("model")
    if model is None or "iteration_indptr" not in model:
        return None
    ends = model["iteration_indptr"]
    count = ends[-1] if best is None else ends[best + 1]
    trees, groups = model["trees"][:count], np.asarray(model["tree_info"][:count])
    sizes = saved["learner_model_param"]
    n_groups = max(1, int(sizes["num_class"]), int(sizes.get("num_target", 1)))
    ordinary = all(
        int(tree["tree_param"].get("size_leaf_vector", 1)) <= 1
        and not any(tree["split_type"])
        for tree in trees
    )
    if not trees or not ordinary or groups.max() >= n_groups:
        return None
    conditions = [np.asarray(t["split_conditions"], dtype=np.float32) for t in trees]
    lengths = [len(part) for part in conditions]
    values = np.zeros((sum(lengths), n_groups))
    factors = np.ones(count) if weights is None else np.asarray(weights[:count])
    group = np.repeat(groups, lengths)
    values[np.arange(len(group)), group] = np.concatenate(conditions) * np.repeat(
        factors, lengths
    )
    return _concatenated(
        [np.asarray(tree["left_children"]) for tree in trees],
        [np.asarray(tree["right_children"]) for tree in trees],
        feature=np.concatenate([tree["split_indices"] for tree in trees]),
        threshold=np.concatenate(conditions),
        missing_left=np.concatenate([tree["default_left"] for tree in trees]),
        values=values,
        input_type=np.float32,
        equal_left=False,
        missing=missing,
    )


# -- scikit-learn ------------------------------------------------------------------


def _forest(learner: Any) -> TreeLearner | None:
    members = [learner] if type(learner) in SINGLE else list(learner.estimators_)
    is_classifier = hasattr(learner, "classes_")
    if is_classifier and learner.n_outputs_ > 1:
        return None
    trees = _sklearn_trees([member.tree_ for member in members])
    n_columns = len(learner.classes_) if is_classifier else learner.n_outputs_
    values = trees.values.reshape(len(trees.left), -1)[:, :n_columns] / len(members)
    trees = replace(trees, values=values)
    method = learner.predict_proba if is_classifier else learner.predict

    def scores(X: Any) -> np.ndarray:
        return _columns(method(X))

    return TreeLearner(trees, "identity", scores, _of_scores(learner, "identity"))


def _gradient_boosting(learner: Any) -> TreeLearner:
    n_rounds, n_columns = learner.estimators_.shape
    trees = _sklearn_trees([member.tree_ for member in learner.estimators_.ravel()])
    group = np.tile(np.arange(n_columns), n_rounds)
    values = _in_groups(learner.learning_rate * trees.values[:, 0], group, trees)
    is_classifier = hasattr(learner, "classes_")
    link = "identity"
    if is_classifier:
        link = "sigmoid" if n_columns == 1 else "softmax"
        link = link if learner.loss == "log_loss" else "doubled"
    method = learner.decision_function if is_classifier else learner.predict

    def scores(X: Any) -> np.ndarray:
        return _columns(method(X))

    trees = replace(trees, values=values)
    return TreeLearner(trees, link, scores, _of_scores(learner, link))


def _histogram_boosting(learner: Any) -> TreeLearner | None:
    rounds = getattr(learner, "_predictors", None)  # shown by no public attribute
    if rounds is None or learner.is_categorical_ is not None:
        return None
    nodes = [predictor.nodes for each in rounds for predictor in each]
    needed = {"value", "feature_idx", "num_threshold", "missing_go_to_left"}
    needed |= {"left", "right", "is_leaf"}
    if not nodes or not needed <= set(nodes[0].dtype.names):
        return None
    joined = np.concatenate(nodes)
    is_leaf = [part["is_leaf"].astype(bool) for part in nodes]
    # A child has the number 0, which is the root, if there is none.
    left, right = (
        [
            np.where(leaf, -1, part[side].astype(np.intp))
            for part, leaf in zip(nodes, is_leaf, strict=True)
        ]
        for side in ("left", "right")
    )
    trees = _concatenated(
        left,
        right,
        feature=joined["feature_idx"],
        threshold=joined["num_threshold"],
        missing_left=joined["missing_go_to_left"],
        values=joined["value"][:, None],
        input_type=np.float64,
    )
    group = np.tile(np.arange(len(rounds[0])), len(rounds))
    trees = replace(trees, values=_in_groups(trees.values[:, 0], group, trees))
    if hasattr(learner, "classes_"):
        link = "sigmoid" if len(rounds[0]) == 1 else "softmax"
        method: Callable[[Any], Any] = learner.decision_function
    else:
        link = "exp" if learner.loss in ("gamma", "poisson") else "identity"
        method = learner.predict

    def scores(X: Any) -> np.ndarray:
        found = _columns(method(X))
        return np.log(found) if link == "exp" else found

    return TreeLearner(trees, link, scores, _of_scores(learner, link))


def _sklearn_trees(trees: Sequence[Any]) -> TreeEnsemble:
    # An old tree has no such attribute, and refuses missing values.
    directions = [
        getattr(tree, "missing_go_to_left", np.zeros(tree.node_count, dtype=bool))
        for tree in trees
    ]
    return _concatenated(
        [tree.children_left for tree in trees],
        [tree.children_right for tree in trees],
        feature=np.concatenate([tree.feature for tree in trees]),
        threshold=np.concatenate([tree.threshold for tree in trees]),
        missing_left=np.concatenate(directions),
        values=np.concatenate(
            [tree.value.reshape(tree.node_count, -1) for tree in trees]
        ),
        input_type=np.float32,
    )


# -- learners around others --------------------------------------------------------


def _around(learner: Any, within: Any) -> TreeLearner | None:
    """Return the trees inside a search, a threshold or a frozen estimator."""
    found = read_trees(within)
    names = ("best_estimator_", "estimator_", "estimator")
    name = next((key for key in names if vars(learner).get(key) is within), None)
    if found is None or name is None:
        return None
    outer = copy(learner)
    setattr(outer, name, found.of_scores)
    return replace(found, of_scores=outer)


def _side_by_side(learner: Any) -> TreeLearner | None:
    """Return the trees of all learners of a learner per output."""
    members = [read_trees(member) for member in learner.estimators_]
    known = [member for member in members if member is not None]
    parts = [member.trees for member in known]
    kinds = {(part.input_type, part.equal_left, str(part.missing)) for part in parts}
    links = {(member.link, member.precision) for member in known}
    if len(known) < len(members) or len(kinds) > 1 or len(links) > 1:
        return None
    ends = np.cumsum([0, *(part.values.shape[1] for part in parts)])
    places = [slice(*pair) for pair in zip(ends[:-1], ends[1:], strict=True)]
    values = [
        np.hstack(
            [
                part.values if other is part else np.zeros((len(part.left), width))
                for other, width in zip(parts, np.diff(ends), strict=True)
            ]
        )
        for part in parts
    ]
    first = np.cumsum([0, *(len(part.left) for part in parts)])[:-1]
    trees = replace(
        _concatenated(
            [part.left for part in parts],
            [part.right for part in parts],
            feature=np.concatenate([part.feature for part in parts]),
            threshold=np.concatenate([part.threshold for part in parts]),
            missing_left=np.concatenate([part.missing_left for part in parts]),
            values=np.concatenate(values),
            input_type=parts[0].input_type,
            equal_left=parts[0].equal_left,
            missing=parts[0].missing,
        ),
        roots=np.concatenate([p.roots + n for p, n in zip(parts, first, strict=True)]),
    )
    outer = copy(learner)
    outer.n_jobs = None
    outer.estimators_ = [
        _of_columns(member.of_scores, place)
        for member, place in zip(known, places, strict=True)
    ]

    def scores(X: Any) -> np.ndarray:
        return np.hstack([member.scores(X) for member in known])

    return replace(known[0], trees=trees, scores=scores, of_scores=outer)


def _of_scores(learner: Any, link: str) -> Any:
    """Return a copy of a learner whose methods receive raw scores."""
    shadow = copy(learner)
    is_classifier = hasattr(learner, "predict_proba")

    def predict(scores: np.ndarray) -> np.ndarray:
        found = LINKS[link](scores)
        if found.shape[1] > 1:
            return found
        return np.hstack([1 - found, found]) if is_classifier else found[:, 0]

    def decide(scores: np.ndarray) -> np.ndarray:
        return scores[:, 0] if scores.shape[1] == 1 else scores

    # Attributes of the copy are found before the methods of its class.
    if is_classifier:
        shadow.predict_proba = predict
        if hasattr(learner, "decision_function"):
            shadow.decision_function = decide
    else:
        shadow.predict = predict
    return shadow


def _of_columns(learner: Any, columns: slice) -> Any:
    """Return a copy of a learner of raw scores that reads some columns of them."""
    shadow = copy(learner)
    name = "predict_proba" if hasattr(learner, "predict_proba") else "predict"
    whole = getattr(learner, name)
    setattr(shadow, name, lambda scores: whole(scores[:, columns]))
    return shadow


# -- arrays ------------------------------------------------------------------------


def _concatenated(
    left: Sequence[np.ndarray],
    right: Sequence[np.ndarray],
    *,
    missing_left: np.ndarray,
    feature: np.ndarray,
    **others: Any,
) -> TreeEnsemble:
    """Join trees, of which each numbers its nodes from 0, and their attributes."""
    roots = np.cumsum([0, *(len(part) for part in left)])[:-1]
    sides = [
        np.concatenate(
            [
                np.where(part < 0, -1, part + root)
                for part, root in zip(parts, roots, strict=True)
            ]
        ).astype(np.intp)
        for parts in (left, right)
    ]
    return TreeEnsemble(
        left=sides[0],
        right=sides[1],
        feature=np.asarray(feature, dtype=np.intp),
        missing_left=np.asarray(missing_left, dtype=bool),
        roots=roots,
        **others,
    )


def _in_groups(
    values: np.ndarray, group: np.ndarray, trees: TreeEnsemble
) -> np.ndarray:
    """Return values of nodes in the column of the output to which their tree belongs.

    `group` is the column of each tree.
    """
    sizes = np.diff([*trees.roots, len(values)])
    columns = np.repeat(group, sizes)
    found = np.zeros((len(values), group.max() + 1))
    found[np.arange(len(values)), columns] = values
    return found


def _columns(scores: Any) -> np.ndarray:
    found = np.asarray(scores, dtype=np.float64)
    return found.reshape(len(found), -1)
