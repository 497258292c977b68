"""Shares, interactions and tables of an explanation whose parts are known."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from skfusion.inspection.modalities.results import ModalityExplanation, named_pairs
from skfusion.inspection.shapley import all_coalitions, exact_plan, interaction_matrix


def explanation(terms, *, base=0.0, classes=None):
    """Explain a prediction that is a sum of Möbius terms of the modalities a, b."""
    coalitions = all_coalitions(2)
    names = ("a", "b")
    values = (
        sum(
            np.multiply.outer(coalitions[:, list(members)].all(axis=1), term)
            for members, term in terms.items()
        )
        + base
    )  # (4, n[, C])
    n = values.shape[1]
    return ModalityExplanation(
        values=np.moveaxis(exact_plan(2).shapley(values), 0, 1),
        base_values=np.asarray(values[0, 0], dtype=float),
        modalities=names,
        output="number",
        scale="link",
        classes=classes,
        coalition_values=np.moveaxis(values, 0, 1),
        interactions=named_pairs(
            names, np.tensordot(interaction_matrix(2), values, axes=1)
        ),
        standard_errors=None,
        presence=pd.DataFrame(True, index=range(10, 10 + n), columns=list(names)),
    )


@pytest.fixture
def draws():
    return np.random.default_rng(0).normal(size=(2, 4000))


@pytest.mark.long
def test_shares_of_an_additive_prediction(draws):
    a, b = draws
    found = explanation({(0,): 3 * a, (1,): b}, base=7.0)
    expected = np.abs(3 * a - 3 * a.mean()).mean()
    other = np.abs(b - b.mean()).mean()
    assert found.share()["share"]["a"] == pytest.approx(expected / (expected + other))
    assert found.share("variance")["share"]["a"] == pytest.approx(
        9 * a.var() / (9 * a.var() + b.var())
    )
    assert found.share("abs")["share"].sum() == pytest.approx(1.0)
    total = (3 * a + b).var()
    assert found.share("covariance")["share"]["b"] == pytest.approx(
        np.cov(b, 3 * a + b, ddof=0)[0, 1] / total
    )
    assert found.interaction_share() == pytest.approx(0.0, abs=1e-12)
    np.testing.assert_allclose(found.predictions, 3 * a + b + 7.0)


def test_share_does_not_move_with_the_offset_of_the_background(draws):
    a, b = draws
    still = explanation({(0,): a, (1,): b})
    moved = explanation({(0,): a + 5.0, (1,): b})
    assert moved.share()["share"]["a"] == pytest.approx(
        still.share()["share"]["a"], abs=1e-12
    )
    assert moved.share("abs")["share"]["a"] > still.share("abs")["share"]["a"] + 0.2


def test_a_modality_that_works_against_the_prediction_has_a_negative_share(draws):
    a, _ = draws
    found = explanation({(0,): 2 * a, (1,): -a})
    assert found.share("covariance")["share"]["b"] == pytest.approx(-1.0)


def test_interaction_share_is_the_share_of_variance(draws):
    a, b = np.sign(draws)
    found = explanation({(0,): a, (1,): b, (0, 1): a * b})
    expected = (a * b).var() / (a.var() + b.var() + (a * b).var())
    assert found.interaction_share() == pytest.approx(expected)
    np.testing.assert_allclose(found.interactions["a", "b"], a * b)
    np.testing.assert_allclose(found.moebius()["a", "b"], a * b)
    np.testing.assert_allclose(found.values[:, 0], a + a * b / 2)


def test_shares_of_several_classes(draws):
    a, b = draws
    first = np.column_stack([a, 0 * a])
    second = np.column_stack([0 * b, 2 * b])
    found = explanation({(0,): first, (1,): second}, classes=("x", "y"))
    per_class = found.share(per_class=True)
    assert per_class.index.tolist() == [
        ("x", "a"),
        ("x", "b"),
        ("y", "a"),
        ("y", "b"),
    ]
    assert per_class["share"].tolist() == [1.0, 0.0, 0.0, 1.0]
    assert found.share()["share"]["b"] == pytest.approx(2 / 3, abs=0.02)
    frame = found.to_frame()
    np.testing.assert_allclose(frame["y", "b"], 2 * b)
    np.testing.assert_allclose(frame["x", "prediction"], a)


def test_interval_of_a_share_covers_and_narrows(draws):
    a, b = draws
    found = explanation({(0,): a[:400], (1,): b[:400]}).share()
    assert (found["low"] < found["share"]).all()
    assert (found["share"] < found["high"]).all()
    assert found.loc["a", "low"] < 0.5 < found.loc["a", "high"]
    wide = explanation({(0,): a[:40], (1,): b[:40]}).share()
    ratio = (wide["high"] - wide["low"]) / (found["high"] - found["low"])
    assert 2.0 < ratio["a"] < 5.0  # sqrt(10)


def test_repeated_cases_of_a_patient_widen_the_interval(draws):
    a, b = np.repeat(draws[:, :50], 8, axis=1)
    found = explanation({(0,): a, (1,): b})
    rows = found.share()
    patients = found.share(groups=np.repeat(np.arange(50), 8))
    ratio = (patients["high"] - patients["low"]) / (rows["high"] - rows["low"])
    assert 2.0 < ratio["a"] < 4.0  # sqrt(8)


def test_frame_keeps_the_cases_and_adds_up(draws):
    a, b = draws[:, :5]
    frame = explanation({(0,): a, (1,): b}, base=1.0).to_frame()
    assert list(frame.columns) == ["base", "a", "b", "prediction"]
    assert frame.index.tolist() == [10, 11, 12, 13, 14]
    np.testing.assert_allclose(
        frame[["base", "a", "b"]].sum(axis=1), frame["prediction"]
    )


def test_nothing_moves():
    found = explanation({(0,): np.zeros(5), (1,): np.zeros(5)})
    assert found.share()["share"].isna().all()
    assert np.isnan(found.interaction_share())


def test_bad_requests(draws):
    a, b = draws
    with pytest.raises(ValueError, match="kind must be one of"):
        explanation({(0,): a, (1,): b}).share("mean")
    one = explanation({(0,): a[:1], (1,): b[:1]})
    with pytest.raises(ValueError, match="needs two cases or more, got 1"):
        one.share()
    assert one.share("abs")["share"].sum() == pytest.approx(1.0)
    with pytest.raises(ValueError, match="confidence_level"):
        explanation({(0,): a, (1,): b}).share(confidence_level=95)


@pytest.mark.parametrize("classes", [None, ("x", "y")])
def test_plots_of_shap_take_it(draws, classes, monkeypatch):
    shap = pytest.importorskip("shap")
    plt = pytest.importorskip("matplotlib.pyplot")
    plt.switch_backend("agg")
    a, b = draws[:, :50]
    if classes:
        a, b = np.column_stack([a, b]), np.column_stack([b, a])
    given = explanation({(0,): a, (1,): b}, classes=classes).to_shap()
    one = given[..., 0] if classes else given
    shap.plots.bar(one, show=False)
    assert "a" in [label.get_text() for label in plt.gca().get_yticklabels()]
    plt.close("all")
    shap.plots.waterfall(one[0], show=False)
    plt.close("all")
    shap.plots.beeswarm(one, show=False)
    plt.close("all")
