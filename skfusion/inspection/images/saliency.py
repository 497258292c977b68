"""Saliency: which regions of an image a prediction rests on.

A fitted model and cases in, one map per image out: Grad-CAM, integrated gradients or
occlusion.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import torch
from scipy.ndimage import gaussian_filter
from torch import Tensor
from torch.nn.functional import interpolate

from skfusion._dependencies import require
from skfusion._validation import check_option, is_number
from skfusion.image.cells.bags import unpack
from skfusion.image.reading.intensity import as_floats
from skfusion.inspection.images.attribution import (
    grad_cam,
    integrated_gradients,
    occlusion,
)
from skfusion.inspection.images.score_function import image_scores
from skfusion.inspection.plots.drawing import AGAINST, FOR, INK

__all__ = ["ImageSaliency", "SaliencyDisplay", "explain_images"]


METHODS = ("grad_cam", "integrated_gradients", "occlusion")
BASELINES = ("mean", "black")
TOLERANCE = 0.1  # of the difference that integrated gradients should add up to,
SMALL_DIFFERENCE = 0.5  # or of this, where that is less


@dataclass(frozen=True)
class ImageSaliency:
    """Maps of what regions of images add to a score.

    Attributes
    ----------
    values : ndarray of float64 of shape (n, size, size)
        One map per image, at the size that the network sees. Positive where the region
        speaks for the target. Those of integrated gradients add up to ``scores -
        base_scores``; those of occlusion are the fall of the score when the place is
        covered; those of Grad-CAM have no unit and are 0 where evidence is against.
    images : list of n ndarrays of float32 of shape (H, W) or (H, W, 3)
        The images as they were read.
    rows : ndarray of int of shape (n,)
        Row positions in the cohort; images that are absent or unreadable are left out.
    targets : list of n
        The class, label number or output that was explained.
    scores, base_scores : ndarray of float64 of shape (n,)
        What the model says to the image, and to the baseline in its place: log-odds of
        the class or label, a number or a risk.
    method : str
        How it was computed.
    """

    values: np.ndarray
    images: list[np.ndarray]
    rows: np.ndarray
    targets: list[Any]
    scores: np.ndarray
    base_scores: np.ndarray
    method: str

    def map_on_image(self, i: int) -> np.ndarray:
        """Return a map at the size of its image, as a reader looks at it.

        Parameters
        ----------
        i : int
            Number of the image.

        Returns
        -------
        ndarray of float64 of shape (H, W)
            The network sees the whole image, only resized, so the map is resized back.
        """
        size = self.images[i].shape[:2]
        coarse = torch.from_numpy(self.values[i])[None, None]
        return interpolate(coarse, size, mode="bilinear")[0, 0].numpy()

    def plot(self, **options: Any) -> Any:
        """Draw, see `skfusion.inspection.images.saliency.SaliencyDisplay.plot`.

        Returns
        -------
        SaliencyDisplay
        """
        return SaliencyDisplay(self).plot(**options)


def explain_images(
    estimator: Any,
    X: Any,
    *,
    modality: str | None = None,
    method: str = "grad_cam",
    target: Any = None,
    baseline: Any = "mean",
    layer: str | None = None,
    n_steps: int = 50,
    window: int | None = None,
    stride: int | None = None,
    batch_size: int = 8,
) -> ImageSaliency:
    """Map what regions of each image a prediction rests on.

    The other modalities stay as they are in each case.

    Parameters
    ----------
    estimator : estimator
        A fitted joint net; an early or late fusion with an `ImageEmbedder`; or a
        `Pipeline` that begins with one. Of a late fusion the member is explained.
    X : DataFrame of shape (n_samples, n_columns), or column of images
        The cases: a handful, since each is looked at alone.
    modality : str or None, default=None
        The modality of images; None where there is one only.
    method : {"grad_cam", "integrated_gradients", "occlusion"}, default="grad_cam"
        Gradients exist for joint nets, and where what follows the embedding is linear
        in it; occlusion needs none.
    target : class label, int or None, default=None
        The class whose log-odds are explained, or the number of a label or output.
        None is the second of two classes, else the predicted class, else output 0.
    baseline : {"mean", "black"} or float, default="mean"
        What stands for "nothing there" in integrated gradients and occlusion: the
        image's own mean of each channel, 0, or an intensity.
    layer : str or None, default=None
        Name of the layer of the backbone whose output Grad-CAM weighs; None is the last
        feature map.
    n_steps : int, default=50
        Steps of integrated gradients.
    window, stride : int or None, default=None
        Side and step of the square that occludes, in pixels of the network's input;
        None is an eighth of it, and half of the window.
    batch_size : int, default=8
        Changed images per pass.

    Returns
    -------
    ImageSaliency

    Raises
    ------
    ValueError
        If a parameter is invalid, no row has the image, or the model has no gradient.
    TypeError
        If the model looks at no image.

    Notes
    -----
    A map says where the model looked, not whether it was right to, and is no
    segmentation. Integrated gradients and occlusion give nothing to what looks like
    the baseline.

    References
    ----------
    .. [1] Selvaraju R R et al. (2017). Grad-CAM: visual explanations from deep
       networks via gradient-based localization. ICCV.
    .. [2] Sundararajan M, Taly A, Yan Q (2017). Axiomatic attribution for deep
       networks. ICML.
    .. [3] Zeiler M D, Fergus R (2014). Visualizing and understanding convolutional
       networks. ECCV.

    Examples
    --------
    >>> import numpy as np
    >>> import pandas as pd
    >>> from sklearn.linear_model import LogisticRegression
    >>> from sklearn.pipeline import make_pipeline
    >>> from skfusion import ImageEmbedder
    >>> from skfusion.inspection.images.saliency import explain_images
    >>> rng = np.random.default_rng(0)
    >>> X = pd.Series(list(rng.integers(0, 255, (8, 40, 60), dtype=np.uint8)))
    >>> model = make_pipeline(
    ...     ImageEmbedder(input_size=64, store=None), LogisticRegression()
    ... ).fit(X, [0, 1] * 4)
    >>> found = explain_images(model, X[:2])
    >>> found.values.shape, found.map_on_image(0).shape
    ((2, 64, 64), (40, 60))
    """
    _check_parameters(method, baseline, n_steps, window, stride, batch_size)
    found = image_scores(estimator, X, modality)
    file, readable = found.embedder.read_pixels(found.cells)
    numbers = np.flatnonzero(readable)
    if len(numbers) == 0:
        raise ValueError("explain_images: none of the rows has a readable image.")
    maps, targets, scores = [], [], []
    for i in numbers:
        module = found.module_for(int(i), method != "occlusion")
        pixels = file.read(np.array([i]))
        empty = _baseline_of(pixels, baseline)
        with torch.no_grad():
            answers = module(torch.cat([pixels, empty]))  # (2, C)
        output = _choose_output(target, found.outputs, found.decides, answers[0])
        scores.append(answers[:, output].numpy())
        targets.append(found.outputs[output])
        if method == "grad_cam":
            maps.append(grad_cam(module, pixels, output, layer))
        elif method == "integrated_gradients":
            maps.append(
                integrated_gradients(module, pixels, empty, output, n_steps, batch_size)
            )
        else:
            width = window or max(1, pixels.shape[-1] // 8)
            step = stride or max(1, width // 2)
            maps.append(
                occlusion(module, pixels, empty, output, width, step, batch_size)
            )
    both, values = np.array(scores), np.stack(maps).astype(np.float64)
    if method == "integrated_gradients":
        _warn_incomplete(values, both, n_steps)
    reading = found.embedder.reading
    cells = unpack(found.cells).images  # one in each, as read_pixels has checked
    return ImageSaliency(
        values=values,
        images=[as_floats(reading.planes(cells[i])[0].array) for i in numbers],
        rows=found.rows[numbers],
        targets=targets,
        scores=both[:, 0],
        base_scores=both[:, 1],
        method=method,
    )


def _check_parameters(
    method: object, baseline: Any, n_steps: int, window: Any, stride: Any, size: int
) -> None:
    check_option(method, "method", METHODS, "explain_images")
    if not is_number(baseline):
        check_option(baseline, "baseline", BASELINES, "explain_images", also="a number")
    for name, value in (
        ("n_steps", n_steps),
        ("window", window),
        ("stride", stride),
        ("batch_size", size),
    ):
        if value is not None and not (is_number(value) and value >= 1):
            raise ValueError(
                f"explain_images: {name} must be a positive integer, got {value!r}."
            )
    if window is not None and stride is not None and stride > window:
        raise ValueError(
            f"explain_images: stride={stride} is more than window={window}, so that "
            "parts of the image would never be covered. Take a smaller stride."
        )


def _baseline_of(pixels: Tensor, baseline: Any) -> Tensor:
    if baseline == "mean":
        return pixels.mean(dim=(2, 3), keepdim=True).expand_as(pixels)
    level = 0.0 if baseline == "black" else float(baseline)
    return torch.full_like(pixels, level)


def _choose_output(
    target: Any, outputs: list[Any], decides: bool, answers: Tensor
) -> int:
    if target is not None:
        if target not in outputs:
            raise ValueError(
                f"explain_images: target={target!r} is none of the outputs {outputs}."
            )
        return outputs.index(target)
    if not decides:
        return 0
    return 1 if len(outputs) == 2 else int(answers.argmax())


def _warn_incomplete(values: np.ndarray, scores: np.ndarray, n_steps: int) -> None:
    wanted = scores[:, 0] - scores[:, 1]
    unit = np.maximum(np.abs(wanted), SMALL_DIFFERENCE)
    wrong = np.abs(values.sum(axis=(1, 2)) - wanted) / unit
    if (wrong > TOLERANCE).any():
        warnings.warn(
            f"explain_images: {(wrong > TOLERANCE).sum()} of {len(wrong)} maps of "
            f"integrated gradients miss the difference of the scores by more than "
            f"{TOLERANCE:.0%} (by {wrong.max():.0%} at most). Raise n_steps={n_steps}.",
            UserWarning,
            stacklevel=3,
        )


# Share of the greatest value at which lines are drawn around a region
LEVELS = (0.3, 0.7)
# Integrated gradients flicker from pixel to pixel; share of the image's longer side
BLUR = 0.02


class SaliencyDisplay:
    """Images, and on them what regions a prediction rests on.

    Use `from_saliency` or `from_estimator`.

    Parameters
    ----------
    saliency : ImageSaliency
        What is drawn.

    Attributes
    ----------
    axes_ : ndarray of matplotlib Axes of shape (n, 2)
        Each image as it is, and with its map.
    figure_ : matplotlib Figure
        Their figure.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.linear_model import LogisticRegression
    >>> from sklearn.pipeline import make_pipeline
    >>> from skfusion import ImageEmbedder
    >>> from skfusion.inspection.images.saliency import SaliencyDisplay
    >>> rng = np.random.default_rng(0)
    >>> images = list(rng.integers(0, 255, (8, 40, 60), dtype=np.uint8))
    >>> model = make_pipeline(
    ...     ImageEmbedder(input_size=64, store=None), LogisticRegression()
    ... ).fit(images, [0, 1] * 4)
    >>> SaliencyDisplay.from_estimator(model, images[:2]).axes_.shape
    (2, 2)
    """

    def __init__(self, saliency: ImageSaliency) -> None:
        self.saliency = saliency

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        X: Any,
        *,
        images: Sequence[int] | None = None,
        axes: Any = None,
        **parameters: Any,
    ) -> Self:
        """Explain images and draw what was found.

        Parameters
        ----------
        estimator : estimator
            Fitted, see `skfusion.explain_images`.
        X : DataFrame of shape (n_samples, n_columns), or column of images
            The cases.
        images, axes
            As in `plot`.
        **parameters : any
            Those of `skfusion.explain_images`, such as ``method``.

        Returns
        -------
        SaliencyDisplay
        """
        saliency = explain_images(estimator, X, **parameters)
        return cls(saliency).plot(images=images, axes=axes)

    @classmethod
    def from_saliency(
        cls,
        saliency: ImageSaliency,
        *,
        images: Sequence[int] | None = None,
        axes: Any = None,
    ) -> Self:
        """Draw saliency.

        Parameters
        ----------
        saliency : ImageSaliency
            From `skfusion.explain_images`.
        images, axes
            As in `plot`.

        Returns
        -------
        SaliencyDisplay
        """
        return cls(saliency).plot(images=images, axes=axes)

    def plot(self, *, images: Sequence[int] | None = None, axes: Any = None) -> Self:
        """Draw each image twice: as it is, and with its map.

        Blue with solid lines speaks for the target, vermilion with dashed lines
        against it; the stronger, the less transparent. Lines are drawn at 0.3 and 0.7
        of the map's greatest value. Maps of integrated gradients are blurred for the
        picture (a Gaussian of 2 % of the longer side).

        Parameters
        ----------
        images : sequence of int or None, default=None
            Numbers of the images to draw; None is the first four.
        axes : array of matplotlib Axes of shape (n, 2) or None, default=None
            Where to draw; None makes a figure.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            If `axes` are not two for each image.
        ImportError
            If matplotlib is not installed.
        """
        pyplot = require("matplotlib.pyplot", "report")
        found = self.saliency
        numbers = list(range(min(4, len(found.values))) if images is None else images)
        if axes is None:
            shape = found.images[numbers[0]].shape
            size = (6.4, 0.2 + len(numbers) * (0.3 + 3.2 * shape[0] / shape[1]))
            _, axes = pyplot.subplots(
                len(numbers), 2, figsize=size, squeeze=False, layout="constrained"
            )
        axes = np.atleast_2d(axes)
        if axes.shape != (len(numbers), 2):
            raise ValueError(
                f"axes has the shape {axes.shape}, expected {(len(numbers), 2)}: two "
                "for each image."
            )
        self.axes_, self.figure_ = axes, axes[0, 0].figure
        for (left, right), i in zip(axes, numbers, strict=True):
            image = _in_unit_range(found.images[i])
            left.imshow(image, cmap="gray", vmin=0, vmax=1)
            left.set_title(f"row {found.rows[i]}", fontsize=10, color=INK)
            right.imshow(_in_grey(image), cmap="gray", vmin=0, vmax=1)
            self._draw_map(right, i)
            right.set_title(self._title(i), fontsize=10, color=INK)
            for axis in (left, right):
                axis.set_axis_off()
        return self

    def _draw_map(self, axis: Any, i: int) -> None:
        from matplotlib.colors import to_rgb
        from matplotlib.patheffects import withStroke

        values = self.saliency.map_on_image(i)
        if self.saliency.method == "integrated_gradients":
            values = gaussian_filter(values, BLUR * max(values.shape))
        largest = float(np.abs(values).max())
        if largest == 0:
            return
        strength = values / largest
        colours = np.where(strength[..., None] > 0, to_rgb(FOR), to_rgb(AGAINST))
        opacity = 0.65 * np.abs(strength)[..., None]
        axis.imshow(np.concatenate([colours, opacity], axis=-1))
        for part, style in ((strength, "solid"), (-strength, "dashed")):
            levels = [level for level in LEVELS if part.max() > level > part.min()]
            if levels:
                lines = axis.contour(
                    part, levels, colors="white", linestyles=style, linewidths=1.1
                )
                # seen on a bright image too
                lines.set(path_effects=[withStroke(linewidth=2.2, foreground=INK)])

    def _title(self, i: int) -> str:
        found = self.saliency
        method = found.method.replace("_", " ").replace("grad cam", "Grad-CAM")
        return f"{method}, target {found.targets[i]}, score {found.scores[i]:.2f}"


def _in_unit_range(image: np.ndarray) -> np.ndarray:
    """Bring intensities that were read as they are into [0, 1]."""
    low, high = float(image.min()), float(image.max())
    if low >= 0 and high <= 1:
        return image
    return (image - low) / (high - low if high > low else 1.0)


def _in_grey(image: np.ndarray) -> np.ndarray:
    # a map on a photo cannot be told from the photo's own colours
    return image if image.ndim == 2 else image @ np.array([0.299, 0.587, 0.114])
