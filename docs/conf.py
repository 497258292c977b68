"""Settings of Sphinx. Also writes the list that the API page shows."""

from __future__ import annotations

import importlib
import inspect
import os
import re
from pathlib import Path

# Examples must never fill the reader's own cache, nor fight over the cores.
HERE = Path(__file__).parent
os.environ["SKFUSION_CACHE"] = str(HERE / "_build" / "cache")
for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(name, "1")

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
nitpicky = False  # no inventories are fetched, so scikit-learn's names cannot link
suppress_warnings = ["config.cache"]  # the sorting class of the gallery has no pickle

myst_enable_extensions = ["colon_fence", "dollarmath", "deflist"]
myst_heading_anchors = 3

autosummary_generate = ["public_names.rst"]
autodoc_typehints = "none"  # the numpydoc sections say it with shapes and units
numpydoc_show_class_members = False
numpydoc_class_members_toctree = False

sphinx_gallery_conf = {
    "examples_dirs": "examples",
    "gallery_dirs": "auto_examples",
    "abort_on_example_error": True,
    "backreferences_dir": "generated/backreferences",
    "doc_module": ("skfusion",),
    "min_reported_time": 1,
    "remove_config_comments": True,
    "show_memory": False,
}

html_theme = "pydata_sphinx_theme"
html_title = f"skfusion {release}"
html_show_sourcelink = False
html_theme_options = {
    "navbar_end": ["theme-switcher"],
    "secondary_sidebar_items": ["page-toc"],
    "show_prev_next": False,
    "use_edit_page_button": False,
}
html_sidebars = {"**": ["sidebar-nav-bs"], "index": []}


def _summary(names: list[str]) -> list[str]:
    head = [".. autosummary::", "   :toctree: generated", "   :nosignatures:", ""]
    return [*head, *(f"   {name}" for name in names), ""]


# In this order each public name is listed once, where it is first found.
FACES = (
    *("skfusion", "skfusion.survival", "skfusion.feature_selection"),
    *("skfusion.fusion", "skfusion.image", "skfusion.ehr", "skfusion.evaluation"),
    *("skfusion.inspection", "skfusion.persistence", "skfusion.store"),
    "skfusion.datasets",
    *("skfusion.testing", "skfusion.text", "skfusion.exceptions"),
)


def _write_public_names(path: Path) -> None:
    """Write the API page's tables from what the packages export, nothing by hand."""
    lines, listed = [], set()
    for face in FACES:
        module = importlib.import_module(face)
        names = [name for name in module.__all__ if callable(getattr(module, name))]
        new = [name for name in names if name not in listed]
        listed |= set(new)
        lines += [f".. currentmodule:: {face}", "", f".. rubric:: {face}", ""]
        lines += [module.__doc__.splitlines()[0], ""]
        classes = [name for name in new if inspect.isclass(getattr(module, name))]
        functions = [name for name in new if name not in classes]
        for group in (classes, functions):
            lines += _summary(group) if group else []
    path.write_text("\n".join(lines), encoding="utf-8")


def _skip_member(app, what, name, obj, skip, options):
    """Leave out what scikit-learn adds to every estimator and documents itself."""
    if name.startswith("set_") and name.endswith("_request"):
        return True
    module = getattr(inspect.unwrap(obj) if callable(obj) else obj, "__module__", None)
    if name != "__init__" and module and not module.startswith("skfusion"):
        return True
    return skip


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
    app.connect("autodoc-process-docstring", _escape_shapes, priority=400)


_write_public_names(HERE / "public_names.rst")
