"""The calibration plot shows the numbers of its table, also of two models."""

from __future__ import annotations

import sys

import numpy as np
import pandas as pd
import pytest

from skfusion.evaluation import SurvivalCalibrationDisplay, calibration_at_time
from skfusion.fusion.survival import CoxRidge
from skfusion.survival import EarlyFusionSurvival

plt = pytest.importorskip("matplotlib.pyplot", reason="the plots need matplotlib")


@pytest.fixture(autouse=True)
def closed_figures():
    plt.switch_backend("agg")
    yield
    plt.close("all")


def cohort(n=300, seed=0):
    rng = np.random.default_rng(seed)
    rate = np.exp(rng.normal(size=n))
    time, last = rng.exponential(1 / rate), rng.uniform(0, 2.5, n)
    y = np.empty(n, dtype=[("event", bool), ("time", float)])
    y["event"], y["time"] = time <= last, np.minimum(time, last)
    return rate, y


def markers(ax):
    return [line for line in ax.lines if line.get_marker() not in ("None", None)]


def texts(ax):
    return [text.get_text() for text in ax.texts]


@pytest.mark.parametrize("n_groups", [1, 5])
def test_shows_the_table(n_groups):
    rate, y = cohort()
    survival = np.exp(-rate * 0.5)
    display = SurvivalCalibrationDisplay.from_predictions(
        y, survival, 0.5, n_groups=n_groups, name="mine"
    )
    table = calibration_at_time(y, survival, 0.5, n_groups=n_groups).table
    (points,) = markers(display.ax_)
    np.testing.assert_allclose(points.get_xdata(), table["predicted"])
    np.testing.assert_allclose(points.get_ydata(), table["observed"])
    (limits,) = display.ax_.collections
    np.testing.assert_allclose(
        [part[:, 1] for part in limits.get_segments()], table[["low", "high"]]
    )
    numbers = [text for text in texts(display.ax_) if text.isdigit()]
    assert numbers == [*map(str, table["n"]), *map(str, table["events"])]
    (label,) = (text.get_text() for text in display.ax_.get_legend().get_texts())
    ratio = display.calibration.oe_ratio
    assert f"mine\nO:E {ratio.estimate:.2f} ({ratio.low:.2f} to" in label
    assert "95 % CI" in display.ax_.get_ylabel()
    assert display.ax_.get_xlim() == display.ax_.get_ylim()
    assert display.ax_.get_ylim()[1] > table["high"].max()


def test_two_models_in_the_same_axes_are_distinct():
    rate, y = cohort()
    first = SurvivalCalibrationDisplay.from_predictions(
        y, np.exp(-rate * 0.5), 0.5, name="right"
    )
    second = SurvivalCalibrationDisplay.from_predictions(
        y, np.exp(-rate), 0.5, name="wrong", ax=first.ax_
    )
    assert second.figure_ is first.figure_
    one, two = markers(first.ax_)
    assert one.get_marker() != two.get_marker()
    assert one.get_color() != two.get_color()
    headings = [text for text in texts(first.ax_) if "groups from" in text]
    assert [heading.partition(",")[0] for heading in headings] == ["right", "wrong"]
    first.figure_.canvas.draw()
    boxes = [text.get_window_extent() for text in first.ax_.texts]
    for i, box in enumerate(boxes):
        assert box.y0 >= 0  # inside of the figure
        assert not any(box.overlaps(other) for other in boxes[:i])
    label = first.ax_.xaxis.label.get_window_extent()
    assert not any(box.overlaps(label) for box in boxes)


def test_from_estimator_predicts_the_curves():
    rate, y = cohort()
    X = pd.DataFrame({"a": np.log(rate)})
    model = EarlyFusionSurvival(
        [("only", "passthrough", ["a"])], random_state=0, estimator=CoxRidge()
    )
    model.fit(X[:200], y[:200])
    found = SurvivalCalibrationDisplay.from_estimator(
        model, X[200:], y[200:], 0.5, n_groups=3, groups=np.arange(100) // 2
    )
    survival = model.predict_survival_function(X[200:], [0.5])
    expected = calibration_at_time(
        y[200:], survival, 0.5, n_groups=3, groups=np.arange(100) // 2
    )
    pd.testing.assert_frame_equal(found.calibration.table, expected.table)
    assert found.calibration.n_clusters == 50
    legend = found.ax_.get_legend().get_texts()[0].get_text()
    assert legend.startswith("EarlyFusionSurvival")


def test_unknown_numbers_are_named():
    _, y = cohort()
    display = SurvivalCalibrationDisplay.from_predictions(y, np.full(300, 0.5), 0.5)
    assert "slope unknown" in display.ax_.get_legend().get_texts()[0].get_text()


def test_an_estimator_without_curves():
    _, y = cohort()
    with pytest.raises(TypeError, match="object has no method predict_survival"):
        SurvivalCalibrationDisplay.from_estimator(object(), None, y, 0.5)


def test_names_the_extra_without_matplotlib(monkeypatch):
    rate, y = cohort()
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(ImportError, match=r"skfusion\[report\]"):
        SurvivalCalibrationDisplay.from_predictions(y, np.exp(-rate), 0.5)
