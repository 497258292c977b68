"""Check the built site: links, anchors, pictures and headings.

Run after the build, as ``python docs/check_site.py docs/_build/html``. Links to other
sites are checked for their form only, as this needs no network. ``make linkcheck``
opens them.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

EXTERNAL = {"http", "https", "mailto"}
#: Alternative texts that sphinx-gallery makes from the name of a file.
NO_TEXT = ("plot ", "sphx ")


class Page(HTMLParser):
    """What a page links to, shows and can be linked at."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.links: list[str] = []
        self.pictures: list[tuple[str, str | None]] = []
        self.anchors = {""}  # the page itself
        self.n_titles = 0
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note the target, picture, title or anchor of a tag."""
        found = dict(attrs)
        self.anchors |= {found[key] or "" for key in ("id", "name") if key in found}
        if tag == "a" and found.get("href"):
            self.links.append(found["href"] or "")
        elif tag == "img":
            self.pictures.append((found.get("src") or "", found.get("alt")))
        elif tag == "h1":
            self.n_titles += 1


def check_site(folder: Path) -> list[str]:
    """Return the problems of a built site, one line for each.

    Parameters
    ----------
    folder : Path
        Folder of the HTML pages.

    Returns
    -------
    list of str
        Page and problem: a dead link, anchor or picture, an address that is none, a
        picture without alternative text, or another number of titles than one.
    """
    site = folder.resolve()
    paths = sorted(site.rglob("*.html"))
    pages = {path: Page(path) for path in paths if "_static" not in path.parts}
    return [
        f"{path.relative_to(site).as_posix()}: {problem}"
        for path, page in pages.items()
        for problem in (
            *_dead_links(path, page, pages, site),
            *_poor_pictures(path, page, site),
            *_titles(path, page),
        )
    ]


def _dead_links(
    path: Path, page: Page, pages: dict[Path, Page], site: Path
) -> Iterator[str]:
    for link in dict.fromkeys(page.links):
        parts = urlsplit(link)
        if parts.scheme or parts.netloc:
            if parts.scheme not in EXTERNAL or " " in link:
                yield f"not an address: {link}"
            elif parts.scheme != "mailto" and "." not in parts.netloc:
                yield f"an address without a host: {link}"
            continue
        target = _target(path, unquote(parts.path), site)
        if not target.is_file():
            yield f"dead link: {link}"
        elif target in pages and unquote(parts.fragment) not in pages[target].anchors:
            yield f"dead anchor: {link}"


def _target(path: Path, link: str, site: Path) -> Path:
    if not link:
        return path
    target = (site / link[1:] if link.startswith("/") else path.parent / link).resolve()
    return target / "index.html" if target.is_dir() else target


def _poor_pictures(path: Path, page: Page, site: Path) -> Iterator[str]:
    for source, text in page.pictures:
        inside = not urlsplit(source).scheme
        if inside and not _target(path, unquote(source), site).is_file():
            yield f"dead picture: {source}"
        if not text or not text.strip() or text.lower().startswith(NO_TEXT):
            yield f"picture without alternative text: {source} ({text!r})"


def _titles(path: Path, page: Page) -> Iterator[str]:
    if page.n_titles != 1:
        yield f"{page.n_titles} titles (h1) instead of one"


def main(folder: str) -> int:
    """Print the problems of the site, and return the exit status."""
    problems = check_site(Path(folder))
    if not list(Path(folder).glob("*.html")):
        problems = [f"{folder}: no pages. Build them first (make docs)."]
    for problem in problems:
        print(problem)
    print(f"{len(problems)} problems of the built pages in {folder}")
    return bool(problems)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
