"""Progress of long work on standard error."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

__all__ = ["progress"]

_SECONDS_BETWEEN_LINES = 10.0


@contextmanager
def progress(
    total: int,
    *,
    verbose: int,
    title: str,
    unit: str,
    steps: Sequence[str] = (),
) -> Iterator[Callable[[int], None]]:
    """Show progress: a bar of tqdm if it is installed, else lines of text.

    Parameters
    ----------
    total : int
        Number of units of work.
    verbose : int
        Nothing is shown unless it is positive.
    title : str
        Name of the work, e.g. ``"Embed images of 'scan'"``.
    unit : str
        Name of a unit, e.g. ``"image"``.
    steps : sequence of str, default=()
        Names of the units, shown while they are under way.

    Yields
    ------
    callable
        Called with the number of units that were finished.

    Examples
    --------
    >>> from skfusion._progress import progress
    >>> with progress(2, verbose=0, title="Compare", unit="fit") as advance:
    ...     advance(1)
    """
    if verbose <= 0 or not total:
        yield lambda n: None
        return
    try:
        from tqdm import tqdm
    except ImportError:
        yield _Lines(total, title, unit, steps)
        return
    names = [*steps, "finished"] if steps else []
    done = 0
    with tqdm(total=total, desc=title, unit=unit, file=sys.stderr) as bar:
        if names:
            bar.set_postfix_str(names[0])

        def advance(n: int) -> None:
            nonlocal done
            done += n
            if names:
                bar.set_postfix_str(names[min(done, len(steps))], refresh=False)
            bar.update(n)

        yield advance


class _Lines:
    """Progress as lines of text, a line every few seconds."""

    def __init__(self, total: int, title: str, unit: str, steps: Sequence[str]) -> None:
        self.total, self.title, self.unit, self.steps = total, title, unit, steps
        self.done = 0
        self.start = self.last = time.monotonic()
        if steps:
            self._print(f"0 of {total} {unit}s, {steps[0]}")

    def __call__(self, n: int) -> None:
        if not n:
            return
        self.done += n
        now = time.monotonic()
        finished = self.done >= self.total
        if not finished and not self.steps and now - self.last < _SECONDS_BETWEEN_LINES:
            return
        self.last = now
        rate = self.done / max(now - self.start, 1e-9)
        text = f"{self.done} of {self.total} {self.unit}s, {rate:.1f} {self.unit}s/s"
        if finished:
            text += ", finished"
        else:
            text += f", {(self.total - self.done) / rate:.0f} s left"
            if self.steps:
                text += f", {self.steps[self.done]}"
        self._print(text)

    def _print(self, text: str) -> None:
        print(f"{self.title}: {text}", file=sys.stderr)
