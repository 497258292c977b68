"""The page of texts, run as printed."""

from __future__ import annotations

import doctest
from pathlib import Path

import pytest

from skfusion._dependencies import is_installed

PAGE = Path(__file__).parents[2] / "docs" / "text.md"


@pytest.mark.skipif(
    not (is_installed("wordllama") and is_installed("tokenizers")),
    reason="wordllama is not installed",
)
def test_the_page_runs_as_printed(tmp_path, monkeypatch):
    monkeypatch.setenv("SKFUSION_CACHE", str(tmp_path / "cache"))
    text = PAGE.read_text(encoding="utf-8")
    page = doctest.DocTestParser().get_doctest(text, {}, PAGE.name, str(PAGE), 0)
    said: list[str] = []
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS)
    result = runner.run(page, out=said.append)
    assert not said, "".join(said)
    assert result.attempted > 20
