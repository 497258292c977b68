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
    seconds: Sequence[float] = (),
) -> Iterator[Callable[[int], None]]:
    """Show progress: a bar of tqdm if it is installed, else text.

    Text is one line on a terminal, and a line every few seconds elsewhere.

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
    seconds : sequence of float, default=()
        Relative durations of the units, for the time left. Without them, units are
        taken as equally long.

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
    clock = _Clock(total, seconds)
    try:
        from tqdm import tqdm
    except ImportError:
        lines = _Lines(clock, title, unit, steps)
        yield lines
        lines.close()
        return

    class Bar(tqdm):
        """Bar whose time left respects the durations of the units."""

        @property
        def format_dict(self) -> dict[str, object]:
            return {**super().format_dict, "left": clock.left()}

    names = [*steps, "finished"] if steps else []
    form = "{l_bar}{bar}| {n_fmt}/{total_fmt} [{elapsed}<{left}, {rate_fmt}{postfix}]"
    with Bar(
        total=total, desc=title, unit=unit, file=sys.stderr, bar_format=form
    ) as bar:
        if names:
            bar.set_postfix_str(names[0])

        def advance(n: int) -> None:
            clock.advance(n)
            if names:
                bar.set_postfix_str(names[min(clock.done, len(steps))], refresh=False)
            bar.update(n)

        yield advance


class _Clock:
    """Time left of units that may take longer than others."""

    def __init__(self, total: int, seconds: Sequence[float]) -> None:
        self.total = total
        self.weights = list(seconds) or [1.0] * total
        self.done = 0
        self.start = time.monotonic()
        self._whole: float | None = None  # the estimate at the last finished unit

    def advance(self, n: int) -> None:
        """Count finished units, and estimate the time of all of them."""
        self.done += n
        share = sum(self.weights[: self.done]) / max(sum(self.weights), 1e-9)
        self._whole = self.elapsed() / share if share > 0 else None

    def elapsed(self) -> float:
        """Return the seconds since the start."""
        return time.monotonic() - self.start

    def left(self) -> str:
        """Return the time left, as ``"2:05"``, or ``"?"`` before the first unit."""
        if self._whole is None:
            return "?"
        seconds = round(max(self._whole - self.elapsed(), 0))
        hours, seconds = divmod(seconds, 3600)
        minutes, seconds = divmod(seconds, 60)
        start = f"{hours}:{minutes:02d}" if hours else f"{minutes}"
        return f"{start}:{seconds:02d}"


class _Lines:
    """Progress as text: one line on a terminal, else a line every few seconds."""

    def __init__(
        self, clock: _Clock, title: str, unit: str, steps: Sequence[str]
    ) -> None:
        self.clock, self.title, self.unit, self.steps = clock, title, unit, steps
        self.is_terminal = bool(getattr(sys.stderr, "isatty", lambda: False)())
        self.last = clock.start
        if steps:
            self._print(f"0 of {clock.total} {unit}s, {steps[0]}")

    def __call__(self, n: int) -> None:
        if not n:
            return
        clock = self.clock
        clock.advance(n)
        now = time.monotonic()
        finished = clock.done >= clock.total
        is_early = not self.is_terminal and now - self.last < _SECONDS_BETWEEN_LINES
        if not finished and not self.steps and is_early:
            return
        self.last = now
        rate = clock.done / max(clock.elapsed(), 1e-9)
        text = f"{clock.done} of {clock.total} {self.unit}s, {rate:.1f} {self.unit}s/s"
        if finished:
            text += ", finished"
        else:
            text += f", {clock.left()} left"
            if self.steps:
                text += f", {self.steps[clock.done]}"
        self._print(text)

    def close(self) -> None:
        """End the line of a terminal."""
        if self.is_terminal:
            print(file=sys.stderr)

    def _print(self, text: str) -> None:
        start, end = ("\r\x1b[K", "") if self.is_terminal else ("", "\n")
        print(f"{start}{self.title}: {text}", end=end, file=sys.stderr, flush=True)
