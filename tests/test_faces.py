"""The public names: where they are exported, and what their import loads."""

from __future__ import annotations

import ast
import importlib
import pkgutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

import skfusion

ROOT = Path(__file__).parents[1]
FACES = (
    *("skfusion", "skfusion.cohorts", "skfusion.datasets", "skfusion.ehr"),
    "skfusion.evaluation",
    *("skfusion.feature_selection", "skfusion.fusion", "skfusion.image"),
    *("skfusion.inspection", "skfusion.persistence", "skfusion.store"),
    "skfusion.survival",
    *("skfusion.testing", "skfusion.text"),
)
NETS = {"torch", "torchvision", "skorch", "openvino", "captum"}
# These are nets, or train them; importing anything else loads no torch.
NAMES_WITH_TORCH = {
    *("GRUDEncoder", "ImageAugmentation", "ImageEmbedder", "SequenceTransformer"),
    *("JointFusionClassifier", "JointFusionRegressor", "JointFusionSurvival"),
    *(
        "TorchEncoder",
        "TrainingSettings",
        "explain_images",
        "ImageSaliency",
        "SaliencyDisplay",
        "Preprocessing",
        "VolumePreprocessing",
    ),
}


def lazy_packages() -> list[str]:
    """All packages and modules that export names by `lazy_exports`."""
    found = []
    for path in sorted((ROOT / "skfusion").rglob("*.py")):
        if "__all__ = lazy_exports(" in path.read_text(encoding="utf-8"):
            name = ".".join(path.relative_to(ROOT).with_suffix("").parts)
            found.append(name.removesuffix(".__init__"))
    return found


PACKAGES = lazy_packages()


def source_of(package: str) -> Path:
    folder = ROOT / package.replace(".", "/")
    return folder / "__init__.py" if folder.is_dir() else folder.with_suffix(".py")


def exports_of(package: str) -> tuple[dict[str, str], dict[str, str]]:
    """Names and their modules: as the package resolves them, as type checkers do."""
    tree = ast.parse(source_of(package).read_text(encoding="utf-8"))
    (call,) = (
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "lazy_exports"
    )
    lazy = {
        name: module
        for module, names in ast.literal_eval(call.args[1]).items()
        for name in names
    }
    (block,) = (
        node
        for node in tree.body
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
    )
    typed = {
        alias.asname or alias.name: node.module
        for node in block.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    return lazy, typed


def test_the_faces_are_all_there():
    assert set(FACES) <= set(PACKAGES)


def test_the_top_holds_what_a_first_study_needs():
    assert len(skfusion.__all__) <= 22
    assert {"EarlyFusionClassifier", "compare_fusion"} <= set(skfusion.__all__)


@pytest.mark.parametrize("package", PACKAGES)
def test_names_resolve_where_type_checkers_see_them(package):
    lazy, typed = exports_of(package)
    assert lazy == typed
    module = importlib.import_module(package)
    assert module.__all__ == sorted(lazy)
    assert set(lazy) <= set(dir(module))
    for name, home in lazy.items():
        value = getattr(module, name)
        assert value is getattr(importlib.import_module(home), name)
        if callable(value):
            assert value.__doc__, f"{name} has no docstring"


@pytest.mark.parametrize("package", PACKAGES)
def test_no_export_hides_a_submodule(package):
    lazy, _ = exports_of(package)
    source = source_of(package)
    if source.name != "__init__.py":
        return
    submodules = {module.name for module in pkgutil.iter_modules([source.parent])}
    assert submodules
    assert submodules & set(lazy) == set()
    for name in sorted(submodules - {"__main__"}):
        as_module = importlib.import_module(f"{package}.{name}")
        scope: dict[str, object] = {}
        exec(f"from {package} import {name}", scope)
        assert scope[name] is as_module


@pytest.mark.parametrize("package", PACKAGES)
def test_unknown_name_is_an_attribute_error(package):
    module = importlib.import_module(package)
    with pytest.raises(AttributeError, match=f"'{package}' has no attribute 'Middle'"):
        module.Middle  # noqa: B018 - the access is what is tested


@pytest.mark.long
def test_submodules_of_the_top_are_attributes_in_a_fresh_interpreter():
    code = (
        "import skfusion\n"
        "assert 'skfusion.fusion' not in __import__('sys').modules\n"
        "print(skfusion.fusion.LateFusionClassifier.__name__,"
        " skfusion.survival.__name__, skfusion.ehr.events.EventStore.__name__)"
    )
    out = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout
    assert out.split() == ["LateFusionClassifier", "skfusion.survival", "EventStore"]


@pytest.mark.long
def test_import_of_each_public_name_loads_torch_only_where_a_net_is():
    """Import every public name in one fresh interpreter, those with nets last."""
    names = {
        (name, face) for face in FACES for name in importlib.import_module(face).__all__
    }
    order = sorted(names, key=lambda pair: pair[0] in NAMES_WITH_TORCH)
    code = "import sys, time\n" + "".join(
        f"start = time.perf_counter()\nfrom {face} import {name}\n"
        f"print({name!r}, time.perf_counter() - start,"
        f" *({NETS!r} & set(sys.modules)))\n"
        for name, face in order
    )
    start = time.monotonic()
    out = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout
    assert time.monotonic() - start < 60  # hangs and scans, not a measure of speed
    loaded = {line.split()[0]: line.split()[2:] for line in out.splitlines()}
    assert len(loaded) == len({name for name, _ in names})
    light = {name for name in loaded if name not in NAMES_WITH_TORCH}
    assert {name: loaded[name] for name in light if loaded[name]} == {}


# Where a class says that it is, in pickles and manifests: the package that exports it,
# so that a module can be moved without breaking them.
HOMES = (
    *("skfusion.survival", "skfusion.feature_selection", "skfusion.fusion"),
    *("skfusion.store", "skfusion.image", "skfusion.ehr", "skfusion.evaluation"),
    *("skfusion.inspection", "skfusion.datasets", "skfusion.ehr.windows"),
    "skfusion.image.networks",
)


def test_public_classes_are_pickled_under_the_package_that_exports_them():
    homes: dict[type, str] = {}
    for face in HOMES:
        module = importlib.import_module(face)
        for name in module.__all__:
            value = getattr(module, name)
            if isinstance(value, type):
                homes.setdefault(value, face)
    assert len(homes) > 40
    assert {c.__name__: c.__module__ for c in homes} == {
        c.__name__: face for c, face in homes.items()
    }
