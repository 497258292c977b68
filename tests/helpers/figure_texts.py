"""Texts of figures of matplotlib: whether any is cut or lies on another."""

from __future__ import annotations

from matplotlib.text import Text


def cut_or_overlapping(figure):
    """Return the texts that leave the figure, and the names that lie on another."""
    figure.canvas.draw()
    renderer = figure.canvas.get_renderer()
    wrong = []
    for axis in figure.axes:
        low, high = sorted(axis.get_xlim())
        ticks = axis.xaxis.get_major_ticks()
        off = {
            id(tick.label1) for tick in ticks if not low <= tick.get_loc() <= high
        } | {
            id(tick.label1)
            for tick in axis.yaxis.get_major_ticks()
            if not min(axis.get_ylim()) <= tick.get_loc() <= max(axis.get_ylim())
        }
        for text in axis.findobj(lambda artist: isinstance(artist, Text)):
            if text.get_text() and text.get_visible() and id(text) not in off:
                box = text.get_window_extent(renderer)
                inside = box.x0 > -2 and box.y0 > -2
                inside &= box.x1 < figure.bbox.width + 2
                inside &= box.y1 < figure.bbox.height + 2
                wrong += [] if inside else [text.get_text()]
        names = [label.get_window_extent(renderer) for label in axis.get_yticklabels()]
        rows = sorted(names, key=lambda box: box.y0)
        wrong += [
            "rows overlap"
            for below, above in zip(rows, rows[1:], strict=False)
            if len(axis.get_yticklabels()) > 1 and below.y1 > above.y0 + 1
        ]
    return wrong
