"""Transformer that computes radiomics features of an image column.

Huang et al. (2020) describe features from image-analysis software as an input of
fusion models. No network is needed.
"""

from __future__ import annotations

from typing import Any, Self

import numpy as np
import pandas as pd
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils.validation import check_is_fitted

from skfusion._dependencies import require
from skfusion._fitting.state import undone_on_failure
from skfusion._validation import check_number, check_option
from skfusion.exceptions import DataWarning, warn_user
from skfusion.image.cells.column import ImageColumn, as_cells, check_cells
from skfusion.image.cells.volumes import select_slices
from skfusion.image.radiomics import features as compute
from skfusion.image.radiomics.masks import read_mask
from skfusion.image.reading.files import ImageReadError, is_missing
from skfusion.image.reading.intensity import LUMA, as_floats, check_intensity
from skfusion.image.reading.read import MedicalImage, ReadOptions, read_image

__all__ = ["RadiomicsEncoder"]


LENGTHS = ("pixel", "mm")


class RadiomicsEncoder(TransformerMixin, BaseEstimator):
    """Transformer from images to features of intensity, texture and shape.

    Parameters
    ----------
    features : tuple of str, default=("first_order", "texture", "shape")
        Groups of features: ``"first_order"`` (mean, deviations, percentiles, skewness,
        kurtosis, entropy ...), ``"texture"`` (grey-level co-occurrence, local binary
        patterns, orientations of gradients), ``"shape"`` (area, perimeter, axes ...)
        and ``"colour"``. ``"shape"`` is omitted without a column of masks.
    n_levels : int, default=32
        Grey levels of equal width, between the smallest and the largest value of each
        region, for entropy and co-occurrence.
    length : {"pixel", "mm"}, default="pixel"
        Unit of length of the shape features. ``"mm"`` requires images with a spacing.
    scaling : str, default="none"
        As in `skfusion.read_image`. By default, values stay in their own units, e.g.
        Hounsfield units.
    window : str, (centre, width) or None, default=None
        As in `skfusion.read_image`. A window requires ``scaling="auto"``.
    read_params : dict or None, default=None
        Further arguments of `skfusion.read_image`: ``"max_pixels"``, ``"nan"`` and
        ``"volume_index"``.
    n_jobs : int or None, default=None
        Number of threads. None means 1 unless in a `joblib.parallel_config` context.
    on_error : {"raise", "missing"}, default="raise"
        ``"missing"`` treats unreadable images, and images whose mask is empty or of
        another size, as missing. A warning gives their number.

    Attributes
    ----------
    feature_units_ : dict from str to str
        Unit of each feature: ``"intensity"`` (the unit of the image values),
        ``"pixel"``, ``"mm^2"``, ``"bit"``, ... ``"1"`` means dimensionless.
    n_features_in_ : int
        Number of columns seen in `fit`: 1, or 2 with masks.
    feature_names_in_ : ndarray of str
        Labels of the columns seen in `fit`, if they were strings.

    See Also
    --------
    skfusion.ImageEmbedder : Embeddings of a pretrained network.

    Notes
    -----
    Missing images give rows of NaN. Images without a mask have NaN shape features, and
    their other features are computed from the whole image. Colour images are converted
    to grey (ITU-R BT.601). For a volume, the slice with the largest mask is used, or
    without a mask the slice with the largest bright area.

    Texture features depend on the pixel size. Resample the images to a common spacing
    first if the spacing varies.

    On the digital phantom of the Image Biomarker Standardisation Initiative, the
    first-order features and the co-occurrence features (``glcm_...``, "2D, averaged")
    have the published values, with ``n_levels=6``. The perimeter follows Crofton's
    formula, also for pixels that are not square.

    References
    ----------
    A. Zwanenburg et al., "The Image Biomarker Standardization Initiative", Radiology
    2020; 295:328-338.

    Examples
    --------
    >>> import numpy as np
    >>> from skfusion.image import RadiomicsEncoder
    >>> images = list(np.random.default_rng(0).integers(0, 255, (3, 40, 50), "uint8"))
    >>> encoder = RadiomicsEncoder(features=("first_order",)).fit(images)
    >>> encoder.transform(images).shape
    (3, 15)
    >>> encoder.feature_units_["entropy"]
    'bit'
    """

    __module__ = "skfusion.image"

    def __init__(
        self,
        features: tuple[str, ...] = ("first_order", "texture", "shape"),
        *,
        n_levels: int = 32,
        length: str = "pixel",
        scaling: str = "none",
        window: str | tuple[float, float] | None = None,
        read_params: dict[str, Any] | None = None,
        n_jobs: int | None = None,
        on_error: str = "raise",
    ) -> None:
        self.features = features
        self.n_levels = n_levels
        self.length = length
        self.scaling = scaling
        self.window = window
        self.read_params = read_params
        self.n_jobs = n_jobs
        self.on_error = on_error

    @undone_on_failure
    def fit(self, X: Any, y: Any = None) -> Self:
        """Check the parameters and the types of the cells, without reading images.

        Parameters
        ----------
        X : one or two columns of n images
            The images, and optionally their masks. A mask is an image of the same
            height and width whose positive values mark the region. Its stored values
            count: palette indices, and DICOM values before rescale. One column may be
            a Series or a list. Two columns are a frame or an array of objects.
        y : None
            Ignored. Present for API consistency.

        Returns
        -------
        self
            The fitted encoder.

        Raises
        ------
        ValueError
            If a parameter is invalid, `X` has another number of columns, or `X`
            contains no image.
        TypeError
            If a cell has a type that cannot contain an image.
        """
        self._check_parameters()
        require("skimage", "radiomics")
        columns = _columns(X)
        for cells, name in columns:
            check_cells(cells, name, "RadiomicsEncoder")
        groups = self._groups(len(columns) == 2)
        self.n_features_in_ = len(columns)
        names = [name for _, name in columns]
        if all(isinstance(name, str) for name in names):
            self.feature_names_in_ = np.array(names, dtype=object)
        elif hasattr(self, "feature_names_in_"):
            del self.feature_names_in_
        self.feature_units_ = compute.names_and_units(groups, self.length)
        return self

    def transform(self, X: Any) -> np.ndarray:
        """Compute the features of each image.

        Parameters
        ----------
        X : one or two columns of n images
            As in `fit`.

        Returns
        -------
        ndarray of shape (n, n_features), float64
            NaN for missing images.

        Raises
        ------
        ImageReadError
            If ``on_error="raise"`` and an image or a mask cannot be read, a mask is
            empty, of another size or at another position in the patient, or a required
            spacing is unknown.
        ValueError
            If `X` has another number of columns than in `fit`.

        Warns
        -----
        DataWarning
            If images have no mask although a column of masks is given, if a mask was
            compressed with loss, or if its background is not 0.
        """
        check_is_fitted(self, "feature_units_")
        columns = _columns(X)
        if len(columns) != self.n_features_in_:
            raise ValueError(
                f"RadiomicsEncoder: got {len(columns)} columns, expected "
                f"{self.n_features_in_} as in fit."
            )
        cells, name = columns[0]
        masks = columns[1][0] if len(columns) == 2 else [None] * len(cells)
        images = ImageColumn(cells, name, self.on_error)
        groups = self._groups(len(columns) == 2)
        values = np.full((len(cells), len(self.feature_units_)), np.nan)

        def describe(row: int) -> list[float]:
            found = self._describe(cells[row], masks[row], groups)
            return [found[name] for name in self.feature_units_]

        rows = images.present_rows()
        if len(columns) == 2:
            _warn_unmasked(sum(is_missing(masks[row]) for row in rows), columns[1][1])
        for row, found in images.read_ahead(
            describe, rows, lambda row: [row], self.n_jobs, 32
        ):
            values[row] = found
        images.warn()
        return values

    def get_feature_names_out(self, input_features: Any = None) -> np.ndarray:
        """Return the names of the output features.

        Parameters
        ----------
        input_features : None
            Ignored. Present for API consistency.

        Returns
        -------
        ndarray of str objects
            ``"mean"``, ``"glcm_contrast"``, ``"area"``, ...
        """
        check_is_fitted(self, "feature_units_")
        return np.array(list(self.feature_units_), dtype=object)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array = False
        tags.input_tags.three_d_array = True
        tags.input_tags.string = True
        tags.input_tags.allow_nan = True
        tags.transformer_tags.preserves_dtype = []
        return tags

    def _describe(
        self, cell: Any, mask: Any, groups: tuple[str, ...]
    ) -> dict[str, float]:
        options = ReadOptions.from_params(self.read_params, "RadiomicsEncoder")
        image = read_image(
            cell, scaling=self.scaling, window=self.window, **vars(options)
        )
        marked = None
        if not is_missing(mask):
            marked = read_mask(mask, image, max_pixels=options.max_pixels)
        pixels, region = _plane(image, marked)
        grey = pixels if pixels.ndim == 2 else pixels @ np.array(LUMA, np.float32)
        found: dict[str, float] = {}
        for group in groups:
            if group == "first_order":
                found |= compute.first_order(grey[region], self.n_levels)
            elif group == "texture":
                found |= compute.texture(grey, region, self.n_levels)
            elif group == "colour":
                found |= compute.colour(pixels, region)
            elif marked is None:
                found |= dict.fromkeys(compute.GROUPS["shape"], np.nan)
            else:
                found |= compute.shape(region, self._spacing(image))
        return found

    def _spacing(self, image: MedicalImage) -> tuple[float, float]:
        if self.length == "pixel":
            return 1.0, 1.0
        if image.spacing is None:
            raise ImageReadError(
                "The image has no pixel spacing, which length='mm' requires. Use "
                "length='pixel'."
            )
        return image.spacing[-2], image.spacing[-1]

    def _groups(self, has_masks: bool) -> tuple[str, ...]:
        return tuple(g for g in self.features if g != "shape" or has_masks)

    def _check_parameters(self) -> None:
        known = tuple(compute.GROUPS)
        groups: Any = self.features
        wrong = [group for group in groups if group not in known]
        if isinstance(groups, str) or wrong or len(groups) == 0:
            raise ValueError(
                f"RadiomicsEncoder: features must be some of {known}, got "
                f"{self.features!r}."
            )
        check_number(
            self.n_levels, "n_levels", "RadiomicsEncoder", low=2, high=256, integer=True
        )
        for name, allowed in (("length", LENGTHS), ("on_error", ("raise", "missing"))):
            check_option(getattr(self, name), name, allowed, "RadiomicsEncoder")
        ReadOptions.from_params(self.read_params, "RadiomicsEncoder")
        try:
            check_intensity(self.window, self.scaling)
        except ValueError as error:
            raise ValueError(f"RadiomicsEncoder: {error}") from None


def _columns(X: Any) -> list[tuple[list[Any], object]]:
    """Split one or two columns into their cells and labels."""
    if isinstance(X, np.ndarray) and X.dtype == object and X.ndim == 2:
        X = pd.DataFrame(X)
    shape: Any = getattr(X, "shape", (0,))
    if hasattr(X, "columns") and shape[1] == 2:
        return [(list(X[name]), name) for name in X.columns]
    return [as_cells(X, "RadiomicsEncoder")]


def _plane(
    image: MedicalImage, mask: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray]:
    """Return the grey or colour plane of an image, and the mask of its region."""
    pixels = as_floats(image.array)
    if image.axes[0] != "Y":
        if mask is None:
            number = int(select_slices(image, 1, "largest")[0])
        else:
            number = int(mask.sum(axis=(1, 2)).argmax())
        pixels, mask = pixels[number], None if mask is None else mask[number]
    return pixels, np.ones(pixels.shape[:2], dtype=bool) if mask is None else mask


def _warn_unmasked(n_unmasked: int, name: object) -> None:
    if n_unmasked:
        warn_user(
            f"RadiomicsEncoder: {n_unmasked} images have no mask in column {name!r}. "
            "Their features are computed from the whole image, and their shape "
            "features are NaN.",
            DataWarning,
        )
