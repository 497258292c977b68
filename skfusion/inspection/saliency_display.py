"""Pictures of saliency: each map on its image, as a reader looks at it.

Read next: `skfusion.inspection.saliency`, which computes the maps.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from scipy.ndimage import gaussian_filter

from skfusion._dependencies import require
from skfusion.inspection.marks import AGAINST, FOR, INK

if TYPE_CHECKING:
    from skfusion.inspection.saliency import ImageSaliency

__all__ = ["SaliencyDisplay"]

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
    >>> from skfusion.inspection.saliency_display import SaliencyDisplay
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
        from skfusion.inspection.saliency import explain_images

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
