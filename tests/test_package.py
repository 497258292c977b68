"""The package as a whole: what its import loads, what it exports, what it says."""

from __future__ import annotations

import ast
import configparser
import re
import subprocess
import sys
import tomllib
from fnmatch import fnmatch
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

import skfusion

ROOT = Path(__file__).parents[1]
HEAVY = {
    *("PIL", "captum", "dask", "duckdb", "jinja2", "matplotlib", "nibabel", "polars"),
    *("pyarrow", "pydicom", "pylidc", "scipy", "shap", "skimage", "sklearn", "skorch"),
    *("numpy", "openvino", "pandas", "torch", "torchvision", "xgboost"),
}


def canonical(requirement: str) -> str:
    name = re.split(r"[^A-Za-z0-9._-]", requirement, maxsplit=1)[0]
    return re.sub(r"[-_.]+", "-", name).lower()


def calls(*names: str) -> list[tuple[str, list[object]]]:
    """(module, constant arguments) of every call in the package to one of `names`."""
    found = []
    for path in sorted((ROOT / "skfusion").rglob("*.py")):
        module = ".".join(path.relative_to(ROOT).with_suffix("").parts)
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call):
                name = ast.unparse(node.func).rpartition(".")[2]
                constants = [a.value for a in node.args if isinstance(a, ast.Constant)]
                if name in names and constants:
                    found.append((module, constants))
    return found


def loaded_by(code: str) -> set[str]:
    """Top-level modules that a fresh interpreter has loaded after running `code`."""
    report = "import sys; print(*sorted({m.partition('.')[0] for m in sys.modules}))"
    result = subprocess.run(
        [sys.executable, "-c", f"{code}\n{report}"],
        capture_output=True,
        text=True,
        check=True,
    )
    return set(result.stdout.split())


def test_import_loads_no_heavy_module():
    loaded = loaded_by("import skfusion")
    assert "skfusion" in loaded
    assert loaded & HEAVY == set()


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    [
        "EarlyFusionClassifier",
        "LateFusionClassifier",
        "TabularEncoder",
        "compare_fusion",
        "read_image",
    ],
)
def test_names_that_need_no_net_load_no_torch(name):
    loaded = loaded_by(f"from skfusion import {name}")
    assert "numpy" in loaded
    nets = {"torch", "torchvision", "skorch", "shap", "xgboost", "polars", "matplotlib"}
    assert loaded & nets == set()


def test_version_is_that_of_the_project_file():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert skfusion.__version__ == project["version"] == metadata.version("skfusion")


def test_setup_cfg_holds_no_metadata():
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg")
    allowed = ("coverage:", "mypy")
    assert config.sections()
    assert [s for s in config.sections() if not s.startswith(allowed)] == []


@pytest.mark.long
def test_nets_are_required_by_name_only_where_torch_is_imported():
    # import-linter sees import statements; this sees `require("torchvision", ...)`.
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]
    contracts = settings["importlinter"]["contracts"]
    (torch_contract,) = (c for c in contracts if c["id"] == "torch")
    wings = {edge.partition(" ")[0] for edge in torch_contract["ignore_imports"]}
    nets = set(torch_contract["forbidden_modules"])
    found = {
        module
        for module, arguments in calls("require", "import_module")
        if str(arguments[0]).partition(".")[0] in nets
    }
    assert found
    for module in found:
        assert any(fnmatch(module, wing.replace("**", "*")) for wing in wings), module


@pytest.mark.long
def test_every_extra_named_in_an_error_exists():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    asked = {arguments[1] for _, arguments in calls("require") if len(arguments) > 1}
    assert asked
    assert asked <= set(project["optional-dependencies"])


def test_every_requirement_has_a_tested_pin():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    lists = [project["dependencies"], *project["optional-dependencies"].values()]
    wanted = {canonical(name) for requirements in lists for name in requirements}
    pins = (ROOT / "constraints.txt").read_text().splitlines()
    pinned = {canonical(pin) for pin in pins if pin and not pin.startswith("#")}
    assert wanted - {"skfusion"} <= pinned


def test_the_lowest_pins_are_the_lower_bounds():
    """All that the tests install is pinned, and to the release of its bound."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    pins = dict(
        line.split("==")
        for line in (ROOT / "constraints-lowest.txt").read_text().splitlines()
        if line and not line.startswith("#")
    )
    pins = {canonical(name): version for name, version in pins.items()}
    names, wanted = ["test"], set()
    while names:
        wanted.add(name := names.pop())
        for text in extras[name]:
            nested = re.match(r"skfusion\[(.*)\]", text)
            names += nested[1].split(",") if nested else []
    lists = [extras[name] for name in wanted]
    found = 0
    for text in sum(lists, project["dependencies"]):
        requirement = Requirement(text)
        marker = requirement.marker
        if requirement.name == "skfusion" or (marker and not marker.evaluate()):
            continue
        (lowest,) = (s.version for s in requirement.specifier if s.operator == ">=")
        pin = Version(pins[canonical(requirement.name)])
        assert pin in requirement.specifier, requirement
        assert pin.release[: len(Version(lowest).release)] == Version(lowest).release
        found += 1
    assert found > 40


def test_licences_of_the_extras_are_listed_and_none_of_all_is_gpl():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    kinds = {
        **{"Apache": "Apache", "MIT": "MIT", "BSD": "BSD", "MPL": "MPL"},
        **{"PSF": "PSF", "Python Software Foundation": "PSF"},
        **{"(?<!L)GPL": "GPL", "GNU General Public": "GPL"},
    }

    def kinds_in(text: str) -> set[str]:
        return {kind for pattern, kind in kinds.items() if re.search(pattern, text)}

    def licence(package: str) -> set[str]:
        found = metadata.distribution(package)
        about = found.metadata
        stated = about.get("License-Expression") or " ".join(
            c for c in about.get_all("Classifier", []) if c.startswith("License")
        )
        # The text of a licence mentions others, so its first line alone counts.
        files = map(found.read_text, ("LICENSE", "licenses/LICENSE"))
        texts = (about.get("License"), *files)
        titles = [text.strip().partition("\n")[0] for text in texts if text]
        return kinds_in(stated) or kinds_in(" ".join(titles))

    def packages(extra: str) -> set[str]:
        names = set()
        for requirement in extras[extra]:
            nested = re.match(r"skfusion\[(.*)\]", requirement)
            if nested:
                names |= set().union(*map(packages, nested[1].split(",")))
            else:
                names.add(canonical(requirement))
        return names

    installed = {canonical(d.metadata["Name"]) for d in metadata.distributions()}
    assert licence("scikit-survival") == licence("pylibjpeg-libjpeg") == {"GPL"}
    in_all = packages("all") & installed
    assert len(in_all) > 20
    assert {name for name in in_all if "GPL" in licence(name)} == set()

    lines = (ROOT / "docs/install.md").read_text(encoding="utf-8").splitlines()
    rows = [[c.strip() for c in x.split("|")[1:-1]] for x in lines if x[:3] == "| `"]
    assert {e for row in rows for e in re.findall(r"`(.+?)`", row[0])} == set(extras)
    for extra_cell, _, package_cell, licence_cell in rows:
        own = set().union(*map(packages, re.findall(r"`(.+?)`", extra_cell)))
        if "`" in package_cell:  # other extras, which have rows of their own
            continue
        named = {canonical(w) for w in re.findall(r"[\w.-]+", package_cell)} & own
        assert named, extra_cell
        # The page has the licences of the pinned releases; Pillow changed its own.
        for name in named & installed:
            if name == "pillow" and Version(metadata.version(name)) < Version("11"):
                continue
            assert licence(name) & kinds_in(licence_cell), (name, licence_cell)


LEARNERS = ("calibration", "ensemble", "feature_selection", "linear_model", "tree")


@pytest.mark.long
def test_early_fusion_imports_no_other_learners():
    # A first prediction would take longer for them than for all else.
    code = (
        "import sys; from skfusion import EarlyFusionClassifier, ImageEmbedder, "
        "TabularEncoder; import skfusion.image.embedding.lookup; "
        "print(*sys.modules)"
    )
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, check=True, capture_output=True, text=True, cwd=ROOT)
    imported = set(done.stdout.split())
    assert imported.isdisjoint({"torch", *(f"sklearn.{name}" for name in LEARNERS)})
    assert "skfusion.fusion.early.estimators" in imported
