"""The prose of the pages and docstrings, measured against the rules of the house."""

from __future__ import annotations

import ast
import functools
import importlib
import re
from functools import reduce
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
OF_DEVELOPERS = {"architecture.md", "map.md", "contributing.md"}
PAGES = sorted(
    path.relative_to(ROOT).as_posix()
    for path in [
        ROOT / "README.md",
        *ROOT.glob("docs/*.md"),
        *ROOT.glob("docs/guide/*.md"),
        *ROOT.glob("docs/howto/*.md"),
        *ROOT.glob("docs/recipes/*.md"),
        *ROOT.glob("docs/examples/plot_*.py"),
        ROOT / "docs" / "examples" / "README.rst",
    ]
    if path.name not in OF_DEVELOPERS
)
MODULES = sorted(
    path.relative_to(ROOT).as_posix() for path in ROOT.glob("skfusion/**/*.py")
)

MOST_WORDS = 20  # a sentence, on average
LONG = 30  # words; at most one sentence in twenty has more
BANNED = (
    r"bears?",
    r"minds?",
    r"(?:tell|tells|telling|told) (?:\w+ ){0,4}?(?:apart|from)",
    r"told",
    r"silent(?:ly)?",
    r"blind",
    r"stands? (?:beside|in)",
    r"as (?:they|it) stands?",
    r"hides?",
    r"stands for",
    r"(?:try|tries|tried) whether",
    r"(?:of|an?|the|is|are|for|from|with) unlike",  # the adjective
    r"as it is",
    r"that there is",
    r"(?<!there )is no (?!longer\b|more than\b)",  # for "is not a"
    r"nothing but",
    r"of (?:one's|its|their|his|her|your) own",
    r"what it is worth",
)
# Term of the glossary, and what other texts call it.
SYNONYMS = {
    "early fusion": r"(?:feature|input)-level fusion|early integration",
    "joint fusion": r"intermediate fusion|end-to-end fusion|intermediate integration",
    "late fusion": r"(?:decision|score)-level fusion|late integration",
    "aggregation rule": r"(?:fusion|combination|combining|voting) rules?",
    "member": r"(?:base|level-0|first-level) (?:models?|learners?|estimators?)",
    "meta-model": r"meta-?learners?|super ?learners?|second-level models?",
    "modality": r"modes of data|data (?:streams?|views?)",
    "modality dropout": r"(?:dropout|dropping) of modalities|modality dropping",
    "index time": r"(?:landmark|anchor|cut-?off) (?:times?|dates?)|prediction dates?",
    "saliency map": r"(?:heat|attention|activation) ?maps?",
    "out-of-fold": r"out-of-sample|cross-fitted predictions?",
    "electronic health record": r"electronic (?:medical|patient) records?|EMRs?|EPRs?",
    "concordance": r"[cC]-?statistic",
    "data leakage": r"target leakage|information leakage|data leaks?",
    "presence": r"missingness (?:masks?|flags?|indicators?)",
    "Shapley value": r"SHAP values? of (?:the )?modalit(?:y|ies)",
    "backbone": r"base networks?|feature extractors?",
}
MOST_OF_A_FIRST_LINE = 20  # words, of a docstring


@functools.cache
def prose(text: str) -> list[str]:
    """Return paragraphs and list items without code, tables, headings and targets."""
    text = re.sub(r"^(```|:::).*?^\1\s*$", "\n", text, flags=re.DOTALL | re.MULTILINE)
    text = re.sub(r"<!--.*?-->", "", text, flags=re.DOTALL)
    text = re.sub(r"^(?:#|\||\([\w-]+\)=).*$", "\n", text, flags=re.MULTILINE)
    text = re.sub(r"(?:\{[\w:-]+\})?(`+)(?!`).+?\1", "code", text, flags=re.DOTALL)
    text = re.sub(r"!?\[([^\]]*)\]\([^)]*\)", r"\1", text)
    # an item of a list, the definition of a term and a term are each a paragraph
    text = re.sub(r"^\s*(?:[-*+]|\d+\.|:) +", "\n\n", text, flags=re.MULTILINE)
    text = text.replace("*", "")
    return [
        " ".join(part.split()) for part in re.split(r"\n\s*\n", text) if part.strip()
    ]


def sentences(text: str) -> list[str]:
    """Split prose at full stops, after which a sentence begins."""
    found = []
    for paragraph in prose(text):
        parts = re.split(
            r"(?<!et al\.)(?<=[.!?])[\"')]*\s+(?=[\"'(A-Z0-9]|code)", paragraph
        )
        found += [part for part in parts if words(part)]
    return found


def words(sentence: str) -> list[str]:
    return re.findall(r"[A-Za-z0-9][\w'’,.%/-]*", sentence)


def read(page: str) -> str:
    text = (ROOT / page).read_text(encoding="utf-8")
    return gallery_prose(text) if page.startswith("docs/examples/plot_") else text


def gallery_prose(script: str) -> str:
    """The text of a page of the gallery: its docstring and its blocks of comments."""
    head, *lines = (ast.get_docstring(ast.parse(script)) or "").splitlines()
    blocks = re.findall(r"^# %%.*\n((?:#.*\n)*)", script, flags=re.MULTILINE)
    comments = (re.sub(r"^# ?", "", block, flags=re.MULTILINE) for block in blocks)
    underlined = re.compile(r"^[=-]{4,}$", flags=re.MULTILINE)
    return underlined.sub("", "\n\n".join(["# " + head, "\n".join(lines), *comments]))


@pytest.mark.parametrize("page", PAGES)
def test_sentences_of_a_page_are_short(page):
    lengths = [len(words(sentence)) for sentence in sentences(read(page))]
    long = [s for s in sentences(read(page)) if len(words(s)) > LONG]
    assert sum(lengths) <= MOST_WORDS * len(lengths)
    assert 20 * len(long) <= len(lengths), "\n".join(long)


@pytest.mark.parametrize("page", PAGES)
def test_page_has_hardly_a_semicolon(page):
    text = " ".join(prose(read(page)))
    found = [text[max(0, m.start() - 40) : m.end()] for m in re.finditer(";", text)]
    assert len(found) <= len(words(text)) // 1000, "\n".join(found)


@pytest.mark.parametrize("page", PAGES)
def test_page_has_no_banned_word(page):
    text = " ".join(prose(read(page)))
    pattern = re.compile(rf"\b(?:{'|'.join(BANNED)})\b", re.IGNORECASE)
    found = [text[max(0, m.start() - 40) : m.end()] for m in pattern.finditer(text)]
    assert not found, "\n".join(found)


def other_terms(text: str) -> list[str]:
    """Return what a text calls by another name than the glossary."""
    return [
        f"{found[0]} ({term})"
        for term, pattern in SYNONYMS.items()
        for found in re.finditer(rf"\b(?:{pattern})\b", text)
    ]


@pytest.mark.parametrize("page", PAGES)
def test_page_uses_the_terms_of_the_glossary(page):
    assert other_terms(" ".join(prose(read(page)))) == []


def test_terms_are_in_the_glossary():
    text = read("docs/glossary.md")
    terms = set(re.findall(r"^(\S.*)\n: ", text, flags=re.MULTILINE))
    assert set(SYNONYMS) <= terms
    assert other_terms("Late fusion by a combination rule of base learners") == [
        "combination rule (aggregation rule)",
        "base learners (member)",
    ]


def test_docstrings_use_the_terms_of_the_glossary():
    found = [
        f"{place}: {term}"
        for module in MODULES
        for place, text in docstrings(module)
        for term in other_terms(" ".join(prose(text)))
    ]
    assert not found, "\n".join(found)


def test_first_lines_of_docstrings_are_short_and_plain():
    banned = re.compile(rf"\b(?:{'|'.join(BANNED)})\b", re.IGNORECASE)
    found = []
    for module in MODULES:
        for place, text in docstrings(module):
            first = " ".join(prose(text.split("\n\n")[0]))
            # A table of summaries has no list of references.
            poor = len(words(first)) > MOST_OF_A_FIRST_LINE or re.search(";|]_", first)
            if poor or banned.search(first):
                found.append(f"{place}: {first}")
    assert not found, "\n".join(found)


def test_prose_of_the_gallery_is_its_text():
    script = '"""\nA title\n=======\n\nOne.\n"""\n\n# %%\n# Then; so.\n\nx = 1  # b\n'
    assert " ".join(prose(gallery_prose(script))) == "One. Then; so."


def test_banned_words_are_words():
    pattern = re.compile(rf"\b(?:{'|'.join(BANNED)})\b", re.IGNORECASE)
    allowed = "remind bearing there is no image, it is no longer blinded; unlike CT, "
    assert pattern.findall(allowed) == []
    for phrase in ("it bears", "mind that", "is no leak", "of unlike size", "Told"):
        assert pattern.search(phrase), phrase


def test_prose_leaves_out_what_is_not_prose():
    text = "# Not; this\n\n```python\n>>> a; b\n```\n\n| a; b |\n\n- An [item](x;y).\n"
    assert prose(text) == ["An item."]
    assert sentences("It is `a; b` long. Huang et al. say so, 1.5 times.") == [
        "It is code long.",
        "Huang et al. say so, 1.5 times.",
    ]


def docstrings(module: str) -> list[tuple[str, str]]:
    """Return `file:line` and text, of a module, its public classes and functions."""
    kinds = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    found = []

    def visit(node: ast.AST) -> None:
        name = getattr(node, "name", "")
        if isinstance(node, kinds) and not re.match(r"_(?!_)", name):
            text = ast.get_docstring(node)
            if text:
                line = node.body[0].lineno
                found.append((f"{module}:{line}", text))
            for child in node.body:
                visit(child)

    visit(ast.parse(read(module)))
    return found


@pytest.mark.long
def test_docstrings_begin_with_what_a_search_finds():
    riddle = re.compile(r"^What |\bin, .*\bout\b", re.IGNORECASE)
    found = [
        f"{place}: {text.splitlines()[0]}"
        for module in MODULES
        for place, text in docstrings(module)
        if riddle.search(text.splitlines()[0])
    ]
    assert not found, "\n".join(found)


@pytest.mark.long
def test_docstrings_do_not_say_what_to_read_next():
    places = [
        place
        for module in MODULES
        for place, text in docstrings(module)
        if "read next" in text.lower()
    ]
    assert not places, "\n".join(places)


def resolves(name: str) -> bool:
    """Whether the longest prefix that is a module has the remaining attributes."""
    parts = name.split(".")
    for end in range(len(parts), 0, -1):
        try:
            module = importlib.import_module(".".join(parts[:end]))
        except ModuleNotFoundError:
            continue
        try:
            reduce(_member, parts[end:], module)
        except AttributeError:
            return False
        return True
    return False


def _member(owner: object, name: str) -> object:
    if name in getattr(owner, "__annotations__", {}):  # a field without a default
        return None
    return getattr(owner, name)


def names_of(text: str) -> set[str]:
    """Return the dotted names of the package in inline code and in roles."""
    return {
        name
        for code in re.findall(r"`([^`]+)`", text)
        for name in re.findall(r"(?<![\w/.])skfusion(?:\.[A-Za-z_]\w*)+", code)
    }


def test_names_resolve_or_not():
    assert resolves("skfusion.EventStore.with_lags")
    assert not resolves("skfusion.advise")
    assert not resolves("skfusion.fusion.no_such_module.name")
    assert names_of("{class}`~skfusion.A` and `from skfusion.b import c`") == {
        "skfusion.A",
        "skfusion.b",
    }


@pytest.mark.long
def test_no_docstring_names_what_does_not_exist():
    dead = [
        f"{place}: {name}"
        for module in MODULES
        for place, text in docstrings(module)
        for name in sorted(names_of(text))
        if not resolves(name)
    ]
    assert not dead, "\n".join(dead)


@pytest.mark.parametrize("page", [*PAGES, "docs/architecture.md", "docs/map.md"])
def test_no_page_names_what_does_not_exist(page):
    assert [name for name in sorted(names_of(read(page))) if not resolves(name)] == []
