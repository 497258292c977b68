"""Synthetic cohort of two modalities whose optimal scores are known.

The optimal scores of an image, EHR, late and joint model are computed in closed form
from the correlation of the modalities.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import norm
from sklearn.utils import Bunch, check_random_state

from skfusion._validation import check_number, check_option

__all__ = ["make_fusion_cohort"]

_OWNER = "make_fusion_cohort"
_N_IMAGE, _N_EHR = 40, 8
_N_CLASSES = 3  # of task="multiclass"
_METRICS = {"classification": "roc_auc", "multiclass": "accuracy", "regression": "r2"}
_GREY_PER_UNIT = 20  # as_images: grey levels for one standard deviation of noise
_TILES = (5, 8)  # as_images: rows and columns of tiles, one tile per feature
_TILE_PIXELS = 6

_DESCR = """\
Synthetic cohort of an image and an EHR modality with known best scores
=======================================================================
Both modalities contain signal about the outcome and, if `correlation` is above 0, a
shared nuisance. `truth` contains the optimal score of each kind of model on new rows,
computed in closed form. The rows are not patients.
"""


class _Design(NamedTuple):
    """Within-class mean shift and covariance of the 48 features."""

    shift: NDArray[np.float64]
    covariance: NDArray[np.float64]
    nuisance: NDArray[np.float64]


def make_fusion_cohort(
    n_samples: int = 1000,
    *,
    correlation: float = 0.0,
    task: Literal["classification", "multiclass", "regression"] = "classification",
    prevalence: float = 0.3,
    rows_per_patient: int = 1,
    patient_correlation: float = 0.5,
    missing_rate: float | Mapping[str, float] = 0.0,
    as_images: bool = False,
    random_state: int | np.random.RandomState | None = None,
) -> Bunch:
    r"""Generate an image and EHR cohort whose optimal scores are known.

    A row is :math:`x = \delta y + \tau z u + \varepsilon`. The outcome `y` shifts the
    features by :math:`\delta`. A nuisance `z`, independent of the outcome, shifts both
    modalities along `u`. :math:`\varepsilon` is independent noise. `z` and
    :math:`\varepsilon` are standard normal. The image has 40 features:
    :math:`\delta` is 0.35 on the first ten and 0.25 on the next ten, and `u` is
    :math:`1/\sqrt{10}` on the first ten. The EHR has 8 features: `u` is 1/2 on the
    first four and :math:`\delta` is 0.25 on the last four. The first four EHR features
    are therefore uninformative alone, but measure the nuisance in the image.

    With ``correlation=0`` the modalities are independent given the outcome, and late
    fusion is optimal. With a higher correlation, only a model of the features of both
    modalities can subtract the nuisance, and early or joint fusion is better.

    Parameters
    ----------
    n_samples : int, default=1000
        Number of rows.
    correlation : float, default=0.0
        Correlation, given the outcome, of the image and the EHR along the nuisance,
        :math:`r = \tau^2/(1 + \tau^2)`, in [0, 1). In terms of the variance ratio
        :math:`\rho = \tau^2/3` it is :math:`r = 3\rho/(1 + 3\rho)`.
    task : {"classification", "multiclass", "regression"}, default="classification"
        The outcome is 0 or 1 for ``"classification"``, 0, 1 or 2 with equal frequency
        for ``"multiclass"``, and standard normal for ``"regression"``.
    prevalence : float, default=0.3
        Probability of outcome 1, for ``task="classification"`` only.
    rows_per_patient : int, default=1
        Number of rows per patient, with one outcome per patient. The last patient can
        have fewer rows.
    patient_correlation : float, default=0.5
        Share of the variance of `z` and of the noise that is common to the rows of one
        patient, in [0, 1]. Above 0 the features identify the patient. The distribution
        of a single row, and therefore the truth for new patients, does not change.
    missing_rate : float or mapping, default=0.0
        Share of the rows without the modality: one number for both, or a mapping such
        as ``{"image": 0.3, "ehr": 0.1}``. The rows are drawn at random, each rate is
        met as exactly as the number of rows allows, and no row loses both.
    as_images : bool, default=False
        Whether to draw the image features as one grey image per row, in a column
        ``image``. The images are uint8 arrays of 30 x 48 pixels with one tile of 6 x 6
        per feature. Its grey level is ``128 + 20 x``, rounded and clipped to 0 to 255.
        A model of the tiles reaches nearly the scores in `truth`, but a network
        pretrained on photos has a much lower score.
    random_state : int, RandomState instance or None, default=None
        Seed of the random numbers.

    Returns
    -------
    sklearn.utils.Bunch
        With the fields

        - ``data``: DataFrame of n_samples rows: ``patient_id``, ``image_00`` to
          ``image_39``, or ``image``, and ``ehr_0`` to ``ehr_7``. A missing modality is
          NaN in all its columns (None in ``image``)
        - ``target``: ndarray of shape (n_samples,)
        - ``groups``: ndarray of patient ids
        - ``truth``: dict, the optimal score on complete new rows with the keys
          ``"image"`` and ``"ehr"`` (one modality alone), ``"late"`` (optimal
          combination of the optimal scores of the two modalities) and ``"joint"``
          (optimal model of all features)
        - ``truth_metric``: name of the scikit-learn scorer of `truth`, ``"roc_auc"``,
          ``"accuracy"`` or ``"r2"`` depending on the task
        - ``weights``: dict, an ndarray of shape (48,) for each key of `truth`: the
          weights of the features (image first) in the optimal linear score
        - ``image_columns``, ``ehr_columns``, ``group_column``, ``DESCR``,
          ``licence``, ``citation``

    Raises
    ------
    ValueError
        If a parameter is out of range, or the missing rates sum to more than 1.

    Notes
    -----
    With the within-class covariance :math:`\Sigma = I + \tau^2 u u^T`, the optimal
    score of a modality is its linear discriminant
    :math:`s_m = \delta_m^T \Sigma_{mm}^{-1} x_m`. Late fusion is the discriminant of
    :math:`(s_{image}, s_{ehr})`, joint fusion that of all features. A linear score
    with weights `b` has the separation
    :math:`d = (b^T \delta)^2 / (b^T \Sigma b)` and reaches

    - the AUROC :math:`\Phi(\sqrt{d/2})`,
    - with three equally frequent outcomes the accuracy
      :math:`(4 \Phi(\sqrt{d}/2) - 1)/3`,
    - with a standard normal outcome :math:`R^2 = d/(1 + d)`.

    References
    ----------
    The design follows Wang, Imaging-EHR simulation (ClinicalAIML), 2026. Fisher's
    discriminant and its AUROC: Su and Liu, Journal of the American Statistical
    Association 88:1350-1355, 1993.

    Examples
    --------
    >>> from skfusion.datasets import make_fusion_cohort
    >>> cohort = make_fusion_cohort(500, correlation=0.73, random_state=0)
    >>> cohort.data.shape
    (500, 49)
    >>> {name: round(auroc, 3) for name, auroc in cohort.truth.items()}
    {'image': 0.755, 'ehr': 0.638, 'late': 0.781, 'joint': 0.813}
    >>> image = make_fusion_cohort(2, as_images=True, random_state=0).data["image"][0]
    >>> image.shape, image.dtype
    ((30, 48), dtype('uint8'))
    """
    check_number(n_samples, "n_samples", _OWNER, low=1, integer=True)
    check_number(rows_per_patient, "rows_per_patient", _OWNER, low=1, integer=True)
    check_number(correlation, "correlation", _OWNER, low=0, high=1 - 1e-9)
    check_number(prevalence, "prevalence", _OWNER, low=0, high=1)
    check_number(patient_correlation, "patient_correlation", _OWNER, low=0, high=1)
    check_option(task, "task", _METRICS, _OWNER)
    rates = _missing_rates(missing_rate)
    rng = check_random_state(random_state)
    design = _design(correlation)
    patient = np.arange(n_samples) // rows_per_patient
    outcome = _outcomes(patient[-1] + 1, task, prevalence, rng)[patient]
    # The nuisance is first, followed by the noise of each feature.
    draws = clustered_normals(patient, 1 + len(design.shift), patient_correlation, rng)
    features = np.outer(outcome, design.shift) + draws[:, 1:]
    features += np.outer(draws[:, 0], design.nuisance)
    blocks = {
        "image": _image_block(features[:, :_N_IMAGE], as_images),
        "ehr": pd.DataFrame(
            features[:, _N_IMAGE:], columns=[f"ehr_{i}" for i in range(_N_EHR)]
        ),
    }
    _remove(blocks, rates, rng)
    ids = pd.Series([f"P{i:06d}" for i in patient], name="patient_id")
    weights = _weights(design)
    return Bunch(
        data=pd.concat([ids, *blocks.values()], axis=1),
        target=outcome,
        groups=ids.to_numpy(dtype=object),
        truth={name: _score(b, design, task) for name, b in weights.items()},
        truth_metric=_METRICS[task],
        weights=weights,
        image_columns=list(blocks["image"]),
        ehr_columns=list(blocks["ehr"]),
        group_column="patient_id",
        DESCR=_DESCR,
        licence="none needed: generated at random",
        citation="skfusion, skfusion.datasets.make_fusion_cohort",
    )


def _missing_rates(missing_rate: float | Mapping[str, float]) -> dict[str, float]:
    if isinstance(missing_rate, Mapping):
        unknown = sorted(set(missing_rate) - {"image", "ehr"})
        if unknown:
            raise ValueError(
                f"{_OWNER}: missing_rate has the keys {unknown}, but the modalities "
                "are 'image' and 'ehr'."
            )
        rates = {name: missing_rate.get(name, 0.0) for name in ("image", "ehr")}
    else:
        rates = {"image": missing_rate, "ehr": missing_rate}
    for name, rate in rates.items():
        check_number(rate, f"missing_rate of {name!r}", _OWNER, low=0, high=1)
    if sum(rates.values()) > 1:
        raise ValueError(
            f"The missing rates sum to {sum(rates.values())}, more than 1: some rows "
            "would have no modality. Decrease one of them."
        )
    return rates


def _design(correlation: float) -> _Design:
    shift = np.zeros(_N_IMAGE + _N_EHR)
    shift[:10], shift[10:20], shift[-4:] = 0.35, 0.25, 0.25
    direction = np.zeros_like(shift)
    direction[:10] = 1 / np.sqrt(10)
    direction[_N_IMAGE : _N_IMAGE + 4] = 1 / 2
    nuisance = np.sqrt(correlation / (1 - correlation)) * direction
    return _Design(shift, np.eye(len(shift)) + np.outer(nuisance, nuisance), nuisance)


def _weights(design: _Design) -> dict[str, NDArray[np.float64]]:
    """Return the weights of the optimal linear score of each kind of model."""
    shift, covariance, _ = design
    own = np.zeros((2, len(shift)))  # weights of each modality, zero for the other one
    for row, part in zip(own, (slice(_N_IMAGE), slice(_N_IMAGE, None)), strict=True):
        row[part] = np.linalg.solve(covariance[part, part], shift[part])
    late = np.linalg.solve(own @ covariance @ own.T, own @ shift)
    return {
        "image": own[0],
        "ehr": own[1],
        "late": late @ own,
        "joint": np.linalg.solve(covariance, shift),
    }


def _score(weights: NDArray[np.float64], design: _Design, task: str) -> float:
    d = (weights @ design.shift) ** 2 / (weights @ design.covariance @ weights)
    if task == "classification":
        return float(norm.cdf(np.sqrt(d / 2)))
    if task == "multiclass":
        # Thresholds lie half way between neighbouring classes. The inner class has two.
        correct = norm.cdf(np.sqrt(d) / 2)
        inner = _N_CLASSES - 2
        return float((2 * correct + inner * (2 * correct - 1)) / _N_CLASSES)
    return float(d / (1 + d))


def _outcomes(
    n_patients: int, task: str, prevalence: float, rng: np.random.RandomState
) -> NDArray[Any]:
    if task == "classification":
        return (rng.uniform(size=n_patients) < prevalence).astype(np.int64)
    if task == "multiclass":
        return rng.randint(_N_CLASSES, size=n_patients).astype(np.int64)
    return rng.standard_normal(n_patients)


def clustered_normals(
    patient: NDArray[np.intp], n_columns: int, share: float, rng: np.random.RandomState
) -> NDArray[np.float64]:
    """Draw standard normals with a given share common to the rows of a patient."""
    own = rng.standard_normal((len(patient), n_columns))
    if len(patient) == patient[-1] + 1:
        return own  # one row per patient, so there is no common part
    common = rng.standard_normal((patient[-1] + 1, n_columns))[patient]
    return np.sqrt(share) * common + np.sqrt(1 - share) * own


def _image_block(features: NDArray[np.float64], as_images: bool) -> pd.DataFrame:
    if not as_images:
        names = [f"image_{i:02d}" for i in range(_N_IMAGE)]
        return pd.DataFrame(features, columns=names)
    grey = (128 + _GREY_PER_UNIT * features).round().clip(0, 255).astype(np.uint8)
    tiles = grey.reshape(-1, *_TILES)
    pixels = tiles.repeat(_TILE_PIXELS, axis=1).repeat(_TILE_PIXELS, axis=2)
    cells = np.empty(len(pixels), dtype=object)
    cells[:] = list(pixels)
    return pd.DataFrame({"image": cells})


def _remove(
    blocks: dict[str, pd.DataFrame],
    rates: Mapping[str, float],
    rng: np.random.RandomState,
) -> None:
    order = rng.permutation(len(blocks["ehr"]))
    start = 0  # the rows that lose a modality are disjoint between modalities
    for name, block in blocks.items():
        rows = order[start : start + round(rates[name] * len(order))]
        start += len(rows)
        if name == "image" and list(block) == ["image"]:
            block.loc[rows, "image"] = None
        else:
            block.loc[rows] = np.nan
