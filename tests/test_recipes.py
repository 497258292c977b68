"""The recipes run as printed, are short, and agree with the registry of studies."""

from __future__ import annotations

import doctest
import importlib
import re
from pathlib import Path
from typing import NamedTuple

import pytest

from skfusion.datasets.reviewed_studies import REVIEWED_STUDIES, Fact, studies_frame

FOLDER = Path(__file__).parents[1] / "docs/recipes"
MOST_LINES = 20
OTHERS = {  # recipes that are of no reviewed study
    "pulmonary_embolism.md": [
        "pe-early",
        "pe-joint-all",
        "pe-joint-separate",
        "pe-late-nn-average",
        "pe-late-elastic-average",
        "pe-late-separate-average",
        "pe-late-meta",
    ],
    "haim.md": ["haim", "haim-notes"],
    "early.md": ["early-joins"],
}


class Recipe(NamedTuple):
    page: str
    anchor: str
    text: str

    @property
    def address(self) -> str:
        return f"{self.page}#{self.anchor}"


def recipes() -> list[Recipe]:
    found = []
    for page in sorted(FOLDER.glob("*.md")):
        text = page.read_text(encoding="utf-8")
        parts = re.split(r"^\(([\w-]+)\)=$", text, flags=re.MULTILINE)[1:]
        found += [
            Recipe(page.name, anchor, body)
            for anchor, body in zip(parts[::2], parts[1::2], strict=True)
        ]
    return found


def code_lines(recipe: Recipe) -> list[str]:
    return re.findall(r"^(?:>>>|\.\.\.) (.*\S)", recipe.text, flags=re.MULTILINE)


RECIPES = recipes()


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda recipe: recipe.address)
@pytest.mark.long
def test_recipe_runs_as_printed(recipe):
    examples = doctest.DocTestParser().get_doctest(
        recipe.text, {}, recipe.anchor, recipe.page, 0
    )
    flags = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE | doctest.FAIL_FAST
    runner = doctest.DocTestRunner(optionflags=flags)
    report: list[str] = []
    runner.run(examples, out=report.append, clear_globs=False)
    assert not report, "".join(report)
    # a recipe ends in what the model reached on rows that it was not fitted on
    assert examples.examples[-1].want.strip()


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda recipe: recipe.address)
def test_recipe_is_short_and_of_public_names(recipe):
    lines = code_lines(recipe)
    assert 0 < len(lines) <= MOST_LINES
    assert max(map(len, lines)) <= 84  # 88 with the prompt
    imported = re.findall(r"^from (skfusion[\w.]*) import", "\n".join(lines), re.M)
    assert imported
    for face in set(imported):  # a package that exports names, not a module within
        assert hasattr(importlib.import_module(face), "__all__")
        assert face.count(".") <= 1
    assert not re.search(r"\._[a-z]", "\n".join(lines))


def test_every_study_has_a_recipe_and_every_recipe_a_study():
    of_studies = [address for study in REVIEWED_STUDIES for address in study.recipes]
    of_others = [f"{page}#{a}" for page, anchors in OTHERS.items() for a in anchors]
    written = [recipe.address for recipe in RECIPES]
    assert sorted(written) == sorted([*of_studies, *of_others])


@pytest.mark.parametrize("study", REVIEWED_STUDIES, ids=lambda study: study.key)
def test_page_and_registry_agree_about_the_study(study):
    texts = [recipe.text for recipe in RECIPES if recipe.address in study.recipes]
    for text in texts:
        heading = text.strip().splitlines()[0]
        assert study.title.split(",")[0] in heading
        assert ("doubtful" in text.lower()) == (study.membership == "doubtful")
        # what the page cites is what the registry gives
        dois = set(re.findall(r"10\.\d{4,}/[^\s`)]+[\w]", text))
        assert dois <= set(study.identifiers)


# What was not read in the study itself. These words may not be in a verified fact, nor
# in the part of the page that says what the abstract states.
NOT_READ = {
    "thung2017": ["PET", "regions", "regional", "demographic", "genetic"],
    "an2018": ["mRMR first", "then a genetic", "comes first"],
    "bhagwat2018": ["software"],
    "hyun2019": ["AUROC", "impurity"],
    "kharazmi2018": ["pooled", "softmax"],
    "li2019": ["time to", "the time from"],
    "liu2018": ["by hand"],
    "nie2019": ["age,", "vector machine", "T1", "diffusion"],
    "purwar2019": ["PCA before", "PCA first", "PCA comes", "then LDA"],
    "tiulpin2019": ["convolutional", "boosting", "predictions", "sex", "mass index"],
    "kawahara2019": ["sum of", "are added"],
    "spasov2019": ["Jacobian"],
    "yap2018": ["sex", "location", "one network", "embeddings"],
    "yoo2019": ["replicated", "mean", "compare", "masks"],
    "qiu2018": ["three", "maximum", "Maximum"],
    "reda2018": ["meta-classifier", "auto-encoder as"],
}


def read_in_the_study(text: str) -> str:
    """The sentences of a page that say what was read in the study itself."""
    prose = " ".join(text.split("```")[0].strip().partition("\n\n")[2].split())
    ends = r"(?=According to|From memory|Here,|The abstract (?:gives|does))"
    parts = re.split(ends, prose)
    return " ".join(
        part
        for part in parts
        if re.match(r"According to (its|the) (title|abstract)", part)
        and "precursor" not in part
        and "reference lists" not in part
    )


def test_verified_is_no_wider_than_what_was_read():
    assert {study.key for study in REVIEWED_STUDIES} - {*NOT_READ} == {"eleventh"}
    for study in REVIEWED_STUDIES:
        texts = [fact.value for fact in study.facts.values() if fact.verified]
        texts += [
            read_in_the_study(recipe.text)
            for recipe in RECIPES
            if recipe.address in study.recipes
        ]
        for word in NOT_READ.get(study.key, ()):
            wrong = [text for text in texts if re.search(rf"\b{re.escape(word)}", text)]
            assert not wrong, (study.key, word)


@pytest.mark.parametrize("study", REVIEWED_STUDIES, ids=lambda study: study.key)
def test_each_fact_has_its_own_source_and_the_page_says_the_same(study):
    texts = [recipe.text for recipe in RECIPES if recipe.address in study.recipes]
    pages = " ".join(" ".join(text.split()) for text in texts)
    for name, fact in study.facts.items():
        assert (fact.source is None) == (fact.read is None), name
        assert fact.verified == (fact.read in ("abstract", "paper")), name
        if fact.read == "abstract":
            assert "precursor" not in fact.source
    verified = [fact for fact in study.facts.values() if fact.verified]
    # a page claims that the study was read exactly where the registry does
    assert bool(verified) == any(map(read_in_the_study, texts))
    if any(fact.read is None for fact in study.facts.values()):
        assert re.search("[Ff]rom memory|unverified|abstract gives", pages)
    if any(fact.read == "secondary" for fact in study.facts.values()):
        assert re.search("secondary source|was not read", pages)


def test_the_table_says_what_was_read():
    table = studies_frame()
    assert set(table["read"].dropna()) == {"abstract", "paper", "secondary"}
    assert table["read"].isna().equals(table["source"].isna())
    own_text = table["read"].isin(["abstract", "paper"])
    assert table["verified"].equals(own_text)
    # hardly any study is verified as a whole
    whole = table.groupby("study")["verified"].all()
    assert whole[whole].index.tolist() == ["purwar2019"]


@pytest.mark.parametrize(
    ("source", "read"), [(None, "abstract"), ("doi", None), ("doi", "blog")]
)
def test_a_fact_says_what_was_read_where(source, read):
    with pytest.raises(ValueError, match=r"Fact: (source and read must|read must be)"):
        Fact("statement", source, read)


def test_index_shows_the_registry():
    page = (FOLDER / "index.md").read_text(encoding="utf-8")
    for study in REVIEWED_STUDIES:
        links = ", ".join(f"[{a.split('.')[0]}]({a})" for a in study.recipes)
        cells = study.title, study.membership, ", ".join(study.strategies), links
        assert f"| {' | '.join(cells)} |" in page
