"""Reliance: against formulas whose contributions are known, and against other code."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from known_models import Formula, LogitFormula, play
from scipy.special import expit, logit, logsumexp
from sklearn.base import clone
from sklearn.ensemble import RandomForestClassifier
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LinearRegression, LogisticRegression, SGDClassifier
from sklearn.model_selection import GridSearchCV
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC, LinearSVC

from skfusion import ModalityImportance
from skfusion.exceptions import DataWarning

TWO = {"a": [0], "b": [1]}


# -- formulas ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("seed", "n_cases", "n_background"),
    [(0, 1500, 25)]
    + [pytest.param(seed, 4000, 100, marks=pytest.mark.slow) for seed in range(6)],
)
def test_many_columns_get_no_more_than_one(seed, n_cases, n_background):
    # 1 column of variance 1 beside 512 of total variance 1: half each
    rng = np.random.default_rng(seed)
    weights = np.r_[1.0, np.full(512, 512**-0.5)]
    X = rng.normal(size=(n_cases, 513))
    background = rng.normal(size=(n_background, 513))
    found = play(
        lambda x: x @ weights, {"a": [0], "b": list(range(1, 513))}, background
    ).explain(X)
    assert found.share()["share"]["b"] == pytest.approx(0.5, abs=0.02)
    by_column = weights * (X - background.mean(axis=0))
    naive = np.abs(by_column).mean(axis=0)
    # the sum of absolute values by column says 96 %
    assert naive[1:].sum() / naive.sum() == pytest.approx(0.9577, abs=0.005)
    np.testing.assert_allclose(
        found.values[:, 1], by_column[:, 1:].sum(axis=1), atol=1e-10
    )


def test_group_game_is_not_the_sum_of_the_column_game():
    # Lundberg's example: 6bcd, groups {a, b, c} and {d}
    X, zeros = np.ones((1, 4)), np.zeros((2, 4))

    def f(x):
        return 6 * x[:, 1] * x[:, 2] * x[:, 3]

    groups = play(f, {"abc": [0, 1, 2], "d": [3]}, zeros).explain(X)
    np.testing.assert_allclose(groups.values, [[3.0, 3.0]], atol=1e-12)
    columns = play(f, {name: [j] for j, name in enumerate("abcd")}, zeros).explain(X)
    np.testing.assert_allclose(columns.values, [[0.0, 2.0, 2.0, 2.0]], atol=1e-12)


def test_product_over_a_full_background():
    grid = np.random.default_rng(0).normal(size=(20, 2))
    background = np.array([[a, b] for a in grid[:, 0] for b in grid[:, 1]])
    X = np.random.default_rng(1).normal(size=(50, 2))
    found = play(lambda x: (x[:, 0] + 1.5) * (x[:, 1] + 0.5), TWO, background).explain(
        X
    )
    a, b = X[:, 0] + 1.5, X[:, 1] + 0.5
    a0, b0 = grid[:, 0].mean() + 1.5, grid[:, 1].mean() + 0.5
    np.testing.assert_allclose(found.values[:, 0], (a - a0) * (b + b0) / 2, atol=1e-12)
    np.testing.assert_allclose(
        found.interactions["a", "b"], (a - a0) * (b - b0), atol=1e-12
    )
    assert found.base_values == pytest.approx(a0 * b0, abs=1e-12)


def test_modality_that_the_model_ignores_gets_nothing():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(200, 3))
    found = play(
        lambda x: np.sin(x[:, 0]) * x[:, 1],
        {"a": [0], "b": [1], "ignored": [2]},
        X[:50],
    ).explain(X[50:])
    assert np.abs(found.values[:, 2]).max() < 1e-12
    assert np.abs(found.interactions["a", "ignored"]).max() < 1e-12


@pytest.mark.parametrize(
    ("formula", "low", "high"),
    [
        (lambda x: np.sign(x[:, 0] * x[:, 1]), 0.93, 1.0),
        (lambda x: np.sign(x[:, 0]) + np.sign(x[:, 1]), 0.0, 1e-12),
        (lambda x: (1 + np.sign(x)).prod(axis=1) - 1, 0.27, 0.39),
    ],
    ids=["xor", "additive", "mixed"],
)
def test_interaction_share(formula, low, high):
    shares = []
    for seed in range(5):
        X = np.random.default_rng(seed).normal(size=(600, 2))
        shares.append(play(formula, TWO, X[:100]).explain(X[100:]).interaction_share())
    assert low <= np.mean(shares) <= high


def test_additive_log_odds_interact_only_as_probabilities():
    for seed in range(5):
        X = np.random.default_rng(seed).normal(size=(600, 2))

        def formula(x):
            return 1.5 * x[:, 0] + x[:, 1]

        link = play(formula, TWO, X[:100], kind=LogitFormula).explain(X[100:])
        assert link.interaction_share() < 1e-12
        proba = play(formula, TWO, X[:100], kind=LogitFormula, output="proba")
        with pytest.warns(DataWarning, match="can come from the scale"):
            assert 0.03 < proba.explain(X[100:]).interaction_share() < 0.12


@pytest.mark.parametrize("n_modalities", [1, 2, 3, 7])
def test_contributions_add_up(n_modalities):
    rng = np.random.default_rng(n_modalities)
    X = rng.normal(size=(60, n_modalities))
    columns = {f"m{j}": [j] for j in range(n_modalities)}

    def formula(x):
        return np.cumprod(1 + np.tanh(x), axis=1).sum(axis=1)

    found = play(formula, columns, X[:20]).explain(X[20:])
    np.testing.assert_allclose(found.predictions, formula(X[20:]), atol=1e-10)
    assert sum(found.moebius().values()) + found.base_values == pytest.approx(
        formula(X[20:]), abs=1e-10
    )
    assert len(found.interactions) == n_modalities * (n_modalities - 1) / 2


# -- other code -------------------------------------------------------------------


@pytest.mark.slow
def test_agrees_with_the_partition_explainer_of_shap():
    shap = pytest.importorskip("shap")
    rng = np.random.default_rng(0)
    X = rng.normal(size=(40, 5))

    def f(x):
        return np.tanh(x[:, 0] * x[:, 3]) + x[:, 1] * x[:, 4] + x[:, 2] ** 2

    # a tree that joins the columns of each modality first
    tree = np.array(
        [[0, 1, 0.1, 2], [2, 5, 0.2, 3], [3, 4, 0.1, 2], [6, 7, 1.0, 5]], dtype=float
    )
    masker = shap.maskers.Partition(X[:30], clustering=tree)
    theirs = shap.PartitionExplainer(f, masker)(X[30:33], max_evals=200, silent=True)
    ours = play(f, {"a": [0, 1, 2], "b": [3, 4]}, X[:30]).explain(X[30:33])
    np.testing.assert_allclose(
        ours.values,
        np.column_stack([theirs.values[:, :3].sum(1), theirs.values[:, 3:].sum(1)]),
        atol=1e-6,
    )
    np.testing.assert_allclose(ours.base_values, theirs.base_values[0], atol=1e-6)


def test_agrees_with_linear_shap_by_modality():
    shap = pytest.importorskip("shap")
    rng = np.random.default_rng(1)
    X, y = rng.normal(size=(100, 6)), rng.integers(0, 2, 100)
    model = LogisticRegression().fit(X, y)
    theirs = shap.LinearExplainer(model, shap.maskers.Independent(X))(X).values
    ours = ModalityImportance(
        model, modalities={"a": [0, 1], "b": [2, 3, 4, 5]}, background=X[:100]
    )
    with pytest.warns(UserWarning, match="100 of 100 cases are also in the background"):
        values = ours.explain(X).values
    np.testing.assert_allclose(values[:, 0], theirs[:, :2].sum(axis=1), atol=1e-10)


# -- models and outputs -----------------------------------------------------------


@pytest.fixture(scope="module")
def iris():
    from sklearn.datasets import load_iris

    X, y = load_iris(return_X_y=True, as_frame=True)
    order = np.random.default_rng(0).permutation(len(X))
    modalities = {"sepal": list(X.columns[:2]), "petal": list(X.columns[2:])}
    names = np.array(["setosa", "versicolor", "virginica"])
    return X.iloc[order], names[y.iloc[order]], modalities


def test_several_classes(iris):
    X, y, modalities = iris
    model = LogisticRegression(max_iter=1000).fit(X[:100], y[:100])
    found = ModalityImportance(
        model, modalities=modalities, background=X[:100]
    ).explain(X[100:], y[100:])
    assert found.values.shape == (50, 2, 3)
    assert found.classes == ("setosa", "versicolor", "virginica")
    proba = model.predict_proba(X[100:])
    np.testing.assert_allclose(found.predictions, logit(proba), atol=1e-6)
    assert found.share()["share"]["petal"] > 0.7
    assert found.presence.index.equals(X.index[100:])
    assert found.outcome is not None


def test_log_odds_of_probabilities_are_those_of_the_model(iris):
    # GaussianNB has no decision_function, and rounds no probability to 0
    X, y, modalities = iris
    model = GaussianNB().fit(X[:100], y[:100])
    joint = model.predict_joint_log_proba(X[100:])
    others = [logsumexp(np.delete(joint, c, 1), axis=1) for c in range(3)]
    exact = joint - np.column_stack(others)
    largest = logit(1 - 1e-12)
    cut = (np.abs(exact) > largest).any(axis=1).sum()
    importance = ModalityImportance(model, modalities=modalities, background=X[:100])
    with pytest.warns(DataWarning, match=f"is 0 or 1 in {cut} of 50 cases"):
        found = importance.explain(X[100:])
    np.testing.assert_allclose(
        found.predictions, np.clip(exact, -largest, largest), atol=1e-4
    )


@pytest.mark.parametrize(
    "learner",
    [
        SVC(probability=True, random_state=0),
        SGDClassifier(loss="log_loss", alpha=0.01, random_state=0),
        LogisticRegression(max_iter=1000),
    ],
    ids=["SVC", "one against the rest", "softmax"],
)
@pytest.mark.filterwarnings("ignore:.*probability.*:FutureWarning")
@pytest.mark.filterwarnings("ignore:.*also in the background")  # equal flowers
def test_log_odds_are_those_of_the_probabilities(iris, learner):
    X, y, modalities = iris
    for rows in (y != "setosa", y != "none"):
        model = clone(learner).fit(X[rows], y[rows])
        found = ModalityImportance(
            model,
            modalities=modalities,
            background=X[rows][:20],
            pos_label="virginica",
        ).explain(X[rows][20:80])
        assert found.output == "log-odds of virginica"
        proba = model.predict_proba(X[rows][20:80])
        at = list(model.classes_).index("virginica")
        np.testing.assert_allclose(expit(found.predictions), proba[:, at], atol=1e-6)


def test_classifiers_without_probabilities_have_a_decision_function(iris):
    X, y, modalities = iris
    model = LinearSVC().fit(X[:100], y[:100])
    found = ModalityImportance(
        model, modalities=modalities, background=X[:100]
    ).explain(X[100:])
    assert found.output == "decision function"
    np.testing.assert_allclose(found.predictions, model.decision_function(X[100:]))
    assert found.interaction_share() < 1e-12


def test_zeros_among_three_classes_are_counted(iris):
    X, y, modalities = iris
    model = RandomForestClassifier(5, random_state=0).fit(X[:100], y[:100])
    zeros = (model.predict_proba(X[100:]) == 0).any(axis=1).sum()
    importance = ModalityImportance(model, modalities=modalities, background=X[:100])
    with pytest.warns(DataWarning, match=f"is 0 or 1 in {zeros} of 50 cases"):
        importance.explain(X[100:])


def test_probabilities_numbers_and_functions(iris):
    X, y, modalities = iris
    model = LogisticRegression(max_iter=1000).fit(X[:100], y[:100])

    def ask(output):
        return ModalityImportance(
            model, modalities=modalities, background=X[:100], output=output
        ).explain(X[100:])

    proba = model.predict_proba(X[100:])
    np.testing.assert_allclose(ask("proba").predictions, proba, atol=1e-12)
    one = ask(lambda p: p[:, 2])
    assert one.classes is None
    np.testing.assert_allclose(one.predictions, proba[:, 2], atol=1e-12)
    assert ask(lambda p: p[:, :2]).classes == (0, 1)

    Y = np.column_stack([X.iloc[:, 0], X.iloc[:, 3]])
    several = LinearRegression().fit(X, Y)
    found = ModalityImportance(several, modalities=modalities).explain(X)
    np.testing.assert_allclose(found.predictions, several.predict(X), atol=1e-10)
    assert found.values.shape == (150, 2, 2)


def test_search_and_pipeline(iris):
    X, y, modalities = iris
    inner = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
    search = GridSearchCV(inner, {"logisticregression__C": [0.1, 1.0]}, cv=3)
    search.fit(X[:100], y[:100])
    found = [
        ModalityImportance(model, modalities=modalities, background=X[:100])
        .explain(X[100:])
        .values
        for model in (search, search.best_estimator_)
    ]
    np.testing.assert_array_equal(*found)


def test_tables_with_text_keep_their_types():
    rng = np.random.default_rng(0)
    X = pd.DataFrame(
        {"site": rng.choice(["arm", "leg"], 80), "age": rng.normal(60, 9, 80)}
    )

    class Reads(Formula):
        def predict(self, X):
            assert list(X.columns) == ["site", "age"]
            assert X["age"].dtype == np.float64
            return (X["site"] == "arm").to_numpy() * X["age"].to_numpy()

    model = Reads(None).fit(None, None)
    found = ModalityImportance(
        model, modalities={"record": ["age"], "photo": "site"}, background=X[:40]
    ).explain(X[40:])
    np.testing.assert_allclose(found.predictions, model.predict(X[40:]), atol=1e-10)


# -- many modalities --------------------------------------------------------------


def test_more_than_eight_modalities_are_sampled_or_refused():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(30, 10))
    columns = {f"m{j}": [j] for j in range(10)}

    def formula(x):
        return x.sum(axis=1) + 2 * x[:, 0] * x[:, 1]

    with pytest.raises(ValueError, match=r"2\*\*10 = 1,024 sets.*20 predictions"):
        play(formula, columns, X[:20]).explain(X)
    found = play(formula, columns, X[:20], n_permutations=5).explain(X[20:])
    # pairs of opposite orders are exact where modalities interact by pairs
    np.testing.assert_allclose(found.predictions, formula(X[20:]), atol=1e-10)
    mean = X[:20].mean(axis=0)
    np.testing.assert_allclose(found.values[:, 5], X[20:, 5] - mean[5], atol=1e-10)
    assert found.standard_errors.max() < 1e-10
    assert found.interactions == {}
    with pytest.raises(ValueError, match="most sets are not known"):
        found.interaction_share()


def test_sampled_values_are_as_good_as_their_errors_say():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(40, 6))
    columns = {f"m{j}": [j] for j in range(6)}

    def formula(x):
        return np.prod(1 + np.tanh(x), axis=1)

    exact = play(formula, columns, X[:20]).explain(X[20:])
    drawn = play(formula, columns, X[:20], n_permutations=60).explain(X[20:])
    z = (drawn.values - exact.values) / drawn.standard_errors
    assert 0.4 < np.sqrt((z**2).mean()) < 1.6


# -- how it works -----------------------------------------------------------------


def test_same_seed_same_values_and_rows_do_not_matter():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(500, 2))
    importance = ModalityImportance(
        Formula(lambda x: np.exp(x[:, 0]) * x[:, 1]).fit(None, None),
        modalities=TWO,
        background=X[:300],
        n_background=30,
        random_state=3,
    )
    found = importance.explain(X[300:]).values
    np.testing.assert_array_equal(importance.explain(X[300:]).values, found)
    alone = importance.explain(X[310:311])
    np.testing.assert_allclose(alone.values[0], found[10], atol=1e-12)


def test_memory_is_bounded_by_chunks(monkeypatch):
    most = []

    def formula(x):
        most.append(len(x))
        return x[:, 0] * x[:, 1]

    X = np.random.default_rng(0).normal(size=(3000, 2))
    whole = play(formula, TWO, X[:100]).explain(X[100:])
    assert max(most) <= 20_000  # not 2,900 * 100
    assert sum(most) == 2900 + 100 + 2 * 2900 * 100
    np.testing.assert_allclose(whole.predictions, X[100:, 0] * X[100:, 1], atol=1e-10)


def test_background_of_the_cases_themselves_needs_no_other():
    X = np.random.default_rng(0).normal(size=(50, 2))
    found = ModalityImportance(
        Formula(lambda x: x[:, 0] + x[:, 1]).fit(None, None), modalities=TWO
    ).explain(X)
    np.testing.assert_allclose(found.values, X - X.mean(axis=0), atol=1e-12)


# -- bad input --------------------------------------------------------------------


def additive(**options):
    model = Formula(lambda x: x[:, 0] + x[:, 1]).fit(None, None)
    return ModalityImportance(model, modalities=TWO, **options)


@pytest.mark.parametrize(
    ("importance", "error", "match"),
    [
        (
            additive(n_background=1),
            ValueError,
            r"got 1 background case\(s\).*background=X_train",
        ),
        (
            additive(background=np.zeros((1, 2))),
            ValueError,
            r"got 1 background case\(s\)",
        ),
        (additive(removal="zero"), ValueError, "removal must be one of"),
        (additive(removal="native"), ValueError, "was never trained with"),
        (additive(output="logit"), ValueError, "output must be"),
        (additive(output="proba"), ValueError, "predicts numbers"),
        (
            ModalityImportance(LinearRegression(), modalities=TWO),
            NotFittedError,
            "not fitted",
        ),
        (
            ModalityImportance(LinearRegression().fit([[0, 1]], [1])),
            TypeError,
            "Pass the columns of each",
        ),
        (
            ModalityImportance(
                LinearRegression().fit([[0, 1]], [1]), modalities=["a", "b"]
            ),
            TypeError,
            "must be a dict",
        ),
        (
            ModalityImportance(
                LinearRegression().fit([[0, 1]], [1]), modalities={"a": [0], "b": [7]}
            ),
            ValueError,
            "modality 'b' needs column 7",
        ),
        (
            ModalityImportance(
                LinearRegression().fit([[0, 1]], [1]), modalities={"a": [0]}
            ),
            ValueError,
            r"1 of 2 columns of X are in no modality: \['1'\]",
        ),
        (
            ModalityImportance(
                LinearRegression().fit([[0, 1]], [1]),
                modalities={"a": [0], "b": [0, 1]},
            ),
            ValueError,
            "are in several modalities",
        ),
    ],
)
def test_bad_requests(importance, error, match):
    X = np.random.default_rng(0).normal(size=(20, 2))
    with pytest.raises(error, match=match):
        importance.explain(X)


def test_output_that_is_not_finite():
    X = np.random.default_rng(0).normal(size=(20, 2))
    importance = additive(output=lambda p: np.where(p > 0, p, np.nan))
    with pytest.raises(ValueError, match=r"not finite in \d+ of 20 cases"):
        importance.explain(X)


def test_estimator_without_probabilities():
    X = np.random.default_rng(0).normal(size=(60, 2))
    y = (X.sum(axis=1) > 0).astype(int)
    model = SGDClassifier(random_state=0).fit(X[:30], y[:30])  # has margins only
    link = ModalityImportance(model, modalities=TWO, background=X[:30])
    np.testing.assert_allclose(
        link.explain(X[30:]).predictions, model.decision_function(X[30:]), atol=1e-10
    )
    proba = ModalityImportance(model, modalities=TWO, background=X[:30], output="proba")
    with pytest.raises(TypeError, match="CalibratedClassifierCV"):
        proba.explain(X[30:])


def test_probabilities_of_0_and_1_have_no_log_odds():
    from sklearn.neighbors import KNeighborsClassifier

    X = np.random.default_rng(0).normal(size=(60, 2))
    y = (X[:, 0] > 0).astype(int)
    model = KNeighborsClassifier(3).fit(X[:40], y[:40])
    importance = ModalityImportance(model, modalities=TWO, background=X[:40])
    sure = (model.predict_proba(X[40:]) == 1).any(axis=1).sum()
    with pytest.warns(UserWarning, match=f"is 0 or 1 in {sure} of 20 cases"):
        importance.explain(X[40:])


def test_outcome_of_another_length():
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        additive().explain(np.zeros((20, 2)), np.zeros(19))
