"""Finished fits of a comparison on disk, so that an interrupted run can go on.

A fit is one file. Its name is a digest of the rows, the estimator, the seed and the
versions, so a file is read only for exactly the same fit. A file begins with a digest
of its content, without which it is not read. The files have no pickles.
"""

from __future__ import annotations

import hashlib
import io
import json
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import joblib
import numpy as np

import skfusion
from skfusion._paths import write_whole
from skfusion.evaluation.comparison.study import OWNER, Study
from skfusion.evaluation.metrics import Predictions, class_numbers
from skfusion.exceptions import FallbackWarning, warn_user

if TYPE_CHECKING:
    from skfusion.evaluation.comparison.design import Split
    from skfusion.evaluation.comparison.strategies import Strategy

__all__ = ["Checkpoint", "Fit"]


PACKAGES = ("numpy", "scipy", "scikit-learn", "xgboost", "xgboost-cpu", "torch")
SUFFIX = ".fit"
DIGEST_SIZE = 32  # of the content, at the beginning of a file
PARTS = ("scores", "labels", "survival", "times")


@dataclass(frozen=True)
class Fit:
    """Predictions of one fitted arm on one split.

    Attributes
    ----------
    predictions : Predictions
        Predictions for the rows of the test set.
    seconds : float
        Time for fit and prediction, in seconds.
    warnings : list of (str, str)
        Category and message of the warnings of fit and prediction.
    members : dict of str to Predictions
        Predictions of the members of a late fusion, by modality.
    chosen : dict of str to str or None
        Parameters that a search has chosen.
    """

    predictions: Predictions
    seconds: float
    warnings: list[tuple[str, str]]
    members: dict[str, Predictions] = field(default_factory=dict)
    chosen: dict[str, str] | None = None


@dataclass(frozen=True)
class Checkpoint:
    """Folder with finished fits.

    Attributes
    ----------
    folder : Path or None
        Folder. None keeps nothing.
    digest : str
        Digest of the cohort and of the versions of the packages.
    classes : ndarray or None
        Class labels, whose positions are stored in place of predicted labels.
    """

    folder: Path | None = None
    digest: str = ""
    classes: np.ndarray | None = None

    @classmethod
    def of(cls, path: Any, study: Study, request: Any) -> Checkpoint:
        """Return the checkpoint of a comparison in a folder, which is created."""
        if path is None:
            return cls()
        folder = Path(path)
        if folder.exists() and not folder.is_dir():
            raise NotADirectoryError(
                f"{OWNER}: checkpoint must be a folder, but there is a file of this "
                "name. Choose another path."
            )
        folder.mkdir(parents=True, exist_ok=True)
        versions = {name: _version(name) for name in PACKAGES}
        versions["skfusion"] = skfusion.__version__
        parts = (study.X, study.y, study.groups, request, versions)
        return cls(folder, _digest(parts, "the cohort"), study.task.classes)

    def key(self, arm: Strategy, split: Split, random_state: int) -> str:
        """Return the name of the file of a fit."""
        if self.folder is None:
            return ""
        estimator = _digest(arm.estimator, f"the estimator of {arm.name!r}")
        rows = joblib.hash((split.train, split.test))
        text = "|".join(
            (self.digest, estimator, str(rows), arm.role, str(random_state))
        )
        return hashlib.sha256(text.encode()).hexdigest()[:40]

    def read(self, key: str) -> Fit | None:
        """Return a finished fit, or None if it is not there or not whole.

        Warns
        -----
        FallbackWarning
            If the file is damaged.
        """
        if self.folder is None:
            return None
        try:
            data = (self.folder / f"{key}{SUFFIX}").read_bytes()
        except FileNotFoundError:
            return None
        digest, content = data[:DIGEST_SIZE], data[DIGEST_SIZE:]
        if hashlib.sha256(content).digest() != digest:
            warn_user(
                "A file of the checkpoint is damaged, so its fit is computed again.",
                FallbackWarning,
            )
            return None
        with np.load(io.BytesIO(content), allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        about = json.loads(str(arrays.pop("about")))
        predicted = {
            name: self._predictions(arrays, f"{number}_")
            for number, name in enumerate(["", *about["members"]])
        }
        return Fit(
            predicted.pop(""),
            about["seconds"],
            [(category, text) for category, text in about["warnings"]],
            predicted,
            about["chosen"],
        )

    def write(self, key: str, fit: Fit) -> None:
        """Write a finished fit. A file is never seen before it is whole."""
        if self.folder is None:
            return
        arrays: dict[str, Any] = {}
        for number, predictions in enumerate([fit.predictions, *fit.members.values()]):
            for part in PARTS:
                value = getattr(predictions, part)
                if value is not None and part == "labels":
                    value = self._numbers(value)
                if value is not None:
                    arrays[f"{number}_{part}"] = value
        about = {
            "seconds": fit.seconds,
            "warnings": fit.warnings,
            "members": list(fit.members),
            "chosen": fit.chosen,
        }
        buffer = io.BytesIO()
        np.savez(buffer, about=np.array(json.dumps(about)), **arrays)
        content = buffer.getvalue()
        content = hashlib.sha256(content).digest() + content
        write_whole(self.folder / f"{key}{SUFFIX}", lambda file: file.write(content))

    def _numbers(self, labels: np.ndarray) -> np.ndarray:
        labels = np.asarray(labels)
        if self.classes is None or labels.ndim != 1:
            return labels
        return class_numbers(labels, self.classes)

    def _predictions(self, arrays: dict[str, np.ndarray], prefix: str) -> Predictions:
        found = {part: arrays.get(prefix + part) for part in PARTS}
        labels = found["labels"]
        if labels is not None and self.classes is not None and labels.ndim == 1:
            found["labels"] = self.classes[labels]
        return Predictions(**found)  # type: ignore[arg-type]


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return ""


def _digest(value: Any, what: str) -> str:
    try:
        return str(joblib.hash(value, hash_name="sha1"))
    except Exception as error:
        raise TypeError(
            f"{OWNER}: checkpoint needs {what} to be picklable, so that finished fits "
            f"can be recognised, got {type(error).__name__}: {error}. Leave checkpoint "
            "out, or use objects that can be pickled."
        ) from error
