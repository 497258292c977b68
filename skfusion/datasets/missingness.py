"""Removal of modalities from a cohort at a known rate and with a known mechanism.

The result is used to test the robustness of models to missing modalities, which is
measured with `skfusion.evaluation`.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.preprocessing import FunctionTransformer
from sklearn.utils import check_random_state

from skfusion._validation import check_number, check_option, check_unique_labels
from skfusion.modality import (
    Modality,
    cell_presence,
    check_modalities,
    find_column_roles,
    infer_modality_columns,
    presence_mask,
)

__all__ = ["drop_modality"]


_OWNER = "drop_modality"
_MECHANISMS = ("mcar", "mar", "mnar")


def drop_modality(
    X: pd.DataFrame,
    rate: float | Mapping[str, float],
    *,
    modalities: Any = "auto",
    mechanism: Literal["mcar", "mar", "mnar"] = "mcar",
    driver: Any = None,
    y: Any = None,
    strength: float = 1.0,
    allow_empty: bool = False,
    random_state: int | np.random.RandomState | None = None,
) -> pd.DataFrame:
    """Remove whole modalities from a share of the rows.

    Of the rows with a modality, exactly ``round(rate * n)`` lose all its cells. The
    rows are drawn by one of Rubin's mechanisms [1]_: completely at random (MCAR),
    depending on observed data (MAR), or depending on the removed data or the outcome
    (MNAR). A row with a modality keeps at least one, unless `allow_empty` is True.

    Parameters
    ----------
    X : DataFrame of shape (n_samples, n_columns)
        The cohort. It is not changed.
    rate : float or mapping of str to float
        Share of the rows with the modality that lose it, in [0, 1]: one number for all
        of `modalities`, or one for each modality by name.
    modalities : "auto", list of (str, any, columns) or mapping, default="auto"
        The modalities: triples as in the fusion estimators, or a mapping such as
        ``{"image": "cxr_path", "ehr": ["age", "crp"]}``. With ``"auto"``, each image
        column is a modality, and the other columns except identifiers are ``"ehr"``.
        Other columns are not changed.
    mechanism : {"mcar", "mar", "mnar"}, default="mcar"
        Missingness mechanism. With ``"mcar"``, the rows are drawn completely at random.
        With ``"mar"``, the probability depends on `driver`, a column outside of the
        removed modality. With ``"mnar"``, it depends on the values of the removed
        modality or on `y`.
    driver : column label, array-like of shape (n_samples,) or None, default=None
        Variable that the loss depends on, for ``"mar"`` and ``"mnar"``: a column of
        numbers, booleans or ordered categories, or one number per row. For ``"mar"``,
        None uses the numeric column with the fewest missing values outside of the
        removed modalities. For ``"mnar"``, None uses the mean of the standardised
        numbers of the modality, or the mean of the pixels if the cells are arrays.
    y : array-like of shape (n_samples,) or None, default=None
        The outcome, instead of `driver`, for ``"mnar"``. Labels are ranked in sorted
        order.
    strength : float, default=1.0
        Log of the factor by which one standard deviation of the driver (of its ranks)
        multiplies the odds of being drawn first. If negative, low values are removed.
    allow_empty : bool, default=False
        Whether a row may lose its last modality.
    random_state : int, RandomState instance or None, default=None
        Seed of the random numbers.

    Returns
    -------
    DataFrame of shape (n_samples, n_columns)
        A copy with nulls: None in a column of objects, NaN, NaT or ``pd.NA`` in
        others. Where a null is needed, integers become floats and booleans become the
        pandas dtype ``boolean``.

    Raises
    ------
    TypeError
        If `X` is not a pandas frame, or the driver cannot be ordered.
    ValueError
        If a rate is out of range or its modality is unknown, if the mechanism is
        unknown or contradicts the driver, or if rows would have no modality left.

    Notes
    -----
    Rows are drawn without replacement with probabilities in proportion to
    :math:`exp(strength * z)`. Here `z` are the standardised ranks of the driver (0 for
    nulls). These are the k largest of ``strength * z`` plus a Gumbel variate [2]_. Rows
    without any modality left get one back, and the next rows in this order lose it
    instead.

    References
    ----------
    .. [1] Rubin DB (1976). Inference and missing data. Biometrika 63:581-592.
    .. [2] Efraimidis PS, Spirakis PG (2006). Weighted random sampling with a
       reservoir. Information Processing Letters 97:181-185.

    Examples
    --------
    >>> from skfusion.datasets import drop_modality, make_fusion_cohort
    >>> cohort = make_fusion_cohort(200, random_state=0)
    >>> parts = {"image": cohort.image_columns, "ehr": cohort.ehr_columns}
    >>> gappy = drop_modality(cohort.data, {"image": 0.25}, modalities=parts,
    ...                       mechanism="mar", driver="ehr_7", random_state=0)
    >>> gone = gappy[cohort.image_columns].isna().all(axis=1)
    >>> int(gone.sum()), bool(gappy["ehr_7"][gone].mean() > gappy["ehr_7"].mean())
    (50, True)
    """
    parts = _find_modalities(X, modalities)
    rates = _check_rates(rate, parts)
    _check_mechanism(mechanism, driver, y, strength)
    presence = _presence(X, parts, rates)
    rng = check_random_state(random_state)
    keys = np.zeros(presence.shape)
    for j, part in enumerate(parts):
        if rates[part.name]:
            z = np.zeros(len(X))
            if mechanism != "mcar":
                z = _standardised_ranks(
                    _driver(X, part, parts, rates, mechanism, driver, y)
                )
            keys[:, j] = strength * z + rng.gumbel(size=len(X))
    counts = [
        round(rates[part.name] * presence[:, j].sum()) for j, part in enumerate(parts)
    ]
    lost = _choose(presence, counts, keys, parts, allow_empty=allow_empty)
    result = X.copy()
    for j, part in enumerate(parts):
        for column in part.columns if counts[j] else ():
            result[column] = _without(X[column], lost[:, j])
    return result


def _find_modalities(X: Any, modalities: Any) -> list[Modality]:
    if not isinstance(X, pd.DataFrame):
        raise TypeError(
            f"{_OWNER}: X must be a pandas DataFrame, got "
            f"{type(X).__module__}.{type(X).__qualname__}. Convert it first, with "
            "X.to_pandas() or pandas.DataFrame(X)."
        )
    check_unique_labels(list(X.columns), _OWNER)
    if isinstance(modalities, str) and modalities == "auto":
        with warnings.catch_warnings():
            # Identifiers belong to no modality and are never removed.
            warnings.filterwarnings("ignore", ".*leaves out the identifier")
            found = infer_modality_columns(X, aside=(), estimator_name=_OWNER)
        modalities = {name: columns for name, (_, columns) in found.items()}
    if isinstance(modalities, Mapping):
        modalities = [(name, None, columns) for name, columns in modalities.items()]
    # The estimator of a triple is not used here.
    triples = [
        (m[0], FunctionTransformer(), m[2])
        if isinstance(m, (tuple, list)) and len(m) == 3
        else m
        for m in modalities
    ]
    return check_modalities(triples, X, owner=_OWNER, reserved=())


def _check_rates(
    rate: float | Mapping[str, float], parts: list[Modality]
) -> dict[str, float]:
    names = [part.name for part in parts]
    if isinstance(rate, Mapping):
        unknown = [name for name in rate if name not in names]
        if unknown:
            raise ValueError(
                f"{_OWNER}: rate has the unknown names {unknown}, but the modalities "
                f"are {names}."
            )
        rates = {name: rate.get(name, 0.0) for name in names}
    else:
        rates = dict.fromkeys(names, rate)
    for name, value in rates.items():
        check_number(value, f"the rate of {name!r}", _OWNER, low=0, high=1)
    return rates


def _check_mechanism(mechanism: str, driver: Any, y: Any, strength: float) -> None:
    check_option(mechanism, "mechanism", _MECHANISMS, _OWNER)
    check_number(strength, "strength", _OWNER)
    if mechanism == "mcar" and (driver is not None or y is not None):
        raise ValueError(
            f"{_OWNER}: mechanism='mcar' is completely at random, so driver and y have "
            "no effect. Omit them, or choose 'mar' or 'mnar'."
        )
    if mechanism == "mar" and y is not None:
        raise ValueError(
            f"{_OWNER}: a loss that depends on y is mechanism='mnar', because the "
            "outcome is not observed at prediction time."
        )
    if driver is not None and y is not None:
        raise ValueError(f"{_OWNER}: got both driver and y. Pass only one of them.")


def _presence(
    X: pd.DataFrame, parts: list[Modality], rates: Mapping[str, float]
) -> NDArray[np.bool_]:
    """Return the presence of each modality, and of the other columns as last column."""
    owners: dict[Any, list[str]] = {}
    for part in parts:
        for column in part.columns:
            owners.setdefault(column, []).append(part.name)
    for column, names in owners.items():
        if len(names) > 1 and any(rates[name] for name in names):
            raise ValueError(
                f"{_OWNER}: column {column!r} belongs to the modalities {names}, so "
                "one cannot be removed without the other. Assign it to only one "
                "modality."
            )
    rest = np.zeros(len(X), dtype=bool)
    identifiers = find_column_roles(X).identifiers
    for column in X.columns:
        if column not in owners and column not in identifiers:
            rest |= cell_presence(X[column])
    return np.column_stack([presence_mask(parts, X), rest])


def _choose(
    presence: NDArray[np.bool_],
    counts: list[int],
    keys: NDArray[np.float64],
    parts: list[Modality],
    *,
    allow_empty: bool,
) -> NDArray[np.bool_]:
    """Choose the rows with the largest keys, so that no row loses all modalities."""
    lost = np.zeros_like(presence)
    for j, count in enumerate(counts):
        rows = np.flatnonzero(presence[:, j])
        order = rows[np.argsort(-keys[rows, j], kind="stable")]
        lost[order[:count], j] = True
    if allow_empty:
        return lost
    for row in np.flatnonzero(presence.any(axis=1) & ~(presence & ~lost).any(axis=1)):
        # The lost modality with the smallest key is restored first.
        mine = np.flatnonzero(lost[row])
        for part in mine[np.argsort(keys[row, mine], kind="stable")]:
            left = presence & ~lost
            spare = np.flatnonzero(left[:, part] & (left.sum(axis=1) > 1))
            if len(spare):
                lost[spare[np.argmax(keys[spare, part])], part] = True
                lost[row, part] = False
                break
        else:
            dropped = {m.name: c for m, c in zip(parts, counts, strict=True) if c}
            raise ValueError(
                f"{_OWNER}: removing modalities (number of rows: {dropped}) would "
                "leave rows without any modality, because too few rows have another "
                "one. Decrease the rates, or pass allow_empty=True."
            )
    return lost


def _driver(
    X: pd.DataFrame,
    part: Modality,
    parts: list[Modality],
    rates: Mapping[str, float],
    mechanism: str,
    driver: Any,
    y: Any,
) -> NDArray[np.float64]:
    """Return the variable that the loss of a modality depends on, for each row."""
    if y is not None:
        return _as_numbers(y, "y", len(X))
    if driver is None:
        if mechanism == "mnar":
            return _own_values(X, part)
        driver = _default_driver(X, parts, rates)
    if not pd.api.types.is_hashable(driver):
        return _as_numbers(driver, "driver", len(X))
    if driver not in X.columns:
        raise ValueError(f"{_OWNER}: driver {driver!r} is not a column of X.")
    if mechanism == "mar":
        hidden = [p.name for p in parts if rates[p.name] and driver in p.columns]
        if hidden:
            raise ValueError(
                f"{_OWNER}: driver {driver!r} belongs to the removed modality "
                f"{hidden[0]!r}, which is mechanism='mnar'. For 'mar', use a column of "
                "another modality."
            )
    return _as_numbers(X[driver], repr(driver), len(X))


def _default_driver(
    X: pd.DataFrame, parts: list[Modality], rates: Mapping[str, float]
) -> Any:
    hidden = {column for p in parts if rates[p.name] for column in p.columns}
    others = find_column_roles(X).ehr
    numbers = [c for c in others if c not in hidden and _is_number(X[c])]
    if not numbers:
        raise ValueError(
            f"{_OWNER}: mechanism='mar' needs an observed driver, but X has no numeric "
            "column outside of the removed modalities. Pass driver=, or the rate of "
            "one modality only."
        )
    return min(numbers, key=lambda column: X[column].isna().sum())


def _own_values(X: pd.DataFrame, part: Modality) -> NDArray[np.float64]:
    means = []
    for column in part.columns:
        values = X[column]
        if not _is_number(values):
            values = values.map(_brightness, na_action="ignore")
            if not _is_number(values) or values.isna().all():
                continue
        numbers = _as_numbers(values, repr(column), len(X))
        spread = np.nanstd(numbers) if np.isfinite(numbers).any() else 0.0
        if spread > 0:
            means.append((numbers - np.nanmean(numbers)) / spread)
    if not means:
        raise ValueError(
            f"{_OWNER}: modality {part.name!r} has no numbers or pixels that its "
            "loss could depend on. Pass driver= or y= for mechanism='mnar'."
        )
    table = np.stack(means)
    known = ~np.isnan(table)
    return np.where(
        known.any(axis=0),
        np.where(known, table, 0).sum(axis=0) / np.maximum(known.sum(axis=0), 1),
        np.nan,
    )


def _brightness(cell: Any) -> float | None:
    if isinstance(cell, np.ndarray) and cell.dtype != object and cell.size:
        return float(cell.mean())
    return None


def _is_number(column: pd.Series) -> bool:
    return pd.api.types.is_numeric_dtype(column) and not (
        pd.api.types.is_complex_dtype(column)
    )


def _as_numbers(values: Any, name: str, n_rows: int) -> NDArray[np.float64]:
    if not isinstance(values, (pd.Series, pd.Categorical)):
        values = np.asarray(values).ravel()
    values = pd.Series(values)
    if len(values) != n_rows:
        raise ValueError(
            f"{_OWNER}: {name} has {len(values)} values, but X has {n_rows} rows."
        )
    if isinstance(values.dtype, pd.CategoricalDtype) and values.cat.ordered:
        codes = values.cat.codes.to_numpy(dtype=np.float64)
        return np.where(codes < 0, np.nan, codes)
    if _is_number(values):
        return values.to_numpy(dtype=np.float64, na_value=np.nan)
    if name == "y":
        codes = pd.factorize(values, sort=True)[0].astype(np.float64)
        return np.where(codes < 0, np.nan, codes)
    raise TypeError(
        f"{_OWNER}: {name} has dtype {values.dtype}, which has no order. Pass numbers, "
        "booleans or an ordered categorical as the driver."
    )


def _standardised_ranks(values: NDArray[np.float64]) -> NDArray[np.float64]:
    ranks = pd.Series(values).rank().to_numpy()
    spread = np.nanstd(ranks) if np.isfinite(ranks).any() else 0.0
    if spread == 0:
        return np.zeros(len(values))
    return np.nan_to_num((ranks - np.nanmean(ranks)) / spread)


def _without(column: pd.Series, rows: NDArray[np.bool_]) -> pd.Series:
    """Return the column with nulls in the rows."""
    if not rows.any():
        return column.copy()
    dtype = column.dtype
    if pd.api.types.is_object_dtype(dtype):
        cells = column.to_numpy(dtype=object, copy=True)
        cells[rows] = None
        return pd.Series(cells, index=column.index, name=column.name, dtype=object)
    if isinstance(dtype, np.dtype) and dtype.kind in "iu":
        column = column.astype(np.float64)
    elif isinstance(dtype, np.dtype) and dtype.kind == "b":
        column = column.astype("boolean")
    return column.mask(rows)
