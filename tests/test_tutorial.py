"""The notebook of the tutorial is made from the page of the gallery."""

from __future__ import annotations

import json
import re
from pathlib import Path

ROOT = Path(__file__).parents[1]


def code(text: str) -> list[str]:
    """Return the lines of code of a text, without comments and blank lines."""
    lines = (line.rstrip() for line in text.splitlines())
    return [line for line in lines if line and not line.lstrip().startswith("#")]


def test_notebook_and_page_have_the_same_code():
    page = (ROOT / "docs/examples/plot_0_tutorial.py").read_text(encoding="utf-8")
    notebook = json.loads((ROOT / "docs/tutorial.ipynb").read_text(encoding="utf-8"))
    body = re.sub(r'^""".*?"""', "", page, count=1, flags=re.DOTALL)
    cells = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    found = [line for cell in cells for line in code("".join(cell["source"]))]
    assert found == code(body)
    assert all(not cell["outputs"] for cell in cells)


def test_notebook_has_the_text_of_the_page():
    notebook = json.loads((ROOT / "docs/tutorial.ipynb").read_text(encoding="utf-8"))
    text = "".join(
        line
        for cell in notebook["cells"]
        if cell["cell_type"] == "markdown"
        for line in cell["source"]
    )
    page = (ROOT / "docs/examples/plot_0_tutorial.py").read_text(encoding="utf-8")
    for heading in re.findall(r"^# (.+)\n# -+$", page, flags=re.MULTILINE):
        assert heading in text
