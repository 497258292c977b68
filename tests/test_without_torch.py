"""What works without torch, and what every other name says then."""

from __future__ import annotations

import subprocess
import sys
import textwrap

import pytest

# A None in sys.modules would break scipy, which looks for torch there.
BLOCK = """
import importlib, sys, warnings

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ABSENT:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

ABSENT = %r
sys.meta_path.insert(0, Absent())
"""
FACES = (
    *("skfusion", "skfusion.datasets", "skfusion.ehr", "skfusion.evaluation"),
    *("skfusion.feature_selection", "skfusion.fusion", "skfusion.fusion.joint"),
    *("skfusion.image", "skfusion.image.networks", "skfusion.image.embedding"),
    *("skfusion.inspection", "skfusion.store", "skfusion.survival"),
    "skfusion.text",
)
PIP_LINE = 'pip install "skfusion[torch]"'


def run(code: str, *absent: str) -> list[str]:
    program = BLOCK % (absent or ("torch",),) + textwrap.dedent(code)
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


@pytest.mark.parametrize("absent", [("torch",), ("skorch",)])
@pytest.mark.long
def test_every_public_name_works_or_gives_its_pip_line(absent):
    code = f"""
    for face in {FACES!r}:
        package = importlib.import_module(face)
        for name in dir(package):
            if name.startswith("_"):
                continue
            try:
                getattr(package, name)
            except ImportError as error:
                print(face, name, name in package.__all__, error, sep="|")
    """
    told = [line.split("|") for line in run(code, *absent)]
    assert ("skfusion", "JointFusionClassifier") in {(f, n) for f, n, *_ in told}
    for face, name, is_exported, message in told:
        assert PIP_LINE in message
        assert f"{face}.{name} needs the package {absent[0]!r}" in message
        assert is_exported == str(absent != ("torch",))


@pytest.mark.long
def test_a_star_import_gives_the_names_that_work():
    code = f"""
    for face in {FACES!r}:
        names = {{}}
        exec(f"from {{face}} import *", names)
        print(face, *names)
    """
    found = {line.split()[0]: set(line.split()[1:]) for line in run(code)}
    assert {"LateFusionClassifier", "compare_fusion"} <= found["skfusion"]
    assert not {"JointFusionClassifier", "ImageEmbedder"} & found["skfusion"]
    assert "read_image" in found["skfusion.image"]


COMPARISON = """
import numpy as np, pandas as pd
from sklearn.preprocessing import StandardScaler
from skfusion import EarlyFusionClassifier, compare_fusion
rng = np.random.default_rng(0)
X = pd.DataFrame(rng.normal(size=(60, 2)), columns=["a", "b"])
y = (X["a"] > 0).astype(int)
pair = [("one", StandardScaler(), ["a"]), ("two", StandardScaler(), ["b"])]
settings = dict(cv=2, n_repeats=1, scoring="roc_auc", random_state=0)
"""


@pytest.mark.long
def test_a_comparison_leaves_joint_fusion_out_and_says_so():
    code = (
        COMPARISON
        + """
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    result = compare_fusion(pair, X, y, **settings)
print(*result.scores_["strategy"])
print(*[w.message for w in caught if "joint" in str(w.message)], sep="|")
early = EarlyFusionClassifier(pair, random_state=0)
print(*compare_fusion({"early": early}, X, y, **settings).scores_["strategy"])
for chosen in ("joint", ("early", "joint")):
    try:
        compare_fusion(pair, X, y, strategies=chosen, **settings)
    except ImportError as error:
        print(error)
"""
    )
    strategies, warning, of_dict, *errors = run(code)
    singles = "one in early two in early one in late two in late"
    assert strategies == f"{singles} early late"
    assert warning.count("joint fusion is left out") == 1
    assert PIP_LINE in warning
    assert of_dict == "one in early two in early early"
    assert len(errors) == 2
    assert all(
        f"Joint fusion needs the package 'torch', but it is not installed. Install it "
        f"with: {PIP_LINE}" in error
        for error in errors
    )


@pytest.mark.parametrize(
    "action",
    [
        "EarlyFusionClassifier(pair, join='gated').fit(X, y)",
        "EarlyFusionClassifier('auto').fit(X.assign(i=[np.zeros((8, 8))] * 60), y)",
    ],
)
@pytest.mark.long
def test_choices_that_need_torch_name_the_extra(action):
    code = f"{COMPARISON}\ntry:\n    {action}\nexcept ImportError as error:\n"
    (message,) = run(code + "    print(error)\n")
    assert PIP_LINE in message


@pytest.mark.long
def test_a_cohort_with_images_is_audited_and_described():
    code = """
    import numpy as np, pandas as pd
    from skfusion.evaluation import advise, audit_cohort, describe_cohort

    rng = np.random.default_rng(0)
    X = pd.DataFrame({"age": rng.integers(30, 90, 80)})
    X["scan"] = list(rng.integers(0, 255, (80, 8, 8), dtype=np.uint8))
    y, groups = np.arange(80) % 2, np.arange(80)
    X.at[3, "scan"] = X.at[4, "scan"]
    audit = audit_cohort(X, y, groups, 5, modalities="auto")
    print(*[one.check for one in audit.findings])
    print(describe_cohort("auto", X, y, groups).modalities["reason"].iloc[0])
    print(advise("auto", X, y, groups).strategies)
    """
    found, reason, strategies = run(code)
    assert found == "duplicate images"
    assert PIP_LINE in reason
    assert strategies == "['single', 'late', 'early', 'joint', 'compare']"
