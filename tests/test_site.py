"""The checks of the built documentation, and its pictures."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def module(name: str):
    path = ROOT / "docs" / f"{name}.py"
    spec = importlib.util.spec_from_file_location(name, path)
    found = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(found)
    return found


check_site = module("check_site").check_site

PAGE = """<html><body><h1 id="top">A page</h1>
<a href="sub/other.html#there">x</a> <a href="#top">x</a> <a href="#">x</a>
<a href="https://example.org/a?b=c#d">x</a> <a href="mailto:a@example.org">x</a>
<img src="a%20picture.png" alt="A picture"> <a href="sub/">x</a>
{}</body></html>"""


@pytest.fixture
def site(tmp_path):
    (tmp_path / "sub").mkdir()
    other = '<h1>Other</h1><a name="there"></a><span id="b\u00fcndel"></span>'
    (tmp_path / "sub" / "other.html").write_text(other, encoding="utf-8")
    (tmp_path / "sub" / "index.html").write_text("<h1>Index</h1>", encoding="utf-8")
    (tmp_path / "a picture.png").write_bytes(b"")

    def problems(extra: str) -> list[str]:
        page = tmp_path / "page.html"
        page.write_text(PAGE.format(extra), encoding="utf-8")
        return check_site(tmp_path)

    return problems


def test_a_sound_site_has_no_problems(site):
    assert site('<a href="sub/other.html#b%C3%BCndel">x</a>') == []
    assert site('<a href="/sub/other.html">x</a>') == []


@pytest.mark.parametrize(
    ("extra", "problem"),
    [
        ('<a href="gone.html">x</a>', "dead link: gone.html"),
        ('<a href="../page.html">x</a>', "dead link: ../page.html"),
        ('<a href="sub/other.html#gone">x</a>', "dead anchor: sub/other.html#gone"),
        ('<a href="#gone">x</a>', "dead anchor: #gone"),
        ('<a href="htp://example.org">x</a>', "not an address: htp://example.org"),
        ('<a href="javascript:x()">x</a>', "not an address: javascript:x()"),
        ('<a href="https://nowhere/x">x</a>', "an address without a host"),
        ('<img src="gone.png" alt="Gone">', "dead picture: gone.png"),
        ('<img src="a%20picture.png">', "picture without alternative text"),
        ('<img src="a%20picture.png" alt=" ">', "picture without alternative text"),
        (
            '<img src="a%20picture.png" alt="plot calibration">',
            "picture without alternative text",
        ),
        ("<h1>Again</h1>", "2 titles (h1) instead of one"),
    ],
)
def test_each_problem_is_found(site, extra, problem):
    (found,) = site(extra)
    assert found.startswith(f"page.html: {problem}")


def test_a_folder_without_pages_is_a_problem(tmp_path, capsys):
    assert module("check_site").main(str(tmp_path)) == 1
    assert "no pages" in capsys.readouterr().out


def test_picture_of_the_layers_is_that_of_the_import_rules():
    drawn = module("draw_layers")
    assert drawn.PICTURE.read_text(encoding="utf-8") == drawn.draw_layers(
        ROOT / "pyproject.toml"
    ), "run python docs/draw_layers.py"


def test_picture_and_architecture_name_each_package():
    picture = (ROOT / "docs/_static/layers.svg").read_text(encoding="utf-8")
    page = (ROOT / "docs/architecture.md").read_text(encoding="utf-8")
    packages = {path.parent.name for path in (ROOT / "skfusion").glob("[a-z]*/*.py")}
    for package in packages:
        assert re.search(rf"\b{package}\b", picture), package
    for package in packages - {"survival", "feature_selection", "testing", "vectors"}:
        assert f"skfusion/{package}/" in page, package


def test_pictures_of_the_gallery_have_alternative_texts():
    texts = module("alternative_texts").TEXTS
    scripts = {path.stem for path in (ROOT / "docs" / "examples").glob("plot_*.py")}
    assert set(texts) == scripts
    for name, described in texts.items():
        assert len(set(described)) == len(described) > 0, name
        assert all(20 <= len(text) <= 200 for text in described), name


@pytest.mark.parametrize(
    "page", [path.relative_to(ROOT).as_posix() for path in ROOT.glob("docs/**/*.md")]
)
def test_pictures_of_a_page_have_alternative_texts(page):
    text = (ROOT / page).read_text(encoding="utf-8")
    assert re.findall(r"!\[\s*\]\(", text) == []
    assert len(re.findall(r"\{image\}", text)) == len(
        re.findall(r"^:alt: \S", text, re.M)
    )
