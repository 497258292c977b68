"""The package as a whole: what its import loads, what it exports, what it says."""

from __future__ import annotations

import ast
import configparser
import subprocess
import sys
import tomllib
from importlib import metadata
from pathlib import Path

import pytest

import skfusion

ROOT = Path(__file__).parents[1]
HEAVY = {
    *("PIL", "captum", "dask", "duckdb", "jinja2", "matplotlib", "nibabel", "polars"),
    *("pyarrow", "pydicom", "pylidc", "scipy", "shap", "skimage", "sklearn", "skorch"),
    *("numpy", "openvino", "pandas", "torch", "torchvision", "xgboost"),
}
TORCH_ROOMS = {
    "image/_torchvision.py",
    "image/backbones.py",
    "image/embedding.py",
    "fusion/joint.py",
    "fusion/networks.py",
}


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


def test_all_names_resolve_and_are_listed():
    assert skfusion.__all__ == sorted(set(skfusion.__all__))
    assert set(skfusion.__all__) <= set(dir(skfusion))
    for name in skfusion.__all__:
        assert getattr(skfusion, name) is not None
        assert getattr(skfusion, name).__doc__, f"{name} has no docstring"


def test_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'MiddleFusion'"):
        skfusion.MiddleFusion  # noqa: B018 - the access is what is tested


def test_version_is_that_of_the_project_file():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert skfusion.__version__ == project["version"] == metadata.version("skfusion")


def test_setup_cfg_holds_no_metadata():
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg")
    allowed = ("coverage:", "mypy")
    assert config.sections()
    assert [s for s in config.sections() if not s.startswith(allowed)] == []


def test_torch_is_required_by_name_only_in_its_rooms():
    # import-linter sees import statements; this sees `require("torch", ...)`.
    found = set()
    for path in (ROOT / "skfusion").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.Call) or not node.args:
                continue
            name, first = ast.unparse(node.func), node.args[0]
            if name.endswith(("require", "import_module")) and isinstance(
                first, ast.Constant
            ):
                top = str(first.value).partition(".")[0]
                if top in {"torch", "torchvision", "skorch"}:
                    found.add(path.relative_to(ROOT / "skfusion").as_posix())
    assert found <= TORCH_ROOMS


def test_every_extra_named_in_an_error_exists():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = set(project["optional-dependencies"])
    asked = set()
    for path in (ROOT / "skfusion").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if (
                isinstance(node, ast.Call)
                and ast.unparse(node.func).endswith("require")
                and len(node.args) == 2
                and isinstance(node.args[1], ast.Constant)
            ):
                asked.add(node.args[1].value)
    assert asked
    assert asked <= extras
