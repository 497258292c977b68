"""Files of models without pickle: `save`, `load` and `inspect_model`."""

from __future__ import annotations

import hashlib
import os
import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from sklearn.base import BaseEstimator
from sklearn.exceptions import InconsistentVersionWarning
from sklearn.utils.validation import check_is_fitted

from skfusion.exceptions import FallbackWarning, warn_user
from skfusion.persistence import object_graph
from skfusion.persistence.archive import (
    Archive,
    Limits,
    ModelFileError,
    check_members,
    path_of_model,
    write_archive,
)
from skfusion.persistence.lowering import Lowering
from skfusion.persistence.manifest import (
    GRAPH,
    MANIFEST,
    ModelDescription,
    absent_packages,
    check_versions,
    make_manifest,
    read_manifest,
)
from skfusion.persistence.parts import PartSink, PartSource
from skfusion.persistence.restoring import Restoring
from skfusion.persistence.stores import choose_stores

__all__ = ["inspect_model", "load", "save"]


def save(
    model: Any,
    path: str | os.PathLike[str],
    embed_weights: bool = False,
    *,
    max_members: int = 10_000,
) -> ModelDescription:
    """Save a fitted model to a file without pickle.

    Parameters
    ----------
    model : estimator
        A fitted fusion or transformer, or an estimator of scikit-learn around it, such
        as a `Pipeline`, a search or a calibrated classifier.
    path : str or PathLike
        The file, e.g. ``"model.skfusion"``. An existing file is replaced when the new
        one is complete.
    embed_weights : bool, default=False
        Whether the file contains the weights of named backbones, for a machine that
        does not have them. Weights from a file and those of a module are always
        contained.
    max_members : int, default=10_000
        Largest number of parts, such as arrays. `load` and `inspect_model` accept more
        than 10,000 only with the same parameter.

    Returns
    -------
    ModelDescription
        What `inspect_model` returns for the file, including what `load` will not trust
        by itself.

    Raises
    ------
    ModelFileError
        If a part of the model has no form without pickle, e.g. a function that is
        defined in a notebook, or the model has more than `max_members` parts. Nothing
        was written. The message names the part.
    NotFittedError
        If the model is not fitted.
    TypeError
        If `model` is not an estimator, or `path` is no path.
    OSError
        If the file cannot be written. One that was there is unchanged.

    See Also
    --------
    load : Load the model.
    inspect_model : See what is in a file.

    Notes
    -----
    The file is a zip file of a manifest, the estimator as skops writes it, weights as
    safetensors and boosters in their own formats. It contains what the model learned,
    which may include names of categories and, for learners that keep them, training
    rows. It contains no path of a store, and not the digests of training rows by which
    a fusion recognises them.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> import numpy as np
    >>> import skfusion
    >>> rng = np.random.default_rng(0)
    >>> X, y = rng.normal(size=(40, 4)), np.arange(40) % 2
    >>> model = skfusion.LateFusionClassifier(
    ...     [("lab", "passthrough", [0, 1]), ("ecg", "passthrough", [2, 3])]
    ... ).fit(X, y)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder) / "model.skfusion"
    ...     description = skfusion.save(model, path)
    ...     loaded = skfusion.load(path)
    >>> np.array_equal(loaded.predict_proba(X), model.predict_proba(X))
    True
    >>> description.untrusted
    []
    """
    if not isinstance(model, BaseEstimator) or isinstance(model, type):
        raise TypeError(
            f"save: model must be a fitted estimator, got {type(model).__name__}."
        )
    check_is_fitted(model)
    place = path_of_model(path, "save")
    sink = PartSink(embed_weights=bool(embed_weights))
    limits = Limits(max_members, max_size=2**63, function="save")
    graph = Lowering(sink).lower(model)
    parts = {GRAPH: object_graph.dump(graph, limits), **sink.parts}
    check_members(len(parts) + 1, limits)
    manifest = make_manifest(model, parts, sink.facts)
    write_archive(place, {MANIFEST: manifest, **parts})
    return inspect_model(place, max_members=max_members)


def load(
    path: str | os.PathLike[str],
    trusted: Iterable[Any] = (),
    *,
    store: Any = None,
    max_members: int = 10_000,
    max_size: int = 4 * 1024**3,
) -> Any:
    """Load a model that `save` wrote, without executing code of the file.

    Parameters
    ----------
    path : str or PathLike
        The file.
    trusted : iterable of str or type, default=()
        Classes and functions that are trusted in addition to those listed in skfusion,
        e.g. ``["clinic.networks.Net"]``. Their modules are imported. `inspect_model`
        lists those that a file needs.
    store : path, EmbeddingStore, EventStore, a list of these or None, default=None
        Where the stores of the model are. A store of events is recognised by its
        fingerprint, also in a subfolder of a path. None reads the environment variable
        ``SKFUSION_STORES``, paths that are separated as in ``PATH``. Without it,
        embeddings are in the default store and events in the cache folder.
    max_members : int, default=10_000
        Largest number of parts that is accepted.
    max_size : int, default=4 * 1024**3
        Largest size in bytes that is accepted.

    Returns
    -------
    estimator
        The model. Its predictions are equal to those of the saved one with the same
        versions on the same kind of processor.

    Raises
    ------
    UntrustedTypesError
        If the file names a class or function that is not trusted. Nothing was loaded.
    ModelFileError
        If the file is damaged, was changed, has a newer format, or was saved with
        another major version of a package.
    FileNotFoundError
        If there is no such file.

    Warns
    -----
    FallbackWarning
        If scikit-learn, torch, torchvision, XGBoost, LightGBM or skfusion has another
        minor version, with which predictions may differ, or if the device of the model
        is not on this machine, so that it predicts on the CPU.

    See Also
    --------
    inspect_model : See what is in a file before it is loaded.

    Notes
    -----
    Classes are made by name from a list that is fixed in the installed skfusion, never
    in the file, and without calling them. The digests in the file detect damage. They
    are no signature, because whoever changes a part can change its digest: compare the
    digest of the whole file, `ModelDescription.sha256`, with one from a trusted source.

    Examples
    --------
    >>> import skfusion
    >>> skfusion.load("no_such.skfusion")
    Traceback (most recent call last):
        ...
    FileNotFoundError: there is no file of a model at this path. Relative paths are ...
    """
    if isinstance(trusted, bool | str) or not isinstance(trusted, Iterable):
        raise TypeError(
            "load: trusted must be a list of qualified names or classes, got "
            f"{type(trusted).__name__}. inspect_model(path).untrusted is such a list."
        )
    names = list(trusted)
    stores = choose_stores(store)
    limits = Limits(max_members, max_size)
    with Archive(path_of_model(path, "load", must_exist=True), limits) as archive:
        manifest = read_manifest(archive)
        problems, notes = check_versions(manifest["versions"])
        if problems:
            raise ModelFileError(_words_of(problems))
        parts = {
            name: _verified(archive, name, about["sha256"])
            for name, about in manifest["parts"].items()
        }
    source = PartSource(lambda name: _part_of(parts, name), stores)
    with warnings.catch_warnings():
        # One warning below stands for one of scikit-learn for each estimator.
        warnings.simplefilter("ignore", InconsistentVersionWarning)
        graph = object_graph.load(parts[GRAPH], limits, names)
    model = _restored(graph, source)
    kind = f"{type(model).__module__}.{type(model).__qualname__}"
    if kind != object_graph.current_name(manifest["model"]["class"]):
        raise ModelFileError(
            f"the file is refused: it contains a {kind}, not what its manifest says."
        )
    if source.absent_devices:
        warn_user(
            f"load: the model was saved with device="
            f"{', '.join(sorted(source.absent_devices))}, which this machine does not "
            "have. It predicts on the CPU: slower, and not with the same last digits. "
            "Set another one with set_params(device=...).",
            FallbackWarning,
        )
    if notes:
        warn_user(
            f"load: the model was saved with {', '.join(notes)}. Its predictions may "
            "differ in the last digits or more. Compare them with known ones, or "
            "install these versions.",
            FallbackWarning,
        )
    return model


def inspect_model(
    path: str | os.PathLike[str], *, max_members: int = 10_000
) -> ModelDescription:
    """Describe a model file without making any of its objects.

    Parameters
    ----------
    path : str or PathLike
        The file.
    max_members : int, default=10_000
        Largest number of parts that is accepted.

    Returns
    -------
    ModelDescription
        Class, task, modalities, columns, encoders, versions, what `load` will not
        trust, and the digest of the file. Stores and weights are not needed.

    Raises
    ------
    ModelFileError
        If the file is damaged or no model.
    FileNotFoundError
        If there is no such file.

    See Also
    --------
    load : Load the model.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> import numpy as np
    >>> import skfusion
    >>> encoder = skfusion.VectorColumns().fit([[1.0, 2.0], [3.0, 4.0]])
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder) / "encoder.skfusion"
    ...     _ = skfusion.save(encoder, path)
    ...     description = skfusion.inspect_model(path)
    >>> description.kind, description.untrusted
    ('skfusion.vectors.VectorColumns', [])
    """
    limits = Limits(max_members, max_size=2**63, function="inspect_model")
    place = path_of_model(path, "inspect_model", must_exist=True)
    with Archive(place, limits) as archive:
        manifest = read_manifest(archive)
        about = manifest["parts"][GRAPH]
        graph = object_graph.checked(_verified(archive, GRAPH, about["sha256"]), limits)
    problems, _ = check_versions(manifest["versions"])
    model = manifest["model"]
    names = object_graph.used_names(graph, limits)
    absent = absent_packages(names, manifest["versions"])
    return ModelDescription(
        kind=model["class"],
        task=model.get("task"),
        classes=model.get("classes"),
        modalities=model.get("modalities", []),
        columns=model.get("columns", []),
        training=model.get("training", {}),
        encoders=manifest["encoders"],
        stores=manifest["stores"],
        versions=manifest["versions"],
        names=names,
        untrusted=object_graph.untrusted_names(graph),
        problems=[*([_words_of(problems)] if problems else []), *absent],
        size=place.stat().st_size,
        sha256=_digest_of(place),
    )


def _words_of(problems: list[str]) -> str:
    return (
        f"the file was saved with another major version of {', '.join(problems)}. "
        "What a model learned is read by the version that fitted it: install these "
        "versions, or fit the model again."
    )


def _verified(archive: Archive, name: str, digest: str) -> bytes:
    content = archive.read(name)
    if hashlib.sha256(content).hexdigest() != digest:
        raise ModelFileError(
            f"the file is refused: the part {name!r} does not have the SHA-256 of the "
            "manifest, so it was changed after the model was saved."
        )
    return content


def _part_of(parts: dict[str, bytes], name: str) -> bytes:
    if name not in parts:
        raise ModelFileError(f"the file is refused: the part {name!r} is missing.")
    return parts[name]


def _restored(graph: Any, source: PartSource) -> Any:
    try:
        return Restoring(source).restore(graph)
    except (ModelFileError, ImportError, OSError):
        raise
    except Exception as e:  # a file may contain anything
        raise ModelFileError(
            f"the file is refused: {type(e).__name__} while its parts were put "
            "together. It was damaged or changed."
        ) from e


def _digest_of(place: Path) -> str:
    with place.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
