"""Progress: time left, one line on a terminal, lines elsewhere, nothing unasked."""

from __future__ import annotations

import io
import sys

import pytest

from skfusion import _progress
from skfusion._progress import progress


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture
def clock(monkeypatch):
    """A clock that stands until it is set."""
    now = [0.0]
    monkeypatch.setattr(_progress.time, "monotonic", lambda: now[0])
    return now


def run(monkeypatch, clock, stream, times, **options):
    monkeypatch.setattr(sys, "stderr", stream)
    with progress(
        len(times), verbose=1, title="Compare", unit="fit", **options
    ) as advance:
        for moment in times:
            clock[0] = moment
            advance(1)
    return stream.getvalue()


def test_one_line_on_a_terminal_without_tqdm(monkeypatch, clock):
    monkeypatch.setitem(sys.modules, "tqdm", None)
    text = run(monkeypatch, clock, Terminal(), [1, 2, 3])
    assert text.count("\n") == 1
    assert text.endswith("finished\n")
    assert text.split("\r\x1b[K")[1] == "Compare: 1 of 3 fits, 1.0 fits/s, 0:02 left"


def test_lines_in_a_file_without_tqdm(monkeypatch, clock):
    monkeypatch.setitem(sys.modules, "tqdm", None)
    text = run(monkeypatch, clock, io.StringIO(), [1, 20, 25])
    assert "\r" not in text
    assert len(text.splitlines()) == 2  # not more than one in ten seconds


@pytest.mark.parametrize("has_tqdm", [True, False])
def test_the_time_left_knows_that_later_units_are_longer(has_tqdm, monkeypatch, clock):
    if has_tqdm:
        pytest.importorskip("tqdm")
    else:
        monkeypatch.setitem(sys.modules, "tqdm", None)
    seconds = [1.0, 1.0, 100.0, 98.0]
    stream = Terminal()
    monkeypatch.setattr(sys, "stderr", stream)
    with progress(
        4, verbose=1, title="Compare", unit="fit", seconds=seconds
    ) as advance:
        clock[0] = 2.0  # as expected, twice as long: two parallel fits would halve it
        advance(1)
        clock[0] = 4.0
        advance(1)
    text = stream.getvalue()
    assert "6:36 left" in text or "<6:36" in text
    if has_tqdm:
        assert "2/4" in text


def test_hours_are_shown(monkeypatch, clock):
    monkeypatch.setitem(sys.modules, "tqdm", None)
    assert "2:00:00 left" in run(monkeypatch, clock, Terminal(), [3600, 7200, 9000])


@pytest.mark.parametrize(("total", "verbose"), [(3, 0), (0, 1)])
def test_nothing_is_printed_unasked(total, verbose, capsys):
    with progress(total, verbose=verbose, title="Compare", unit="fit") as advance:
        advance(1)
    assert capsys.readouterr() == ("", "")
