"""Pictures: what is drawn is what was found."""

from __future__ import annotations

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib import pyplot
from matplotlib.colors import to_rgb
from scipy.special import logit
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.preprocessing import StandardScaler

from skfusion import EarlyFusionClassifier, EarlyFusionRegressor, ModalityImportance
from skfusion.datasets import make_fusion_cohort
from skfusion.inspection import (
    ImageSaliency,
    ModalityDisplay,
    ModalityScoresDisplay,
    SaliencyDisplay,
)
from skfusion.inspection.plots.drawing import AGAINST, FOR, MARKS, PALE

mpl.use("Agg")


@pytest.fixture(autouse=True)
def _close():
    yield
    pyplot.close("all")


def fit(cohort, n_modalities, strategy=EarlyFusionClassifier, **options):
    parts = np.array_split(np.array(cohort.ehr_columns), max(n_modalities - 1, 1))
    modalities = [("image", StandardScaler(), cohort.image_columns)]
    modalities = modalities if n_modalities > 1 else []
    modalities += [
        (f"part{i}", StandardScaler(), list(part)) for i, part in enumerate(parts)
    ]
    options = {"estimator": LogisticRegression(C=0.01, max_iter=1000), **options}
    model = strategy(modalities[:n_modalities], random_state=0, **options)
    return model.fit(cohort.data, cohort.target)


@pytest.fixture(scope="module")
def cohort():
    return make_fusion_cohort(150, missing_rate={"image": 0.2}, random_state=0)


@pytest.fixture(scope="module")
def train():
    return make_fusion_cohort(150, missing_rate={"image": 0.2}, random_state=1)


@pytest.fixture(scope="module")
def importance(train):
    return {
        n: ModalityImportance(fit(train, n), background=train.data, n_background=10)
        for n in (1, 2, 3, 4)
    }


@pytest.fixture(scope="module")
def explained(importance, cohort):
    return {n: i.explain(cohort.data, cohort.target) for n, i in importance.items()}


def bars(axis):
    return [patch.get_width() for patch in axis.patches]


def drawn_limits(axis):
    """The lower and then the upper ends of the intervals."""
    drawn = [line.get_xdata() for line in axis.lines if len(set(line.get_ydata())) < 2]
    return [pair[end] for end in (0, 1) for pair in drawn if len(pair) == 2]


def number_in(text):
    return float(text.get_text().replace("\N{MINUS SIGN}", "-"))


def test_bars_are_the_shares_with_their_intervals(explained):
    axis = explained[3].plot().ax_
    table = explained[3].share()
    assert bars(axis) == pytest.approx(table["share"])
    whiskers = [
        line.get_xdata()
        for line in axis.lines
        if len(set(line.get_xdata())) == 2
        and line.get_ydata()[0] == line.get_ydata()[1]
    ]
    assert np.array(whiskers) == pytest.approx(table[["low", "high"]].to_numpy())
    labels = [label.get_text() for label in axis.get_yticklabels()]
    assert labels == ["image", "part0", "part1"]
    assert "log-odds of 1" in axis.get_xlabel()


def test_waterfall_goes_from_the_base_to_the_prediction(explained, cohort, importance):
    found = explained[3]
    absent = int(np.flatnonzero(~found.presence["image"])[0])
    axis = found.plot("waterfall", case=absent).ax_
    values = found.values[absent]
    assert bars(axis) == pytest.approx(values[np.argsort(-np.abs(values))])
    diamonds = [line.get_xdata()[0] for line in axis.lines if line.get_marker() == "D"]
    model = importance[3].estimator
    predicted = logit(model.predict_proba(cohort.data)[absent, 1])
    assert diamonds == pytest.approx([float(found.base_values), predicted], abs=1e-9)
    names = [label.get_text() for label in axis.get_yticklabels()]
    assert (names[0], names[-1]) == ("base value", "prediction")
    assert set(names[1:-1]) == {"image (absent)", "part0", "part1"}
    assert axis.child_axes[0].get_xlabel() == "probability"


def test_beeswarm_shows_every_case_once_by_outcome(explained, cohort):
    found = explained[2]
    axis = found.plot("beeswarm").ax_
    places = [np.asarray(marks.get_offsets()) for marks in axis.collections]
    for j in range(2):
        drawn = np.concatenate([p[np.rint(p[:, 1]) == j, 0] for p in places])
        assert np.sort(drawn) == pytest.approx(np.sort(found.values[:, j]))
    legend = [text.get_text() for text in axis.get_legend().get_texts()]
    n_ill = int(cohort.target.sum())
    assert legend == [
        f"outcome 0 (n={150 - n_ill})",
        f"outcome 1 (n={n_ill})",
        "modality absent",
    ]


def test_matrix_holds_contributions_and_interactions(explained):
    found = explained[3]
    axis = found.plot("interactions").ax_
    texts = {text.get_position(): number_in(text) for text in axis.texts}
    assert len(texts) == 6
    assert texts[1, 1] == pytest.approx(np.abs(found.values[:, 1]).mean(), abs=0.005)
    pair = found.interactions["image", "part1"]
    assert texts[0, 2] == pytest.approx(np.abs(pair).mean(), abs=0.005)


def test_two_modalities_in_a_plane_and_three_in_a_triangle(explained):
    axis = explained[2].plot("outcome").ax_
    places = np.concatenate([np.asarray(m.get_offsets()) for m in axis.collections])
    order = np.lexsort(places.T)
    wanted = explained[2].values
    assert places[order] == pytest.approx(wanted[np.lexsort(wanted.T)])
    axis = explained[3].plot("outcome").ax_
    sizes = np.abs(explained[3].values)
    shares = sizes / sizes.sum(axis=1, keepdims=True)
    places = np.concatenate([np.asarray(m.get_offsets()) for m in axis.collections])
    # the height above the base is the share of the third
    assert np.sort(places[:, 1]) == pytest.approx(np.sort(shares[:, 2] * np.sqrt(0.75)))
    with pytest.raises(ValueError, match="but there are 4"):
        explained[4].plot("outcome")


@pytest.mark.parametrize("kind", ["share", "waterfall", "beeswarm", "interactions"])
@pytest.mark.parametrize("n_modalities", [1, 4])
def test_any_number_of_modalities(explained, kind, n_modalities):
    display = explained[n_modalities].plot(kind)
    display.figure_.canvas.draw()
    assert display.figure_ is display.ax_.figure


def test_scores_are_drawn_with_intervals_and_interactions(importance, cohort):
    scores = importance[2].score(cohort.data, cohort.target)
    display = ModalityScoresDisplay.from_scores(scores)
    assert bars(display.ax_) == pytest.approx(scores.estimate)
    assert drawn_limits(display.ax_) == pytest.approx([*scores.low, *scores.high])
    low, high = (f"{end:.2f}" for end in (scores.low[0], scores.high[0]))
    text = display.ax_.texts[0].get_text().replace("\N{MINUS SIGN}", "-")
    assert text.endswith(f"({low} to {high})")
    refits = importance[2].refit(cohort.data, cohort.target, cv=3)
    axis = refits.plot().ax_
    assert drawn_limits(axis) == pytest.approx([*refits.low, *refits.high])
    axis = scores.plot("interactions").ax_
    texts = {text.get_position(): number_in(text) for text in axis.texts}
    (pair,) = scores.interactions.values()
    assert texts[0, 1] == pytest.approx(pair, abs=0.005)
    with pytest.raises(ValueError, match="kind must be one of"):
        scores.plot("pie")


@pytest.mark.parametrize(("n_modalities", "n_sets"), [(1, 1), (3, 7), (4, 15)])
def test_all_sets_are_drawn_with_their_scores(importance, cohort, n_modalities, n_sets):
    found = importance[n_modalities].score(cohort.data, cohort.target)
    axis = found.plot("subsets").ax_
    table = found.subsets().drop("none")
    names = [label.get_text() for label in axis.get_yticklabels()]
    assert len(names) == len(set(names)) == n_sets
    if n_modalities == 4:
        assert names[-1] == "all"
        assert names[-2].startswith("all without\n")
    dots = [line for line in axis.lines if line.get_marker() == "o"]
    assert [dot.get_xdata()[0] for dot in dots] == pytest.approx(list(table["score"]))
    assert [dot.get_ydata()[0] for dot in dots] == list(range(n_sets))
    ends = [*table["low_this_model"], *table["high_this_model"]]
    assert drawn_limits(axis) == pytest.approx(ends)


@pytest.mark.long
def test_report_draws_its_games_side_by_side(importance, cohort, train):
    report = importance[2].report(
        cohort.data, cohort.target, train=(train.data, train.target), cv=2
    )
    figure = report.plot()
    assert len(figure.axes) == 3
    assert bars(figure.axes[2]) == pytest.approx(report.retrain.estimate)


@pytest.mark.filterwarnings("ignore:.*rows that the model was fitted on")
def test_one_of_several_outputs_is_chosen():
    many = make_fusion_cohort(150, task="multiclass", random_state=0)
    model = fit(many, 2)
    display = ModalityDisplay.from_estimator(
        model,
        many.data[100:],
        kind="waterfall",
        output=2,
        case=1,
        background=many.data[:100],
    )
    values = display.explanation.values[1, :, 2]
    assert sorted(bars(display.ax_)) == pytest.approx(sorted(values))
    assert display.ax_.get_xlabel() == "log-odds of 2"
    assert "outputs" not in display.ax_.get_title(loc="left")
    display.plot("waterfall", case=1)  # the first, which is not chosen, is named
    assert "0 is the first of 3 outputs" in display.ax_.get_title(loc="left")
    with pytest.raises(ValueError, match="output=7 is unknown"):
        display.plot("beeswarm", output=7)


@pytest.mark.filterwarnings("ignore:.*rows that the model was fitted on")
def test_outcomes_that_are_numbers_are_cut_at_the_median():
    numbers = make_fusion_cohort(201, task="regression", random_state=0)
    model = fit(numbers, 2, EarlyFusionRegressor, estimator=LinearRegression())
    X, y = numbers.data, numbers.target
    display = ModalityDisplay.from_estimator(
        model, X[:101], y[:101], kind="outcome", background=X[101:]
    )
    legend = [text.get_text() for text in display.ax_.get_legend().get_texts()]
    assert [text.rpartition("(")[2] for text in legend[:2]] == ["n=51)", "n=50)"]


def test_axes_can_be_given(explained):
    figure, axis = pyplot.subplots()
    display = ModalityDisplay.from_explanation(explained[2], kind="share", ax=axis)
    assert display.ax_ is axis
    assert display.figure_ is figure


def test_bad_requests_are_named(explained):
    with pytest.raises(ValueError, match="kind must be one of"):
        explained[2].plot("pie")
    with pytest.raises(ValueError, match="case=150 is not a row position"):
        explained[2].plot("waterfall", case=150)
    with pytest.raises(ValueError, match="there is only one output"):
        explained[2].plot("beeswarm", output=1)


def luminance(colour) -> float:
    return float(np.dot(to_rgb(colour), [0.2126, 0.7152, 0.0722]))


def test_pictures_can_be_read_in_grey(explained):
    axis = explained[3].plot("waterfall", case=0).ax_
    for patch in axis.patches:
        assert bool(patch.get_hatch()) == (patch.get_width() < 0)
    assert len({mark["marker"] for mark in MARKS}) == len(MARKS)
    assert MARKS[0]["filled"] != MARKS[1]["filled"]
    # lighter and darker, and not red beside green
    assert luminance(PALE) - luminance(FOR) > 0.3
    assert to_rgb(AGAINST)[2] < 0.1 < to_rgb(FOR)[2]


def saliency(method: str = "occlusion") -> ImageSaliency:
    values = np.zeros((2, 16, 16))
    values[0, :4, -4:], values[0, -4:, :4] = 1.0, -0.5
    return ImageSaliency(
        values,
        [np.full((40, 60), 0.5), np.full((30, 30, 3), 200.0)],
        np.array([3, 8]),
        ["ill", "well"],
        np.array([0.7, 0.1]),
        np.zeros(2),
        method,
        "log-odds",
    )


def test_map_lies_on_the_image():
    display = saliency().plot()
    assert display.axes_.shape == (2, 2)
    plain, mapped = display.axes_[0]
    assert plain.get_title() == "row 3"
    assert mapped.get_title() == "occlusion\nlog-odds of ill: 0.70"
    image, overlay = (np.asarray(part.get_array()) for part in mapped.images)
    assert image.shape == (40, 60)
    assert overlay.shape == (40, 60, 4)
    assert overlay[5, 55] == pytest.approx([*to_rgb(FOR), 0.65])
    assert overlay[35, 5] == pytest.approx([*to_rgb(AGAINST), 0.325])
    assert overlay[20, 30, 3] == 0
    assert len(display.axes_[1, 1].images) == 1  # nothing was found on the second
    display.figure_.canvas.draw()


def test_results_do_not_print_arrays(importance, cohort):
    assert repr(saliency()) == "ImageSaliency(2 images, occlusion)"
    scores = importance[2].score(cohort.data, cohort.target)
    assert repr(scores) == "ModalityScores(performance, AUROC, 2 modalities)"


def test_only_integrated_gradients_are_blurred():
    sharp, blurred = (
        SaliencyDisplay.from_saliency(saliency(method), images=[0])
        for method in ("occlusion", "integrated_gradients")
    )
    first, second = (
        d.axes_[0, 1].images[1].get_array()[..., 3] for d in (sharp, blurred)
    )
    assert (second > 0).sum() > (first > 0).sum()
    with pytest.raises(ValueError, match=r"expected \(2, 2\)"):
        saliency().plot(axes=pyplot.subplots(1, 2)[1])
