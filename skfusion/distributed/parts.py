"""Parts of long work, on the workers of Dask or in this process."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from skfusion.exceptions import warn_user

__all__ = ["current_client", "mapped", "repeat_warnings"]


def mapped(
    function: Callable[..., Any], parts: list[tuple[Any, ...]], client: Any
) -> Iterator[tuple[int, Any]]:
    """Apply a function to parts, on the workers of Dask or in this process.

    Yields the number of a part and its result, in the order in which they are ready.
    """
    client = current_client(client)
    if client is None:
        for number, part in enumerate(parts):
            yield number, function(*part)
        return
    from distributed import as_completed

    # The first argument is the same for all parts and is sent once.
    shared = client.scatter(parts[0][0], broadcast=True, hash=False)
    futures = [
        client.submit(function, shared, *part[1:], pure=False, retries=2)
        for part in parts
    ]
    numbers = {future.key: number for number, future in enumerate(futures)}
    try:
        for future in as_completed(futures):
            yield numbers[future.key], future.result()
    finally:
        client.cancel(futures)


def current_client(client: Any) -> Any:
    """Return the client of Dask to use, None for this process."""
    if client is not None:
        return client
    distributed = sys.modules.get("distributed")  # a client exists only if imported
    if distributed is None:
        return None
    try:
        return distributed.get_client()
    except ValueError:
        return None


def repeat_warnings(results: Sequence[Any]) -> None:
    """Issue the warnings of all parts once each, with the number of parts."""
    counts = Counter(warning for result in results for warning in result.warnings)
    for (category, text), n_parts in counts.items():
        where = f" (in {n_parts} of {len(results)} parts)" if len(results) > 1 else ""
        warn_user(f"{text}{where}", category)
