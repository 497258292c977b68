"""Draw the layers of the package from the import rules.

Run as ``python docs/draw_layers.py`` after a change of the contract `layers` in
pyproject.toml. A test compares the picture with the rules.
"""

from __future__ import annotations

import tomllib
from html import escape
from pathlib import Path

ROOT = Path(__file__).parents[1]
PICTURE = ROOT / "docs" / "_static" / "layers.svg"
WIDTH = 760
MARGIN, GAP = 10, 12
#: What the packages of a layer are for, by the first package that is named here.
PURPOSE = {
    "cli": "the command line, and checks of fusions that users write",
    "persistence": "models in files without pickle, several processes and machines",
    "inspection": "what a model relies on, and cohorts from the tables of a hospital",
    "evaluation": "comparison of strategies, statistics, guidelines, report",
    "survival": "public names of parts of fusion",
    "fusion": "the estimators and what they share",
    "text": "notes to embeddings",
    "image": "features of images and of the record, data sets",
    "store": "embeddings on disk, computed once",
    "blocks": "features by modality, folds of whole patients, checked input",
    "modality": "triples (name, transformer, columns) and presence",
    "vectors": "embeddings that exist",
    "_fitting": "cells with images, steps of a fit, style of figures",
    "_paths": "what everything else may use",
    "_dependencies": "optional packages, with the pip command if one is missing",
}
STYLE = (
    'text { font-family: Arial, Helvetica, "Liberation Sans", sans-serif; }'
    " .name { font-size: 15px; font-weight: 600; fill: #1b2028; }"
    " .purpose { font-size: 12px; fill: #5a6473; }"
    " .inner { font-size: 12px; font-style: italic; fill: #1b2028; }"
    " rect { fill: #eef2fb; stroke: #1c47ad; }"
    " path { fill: none; stroke: #5a6473; stroke-width: 1.5; }"
)


def draw_layers(pyproject: Path) -> str:
    """Return the picture as SVG.

    Parameters
    ----------
    pyproject : Path
        The file with the contracts of import-linter.

    Returns
    -------
    str
        A box for each layer, the top one first, with the layers inside its packages.
    """
    tool = tomllib.loads(pyproject.read_text(encoding="utf-8"))["tool"]
    contracts = {rule["id"]: rule for rule in tool["importlinter"]["contracts"]}
    parts, top = [], MARGIN
    layers = [name for name in contracts["layers"]["layers"] if name != "__main__"]
    for number, layer in enumerate(layers):
        names = [name.strip() for name in layer.split("|")]
        inner = [
            f"{name}: {', '.join(_inner(contracts[name]))}"
            for name in names
            if name in contracts
        ]
        height = 46 + 20 * len(inner)
        if number:
            parts.append(f'<path d="M380 {top - GAP} v10 m-4 -5 l4 5 l4 -5"/>')
        parts += _box(top, height, " | ".join(names), _purpose(names), inner)
        top += height + GAP
    height = top - GAP + MARGIN
    label = "The layers of skfusion, from the command line down to the base"
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" '
        f'width="{WIDTH}" height="{height}" role="img" aria-label="{label}">'
    )
    ground = f'<rect width="{WIDTH}" height="{height}" style="fill:#fff;stroke:none"/>'
    return "\n".join([head, f"<style>{STYLE}</style>", ground, *parts, "</svg>", ""])


def _inner(contract: dict) -> list[str]:
    names = [name.strip() for layer in contract["layers"] for name in layer.split("|")]
    return names if len(names) <= 8 else [*names[:8], "..."]


def _purpose(names: list[str]) -> str:
    known = [PURPOSE[name] for name in names if name in PURPOSE]
    return known[0] if known else ""


def _box(
    top: int, height: int, names: str, purpose: str, inner: list[str]
) -> list[str]:
    size = WIDTH - 2 * MARGIN
    lines = [
        f'<rect x="{MARGIN}" y="{top}" width="{size}" height="{height}" rx="6"/>',
        f'<text class="name" x="24" y="{top + 20}">{escape(names)}</text>',
        f'<text class="purpose" x="24" y="{top + 37}">{escape(purpose)}</text>',
    ]
    return lines + [
        f'<text class="inner" x="24" y="{top + 57 + 20 * row}">{escape(text)}</text>'
        for row, text in enumerate(inner)
    ]


if __name__ == "__main__":
    PICTURE.write_text(draw_layers(ROOT / "pyproject.toml"), encoding="utf-8")
