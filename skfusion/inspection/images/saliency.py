"""Saliency maps of images by Grad-CAM, integrated gradients or occlusion.

Each map attributes the prediction of a fitted model to the regions of one image.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import torch
from scipy.ndimage import gaussian_filter
from torch import Tensor
from torch.nn.functional import interpolate

from skfusion._dependencies import require
from skfusion._figures.texts import (
    format_number,
    plain_texts,
    wrap_name,
    wrap_sentence,
)
from skfusion._validation import check_number, check_option, is_number
from skfusion.exceptions import warn_user
from skfusion.image.cells.bags import unpack
from skfusion.image.networks.preprocessing import Preprocessing, VolumePreprocessing
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
# Tolerated error of the sum of integrated gradients, relative to the difference of the
# scores, or to SMALL_DIFFERENCE if that difference is smaller.
TOLERANCE = 0.1
SMALL_DIFFERENCE = 0.5


@dataclass(frozen=True, repr=False)
class ImageSaliency:
    """Saliency maps of the contribution of image regions to a score.

    Attributes
    ----------
    values : ndarray of float64 of shape (n, size, size)
        One map per image, at the input size of the network. A value is positive if the
        region increases the score of the target. Maps of integrated gradients sum to
        ``scores - base_scores``. Maps of occlusion are the decrease of the score when
        the region is covered. Maps of Grad-CAM have no unit and are 0 for evidence
        against the target.
    images : list of n ndarrays of float32 of shape (H, W) or (H, W, 3)
        The original images.
    rows : ndarray of int of shape (n,)
        Row positions in the cohort. Absent and unreadable images are left out.
    targets : list of n
        The class, label number or output that is explained.
    scores, base_scores : ndarray of float64 of shape (n,)
        Scores of the image and of the baseline in its place, as `output` says.
    method : str
        Method that computed the maps.
    output : str
        What the scores are: ``"log-odds"`` of one of two classes, or of a label,
        ``"centred log-probability"`` of one of several classes (the logarithm of its
        probability minus the mean of the logarithms over the classes),
        ``"decision function"`` of a classifier without probabilities,
        ``"prediction (unit of y)"``, or the scale of a risk.
    preprocessing : Preprocessing or None
        How the images were resized, cropped and padded. None is the whole image,
        resized.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.linear_model import LogisticRegression
    >>> from sklearn.pipeline import make_pipeline
    >>> from skfusion import ImageEmbedder, explain_images
    >>> images = list(np.random.default_rng(0).integers(0, 255, (4, 40, 60), np.uint8))
    >>> model = make_pipeline(
    ...     ImageEmbedder(input_size=64, store=None), LogisticRegression()
    ... ).fit(images, [0, 1] * 2)
    >>> saliency = explain_images(model, images[:1])
    >>> saliency.values.shape, saliency.method
    ((1, 64, 64), 'grad_cam')
    """

    __module__ = "skfusion.inspection"

    values: np.ndarray
    images: list[np.ndarray]
    rows: np.ndarray
    targets: list[Any]
    scores: np.ndarray
    base_scores: np.ndarray
    method: str
    output: str
    preprocessing: Preprocessing | VolumePreprocessing | None = None

    def __repr__(self) -> str:
        return f"ImageSaliency({len(self.images)} images, {self.method})"

    def map_on_image(self, i: int) -> np.ndarray:
        """Return a map, laid on its original image.

        Parameters
        ----------
        i : int
            Position of the image in `images`.

        Returns
        -------
        ndarray of float64 of shape (H, W)
            The resized map, 0 where the image was cropped away.
        """
        height, width = self.images[i].shape[:2]
        coarse = torch.from_numpy(self.values[i])
        if self.preprocessing is not None:
            return self.preprocessing.map_on_image(coarse, (height, width)).numpy()
        fine = interpolate(coarse[None, None], (height, width), mode="bilinear")
        return fine[0, 0].numpy()

    def plot(self, **options: Any) -> Any:
        """Plot the maps on the images.

        Parameters
        ----------
        **options : any
            See `skfusion.inspection.images.saliency.SaliencyDisplay.plot`.

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
    """Compute saliency maps of the images of a fitted model.

    The other modalities keep the values of each case.

    Parameters
    ----------
    estimator : estimator
        A fitted joint fusion, an early or late fusion with an `ImageEmbedder`, or a
        `Pipeline` that begins with an `ImageEmbedder`. For a late fusion, the member
        of the modality is explained.
    X : DataFrame of shape (n_samples, n_columns), or column of images
        The cases to explain. They are processed one by one, so use only a few.
    modality : str or None, default=None
        Name of the image modality. None if the model has only one.
    method : {"grad_cam", "integrated_gradients", "occlusion"}, default="grad_cam"
        Method that computes the maps. Grad-CAM and integrated gradients need gradients:
        a joint fusion, or a model that is linear in the embedding. Occlusion supports
        all models.
    target : class label, int or None, default=None
        The class that is explained, or the number of a label or output. None selects
        the second of two classes, the predicted one of more classes, and otherwise
        output 0. The score of one of two classes is its log-odds, and that of one of
        several is its log-probability minus the mean of the log-probabilities of all
        classes, which is linear in the outputs of a network.
    baseline : {"mean", "black"} or float, default="mean"
        Uninformative pixels in integrated gradients and occlusion: the mean of each
        channel of the image, 0, or an intensity.
    layer : str or None, default=None
        Name of the layer of the backbone whose output Grad-CAM uses. None selects the
        last feature map.
    n_steps : int, default=50
        Number of steps of integrated gradients.
    window, stride : int or None, default=None
        Side length and step of the occluding square, in pixels of the network's input.
        None is one eighth of the input for `window`, and half of `window` for `stride`.
    batch_size : int, default=8
        Number of modified images per forward pass.

    Returns
    -------
    ImageSaliency

    Raises
    ------
    ValueError
        If a parameter is invalid, no row has a readable image, or the model has no
        gradient.
    TypeError
        If the model does not read images with an `ImageEmbedder`.

    Notes
    -----
    A map shows which regions influence the prediction. It does not show whether that
    influence is justified, and it is not a segmentation. Integrated gradients and
    occlusion assign no value to regions that are equal to the baseline.

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
    >>> from skfusion import explain_images
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
    cells = unpack(found.cells).images  # read_pixels checks that each has one image
    return ImageSaliency(
        values=values,
        images=[as_floats(reading.planes(cells[i])[0].array) for i in numbers],
        rows=found.rows[numbers],
        targets=targets,
        scores=both[:, 0],
        base_scores=both[:, 1],
        method=method,
        output=found.scale,
        preprocessing=found.embedder.build().preprocessing,
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
        if value is not None:
            check_number(value, name, "explain_images", low=1, integer=True)
    if window is not None and stride is not None and stride > window:
        raise ValueError(
            f"explain_images: stride={stride} is larger than window={window}, so parts "
            "of the image would never be covered. Use a smaller stride."
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
                f"explain_images: target={target!r} is not one of the outputs "
                f"{outputs}."
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
        warn_user(
            f"explain_images: {(wrong > TOLERANCE).sum()} of {len(wrong)} maps of "
            f"integrated gradients deviate from the difference of the scores by more "
            f"than {TOLERANCE:.0%} (at most {wrong.max():.0%}). Raise "
            f"n_steps={n_steps}.",
            UserWarning,
        )


# Contour levels, as fractions of the largest absolute value of a map.
LEVELS = (0.3, 0.7)
# Integrated gradients are noisy, so their maps are blurred. The standard deviation is a
# fraction of the longer side of the image.
BLUR = 0.02
TITLE_SIZE, TITLE_WIDTH = 10, 2.9  # points, inches
# Scores that are those of a class or label, which the title names.
OF_A_TARGET = ("log-odds", "centred log-probability", "decision function")


class SaliencyDisplay:
    """Visualization of saliency maps on their images.

    Use `from_saliency` or `from_estimator` to create a display.

    Parameters
    ----------
    saliency : ImageSaliency
        The saliency maps to plot.

    Attributes
    ----------
    axes_ : ndarray of matplotlib Axes of shape (n, 2)
        Axes of each image without and with its map.
    figure_ : matplotlib Figure
        Figure of the axes.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.linear_model import LogisticRegression
    >>> from sklearn.pipeline import make_pipeline
    >>> from skfusion import ImageEmbedder
    >>> from skfusion.inspection import SaliencyDisplay
    >>> rng = np.random.default_rng(0)
    >>> images = list(rng.integers(0, 255, (8, 40, 60), dtype=np.uint8))
    >>> model = make_pipeline(
    ...     ImageEmbedder(input_size=64, store=None), LogisticRegression()
    ... ).fit(images, [0, 1] * 4)
    >>> SaliencyDisplay.from_estimator(model, images[:2]).axes_.shape
    (2, 2)
    """

    __module__ = "skfusion.inspection"

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
        """Explain images and plot their saliency maps.

        Parameters
        ----------
        estimator : estimator
            A fitted estimator, see `skfusion.explain_images`.
        X : DataFrame of shape (n_samples, n_columns), or column of images
            The cases to explain.
        images, axes
            See `plot`.
        **parameters : any
            Parameters of `skfusion.explain_images`, such as ``method``.

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
        """Plot saliency maps.

        Parameters
        ----------
        saliency : ImageSaliency
            Result of `skfusion.explain_images`.
        images, axes
            See `plot`.

        Returns
        -------
        SaliencyDisplay
        """
        return cls(saliency).plot(images=images, axes=axes)

    def plot(self, *, images: Sequence[int] | None = None, axes: Any = None) -> Self:
        """Plot each image without and with its map.

        Positive values are blue with solid contours, and negative values are vermilion
        with dashed contours. The opacity is proportional to the absolute value.
        Contours are drawn at 0.3 and 0.7 of the largest absolute value of the map. Maps
        of integrated gradients are blurred (a Gaussian of 2 % of the longer side).

        Parameters
        ----------
        images : sequence of int or None, default=None
            Positions of the images to plot. None selects the first four.
        axes : array of matplotlib Axes of shape (n, 2) or None, default=None
            Axes to plot on. None creates a new figure.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            If `axes` does not contain two axes per image.
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
                f"axes must have two axes per image, got shape {axes.shape}, expected "
                f"{(len(numbers), 2)}."
            )
        self.axes_, self.figure_ = axes, axes[0, 0].figure
        for (left, right), i in zip(axes, numbers, strict=True):
            image = _in_unit_range(found.images[i])
            left.imshow(image, cmap="gray", vmin=0, vmax=1)
            left.set_title(f"row {found.rows[i]}", fontsize=TITLE_SIZE, color=INK)
            right.imshow(_in_grey(image), cmap="gray", vmin=0, vmax=1)
            self._draw_map(right, i)
            right.set_title(self._title(i), fontsize=TITLE_SIZE, color=INK)
            for axis in (left, right):
                axis.set_axis_off()
                plain_texts(axis)
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
                # A dark outline makes white lines visible on bright images.
                lines.set(path_effects=[withStroke(linewidth=2.2, foreground=INK)])

    def _title(self, i: int) -> str:
        found = self.saliency
        method = found.method.replace("_", " ").replace("grad cam", "Grad-CAM")
        what = found.output
        if what in OF_A_TARGET:
            what += f" of {wrap_name(str(found.targets[i]), 40)}"
        score = f"{what}: {format_number(found.scores[i], 2)}"
        return f"{method}\n{wrap_sentence(score, TITLE_WIDTH, TITLE_SIZE)}"


def _in_unit_range(image: np.ndarray) -> np.ndarray:
    """Scale intensities that are outside [0, 1] to this range."""
    low, high = float(image.min()), float(image.max())
    if low >= 0 and high <= 1:
        return image
    return (image - low) / (high - low if high > low else 1.0)


def _in_grey(image: np.ndarray) -> np.ndarray:
    # The colours of a photo could be confused with the colours of the map.
    return image if image.ndim == 2 else image @ np.array([0.299, 0.587, 0.114])
