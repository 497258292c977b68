"""Synthetic cohort of any number of modalities, for any task.

`skfusion.datasets.synthetic` provides one design with known optimal scores. This module
generates cohorts with the structure of a given study: number, width and type of the
modalities, outcome and missing modalities.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.utils import Bunch, check_random_state

from skfusion._validation import check_number, check_option
from skfusion.datasets.missingness import drop_modality
from skfusion.datasets.synthetic import clustered_normals

__all__ = ["make_multimodal_cohort"]

Width = int | tuple[int, ...]

_OWNER = "make_multimodal_cohort"
_TASKS = ("classification", "multiclass", "multilabel", "regression", "survival")
_N_INFORMATIVE = 10  # maximum number of informative features per modality and output
_PATIENT_SHARE = 0.5  # share of the noise that is common to the rows of one patient
_GREY, _GREY_PER_UNIT, _GREY_NOISE = 128, 24, 8
_WEIBULL_SHAPE = 1.5
_CATEGORIES = ("high", "low", "medium")
_MEDIAN_MONTHS = 24.0

_DESCR = """\
Synthetic cohort of several modalities
======================================
Every modality contains a signal of known size about the outcome, and independent noise.
The rows are not patients, and scores on them do not apply to real data.
"""


def make_multimodal_cohort(
    n_samples: int = 300,
    modalities: Mapping[str, Width] | None = None,
    *,
    task: Literal[
        "classification", "multiclass", "multilabel", "regression", "survival"
    ] = "classification",
    n_outputs: int | None = None,
    prevalence: float | Sequence[float] | None = None,
    signal: float | Mapping[str, float] = 1.0,
    interaction: float = 0.0,
    categorical: Mapping[str, int] | None = None,
    censoring: float = 0.3,
    rows_per_patient: int = 1,
    missing_rate: float | Mapping[str, float] = 0.0,
    random_state: int | np.random.RandomState | None = None,
) -> Bunch:
    r"""Generate a cohort of any number of modalities with signals of known size.

    A modality is a block of numbers or an image. Given the outcome, the modalities are
    independent unless `interaction` is above 0, so that each adds information.

    Parameters
    ----------
    n_samples : int, default=300
        Number of rows.
    modalities : mapping of str to int or tuple of int, default=None
        The modalities by name: a number of columns, or the shape ``(H, W)`` or
        ``(H, W, C)`` of an image. None is ``{"mri": 93, "clinical": 5,
        "cxr": (32, 32)}``.
    task : str, default="classification"
        The outcome. ``"classification"`` is 0 or 1, and ``"multiclass"`` one of
        `n_outputs` classes. ``"multilabel"`` is `n_outputs` independent labels, each 0
        or 1. ``"regression"`` is standard normal numbers. ``"survival"`` is times to an
        event, some of them censored.
    n_outputs : int or None, default=None
        Number of classes (at least 3), labels (at least 2) or numbers. None is 3, 3
        and 1, respectively. The other tasks have one outcome.
    prevalence : float, sequence of float or None, default=None
        Share of outcome 1 (0.5), of each label (0.5 each), or of each class
        (equal, the sequence is scaled to sum to 1).
    signal : float or mapping of str to float, default=1.0
        Shift of a modality by the outcome, in standard deviations of its noise along
        the best direction: one number for all, or by name (1 for other names).
    interaction : float, default=0.0
        Size, in standard deviations, of a second pattern in the first two modalities.
        The product of the two patterns predicts the outcome, but neither does alone.
        Above 0, early and joint fusion have an advantage over late fusion.
    categorical : mapping of str to int or None, default=None
        Number of columns of a block, the last ones, that become categories "low",
        "medium" and "high" of one third of the rows each.
    censoring : float, default=0.3
        Share of the rows that are censored, for ``task="survival"``.
    rows_per_patient : int, default=1
        Number of rows per patient, with one outcome and half of the noise in common.
    missing_rate : float or mapping of str to float, default=0.0
        Share of the rows without the modality, drawn at random (see `drop_modality`).
        No row loses all modalities.
    random_state : int, RandomState instance or None, default=None
        Seed of the random numbers.

    Returns
    -------
    sklearn.utils.Bunch
        With the fields

        - ``data``: DataFrame of n_samples rows: ``patient_id``, the columns
          ``mri_00``, ``mri_01`` ... of each block, one column of uint8 arrays per image
        - ``target``: ndarray of shape (n_samples,), (n_samples, n_outputs) for several
          labels or numbers, or a structured array with the fields ``event`` (bool)
          and ``time`` (float, months), as in scikit-survival
        - ``groups``: ndarray of patient ids
        - ``columns``: dict, the columns of each modality for a modality triple: a
          list, or the label of an image column
        - ``image_columns``, ``ehr_columns``: lists of all image columns and of all
          other columns
        - ``group_column``, ``DESCR``, ``licence``, ``citation``

    Raises
    ------
    ValueError
        If a parameter is out of range or not valid for the task.

    Notes
    -----
    With the signals :math:`s_m`, no interaction and no categories, the optimal AUROC of
    a block for a binary outcome is :math:`\Phi(s_m/\sqrt 2)`. That of all modalities is
    :math:`\Phi(\sqrt{\sum_m s_m^2}/\sqrt 2)`. In multiclass tasks, the distance between
    any two classes is :math:`s_m`. In regression, :math:`R^2 = s_m^2/(1 + s_m^2)`. In
    survival, the signal is a standard normal log-hazard :math:`\eta`. The times are
    Weibull with shape 1.5 and median :math:`24 e^{-\eta/1.5}` months, and censoring is
    independent of them.

    In a block, ``min(10, width // outputs)`` features of each output contain its signal
    in equal parts. An image contains a bright or dark spot per output, with 24 grey
    levels per standard deviation around 128, and pixel noise of little effect.

    Examples
    --------
    >>> from skfusion.datasets import make_multimodal_cohort
    >>> cohort = make_multimodal_cohort(
    ...     90, {"mri": 93, "clinical": 5, "cxr": (32, 32)}, random_state=0)
    >>> cohort.data.shape, cohort.columns["cxr"], cohort.data["cxr"][0].shape
    ((90, 100), 'cxr', (32, 32))
    >>> survival = make_multimodal_cohort(90, task="survival", random_state=0).target
    >>> survival.dtype.names, float(survival["event"].mean().round(2))
    (('event', 'time'), 0.7)
    """
    if modalities is None:
        modalities = {"mri": 93, "clinical": 5, "cxr": (32, 32)}
    widths = _check_modalities(modalities)
    check_number(n_samples, "n_samples", _OWNER, low=1, integer=True)
    check_number(rows_per_patient, "rows_per_patient", _OWNER, low=1, integer=True)
    check_number(interaction, "interaction", _OWNER, low=0)
    check_number(censoring, "censoring", _OWNER, low=0, high=1)
    n_outputs = _check_outputs(task, n_outputs)
    signals = _by_name(signal, widths, name="signal", other=1.0)
    n_categories = _check_categories(categorical or {}, widths)
    if interaction and len(widths) < 2:
        raise ValueError("interaction needs at least two modalities, got one.")
    rng = check_random_state(random_state)
    patient = np.arange(n_samples) // rows_per_patient
    shares = _shares(prevalence, task, n_outputs)
    target, scores = _outcomes(patient[-1] + 1, task, n_outputs, shares, rng)
    if task == "survival":
        target = _times(scores[:, 0], censoring, rng)
    target, scores = target[patient], scores[patient]
    means = _means(scores, signals, interaction, rng)
    blocks = _blocks(widths, n_categories, means, patient, rng)
    columns = {
        name: name if isinstance(width, tuple) else list(blocks[name])
        for name, width in widths.items()
    }
    ids = pd.Series([f"P{i:06d}" for i in patient], name="patient_id")
    data = pd.concat([ids, *blocks.values()], axis=1)
    data = drop_modality(
        data,
        _by_name(missing_rate, widths, name="missing_rate", other=0.0),
        modalities=columns,
        random_state=rng,
    )
    images = [name for name, width in widths.items() if isinstance(width, tuple)]
    return Bunch(
        data=data,
        target=target,
        groups=ids.to_numpy(dtype=object),
        columns=columns,
        image_columns=images,
        ehr_columns=[c for name in widths if name not in images for c in blocks[name]],
        group_column="patient_id",
        DESCR=_DESCR,
        licence="none needed: generated at random",
        citation="skfusion, skfusion.datasets.make_multimodal_cohort",
    )


def _check_modalities(modalities: Mapping[str, Width]) -> dict[str, Width]:
    if not modalities:
        raise ValueError("modalities is empty. Pass at least one modality.")
    checked: dict[str, Width] = {}
    for name, width in modalities.items():
        shape = width if isinstance(width, (tuple, list)) else (width,)
        image = isinstance(width, (tuple, list))
        whole = all(isinstance(k, (int, np.integer)) and k >= 1 for k in shape)
        if not whole or (image and len(shape) not in (2, 3)):
            raise ValueError(
                f"modality {name!r} must be a number of columns, or the shape (H, W) "
                f"or (H, W, C) of an image, got {width!r}."
            )
        checked[name] = tuple(int(k) for k in shape) if image else int(shape[0])
    return checked


def _check_outputs(task: str, n_outputs: int | None) -> int:
    check_option(task, "task", _TASKS, _OWNER)
    least, usual = {"multiclass": (3, 3), "multilabel": (2, 3)}.get(task, (1, 1))
    n_outputs = usual if n_outputs is None else n_outputs
    if n_outputs < least or (task in ("classification", "survival") and n_outputs > 1):
        raise ValueError(f"n_outputs={n_outputs} is not valid for task={task!r}.")
    return n_outputs


def _check_categories(
    categorical: Mapping[str, int], widths: Mapping[str, Width]
) -> dict[str, int]:
    counts = _by_name(categorical, widths, name="categorical", other=0)
    for name, count in counts.items():
        width = widths[name]
        if count and (isinstance(width, tuple) or not 0 < count <= width):
            raise ValueError(
                f"categorical requests {count} columns of modality {name!r}, which is "
                + ("an image." if isinstance(width, tuple) else f"{width} wide.")
            )
    return {name: int(count) for name, count in counts.items()}


def _by_name(
    value: float | Mapping[str, float],
    widths: Mapping[str, Width],
    *,
    name: str,
    other: float,
) -> dict[str, float]:
    if not isinstance(value, Mapping):
        return dict.fromkeys(widths, value)
    unknown = [key for key in value if key not in widths]
    if unknown:
        raise ValueError(
            f"{name} has the keys {unknown}; the modalities are {list(widths)}."
        )
    return {key: value.get(key, other) for key in widths}


def _shares(
    prevalence: float | Sequence[float] | None, task: str, n_outputs: int
) -> NDArray[np.float64]:
    """Return the share of outcome 1, of each label or of each class."""
    if task in ("regression", "survival"):
        if prevalence is not None:
            raise ValueError(f"prevalence is not valid for task={task!r}.")
        return np.empty(0)
    usual = 1 / n_outputs if task == "multiclass" else 0.5
    shares = np.atleast_1d(usual if prevalence is None else prevalence).astype(float)
    if task == "multilabel" or prevalence is None:
        shares = np.broadcast_to(shares, n_outputs) if len(shares) == 1 else shares
    inside = np.all((shares >= 0) & (shares <= 1))
    if len(shares) != n_outputs or not (inside or task == "multiclass"):
        raise ValueError(
            f"prevalence must be {n_outputs} share(s) between 0 and 1 for "
            f"task={task!r}, got {prevalence}."
        )
    if task == "multiclass":
        if not np.all(shares > 0):
            raise ValueError("prevalence must be above 0 for every class.")
        shares = shares / shares.sum()
    return shares


def _outcomes(
    n_patients: int,
    task: str,
    n_outputs: int,
    shares: NDArray[np.float64],
    rng: np.random.RandomState,
) -> tuple[NDArray[Any], NDArray[np.float64]]:
    """Return the outcomes, and the shifts (n_patients, n_outputs) of the features."""
    if task in ("regression", "survival"):
        numbers = rng.standard_normal((n_patients, n_outputs))
        return (numbers[:, 0] if n_outputs == 1 else numbers), numbers
    # Evenly spaced ranks in random order meet every share as exactly as possible.
    orders = [rng.permutation(n_patients) for _ in range(n_outputs)]
    ranks = (np.stack(orders, axis=1) + 0.5) / n_patients
    if task == "multiclass":
        classes = np.searchsorted(shares.cumsum()[:-1], ranks[:, 0], side="right")
        # The distance between any two corners of this simplex is 1.
        return classes.astype(np.int64), np.eye(n_outputs)[classes] / np.sqrt(2)
    labels = (ranks < shares).astype(np.int64)
    return (labels[:, 0] if task == "classification" else labels), labels.astype(float)


def _times(
    log_hazard: NDArray[np.float64], censoring: float, rng: np.random.RandomState
) -> NDArray[Any]:
    """Draw event times and censor them, so that the given share is censored."""
    n = len(log_hazard)
    unit = -np.log(rng.uniform(size=n)) / np.log(2)  # its median is 1
    time = _MEDIAN_MONTHS * (np.exp(-log_hazard) * unit) ** (1 / _WEIBULL_SHAPE)
    cut = rng.standard_exponential(n)
    # A row is censored if time / cut is above the scale of the censoring times.
    ratios = np.sort(time / cut)
    ratios = np.r_[ratios[0] / 2, ratios, ratios[-1] * 2]
    n_events = n - round(censoring * n)
    cut *= ratios[n_events : n_events + 2].mean()
    target = np.empty(n, dtype=[("event", bool), ("time", np.float64)])
    target["event"] = time <= cut
    target["time"] = np.minimum(time, cut)
    return target


def _means(
    scores: NDArray[np.float64],
    signals: Mapping[str, float],
    interaction: float,
    rng: np.random.RandomState,
) -> dict[str, NDArray[np.float64]]:
    """Return the shift of each pattern of each modality for each row."""
    means = {name: signal * scores for name, signal in signals.items()}
    if interaction:
        sign = np.where(rng.uniform(size=len(scores)) < 0.5, -1.0, 1.0)
        side = np.where(scores[:, 0] > scores[:, 0].mean(), 1.0, -1.0)
        for name, hidden in zip(means, (sign, sign * side), strict=False):
            means[name] = np.column_stack([means[name], interaction * hidden])
    return means


def _blocks(
    widths: Mapping[str, Width],
    n_categories: Mapping[str, int],
    means: Mapping[str, NDArray[np.float64]],
    patient: NDArray[np.intp],
    rng: np.random.RandomState,
) -> dict[str, pd.DataFrame]:
    """Draw the columns of each modality."""
    blocks = {}
    for name, width in widths.items():
        if isinstance(width, tuple):
            blocks[name] = _images(name, width, means[name], patient, rng)
        else:
            block = _numbers(name, width, means[name], patient, rng)
            blocks[name] = _with_categories(block, n_categories.get(name, 0))
    return blocks


def _numbers(
    name: str,
    width: int,
    means: NDArray[np.float64],
    patient: NDArray[np.intp],
    rng: np.random.RandomState,
) -> pd.DataFrame:
    values = clustered_normals(patient, width, _PATIENT_SHARE, rng)
    size = min(_N_INFORMATIVE, max(1, width // means.shape[1]))
    for k, mean in enumerate(means.T):
        features = np.arange(k * size, (k + 1) * size) % width
        values[:, features] += mean[:, None] / np.sqrt(size)
    digits = len(str(width - 1))
    names = [f"{name}_{i:0{digits}d}" for i in range(width)]
    return pd.DataFrame(values, columns=names)


def _with_categories(block: pd.DataFrame, count: int) -> pd.DataFrame:
    for column in block.columns[len(block.columns) - count :]:
        ranks = block[column].rank(pct=True)
        block[column] = np.select(
            [ranks <= 1 / 3, ranks <= 2 / 3], ["low", "medium"], default="high"
        )
        block[column] = block[column].astype(pd.CategoricalDtype(list(_CATEGORIES)))
    return block


def _images(
    name: str,
    shape: tuple[int, ...],
    means: NDArray[np.float64],
    patient: NDArray[np.intp],
    rng: np.random.RandomState,
) -> pd.DataFrame:
    """Draw one spot per pattern, with the signal and the noise as its brightness."""
    n_patterns = means.shape[1]
    brightness = means + clustered_normals(patient, n_patterns, _PATIENT_SHARE, rng)
    side = int(np.ceil(np.sqrt(n_patterns)))
    radius = min(shape[:2]) / (4 * side)
    rows, columns = np.indices(shape[:2])
    pixels = np.full((len(patient), *shape), float(_GREY))
    pixels += _GREY_NOISE * rng.standard_normal(pixels.shape)
    for k in range(n_patterns):
        y = (k // side + 0.5) / side * shape[0] - 0.5
        x = (k % side + 0.5) / side * shape[1] - 0.5
        spot = np.exp(-((rows - y) ** 2 + (columns - x) ** 2) / (2 * radius**2))
        spot = spot.reshape(*shape[:2], *(1,) * (len(shape) - 2))
        scale = brightness[:, k].reshape(-1, *(1,) * len(shape))
        pixels += _GREY_PER_UNIT * scale * spot
    cells = np.empty(len(pixels), dtype=object)
    cells[:] = list(pixels.round().clip(0, 255).astype(np.uint8))
    return pd.DataFrame({name: cells})
