"""Files of older formats load, and predict what they predicted."""

from __future__ import annotations

import json

import numpy as np
import pytest

pytest.importorskip("skops", reason="the extra persistence is not installed")
pytest.importorskip("torch", reason="the extra torch is not installed")
pytest.importorskip("xgboost", reason="the extra xgboost is not installed")

from golden_models import FOLDER, cases  # noqa: E402

import skfusion  # noqa: E402
from skfusion.persistence import object_graph  # noqa: E402
from skfusion.persistence.manifest import VERSION  # noqa: E402

# Sums of trees are in one order on every processor. Matrix products are not.
BOUNDS = {"early": 0.0, "late": 1e-12, "joint": 1e-12}
FILES = sorted(FOLDER.glob("*.skfusion"))


def loaded(path):
    try:
        return skfusion.load(path)
    except skfusion.persistence.ModelFileError as error:
        if "another major version" in str(error):
            pytest.skip("the file is of another major version of a package")
        raise


def test_there_is_a_file_of_every_format_and_kind():
    expected = {
        f"format_{version}_{name}.skfusion"
        for version in range(1, VERSION + 1)
        for name in BOUNDS
    }
    assert {path.name for path in FILES} == expected


# Newer packages may change the last digits, which this test is to show.
@pytest.mark.filterwarnings("ignore:load. the model was saved with")
@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_golden_file_predicts_what_it_predicted(path):
    start, _, name = path.stem.rpartition("_")
    text = (FOLDER / f"{start}.json").read_text(encoding="utf-8")
    expected = np.array(json.loads(text)[name])
    found = loaded(path).predict_proba(cases())
    if BOUNDS[name] == 0:
        np.testing.assert_array_equal(found, expected)
    np.testing.assert_allclose(found, expected, rtol=0, atol=BOUNDS[name])
    assert skfusion.inspect_model(path).classes == ["no", "yes"]


@pytest.mark.filterwarnings("ignore:load. the model was saved with")
def test_a_class_that_has_moved_is_found(monkeypatch):
    path = FOLDER / "format_1_late.skfusion"
    expected = loaded(path).predict_proba(cases())
    # As if the class had another name now, and the one of the file were the old one.
    target = "skfusion.fusion.targets.Classes"
    here = "skfusion.fusion.targets.ClassifierTarget"
    monkeypatch.setitem(object_graph.MOVED, target, here)
    with pytest.raises(
        skfusion.persistence.UntrustedTypesError, match="ClassifierTarg"
    ):
        skfusion.load(path)
    monkeypatch.setitem(object_graph.MOVED, target, target)
    np.testing.assert_array_equal(skfusion.load(path).predict_proba(cases()), expected)
