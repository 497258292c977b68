"""torchvision imports whether or not its compiled operators load."""

import shutil
import subprocess
import sys
import textwrap
from importlib.util import find_spec
from inspect import signature
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).parents[3]


def run_fresh(code, *, path=ROOT):
    """Run code in a new interpreter; `path` comes first on its module path."""
    prelude = f"import sys; sys.path[:0] = [{str(path)!r}, {str(ROOT)!r}]\n"
    done = subprocess.run(
        [sys.executable, "-c", prelude + textwrap.dedent(code)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


def fake_torchvision(folder, code, operators=()):
    """Write a package called torchvision; `operators` are names of files within."""
    package = folder / "torchvision"
    package.mkdir()
    (package / "__init__.py").write_text(textwrap.dedent(code))
    for name in operators:
        (package / f"{name}.so").write_bytes(b"no shared library")
    return folder


REPORT = """
from skfusion.image.networks._torchvision import prepare_torchvision
print(prepare_torchvision(), prepare_torchvision())
import torch
print(hasattr(torch.ops.torchvision, "nms"), hasattr(torch.ops.torchvision, "qnms"))
print("torchvision" in sys.modules)
"""
# torchvision's own import: a Python implementation for operators that C++ defines.
NEEDS_OPERATORS = """
import torch
for name in ("nms", "qnms"):
    torch.library.register_fake(f"torchvision::{name}")(lambda dets, scores, iou: dets)
"""
# C++ answers a second registration with std::terminate, which kills the process.
BRINGS_OPERATORS = """
import os
import torch
if hasattr(torch.ops.torchvision, "nms"):
    os.abort()
library = torch.library.Library("torchvision", "DEF")
for name in ("nms", "qnms"):
    library.define(f"{name}(Tensor dets, Tensor scores, float iou) -> Tensor")
"""


@pytest.mark.slow
@pytest.mark.parametrize("operators", [(), ("_C",), ("_C_stable",)])
def test_operators_that_cannot_load_are_declared_once(tmp_path, operators):
    path = fake_torchvision(tmp_path, NEEDS_OPERATORS, operators)
    assert run_fresh(REPORT, path=path) == ["True", "False", "True", "True", "True"]


@pytest.mark.slow
@pytest.mark.parametrize("operators", [(), ("_C",), ("_C_stable",), ("vision_ops",)])
def test_operators_that_load_are_never_declared_before(tmp_path, operators):
    path = fake_torchvision(tmp_path, BRINGS_OPERATORS, operators)
    assert run_fresh(REPORT, path=path) == ["False", "False", "True", "True", "True"]


@pytest.mark.long
def test_a_torchvision_imported_before_is_left_alone(tmp_path):
    path = fake_torchvision(tmp_path, BRINGS_OPERATORS, ("_C_stable",))
    out = run_fresh("import torchvision\n" + REPORT, path=path)
    assert out == ["False", "False", "True", "True", "True"]


@pytest.mark.skipif(
    "allow_override" not in signature(torch.library.register_fake).parameters,
    reason="this torch refuses to import the module of the test twice",
)
@pytest.mark.long
def test_only_the_missing_schema_is_declared(tmp_path):
    define_first = """
    import torch
    library = torch.library.Library("torchvision", "DEF")
    library.define("nms(Tensor mine, Tensor s, float t) -> Tensor")
    """
    show = "print('mine' in str(torch.ops.torchvision.nms.default._schema))"
    code = textwrap.dedent(define_first) + REPORT + show
    out = run_fresh(code, path=fake_torchvision(tmp_path, NEEDS_OPERATORS))
    assert out == ["True", "False", "True", "True", "True", "True"]


@pytest.mark.slow
@pytest.mark.parametrize(
    "code",
    [
        "raise ImportError('no libjpeg')",
        "raise RuntimeError('operator torchvision::roi_align does not exist')",
        "raise OSError('libcudart.so: cannot open shared object file')",
    ],
)
def test_another_failure_is_left_to_where_torchvision_is_used(tmp_path, code):
    path = fake_torchvision(tmp_path, code)
    assert run_fresh(REPORT, path=path) == ["False"] * 5


@pytest.mark.long
def test_nothing_is_declared_without_torchvision():
    out = run_fresh("sys.modules['torchvision'] = None\n" + REPORT)
    assert out[:4] == ["False", "False", "False", "False"]


@pytest.mark.skipif(find_spec("torchvision") is None, reason="needs torchvision")
@pytest.mark.long
def test_the_installed_torchvision_imports_and_stays_whole():
    code = """
    from skfusion.image.networks._torchvision import prepare_torchvision
    prepare_torchvision()
    import torch, torchvision
    from torchvision.transforms import v2
    print(prepare_torchvision())
    net = torchvision.models.get_model("mobilenet_v3_small", weights=None).eval()
    print(tuple(net(torch.zeros(1, 3, 64, 64)).shape))
    print(tuple(v2.functional.resize(torch.zeros(3, 8, 8), [4, 4]).shape))
    """
    assert " ".join(run_fresh(code)) == "False (1, 1000) (3, 4, 4)"


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="needs the compiler g++")
def test_operators_that_load_are_used(tmp_path):
    """Build operators for the installed torch, as a matching torchvision has them."""
    source = tmp_path / "operators.cpp"
    schema = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
    source.write_text(
        "#include <torch/library.h>\n"
        "TORCH_LIBRARY(torchvision, m) {"
        f'm.def("nms{schema}"); m.def("qnms{schema}"); m.def("built() -> int");}}'
    )
    from torch.utils.cpp_extension import include_paths, library_paths

    built = tmp_path / "operators.so"
    command = ["g++", "-shared", "-fPIC", "-std=c++20", str(source), "-o", str(built)]
    command += [f"-I{folder}" for folder in include_paths()]
    command += [f"-L{folder}" for folder in library_paths()] + ["-ltorch", "-lc10"]
    subprocess.run([*command, "-ltorch_cpu"], check=True)
    load = f"import torch\ntorch.ops.load_library({str(built)!r})"
    show = "print(hasattr(torch.ops.torchvision, 'built'))"
    out = run_fresh(REPORT + show, path=fake_torchvision(tmp_path, load))
    assert out == ["False", "False", "True", "True", "True", "True"]
