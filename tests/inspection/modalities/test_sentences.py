"""Each sentence of the report where it would be false, and the words it may use."""

from __future__ import annotations

import warnings
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from matplotlib import pyplot
from sklearn.calibration import CalibratedClassifierCV
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler
from sklearn.tree import DecisionTreeClassifier

from skfusion import EarlyFusionClassifier, LateFusionClassifier, ModalityImportance
from skfusion.evaluation import auroc_interval, delong_test
from skfusion.exceptions import DataWarning, LeakageWarning
from skfusion.inspection.modalities.coalitions import permuted
from skfusion.inspection.modalities.provenance import Provenance
from skfusion.inspection.modalities.sentences import CLAIMS, FORBIDDEN, describe

mpl.use("Agg")
RAW = FunctionTransformer()
TWO = [("image", RAW, ["a", "b"]), ("ehr", RAW, ["c", "d"])]
QUICK = {"cv": None, "n_repeats": 2, "n_resamples": 30}


def noise(n_rows=120, seed=0):
    rng = np.random.default_rng(seed)
    X = pd.DataFrame(rng.normal(size=(n_rows, 4)), columns=list("abcd"))
    return X, rng.integers(0, 2, n_rows)


def cohort(n_rows=400, seed=0, weights=(1.5, 0, 1.0, 0)):
    X, _ = noise(n_rows, seed)
    rng = np.random.default_rng(seed + 100)
    margin = X.to_numpy() @ np.array(weights)
    return X, (rng.random(n_rows) < 1 / (1 + np.exp(-margin))).astype(int)


def early(estimator=None):
    estimator = LogisticRegression() if estimator is None else estimator
    return EarlyFusionClassifier(TWO, estimator=estimator, absence_copies=0)


def report_of(model, X, y, background=None, **options):
    """The report, without the warnings of the cases."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        importance = ModalityImportance(model, background=background, n_background=20)
        return importance.report(X, y, **{**QUICK, **options})


# -- who the cases are ------------------------------------------------------------

MEMORY = {
    "fusion": lambda: early(DecisionTreeClassifier(random_state=0)),
    "pipeline": lambda: make_pipeline(
        StandardScaler().set_output(transform="pandas"),
        early(DecisionTreeClassifier(random_state=0)),
    ),
    "search": lambda: GridSearchCV(
        early(RandomForestClassifier(20, random_state=0)), {}, cv=2
    ),
    "calibrated": lambda: CalibratedClassifierCV(
        early(RandomForestClassifier(20, random_state=0)), cv=2
    ),
    "late": lambda: LateFusionClassifier(
        TWO, estimator=RandomForestClassifier(20, random_state=0)
    ),
}
FORMS = {
    "same": lambda X: X,
    "float32": lambda X: X.astype("float32"),
    "turned": lambda X: X[::-1],
    "half": lambda X: X[::2],
    "columns turned": lambda X: X[list("dcba")].set_axis(range(len(X))),
    "objects": lambda X: X.astype(object),
    "one modality lost": lambda X: X.assign(c=np.nan, d=np.nan).astype(
        {"c": float, "d": float}
    ),
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("kind", MEMORY)
@pytest.mark.long
def test_training_rows_are_never_called_new(kind, form):
    if (kind, form) == ("pipeline", "columns turned"):
        pytest.skip("the scaler before the fusion refuses them")
    X, y = noise()
    model = MEMORY[kind]().fit(X, y)
    cases = FORMS[form](X)
    outcome = y if len(cases) == len(X) else y[::2]
    backgrounds = [None, X, noise(60, 9)[0], X.astype("float32")]
    for background in backgrounds if kind == "fusion" else backgrounds[:1]:
        found = report_of(model, cases, outcome, background)
        text = str(found).lower()
        assert "new rows" not in text
        assert "new patients" not in text
        assert "it improves the" not in text.replace("whether it improves the", "")
        assert any("rows that the model was fitted on" in p for p in found.pitfalls)
        # A step before the fusion is less precise with 32 bits.
        if (kind, form) != ("pipeline", "float32"):
            assert found.provenance.words == "training rows"


def test_rows_are_new_only_if_that_is_known():
    X, y = cohort()
    found = report_of(early().fit(X[:200], y[:200]), X[200:], y[200:])
    assert found.provenance.words == "new rows"
    # steps before a fusion can change the rows of fit in another way
    model = make_pipeline(RAW, early()).fit(X[:200], y[:200])
    assert report_of(model, X[200:], y[200:]).provenance.words == "these cases"
    assert report_of(model, X[:200], y[:200]).provenance.words == "training rows"
    plain = LogisticRegression().fit(X[:200], y[:200])
    columns = {"image": ["a", "b"], "ehr": ["c", "d"]}
    importance = ModalityImportance(plain, modalities=columns, background=X[:200])
    found = importance.report(X[200:], y[200:], **QUICK)
    assert found.provenance.words == "these cases"
    with pytest.warns(LeakageWarning, match="200 of 200 cases are also in the backgr"):
        found = importance.report(X[:200].astype("float32"), y[:200], **QUICK)
    assert found.provenance.words == "these cases"
    older = early().fit(X[:200], y[:200])
    del older._training_rows
    assert report_of(older, X[200:], y[200:]).provenance.words == "these cases"


def test_some_training_rows_are_counted():
    X, y = cohort()
    model = early().fit(X[:200], y[:200])
    found = report_of(model, X[150:], y[150:])
    said = "on these cases (50 of 250 are equal to training rows)"
    assert said in found.sentences["image"]
    assert "improves" not in str(found)
    # rows of few values are equal by chance, which is no leak
    assert Provenance(100, 20, by_chance=0.3).pitfall() is None
    assert "20 of 100" in str(Provenance(100, 20, by_chance=0.1).pitfall())


# -- words ------------------------------------------------------------------------


def test_the_table_of_words_claims_what_the_interval_says():
    words = {"score": "AUROC", "cases": "new rows", "folds": "5", "name": "image"}
    words["share"] = "0.2"
    for name, claim in CLAIMS.items():
        assert claim.estimand
        assert claim.interval
        at = claim.threshold
        texts = {
            claim.say(0.1, low, high, **words)
            for low, high in [(at + 0.05, 0.2), (-0.2, at - 0.05), (at - 0.05, 0.2)]
        }
        assert len(texts) == 3
        for text in texts:
            assert not [word for word in FORBIDDEN if word in text]
        improves = [text for text in texts if " improves " in text]
        if name == "drop_one":
            assert any(text.endswith("by 0.100 (0.050 to 0.200).") for text in improves)
        else:
            assert improves == []
    lower = CLAIMS["drop_one"].say(-0.1, -0.2, -0.05, **words)
    assert "it lowers the AUROC" in lower
    assert "0.100 (0.050 to 0.200)" in lower


PAGE = Path(__file__).parents[3] / "docs/importance.md"


def test_the_table_of_the_page_is_that_of_the_report():
    page = PAGE.read_text(encoding="utf-8")
    words = {"name": "image", "score": "AUROC", "cases": "new rows", "folds": "5"}
    words |= dict.fromkeys(("share", "numbers", "size"), "…")
    expected = []
    for name, claim in CLAIMS.items():
        given = {**words, "cases": "training rows"} if "known" in name else words
        at, first = f"{claim.threshold:g}", f"| {claim.estimand} | {claim.interval} "
        for where, text in (
            (f"above {at}", claim.above),
            (f"below {at}", claim.below),
            (f"contains {at}", claim.open),
        ):
            expected.append(f"{first}| {where} | {text.format(**given)} |")
            first = "| | "
    assert "\n".join(expected) in page
    said = page.partition("These words are never used:")[2].partition("\n\n")[0]
    said = " ".join(said.split())
    assert [word for word in FORBIDDEN if f'"{word}"' not in said] == []
    assert said.count('"') == 2 * len(FORBIDDEN)


def test_what_works_against_the_outcome_improves_nothing():
    X, y = cohort(600)
    model = early().fit(X[:300], y[:300])
    turned = X[300:].assign(a=-X["a"][300:])  # the image misleads in these cases
    found = report_of(model, turned, y[300:], X[:300])
    said = found.sentences["image"]
    assert "Its contribution to the AUROC on new rows is below 0: -0." in said
    assert "it lowers the AUROC of this model on new rows by 0." in said
    assert "improves" not in said
    known = report_of(model, X[:300], y[:300], X[:300]).sentences["image"]
    assert "Withheld alone, the AUROC on training rows is lower by 0." in known
    assert "improves" not in known
    harmed = report_of(model, turned.set_axis(range(300)), 1 - y[300:], X[:300])
    assert "it lowers the AUROC of this model" in harmed.sentences["ehr"]
    assert "it improves the AUROC of this model" in harmed.sentences["image"]


def test_models_that_are_fitted_with_noise_can_be_worse():
    rng = np.random.default_rng(0)
    X, y = cohort(400, weights=(0, 0, 3.0, 0))
    noisy = [f"n{k}" for k in range(30)]
    X = pd.concat(
        [X, pd.DataFrame(3 * rng.normal(size=(400, 30)), columns=noisy)], axis=1
    )
    model = EarlyFusionClassifier(
        [("image", RAW, noisy), ("ehr", RAW, ["c", "d"])],
        estimator=KNeighborsClassifier(15),
        absence_copies=0,
    ).fit(X[:200], y[:200])
    found = report_of(model, X[200:], y[200:], X[:200], cv=5, train=(X[:200], y[:200]))
    said = found.sentences["image"]
    assert "Models that are fitted with it have a lower AUROC than models" in said
    assert "have a higher" not in said
    assert "is not shown" in found.sentences["ehr"]  # beside so much noise


def test_how_much_is_said_only_if_the_interval_says_it():
    shares = pd.DataFrame(
        {
            "estimate": [0.06, 0.06, 0.01],
            "low": [0.055, 0.0, 0.0],
            "high": [0.065, 0.3, 0.02],
            "null_share": [np.nan, 0.05, np.nan],
        },
        index=["a", "b", "c"],
    )
    X, y = noise()
    columns = {name: [name] for name in "abc"}
    importance = ModalityImportance(
        LogisticRegression().fit(X[list("abc")], y), modalities=columns
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        performance = importance.score(X[list("abc")], y)
    said = describe(shares, performance, None, Provenance(120, None))
    assert said["a"].startswith("The model relies on a (share 0.06, 0.06 to 0.07).")
    assert said["b"].startswith("How much the model relies on b is uncertain (share")
    assert "0.05 if it is shuffled among patients before the fit)." in said["b"]
    assert said["c"].startswith("The model hardly relies on c (share 0.01")


def test_a_report_says_what_noise_would_have():
    X, y = cohort(300)
    model = early().fit(X[:150], y[:150])
    train = (X[:150], y[:150])
    found = report_of(
        model, X[150:], y[150:], X[:150], train=train, null_share=True, n_shuffles=1
    )
    null = found.to_frame()["reliance", "null_share"]["image"]
    assert f"; {null:.2f} if it is shuffled among" in found.sentences["image"]
    assert "null_share" in str(found)
    assert null < found.shares["estimate"]["image"]
    importance = ModalityImportance(model, background=X[:150])
    with pytest.raises(ValueError, match="needs the training cases"):
        importance.report(X[150:], y[150:], null_share=True)


def copies(n_rows=600, seed=0):
    """An image that is a copy of the record."""
    rng = np.random.default_rng(seed)
    signal = rng.normal(size=n_rows)
    X = pd.DataFrame(dict.fromkeys("abcd", signal)) + 0.05 * rng.normal(
        size=(n_rows, 4)
    )
    return X, (signal + rng.normal(size=n_rows) > 0).astype(int)


def test_a_copy_of_the_record_improves_nothing_beside_it():
    X, y = copies()
    model = early().fit(X[:300], y[:300])
    found = report_of(model, X[300:], y[300:], X[:300], cv=5)
    for name in ("image", "ehr"):
        said = found.sentences[name]
        assert "Its contribution to the AUROC on new rows is above 0" in said
        assert "Beside the other modalities, it improves" not in said
        assert "have a higher" not in said
        assert "less than half of the" in said
        assert not [word for word in FORBIDDEN if word in said]
    stump = early(DecisionTreeClassifier(max_depth=1, random_state=0))
    unused = report_of(stump.fit(X[:300], y[:300]), X[300:], y[300:], X[:300], cv=5)
    assert not [word for word in FORBIDDEN if word in str(unused)]
    assert any("hardly relies on" in text for text in unused.sentences.values())


def test_nothing_is_of_no_importance_without_a_margin():
    X, y = copies()
    model = early().fit(X[:300], y[:300])
    for margin, is_said in ((None, False), (0.0001, False), (0.1, True)):
        found = report_of(model, X[300:], y[300:], X[:300], cv=3, margin=margin)
        text = " ".join(found.sentences.values())
        assert ("differs by less than the margin of" in text) is is_said
        if is_said:
            assert "of this model differs by less than the margin of 0.1: " in text
            assert "of models fitted again differs by less than the margin" in text


def test_modalities_that_are_independent_given_the_outcome_are_not_correlated():
    rng = np.random.default_rng(0)
    y = np.arange(600) % 2
    X = pd.DataFrame(rng.normal(size=(600, 4)), columns=list("abcd"))
    X["a"] += 2 * y
    X["c"] += 2 * y
    model = early().fit(X[:300], y[:300])
    found = report_of(model, X[300:], y[300:], X[:300])
    alone = found.reliance.coalition_values[:, 1:3]
    assert np.corrcoef(alone.T)[0, 1] > 0.4  # as all good modalities are
    assert not any("correlated" in pitfall for pitfall in found.pitfalls)
    X["c"] += 1.5 * X["a"]
    model = early().fit(X[:300], y[:300])
    found = report_of(model, X[300:], y[300:], X[:300])
    assert any("Given the outcome, the predictions" in p for p in found.pitfalls)


@pytest.mark.parametrize("output", ["link", "proba"])
def test_the_scale_that_is_advised_is_that_of_the_model(output):
    X, y = cohort(weights=(2, 0, 2, 0))
    late = LateFusionClassifier(TWO).fit(X[:200], y[:200])
    for model, additive in ((early().fit(X[:200], y[:200]), "link"), (late, "proba")):
        found = ModalityImportance(
            model, background=X[:200], n_background=20, output=output
        ).report(X[200:], y[200:], **QUICK)
        advice = [p for p in found.pitfalls if "were explained" in p]
        if output == additive:
            assert advice == []
        elif advice or additive == "link":
            assert f"Use output='{additive}'" in advice[0]


def test_few_patients_are_named_with_their_number():
    X, y = cohort()
    model = early().fit(X[:200], y[:200])
    patients = np.repeat(np.arange(10), 20)
    found = report_of(model, X[200:], y[200:], groups=patients)
    assert any("only 10 patients, and 10 of the rarest" in p for p in found.pitfalls)
    rare = np.r_[np.flatnonzero(y[200:])[:4], np.flatnonzero(1 - y[200:])] + 200
    found = report_of(model, X.iloc[rare], y[rare])
    assert any("and 4 of the rarest class" in p for p in found.pitfalls)


# -- denominators -----------------------------------------------------------------


def test_cases_with_a_modality_are_counted_everywhere():
    X, y = cohort()
    X.loc[X.index[200:][::3], ["a", "b"]] = np.nan
    model = LateFusionClassifier(TWO).fit(X[:200], y[:200])
    importance = ModalityImportance(model, background=X[:200], n_background=20)
    found = importance.score(X[200:], y[200:])
    assert found.n_present.tolist() == [133, 200]
    for frame in (found.to_frame(), found.drop_one_frame()):
        assert frame["n_present"].to_dict() == {"image": 133, "ehr": 200}
    report = importance.report(X[200:], y[200:], **QUICK)
    assert report.to_frame()["cases", "n_present"].to_dict() == {
        "image": 133,
        "ehr": 200,
    }
    assert any("200 cases: image in 133." in p for p in report.pitfalls)
    refits = importance.refit(X, y, cv=2)
    assert refits.to_frame()["n_present"].tolist() == [333, 400]
    sets = {"none": 0, "image": 133, "ehr": 200, "image + ehr": 200}
    assert found.subsets()["n_present"].to_dict() == sets


def test_a_modality_that_no_case_has_gets_no_number():
    X, y = cohort()
    X.loc[200:, ["a", "b"]] = np.nan
    model = LateFusionClassifier(TWO).fit(X[:200], y[:200])
    importance = ModalityImportance(model, background=X[:200], n_background=20)
    with pytest.warns(DataWarning, match=r"\['image'\] absent in all 200 cases"):
        found = importance.score(X[200:], y[200:])
    assert np.isnan([found.estimate[0], found.low[0], found.drop_one[0]]).all()
    assert np.isnan(found.interactions["image", "ehr"])
    for kind in ("bars", "interactions", "subsets"):
        axis = found.plot(kind).ax_
        axis.figure.canvas.draw()
        texts = [text.get_text() for text in axis.texts]
        assert not [text for text in texts if "nan" in text]
        assert [text for text in texts if text.startswith("n/a")]
    pyplot.close("all")
    sets = found.subsets()
    assert sets.loc["image"].drop(["n_modalities", "n_present"]).isna().all()
    assert sets.loc[["none", "ehr", "image + ehr"], "score"].notna().all()
    assert np.isfinite(found.estimate[1])
    with pytest.warns(DataWarning, match="absent in all 200 cases"):
        report = importance.report(X[200:], y[200:], **QUICK)
    said = report.sentences["image"]
    assert "image is absent in all cases" in said
    assert not [word for word in FORBIDDEN if word in said]
    image = report.to_frame().loc["image"]
    assert image.drop(("cases", "n_present")).isna().all()
    importance.explain(X[200:201])  # a patient without an image can be explained


def test_a_background_without_a_modality_is_refused():
    X, y = cohort()
    lacking = X[:200].assign(a=np.nan, b=np.nan)
    model = LateFusionClassifier(TWO).fit(X[:200], y[:200])
    importance = ModalityImportance(model, background=lacking)
    with pytest.raises(ValueError, match=r"\['image'\] absent in all 100 background"):
        importance.explain(X[200:])


# -- intervals --------------------------------------------------------------------


def test_perfect_separation_has_intervals_within_the_range():
    rng = np.random.default_rng(0)
    X = pd.DataFrame(rng.normal(size=(60, 4)), columns=list("abcd"))
    y = np.arange(60) % 2
    X["a"] += 50 * y
    X["c"] += 50 * y
    model = early().fit(X[:50], y[:50])
    found = report_of(model, X[50:], y[50:], X[:50])
    for scoring in (None, "accuracy", "brier"):
        scores = ModalityImportance(model, background=X[:50]).score(
            X[50:], y[50:], scoring=scoring, n_resamples=50
        )
        pairs = [(scores.low, scores.high), (scores.drop_one_low, scores.drop_one_high)]
        for low, high in pairs:
            assert (high - low > (0.001 if scoring == "brier" else 0.05)).all()
            assert (low >= -1).all()
            assert (high <= 1).all()
    low, high = found.performance.whole_limits
    assert (low, high) == pytest.approx((0.025 ** (1 / 5), 1.0))
    assert "1.000 (0.478 to 1.000)" in str(found)
    frame = found.permutation
    assert (frame["high_this_model"] - frame["low_this_model"] > 0.05).all()


def test_limits_are_those_of_delong():
    X, y = cohort(weights=(1, 0, 1, 0))
    model = early().fit(X[:200], y[:200])
    importance = ModalityImportance(model, background=X[:200], n_background=20)
    found = importance.score(X[200:], y[200:])
    table = importance.explain(X[200:]).coalition_values
    for j, without in ((0, 2), (1, 1)):
        test = delong_test(y[200:], table[:, 3], table[:, without])
        assert found.drop_one[j] == pytest.approx(test.difference)
        assert found.drop_one_low[j] == pytest.approx(test.interval[0], abs=1e-6)
        assert found.drop_one_high[j] == pytest.approx(test.interval[1], abs=1e-6)
    alone = EarlyFusionClassifier(TWO[:1], estimator=LogisticRegression())
    alone.fit(X[:200], y[:200])
    found = ModalityImportance(alone, background=X[:200]).score(X[200:], y[200:])
    whole = auroc_interval(y[200:], alone.predict_proba(X[200:])[:, 1])
    assert found.low[0] == pytest.approx(whole.low - 0.5)
    assert found.high[0] == pytest.approx(whole.high - 0.5)


def test_a_modality_is_permuted_between_patients():
    X, y = cohort(60)
    model = early().fit(X, y)
    with pytest.warns(LeakageWarning):
        cases, _ = ModalityImportance(model)._prepare(X)
    patients = np.repeat(np.arange(20), 3)
    parts = permuted(cases, "image", patients, np.random.RandomState(0))
    own = pd.DataFrame(cases.parts["image"])
    donors = [
        {patients[np.flatnonzero((own == row).all(axis=1))[0]] for row in block}
        for block in np.split(parts["image"], 20)
    ]
    assert all(len(found) == 1 for found in donors)
    assert sorted(found.pop() for found in donors) == list(range(20))
    assert parts["ehr"] is cases.parts["ehr"]
