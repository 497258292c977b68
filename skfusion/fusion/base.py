"""Base classes of all fusion estimators: parameters by name and input checks."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any, Self

import numpy as np
import pandas as pd
from sklearn.base import BaseEstimator, TransformerMixin, clone
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils import Tags
from sklearn.utils.validation import (
    check_consistent_length,
    check_is_fitted,
    validate_data,
)

from skfusion._fitting.parameters import declared_params
from skfusion._fitting.pipelines import looks_up_by
from skfusion._validation import check_option, check_weights, did_you_mean
from skfusion.cohort import (
    TrainingData,
    as_pandas,
    check_groups,
    column_of_role,
    relative_weights,
    warn_of_id_features,
)
from skfusion.ehr.tabular.encoder import TabularEncoder
from skfusion.exceptions import DataWarning, warn_user
from skfusion.fusion.class_weights import class_weight_of_rows
from skfusion.fusion.training_rows import TrainingRows
from skfusion.modality import (
    PLACEHOLDERS,
    Modality,
    check_modalities,
    infer_modality_columns,
    is_dropped,
    missing_column_message,
    presence_mask,
    select_columns,
)
from skfusion.vectors.columns import VectorColumns

__all__ = ["ModalityParameters"]


class ModalityParameters(BaseEstimator):
    """Base class of estimators whose transformers are parameters by modality name.

    `modalities` is a list of triples. The names in `_DEFAULTED` are parameters that
    accept an estimator. If such a parameter is None, `_default_of` returns its default,
    and the parameters of this default can be set by name.
    """

    modalities: Any
    _DEFAULTED: tuple[str, ...] = ()
    # Former name of a parameter -> its replacement.
    _RENAMED: Mapping[str, str] = {}

    def __new__(cls, *args: Any, **params: Any) -> Self:
        """Raise an error that names the replacement of a renamed parameter."""
        for name in params:
            if name in cls._RENAMED:
                raise TypeError(
                    f"{cls.__name__} got an unexpected keyword argument {name!r}. "
                    f"Use {cls._RENAMED[name]} instead."
                )
        return super().__new__(cls)

    def _default_of(self, name: str) -> Any:
        """Return a new default estimator, which depends only on the class."""
        raise NotImplementedError(name)

    def _estimator_of(self, name: str) -> Any:
        """Return a clone of the user's estimator, or a new default one."""
        given = getattr(self, name)
        return self._default_of(name) if given is None else clone(given)

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Return the parameters, including those of the transformers by modality name.

        Parameters
        ----------
        deep : bool, default=True
            Whether to include nested parameters, e.g. ``cxr__backbone``.

        Returns
        -------
        dict of str to any
        """
        if not deep:
            return declared_params(self)
        params = super().get_params(deep=True)
        for name, transformer in self._named_transformers():
            params[name] = transformer
            if isinstance(transformer, str):
                continue
            nested = transformer.get_params(deep=True)
            params.update({f"{name}__{key}": nested[key] for key in nested})
        return params

    def set_params(self, **params: Any) -> ModalityParameters:
        """Set parameters, where the name of a modality sets its transformer.

        Parameters
        ----------
        **params : any
            Parameters by name, e.g. ``cxr__backbone="resnet18"``. The name of a
            modality sets its transformer, ``"passthrough"`` or ``"drop"``. A parameter
            of a default estimator, e.g. ``estimator__max_depth=3`` where `estimator` is
            None, replaces None by the default estimator with this value.

        Returns
        -------
        ModalityParameters
            The estimator itself.

        Raises
        ------
        ValueError
            If a parameter does not exist.
        """
        self._warn_of_new_events(params)
        self._set_in_defaults(params)
        if "modalities" in params:
            self.modalities = params.pop("modalities")
        own = declared_params(self)
        replaced = {
            name: params.pop(name)
            for name, _ in self._named_transformers()
            if name in params and name not in own
        }
        if replaced:
            self.modalities = [
                (name, replaced.get(name, transformer), columns)
                for name, transformer, columns in self.modalities
            ]
        self._refuse_parameters_of_strings(params)
        super().set_params(**params)
        return self

    def _refuse_parameters_of_strings(self, params: Mapping[str, Any]) -> None:
        strings = {
            name: part
            for name, part in self._named_transformers()
            if isinstance(part, str)
        }
        for key in params:
            name, _, nested = key.partition("__")
            if nested and name in strings:
                raise ValueError(
                    f"{type(self).__name__}: {key!r} cannot be set, because modality "
                    f"{name!r} is {strings[name]!r}, which has no parameters. Set a "
                    f"transformer in the same call, {name}=..., or before."
                )

    def _warn_of_new_events(self, params: Mapping[str, Any]) -> None:
        """Warn that a fitted model keeps its events until the next fit."""
        names = [key for key in params if key.endswith("__events")]
        if names and hasattr(self, "modalities_"):
            warn_user(
                f"{type(self).__name__}: {', '.join(map(repr, names))} takes effect at "
                "the next fit. To predict for other events with this fitted model, use "
                "skfusion.ehr.with_events(model, store).",
                UserWarning,
            )

    def _set_in_defaults(self, params: dict[str, Any]) -> None:
        """Replace nested parameters of a default estimator by the estimator itself."""
        for name in self._DEFAULTED:
            prefix = f"{name}__"
            nested = [key for key in params if key.startswith(prefix)]
            if not nested or params.get(name, getattr(self, name)) is not None:
                continue
            default = self._default_of(name)
            known = default.get_params(deep=True)
            for key in nested:
                if key.removeprefix(prefix) not in known:
                    hint = did_you_mean(key, [prefix + part for part in known])
                    raise ValueError(
                        f"{type(self).__name__}: {key!r} is not a parameter of the "
                        f"default {name}, {type(default).__name__}.{hint} Valid names "
                        f"are {', '.join(prefix + part for part in sorted(known))}."
                    )
            values = {key.removeprefix(prefix): params.pop(key) for key in nested}
            params[name] = default.set_params(**values)

    def _sk_visual_block_(self) -> Any:
        # The diagram is that of a ColumnTransformer with one box per modality.
        triples = getattr(self, "modalities_", self.modalities)
        if isinstance(triples, str):
            # scikit-learn catches this error and draws a plain box.
            raise ValueError("nothing to draw before fit")
        from sklearn.compose import ColumnTransformer  # which imports all learners

        return ColumnTransformer(list(triples))._sk_visual_block_()

    def _named_transformers(self) -> list[tuple[str, Any]]:
        # A malformed list is reported by fit, not by get_params or repr.
        if isinstance(self.modalities, str) or not hasattr(self.modalities, "__iter__"):
            return []
        return [
            (entry[0], entry[1])
            for entry in self.modalities
            if isinstance(entry, (tuple, list))
            and len(entry) == 3
            and isinstance(entry[0], str)
            and _is_part(entry[1])
        ]


def _is_part(transformer: Any) -> bool:
    if isinstance(transformer, str):
        return transformer in PLACEHOLDERS
    return hasattr(transformer, "get_params") and not isinstance(transformer, type)


logger = logging.getLogger("skfusion")

MISSING_POLICIES = ("auto", "error", "complete_case")


def default_modalities(
    X: pd.DataFrame, aside: Iterable[Any], estimator_name: str
) -> list[tuple[str, Any, Any]]:
    """Return the modalities that ``modalities="auto"`` finds in a cohort.

    Parameters
    ----------
    X, aside, estimator_name
        As in `skfusion.modality.infer_modality_columns`.

    Returns
    -------
    list of (str, transformer, column or list of columns)
        One `ImageEmbedder` per column of images, one scaled `VectorColumns` per column
        of vectors, one `TabularEncoder` for the rest.
    """
    triples: list[tuple[str, Any, Any]] = []
    found = infer_modality_columns(X, aside=aside, estimator_name=estimator_name)
    for name, (kind, columns) in found.items():
        if kind == "image":
            from skfusion.image import ImageEmbedder  # names the extra

            triples.append((name, ImageEmbedder(), columns[0]))
        elif kind == "vector":
            scaled = make_pipeline(VectorColumns(), StandardScaler())
            triples.append((name, scaled, columns[0]))
        else:
            triples.append((name, TabularEncoder(), columns))
    return triples


class BaseFusion(TransformerMixin, ModalityParameters):
    """Base class of every fusion estimator: input checks and missing-modality policy.

    Subclasses have the parameters ``modalities``, ``missing``, ``groups``,
    ``random_state`` and ``verbose``. Their `fit` begins with `_start_fit`, their
    predictions with `_read_cohort`.
    """

    # Metadata routing passes `groups` without `set_fit_request`, because every split
    # must keep patients together.
    __metadata_request__fit = {"groups": True}

    def presence(self, X: Any) -> pd.DataFrame:
        """Return which modalities are present in each row.

        Parameters
        ----------
        X : DataFrame or ndarray of shape (n_samples, n_columns)
            A cohort.

        Returns
        -------
        DataFrame of bool of shape (n_samples, M)
            One column per modality. A modality is absent where all its cells are null.
        """
        check_is_fitted(self, "modalities_")
        names = [modality.name for modality in self._modalities]
        mask = presence_mask(self._modalities, self._read_cohort(X))
        return pd.DataFrame(mask, columns=names, index=getattr(X, "index", None))

    def with_events(self, events: Any) -> Self:
        """Return a copy of the fitted model that reads other events.

        Parameters
        ----------
        events : EventStore, path or mapping of str to EventStore or path
            The other events, or those of some modalities by name.

        Returns
        -------
        estimator
            The copy. It shares what was learned with this model.

        See Also
        --------
        skfusion.ehr.with_events : The same for any estimator around a fusion.
        """
        # Events are not imported where there are none, as it takes a while.
        from skfusion.ehr.rebinding import with_events

        return with_events(self, events)

    def _log(self, message: str) -> None:
        logger.info("%s: %s", type(self).__name__, message)
        if self.verbose:
            print(f"[{type(self).__name__}] {message}", file=sys.stderr)

    # -- protocol for inspection --------------------------------------------------

    @property
    def target_(self) -> Any:
        """The fitted `Target`: kind of the task, classes and number of outputs."""
        check_is_fitted(self, "modalities_")
        return self._target

    def modality_specs(self) -> list[Modality]:
        """Return the modalities with their unfitted transformers and columns."""
        check_is_fitted(self, "modalities_")
        return list(self._modalities)

    def listed_modalities(self) -> dict[str, bool]:
        """Return whether each modality of the user is dropped, in their order.

        Parameters with one entry per modality follow this order.
        """
        check_is_fitted(self, "modalities_")
        return dict(self._listed)

    def joined_columns(self) -> dict[str, list[slice]] | None:
        """Return None, because the modalities share the columns of the learner.

        Early and late fusion return the columns of each modality.
        """
        return None

    def decision_encoded(self, Z: dict[str, np.ndarray]) -> np.ndarray:
        """Compute the decision function of a classifier from encoded modalities.

        Parameters
        ----------
        Z : dict of str to ndarray of shape (n_samples, n_features_m)
            Result of `encode_modalities`.

        Returns
        -------
        ndarray of shape (n_samples,) or (n_samples, n_classes)
        """
        return self._target.logits(self.predict_encoded(Z))

    def training_rows(self, X: Any) -> np.ndarray | None:
        """Return which rows of a cohort are rows that the model was fitted on.

        Parameters
        ----------
        X : DataFrame or ndarray of shape (n_samples, n_columns)
            A cohort.

        Returns
        -------
        ndarray of bool of shape (n_samples,) or None
            Whether a row is equal to a training row, in all its modalities or in one
            that tells the training rows apart. Numbers are compared with 32 bits. None
            for a model that was fitted by a version without this comparison.
        """
        known = getattr(self, "_training_rows", None)
        frame = self._read_cohort(X)
        return None if known is None else known.found(self._modalities, frame)

    def repeated_training_rows(self) -> float:
        """Return the share of the training rows that are equal to another one."""
        known = getattr(self, "_training_rows", None)
        return 0.0 if known is None else known.repeated()

    def read_cohort(self, X: Any) -> pd.DataFrame:
        """Check a cohort and return the columns that the modalities use.

        Parameters
        ----------
        X : DataFrame or ndarray of shape (n_samples, n_columns)
            A cohort.

        Returns
        -------
        DataFrame of shape (n_samples, n_used)
        """
        return self._read_cohort(X)

    # -- fitting ------------------------------------------------------------------

    def _start_fit(
        self, X: Any, y: Any, sample_weight: Any, groups: Any
    ) -> TrainingData:
        """Check the arguments of `fit` and set the attributes of the input."""
        owner = type(self).__name__
        check_option(self.missing, "missing", MISSING_POLICIES, owner)
        frame = self._as_frame(X, y, reset=True)
        check_consistent_length(frame, y)
        patients = check_groups(groups, frame, column=self.groups, owner=owner)
        aside = self._set_aside(frame, has_ids=groups is not None)
        modalities = self._find_modalities(frame, aside)
        warn_of_id_features(modalities, frame, patients, owner)
        used = {column for modality in modalities for column in modality.columns}
        self._columns = list(frame.columns)
        self._used = [column for column in self._columns if column in used]
        kinds = dict(zip(self._columns, frame.dtypes, strict=True))
        names = {kind: str(kind) for kind in set(kinds.values())}
        self._dtypes = {column: names[kinds[column]] for column in self._used}
        self._modalities = modalities
        cohort = select_columns(frame, self._used).reset_index(drop=True)
        data = TrainingData(
            cohort,
            self._new_target(y),
            self._checked_weights(sample_weight, len(cohort)),
            patients,
            presence_mask(modalities, cohort),
            self._auxiliary_values(frame),
        )
        # The shares of the classes are those of the rows that are left.
        data = self._with_class_weights(data.rows(self._usable_rows(data.presence)))
        self._training_rows = TrainingRows(modalities, data.X)
        self._had_patients = patients is not None
        if data.sample_weight is None:
            return data
        # The weights are scaled here only. A part that is fitted on some of the rows,
        # e.g. those of an inner fold or with a modality, sees each row with the weight
        # that it has for the other parts.
        weights = relative_weights(data.sample_weight, owner)
        return replace(data, sample_weight=weights)

    def _find_modalities(
        self, frame: pd.DataFrame, aside: Mapping[str, Any]
    ) -> list[Modality]:
        self._is_auto = isinstance(self.modalities, str) and self.modalities == "auto"
        if self._is_auto:
            triples = default_modalities(frame, aside.values(), type(self).__name__)
            found = "; ".join(f"{name}: {columns!r}" for name, _, columns in triples)
            logger.info("%s: modalities='auto' found %s", type(self).__name__, found)
        else:
            triples = self.modalities
        reserved = set(declared_params(self))
        modalities = check_modalities(
            triples, frame, owner=type(self).__name__, reserved=reserved
        )
        self._listed = {name: is_dropped(part) for name, part, _ in triples}
        for role, column in aside.items():
            for modality in modalities:
                key = role == "groups" and looks_up_by(modality.transformer, column)
                if column in modality.columns and not key:
                    raise ValueError(
                        f"{type(self).__name__}: column {column!r} is the {role} "
                        f"column and cannot be a feature of modality "
                        f"{modality.name!r} as well, because a model would memorise "
                        "the patients or the outcome. Leave it out of the modality."
                    )
        return modalities

    def _set_aside(self, frame: pd.DataFrame, *, has_ids: bool) -> dict[str, Any]:
        """Return the columns that are not features, by the name of their parameter.

        `has_ids` tells whether `fit` received patient ids. The table then need not
        have the column of the parameter `groups`.
        """
        if self.groups is None:
            return {}
        owner = type(self).__name__
        try:
            return {"groups": column_of_role(self.groups, "groups", frame, owner)}
        except ValueError:
            if has_ids:
                return {}
            raise

    def _auxiliary_values(self, frame: pd.DataFrame) -> pd.Series | None:
        """Return the auxiliary target, or None for a strategy without one."""
        return None

    def _checked_weights(self, sample_weight: Any, n_rows: int) -> np.ndarray | None:
        if sample_weight is None:
            return None
        return check_weights(sample_weight, n_rows, type(self).__name__)

    def _with_class_weights(self, data: TrainingData) -> TrainingData:
        """Multiply the weights of the rows by those of their classes."""
        class_weight = getattr(self, "class_weight", None)
        if class_weight is None:
            return data
        weights = data.sample_weight
        extra = class_weight_of_rows(
            class_weight,
            data.y,
            weights,
            classes=self.classes_ if self._target.kind == "classes" else None,
            owner=type(self).__name__,
        )
        return replace(
            data, sample_weight=extra if weights is None else weights * extra
        )

    def _new_target(self, y: Any) -> np.ndarray:
        """Set ``_target`` and return the encoded `y`."""
        raise NotImplementedError

    def _usable_rows(
        self, presence: np.ndarray, learned: np.ndarray | None = None
    ) -> np.ndarray:
        """Apply the missing policy to the training rows and return the rows kept.

        `learned` is False for modalities of which nothing was learned. Their
        transformers have warned, and they are absent in every row.
        """
        if learned is not None and not learned.any():
            return np.arange(len(presence))  # Predictions are the average.
        modalities = self._modalities
        if learned is not None and not learned.all():
            presence = presence[:, learned]
            modalities = [m for m, has in zip(modalities, learned, strict=True) if has]
        for modality, present in zip(modalities, presence.T, strict=True):
            if not present.any():
                raise ValueError(
                    f"{type(self).__name__}: {modality.label} is absent in all "
                    f"{len(present)} rows, so there is nothing to learn from. Check "
                    "the column, or leave the modality out."
                )
        enough = np.any if self.missing == "auto" else np.all
        usable = np.asarray(enough(presence, axis=1))
        if usable.all():
            return np.arange(len(usable))
        if self.missing == "error":
            self._raise_incomplete(presence, modalities)
        what = "no modality at all" if self.missing == "auto" else "not every modality"
        if not usable.any():
            raise ValueError(
                f"{type(self).__name__}: all {len(usable)} rows have {what}, so "
                f"nothing is left to learn from with missing={self.missing!r}."
            )
        warn_user(
            f"{type(self).__name__}: missing={self.missing!r} drops {(~usable).sum()} "
            f"of {len(usable)} rows, which have {what} "
            f"({_absences(modalities, presence)}).",
            DataWarning,
        )
        return np.flatnonzero(usable)

    def _raise_incomplete(
        self, presence: np.ndarray, modalities: list[Modality]
    ) -> None:
        rows = np.flatnonzero(~presence.all(axis=1))
        raise ValueError(
            f"{type(self).__name__}: {len(rows)} of {len(presence)} rows lack a "
            f"modality ({_absences(modalities, presence)}), first at row "
            f"position(s) {rows[:5].tolist()}, and missing={self.missing!r} does not "
            "allow absent modalities. Use missing='auto', or leave those rows out."
        )

    # -- predicting ---------------------------------------------------------------

    def _read_cohort(self, X: Any) -> pd.DataFrame:
        """Check the input of a prediction and return the columns that are used."""
        check_is_fitted(self, "modalities_")
        frame = self._as_frame(X, None, reset=False)
        gone = self._without_columns(frame)
        if self._is_auto:
            self._check_all_columns(frame, gone)
        known = set(frame.columns)
        for modality in self._modalities:
            for column in () if modality in gone else modality.columns:
                if column not in known:
                    raise ValueError(
                        missing_column_message(
                            column,
                            frame,
                            owner=type(self).__name__,
                            name=modality.name,
                        )
                    )
        if gone:
            frame = self._add_absent_columns(frame, gone)
        return select_columns(frame, self._used).reset_index(drop=True)

    def _without_columns(self, frame: pd.DataFrame) -> list[Modality]:
        """Return the modalities of which a table has no column, if they may be absent.

        This is an error if the table has no column of any modality.
        """
        known = set(frame.columns)
        gone = [m for m in self._modalities if known.isdisjoint(m.columns)]
        allowed = self.missing == "auto" and len(gone) < len(self._modalities)
        return gone if allowed else []

    def _add_absent_columns(
        self, frame: pd.DataFrame, gone: list[Modality]
    ) -> pd.DataFrame:
        labels = ", ".join(modality.label for modality in gone)
        warn_user(
            f"{type(self).__name__}: X has no column of {labels}, so "
            f"{'it is' if len(gone) == 1 else 'they are'} absent in all {len(frame)} "
            "rows. Add the columns with missing values to avoid this warning.",
            DataWarning,
        )
        absent = {column for modality in gone for column in modality.columns}
        empty = pd.DataFrame(
            None, frame.index, [c for c in self._used if c in absent], dtype=object
        )
        return pd.concat([frame, empty], axis=1)

    def _check_all_columns(self, frame: pd.DataFrame, gone: list[Modality]) -> None:
        """Compare the columns with those of `fit`, as scikit-learn does.

        Columns that no modality uses, such as the groups, may be missing.
        """
        required = set(self._used)
        required -= {column for modality in gone for column in modality.columns}
        names = list(frame.columns)
        known = set(names)
        for position, column in enumerate(self._columns):
            if column not in required and column not in known:
                names.insert(position, column)
        shape_of_fit = pd.DataFrame(columns=pd.Index(names, tupleize_cols=False))
        validate_data(self, shape_of_fit, skip_check_array=True, reset=False)

    def _check_predictable(self, presence: np.ndarray) -> np.ndarray:
        """Apply the missing policy to a prediction and return rows with no modality.

        Raises
        ------
        ValueError
            If a modality is absent although `missing` is not ``"auto"``.
        """
        learned = getattr(self, "_learned", np.ones(presence.shape[1], dtype=bool))
        if self.missing != "auto" and not presence[:, learned].all():
            known = zip(self._modalities, learned, strict=True)
            some = [modality for modality, has in known if has]
            self._raise_incomplete(presence[:, learned], some)
        if presence.all():  # faster than row by row
            return np.zeros(len(presence), dtype=bool)
        nothing = np.asarray(~presence.any(axis=1))
        if nothing.any():
            warn_user(
                f"{type(self).__name__}: {nothing.sum()} of {len(nothing)} rows have "
                "no modality at all. Their prediction is the average of the training "
                "data.",
                DataWarning,
            )
        return nothing

    def _set_support(self, trained: np.ndarray) -> None:
        """Set `supports_missing_` from a boolean mask of shape (n_modalities,).

        An entry of `trained` is True if the modality was absent or masked in a training
        row, or if its absence needs no training.
        """
        allows = self.missing == "auto" and len(self._modalities) > 1
        self.supports_missing_ = {
            modality.name: bool(allows and learned)
            for modality, learned in zip(self._modalities, trained, strict=True)
        }

    def _warn_untrained(self, presence: np.ndarray) -> None:
        """Warn about absent modalities that were never absent in training."""
        if self.missing != "auto" or presence.shape[1] < 2:
            # Another policy raises an error. A single modality leaves no other one.
            return
        some = presence.any(axis=1)  # `_check_predictable` warns about the other rows
        count = (~presence[some]).sum(axis=0)
        learned = list(self.supports_missing_.values())
        new = [j for j in np.flatnonzero(count) if not learned[j]]
        if new:
            absences = ", ".join(
                f"{self._modalities[j].name} absent in {count[j]}" for j in new
            )
            warn_user(
                f"{type(self).__name__}: {absences} of {len(presence)} rows, but never "
                "in the training data, so the model was never trained with these "
                "modalities absent. Late fusion predicts from the modalities present.",
                DataWarning,
            )

    def _as_frame(self, X: Any, y: Any, *, reset: bool) -> pd.DataFrame:
        frame = as_pandas(X, type(self).__name__)
        if frame is None:
            array = validate_data(
                self, X, dtype="numeric", ensure_all_finite=False, reset=reset
            )
            if reset and y is None:
                validate_data(self, X, y, skip_check_array=True)
            if reset:
                self._has_labels = False
            frame = pd.DataFrame(array)
            return frame if reset else frame.set_axis(self._columns, axis=1)
        if len(frame) == 0:
            raise ValueError(
                f"{type(self).__name__}: X has 0 sample(s) while a minimum of 1 is "
                "required."
            )
        if reset:
            validate_data(self, frame, y, skip_check_array=True)
            self._has_labels = True
        elif not self._has_labels and list(frame.columns) != self._used:
            # The columns that are used are a result of `read_cohort`.
            frame = self._by_position(frame)
        return frame

    def _by_position(self, frame: pd.DataFrame) -> pd.DataFrame:
        """Return a table with the columns of the array that `fit` received."""
        validate_data(self, frame, skip_check_array=True, reset=False)
        labels = list(frame.columns)
        if set(labels) == set(self._columns) and labels != self._columns:
            raise ValueError(
                f"{type(self).__name__}: the columns of X are numbered, but not in "
                "order, so their positions and their labels differ. The model was "
                "fitted on an array, which has positions only. Pass X in the order of "
                "the fit, or as an array."
            )
        return frame.set_axis(self._columns, axis=1)

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        tags.input_tags.string = True
        tags.input_tags.categorical = True
        return tags


def _absences(modalities: list[Modality], presence: np.ndarray) -> str:
    lacking = (~presence).sum(axis=0)
    return ", ".join(
        f"{modality.name} absent in {count}"
        for modality, count in zip(modalities, lacking, strict=True)
        if count
    )


def with_transformers(
    modalities: list[Modality], fitted: Callable[[Modality], Any]
) -> list[tuple[str, Any, Any]]:
    """Return the triples of the user with fitted transformers in place."""
    return [
        (
            modality.name,
            fitted(modality),
            modality.columns[0] if modality.scalar else list(modality.columns),
        )
        for modality in (replace(m) for m in modalities)
    ]
