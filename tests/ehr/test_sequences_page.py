"""The page of networks for sequences, run as printed, and the numbers in its table."""

from __future__ import annotations

import doctest
import os
import re
from pathlib import Path

import pytest

pytest.importorskip("duckdb")
pytest.importorskip("skorch")

PAGE = Path(__file__).parents[2] / "docs" / "sequences.md"
FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
TABLE = r"\| ([\w-]+) \| (0\.\d\d) \| (0\.\d\d) to (0\.\d\d) \|"


@pytest.mark.data
@pytest.mark.timeout(500)
@pytest.mark.filterwarnings("ignore")  # what is left out, rare codes of folds
def test_the_page_runs_as_printed(skfusion_data, tmp_path, monkeypatch):
    os.symlink(skfusion_data / "ehr" / "mimic4_demo", tmp_path / "mimic-iv-demo")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SKFUSION_CACHE", str(tmp_path / "cache"))
    text = PAGE.read_text(encoding="utf-8")
    page = doctest.DocTestParser().get_doctest(text, {}, PAGE.name, str(PAGE), 0)
    said: list[str] = []
    runner = doctest.DocTestRunner(optionflags=FLAGS)
    runner.run(page, out=said.append, clear_globs=False)
    assert not said, "".join(said)
    printed = re.findall(TABLE, text)
    assert [name for name, *_ in printed] == list(page.globs["results"])
    for name, *numbers in printed:
        # Another processor rounds otherwise, which changes when a training stops.
        found = pytest.approx(page.globs["results"][name], abs=0.1)
        assert tuple(map(float, numbers)) == found, name
