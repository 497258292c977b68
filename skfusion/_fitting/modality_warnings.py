"""Warnings that name the modality whose transformer or model is called."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from joblib import effective_n_jobs
from sklearn.utils.parallel import Parallel, delayed

from skfusion.exceptions import warn_user

__all__ = ["joined_warnings", "of_modality", "run_parallel", "warn_of_modality"]

# The modality whose transformer is called, and the warnings of all modalities so far.
_current: ContextVar[str | None] = ContextVar("_current", default=None)
# By kind: message, category and names of the modalities.
Found = dict[str, tuple[str, type[Warning], list[str]]]
_joined: ContextVar[Found | None] = ContextVar("_joined", default=None)


@contextmanager
def of_modality(name: str) -> Iterator[None]:
    """Name the modality whose transformer is called in the block."""
    token = _current.set(name)
    try:
        yield
    finally:
        _current.reset(token)


@contextmanager
def joined_warnings() -> Iterator[None]:
    """Issue the warnings of a kind by `warn_of_modality` once for all modalities."""
    if _joined.get() is not None:  # The outer block issues them.
        yield
        return
    found: Found = {}
    token = _joined.set(found)
    try:
        yield
    finally:
        _joined.reset(token)
    for message, category, names in found.values():
        warn_user(_located(message, names), category)


def run_parallel(
    function: Callable[..., Any], calls: Iterable[tuple[Any, ...]], n_jobs: int | None
) -> list[Any]:
    """Call a function in joblib workers and keep what it warns of by modality.

    Parameters
    ----------
    function : callable
        Function of positional arguments. Processes need to import it.
    calls : iterable of tuple
        Arguments of each call.
    n_jobs : int or None
        Number of calls at a time. The workers have scikit-learn's configuration of the
        caller.

    Returns
    -------
    list
        Result of each call, in order. Warnings by `warn_of_modality` are issued by the
        caller, once of each kind.

    Examples
    --------
    >>> from skfusion._fitting.modality_warnings import run_parallel
    >>> run_parallel(pow, [(2, 3), (3, 2)], n_jobs=None)
    [8, 9]
    """
    with joined_warnings():
        if effective_n_jobs(n_jobs) == 1:
            return [function(*arguments) for arguments in calls]
        collected = _joined.get()
        results = []
        for result, found in Parallel(n_jobs=n_jobs)(
            delayed(_collecting)(function, arguments) for arguments in calls
        ):
            results.append(result)
            for kind, (message, category, names) in found.items():
                known = collected.setdefault(kind, (message, category, []))[2]  # type: ignore[union-attr]
                known += [name for name in names if name not in known]
        return results


def _collecting(
    function: Callable[..., Any], arguments: tuple[Any, ...]
) -> tuple[Any, Found]:
    # A thread or process of joblib does not have the context of the caller.
    found: Found = {}
    token = _joined.set(found)
    try:
        return function(*arguments), found
    finally:
        _joined.reset(token)


def warn_of_modality(kind: str, message: str, category: type[Warning]) -> None:
    """Issue a warning that names the modality whose transformer is called.

    Parameters
    ----------
    kind : str
        Kind of the warning. In a block of `joined_warnings`, each kind is issued once,
        with the message of the first modality and the names of all.
    message : str
        The message.
    category : type of Warning
        Category of the warning.
    """
    name, found = _current.get(), _joined.get()
    if found is None:
        names = [] if name is None else [name]
        warn_user(_located(message, names), category)
        return
    names = found.setdefault(kind, (message, category, []))[2]
    if name is not None and name not in names:
        names.append(name)


def _located(message: str, names: list[str]) -> str:
    if not names:
        return message
    others = f" (and in {', '.join(map(repr, names[1:]))})" if names[1:] else ""
    return f"In modality {names[0]!r}{others}: {message}"
