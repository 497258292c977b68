"""Settings of Sphinx. Also writes the list that the API page shows."""

from __future__ import annotations

import importlib
import inspect
import os
import re
import sys
from pathlib import Path

# Examples must never fill the reader's own cache, nor fight over the cores.
HERE = Path(__file__).parent
os.environ["SKFUSION_CACHE"] = str(HERE / "_build" / "cache")
for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(name, "1")

sys.path.insert(0, str(HERE))

import alternative_texts  # noqa: E402
import api_reference  # noqa: E402

import skfusion  # noqa: E402 - the settings above are read when numpy or torch loads

project = "skfusion"
author = "The skfusion developers"
copyright = f"2026, {author}"
version = release = skfusion.__version__

extensions = [
    "myst_parser",
    "numpydoc",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.mathjax",
    "sphinx.ext.viewcode",
    "sphinx_copybutton",
    "sphinx_gallery.gen_gallery",
]
exclude_patterns = [
    "_build",
    "_templates",
    "auto_examples/**.ipynb",
    "auto_examples/**.py",
    "examples/README.rst",
    "map.md",
    "public_names.rst",
]
templates_path = ["_templates"]
default_role = "code"
smartquotes = False  # defaults in signatures keep their straight quotes
maximum_signature_line_length = 80
toc_object_entries_show_parents = "hide"
copybutton_prompt_text = r">>> |\.\.\. |\$ "
copybutton_prompt_is_regexp = True
# Every reference to a name of the package must resolve. No inventories are fetched, so
# that the names of other packages cannot link.
nitpicky = True
nitpick_ignore_regex = [
    (r"py:.*", r"(?!skfusion\.).*"),
    (r"py:func", r"skfusion\.(save|load|inspect_model)"),  # listed by persistence
]
suppress_warnings = ["config.cache"]  # the sorting class of the gallery has no pickle

myst_enable_extensions = ["colon_fence", "dollarmath", "deflist"]
myst_heading_anchors = 3

autosummary_generate = ["public_names.rst"]
autodoc_typehints = "none"  # the numpydoc sections say it with shapes and units
numpydoc_show_class_members = False
numpydoc_class_members_toctree = False


def _figure_style(gallery_conf, name):
    """Give the figures of the gallery the colours and the quiet axes of the package."""
    import matplotlib

    from skfusion._figures.style import LIGHT

    colours = (LIGHT.joint, LIGHT.early, LIGHT.late, LIGHT.single, LIGHT.away)
    matplotlib.rcParams.update(
        {
            "axes.prop_cycle": matplotlib.cycler(color=colours),
            "axes.spines.right": False,
            "axes.spines.top": False,
            "axes.titlelocation": "left",
            "axes.titlesize": "medium",
            "axes.titleweight": "bold",
        }
    )


def _described_pictures(block, block_vars, gallery_conf, **kwargs):
    """Save the figures of a block of code with their alternative texts."""
    from sphinx_gallery.scrapers import matplotlib_scraper

    name = Path(block_vars["src_file"]).stem
    number = len(block_vars["image_path_iterator"])
    texts = iter(alternative_texts.TEXTS.get(name, ())[number:])
    lines = matplotlib_scraper(block, block_vars, gallery_conf, **kwargs).split("\n")
    for place, line in enumerate(lines):
        if line.strip().startswith(":alt:"):
            text = next(texts, None)
            if text is None:
                raise ValueError(f"{name}: give each picture an alternative text.")
            lines[place] = f"{line[: line.index(':alt:')]}:alt: {text}"
    return "\n".join(lines)


sphinx_gallery_conf = {
    "image_scrapers": (_described_pictures,),
    "reset_modules": ("matplotlib", _figure_style),
    "examples_dirs": "examples",
    "gallery_dirs": "auto_examples",
    "abort_on_example_error": True,
    "backreferences_dir": "generated/backreferences",
    "within_subsection_order": "FileNameSortKey",
    "doc_module": ("skfusion",),
    "min_reported_time": 1,
    "remove_config_comments": True,
    "show_memory": False,
    "image_srcset": ["2x"],
    "write_computation_times": False,
}

html_theme = "pydata_sphinx_theme"
html_title = f"skfusion {release}"
html_show_sourcelink = False
html_static_path = ["_static"]
html_css_files = ["skfusion.css"]
html_theme_options = {
    "navbar_align": "left",
    "navbar_end": ["theme-switcher"],
    "header_links_before_dropdown": 7,
    "show_toc_level": 2,
    "secondary_sidebar_items": ["page-toc"],
    "show_prev_next": False,
    "use_edit_page_button": False,
}
# Pages without pages below them would show an empty list.
LONE = ("index", "install", "glossary", "limits", "ecosystem", "contributing")
LONE += ("architecture", "citing")
html_sidebars = {name: [] for name in (*LONE, "search", "_modules/**")}


def _summary(names: list[str]) -> list[str]:
    if not names:
        return []
    head = [".. autosummary::", "   :toctree: generated", "   :nosignatures:", ""]
    return [*head, *(f"   {name}" for name in names), ""]


def _write_public_names(path: Path) -> None:
    """Write the tables of the API page, a section for each subject."""
    lines = []
    for section in api_reference.SECTIONS:
        lines += [section.title, "-" * len(section.title), "", section.text, ""]
        named = [
            (face, name)
            for face, names in section.names.items()
            for name in names.split()
        ]
        lines += _summary([f"~{f}.{n}" for f, n in named if _is_documented(f, n)])
        constants = [f"``{f}.{n}``" for f, n in named if not _is_documented(f, n)]
        if constants:
            lines += [f"Constants: {', '.join(constants)}.", ""]
    path.write_text("\n".join(lines), encoding="utf-8")


def _is_documented(face: str, name: str) -> bool:
    """Return whether a name has a docstring of its own, which constants have not."""
    return callable(getattr(importlib.import_module(face), name))


def _skip_member(app, what, name, obj, skip, options):
    """Leave out what scikit-learn adds to every estimator and documents itself."""
    if name.startswith("set_") and name.endswith("_request"):
        return True
    module = getattr(inspect.unwrap(obj) if callable(obj) else obj, "__module__", None)
    if name != "__init__" and module and not module.startswith("skfusion"):
        return True
    return skip


def _describe_thumbnails(app, doctree, docname):
    """Give thumbnails the title of their example, which the gallery leaves empty."""
    from docutils import nodes

    for image in doctree.findall(nodes.image):
        found = re.search(r"sphx_glr_(plot_\w+)_thumb\.", image["uri"])
        title = app.env.titles.get(f"auto_examples/{found[1]}") if found else None
        if title is not None and not image.get("alt"):
            image["alt"] = f"Thumbnail: {title.astext()}"


# A page of a class, and the anchor of the class or of a member.
BACK_LINK = re.compile(
    r'(generated/((?:\w+\.)*(\w+))\.html)#(?:\w+\.)*?\3((?:\.\w+)?)"'
)


def _mend_back_links(app, pagename, templatename, context, doctree):
    """Let source pages link to a name where it is documented.

    viewcode takes one package for all names of a module, and some modules hold names of
    two packages.
    """
    if pagename.startswith("_modules/"):
        context["body"] = BACK_LINK.sub(r'\1#\2\4"', context["body"])


# In prose and in the place of a type: (n_features_in_,) and (B, *shape).
SHAPE = re.compile(r"of shape \([^)]*\)|\(\w+, \*\w+\)")


def _escape_shapes(app, what, name, obj, options, lines):
    """Let docstrings give shapes as Python does, without a meaning in reST."""
    for number, line in enumerate(lines):
        if not line.lstrip().startswith((">>>", "...")):
            lines[number] = SHAPE.sub(
                lambda shape: re.sub(r"(_\b|\*)", r"\\\1", shape.group()), line
            )


def setup(app):
    app.connect("autodoc-skip-member", _skip_member)
    app.connect("doctree-resolved", _describe_thumbnails)
    app.connect("html-page-context", _mend_back_links)
    app.connect("autodoc-process-docstring", _escape_shapes, priority=400)


_write_public_names(HERE / "public_names.rst")
