"""Score of a fitted model as a function of the pixels of one image.

The other modalities keep the values of the case. The score is differentiable for a
joint fusion and for models that are linear in the embedding. For other models it can
only be evaluated.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
from scipy.special import softmax
from sklearn.base import is_classifier
from sklearn.pipeline import Pipeline, make_pipeline
from torch import Tensor, nn

from skfusion._fitting.pipelines import transform_steps
from skfusion.fusion.base import BaseFusion
from skfusion.fusion.early.base import BaseEarlyFusion
from skfusion.fusion.joint.base import BaseJointFusion
from skfusion.fusion.joint.network import JointNetwork
from skfusion.fusion.late.base import BaseLateFusion
from skfusion.image.embedding.embedder import ImageEmbedder
from skfusion.image.networks.backbones import Backbone
from skfusion.inspection.models import (
    class_margins,
    class_margins_of_logits,
    log_odds,
    predicts_risks,
    rows_with_modality,
    scale_of_risk,
    unwrap_estimator,
)

__all__ = ["ImageScores", "image_scores"]


# Maps embeddings (B, d) to scores (B, C).
Ask = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class ImageScores:
    """Scores of cases as functions of the pixels of their images.

    Attributes
    ----------
    embedder : ImageEmbedder
        Embedder that reads the images.
    cells : list of n cells
        The images of the cases in which the modality is present.
    rows : ndarray of int of shape (n,)
        Row positions of these cases in the cohort.
    module_for : callable
        Maps the number of a case, and whether gradients are needed, to a torch module.
        The module maps pixels (B, 3, H, W), resized but not normalised, to scores (B,
        n_outputs), as `scale` says. The attribute ``roots`` of the module lists the
        submodules that process the image.
    outputs : list
        The classes, or the positions of the outputs.
    decides : bool
        Whether the outputs are mutually exclusive classes.
    scale : str
        What the scores are, such as ``"log-odds"``.
    """

    embedder: ImageEmbedder
    cells: list[Any]
    rows: np.ndarray
    module_for: Callable[[int, bool], nn.Module]
    outputs: list[Any]
    decides: bool
    scale: str


def image_scores(estimator: Any, X: Any, modality: str | None) -> ImageScores:
    """Return the images of a cohort and the scores of a model as functions of them.

    Parameters
    ----------
    estimator : estimator
        A fitted fusion, or a fitted `Pipeline` that begins with an `ImageEmbedder`.
    X : DataFrame or column of images
        Input of the estimator.
    modality : str or None
        Name of the image modality. None if the model has only one.

    Returns
    -------
    ImageScores

    Raises
    ------
    ValueError
        If the modality is unknown, or there are several and `modality` is None.
    TypeError
        If the estimator has no `ImageEmbedder`.
    """
    estimator, X = unwrap_estimator(estimator, X)
    if not isinstance(estimator, BaseFusion):
        return _pipeline_scores(estimator, X)
    name = _image_modality(estimator, modality)
    rows, cases = rows_with_modality(estimator, X, name)
    entry = next(e for e in estimator.modalities_ if e[0] == name)
    embedder, rest = _first_and_rest(entry[1])
    column = entry[2] if np.isscalar(entry[2]) else entry[2][0]
    module_for: Callable[[int, bool], nn.Module]
    if isinstance(estimator, BaseJointFusion):
        module_for = _joint_modules(estimator, cases, name)
    else:
        ask_for = _questions(estimator, cases, name, rest)
        module_for = _embedding_modules(embedder, ask_for, list(cases[column]))
    target = estimator.target_
    decides = target.kind == "classes"
    outputs = list(target.classes) if decides else list(range(target.n_outputs))
    return ImageScores(
        embedder,
        list(cases[column]),
        rows,
        module_for,
        outputs,
        decides,
        _scale_of_fusion(estimator, name, rest, len(outputs)),
    )


def _scale_of_fusion(estimator: BaseFusion, name: str, rest: Any, n: int) -> str:
    """Return what the scores of a fusion, or of the member of a late fusion, are."""
    kind = estimator.target_.kind
    if kind == "survival":
        learner = rest if isinstance(estimator, BaseLateFusion) else estimator
        return scale_of_risk(learner)
    if kind == "labels":
        return "log-odds"
    if kind != "classes" or isinstance(estimator, BaseJointFusion):
        return _scale_of_classes(n) if kind == "classes" else "prediction (unit of y)"
    is_late = isinstance(estimator, BaseLateFusion)
    return _scale_of(rest if is_late else getattr(estimator, "estimator_", None), n)


def _scale_of(model: Any, n_outputs: int) -> str:
    """Return what `_question` returns for a model of classes or numbers."""
    if hasattr(model, "predict_proba"):
        return _scale_of_classes(n_outputs)
    if predicts_risks(model):
        return scale_of_risk(model)
    decides = hasattr(model, "decision_function")
    return "decision function" if decides else "prediction (unit of y)"


def _scale_of_classes(n_classes: int) -> str:
    """Return the name of `class_margins`."""
    return "log-odds" if n_classes == 2 else "centred log-probability"


def _pipeline_scores(estimator: Any, X: Any) -> ImageScores:
    if not isinstance(estimator, Pipeline):
        raise TypeError(
            "Saliency needs a fusion, or a Pipeline that begins with an "
            f"ImageEmbedder, got {type(estimator).__name__}."
        )
    embedder, rest = _first_and_rest(estimator)
    cells = list(X.iloc[:, 0] if hasattr(X, "columns") else X)
    rows = np.flatnonzero(~pd.isna(pd.Series(cells, dtype=object)))
    cells = [cells[row] for row in rows]
    decides = is_classifier(estimator)
    outputs = list(estimator.classes_) if decides else [0]
    modules = _embedding_modules(embedder, lambda i: _question(rest), cells)
    scale = _scale_of(rest, len(outputs))
    return ImageScores(embedder, cells, rows, modules, outputs, decides, scale)


def _image_modality(estimator: BaseFusion, modality: str | None) -> str:
    images = [
        name
        for name, entry, _ in estimator.modalities_
        if isinstance(_first_and_rest(entry, strict=False)[0], ImageEmbedder)
    ]
    if modality is None and len(images) == 1:
        return images[0]
    if modality in images:
        return str(modality)
    found = f"modalities with an ImageEmbedder: {images}" if images else "none"
    raise ValueError(
        f"Saliency needs the name of one image modality with an ImageEmbedder, got "
        f"{type(estimator).__name__}, which has {found}, and modality={modality!r}."
    )


def _first_and_rest(model: Any, *, strict: bool = True) -> tuple[Any, Any]:
    """Return the first step of nested pipelines, and a pipeline of all others."""
    rest: list[Any] = []
    while isinstance(model, Pipeline):
        rest = [step for _, step in model.steps[1:]] + rest
        model = model.steps[0][1]
    if strict and not isinstance(model, ImageEmbedder):
        raise TypeError(
            "Saliency needs a model that begins with an ImageEmbedder, got "
            f"{type(model).__name__}."
        )
    return model, make_pipeline(*rest) if rest else None


# -- scores from an embedding -------------------------------------------------------


def _question(model: Any) -> Ask:
    """Return the score function of a model, or of the steps after the embedder."""

    def ask(X: np.ndarray) -> np.ndarray:
        if not hasattr(model, "predict_proba"):
            if not hasattr(model, "decision_function"):
                return np.asarray(model.predict(X)).reshape(len(X), -1)
            found = np.asarray(model.decision_function(X))
            return np.column_stack([-found, found]) if found.ndim == 1 else found
        probabilities = np.asarray(model.predict_proba(X))
        if hasattr(model, "decision_function"):
            # The decision function is preferred if it is the logit of the
            # probabilities, because probabilities can be rounded to 0 or 1.
            found = np.asarray(model.decision_function(X))
            if found.ndim == 1:
                found = np.column_stack([-found, found]) / 2
            if np.allclose(softmax(found, axis=1), probabilities, atol=1e-8):
                return class_margins_of_logits(found)
        return class_margins(probabilities)

    return ask


def _questions(
    estimator: BaseFusion, cases: pd.DataFrame, name: str, rest: Any
) -> Callable[[int], Ask]:
    """Return a function from a case to the score function of its embeddings."""
    if isinstance(estimator, BaseLateFusion):
        return lambda i: _question(rest)
    assert isinstance(estimator, BaseEarlyFusion)
    encoded = estimator.encode_modalities(cases)
    target = estimator.target_

    def ask_for(i: int) -> Ask:
        def ask(embeddings: np.ndarray) -> np.ndarray:
            own = embeddings if rest is None else transform_steps(rest, embeddings)
            n = len(own)
            Z = {key: np.repeat(part[[i]], n, axis=0) for key, part in encoded.items()}
            Z[name] = own
            if target.kind == "classes":
                return _question(estimator.estimator_)(estimator.join_encoded(Z))
            answers = estimator.predict_encoded(Z).reshape(n, -1)
            return log_odds(answers) if target.kind == "labels" else answers

        return ask

    return ask_for


def _embedding_modules(
    embedder: ImageEmbedder, ask_for: Callable[[int], Ask], cells: list[Any]
) -> Callable[[int, bool], nn.Module]:
    backbone = embedder.build()
    body = copy.deepcopy(backbone.module)  # because hooks are registered on it
    embeddings = embedder.transform(cells).astype(np.float64)

    def module_for(i: int, differentiable: bool) -> nn.Module:
        ask = ask_for(i)
        head = _linear_head(ask, embeddings[i]) if differentiable else _Asked(ask)
        return _Scored(backbone, body, head)

    return module_for


def _linear_head(ask: Ask, at: np.ndarray) -> nn.Module:
    """Return a layer equal to `ask`, which must be linear in the embedding.

    The weights are estimated by changing one feature at a time. Linearity is tested at
    means of the embedding and its random permutations.
    """
    d = len(at)
    step = float(np.abs(at).mean()) or 1.0
    answers = ask(np.vstack([at, at + step * np.eye(d)]).astype(np.float64))
    weight = (answers[1:] - answers[0]).T / step  # (C, d)
    rng = np.random.RandomState(0)
    mixed = np.stack([(at + rng.permutation(at)) / 2 for _ in range(16)])
    expected = answers[0] + (mixed - at) @ weight.T
    found = ask(mixed)
    unit = max(1.0, float(np.abs(answers[0]).max()), float(np.ptp(found)))
    if np.abs(found - expected).max() > 1e-3 * unit:
        raise ValueError(
            "The estimator after the ImageEmbedder is not linear in the embedding "
            "(trees, kernels or neural networks), so its score has no gradient with "
            "respect to the image. Use method='occlusion', which needs no gradient."
        )
    head = nn.Linear(d, len(weight)).double()
    with torch.no_grad():
        head.weight[:] = torch.from_numpy(weight)
        head.bias[:] = torch.from_numpy(answers[0] - weight @ at)
    return head


class _Asked(nn.Module):
    """Module that evaluates a score function outside torch, without a gradient."""

    def __init__(self, ask: Ask) -> None:
        super().__init__()
        self.ask = ask

    def forward(self, embeddings: Tensor) -> Tensor:
        return torch.from_numpy(
            np.asarray(self.ask(embeddings.detach().numpy()), np.float64)
        )


class _Scored(nn.Module):
    """Module that maps pixels to scores through the embedding."""

    def __init__(self, backbone: Backbone, body: nn.Module, head: nn.Module) -> None:
        super().__init__()
        self.normalise = backbone.preprocessing.normalise
        self.body, self.head = body, head
        self.roots = [body]

    def forward(self, pixels: Tensor) -> Tensor:
        return self.head(self.body(self.normalise(pixels)).double())


# -- joint fusion -------------------------------------------------------------------


def _joint_modules(
    estimator: BaseJointFusion, cases: pd.DataFrame, name: str
) -> Callable[[int, bool], nn.Module]:
    backbone, frozen = estimator.image_network(name)
    inputs = estimator.encode_inputs(cases)
    trunk = nn.Identity() if frozen is None else copy.deepcopy(frozen)
    network = copy.deepcopy(estimator.network_)
    finish = _finisher(estimator)

    def module_for(i: int, differentiable: bool) -> nn.Module:
        others, present = inputs.fetch(np.array([i]))
        del others[name]
        return _JointScored(backbone, trunk, network, others, present, name, finish)

    return module_for


class _JointScored(nn.Module):
    """Module that maps the pixels of one modality to scores, given the others."""

    def __init__(
        self,
        backbone: Backbone,
        trunk: nn.Module,
        network: JointNetwork,
        others: dict[str, Tensor],
        present: Tensor,
        name: str,
        finish: Callable[[Tensor], Tensor],
    ) -> None:
        super().__init__()
        self.normalise = backbone.preprocessing.normalise
        self.trunk, self.network = trunk, network
        self.others, self.present = others, present
        self.name, self.finish = name, finish
        self.roots = [trunk, network.encoders[f"x_{name}"].backbone]

    def forward(self, pixels: Tensor) -> Tensor:
        n = len(pixels)
        inputs = {
            key: part.expand(n, *part.shape[1:]) for key, part in self.others.items()
        }
        inputs[self.name] = self.trunk(self.normalise(pixels))
        outputs = self.network(inputs, self.present.expand(n, -1))
        return self.finish(outputs.double())


def _finisher(estimator: BaseJointFusion) -> Callable[[Tensor], Tensor]:
    """Return the map from network outputs to log-odds, numbers or a risk."""
    if estimator.target_.kind == "classes":
        return class_margins_of_logits
    return estimator.score_outputs
